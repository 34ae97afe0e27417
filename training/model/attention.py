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

from dnnlib.errors import OptionError
from dnnlib.tflib.ops.attend import attend, attend_probs
from training.model.layers import NO_TAIL, dense_layer, dense_weights, matmul_last
from training.model.shapes import bind_shapes

MASKED = -10000.0  # added to the scores of hidden latents

INTEGRATIONS = ("add", "mul", "both")


class Dropout(namedtuple("Dropout", "rate rng site")):
    """Attention dropout: half of the rate drops single weights, half drops whole latents.

    Args:
      rate: float; 0 does nothing.
      rng: source of random numbers, see :func:`dnnlib.tflib.random.random_source`.
      site: str, name of the place for ``rng``.
    """

    def keep(self, shape, axis=0):
        """Factors for probabilities; what is kept grows by what is dropped.

        Args:
          shape: of one sample's probabilities.
          axis: of F, the elements that ask; a whole element is dropped for all of them.

        Returns:
          [N, *shape], or None if nothing is dropped.
        """
        if not self.rate:
            return None
        rate = self.rate / 2.0
        single = self.rng.uniform(f"{self.site}/dropout", shape)
        one = [1 if idx == axis else size for idx, size in enumerate(shape)]
        whole = self.rng.uniform(f"{self.site}/dropout_whole", one)
        scale = np.float32(1.0 / (1.0 - rate) ** 2)
        return tf.cast(single >= rate, tf.float32) * (tf.cast(whole >= rate, tf.float32) * scale)

    def at(self, site):
        """The same at a place below this one."""
        return self._replace(site=f"{self.site}/{site}")


NO_DROPOUT = Dropout(0.0, None, "")


class Projection:
    """Long side of an attention, seen through dense layers but never projected.

    Element f of sample n is x[n, f] content + pos[f] position + bias, of which head m has the m-th
    S columns.

    Args:
      x: [N, F, C].
      content: [C, M * S].
      bias: [1, M * S].
      pos: [F, P], the same for all samples; None: no positional part.
      position: [P, M * S] or None.
    """

    def __init__(self, x, content, bias, pos=None, position=None):
        self.x, self.content, self.bias = x, content, bias
        self.pos, self.position = pos, position
        self.num_positions = x.shape.as_list()[1]

    def tables(self, keys):
        """Dot products with few vectors as a dot product with x and a part without x.

        Args:
          keys: [N, M, T, S], or [1, M, T, S] if they are the same for all samples.

        Returns:
          Tuple of [N or 1, M * T, C] and [N or 1, F or 1, M * T].
        """
        position, pos = self._without_x(keys)
        if position.shape.as_list()[0] == 1:  # a plain product needs no threads to wait for
            logits = tf.expand_dims(tf.matmul(pos[0], position[0], transpose_b=True), 0)
        else:
            logits = tf.matmul(pos, position, transpose_b=True)
        return _through(keys, self.content), logits

    def dots(self, keys):
        """Dot products with few vectors: keys [N, M, T, S] => [N, M, T, F]."""
        _, heads, num_keys, _ = keys.shape.as_list()
        position, pos = self._without_x(keys)
        dots = tf.matmul(_through(keys, self.content), self.x, transpose_b=True)
        dots += tf.matmul(position, pos, transpose_b=True)
        return tf.reshape(dots, [-1, heads, num_keys, self.num_positions])

    def _without_x(self, keys):
        """Two factors, [N, M * T, P + 1] and [1, F or 1, P + 1], of what does not depend on x."""
        position = _through(keys, self.bias)  # [N, M * T, 1]
        pos = tf.ones([1 if self.pos is None else self.num_positions, 1], self.x.dtype)
        if self.pos is not None:
            position = tf.concat([_through(keys, self.position), position], axis=2)
            pos = tf.concat([self.pos, pos], axis=1)
        return position, tf.expand_dims(pos, 0)

    def gather(self, weights):
        """Weighted sums of the elements: weights [N, M, T, F] => [N, M, T, S]."""
        _, heads, num_keys, _ = weights.shape.as_list()
        flat = tf.reshape(weights, [-1, heads * num_keys, self.num_positions])
        sums = _through_layer(tf.matmul(flat, self.x), self.content, heads)
        if self.pos is not None:
            position = matmul_last(flat, self.pos)  # [N, M * T, P]
            sums += _through_layer(position, self.position, heads)
        total = tf.reduce_sum(weights, axis=3, keepdims=True)  # [N, M, T, 1]
        return sums + total * tf.reshape(self.bias, [heads, 1, -1])


