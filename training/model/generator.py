"""The generator: latents to images, around a mapping and a synthesis network.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).
"""

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import OptionError
from dnnlib.tflib.random import random_source
from training.model.layers import log2_resolution
from training.model.quirks import Quirks
from training.model.synthesis_graph import noise_mode_of


@tflib.register_builder("generator")
def generator(
    z,
    c,
    *,
    resolution,
    num_channels=3,
    ratio=1.0,
    z_dim=512,
    w_dim=512,
    c_dim=0,
    components_num=1,
    transformer=False,
    use_pos=False,
    num_heads=1,
    ltnt_gate=False,
    merge=False,
    truncation_psi=0.7,
    truncation_cutoff=None,
    truncation_psi_val=None,
    truncation_cutoff_val=None,
    w_avg_beta=0.995,
    average_by_component=False,
    style_mixing=0.9,
    component_mixing=0.0,
    component_dropout=0.0,
    attention_dropout=0.12,
    noise_mode=None,
    randomize_noise=None,
    fused_modconv=None,
    take_ws=False,
    take_dlatents=False,
    return_ws=False,
    return_dlatents=False,
    maps="image",
    mapping={},  # noqa: B006 - defaults that nobody changes
    synthesis={},  # noqa: B006
    quirks=(),
    rng=None,
    components,
    is_template_graph=False,
    is_training=False,
    is_validation=False,
):
    """Generate images.

    Args:
      z: [N, K, z_dim] latents; K = components_num, and with ``transformer`` one more, the global
        latent, which is the last. [N, z_dim] for a single one. With ``take_ws``: ws.
      c: [N, c_dim] labels.
      resolution: side of the images, a power of two.
      num_channels: of the images.
      ratio: height / width of the pictures inside the square images. Saved for those who show them;
        the network does not use it.
      z_dim: width of z.
      w_dim: D, width of w.
      c_dim: number of label features; 0 without labels.
      components_num: components, the global latent not counted.
      transformer: attention from the components to the image.
      use_pos: tell the components apart by a trained encoding of each.
      num_heads: attention heads.
      ltnt_gate: attention gates on the latents' side.
      merge: k-GAN: every component makes its own image.
      truncation_psi: scale of the latents about their average; 1 or None leaves them alone. Not
        used in training.
      truncation_cutoff: number of layers that it acts on; None for all.
      truncation_psi_val: the same for validation, where there is none by default.
      truncation_cutoff_val: the same.
      w_avg_beta: decay of the latents' running average, per training step.
      average_by_component: keep an average of each latent, [K, D], to truncate it about. By default
        there is one for all, [D], as in the published code: short of a long training it may be far
        from any component's own, and truncation then spoils the images.
      style_mixing: probability that the layers after a random one get other latents, in training.
      component_mixing: probability that the components after a random one do.
      component_dropout: probability that a component is hidden, in training.
      attention_dropout: rate of dropout on attention, in training.
      noise_mode: "random", "const" or "none"; None: the synthesis network's own.
      randomize_noise: StyleGAN2's spelling: True is "random", False is "const".
      fused_modconv: accepted for old scripts; both forms of the convolution are the same function.
      take_ws: the input is ws, [N, K, L, D], used as it is.
      take_dlatents: StyleGAN2's spelling of it.
      return_ws: return ws too, as it enters the synthesis network.
      return_dlatents: StyleGAN2's spelling of it.
      maps: form of the attention maps, see :func:`training.model.synthesis.synthesis`.
      mapping: options of the mapping network.
      synthesis: options of the synthesis network.
      quirks: names of the published code's quirks to reproduce, see quirks.py.
      rng: StepRandom for all random numbers; None: TensorFlow's stateful generators.
      components: sub-networks by role.
      is_template_graph: building the template.
      is_training: average latents, mix styles, use dropout; no truncation.
      is_validation: use the truncation of validation.

    Returns:
      images [N, num_channels, H, W]; with ``transformer`` also the attention maps, and zeros [N] in
      their place if a network with that quirk has none; with ``return_ws`` also ws [N, K, L, D].
    """
    if not isinstance(ratio, (int, float)) or not ratio > 0:
        raise OptionError(f"ratio={ratio!r}: must be a number above 0")
    quirk = Quirks.named(quirks)
    num_layers = 2 * log2_resolution(resolution) - 1
    num_latents = components_num + (1 if transformer else 0)
    take_ws = take_ws or take_dlatents
    z = _set_shape(z, [num_latents, num_layers, w_dim] if take_ws else [num_latents, z_dim])
    c.set_shape([None, c_dim])
    source = random_source(rng, z)

    ltnt_pos = _components_encoding(components_num, w_dim, transformer, quirk.shorter_encoding)
    w_avg = average_variable(w_dim, num_latents if average_by_component else None)
    shared = dict(
        w_dim=w_dim,
        components_num=components_num,
        transformer=transformer,
        use_pos=use_pos,
        num_heads=num_heads,
        ltnt_gate=ltnt_gate,
        quirks=list(quirks),
    )
    if "synthesis" not in components:
        components.synthesis = tflib.Network(
            "G_synthesis",
            "synthesis",
            **_merged(
                synthesis, shared, resolution=resolution, num_channels=num_channels, merge=merge
            ),
        )
    if "mapping" not in components:
        components.mapping = tflib.Network(
            "G_mapping",
            "mapping",
            **_merged(mapping, shared, z_dim=z_dim, c_dim=c_dim, num_broadcast=num_layers),
        )
    if is_template_graph and use_pos:
        components.mapping.bind(ltnt_pos=ltnt_pos)
        components.synthesis.bind(ltnt_pos=ltnt_pos)

    per_call = dict(
        rng=rng,
        ltnt_pos=ltnt_pos if use_pos else None,
        component_mask=_component_mask(source, components_num, component_dropout, is_training),
        attention_dropout=attention_dropout if is_training else 0.0,
    )

    def map_latents(z, name):
        options = dict(per_call, rng=None if rng is None else rng.child(name))
        return components.mapping.get_output_for(z, c, **dict(mapping, **options))

    ws = z if take_ws else map_latents(z, "mapping")
    if is_training and not take_ws:
        ws = update_average(ws, w_avg, w_avg_beta)
        ws = mix_latents(
            ws, map_latents, source, [num_latents, z_dim], style_mixing, component_mixing
        )
    if not is_training and not (take_ws and not quirk.truncates_given_ws):
        psi, cutoff = truncation_psi, truncation_cutoff
        if is_validation:
            psi, cutoff = truncation_psi_val, truncation_cutoff_val
        ws = truncate(ws, w_avg, psi, cutoff)
    # Both the output and what images are made from, so that gradients by it exist.
    ws = tf.identity(ws, name="ws_out")
    options = dict(synthesis, maps=maps, **per_call)
    noise_mode = noise_mode_of(noise_mode, randomize_noise)
    if noise_mode is not None:
        options["noise_mode"] = noise_mode
    images, *found = components.synthesis.get_output_for(ws, return_as_list=True, **options)
    outputs = [tf.identity(images, name="images_out")]
    outputs += [tf.identity(x, name=x.op.name.split("/")[-1]) for x in found]
    if quirk.zeros_for_maps and not transformer and maps == "image":
        outputs.append(tf.zeros([tf.shape(ws)[0]], name="no_maps_out"))
    if return_ws or return_dlatents:
        outputs.append(ws)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


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


def _components_encoding(components_num, w_dim, transformer, is_shorter):
    """What tells the components apart, [components_num, D]."""
    rows = components_num
    if is_shorter and not transformer:
        rows -= 1  # never used there
    with tf.variable_scope("ltnt_emb"):
        init = tf.initializers.random_uniform(0.0, 1.0)
        return tf.convert_to_tensor(tf.get_variable("emb", shape=[rows, w_dim], initializer=init))


def _component_mask(rng, num, dropout, is_training):
    """[N, num], 0 with probability ``dropout``; None if nothing is dropped."""
    if not dropout or not is_training:
        return None
    return tf.cast(rng.uniform("component_dropout", [num]) >= dropout, tf.float32)


def _merged(options, *layers, **more):
    """Options of a sub-network: the given ones win over those that the networks share."""
    merged = {}
    for layer in (*layers, more, options):
        merged.update(layer)
    return merged
