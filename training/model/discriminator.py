"""The discriminator: images to scores.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.ops.upfirdn_2d import downsample_2d
from dnnlib.tflib.options import COUNT, option
from dnnlib.tflib.precision import as_map
from dnnlib.tflib.random import random_source
from training.model.attention_weights import AttentionSpec, attention_weights
from training.model.dropout import Dropout
from training.model.image_attention import (
    image_from_latents,
    image_step_weights,
    image_steps,
    latents_from_image,
    latents_from_latents,
)
from training.model.layers import (
    conv2d_act_layer,
    conv2d_layer,
    dense_layer,
    latent_block,
    latent_block_weights,
    minibatch_stddev_layer,
)
from training.model.mapping import embed_label
from training.model.options import AttentionOptions, ImageOptions


@dataclass(frozen=True)
class BaseDiscriminatorOptions(ImageOptions):
    """Of every discriminator, StyleGAN2's too."""

    c_dim: int = 0  # number of label features; 0 without labels
    # "resnet": residual blocks; "skip": the image enters at every resolution; "orig": neither
    architecture: str = option("resnet", ("orig", "skip", "resnet"))
    # activation of the layers at 4x4; None: as of the others
    epilogue_nonlinearity: str | None = option(None, (None, *ACTIVATIONS))
    spectral_norm: bool = False  # divide the 3x3 filters by their largest singular value
    # width of the last hidden layer; None: number of channels that resolution 2 would have
    hidden_dim: int | None = None
    # number of samples that are compared with each other (minibatch stddev); None: the whole batch;
    # 0 or 1: none
    mbstd_group_size: int | None = 4
    mbstd_num_channels: int = 1  # number of features that minibatch stddev adds; 0: none
    # StyleGAN2-ADA's way with labels: they are embedded, mapped, and projected on the last hidden
    # layer. By default there is a score for each label feature
    embed_labels: bool = False
    label_fmaps: int | None = None  # width of an embedded label; None: cmap_dim
    cmap_dim: int | None = None  # width of a mapped label; None: that of the last hidden layer
    mapping_num_layers: int = option(0, bound=COUNT)  # number of dense layers that map labels
    # width of the dense layers that map labels, but the last; None: cmap_dim
    mapping_fmaps: int | None = None
    mapping_lrmul: float = 0.1  # learning-rate multiplier of the layers that map labels
    # activation of the layers that map labels
    mapping_nonlinearity: str = option("lrelu", tuple(ACTIVATIONS))
    score_max: int = 1  # number of scores that the network has room for, without labels
    score_size: int = 1  # number of scores that the network returns, without labels


@dataclass(frozen=True)
class DiscriminatorOptions(BaseDiscriminatorOptions, AttentionOptions):
    """Options of :func:`discriminator`; its latent components are aggregators."""

    a_dim: int = 512  # D, width of an aggregator
    ltnt2ltnt: bool = False  # aggregators attend to each other
    ltnt2img: bool = False  # the image attends to the aggregators
    attention_dropout: float = 0.12  # rate of dropout on attention probabilities, in training


@tflib.register_builder("discriminator", DiscriminatorOptions)
def discriminator(images_in, c, options, *, rng=None, is_training=False):
    """Score images.

    Args:
      images_in: [N, num_channels, H, W] in [-1, 1].
      c: [N, c_dim] labels.
      options: DiscriminatorOptions; callers give its fields as keywords.
      rng: StepRandom; None: TensorFlow's stateful generators.
      is_training: use dropout.

    Returns:
      scores [N, score_size].
    """
    images_in.set_shape([None, *options.image_shape])
    c.set_shape([None, options.c_dim])
    ltnt_pos = None
    if options.use_pos:
        ltnt_pos = _latents("ltnt_emb/emb", options.components_num, options.a_dim)
    grids = options.grids(options.a_dim, tf.float32)
    aggregation = None
    if options.has_attention:
        rate = options.attention_dropout if is_training else 0.0
        dropout = Dropout(rate, random_source(rng, images_in), "discriminator")
        latents = None
        if options.transformer:
            latents = _latents("aggregators", options.components_num, options.a_dim)
            latents = tf.tile(latents[tf.newaxis], [tf.shape(images_in)[0], 1, 1])
        aggregation = Aggregation(options, latents, grids, ltnt_pos, dropout)
    graph = DiscriminatorGraph(options, aggregation)
    return tf.identity(graph.scores(images_in, c), name="scores_out")


