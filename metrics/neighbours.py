"""Distances between large sets of features, in blocks: memory does not grow with the sets.

Distances are squared and in float64. They are |a|^2 + |b|^2 - 2 a b around a common centre, which
is a matrix product and thus fast; what may be its rounding error counts as zero, so equal features
have distance zero.
"""

from __future__ import annotations

import numpy as np

from metrics.checks import UnfitError

BLOCK_ROWS = 2048
ROUNDING = 1e-12  # of |a|^2 + |b|^2; float64 products of thousands of terms are better than that


def _blocks(features, centre, first=0):
    """Yield (slice, centred float64 features [n, D], squared norms [n]) from row ``first`` on."""
    for start in range(first, len(features), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(features)))
        block = features[rows].astype(np.float64)
        block -= centre
        yield rows, block, np.einsum("nd,nd->n", block, block)


def _distances(a, a_norms, b, b_norms):
    """Squared distances [A, B] of two blocks."""
    scale = a_norms[:, None] + b_norms
    distances = a @ b.T
    distances *= -2.0
    distances += scale
    scale *= ROUNDING
    distances[distances < scale] = 0.0
    return distances


def _centre(features):
    """A point among the features, [D]; around it, products lose the fewest digits."""
    return features[:BLOCK_ROWS].mean(axis=0, dtype=np.float64)


def distance_blocks(a, b):
    """All distances between two sets, block by block.

    Args:
      a: [A, D].
      b: [B, D].

    Yields:
      (slice of a's rows, slice of b's rows, squared distances of these [rows, columns]).
    """
    centre = _centre(a)
    for rows, a_block, a_norms in _blocks(a, centre):
        for cols, b_block, b_norms in _blocks(b, centre):
            yield rows, cols, _distances(a_block, a_norms, b_block, b_norms)


def _keep_nearest(nearest, distances):
    """Merge new distances [N, M] into the smallest ones so far, [N, k], in place."""
    k = nearest.shape[1]
    if distances.shape[1] > k:
        distances = np.partition(distances, k - 1, axis=1)[:, :k]
    candidates = np.concatenate([nearest, distances], axis=1)
    candidates.partition(k - 1, axis=1)
    nearest[:] = candidates[:, :k]


def neighbour_radii(features, k):
    """Squared distance of every point to its k-th nearest other point.

    Args:
      features: [N, D], N > k.
      k: int, 1 or more.

    Returns:
      [N] float64.
    """
    if len(features) <= k:
        raise UnfitError(f"{len(features)} images are too few for {k} neighbours; give {k + 1}")
    nearest = np.full([len(features), k], np.inf)
    centre = _centre(features)
    for rows, a, a_norms in _blocks(features, centre):
        for cols, b, b_norms in _blocks(features, centre, first=rows.start):
            distances = _distances(a, a_norms, b, b_norms)
            if rows == cols:
                np.fill_diagonal(distances, np.inf)  # a point is no neighbour of its own
            else:
                _keep_nearest(nearest[cols], distances.T)
            _keep_nearest(nearest[rows], distances)
    return nearest.max(axis=1)
