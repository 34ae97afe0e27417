"""The generator: latents to images, around a mapping and a synthesis network.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import OptionError
from dnnlib.tflib.options import COUNT, SIDE, option
from dnnlib.tflib.random import random_source
from training.model.layers import SQUARE, log2_resolution
from training.model.options import MAPS, NOISE_MODES, chosen_noise_mode
from training.model.quirks import HasQuirks


@dataclass(frozen=True)
class SamplingOptions:
    """Of every generator: what it makes images from, and how it truncates and mixes latents."""

    resolution: int = option(bound=SIDE)  # side of the images in pixels, a power of two from 4 on
    # height and width of the first map; images are resolution / 4 times as large
    start: Sequence[int] = SQUARE
    num_channels: int = 3  # number of channels of the images
    # height / width of the pictures inside the square images: for those who show them
    ratio: float = 1.0
    z_dim: int = 512  # width of a latent z
    w_dim: int = 512  # D, width of an intermediate latent w
    c_dim: int = 0  # number of label features; 0 without labels
    # scale of the latents about their average, except in training; 1 or None: no truncation
    truncation_psi: float | None = 0.7
    truncation_cutoff: int | None = None  # number of layers that are truncated; None: all
    truncation_psi_val: float | None = None  # truncation_psi for ``is_validation``
    truncation_cutoff_val: int | None = None  # truncation_cutoff for ``is_validation``
    w_avg_beta: float = 0.995  # decay of the running average of w, per training step
    # probability that the layers after a random one get other latents, in training
    style_mixing: float = 0.9
    # "random", "const" or "none"; None: as randomize_noise says, or as the synthesis network does
    noise_mode: str | None = option(None, NOISE_MODES)
    # StyleGAN2's spelling of noise_mode: True is "random", False is "const"
    randomize_noise: bool | None = None
    fused_modconv: Any = None  # accepted for StyleGAN2's scripts, without effect
    return_ws: bool = False  # return ws too, as it enters the synthesis network
    return_dlatents: bool = False  # StyleGAN2's spelling of return_ws
    is_validation: bool = False  # truncate as in validation

    def check(self):
        """Raise OptionError for options that make no sense."""
        if not isinstance(self.ratio, (int, float)) or not self.ratio > 0:
            raise OptionError(f"ratio={self.ratio!r}: must be a number above 0")

    @property
    def start_option(self):
        """{"start": ...} for the synthesis network of images that are not square, else {}."""
        return {} if tuple(self.start) == SQUARE else {"start": self.start}

    @property
    def truncation(self):
        """Scale and number of layers of the truncation."""
        if self.is_validation:
            return self.truncation_psi_val, self.truncation_cutoff_val
        return self.truncation_psi, self.truncation_cutoff


@dataclass(frozen=True)
class GeneratorOptions(SamplingOptions, HasQuirks):
    """Options of :func:`generator`."""

    components_num: int = 1  # number of latent components, the global latent not counted
    transformer: bool = False  # attention between the image and the latent components
    use_pos: bool = False  # give each latent component a trained encoding of its own
    num_heads: int = option(1, bound=COUNT)  # number of attention heads
    ltnt_gate: bool = False  # multiply what latents send, or take, by learned sigmoids
    merge: bool = False  # k-GAN: every latent component makes an image of its own
    # truncate each latent about an average of its own, [K, D]. The average of all, [D], as in the
    # published code, may be far from any component's own until a long training has passed; then
    # truncation spoils the images
    average_by_component: bool = False
    # probability that the components after a random one get other latents, in training
    component_mixing: float = 0.0
    component_dropout: float = 0.0  # probability that a component is hidden, in training
    attention_dropout: float = 0.12  # rate of dropout on attention probabilities, in training
    take_ws: bool = False  # the first input is ws, [N, K, L, D], instead of z
    take_dlatents: bool = False  # StyleGAN2's spelling of take_ws
    maps: str = option("image", MAPS)  # form of the attention maps, see SynthesisOptions
    # quirks of the published code that are reproduced: names of fields of Quirks
    quirks: Sequence[str] = ()
    # options of the mapping network, beside those that it shares with the generator
    mapping: dict = option({}, builder="mapping")
    # options of the synthesis network, beside those that it shares with the generator
    synthesis: dict = option({}, builder="synthesis")


@tflib.register_builder("generator", GeneratorOptions)
def generator(z, c, options, *, rng=None, components, is_template_graph=False, is_training=False):
    """Generate images.

    Args:
      z: [N, K, z_dim] latents; K = components_num, and with ``transformer`` one more, the global
        latent, which is the last. [N, z_dim] for a single one. With ``take_ws``: ws.
      c: [N, c_dim] labels.
      options: GeneratorOptions; callers give its fields as keywords.
      rng: StepRandom for all random numbers; None: TensorFlow's stateful generators.
      components: sub-networks by role.
      is_template_graph: whether the template is being built.
      is_training: average latents, mix styles and use dropout; do not truncate.

    Returns:
      images [N, num_channels, H, W]; with ``transformer`` also the attention maps, and zeros [N] in
      their place if a network with that quirk has none; with ``return_ws`` also ws [N, K, L, D].
    """
    options.check()
    num_layers = 2 * log2_resolution(options.resolution) - 1
    num_latents = options.components_num + (1 if options.transformer else 0)
    take_ws = options.take_ws or options.take_dlatents
    z_shape = [num_latents, options.z_dim]
    z = _set_shape(z, [num_latents, num_layers, options.w_dim] if take_ws else z_shape)
    c.set_shape([None, options.c_dim])
    source = random_source(rng, z)

    ltnt_pos = _components_encoding(options)
    w_avg = average_variable(options.w_dim, num_latents if options.average_by_component else None)
    _add_components(components, options, num_layers)
    if is_template_graph and options.use_pos:
        components.mapping.bind(ltnt_pos=ltnt_pos)
        components.synthesis.bind(ltnt_pos=ltnt_pos)

    per_call = dict(
        rng=rng,
        ltnt_pos=ltnt_pos if options.use_pos else None,
        component_mask=_component_mask(source, options, is_training),
        attention_dropout=options.attention_dropout if is_training else 0.0,
    )

    def map_latents(z, name):
        given = dict(per_call, rng=None if rng is None else rng.child(name))
        return components.mapping.get_output_for(z, c, **dict(options.mapping, **given))

    ws = z if take_ws else map_latents(z, "mapping")
    if is_training and not take_ws:
        ws = update_average(ws, w_avg, options.w_avg_beta)
        ws = mix_latents(
            ws, map_latents, source, z_shape, options.style_mixing, options.component_mixing
        )
    if not is_training and (options.quirk.truncates_given_ws or not take_ws):
        ws = truncate(ws, w_avg, *options.truncation)
    # Both the output and what images are made from, so that gradients by it exist.
    ws = tf.identity(ws, name="ws_out")
    given = dict(options.synthesis, maps=options.maps, **per_call)
    if chosen_noise_mode(options) is not None:
        given["noise_mode"] = chosen_noise_mode(options)
    images, *found = components.synthesis.get_output_for(ws, return_as_list=True, **given)
    outputs = [tf.identity(images, name="images_out")]
    outputs += [tf.identity(x, name=x.op.name.split("/")[-1]) for x in found]
    if options.quirk.zeros_for_maps and not options.transformer and options.maps == "image":
        outputs.append(tf.zeros([tf.shape(ws)[0]], name="no_maps_out"))
    if options.return_ws or options.return_dlatents:
        outputs.append(ws)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


# Options of the generator that both of its sub-networks have, too.
SHARED = ["w_dim", "components_num", "transformer", "use_pos", "num_heads", "ltnt_gate", "quirks"]


def _add_components(components, options, num_layers):
    """Make the sub-networks that are not there; options given for one of them win."""
    shared = {name: getattr(options, name) for name in SHARED}
    if "synthesis" not in components:
        own = {name: getattr(options, name) for name in ("resolution", "num_channels", "merge")}
        own.update(options.start_option)
        components.synthesis = tflib.Network(
            "G_synthesis", "synthesis", **{**shared, **own, **options.synthesis}
        )
    if "mapping" not in components:
        own = dict(z_dim=options.z_dim, c_dim=options.c_dim, num_broadcast=num_layers)
        components.mapping = tflib.Network(
            "G_mapping", "mapping", **{**shared, **own, **options.mapping}
        )


def average_variable(w_dim, num_latents=None):
    """Running average of w: [D], or [K, D] with ``num_latents``."""
    shape = [w_dim] if num_latents is None else [num_latents, w_dim]
    init = tf.initializers.zeros()
    return tf.get_variable("dlatent_avg", shape=shape, initializer=init, trainable=False)


def update_average(ws, w_avg, beta):
    """Move the average towards this batch's whenever ws is computed; returns ws.

    Args:
      ws: [N, K, L, D].
      w_avg: variable, [D] or [K, D].
      beta: decay.
    """
    batch_avg = tf.reduce_mean(ws[:, :, 0], axis=[0, 1] if w_avg.shape.ndims == 1 else [0])
    with tf.control_dependencies([w_avg.assign(batch_avg + (w_avg - batch_avg) * beta)]):
        return tf.identity(ws)


def truncate(ws, w_avg, psi, cutoff):
    """Scale latents about their average (StyleGAN2, App. A).

    Args:
      ws: [N, K, L, D].
      w_avg: [D] or [K, D].
      psi: scale; None or 1 returns ws.
      cutoff: number of layers to act on; None for all.
    """
    if psi is None or (not tflib.is_tf_expression(psi) and psi == 1):
        return ws
    num_layers = ws.shape.as_list()[2]
    acts = tf.reshape(_before(num_layers, num_layers if cutoff is None else cutoff), [-1, 1])
    if w_avg.shape.ndims == 2:
        w_avg = tf.expand_dims(w_avg, 1)  # [K, 1, D]
    return w_avg + (ws - w_avg) * (1.0 + (psi - 1.0) * acts)


def mix_latents(ws, map_latents, rng, z_shape, style_mixing, component_mixing):
    """Replace what comes after a random cut by other latents (StyleGAN, Sec. 3.1).

    Args:
      ws: [N, K, L, D].
      map_latents: function of z and a name for its randomness, gives ws.
      rng: source of random numbers. One cut for the whole batch.
      z_shape: of one sample's z.
      style_mixing: probability of a cut between layers.
      component_mixing: probability of a cut between latents.

    Returns:
      [N, K, L, D].
    """
    for name, axis, prob in (
        ("style_mixing", 2, style_mixing),
        ("component_mixing", 1, component_mixing),
    ):
        size = ws.shape.as_list()[axis]
        if not prob or size < 2:
            continue
        other = map_latents(rng.normal(f"{name}/z", z_shape), name)
        cut = tf.where(
            rng.scalar_uniform(f"{name}/decide") < prob,
            rng.scalar_int(f"{name}/cut", 1, size),
            tf.constant(size),
        )
        keep = tf.reshape(_before(size, cut), [-1, 1] if axis == 2 else [-1, 1, 1])
        ws = ws * keep + other * (1.0 - keep)
    return ws


def _before(size, cut):
    """1 for indices below ``cut``, 0 for the others: [size]."""
    return tf.cast(tf.range(size) < cut, tf.float32)


def _set_shape(z, shape):
    """[N, *shape]; a single latent may come without its axis, as [N, z_dim]."""
    if z.shape.ndims == 2 and shape[0] == 1:
        z = z[:, tf.newaxis]
    z.set_shape([None, *shape])
    return z


def _components_encoding(options):
    """What tells the components apart, [components_num, D]."""
    rows = options.components_num
    if options.quirk.shorter_encoding and not options.transformer:
        rows -= 1  # never used there
    init = tf.initializers.random_uniform(0.0, 1.0)
    with tf.variable_scope("ltnt_emb"):
        emb = tf.get_variable("emb", shape=[rows, options.w_dim], initializer=init)
        return tf.convert_to_tensor(emb)


def _component_mask(rng, options, is_training):
    """[N, K], 0 with probability component_dropout in training; None if nothing is hidden."""
    if not options.component_dropout or not is_training:
        return None
    draw = rng.uniform("component_dropout", [options.components_num])
    return tf.cast(draw >= options.component_dropout, tf.float32)
