"""The attention part of a synthesis layer: image and latents inform each other.

Paper: Generative Adversarial Transformers, Hudson & Zitnick 2021 (arXiv:2103.01209), Sec. 3.
"""

from collections import namedtuple

import tensorflow.compat.v1 as tf

from training.attention import attention_layer
from training.centroids import assignments, attention_kind
from training.image_attention import image_from_image, latents_from_image
from training.layers import dense_layer

# Options of the attention in a synthesis network; each is documented there.
AttentionOptions = namedtuple(
    "AttentionOptions",
    "start_res end_res num_heads norm integration kmeans kmeans_iters iterative duplex "
    "ltnt2ltnt img2ltnt img2img local_attention use_pos ltnt_gate img_gate published",
)


def latent_block(x, attention, names, act="lrelu", lrmul=1.0):
    """Residual layer on latents: lrelu(dense(dense(attention(x))) + x), the lrelu without gain.

    Args:
      x: [N, K, D], or [N, D].
      attention: function [N, K, D] => [N, K, D], or None.
      names: scopes of the two dense layers.
      act: activation of the first of them.
      lrmul: learning-rate multiplier of both.
    """
    dim = x.shape.as_list()[-1]
    y = x if attention is None else attention(x)
    for name, layer_act in zip(names, (act, "linear")):
        with tf.variable_scope(name):
            y = dense_layer(y, dim, layer_act, lrmul)
    return tf.nn.leaky_relu(x + y)


class LatentImageAttention:
    """Attention of one synthesis network, with what a layer hands on to the next.

    Args:
      options: AttentionOptions.
      grids: GridEncodings of image positions.
      ltnt_pos: [K, P] positional encoding of the latents, or None.
      mask: [N, K], 0 hides a component; None shows all.
      dropout: Dropout.
    """

    def __init__(self, options, grids, ltnt_pos, mask, dropout):
        self.options, self.grids, self.dropout = options, grids, dropout
        self.ltnt_pos = ltnt_pos if options.use_pos else None
        self.mask = mask
        self.maps = []  # [N, K, M, H, W] of every layer, in order
        self._handed_on = None  # latents after the layer before, if they were updated
        self._given = None  # latents that the layer before was given
        self._assignments = None

    def covers(self, r):
        """Whether layers at resolution 2^r have attention from the latents."""
        return self.options.start_res <= r < self.options.end_res

    def can_take_gain(self, r):
        """Whether the layer can scale its output for free."""
        o = self.options
        return o.integration != "add" and not (o.img2ltnt or o.img2img == r or o.local_attention)

    def skip_layer(self):
        """A layer without attention: the next one starts from its own latents again."""
        self._handed_on = None

    def __call__(self, x, latents, r, gain=1.0):
        """One layer.

        Args:
          x: [N, H, W, C].
          latents: [N, K, D] components for this layer; None: positions look at each other only.
          r: log2 of the resolution.
          gain: scale of the output; see can_take_gain().

        Returns:
          [N, H, W, C].
        """
        o = self.options
        _, height, width, channels = x.shape.as_list()
        x = tf.reshape(x, [-1, height * width, channels])
        if latents is not None:
            x = self._image_from_latents(x, latents, r, height, gain)
        x = image_steps(x, r, o, self.grids, self.dropout)
        return tf.reshape(x, [-1, height, width, channels])

    def _image_from_latents(self, x, latents, r, height, gain):
        """[N, F, C] takes in the latents [N, K, D]; they may take in the image."""
        o = self.options
        channels = x.shape.as_list()[2]
        y = self._latents_of(latents)
        with tf.variable_scope("AttLayer_l2n"):
            x, probs, y = attention_layer(
                x,
                y,
                channels,
                o.num_heads,
                x_pos=self.grids[r],
                y_pos=self.ltnt_pos,
                x_gate=o.img_gate,
                y_gate=o.ltnt_gate,
                mask=self.mask,
                dropout=self.dropout.at("l2n"),
                integration=o.integration,
                norm=o.norm,
                assign=attention_kind(
                    o.kmeans, o.iterative, o.duplex, o.kmeans_iters, self._assignments, o.published
                ),
                gain=gain,
            )
        if o.kmeans and o.iterative:
            self._assignments = assignments(probs)
        self._add_map(probs, height)
        self._update_latents(x, y, latents, r)
        return x

    def at(self, site):
        """Name the place that the next call is at, for its randomness."""
        self.dropout = self.dropout._replace(site=site)
        return self

    def _latents_of(self, latents):
        """The latents that this layer attends to."""
        if self._handed_on is None:
            return latents
        if self.options.duplex:
            # Style mixing may have changed the latents in between; add the change.
            return self._handed_on + (latents - self._given)
        return self._handed_on

    def _add_map(self, probs, height):
        """[N, F, M, K] => [N, K, M, H, W]."""
        _, positions, heads, num = probs.shape.as_list()
        maps = tf.transpose(probs, [0, 3, 2, 1])
        self.maps.append(tf.reshape(maps, [-1, num, heads, height, positions // height]))

    def _update_latents(self, x, y, latents, r):
        """Latents look at each other and at the image; the next layer goes on from there."""
        o, dim = self.options, y.shape.as_list()[-1]
        new = y if o.duplex else None
        if o.ltnt2ltnt:
            new = latent_block(
                y, lambda t: self._between_latents(t, dim), ("Densel2l_0", "Densel2l_1")
            )
        if o.img2ltnt:
            # The published code forgets the step before.
            start = y if o.published or new is None else new
            new = latent_block(
                start, lambda t: self._from_image(t, x, r, dim), ("Densen2l_0", "Densen2l_1")
            )
        self._handed_on, self._given = new, latents

    def _between_latents(self, y, dim):
        o = self.options
        with tf.variable_scope("AttLayer_l2l"):
            return attention_layer(
                y,
                y,
                dim,
                o.num_heads,
                x_pos=self.ltnt_pos,
                y_pos=self.ltnt_pos,
                x_gate=o.ltnt_gate,
                y_gate=o.ltnt_gate,
                mask=None if o.published else self.mask,
                dropout=self.dropout.at("l2l"),
            ).x

    def _from_image(self, y, x, r, dim):
        o = self.options
        with tf.variable_scope("AttLayer_n2l"):
            return latents_from_image(
                y,
                x,
                dim,
                o.num_heads,
                y_pos=self.ltnt_pos,
                x_pos=self.grids[r],
                y_gate=o.ltnt_gate,
                x_gate=o.img_gate,
                dropout=self.dropout.at("n2l"),
            )


def image_steps(x, r, options, grids, dropout, dim=None):
    """Attention between the positions of an image, where the options ask for it.

    Args:
      x: [N, F, C].
      r: log2 of the resolution.
      options: with num_heads, img2img, local_attention and img_gate.
      grids: GridEncodings.
      dropout: Dropout.
      dim: attention width; default C.

    Returns:
      [N, F, C].
    """
    dim = dim or x.shape.as_list()[2]
    steps = []
    if options.img2img == r:
        steps.append(("n2n", None))
    if options.local_attention:
        steps.append(("local", options.local_attention))
    for name, window in steps:
        with tf.variable_scope(f"AttLayer_{name}"):
            x = image_from_image(
                x, dim, options.num_heads, grids[r], options.img_gate, dropout.at(name), window
            )
    return x
