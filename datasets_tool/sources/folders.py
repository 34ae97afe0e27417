"""Pictures from folders."""

from __future__ import annotations

import hashlib
import os
import zlib

from datasets_tool.decode import UnreadableImageError, decode
from datasets_tool.labels import DATASET_JSON, from_dataset_json
from datasets_tool.sources.base import Source, printable, spread
from dnnlib.errors import UserError

# Format name => suffixes of its files.
PICTURES = {
    "png": (".png",),
    "jpg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "webp": (".webp",),
    "bmp": (".bmp",),
}


def picture_suffixes(kind):
    """Suffixes of a format; of all formats if ``kind`` is None."""
    return PICTURES[kind] if kind else tuple(s for suffixes in PICTURES.values() for s in suffixes)


class FolderSource(Source):
    """All pictures under a folder, sorted by path.

    Args:
      folder: searched recursively; hidden files and folders are left out.
      kind: a key of PICTURES, or None for all.
    """

    def __init__(self, folder, kind=None):
        self.folder = os.path.abspath(folder)
        self.description = folder
        suffixes = picture_suffixes(kind)
        self._paths = sorted(
            os.path.relpath(os.path.join(root, name), self.folder)
            for root, folders, names in os.walk(self.folder, onerror=_unreadable_folder)
            if not _hide(folders)
            for name in names
            if name.lower().endswith(suffixes) and not name.startswith(".")
        )
        if not self._paths:
            raise UserError(
                f"{folder}: holds no images ({' '.join(suffixes)}); give the folder with "
                "--images-dir"
            )

    def __len__(self):
        return len(self._paths)

    def keys(self):
        """Yield paths within the folder."""
        return iter(self._paths)

    def some_keys(self, num):
        """From all over the folder."""
        return spread(self._paths, num)

    def load(self, key):
        """Read and decode a file."""
        return (*decode(self.read(key)), {})

    def read(self, key):
        """The bytes of a file."""
        try:
            with open(os.path.join(self.folder, key), "rb", buffering=0) as file:  # noqa: PTH123
                return file.read()
        except OSError as error:
            raise UnreadableImageError(error.strerror) from error

    def encoded(self, key):
        """The bytes of a file."""
        return self.read(key)

    def size_and_crc(self, key):
        """Size of a file and CRC-32 of its bytes."""
        data = self.read(key)
        return len(data), zlib.crc32(data)

    def close(self):
        """Nothing is open."""

    def name_of(self, key):
        """The whole path."""
        return printable(os.path.join(self.description, key))

    def own_labels(self):
        """Those of a dataset.json in the folder."""
        path = os.path.join(self.folder, DATASET_JSON)
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:  # noqa: PTH123
            return from_dataset_json(file.read(), path, "", self)

    def fingerprint(self):
        """Hash of all paths, sizes and times."""
        digest = hashlib.md5()
        for path in self._paths:
            status = os.stat(os.path.join(self.folder, path))
            digest.update(os.fsencode(path) + f" {status.st_size} {status.st_mtime_ns}\n".encode())
        return {"files": len(self._paths), "md5": digest.hexdigest()}


def _hide(folders):
    """Take hidden folders out of an os.walk and sort the others; always false."""
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    return False


def _unreadable_folder(error):
    """A folder that cannot be listed is no reason to leave its images out in silence."""
    raise UserError(f"{error.filename}: cannot be listed: {error.strerror}") from error
