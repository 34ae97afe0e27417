"""The discriminator: images to scores.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).
"""

from types import SimpleNamespace

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import OptionError, must_be_one_of
from dnnlib.tflib.ops.upfirdn_2d import downsample_2d
from dnnlib.tflib.random import random_source
from training.model.attention import Dropout, attention_layer
from training.model.image_attention import image_steps, latents_from_image, latents_from_latents
from training.model.layers import (
    conv2d_act_layer,
    conv2d_layer,
    dense_layer,
    latent_block,
    log2_resolution,
    minibatch_stddev_layer,
    num_features,
)
from training.model.mapping import embed_label
from training.model.positional import GridEncodings
from training.model.quirks import Quirks

ARCHITECTURES = ("orig", "skip", "resnet")


@tflib.register_builder("discriminator")
def discriminator(
    images_in,
    c,
    *,
    resolution,
    num_channels=3,
    c_dim=0,
    a_dim=512,
    components_num=1,
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
    transformer=False,
    start_res=0,
    end_res=8,
    num_heads=1,
    ltnt2ltnt=False,
    ltnt2img=False,
    img2img=0,
    local_attention=0,
    ltnt_gate=False,
    img_gate=False,
    attention_dropout=0.12,
    fused_modconv=None,
    use_pos=False,
    pos_dim=None,
    pos_type="sinus",
    pos_init="uniform",
    pos_directions_num=2,
    quirks=(),
    rng=None,
    is_training=False,
):
    """Score images.

    Args:
      images_in: [N, num_channels, H, W] in [-1, 1].
      c: [N, c_dim] labels.
      resolution: H = W, a power of two.
      num_channels: of the images.
      c_dim: number of label features; 0 without labels.
      a_dim: D, width of the aggregators.
      components_num: K, number of aggregators.
      architecture: "resnet", "skip" (the image enters at every resolution) or "orig".
      nonlinearity: activation of the layers.
      epilogue_nonlinearity: of those at 4x4; None: the same.
      conv_clamp: bound of the convolutions' and of FromRGB's outputs; None: none.
      spectral_norm: divide the 3x3 filters by their largest singular value.
      resample_kernel: FIR filter of down-sampling.
      channel_base: channels at resolution 2^r are channel_base / 2^(r - 1), but not more than
      channel_max: this, nor fewer than
      channel_min: this;
      channel_decay: exponent: 2^((r - 1) * channel_decay).
      hidden_dim: width of the last hidden layer; None: the channels that resolution 2 would have.
      mbstd_group_size: samples that are compared with each other (minibatch standard deviation); 0
        or 1: none; None: all of the batch.
      mbstd_num_channels: features that tell of it; 0: none.
      embed_labels: StyleGAN2-ADA's way with labels: they are embedded, mapped, and projected on
        what is seen in the image; by default there is a score for each label feature.
      label_fmaps: width of that embedding; None: cmap_dim.
      cmap_dim: width of the mapped label; None: that of the last hidden layer.
      mapping_num_layers: dense layers that map the embedding.
      mapping_fmaps: their width; the last one has cmap_dim. None: all have it.
      mapping_lrmul: their learning-rate multiplier.
      mapping_nonlinearity: their activation.
      score_max: scores that the network has room for, without labels.
      score_size: how many of them it returns.
      transformer: aggregators, trained latents that read the image at each resolution.
      start_res: attention at resolutions 2^r with start_res <= r
      end_res: < end_res; never at 4x4.
      num_heads: attention heads.
      ltnt2ltnt: aggregators look at each other.
      ltnt2img: the image looks at the aggregators.
      img2img: log2 of a resolution at which positions look at each other (SAGAN); 0: none.
      local_attention: side of the windows in which positions look at each other; 0: none.
      ltnt_gate: gates on the aggregators' side.
      img_gate: gates on the image's side.
      attention_dropout: rate of dropout on attention, in training.
      fused_modconv: accepted for old scripts, which give it to all networks; nothing is modulated.
      use_pos: tell the aggregators apart by a trained encoding of each.
      pos_dim: width of the image's positional encoding; None: D.
      pos_type: its kind, see positional.py.
      pos_init: start of trainable kinds.
      pos_directions_num: its number of directions.
      quirks: names of the published code's quirks to reproduce, see quirks.py.
      rng: StepRandom; None: TensorFlow's stateful generators.
      is_training: use dropout.

    Returns:
      scores [N, 1], or [N, score_size].
    """
    opt = SimpleNamespace(**locals())
    opt.quirks = Quirks.named(quirks)
    max_log2 = log2_resolution(resolution)
    images_in.set_shape([None, num_channels, resolution, resolution])
    c.set_shape([None, c_dim])
    ltnt_pos = None
    if use_pos:
        ltnt_pos = _latents("ltnt_emb/emb", components_num, a_dim)
    grids = GridEncodings(
        max_log2,
        pos_dim or a_dim,
        pos_type,
        pos_init,
        pos_directions_num,
        opt.quirks.flat_sinusoids,
    )
    aggregation = None
    reads_itself = (img2img or local_attention) and not (
        opt.quirks.image_attention_with_latents_only
    )
    if transformer or reads_itself:
        rate = attention_dropout if is_training else 0.0
        dropout = Dropout(rate, random_source(rng, images_in), "discriminator")
        aggregation = Aggregation(opt, grids, ltnt_pos, dropout)
    graph = DiscriminatorGraph(opt, max_log2, aggregation)
    return tf.identity(graph.scores(images_in, c), name="scores_out")


