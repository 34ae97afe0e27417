"""PyTorch's file format for a dict of tensors, written and read without PyTorch.

A zip archive, uncompressed: "data.pkl" is a pickle of the dict in which a tensor is a call of
torch._utils._rebuild_tensor_v2 on a storage, which is a persistent id; "data/KEY" holds the numbers
of the storage KEY. ``torch.load(path, weights_only=True)`` opens it.
"""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np

from dnnlib import util

FOLDER = "archive"
ALIGNMENT = 64  # bytes; PyTorch can map storages that begin so into memory


def write_torch(path, tensors):
    """Write a dict of tensors, as a whole or not at all.

    Args:
      path: file name.
      tensors: {name: array}; they become float32.

    Raises:
      UserError: the disk is full; an earlier file is kept.
    """
    tensors = {name: np.asarray(value, "<f4", order="C") for name, value in tensors.items()}
    with util.atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        _add(archive, "data.pkl", _pickle(tensors))
        _add(archive, "byteorder", b"little")
        for key, value in enumerate(tensors.values()):
            _add(archive, f"data/{key}", value.tobytes())
        _add(archive, "version", b"3\n")


def _add(archive, name, data):
    """Append an entry whose data are aligned."""
    entry = zipfile.ZipInfo(f"{FOLDER}/{name}")
    begin = archive.fp.tell() + zipfile.sizeFileHeader + len(entry.filename) + 4
    padding = -begin % ALIGNMENT
    entry.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    archive.writestr(entry, data)


def _pickle(tensors):
    """Pickle, protocol 2, of {name: tensor}; storages have their place in the dict as key."""
    parts = [b"\x80\x02}("]
    for key, (name, value) in enumerate(tensors.items()):
        strides = [step // value.itemsize for step in value.strides]
        parts += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            # The storage: ("storage", class, key, device, number of elements).
            b"(" + _text("storage") + b"ctorch\nFloatStorage\n",
            _text(str(key)) + _text("cpu") + _int(value.size) + b"tQ",
            # Offset, size, stride, requires_grad, hooks.
            _int(0) + _tuple(value.shape) + _tuple(strides),
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
    return b"".join([*parts, b"u."])


def _text(text):
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(number):
    return b"\x8a\x08" + struct.pack("<q", number)


def _tuple(numbers):
    return b"(" + b"".join(_int(number) for number in numbers) + b"t"


def read_torch(path):
    """Read what :func:`write_torch` has written: {name: array}."""
    with zipfile.ZipFile(str(path)) as archive:
        return _Reader(archive).load()


class _Reader(pickle.Unpickler):
    """Knows the few names of a dict of tensors; refuses all others."""

    def __init__(self, archive):
        super().__init__(io.BytesIO(archive.read(f"{FOLDER}/data.pkl")))
        self.archive = archive

    def find_class(self, module, name):
        """What a name stands for."""
        return {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch", "FloatStorage"): "<f4",
            ("collections", "OrderedDict"): collections.OrderedDict,
        }[module, name]

    def persistent_load(self, pid):
        """The numbers of a storage."""
        _, dtype, key, _, size = pid
        return np.frombuffer(self.archive.read(f"{FOLDER}/data/{key}"), dtype, size)


def _rebuild(storage, offset, size, stride, *_):
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)
