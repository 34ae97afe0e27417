"""State dicts in PyTorch's first file format, read with NumPy; nothing in them is executed."""

import pathlib

from dnnlib.errors import UserError
from dnnlib.tflib.snapshot.unpickle import PickledTensor, RefusedError, read_torch_file


def read_state_dict(path):
    """Read the file of a state dict.

    Args:
      path: file name.

    Returns:
      {name: read-only array}.

    Raises:
      UserError: it is damaged, or not such a file.
    """
    try:
        found = read_torch_file(pathlib.Path(path).read_bytes())
        if type(found) is not dict:
            raise RefusedError("not a dict")
        tensors = {str(k): x.value for k, x in found.items() if isinstance(x, PickledTensor)}
        if len(tensors) != len(found):
            raise RefusedError("not all of it are tensors")
    except RefusedError as error:
        raise UserError(f"{path}: is no state dict that can be read ({error})") from None
    return tensors
