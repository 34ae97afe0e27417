"""Which images a transformation falls on."""

import tensorflow.compat.v1 as tf


def draw_gates(rng, count, p):
    """Whether each of ``count`` transformations falls on each image: [N, count] bool.

    Args:
      rng: RandomSource; its site "gates" is used.
      count: number of transformations.
      p: probability of each: [], [count] or a number.
    """
    return rng.uniform("gates", [count]) < p


def gated(gate, value, neutral):
    """``value`` where the gate is open, else the number that changes nothing: [N] each."""
    return tf.where(gate, value, tf.fill(tf.shape(value), tf.constant(neutral, value.dtype)))


def choose(gates, changed, x):
    """The changed images where a gate is open, the others to the bit.

    Args:
      gates: [N, count] bool.
      changed: [N, H, W, C].
      x: [N, H, W, C].
    """
    # tf.where of TF 1.x takes a condition [N] for whole rows.
    return tf.where(tf.reduce_any(gates, axis=1), changed, x)
