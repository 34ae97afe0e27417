"""Precision of convolutions: float32, or bfloat16 inputs between float32 variables and results.

With bfloat16 the inputs, filters and results of convolutions, and of their gradients, are rounded
to 8 bits of mantissa; sums inside a convolution, variables, and all other operations stay float32.
Its range is that of float32, so losses need no scaling. (float16 is no choice: it would need that.)
"""

from __future__ import annotations

import contextlib

from dnnlib.errors import UserError, closest
from dnnlib.tflib.compat import TF_VERSION, local_gpu_names, tf
from dnnlib.tflib.native import build

CHOICES = ("float32", "bfloat16")
_FIRST_ARCH = 80  # of GPUs that multiply bfloat16

_dtype = tf.float32


def set_precision(choice: str) -> None:
    """Choose the precision of convolutions in graphs that are built from now on.

    Args:
      choice: "float32" or "bfloat16".

    Raises:
      UserError: there is no such choice, or this TensorFlow or GPU does not have it.
    """
    global _dtype  # noqa: PLW0603 - a choice for the process, like that of custom operations
    if choice not in CHOICES:
        hint = closest(choice, CHOICES) or f"choose from {', '.join(CHOICES)}"
        raise UserError(f"--precision {choice}: no such choice; {hint}")
    if choice == "bfloat16" and local_gpu_names():
        if TF_VERSION < (2, 0):
            raise UserError(
                f"--precision bfloat16: TensorFlow {tf.__version__} has it on a CPU only; use "
                "float32, a current TensorFlow, or --gpus none"
            )
        too_old = [arch for arch in build.visible_cuda_archs() if int(arch) < _FIRST_ARCH]
        if too_old:
            raise UserError(
                f"--precision bfloat16: needs GPUs of sm_{_FIRST_ARCH} or later, this is "
                f"sm_{too_old[0]}; use float32"
            )
    _dtype = tf.as_dtype(choice)


def convolution_dtype(x):
    """In what a convolution of ``x`` multiplies: only float32 tensors are ever rounded."""
    return _dtype if x.dtype == tf.float32 else x.dtype


@contextlib.contextmanager
def double_precision(active, holder, names):
    """Within this context variables, which stay float32, are read as float64.

    Args:
      active: False does nothing.
      holder: object whose tensors are cast to float64.
      names: of its attributes, which may be None, separated by spaces.
    """
    if not active:
        yield
        return
    for name in names.split():
        if getattr(holder, name) is not None:
            setattr(holder, name, tf.cast(getattr(holder, name), tf.float64))

    def widened(getter, *args, **kwargs):
        return tf.cast(getter(*args, **kwargs), tf.float64)

    scope = tf.get_variable_scope()
    with tf.variable_scope(scope, custom_getter=widened, auxiliary_name_scope=False):
        yield
