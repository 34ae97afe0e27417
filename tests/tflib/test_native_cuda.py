"""The CUDA kernels, compiled for the CPU: their arithmetic, indices and barriers, without a GPU.

What this cannot show is speed, and faults that only real parallelism brings about.
"""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dnnlib import util

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import cuda_cases  # noqa: E402 - after the path
import cuda_harness as harness  # noqa: E402
import cuda_kernels  # noqa: E402

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


def _compare(job, type_, loose=()):
    for name, error in cuda_cases.errors(job).items():
        assert error <= TOLERANCE[1 if name in loose and type_ == 0 else type_], (job.name, name)


TAPS = np.array([1, 3, 3, 1]) / 8.0
SKEW = np.random.RandomState(0).randn(3, 5)


UPFIRDN = itertools.product(
    ([2, 11, 6, 3], [1, 9, 5, 16]),
    (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((3, 1), (2, 2))),
    (True, False),
    (0, 1, 2),
)


@pytest.mark.parametrize(("shape", "rates", "separable", "type_"), UPFIRDN)
def test_upfirdn(kernels, shape, rates, separable, type_):
    kernel, factors = (None, (TAPS, TAPS)) if separable else (SKEW, None)
    maker = cuda_cases.Maker(kernels, type_)
    _compare(maker.upfirdn(shape, *rates, ((2, 1), (3, 2)), kernel, factors), type_)


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
    forward, backward = cuda_cases.Maker(kernels, type_).bias_act(shape, act, extras, clamp)
    _compare(forward, type_)
    # From a rounded y, the slope of softplus is not exact.
    _compare(backward, type_, backward.found if act == "softplus" else ())


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
    ([2, 270, 40], 6, 2, "mul", True, "sLk", "p", 0),
    ([2, 150, 33], 33, 3, "add", True, "L", "lp", 0),
]


@pytest.mark.parametrize("case", ATTEND, ids=str)
def test_attend(kernels, case):
    for job in cuda_cases.Maker(kernels, case[-1]).attend(*case[:-1]):
        _compare(job, case[-1])


def test_an_empty_batch_has_gradients_of_zero(kernels):
    maker = cuda_cases.Maker(kernels)
    jobs = [maker.bias_act(shape, "lrelu", "sbn")[1] for shape in ([0, 5, 8], [3, 0, 8])]
    for shape, shared in (([0, 6, 8], "klv"), ([0, 6, 8], "klvp"), ([2, 0, 8], "v")):
        jobs.append(maker.attend(shape, 4, extras="sLkbna", shared=shared)[1])
    for job in jobs:
        job.run()
        found = [array.get() for array in job.found.values()]
        assert sum(array.size for array in found)
        assert not any(array.any() for array in found), job.name


def test_half_conversion_is_ieee(kernels):
    """Every finite float16 passes unchanged; floats round to the nearest, ties to even."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape([1, -1, 16])
    for gain in (1.0, 1.0 / 3.0, 3.0):
        params = harness.BiasAct(*every.shape, harness.ACTS.index("linear"), 0.0, gain, np.nan)
        y = kernels.memory.put(np.zeros_like(every), 1)
        kernels.bias_act(params, dict(x=kernels.memory.put(every, 1)), y)
        with np.errstate(over="ignore"):
            wanted = (every.astype(np.float32) * np.float32(gain)).astype(np.float16)
        np.testing.assert_array_equal(y.get(), wanted)


def test_limits_are_named(kernels):
    maker = cuda_cases.Maker(kernels)
    with pytest.raises(RuntimeError, match="too many slots"):
        maker.attend([1, 2, 4], 65)[0].run()
    with pytest.raises(RuntimeError, match="too many channels"):
        maker.attend([1, 2, 1025], 4)[1].run()


def test_benchmark_names_what_was_compiled(tmp_path, monkeypatch, capsys):
    """Where there is no GPU, and nvcc no longer knows the oldest architecture."""
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(
        "#!/bin/sh\n"
        "test $1 = --list-gpu-arch && echo compute_75 compute_80 compute_90\n"
        "test $1 = --version && echo Cuda compilation tools, release 13.0\n"
        f'echo "$@" >> {tmp_path}/calls\n'
    )
    nvcc.chmod(0o755)
    monkeypatch.setenv("NVCC", str(nvcc))
    monkeypatch.setattr(cuda_kernels, "gpu_arch", lambda: None)
    monkeypatch.setattr(sys, "argv", ["cuda_kernels.py"])
    cuda_kernels.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"sm_70: not compiled: it needs an nvcc of CUDA 12 (set NVCC); {nvcc} is of CUDA 13.0"
    )
    assert lines[-3:] == [
        "sm_80: compiled",
        "sm_90: compiled",
        "There is no GPU here: nothing was run.",
    ]
    calls = (tmp_path / "calls").read_text().splitlines()
    for source in SOURCES.glob("*.cu"):
        assert sum(f" {source}" in call and "sm_80" in call for call in calls) == 1


def test_comparison_on_random_shapes(kernels, capsys):
    """What the benchmark does first on a GPU."""
    assert cuda_kernels.check(kernels, rounds=4) == 0
    assert capsys.readouterr().out.count("ok ") == 4 * 5
