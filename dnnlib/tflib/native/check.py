"""Compare native operations with their references: values, first and second derivatives.

One table of cases, :func:`default_cases`, for ``--check`` and for the self-test of a device.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Iterator

import numpy as np

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.tflib import native
from dnnlib.tflib.compat import local_gpu_names, tf
from dnnlib.tflib.native import calls
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.ops.attend import attend_reference
from dnnlib.tflib.ops.conv_narrow import conv_narrow_reference
from dnnlib.tflib.ops.fir import Fir
from dnnlib.tflib.ops.fir_reference import fir_reference
from dnnlib.tflib.ops.fused_bias_act import bias_act_reference

# Largest difference, relative to the largest value, that rounding explains.
TOLERANCE = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 6e-2}

# name: for people. shapes: of the inputs, by name. native, reference: functions of the inputs.
Case = namedtuple("Case", "name shapes native reference")


def upfirdn_case(shape, kernel, up=(1, 1), down=(1, 1), pad_y=(0, 0), pad_x=(0, 0)) -> Case:
    """A filter; up and down are (y, x)."""
    fir = Fir(np.asarray(kernel, np.float32), *up, *down, pad_y, pad_x)
    name = f"upfirdn {shape} {fir.kernel.shape} up {up} down {down} pads {pad_y} {pad_x}"
    return Case(
        name, dict(x=shape), lambda x: calls.upfirdn(x, fir), lambda x: fir_reference(x, fir)
    )


def bias_act_case(shape, act, extras="b", alpha=0.3, gain=1.5, clamp=None) -> Case:
    """An activation; extras: letters of b, s(cale), n(oise)."""
    shapes = dict(x=shape)
    if "b" in extras:
        shapes["b"] = shape[-1:]
    if "s" in extras:
        shapes["scale"] = [shape[0], shape[-1]]
    if "n" in extras:
        shapes["noise"] = [*shape[:-1], 1]

    def call(function):
        def apply(x, b=None, scale=None, noise=None):
            return function(x, b, scale, noise, act, alpha, gain, clamp)

        return apply

    name = f"bias_act {shape} {act} with {extras or 'nothing'}, clamp {clamp}"
    return Case(name, shapes, call(calls.bias_act), call(bias_act_reference))


def attend_case(
    shape, slots, heads=1, integration="mul", normalise=True, extras="lksbna", shared=""
) -> Case:
    """An attention.

    Args:
      shape: of x, [N, P, C].
      slots: S.
      heads: M.
      integration: as in attend().
      normalise: as in attend().
      extras: letters of l(ogits), k(eep), s(cale), b(ias), n(oise), a(ctivation).
      shared: letters of what all samples share: k(eys), l(ogits), v(alues), and p: logits without
        positions.
    """
    size, positions, channels = shape
    width = channels * (2 if integration == "both" else 1)

    def per_sample(letter):
        return 1 if letter in shared else size

    shapes = dict(x=shape, keys=[per_sample("k"), slots, channels])
    shapes["values"] = [per_sample("v"), slots, width]
    optional = dict(
        l=("logits", [per_sample("l"), 1 if "p" in shared else positions, slots]),
        k=("keep", [size, positions, slots]),
        s=("scale", [size, channels]),
        b=("bias", [width]),
        n=("noise", [size, positions, 1]),
        a=("act_bias", [channels]),
    )
    shapes.update(optional[letter] for letter in extras)
    attrs = dict(heads=heads, integration=integration, normalise=normalise)
    attrs.update(alpha=0.2 if "a" in extras else 1.0, gain=1.3 if "a" in extras else 1.0)
    absent = {name: None for name, _ in optional.values()}

    def native_form(x, **tensors):
        return calls.attend(x, dict(absent, **tensors), attrs)

    def reference(x, **tensors):
        return attend_reference(x, **dict(absent, **tensors), **attrs)

    name = f"attend {shape}, {slots} slots, {heads} heads, {integration}, {extras}, shared {shared}"
    return Case(name, shapes, native_form, reference)


def conv3x3_case(shape, num_out, scaled=False, form="same") -> Case:
    """A 3x3 convolution of [N, H, W, I], with factors of x or without; form: as in conv3x3()."""
    size, height, width, num_in = shape
    shapes = dict(x=shape, w=[3, 3, num_in, num_out])
    if form == "up":
        shapes["w"] = [3, 3, num_out, num_in]
    if scaled:
        shapes["scale"] = [size, num_in]

    def call(x, w, scale=None):
        return calls.conv3x3(x, w, scale, form)

    def reference(x, w, scale=None):
        x = x if scale is None else x * scale[:, tf.newaxis, tf.newaxis]
        if form == "up":
            larger = [size, 2 * height + 1, 2 * width + 1, num_out]
            return tf.nn.conv2d_transpose(x, w, larger, strides=[1, 2, 2, 1], padding="VALID")
        strides, padding = ([1, 1, 1, 1], "SAME") if form == "same" else ([1, 2, 2, 1], "VALID")
        return tf.nn.conv2d(x, w, strides=strides, padding=padding)

    name = f"conv3x3 {form} {shape} to {num_out}{', scaled' if scaled else ''}"
    return Case(name, shapes, call, reference)


def conv_narrow_case(shape, num_out) -> Case:
    """A 3x3 convolution of [N, H, W, C] to few channels, with filters for each sample."""
    shapes = dict(x=shape, w=[shape[0], num_out * 9, shape[3]])
    name = f"conv_narrow {shape} to {num_out}"
    return Case(name, shapes, calls.conv_narrow, conv_narrow_reference)


def default_cases(dtype: str = "float32") -> Iterator[Case]:
    """Some of everything, small; sizes are odd on purpose. The first of a kind tests the most."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    skew = np.random.RandomState(0).randn(3, 4)
    yield upfirdn_case([2, 9, 7, 64], kernel, up=(2, 2), pad_y=(2, 1), pad_x=(2, 1))
    yield upfirdn_case([2, 9, 7, 5], kernel, pad_y=(2, 1), pad_x=(2, 1))
    yield upfirdn_case([2, 9, 7, 33], kernel, down=(2, 2), pad_y=(1, 1), pad_x=(1, 1))
    yield upfirdn_case([2, 9, 7, 6], skew, (3, 2), (1, 2), (-1, 3), (2, -2))
    for act in sorted(ACTIVATIONS, key=lambda act: act != "lrelu"):
        yield bias_act_case([2, 5, 6, 19], act, "bsn")
    if dtype == "float32":
        yield bias_act_case([3, 17, 20, 3], "lrelu", "b", clamp=0.8)
    else:  # Rounding may carry a result to the limit, where the slope jumps; none is near here.
        yield bias_act_case([3, 5, 4, 3], "lrelu", "b", clamp=1.68)
    yield bias_act_case([7, 33], "lrelu", "b")
    if dtype == "float32" and not native.has_cuda():
        for form in calls.MIN_CONV_POSITIONS:
            yield conv3x3_case([2, 9, 7, 32], 48, True, form)
        yield conv3x3_case([2, 17, 19, 32], 48, True)  # in larger patches
        yield conv_narrow_case([2, 9, 7, 32], 3)
    yield attend_case([2, 130, 40], 6, 2, "both")
    for integration in calls.INTEGRATIONS:
        yield attend_case([2, 30, 24], 5, 1, integration)
    yield attend_case([2, 300, 35], 12, 3, "both", True, "l", "klvp")
    yield attend_case([3, 9, 8], 64, 1, "mul", False, "lsn", "kl")


