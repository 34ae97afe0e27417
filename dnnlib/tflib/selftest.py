"""Does a device compute what it should? Products and convolutions against NumPy; native operations.

A TensorFlow that is older than a GPU may compute wrong results there, and say nothing. float32 has
to be float32: rounding the factors of products to 10 bits (tf32) exceeds the tolerance, too.
"""

from __future__ import annotations

import re
from collections import namedtuple

import numpy as np

from dnnlib import numpy_ops
from dnnlib.errors import UserError
from dnnlib.tflib import native
from dnnlib.tflib.compat import TF_VERSION, configure, tf
from dnnlib.tflib.native import build
from dnnlib.tflib.native.check import max_errors, one_of_each

TOLERANCE = 5e-5  # of float32; tf32 would err by 3e-4 in the same sums
WRONG = 1e-2  # no precision explains more, tf32 included

# name: for people. error: largest difference over largest value. ok: whether rounding explains it.
Result = namedtuple("Result", "name error ok")

# arrays: inputs by name. call: function of tensors by the same names. dy: gradient of its result.
# wanted: {name: float64 array}; "y" is the result, other names those of inputs: gradients.
_Case = namedtuple("_Case", "name arrays call dy wanted")


def check(device: str, with_native: bool = True) -> list[Result]:
    """Compare a device with NumPy in double precision, in seconds.

    Args:
      device: such as "/cpu:0" or "/gpu:0".
      with_native: compare native operations, too, with their references on the CPU, where there is
        a native library for the device; the choice of ``native.set_custom_ops`` holds.

    Returns:
      List of Result: the product of matrices, a convolution, both gradients of it, and every
      native operation, its gradients included. What fails has an infinite error, and the reason in
      its name.
    """
    configure()
    results, cases = [], [_matmul(), _convolution(tf_conv3x3)]
    has_native = with_native and native.library() is not None
    if has_native and (device.startswith("/cpu:") or native.has_cuda()):
        cases += one_of_each()
    for case in cases:
        is_native = not isinstance(case, _Case)
        try:
            errors = (_native_errors if is_native else _errors)(case, device)
        except tf.errors.OpError as error:
            said = re.sub(r"(?s)^.*\nNode: [^\n]*\n", "", error.message)  # where it was defined
            reason = said.strip().splitlines()[0][:400]
            name = f"{'native ' * is_native}{case.name}, which fails ({reason}),"
            results.append(Result(name, float("inf"), False))
            continue
        if case.name == "convolution":
            results += [_result(case.name, errors.pop("y"))]
            results += [_result(f"{case.name}, gradient of {n}", e) for n, e in errors.items()]
        else:
            results.append(_result("native " * is_native + case.name, max(errors.values())))
    return results


def refuse_wrong(devices: list[str]) -> None:
    """Compare products and convolutions of every device with NumPy's.

    Args:
      devices: such as ["/gpu:0", "/gpu:1"]. Logical CPU devices are one processor.

    Raises:
      UserError: a device is wrong.
    """
    for device in devices:
        if device.startswith("/cpu:") and device != devices[0]:
            continue
        for name, error, _ in check(device, with_native=False):
            if not error <= WRONG:
                raise UserError(
                    f"{device} computes wrong numbers: {name} differs from NumPy's by {error:.2g} "
                    f"of its largest value; {advice(device)}"
                )


def refuse_new_gpus(devices: list[str]) -> None:
    """As :func:`refuse_wrong`, if these are GPUs that TensorFlow 1.15's libraries do not know."""
    if TF_VERSION < (2, 0) and any(int(arch) >= 80 for arch in build.visible_cuda_archs()):
        refuse_wrong(devices)


def advice(device: str) -> str:
    """What to do about a device that is wrong."""
    if not device.startswith("/gpu:"):
        return "report it: this TensorFlow or processor is broken; other builds may be right"
    if TF_VERSION < (2, 0):
        return (
            f"TensorFlow {tf.__version__} is built for CUDA 10, which does not know GPUs of "
            "compute capability 8 and later: use the current TensorFlow (Python 3.10 to 3.13), "
            "or --gpus none"
        )
    return "do not compute on it: name others with --gpus, and update the driver or test the card"


def tf_conv3x3(x, w):
    """TensorFlow's own 3x3 convolution with zeros around the map."""
    return tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME")


def _result(name, error):
    return Result(name, error, bool(error <= TOLERANCE))  # not if it is NaN


def _config():
    config = tf.ConfigProto(allow_soft_placement=False)  # on this device or not at all
    config.gpu_options.allow_growth = True
    return config


def _native_errors(case, device):
    """As :func:`_errors`, of a native operation."""
    with tf.Graph().as_default(), tf.Session(config=_config()) as session:
        return max_errors(case, session, device=device, orders=1)


def _errors(case, device):
    """Largest relative error of the result ("y") and of each gradient."""
    with tf.Graph().as_default(), tf.device(device):
        # Fed, since TensorFlow computes what depends on constants alone beforehand, on the CPU.
        inputs = {name: tf.placeholder(tf.float32, x.shape) for name, x in case.arrays.items()}
        dy = tf.placeholder(tf.float32, case.dy.shape)
        found = {"y": case.call(**inputs)}
        names = [name for name in case.wanted if name != "y"]
        found.update(zip(names, tf.gradients(found["y"], [inputs[n] for n in names], dy)))
        feeds = {inputs[name]: x for name, x in case.arrays.items()}
        feeds[dy] = case.dy
        with tf.Session(config=_config()) as session:
            found = session.run(found, feeds)
    return {name: _relative(found[name], wanted) for name, wanted in case.wanted.items()}


def _relative(found, wanted):
    difference = np.abs(found.reshape(wanted.shape) - wanted)
    return float(np.max(difference) / np.max(np.abs(wanted)))


def _random(seed, **shapes):
    """{name: array}, float32."""
    rng = np.random.RandomState(seed)
    return {name: rng.randn(*shape).astype(np.float32) for name, shape in shapes.items()}


def _double(arrays):
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _matmul():
    arrays, dy = _random(0, a=[64, 320], b=[320, 136]), _random(1, dy=[64, 136])["dy"]
    exact = _double(arrays)
    wanted = dict(y=exact["a"] @ exact["b"], a=dy @ exact["b"].T, b=exact["a"].T @ dy)
    return _Case("product of matrices", arrays, tf.matmul, dy, wanted)


def _convolution(call):
    arrays = _random(2, x=[2, 19, 17, 32], w=[3, 3, 32, 48])
    dy = _random(3, dy=[2, 19, 17, 48])["dy"]
    y, dx, dw = numpy_ops.conv2d(**_double(arrays), dy=dy.astype(np.float64))
    return _Case("convolution", arrays, call, dy, dict(y=y, x=dx, w=dw))
