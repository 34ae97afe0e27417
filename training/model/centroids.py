"""Attention by centroids: k-means over the image's positions, and the paper's duplex attention.

Every position is an element e = [content, position] of width 2S per head, the two halves of its
query. A latent is represented among them by a centroid; a position attends to the latents whose
centroids it resembles, and takes from them what they hold (the values).

Three ways to begin:

* ``kmeans``: learned constants. With one iteration, as in the published default, where a latent
  attends depends on the image alone; latents act through their values.
* ``iterative``: the weighted means of the elements under the assignments of the attention layer
  before.
* ``duplex``: K = a(Y, X), what the latents themselves find in the image (Sec. 3.1.2). The latents
  take part of it in, Y := LayerNorm(Y + a(Y, X)), and go on so from layer to layer: information
  flows both ways.

Paper: Generative Adversarial Transformers, Hudson & Zitnick 2021 (arXiv:2103.01209), Sec. 3.1.2.
Differs from the paper: a(Y, X) averages the image's elements e, so that keys are their centroids;
learned weights (``st_weights``) balance content and position in each comparison.

Differs from the published code: see quirks.py. Its ``iterative`` needs T positions in its first
layer; here T evenly spaced ones begin, or, where there are fewer, learned constants.
"""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from training.model.attention import Projection, merge_heads, simplex, split_heads
from training.model.layers import dense_layer, matmul_last

KINDS = ("kmeans", "iterative", "duplex")


class Centroids(namedtuple("Centroids", "kind iterations carried quirks")):
    """How one attention layer finds its probabilities; an ``assign`` of attention_layer.

    Args:
      kind: one of KINDS.
      iterations: k-means steps.
      carried: assignments of the attention layer before, [N, M, T, F'], for "iterative"; or None.
      quirks: Quirks.
    """

    def __call__(self, sides):
        """Scores."""
        elements = self._elements(sides)
        centroids, y = self._start(sides, elements)
        size = sides.dim // sides.num_heads * (1 if self.quirks.scaled_by_half else 2)
        scores = None
        for i in range(self.iterations):
            if i > 0:
                probs = sides.probs(scores, f"iter_{i - 1}")
                centroids = elements.gather(assignments(probs))
            shape = [sides.num_heads, 1, centroids.shape.as_list()[3]]
            with tf.variable_scope(f"iter_{i}"):
                weights = tf.get_variable("st_weights", shape, initializer=tf.initializers.ones())
            keys = centroids * (weights * np.float32(1.0 / np.sqrt(size)))
            scores = sides.scores(elements.tables(keys), y)
        return scores

    def _elements(self, sides):
        """[content, position] of every position: a Projection to [N, F, M, 2S]."""
        heads, size = sides.num_heads, sides.dim // sides.num_heads
        content, bias = sides.query
        nothing = tf.zeros_like(content)
        content = tf.concat([content, nothing], axis=1)
        if sides.from_pos is None:
            position, bias = None, tf.concat([bias, tf.zeros_like(bias)], axis=0)
        else:
            position, pos_bias = sides.from_pos
            position = tf.concat([tf.zeros_like(position), position], axis=1)
            bias = tf.concat([bias, pos_bias], axis=0)

        def by_head(w):
            """[..., 2D] with the columns of one head after those of another."""
            if self.quirks.heads_of_joined or heads == 1:
                return w
            rows = w.shape.as_list()[0]
            w = tf.transpose(tf.reshape(w, [rows, 2, heads, size]), [0, 2, 1, 3])
            return tf.reshape(w, [rows, 2 * heads * size])

        position = None if position is None else by_head(position)
        bias = by_head(tf.expand_dims(bias, 0))
        return Projection(sides.x, by_head(content), bias, sides.x_pos, position)

    def _start(self, sides, elements):
        """First centroids, [N or 1, M, T, 2S], and y."""
        heads, width = sides.num_heads, 2 * sides.dim // sides.num_heads
        num_positions, num_keys = sides.x.shape.as_list()[1], sides.y.shape.as_list()[1]
        if self.kind == "duplex":
            return _attend_back(sides, elements)
        if self.kind == "iterative" and self.carried is not None:
            repeats = self.quirks.repeated_assignments
            carried = upsample_assignments(self.carried, num_positions, repeats)
            return elements.gather(carried), sides.y
        if self.kind == "iterative" and num_positions >= num_keys:
            centroids = dense_layer(_some_queries(sides, num_keys), heads * width, name="key2")
            return split_heads(centroids, heads), sides.y
        init = tf.initializers.random_normal()
        shape = [1, heads, num_keys, width]
        return tf.convert_to_tensor(
            tf.get_variable("toasgn_init", shape, initializer=init)
        ), sides.y


