"""Path length and separability against loops written from the papers' formulas."""

import math

import numpy as np
import pytest

from metrics import linear_svm
from metrics.linear_separability import conditional_entropy, separability
from metrics.perceptual_path_length import (
    EPSILON,
    face_crop,
    lerp,
    path_ends,
    path_lengths,
    slerp,
    trimmed_mean,
)

RNG = np.random.RandomState


# Path length


def slerp_of_two_vectors(a, b, t):
    """Shoemake's formula for unit vectors."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = math.acos(float(a @ b))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def test_slerp_turns_directions_and_keeps_the_ends():
    rng = RNG(0)
    a, b, t = rng.randn(5, 3, 7), 2 * rng.randn(5, 3, 7), rng.uniform(size=5)
    got = slerp(a, b, t)
    for n in range(5):
        for k in range(3):
            length = (1 - t[n]) * np.linalg.norm(a[n, k]) + t[n] * np.linalg.norm(b[n, k])
            expected = slerp_of_two_vectors(a[n, k], b[n, k], t[n]) * length
            np.testing.assert_allclose(got[n, k], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slerp(a, b, np.zeros(5)), a, rtol=1e-12)
    np.testing.assert_allclose(slerp(a, b, np.ones(5)), b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slerp(a, a, t), a, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(lerp(a, b, t)[2], a[2] + (b[2] - a[2]) * t[2])


def test_face_crop_is_the_published_window():
    images = np.arange(2 * 1 * 16 * 16).reshape(2, 1, 16, 16)
    unit = 16 // 8
    np.testing.assert_array_equal(
        face_crop(images), images[:, :, 3 * unit : 7 * unit, 2 * unit : 6 * unit]
    )
    assert face_crop(np.zeros([1, 3, 32, 32])).shape == (1, 3, 16, 16)
    wide = np.arange(16 * 32).reshape(1, 1, 16, 32)  # data of another ratio: centred as well
    np.testing.assert_array_equal(face_crop(wide), wide[:, :, 6:14, 8:24])


def test_trimmed_mean_drops_what_lies_beyond_the_percentiles():
    lengths = RNG(0).permutation(np.concatenate([np.arange(200.0), [1e9]]))
    kept = [x for x in lengths if 2 <= x <= 198]  # of 201: the 1st percentile is 2, the 99th 198
    assert trimmed_mean(lengths) == pytest.approx(sum(kept) / len(kept))
    assert trimmed_mean([3.0]) == 3.0
    assert trimmed_mean([1.0, 2.0]) == 1.5  # both percentiles are members
    with pytest.raises(ValueError, match="finite"):
        trimmed_mean([1.0, np.nan])


class LinearSampler:
    """w = z A; everything about it is known in closed form."""

    def __init__(self, matrix):
        self.matrix = matrix

    def ws(self, z, labels):
        return z @ self.matrix


@pytest.mark.parametrize("space", ["z", "w"])
@pytest.mark.parametrize("is_full", [False, True])
def test_path_length_of_a_linear_network(space, is_full):
    rng = RNG(0)
    matrix = rng.randn(6, 4)
    draws = rng.randn(40, 6), rng.randn(40, 6), np.zeros([40, 0])
    ends = path_ends(draws, LinearSampler(matrix), space, is_full, RNG(3))
    places = RNG(3).uniform(size=40) if is_full else np.zeros(40)
    expected = []
    for z0, z1, t in zip(*draws[:2], places):
        if space == "w":
            points = [(1 - s) * (z0 @ matrix) + s * (z1 @ matrix) for s in (t, t + EPSILON)]
        else:
            lengths = [np.linalg.norm(z0), np.linalg.norm(z1)]
            points = [
                slerp_of_two_vectors(z0, z1, s) * ((1 - s) * lengths[0] + s * lengths[1])
                for s in (t, t + EPSILON)
            ]
        expected.append(np.sum((points[1] - points[0]) ** 2) / EPSILON**2)
    distances = np.sum((ends[1] - ends[0]) ** 2, axis=-1)
    np.testing.assert_allclose(path_lengths(distances), expected, rtol=1e-6)
    if space == "w":  # lines have the same length everywhere
        exact = np.sum(((draws[1] - draws[0]) @ matrix) ** 2, axis=1)
        np.testing.assert_allclose(path_lengths(distances), exact, rtol=1e-6)


# Separability


def entropy_in_loops(y, x):
    total = 0.0
    for a in (False, True):
        rows = [i for i in range(len(x)) if bool(x[i]) == a]
        for b in (False, True):
            both = sum(bool(y[i]) == b for i in rows)
            if both:
                total -= both / len(x) * math.log2(both / len(rows))
    return total


def test_conditional_entropy_equals_its_formula():
    x, y = RNG(0).rand(50) < 0.3, RNG(1).rand(50) < 0.6
    assert conditional_entropy(y, x) == pytest.approx(entropy_in_loops(y, x), rel=1e-12)
    assert conditional_entropy(x, x) == 0
    assert conditional_entropy(y[:1], x[:1]) == 0
    halves = np.arange(8) % 2 == 0
    assert conditional_entropy(halves, np.zeros(8, bool)) == pytest.approx(1.0)


def svm_gradient(weights, x, signs, cost):
    """Derivative of 1/2 |v|^2 + C sum max(0, 1 - y v.(x, 1))^2, in a loop."""
    gradient = weights.copy()
    for row, sign in zip(x, signs):
        point = np.append(row, 1.0)
        slack = max(0.0, 1.0 - sign * float(weights @ point))
        gradient -= 2 * cost * slack * sign * point
    return gradient


@pytest.mark.parametrize("cost", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_svm_ends_at_the_minimum(cost, noise):
    rng = RNG(0)
    x = rng.randn(120, 5).astype("f4") + 0.3
    signs = np.sign(x @ rng.randn(5) + noise * rng.randn(120) + 0.2)
    weights = linear_svm.fit(x, signs, cost)
    scale = 2 * cost * np.abs(x).sum(axis=0).max()
    assert np.abs(svm_gradient(weights, x, signs, cost)).max() < 1e-8 * scale
    if noise == 0 and cost == 100.0:
        assert (linear_svm.decide(x, weights) * signs > 0).all()


def test_svm_of_one_class_says_that_class():
    x = RNG(0).randn(20, 3)
    assert (linear_svm.decide(x, linear_svm.fit(x, np.ones(20))) > 0).all()


def test_separability():
    rng = RNG(0)
    latents = rng.randn(2000, 4)
    planes = rng.randn(4, 3)
    separable = latents @ planes
    assert separability(latents, separable, 1000) < 1.05  # planes answer
    hidden = rng.randn(2000, 2)  # nothing answers
    score = separability(latents, hidden, 2000)
    assert 3.9 < score <= 4.0
    expected = 0.0
    for column in hidden.T:
        weights = linear_svm.fit(latents, np.where(column > 0, 1, -1))
        sides = linear_svm.decide(latents, weights) > 0
        expected += entropy_in_loops(column > 0, sides)
    assert score == pytest.approx(2**expected, rel=1e-9)


def test_only_the_surest_latents_count():
    rng = RNG(0)
    latents = rng.randn(400, 3)
    logits = latents[:, :1].copy()
    unsure = np.abs(logits[:, 0]) < np.median(np.abs(logits))
    logits[unsure] *= -0.01  # the less sure half answers the wrong way round
    assert separability(latents, logits, 200) == pytest.approx(1.0, abs=0.02)
    assert separability(latents, logits, 400) > 1.2


def test_one_class_is_separable():
    assert separability(RNG(0).randn(30, 2), np.ones([30, 1]), 30) == 1.0
    with pytest.raises(ValueError, match="not finite"):
        separability(np.full([4, 2], np.nan), np.ones([4, 1]), 4)
