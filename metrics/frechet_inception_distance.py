"""Frechet Inception Distance (FID, Heusel et al. 2017, arXiv:1706.08500)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from metrics.checks import UnfitError, check_features
from metrics.registry import register

BLOCK_ROWS = 4096


class RunningMoments:
    """Mean and covariance of features that arrive block by block, in float64.

    Sums are taken around the first block's mean, so a large common offset costs no digits.
    """

    def __init__(self):
        self.count = 0
        self._shift = self._sum = self._products = None

    def add(self, features):
        """Take in features [N, D], N >= 1."""
        features = check_features(features, least=1)
        for start in range(0, len(features), BLOCK_ROWS):
            block = features[start : start + BLOCK_ROWS].astype(np.float64)
            if self._shift is None:
                self._shift = block.mean(axis=0)
                self._sum = np.zeros_like(self._shift)
                self._products = np.zeros([block.shape[1]] * 2)
            block -= self._shift
            self._sum += block.sum(axis=0)
            self._products += block.T @ block
            self.count += len(block)

    def result(self):
        """Mean [D] and unbiased covariance [D, D] of everything taken in."""
        if self.count < 2:
            raise UnfitError(f"a covariance needs 2 images or more, got {self.count}")
        offset = self._sum / self.count
        cov = (self._products - self.count * np.outer(offset, offset)) / (self.count - 1)
        return self._shift + offset, cov


def mean_and_cov(features):
    """[N, D] => mean [D] and unbiased covariance [D, D], both float64."""
    moments = RunningMoments()
    moments.add(check_features(features))
    return moments.result()


def _factor(cov):
    """F [D, R] with F F^T = cov [D, D], R its rank: pivoted Cholesky, without rounding errors.

    R is less than D if there are no more images than dimensions.
    """
    tiny = len(cov) * np.finfo(np.float64).eps * np.diagonal(cov).max()
    lower, pivots, rank, _ = lapack.dpstrf(cov, tol=tiny, lower=1)
    factor = np.empty([len(cov), rank])
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return factor


def frechet_distance(mean_a, cov_a, mean_b, cov_b):
    """||mean_a - mean_b||^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))  (FID, Eq. 6).

    With cov_a = F F^T and cov_b = G G^T, cov_a cov_b has the eigenvalues of (F^T G)(F^T G)^T and
    zeros, so the trace of its root is the sum of the singular values of F^T G. That is real and not
    negative for covariances of any rank, and takes no root of a rounding error.

    Args:
      mean_a: [D] mean of the first set.
      cov_a: [D, D] covariance of the first set.
      mean_b: [D] mean of the second set.
      cov_b: [D, D] covariance of the second set.

    Returns:
      float, not negative up to rounding.
    """
    for array in (mean_a, cov_a, mean_b, cov_b):
        if not np.isfinite(array).all():
            raise UnfitError("the statistics are not finite; has training diverged?")
    overlap = _factor(cov_a).T @ _factor(cov_b)
    trace_root = np.linalg.svd(overlap, compute_uv=False).sum() if overlap.size else 0.0
    shift = np.square(np.subtract(mean_a, mean_b)).sum()
    return float(shift + np.trace(cov_a) + np.trace(cov_b) - 2.0 * trace_root)


_FID = dict(roles=["pool"], best=min)
_CLEAN = dict(roles=["clean"], best=min, role="clean")


@register("fid50k", **_FID, num_fakes=50000, num_reals=50000)
@register("fid50k-full", **_FID, num_fakes=50000, num_reals=None)
@register("fid10k-train", **_FID, num_fakes=10000, num_reals=10000)
@register("fid50k-clean", **_CLEAN, num_fakes=50000, num_reals=50000)
def fid(context, num_fakes, num_reals, role="pool"):
    """FID of generated images against ``num_reals`` training images (None: all)."""
    real = context.real_moments(role, num_reals)
    fake = context.fake_moments(role, num_fakes)
    return {"": frechet_distance(*real, *fake)}
