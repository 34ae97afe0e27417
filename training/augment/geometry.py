"""Pixel blitting and geometric transformations (ADA, App. B, "Pixel blitting" and "Geometric").

Positions are (x, y) in pixels from the centre of the image. Images go on by reflection at the
centres of their outer pixels.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib.ops.upfirdn_2d import upfirdn_2d
from training.augment.filters import SYM6, reflected
from training.augment.select import choose, draw_gates, gated

# Centre of the filter's taps, in samples from their middle: samples lie so much beside the places
# that a symmetric filter would give them. What is turned or stretched would shift without it.
OFF_CENTRE = float(np.dot(np.arange(len(SYM6)), SYM6) / np.sum(SYM6)) - (len(SYM6) - 1) / 2
TRANSLATION = 0.125  # share of the side: bound of whole shifts, deviation of fractional ones
SCALE = 0.2  # deviation of log2 of scales


def blit(x, p, rng):
    """Mirror, turn by quarters, shift by whole pixels: every pixel is one of x, to the bit.

    Args:
      x: [N, H, W, C].
      p: probability of each of the three, [] or [3].
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    gates = draw_gates(rng, 3, p)
    draws = rng.uniform("blit", [4])
    height, width = x.shape.as_list()[1:3]
    mirror = gated(gates[:, 0], tf.floor(2 * draws[:, 0]), 0.0)
    quarters = gated(gates[:, 1], tf.floor(4 * draws[:, 1]), 0.0)
    shifts = tf.round((2 * draws[:, 2:] - 1) * TRANSLATION * np.float32([width, height]))
    shifts = tf.where(gates[:, 2], shifts, tf.zeros_like(shifts))
    return choose(gates, move_pixels(x, mirror, quarters, shifts), x)


def move_pixels(x, mirror, quarters, shifts):
    """Mirror, then turn, then shift.

    Args:
      x: [N, H, W, C].
      mirror: [N], 1.0 to mirror left and right, else 0.0.
      quarters: [N], 0.0 to 3.0, quarter turns, clockwise as y points down.
      shifts: [N, 2], pixels to the right and downwards.

    Returns:
      [N, H, W, C].
    """
    height, width = x.shape.as_list()[1:3]
    out_x, out_y = _grid(height, width, 1)
    out_x, out_y = out_x - _per_image(shifts[:, 0]), out_y - _per_image(shifts[:, 1])
    quarters = tf.cast(quarters, tf.int32)
    cos = _per_image(tf.gather(np.float32([1, 0, -1, 0]), quarters))
    sin = _per_image(tf.gather(np.float32([0, 1, 0, -1]), quarters))
    in_x = (cos * out_x + sin * out_y) * _per_image(1 - 2 * mirror)
    in_y = cos * out_y - sin * out_x
    column = tf.cast(tf.round(in_x + (width - 1) / 2), tf.int32)
    row = tf.cast(tf.round(in_y + (height - 1) / 2), tf.int32)
    return _pick(x, reflected(row, height), reflected(column, width))


