"""DiffAugment (Zhao et al. 2020, arXiv:2006.10738): color, translation, cutout, always.

Only crops, shifts and products: a fraction of the cost of ADA's default transformations.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from training.augment.color import num_colors

TRANSLATION = 0.125  # bound of shifts, share of the side
CUTOUT = 0.5  # side of the hole, share of the image's


def diffaugment(x, rng):
    """All three.

    Args:
      x: [N, H, W, C], grey, RGB or RGBA.
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    x = jitter_color(x, rng.uniform("color", [3]))
    x = shift(x, rng.uniform("translation", [2]))
    return cut(x, rng.uniform("cutout", [2]))


def jitter_color(x, draws):
    """Brightness +-0.5, saturation times 0 to 2, contrast times 0.5 to 1.5.

    Args:
      x: [N, H, W, C]; a fourth channel stays as it is.
      draws: [N, 3] in [0, 1).

    Returns:
      [N, H, W, C].
    """
    channels = x.shape.as_list()[3]
    colors = num_colors(channels)
    brightness, saturation, contrast = (tf.reshape(draws[:, i], [-1, 1, 1, 1]) for i in range(3))
    y = x[..., :colors] + (brightness - 0.5)
    grey = tf.reduce_mean(y, axis=3, keepdims=True)
    y = grey + (y - grey) * (2 * saturation)
    mean = tf.reduce_mean(y, axis=[1, 2, 3], keepdims=True)
    y = mean + (y - mean) * (contrast + 0.5)
    return y if colors == channels else tf.concat([y, x[..., colors:]], axis=3)


def shift(x, draws):
    """Shift by whole pixels, at most an eighth of the side; zeros come in.

    Args:
      x: [N, H, W, C].
      draws: [N, 2] in [0, 1), of x and y.

    Returns:
      [N, H, W, C].
    """
    height, width, channels = x.shape.as_list()[1:]
    most_x, most_y = (int(size * TRANSLATION + 0.5) for size in (width, height))
    # One row and one column of zeros, where all that lies outside is found.
    padded = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
    column = _sources(draws[:, 0], most_x, width)[:, tf.newaxis, :]
    row = _sources(draws[:, 1], most_y, height)[:, :, tf.newaxis]
    first = tf.reshape(tf.range(tf.shape(x)[0]), [-1, 1, 1]) * (height + 1)
    index = (first + row) * (width + 1) + column
    return tf.gather(tf.reshape(padded, [-1, channels]), index)


def _sources(draws, most, size):
    """[N] => [N, size] indices of shifted pixels; ``size`` for those from outside."""
    shifts = tf.cast(tf.floor(draws * (2 * most + 1)), tf.int32) - most
    index = np.arange(size, dtype=np.int32) - shifts[:, tf.newaxis]
    is_inside = tf.logical_and(index >= 0, index < size)
    return tf.where(is_inside, index, tf.fill(tf.shape(index), size))


def cut(x, draws):
    """Set a rectangle of half the image's sides to zero; its centre is a pixel, or just outside.

    Args:
      x: [N, H, W, C].
      draws: [N, 2] in [0, 1), of x and y.

    Returns:
      [N, H, W, C].
    """
    inside = []
    for axis, size in enumerate(x.shape.as_list()[2:0:-1]):
        side = int(size * CUTOUT + 0.5)
        places = size + (1 - side % 2)
        first = tf.cast(tf.floor(draws[:, axis] * places), tf.int32) - side // 2
        offset = np.arange(size, dtype=np.int32) - first[:, tf.newaxis]
        inside.append(tf.logical_and(offset >= 0, offset < side))
    hole = tf.logical_and(inside[0][:, tf.newaxis, :], inside[1][:, :, tf.newaxis])
    return x * (1 - tf.cast(hole, x.dtype))[..., tf.newaxis]
