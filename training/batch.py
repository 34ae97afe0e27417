"""The batch of a step: how it is split, and what a loss is computed from on one device.

All randomness comes from the batch's ``rng`` (:class:`dnnlib.tflib.StepRandom`), so a loss is a
function of its inputs and of the step's number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import UserError
from training.distributed import ALONE


@dataclass(frozen=True)
class Split:
    """How a global batch is split: batch_size = batch_gpu * num_replicas * num_rounds."""

    batch_size: int
    batch_gpu: int
    num_replicas: int  # of all workers
    num_rounds: int


def split_batch(batch_size, batch_gpu, num_replicas, resolution):
    """Choose the number of rounds.

    Args:
      batch_size: images in a step.
      batch_gpu: images at once on a device; None = the largest part of the batch that fits the
        budget of pixels which the published 4 images of 256x256 set.
      num_replicas: number of devices.
      resolution: side of the images.

    Returns:
      Split.

    Raises:
      UserError: the numbers do not divide.
    """
    if batch_size % num_replicas:
        raise UserError(
            f"--batch-size={batch_size} is not divisible by the number of devices, {num_replicas}; "
            "change it or name fewer devices with --gpus"
        )
    share = batch_size // num_replicas
    # D compares images in groups of 4, or all of fewer (minibatch standard deviation).
    fitting = [n for n in range(1, share + 1) if share % n == 0 and (n <= 4 or n % 4 == 0)]
    if batch_gpu is None:
        most = max(4, 4 * 256**2 // resolution**2)
        batch_gpu = max(n for n in fitting if n <= most)
    if batch_gpu not in fitting:
        raise UserError(
            f"--batch-gpu={batch_gpu} does not divide {share}, the share of --batch-size="
            f"{batch_size} of each of {num_replicas} devices, into parts of at most 4 images or of "
            f"a multiple of 4; use one of {', '.join(map(str, fitting))}"
        )
    return Split(batch_size, batch_gpu, num_replicas, share // batch_gpu)


def cosine_decay(start, end, nimg, kimg):
    """A value that moves from ``start`` to ``end`` along half a cosine, as R3GAN's schedules do.

    Args:
      start: number.
      end: number.
      nimg: images shown, number or [] tensor.
      kimg: thousands of images that the way takes.

    Returns:
      [] float32 tensor.
    """
    done = tf.minimum(tf.cast(nimg, tf.float32) / (1000.0 * kimg), 1.0)
    return end + (start - end) * 0.5 * (1.0 + tf.cos(np.float32(np.pi) * done))


class Step:
    """What the batches of all devices share in one phase of a step.

    Args:
      nimg: images shown before the step, number or [] tensor.
      num_rounds: rounds over which gradients are accumulated.
      workers: training.distributed.Workers, or Alone.

    Attributes:
      batches: list of Batch, one for each device.
      means: {name: (variable, its value after this round)} of the running means.
    """

    def __init__(self, nimg=0, num_rounds=1, workers=ALONE):
        self.nimg, self.num_rounds, self.workers = nimg, num_rounds, workers
        self.batches, self.means = [], {}
        self._measured = {}

    def measure(self, fn):
        """``fn(batch)`` of every batch, in a list; computed once however often it is asked for."""
        if fn not in self._measured:
            results = []
            for batch in self.batches:
                with tf.device(batch.device):
                    results.append(fn(batch))
            self._measured[fn] = results
        return self._measured[fn]


@dataclass(frozen=True, eq=False)
class Batch:
    """The networks of one replica, and what one step gives them.

    Attributes:
      G: generator.
      D: discriminator.
      rng: StepRandom of the step.
      labels: [N, c_dim], of the reals; the fakes take the same ones.
      reals: [N, C, H, W] in [-1, 1].
      G_options: keywords of G that replace its own.
      D_options: keywords of D that replace its own.
      augmentation: function of images [N, C, H, W] and a RandomSource, see :meth:`augmented`.
      device: of the replica.
      step: what it shares with the other replicas.
      fakes_rng: StepRandom of the fakes, where it is not ``rng``.
      made: fakes that are there already; phases that share it run one and the same generator.
      watched: {name: tensor}, see :meth:`watch`.
    """

    G: Any
    D: Any
    rng: Any
    labels: Any
    reals: Any = None
    G_options: dict = field(default_factory=dict)
    D_options: dict = field(default_factory=dict)
    augmentation: Any = None
    device: str | None = None
    step: Step = field(default_factory=Step)
    watched: dict = field(default_factory=dict)
    fakes_rng: Any = None
    made: dict = field(default_factory=dict)

    def __post_init__(self):
        self.step.batches.append(self)

    def fakes(self, return_ws=False):
        """Images of fresh latents, in training mode.

        Args:
          return_ws: return images and ws.

        Returns:
          [N, C, H, W], or a tuple of it and ws.
        """
        if return_ws not in self.made:
            rng = self.rng if self.fakes_rng is None else self.fakes_rng
            z = rng.normal("z", self.G.input_shapes[0][1:])
            options = dict(self.G_options, is_training=True, rng=rng.child("G"))
            if return_ws:
                options["return_ws"] = True
            self.made[return_ws] = self.G.get_output_for(
                z, self.labels, return_as_list=True, **options
            )
        outputs = self.made[return_ws]
        return (outputs[0], outputs[-1]) if return_ws else outputs[0]

    def augmented(self, images, site):
        """What D sees of images: [N, C, H, W] => the same; ``site`` names its randomness."""
        if self.augmentation is None:
            return images
        return self.augmentation(images, self.rng.child(f"augment_{site}"))

    def scores(self, images, site):
        """D in training mode: [N, C, H, W] => [N, 1]; ``site`` names its randomness."""
        options = dict(self.D_options, is_training=True, rng=self.rng.child(site))
        return self.D.get_output_for(images, self.labels, **options)

    def watch(self, name, tensor):
        """Report the mean of a tensor, over all devices, under this name; returns the tensor."""
        self.watched[name] = tensor
        return tensor

    def measure(self, fn):
        """``fn(self)``, computed once however often it is asked for."""
        return self.step.measure(fn)[self.step.batches.index(self)]

    def running_mean(self, name, measure, decay):
        """Running mean of a measure over devices and steps, this step included.

        The state is a variable of this name, which checkpoints hold. The mean before this step is
        a constant to gradients, the share of this step is not.

        Args:
          name: of the variable.
          measure: function from a Batch to a tensor, called for every device.
          decay: share of this step's mean.

        Returns:
          [].
        """
        step = self.step
        if name not in step.means:
            results = step.measure(measure)
            with tf.device("/cpu:0"):
                zeros = tf.initializers.zeros()
                variable = tf.get_variable(name, [], initializer=zeros, trainable=False)
                before = variable.read_value()
            mean = step.workers.total(mean_of(results)) / step.workers.count
            # Rounds share the step's move of the running mean.
            after = before + decay / step.num_rounds * (mean - before)
            step.means[name] = (variable, after)
        return step.means[name][1]


def mean_of(tensors):
    """[] mean of the elements of tensors of one shape."""
    return tf.add_n([tf.reduce_mean(tensor) for tensor in tensors]) / len(tensors)
