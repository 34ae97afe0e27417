"""Warnings of collapse and overfitting."""

import numpy as np
import pytest

from training.alarms import Alarms, distinctness, variety


def test_variety_is_a_ratio_of_variances_between_pictures():
    rng = np.random.RandomState(1)
    levels = rng.randn(40, 3, 1, 1)
    reals = np.broadcast_to(levels, [40, 3, 16, 24])
    assert variety(0.5 * reals[:23], reals) == pytest.approx(
        0.25 * levels[:23].var(axis=0).mean() / levels.var(axis=0).mean(), rel=1e-5
    )
    assert variety(np.repeat(reals[:1], 7, axis=0), reals) == pytest.approx(0, abs=1e-9)
    # Noise of single pixels counts 1 / 6 of its variance: a cell is 2 x 3 of them.
    noise = rng.randn(500, 3, 16, 24)
    assert variety(noise, np.ones([9, 1, 1, 1]) * reals[:9]) < 0.25 / levels[:9].var(axis=0).mean()
    assert variety(reals[:, :, :5, :7], reals[:, :, :5, :7]) == 1.0


def test_distinctness_is_a_ratio_of_distances_to_the_next_picture():
    rng = np.random.RandomState(2)
    reals = rng.randn(40, 3, 16, 24)
    cells = reals.reshape(40, 3, 8, 2, 8, 3).mean(axis=(3, 5))
    nearest = [
        min(np.sqrt(((a - b) ** 2).sum()) for j, b in enumerate(cells) if j != i)
        for i, a in enumerate(cells)
    ]
    other = rng.randn(1, 3, 1, 1)
    assert distinctness(0.5 * reals + other, reals) == pytest.approx(0.5)
    pair = np.concatenate([reals[:1], reals[:1] + 0.01])  # in each cell of each channel
    assert distinctness(pair, reals) == pytest.approx(0.01 * np.sqrt(3 * 64) / np.median(nearest))
    # Five pictures again and again vary as much as the real ones.
    five = np.concatenate([reals[:5]] * 8)
    assert variety(five, reals) > 0.7 and distinctness(five, reals) == pytest.approx(0, abs=1e-6)


def test_an_alarm_wants_patience_and_is_given_once():
    alarms = Alarms()
    said = [alarms.check(varied, 0.9, 0.1) for varied in (0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1)]
    assert [len(lines) for lines in said] == [0, 0, 0, 0, 0, 1, 0]
    assert said[5][0].startswith("Warning: samples vary 0.10 times as much")
    said = [alarms.check(0.9, 0.9, signs) for signs in (0.95, 0.95, 0.97)]
    assert said[:2] == [[], []] and "r_t 0.97" in said[2][0]
    said = [alarms.check(0.9, distinct, 0.1) for distinct in (0.3, 0.3, 0.2, 0.2)]
    assert [len(lines) for lines in said] == [0, 0, 1, 0] and "is 0.20 times as far" in said[2][0]


def test_a_training_that_goes_well_is_quiet():
    alarms = Alarms()
    assert not any(alarms.check(0.8, 0.8, 0.5) for _ in range(10))
