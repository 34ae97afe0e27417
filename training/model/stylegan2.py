"""StyleGAN2's networks (Karras et al. 2020, arXiv:1912.04958), as its snapshots have them.

They share all layers with the networks of this project and differ in this: one latent, so z
is [N, z_dim] and ws is [N, L, D]; L is 2 log2(resolution) - 2, without one for a latent stem; there
is a variable ``lod``. With ``progressive`` they have the layout of the configurations B to D, whose
training grows the networks; they compute what these compute when fully grown (``lod`` is 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.options import COUNT, convert_options, option
from dnnlib.tflib.random import random_source
from training.model.discriminator import (
    BaseDiscriminatorOptions,
    DiscriminatorGraph,
    DiscriminatorOptions,
)
from training.model.generator import (
    SamplingOptions,
    average_variable,
    mix_latents,
    truncate,
    update_average,
)
from training.model.layers import dense_layer, log2_resolution
from training.model.mapping import concat_labels, embed_label, normalize
from training.model.options import chosen_noise_mode
from training.model.synthesis_graph import (
    BaseSynthesisOptions,
    SynthesisGraph,
    SynthesisOptions,
)


@dataclass(frozen=True)
class StyleGAN2GeneratorOptions(SamplingOptions):
    """Options of :func:`stylegan2_generator`."""

    progressive: bool = False  # have the layout of the configurations B to D
    truncation_psi: float | None = 0.5  # scale of w about its average, except in training
    # options of the mapping network, beside those that it shares with the generator
    mapping: dict = option({}, builder="stylegan2_mapping")
    # options of the synthesis network, beside those that it shares with the generator
    synthesis: dict = option({}, builder="stylegan2_synthesis")


@tflib.register_builder("stylegan2_generator", StyleGAN2GeneratorOptions)
def stylegan2_generator(z, c, options, *, rng=None, components, is_training=False):
    """Generate images.

    Args:
      z: [N, z_dim] latents.
      c: [N, c_dim] labels.
      options: StyleGAN2GeneratorOptions; callers give its fields as keywords.
      rng: StepRandom for all random numbers; None: TensorFlow's stateful generators.
      components: sub-networks by role.
      is_training: average latents and mix styles; do not truncate.

    Returns:
      images [N, num_channels, H, W]; with ``return_ws`` also ws [N, L, D].
    """
    options.check()
    num_layers = 2 * log2_resolution(options.resolution) - 2
    z.set_shape([None, options.z_dim])
    c.set_shape([None, options.c_dim])
    _lod_variable()
    w_avg = average_variable(options.w_dim)
    _add_components(components, options, num_layers)

    def map_latents(z, name):
        return components.mapping.get_output_for(z, c, **options.mapping)[:, tf.newaxis]

    ws = map_latents(z, "mapping")  # [N, 1, L, D]
    if is_training:
        ws = update_average(ws, w_avg, options.w_avg_beta)
        source = random_source(rng, z)
        ws = mix_latents(ws, map_latents, source, [options.z_dim], options.style_mixing, 0.0)
    else:
        ws = truncate(ws, w_avg, *options.truncation)
    ws = tf.identity(ws[:, 0], name="ws_out")
    given = dict(options.synthesis, rng=rng)
    if chosen_noise_mode(options) is not None:
        given["noise_mode"] = chosen_noise_mode(options)
    images = components.synthesis.get_output_for(ws, **given)
    images = tf.identity(images, name="images_out")
    return (images, ws) if options.return_ws or options.return_dlatents else images


def _add_components(components, options, num_layers):
    """Make the sub-networks that are not there; options given for one of them win."""
    if "synthesis" not in components:
        own = {
            name: getattr(options, name)
            for name in ("resolution", "num_channels", "w_dim", "progressive")
        }
        own.update(options.start_option)
        components.synthesis = tflib.Network(
            "G_synthesis", "stylegan2_synthesis", **{**own, **options.synthesis}
        )
    if "mapping" not in components:
        own = {name: getattr(options, name) for name in ("z_dim", "w_dim", "c_dim")}
        own["num_broadcast"] = num_layers
        components.mapping = tflib.Network(
            "G_mapping", "stylegan2_mapping", **{**own, **options.mapping}
        )


@dataclass(frozen=True)
class StyleGAN2MappingOptions:
    """Options of :func:`stylegan2_mapping`."""

    z_dim: int = 512  # width of a latent z
    w_dim: int = 512  # D, width of an intermediate latent w
    c_dim: int = 0  # number of label features; 0 without labels
    # L, give w once for each of this number of synthesis layers; None: give [N, D]
    num_broadcast: int | None = None
    mapping_num_layers: int = option(8, bound=COUNT)  # number of dense layers
    # width of the dense layers but the last, which has D; None: all have D
    mapping_fmaps: int | None = 512
    mapping_lrmul: float = 0.01  # learning-rate multiplier of the dense layers
    mapping_nonlinearity: str = option("lrelu", tuple(ACTIVATIONS))  # activation
    normalize_latents: bool = True  # scale z, with its label, to a mean square of 1
    # StyleGAN2-ADA's way with labels: a dense layer embeds them, and the result, scaled to a mean
    # square of 1, is appended to the latent
    embed_labels: bool = False
    label_fmaps: int | None = None  # width of that embedding; None: z_dim
    is_validation: bool = False  # accepted for old scripts, without effect here


@tflib.register_builder("stylegan2_mapping", StyleGAN2MappingOptions)
def stylegan2_mapping(z, c, options):
    """Map latents.

    Args:
      z: [N, z_dim].
      c: [N, c_dim] labels.
      options: StyleGAN2MappingOptions; callers give its fields as keywords.

    Returns:
      w [N, D], or [N, L, D] with ``num_broadcast``.
    """
    z.set_shape([None, options.z_dim])
    c.set_shape([None, options.c_dim])
    x, label = z, None
    if options.c_dim and options.embed_labels:
        label = embed_label(c, options.label_fmaps or options.z_dim)
    elif options.c_dim:
        x = concat_labels(z, c, options.c_dim, options.z_dim)
    x = normalize(x) if options.normalize_latents else x
    x = x if label is None else tf.concat([x, label], axis=1)
    for i in range(options.mapping_num_layers):
        is_last = i == options.mapping_num_layers - 1
        width = (None if is_last else options.mapping_fmaps) or options.w_dim
        with tf.variable_scope(f"Dense{i}"):
            x = dense_layer(x, width, options.mapping_nonlinearity, options.mapping_lrmul)
    if options.num_broadcast:
        x = tf.tile(x[:, tf.newaxis], [1, options.num_broadcast, 1])
    return tf.identity(x, name="dlatents_out")


@dataclass(frozen=True)
class StyleGAN2SynthesisOptions(BaseSynthesisOptions):
    """Options of :func:`stylegan2_synthesis`."""

    # have the layout of the configurations B to D, of architecture "orig"
    progressive: bool = False
    use_noise: bool = True  # add noise in every layer, and have variables for it


@tflib.register_builder("stylegan2_synthesis", StyleGAN2SynthesisOptions)
def stylegan2_synthesis(ws, options, *, rng=None):
    """Synthesise images.

    Args:
      ws: [N, L, D].
      options: StyleGAN2SynthesisOptions; callers give its fields as keywords.
      rng: StepRandom; None: TensorFlow's stateful generators.

    Returns:
      images [N, num_channels, H, W].
    """
    ws.set_shape([None, 2 * options.max_log2 - 2, options.w_dim])
    opt = _with_layout(options, SynthesisOptions, local_noise=options.use_noise)
    graph = SynthesisGraph(
        opt, ws[:, tf.newaxis], rng, first_layer=0, progressive=options.progressive
    )
    return tf.identity(graph.images(), name="images_out")


@dataclass(frozen=True)
class StyleGAN2DiscriminatorOptions(BaseDiscriminatorOptions):
    """Options of :func:`stylegan2_discriminator`."""

    # have the layout of the configurations B to D, of architecture "orig"
    progressive: bool = False


@tflib.register_builder("stylegan2_discriminator", StyleGAN2DiscriminatorOptions)
def stylegan2_discriminator(images_in, c, options, *, rng=None):
    """Score images.

    Args:
      images_in: [N, num_channels, H, W] in [-1, 1].
      c: [N, c_dim] labels.
      options: StyleGAN2DiscriminatorOptions; callers give its fields as keywords.
      rng: accepted because losses give it to every discriminator; nothing is random here.

    Returns:
      scores [N, score_size].
    """
    images_in.set_shape([None, *options.image_shape])
    c.set_shape([None, options.c_dim])
    opt = _with_layout(options, DiscriminatorOptions)
    graph = DiscriminatorGraph(opt, progressive=options.progressive)
    return tf.identity(graph.scores(images_in, c), name="scores_out")


def _with_layout(options, cls, **more):
    """Options of our networks that give StyleGAN2's; makes the variable of progressive ones."""
    if options.progressive:
        _lod_variable()
        more["architecture"] = "orig"
    return convert_options(options, cls, **more)


def _lod_variable():
    """How far a progressively grown network is from fully grown; always 0 here."""
    tf.get_variable("lod", shape=[], initializer=tf.initializers.zeros(), trainable=False)
