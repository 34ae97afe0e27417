"""Precision of products: float32, or less of it where that is faster; or float64.

With bfloat16 the inputs, filters and results of convolutions, and of their gradients, are rounded
to 8 bits of mantissa, and so are the maps of the highest resolutions, wherever they are kept: see
:func:`as_map`. Sums, variables, statistics, probabilities, images and losses stay float32.
Its range is that of float32, so losses need no scaling. (float16 is no choice: it would need that.)
With tf32 a GPU rounds the factors of all products to 10 bits of mantissa on the way, and no more.
"""

from __future__ import annotations

import contextlib

from dnnlib.errors import UserError, must_be_one_of
from dnnlib.tflib.compat import TF_VERSION, allow_tf32, local_gpu_names, tf
from dnnlib.tflib.native import build

CHOICES = ("float32", "tf32", "bfloat16")
LAYOUT_OFF = 2  # RewriterConfig.OFF
_FIRST_ARCH = 80  # of GPUs that multiply tf32 and bfloat16
BF16_RES = 4  # number of resolutions with bfloat16 maps (as StyleGAN2-ADA's num_fp16_res)

_choice, _bf16_res = "float32", 0


def set_precision(choice: str, bf16_res: int | None = None) -> None:
    """Choose the precision in graphs that are built, and sessions that are made, from now on.

    Args:
      choice: "float32", "tf32" or "bfloat16".
      bf16_res: number of highest resolutions whose maps are bfloat16, with "bfloat16"; None:
        BF16_RES, and 0 on TensorFlow 1.15, which computes nothing but convolutions in it.

    Raises:
      UserError: there is no such choice, or this TensorFlow or GPU does not have it.
    """
    global _choice, _bf16_res
    if choice not in CHOICES:
        raise UserError(f"--precision {must_be_one_of(choice, CHOICES)}")
    if choice != "float32" and local_gpu_names():
        _check_gpus(choice)
    elif choice == "tf32":
        raise UserError("--precision tf32: only GPUs have it, and there is none here; use float32")
    number = bf16_resolutions(choice, bf16_res)
    allow_tf32(choice == "tf32")
    _choice, _bf16_res = choice, number


def bf16_resolutions(choice: str, bf16_res: int | None = None) -> int:
    """How many of the highest resolutions have bfloat16 maps, see :func:`set_precision`.

    Raises:
      UserError: this TensorFlow has none.
    """
    if choice != "bfloat16":
        return 0
    if TF_VERSION >= (2, 0):
        return BF16_RES if bf16_res is None else bf16_res
    if bf16_res:
        raise UserError(
            f"--bf16-res={bf16_res}: TensorFlow {tf.__version__} has hardly any operation for "
            "bfloat16 but convolutions; use 0, or a current TensorFlow"
        )
    return 0


def session_settings() -> dict:
    """Settings of a session, see ``init_tf``, for the precision that was chosen.

    TensorFlow's optimizer rewrites maps to [N, C, H, W] for a GPU, with transpositions around what
    cannot be. That suits float32; tensor cores, and our operations, want [N, H, W, C] as it is.
    """
    if _choice == "float32" or not local_gpu_names():
        return {}
    return {"graph_options.rewrite_options.layout_optimizer": LAYOUT_OFF}


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
    is_rounded = _choice == "bfloat16" and x.dtype == tf.float32
    return tf.bfloat16 if is_rounded else x.dtype


def as_map(x, r, max_log2):
    """A feature map in the type that those of its layer have.

    The maps of the highest resolutions, as many as ``set_precision`` was told, are bfloat16, but
    those of 4x4 are float32 in any case.

    Args:
      x: [N, H, W, C]; float64 stays as it is.
      r: log2 of the layer's resolution.
      max_log2: that of the network's images.
    """
    if x.dtype == tf.float64:
        return x
    return tf.cast(x, tf.bfloat16 if r > max(max_log2 - _bf16_res, 2) else tf.float32)


def widened(x):
    """x, as float32 if it has 16 bits: for sums over many values."""
    return tf.cast(x, tf.float32) if x.dtype.size == 2 else x


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
