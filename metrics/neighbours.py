"""Distances between large sets of features, in blocks: memory does not grow with the sets.

Distances are squared and in float64. They are |a|^2 + |b|^2 - 2 a b around a common centre, which
is a matrix product and thus fast; what may be its rounding error counts as zero, so equal features
have distance zero.
"""

from __future__ import annotations

import numpy as np

BLOCK_ROWS = 1024
BLOCK_COLS = 4096
ROUNDING = 1e-12  # of |a|^2 + |b|^2; float64 products of thousands of terms are better than that


class Blocks:
    """A set of features cut into blocks of centred float64 rows.

    Args:
      features: [N, D].
      centre: [D], taken from every row.
      rows: rows of a block.
    """

    def __init__(self, features, centre, rows):
        self.features, self.centre, self.rows = features, centre, rows

    def __iter__(self):
        """Yield (slice, features [n, D], squared norms [n])."""
        for start in range(0, len(self.features), self.rows):
            span = slice(start, min(start + self.rows, len(self.features)))
            block = self.features[span].astype(np.float64) - self.centre
            yield span, block, np.einsum("nd,nd->n", block, block)


def _distances(a, a_norms, b, b_norms):
    """Squared distances [A, B] of two blocks."""
    scale = a_norms[:, None] + b_norms
    distances = a @ b.T
    distances *= -2.0
    distances += scale
    scale *= ROUNDING
    distances[distances < scale] = 0.0
    return distances


def distance_blocks(a, b):
    """All distances between two sets, block by block.

    Args:
      a: [A, D].
      b: [B, D].

    Yields:
      (slice of a's rows, slice of b's rows, squared distances of these [rows, columns]).
    """
    centre = a[:BLOCK_COLS].mean(axis=0, dtype=np.float64)
    for rows, a_block, a_norms in Blocks(a, centre, BLOCK_ROWS):
        for cols, b_block, b_norms in Blocks(b, centre, BLOCK_COLS):
            yield rows, cols, _distances(a_block, a_norms, b_block, b_norms)


def neighbour_radii(features, k):
    """Squared distance of every point to its k-th nearest other point.

    Args:
      features: [N, D], N > k.
      k: int, 1 or more.

    Returns:
      [N] float64.
    """
    if len(features) <= k:
        raise ValueError(f"{len(features)} images have no {k}-th neighbour; give {k + 1} or more")
    nearest = np.full([len(features), k], np.inf)
    for rows, cols, distances in distance_blocks(features, features):
        own = np.arange(max(rows.start, cols.start), min(rows.stop, cols.stop))
        distances[own - rows.start, own - cols.start] = np.inf
        if distances.shape[1] > k:
            distances.partition(k - 1, axis=1)
        candidates = np.concatenate([nearest[rows], distances[:, :k]], axis=1)
        candidates.partition(k - 1, axis=1)
        nearest[rows] = candidates[:, :k]
    return nearest.max(axis=1)
