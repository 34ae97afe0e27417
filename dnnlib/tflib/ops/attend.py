"""Folded attention with what surrounds it in the generator: demodulation, noise, activation.

All projections are folded into small tables of keys, logits and values, so that an image position
costs 4 C M T operations.

Axes: N batch, P image positions, C channels, M heads, T keys and values, O = C, or 2C for "both".
A table holds M * T rows: those of the first head, then those of the second, ...
"""

import tensorflow.compat.v1 as tf

from dnnlib.tflib.native import calls
from dnnlib.tflib.precision import widened


def attend(
    x,
    keys,
    values,
    heads=1,
    logits=None,
    keep=None,
    bias=None,
    integration="add",
    normalise=False,
    scale=None,
    noise=None,
    act_bias=None,
    alpha=1.0,
    gain=1.0,
):
    """Attention of image positions to few keys and values, with what surrounds it.

    In order: ``x *= scale``; scores ``x keys^T + logits``; a softmax over the keys of each head;
    ``control = (probs * keep) values + bias``; x is normalised over its channels; control is added
    to it ("add"), multiplied with it ("mul"), or one half of each ("both"); then
    ``gain * leaky_relu(x + noise + act_bias, alpha)``.

    Args:
      x: [N, P, C]. Where it has 16 bits, the other tensors are float32 all the same.
      keys: [N, M * T, C], or [1, M * T, C] for all samples; includes the scale of the scores.
      values: [N or 1, M * T, O].
      heads: M.
      logits: [N or 1, P or 1, M * T], added to the scores, or None.
      keep: [N, P, M * T], a factor for each probability (dropout, gates), or None.
      bias: [O] or None.
      integration: "add", "mul" or "both".
      normalise: over the channels of each position: "add" subtracts the mean, "mul" divides by the
        root mean square, "both" does the one and then the other.
      scale: [N, C] or None.
      noise: [N, P, 1] or None.
      act_bias: [C] or None.
      alpha: slope of the leaky ReLU below zero; 1 for none.
      gain: scale of the result.

    Returns:
      [N, P, C]. The probabilities are not returned; see :func:`attend_probs`.

    Raises:
      ValueError: the arguments do not fit each other.
    """
    tensors = dict(scale=scale, keys=keys, logits=logits, keep=keep, values=values)
    tensors.update(bias=bias, noise=noise, act_bias=act_bias)
    attrs = dict(heads=heads, integration=integration, normalise=normalise, alpha=alpha, gain=gain)
    _check(x, tensors, attrs)
    if calls.can_attend(x, keys.shape.as_list()[1], alpha, gain):
        return calls.attend(x, tensors, attrs)
    return tf.cast(attend_reference(widened(x), **tensors, **attrs), x.dtype)


def attend_probs(x, keys, heads=1, logits=None, scale=None):
    """The probabilities of :func:`attend`, without ``keep``: [N, P, M * T]; free if not fetched."""
    if scale is not None:
        x *= scale[:, tf.newaxis]
    scores = _matmul(x, keys, transpose_b=True)
    if logits is not None:
        scores += logits
    if heads == 1:
        return tf.nn.softmax(scores)
    _, positions, rows = scores.shape.as_list()
    probs = tf.nn.softmax(tf.reshape(scores, [-1, positions, heads, rows // heads]))
    return tf.reshape(probs, [-1, positions, rows])


def _matmul(x, table, transpose_b=False):
    """x [N, P, I] times a table [N or 1, I, O]; a table for all samples makes a plain product."""
    if table.shape.as_list()[0] != 1:
        return tf.matmul(x, table, transpose_b=transpose_b)
    _, positions, size = x.shape.as_list()
    y = tf.matmul(tf.reshape(x, [-1, size]), table[0], transpose_b=transpose_b)
    return tf.reshape(y, [-1, positions, y.shape.as_list()[1]])


def attend_reference(
    x,
    keys,
    values,
    heads,
    logits,
    keep,
    bias,
    integration,
    normalise,
    scale,
    noise,
    act_bias,
    alpha,
    gain,
):
    """:func:`attend` in plain TensorFlow: any device, any order of derivative."""
    channels = x.shape.as_list()[2]
    if scale is not None:
        x *= scale[:, tf.newaxis]
    probs = attend_probs(x, keys, heads, logits)
    if keep is not None:
        probs *= keep
    control = _matmul(probs, values)
    if bias is not None:
        control += bias
    if normalise and integration != "mul":
        x -= tf.reduce_mean(x, axis=2, keepdims=True)
    if normalise and integration != "add":
        x *= tf.rsqrt(tf.reduce_mean(tf.square(x), axis=2, keepdims=True) + 1e-8)
    if integration == "add":
        x += control
    else:
        x *= control[:, :, :channels]
    if integration == "both":
        x += control[:, :, channels:]
    if noise is not None:
        x += noise
    if act_bias is not None:
        x += act_bias
    x = x if alpha == 1 else tf.nn.leaky_relu(x, alpha)
    return x if gain == 1 else x * tf.constant(gain, x.dtype)


def _check(x, tensors, attrs):
    """Raise ValueError if the arguments do not fit each other."""
    if attrs["integration"] not in calls.INTEGRATIONS:
        raise ValueError(
            f"integration={attrs['integration']!r}: must be one of {', '.join(calls.INTEGRATIONS)}"
        )
    size, positions, channels = x.shape.as_list()
    rows = tensors["keys"].shape.as_list()[1]
    if rows % attrs["heads"]:
        raise ValueError(f"{rows} keys cannot be divided among {attrs['heads']} heads")
    width = channels * (2 if attrs["integration"] == "both" else 1)
    wanted = dict(
        scale=[[size, channels]],
        keys=[[size, rows, channels], [1, rows, channels]],
        logits=[[n, p, rows] for n in (size, 1) for p in (positions, 1)],
        keep=[[size, positions, rows]],
        values=[[size, rows, width], [1, rows, width]],
        bias=[[width]],
        noise=[[size, positions, 1]],
        act_bias=[[channels]],
    )
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not any(tensor.shape.is_compatible_with(shape) for shape in wanted[name]):
            raise ValueError(f"{name} of shape {tensor.shape} does not fit x of shape {x.shape}")
