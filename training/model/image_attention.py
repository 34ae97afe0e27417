"""Attention between an image and latents, in every direction.

Papers: GANsformer (Hudson & Zitnick 2021, arXiv:2103.01209), SAGAN (Zhang et al. 2019,
arXiv:1805.08318). Axes as in attention.py.
"""

import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError
from dnnlib.tflib.precision import widened
from training.model.attention import (
    dot_product,
    gated,
    gates,
    layer_norm,
    linear,
    literal,
    merge_heads,
    split_heads,
)
from training.model.attention_weights import AttentionSpec, attention_weights
from training.model.dropout import NO_DROPOUT
from training.model.folded import fold_keys, fold_queries
from training.model.layers import NO_TAIL
from training.model.shapes import bind_shapes

# How attention to latents is computed, by the name that ``attention_form`` gives it. All have the
# parameters of literal() but the score, which may be another one: functools.partial(literal, ...).
FORMS = {"folded": fold_queries, "literal": literal}


def image_from_latents(x, y, w, mask=None, dropout=NO_DROPOUT, carried=None, tail=NO_TAIL):
    """Let an image, or whatever x is, attend to a few latents; see :func:`literal`."""
    bind_shapes(x=(x, "N F C"), y=(y, "N T I"))
    if mask is not None:
        bind_shapes(y=(y, "N T I"), mask=(mask, "N T"))
    if w.spec.form == "folded":  # which reads maps of 16 bits
        return fold_queries(x, y, w, mask, dropout, carried, tail)
    found = FORMS[w.spec.form](widened(x), y, w, mask, dropout, carried, tail)
    return found._replace(x=tf.cast(found.x, x.dtype))


def latents_from_latents(y, w, mask=None, dropout=NO_DROPOUT):
    """Let latents attend to each other: [N, K, D] => [N, K, D]."""
    return image_from_latents(y, y, w, mask, dropout).x


def latents_from_image(y, x, w, dropout=NO_DROPOUT):
    """Let a few latents attend to an image: y [N, T, I], x [N, P, C] => [N, T, I]."""
    bind_shapes(y=(y, "N T I"), x=(x, "N P C"))
    x = widened(x)
    if w.spec.form == "folded":
        return fold_keys(y, x, w, dropout)
    return FORMS[w.spec.form](y, x, w, dropout=dropout).x


def image_from_image(x, w, dropout=NO_DROPOUT, window=None):
    """Let the positions of an image attend to each other: x + attention (SAGAN, Sec. 3).

    Quadratic in the positions that see each other; meant for one coarse resolution, or for windows.

    Args:
      x: [N, P, C], an image.
      w: Weights.
      dropout: Dropout.
      window: side of the squares within which positions see each other; None: the whole image.

    Returns:
      New x, [N, P, C].
    """
    dtype, x = x.dtype, widened(x)
    cells, heads = _Cells(*w.spec.sides(x.shape.as_list()[1]), window), w.spec.num_heads
    q, k = linear(x, w.query, w.x_pos, w.from_pos), linear(x, w.key, w.y_pos, w.to_pos)
    q, k, v = (split_heads(cells.cut(part), heads) for part in (q, k, linear(x, w.value)))
    probs = tf.nn.softmax(dot_product(q, k))  # [N * cells, M, P / cells, P / cells]
    keep = dropout.keep([cells.count, *probs.shape.as_list()[1:]], axis=2)
    if keep is not None:
        probs *= tf.reshape(keep, [-1, *probs.shape.as_list()[1:]])
    given, taken = (gate if gate is None else cells.cut(gate) for gate in gates(x, x, w))
    a = cells.join(merge_heads(tf.matmul(gated(probs, given, taken), v)))
    return tf.cast(x + linear(a, w.out, fused=False), dtype)


def image_step_weights(x, r, options, pos, dim=None):
    """Create (or reuse) the variables of :func:`image_steps`.

    Args:
      x: [N, P, C] or [N, H, W, C]; only the shape counts.
      r: log2 of the resolution.
      options: with num_heads, img2img, local_attention and img_gate.
      pos: [P, I], positional encoding.
      dim: D; None: C.

    Returns:
      {name of a step: Weights}, in the order of the steps.
    """
    gate, weights = options.img_gate, {}
    dim = dim or x.shape.as_list()[-1]
    spec = AttentionSpec(dim, options.num_heads, gate, gate, start=options.start)
    for name, is_there in (("n2n", options.img2img == r), ("local", options.local_attention)):
        if is_there:
            with tf.variable_scope(f"AttLayer_{name}"):
                weights[name] = attention_weights(x, x, spec, pos, pos)
    return weights


def image_steps(x, weights, window, dropout, normalize=False):
    """Attention between the positions of an image, where there are weights for it.

    Args:
      x: [N, P, C].
      weights: see :func:`image_step_weights`.
      window: side of the windows of the step "local".
      dropout: Dropout.
      normalize: LayerNorm(x + a) in the step "local", which every layer has: without it, maps grow
        from layer to layer of G. In D it would hide how bright a picture is.

    Returns:
      [N, P, C].
    """
    if "n2n" in weights:
        x = image_from_image(x, weights["n2n"], dropout.at("n2n"))
    if "local" in weights:
        x = image_from_image(x, weights["local"], dropout.at("local"), window)
        if normalize:
            x = tf.cast(layer_norm(widened(x)), x.dtype)
    return x


class _Cells:
    """An image cut into square cells, which become samples of their own; one cell is any image."""

    def __init__(self, height, width, window):
        shortest = min(height, width)
        window = window or max(height, width)
        if window < shortest and (height % window or width % window):
            side = height if height % window else width
            raise OptionError(
                f"a window of {window} (--g-local-attention, --d-local-attention) does not divide "
                f"the resolution {side}; use a power of two that divides all sides, from --g-start-"
                "res or --d-start-res on"
            )
        # A window as long as the image's shorter side sees all of it.
        self.size = (window, window) if window < shortest else (height, width)
        self.rows, self.columns = height // self.size[0], width // self.size[1]
        self.count = self.rows * self.columns

    def cut(self, x):
        """[N, P, C] => [N * cells, P / cells, C]."""
        if self.count == 1:
            return x
        height, width = self.size
        channels = x.shape.as_list()[2]
        x = tf.reshape(x, [-1, self.rows, height, self.columns, width, channels])
        return tf.reshape(tf.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, height * width, channels])

    def join(self, x):
        """[N * cells, P / cells, C] => [N, P, C]."""
        if self.count == 1:
            return x
        height, width = self.size
        channels = x.shape.as_list()[2]
        x = tf.reshape(x, [-1, self.rows, self.columns, height, width, channels])
        positions = self.count * height * width
        return tf.reshape(tf.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, positions, channels])
