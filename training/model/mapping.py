"""The mapping network: latents z to intermediate latents w.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).

Differs from the published code: labels work; and see quirks.py.
"""

from types import SimpleNamespace

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import OptionError
from dnnlib.tflib.precision import double_precision
from dnnlib.tflib.random import random_source
from training.model.attention import Dropout, attention_layer
from training.model.layers import dense_layer, latent_block
from training.model.quirks import Quirks


@tflib.register_builder("mapping")
def mapping(
    z,
    c,
    *,
    z_dim=512,
    w_dim=512,
    c_dim=0,
    components_num=1,
    transformer=False,
    num_broadcast=None,
    mapping_num_layers=8,
    mapping_lrmul=0.01,
    mapping_dim=None,
    mapping_fmaps=None,
    mapping_nonlinearity="lrelu",
    mapping_resnet=False,
    mapping_shared_dim=None,
    mapping_ltnt2ltnt=False,
    normalize_latents=True,
    embed_labels=False,
    label_fmaps=None,
    use_pos=False,
    num_heads=1,
    ltnt_gate=False,
    attention_dropout=0.0,
    quirks=(),
    ltnt_pos=None,
    component_mask=None,
    rng=None,
    is_template_graph=False,
    is_validation=False,
):
    """Map the component latents, each on its own or together, and the global one.

    Args:
      z: [N, K, z_dim]; with ``transformer`` the last of the K is the global latent.
      c: [N, c_dim] labels.
      z_dim: width of z.
      w_dim: D, width of w.
      c_dim: number of label features; 0 without labels.
      components_num: components, the global latent not counted.
      transformer: whether there is a global latent.
      num_broadcast: L, give w once for each synthesis layer; None gives [N, K, D].
      mapping_num_layers: dense layers (two for a residual block).
      mapping_lrmul: learning-rate multiplier of these layers.
      mapping_dim: their width, with one more dense layer before and after; None: D.
      mapping_fmaps: list of the widths of plain layers; None: all have the same.
      mapping_nonlinearity: activation.
      mapping_resnet: residual blocks.
      mapping_shared_dim: map all components together through layers of this width; 0 or None: each
        on its own.
      mapping_ltnt2ltnt: components look at each other before each pair of layers.
      normalize_latents: scale every z (with its label) to unit mean square.
      embed_labels: StyleGAN2-ADA's way with labels: a dense layer embeds them, the result is scaled
        to unit mean square and goes to the global latent (without one: to all).
      label_fmaps: width of that embedding; None: z_dim.
      use_pos: tell the components apart by ``ltnt_pos`` in this.
      num_heads: heads of the self-attention.
      ltnt_gate: gates in the self-attention.
      attention_dropout: rate of dropout there.
      quirks: names of the published code's quirks to reproduce, see quirks.py.
      ltnt_pos: [components_num, D] encoding of the components.
      component_mask: [N, components_num], 0 hides a component from the others; None: none.
      rng: StepRandom; None: TensorFlow's stateful generators.
      is_template_graph: no bound tensors are there yet.
      is_validation: accepted for old scripts, which give it to all networks; truncation is not
        done here.

    Returns:
      w [N, K, D], or [N, K, L, D] with ``num_broadcast``.
    """
    opt = SimpleNamespace(**locals())
    opt.quirks = Quirks.named(quirks)
    num_latents = components_num + (1 if transformer else 0)
    z.set_shape([None, num_latents, z_dim])
    c.set_shape([None, c_dim])
    # Images of published networks react so strongly to w that rounding in here would show.
    precise = opt.quirks.double_precision and not attention_dropout
    with double_precision(precise, opt, "z c ltnt_pos component_mask"):
        w = _map(opt)
    return tf.identity(tf.cast(w, tf.float32), name="dlatents_out")


