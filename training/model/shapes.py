"""Named tensor shapes: the shape comments of this code base, made executable."""

from types import SimpleNamespace

import tensorflow.compat.v1 as tf


class ShapeError(ValueError):
    """A tensor does not have the shape its consumer asks for."""


def bind_shapes(**specs):
    """Match tensors against shape patterns and return the size of every named axis.

    A pattern reads like our comments: ``"N H W C"``. A letter names an axis, an integer fixes its
    size. The same letter must mean the same size in all tensors of one call.

    Args:
      **specs: ``name=(tensor, pattern)``. The name is used in error messages only.

    Returns:
      Namespace with one attribute per letter: an int where the size is known while the graph is
      built, otherwise a scalar int32 tensor.

    Raises:
      ShapeError: unknown or wrong rank, wrong fixed size, or one letter with two sizes.
    """
    sizes, owner = {}, {}
    for name, (tensor, pattern) in specs.items():
        axes = pattern.split()
        want = "{} must be [{}], got {}".format(name, ", ".join(axes), tensor.shape)
        if tensor.shape.ndims != len(axes):
            raise ShapeError(want)
        for index, (axis, size) in enumerate(zip(axes, tensor.shape.as_list())):
            if axis.isdigit():
                if size is not None and size != int(axis):
                    raise ShapeError(want)
            elif size is None:
                if axis not in sizes:
                    sizes[axis] = tf.shape(tensor)[index]
            else:
                if isinstance(sizes.get(axis), int) and sizes[axis] != size:
                    clash = f"{axis}={size}, but {owner[axis]} has {axis}={sizes[axis]}"
                    raise ShapeError(f"{want}: {clash}")
                sizes[axis], owner[axis] = size, name
    return SimpleNamespace(**sizes)