class DiscriminatorGraph:
    """One evaluation of a discriminator.

    Args:
      opt: options of :func:`discriminator`, as attributes.
      max_log2: log2 of the resolution.
      aggregation: Aggregation, or None.
      progressive: layers that read images are named as in a progressively grown network, and exist
        for every resolution; only the first is used.
    """

    def __init__(self, opt, max_log2, aggregation=None, progressive=False):
        if opt.architecture not in ARCHITECTURES:
            raise OptionError(f"architecture {must_be_one_of(opt.architecture, ARCHITECTURES)}")
        self.opt, self.max_log2 = opt, max_log2
        self.aggregation, self.progressive = aggregation, progressive

    def scores(self, images, c):
        """[N, num_channels, H, W], [N, c_dim] => [N, score_size]."""
        opt = self.opt
        label = self._map_label(c) if opt.c_dim and opt.embed_labels else None
        y = tf.transpose(images, [0, 2, 3, 1])
        x = None
        for r in range(self.max_log2, 2, -1):
            x = self._read_image(x, y, r)
            x = self._block(x, r)
            if opt.architecture == "skip":
                y = downsample_2d(y, opt.resample_kernel)
        x = self._read_image(x, y, 2)
        x = self._end(x)
        if opt.c_dim and label is None:
            label = tf.cast(c, tf.float32)
        num_out = opt.score_max if label is None else label.shape.as_list()[1]
        with tf.variable_scope("Output"):
            x = dense_layer(x, num_out)
        if label is None:
            return x[:, : opt.score_size]
        x = tf.reduce_sum(x * label, axis=1, keepdims=True)
        return x * np.float32(1.0 / np.sqrt(num_out)) if opt.embed_labels else x

    def _map_label(self, c):
        """What is projected on the last layer's output: [N, c_dim] => [N, cmap_dim]."""
        opt = self.opt
        dim = opt.cmap_dim or self._hidden_dim()
        x = embed_label(tf.cast(c, tf.float32), opt.label_fmaps or dim)
        for i in range(opt.mapping_num_layers):
            width = dim if i == opt.mapping_num_layers - 1 else opt.mapping_fmaps or dim
            with tf.variable_scope(f"Mapping{i}"):
                x = dense_layer(x, width, opt.mapping_nonlinearity, opt.mapping_lrmul)
        return x

    def _hidden_dim(self):
        return self.opt.hidden_dim or self._features(1)

    def _features(self, r):
        o = self.opt
        return num_features(r, o.channel_base, o.channel_max, o.channel_min, o.channel_decay)

    def _act(self, r):
        """Activation of the layers at resolution 2^r."""
        return (self.opt.epilogue_nonlinearity if r == 2 else None) or self.opt.nonlinearity

    def _read_image(self, x, y, r):
        """Add what a layer sees in the image: x [N, H, W, C] or None, y [N, H, W, num_channels]."""
        is_first = r == self.max_log2
        if not (is_first or self.progressive or self.opt.architecture == "skip"):
            return x
        name = f"FromRGB_lod{self.max_log2 - r}" if self.progressive else f"{2**r}x{2**r}/FromRGB"
        if self.progressive and not is_first:
            y = downsample_2d(y, None, factor=2 ** (self.max_log2 - r))
        with tf.variable_scope(name):
            clamp = self.opt.conv_clamp
            act = self._act(r)
            if r == 2 and self.opt.quirks.unclamped_last_rgb:
                clamp = None
            seen = conv2d_act_layer(y, self._features(r), 1, act, clamp=clamp)
        if x is None:
            return seen
        return x if self.progressive else x + seen

    def _block(self, x, r):
        """Halve the resolution: [N, H, W, I] => [N, H/2, W/2, O]."""
        opt = self.opt
        is_resnet = opt.architecture == "resnet"
        gain = 1.0 / np.sqrt(2) if is_resnet else 1.0
        act, kernel = opt.nonlinearity, opt.resample_kernel
        limits = dict(clamp=opt.conv_clamp, spectral_norm=opt.spectral_norm)
        with tf.variable_scope(f"{2**r}x{2**r}"):
            y = self.aggregation(x, r) if self.aggregation is not None else x
            with tf.variable_scope("Conv0"):
                y = conv2d_act_layer(y, self._features(r), 3, act, **limits)
            with tf.variable_scope("Conv1_down"):
                y = conv2d_act_layer(y, self._features(r - 1), 3, act, True, kernel, gain, **limits)
            if is_resnet:
                with tf.variable_scope("Skip"):
                    y += conv2d_layer(x, self._features(r - 1), 1, False, True, kernel, gain)
        return y

    def _end(self, x):
        """[N, 4, 4, C] => [N, features of the last hidden layer]."""
        opt = self.opt
        with tf.variable_scope("4x4"):
            size, num = opt.mbstd_group_size, opt.mbstd_num_channels
            if num > 0 and (size is None or size > 1 or opt.quirks.groups_of_one):
                x = minibatch_stddev_layer(x, size, num)
            limits = dict(clamp=opt.conv_clamp, spectral_norm=opt.spectral_norm)
            with tf.variable_scope("Conv"):
                x = conv2d_act_layer(x, self._features(2), 3, self._act(2), **limits)
            with tf.variable_scope("Dense0"):
                features = self._features(2)
                x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, features * 16])
                x = dense_layer(x, self._hidden_dim(), self._act(2))
        if self.aggregation is not None and opt.transformer:
            x = tf.concat([x, self.aggregation.scores()], axis=1)
        return x


