"""Attention between the positions of an image and a few latents, at linear cost.

Whichever side asks, the long side (F elements, an image) is never projected: a dot product of
``x W + b`` with one of T short vectors is a dot product of x with that vector times W^T, and a
weighted sum of ``x W + b`` is the weighted sum of x, times W. So each position costs 4 C T
operations instead of 4 C^2, exactly, and nothing of the image's size but x itself is kept for the
gradient.

Axes: N batch, C channels of x, F positions, T latents, J their width, D attention width, M heads,
S = D / M, P width of positional encodings. Paper: Generative Adversarial Transformers, Hudson &
Zitnick 2021 (arXiv:2103.01209), Sec. 3.1.
"""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from training.layers import dense_layer, dense_weights, matmul_last
from training.shapes import bind_shapes

MASKED = -10000.0  # added to the scores of hidden latents

INTEGRATIONS = ("add", "mul", "both")


class Dropout(namedtuple("Dropout", "rate rng site")):
    """Attention dropout: half of the rate drops single weights, half drops whole latents.

    Args:
      rate: float; 0 does nothing.
      rng: source of random numbers, see :func:`training.randomness.random_source`.
      site: str, name of the place for ``rng``.
    """

    def __call__(self, probs, axis=1):
        """Drop from probabilities; what is kept grows by what is dropped.

        Args:
          probs: [N, F, M, T], or any order of the last three.
          axis: of F, the elements that ask; a whole element is dropped for all of them.
        """
        if not self.rate:
            return probs
        rate, shape = self.rate / 2.0, probs.shape.as_list()
        single = self.rng.uniform(f"{self.site}/dropout", shape[1:])
        shape[axis] = 1
        whole = self.rng.uniform(f"{self.site}/dropout_whole", shape[1:])
        scale = np.float32(1.0 / (1.0 - rate) ** 2)
        keep = tf.cast(whole >= rate, probs.dtype) * scale
        return probs * tf.cast(single >= rate, probs.dtype) * keep

    def at(self, site):
        """The same at a place below this one."""
        return self._replace(site=f"{self.site}/{site}")


NO_DROPOUT = Dropout(0.0, None, "")


class Projection:
    """Long side of an attention, seen through dense layers but never projected.

    Element f of sample n is, in head m, x[n, f] content[m]^T + pos[f] position[m]^T + bias[m].

    Args:
      x: [N, F, C].
      content: [M, S, C].
      bias: [M, S].
      pos: [F, P], the same for all samples; None: no positional part.
      position: [M, S, P] or None.
    """

    def __init__(self, x, content, bias, pos=None, position=None):
        self.x, self.content, self.bias = x, content, bias
        self.pos, self.position = pos, position
        self.num_positions, self.num_channels = x.shape.as_list()[1:]

    def dots(self, keys, long_last=False):
        """Dot products with few vectors.

        Args:
          keys: [N, M, T, S], or [1, M, T, S] if they are the same for all samples.
          long_last: order of the result.

        Returns:
          [N, F, M, T], or [N, M, T, F] with ``long_last``.
        """
        _, heads, num_keys, _ = keys.shape.as_list()
        shared = keys.shape.as_list()[0] == 1
        content = _through(keys, self.content)  # [N, M * T, C]
        rest = _through(keys, self.bias[:, :, tf.newaxis])  # [N, M * T, 1]
        if self.pos is not None:
            position = tf.concat([_through(keys, self.position), rest], axis=2)
            ones = tf.ones([self.num_positions, 1])
            table = tf.concat([self.pos, ones], axis=1)[tf.newaxis]  # [1, F, P + 1]
        if long_last:
            dots = tf.matmul(content, self.x, transpose_b=True)
            dots += rest if self.pos is None else tf.matmul(position, table, transpose_b=True)
            return tf.reshape(dots, [-1, heads, num_keys, self.num_positions])
        if shared:
            dots = matmul_last(self.x, tf.transpose(content[0]))
        else:
            dots = tf.matmul(self.x, content, transpose_b=True)  # [N, F, M * T]
        if self.pos is None:
            dots += tf.transpose(rest, [0, 2, 1])
        else:
            dots += tf.matmul(table, position, transpose_b=True)
        return tf.reshape(dots, [-1, self.num_positions, heads, num_keys])

    def gather(self, weights, long_last=False):
        """Weighted sums of the elements: weights [N, F, M, T] ([N, M, T, F]) => [N, M, T, S]."""
        if long_last:
            _, heads, num_keys, _ = weights.shape.as_list()
            flat = tf.reshape(weights, [-1, heads * num_keys, self.num_positions])
        else:
            _, _, heads, num_keys = weights.shape.as_list()
            flat = tf.reshape(weights, [-1, self.num_positions, heads * num_keys])
        content = tf.matmul(flat, self.x, transpose_a=not long_last)  # [N, M * T, C]
        sums = _through_back(content, self.content, num_keys)
        if self.pos is not None:
            position = tf.matmul(flat, self.pos[tf.newaxis], transpose_a=not long_last)
            sums += _through_back(position, self.position, num_keys)
        total = tf.reduce_sum(flat, axis=2 if long_last else 1)  # [N, M * T]
        total = tf.reshape(total, [-1, heads, num_keys, 1])
        return sums + total * self.bias[:, tf.newaxis, :]


