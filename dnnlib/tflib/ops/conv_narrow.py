"""3x3 convolution to few channels, such as RGB, with filters for each sample.

As a matrix product of positions and channels, with a column for each tap and output channel, and a
sum over neighbours.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib.native import calls


def conv_narrow(x, w):
    """Convolution with zero padding ("SAME").

    Args:
      x: [N, H, W, C].
      w: [N, R * 9, C], for each output channel its taps, row by row.

    Returns:
      [N, H, W, R], of the type of w.
    """
    if calls.can_conv_narrow(x, w.shape.as_list()[1] // 9):
        return calls.conv_narrow(x, w)
    return conv_narrow_reference(x, w)


def conv_narrow_reference(x, w):
    """:func:`conv_narrow` in plain TensorFlow: any device, any order of derivative."""
    _, height, width, channels = x.shape.as_list()
    columns = w.shape.as_list()[1]
    x = tf.reshape(x, [-1, height * width, channels])
    taps = tf.cast(tf.matmul(x, tf.cast(w, x.dtype), transpose_b=True), w.dtype)
    return _sum_neighbours(tf.reshape(taps, [-1, height, width, columns]), columns // 9)


def _sum_neighbours(taps, num_out):
    """Sum of what the taps give for each position: [N, H, W, R * 9] => [.., R].

    Along the rows, then along the columns: two convolutions with zeros and ones.
    """
    one, rgb = np.eye(3), np.eye(num_out)
    along_x = [np.kron(rgb, np.kron(one, one[:, [x]])) for x in range(3)]  # [R * 9, R * 3]
    along_y = [np.kron(rgb, one[:, [y]]) for y in range(3)]  # [R * 3, R]
    for ones in (np.stack(along_x)[np.newaxis], np.stack(along_y)[:, np.newaxis]):
        filters = tf.constant(ones, taps.dtype)
        taps = tf.nn.conv2d(taps, filters, strides=[1, 1, 1, 1], padding="SAME")
    return taps
