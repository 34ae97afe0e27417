"""Precision of products: float32, or less of it where that is faster; or float64.

With bfloat16 the inputs, filters and results of convolutions, and of their gradients, are rounded
to 8 bits of mantissa; sums inside a convolution, variables, and all other operations stay float32.
Its range is that of float32, so losses need no scaling. (float16 is no choice: it would need that.)
With tf32 a GPU rounds the factors of all products to 10 bits of mantissa on the way, and no more.
"""

from __future__ import annotations

import contextlib

from dnnlib.errors import UserError, must_be_one_of
from dnnlib.tflib.compat import TF_VERSION, allow_tf32, local_gpu_names, tf
from dnnlib.tflib.native import build

CHOICES = ("float32", "tf32", "bfloat16")
_FIRST_ARCH = 80  # of GPUs that multiply tf32 and bfloat16

_dtype = tf.float32


def set_precision(choice: str) -> None:
    """Choose the precision in graphs that are built, and sessions that are made, from now on.

    Args:
      choice: "float32", "tf32" or "bfloat16".

    Raises:
      UserError: there is no such choice, or this TensorFlow or GPU does not have it.
    """
    global _dtype  # noqa: PLW0603 - a choice for the process, like that of custom operations
    if choice not in CHOICES:
        raise UserError(f"--precision {must_be_one_of(choice, CHOICES)}")
    if choice != "float32" and local_gpu_names():
        _check_gpus(choice)
    elif choice == "tf32":
        raise UserError("--precision tf32: only GPUs have it, and there is none here; use float32")
    allow_tf32(choice == "tf32")
    _dtype = tf.bfloat16 if choice == "bfloat16" else tf.float32


def _check_gpus(choice):
    """Refuse what this TensorFlow, or one of the GPUs, does not have."""
    if TF_VERSION < (2, 4):
        raise UserError(
            f"--precision {choice}: TensorFlow {tf.__version__} does not have it on a GPU; use "
            "float32, a current TensorFlow, or --gpus none"
        )
    too_old = [arch for arch in build.visible_cuda_archs() if int(arch) < _FIRST_ARCH]
    if too_old:
        raise UserError(
            f"--precision {choice}: needs GPUs of sm_{_FIRST_ARCH} or later, this is "
            f"sm_{too_old[0]}; use float32"
        )


def convolution_dtype(x):
    """In what a convolution of ``x`` multiplies: only float32 tensors are ever rounded."""
    return _dtype if x.dtype == tf.float32 else x.dtype


@contextlib.contextmanager
def double_precision(active, *tensors):
    """Within this context variables, which stay float32, are read as float64.

    Args:
      active: False does nothing.
      *tensors: what else is needed as float64; each may be None.

    Yields:
      The tensors, as float64.
    """
    if not active:
        yield tensors
        return

    def widened(getter, *args, **kwargs):
        return tf.cast(getter(*args, **kwargs), tf.float64)

    scope = tf.get_variable_scope()
    with tf.variable_scope(scope, custom_getter=widened, auxiliary_name_scope=False):
        yield tuple(None if x is None else tf.cast(x, tf.float64) for x in tensors)
