"""Adversarial losses and regularizers; every one returns one value per sample.

f = D(G(z)) are the scores of fakes, t = D(x) those of reals. All randomness comes from the batch's
``rng`` (:class:`dnnlib.tflib.StepRandom`), so a loss is a function of its inputs and of the step's
number.

Papers: GAN (Goodfellow et al. 2014, arXiv:1406.2661), WGAN (Arjovsky et al. 2017,
arXiv:1701.07875), WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028), Geometric GAN (Lim & Ye 2017,
arXiv:1705.02894), R1 and R2 (Mescheder et al. 2018, arXiv:1801.04406), ProGAN (Karras et al. 2018,
arXiv:1710.10196), StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), RpGAN (Jolicoeur-Martineau
2018, arXiv:1807.00734), R3GAN (Huang et al. 2024, arXiv:2501.05441).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import must_be_one_of

GENERATOR_LOSSES = {}  # name => fn(f [N, 1], t [N, 1], None unless it is registered to need it)
DISCRIMINATOR_LOSSES = {}  # name => fn(f [N, 1], t [N, 1]) => [N, 1]
DISCRIMINATOR_REGULARIZERS = {}  # name => fn(batch) => [N], to be times gamma


@dataclass(frozen=True)
class Batch:
    """The networks of one replica, and what one step gives them.

    Attributes:
      G: generator.
      D: discriminator.
      rng: StepRandom of the step.
      labels: [N, c_dim], of the reals; the fakes take the same ones.
      reals: [N, C, H, W] in [-1, 1], or None where a loss does not look at reals.
      G_options: keywords of G that replace its own.
      D_options: keywords of D that replace its own.
    """

    G: Any
    D: Any
    rng: Any
    labels: Any
    reals: Any = None
    G_options: dict = field(default_factory=dict)
    D_options: dict = field(default_factory=dict)

    def fakes(self, return_ws=False):
        """Images of fresh latents, in training mode.

        Args:
          return_ws: return images and ws.

        Returns:
          [N, C, H, W], or a tuple of it and ws.
        """
        z = self.rng.normal("z", self.G.input_shapes[0][1:])
        options = dict(self.G_options, is_training=True, rng=self.rng.child("G"))
        if return_ws:
            options["return_ws"] = True
        outputs = self.G.get_output_for(z, self.labels, return_as_list=True, **options)
        return (outputs[0], outputs[-1]) if return_ws else outputs[0]

    def scores(self, images, site):
        """D in training mode: [N, C, H, W] => [N, 1]; ``site`` names its randomness."""
        options = dict(self.D_options, is_training=True, rng=self.rng.child(site))
        return self.D.get_output_for(images, self.labels, **options)


def register(table, name, needs_reals=False):
    """Decorator: make a function selectable by ``name``.

    Args:
      table: GENERATOR_LOSSES, DISCRIMINATOR_LOSSES or DISCRIMINATOR_REGULARIZERS.
      name: what the flags call it.
      needs_reals: a generator loss that compares with the scores of reals.
    """

    def decorate(fn):
        if name in table:
            raise ValueError(f"{name!r} is registered twice")
        fn.needs_reals = needs_reals
        table[name] = fn
        return fn

    return decorate


def look_up(table, name, what):
    """The function called ``name``, or a ValueError that names the closest one."""
    if name not in table:
        raise ValueError(f"{what} {must_be_one_of(name, sorted(table))}")
    return table[name]


# Losses of scores


@register(GENERATOR_LOSSES, "logistic_ns")
def _g_logistic_ns(fake_scores, _):
    """-log sigmoid(f), the non-saturating form (GAN, Sec. 3)."""
    return tf.nn.softplus(-fake_scores)


@register(GENERATOR_LOSSES, "logistic")
def _g_logistic(fake_scores, _):
    """log(1 - sigmoid(f)), the minimax form (GAN, Eq. 1). Saturates where D is sure."""
    return -tf.nn.softplus(fake_scores)


@register(GENERATOR_LOSSES, "hinge")
def _g_hinge(fake_scores, _):
    """-f (Geometric GAN). Not clipped: a clipped form has no gradient exactly where D is sure."""
    return -fake_scores


@register(GENERATOR_LOSSES, "wgan")
def _g_wgan(fake_scores, _):
    """-f (WGAN, Algorithm 1)."""
    return -fake_scores


@register(GENERATOR_LOSSES, "relativistic", needs_reals=True)
def _g_relativistic(fake_scores, real_scores):
    """-log sigmoid(f - t): each fake is compared with one real (RpGAN; R3GAN, Eq. 2)."""
    return tf.nn.softplus(real_scores - fake_scores)


@register(DISCRIMINATOR_LOSSES, "logistic")
def _d_logistic(fake_scores, real_scores):
    """-log(1 - sigmoid(f)) - log sigmoid(t) (GAN, Eq. 1)."""
    return tf.nn.softplus(fake_scores) + tf.nn.softplus(-real_scores)


@register(DISCRIMINATOR_LOSSES, "hinge")
def _d_hinge(fake_scores, real_scores):
    """max(0, 1 + f) + max(0, 1 - t) (Geometric GAN)."""
    return tf.maximum(0.0, 1.0 + fake_scores) + tf.maximum(0.0, 1.0 - real_scores)


@register(DISCRIMINATOR_LOSSES, "wgan")
def _d_wgan(fake_scores, real_scores):
    """f - t (WGAN, Algorithm 1) + 0.001 t^2, against a drift of the scores (ProGAN, App. A.1)."""
    return fake_scores - real_scores + 0.001 * tf.square(real_scores)


@register(DISCRIMINATOR_LOSSES, "relativistic")
def _d_relativistic(fake_scores, real_scores):
    """-log sigmoid(t - f): each real is compared with one fake (RpGAN; R3GAN, Eq. 2)."""
    return tf.nn.softplus(fake_scores - real_scores)


def generator_loss_needs_reals(name):
    """Whether the generator loss of this name compares with the scores of reals."""
    return look_up(GENERATOR_LOSSES, name, "generator loss").needs_reals


def generator_loss(batch, name="logistic_ns"):
    """Adversarial loss of G.

    Args:
      batch: Batch.
      name: key of GENERATOR_LOSSES.

    Returns:
      Tuple of the loss [N, 1] and a dict of tensors worth watching.
    """
    loss_fn = look_up(GENERATOR_LOSSES, name, "generator loss")
    fake_scores = batch.scores(batch.fakes(), "D_fake")
    real_scores = batch.scores(batch.reals, "D_real") if loss_fn.needs_reals else None
    return loss_fn(fake_scores, real_scores), {}


def discriminator_loss(batch, name="logistic"):
    """Adversarial loss of D, on reals and as many fresh fakes.

    Args:
      batch: Batch.
      name: key of DISCRIMINATOR_LOSSES.

    Returns:
      Tuple of the loss [N, 1] and a dict of tensors worth watching.
    """
    loss_fn = look_up(DISCRIMINATOR_LOSSES, name, "discriminator loss")
    fake_scores = batch.scores(batch.fakes(), "D_fake")
    real_scores = batch.scores(batch.reals, "D_real")
    stats = {"scores/fake": fake_scores, "scores/real": real_scores}
    return loss_fn(fake_scores, real_scores), stats


# Regularizers of D


def discriminator_penalty(batch, name="r1", gamma=10.0):
    """Gradient penalty of D.

    Args:
      batch: Batch.
      name: key of DISCRIMINATOR_REGULARIZERS.
      gamma: weight.

    Returns:
      [N] penalty.
    """
    return gamma * look_up(DISCRIMINATOR_REGULARIZERS, name, "regularizer")(batch)


@register(DISCRIMINATOR_REGULARIZERS, "r1")
def _r1(batch):
    """1/2 |dD/dx|^2 at the reals (Mescheder et al. 2018, Eq. 9)."""
    return 0.5 * _squared_slope(batch, batch.reals)


@register(DISCRIMINATOR_REGULARIZERS, "r2")
def _r2(batch):
    """1/2 |dD/dx|^2 at the fakes (Mescheder et al. 2018, Eq. 10)."""
    return 0.5 * _squared_slope(batch, batch.fakes())


@register(DISCRIMINATOR_REGULARIZERS, "r1r2")
def _r1r2(batch):
    """R1 and R2 together (R3GAN, Sec. 2.2): with a relativistic loss, what makes it converge."""
    return _r1(batch) + _r2(batch)


@register(DISCRIMINATOR_REGULARIZERS, "gp")
def _gp(batch):
    """(|dD/dx| - 1)^2 on the line between a real and a fake (WGAN-GP, Eq. 3)."""
    mix = batch.rng.uniform("gp_mix", [1, 1, 1])  # [N, 1, 1, 1]
    images = batch.reals + (batch.fakes() - batch.reals) * mix
    # 1e-12: the root has an infinite slope at 0, where a D with dead units may be.
    slope = tf.sqrt(_squared_slope(batch, images) + 1e-12)
    return tf.square(slope - 1.0)


def _squared_slope(batch, images):
    """|dD/dx|^2 for each image: [N, C, H, W] => [N]."""
    # The gradient of the sum of scores, taken per image. (Minibatch stddev lets an image touch the
    # scores of others; as in StyleGAN2 this is left in.)
    total = tf.reduce_sum(batch.scores(images, "D_penalty"))
    return tf.reduce_sum(tf.square(tf.gradients(total, [images])[0]), axis=[1, 2, 3])


# Regularizer of G


def path_lengths(batch):
    """How far a step in w moves the image (StyleGAN2, Sec. 3.2).

    The length is that of J^T y, where J is the Jacobian of the image by ws and y a random image
    whose norm is about sqrt(C): the root of the mean, over components and layers, of squared norms.

    Args:
      batch: Batch.

    Returns:
      [N] lengths.
    """
    images, ws = batch.fakes(return_ws=True)
    shape = images.shape.as_list()[1:]  # [C, H, W]
    y = batch.rng.normal("path_noise", shape) / np.float32(np.sqrt(shape[1] * shape[2]))
    grads = tf.gradients(tf.reduce_sum(images * y), [ws])[0]
    squared = tf.reduce_sum(tf.square(grads), axis=-1)  # [N, K, L] or [N, L]
    axes = list(range(1, squared.shape.ndims))
    # 1e-12: the root has an infinite slope at 0.
    return tf.sqrt(tf.reduce_mean(squared, axis=axes) + 1e-12)


def path_length_penalty(lengths, mean_length, average, decay=0.01, weight=2.0):
    """Penalize lengths that differ from their running mean (StyleGAN2, Eq. 4).

    Differs from the paper, as the published code does: gradients flow through the updated running
    mean too.

    Args:
      lengths: [N], those of one replica.
      mean_length: [], mean of the lengths of all replicas.
      average: [], the running mean before this step.
      decay: share of the new mean in the running mean.
      weight: of the penalty.

    Returns:
      Tuple of the penalty [N] and the running mean after this step [].
    """
    average = average + decay * (mean_length - average)
    return weight * tf.square(lengths - average), average
