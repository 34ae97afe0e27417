"""FIR filters with up- and down-sampling, and convolutions joined with them.

Per axis: insert zeros, pad (or crop), convolve with the filter, keep every down-th sample. Maps are
[N, H, W, C]; ``data_format="NCHW"`` transposes on the way in and out. All functions are linear in
``x`` and the gradient of one is another, so gradients of any order exist.

Origin of the operation: StyleGAN2, Karras et al. 2020 (arXiv:1912.04958).
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib.native import calls
from dnnlib.tflib.ops.conv2d import conv2d, conv2d_transpose
from dnnlib.tflib.ops.fir import Fir
from dnnlib.tflib.ops.fir_reference import fir_reference
from dnnlib.tflib.precision import widened


def upfirdn_2d(
    x,
    k,
    upx=1,
    upy=1,
    downx=1,
    downy=1,
    padx0=0,
    padx1=0,
    pady0=0,
    pady1=0,
    data_format="NHWC",
):
    """Up-sample by zero insertion, pad, filter, down-sample.

    Args:
      x: [N, H, W, C] (or [N, C, H, W] with ``data_format="NCHW"``); H, W and C known.
      k: filter, [kh, kw], or [n] for the outer product with itself; used as it is (no
        normalisation) and flipped, as in a true convolution. None does not filter.
      upx: columns after zero insertion for each column.
      upy: rows, likewise.
      downx: every downx-th column is kept.
      downy: rows, likewise.
      padx0: columns of zeros before the first; negative crops.
      padx1: after the last.
      pady0: rows of zeros before the first.
      pady1: after the last.
      data_format: "NHWC" or "NCHW".

    Returns:
      [N, (H*upy + pady0 + pady1 - kh) // downy + 1, (W*upx + ...) // downx + 1, C].

    Raises:
      ValueError: the filter is longer than the padded input, or a size is not known.
    """
    kernel = np.ones([1, 1], np.float32) if k is None else _as_2d(k)
    fir = Fir(kernel, upy, upx, downy, downx, (pady0, pady1), (padx0, padx1))
    return _in_format(data_format, lambda x: _apply(x, fir), x)


def filter_2d(x, k, gain=1, data_format="NHWC"):
    """Filter without changing the size.

    Args:
      x: [N, H, W, C].
      k: filter, [n, n] or [n]; normalised to sum one. None: as it is.
      gain: scale of the result.
      data_format: "NHWC" or "NCHW".

    Returns:
      Tensor shaped like x.
    """
    kernel = resampling_kernel(k, 1) * np.float32(gain)
    p = kernel.shape[0] - 1
    return _square(x, kernel, 1, 1, (p + 1) // 2, p // 2, data_format)


def upsample_2d(x, k=None, factor=2, gain=1, data_format="NHWC"):
    """Up-sample by an integer factor with a filter.

    Args:
      x: [N, H, W, C].
      k: filter, [n, n] or [n]; normalised. None: nearest neighbour.
      factor: integer.
      gain: scale of the result; 1 keeps the mean.
      data_format: "NHWC" or "NCHW".

    Returns:
      [N, H * factor, W * factor, C].
    """
    kernel = resampling_kernel(k, factor) * np.float32(gain * factor**2)
    p = kernel.shape[0] - factor
    return _square(x, kernel, factor, 1, (p + 1) // 2 + factor - 1, p // 2, data_format)


def downsample_2d(x, k=None, factor=2, gain=1, data_format="NHWC"):
    """Down-sample by an integer factor with a filter.

    Args:
      x: [N, H, W, C].
      k: filter, [n, n] or [n]; normalised. None: mean of each block.
      factor: integer.
      gain: scale of the result.
      data_format: "NHWC" or "NCHW".

    Returns:
      [N, H // factor, W // factor, C].
    """
    kernel = resampling_kernel(k, factor) * np.float32(gain)
    p = kernel.shape[0] - factor
    return _square(x, kernel, 1, factor, (p + 1) // 2, p // 2, data_format)


def upsample_conv_2d(x, w, k=None, factor=2, gain=1, data_format="NHWC"):
    """Up-sample, then convolve: a transposed convolution followed by a small filter.

    A 1x1 convolution goes first, at the low resolution, where it costs factor^2 less.

    Args:
      x: [N, H, W, I].
      w: [c, c, I, O], used as a correlation (not flipped).
      k: filter, [n, n] or [n]; normalised. None: nearest neighbour.
      factor: integer.
      gain: scale of the result.
      data_format: "NHWC" or "NCHW".

    Returns:
      [N, H * factor, W * factor, O] for factor 2 (the pads follow the published formula, which
      gives other sizes for other factors).
    """
    if data_format != "NHWC":
        return _in_format(data_format, lambda x: upsample_conv_2d(x, w, k, factor, gain), x)
    kernel = resampling_kernel(k, factor) * np.float32(gain * factor**2)
    conv = _conv_size(w)
    p = (kernel.shape[0] - factor) - (conv - 1)
    pad0, pad1 = (p + 1) // 2 + factor - 1, p // 2 + 1
    if conv == 1:
        y = conv2d(x, w)
        # A transposed convolution leaves out the zeros after the last sample.
        return _square(y, kernel, factor, 1, pad0, pad1 - (factor - 1))
    _, height, width, _ = x.shape.as_list()
    shape = [
        tf.shape(x)[0],
        (height - 1) * factor + conv,
        (width - 1) * factor + conv,
        w.shape.as_list()[3],
    ]
    y = conv2d_transpose(x, flip_transpose(w), shape, factor)
    return _square(y, kernel, 1, 1, pad0, pad1)


def conv_downsample_2d(x, w, k=None, factor=2, gain=1, data_format="NHWC"):
    """Convolve, then down-sample: a small filter followed by a strided convolution.

    Args:
      x: [N, H, W, I].
      w: [c, c, I, O].
      k: filter, [n, n] or [n]; normalised. None: mean of each block.
      factor: integer.
      gain: scale of the result.
      data_format: "NHWC" or "NCHW".

    Returns:
      [N, H // factor, W // factor, O].
    """
    if data_format != "NHWC":
        return _in_format(data_format, lambda x: conv_downsample_2d(x, w, k, factor, gain), x)
    kernel = resampling_kernel(k, factor) * np.float32(gain)
    conv = _conv_size(w)
    p = (kernel.shape[0] - factor) + (conv - 1)
    pad0, pad1 = (p + 1) // 2, p // 2
    if conv == 1:  # The samples that the convolution would skip are never filtered.
        y = _square(x, kernel, 1, factor, pad0, pad1)
        return conv2d(y, w)
    y = _square(x, kernel, 1, 1, pad0, pad1)
    return conv2d(y, w, factor)


def resampling_kernel(k, factor):
    """A filter as a [n, n] float32 array of sum one; None is the block of ``factor``.

    Raises:
      ValueError: the filter is not square.
    """
    kernel = _as_2d([1] * factor if k is None else k)
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"a resampling filter must be square, not {list(kernel.shape)}")
    return kernel / np.sum(kernel)


def flip_transpose(w):
    """[h, w, I, O] => [h, w, O, I], turned by 180 degrees: its own inverse."""
    height, width, num_in, num_out = w.shape.as_list()
    # Turned by a product with a permutation, whose gradient is one too: faster than tf.reverse.
    turn = tf.constant(np.eye(height * width)[::-1], w.dtype)
    taps = tf.matmul(turn, tf.reshape(w, [height * width, num_in * num_out]))
    taps = tf.transpose(tf.reshape(taps, [height * width, num_in, num_out]), [0, 2, 1])
    return tf.reshape(taps, [height, width, num_out, num_in])


def _apply(x, fir):
    """[N, H, W, C] through a filter."""
    if calls.can_upfirdn(x, fir) and None not in x.shape.as_list()[1:]:
        fir.out_size(*x.shape.as_list()[1:3])  # raises if the filter does not fit
        return calls.upfirdn(x, fir)
    return tf.cast(fir_reference(widened(x), fir), x.dtype)


def _square(x, kernel, up, down, pad0, pad1, data_format="NHWC"):
    """upfirdn_2d() with the same rates and pads for rows and columns."""
    pads = dict(padx0=pad0, padx1=pad1, pady0=pad0, pady1=pad1)
    rates = dict(upx=up, upy=up, downx=down, downy=down)
    return upfirdn_2d(x, kernel, data_format=data_format, **rates, **pads)


def _as_2d(k):
    """Outer product of a 1-D filter, float32."""
    k = np.asarray(k, np.float32)
    if k.ndim == 1:
        k = np.outer(k, k)
    if k.ndim != 2 or k.size == 0:
        raise ValueError(f"a filter must be a vector or a matrix, not shape {list(k.shape)}")
    return k


def _conv_size(w):
    height, width = w.shape.as_list()[:2]
    if height != width:
        raise ValueError(f"the convolution must be square, not {height}x{width}")
    return height


def _in_format(data_format, function, x):
    """A function of [N, H, W, C] applied to x in its format; the result has the same format."""
    if data_format == "NHWC":
        return function(x)
    if data_format != "NCHW":
        raise ValueError(f"data_format={data_format!r}: must be one of NHWC, NCHW")
    return tf.transpose(function(tf.transpose(x, [0, 2, 3, 1])), [0, 3, 1, 2])
