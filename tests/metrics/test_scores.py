"""KID, IS, precision and recall, density and coverage against their formulas written in loops."""

import math
import tracemalloc

import numpy as np
import pytest

from metrics import neighbours
from metrics.density_coverage import density_coverage
from metrics.inception_score import inception_score
from metrics.kernel_inception_distance import kernel_distance, squared_mmd
from metrics.precision_recall import precision_recall


def normal(num, dim, seed, offset=0.0, scale=1.0):
    return np.random.RandomState(seed).standard_normal([num, dim]).astype("f4") * scale + offset


# KID


def kid_in_loops(real, fake):
    def kernel(x, y):
        return (sum(float(a) * float(b) for a, b in zip(x, y)) / len(x) + 1) ** 3

    def within(xs):
        pairs = [(i, j) for i in range(len(xs)) for j in range(len(xs)) if i != j]
        return sum(kernel(xs[i], xs[j]) for i, j in pairs) / len(pairs)

    across = sum(kernel(x, y) for x in real for y in fake) / (len(real) * len(fake))
    return within(real) + within(fake) - 2 * across


def test_kid_equals_its_formula():
    real, fake = normal(9, 5, 0), normal(7, 5, 1, offset=0.5)
    assert squared_mmd(real, fake) == pytest.approx(kid_in_loops(real, fake), rel=1e-9)


def test_kid_averages_over_seeded_subsets():
    real, fake = normal(30, 4, 0), normal(20, 4, 1, offset=0.5)
    rng, expected = np.random.RandomState(5), 0.0
    for _ in range(6):
        a = real[rng.choice(30, 8, replace=False)]
        b = fake[rng.choice(20, 8, replace=False)]
        expected += kid_in_loops(a, b) / 6
    got = kernel_distance(real, fake, np.random.RandomState(5), num_subsets=6, max_subset_size=8)
    assert got == pytest.approx(expected, rel=1e-9)


def test_kid_of_whole_sets_needs_no_luck():
    real, fake = normal(6, 4, 0), normal(6, 4, 1)
    scores = [kernel_distance(real, fake, np.random.RandomState(seed), 3) for seed in (0, 1)]
    assert scores == pytest.approx([squared_mmd(real, fake)] * 2, rel=1e-9)


def test_kid_is_unbiased_and_sees_a_shift():
    rng = np.random.RandomState(0)
    same = kernel_distance(normal(400, 8, 0), normal(400, 8, 1), rng, 20, 100)
    other = kernel_distance(normal(400, 8, 0), normal(400, 8, 1, offset=0.5), rng, 20, 100)
    assert abs(same) < 0.02
    assert other > 0.3


def test_kid_of_constant_features():
    ones, twos = np.ones([5, 3]), np.full([5, 3], 2.0)
    expected = (1 + 1) ** 3 + (4 + 1) ** 3 - 2 * (2 + 1) ** 3
    assert squared_mmd(ones, twos) == pytest.approx(expected)
    assert squared_mmd(ones, ones) == pytest.approx(0, abs=1e-12)


# Inception Score


def is_in_loops(probs, num_splits):
    scores = []
    for split in range(num_splits):
        part = probs[split * len(probs) // num_splits : (split + 1) * len(probs) // num_splits]
        total = 0.0
        for row in part:
            for c, p in enumerate(row):
                marginal = math.fsum(float(other[c]) for other in part) / len(part)
                if p > 0:
                    total += float(p) * math.log(float(p) / marginal)
        scores.append(math.exp(total / len(part)))
    mean = sum(scores) / num_splits
    return mean, math.sqrt(sum((s - mean) ** 2 for s in scores) / num_splits)


def test_is_equals_its_formula():
    logits = normal(53, 7, 0, scale=3.0)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probs[3] = [0, 0, 1, 0, 0, 0, 0]
    assert inception_score(probs, 10) == pytest.approx(is_in_loops(probs, 10), rel=1e-6)


def test_is_of_extremes():
    assert inception_score(np.eye(8)[np.arange(80) % 8], 10) == pytest.approx((8.0, 0.0))
    assert inception_score(np.full([40, 8], 1 / 8), 10) == pytest.approx((1.0, 0.0))
    assert inception_score(np.ones([40, 1]), 10) == pytest.approx((1.0, 0.0))  # a single class
    assert inception_score(np.eye(8)[np.zeros(40, int)], 10) == pytest.approx((1.0, 0.0))


def test_is_needs_an_image_in_every_split():
    with pytest.raises(ValueError, match="of 9 images are too few; it takes 10"):
        inception_score(np.full([9, 4], 0.25), 10)


# Neighbours


def squared(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b))


