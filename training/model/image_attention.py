"""Attention in which an image answers: latents that read it, and positions that look at each other.

Axes as in attention.py: N batch, F positions, C channels, T latents, J their width, M heads.
Papers: GANsformer (Hudson & Zitnick 2021, arXiv:2103.01209), SAGAN (Zhang et al. 2019,
arXiv:1805.08318).
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError
from training.model.attention import (
    NO_DROPOUT,
    answer_gate,
    attention_layer,
    check_heads,
    merge_heads,
    project,
    question_gate,
    split_heads,
)
from training.model.layers import dense_layer, dense_weights, matmul_last
from training.model.shapes import bind_shapes


def latents_from_image(
    y,
    x,
    dim,
    num_heads=1,
    y_pos=None,
    x_pos=None,
    y_gate=False,
    x_gate=False,
    dropout=NO_DROPOUT,
):
    """Let few latents gather information from an image: y + attention, at linear cost.

    Args:
      y: [N, T, J] latents, which ask.
      x: [N, F, C] image, which answers.
      dim: D, width of queries, keys and values.
      num_heads: M; must divide ``dim``.
      y_pos: [T, P] or None.
      x_pos: [F, P'] or None.
      y_gate: scale what each latent takes by a learned sigmoid.
      x_gate: the same for what each position gives.
      dropout: Dropout.

    Returns:
      New y, [N, T, J].
    """
    check_heads(dim, num_heads)
    sizes = bind_shapes(y=(y, "N T J"), x=(x, "N F C"))
    query = dense_layer(y, dim, name="query")
    key, value = dense_weights(sizes.C, dim, "key"), dense_weights(sizes.C, dim, "value")
    if y_pos is not None:
        query += dense_layer(y_pos, dim, name="from_pos")
    to_pos = None
    if x_pos is not None:
        to_pos = dense_weights(x_pos.shape.as_list()[1], dim, "to_pos")
    keys = project(x, key, x_pos, to_pos)
    scale = np.float32(1.0 / np.sqrt(dim // num_heads))
    probs = tf.nn.softmax(keys.dots(split_heads(query * scale, num_heads)))  # [N, M, T, F]
    keep = dropout.keep(probs.shape.as_list()[1:], axis=1)
    probs = probs if keep is None else probs * keep
    if x_gate:
        gate = answer_gate(x, x_pos, num_heads)
        probs *= tf.transpose(gate, [0, 2, 1])[:, :, tf.newaxis, :]
    if y_gate:
        gate = question_gate(y, y_pos, num_heads)
        probs *= tf.transpose(gate, [0, 2, 1])[..., tf.newaxis]
    found = project(x, value).gather(probs)
    return y + dense_layer(merge_heads(found), sizes.J, name="out")


def latents_from_latents(y, dim, num_heads, pos, gate, dropout, mask=None):
    """Latents look at each other.

    Args:
      y: [N, K, D].
      dim: attention width.
      num_heads: attention heads.
      pos: [K, P] positional encoding, or None.
      gate: gates on both sides.
      dropout: Dropout.
      mask: [N, K], 0 hides a latent; None shows all.

    Returns:
      [N, K, D].
    """
    with tf.variable_scope("AttLayer_l2l"):
        return attention_layer(
            y,
            y,
            dim,
            num_heads,
            x_pos=pos,
            y_pos=pos,
            x_gate=gate,
            y_gate=gate,
            mask=mask,
            dropout=dropout.at("l2l"),
        ).apply()


def image_from_image(x, dim, num_heads=1, pos=None, gate=False, dropout=NO_DROPOUT, window=None):
    """Let the positions of an image attend to each other: x + attention (SAGAN, Sec. 3).

    Quadratic in the positions that see each other; meant for one coarse resolution, or for windows.

    Args:
      x: [N, F, C], a square image.
      dim: D, width of queries, keys and values.
      num_heads: M; must divide ``dim``.
      pos: [F, P] or None.
      gate: scale what each position takes, and gives, by learned sigmoids.
      dropout: Dropout.
      window: side of the squares within which positions see each other; None: the whole image.

    Returns:
      New x, [N, F, C].
    """
    check_heads(dim, num_heads)
    _, positions, channels = x.shape.as_list()
    cells = _Cells(round(np.sqrt(positions)), window)
    query, key = dense_layer(x, dim, name="query"), dense_layer(x, dim, name="key")
    value = dense_layer(x, dim, name="value")
    if pos is not None:
        query += dense_layer(pos, dim, name="from_pos")
        key += dense_layer(pos, dim, name="to_pos")
    query *= np.float32(1.0 / np.sqrt(dim // num_heads))
    query, key, value = (split_heads(cells.cut(part), num_heads) for part in (query, key, value))
    probs = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))  # [N, M, F, F]
    keep = dropout.keep([cells.num**2, *probs.shape.as_list()[1:]], axis=2)
    if keep is not None:
        probs *= tf.reshape(keep, [-1, *probs.shape.as_list()[1:]])
    if gate:
        given = cells.cut(answer_gate(x, pos, num_heads))
        probs *= tf.transpose(given, [0, 2, 1])[:, :, tf.newaxis, :]
        taken = cells.cut(question_gate(x, pos, num_heads))
        probs *= tf.transpose(taken, [0, 2, 1])[..., tf.newaxis]
    found = cells.join(merge_heads(tf.matmul(probs, value)))
    w, b = dense_weights(dim, channels, "out")
    return x + (matmul_last(found, w) + b)


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


class _Cells:
    """A square image cut into square cells, which become samples of their own."""

    def __init__(self, size, window):
        self.size = size
        self.window = min(window or size, size)
        if size % self.window != 0:
            raise OptionError(
                f"a window of {window} (--g-local-attention, --d-local-attention) does not "
                f"divide the resolution {size}; use a power of two"
            )
        self.num = size // self.window  # cells along a side

    def cut(self, x):
        """[N, F, C] => [N * cells, F / cells, C]."""
        if self.num == 1:
            return x
        channels = x.shape.as_list()[2]
        x = tf.reshape(x, [-1, self.num, self.window, self.num, self.window, channels])
        return tf.reshape(tf.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, self.window**2, channels])

    def join(self, x):
        """[N * cells, F / cells, C] => [N, F, C]."""
        if self.num == 1:
            return x
        channels = x.shape.as_list()[2]
        x = tf.reshape(x, [-1, self.num, self.num, self.window, self.window, channels])
        return tf.reshape(tf.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, self.size**2, channels])