def _through(vectors, w):
    """Vectors per head times that head's matrix: [N, M, T, S] x [M, S, O] => [N, M * T, O]."""
    _, heads, num, size = vectors.shape.as_list()
    out = w.shape.as_list()[2]
    if heads == 1:
        return tf.reshape(tf.matmul(tf.reshape(vectors, [-1, size]), w[0]), [-1, num, out])
    flat = tf.reshape(tf.transpose(vectors, [1, 0, 2, 3]), [heads, -1, size])
    y = tf.reshape(tf.matmul(flat, w), [heads, -1, num, out])
    return tf.reshape(tf.transpose(y, [1, 0, 2, 3]), [-1, heads * num, out])


def _through_back(sums, w, num):
    """Sums per head times its transposed matrix: [N, M * T, O] x [M, S, O] => [N, M, T, S]."""
    heads, size, out = w.shape.as_list()
    sums = tf.reshape(sums, [-1, heads, num, out])
    flat = tf.reshape(tf.transpose(sums, [1, 0, 2, 3]), [heads, -1, out])
    y = tf.reshape(tf.matmul(flat, w, transpose_b=True), [heads, -1, num, size])
    return tf.transpose(y, [1, 0, 2, 3])


class Sides:
    """Both sides of one attention: who asks, who answers, and the layers that compare them.

    Attributes:
      x, x_pos: [N, F, C] elements that ask and their positions [F, P] or None.
      y: [N, T, J] elements that answer.
      dim, num_heads: D, M.
      query, from_pos: (weight, bias) of the dense layers of x and of x_pos (None without).
      keys: [N, T, D].
      hidden: [N, 1, 1, T] numbers to add to the scores, or None.
      dropout: Dropout.
    """

    def __init__(self, x, y, dim, num_heads, x_pos, y_pos, mask, dropout):
        if dim % num_heads != 0:
            raise ValueError(f"attention width {dim} is not divisible by num_heads={num_heads}")
        sizes = bind_shapes(x=(x, "N F C"), y=(y, "N T J"))
        self.x, self.y, self.x_pos = x, y, x_pos
        self.dim, self.num_heads, self.dropout = dim, num_heads, dropout
        self.query = dense_weights(sizes.C, dim, "query")
        key = dense_weights(sizes.J, dim, "key")
        self.value = dense_weights(sizes.J, dim, "value")
        self.from_pos = _pos_weights(x_pos, dim, "from_pos")
        to_pos = _pos_weights(y_pos, dim, "to_pos")
        self.keys = matmul_last(y, key[0]) + key[1]
        if to_pos is not None:
            self.keys += tf.matmul(y_pos, to_pos[0]) + to_pos[1]
        self.hidden = None
        if mask is not None:
            bind_shapes(y=(y, "N T J"), mask=(mask, "N T"))
            self.hidden = ((1.0 - mask) * MASKED)[:, tf.newaxis, tf.newaxis, :]

    def projection(self):
        """The queries of x: content plus position, [N, F, M, S] in effect."""
        return project(self.x, self.query, self.num_heads, self.x_pos, self.from_pos)

    def keys_by_head(self):
        """[N, M, T, S]."""
        return split_heads(self.keys, self.num_heads)

    def probs(self, scores, step="step_0"):
        """Scores [N, F, M, T] to probabilities, masked, with dropout; ``step`` names the place."""
        if self.hidden is not None:
            scores += self.hidden
        return self.dropout.at(step)(tf.nn.softmax(scores))


