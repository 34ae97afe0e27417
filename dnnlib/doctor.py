"""Check a machine: versions, compilers, and whether its devices compute what NumPy does.

    python run_network.py --doctor

writes one line for each check, with a way out after each failure. A device can be wrong without an
error: the CUDA 10 libraries of TensorFlow 1.15 do so on GPUs that are newer than they are.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, Iterator

import numpy as np

from dnnlib import cli, util
from dnnlib.errors import UserError

PYTHONS = ((3, 7), (3, 10), (3, 11), (3, 12), (3, 13))


class Line:
    """Result of a check. ``advice`` tells what to do about a failure; empty if all is well."""

    def __init__(self, name: str, found: str, advice: str = "") -> None:
        self.name, self.found, self.advice = name, found, advice

    def __str__(self) -> str:
        text = f"{'FAIL' if self.advice else 'ok':<5}{self.name:<34} {self.found}"
        return f"{text}; {self.advice}" if self.advice else text


def examine(gpus: str | None = None, custom_ops: str = "auto") -> None:
    """Check everything and write the lines.

    Args:
      gpus: see dnnlib.cli.choose_gpus.
      custom_ops: see dnnlib.tflib.native.set_custom_ops.

    Raises:
      UserError: a check failed.
    """
    lines = []
    for line in _all_lines(gpus, custom_ops):
        util.log(str(line))
        lines.append(line)
    failed = sum(bool(line.advice) for line in lines)
    if failed:
        raise UserError(
            f"--doctor: {failed} of {len(lines)} checks failed; do what their lines say"
        )
    util.log(f"All {len(lines)} checks passed.")


def _all_lines(gpus: str | None, custom_ops: str) -> Iterator[Line]:
    yield _python_line()
    drivers = _nvidia_lines()
    yield from drivers
    devices, _ = cli.start_tensorflow(gpus, custom_ops, refuse_wrong=False)
    yield from _tensorflow_lines(devices, bool(drivers) and gpus is None)
    yield from _compiler_lines(custom_ops)
    from dnnlib.tflib import selftest  # noqa: PLC0415 - TensorFlow takes seconds to load

    for device in devices if devices[0].startswith("/gpu:") else devices[:1]:
        for name, error, ok in selftest.check(device):
            advice = "" if ok else selftest.advice(device)
            yield Line(f"{device} {name}", f"differs from NumPy by {error:.1e}", advice)


def device_names(devices: list[str]) -> list[str]:
    """What the devices are, for people, such as "/gpu:0: NVIDIA A100, ..."."""
    gpus = _nvidia_lines() if devices[0].startswith("/gpu:") else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if re.fullmatch(r"\d+(,\d+)*", visible):
        gpus = [
            line for index in visible.split(",") for line in gpus if line.name == f"GPU {index}"
        ]
    if not gpus:
        return [f"{device}: {_processor()}" for device in devices]
    return [f"{device}: {line.found}" for device, line in zip(devices, gpus)]


def _processor() -> str:
    """Name of this machine's processor."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.*)", text)
    return found.group(1) if found else platform.machine()


# Versions


def _python_line() -> Line:
    version = platform.python_version()
    is_known = sys.version_info[:2] in PYTHONS
    advice = "" if is_known else "supported are 3.7, with TensorFlow 1.15, and 3.10 to 3.13"
    return Line("Python", f"{version} on {platform.platform()}", advice)


def _nvidia_lines() -> list[Line]:
    """A line for each GPU that the driver knows."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["--query-gpu=index,name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(["nvidia-smi", *query], stdout=-1, stderr=-2, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return [Line("NVIDIA driver", str(error), "reinstall the driver")]
    rows = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode:
        found = rows[0] if rows else f"nvidia-smi ends with status {done.returncode}"
        return [Line("NVIDIA driver", found, "reinstall the driver, or restart the machine")]
    lines = []
    for row in rows:
        index, name, driver, memory = [part.strip() for part in row.split(",")]
        lines.append(Line(f"GPU {index}", f"{name}, {memory}, driver {driver}"))
    return lines


def _tensorflow_lines(devices: list[str], expects_gpu: bool) -> Iterator[Line]:
    from dnnlib.tflib.compat import tf  # noqa: PLC0415 - TensorFlow takes seconds to load

    yield Line("TensorFlow", tf.__version__)
    yield Line("NumPy", np.__version__)
    info = _build_info()
    if info.get("cuda_version"):
        yield Line("CUDA of this TensorFlow", info["cuda_version"])
        yield Line("cuDNN of this TensorFlow", info.get("cudnn_version", "unknown"))
    else:
        yield Line("CUDA of this TensorFlow", "none, it is built for CPUs")
    has_gpu = any(device.startswith("/gpu:") for device in devices)
    advice = ""
    if expects_gpu and not has_gpu:
        advice = "the driver sees a GPU and TensorFlow does not: pip install 'tensorflow[and-cuda]'"
    yield Line("Devices", ", ".join(devices), advice)


def _build_info() -> dict[str, Any]:
    """Versions of CUDA and cuDNN that TensorFlow was built with, as far as it tells."""
    from dnnlib.tflib.compat import tf  # noqa: PLC0415

    if hasattr(tf.sysconfig, "get_build_info"):
        return dict(tf.sysconfig.get_build_info())
    try:  # TensorFlow 1.15
        info = importlib.import_module("tensorflow.python.platform.build_info")
    except ImportError:
        return {}
    names = {"cuda_version": "cuda_version_number", "cudnn_version": "cudnn_version_number"}
    return {ours: getattr(info, theirs) for ours, theirs in names.items() if hasattr(info, theirs)}


def _compiler_lines(custom_ops: str) -> Iterator[Line]:
    """Compilers, and whether the native operations can be had; they are optional."""
    from dnnlib.tflib import native  # noqa: PLC0415
    from dnnlib.tflib.native import build  # noqa: PLC0415

    try:
        toolchain = build.find_toolchain()
    except build.Unavailable as error:
        yield Line("Compiler", f"native operations are replaced by slower ones: {error}")
        return
    yield Line("C++ compiler", f"{toolchain.cxx}: {toolchain.cxx_version.splitlines()[0]}")
    if toolchain.nvcc:
        yield Line("CUDA compiler", f"{toolchain.nvcc}, {toolchain.nvcc_version.splitlines()[-1]}")
    if native.library() is not None:
        yield Line("Native operations", "compiled")
    else:
        advice = (
            "" if custom_ops == "ref" else "run with --custom-ops native for the compiler's words"
        )
        yield Line("Native operations", "not in use", advice)
