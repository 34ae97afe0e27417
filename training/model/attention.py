"""Attention of X to Y as the paper writes it, and what both of its forms compute.

Paper: Generative Adversarial Transformers (GANsformer, Hudson & Zitnick 2021, arXiv:2103.01209).

    Attention(Q, K, V) = softmax(Q K^T / sqrt(S)) V                                      Sec. 3.1
    a(X, Y) = Attention(q(X), k(Y), v(Y))                                                Sec. 3.1
    u(X, Y) = gamma(a(X, Y)) * omega(X) + beta(a(X, Y))               simplex attention, Sec. 3.1.1
    the same with keys K = a(Y, X), and Y := LayerNorm(Y + a(Y, X))    duplex attention, Sec. 3.1.2

:func:`literal` computes that as it stands: the reference, to read, to test against and to alter.
folded.py computes the same function at linear cost, and is what networks use unless they are built
with ``attention_form="literal"``. What an attention is and has: attention_weights.py.

Keys of duplex attention are centroids of the queries, as in k-means. They begin, by ``kind``, as

* ``duplex``: K = a(Y, X), what the latents find in the image, which updates them;
* ``kmeans``: learned constants. With one iteration, as in the published default, the image alone
  decides where a latent attends; latents act through their values;
* ``iterative``: means of the queries by the assignments of the attention layer before.

Differs from the paper: a(Y, X) is a mean of queries of the image, so that queries are compared with
their likes; content and position of a query are compared apart, and learned weights
(``st_weights``) balance them. Differs from the published code: see quirks.py. Its ``iterative``
needs T queries in its first layer; here T evenly spaced ones begin, or, where there are fewer,
learned constants.

Axes: N batch, F queries, T keys and values, C channels of X, I features of anything else, D width
of queries, keys and values, M heads, S = D / M.
"""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib.light import plus, reshape
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from training.model.dropout import NO_DROPOUT
from training.model.layers import NO_TAIL, dense, matmul_last

MASKED = -10000.0  # added to the scores of hidden latents
Attended = namedtuple("Attended", "x y probs")  # what :func:`literal` returns


def dot_product(q, k):
    """Q K^T / sqrt(S): [N, M, F, S], [N, M, T, S] => [N, M, F, T]."""
    return tf.matmul(q * np.float32(1.0 / np.sqrt(k.shape.as_list()[3])), k, transpose_b=True)


def literal(x, y, w, mask=None, dropout=NO_DROPOUT, carried=None, tail=NO_TAIL, score=dot_product):
    """X attends to Y, and what it gathers updates it.

    Args:
      x: [N, F, C], for instance F = H * W positions of an image.
      y: [N, T, I], for instance T = K latents.
      w: Weights.
      mask: [N, T], 0 hides an element of Y; None: none is hidden.
      dropout: Dropout.
      carried: for "iterative", assignments of the attention before, [N, M, T, F'], or None.
      tail: Tail: what scales x before, and what follows.
      score: function of queries and keys, [N, M, F, S] and [N, M, T, S] => [N, M, F, T].

    Returns:
      Attended: new x [N, F, C]; new y [N, T, I], which only duplex attention updates; a function
      that makes the probabilities, with dropout and gates, [N, F, M, T].
    """
    x = x if tail.scale is None else x * tf.expand_dims(tail.scale, 1)
    heads, old_y = w.spec.num_heads, y
    q = split_heads(linear(x, w.query, w.x_pos, w.from_pos), heads)  # [N, M, F, S]
    k = split_heads(linear(y, w.key, w.y_pos, w.to_pos), heads)  # [N, M, T, S]
    if w.spec.kind != "simplex":
        e = content_and_position(x, w)  # [N, M, F, 2S]
        if w.spec.kind == "duplex":
            k, y = duplex(q, k, e, y, w, score)
        else:
            k = first_centroids(q, e, w, carried)
        q, k = e, kmeans(e, k, w, mask, dropout, score)
    v = split_heads(linear(y, w.value), heads)  # [N, M, T, S]
    probs = probabilities(q, k, w, mask, dropout.at("probs"), score)  # [N, M, F, T]
    probs = gated(probs, *gates(x, old_y, w))
    a = linear(merge_heads(tf.matmul(probs, v)), w.out)  # a(X, Y): [N, F, C], or 2C for "both"
    x = tail._replace(scale=None).apply(integrate(x, a, w.spec.integration, w.spec.norm))
    return Attended(x, y, lambda: tf.transpose(probs, [0, 2, 1, 3]))


def probabilities(q, k, w, mask, dropout, score):
    """softmax(Q K^T / sqrt(S)) with hidden keys and dropout: [N, M, F, T]."""
    scores = score(q, k) * w.spec.score_factor
    if mask is not None:
        scores += (MASKED * (1.0 - mask))[:, tf.newaxis, tf.newaxis]
    probs = tf.nn.softmax(scores)
    _, heads, num_queries, num_keys = probs.shape.as_list()
    keep = dropout.keep([num_queries, heads, num_keys])
    return probs if keep is None else probs * tf.transpose(keep, [0, 2, 1, 3])