def radius(points, i, k):
    others = [squared(points[i], point) for j, point in enumerate(points) if j != i]
    return sorted(others)[k - 1]


def pr_in_loops(real, fake, k):
    def share(points, manifold):
        inside = [
            any(squared(point, m) <= radius(manifold, i, k) for i, m in enumerate(manifold))
            for point in points
        ]
        return sum(inside) / len(inside)

    return share(fake, real), share(real, fake)


def dc_in_loops(real, fake, k):
    total, covered = 0, 0
    for i, centre in enumerate(real):
        inside = sum(squared(centre, point) < radius(real, i, k) for point in fake)
        total += inside
        covered += inside > 0
    return total / (k * len(fake)), covered / len(real)


SETS = [
    (normal(23, 4, 0), normal(19, 4, 1, offset=0.7)),
    (normal(12, 40, 0), normal(15, 40, 1, scale=0.7)),  # fewer images than dimensions
    (normal(20, 3, 0, offset=500.0), normal(20, 3, 1, offset=500.0)),  # far from the origin
    (normal(20, 3, 0), normal(20, 3, 1, offset=50.0)),  # nothing in common
]


@pytest.mark.parametrize("real, fake", SETS)
@pytest.mark.parametrize("rows", [2048, 7, 1])
def test_pr_and_dc_equal_their_formulas_whatever_the_blocks(monkeypatch, real, fake, rows):
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", rows)
    assert precision_recall(real, fake, 3) == pytest.approx(pr_in_loops(real, fake, 3), rel=1e-12)
    assert density_coverage(real, fake, 5) == pytest.approx(dc_in_loops(real, fake, 5), rel=1e-12)


@pytest.mark.parametrize("rows", [2048, 3])
def test_radii_equal_sorted_distances(monkeypatch, rows):
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", rows)
    points = normal(17, 6, 3)
    expected = [radius(points, i, 4) for i in range(17)]
    np.testing.assert_allclose(neighbours.neighbour_radii(points, 4), expected, rtol=1e-9)


@pytest.mark.parametrize("num, dim", [(60, 5), (20, 300)])
def test_identical_sets(num, dim):
    points = normal(num, dim, 0, offset=30.0)
    assert precision_recall(points, points.copy(), 3) == (1.0, 1.0)
    assert density_coverage(points, points.copy(), 5) == (1.0, 1.0)


def test_constant_features_form_a_manifold_of_one_point():
    point, other = np.full([8, 600], 0.1, "f4"), np.full([9, 600], 0.2, "f4")
    assert precision_recall(point, np.full([9, 600], 0.1, "f4")) == (1.0, 1.0)
    assert precision_recall(point, other) == (0.0, 0.0)
    assert density_coverage(point, other) == (0.0, 0.0)


def test_collapsed_fakes_are_precise_and_recall_nothing():
    real = normal(200, 4, 0)
    fake = np.repeat(real[:1], 50, axis=0)
    precision, recall = precision_recall(real, fake)
    _, coverage = density_coverage(real, fake)
    assert precision == 1.0
    assert recall == pytest.approx(1 / 200)
    assert 0 < coverage < 0.2


def test_memory_is_bounded_by_the_block_size(monkeypatch):
    real, fake = normal(2000, 16, 0), normal(2000, 16, 1)
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 128)
    tracemalloc.start()
    precision_recall(real, fake)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A few blocks of 128 x 128 distances and of features; 2000 x 2000 would be 32 MB.
    assert peak < 8 * 128 * 128 * 8


@pytest.mark.parametrize("function", [precision_recall, density_coverage])
def test_too_few_images_and_bad_numbers_are_refused(function):
    with pytest.raises(ValueError, match="neighbour"):
        function(normal(3, 4, 0), normal(9, 4, 1))
    bad = normal(9, 4, 1)
    bad[2, 0] = np.nan
    with pytest.raises(ValueError, match="generated images of image 2 are not finite"):
        function(normal(9, 4, 0), bad)
    with pytest.raises(ValueError, match="real images"):
        function(bad, normal(9, 4, 0))
    with pytest.raises(ValueError, match="real features"):
        function(normal(9, 4, 0), normal(9, 5, 0))
