"""Pictures in arrays: npy and hdf5 files."""

from __future__ import annotations

import importlib
import os

import numpy as np

from datasets_tool.decode import UnreadableImageError, simplify, to_picture
from datasets_tool.labels import from_array
from datasets_tool.sources.base import Source, file_fingerprint, one_line, spread
from dnnlib.errors import UserError


def optional_package(name, purpose, pin=""):
    """Import a package that not everybody needs; if it is missing, say how to install it."""
    try:
        module = importlib.import_module(name)
        if getattr(module, "__file__", None) is None:  # a mere folder of that name
            raise ImportError(name)
        return module
    except ImportError as error:
        raise UserError(f"{purpose} needs the package {name}: pip install '{name}{pin}'") from error


class _ArraySource(Source):
    """Common to arrays in files: uint8 [N, C, H, W], or [N, H, W, C], or [N, H, W]."""

    def __init__(self, path):
        self.path, self.description = os.path.abspath(path), path
        self._array = None
        array = self._open()
        self._count, shape = len(array) if array.ndim else 0, array.shape[1:]
        known = (1, 3, 4)
        self._channels_last = len(shape) == 3 and shape[0] not in known and shape[2] in known
        if array.dtype != np.uint8 or len(shape) not in (2, 3) or not self._count:
            raise UserError(
                f"{path}: holds {array.dtype} {list(array.shape)}, not images: uint8 [N, C, H, W]"
            )

    def _open(self):
        """The array; not loaded as a whole."""
        raise NotImplementedError

    def __getstate__(self):
        return dict(self.__dict__, _array=None)

    def __len__(self):
        return self._count

    def keys(self):
        """Yield places in the array."""
        return iter(range(self._count))

    def some_keys(self, num):
        """From all over the array."""
        return spread(range(self._count), num)

    def load(self, key):
        """Take one image."""
        if self._array is None:
            self._array = self._open()
        try:
            image = np.array(self._array[key])
        except OSError as error:
            raise UnreadableImageError(one_line(error)) from error
        if image.ndim == 2:
            image = image[np.newaxis]
        elif self._channels_last:
            image = image.transpose(2, 0, 1)
        return as_picture(image)

    def own_labels(self):
        """``<name>-labels.npy`` beside the file, as the published tool has it."""
        path = os.path.splitext(self.path)[0] + "-labels.npy"
        return from_array(path, self._count) if os.path.isfile(path) else None

    def fingerprint(self):
        """That of the file."""
        return file_fingerprint(self.path)


def as_picture(image):
    """uint8 [C, H, W] => what Source.load returns."""
    notes = set()
    return simplify(to_picture(image), notes), notes, {}


class NpySource(_ArraySource):
    """Images in an .npy file, read through a memory map."""

    def _open(self):
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            text = one_line(error)
            raise UserError(f"{self.path}: cannot be read as an npy file: {text}") from error
        if not isinstance(array, np.ndarray):
            raise UserError(f"{self.path}: is an archive of arrays, not one; give an npy file")
        return array


class Hdf5Source(_ArraySource):
    """Images in the ``data...`` entry of an hdf5 file with the largest last dimension."""

    def _open(self):
        h5py = optional_package("h5py", f"{self.path}: reading hdf5")
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened as hdf5: {one_line(error)}") from error
        shapes = {name: getattr(file.get(name), "shape", None) or () for name in file}
        names = [n for n, shape in shapes.items() if n.startswith("data") and len(shape) > 2]
        if not names:
            raise UserError(
                f"{self.path}: has no array of images 'data...', only "
                f"{', '.join(file) or 'nothing'}"
            )
        return file[max(names, key=lambda name: shapes[name][-1])]
