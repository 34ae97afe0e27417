"""Kernel Inception Distance (KID, Binkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

import numpy as np

from metrics.checks import check_pair
from metrics.registry import register


def _kernel(a, b):
    """Polynomial kernel (a . b / D + 1)^3 of features [A, D] and [B, D]: [A, B]."""
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def squared_mmd(real, fake):
    """Unbiased estimate of the squared maximum mean discrepancy of two sets (KID, Eq. 4).

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j).

    Args:
      real: [A, D], A >= 2.
      fake: [B, D], B >= 2.

    Returns:
      float; around 0, and then also negative, for sets of one distribution.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    total = -2.0 * _kernel(real, fake).mean()
    for features in (real, fake):
        kernel = _kernel(features, features)
        count = len(features)
        total += (kernel.sum() - np.trace(kernel)) / (count * (count - 1))
    return float(total)


def kernel_distance(real, fake, rng, num_subsets=100, max_subset_size=1000):
    """Mean of :func:`squared_mmd` over random subsets of equal size.

    Args:
      real: [A, D].
      fake: [B, D].
      rng: np.random.RandomState; draws, for each subset, the real rows and then the others.
      num_subsets: how many subsets.
      max_subset_size: their size, or that of the smaller set.

    Returns:
      float.
    """
    real, fake = check_pair(real, fake)
    size = min(len(real), len(fake), max_subset_size)
    total = 0.0
    for _ in range(num_subsets):
        rows = [rng.choice(len(features), size, replace=False) for features in (real, fake)]
        total += squared_mmd(real[rows[0]], fake[rows[1]])
    return total / num_subsets


_KID = dict(roles=["pool"], best=min, needs_real_features=True)


@register("kid50k", **_KID, num_fakes=50000, num_reals=50000)
@register("kid50k-full", **_KID, num_fakes=50000, num_reals=None)
@register("kid10k-train", **_KID, num_fakes=10000, num_reals=10000)
def kid(context, num_fakes, num_reals):
    """KID of generated images against ``num_reals`` training images (None: all)."""
    real = context.real_features("pool", num_reals)
    fake = context.fake_features("pool", num_fakes)
    return {"": kernel_distance(real, fake, context.rng("kid"))}
