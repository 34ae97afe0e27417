"""Additive noise and cutout (ADA, App. B, "Image-space corruptions")."""

import numpy as np
import tensorflow.compat.v1 as tf

from training.augment.select import choose, draw_gates

NOISE = 0.1  # deviation of the noise's own deviation
CUTOUT = 0.5  # side of the hole, share of the image's


def add_noise(x, p, rng):
    """Add normal noise, independent in pixels and channels, of a random strength for each image.

    Args:
      x: [N, H, W, C].
      p: probability.
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    gates = draw_gates(rng, 1, p)
    deviation = NOISE * tf.abs(rng.normal("deviation", [1]))
    noise = rng.normal("noise", x.shape.as_list()[1:])
    return choose(gates, x + noise * deviation[:, :, tf.newaxis, tf.newaxis], x)


def cut_out(x, p, rng):
    """Set a rectangle of half the image's sides to zero, mid-grey; parts of it may lie outside.

    Args:
      x: [N, H, W, C].
      p: probability.
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    gates = draw_gates(rng, 1, p)
    centre = rng.uniform("centre", [2])  # in x and y; the image's corners are at 0 and 1
    height, width = x.shape.as_list()[1:3]
    outside = [
        tf.abs(_middles(size) - centre[:, axis, tf.newaxis]) >= CUTOUT / 2
        for axis, size in enumerate((width, height))
    ]  # [N, W], [N, H]
    keep = tf.logical_or(outside[0][:, tf.newaxis, :], outside[1][:, :, tf.newaxis])
    return choose(gates, x * tf.cast(keep, x.dtype)[..., tf.newaxis], x)


def _middles(size):
    """[size] positions of the pixels' centres between 0 and 1."""
    return (np.arange(size, dtype=np.float32) + 0.5) / size
