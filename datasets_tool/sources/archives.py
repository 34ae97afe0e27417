"""Pictures in zip and tar archives, read in place; nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
import threading
import zipfile
import zlib

from datasets_tool.decode import UnreadableImageError, decode
from datasets_tool.labels import DATASET_JSON, from_dataset_json
from datasets_tool.sources.base import Source, file_fingerprint, one_line, spread
from dnnlib.errors import UserError

_COMPRESSED = (gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile)


def _is_hidden(name):
    """Whether a member is hidden, as those are that some systems put beside each file."""
    parts = [part for part in name.split("/") if part not in (".", "..")]
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _is_picture(name, suffixes):
    """Whether a member is a picture that is not hidden."""
    return name.lower().endswith(suffixes) and not _is_hidden(name)


def _is_dataset_json(name):
    """Whether a member is a file of labels."""
    return posixpath.basename(name) == DATASET_JSON and not _is_hidden(name)


def _read_labels(source, name, data):
    """Labels of the pictures in an archive, out of its member dataset.json."""
    folder = name[: -len(DATASET_JSON)]
    return from_dataset_json(data, f"{source.description}: {name}", folder, source)


def _none_found(path, suffixes):
    return UserError(f"{path}: holds no images ({' '.join(suffixes)})")


class ZipSource(Source):
    """All pictures in a zip archive, sorted by path.

    Args:
      path: the archive.
      suffixes: of the members that count.
      below: take only members whose path starts so.
    """

    def __init__(self, path, suffixes, below=""):
        self.path, self.description, self._open_zip = os.path.abspath(path), path, None
        self._lock = threading.Lock()
        self._names = sorted(
            name
            for name in open_zip(path).namelist()
            if name.startswith(below) and _is_picture(name, suffixes)
        )
        if not self._names:
            raise _none_found(path, suffixes)

    def __getstate__(self):
        return dict(self.__dict__, _open_zip=None, _lock=None)

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.Lock())

    def __len__(self):
        return len(self._names)

    def keys(self):
        """Yield member names."""
        return iter(self._names)

    def some_keys(self, num):
        """From all over the archive."""
        return spread(self._names, num)

    def load(self, key):
        """Read and decode a member."""
        return (*decode(self.read(key)), {})

    def _archive(self):
        """The archive, opened once a process."""
        if self._open_zip is None:
            self._open_zip = open_zip(self.path)
        return self._open_zip

    def read(self, key):
        """The bytes of a member.

        Threads take turns: with Python 3.7 a ZipFile read by several gives wrong bytes at times.
        """
        try:
            with self._lock:
                return self._archive().read(key)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise UnreadableImageError(one_line(error)) from error
        except (RuntimeError, NotImplementedError) as error:  # a password, an odd compression
            raise UnreadableImageError(str(error).split(",", maxsplit=1)[0]) from error

    def encoded(self, key):
        """The bytes of a member."""
        return self.read(key)

    def size_and_crc(self, key):
        """Size of a member and CRC-32 of its bytes, as the archive has them."""
        entry = self._archive().getinfo(key)
        return entry.file_size, entry.CRC

    def close(self):
        """Close the archive."""
        if self._open_zip is not None:
            self._open_zip.close()
            self._open_zip = None

    def own_labels(self):
        """Those of a dataset.json in the archive, the one least deep in folders."""
        with open_zip(self.path) as archive:
            found = [name for name in archive.namelist() if _is_dataset_json(name)]
            name = min(found, key=lambda name: (name.count("/"), name), default=None)
            return None if name is None else _read_labels(self, name, archive.read(name))

    def fingerprint(self):
        """That of the archive."""
        return file_fingerprint(self.path)


def open_zip(path):
    """A ZipFile; UserError if it is none."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: cannot be opened as a zip archive: {one_line(error)}") from error


class TarSource(Source):
    """All pictures in a tar archive, in its own order; plain or compressed.

    A plain archive is read at any place by the workers. A compressed one can only be read from
    front to back: this process does that and hands the bytes of the members on.
    """

    def __init__(self, path, suffixes):
        self.path, self.description, self._suffixes = os.path.abspath(path), path, suffixes
        self._file = None
        with _open_tar(path, "r:*") as archive:
            self._is_plain = not isinstance(archive.fileobj, _COMPRESSED)
            self._members, self._labels = [], None
            try:
                for member in archive:
                    if member.isfile() and _is_picture(member.name, suffixes):
                        self._members.append((member.name, member.offset_data, member.size))
                    elif member.isfile() and _is_dataset_json(member.name) and not self._labels:
                        self._labels = member.name, archive.extractfile(member).read()
            except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
                raise UserError(f"{path}: the archive is damaged: {one_line(error)}") from error
        if not self._members:
            raise _none_found(path, suffixes)

    def __getstate__(self):
        return dict(self.__dict__, _file=None, _members=None, _labels=None)

    def __len__(self):
        return len(self._members)

    def keys(self):
        """Yield (name, offset, size), or (name, bytes) of a compressed archive."""
        if self._is_plain:
            yield from self._members
            return
        with _open_tar(self.path, "r|*") as archive:
            for member in archive:
                if member.isfile() and _is_picture(member.name, self._suffixes):
                    yield member.name, archive.extractfile(member).read()

    def load(self, key):
        """Read and decode a member."""
        return (*decode(self.encoded(key)), {})

    def encoded(self, key):
        """The bytes of a member."""
        if not self._is_plain:
            return key[1]
        if self._file is None:
            self._file = open(self.path, "rb")  # noqa: SIM115, PTH123 - kept for the next picture
        _, offset, size = key
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise UnreadableImageError("the archive ends inside it")
        return data

    def label_key(self, key):
        """The member's name."""
        return key[0]

    def label_keys(self):
        """Names of all members, without reading them."""
        return (member[0] for member in self._members)

    def own_labels(self):
        """Those of a dataset.json in the archive."""
        return _read_labels(self, *self._labels) if self._labels else None

    def fingerprint(self):
        """That of the archive."""
        return file_fingerprint(self.path)


def _open_tar(path, mode):
    """A TarFile; UserError if it is none."""
    try:
        return tarfile.open(path, mode)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise UserError(f"{path}: cannot be opened as a tar archive: {one_line(error)}") from error
