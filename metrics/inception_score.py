"""Inception Score (IS, Salimans et al. 2016, arXiv:1606.03498)."""

from __future__ import annotations

import numpy as np

from metrics.checks import check_features
from metrics.registry import register


def inception_score(probs, num_splits=10):
    """Mean and standard deviation of exp(E_x KL(p(y|x) || p(y))) over consecutive splits.

    Args:
      probs: [N, C] class probabilities p(y|x) of the images, N >= num_splits.
      num_splits: each split estimates p(y) from its own images.

    Returns:
      (mean, standard deviation over the splits), floats; 1 to C.
    """
    probs = check_features(probs, num_splits, "class probabilities")
    scores = []
    for split in range(num_splits):
        start, stop = split * len(probs) // num_splits, (split + 1) * len(probs) // num_splits
        part = probs[start:stop].astype(np.float64)
        ratio = part / np.maximum(part.mean(axis=0), np.finfo(np.float64).tiny)
        log_ratio = np.log(ratio, out=np.zeros_like(ratio), where=ratio > 0)  # 0 log 0 = 0
        scores.append(np.exp((part * log_ratio).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


@register("is50k", roles=["probs"], best=max, num_fakes=50000)
def is_mean_and_std(context, num_fakes):
    """IS of generated images in 10 splits."""
    mean, std = inception_score(context.fake_features("probs", num_fakes))
    return {"_mean": mean, "_std": std}