def project(x, layer, num_heads, pos=None, pos_layer=None):
    """x W + b, plus pos W' + b' if there is a position, as a Projection by heads.

    Args:
      x: [N, F, C].
      layer: weight [C, D] and bias [D].
      num_heads: M.
      pos: [F, P] or None.
      pos_layer: weight [P, D] and bias [D], or None.
    """
    content, bias = _split_layer(layer, num_heads)
    if pos is None:
        return Projection(x, content, bias)
    position, pos_bias = _split_layer(pos_layer, num_heads)
    return Projection(x, content, bias + pos_bias, pos, position)


def _split_layer(layer, num_heads):
    """Weight [I, D], bias [D] => [M, S, I], [M, S]."""
    w, b = layer
    rows, dim = w.shape.as_list()
    shape = [num_heads, dim // num_heads]
    return tf.reshape(tf.transpose(w), [*shape, rows]), tf.reshape(b, shape)


def split_heads(x, num_heads):
    """[N, T, D] => [N, M, T, S]."""
    _, num, dim = x.shape.as_list()
    if num_heads == 1:
        return x[:, tf.newaxis]
    x = tf.reshape(x, [-1, num, num_heads, dim // num_heads])
    return tf.transpose(x, [0, 2, 1, 3])


def merge_heads(x):
    """[N, M, T, S] => [N, T, D]."""
    _, num_heads, num, size = x.shape.as_list()
    return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [-1, num, num_heads * size])


def simplex(sides):
    """Probabilities softmax(q k^T / sqrt(S)) (Sec. 3.1.1): [N, F, M, T], and y as it is."""
    scale = np.float32(1.0 / np.sqrt(sides.dim // sides.num_heads))
    return sides.probs(sides.projection().dots(sides.keys_by_head() * scale)), sides.y


Attended = namedtuple("Attended", "x probs y")


def attention_layer(
    x,
    y,
    dim,
    num_heads=1,
    x_pos=None,
    y_pos=None,
    x_gate=False,
    y_gate=False,
    mask=None,
    dropout=NO_DROPOUT,
    integration="add",
    norm=None,
    assign=simplex,
    gain=1.0,
):
    """Let every element of x gather information from the few elements of y.

    Args:
      x: [N, F, C] elements that ask, e.g. F = H * W image positions.
      y: [N, T, J] elements that answer, e.g. T = K latents.
      dim: D, width of queries, keys and values.
      num_heads: M; must divide ``dim``.
      x_pos: [F, P] positional encoding of x, or None.
      y_pos: [T, P'] of y, or None.
      x_gate: scale what each element of x takes by a learned sigmoid.
      y_gate: the same for what each element of y gives.
      mask: [N, T], 0 hides an element of y; None shows all.
      dropout: Dropout.
      integration: "add", "mul" or "both": what x gathers is a bias, a gain, or one of each.
      norm: normalise x first: over positions ("instance") or channels ("layer", and "batch", which
        has always meant the same here); None does not.
      assign: function of Sides that compares x with y; returns probabilities [N, F, M, T], and y.
      gain: scale of the new x; needs "mul" or "both".

    Returns:
      Attended: new x [N, F, C], probabilities [N, F, M, T] with gates, and y.
    """
    if integration not in INTEGRATIONS:
        raise ValueError(f"integration={integration!r} is none of {', '.join(INTEGRATIONS)}")
    sides = Sides(x, y, dim, num_heads, x_pos, y_pos, mask, dropout)
    probs, y = assign(sides)
    probs = _gate_answers(probs, sides.y, y_pos, num_heads) if y_gate else probs
    probs = _gate_questions(probs, x, x_pos, num_heads) if x_gate else probs
    sums_to_one = not (x_gate or y_gate or dropout.rate)
    values = split_heads(matmul_last(y, sides.value[0]) + sides.value[1], num_heads)
    channels = x.shape.as_list()[2]
    out = dense_weights(dim, channels * (2 if integration == "both" else 1), "out")
    message = Message(probs, values, out, sums_to_one)
    return Attended(integrate(x, message, integration, norm, gain), probs, y)


def _pos_weights(pos, dim, name):
    return None if pos is None else dense_weights(pos.shape.as_list()[1], dim, name)


def _gate_answers(probs, y, y_pos, num_heads):
    """Probabilities [N, F, M, T] times sigmoid(gate of y), [N, 1, M, T]."""
    gate = answer_gate(y, y_pos, num_heads)
    return probs * tf.transpose(gate, [0, 2, 1])[:, tf.newaxis]


def _gate_questions(probs, x, x_pos, num_heads):
    """Probabilities [N, F, M, T] times sigmoid(gate of x), [N, F, M, 1]."""
    return probs * question_gate(x, x_pos, num_heads)[..., tf.newaxis]


def answer_gate(y, pos, num_heads):
    """How much each element that answers gives: [N, T, J] => [N, T, M]."""
    gate = dense_layer(y, num_heads, name="e_cont")
    if pos is not None:
        gate += dense_layer(pos, num_heads, name="e_pos")
    return tf.sigmoid(gate)


def question_gate(x, pos, num_heads):
    """How much each element that asks takes; open at first: [N, F, C] => [N, F, M]."""
    gate = dense_layer(x, num_heads, name="n_cont")
    if pos is not None:
        gate += dense_layer(pos, num_heads, name="n_pos")
    return tf.sigmoid(gate + 1.0)


class Message:
    """What x gathers, (probs values) W + b, kept as small factors.

    Args:
      probs: [N, F, M, T].
      values: [N, M, T, S].
      out: weight [D, O] and bias [O].
      sums_to_one: whether the probabilities of each head do; then the bias rides on the values.
    """

    def __init__(self, probs, values, out, sums_to_one):
        _, positions, self.heads, num = probs.shape.as_list()
        self.probs = tf.reshape(probs, [-1, positions, self.heads * num])
        self.values, self.out, self.sums_to_one = values, out, sums_to_one

    def spread(self, part, offset=0.0, gain=1.0, per_position=None, per_channel=None):
        """gain * (one half of the message + offset), scaled further: [N, F, C].

        Args:
          part: slice of the O columns.
          offset: number added to every entry.
          gain: number.
          per_position: [N, F, 1] or None.
          per_channel: [N, 1, C] or None.
        """
        w, b = self.out[0][:, part], self.out[1][part] + offset
        dim, channels = w.shape.as_list()
        table = _through(self.values, tf.reshape(w, [self.heads, dim // self.heads, channels]))
        probs = self.probs
        if self.sums_to_one:
            table += b / self.heads  # [N, M * T, C]
        else:
            # A last column of ones takes up the bias.
            size = tf.shape(probs)[0]
            last = tf.tile(b[tf.newaxis, tf.newaxis], [size, 1, 1])
            table = tf.concat([table, last], axis=1)
            ones = tf.ones([size, probs.shape.as_list()[1], 1])
            probs = tf.concat([probs, ones], axis=2)
        if gain != 1.0:
            table *= np.float32(gain)
        if per_channel is not None:
            table *= per_channel
        if per_position is not None:
            probs *= per_position
        return tf.matmul(probs, table)


def integrate(x, message, integration, norm, gain=1.0):
    """The update of x: a gain and a bias on the normalised x (Sec. 3.1.1).

    Normalising scales are carried by the message's factors, never by x.

    Args:
      x: [N, F, C].
      message: Message.
      integration: see :func:`attention_layer`.
      norm: see there.
      gain: see there.

    Returns:
      [N, F, C].
    """
    channels = x.shape.as_list()[2]
    first, second = slice(0, channels), slice(channels, None)
    axis = 1 if norm == "instance" else 2
    if norm is not None and integration != "mul":
        x -= tf.reduce_mean(x, axis=axis, keepdims=True)
    if integration == "add":
        return x + message.spread(first)
    scale = {}
    if norm is not None:
        power = tf.reduce_mean(tf.square(x), axis=axis, keepdims=True)
        scale["per_channel" if axis == 1 else "per_position"] = tf.rsqrt(power + 1e-8)
    x *= message.spread(first, offset=1.0, gain=gain, **scale)
    return x + message.spread(second, gain=gain) if integration == "both" else x
