"""The attention part of a synthesis layer: image and latents inform each other.

Paper: Generative Adversarial Transformers, Hudson & Zitnick 2021 (arXiv:2103.01209), Sec. 3.
"""

import tensorflow.compat.v1 as tf

from training.model.attention import attention_layer
from training.model.centroids import assignments, attention_kind, layer_norm
from training.model.image_attention import (
    image_steps,
    latents_from_image,
    latents_from_latents,
)
from training.model.layers import NO_TAIL, clip, latent_block


class LatentImageAttention:
    """Attention of one synthesis network, with what a layer hands on to the next.

    Args:
      options: SynthesisOptions.
      grids: GridEncodings of image positions.
      ltnt_pos: [K, P] positional encoding of the latents, or None.
      mask: [N, K], 0 hides a component; None shows all.
      dropout: Dropout.
    """

    def __init__(self, options, grids, ltnt_pos, mask, dropout):
        self.options, self.grids, self.dropout = options, grids, dropout
        self.ltnt_pos = ltnt_pos if options.use_pos else None
        self.mask = mask
        self.maps = []  # functions without arguments, one per layer in order: [N, K, M, H, W]
        self._handed_on = None  # latents after the layer before, if they were updated
        self._given = None  # latents that the layer before was given
        self._assignments = None

    def covers(self, r):
        """Whether layers at resolution 2^r have attention."""
        return self.options.start_res <= r < self.options.end_res

    def skip_layer(self):
        """A layer without attention: the next one starts from its own latents again."""
        self._handed_on = None

    def __call__(self, x, latents, r, site, scale, tail):
        """One layer.

        Args:
          x: [N, H, W, C].
          latents: [N, K, D] components for this layer; None: positions look at each other only.
          r: log2 of the resolution.
          site: name of the layer, for its randomness.
          scale: [N, C] by which x has to be scaled first, or None.
          tail: function of a scale that makes the layer's Tail; called when all variables of the
            attention exist.

        Returns:
          [N, H, W, C], the layer's output.
        """
        _, height, width, channels = x.shape.as_list()
        dropout = self.dropout.at(site)
        x = tf.reshape(x, [-1, height * width, channels])
        if scale is not None and not (latents is not None and self._reads_once()):
            x, scale = x * tf.expand_dims(scale, 1), None
        attention = None
        if latents is not None:
            attention = self._attend(x, latents, r, dropout)
            self._keep_probs(attention, scale, height)
            y = attention.y
            if self.options.img2ltnt or self._has_image_steps(r):
                x, attention = attention.apply(NO_TAIL._replace(scale=scale)), None
            self._update_latents(x, y, latents, r, dropout)
        x = image_steps(x, r, self.options, self.grids, dropout)
        if attention is not None:
            last = tail(scale)
            if last.is_leaky:
                x = clip(attention.apply(last), last.clamp)
                return tf.reshape(x, [-1, height, width, channels])
            x = attention.apply(NO_TAIL._replace(scale=scale))
            return last._replace(scale=None).apply(tf.reshape(x, [-1, height, width, channels]))
        return tail(None).apply(tf.reshape(x, [-1, height, width, channels]))

    def _reads_once(self):
        """Whether x is read by nothing but the scores and the update."""
        o = self.options
        is_plain = not (o.iterative or o.duplex) and (o.kmeans_iters == 1 or not o.kmeans)
        return is_plain and not o.img_gate and o.norm != "instance"

    def _has_image_steps(self, r):
        return self.options.img2img == r or bool(self.options.local_attention)

    def _attend(self, x, latents, r, dropout):
        """Image x [N, F, C] attends to latents [N, K, D]; returns an Attention."""
        o = self.options
        with tf.variable_scope("AttLayer_l2n"):
            return attention_layer(
                x,
                self._latents_of(latents),
                x.shape.as_list()[2],
                o.num_heads,
                x_pos=self.grids[r],
                y_pos=self.ltnt_pos,
                x_gate=o.img_gate,
                y_gate=o.ltnt_gate,
                mask=self.mask,
                dropout=dropout.at("l2n"),
                integration=o.integration,
                norm=o.norm,
                assign=attention_kind(
                    o.kmeans, o.iterative, o.duplex, o.kmeans_iters, self._assignments, o.quirk
                ),
            )

    def _latents_of(self, latents):
        """The latents that this layer attends to."""
        if self._handed_on is None:
            return latents
        if self.options.duplex:
            # Style mixing may have changed the latents in between; add the change.
            return self._handed_on + (latents - self._given)
        return self._handed_on

    def _keep_probs(self, attention, scale, height):
        """Probabilities as map, for those who ask for it, and as assignments."""
        if self.options.kmeans and self.options.iterative:
            self._assignments = assignments(attention.probs(scale))

        def image():
            probs = attention.probs(scale)
            _, positions, heads, num = probs.shape.as_list()
            maps = tf.transpose(probs, [0, 3, 2, 1])
            return tf.reshape(maps, [-1, num, heads, height, positions // height])

        self.maps.append(image)

    def _update_latents(self, x, y, latents, r, dropout):
        """Latents look at each other and at the image; the next layer goes on from there.

        Each step is Y := LayerNorm(Y + a(Y, X)) (Sec. 3.1.2). Without the normalisation, as in the
        published code, latents grow from layer to layer.
        """
        o, dim = self.options, y.shape.as_list()[-1]
        new = y if o.duplex else None
        if o.ltnt2ltnt:
            mask = None if o.quirk.mask_ignored_between_latents else self.mask
            new = latent_block(
                y,
                lambda t: latents_from_latents(
                    t, dim, o.num_heads, self.ltnt_pos, o.ltnt_gate, dropout, mask
                ),
                ("Densel2l_0", "Densel2l_1"),
            )
            new = new if o.quirk.growing_latents else layer_norm(new)
        if o.img2ltnt:
            start = y if o.quirk.restarted_latents or new is None else new
            new = latent_block(
                start,
                lambda t: self._from_image(t, x, r, dim, dropout),
                ("Densen2l_0", "Densen2l_1"),
            )
            new = new if o.quirk.growing_latents else layer_norm(new)
        self._handed_on, self._given = new, latents

    def _from_image(self, y, x, r, dim, dropout):
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
                dropout=dropout.at("n2l"),
            )
