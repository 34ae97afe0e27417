"""Wavelets' low-pass filters, and random amplification of frequency bands (ADA, App. B).

Symlets: Daubechies 1992, Ten Lectures on Wavelets, Sec. 8. A low-pass filter f of an orthogonal
wavelet satisfies sum f = sqrt(2) and sum_n f[n] f[n - 2k] = [k = 0].
"""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

from training.augment.select import choose, draw_gates, gated

# fmt: off
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)
# fmt: on
NUM_BANDS = 4
# Share of the power of natural images in each band, the lowest first: the spectrum falls as 1/f.
POWER = np.array([10, 1, 1, 1], np.float32) / 13


def band_filters():
    """Symmetric filters of 4 frequency bands, the lowest first, whose sum is the identity.

    Band 0 is the lowest eighth of the spectrum, bands 1, 2 and 3 the octaves above it.

    Returns:
      [4, 43] float64.
    """
    low = np.array(SYM2)
    high = low * (-1.0) ** np.arange(low.size)
    # Squared responses, which add up to one: zero phase.
    low, high = (np.convolve(f, f[::-1]) / 2 for f in (low, high))
    bands = np.eye(NUM_BANDS, 1)
    for octave in range(1, NUM_BANDS):
        spread = np.zeros([NUM_BANDS, 2 * bands.shape[1] - 1])
        spread[:, ::2] = bands
        bands = np.stack([np.convolve(band, low) for band in spread])
        first = (bands.shape[1] - high.size) // 2
        bands[octave, first : first + high.size] += high
    return bands


@functools.lru_cache(maxsize=None)
def _band_matrices(size):
    """[4, size * size] float32: the filters along an axis, images continued by reflection."""
    filters = band_filters()
    matrices = np.zeros([NUM_BANDS, size, size])
    reach = filters.shape[1] // 2
    for tap in range(-reach, reach + 1):
        sources = reflected(np.arange(size) + tap, size)
        np.add.at(
            matrices, (slice(None), np.arange(size), sources), filters[:, reach + tap, np.newaxis]
        )
    return matrices.reshape(NUM_BANDS, size * size).astype(np.float32)


def reflected(index, size):
    """Fold indices into 0, ..., size - 1 by reflection at the centres of the outer pixels."""
    if size == 1:
        return index * 0
    period = 2 * (size - 1)
    index = index % period
    minimum = np.minimum if isinstance(index, np.ndarray) else tf.minimum
    return minimum(index, period - index)


def draw_gains(rng, p):
    """Gains of the bands, [N, 4], and gates, [N, 4], of whether each band has one of its own.

    After each draw the gains are scaled such that a natural image keeps its power.
    """
    gates = draw_gates(rng, NUM_BANDS, p)
    normals = rng.normal("gains", [NUM_BANDS])
    gains = tf.ones_like(normals)
    for band in range(NUM_BANDS):
        own = gated(gates[:, band], tf.pow(2.0, normals[:, band]), 1.0)  # ln has deviation ln 2
        one_hot = np.eye(NUM_BANDS, dtype=np.float32)[band]
        drawn = 1.0 + (own[:, tf.newaxis] - 1.0) * one_hot  # [N, 4]
        power = tf.reduce_sum(POWER * tf.square(drawn), axis=1, keepdims=True)
        gains *= drawn / tf.sqrt(power)
    return gains, gates


def amplify(x, p, rng):
    """Amplify or damp frequency bands, along rows and along columns (ADA, App. B).

    Args:
      x: [N, H, W, C].
      p: probability for each band.
      rng: RandomSource.

    Returns:
      [N, H, W, C].
    """
    gains, gates = draw_gains(rng, p)
    _, height, width, channels = x.shape.as_list()
    num = tf.shape(x)[0]
    # One product with a matrix for each axis, which contains filter and reflection.
    rows = tf.reshape(tf.matmul(gains, _band_matrices(height)), [num, height, height])
    columns = tf.reshape(tf.matmul(gains, _band_matrices(width)), [num, width, width])
    y = tf.matmul(rows, tf.reshape(x, [num, height, width * channels]))
    y = tf.transpose(tf.reshape(y, [num, height, width, channels]), [0, 2, 1, 3])
    y = tf.matmul(columns, tf.reshape(y, [num, width, height * channels]))
    y = tf.transpose(tf.reshape(y, [num, width, height, channels]), [0, 2, 1, 3])
    return choose(gates, y, x)