def _some_queries(sides, num):
    """Queries of evenly spaced positions: [N, num, D]."""
    num_positions = sides.x.shape.as_list()[1]
    x, pos = sides.x, sides.x_pos
    if num != num_positions:
        indices = np.round(np.linspace(0, num_positions - 1, num)).astype(np.int32)
        x = tf.gather(x, indices, axis=1)
        pos = None if pos is None else tf.gather(pos, indices)
    query = matmul_last(x, sides.query[0]) + sides.query[1]
    if pos is not None:
        query += tf.matmul(pos, sides.from_pos[0]) + sides.from_pos[1]
    return query


def assignments(probs):
    """Probabilities [N, F, M, T] => shares of the positions in each centroid, [N, M, T, F]."""
    shares = tf.transpose(probs, [0, 2, 3, 1])
    return shares / (tf.reduce_sum(shares, axis=3, keepdims=True) + 1e-8)


def upsample_assignments(shares, num_positions, repeats=False):
    """Assignments for twice the resolution by nearest neighbour: [N, M, T, F'] => [N, M, T, F]."""
    _, heads, num_keys, old = shares.shape.as_list()
    if old == num_positions:
        return shares
    size = round(np.sqrt(old))
    x = upsample_2d(tf.reshape(shares, [-1, size, size, 1]))
    x = tf.reshape(x, [-1, heads, num_keys, num_positions])
    return x if repeats else x * np.float32(old / num_positions)


def _attend_back(sides, elements):
    """The latents attend to the image: centroids a(Y, X) and Y := LayerNorm(Y + a(Y, X)).

    The scores are those of simplex attention; the softmax is over positions.

    Returns:
      Tuple of centroids [N, M, T, 2S] and y [N, T, J].
    """
    scale = np.float32(1.0 / np.sqrt(sides.dim // sides.num_heads))
    scores = sides.projection().dots(sides.keys_by_head() * scale)
    centroids = elements.gather(tf.nn.softmax(scores))
    y = sides.y + dense_layer(merge_heads(centroids), sides.y.shape.as_list()[2], name="update")
    return centroids, layer_norm(y)


def layer_norm(x):
    """Mean 0 and variance 1 over the last axis, without parameters."""
    x -= tf.reduce_mean(x, axis=-1, keepdims=True)
    return x * tf.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-8)


def published_simplex(sides, iterations):
    """Simplex attention of the published code with kmeans_iters: every iteration rescales again."""
    scale = 1.0 / np.sqrt(sides.dim // sides.num_heads)
    keys = sides.keys_by_head() * np.float32(scale**iterations)
    times_hidden = sum(scale**i for i in range(iterations))
    return sides.scores(sides.projection().tables(keys), times_hidden=times_hidden)


def attention_kind(kmeans, iterative, duplex, iterations, carried, quirks):
    """The ``assign`` of attention_layer that the options of a generator ask for.

    Raises:
      OptionError: options that contradict each other.
    """
    if duplex and iterative:
        raise OptionError("--duplex and --iterative are two ways to find centroids; choose one")
    if duplex or kmeans:
        kind = "duplex" if duplex else ("iterative" if iterative else "kmeans")
        return Centroids(kind, iterations, carried, quirks)
    if quirks.rescaled_simplex:
        return lambda sides: published_simplex(sides, iterations)
    if iterative or iterations != 1:
        raise OptionError("--kmeans-iters and --iterative need --kmeans (or --duplex)")
    return simplex
