"""Gradients of the native ops. Imported once, after the library has been loaded.

The gradient of a filter is a filter, those of a convolution are convolutions. The gradient of bias
and activation is an op, which is linear in the incoming gradient; for piecewise linear activations
its own gradient is made of the same ops, so that derivatives of every order stay native. For smooth
activations, and for the attention, second and higher derivatives are those of the reference.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import native
from dnnlib.tflib.native import calls
from dnnlib.tflib.ops.attend import attend_reference
from dnnlib.tflib.ops.fir import Fir
from dnnlib.tflib.precision import widened

ATTEND_ATTRS = "heads integration normalise alpha gain"
TRANSPOSED = {"same": "same", "down": "up", "up": "down"}  # "same": with the filter turned
PIECEWISE_LINEAR = ("linear", "relu", "lrelu")
LINEAR = dict(act="linear", alpha=0.0, gain=1.0, clamp=-1.0)  # scale, noise and bias alone


@tf.RegisterGradient("GansformerUpfirdn")
def _upfirdn_grad(op, dy):
    fir = _fir(op)
    _, height, width, _ = op.inputs[0].shape.as_list()
    return calls.upfirdn(dy, fir.adjoint(height, width))


def _fir(op):
    """The Fir of an op."""
    taps, rates, pads = (op.get_attr(name) for name in ("taps", "rates", "pads"))
    if op.get_attr("row"):
        kernel = np.outer(op.get_attr("column"), op.get_attr("row"))
    else:
        kernel = np.reshape(op.get_attr("kernel"), taps)
    kernel = kernel[::-1, ::-1].astype(np.float32)
    return Fir(kernel, *rates, tuple(pads[:2]), tuple(pads[2:]))


@tf.RegisterGradient("GansformerBiasAct")
def _bias_act_grad(op, dy):
    x, bias, scale, noise = op.inputs
    act = _attr(op, "act")
    needs_x = act == "swish" or _is_present(scale)
    needs_y = act not in ("linear", "swish") or op.get_attr("clamp") >= 0
    dx, dbias, dscale, dnoise = native.library().gansformer_bias_act_grad(
        dy,
        x if needs_x else calls.absent(x),
        op.outputs[0] if needs_y else calls.absent(x),
        bias,
        scale,
        noise,
        **_attrs(op, "act alpha gain clamp"),
    )
    return dx, _or_none(dbias, bias), _or_none(dscale, scale), _or_none(dnoise, noise)


@tf.RegisterGradient("GansformerBiasActGrad")
def _bias_act_grad_grad(op, v_dx, v_dbias, v_dscale, v_dnoise):
    if _attr(op, "act") in PIECEWISE_LINEAR:
        return _linear_grad_grad(op, v_dx, v_dbias, v_dscale, v_dnoise)
    return _reference_gradients(_bias_act_grad_reference, op, [v_dx, v_dbias, v_dscale, v_dnoise])


def _linear_grad_grad(op, v_dx, v_dbias, v_dscale, v_dnoise):
    """With g = dy * slope:  dx = g scale, dbias = sum g, dscale = sum g x, dnoise = sum g.

    The sum of each of these times its v is the sum of g r, r = v_dx scale + v_dbias + v_dnoise +
    v_dscale x; and the slope does not depend on anything.
    """
    dy, x, y, bias, scale, noise = op.inputs
    no_map, none = calls.absent(dy), calls.absent()
    attrs = _attrs(op, "act alpha gain clamp")
    library = native.library()
    has_scale = _is_present(scale) and not _is_zero(v_dscale)

    add = [
        v if _is_present(t) and not _is_zero(v) else none
        for v, t in ((v_dbias, bias), (v_dnoise, noise))
    ]
    r = v_dx
    if _is_present(scale) or any(_is_present(v) for v in add):
        r = library.gansformer_bias_act(v_dx, add[0], scale, add[1], **LINEAR)
    if has_scale:
        r += library.gansformer_bias_act(x, none, v_dscale, none, **LINEAR)
    ddy = library.gansformer_bias_act_grad(r, no_map, y, none, none, none, **attrs)[0]

    d_x = d_scale = None
    if _is_present(scale):
        g = library.gansformer_bias_act_grad(dy, no_map, y, none, none, none, **attrs)[0]
        if has_scale:
            d_x = library.gansformer_bias_act(g, none, v_dscale, none, **LINEAR)
        d_scale = library.gansformer_bias_act_grad(g, v_dx, no_map, none, scale, none, **LINEAR)[2]
    return ddy, d_x, None, None, d_scale, None


def _bias_act_grad_reference(op, dy, x, y, bias, scale, noise):
    """The outputs of the gradient op as a differentiable function of its inputs.

    The slope is taken from y, as in the op ("swish": from x); y is an input like the others.
    """
    act, gain, clamp = (_attr(op, name) for name in ("act", "gain", "clamp"))
    rank, dtype = dy.shape.ndims, dy.dtype
    dy, x, y = widened(dy), widened(x), widened(y)
    inner = list(range(1, rank - 1))

    def wide(t):
        """[N, C] or [N, P] (as noise) => shape that broadcasts with dy."""
        return tf.reshape(t, [-1] + [1] * (rank - 2) + [t.shape.as_list()[-1]])

    argument = None
    if act == "swish":
        argument = x * wide(scale) if _is_present(scale) else x
        argument = argument + noise if _is_present(noise) else argument
        argument = argument + bias if _is_present(bias) else argument
    unit = None if act in ("linear", "swish") else y / gain
    g = dy * (gain * _slope(act, unit, argument))
    if clamp >= 0:
        g *= tf.cast(tf.abs(y) < clamp, g.dtype)
    dx = g * wide(scale) if _is_present(scale) else g
    dbias = tf.reduce_sum(g, axis=list(range(rank - 1))) if _is_present(bias) else None
    dscale = tf.reduce_sum(g * x, axis=inner) if _is_present(scale) else None
    dnoise = tf.reduce_sum(g, axis=-1, keepdims=True) if _is_present(noise) else None
    return [tf.cast(dx, dtype), dbias, dscale, dnoise]


def _slope(act, unit, argument):
    """Derivative of a smooth activation, from its result (from its argument for "swish")."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772  # of selu
    if act == "swish":
        s = tf.sigmoid(argument)
        return s * (1.0 + argument * (1.0 - s))
    return {
        "tanh": lambda: 1.0 - unit * unit,
        "sigmoid": lambda: unit * (1.0 - unit),
        "elu": lambda: tf.where(unit > 0, tf.ones_like(unit), unit + 1.0),
        "selu": lambda: tf.where(unit > 0, tf.ones_like(unit) * scale, unit + scale * alpha),
        "softplus": lambda: 1.0 - tf.exp(-unit),
    }[act]()


