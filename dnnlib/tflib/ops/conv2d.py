"""Convolutions, in the precision that --precision asks for. Maps are [N, H, W, C]."""

import tensorflow.compat.v1 as tf

from dnnlib.tflib.native import calls
from dnnlib.tflib.ops.fused_bias_act import scale_features
from dnnlib.tflib.precision import convolution_dtype


def conv2d(x, w, stride=1, padding="VALID", scale=None):
    """Convolution (a correlation: the filter is not flipped).

    On a CPU, large 3x3 convolutions are native ones, which need fewer multiplications than a direct
    form: see native/src/winograd.h.

    Args:
      x: [N, H, W, I].
      w: [kh, kw, I, O].
      stride: every stride-th sample is kept.
      padding: "VALID" or "SAME".
      scale: [N, I] factors of x, or None.

    Returns:
      [N, H', W', O], of the type of x.
    """
    dtype = convolution_dtype(x)
    form = {(1, "SAME"): "same", (2, "VALID"): "down"}.get((stride, padding))
    if form and _is_native(x, w, dtype, w.shape.as_list()[3], form):
        return calls.conv3x3(x, w, scale, form)
    if scale is not None:
        x = scale_features(x, scale)
    strides = [1, stride, stride, 1]
    y = tf.nn.conv2d(tf.cast(x, dtype), tf.cast(w, dtype), strides=strides, padding=padding)
    return tf.cast(y, x.dtype)


def conv2d_transpose(x, w, shape, stride):
    """Transposed convolution without padding: [N, H, W, I] with [kh, kw, O, I] => ``shape``.

    ``shape`` is [N, (H - 1) * stride + kh, (W - 1) * stride + kw, O].
    """
    dtype, strides = convolution_dtype(x), [1, stride, stride, 1]
    if stride == 2 and _is_native(x, w, dtype, w.shape.as_list()[2], "up"):
        return calls.conv3x3(x, w, None, "up")
    y = tf.nn.conv2d_transpose(
        tf.cast(x, dtype), tf.cast(w, dtype), shape, strides, padding="VALID"
    )
    return tf.cast(y, x.dtype)


def _is_native(x, w, dtype, num_out, form):
    """Whether a convolution is one of the native 3x3 ones."""
    is_3x3 = w.shape.as_list()[:2] == [3, 3]
    return is_3x3 and dtype == tf.float32 and calls.can_conv3x3(x, num_out, form)
