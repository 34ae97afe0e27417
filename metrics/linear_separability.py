"""Linear separability of latent spaces (LS, Karras et al. 2019, arXiv:1812.04948, Sec. 4.2)."""

from __future__ import annotations

import numpy as np

from metrics import linear_svm
from metrics.checks import check_features
from metrics.registry import register


def conditional_entropy(y, x):
    """H(y | x) in bits, of two sequences [N] of booleans.

    H = -sum_{x, y} p(x, y) log2 p(y | x).
    """
    x, y = np.asarray(x, bool), np.asarray(y, bool)
    joint = np.histogram2d(x, y, bins=[[0, 0.5, 1]] * 2)[0] / len(x)  # [x, y]
    given = joint / np.maximum(joint.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    is_there = joint > 0
    return float(-(joint[is_there] * np.log2(given[is_there])).sum())


def attribute_entropy(latents, logits, num_kept):
    """How uncertain one attribute stays for those who know on which side of a plane a latent lies.

    Args:
      latents: [N, D].
      logits: [N] of a classifier of the attribute; the sign is its answer, the size how sure it is.
      num_kept: number of latents that are kept: those of which the classifier is surest.

    Returns:
      H(answer | side of the best plane) in bits, 0 to 1.
    """
    surest = np.argsort(-np.abs(logits), kind="mergesort")[:num_kept]
    answers = logits[surest] > 0
    chosen = latents[surest]
    plane = linear_svm.fit(chosen, np.where(answers, 1.0, -1.0))
    return conditional_entropy(answers, linear_svm.decide(chosen, plane) > 0)


def separability(latents, logits, num_kept):
    """2^(sum of the attributes' entropies in bits), the same as exp of their sum in nats.

    Args:
      latents: [N, D].
      logits: [N, A], a column for each attribute.
      num_kept: see :func:`attribute_entropy`.

    Returns:
      float, 1 if a plane separates every attribute, up to 2^A.
    """
    latents = check_features(latents, 2, "latents")
    logits = check_features(logits, 2, "classifier outputs")
    return float(2.0 ** sum(attribute_entropy(latents, column, num_kept) for column in logits.T))


@register(
    "ls",
    roles=["classifiers"],
    best=min,
    needs_generator=True,
    num_fakes=200000,
    num_kept=100000,
)
def ls(context, num_fakes, num_kept):
    """Separability of z and of the last layer's w by the attributes of the classifiers."""
    sampler = context.sampler("ls")
    z, w, logits, done = [], [], [], 0
    for batch in context.progress(sampler.draw(num_fakes), "latents", num_fakes):
        ws = sampler.ws(*batch)
        z.append(batch[0].reshape(len(ws), -1))
        w.append(ws[..., -1, :].reshape(len(ws), -1))
        logits.append(context.classify(sampler.images_of_ws(ws, done)))
        done += len(ws)
    z, w, logits = (np.concatenate(parts) for parts in (z, w, logits))
    spaces = [("_z", z), ("_w", w)]
    return {ending: separability(latents, logits, num_kept) for ending, latents in spaces}
