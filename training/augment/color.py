"""Color transformations (ADA, App. B, "Color transformations").

With V the projection on the grey axis v = (1, 1, 1) / sqrt(3), and J x = v x x (the cross product),
all five together are x => a V x + s (cos(t) (I - V) + sin(t) J) x + b: contrast and the luma flip
make a, contrast and saturation s, hue t, brightness b.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import UserError
from training.augment.select import choose, draw_gates, gated

GREY = np.full([3, 3], 1 / 3, np.float32)  # V
CROSS = np.float32([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(np.float32(3))  # J

BRIGHTNESS = 0.2  # deviation
CONTRAST = 0.5  # deviation of log2
SATURATION = 1.0  # deviation of log2


def num_colors(num_channels):
    """Channels that are color: all of grey and RGB, three of RGBA.

    Raises:
      UserError: neither grey, RGB nor RGBA.
    """
    if num_channels not in (1, 3, 4):
        raise UserError(
            f"--aug: color transformations need images of 1, 3 or 4 channels, not {num_channels}; "
            "choose --aug=ada --aug-pipe=bg, or --aug=none"
        )
    return min(num_channels, 3)


def recolor(x, p, rng):
    """Brightness, contrast, luma flip, hue, saturation; transparency stays as it is.

    A grey image is changed as if it were RGB: hue and saturation do nothing to it.

    Args:
      x: [N, H, W, C], grey, RGB or RGBA.
      p: probability of each of the five, [] or [5].
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    gates = draw_gates(rng, 5, p)
    normals, uniforms = rng.normal("normals", [3]), rng.uniform("uniforms", [2])
    brightness = gated(gates[:, 0], BRIGHTNESS * normals[:, 0], 0.0)
    contrast = gated(gates[:, 1], tf.pow(2.0, CONTRAST * normals[:, 1]), 1.0)
    flip = gated(gates[:, 2], 1 - 2 * tf.floor(2 * uniforms[:, 0]), 1.0)  # -1 or 1
    hue = gated(gates[:, 3], np.pi * (2 * uniforms[:, 1] - 1), 0.0)
    saturation = gated(gates[:, 4], tf.pow(2.0, SATURATION * normals[:, 2]), 1.0)
    if x.shape.as_list()[3] == 1:
        gates = gates[:, :3]
    changed = change_color(x, brightness, contrast, flip, hue, saturation)
    return choose(gates, changed, x)


def change_color(x, brightness, contrast, flip, hue, saturation):
    """The five in their order.

    Args:
      x: [N, H, W, C], grey, RGB or RGBA.
      brightness: [N], added.
      contrast: [N], factor.
      flip: [N], -1 turns the luma round, 1 does not.
      hue: [N], angle in radians about the grey axis.
      saturation: [N], factor of what is not grey.

    Returns:
      [N, H, W, C].
    """
    num, channels = tf.shape(x)[0], x.shape.as_list()[3]
    colors = num_colors(channels)
    gain, chroma = contrast * flip, contrast * saturation
    offset = tf.reshape(gain * brightness, [-1, 1, 1, 1])
    if colors == 1:
        return x * tf.reshape(gain, [-1, 1, 1, 1]) + offset
    gain, cos, sin = (
        tf.reshape(value, [-1, 1, 1])
        for value in (gain, chroma * tf.cos(hue), chroma * tf.sin(hue))
    )
    matrix = gain * GREY + cos * (np.eye(3, dtype=np.float32) - GREY) + sin * CROSS
    pixels = tf.reshape(x[..., :3], [num, -1, 3])
    y = tf.matmul(pixels, matrix, transpose_b=True)
    y = tf.reshape(y, [-1, *x.shape.as_list()[1:3], 3]) + offset
    return y if channels == 3 else tf.concat([y, x[..., 3:]], axis=3)
