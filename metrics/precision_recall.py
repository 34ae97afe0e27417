"""Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991)."""

from __future__ import annotations

import numpy as np

from metrics.checks import check_pair
from metrics.neighbours import distance_blocks, neighbour_radii
from metrics.registry import register

TIES = 1.0 + 1e-9  # a neighbour that defines a radius is inside, whatever the rounding


def precision_recall(real, fake, k=3):
    """Share of each set that lies in the other's manifold.

    A manifold is the union of the balls around the points of a set that reach to the k-th nearest
    other point of that set, the border included (Eq. 1).

    Args:
      real: [A, D], A > k.
      fake: [B, D], B > k.
      k: which neighbour gives the radius.

    Returns:
      (precision, recall): share of ``fake`` in the manifold of ``real``, and the reverse.
    """
    real, fake = check_pair(real, fake)
    real_radii, fake_radii = (neighbour_radii(features, k) * TIES for features in (real, fake))
    is_fake_inside, is_real_inside = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, cols, distances in distance_blocks(real, fake):
        is_fake_inside[cols] |= (distances <= real_radii[rows, None]).any(axis=0)
        is_real_inside[rows] |= (distances <= fake_radii[cols]).any(axis=1)
    return float(is_fake_inside.mean()), float(is_real_inside.mean())


_PR = dict(roles=["manifold"], best=None, needs_real_features=True)


@register("pr50k3", **_PR, num_fakes=50000, num_reals=50000)
@register("pr50k3-full", **_PR, num_fakes=50000, num_reals=200000)
@register("pr10k3-train", **_PR, num_fakes=10000, num_reals=10000)
def pr(context, num_fakes, num_reals):
    """Precision and recall with the third neighbour."""
    real = context.real_features("manifold", num_reals)
    fake = context.fake_features("manifold", num_fakes)
    precision, recall = precision_recall(real, fake)
    return {"_precision": precision, "_recall": recall}