def _map(opt):
    """What :func:`mapping` returns, given its arguments."""
    x = opt.z
    net_dim = opt.mapping_dim or opt.w_dim
    pos = _latent_positions(opt)
    if opt.c_dim and not opt.embed_labels:
        x = concat_labels(x, opt.c, opt.c_dim, opt.z_dim)
    # A residual block needs an input of its own width.
    if opt.mapping_dim or (opt.mapping_resnet and x.shape.as_list()[2] != net_dim):
        x = dense_layer(x, net_dim, name="map_start")
        if pos is not None and opt.mapping_dim:
            pos = dense_layer(pos, net_dim, name="map_pos")

    mlp = MappingLayers(
        opt.mapping_num_layers,
        opt.mapping_nonlinearity,
        opt.mapping_lrmul,
        opt.mapping_resnet,
        net_dim,
        opt.mapping_fmaps,
        opt.quirks.attention_before_each_layer,
    )
    g = None
    if opt.transformer:
        x, g = tf.split(x, [opt.components_num, 1], axis=1)
    x, g = _normalize_all(opt, x, g)
    if opt.c_dim and opt.embed_labels:
        label = embed_label(opt.c, opt.label_fmaps or opt.z_dim)
        x, g = (_append(x, label), None) if g is None else (x, _append(g, label))
    rng = random_source(opt.rng, opt.z)

    def self_attention(x, i):
        with tf.variable_scope(f"AttLayer_{i}"):
            return attention_layer(
                x,
                x,
                x.shape.as_list()[2] if opt.quirks.attention_before_each_layer else net_dim,
                opt.num_heads,
                x_pos=pos,
                y_pos=pos,
                x_gate=opt.ltnt_gate,
                y_gate=opt.ltnt_gate,
                mask=opt.component_mask,
                dropout=Dropout(opt.attention_dropout, rng, f"mapping/{i}"),
            ).apply()

    sees_others = opt.mapping_ltnt2ltnt and (
        opt.mapping_resnet or not opt.quirks.attention_in_resnet_only
    )
    if opt.mapping_shared_dim:
        x = _shared(x, opt.mapping_shared_dim, mlp, sees_others)
    else:
        x = mlp(x, self_attention if sees_others else None)
    if g is not None:
        with tf.variable_scope("global"):
            g = mlp(g[:, 0])[:, tf.newaxis]
        x = tf.concat([x, g], axis=1)
    if opt.mapping_dim:
        x = dense_layer(x, opt.w_dim, name="map_end")
    if opt.num_broadcast:
        x = tf.tile(x[:, :, tf.newaxis], [1, 1, opt.num_broadcast, 1])
    return x


def _normalize_all(opt, x, g):
    """The component latents x and the global one g (or None), normalised as the options say."""
    if not opt.normalize_latents:
        return x, g
    x = normalize(x, [1, 2] if opt.quirks.joint_normalization else -1)
    return x, g if g is None or opt.quirks.raw_global_latent else normalize(g)


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
    return x * tf.rsqrt(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True) + 1e-8)


def _latent_positions(opt):
    """The encoding of the components, or None."""
    if not opt.use_pos:
        return None
    if opt.ltnt_pos is None:
        if not opt.is_template_graph:
            raise ValueError("use_pos=True needs ltnt_pos; the outer generator binds it")
        return tf.zeros([opt.components_num, opt.w_dim], opt.z.dtype)
    return opt.ltnt_pos


class MappingLayers:
    """The dense layers of the mapping network, plain or residual.

    Args:
      num_layers: number of dense layers; residual blocks take two each.
      act: activation.
      lrmul: learning-rate multiplier.
      resnet: residual blocks, then one more layer.
      dim: width.
      widths: width of each plain layer; None: ``dim``.
      attends_often: attention goes before each plain layer but the last, not before pairs of them.
    """

    def __init__(self, num_layers, act, lrmul, resnet, dim, widths=None, attends_often=False):
        if resnet and num_layers < 2:
            raise OptionError(
                f"--mapping-layersnum={num_layers}: a residual mapping needs 2 layers or more; "
                "use 2, or leave out --mapping-resnet"
            )
        self.num_layers, self.act, self.lrmul = num_layers, act, lrmul
        self.resnet, self.dim = resnet, dim
        self.widths, self.attends_often = widths or [dim] * num_layers, attends_often
        if len(self.widths) != num_layers:
            raise OptionError(f"mapping_fmaps={widths} are not the widths of {num_layers} layers")

    def with_dim(self, dim):
        """The same layers in another width."""
        return MappingLayers(self.num_layers, self.act, self.lrmul, self.resnet, dim)

    def __call__(self, x, attention=None):
        """[N, K, I] or [N, I] => [..., dim]; ``attention(x, i)`` goes before pair i of layers."""
        if not self.resnet:
            for i in range(self.num_layers):
                index = i if self.attends_often else i / 2
                is_last = self.attends_often and i == self.num_layers - 1
                if attention is not None and index == int(index) and not is_last:
                    x = attention(x, int(index))
                x = self._dense(x, f"Dense{i}", self.widths[i])
            return x
        blocks = self.num_layers // 2
        for i in range(blocks):
            step = None if attention is None else lambda x, i=i: attention(x, i)
            x = latent_block(x, step, (f"Dense{i}_0", f"Dense{i}_1"), self.act, self.lrmul)
        return self._dense(x, f"Dense{blocks - 1}", self.dim)

    def _dense(self, x, name, width):
        with tf.variable_scope(name):
            return dense_layer(x, width, self.act, self.lrmul)


def _shared(x, dim, mlp, sees_others):
    """Map all components as one vector: [N, K, I] => [N, K, D]."""
    if sees_others:
        raise OptionError(
            f"--mapping-shared-dim={dim} joins the components; --mapping-ltnt2ltnt needs them "
            "apart; leave out one of them"
        )
    _, num, width = x.shape.as_list()
    x = dense_layer(tf.reshape(x, [-1, num * width]), dim, name="inmap")
    x = dense_layer(mlp.with_dim(dim)(x), num * mlp.dim, name="outmap")
    return tf.reshape(x, [-1, num, mlp.dim])
