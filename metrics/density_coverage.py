"""Density and coverage (Naeem et al. 2020, arXiv:2002.09797)."""

from __future__ import annotations

import numpy as np

from metrics.checks import check_pair
from metrics.neighbours import distance_blocks, neighbour_radii
from metrics.registry import register

TIES = 1.0 - 1e-9  # the neighbour that defines a radius is outside, whatever the rounding


def density_coverage(real, fake, k=5):
    """How densely fakes lie among reals, and how many reals have fakes around them.

    density = 1/(k B) sum_j #{i: fake_j in ball_i}, coverage = 1/A #{i: some fake_j in ball_i},
    where ball_i reaches from real_i to its k-th nearest other real, the border excluded (as in the
    authors' code; so the density of a set in itself is 1).

    Args:
      real: [A, D], A > k.
      fake: [B, D].
      k: which neighbour gives the radius.

    Returns:
      (density, coverage): not negative, and in [0, 1].
    """
    real, fake = check_pair(real, fake)
    radii = neighbour_radii(real, k) * TIES
    total, is_covered = 0, np.zeros(len(real), bool)
    for rows, _, distances in distance_blocks(real, fake):
        is_inside = distances < radii[rows, None]
        total += np.count_nonzero(is_inside)
        is_covered[rows] |= is_inside.any(axis=1)
    return float(total / (k * len(fake))), float(is_covered.mean())


_DC = dict(roles=["manifold"], best=None, needs_real_features=True)


@register("dc50k5", **_DC, num_fakes=50000, num_reals=50000)
@register("dc10k5-train", **_DC, num_fakes=10000, num_reals=10000)
def dc(context, num_fakes, num_reals):
    """Density and coverage with the fifth neighbour."""
    real = context.real_features("manifold", num_reals)
    fake = context.fake_features("manifold", num_fakes)
    density, coverage = density_coverage(real, fake)
    return {"_density": density, "_coverage": coverage}
