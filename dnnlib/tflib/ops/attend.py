"""What follows a convolution of the generator: demodulation, attention, noise, activation.

The attention is the folded one: keys, logits and values come as small tables, which contain all
projections, so that a map position costs 4 C S operations with S slots (heads times latents).

Axes: N batch, P positions, C channels, S slots, V = C or 2C.
"""

import tensorflow.compat.v1 as tf

from dnnlib.tflib.native import calls


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
    """Attention of map positions to a few slots, with what surrounds it.

    In order: ``x *= scale``; scores ``x keys^T + logits``; a softmax over the slots of each head;
    ``control = (probs * keep) values + bias``; x is normalised over its channels; control is added
    to it ("add"), multiplied with it ("mul"), or one half of each ("both"); then
    ``gain * leaky_relu(x + noise + act_bias, alpha)``.

    Args:
      x: [N, P, C].
      keys: [N, S, C], or [1, S, C] for all samples, scaled already.
      values: [N or 1, S, V]; V = C, or 2C for "both".
      heads: M; the S slots are those of the first head, then those of the second, ...
      logits: [N or 1, P or 1, S] to add to the scores, or None.
      keep: [N, P, S], a factor for each probability (dropout, gates), or None.
      bias: [V] or None.
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
    """
    tensors = dict(scale=scale, keys=keys, logits=logits, keep=keep, values=values)
    tensors.update(bias=bias, noise=noise, act_bias=act_bias)
    attrs = dict(heads=heads, integration=integration, normalise=normalise, alpha=alpha, gain=gain)
    _check(x, tensors, attrs)
    if calls.can_attend(x, keys.shape.as_list()[1], alpha, gain):
        return calls.attend(x, tensors, attrs)
    return attend_reference(x, **tensors, **attrs)


def attend_probs(x, keys, heads=1, logits=None, scale=None):
    """The probabilities of :func:`attend`, without ``keep``: [N, P, S]; free if not fetched."""
    if scale is not None:
        x *= scale[:, tf.newaxis]
    if keys.shape.as_list()[0] == 1:
        _, positions, channels = x.shape.as_list()
        scores = tf.matmul(tf.reshape(x, [-1, channels]), keys[0], transpose_b=True)
        scores = tf.reshape(scores, [-1, positions, keys.shape.as_list()[1]])
    else:
        scores = tf.matmul(x, keys, transpose_b=True)
    if logits is not None:
        scores += logits
    if heads == 1:
        return tf.nn.softmax(scores)
    _, positions, slots = scores.shape.as_list()
    probs = tf.nn.softmax(tf.reshape(scores, [-1, positions, heads, slots // heads]))
    return tf.reshape(probs, [-1, positions, slots])


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
    if values.shape.as_list()[0] == 1:
        control = tf.matmul(tf.reshape(probs, [-1, values.shape.as_list()[1]]), values[0])
        control = tf.reshape(control, [-1, x.shape.as_list()[1], values.shape.as_list()[2]])
    else:
        control = tf.matmul(probs, values)
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
            f"integration={attrs['integration']!r} is none of {', '.join(calls.INTEGRATIONS)}"
        )
    size, positions, channels = x.shape.as_list()
    slots = tensors["keys"].shape.as_list()[1]
    if slots % attrs["heads"]:
        raise ValueError(f"{slots} slots cannot be shared by {attrs['heads']} heads")
    width = channels * (2 if attrs["integration"] == "both" else 1)
    wanted = dict(
        scale=[[size, channels]],
        keys=[[size, slots, channels], [1, slots, channels]],
        logits=[[n, p, slots] for n in (size, 1) for p in (positions, 1)],
        keep=[[size, positions, slots]],
        values=[[size, slots, width], [1, slots, width]],
        bias=[[width]],
        noise=[[size, positions, 1]],
        act_bias=[[channels]],
    )
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not any(tensor.shape.is_compatible_with(shape) for shape in wanted[name]):
            raise ValueError(f"{name} of shape {tensor.shape} does not fit x of shape {x.shape}")
