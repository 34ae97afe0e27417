"""StyleGAN2's name for the compiled operations. They live in :mod:`dnnlib.tflib.native`."""

import pathlib

from dnnlib.errors import UserError
from dnnlib.tflib import native

KNOWN = ("fused_bias_act", "upfirdn_2d")


def get_plugin(cuda_file):
    """The library of native operations, which holds those of StyleGAN2's two files and more.

    Args:
      cuda_file: path of "fused_bias_act.cu" or "upfirdn_2d.cu"; only its name matters.

    Returns:
      The loaded library; its operations are attributes.

    Raises:
      UserError: there is no such operation here, or nothing can be compiled on this machine.
    """
    name = pathlib.PurePath(str(cuda_file).replace("\\", "/")).stem
    if name not in KNOWN:
        raise UserError(
            f"{cuda_file}: must be one of {', '.join(f'{known}.cu' for known in KNOWN)}; other "
            "kernels belong into dnnlib/tflib/native/src"
        )
    library = native.library()
    if library is None:
        raise UserError(
            f"{cuda_file}: native operations are off (--custom-ops ref) or cannot be compiled "
            "here; dnnlib.tflib.ops has forms that need no compiler"
        )
    return library
