"""Layers that a latent modulates: convolutions, and those to RGB.

Paper: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Sec. 2.2.
"""

import tensorflow.compat.v1 as tf

from dnnlib.tflib.light import plus, reshape
from dnnlib.tflib.ops.conv_narrow import conv_narrow
from training.model.layers import convolve, get_bias, get_weight, matmul_last


def modulation(y, num_features, modulate=True):
    """Scales of the features, computed from a latent: y W + b + 1.

    The variables exist whether or not they are used, as in the published code.

    Args:
      y: [N, D].
      num_features: I.
      modulate: False returns None.

    Returns:
      [N, I], or None.
    """
    w = get_weight([y.shape.as_list()[-1], num_features], name="mod_weight")
    b = get_bias(num_features, name="mod_bias")
    return tf.matmul(y, w) + plus(b, 1.0) if modulate else None


def demodulation(w, style, epsilon=1e-8):
    """1 / norm of each sample's scaled filters (StyleGAN2, Eq. 3).

    Args:
      w: [k, k, I, O].
      style: [N, I].
      epsilon: added to the squared norm.

    Returns:
      [N, O].
    """
    energy = tf.reduce_sum(tf.square(w), axis=[0, 1])  # [I, O]
    return tf.rsqrt(plus(tf.matmul(tf.square(style), energy), epsilon))


def modulated_conv2d_layer(
    x, y, num_out, kernel, up=False, resample_kernel=None, modulate=True, unscaled=False
):
    """Convolution with filters scaled by a latent and normalised, without bias.

    Scales the input, convolves all samples with one filter, and leaves it to the caller to scale
    the output: the same function as a filter for each sample (StyleGAN2, Eq. 1 to 3), without a
    grouped convolution.

    Args:
      x: [N, H, W, I].
      y: [N, D] the latent.
      num_out: O.
      kernel: side of the filter.
      up: double the resolution.
      resample_kernel: FIR filter of ``up``.
      modulate: False makes it a plain convolution.
      unscaled: the norm's 1e-8 is added to that of the filters as stored, see
        :func:`get_weight`.

    Returns:
      Tuple of a map [N, H', W', O] and the scale of its features [N, O], None without modulation.
    """
    num_in = x.shape.as_list()[-1]
    w = get_weight([kernel, kernel, num_in, num_out])
    style = modulation(y, num_in, modulate)
    epsilon = 1e-8 / (kernel * kernel * num_in) if unscaled else 1e-8
    scale = None if style is None else demodulation(w, style, epsilon)
    return convolve(x, w, up, False, resample_kernel, style), scale


def _turned(w):
    """[I, O] => [O, I], by a product with ones and zeros.

    TensorFlow transposes with all of its threads; for the few numbers of a filter to RGB it would
    wait for them much longer than it takes.
    """
    return tf.matmul(tf.eye(w.shape.as_list()[1], dtype=w.dtype), w, transpose_b=True)


def modulated_rgb_layer(x, y, num_out, modulate=True):
    """1x1 convolution with filters scaled by a latent, not normalised, without bias.

    The few filters are scaled instead of the map: [N, H, W, I] => [N, H, W, O].
    """
    _, height, width, num_in = x.shape.as_list()
    w = get_weight([1, 1, num_in, num_out])[0, 0]
    style = modulation(y, num_in, modulate)
    if style is None:
        return tf.cast(matmul_last(x, tf.cast(w, x.dtype)), w.dtype)
    w = style[:, tf.newaxis] * _turned(w)  # [N, O, I]
    x = reshape(x, [-1, height * width, num_in])
    rgb = tf.cast(tf.matmul(x, tf.cast(w, x.dtype), transpose_b=True), w.dtype)
    return reshape(rgb, [-1, height, width, num_out])


def extra_rgb_layer(x, y, y_rgb, num_out, modulate=True):
    """A modulated 3x3 convolution and the modulated 1x1 one to RGB right after it, as one.

    Nothing is between them, so their filters can be multiplied: exactly the same function for
    C / num_out times fewer operations. Each sample has filters of its own; a 3x3 convolution with
    few output channels is a matrix product (nine taps for every position) and a sum of nine
    neighbours.

    Args:
      x: [N, H, W, C].
      y: [N, D] the latent of the 3x3 convolution, whose variables are in the scope "extraLayer".
      y_rgb: [N, D] the latent of the 1x1 convolution.
      num_out: R.
      modulate: False makes both plain convolutions.

    Returns:
      [N, H, W, R].
    """
    channels = x.shape.as_list()[3]
    with tf.variable_scope("extraLayer"):
        w = get_weight([3, 3, channels, channels])
        style = modulation(y, channels, modulate)
    w_rgb = get_weight([1, 1, channels, num_out])[0, 0]
    style_rgb = modulation(y_rgb, channels, modulate)
    if style is None:
        return tf.cast(convolve(x, matmul_last(w, w_rgb)), w.dtype)
    # [N * R, O] x [3 * 3, I, O]^T; then their channels are scaled by the style.
    to_rgb = tf.expand_dims(demodulation(w, style) * style_rgb, 1) * _turned(w_rgb)  # [N, R, O]
    to_rgb, w = reshape(to_rgb, [-1, channels]), reshape(w, [9 * channels, channels])
    filters = reshape(tf.matmul(to_rgb, w, transpose_b=True), [-1, 9 * num_out, channels])
    filters *= style[:, tf.newaxis]  # [N, R * 9, I]
    return conv_narrow(x, filters)