def warp(x, p, rng):
    """Scale, turn, stretch, turn again, shift by fractions of a pixel.

    Args:
      x: [N, H, W, C].
      p: probability of each, [] or [4]; the two turns together count as one.
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    p = tf.ones([4]) * p
    turn = 1 - tf.sqrt(1 - p[1])  # of each: one of both falls on an image with probability p
    gates = draw_gates(rng, 5, tf.stack([p[0], turn, p[2], turn, p[3]]))
    normals, turns = rng.normal("warp", [4]), np.pi * (2 * rng.uniform("turns", [2]) - 1)
    height, width = x.shape.as_list()[1:3]
    scale = gated(gates[:, 0], tf.pow(2.0, SCALE * normals[:, 0]), 1.0)
    before = gated(gates[:, 1], turns[:, 0], 0.0)
    stretch = gated(gates[:, 2], tf.pow(2.0, SCALE * normals[:, 1]), 1.0)
    after = gated(gates[:, 3], turns[:, 1], 0.0)
    shift = TRANSLATION * normals[:, 2:] * np.float32([width, height])
    shift = tf.where(gates[:, 4], shift, tf.zeros_like(shift))
    inverse = inverse_matrix(scale, before, stretch, after)
    return choose(gates, resample(x, inverse, shift), x)


def inverse_matrix(scale, before, stretch, after):
    """Inverse of turn(after) diag(stretch, 1 / stretch) turn(before) scale.

    Args:
      scale: [N] factor.
      before: [N] angle in radians.
      stretch: [N] factor.
      after: [N] angle in radians.

    Returns:
      [N, 2, 2], of positions (x, y).
    """
    zero = tf.zeros_like(scale)

    def matrix(a, b, c, d):
        return tf.reshape(tf.stack([a, b, c, d], axis=-1), [-1, 2, 2])

    def turn_back(angle):
        return matrix(tf.cos(angle), tf.sin(angle), -tf.sin(angle), tf.cos(angle))

    narrow = matrix(1 / (stretch * scale), zero, zero, stretch / scale)
    return tf.matmul(turn_back(before), tf.matmul(narrow, turn_back(after)))


def resample(x, inverse, shift):
    """Output pixel q is the image at position inverse (q - shift).

    Up by 2, look-up between the 4 neighbours, down by 2; the filters are sym6 and its mirror image,
    which let every signal pass unchanged if nothing moves (the wavelet is orthogonal).

    Differs from the paper: reflection goes on without end, instead of once and then zeros; and the
    filter's centre, half a sample from the middle of its taps, is taken into account.

    Args:
      x: [N, H, W, C].
      inverse: [N, 2, 2].
      shift: [N, 2], pixels.

    Returns:
      [N, H, W, C].
    """
    height, width = x.shape.as_list()[1:3]
    reach = len(SYM6) // 2
    fine = _upsample(_whole_period(x, reach // 2))  # [N, 4 (H - 1), 4 (W - 1), C]
    out_x, out_y = (
        axis - OFF_CENTRE / 2 - _per_image(shift[:, i])
        for i, axis in enumerate(_grid(height + reach - 1, width + reach - 1, 2))
    )
    a, b, c, d = (_per_image(inverse[:, i, j]) for i in (0, 1) for j in (0, 1))
    # Samples of the fine image are half a pixel apart, and its centre is that of the image.
    fine = look_up(
        fine,
        2 * (c * out_x + d * out_y) + (2 * height - 1) / 2 + OFF_CENTRE,
        2 * (a * out_x + b * out_y) + (2 * width - 1) / 2 + OFF_CENTRE,
    )
    return upfirdn_2d(fine, np.float32(SYM6[::-1]) / np.sqrt(2), downx=2, downy=2)


def _whole_period(x, margin):
    """The reflected image, with period 2 (size - 1), and ``margin`` more pixels on each side."""
    for axis in (1, 2):
        x = x if axis == 1 else tf.transpose(x, [0, 2, 1, 3])
        period = tf.concat([x, x[:, -2:0:-1]], axis=1)
        x = tf.concat([period[:, -margin:], period, period[:, :margin]], axis=1)
    return tf.transpose(x, [0, 2, 1, 3])


def _upsample(x):
    """[N, H + 6, W + 6, C] => [N, 2 H, 2 W, C]: samples 1/4 of a pixel beside pixels' centres."""
    taps = np.float32(SYM6) * np.sqrt(np.float32(2))
    return upfirdn_2d(x, taps, upx=2, upy=2, padx1=-1, pady1=-1)


def look_up(x, row, column):
    """A periodic image between its pixels: weighted means of 4 neighbours.

    Args:
      x: [N, H, W, C], one period.
      row: [N, H', W'] index, 0 = centre of the first row.
      column: [N, H', W'].

    Returns:
      [N, H', W', C].
    """
    height, width = x.shape.as_list()[1:3]
    top, left = tf.floor(row), tf.floor(column)
    down, right = row - top, column - left
    top, left = tf.cast(top, tf.int32), tf.cast(left, tf.int32)
    rows = [(top % height, 1 - down), ((top + 1) % height, down)]
    columns = [(left % width, 1 - right), ((left + 1) % width, right)]
    parts = [_pick(x, i, j) * (u * v)[..., tf.newaxis] for i, u in rows for j, v in columns]
    return tf.add_n(parts)


def _grid(height, width, density):
    """x [1, 1, width * density] and y [1, height * density, 1] of samples about the centre."""
    x, y = (
        (np.arange(size * density, dtype=np.float32) - (size * density - 1) / 2) / density
        for size in (width, height)
    )
    return x[np.newaxis, np.newaxis, :], y[np.newaxis, :, np.newaxis]


def _per_image(values):
    """[N] => [N, 1, 1]."""
    return tf.reshape(values, [-1, 1, 1])


def _pick(x, row, column):
    """[N, H, W, C] at [N, H', W'] whole rows and columns: [N, H', W', C]."""
    height, width, channels = x.shape.as_list()[1:]
    first = tf.reshape(tf.range(tf.shape(x)[0]) * (height * width), [-1, 1, 1])
    return tf.gather(tf.reshape(x, [-1, channels]), first + row * width + column)
