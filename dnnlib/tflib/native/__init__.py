"""Native operations: compiled at first use, with a reference in plain TensorFlow beside each.

``set_custom_ops`` chooses; the decision falls once, at the first operation, and is logged on one
line. With "native" a machine that cannot compile is an error, never a silent fallback.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

from dnnlib import util
from dnnlib.errors import UserError, must_be_one_of
from dnnlib.tflib.compat import tf
from dnnlib.tflib.native import build

CHOICES = ("auto", "ref", "native")

_requested = "auto"
_decided = False
_library = None
_has_cuda = False  # whether the library has CUDA kernels
_explained = set()  # limits that were logged already


def set_custom_ops(choice: str) -> None:
    """Choose between native and reference operations for graphs that are built from now on.

    Args:
      choice: "auto" (native where it can be compiled), "ref" or "native".

    Raises:
      UserError: there is no such choice.
    """
    global _requested, _decided, _library
    if choice not in CHOICES:
        raise UserError(f"--custom-ops {must_be_one_of(choice, CHOICES)}")
    if choice != _requested:
        _requested, _decided, _library = choice, False, None


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Within this context graphs are built of TensorFlow's own operations alone."""
    global _decided, _library
    kept = _decided, _library
    _decided, _library = True, None
    try:
        yield
    finally:
        _decided, _library = kept


def library() -> Any | None:
    """The loaded op library, or None if the reference operations are to be used.

    Raises:
      UserError: "native" was asked for and is impossible here.
    """
    global _decided, _library  # noqa: PLW0603 - see above
    if not _decided:
        _library = _decide()
        _decided = True
    return _library


def has_cuda() -> bool:
    """Whether :func:`library` has CUDA kernels, which is so where there is a GPU."""
    return _has_cuda


def is_within(limits: dict[str, tuple[int, int]]) -> bool:
    """Whether the CUDA kernels of an operation can do what is asked; always, without a GPU.

    Args:
      limits: {what: (number, the most that the kernels take)}.

    Returns:
      False, and says so once, if the reference has to do it.

    Raises:
      UserError: they cannot, and "native" was asked for.
    """
    for what, (number, most) in limits.items():
        if _has_cuda and number > most:
            reason = f"{number} {what}, and the CUDA kernels take at most {most}"
            if _requested == "native":
                raise UserError(f"--custom-ops native: {reason}; use --custom-ops auto")
            if reason not in _explained:
                _explained.add(reason)
                util.log(f"Custom operations: reference where there are {reason}.")
            return False
    return True


def _decide() -> Any | None:
    global _has_cuda  # noqa: PLW0603 - see above
    _has_cuda = False
    if _requested == "ref":
        util.log("Custom operations: reference.")
        return None
    try:
        toolchain = build.find_toolchain()
        loaded = load(build.build(toolchain))
    except build.Unavailable as error:
        if _requested == "native":
            raise UserError(f"--custom-ops native: {error}; or use --custom-ops ref") from error
        util.log(f"Custom operations: reference, which is slower: {error}.")
        return None
    _has_cuda = bool(toolchain.cuda_archs)
    archs = ", ".join(f"sm_{arch}" for arch in toolchain.cuda_archs)
    util.log(f"Custom operations: native{f' (CPU and {archs})' if archs else ' (CPU)'}.")
    return loaded


def load(path) -> Any:
    """Load a library file; its ops are attributes.

    Raises:
      build.Unavailable: it does not load.
    """
    try:
        loaded = tf.load_op_library(str(path))
    except (tf.errors.NotFoundError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise build.Unavailable(f"{path} does not load ({reason}); remove it") from error
    # Gradients can be registered once the library has made the ops known.
    from dnnlib.tflib.native import gradients  # noqa: F401, PLC0415 - imported for what it registers

    return loaded
