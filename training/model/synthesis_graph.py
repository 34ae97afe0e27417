"""The layers of a synthesis network and how they hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError
from dnnlib.tflib.light import reshape
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from dnnlib.tflib.options import COUNT, option
from dnnlib.tflib.precision import as_map, widened
from dnnlib.tflib.random import random_source
from training.model.attention_weights import INTEGRATIONS
from training.model.dropout import Dropout
from training.model.kgan import MERGE_TYPES, Merging
from training.model.layers import (
    Tail,
    clip,
    conv2d_layer,
    get_bias,
    get_weight,
    noise_strength,
    total_gain,
)
from training.model.modulation import extra_rgb_layer, modulated_conv2d_layer, modulated_rgb_layer
from training.model.options import (
    MAPS,
    NOISE_MODES,
    AttentionOptions,
    ImageOptions,
    chosen_noise_mode,
)
from training.model.synthesis_attention import LatentImageAttention


@dataclass(frozen=True)
class BaseSynthesisOptions(ImageOptions):
    """Of every synthesis network, StyleGAN2's too."""

    w_dim: int = 512  # D, width of an intermediate latent w
    # "skip": a sum of images of all resolutions; "resnet": residual blocks; "orig": neither
    architecture: str = option("skip", ("skip", "resnet", "orig"))
    # number of channels of the trained constant; None: that of other maps of its resolution
    const_channels: int | None = None
    # "random", "const" (values of variables) or "none"; None: as randomize_noise says, or "random"
    noise_mode: str | None = option(None, NOISE_MODES)
    # StyleGAN2's spelling of noise_mode: True is "random", False is "const"
    randomize_noise: bool | None = None
    is_validation: bool = False  # accepted for old scripts, without effect here


@dataclass(frozen=True)
class SynthesisOptions(BaseSynthesisOptions, AttentionOptions):
    """Options of :func:`training.model.synthesis.synthesis`."""

    style: bool = True  # modulate the convolutions by the global latent
    latent_stem: bool = False  # begin with a map made from the latent instead of a constant
    local_noise: bool = True  # add noise in every layer
    tanh: bool = False  # bound each resolution's contribution to the image by a tanh
    # how the image is normalised before attention changes it; "batch" is the same as "layer"
    norm: str | None = option(None, (None, "instance", "layer", "batch"))
    # how attention changes the image: by a bias ("add"), a gain ("mul"), or by "both"
    integration: str = option("add", INTEGRATIONS)
    kmeans: bool = False  # attend by trained centroids, see attention.py
    kmeans_iters: int = option(1, bound=COUNT)  # number of k-means iterations in a layer
    iterative: bool = False  # begin with the assignments of the layer before
    duplex: bool = False  # attend by centroids that the latents find in the image (Sec. 3.1.2)
    ltnt2ltnt: bool = False  # latent components attend to each other after each layer
    img2ltnt: bool = False  # latent components attend to the image after each layer
    merge: bool = False  # k-GAN: every latent component makes an image of its own, see kgan.py
    merge_layer: int = -1  # log2 of the resolution at which those are merged; -1: the last
    merge_type: str = option("sum", MERGE_TYPES)  # how the k-GAN weighs the merged images
    merge_same: bool = False  # one weight for a whole image of the k-GAN, not for each position
    # attention maps at the image's resolution in one tensor ("image"), at their own in one for each
    # layer ("layers"), or "none"
    maps: str = option("image", MAPS)

    def check(self):
        """Raise OptionError for options that contradict each other."""
        if self.merge and self.transformer:
            raise OptionError("--kgan and --transformer exclude each other; leave out one of them")
        if self.duplex and self.img2ltnt:
            raise OptionError(
                "--duplex updates the latents from the image already; leave out --g-img2ltnt"
            )


