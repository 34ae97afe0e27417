"""The FIR filter of ``upfirdn_2d`` in plain TensorFlow: any device, any order of derivative.

Two forms, the faster one for the runtime (times in docs/performance_history.md):
* depthwise convolution, strided for down, its transpose for up;
* on TF 1.15, whose depthwise convolution is slow on a CPU, and up to 64 rows and columns, one
  product with a constant banded matrix per axis, which contains rates, pads and crops.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil

GRADIENT = "GansformerFirReference"
MATRIX_MAX_SIZE = 64  # the product costs as many operations per sample as there are rows
SLOW_DEPTHWISE = tf.__version__.startswith("1.")


def fir_reference(x, fir):
    """Apply a filter.

    Args:
      x: [N, H, W, C].
      fir: Fir.

    Returns:
      [N, H', W', C] with (H', W') = fir.out_size(H, W).
    """
    _, height, width, channels = x.shape.as_list()
    if None in (height, width, channels):
        raise ValueError(f"upfirdn_2d needs known sizes [N, H, W, C], not {x.shape}")
    size = fir.out_size(height, width)
    graph = tf.get_default_graph()
    # The reshape is for empty batches, whose size TF 2's depthwise convolution leaves as it was.
    y = tf.reshape(_forward(x, fir), [-1, *size, channels])
    # Not tf.custom_gradient: what it registers, and so the whole graph, is never freed.
    with graph.gradient_override_map({"IdentityN": GRADIENT}):
        y, _ = tf.identity_n([y, x])
    tfutil.graph_cache(graph).setdefault(GRADIENT, {})[y.op.name] = fir
    return y


@tf.RegisterGradient(GRADIENT)
def _filtered_by_the_adjoint(op, dy, _):
    """Gradient by the input, next to the result in ``op``, of a filter found under its name."""
    fir = tfutil.graph_cache(op.graph)[GRADIENT][op.name]
    _, height, width, _ = op.inputs[1].shape.as_list()
    return None, fir_reference(dy, fir.adjoint(height, width))


def _forward(x, fir):
    _, height, width, _ = x.shape.as_list()
    factors = fir.separate()
    if SLOW_DEPTHWISE and factors is not None and max(height, width) <= MATRIX_MAX_SIZE:
        return _by_matrices(x, fir, *factors)
    if fir.up_y == fir.up_x > 1 and not tfutil.is_portable():
        return _by_transposed_depthwise(x, fir)
    if SLOW_DEPTHWISE and factors is not None and fir.down_y == fir.down_x == 1:
        column, row = factors
        kernels = [column[:, np.newaxis], row[np.newaxis, :]]
    else:
        kernels = [fir.kernel]
    return _by_depthwise(x, fir, kernels)


def _by_matrices(x, fir, column, row):
    """Y = A X B^T, A and B banded."""
    _, height, width, channels = x.shape.as_list()
    a = _band_matrix(column, height, fir.up_y, fir.down_y, fir.pad_y)
    b = _band_matrix(row, width, fir.up_x, fir.down_x, fir.pad_x)
    x = tf.reshape(x, [-1, height, width * channels])
    x = tf.matmul(tf.constant(a, x.dtype), x)
    x = tf.reshape(x, [-1, width, channels])
    x = tf.matmul(tf.constant(b, x.dtype), x)
    return tf.reshape(x, [-1, a.shape[0], b.shape[0], channels])


def _band_matrix(taps, size, up, down, pad):
    """[outputs, inputs] matrix of a filter along one axis."""
    flipped = taps[::-1]
    outputs = (size * up + sum(pad) - len(taps)) // down + 1
    tap = np.arange(size) * up + pad[0] - np.arange(outputs)[:, np.newaxis] * down
    inside = (tap >= 0) & (tap < len(taps))
    return np.where(inside, flipped[np.clip(tap, 0, len(taps) - 1)], np.float32(0))


def _by_depthwise(x, fir, kernels):
    """Zero insertion and pads as tensors, then one convolution for each kernel."""
    x = _insert_zeros(x, fir.up_y, fir.up_x)
    x = _pad_or_crop(x, fir.pad_y, fir.pad_x)
    stride = fir.down_y if fir.down_y == fir.down_x else 1
    for kernel in kernels:
        weight = _depthwise_weight(kernel[::-1, ::-1], x)
        x = tf.nn.depthwise_conv2d(x, weight, [1, stride, stride, 1], padding="VALID")
    if stride == 1 and (fir.down_y > 1 or fir.down_x > 1):
        x = x[:, :: fir.down_y, :: fir.down_x]
    return x


def _by_transposed_depthwise(x, fir):
    """Up-sampling as the transpose of a strided convolution; the pads become a crop."""
    _, height, width, channels = x.shape.as_list()
    taps_y, taps_x = fir.kernel.shape
    full = [(height - 1) * fir.up_y + taps_y, (width - 1) * fir.up_x + taps_x]
    x = tf.nn.depthwise_conv2d_backprop_input(
        [tf.shape(x)[0], *full, channels],
        _depthwise_weight(fir.kernel, x),
        x,
        [1, fir.up_y, fir.up_x, 1],
        padding="VALID",
    )
    x.set_shape([None, *full, channels])
    kept = []
    for taps, size, up, pad, length in (
        (taps_y, height, fir.up_y, fir.pad_y, full[0]),
        (taps_x, width, fir.up_x, fir.pad_x, full[1]),
    ):
        outputs = size * up + sum(pad) - taps + 1
        before = pad[0] - (taps - 1)
        kept.append((before, outputs - before - length))
    x = _pad_or_crop(x, *kept)
    if fir.down_y > 1 or fir.down_x > 1:
        x = x[:, :: fir.down_y, :: fir.down_x]
    return x


def _depthwise_weight(kernel, x):
    """[kh, kw] => [kh, kw, C, 1]."""
    weight = np.tile(kernel[:, :, np.newaxis, np.newaxis], [1, 1, x.shape.as_list()[3], 1])
    return tf.constant(weight, x.dtype)


def _insert_zeros(x, up_y, up_x):
    """[N, H, W, C] => [N, H * up_y, W * up_x, C], zeros after each sample."""
    if up_y == up_x == 1:
        return x
    _, height, width, channels = x.shape.as_list()
    x = tf.reshape(x, [-1, height, 1, width, 1, channels])
    x = tf.pad(x, [[0, 0], [0, 0], [0, up_y - 1], [0, 0], [0, up_x - 1], [0, 0]])
    return tf.reshape(x, [-1, height * up_y, width * up_x, channels])


def _pad_or_crop(x, pad_y, pad_x):
    """Positive pads add zeros, negative ones crop; the crop may be larger than the rest."""
    pads = [[max(p, 0) for p in pad] for pad in (pad_y, pad_x)]
    if np.any(pads):
        x = tf.pad(x, [[0, 0], *pads, [0, 0]])
    if min(*pad_y, *pad_x) < 0:
        _, height, width, _ = x.shape.as_list()
        top, left = max(-pad_y[0], 0), max(-pad_x[0], 0)
        bottom, right = height - max(-pad_y[1], 0), width - max(-pad_x[1], 0)
        x = x[:, top:bottom, left:right]
    return x