@tf.RegisterGradient("GansformerConv3x3")
def _conv3x3_grad(op, dy):
    """dx is dy with w turned, or in the transposed form; dw is x correlated with dy."""
    x, scale, w = op.inputs
    form, turned = _attr(op, "form"), _attr(op, "turned")
    library, none = native.library(), calls.absent(dy)
    back = dict(form=TRANSPOSED[form], turned=form == "same" and not turned)
    dx, dscale = _through_scale(library.gansformer_conv3x3(dy, none, w, **back), x, scale)
    if turned or form == "up":  # w stands the other way round
        dw = library.gansformer_conv3x3_filter(dy, none, _scaled(x, scale), form=back["form"])
    else:
        dw = library.gansformer_conv3x3_filter(x, scale, dy, form=form)
    return dx, dscale, dw


@tf.RegisterGradient("GansformerConv3x3Filter")
def _conv3x3_filter_grad(op, v):
    x, scale, dy = op.inputs
    form = _attr(op, "form")
    library, none = native.library(), calls.absent(dy)
    back = dict(form=TRANSPOSED[form], turned=form == "same")
    dx, dscale = _through_scale(library.gansformer_conv3x3(dy, none, v, **back), x, scale)
    return dx, dscale, library.gansformer_conv3x3(x, scale, v, form=form, turned=False)


