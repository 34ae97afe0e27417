"""Scale, noise, bias, activation, gain and clamp in one call."""

import tensorflow.compat.v1 as tf

from dnnlib.tflib.native import calls
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.precision import widened


def fused_bias_act(
    x,
    b=None,
    act="linear",
    alpha=None,
    gain=None,
    axis=-1,
    clamp=None,
    scale=None,
    noise=None,
):
    """clip(gain * act(x * scale + noise + b)).

    Args:
      x: tensor of any shape. Where it has 16 bits, the other tensors are float32 all the same:
        only x, the result, and their gradients are rounded.
      b: [C], C the size of ``axis``; None adds nothing.
      act: key of ACTIVATIONS.
      alpha: slope of "lrelu" below zero; None for 0.2. The others have no such parameter.
      gain: scale of the result; None for that of ACTIVATIONS.
      axis: the axis of b.
      clamp: limit of the result's absolute value; None for no limit.
      scale: [N, C], scale of each feature of each sample, with x [N, ..., C]; or None.
      noise: [N, ..., 1], one value for all features, with x [N, ..., C]; or None.

    Returns:
      Tensor shaped like x.

    Raises:
      ValueError: unknown activation; b, scale or noise do not fit x; clamp is negative.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"act={act!r}: must be one of {', '.join(ACTIVATIONS)}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp={clamp} must not be negative")
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else alpha
    gain = spec.gain if gain is None else gain
    x = tf.convert_to_tensor(x)
    axis = _checked_axis(x, b, axis)
    _check_extras(x, scale, noise, axis)
    if axis == x.shape.ndims - 1 and calls.can_bias_act(x, act, alpha, gain):
        return calls.bias_act(x, b, scale, noise, act, alpha, gain, clamp)
    y = bias_act_reference(widened(x), b, scale, noise, act, alpha, gain, clamp, axis)
    return tf.cast(y, x.dtype)


def scale_features(x, scale):
    """x, [N, P, C] or [N, H, W, C], times factors of its features, [N, C]."""
    if x.dtype.size == 2:  # one operation, whose gradient adds in float32
        return fused_bias_act(x, gain=1.0, scale=scale)
    if x.shape.ndims == 3:
        return x * tf.expand_dims(scale, 1)
    return x * scale[:, tf.newaxis, tf.newaxis]


def _checked_axis(x, b, axis):
    """The axis counted from the front."""
    rank = x.shape.ndims
    if not -rank <= axis < rank:
        raise ValueError(f"axis={axis} is not an axis of a tensor of rank {rank}")
    axis %= rank
    if b is not None and not x.shape[axis : axis + 1].is_compatible_with(b.shape):
        raise ValueError(f"bias of shape {b.shape} does not fit axis {axis} of {x.shape}")
    return axis


def _check_extras(x, scale, noise, axis):
    """Raise ValueError if scale or noise do not fit."""
    if scale is None and noise is None:
        return
    if axis != x.shape.ndims - 1:
        raise ValueError("scale and noise need the features along the last axis")
    wanted = tf.TensorShape([x.shape[0], x.shape[-1]])
    if scale is not None and not wanted.is_compatible_with(scale.shape):
        raise ValueError(f"scale of shape {scale.shape} does not fit {x.shape}")
    wanted = tf.TensorShape([*x.shape[:-1], 1])
    if noise is not None and not wanted.is_compatible_with(noise.shape):
        raise ValueError(f"noise of shape {noise.shape} does not fit {x.shape}")


def bias_act_reference(x, b, scale, noise, act, alpha, gain, clamp, axis=-1):
    """The same in plain TensorFlow: any device, any order of derivative."""
    rank = x.shape.ndims
    axis %= rank
    if scale is not None:
        x *= tf.reshape(scale, [-1] + [1] * (rank - 2) + [x.shape.as_list()[-1]])
    if noise is not None:
        x += noise
    if b is not None:
        if axis == rank - 1 > 0:
            x = tf.nn.bias_add(x, b)
        else:
            x += tf.reshape(b, [-1] + [1] * (rank - 1 - axis))
    x = ACTIVATIONS[act].fn(x, alpha)
    if gain != 1:
        x *= tf.constant(gain, x.dtype)
    if clamp is not None:
        x = tf.clip_by_value(x, -clamp, clamp)
    return x
