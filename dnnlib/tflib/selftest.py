"""Does a device compute what it should? Products, convolutions, native operations against NumPy.

A TensorFlow that is older than a GPU may compute wrong results there, and say nothing. float32 has
to be float32: rounding the factors of products to 10 bits (tf32) exceeds the tolerance, too.
"""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Iterator

import numpy as np

from dnnlib import numpy_ops
from dnnlib.errors import UserError
from dnnlib.tflib import native
from dnnlib.tflib.compat import TF_VERSION, configure, tf
from dnnlib.tflib.native import build, calls
from dnnlib.tflib.ops.fir import Fir

TOLERANCE = 5e-5  # of float32; tf32 would err by 3e-4 in the same sums
WRONG = 1e-2  # no precision explains more, tf32 included

# name: for people. error: largest difference over largest value. ok: whether rounding explains it.
Result = namedtuple("Result", "name error ok")

# arrays: inputs by name. call: function of tensors by the same names. dy: gradient of its result.
# wanted: {name: float64 array}; "y" is the result, other names those of inputs: gradients.
_Case = namedtuple("_Case", "name arrays call dy wanted")


def check(device: str, with_native: bool = True) -> list[Result]:
    """Compare a device with NumPy in double precision, in a second or two.

    Args:
      device: such as "/cpu:0" or "/gpu:0".
      with_native: compare native operations, too, where there is a native library for the device;
        the choice of ``native.set_custom_ops`` holds.

    Returns:
      List of Result: the product of matrices, a convolution, both gradients of it, and every
      native operation, its gradients included. What fails has an infinite error, and the reason in
      its name.
    """
    configure()
    results, cases = [], [_matmul(), _convolution(tf_conv3x3, "convolution")]
    for case in [*cases, *(_native_cases(device) if with_native else [])]:
        try:
            errors = _errors(case, device)
        except tf.errors.OpError as error:
            said = re.sub(r"(?s)^.*\nNode: [^\n]*\n", "", error.message)  # where it was defined
            reason = said.strip().splitlines()[0][:400]
            results.append(Result(f"{case.name}, which fails ({reason}),", float("inf"), False))
            continue
        if case.name == "convolution":
            results += [_result(case.name, errors.pop("y"))]
            results += [_result(f"{case.name}, gradient of {n}", e) for n, e in errors.items()]
        else:
            results.append(_result(case.name, max(errors.values())))
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


def _errors(case, device):
    """Largest relative error of the result ("y") and of each gradient."""
    config = tf.ConfigProto(allow_soft_placement=False)  # on this device or not at all
    config.gpu_options.allow_growth = True
    with tf.Graph().as_default(), tf.device(device):
        # Fed, since TensorFlow computes what depends on constants alone beforehand, on the CPU.
        inputs = {name: tf.placeholder(tf.float32, x.shape) for name, x in case.arrays.items()}
        dy = tf.placeholder(tf.float32, case.dy.shape)
        found = {"y": case.call(**inputs)}
        names = [name for name in case.wanted if name != "y"]
        found.update(zip(names, tf.gradients(found["y"], [inputs[n] for n in names], dy)))
        feeds = {inputs[name]: x for name, x in case.arrays.items()}
        feeds[dy] = case.dy
        with tf.Session(config=config) as session:
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


def _convolution(call, name):
    arrays = _random(2, x=[2, 19, 17, 32], w=[3, 3, 32, 48])
    dy = _random(3, dy=[2, 19, 17, 48])["dy"]
    y, dx, dw = numpy_ops.conv2d(**_double(arrays), dy=dy.astype(np.float64))
    return _Case(name, arrays, call, dy, dict(y=y, x=dx, w=dw))


def _native_cases(device) -> Iterator[_Case]:
    """One of each native operation that the device has."""
    on_cpu = "cpu" in device.lower()
    if native.library() is None or not (on_cpu or native.has_cuda()):
        return
    yield _filter("native upfirdn, up", (2, 2), (1, 1))
    yield _filter("native upfirdn, down", (1, 1), (2, 2))
    yield _bias_act()
    yield _attend()
    if on_cpu:  # on GPUs convolutions are TensorFlow's
        yield _convolution(calls.conv3x3, "native conv3x3")
        yield _conv_narrow()


def _filter(name, up, down):
    arrays = _random(4, x=[2, 13, 11, 20])
    taps, pads = np.outer([1, 3, 3, 1], [1, 2, 4, 1]) / 64.0, ((2, 1), (2, 1))
    fir = Fir(taps.astype(np.float32), *up, *down, *pads)
    y = numpy_ops.upfirdn(arrays["x"].astype(np.float64), taps, up, down, pads)
    return _Case(name, arrays, lambda x: calls.upfirdn(x, fir), y.astype(np.float32), dict(y=y))


def _bias_act():
    arrays = _random(5, x=[2, 130, 35], scale=[2, 35], noise=[2, 130], bias=[35])
    dy = _random(6, dy=[2, 130, 35])["dy"]
    wanted = numpy_ops.bias_act(_double(arrays), dy.astype(np.float64), "lrelu", 0.2, 1.4, None)
    wanted = {name[1:] if name != "y" else name: value for name, value in wanted.items()}

    def call(x, scale, noise, bias):
        return calls.bias_act(x, bias, scale, noise[:, :, tf.newaxis], "lrelu", 0.2, 1.4, None)

    return _Case("native bias_act", arrays, call, dy, wanted)


def _attend():
    shapes = dict(x=[2, 130, 40], scale=[2, 40], keys=[2, 6, 40], logits=[1, 130, 6])
    shapes.update(keep=[2, 130, 6], values=[2, 6, 80], bias=[80], noise=[2, 130], act_bias=[40])
    arrays, dy = _random(7, **shapes), _random(8, dy=[2, 130, 40])["dy"]
    arrays["keys"] *= np.float32(0.2)
    attrs = dict(heads=2, integration="both", normalise=True, alpha=0.2, gain=1.4)
    wanted = numpy_ops.attend(_double(arrays), dy.astype(np.float64), **attrs)

    def call(x, noise, **tensors):
        return calls.attend(x, dict(tensors, noise=noise[:, :, tf.newaxis]), attrs)

    return _Case("native attend", arrays, call, dy, wanted)


def _conv_narrow():
    size, channels, results = 2, 32, 3
    arrays = _random(9, x=[size, 9, 7, channels], w=[size, results * 9, channels])
    dy = _random(10, dy=[size, 9, 7, results])["dy"]
    wanted = dict(y=[], x=[], w=[])
    for x, w, d in zip(arrays["x"], arrays["w"], dy):  # filters for each sample
        filters = w.reshape(results, 3, 3, channels).transpose(1, 2, 3, 0)
        exact = (t.astype(np.float64) for t in (x[np.newaxis], filters, d[np.newaxis]))
        y, dx, dw = numpy_ops.conv2d(*exact)
        dw = dw.transpose(3, 0, 1, 2).reshape(results * 9, channels)
        for name, value in zip("yxw", (y[0], dx[0], dw)):
            wanted[name].append(value)
    wanted = {name: np.stack(value) for name, value in wanted.items()}
    return _Case("native conv_narrow", arrays, calls.conv_narrow, dy, wanted)
