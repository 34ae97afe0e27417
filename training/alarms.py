"""Warnings while a training goes wrong although its numbers are finite: collapse, overfitting."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

CELLS = 8  # pictures are compared as CELLS x CELLS means
COLLAPSED = 0.2  # samples that vary this little, of the reals' variance, are a collapse
ALIKE = 0.4  # samples whose next one is this near, of the reals' distance, repeat few pictures
OVERFITTED = 0.9  # share of reals with positive scores, less that with negative ones (ADA: 0.6)
PATIENCE = 3  # snapshots in a row


def variety(samples, reals):
    """Variance of samples between pictures, over that of real ones.

    Args:
      samples: [N, C, H, W] in [-1, 1].
      reals: [M, C, H, W] in [-1, 1].

    Returns:
      float; 1 for the same variety, 0 if all samples are one. Of means over cells, so that noise
      counts little.
    """
    spread = [_cells(images).var(axis=0).mean() for images in (samples, reals)]
    return float(spread[0] / max(spread[1], 1e-12))


def distinctness(samples, reals):
    """Median distance of a sample to the one most like it, over that of real ones.

    It sees a generator that repeats a few pictures, however much these differ from one another,
    which :func:`variety` does not.

    Args:
      samples: [N, C, H, W] in [-1, 1].
      reals: as many images.

    Returns:
      float; 1 for pictures as different as real ones, 0 if all have a twin. Of means over cells.
    """
    medians = []
    for images in (samples, reals):
        flat = _cells(images).reshape(len(images), -1)
        distances = cdist(flat, flat)
        np.fill_diagonal(distances, np.inf)
        medians.append(np.median(distances.min(axis=1)))
    return float(medians[0] / max(medians[1], 1e-12))


def _cells(images):
    """[N, C, H, W] => [N, C, CELLS, CELLS] means; smaller pictures stay as they are."""
    num, channels, height, width = images.shape
    if height % CELLS or width % CELLS:
        return images
    shape = [num, channels, CELLS, height // CELLS, CELLS, width // CELLS]
    return np.asarray(images, np.float32).reshape(shape).mean(axis=(3, 5))


class Alarms:
    """What was seen at the last snapshots, and what to say about it."""

    def __init__(self):
        self._flat, self._alike, self._sure = 0, 0, 0

    def check(self, varied, distinct, signs):
        """Lines of warning after a snapshot; each alarm is given once until it is over.

        Args:
          varied: see :func:`variety`.
          distinct: see :func:`distinctness`.
          signs: mean sign of D's scores of reals since the last snapshot, ADA's r_t.
        """
        self._flat = self._flat + 1 if varied < COLLAPSED else 0
        self._alike = self._alike + 1 if distinct < ALIKE else 0
        self._sure = self._sure + 1 if signs > OVERFITTED else 0
        lines = []
        if self._flat == PATIENCE:
            lines.append(
                f"Warning: samples vary {varied:.2f} times as much as the real images: the "
                "generator collapses; try ten times the --gamma, --recipe small, or lower learning "
                "rates"
            )
        if self._alike == PATIENCE:
            lines.append(
                f"Warning: the sample most like a sample is {distinct:.2f} times as far from it as "
                "with real images: the generator repeats few pictures; try ten times the "
                "--gamma, --recipe small, or lower learning rates, from an earlier snapshot"
            )
        if self._sure == PATIENCE:
            lines.append(
                f"Warning: D tells nearly all training images from samples (r_t {signs:.2f}): if "
                "samples get worse from here on, it knows them by heart; try --aug ada, "
                "--mirror-augment, more images, or a larger --gamma"
            )
        return lines
