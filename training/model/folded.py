"""The attention of attention.py at linear cost: the same function, with projections in tables.

An image's P positions are never projected. With T latents, and X the image,

    q(X) K^T  =  (X Wq + E We + b) K^T  =  X (K Wq^T)^T  +  E (K We^T)^T  +  b K^T
    (P V) Wo + bo                       =  P (V Wo)  +  bo
    P v(X)    =  P (X Wv + b)           =  (P X) Wv  +  (sum of P) b

with E the positions' encoding. K Wq^T, V Wo and P X are tables of T rows, so that a position costs
4 C T operations instead of 4 C^2, exactly, and nothing of the image's size but X itself is kept for
the gradient. A head has columns of Wq, We and Wv, and rows of Wo, of its own.

Axes as in attention.py; P positions, the long side, queries or keys.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib.light import pad_last, reshape, times
from dnnlib.tflib.ops.attend import attend, attend_probs
from dnnlib.tflib.ops.fused_bias_act import scale_features
from dnnlib.tflib.precision import widened
from training.model.attention import (
    MASKED,
    Attended,
    assignments,
    enlarge_assignments,
    evenly_spaced,
    gated,
    gates,
    layer_norm,
    linear,
    merge_heads,
    split_heads,
)
from training.model.dropout import NO_DROPOUT
from training.model.layers import NO_TAIL, matmul_last


def fold_queries(x, y, w, mask=None, dropout=NO_DROPOUT, carried=None, tail=NO_TAIL):
    """:func:`training.model.attention.literal` for an X that is long: an image of P positions."""
    if tail.scale is not None and _reads_more_than_once(w.spec):
        x, tail = scale_features(x, tail.scale), tail._replace(scale=None)
    wide = widened(x)
    keys, logits, new_y = _score_tables(wide, y, w, mask, dropout, carried)
    given, taken = gates(wide, y, w)
    v = split_heads(linear(new_y, w.value, fused=False), w.spec.num_heads)
    if given is not None:
        given = tf.transpose(given, [0, 2, 1])  # [N, M, T]
        v *= tf.expand_dims(given, 3)
    keep = dropout.at("probs").keep([x.shape.as_list()[1], w.spec.num_heads, w.num_keys])
    if taken is not None:
        taken = tf.tile(tf.expand_dims(taken, 3), [1, 1, 1, w.num_keys])
        keep = taken if keep is None else keep * taken

    def probs():
        found = _probs(wide, keys, logits, w, tail.scale)
        found = found if keep is None else found * keep
        return found if given is None else found * tf.expand_dims(given, 1)

    return Attended(_update(x, keys, logits, v, keep, w, tail), new_y, probs)


def fold_keys(x, y, w, dropout=NO_DROPOUT):
    """:func:`training.model.attention.literal`, plain and additive, for a Y that is long.

    Args:
      x: [N, F, C], for instance latents.
      y: [N, P, I], an image.
      w: Weights.
      dropout: Dropout.

    Returns:
      New x, [N, F, C].
    """
    q = linear(x, w.query, w.x_pos, w.from_pos) * np.float32(1.0 / np.sqrt(w.spec.size))
    keys = project(y, w.key, w.y_pos, w.to_pos)
    probs = tf.nn.softmax(keys.dots(split_heads(q, w.spec.num_heads)))  # [N, M, F, P]
    keep = dropout.keep(probs.shape.as_list()[1:], axis=1)
    probs = gated(probs if keep is None else probs * keep, *gates(x, y, w))
    return x + linear(merge_heads(project(y, w.value).gather(probs)), w.out)


class Projection:
    """Positions seen through dense layers but never projected: x W + E W' + b.

    Args:
      x: [N, P, C].
      content: W, [C, M * S]; head m has the m-th S columns.
      bias: b, [1, M * S].
      pos: E, [P, I], the same for all samples; None: no positional part.
      position: W', [I, M * S], or None.
    """

    def __init__(self, x, content, bias, pos=None, position=None):
        self.x, self.content, self.bias = x, content, bias
        self.pos, self.position = pos, position
        self.num_positions = x.shape.as_list()[1]

    def tables(self, keys):
        """Dot products with few vectors as x keys'^T + logits: one that reads x, and a rest.

        Args:
          keys: [N, M, T, S], or [1, M, T, S] if they are the same for all samples.

        Returns:
          Tuple of [N or 1, M * T, C] and [N or 1, P or 1, M * T].
        """
        content, position, pos = self._factors(keys)
        if position.shape.as_list()[0] == 1:  # a plain product needs no threads to wait for
            return content, tf.expand_dims(tf.matmul(pos[0], position[0], transpose_b=True), 0)
        return content, tf.matmul(pos, position, transpose_b=True)

    def dots(self, keys):
        """Dot products with few vectors: keys [N, M, T, S] => [N, M, T, P]."""
        content, position, pos = self._factors(keys)
        dots = tf.matmul(content, self.x, transpose_b=True)
        dots += tf.matmul(position, pos, transpose_b=True)
        return reshape(dots, [-1, *keys.shape.as_list()[1:3], self.num_positions])

    def _factors(self, keys):
        """Keys back through the layers: [N, M * T, C]; and two factors of what does not depend on
        x, [N, M * T, I + 1] and [1, P or 1, I + 1].
        """
        pos = tf.ones([1 if self.pos is None else self.num_positions, 1], self.x.dtype)
        if self.pos is None:
            content, position = matmul_heads(keys, self.content, self.bias, transpose_w=True)
            return content, position, tf.expand_dims(pos, 0)
        layers = self.content, self.position, self.bias
        content, *position = matmul_heads(keys, *layers, transpose_w=True)
        return content, tf.concat(position, 2), tf.expand_dims(tf.concat([self.pos, pos], 1), 0)

    def gather(self, weights):
        """Weighted sums of the positions: weights [N, M, T, P] => [N, M, T, S]."""
        _, heads, num, _ = weights.shape.as_list()
        flat = reshape(weights, [-1, heads * num, self.num_positions])
        (sums,) = matmul_heads(tf.matmul(flat, self.x), self.content, num_heads=heads)
        if self.pos is not None:
            sums += matmul_heads(matmul_last(flat, self.pos), self.position, num_heads=heads)[0]
        sums = reshape(sums, [-1, heads, num, sums.shape.as_list()[2]])
        total = tf.reduce_sum(weights, axis=3, keepdims=True)  # [N, M, T, 1]
        return sums + total * reshape(self.bias, [heads, 1, -1])


def project(x, layer, pos=None, pos_layer=None):
    """:func:`training.model.attention.linear` of x and its encoding, as a Projection."""
    if pos is None:
        return Projection(x, layer[0], tf.expand_dims(layer[1], 0))
    return Projection(x, layer[0], tf.expand_dims(layer[1] + pos_layer[1], 0), pos, pos_layer[0])


def matmul_heads(x, *weights, num_heads=None, axis=1, transpose_w=False):
    """Products with weights of which each head has its part: list of [N, M * T, O].

    Args:
      x: [N, M, T, I], or [N, M * T, I] with ``num_heads``.
      *weights: [I, M * O] each; with ``transpose_w`` [O, M * I]; with ``axis`` 0 [M * I, O].
      num_heads: M.
      axis: of the weights, along which the heads have their parts.
      transpose_w: transpose each part.
    """
    size, heads = x.shape.as_list()[-1], num_heads or x.shape.as_list()[1]
    num = x.shape.as_list()[-2] // (heads if num_heads else 1)
    if heads == 1:  # plain products: a third of the operations
        x = reshape(x, [-1, size])
        products = [tf.matmul(x, w, transpose_b=transpose_w) for w in weights]
        return [reshape(y, [-1, num, y.shape.as_list()[1]]) for y in products]
    x = tf.transpose(reshape(x, [-1, heads, num, size]), [1, 0, 2, 3])
    x = reshape(x, [heads, -1, size])
    found = []
    for w in weights:
        parts = tf.stack(tf.split(w, heads, axis))
        parts = tf.transpose(parts, [0, 2, 1]) if transpose_w else parts  # [M, I, O]
        y, out = tf.matmul(x, parts), parts.shape.as_list()[2]
        y = tf.transpose(reshape(y, [heads, -1, num, out]), [1, 0, 2, 3])
        found.append(reshape(y, [-1, heads * num, out]))
    return found


def _reads_more_than_once(spec):
    """Whether x is read by more than the one pass of scores and update."""
    is_plain = spec.kind == "simplex" or (spec.kind == "kmeans" and spec.iterations == 1)
    return not is_plain or spec.x_gate or spec.norm == "instance"


def _score_tables(x, y, w, mask, dropout, carried):
    """Keys [N or 1, M * T, C] and logits [N or 1, P or 1, M * T] of the last scores; new y."""
    spec, hidden = w.spec, None
    if mask is not None:  # [N, 1, M * T]
        hidden = tf.tile(tf.expand_dims(MASKED * (1.0 - mask), 1), [1, 1, spec.num_heads])
    queries = project(x, w.query, w.x_pos, w.from_pos)
    if spec.kind in ("simplex", "duplex"):
        k = linear(y, w.key, w.y_pos, w.to_pos, fused=False)
        k = split_heads(k, spec.num_heads)
    if spec.kind == "simplex":
        keys, logits = queries.tables(times(k, spec.score_factor / np.sqrt(spec.size)))
        return keys, logits if hidden is None else logits + hidden, y
    e = _content_and_position(x, w)
    if spec.kind == "duplex":  # the latents attend to the image
        centroids = e.gather(tf.nn.softmax(queries.dots(times(k, 1 / np.sqrt(spec.size)))))
        y = layer_norm(y + linear(merge_heads(centroids), w.update))
    else:
        centroids = _first_centroids(x, e, w, carried)
    scale = np.float32(spec.score_factor / np.sqrt(2 * spec.size))
    for i, balance in enumerate(w.balance):
        if i > 0:
            probs = _probs(x, keys, logits, w)
            keep = dropout.at(f"iter_{i - 1}").keep(probs.shape.as_list()[1:])
            centroids = e.gather(assignments(probs if keep is None else probs * keep))
        keys, logits = e.tables(centroids * (balance * scale))
        logits = logits if hidden is None else logits + hidden
    return keys, logits, y


def _first_centroids(x, e, w, carried):
    """Centroids with which "kmeans" and "iterative" begin: [N or 1, M, T, 2S]."""
    if carried is not None:
        return e.gather(enlarge_assignments(carried, e.num_positions, w))
    if w.key2 is None:
        return w.start
    pos = w.x_pos
    if w.num_keys != e.num_positions:
        indices = evenly_spaced(w.num_keys, e.num_positions)
        x, pos = tf.gather(x, indices, axis=1), None if pos is None else tf.gather(pos, indices)
    queries = linear(x, w.query, pos, w.from_pos, fused=False)
    return split_heads(linear(queries, w.key2), w.spec.num_heads)


def _content_and_position(x, w):
    """The two parts of the queries, a Projection to [N, P, M, 2S]."""
    heads = 1 if w.spec.quirks.heads_of_joined else w.spec.num_heads
    weight, bias = w.query[0], tf.expand_dims(w.query[1], 0)
    content = _join(weight, None, heads)
    if w.x_pos is None:
        return Projection(x, content, _join(bias, None, heads))
    weight, pos_bias = w.from_pos[0], tf.expand_dims(w.from_pos[1], 0)
    position = _join(None, weight, heads)
    return Projection(x, content, _join(bias, pos_bias, heads), w.x_pos, position)


def _join(a, b, heads):
    """[I, D], [I, D] => [I, 2D], of which each head has its part of a, then its part of b.

    None stands for zeros.
    """
    if heads == 1 and (a is None or b is None):
        x = b if a is None else a
        dim = x.shape.as_list()[1]
        return pad_last(x, 0, dim) if b is None else pad_last(x, dim, 0)
    a, b = (tf.zeros_like(b) if a is None else a), (tf.zeros_like(a) if b is None else b)
    if heads == 1:
        return tf.concat([a, b], 1)
    rows, dim = a.shape.as_list()
    parts = [reshape(part, [rows, heads, dim // heads]) for part in (a, b)]
    return reshape(tf.concat(parts, axis=2), [rows, 2 * dim])


def _probs(x, keys, logits, w, scale=None):
    """Probabilities without gates and dropout, [N, P, M, T]."""
    probs = attend_probs(x, keys, w.spec.num_heads, logits, scale)
    return reshape(probs, [-1, x.shape.as_list()[1], w.spec.num_heads, w.num_keys])


def _update(x, keys, logits, v, keep, w, tail):
    """The update of x and the tail in one pass: [N, P, C]."""
    integration, norm, (weight, bias) = w.spec.integration, w.spec.norm, w.out
    _, positions, channels = x.shape.as_list()
    (values,) = matmul_heads(v, weight, axis=0)
    if integration != "add":  # a gain of 1 + what is gathered
        bias = bias + np.float32(np.arange(bias.shape.as_list()[0]) < channels)
    dtype = x.dtype
    if norm == "instance":
        x = widened(x)
        # x normalised over its positions, and tables that give the scores of x as it was.
        if integration != "mul":
            mean = tf.reduce_mean(x, axis=1, keepdims=True)  # [N, 1, C]
            x -= mean
            logits += tf.matmul(mean, keys, transpose_b=True)
        if integration != "add":
            power = tf.reduce_mean(tf.square(x), axis=1, keepdims=True) + 1e-8
            x *= tf.rsqrt(power)
            keys *= tf.sqrt(power)
    x = attend(
        x,
        keys,
        values,
        heads=w.spec.num_heads,
        logits=logits,
        keep=None if keep is None else reshape(keep, [-1, positions, keys.shape.as_list()[1]]),
        bias=bias,
        integration=integration,
        normalise=norm in ("layer", "batch"),
        scale=tail.scale,
        noise=tail.noise,
        act_bias=tail.bias,
        alpha=tail.alpha,
        gain=tail.gain,
    )
    return tf.cast(x, dtype)
