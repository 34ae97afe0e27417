"""Where random numbers come from: four sources with one interface, :class:`RandomSource`.

StepRandom   training: a function of (seed, images shown so far, site), so that resuming is exact
SeedRandom   sampling: a function of each sample's own seed
GivenNoise   noise maps that are given, as by a projection
FreeRandom   TensorFlow's stateful generators: new numbers at every run
"""

import hashlib

import tensorflow.compat.v1 as tf


class RandomSource:
    """The interface of a source of random numbers for a batch of N samples.

    A site is the name of the place that draws: two draws at one site give the same numbers (except
    from FreeRandom).
    """

    def child(self, prefix):
        """The same source under another name space: its sites differ from all of ours."""
        raise NotImplementedError

    def normal(self, site, shape):
        """Standard normal numbers, one draw of ``shape`` for each sample: [N, *shape]."""
        raise NotImplementedError

    def uniform(self, site, shape):
        """Numbers uniform over [0, 1), one draw of ``shape`` for each sample: [N, *shape]."""
        raise NotImplementedError

    def scalar_uniform(self, site):
        """One number uniform over [0, 1) for the whole batch: []."""
        raise NotImplementedError

    def scalar_int(self, site, lo, hi):
        """One int32 uniform over lo, ..., hi - 1 for the whole batch: []."""
        raise NotImplementedError


def _site_key(seed, site):
    """Signed 64-bit number for a (seed, site) pair; the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{site}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _never_by_xla():
    """Scope of operations that XLA leaves alone: it would draw other numbers."""
    return tf.xla.experimental.jit_scope(compile_ops=False)


class StepRandom(RandomSource):
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
      prefix: str put before the name of every site, see :meth:`child`; or a list of them, of which
        ``choice`` is the one that is meant when the graph runs.
      choice: int scalar tensor; index of a prefix.
    """

    def __init__(self, seed, nimg, batch_size, offset=0, stride=1, prefix="", choice=None):
        if batch_size % stride != 0:
            raise ValueError(f"batch_size={batch_size} is not divisible by stride={stride}")
        self.seed = int(seed)
        self.nimg = tf.cast(nimg, tf.int64)
        self.batch_size = batch_size
        self.offset = offset
        self.stride = stride
        self.prefixes = [prefix] if isinstance(prefix, str) else list(prefix)
        self.choice = choice

    def child(self, prefix):
        return StepRandom(
            self.seed,
            self.nimg,
            self.batch_size,
            self.offset,
            self.stride,
            [f"{before}{prefix}/" for before in self.prefixes],
            self.choice,
        )

    def _key(self, site):
        """[2] int64 seed of TensorFlow's stateless operations."""
        with tf.device("/cpu:0"):  # where a GPU's generators want it
            keys = [_site_key(self.seed, prefix + site) for prefix in self.prefixes]
            if self.choice is None:
                key = tf.constant(keys[0], tf.int64)
            else:
                key = tf.gather(tf.constant(keys, tf.int64), self.choice)
            return tf.stack([key, self.nimg])

    def _rows(self, x):
        """[batch_size, ...] => [batch_size / stride, ...]: the samples handled here."""
        if self.stride == 1:
            return x
        count = self.batch_size // self.stride
        rows = x[self.offset :: self.stride]
        return tf.ensure_shape(rows, [count, *x.shape.as_list()[1:]])

    def normal(self, site, shape):
        full = [self.batch_size, *shape]
        with _never_by_xla():
            return self._rows(tf.random.stateless_normal(full, seed=self._key(site)))

    def uniform(self, site, shape):
        full = [self.batch_size, *shape]
        with _never_by_xla():
            return self._rows(tf.random.stateless_uniform(full, seed=self._key(site)))

    def scalar_uniform(self, site):
        with _never_by_xla():
            return tf.random.stateless_uniform([], seed=self._key(site))

    def scalar_int(self, site, lo, hi):
        with _never_by_xla():
            return tf.random.stateless_uniform(
                [], seed=self._key(site), minval=lo, maxval=hi, dtype=tf.int32
            )


class SeedRandom(RandomSource):
    """Numbers for sampling: what a sample draws depends on its own seed alone.

    Args:
      seeds: [N] int64 tensor, one seed per sample.
      prefix: put before the name of every site.
    """

    def __init__(self, seeds, prefix=""):
        self.seeds = seeds
        self.prefix = prefix

    def child(self, prefix):
        return SeedRandom(self.seeds, f"{self.prefix}{prefix}/")

    def normal(self, site, shape):
        return self._draw_each(lambda rng: rng.normal(site, shape))

    def uniform(self, site, shape):
        return self._draw_each(lambda rng: rng.uniform(site, shape))

    def _draw_each(self, draw):
        @tf.autograph.experimental.do_not_convert
        def of_one(seed):
            return draw(StepRandom(0, seed, batch_size=1, prefix=self.prefix))[0]

        if self.seeds.shape.as_list() == [1]:
            return of_one(self.seeds[0])[tf.newaxis]
        return tf.map_fn(of_one, self.seeds, dtype=tf.float32)


class GivenNoise(SeedRandom):
    """Normal numbers that are given: a tensor for each site.

    Args:
      tensors: {site: [N, *shape]}; None makes a placeholder for every site that asks.
      prefix: put before the name of every site.

    Attributes:
      asked: the sites that have asked so far.
    """

    def __init__(self, tensors=None, prefix=""):
        super().__init__(tf.zeros([1], tf.int64), prefix)
        self.tensors = {} if tensors is None else tensors
        self.asked = set()
        self._makes_placeholders = tensors is None

    def child(self, prefix):
        """The same tensors under another name space."""
        child = GivenNoise(self.tensors, f"{self.prefix}{prefix}/")
        child._makes_placeholders, child.asked = self._makes_placeholders, self.asked
        return child

    def normal(self, site, shape):
        """The tensor of this site, [N, *shape]."""
        name = self.prefix + site
        self.asked.add(name)
        if self._makes_placeholders:
            self.tensors.setdefault(name, tf.placeholder(tf.float32, [None, *shape]))
        return self.tensors[name]


class FreeRandom(RandomSource):
    """TensorFlow's stateful generators: new numbers at every run.

    Args:
      batch_size: N, int or scalar tensor.
    """

    def __init__(self, batch_size):
        self.batch_size = batch_size

    def child(self, prefix):
        """Stateful numbers have no names; the same object."""
        return self

    def normal(self, site, shape):
        return self._fix(tf.random.normal([self.batch_size, *shape]), shape)

    def uniform(self, site, shape):
        return self._fix(tf.random.uniform([self.batch_size, *shape]), shape)

    def scalar_uniform(self, site):
        return tf.random.uniform([])

    def scalar_int(self, site, lo, hi):
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
