"""Gradients of every variable, native against reference, in states such as a training visits.

Rounding differs between the two, and a training's loss has kinks: where the argument of a leaky
ReLU changes its sign, a gradient jumps. So the bound of each variable comes from the reference
itself: how far its gradient moves when every weight moves to a neighbouring float32; and both are
medians over batches, in most of which no argument is that close to zero.
"""

import sys

import numpy as np
import pytest
from conftest import ROOT, session_config
from custom_ops import chosen

from config.resolve import add_facts, parse, resolve

sys.path.insert(0, str(ROOT / "bench"))

import native_gradients as compare

BATCH, RESOLUTION = 4, 16
OPTIONS = ["--gansformer-default", "--dataset=cats", f"--batch-size={BATCH}", "--gamma=1"]
OPTIONS += ["--components-num=2", "--latent-size=8", "--mapping-layersnum=2"]
# 16 channels everywhere, so that the native convolutions take part.
OPTIONS += ["--channel-base=256", "--channel-max=16", "--d-reg-interval=2"]
ATTENTION = {"duplex": ["--duplex", "--kmeans=false"], "kmeans": []}
# Convolutions by minimal filtering round up to ten times as coarsely as sums over taps do.
TIMES_ROUNDING, UNIT = 20, 2.0**-24
# In a saturated softmax p (d - sum of p d) cancels, which moving the weights does not show.
TIMES_ROUNDING_SATURATED = 100
NOTHING = 1e-5  # a variable's largest gradient, of that of its network, where rounding begins


@pytest.fixture(scope="module", params=[pytest.param("kmeans", marks=pytest.mark.slow), "duplex"])
def sides(request):
    """The same training with both forms of the operations, and the state that it begins in."""
    config = resolve(parse([*OPTIONS, *ATTENTION[request.param]]))
    add_facts(config, RESOLUTION, 3, 100, 0)
    settings = session_config()
    with chosen("native"):
        sides = {choice: compare.Side(config, choice, settings) for choice in ("native", "ref")}
    return {**sides, "fresh": sides["native"].state()}


def images(seed):
    """A batch of smooth pictures."""
    rng = np.random.RandomState(seed)
    coarse = rng.uniform(0, 256, [BATCH, 3, 5, 5])
    return np.kron(coarse, np.ones([8, 8]))[:, :, :RESOLUTION, 3 : 3 + RESOLUTION].astype(np.uint8)


def trained_like(fresh, seed):
    """All weights moved away from where they begin; noise strengths too, which begin at zero."""
    rng = np.random.RandomState(seed)
    moved = dict(fresh)
    for name, value in fresh.items():
        if name.startswith(("G/", "D/")) and value.dtype == np.float32:
            noise = rng.standard_normal(value.shape)
            scale = 0.3 if name.endswith("noise_strength") else 0.1 * max(value.std(), 0.5)
            moved[name] = (value + scale * noise).astype(np.float32)
    return moved


def median_errors(found, wanted):
    """{variable: median over batches of the largest error, relative to its largest gradient}."""
    errors = {name: [] for name in wanted[0]}
    for one, other in zip(found, wanted):
        least = NOTHING * max(np.abs(value).max() for value in other.values())
        for name, value in other.items():
            scale = max(np.abs(value).max(), least)
            errors[name].append(np.abs(one[name] - value).max() / scale)
    return {name: float(np.median(values)) for name, values in errors.items()}


def assert_same_gradients(sides, nimg, times=TIMES_ROUNDING):
    """In the state of the native side, for every phase and variable."""
    state = sides["native"].state()
    moved = compare.neighbours(state, np.random.RandomState(1))
    batches = [(nimg + BATCH * index, images(nimg + index)) for index in range(5)]
    for index, phase in enumerate(sides["native"].phases):
        gradients = []
        for choice, values in (("native", state), ("ref", state), ("ref", moved)):
            sides[choice].load(values)
            gradients.append([sides[choice].gradients(index, *batch) for batch in batches])
        native, reference, rounded = gradients
        errors, bounds = median_errors(native, reference), median_errors(rounded, reference)
        wrong = {
            name: (error, bounds[name])
            for name, error in errors.items()
            if not error <= times * max(bounds[name], UNIT)
        }
        assert not wrong, (phase.name, wrong)
        present = [name for name, value in reference[0].items() if value.any()]
        assert len(present) > 0.7 * len(errors), phase.name


def test_gradients_from_trained_states(sides):
    """Both losses and R1's second derivatives, in states that a training visits."""
    native = sides["native"]
    assert [phase.name for phase in native.phases] == ["G", "D", "D_reg"]
    native.load(trained_like(sides["fresh"], seed=0))
    for start in (0, 2, 6):
        assert_same_gradients(sides, start * BATCH)
        for step in range(start, 2 * start + 2):
            for index, phase in enumerate(native.phases):
                if step % phase.interval == 0:
                    native.gradients(index, step * BATCH, images(step), update=True)


@pytest.mark.parametrize("what", ["no noise", "scores x 100", "no bias"])
def test_gradients_at_special_values(sides, what):
    native = sides["native"]
    state = trained_like(sides["fresh"], seed=1)
    native.load(dict(compare.special_states(state))[what])
    times = TIMES_ROUNDING_SATURATED if what == "scores x 100" else TIMES_ROUNDING
    assert_same_gradients(sides, 40, times)


def test_updates_are_adams(sides):
    native = sides["native"]
    native.load(trained_like(sides["fresh"], seed=2))
    for index in range(len(native.phases)):
        adam, average = compare.check_update(native, index, 0, images(3))
        assert adam < 4
        assert average is None or average < 2