class SynthesisGraph:
    """One evaluation of a synthesis network.

    Args:
      opt: SynthesisOptions.
      ws: [N, K, L, D].
      rng: StepRandom, or None.
      grids: GridEncodings, or None without any attention.
      ltnt_pos: [K, D] encoding of the components, or None.
      mask: [N, K], 0 hides a component; None hides none.
      first_layer: index, among the L, of the first convolution's latent. GANsformer's networks keep
        index 0 for the latent stem.
      progressive: layers that make images are named as in a progressively grown network, and exist
        for every resolution; only the last is used.
    """

    def __init__(
        self,
        opt,
        ws,
        rng,
        grids=None,
        ltnt_pos=None,
        mask=None,
        first_layer=1,
        progressive=False,
    ):
        self.opt = opt
        self.first_layer, self.progressive = first_layer, progressive
        self.max_log2 = opt.max_log2
        self.noise_mode = chosen_noise_mode(opt) or "random"
        self.latents = tf.unstack(ws, axis=2) if opt.merge else None  # L times [N, K, D]
        self.globals = None if opt.merge else tf.unstack(ws[:, -1], axis=1)  # L times [N, D]
        self.components = None  # L times [N, K - 1, D]
        if opt.transformer:
            self.components = tf.unstack(ws[:, :-1], axis=2)
        self.num_samples, self.num_latents = tf.shape(ws)[0], ws.shape.as_list()[2]
        self.rng = random_source(rng, ws)
        self.merging = None
        if opt.merge:
            self.merging = Merging(
                opt.components_num,
                self.max_log2,
                opt.merge_layer,
                opt.merge_type,
                opt.merge_same,
                opt.quirk,
            )
        num_noises = 2 * self.max_log2 - 3 if opt.local_noise else 0
        if first_layer == 1:  # they exist in every snapshot, and one more that is never used
            num_noises = 2 * self.max_log2 - 2
        self.noise_variables = self._noise_variables(num_noises)
        self.attention = None
        if opt.has_attention:
            dropout = Dropout(opt.attention_dropout, self.rng, "synthesis")
            self.attention = LatentImageAttention(opt, grids, ltnt_pos, mask, dropout)

    def images(self):
        """[N, num_channels, H, W]."""
        x, y = self._stem(), None
        x = self._layer(x, 2, "4x4/Conv", 0)
        for r in range(2, self.max_log2 + 1):
            if r > 2:
                x = self._block(x, r)
            is_last = r == self.max_log2
            if y is not None:
                y = upsample_2d(y, self.opt.resample_kernel)
            if self.merging is not None and r == self.merging.log2_res:
                x, y = self._merge(x, y)
            if self.opt.architecture == "skip" or is_last:
                y = self._to_rgb(x, y, r)
            elif self.progressive:
                self._to_rgb(x, y, r)
        return tf.transpose(y, [0, 3, 1, 2])

    def maps(self):
        """Attention maps of the layers so far: list of [N, K, M, h, w]."""
        return self.attention.maps() if self.opt.transformer else []

    def _num_pictures(self, r):
        """Pictures per sample at resolution 2^r: k until they merge."""
        return self.merging.num if self.merging and r <= self.merging.log2_res else 1

    def _style(self, index):
        """The latent that modulates convolutions: [N, D], or [N * k, D] for k pictures."""
        if self.merging is None:
            return self.globals[index]
        latents = self.latents[index]
        if latents.shape.as_list()[1] > 1:
            return reshape(latents, [-1, latents.shape.as_list()[2]])
        return latents[:, -1]

    # ----------------------------------------------------------------------------------- noise

    def _noise_variables(self, num):
        """Constant noise maps of the layers, for noise_mode "const"."""
        variables = []
        for i in range(num):
            r = (i + 5) // 2
            copies = self.merging.num if self.merging and self.merging.owns_noise(r) else 1
            init = tf.initializers.random_normal()
            shape = [copies, 1, *self.opt.size_at(r)]
            variables.append(tf.get_variable(f"noise{i}", shape, initializer=init, trainable=False))
        return variables

    def _noise(self, r, i, site):
        """Noise of layer i: [N, H, W, 1] ([N * k, ...] for k pictures), or None."""
        if self.noise_mode == "none":
            return None
        size = self.opt.size_at(r)
        if self.noise_mode == "const":
            copies = self.noise_variables[i].shape.as_list()[0]
            noise = reshape(self.noise_variables[i], [copies, *size, 1])
            times = self.num_samples * (self._num_pictures(r) // copies)
            return tf.tile(noise, [times, 1, 1, 1])
        noise = self.rng.normal(f"noise/{site}", [self._num_pictures(r), *size, 1])
        return reshape(noise, [-1, *size, 1])

    def _tail(self, scale, r, i, site, gain=1.0):
        """What ends layer i; creates its variables."""
        noise, clamp = None, self.opt.conv_clamp
        if self.opt.local_noise:
            strength, noise = noise_strength(), self._noise(r, i, site)
            noise = None if noise is None else tf.cast(noise, strength.dtype) * strength
        act, bias = self.opt.nonlinearity, get_bias(self.opt.num_features(r))
        clamp = None if clamp is None else clamp * gain
        return Tail(scale, noise, bias, act, total_gain(act, gain), clamp)

    # ---------------------------------------------------------------------------------- layers

    def _stem(self):
        """The map before the first convolution: [N, 4, 4, C], or of the size that start says."""
        features, size = self.opt.num_features(2), self.opt.size_at(2)
        if not self.opt.latent_stem:
            copies = self._num_pictures(2)
            features = self.opt.const_channels or features
            with tf.variable_scope("4x4/Const"):
                init = tf.initializers.random_normal()
                const = tf.get_variable("const", [copies, features, *size], initializer=init)
            return tf.tile(tf.transpose(const, [0, 2, 3, 1]), [self.num_samples, 1, 1, 1])
        with tf.variable_scope("4x4/Dense"):
            y = self._style(0)
            shape = [y.shape.as_list()[1], features * size[0] * size[1]]
            x = tf.matmul(y, get_weight(shape, gain=np.sqrt(2) / 4))
            x = tf.transpose(reshape(x, [-1, features, *size]), [0, 2, 3, 1])
            return self._tail(None, 2, 0, "4x4/Dense").apply(x)

    def _layer(self, x, r, name, i, up=False, gain=1.0):
        """Modulated convolution, attention, noise, bias and activation.

        Args:
          x: [N, H, W, I].
          r: log2 of the output's resolution.
          name: scope.
          i: number of the layer.
          up: double the resolution.
          gain: scale of the output.
        """
        opt = self.opt
        index = i + self.first_layer
        x = as_map(x, r, self.max_log2)
        with tf.variable_scope(name):
            x, scale = modulated_conv2d_layer(
                x,
                self._style(index),
                opt.num_features(r),
                3,
                up,
                opt.resample_kernel,
                opt.style,
                opt.quirk.unscaled_norm,
            )
            if self.attention is None or not self.attention.covers(r):
                if self.attention is not None:
                    self.attention.skip_layer()
                return self._tail(scale, r, i, name, gain).apply(x)
            components = self.components[index] if opt.transformer else None
            weights = self.attention.weights(x, components, r)
            tail = self._tail(scale, r, i, name, gain)
            return self.attention(x, components, weights, tail, name)

    def _block(self, x, r):
        """Double the resolution: [N, H, W, I] => [N, 2H, 2W, O]."""
        res = f"{2**r}x{2**r}"
        is_resnet = self.opt.architecture == "resnet"
        gain = 1.0 / np.sqrt(2) if is_resnet else 1.0
        x = as_map(x, r, self.max_log2)
        y = self._layer(x, r, f"{res}/Conv0_up", 2 * r - 5, up=True)
        y = self._layer(y, r, f"{res}/Conv1", 2 * r - 4, gain=gain)
        if is_resnet:
            with tf.variable_scope(f"{res}/Skip"):
                kernel = self.opt.resample_kernel
                y += conv2d_layer(x, self.opt.num_features(r), 1, True, False, kernel, gain)
        return y

    def _merge(self, x, y):
        """The k pictures of each sample, the images so far and the latents become one."""
        res, x = f"{2**self.merging.log2_res}x{2**self.merging.log2_res}", widened(x)
        with tf.variable_scope(f"{res}/{self.merging.scope()}"):
            weights = self.merging.weights(x)
        self.latents = [self.merging.merge_latents(w, weights) for w in self.latents]
        y = None if y is None else self.merging.merge(y, weights)
        return self.merging.merge(x, weights), y

    def _to_rgb(self, x, y, r):
        """Add the image of this resolution to those of coarser ones: [N, H, W, num_channels]."""
        opt = self.opt
        is_last = r == self.max_log2
        index = self.num_latents - 1 if is_last else 2 * r - 3 + self.first_layer
        scope = f"ToRGB_lod{self.max_log2 - r}" if self.progressive else f"{2**r}x{2**r}/ToRGB"
        with tf.variable_scope(scope):
            style = self._style(index)
            has_extra = opt.quirk.extra_layer_always or (opt.transformer and r <= opt.end_res)
            if is_last and has_extra:
                before = self._style(index - 1)
                rgb = extra_rgb_layer(x, before, style, opt.num_channels, opt.style)
            else:
                rgb = modulated_rgb_layer(x, style, opt.num_channels, opt.style)
            rgb = clip(tf.nn.bias_add(rgb, get_bias(opt.num_channels)), opt.conv_clamp)
            rgb = tf.tanh(rgb) if opt.tanh else rgb
            return rgb if y is None else y + rgb


def output_maps(maps, size, form):
    """Attention maps as outputs of a network.

    Args:
      maps: one [N, K, M, h, w] for each layer.
      size: height and width of the image.
      form: "image" or "layers".

    Returns:
      List of tensors: [N, K, layers, M, H, W] alone, or one for each layer, or nothing.
    """
    if form == "layers":
        return [tf.identity(x, name=f"maps{idx}_out") for idx, x in enumerate(maps)]
    if not maps:
        return []
    return [tf.stack([enlarge(x, *size) for x in maps], axis=2, name="maps_out")]


def enlarge(maps, height, width):
    """Nearest neighbour: [N, K, M, h, w] => [N, K, M, height, width]."""
    _, num, heads, rows, columns = maps.shape.as_list()
    x = reshape(maps, [-1, rows, 1, columns, 1])
    x = tf.tile(x, [1, 1, height // rows, 1, width // columns])
    return reshape(x, [-1, num, heads, height, width])
