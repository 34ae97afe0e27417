"""Dropout of attention probabilities."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf


class Dropout(namedtuple("Dropout", "rate rng site")):
    """Attention dropout: half of the rate drops single probabilities, half drops whole latents.

    Args:
      rate: float; 0 drops nothing.
      rng: source of random numbers, see :func:`dnnlib.tflib.random.random_source`.
      site: str, name of the place for ``rng``.
    """

    def keep(self, shape, axis=0):
        """Factors for probabilities: 0, or what makes up for those that are dropped.

        Args:
          shape: of one sample's probabilities.
          axis: of the queries; a whole key is dropped for all queries.

        Returns:
          [N, *shape], or None if nothing is dropped.
        """
        if not self.rate:
            return None
        rate = self.rate / 2.0
        single = self.rng.uniform(f"{self.site}/dropout", shape)
        one = [1 if idx == axis else size for idx, size in enumerate(shape)]
        whole = self.rng.uniform(f"{self.site}/dropout_whole", one)
        scale = np.float32(1.0 / (1.0 - rate) ** 2)
        return tf.cast(single >= rate, tf.float32) * (tf.cast(whole >= rate, tf.float32) * scale)

    def at(self, site):
        """The same at a place below this one."""
        return self._replace(site=f"{self.site}/{site}")


NO_DROPOUT = Dropout(0.0, None, "")
