"""Check a machine: versions, compilers, and whether its devices compute what NumPy does.

    python run_network.py --doctor

writes one line for each check, with a way out after each failure. A device can be wrong without an
error: the CUDA 10 libraries of TensorFlow 1.15 do so on GPUs that are newer than they are.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import shutil
import subprocess
import sys
from typing import Any, Iterator

import numpy as np

from dnnlib import cli, util
from dnnlib.errors import UserError

PYTHONS = ((3, 7), (3, 10), (3, 11), (3, 12), (3, 13))
TOLERANCE = 1e-4  # relative to the largest value; float32 sums of a few hundred products
WRONG = 1e-2  # no precision explains more, tf32 included


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


def refuse_wrong(devices: list[str]) -> None:
    """Compare products and convolutions of every device with NumPy's, in a second or so.

    Args:
      devices: TensorFlow's names, such as "/gpu:0". Logical CPU devices are one processor.

    Raises:
      UserError: a device is wrong.
    """
    for device in devices:
        if device.startswith("/cpu:") and device != devices[0]:
            continue
        for name, error, _ in check_products(device):
            if not error <= WRONG:
                raise UserError(
                    f"{device} computes wrong numbers: {name} differs from NumPy's by {error:.2g} "
                    f"of its largest value; {_advice(device)}"
                )


def _all_lines(gpus: str | None, custom_ops: str) -> Iterator[Line]:
    yield _python_line()
    drivers = _nvidia_lines()
    yield from drivers
    devices, settings = cli.start_tensorflow(gpus, custom_ops)
    yield from _tensorflow_lines(devices, bool(drivers) and gpus is None)
    yield from _compiler_lines(custom_ops)
    for device in devices:
        for name, error, is_right in _checks(device, settings):
            advice = "" if is_right else _advice(device)
            yield Line(f"{device} {name}", f"differs from NumPy by {error:.1e}", advice)


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


# Numbers


def _checks(device: str, settings: dict) -> Iterator[tuple[str, float, bool]]:
    """(name, largest relative error, whether it is small enough) of each operation."""
    yield from check_products(device, settings)
    if importlib.util.find_spec("dnnlib.tflib.selftest"):
        yield from importlib.import_module("dnnlib.tflib.selftest").check(device)


def check_products(device: str, settings: dict | None = None) -> list[tuple[str, float, bool]]:
    """Compare matrix products, convolutions and their gradients with NumPy's.

    Args:
      device: TensorFlow's name.
      settings: of the session, see dnnlib.tflib.create_session.

    Returns:
      List of (name, largest difference relative to the largest value, whether it is rounding).
    """
    from dnnlib import tflib  # noqa: PLC0415 - TensorFlow takes seconds to load
    from dnnlib.tflib.compat import tf  # noqa: PLC0415

    random = np.random.RandomState(0)
    tensors, wanted = {}, {}
    with tf.Graph().as_default(), tf.device(device):
        for rows, inner, columns in ((67, 131, 59), (512, 256, 384)):
            a, b = random.randn(rows, inner), random.randn(inner, columns)
            name = f"matmul {rows}x{inner}x{columns}"
            wanted[name] = a @ b
            tensors[name] = tf.matmul(tf.constant(a, tf.float32), tf.constant(b, tf.float32))
        for channels, stride in ((24, 1), (64, 2)):
            x, w = random.randn(3, 17, 13, channels), random.randn(3, 3, channels, 40) / 3
            y, x_gradient, w_gradient = _convolve(x, w, stride)
            name = f"convolution {channels} to 40, stride {stride}"
            names = (name, f"{name}, dx", f"{name}, dw")
            wanted.update(zip(names, (y, x_gradient, w_gradient)))
            x, w = tf.constant(x, tf.float32), tf.constant(w, tf.float32)
            y = tf.nn.conv2d(x, w, [1, stride, stride, 1], "VALID", name=f"convolution{stride}")
            tensors.update(zip(names, (y, *tf.gradients(tf.nn.l2_loss(y), (x, w)))))
        defaults = {"gpu_options.allow_growth": True, "allow_soft_placement": True}
        if not device.endswith(":0") and device.startswith("/cpu:"):
            defaults["device_count.CPU"] = int(device.rpartition(":")[2]) + 1
        with tflib.create_session({**defaults, **(settings or {})}) as session:
            found = session.run(tensors)
    errors = {name: _relative_error(found[name], value) for name, value in wanted.items()}
    return [(name, error, error <= TOLERANCE) for name, error in errors.items()]


def _convolve(x, w, stride):
    """A convolution without padding, and the gradients of half of the sum of its squares.

    Args:
      x: [N, H, W, I] float64.
      w: [3, 3, I, O].
      stride: int.

    Returns:
      y [N, H, W, O], and the gradients to x and w.
    """
    size = w.shape[0]
    height, width = [(side - size) // stride + 1 for side in x.shape[1:3]]
    y = np.zeros([len(x), height, width, w.shape[-1]])

    def window(row, column):
        rows = slice(row, row + (height - 1) * stride + 1, stride)
        return slice(None), rows, slice(column, column + (width - 1) * stride + 1, stride)

    taps = [(row, column) for row in range(size) for column in range(size)]
    for tap in taps:
        y += x[window(*tap)] @ w[tap]
    x_gradient, w_gradient = np.zeros_like(x), np.zeros_like(w)
    for tap in taps:
        x_gradient[window(*tap)] += y @ w[tap].T
        w_gradient[tap] = np.tensordot(x[window(*tap)], y, ([0, 1, 2], [0, 1, 2]))
    return y, x_gradient, w_gradient


def _relative_error(found, wanted) -> float:
    """Largest difference relative to the largest value; infinity if something is not finite."""
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _advice(device: str) -> str:
    from dnnlib.tflib.compat import TF_VERSION  # noqa: PLC0415

    if not device.startswith("/gpu:"):
        return "report it: this TensorFlow or processor is broken; other builds may be right"
    if TF_VERSION < (2, 0):
        return (
            "TensorFlow 1.15 is built for CUDA 10, which does not know GPUs of compute capability "
            "8 and later: use a current Python (make), or --gpus none"
        )
    return "do not train on it: name others with --gpus, and update the driver or test the card"