def integrate(x, a, integration, norm):
    """gamma(a) * omega(X) + beta(a): [N, F, C]; "add" has beta only, "mul" has gamma only.

    Omega normalises over queries ("instance") or channels ("layer", and "batch", which has always
    meant the same here), or not at all (None).
    """
    axis, channels = 1 if norm == "instance" else 2, x.shape.as_list()[2]
    if norm is not None and integration != "mul":
        x -= tf.reduce_mean(x, axis=axis, keepdims=True)
    if norm is not None and integration != "add":
        x *= tf.rsqrt(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True) + 1e-8)
    if integration == "add":
        return x + a
    x *= 1.0 + a[:, :, :channels]
    return x + a[:, :, channels:] if integration == "both" else x


def kmeans(e, centroids, w, mask, dropout, score):
    """Keys by k-means: centroids move to the means of what is assigned to them: [N, M, T, 2S]."""
    k = centroids * w.balance[0]
    for i, balance in enumerate(w.balance[1:]):
        probs = probabilities(e, k, w, mask, dropout.at(f"iter_{i}"), score)
        k = tf.matmul(assignments(tf.transpose(probs, [0, 2, 1, 3])), e) * balance
    return k


def duplex(q, k, e, y, w, score):
    """The latents attend to the image: centroids a(Y, X) and Y := LayerNorm(Y + a(Y, X))."""
    centroids = tf.matmul(tf.nn.softmax(score(k, q)), e)
    return centroids, layer_norm(y + linear(merge_heads(centroids), w.update))


def first_centroids(q, e, w, carried):
    """Centroids with which "kmeans" and "iterative" begin: [N, M, T, 2S].

    Constants are repeated N times: with AVX-512, oneDNN in TensorFlow 2.21 corrupts memory in a
    product of [N, 1, F, 2S] with [1, 1, T, 2S].
    """
    if carried is not None:
        return tf.matmul(enlarge_assignments(carried, e.shape.as_list()[2], w), e)
    if w.key2 is None:
        return tf.tile(w.start, [tf.shape(q)[0], 1, 1, 1])
    some = tf.gather(q, evenly_spaced(w.num_keys, q.shape.as_list()[2]), axis=2)
    return split_heads(linear(merge_heads(some), w.key2), w.spec.num_heads)


def content_and_position(x, w):
    """The two parts of each query: [N, M, F, 2S]."""
    content = linear(x, w.query)
    position = tf.zeros_like(content)
    position = position if w.x_pos is None else position + linear(w.x_pos, w.from_pos)
    if w.spec.quirks.heads_of_joined:
        return split_heads(tf.concat([content, position], axis=2), w.spec.num_heads)
    return tf.concat([split_heads(part, w.spec.num_heads) for part in (content, position)], axis=3)


# What both forms use.


def gates(x, y, w):
    """How much each key gives, [N, T, M], and each query takes, [N, F, M]; None without a gate."""
    given = taken = None
    if w.y_gate is not None:
        given = tf.sigmoid(linear(y, w.y_gate[0], w.y_pos, w.y_gate[1]))
    if w.x_gate is not None:  # nearly open at first
        taken = tf.sigmoid(linear(x, w.x_gate[0], w.x_pos, w.x_gate[1]) + 1.0)
    return given, taken


def gated(probs, given, taken):
    """Probabilities [N, M, F, T] with the gates of keys, [N, T, M], and of queries, [N, F, M]."""
    if given is not None:
        probs *= tf.transpose(given, [0, 2, 1])[:, :, tf.newaxis, :]
    if taken is not None:
        probs *= tf.transpose(taken, [0, 2, 1])[..., tf.newaxis]
    return probs


def assignments(probs):
    """Probabilities [N, F, M, T] => shares of the queries in each centroid, [N, M, T, F]."""
    shares = tf.transpose(probs, [0, 2, 3, 1])
    return shares / (tf.reduce_sum(shares, axis=3, keepdims=True) + 1e-8)


def enlarge_assignments(shares, num_queries, w):
    """Assignments for twice the resolution by nearest neighbour: [N, M, T, F'] => [N, M, T, F]."""
    _, heads, num_keys, old = shares.shape.as_list()
    if old == num_queries:
        return shares
    x = upsample_2d(reshape(shares, [-1, *w.spec.sides(old), 1]))
    x = reshape(x, [-1, heads, num_keys, num_queries])
    return x if w.spec.quirks.repeated_assignments else x * np.float32(old / num_queries)


def evenly_spaced(num, length):
    """Indices of ``num`` elements out of ``length``."""
    return np.round(np.linspace(0, length - 1, num)).astype(np.int32)


def layer_norm(x):
    """Mean 0 and variance 1 over the last axis, without parameters."""
    x -= tf.reduce_mean(x, axis=-1, keepdims=True)
    return x * tf.rsqrt(plus(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True), 1e-8))


def linear(x, layer, pos=None, pos_layer=None, fused=True):
    """x W + b along the last axis, plus that of the positions of x, with their own layer.

    With ``fused``, one operation adds a bias: the same but for the rounding of its gradient.
    """

    def apply(x, layer):
        return dense(x, layer) if fused else matmul_last(x, layer[0]) + layer[1]

    y = apply(x, layer)
    return y if pos is None else y + apply(pos, pos_layer)


def split_heads(x, num_heads):
    """[N, T, D] => [N, M, T, S]."""
    _, num, dim = x.shape.as_list()
    x = reshape(x, [-1, num, num_heads, dim // num_heads])
    return tf.transpose(x, [0, 2, 1, 3])


def merge_heads(x):
    """[N, M, T, S] => [N, T, D]."""
    _, num_heads, num, size = x.shape.as_list()
    return reshape(tf.transpose(x, [0, 2, 1, 3]), [-1, num, num_heads * size])
