"""The attention part of a synthesis layer: image and latents inform each other.

Paper: Generative Adversarial Transformers, Hudson & Zitnick 2021 (arXiv:2103.01209), Sec. 3.
"""

import dataclasses

import tensorflow.compat.v1 as tf

from dnnlib.tflib.light import reshape
from dnnlib.tflib.ops.fused_bias_act import scale_features
from training.model.attention import assignments, layer_norm
from training.model.attention_weights import AttentionSpec, attention_weights, kind_of
from training.model.image_attention import (
    image_from_latents,
    image_step_weights,
    image_steps,
    latents_from_image,
    latents_from_latents,
)
from training.model.layers import NO_TAIL, clip, latent_block, latent_block_weights


class LatentImageAttention:
    """Attention of one synthesis network, with what a layer hands on to the next.

    Args:
      options: SynthesisOptions.
      grids: GridEncodings of image positions.
      ltnt_pos: [K, I] positional encoding of the latents, or None.
      mask: [N, K], 0 hides a component; None: none is hidden.
      dropout: Dropout.
    """

    def __init__(self, options, grids, ltnt_pos, mask, dropout):
        self.options, self.grids, self.dropout = options, grids, dropout
        self.ltnt_pos = ltnt_pos if options.use_pos else None
        self.mask, self.kind = mask, kind_of(options)
        self._probs = []  # (height, function that makes probabilities), for each layer
        self._handed_on = None  # latents after the layer before, if they were updated
        self._given = None  # latents that the layer before was given
        self._assignments = None

    def covers(self, r):
        """Whether layers at resolution 2^r have attention."""
        return self.options.start_res <= r < self.options.end_res

    def skip_layer(self):
        """A layer without attention: the next one starts from its own latents again."""
        self._handed_on = None

    def maps(self):
        """Attention maps of the layers so far: list of [N, K, M, H, W]."""
        maps = []
        for height, make_probs in self._probs:
            probs = make_probs()  # [N, P, M, K]
            _, positions, heads, num = probs.shape.as_list()
            shape = [-1, num, heads, height, positions // height]
            maps.append(reshape(tf.transpose(probs, [0, 3, 2, 1]), shape))
        return maps

    def weights(self, x, latents, r):
        """Create (or reuse) the variables of one layer's attention.

        Args:
          x: [N, H, W, C]; of x and latents, only the shapes count.
          latents: [N, K, D], or None: positions attend to each other only.
          r: log2 of the resolution.

        Returns:
          {name of a step: its weights}, in the order of the steps.
        """
        o, pos, weights = self.options, self.grids[r], {}
        if latents is not None:
            channels, dim = x.shape.as_list()[-1], latents.shape.as_list()[-1]
            spec = AttentionSpec(
                channels,
                o.num_heads,
                x_gate=o.img_gate,
                y_gate=o.ltnt_gate,
                integration=o.integration,
                norm=o.norm,
                kind=self.kind,
                iterations=o.kmeans_iters,
                form=o.attention_form,
                quirks=o.quirk,
                start=o.start,
            )
            with tf.variable_scope("AttLayer_l2n"):
                is_carried = self._assignments is not None
                weights["l2n"] = attention_weights(x, latents, spec, pos, self.ltnt_pos, is_carried)
            spec = AttentionSpec(dim, o.num_heads, o.ltnt_gate, o.ltnt_gate, form=o.attention_form)
            if o.ltnt2ltnt:
                with tf.variable_scope("AttLayer_l2l"):
                    w = attention_weights(latents, latents, spec, self.ltnt_pos, self.ltnt_pos)
                weights["l2l"] = w, latent_block_weights(dim, ("Densel2l_0", "Densel2l_1"))
            if o.img2ltnt:
                spec = dataclasses.replace(spec, y_gate=o.img_gate)
                with tf.variable_scope("AttLayer_n2l"):
                    w = attention_weights(latents, x, spec, self.ltnt_pos, pos)
                weights["n2l"] = w, latent_block_weights(dim, ("Densen2l_0", "Densen2l_1"))
        return {**weights, "image": image_step_weights(x, r, o, pos)}

    def __call__(self, x, latents, weights, tail, site):
        """One layer.

        Args:
          x: [N, H, W, C].
          latents: [N, K, D] components for this layer, or None, as for :meth:`weights`.
          weights: see :meth:`weights`.
          tail: Tail: what scales x first, and what follows.
          site: name of the layer, for its randomness.

        Returns:
          [N, H, W, C], the layer's output.
        """
        _, height, width, channels = x.shape.as_list()
        x, tail = reshape(x, [-1, height * width, channels]), tail.flat()
        dropout, is_done = self.dropout.at(site), False
        if latents is not None:
            is_done = tail.is_leaky and not weights["image"] and "n2l" not in weights
            attended = image_from_latents(
                x,
                self._latents_of(latents),
                weights["l2n"],
                self.mask,
                dropout.at("l2n"),
                self._assignments,
                tail if is_done else NO_TAIL._replace(scale=tail.scale),
            )
            self._probs.append((height, attended.probs))
            if self.kind == "iterative":
                self._assignments = assignments(attended.probs())
            self._update_latents(attended, latents, weights, dropout)
            x, tail = attended.x, tail._replace(scale=None)
        elif tail.scale is not None:
            x, tail = scale_features(x, tail.scale), tail._replace(scale=None)
        x = image_steps(x, weights["image"], self.options.local_attention, dropout, normalize=True)
        x = clip(x, tail.clamp) if is_done else tail.apply(x)
        return reshape(x, [-1, height, width, channels])

    def _latents_of(self, latents):
        """The latents that this layer attends to."""
        if self._handed_on is None:
            return latents
        if self.kind == "duplex":
            # Style mixing may have changed the latents in between; add the change.
            return self._handed_on + (latents - self._given)
        return self._handed_on

    def _update_latents(self, attended, latents, weights, dropout):
        """Latents attend to each other and to the image; the next layer goes on from there.

        Each step is Y := LayerNorm(Y + a(Y, X)) (Sec. 3.1.2). Without the normalisation, as in the
        published code, latents grow from layer to layer.
        """
        quirks, y = self.options.quirk, attended.y
        new = y if self.kind == "duplex" else None
        if "l2l" in weights:
            w, block = weights["l2l"]
            mask = None if quirks.mask_ignored_between_latents else self.mask
            new = latent_block(y, latents_from_latents(y, w, mask, dropout.at("l2l")), block)
            new = new if quirks.growing_latents else layer_norm(new)
        if "n2l" in weights:
            w, block = weights["n2l"]
            y = y if quirks.restarted_latents or new is None else new
            new = latent_block(y, latents_from_image(y, attended.x, w, dropout.at("n2l")), block)
            new = new if quirks.growing_latents else layer_norm(new)
        self._handed_on, self._given = new, latents
