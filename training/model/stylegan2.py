"""StyleGAN2's networks (Karras et al. 2020, arXiv:1912.04958), as its snapshots have them.

They share all layers with the networks of this project and differ in this: one latent, so z
is [N, z_dim] and ws is [N, L, D]; L is 2 log2(resolution) - 2, without one for a latent stem; there
is a variable ``lod``. With ``progressive`` they have the layout of the configurations B to D, whose
training grows the networks; they compute what these compute when fully grown (``lod`` is 0).
"""

import inspect
from types import SimpleNamespace

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.random import random_source
from training.model.discriminator import DiscriminatorGraph, discriminator
from training.model.generator import (
    average_variable,
    mix_latents,
    truncate,
    update_average,
)
from training.model.layers import dense_layer, log2_resolution
from training.model.mapping import concat_labels, embed_label, normalize
from training.model.quirks import Quirks
from training.model.synthesis import synthesis
from training.model.synthesis_graph import (
    SynthesisGraph,
    check_options,
    noise_mode_of,
)


@tflib.register_builder("stylegan2_generator")
def stylegan2_generator(
    z,
    c,
    *,
    resolution,
    num_channels=3,
    z_dim=512,
    w_dim=512,
    c_dim=0,
    progressive=False,
    truncation_psi=0.5,
    truncation_cutoff=None,
    truncation_psi_val=None,
    truncation_cutoff_val=None,
    w_avg_beta=0.995,
    style_mixing=0.9,
    noise_mode=None,
    randomize_noise=None,
    fused_modconv=None,
    return_ws=False,
    return_dlatents=False,
    mapping={},  # noqa: B006 - defaults that nobody changes
    synthesis={},  # noqa: B006
    rng=None,
    components,
    is_training=False,
    is_validation=False,
):
    """z [N, z_dim] and labels c [N, c_dim] to images.

    Options as for :func:`training.model.generator.generator`;
    ``progressive`` gives the layout of the configurations B to D.

    Returns:
      images [N, num_channels, H, W]; with ``return_ws`` also ws [N, L, D].
    """
    num_layers = 2 * log2_resolution(resolution) - 2
    z.set_shape([None, z_dim])
    c.set_shape([None, c_dim])
    _lod_variable()
    w_avg = average_variable(w_dim)
    if "synthesis" not in components:
        options = dict(w_dim=w_dim, num_channels=num_channels, progressive=progressive, **synthesis)
        components.synthesis = tflib.Network(
            "G_synthesis", "stylegan2_synthesis", resolution=resolution, **options
        )
    if "mapping" not in components:
        options = dict(z_dim=z_dim, w_dim=w_dim, c_dim=c_dim, num_broadcast=num_layers, **mapping)
        components.mapping = tflib.Network("G_mapping", "stylegan2_mapping", **options)

    def map_latents(z, name):
        return components.mapping.get_output_for(z, c, **mapping)[:, tf.newaxis]

    ws = map_latents(z, "mapping")  # [N, 1, L, D]
    if is_training:
        ws = update_average(ws, w_avg, w_avg_beta)
        ws = mix_latents(ws, map_latents, random_source(rng, z), [z_dim], style_mixing, 0.0)
    else:
        psi, cutoff = truncation_psi, truncation_cutoff
        if is_validation:
            psi, cutoff = truncation_psi_val, truncation_cutoff_val
        ws = truncate(ws, w_avg, psi, cutoff)
    ws = tf.identity(ws[:, 0], name="ws_out")
    options = dict(synthesis, rng=rng)
    noise_mode = noise_mode_of(noise_mode, randomize_noise)
    if noise_mode is not None:
        options["noise_mode"] = noise_mode
    images = components.synthesis.get_output_for(ws, **options)
    images = tf.identity(images, name="images_out")
    return (images, ws) if return_ws or return_dlatents else images


