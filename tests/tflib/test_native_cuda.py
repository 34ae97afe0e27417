"""The CUDA kernels, compiled for the CPU: their arithmetic, indices and barriers, without a GPU.

What this cannot show is speed, and faults that only real parallelism brings about.
"""

import itertools
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from bench import cuda_harness as harness
from dnnlib import util

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ROOT / "dnnlib" / "tflib" / "native" / "src"
SHIM = pathlib.Path(__file__).with_name("cuda_on_cpu.h")
TOLERANCE = [2e-5, 4e-3, 3e-2]  # of float32, float16, bfloat16


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """Every launcher, on host memory; compiled once for all workers of a test run."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "cuda_kernels.so"
    with util.lock(folder / "cuda_kernels.lock"):
        if not path.exists():
            command = ["g++", "-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-DGANSFORMER_EMULATE"]
            command += ["-include", str(SHIM), "-o", str(path)]
            for source in sorted(SOURCES.glob("*.cu")):
                command += ["-x", "c++", str(source)]
            subprocess.run(command, check=True)
    return harness.Kernels(path, harness.HostMemory())


def _rounded(arrays, type_):
    """What is left of float64 arrays in a type, as float64."""
    return {
        name: None if x is None else harness.from_type(harness.to_type(x, type_), type_)
        for name, x in arrays.items()
    }


def _put(kernels, arrays, type_):
    return {
        name: None if x is None else kernels.memory.put(harness.to_type(x, type_), type_)
        for name, x in arrays.items()
    }


def _space(kernels, shape, type_=0):
    """Room for results, filled with what no result is."""
    return kernels.memory.put(harness.to_type(np.full(shape, np.nan), type_), type_)


def _compare(found, wanted, type_, name):
    found = harness.from_type(found.get(), type_)
    scale = np.abs(wanted).max() or 1.0
    assert np.abs(found - wanted).max() / scale <= TOLERANCE[type_], name


SMOOTH = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0
SKEW = np.random.RandomState(0).randn(3, 5)


UPFIRDN = itertools.product(
    ([2, 11, 6, 3], [1, 9, 5, 16]),
    (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((3, 1), (2, 2))),
    (True, False),
    (0, 1, 2),
)


@pytest.mark.parametrize(("shape", "rates", "separable", "type_"), UPFIRDN)
def test_upfirdn(kernels, shape, rates, separable, type_):
    up, down = rates
    kernel = SMOOTH if separable else SKEW
    pads = ((2, 1), (3, 2))
    x = _rounded(dict(x=np.random.RandomState(1).randn(*shape)), type_)["x"]
    wanted = harness.upfirdn(x, kernel, up, down, pads)
    y = _space(kernels, wanted.shape, type_)
    factors = (np.array([1, 3, 3, 1]) / 8.0,) * 2 if separable else None
    x = kernels.memory.put(harness.to_type(x, type_), type_)
    kernels.upfirdn(x, y, kernel, up, down, (pads[0][0], pads[1][0]), factors)
    _compare(y, wanted, type_, "y")


BIAS_ACT = [
    (act, shape, extras, clamp, type_)
    for act, (shape, extras), clamp, type_ in itertools.product(
        harness.ACTS,
        (
            ([2, 70, 20], "sbn"),
            ([3, 5, 8], "b"),
            ([1, 130, 3], ""),
            ([2, 3, 300], "sn"),
            ([2, 66, 264], "sbn"),
        ),
        (None, 0.8),
        (0, 1, 2),
    )
][::7]


@pytest.mark.parametrize(("act", "shape", "extras", "clamp", "type_"), BIAS_ACT)
def test_bias_act(kernels, act, shape, extras, clamp, type_):
    rng = np.random.RandomState(2)
    size, positions, channels = shape
    arrays = dict(
        x=rng.randn(*shape),
        scale=rng.randn(size, channels) if "s" in extras else None,
        noise=rng.randn(size, positions) if "n" in extras else None,
        bias=rng.randn(channels) if "b" in extras else None,
    )
    arrays = _rounded(arrays, type_)
    dy = _rounded(dict(dy=rng.randn(*shape)), type_)["dy"]
    if clamp is not None:  # Rounding may carry a result to the limit.
        free = harness.bias_act(arrays, dy, act, 0.3, 1.5, None)["y"]
        dy = np.where(np.abs(np.abs(free) - clamp) < 0.01, 0.0, dy)
    wanted = harness.bias_act(arrays, dy, act, 0.3, 1.5, clamp)
    params = harness.BiasAct(
        *shape, harness.ACTS.index(act), 0.3, 1.5, np.nan if clamp is None else clamp
    )
    inputs = _put(kernels, arrays, type_)
    y = _space(kernels, shape, type_)
    kernels.bias_act(params, inputs, y)
    _compare(y, wanted["y"], type_, "y")

    y = kernels.memory.put(harness.to_type(wanted["y"], type_), type_)
    results = {
        name: _space(kernels, wanted[name].shape, type_)
        for name, present in (
            ("dx", True),
            ("dnoise", "n" in extras),
            ("dbias", "b" in extras),
            ("dscale", "s" in extras),
        )
        if present
    }
    blocks = -(-positions // harness.BIAS_BLOCK)
    sums = _space(kernels, [size * blocks, 2 * channels])
    dy = kernels.memory.put(harness.to_type(dy, type_), type_)
    kernels.bias_act_grad(params, inputs, dy, y, results, sums)
    for name, found in results.items():
        # From a rounded y, the slope of a smooth activation is not exact.
        _compare(found, wanted[name], max(type_, 1 if act == "softplus" else 0), name)
    sums.get()


ATTEND = [
    ([2, 21, 20], 5, 1, "mul", True, "sLkbna", "", 0),
    ([2, 21, 20], 5, 1, "both", True, "sLkbna", "", 0),
    ([2, 21, 20], 5, 1, "add", True, "sLkbna", "", 0),
    ([3, 9, 35], 24, 2, "mul", False, "L", "klv", 0),
    ([2, 9, 70], 40, 5, "both", True, "La", "klp", 0),
    ([1, 130, 130], 1, 1, "mul", True, "n", "", 0),
    ([2, 6, 300], 17, 1, "both", True, "sb", "v", 0),
    ([1, 3, 600], 64, 1, "mul", True, "Lk", "p", 0),
    ([2, 140, 64], 16, 2, "mul", True, "sLkbna", "k", 1),
    ([2, 10, 64], 8, 1, "both", True, "sLbna", "l", 2),
    ([2, 5, 1], 3, 3, "add", False, "k", "", 0),
]


@pytest.mark.parametrize(
    ("shape", "slots", "heads", "integration", "normalise", "extras", "shared", "type_"),
    ATTEND,
)
def test_attend(kernels, shape, slots, heads, integration, normalise, extras, shared, type_):
    rng = np.random.RandomState(3)
    size, positions, channels = shape
    width = channels * (2 if integration == "both" else 1)

    def optional(letter, *dims):
        return rng.randn(*dims) if letter in extras else None

    def samples(letter):
        return 1 if letter in shared else size

    arrays = dict(
        x=rng.randn(*shape),
        scale=optional("s", size, channels),
        keys=rng.randn(samples("k"), slots, channels) / np.sqrt(channels),
        logits=optional("L", samples("l"), 1 if "p" in shared else positions, slots),
        keep=optional("k", size, positions, slots),
        values=rng.randn(samples("v"), slots, width),
        bias=optional("b", width),
        noise=optional("n", size, positions),
        act_bias=optional("a", channels),
    )
    arrays = _rounded(arrays, type_)
    dy = _rounded(dict(dy=rng.randn(*shape)), type_)["dy"]
    alpha, gain = (0.2, 1.4) if "a" in extras else (1.0, 1.0)
    wanted = harness.attend(arrays, dy, heads, integration, normalise, alpha, gain)
    params = harness.Attend(
        *shape,
        heads,
        slots // heads,
        harness.INTEGRATIONS.index(integration),
        normalise,
        samples("k") == 1,
        samples("l") == 1,
        "p" in shared,
        samples("v") == 1,
        alpha,
        gain,
    )
    inputs = _put(kernels, arrays, type_)
    y = _space(kernels, shape, type_)
    kernels.attend(params, inputs, y)
    _compare(y, wanted["y"], type_, "y")

    results = {name: _space(kernels, x.shape, type_) for name, x in arrays.items() if x is not None}
    padded = -(-slots // 4) * 4
    rows = _space(kernels, [size * positions, 2 * padded + 4])
    blocks = -(-positions // harness.ATTEND_BLOCK)
    total = slots * (channels + width) + width + 2 * channels + slots
    sums = _space(kernels, [size * blocks, total])
    dy = kernels.memory.put(harness.to_type(dy, type_), type_)
    y = kernels.memory.put(harness.to_type(wanted["y"], type_), type_)
    kernels.attend_grad(params, inputs, dy, y, results, rows, sums)
    for name, found in results.items():
        _compare(found, wanted[name], type_, name)
    rows.get()
    sums.get()


def test_limits_are_named(kernels):
    shape = [1, 2, 4]
    params = harness.Attend(*shape, 1, 65, 0, False, True, True, True, True, 1.0, 1.0)
    arrays = dict(x=np.zeros(shape), keys=np.zeros([1, 65, 4]), values=np.zeros([1, 65, 4]))
    inputs = _put(kernels, arrays, 0)
    with pytest.raises(RuntimeError, match="too many slots"):
        kernels.attend(params, inputs, _space(kernels, shape))
    params = harness.Attend(1, 2, 1025, 1, 4, 0, False, True, True, True, True, 1.0, 1.0)
    with pytest.raises(RuntimeError, match="too many channels"):
        kernels.attend(params, inputs, _space(kernels, shape))
