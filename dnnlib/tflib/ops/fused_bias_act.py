"""Bias, activation, gain and clamp in one call."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

Activation = namedtuple("Activation", "fn alpha gain")  # gain: keeps the second moment (He)

# fmt: off
ACTIVATIONS = {
    "linear":   Activation(lambda x, alpha: x,                       alpha=0.0, gain=1.0),
    "relu":     Activation(lambda x, alpha: tf.nn.relu(x),           alpha=0.0, gain=np.sqrt(2)),
    "lrelu":    Activation(tf.nn.leaky_relu,                        alpha=0.2, gain=np.sqrt(2)),
    "tanh":     Activation(lambda x, alpha: tf.nn.tanh(x),           alpha=0.0, gain=1.0),
    "sigmoid":  Activation(lambda x, alpha: tf.nn.sigmoid(x),        alpha=0.0, gain=1.0),
    "elu":      Activation(lambda x, alpha: tf.nn.elu(x),            alpha=0.0, gain=1.0),
    "selu":     Activation(lambda x, alpha: tf.nn.selu(x),           alpha=0.0, gain=1.0),
    "softplus": Activation(lambda x, alpha: tf.nn.softplus(x),       alpha=0.0, gain=1.0),
    "swish":    Activation(lambda x, alpha: x * tf.nn.sigmoid(x),    alpha=0.0, gain=np.sqrt(2)),
}
# fmt: on


def fused_bias_act(x, b=None, act="linear", alpha=None, gain=None, axis=-1, clamp=None):
    """clip(gain * act(x + b)).

    Args:
      x: tensor of any shape.
      b: [C], C the size of ``axis``; None adds nothing.
      act: key of ACTIVATIONS.
      alpha: slope of "lrelu" below zero; None for 0.2. The others have no such parameter.
      gain: scale of the result; None for that of ACTIVATIONS.
      axis: the axis of b.
      clamp: limit of the result's absolute value; None for no limit.

    Returns:
      Tensor shaped like x.

    Raises:
      ValueError: unknown activation; b is no vector of the axis's size; clamp is negative.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"no activation '{act}'; there are {', '.join(ACTIVATIONS)}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp={clamp} must not be negative")
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else alpha
    gain = spec.gain if gain is None else gain
    x = tf.convert_to_tensor(x)
    axis = _checked_axis(x, b, axis)
    return _reference(x, b, spec, alpha, gain, axis, clamp)


def _checked_axis(x, b, axis):
    """The axis counted from the front."""
    rank = x.shape.ndims
    if not -rank <= axis < rank:
        raise ValueError(f"axis={axis} is not an axis of a tensor of rank {rank}")
    axis %= rank
    if b is not None and not x.shape[axis : axis + 1].is_compatible_with(b.shape):
        raise ValueError(f"bias of shape {b.shape} does not fit axis {axis} of {x.shape}")
    return axis


def _reference(x, b, spec, alpha, gain, axis, clamp):
    """Plain TensorFlow: any device, any order of derivative."""
    if b is not None:
        rank = x.shape.ndims
        if axis == rank - 1:
            x = tf.nn.bias_add(x, b) if rank > 1 else x + b
        else:
            x += tf.reshape(b, [-1] + [1] * (rank - 1 - axis))
    x = spec.fn(x, alpha)
    if gain != 1:
        x *= tf.constant(gain, x.dtype)
    if clamp is not None:
        x = tf.clip_by_value(x, -clamp, clamp)
    return x
