"""What an attention is and has: its options, and the variables of all of its layers.

Axes: N batch, F queries, T keys and values, C channels of X, I features of anything else, D width
of queries, keys and values, M heads, S = D / M; see attention.py.
"""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError, must_be_one_of
from training.model.layers import SQUARE, dense_weights, scaled
from training.model.quirks import NO_QUIRKS, Quirks

INTEGRATIONS = ("add", "mul", "both")


@dataclass(frozen=True)
class AttentionSpec:
    """What one attention is.

    Raises:
      OptionError: no attention can be that.
    """

    dim: int  # D, width of queries, keys and values
    num_heads: int = 1  # M; divides D
    x_gate: bool = False  # scale what each query takes by a learned sigmoid
    y_gate: bool = False  # scale what each key gives by a learned sigmoid
    integration: str = "add"  # what is gathered becomes a bias ("add"), a gain ("mul") or "both"
    norm: str = None  # normalisation before, see integrate()
    kind: str = "simplex"  # what becomes of the keys: "simplex", or see the top of this file
    iterations: int = 1  # of k-means
    form: str = "folded"  # key of image_attention.FORMS
    quirks: Quirks = NO_QUIRKS
    start: tuple = SQUARE  # height : width of the images, see layers.grid_size

    def __post_init__(self):
        if self.integration not in INTEGRATIONS:
            raise OptionError(f"integration {must_be_one_of(self.integration, INTEGRATIONS)}")
        if self.dim % self.num_heads != 0:
            raise OptionError(
                f"--num-heads={self.num_heads} does not divide {self.dim}, the width of an "
                "attention (a layer's channels, or a component's size); use a number that divides "
                f"all of them, such as {np.gcd(self.dim, 2 ** self.num_heads.bit_length() // 2)}"
            )

    @property
    def size(self):
        """S, size of a head."""
        return self.dim // self.num_heads

    def sides(self, positions):
        """Height and width of an image of that many positions."""
        height = round(np.sqrt(positions * self.start[0] / self.start[1]))
        return height, positions // height

    @property
    def score_factor(self):
        """What scores are multiplied by: 1, but for quirks."""
        if self.kind == "simplex":
            return self.size ** (0.5 * (1 - self.iterations))
        return np.sqrt(2.0) if self.quirks.scaled_by_half else 1.0


class Weights(
    namedtuple(
        "Weights",
        "spec x_pos y_pos num_keys query key value from_pos to_pos update key2 start balance "
        "y_gate x_gate out",
    )
):
    """What an attention has beside X and Y. A layer is (weight [I, O], bias [O]); None: not there.

    Attributes:
      spec: AttentionSpec.
      x_pos, y_pos: [F, I] and [T, I], positional encodings of X and Y.
      num_keys: T.
      query, key, value: layers of width D; ``from_pos`` and ``to_pos``, those of x_pos and y_pos.
      update: layer from centroids to what updates Y.
      key2: layer from queries to centroids.
      start: [1, M, T, 2S], learned centroids.
      balance: list with [M, 1, 2S] for each iteration of k-means.
      y_gate, x_gate: two layers each, of Y or X and of its positions.
      out: layer from what is gathered to the update of X.
    """


def attention_weights(x, y, spec, x_pos=None, y_pos=None, is_carried=False):
    """Create (or reuse) the variables of an attention, in the order of the published snapshots.

    Args:
      x: [N, F, C], or an image [N, H, W, C]; of x and y, only the shapes count.
      y: [N, T, I], or likewise.
      spec: AttentionSpec.
      x_pos: [F, I], positional encoding of X, or None.
      y_pos: [T, I], positional encoding of Y, or None.
      is_carried: "iterative" gets assignments from the attention before.

    Returns:
      Weights.
    """
    (*_, channels), (*_, width) = x.shape.as_list(), y.shape.as_list()
    num_queries, num_keys = (int(np.prod(t.shape.as_list()[1:-1])) for t in (x, y))
    dim, heads = spec.dim, spec.num_heads
    query, key = dense_weights(channels, dim, "query"), dense_weights(width, dim, "key")
    value = dense_weights(width, dim, "value")
    from_pos, to_pos = _pos_weights(x_pos, dim, "from_pos"), _pos_weights(y_pos, dim, "to_pos")
    update = key2 = start = None
    if spec.kind == "duplex":
        update = dense_weights(2 * dim, width, "update")
    elif spec.kind == "iterative" and not is_carried and num_queries >= num_keys:
        key2 = dense_weights(dim, 2 * dim, "key2")
    elif spec.kind != "simplex" and not is_carried:
        shape, init = [1, heads, num_keys, 2 * dim // heads], tf.initializers.random_normal()
        start = scaled(tf.get_variable("toasgn_init", shape, initializer=init), 1.0)
    balance = []
    for i in range(0 if spec.kind == "simplex" else spec.iterations):
        shape, init = [heads, 1, 2 * dim // heads], tf.initializers.ones()
        with tf.variable_scope(f"iter_{i}"):
            balance.append(tf.get_variable("st_weights", shape, initializer=init))
    y_gate = x_gate = None
    if spec.y_gate:
        y_gate = dense_weights(width, heads, "e_cont"), _pos_weights(y_pos, heads, "e_pos")
    if spec.x_gate:
        x_gate = dense_weights(channels, heads, "n_cont"), _pos_weights(x_pos, heads, "n_pos")
    out = dense_weights(dim, channels * (2 if spec.integration == "both" else 1), "out")
    return Weights(
        spec,
        x_pos,
        y_pos,
        num_keys,
        query,
        key,
        value,
        from_pos,
        to_pos,
        update,
        key2,
        start,
        balance,
        y_gate,
        x_gate,
        out,
    )


def _pos_weights(pos, dim, name):
    return None if pos is None else dense_weights(pos.shape.as_list()[1], dim, name)


def kind_of(options):
    """The ``kind`` of attention that the options of a generator ask for.

    Raises:
      OptionError: options that contradict each other.
    """
    if options.duplex and options.iterative:
        raise OptionError("--duplex and --iterative are two ways to find centroids; choose one")
    if options.duplex:
        return "duplex"
    if options.kmeans:
        return "iterative" if options.iterative else "kmeans"
    if (options.iterative or options.kmeans_iters != 1) and not options.quirk.rescaled_simplex:
        raise OptionError("--kmeans-iters and --iterative need --kmeans (or --duplex)")
    return "simplex"
