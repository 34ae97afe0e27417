"""The randomness of a training step as a function of (seed, images shown so far, site)."""

import hashlib

import tensorflow.compat.v1 as tf


def _site_key(seed, site):
    """Signed 64-bit number for a (seed, site) pair; the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{site}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _never_by_xla():
    """Scope of operations that XLA leaves alone: it would draw other numbers."""
    return tf.xla.experimental.jit_scope(compile_ops=False)


class StepRandom:
    """Random numbers that depend on nothing but the seed, the position of the run and the place.

    A step that is done again, after a crash or on other devices, draws the same numbers. Samples
    are those of the *global* batch: the part that handles samples ``offset``, ``offset + stride``,
    ... gets exactly the numbers that one big batch would have given to them. So splitting a batch
    over replicas or rounds changes nothing.

    Args:
      seed: int; the seed of the run.
      nimg: int64 scalar tensor; images shown before this step.
      batch_size: int; samples in the global batch.
      offset: int or scalar tensor; first sample that is handled here.
      stride: int; distance between the samples that are handled here.
      prefix: str put before the name of every site, see :meth:`child`.
    """

    def __init__(self, seed, nimg, batch_size, offset=0, stride=1, prefix=""):
        if batch_size % stride != 0:
            raise ValueError(f"batch_size={batch_size} is not divisible by stride={stride}")
        self.seed = int(seed)
        self.nimg = tf.cast(nimg, tf.int64)
        self.batch_size = batch_size
        self.offset = offset
        self.stride = stride
        self.prefix = prefix

    def child(self, prefix):
        """The same randomness under another name space: its sites differ from all of ours."""
        return StepRandom(
            self.seed,
            self.nimg,
            self.batch_size,
            self.offset,
            self.stride,
            prefix=f"{self.prefix}{prefix}/",
        )

    def _key(self, site):
        """[2] int64 seed of TensorFlow's stateless operations."""
        key = tf.constant(_site_key(self.seed, self.prefix + site), dtype=tf.int64)
        return tf.stack([key, self.nimg])

    def _rows(self, x):
        """[batch_size, ...] => [batch_size / stride, ...]: the samples handled here."""
        if self.stride == 1:
            return x
        count = self.batch_size // self.stride
        rows = x[self.offset :: self.stride]
        return tf.ensure_shape(rows, [count, *x.shape.as_list()[1:]])

    def normal(self, site, shape):
        """Standard normal numbers, one draw of the given shape per sample.

        Args:
          site: str; the place that asks. Two calls with one name get the same numbers.
          shape: list of int; shape of one sample's draw.

        Returns:
          [N, *shape] with N = batch_size / stride.
        """
        full = [self.batch_size, *shape]
        with _never_by_xla():
            return self._rows(tf.random.stateless_normal(full, seed=self._key(site)))

    def uniform(self, site, shape):
        """Like :meth:`normal`, uniform over [0, 1)."""
        full = [self.batch_size, *shape]
        with _never_by_xla():
            return self._rows(tf.random.stateless_uniform(full, seed=self._key(site)))

    def scalar_uniform(self, site):
        """One number uniform over [0, 1) for the whole global batch: []."""
        with _never_by_xla():
            return tf.random.stateless_uniform([], seed=self._key(site))

    def scalar_int(self, site, lo, hi):
        """One int32 uniform over lo, ..., hi - 1 for the whole global batch: []."""
        with _never_by_xla():
            return tf.random.stateless_uniform(
                [], seed=self._key(site), minval=lo, maxval=hi, dtype=tf.int32
            )
