"""Warnings of collapse and overfitting."""

import numpy as np
import pytest

from training.alarms import Alarms, variety


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


def test_an_alarm_wants_patience_and_is_given_once():
    alarms = Alarms()
    said = [alarms.check(varied, 0.1) for varied in (0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1)]
    assert [len(lines) for lines in said] == [0, 0, 0, 0, 0, 1, 0]
    assert said[5][0].startswith("Warning: samples vary 0.10 times as much")
    said = [alarms.check(0.9, signs) for signs in (0.95, 0.95, 0.97)]
    assert said[:2] == [[], []] and "r_t 0.97" in said[2][0]


def test_a_training_that_goes_well_is_quiet():
    alarms = Alarms()
    assert not any(alarms.check(0.8, 0.5) for _ in range(10))
