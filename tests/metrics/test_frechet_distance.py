import numpy as np
import pytest
import scipy.linalg

from metrics.frechet_inception_distance import RunningMoments, frechet_distance, mean_and_cov


def features(num, dim, seed, scale=1.0, offset=0.0):
    rng = np.random.RandomState(seed)
    mixing = rng.standard_normal([dim, dim]) * np.geomspace(1, 0.01, dim)
    return (rng.standard_normal([num, dim]) @ mixing * scale + offset).astype(np.float32)


def by_square_root(a, b):
    """FID the textbook way: scipy's matrix square root of a product of np.cov's."""
    (mean_a, cov_a), (mean_b, cov_b) = [
        (x.mean(axis=0), np.cov(x, rowvar=False)) for x in (a.astype("f8"), b.astype("f8"))
    ]
    root = np.real(scipy.linalg.sqrtm(cov_a @ cov_b))
    return np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * root)


def by_nuclear_norm(a, b):
    """The same for any number of samples: tr (AB)^(1/2) is the nuclear norm of X Y^T."""
    x, y = a - a.mean(axis=0, dtype="f8"), b - b.mean(axis=0, dtype="f8")
    x, y = x / np.sqrt(len(x) - 1), y / np.sqrt(len(y) - 1)
    shift = np.sum((a.mean(axis=0, dtype="f8") - b.mean(axis=0, dtype="f8")) ** 2)
    nuclear = np.linalg.norm(x @ y.T, "nuc")
    return shift + np.sum(x**2) + np.sum(y**2) - 2 * nuclear


def fid(a, b):
    return frechet_distance(*mean_and_cov(a), *mean_and_cov(b))


@pytest.mark.parametrize("dim, num_a, num_b", [(1, 20, 31), (5, 300, 200), (64, 500, 400)])
def test_equals_scipys_matrix_square_root(dim, num_a, num_b):
    a, b = features(num_a, dim, 0), features(num_b, dim, 1, scale=1.3, offset=0.4)
    if dim == 1:  # sqrtm of 1x1 needs no library
        ab = np.var(a.astype("f8"), ddof=1), np.var(b.astype("f8"), ddof=1)
        expected = (
            (a.mean(dtype="f8") - b.mean(dtype="f8")) ** 2 + sum(ab) - 2 * np.sqrt(ab[0] * ab[1])
        )
    else:
        expected = by_square_root(a, b)
    assert fid(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num_a, num_b", [(10, 12), (2, 2), (10, 500), (500, 10)])
def test_fewer_images_than_dimensions(num_a, num_b):
    a, b = features(num_a, 96, 0), features(num_b, 96, 1, offset=0.1)
    assert fid(a, b) == pytest.approx(by_nuclear_norm(a, b), rel=1e-6)


def test_closed_form_of_gaussians_with_diagonal_covariances():
    stds_a, stds_b = np.array([0.5, 1.0, 2.0, 0.0]), np.array([1.5, 1.0, 0.0, 0.0])
    means = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0, 3.0])
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((stds_a - stds_b) ** 2)
    got = frechet_distance(means[0], np.diag(stds_a**2), means[1], np.diag(stds_b**2))
    assert got == pytest.approx(expected, rel=1e-12)


def test_rotation_and_order_change_nothing():
    a, b = features(200, 16, 0), features(300, 16, 1, offset=1.0)
    rotation = np.linalg.qr(np.random.RandomState(2).standard_normal([16, 16]))[0]
    assert fid(a @ rotation, b @ rotation) == pytest.approx(fid(a, b), rel=1e-5)
    assert fid(b, a) == pytest.approx(fid(a, b), rel=1e-10)
    assert fid(a[::-1], b) == pytest.approx(fid(a, b), rel=1e-10)


@pytest.mark.parametrize("num", [10, 400])
def test_identical_sets_have_distance_zero(num):
    a = features(num, 64, 0)
    scale = np.trace(np.cov(a, rowvar=False))
    assert abs(fid(a, a.copy())) < 1e-9 * scale


def test_constant_features():
    assert fid(np.full([5, 3], 2.0), np.full([9, 3], 4.0)) == pytest.approx(12.0)
    assert fid(np.full([5, 3], 2.0), np.full([9, 3], 2.0)) == 0.0


def test_moments_equal_numpys_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr("metrics.frechet_inception_distance.BLOCK_ROWS", 7)
    x = features(50, 6, 0, offset=1000.0)  # an offset that float32 sums would drown in
    moments = RunningMoments()
    for start in range(0, 50, 11):
        moments.add(x[start : start + 11])
    mean, cov = moments.result()
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype="f8"), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.astype("f8"), rowvar=False), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(bad):
    x = features(20, 4, 0)
    x[13, 2] = bad
    with pytest.raises(ValueError, match="image 13 are not finite"):
        mean_and_cov(x)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.full([2, 2], bad))


@pytest.mark.parametrize(
    "shape, message",
    [
        ([1, 4], "of 1 images are too few"),
        ([0, 4], "of 0 images are too few"),
        ([4], r"must be \[N, D\]"),
        ([4, 0], r"must be \[N, D\]"),
    ],
)
def test_wrong_shapes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        mean_and_cov(np.zeros(shape))