def _through(vectors, w):
    """Vectors per head back through a layer: [N, M, T, S] with [O, M * S] => [N, M * T, O]."""
    _, heads, num, size = vectors.shape.as_list()
    out = w.shape.as_list()[0]
    if heads == 1:
        y = tf.matmul(tf.reshape(vectors, [-1, size]), w, transpose_b=True)
        return tf.reshape(y, [-1, num, out])
    return _each_head(vectors, tf.transpose(tf.reshape(w, [out, heads, size]), [1, 2, 0]))


def _each_head(vectors, w):
    """Vectors per head times that head's matrix: [N, M, T, S] x [M, S, O] => [N, M * T, O]."""
    _, heads, num, size = vectors.shape.as_list()
    out = w.shape.as_list()[2]
    if heads == 1:
        y = tf.matmul(tf.reshape(vectors, [-1, size]), tf.reshape(w, [size, out]))
        return tf.reshape(y, [-1, num, out])
    flat = tf.reshape(tf.transpose(vectors, [1, 0, 2, 3]), [heads, -1, size])
    y = tf.reshape(tf.matmul(flat, w), [heads, -1, num, out])
    return tf.reshape(tf.transpose(y, [1, 0, 2, 3]), [-1, heads * num, out])


def _through_layer(sums, w, heads):
    """Sums per head through a layer: [N, M * T, O] with [O, M * S] => [N, M, T, S]."""
    num = sums.shape.as_list()[1] // heads
    out, width = w.shape.as_list()
    if heads == 1:
        y = tf.matmul(tf.reshape(sums, [-1, out]), w)
        return tf.reshape(y, [-1, 1, num, width])
    sums = tf.reshape(sums, [-1, heads, num, out])
    flat = tf.reshape(tf.transpose(sums, [1, 0, 2, 3]), [heads, -1, out])
    w = tf.transpose(tf.reshape(w, [out, heads, width // heads]), [1, 0, 2])
    y = tf.reshape(tf.matmul(flat, w), [heads, -1, num, width // heads])
    return tf.transpose(y, [1, 0, 2, 3])


def project(x, layer, pos=None, pos_layer=None):
    """x W + b, plus pos W' + b' if there is a position, as a Projection.

    Args:
      x: [N, F, C].
      layer: weight [C, D] and bias [D].
      pos: [F, P] or None.
      pos_layer: weight [P, D] and bias [D], or None.
    """
    content, bias = layer
    if pos is None:
        return Projection(x, content, tf.expand_dims(bias, 0))
    position, pos_bias = pos_layer
    return Projection(x, content, tf.expand_dims(bias + pos_bias, 0), pos, position)


def split_heads(x, num_heads):
    """[N, T, D] => [N, M, T, S]."""
    _, num, dim = x.shape.as_list()
    if num_heads == 1:
        return tf.expand_dims(x, 1)
    x = tf.reshape(x, [-1, num, num_heads, dim // num_heads])
    return tf.transpose(x, [0, 2, 1, 3])


def merge_heads(x):
    """[N, M, T, S] => [N, T, D]."""
    _, num_heads, num, size = x.shape.as_list()
    if num_heads > 1:
        x = tf.transpose(x, [0, 2, 1, 3])
    return tf.reshape(x, [-1, num, num_heads * size])


def check_heads(dim, num_heads):
    """Raise OptionError unless an attention of width ``dim`` can have so many heads."""
    if dim % num_heads != 0:
        raise OptionError(
            f"--num-heads={num_heads} does not divide {dim}, the width of an attention (a layer's "
            "channels, or a component's size); use a number that divides all of them, such as "
            f"{np.gcd(dim, 2 ** num_heads.bit_length() // 2)}"
        )


class Sides:
    """Both sides of one attention: who asks, who answers, and the layers that compare them.

    Attributes:
      x, x_pos: [N, F, C] elements that ask and their positions [F, P] or None.
      y: [N, T, J] elements that answer.
      dim, num_heads: D, M.
      query, from_pos: (weight, bias) of the dense layers of x and of x_pos (None without).
      value: (weight, bias) of y.
      keys: [N, T, D].
      dropout: Dropout.
    """

    def __init__(self, x, y, dim, num_heads, x_pos, y_pos, mask, dropout):
        check_heads(dim, num_heads)
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
        self._hidden = None
        if mask is not None:
            bind_shapes(y=(y, "N T J"), mask=(mask, "N T"))
            self._hidden = tf.tile(tf.expand_dims((1.0 - mask) * MASKED, 1), [1, 1, num_heads])

    def projection(self):
        """The queries of x: content plus position, [N, F, M, S] in effect."""
        return project(self.x, self.query, self.x_pos, self.from_pos)

    def keys_by_head(self):
        """[N, M, T, S]."""
        return split_heads(self.keys, self.num_heads)

    def scores(self, tables, y=None, times_hidden=1.0):
        """Scores from the tables of a Projection.

        Args:
          tables: see :meth:`Projection.tables`.
          y: elements that answer, if they have changed.
          times_hidden: how often the mask counts.
        """
        keys, logits = tables
        if self._hidden is not None:
            logits += self._hidden * np.float32(times_hidden)
        return Scores(keys, logits, self.y if y is None else y)

    def keep(self, step):
        """Dropout's factors [N, F, M, T] at a step, or None."""
        num = self.y.shape.as_list()[1]
        shape = [self.x.shape.as_list()[1], self.num_heads, num]
        return self.dropout.at(step).keep(shape)

    def probs(self, scores, step):
        """Probabilities [N, F, M, T] of scores at a step before the last."""
        probs = _by_head(attend_probs(self.x, scores.keys, self.num_heads, scores.logits), self)
        keep = self.keep(step)
        return probs if keep is None else probs * keep


# x keys^T + logits are the scores: keys [N or 1, M * T, C], logits [N or 1, F or 1, M * T].
Scores = namedtuple("Scores", "keys logits y")


def _pos_weights(pos, dim, name):
    return None if pos is None else dense_weights(pos.shape.as_list()[1], dim, name)


def _by_head(x, sides):
    """[N, F, M * T] => [N, F, M, T]."""
    return tf.reshape(x, [-1, x.shape.as_list()[1], sides.num_heads, sides.y.shape.as_list()[1]])


def simplex(sides):
    """Scores q k^T / sqrt(S) (Sec. 3.1.1)."""
    scale = np.float32(1.0 / np.sqrt(sides.dim // sides.num_heads))
    return sides.scores(sides.projection().tables(sides.keys_by_head() * scale))


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
      assign: function of Sides that compares x with y; returns Scores.

    Returns:
      Attention, to be applied.
    """
    if integration not in INTEGRATIONS:
        raise OptionError(f"integration={integration!r} is none of {', '.join(INTEGRATIONS)}")
    sides = Sides(x, y, dim, num_heads, x_pos, y_pos, mask, dropout)
    scores = assign(sides)
    given = answer_gate(sides.y, y_pos, num_heads) if y_gate else None  # [N, T, M]
    taken = question_gate(x, x_pos, num_heads) if x_gate else None  # [N, F, M]
    channels = x.shape.as_list()[2]
    out = dense_weights(dim, channels * (2 if integration == "both" else 1), "out")
    values = split_heads(matmul_last(scores.y, sides.value[0]) + sides.value[1], num_heads)
    return Attention(sides, scores, values, out, (given, taken), integration, norm)


class Attention:
    """One attention, in small tables, ready to be applied to x.

    Args:
      sides: Sides.
      scores: Scores.
      values: [N, M, T, S].
      out: weight [D, O] and bias [O] of the last dense layer, O = C or 2C.
      gates: [N, T, M] or None, what y gives; [N, F, M] or None, what x takes.
      integration: see :func:`attention_layer`.
      norm: see there.

    Attributes:
      y: [N, T, J], the latents, which some kinds of attention update.
    """

    def __init__(self, sides, scores, values, out, gates, integration, norm):
        self.sides, self.scores, self.y = sides, scores, scores.y
        self.integration, self.norm = integration, norm
        self.given, taken = gates
        if self.given is not None:
            self.given = tf.transpose(self.given, [0, 2, 1])  # [N, M, T]
            values *= tf.expand_dims(self.given, 3)
        self.keep = sides.keep("probs")
        if taken is not None:
            taken = tf.tile(tf.expand_dims(taken, 3), [1, 1, 1, sides.y.shape.as_list()[1]])
            self.keep = taken if self.keep is None else self.keep * taken
        w, b = out
        dim, width = w.shape.as_list()
        size = dim // sides.num_heads
        self.values = _each_head(values, tf.reshape(w, [sides.num_heads, size, width]))
        if integration != "add":  # a gain of 1 + what is gathered
            channels = sides.x.shape.as_list()[2]
            b = b + np.float32(np.arange(width) < channels)
        self.bias = b

    def probs(self, scale=None):
        """Probabilities with dropout and gates, [N, F, M, T]; scale as for :meth:`apply`."""
        s = self.scores
        probs = attend_probs(self.sides.x, s.keys, self.sides.num_heads, s.logits, scale)
        probs = _by_head(probs, self.sides)
        probs = probs if self.keep is None else probs * self.keep
        return probs if self.given is None else probs * tf.expand_dims(self.given, 1)

    def apply(self, tail=NO_TAIL):
        """The update of x, a gain and a bias on the normalised x (Sec. 3.1.1).

        Args:
          tail: Tail: what precedes (its scale) and follows the attention in the same pass.

        Returns:
          [N, F, C].
        """
        x, keys, logits = self.sides.x, self.scores.keys, self.scores.logits
        if self.norm == "instance":
            x, keys, logits = self._over_positions(x, keys, logits)
        slots = keys.shape.as_list()[1]
        keep = self.keep
        return attend(
            x,
            keys,
            self.values,
            heads=self.sides.num_heads,
            logits=logits,
            keep=None if keep is None else tf.reshape(keep, [-1, x.shape.as_list()[1], slots]),
            bias=self.bias,
            integration=self.integration,
            normalise=self.norm in ("layer", "batch"),
            scale=tail.scale,
            noise=tail.flat_noise(),
            act_bias=tail.bias,
            alpha=tail.alpha,
            gain=tail.gain,
        )

    def _over_positions(self, x, keys, logits):
        """x normalised over its positions, and tables that give the scores of the x before."""
        if self.integration != "mul":
            mean = tf.reduce_mean(x, axis=1, keepdims=True)  # [N, 1, C]
            x -= mean
            logits += tf.matmul(mean, keys, transpose_b=True)
        if self.integration != "add":
            power = tf.reduce_mean(tf.square(x), axis=1, keepdims=True) + 1e-8
            x *= tf.rsqrt(power)
            keys *= tf.sqrt(power)
        return x, keys, logits


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
