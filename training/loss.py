"""Adversarial losses and regularizers; every one returns one value per sample.

f = D(G(z)) are the scores of fakes, t = D(x) those of reals. See
:class:`training.batch.Batch` for what a loss is computed from.

All losses and penalties of D take augmented reals and fakes, and so does G's loss (ADA, Sec. 2.1).
Penalties differentiate D by the augmented image, not through the augmentation.

Papers: GAN (Goodfellow et al. 2014, arXiv:1406.2661), WGAN (Arjovsky et al. 2017,
arXiv:1701.07875), WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028), Geometric GAN (Lim & Ye 2017,
arXiv:1705.02894), R1 and R2 (Mescheder et al. 2018, arXiv:1801.04406), ProGAN (Karras et al. 2018,
arXiv:1710.10196), StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), RpGAN (Jolicoeur-Martineau
2018, arXiv:1807.00734), R3GAN (Huang et al. 2024, arXiv:2501.05441), ADA (Karras et al. 2020,
arXiv:2006.06676).
"""

from __future__ import annotations

import inspect

import numpy as np
import tensorflow.compat.v1 as tf

from config.consumers import takes_flags
from dnnlib.errors import must_be_one_of
from training.batch import cosine_decay

# Name => function. The flags --g-loss, --d-loss, --g-reg and --d-reg choose from these tables.
GENERATOR_LOSSES = {}  # fn(f) or fn(f, t), all [N, 1]
DISCRIMINATOR_LOSSES = {}  # fn(f, t)
GENERATOR_REGULARIZERS = {"none": None}  # fn(batch) => [N], to be times the weight
DISCRIMINATOR_REGULARIZERS = {"none": None}  # fn(batch) => [N], to be times gamma


def register(table, name, shrink=1):
    """Decorator: make a function selectable by ``name``.

    Args:
      table: one of the four above.
      name: what the flag calls it.
      shrink: a regularizer looks at 1/shrink of the batch.
    """

    def decorate(fn):
        if name in table:
            raise ValueError(f"{name!r} is registered twice")
        fn.shrink = shrink
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
def _g_logistic_ns(fake_scores):
    """-log sigmoid(f), the non-saturating form (GAN, Sec. 3)."""
    return tf.nn.softplus(-fake_scores)


@register(GENERATOR_LOSSES, "logistic")
def _g_logistic(fake_scores):
    """log(1 - sigmoid(f)), the minimax form (GAN, Eq. 1). Saturates where D is sure."""
    return -tf.nn.softplus(fake_scores)


@register(GENERATOR_LOSSES, "hinge")
def _g_hinge(fake_scores):
    """-f (Geometric GAN). Not clipped: a clipped form has no gradient exactly where D is sure."""
    return -fake_scores


@register(GENERATOR_LOSSES, "wgan")
def _g_wgan(fake_scores):
    """-f (WGAN, Algorithm 1)."""
    return -fake_scores


@register(GENERATOR_LOSSES, "relativistic")
def _g_relativistic(fake_scores, real_scores):
    """-log sigmoid(f - t): each fake is compared with one real (R3GAN, Sec. 2)."""
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
    """-log sigmoid(t - f): each real is compared with one fake (R3GAN, Sec. 2)."""
    return tf.nn.softplus(fake_scores - real_scores)


@takes_flags("G_loss", {"name": GENERATOR_LOSSES})
def generator_loss(batch, name="logistic_ns"):
    """Adversarial loss of G.

    Args:
      batch: Batch.
      name: key of GENERATOR_LOSSES.

    Returns:
      [N, 1] loss.
    """
    loss_fn = look_up(GENERATOR_LOSSES, name, "generator loss")
    scores = [batch.scores(batch.augmented(batch.fakes(), "fake"), "D_fake")]
    if len(inspect.signature(loss_fn).parameters) > 1:
        scores.append(batch.scores(batch.augmented(batch.reals, "real"), "D_real"))
    return loss_fn(*scores)


