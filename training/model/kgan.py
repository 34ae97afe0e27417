"""k-GAN: every latent makes a picture of its own; at one layer the k pictures become one.

Idea: van Steenkiste et al. 2018, Investigating Object Compositionality in Generative Adversarial
Networks (arXiv:1810.10340); the baseline of Hudson & Zitnick 2021 (arXiv:2103.01209).

Differs from the published code, which runs with few settings only. Here every architecture and
every merge layer works: the pictures keep their own latents up to and including the block after
which they merge, an image that the skip architecture has summed up so far merges with the same
weights, and everything after uses the merged latent. "sum" weighs each picture by a sigmoid of its
score, "max" passes gradients on as softmax does, and "leaves" covers what lies behind position by
position; the published code has quirks there, see quirks.py.
"""

import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError, must_be_one_of
from training.model.layers import get_weight, matmul_last
from training.model.quirks import NO_QUIRKS

MERGE_TYPES = ("sum", "softmax", "max", "leaves")


class Merging:
    """When and how the k pictures of a sample merge.

    Args:
      num: k.
      max_log2: log2 of the image's resolution.
      layer: log2 of the resolution after whose block they merge; -1: just before the image.
      kind: one of MERGE_TYPES.
      same: one weight per picture instead of one per position.
      quirks: Quirks.

    Raises:
      OptionError: unknown kind, or no such layer.
    """

    def __init__(self, num, max_log2, layer=-1, kind="sum", same=False, quirks=NO_QUIRKS):
        if kind not in MERGE_TYPES:
            raise OptionError(f"merge_type {must_be_one_of(kind, MERGE_TYPES)}")
        if layer != -1 and not 2 <= layer <= max_log2:
            raise OptionError(
                f"--merge-layer={layer} must be -1, for the last, or from 2 to {max_log2}, the "
                f"log2 of the resolution {2**max_log2}"
            )
        self.num, self.kind, self.same, self.quirks = num, kind, same, quirks
        self.is_last = layer == -1
        self.log2_res = max_log2 if layer == -1 else layer

    def scope(self):
        """Scope of the scores' variable, below that of the resolution."""
        if self.is_last:
            return f"ToRGB/merge{self.log2_res}"
        return f"merge{self.log2_res}"

    def owns_noise(self, log2_res):
        """Whether the pictures have a noise variable each at a resolution."""
        return log2_res < self.log2_res + (1 if self.is_last else 0)

    def weights(self, x):
        """How much of each picture is seen: [N * k, H, W, C] => [N, k, H or 1, W or 1, 1]."""
        _, height, width, channels = x.shape.as_list()
        scores = matmul_last(x, get_weight([1, 1, channels, 1])[0, 0])
        scores = tf.reshape(scores, [-1, self.num, height, width, 1])
        if self.same:
            scores = tf.reduce_sum(scores, axis=[2, 3], keepdims=True)
        kinds = {"softmax": _softmax, "sum": _sum, "max": _max, "leaves": _leaves}
        return kinds[self.kind](scores, self.quirks)

    def merge(self, x, weights):
        """Weighted sum of the pictures: [N * k, H, W, C] => [N, H, W, C]."""
        _, height, width, channels = x.shape.as_list()
        pictures = tf.reshape(x, [-1, self.num, height, width, channels])
        return tf.reduce_sum(pictures * weights, axis=1)

    def merge_latents(self, latents, weights):
        """Latents by the mean weight of their pictures: [N, k, D] => [N, 1, D]."""
        shares = tf.reduce_mean(weights, axis=[2, 3])  # [N, k, 1]
        return tf.reduce_sum(latents * shares, axis=1, keepdims=True)


def _softmax(scores, quirks):
    return tf.nn.softmax(scores, axis=1)


def _sum(scores, quirks):
    return tf.ones_like(scores) if quirks.unweighted_sum else tf.sigmoid(scores)


def _max(scores, quirks):
    """1 for the largest score; backwards the softmax (straight through)."""
    best = tf.one_hot(tf.argmax(scores, axis=1), scores.shape.as_list()[1], axis=1)
    if quirks.blocked_max:
        return best
    soft = tf.nn.softmax(scores, axis=1)
    return best + (soft - tf.stop_gradient(soft))


def _leaves(scores, quirks):
    """Each picture covers a share of all before it: [N, k, ...] => [N, k, ...]."""
    alpha = tf.ones_like(scores[:, :1])
    for idx in range(1, scores.shape.as_list()[1]):
        behind = scores[:, :idx]
        axis = None if quirks.leaves_over_batch else 1
        top = tf.reduce_max(behind, axis=axis, keepdims=True)
        cover = tf.sigmoid(scores[:, idx : idx + 1] - top)
        alpha = tf.concat([alpha * (1.0 - cover), cover], axis=1)
    return alpha
