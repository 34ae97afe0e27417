"""Positional encodings of image grids: sinusoids, linear, and two trainable kinds.

The grid of level r, 2^r x 2^r for square images, is encoded as [H * W, P], position h * W + w at
row h, column w.

Differs from the published code, unless ``is_flat`` is set: sinusoids run over coordinates in
pixels, as in the Transformer (Vaswani et al. 2017, arXiv:1706.03762, Sec. 3.5). The published ones
run over [-1, 1], where a sine is nearly a straight line and most of the features nearly constant.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError, must_be_one_of
from dnnlib.tflib.tfutil import shared_tensor
from training.model.layers import SQUARE, grid_size

INITIALIZERS = {
    "uniform": tf.initializers.random_uniform(0.0, 1.0),
    "normal": tf.initializers.random_normal(),
}
POS_TYPES = ("sinus", "linear", "trainable", "trainable2d")


class GridEncodings:
    """Encodings of the grids of levels 0, 1, ..., max_log2; ``encodings[r]`` is [H * W, P].

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
      start: height and width of the grid of level 2.

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
        start=SQUARE,
    ):
        if pos_type not in POS_TYPES:
            raise OptionError(f"pos_type {must_be_one_of(pos_type, POS_TYPES)}")
        if pos_init not in INITIALIZERS:
            raise OptionError(f"pos_init {must_be_one_of(pos_init, INITIALIZERS)}")
        _check_width(dim, pos_type, directions)
        self.dim, self.pos_type, self.directions = dim, pos_type, directions
        self.is_flat, self.dtype, self.start = is_flat, dtype, start
        self._network = tf.get_variable_scope().name
        self._variables = [self._create(r, pos_init) for r in range(max_log2 + 1)]
        self._encodings = {}

    def __getitem__(self, log2_size):
        if log2_size not in self._encodings:
            size, variables = grid_size(self.start, log2_size), self._variables[log2_size]
            names = [variable.name for variable in variables.values()]
            kind = (self.pos_type, self.dim, self.directions, self.is_flat, self.dtype)

            def build():
                grid = self._encode(*size, variables)
                return tf.reshape(grid, [size[0] * size[1], grid.shape.as_list()[-1]])

            # Of each network its own: replicas are on devices of their own.
            key = ("grid", self._network, *size, *kind, *names)
            self._encodings[log2_size] = shared_tensor(key, build)
        return self._encodings[log2_size]

    def _create(self, r, pos_init):
        """Variables of one grid, {name: variable}."""
        height, width = grid_size(self.start, r)
        half = self.dim // 2
        shapes = {
            "sinus": {},
            "linear": {"emb": [self.directions, self.dim // self.directions]},
            "trainable": {"x_emb": [width, half], "y_emb": [height, half]},
            "trainable2d": {"emb": [height, width, self.dim]},
        }[self.pos_type]
        init = INITIALIZERS["uniform" if self.pos_type == "linear" else pos_init]
        with tf.variable_scope(f"pos_emb{r}"):
            return {k: tf.get_variable(k, shape=v, initializer=init) for k, v in shapes.items()}

    def _encode(self, height, width, variables):
        """[H, W, P]."""
        if self.pos_type == "trainable2d":
            return tf.convert_to_tensor(variables["emb"])
        if self.pos_type == "trainable":
            return _outer_concat(variables["x_emb"], variables["y_emb"])
        lines = _lines(height, width, self.directions)
        longest = max(height, width)
        if self.pos_type == "linear":
            lines = tf.cast(tf.stack(lines, axis=-1), self.dtype)  # [H, W, directions]
            grid = lines[..., np.newaxis] * variables["emb"]
            return tf.reshape(grid, [height, width, self.dim])
        if self.directions == 2:  # columns and rows: no need of a constant of the full size
            sides = {size: tf.constant(_coordinates(size, longest)) for size in (height, width)}
            tables = {size: self._waves(line, longest) for size, line in sides.items()}
            return _outer_concat(tables[width], tables[height])
        return tf.concat([self._waves(line, longest) for line in lines], axis=-1)

    def _waves(self, line, size):
        """[sin, cos] of a coordinate at a ladder of frequencies: [...] => [..., P / directions].

        The coordinate is from -1 to 1 along ``size`` positions.
        """
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
      start: see GridEncodings.
    """

    def __init__(self, dim, pos_init, start=SQUARE):
        self.dim, self.init, self.start = dim, INITIALIZERS[pos_init], start

    def __getitem__(self, log2_size):
        height, width = grid_size(self.start, log2_size)
        shape = [height, width, self.dim]
        variable = tf.get_variable("grid_pos", shape=shape, initializer=self.init)
        return tf.reshape(variable, [height * width, self.dim])


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


def _coordinates(size, longest):
    """Evenly from -1 to 1, or less far on the shorter side; -1 alone for a single one."""
    if size == longest:
        return np.linspace(-1.0, 1.0, size) if size > 1 else np.array([-1.0])
    return np.linspace(-1.0, 1.0, size) * ((size - 1) / (longest - 1)) if size > 1 else np.zeros(1)


def _lines(height, width, directions):
    """Coordinate along each direction: list of [H, W].

    These are operations, not constants, so that a network is built without memory of that size.
    """
    longest = max(height, width)
    x, y = (tf.constant(_coordinates(size, longest)) for size in (width, height))
    angles = np.arange(directions) * np.pi / directions
    return [x[tf.newaxis, :] * np.cos(a) + y[:, tf.newaxis] * np.sin(a) for a in angles]


def _outer_concat(columns, rows):
    """[W, A], [H, B] => [H, W, A + B]."""
    columns = tf.tile(columns[tf.newaxis], [rows.shape.as_list()[0], 1, 1])
    rows = tf.tile(rows[:, tf.newaxis], [1, columns.shape.as_list()[1], 1])
    return tf.concat([columns, rows], axis=-1)