def one_of_each() -> list[Case]:
    """The first of the default cases for each operation."""
    found = {}
    for case in default_cases():
        found.setdefault(case.name.split()[0], case)
    return list(found.values())


def max_errors(
    case: Case, session: Any, dtype: str = "float32", device: str = "/cpu:0", orders: int = 2
) -> dict:
    """Largest relative differences of value, first and second derivatives.

    Args:
      case: Case.
      session: TensorFlow session whose graph may be added to.
      dtype: type of all inputs of the native form; the reference computes in float32.
      device: where; the reference is computed on the CPU.
      orders: of derivatives, 1 or 2.

    Returns:
      Dict of "value", "first x", "second x", ... to numbers.
    """
    rng = np.random.RandomState(1)
    inputs = {name: rng.randn(*shape).astype(np.float32) for name, shape in case.shapes.items()}
    feeds = {}  # constants would be folded, that is, everything computed on the CPU beforehand
    with tf.device(device):
        found = _derivatives(case.native, inputs, feeds, dtype, orders)
    with tf.device("/cpu:0"):  # Rounded in the same way, then computed exactly.
        wanted = _derivatives(case.reference, inputs, feeds, "float32", orders, rounded_to=dtype)
    assert set(found) <= set(wanted)
    found, wanted = session.run([found, wanted], feeds)
    errors = {}
    for name, value in wanted.items():
        other = found.get(name, 0.0)  # what the native form knows to be zero is left out
        scale = np.max(np.abs(value), initial=0.0) or 1.0
        errors[name] = float(np.max(np.abs(other - value), initial=0.0) / scale)
    return errors


def _derivatives(function, arrays, feeds, dtype, orders, rounded_to=None):
    """Dict of tensors: value, first and second derivatives along fixed directions."""
    rng = np.random.RandomState(2)

    def fed(array):
        tensor = tf.placeholder(tf.float32, array.shape)
        feeds[tensor] = array
        return tf.cast(tf.cast(tensor, rounded_to or dtype), dtype)

    inputs = {name: fed(array) for name, array in arrays.items()}
    y = function(**inputs)
    results = {"value": y}
    dy = fed(rng.randn(*y.shape.as_list()))
    first = tf.gradients(y, list(inputs.values()), dy)
    total = 0.0
    for name, gradient in zip(inputs, first):
        results[f"first {name}"] = gradient
        direction = fed(rng.randn(*gradient.shape.as_list()))
        total += tf.reduce_sum(tf.cast(gradient * direction, tf.float32))
    second = tf.gradients(total, [*inputs.values(), dy]) if orders == 2 else []
    for name, gradient in zip([*inputs, "dy"], second):
        if gradient is not None:
            results[f"second {name}"] = gradient
    return {name: tf.cast(value, tf.float32) for name, value in results.items()}


def check() -> None:
    """Compare everything on every device; log a table.

    Raises:
      UserError: there is no native library, or something differs by more than rounding.
    """
    if native.library() is None:
        raise UserError("--check: there are no native operations")
    worst, wrong = 0.0, []
    for device in ["/cpu:0", *local_gpu_names()]:
        dtypes = [tf.float32] if device == "/cpu:0" else calls.CUDA_DTYPES
        for dtype in (dtype.name for dtype in dtypes):
            tolerance = TOLERANCE[dtype]
            for case in default_cases(dtype):
                with tf.Graph().as_default(), tf.Session() as session:
                    errors = max_errors(case, session, dtype, device)
                name = max(errors, key=errors.get)
                worst = max(worst, errors[name] / tolerance)
                bad = not errors[name] <= tolerance
                wrong += [case.name] if bad else []
                util.log(
                    f"{'WRONG' if bad else 'ok   '} {device} {dtype:8s} {errors[name]:.1e} "
                    f"({name}) {case.name}"
                )
    if wrong:
        raise UserError(f"--check: {len(wrong)} operations differ from the reference: {wrong[0]}")
    util.log(f"All native operations agree; largest error {worst:.0%} of the tolerance.")
