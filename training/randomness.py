"""Random numbers of the networks: from a StepRandom in training, from TensorFlow in sampling."""

import tensorflow.compat.v1 as tf


class FreeRandom:
    """The interface of StepRandom over TensorFlow's stateful generators: new numbers every time.

    Args:
      batch_size: N, int or scalar tensor.
    """

    def __init__(self, batch_size):
        self.batch_size = batch_size

    def child(self, prefix):
        """Stateful numbers have no names; the same object."""
        return self

    def normal(self, site, shape):
        """Standard normal numbers: [N, *shape]."""
        return self._fix(tf.random.normal([self.batch_size, *shape]), shape)

    def uniform(self, site, shape):
        """Uniform over [0, 1): [N, *shape]."""
        return self._fix(tf.random.uniform([self.batch_size, *shape]), shape)

    def scalar_uniform(self, site):
        """One number uniform over [0, 1) for the whole batch: []."""
        return tf.random.uniform([])

    def scalar_int(self, site, lo, hi):
        """One int32 uniform over lo, ..., hi - 1 for the whole batch: []."""
        return tf.random.uniform([], minval=lo, maxval=hi, dtype=tf.int32)

    def _fix(self, x, shape):
        static = self.batch_size if isinstance(self.batch_size, int) else None
        return tf.ensure_shape(x, [static, *shape])


def random_source(rng, x):
    """``rng`` if given; else a FreeRandom for the batch of x, [N, ...]."""
    if rng is not None:
        return rng
    size = x.shape.as_list()[0]
    return FreeRandom(tf.shape(x)[0] if size is None else size)