@tf.RegisterGradient("GansformerConvNarrow")
def _conv_narrow_grad(op, v):
    """The sum of y times the convolution of x with w is linear in x, w and y.

    Each form of the op is its derivative by one of them, named ``result``, as a function of the two
    others; so the gradient by one of these is the derivative by it, with v in the place of the
    result.
    """
    result = _attr(op, "result")
    others = [name for name in ("x", "w", "y") if name != result]
    tensors = {result: v, **dict(zip(others, op.inputs))}

    def derivative(by):
        pair = [tensors[name] for name in ("x", "w", "y") if name != by]
        return native.library().gansformer_conv_narrow(*pair, result=by)

    return [derivative(name) for name in others]


def _scaled(x, scale):
    """x times its scale, if there is one."""
    none = calls.absent(x)
    if not _is_present(scale):
        return x
    return native.library().gansformer_bias_act(x, none, scale, none, **LINEAR)


def _through_scale(g, x, scale):
    """Gradient with respect to x * scale => those of x and of the scale."""
    if not _is_present(scale):
        return g, None
    none = calls.absent(g)
    dx, _, dscale, _ = native.library().gansformer_bias_act_grad(
        g, x, none, none, scale, none, **LINEAR
    )
    return dx, dscale


@tf.RegisterGradient("GansformerAttend")
def _attend_grad(op, dy):
    inputs, attrs = list(op.inputs), _attrs(op, ATTEND_ATTRS)
    y = op.outputs[0] if attrs["alpha"] != 1 else calls.absent(dy)  # saves the forward pass
    gradients = native.library().gansformer_attend_grad(dy, y, *inputs, **attrs)
    return [_or_none(gradient, t) for gradient, t in zip(gradients, inputs)]


@tf.RegisterGradient("GansformerAttendGrad")
def _attend_grad_grad(op, *grad_ys):
    return _reference_gradients(_attend_grad_reference, op, grad_ys)


def _attend_grad_reference(op, dy, y, x, *others):
    """The outputs of the gradient op as a differentiable function of its inputs.

    The slope of the leaky ReLU is taken from y, as in the op, and is a constant.
    """
    names = ["scale", "keys", "logits", "keep", "values", "bias", "noise", "act_bias"]
    tensors = {name: t if _is_present(t) else None for name, t in zip(names, others)}
    dtype, dy, y, x = x.dtype, widened(dy), widened(y), widened(x)
    attrs = _attrs(op, ATTEND_ATTRS)
    alpha, gain = attrs.pop("alpha"), attrs.pop("gain")
    out = attend_reference(x, **tensors, **attrs, alpha=1.0, gain=1.0)
    slope = gain
    if alpha != 1:
        slope = tf.where(y > 0, tf.ones_like(y) * gain, tf.ones_like(y) * (gain * alpha))
        slope = tf.stop_gradient(slope)
    present = [x] + [t for t in tensors.values() if t is not None]
    found = iter(tf.gradients(out, present, dy * slope))
    dx = tf.cast(next(found), dtype)
    return [dx] + [None if t is None else next(found) for t in tensors.values()]


def _reference_gradients(function, op, grad_ys):
    """Gradients of ``function(op, *inputs)`` with respect to the inputs of an op.

    The inputs are copied first: tf.gradients would follow the paths between them otherwise.
    """
    inputs = [tf.identity(t) for t in op.inputs]
    outputs = function(op, *inputs)
    pairs = [(y, v) for y, v in zip(outputs, grad_ys) if y is not None]
    return tf.gradients([y for y, _ in pairs], inputs, [v for _, v in pairs])


def _attr(op, name):
    """An attribute, text as str."""
    value = op.get_attr(name)
    return value.decode() if isinstance(value, bytes) else value


def _attrs(op, names):
    return {name: _attr(op, name) for name in names.split()}


def _is_present(t):
    """Whether an optional input is there: absent ones have the static shape [0]."""
    return t.shape.as_list() != [0]


def _is_zero(t):
    """Whether a tensor is known to be zero, as the gradient of an output that nobody uses is."""
    if t.op.type == "ZerosLike":
        return True
    value = tf.get_static_value(t) if hasattr(tf, "get_static_value") else None
    return value is not None and not np.any(value)


def _or_none(gradient, t):
    return gradient if _is_present(t) else None