@takes_flags("D_loss", {"name": DISCRIMINATOR_LOSSES})
def discriminator_loss(batch, name="logistic"):
    """Adversarial loss of D, on reals and as many fresh fakes.

    Args:
      batch: Batch.
      name: key of DISCRIMINATOR_LOSSES.

    Returns:
      [N, 1] loss.
    """
    loss_fn = look_up(DISCRIMINATOR_LOSSES, name, "discriminator loss")
    fakes, reals = batch.augmented(batch.fakes(), "fake"), batch.augmented(batch.reals, "real")
    fake_scores = batch.watch("scores/fake", batch.scores(fakes, "D_fake"))
    real_scores = batch.watch("scores/real", batch.scores(reals, "D_real"))
    is_relative = name in ("relativistic", "wgan")  # only differences of scores mean anything
    batch.watch("scores/r_t", tf.sign(real_scores - fake_scores if is_relative else real_scores))
    return loss_fn(fake_scores, real_scores)


# Regularizers of D


@takes_flags("D_reg", {"name": DISCRIMINATOR_REGULARIZERS})
def discriminator_penalty(batch, name="r1", gamma=10.0, gamma_end=None, gamma_kimg=1000.0):
    """Regularizer of D.

    Args:
      batch: Batch.
      name: key of DISCRIMINATOR_REGULARIZERS.
      gamma: weight.
      gamma_end: weight in the end, to which it moves along half a cosine; None: gamma.
      gamma_kimg: thousands of images within which it moves.

    Returns:
      [N] penalty.
    """
    if gamma_end is not None:
        gamma = cosine_decay(gamma, gamma_end, batch.step.nimg, gamma_kimg)
    return gamma * look_up(DISCRIMINATOR_REGULARIZERS, name, "discriminator regularizer")(batch)


@register(DISCRIMINATOR_REGULARIZERS, "r1")
def _r1(batch):
    """1/2 |dD/dx|^2 at the reals (Mescheder et al. 2018, Eq. 9)."""
    return 0.5 * _squared_slope(batch, batch.augmented(batch.reals, "real"))


@register(DISCRIMINATOR_REGULARIZERS, "r2")
def _r2(batch):
    """1/2 |dD/dx|^2 at the fakes (Mescheder et al. 2018, Eq. 10)."""
    return 0.5 * _squared_slope(batch, batch.augmented(batch.fakes(), "fake"))


@register(DISCRIMINATOR_REGULARIZERS, "r1r2")
def _r1r2(batch):
    """R1 and R2: with both, the relativistic loss converges locally (R3GAN, Sec. 2)."""
    return _r1(batch) + _r2(batch)


@register(DISCRIMINATOR_REGULARIZERS, "gp")
def _gp(batch):
    """(|dD/dx| - 1)^2 on the line between a real and a fake (WGAN-GP, Eq. 3)."""
    mix = batch.rng.uniform("gp_mix", [1, 1, 1])  # [N, 1, 1, 1]
    fakes, reals = batch.augmented(batch.fakes(), "fake"), batch.augmented(batch.reals, "real")
    images = reals + (fakes - reals) * mix
    # 1e-12: the root has an infinite slope at 0, where a D with dead units may be.
    slope = tf.sqrt(_squared_slope(batch, images) + 1e-12)
    return tf.square(slope - 1.0)


def _squared_slope(batch, images):
    """|dD/dx|^2 for each image: [N, C, H, W] => [N]."""
    # The gradient of the sum of scores, taken per image. (Minibatch stddev lets an image touch the
    # scores of others; as in StyleGAN2 this is left in.)
    total = tf.reduce_sum(batch.scores(images, "D_penalty"))
    return tf.reduce_sum(tf.square(tf.gradients(total, [images])[0]), axis=[1, 2, 3])


# Regularizers of G


@takes_flags("G_reg", {"name": GENERATOR_REGULARIZERS})
def generator_penalty(batch, name="none", weight=2.0):
    """Regularizer of G.

    Args:
      batch: Batch.
      name: key of GENERATOR_REGULARIZERS.
      weight: of the penalty.

    Returns:
      [N] penalty.
    """
    return weight * look_up(GENERATOR_REGULARIZERS, name, "generator regularizer")(batch)


@register(GENERATOR_REGULARIZERS, "path_length", shrink=2)
def _path_length(batch):
    """(length - its running mean)^2 (StyleGAN2, Eq. 4), on half of the batch.

    Differs from the paper, as the published code does: gradients flow through the updated running
    mean too.
    """
    average = batch.running_mean("path_average", path_lengths, decay=0.01)
    return tf.square(batch.watch("path_length", batch.measure(path_lengths)) - average)


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