class DiscriminatorGraph:
    """One evaluation of a discriminator.

    Args:
      opt: DiscriminatorOptions.
      aggregation: Aggregation, or None.
      progressive: layers that read images are named as in a progressively grown network, and exist
        for every resolution; only the first is used.
    """

    def __init__(self, opt, aggregation=None, progressive=False):
        self.opt, self.max_log2 = opt, opt.max_log2
        self.aggregation, self.progressive = aggregation, progressive

    def scores(self, images, c):
        """[N, num_channels, H, W], [N, c_dim] => [N, score_size]."""
        opt = self.opt
        label = self._map_label(c) if opt.c_dim and opt.embed_labels else None
        y = tf.transpose(images, [0, 2, 3, 1])
        x = None
        for r in range(self.max_log2, 2, -1):
            x = self._block(self._read_image(x, y, r), r)
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
        return self.opt.hidden_dim or self.opt.num_features(1)

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
            is_free = r == 2 and self.opt.quirk.unclamped_last_rgb
            clamp = None if is_free else self.opt.conv_clamp
            y = as_map(y, r, self.max_log2)
            seen = conv2d_act_layer(y, self.opt.num_features(r), 1, self._act(r), clamp=clamp)
        if x is None:
            return seen
        return x if self.progressive else tf.cast(x, seen.dtype) + seen

    def _block(self, x, r):
        """Halve the resolution: [N, H, W, I] => [N, H/2, W/2, O]."""
        opt = self.opt
        is_resnet = opt.architecture == "resnet"
        x = as_map(x, r, self.max_log2)
        gain = 1.0 / np.sqrt(2) if is_resnet else 1.0
        act, kernel = opt.nonlinearity, opt.resample_kernel
        limits = dict(clamp=opt.conv_clamp, spectral_norm=opt.spectral_norm)
        with tf.variable_scope(f"{2**r}x{2**r}"):
            y = self.aggregation(x, r) if self.aggregation is not None else x
            with tf.variable_scope("Conv0"):
                y = conv2d_act_layer(y, opt.num_features(r), 3, act, **limits)
            with tf.variable_scope("Conv1_down"):
                num = opt.num_features(r - 1)
                y = conv2d_act_layer(y, num, 3, act, True, kernel, gain, **limits)
            if is_resnet:
                with tf.variable_scope("Skip"):
                    y += conv2d_layer(x, self.opt.num_features(r - 1), 1, False, True, kernel, gain)
        return y

    def _end(self, x):
        """[N, 4, 4, C], or of the size start => [N, features of the last hidden layer]."""
        opt, x = self.opt, as_map(x, 2, self.max_log2)
        with tf.variable_scope("4x4"):
            size, num = opt.mbstd_group_size, opt.mbstd_num_channels
            if num > 0 and (size is None or size > 1 or opt.quirk.groups_of_one):
                x = minibatch_stddev_layer(x, size, num)
            limits = dict(clamp=opt.conv_clamp, spectral_norm=opt.spectral_norm)
            with tf.variable_scope("Conv"):
                x = conv2d_act_layer(x, opt.num_features(2), 3, self._act(2), **limits)
            with tf.variable_scope("Dense0"):
                values = opt.num_features(2) * opt.start[0] * opt.start[1]
                x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, values])
                x = dense_layer(x, self._hidden_dim(), self._act(2))
        if self.aggregation is not None and opt.transformer:
            x = tf.concat([x, self.aggregation.scores()], axis=1)
        return x


class Aggregation:
    """Attention of one discriminator, and the aggregators' state between its layers.

    Args:
      opt: DiscriminatorOptions.
      latents: [N, K, D] aggregators, or None.
      grids: GridEncodings of image positions.
      ltnt_pos: [K, D] encoding of the aggregators, or None.
      dropout: Dropout.
    """

    def __init__(self, opt, latents, grids, ltnt_pos, dropout):
        self.opt, self._latents = opt, latents
        self.grids, self.ltnt_pos, self.dropout = grids, ltnt_pos, dropout

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
        weights = image_step_weights(x, r, opt, self.grids[r], opt.a_dim)
        x = image_steps(x, weights, opt.local_attention, dropout)
        return tf.reshape(x, [-1, height, width, channels])

    def _aggregate(self, x, r, dropout):
        """Aggregators read the image, which may read them, and each other: [N, F, C]."""
        opt, y, pos, grid = self.opt, self._latents, self.ltnt_pos, self.grids[r]
        gate, form = opt.ltnt_gate, opt.attention_form
        spec = AttentionSpec(opt.a_dim, opt.num_heads, gate, opt.img_gate, form=form)
        with tf.variable_scope("AttLayer_n2l"):
            w = attention_weights(y, x, spec, pos, grid)
        y = latents_from_image(y, x, w, dropout.at("n2l"))
        if opt.ltnt2img:
            spec = AttentionSpec(opt.a_dim, opt.num_heads, opt.img_gate, gate, form=form)
            with tf.variable_scope("AttLayer_l2n"):
                w = attention_weights(x, y, spec, grid, pos)
            x = image_from_latents(x, y, w, dropout=dropout.at("l2n")).x
        if opt.ltnt2ltnt:
            spec = AttentionSpec(opt.a_dim, opt.num_heads, gate, gate, form=form)
            with tf.variable_scope("AttLayer_l2l"):
                w = attention_weights(y, y, spec, pos, pos)
            block = latent_block_weights(opt.a_dim, ("Densel2l_0", "Densel2l_1"))
            y = latent_block(y, latents_from_latents(y, w, dropout=dropout.at("l2l")), block)
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
