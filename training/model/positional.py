"""Positional encodings of image grids: sinusoids, linear, and two trainable kinds.

A grid of side 2^r is encoded as [H * W, P], position h * W + w at row h, column w.

Differs from the published code, unless ``is_flat`` is set: sinusoids run over coordinates in
pixels, as in the Transformer (Vaswani et al. 2017, arXiv:1706.03762, Sec. 3.5). The published ones
run over [-1, 1], where a sine is nearly a straight line and most of the features nearly constant.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError, must_be_one_of

INITIALIZERS = {
    "uniform": tf.initializers.random_uniform(0.0, 1.0),
    "normal": tf.initializers.random_normal(),
}
POS_TYPES = ("sinus", "linear", "trainable", "trainable2d")


class GridEncodings:
    """Encodings of the grids of sides 1, 2, ..., 2^max_log2; ``encodings[r]`` is [H * W, P].

    Variables exist for every grid, needed or not, as in the published code; the rest is made when
    it is asked for, once.

    Args:
      max_log2: of the largest grid.
      dim: P, width of the encoding (rounded down to a multiple of 4 by "sinus").
      pos_type: one of POS_TYPES.
      pos_init: "uniform" over [0, 1) or "normal"; of the trainable kinds.
      directions: along how many directions "sinus" and "linear" measure.
      is_flat: take sinusoids over [-1, 1].
      dtype: of the encodings.

    Raises:
      OptionError: unknown kind, or a width that the kind cannot have.
    """

    def __init__(
        self,
        max_log2,
        dim,
        pos_type="sinus",
        pos_init="uniform",
        directions=2,
        is_flat=False,
        dtype=tf.float32,
    ):
        if pos_type not in POS_TYPES:
            raise OptionError(f"pos_type {must_be_one_of(pos_type, POS_TYPES)}")
        if pos_init not in INITIALIZERS:
            raise OptionError(f"pos_init {must_be_one_of(pos_init, INITIALIZERS)}")
        _check_width(dim, pos_type, directions)
        self.dim, self.pos_type, self.directions = dim, pos_type, directions
        self.is_flat, self.dtype = is_flat, dtype
        self._variables = [self._create(2**r, r, pos_init) for r in range(max_log2 + 1)]
        self._encodings = {}

    def __getitem__(self, log2_size):
        if log2_size not in self._encodings:
            grid = self._encode(2**log2_size, self._variables[log2_size])
            width = grid.shape.as_list()[-1]
            self._encodings[log2_size] = tf.reshape(grid, [4**log2_size, width])
        return self._encodings[log2_size]

    def _create(self, size, r, pos_init):
        """Variables of one grid, {name: variable}."""
        half = [size, self.dim // 2]
        shapes = {
            "sinus": {},
            "linear": {"emb": [self.directions, self.dim // self.directions]},
            "trainable": {"x_emb": half, "y_emb": half},
            "trainable2d": {"emb": [size, size, self.dim]},
        }[self.pos_type]
        init = INITIALIZERS["uniform" if self.pos_type == "linear" else pos_init]
        with tf.variable_scope(f"pos_emb{r}"):
            return {k: tf.get_variable(k, shape=v, initializer=init) for k, v in shapes.items()}

    def _encode(self, size, variables):
        """[H, W, P]."""
        if self.pos_type == "trainable2d":
            return tf.convert_to_tensor(variables["emb"])
        if self.pos_type == "trainable":
            return _outer_concat(variables["x_emb"], variables["y_emb"])
        lines = _lines(size, self.directions)
        if self.pos_type == "linear":
            lines = tf.cast(tf.stack(lines, axis=-1), self.dtype)  # [H, W, directions]
            grid = lines[..., np.newaxis] * variables["emb"]
            return tf.reshape(grid, [size, size, self.dim])
        if self.directions == 2:  # columns and rows: no need of a constant of the full size
            table = self._waves(tf.constant(_coordinates(size)))
            return _outer_concat(table, table)
        return tf.concat([self._waves(line) for line in lines], axis=-1)

    def _waves(self, line):
        """[sin, cos] of a coordinate at a ladder of frequencies: [...] => [..., P / directions]."""
        size = line.shape.as_list()[0]
        unit = 1.0 if self.is_flat else max(size - 1, 1) / 2.0  # then neighbours are 1 apart
        step = 2 * self.directions
        waves = unit / 10000.0 ** (step * np.arange(self.dim // step) / self.dim)
        angle = line[..., tf.newaxis] * waves
        return tf.cast(tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1), self.dtype)


class LayerEncodings:
    """Encodings that belong to the layers, "trainable2d": ``encodings[r]`` is the one of the layer
    whose variable scope is open, [H * W, P].

    Args:
      dim: P.
      pos_init: see GridEncodings.
    """

    def __init__(self, dim, pos_init):
        self.dim, self.init = dim, INITIALIZERS[pos_init]

    def __getitem__(self, log2_size):
        shape = [2**log2_size, 2**log2_size, self.dim]
        variable = tf.get_variable("grid_pos", shape=shape, initializer=self.init)
        return tf.reshape(variable, [4**log2_size, self.dim])


def _check_width(dim, pos_type, directions):
    """Raise OptionError if the kind of encoding cannot have that width."""
    unit = {"linear": directions, "sinus": 2 * directions}.get(pos_type, 1)
    if pos_type == "sinus" and directions == 2:
        unit = 1  # rounded down
    if dim % unit != 0:
        raise OptionError(
            f"a {pos_type} encoding in {directions} directions (--pos-directions-num) cannot be "
            f"{dim} wide (--pos-dim, or a component's size); the width must be divisible by {unit}"
        )


def _coordinates(size):
    """Evenly from -1 to 1; -1 alone for a single one."""
    return np.linspace(-1.0, 1.0, size) if size > 1 else np.array([-1.0])


def _lines(size, directions):
    """Coordinate along each direction: list of [H, W].

    These are operations, not constants, so that a network is built without memory of that size.
    """
    c = tf.constant(_coordinates(size))
    angles = np.arange(directions) * np.pi / directions
    return [c[tf.newaxis, :] * np.cos(a) + c[:, tf.newaxis] * np.sin(a) for a in angles]


def _outer_concat(columns, rows):
    """[W, A], [H, B] => [H, W, A + B]."""
    columns = tf.tile(columns[tf.newaxis], [rows.shape.as_list()[0], 1, 1])
    rows = tf.tile(rows[:, tf.newaxis], [1, columns.shape.as_list()[1], 1])
    return tf.concat([columns, rows], axis=-1)
