"""The mapping network: latents z to intermediate latents w.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).

Differs from the published code: labels work; and see quirks.py.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Sequence

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import OptionError
from dnnlib.tflib.light import plus, reshape
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.options import COUNT, option
from dnnlib.tflib.precision import double_precision
from dnnlib.tflib.random import random_source
from training.model.attention_weights import AttentionSpec, attention_weights
from training.model.dropout import Dropout
from training.model.image_attention import latents_from_latents
from training.model.layers import dense_layer, latent_block, latent_block_weights
from training.model.quirks import HasQuirks


@dataclass(frozen=True)
class MappingOptions(HasQuirks):
    """Options of :func:`mapping`."""

    z_dim: int = 512  # width of a latent z
    w_dim: int = 512  # D, width of an intermediate latent w
    c_dim: int = 0  # number of label features; 0 without labels
    components_num: int = 1  # number of latent components, the global latent not counted
    transformer: bool = False  # there is a global latent, the last one
    # L, give w once for each of this number of synthesis layers; None: give [N, K, D]
    num_broadcast: int | None = None
    # number of dense layers; two make a residual block
    mapping_num_layers: int = option(8, bound=COUNT)
    mapping_lrmul: float = 0.01  # learning-rate multiplier of the dense layers
    # width of the dense layers, with one more before and one more after them; None: D
    mapping_dim: int | None = None
    mapping_fmaps: Sequence[int] | None = None  # widths of the plain layers; None: all have D
    mapping_nonlinearity: str = option("lrelu", tuple(ACTIVATIONS))  # activation
    mapping_resnet: bool = False  # residual blocks instead of plain layers
    # width of the layers that map all components as one vector; 0 or None: each on its own
    mapping_shared_dim: int | None = None
    mapping_ltnt2ltnt: bool = False  # components attend to each other before each pair of layers
    normalize_latents: bool = True  # scale every z, with its label, to a mean square of 1
    # StyleGAN2-ADA's way with labels: a dense layer embeds them, and the result, scaled to a mean
    # square of 1, is appended to the global latent, or to all if there is none
    embed_labels: bool = False
    label_fmaps: int | None = None  # width of that embedding; None: z_dim
    use_pos: bool = False  # tell the components apart by ``ltnt_pos`` in that attention
    num_heads: int = option(1, bound=COUNT)  # number of attention heads
    ltnt_gate: bool = False  # multiply what latents send, and take, by learned sigmoids
    attention_dropout: float = 0.0  # rate of dropout on attention probabilities
    # quirks of the published code that are reproduced: names of fields of Quirks
    quirks: Sequence[str] = ()
    is_validation: bool = False  # accepted for old scripts, without effect here


@tflib.register_builder("mapping", MappingOptions)
def mapping(
    z, c, options, *, ltnt_pos=None, component_mask=None, rng=None, is_template_graph=False
):
    """Map the component latents, each on its own or together, and the global one.

    Args:
      z: [N, K, z_dim]; with ``transformer`` the last of the K is the global latent.
      c: [N, c_dim] labels.
      options: MappingOptions; callers give its fields as keywords.
      ltnt_pos: [components_num, D] encoding of the components; needed with ``use_pos``.
      component_mask: [N, components_num], 0 hides a component from the others; None hides none.
      rng: StepRandom; None: TensorFlow's stateful generators.
      is_template_graph: whether the template is being built; ``ltnt_pos`` is not bound yet then.

    Returns:
      w [N, K, D], or [N, K, L, D] with ``num_broadcast``.
    """
    num_latents = options.components_num + (1 if options.transformer else 0)
    z.set_shape([None, num_latents, options.z_dim])
    c.set_shape([None, options.c_dim])
    source = random_source(rng, z)
    if not options.use_pos:
        ltnt_pos = None
    elif ltnt_pos is None:
        if not is_template_graph:
            raise ValueError("use_pos=True needs ltnt_pos; the outer generator binds it")
        ltnt_pos = tf.zeros([options.components_num, options.w_dim])
    # Images of published networks react so strongly to w that rounding in here would show.
    precise = options.quirk.double_precision and not options.attention_dropout
    with double_precision(precise, z, c, ltnt_pos, component_mask) as tensors:
        w = _map(*tensors, source, options)
    return tf.identity(tf.cast(w, tf.float32), name="dlatents_out")


def _map(x, c, pos, mask, rng, options):
    """What :func:`mapping` returns, given tensors of one precision."""
    net_dim = options.mapping_dim or options.w_dim
    if options.c_dim and not options.embed_labels:
        x = concat_labels(x, c, options.c_dim, options.z_dim)
    # A residual block needs an input of its own width.
    if options.mapping_dim or (options.mapping_resnet and x.shape.as_list()[2] != net_dim):
        x = dense_layer(x, net_dim, name="map_start")
        if pos is not None and options.mapping_dim:
            pos = dense_layer(pos, net_dim, name="map_pos")
    g = None
    if options.transformer:
        x, g = tf.split(x, [options.components_num, 1], axis=1)
    x, g = _normalize_all(options, x, g)
    if options.c_dim and options.embed_labels:
        label = embed_label(c, options.label_fmaps or options.z_dim)
        x, g = (_append(x, label), None) if g is None else (x, _append(g, label))
    mlp = MappingLayers(options, net_dim)
    attention = None
    if options.mapping_ltnt2ltnt and (
        options.mapping_resnet or not options.quirk.attention_in_resnet_only
    ):
        attention = functools.partial(_self_attention, pos=pos, mask=mask, rng=rng, options=options)
    if options.mapping_shared_dim:
        x = _shared(x, options.mapping_shared_dim, mlp, attention)
    else:
        x = mlp(x, attention)
    if g is not None:
        with tf.variable_scope("global"):
            g = mlp(g[:, 0])[:, tf.newaxis]
        x = tf.concat([x, g], axis=1)
    if options.mapping_dim:
        x = dense_layer(x, options.w_dim, name="map_end")
    if options.num_broadcast:
        x = tf.tile(x[:, :, tf.newaxis], [1, 1, options.num_broadcast, 1])
    return x


def _self_attention(x, i, pos, mask, rng, options):
    """Components attend to each other before pair i of layers: [N, K, D] => [N, K, D]."""
    dim = options.mapping_dim or options.w_dim
    if options.quirk.attention_before_each_layer:
        dim = x.shape.as_list()[2]
    gate = options.ltnt_gate
    spec = AttentionSpec(dim, options.num_heads, gate, gate)
    with tf.variable_scope(f"AttLayer_{i}"):
        w = attention_weights(x, x, spec, pos, pos)
    dropout = Dropout(options.attention_dropout, rng, f"mapping/{i}")
    return latents_from_latents(x, w, mask, dropout)


def _normalize_all(options, x, g):
    """The component latents x and the global one g (or None), normalised as the options say."""
    if not options.normalize_latents:
        return x, g
    x = normalize(x, [1, 2] if options.quirk.joint_normalization else -1)
    return x, g if g is None or options.quirk.raw_global_latent else normalize(g)


def _append(x, label):
    """The same label after every latent: [N, K, I], [N, E] => [N, K, I + E]."""
    label = tf.tile(label[:, tf.newaxis], [1, x.shape.as_list()[1], 1])
    return tf.concat([x, label], axis=2)


def concat_labels(x, c, c_dim, dim):
    """Append an embedding of the label to every latent: [N, ..., I] => [N, ..., I + dim]."""
    with tf.variable_scope("LabelConcat"):
        init = tf.initializers.random_normal()
        w = tf.get_variable("weight", shape=[c_dim, dim], initializer=init)
    y = tf.matmul(tf.cast(c, w.dtype), w)
    if x.shape.ndims == 3:
        y = tf.tile(y[:, tf.newaxis], [1, x.shape.as_list()[1], 1])
    return tf.concat([x, y], axis=-1)


def embed_label(c, dim):
    """Dense embedding of labels with unit mean square: [N, c_dim] => [N, dim]."""
    with tf.variable_scope("LabelEmbed"):
        return normalize(dense_layer(c, dim))


def normalize(x, axis=-1):
    """Mean square 1 along the last axis (ProGAN, Karras et al. 2018, Sec. 4.2), or others."""
    return x * tf.rsqrt(plus(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True), 1e-8))


class MappingLayers:
    """The dense layers of the mapping network, plain or residual.

    Args:
      options: MappingOptions.
      dim: width.

    Raises:
      OptionError: a residual mapping of less than two layers, or widths of other layers.
    """

    def __init__(self, options, dim):
        self.num_layers, self.resnet = options.mapping_num_layers, options.mapping_resnet
        self.act, self.lrmul = options.mapping_nonlinearity, options.mapping_lrmul
        self.options, self.dim = options, dim
        self.widths = options.mapping_fmaps or [dim] * self.num_layers
        if len(self.widths) != self.num_layers:
            raise OptionError(
                f"mapping_fmaps={self.widths} are not the widths of {self.num_layers} layers"
            )
        if self.resnet and self.num_layers < 2:
            raise OptionError(
                f"--mapping-layersnum={self.num_layers}: a residual mapping needs 2 layers or "
                "more; use 2, or leave out --mapping-resnet"
            )

    def with_dim(self, dim):
        """The same layers in another width."""
        return MappingLayers(replace(self.options, mapping_fmaps=None), dim)

    def __call__(self, x, attention=None):
        """[N, K, I] or [N, I] => [..., dim]; ``attention(x, i)`` goes before pair i of layers."""
        if not self.resnet:
            sites = {2 * i: i for i in range(self.num_layers)}
            if self.options.quirk.attention_before_each_layer:
                sites = {i: i for i in range(self.num_layers - 1)}
            for i, width in enumerate(self.widths):
                if attention is not None and i in sites:
                    x = attention(x, sites[i])
                x = self._dense(x, f"Dense{i}", width)
            return x
        blocks = self.num_layers // 2
        for i in range(blocks):
            y = x if attention is None else attention(x, i)
            names, dim = (f"Dense{i}_0", f"Dense{i}_1"), x.shape.as_list()[-1]
            layers = latent_block_weights(dim, names, self.act, self.lrmul)
            x = latent_block(x, y, layers, self.act)
        return self._dense(x, f"Dense{blocks - 1}", self.dim)

    def _dense(self, x, name, width):
        with tf.variable_scope(name):
            return dense_layer(x, width, self.act, self.lrmul)


def _shared(x, dim, mlp, attention):
    """Map all components as one vector: [N, K, I] => [N, K, D]."""
    if attention is not None:
        raise OptionError(
            f"--mapping-shared-dim={dim} joins the components; --mapping-ltnt2ltnt needs them "
            "apart; leave out one of them"
        )
    _, num, width = x.shape.as_list()
    x = dense_layer(reshape(x, [-1, num * width]), dim, name="inmap")
    x = dense_layer(mlp.with_dim(dim)(x), num * mlp.dim, name="outmap")
    return reshape(x, [-1, num, mlp.dim])
