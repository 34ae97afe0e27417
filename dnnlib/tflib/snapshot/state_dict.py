"""PyTorch state dicts, as files of its first format, read with NumPy; nothing in them is executed.

Five pickles (a magic number, a protocol, facts about the machine, the state dict with the places of
its tensors, the names of the storages), and then the storages, each behind its number of elements.
"""

from __future__ import annotations

import pathlib
import pickle
from collections import OrderedDict

import numpy as np

from dnnlib.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C
MAX_DIMS = 8

_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Storage:
    """The numbers behind some tensors; ``values`` comes once they are read."""

    def __init__(self, dtype, size):
        self.dtype, self.size, self.values = np.dtype(dtype), size, None


class _Tensor:
    """A view of a storage."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        is_plain = isinstance(storage, _Storage) and len(self.shape) == len(self.strides)
        numbers = (offset, *self.shape, *self.strides)
        if not is_plain or not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise pickle.UnpicklingError("a tensor of no proper shape")

    def value(self):
        """The tensor as an array of its own.

        Raises:
          ValueError: it reaches beyond its storage.
        """
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if len(self.shape) > MAX_DIMS or (0 not in self.shape and last >= self.storage.size):
            raise ValueError("a tensor reaches beyond its storage")
        if 0 in self.shape:
            return np.zeros(self.shape, self.storage.dtype)
        strides = [s * self.storage.dtype.itemsize for s in self.strides]
        values = self.storage.values[self.offset :]
        return np.lib.stride_tricks.as_strided(values, self.shape, strides, writeable=False).copy()


class _Reader(pickle.Unpickler):
    """Knows a state dict's few classes, none of which runs anything."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no state dict needs")

    def persistent_load(self, pid):
        kind, dtype, key, _, size = pid[:5]
        if kind != "storage" or dtype not in _STORAGES.values():
            raise pickle.UnpicklingError("a storage of no known type")
        return self.storages.setdefault(key, _Storage(dtype, size))


def read_state_dict(path):
    """Read the file of a state dict.

    Args:
      path: file name.

    Returns:
      {name: array}.

    Raises:
      UserError: it is damaged, or not such a file.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            if _Reader(file).load() != MAGIC:
                raise ValueError("another magic number")
            _Reader(file).load(), _Reader(file).load()
            reader = _Reader(file)
            tensors = reader.load()
            keys = _Reader(file).load()
            left = path.stat().st_size - file.tell()
            for key in keys:
                storage = reader.storages[key]
                size = int.from_bytes(file.read(8), "little")
                left -= 8 + size * storage.dtype.itemsize
                if size != storage.size or left < 0:
                    raise ValueError("a storage of another size than is said")
                data = file.read(size * storage.dtype.itemsize)
                storage.values = np.frombuffer(data, storage.dtype)
        return {str(name): tensor.value() for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(f"{path}: is no state dict that can be read ({error})") from None
    except (EOFError, AttributeError, OverflowError, MemoryError, ImportError) as error:
        raise UserError(f"{path}: is no state dict that can be read ({error})") from None