@tflib.register_builder("stylegan2_mapping")
def stylegan2_mapping(
    z,
    c,
    *,
    z_dim=512,
    w_dim=512,
    c_dim=0,
    num_broadcast=None,
    mapping_num_layers=8,
    mapping_fmaps=512,
    mapping_lrmul=0.01,
    mapping_nonlinearity="lrelu",
    normalize_latents=True,
    embed_labels=False,
    label_fmaps=None,
    is_validation=False,
):
    """Map latents.

    Args:
      z: [N, z_dim].
      c: [N, c_dim] labels.
      z_dim: width of z.
      w_dim: D, width of w.
      c_dim: number of label features; 0 without labels.
      num_broadcast: L, give w once for each synthesis layer; None gives [N, D].
      mapping_num_layers: dense layers.
      mapping_fmaps: their width; the last one has D. None: D for all.
      mapping_lrmul: their learning-rate multiplier.
      mapping_nonlinearity: activation.
      normalize_latents: scale z, with its label, to unit mean square.
      embed_labels: StyleGAN2-ADA's way with labels: a dense layer embeds them, and the result is
        scaled to unit mean square on its own.
      label_fmaps: width of that embedding; None: z_dim.
      is_validation: accepted for old scripts, which give it to all networks; truncation is not
        done here.

    Returns:
      w [N, D], or [N, L, D] with ``num_broadcast``.
    """
    z.set_shape([None, z_dim])
    c.set_shape([None, c_dim])
    label = embed_label(c, label_fmaps or z_dim) if c_dim and embed_labels else None
    x = concat_labels(z, c, c_dim, z_dim) if c_dim and not embed_labels else z
    x = normalize(x) if normalize_latents else x
    x = x if label is None else tf.concat([x, label], axis=1)
    for i in range(mapping_num_layers):
        width = w_dim if i == mapping_num_layers - 1 else mapping_fmaps or w_dim
        with tf.variable_scope(f"Dense{i}"):
            x = dense_layer(x, width, mapping_nonlinearity, mapping_lrmul)
    if num_broadcast:
        x = tf.tile(x[:, tf.newaxis], [1, num_broadcast, 1])
    return tf.identity(x, name="dlatents_out")


@tflib.register_builder("stylegan2_synthesis")
def stylegan2_synthesis(
    ws,
    *,
    resolution,
    num_channels=3,
    w_dim=512,
    progressive=False,
    architecture="skip",
    noise_mode="random",
    randomize_noise=None,
    fused_modconv=None,
    nonlinearity="lrelu",
    conv_clamp=None,
    use_noise=True,
    resample_kernel=(1, 3, 3, 1),
    channel_base=16 << 10,
    channel_max=512,
    channel_min=1,
    channel_decay=1.0,
    const_channels=None,
    quirks=(),
    rng=None,
    is_validation=False,
):
    """ws [N, L, D] to images.

    Options as for :func:`training.model.synthesis.synthesis`;
    ``progressive`` gives the layout of the configurations B to D, of architecture "orig";
    without ``use_noise`` there is neither noise nor a variable of it.

    Returns:
      images [N, num_channels, H, W].
    """
    given = dict(locals())
    given["noise_mode"] = noise_mode_of(None, randomize_noise) or noise_mode
    if progressive:
        given["architecture"] = "orig"
        _lod_variable()
    opt = _with_defaults(synthesis, given)
    opt.quirks, opt.local_noise = Quirks.named(quirks), use_noise
    check_options(opt)
    ws.set_shape([None, 2 * log2_resolution(resolution) - 2, w_dim])
    graph = SynthesisGraph(opt, ws[:, tf.newaxis], first_layer=0, progressive=progressive)
    return tf.identity(graph.images(), name="images_out")


@tflib.register_builder("stylegan2_discriminator")
def stylegan2_discriminator(
    images_in,
    c,
    *,
    resolution,
    num_channels=3,
    c_dim=0,
    progressive=False,
    architecture="resnet",
    nonlinearity="lrelu",
    epilogue_nonlinearity=None,
    conv_clamp=None,
    spectral_norm=False,
    resample_kernel=(1, 3, 3, 1),
    channel_base=16 << 10,
    channel_max=512,
    channel_min=1,
    channel_decay=1.0,
    hidden_dim=None,
    mbstd_group_size=4,
    mbstd_num_channels=1,
    embed_labels=False,
    label_fmaps=None,
    cmap_dim=None,
    mapping_num_layers=0,
    mapping_fmaps=None,
    mapping_lrmul=0.1,
    mapping_nonlinearity="lrelu",
    score_max=1,
    score_size=1,
    fused_modconv=None,
    attention_dropout=0.0,
    quirks=(),
    rng=None,
):
    """images [N, num_channels, H, W] in [-1, 1] and labels c [N, c_dim] to scores.

    Options as for :func:`training.model.discriminator.discriminator`;
    ``progressive`` gives the layout of the configurations B to D, of architecture "orig".
    ``attention_dropout`` and ``rng`` are accepted because losses give them to every
    discriminator; nothing is random here.

    Returns:
      scores [N, 1].
    """
    given = dict(locals())
    if progressive:
        given["architecture"] = "orig"
        _lod_variable()
    images_in.set_shape([None, num_channels, resolution, resolution])
    c.set_shape([None, c_dim])
    opt = _with_defaults(discriminator, given)
    opt.quirks = Quirks.named(quirks)
    graph = DiscriminatorGraph(opt, log2_resolution(resolution), progressive=progressive)
    return tf.identity(graph.scores(images_in, c), name="scores_out")


def _lod_variable():
    """How far a progressively grown network is from fully grown; always 0 here."""
    tf.get_variable("lod", shape=[], initializer=tf.initializers.zeros(), trainable=False)


def _with_defaults(builder, given):
    """Options of another builder: what is given, else its defaults."""
    parameters = inspect.signature(builder).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return SimpleNamespace(**dict(defaults, **given))