class Aggregation:
    """Attention of one discriminator, and the aggregators' state between its layers.

    Args:
      opt: options of :func:`discriminator`, as attributes.
      grids: GridEncodings of image positions.
      ltnt_pos: [K, D] encoding of the aggregators, or None.
      dropout: Dropout.
    """

    def __init__(self, opt, grids, ltnt_pos, dropout):
        self.opt, self.grids, self.ltnt_pos, self.dropout = opt, grids, ltnt_pos, dropout
        self._latents = None
        if opt.transformer:
            y = _latents("aggregators", opt.components_num, opt.a_dim)
            self._latents = tf.tile(y[tf.newaxis], [tf.shape(opt.images_in)[0], 1, 1])

    def __call__(self, x, r):
        """The start of a block: [N, H, W, C] => [N, H, W, C]."""
        opt = self.opt
        if not opt.start_res <= r < opt.end_res:
            return x
        _, height, width, channels = x.shape.as_list()
        dropout = self.dropout.at(f"{height}x{width}")
        x = tf.reshape(x, [-1, height * width, channels])
        if opt.transformer:
            x = self._aggregate(x, r, dropout)
        x = image_steps(x, r, opt, self.grids, dropout, opt.a_dim)
        return tf.reshape(x, [-1, height, width, channels])

    def _aggregate(self, x, r, dropout):
        """Aggregators read the image, which may read them, and each other: [N, F, C]."""
        opt, y = self.opt, self._latents
        with tf.variable_scope("AttLayer_n2l"):
            y = latents_from_image(
                y,
                x,
                opt.a_dim,
                opt.num_heads,
                y_pos=self.ltnt_pos,
                x_pos=self.grids[r],
                y_gate=opt.ltnt_gate,
                x_gate=opt.img_gate,
                dropout=dropout.at("n2l"),
            )
        if opt.ltnt2img:
            with tf.variable_scope("AttLayer_l2n"):
                x = attention_layer(
                    x,
                    y,
                    opt.a_dim,
                    opt.num_heads,
                    x_pos=self.grids[r],
                    y_pos=self.ltnt_pos,
                    x_gate=opt.img_gate,
                    y_gate=opt.ltnt_gate,
                    dropout=dropout.at("l2n"),
                ).apply()
        if opt.ltnt2ltnt:
            y = latent_block(
                y,
                lambda t: latents_from_latents(
                    t, opt.a_dim, opt.num_heads, self.ltnt_pos, opt.ltnt_gate, dropout
                ),
                ("Densel2l_0", "Densel2l_1"),
            )
        self._latents = y
        return x

    def scores(self):
        """One number from each aggregator: [N, K]."""
        opt, y = self.opt, self._latents
        with tf.variable_scope("ComponentScores"):
            if opt.mbstd_group_size is None or opt.mbstd_group_size > 1:
                # Each aggregator is a position, its entries are the features.
                y = minibatch_stddev_layer(y[:, tf.newaxis], opt.mbstd_group_size)[:, 0]
            with tf.variable_scope("Dense"):
                y = dense_layer(y, opt.a_dim, opt.nonlinearity)
            with tf.variable_scope("Output"):
                y = dense_layer(y, 1)
        return y[:, :, 0]


def _latents(name, num, dim):
    """Trained latents, uniform over [0, 1) at first: [num, dim]."""
    init = tf.initializers.random_uniform(0.0, 1.0)
    return tf.convert_to_tensor(tf.get_variable(name, shape=[num, dim], initializer=init))
