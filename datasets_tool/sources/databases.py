"""Pictures in databases: LMDB, and TFRecord sets of the published tools or our own."""

from __future__ import annotations

import io
import os
import posixpath
import sys
import zipfile
import zlib

import numpy as np

from datasets_tool.decode import UnreadableImageError, decode
from datasets_tool.labels import from_rows
from datasets_tool.sources.archives import open_zip
from datasets_tool.sources.arrays import as_picture, optional_package
from datasets_tool.sources.base import Source, file_fingerprint, one_line, spread
from dnnlib.errors import UserError
from dnnlib.records.crc32c import masked_crc32c
from dnnlib.records.record_set import (
    RecordSet,
    are_dealt,
    check_labels,
    find_labels,
    group_shards,
    parse_info,
    read_info,
)
from dnnlib.records.tfrecord import (
    FOOTER_BYTES,
    HEADER_BYTES,
    DamagedRecordError,
    ImageDecoder,
    RecordFile,
)

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError)  # what reading a bad zip raises
_FETCH_AGAIN = "fetch or make the archive again"
_LMDB_PIN = "<1.5" if sys.version_info < (3, 9) else ""  # later ones do not work there


class LmdbSource(Source):
    """Encoded pictures in an LMDB database (as LSUN has them), in the order of their keys."""

    def __init__(self, path):
        self.path, self.description, self._transaction = os.path.abspath(path), path, None
        lmdb = optional_package("lmdb", f"{path}: reading LMDB", _LMDB_PIN)
        self._errors = (lmdb.Error,)
        self._count = self._begin().stat()["entries"]
        if not self._count:
            raise UserError(f"{path}: the database is empty")

    def _begin(self):
        """The read transaction of this process."""
        if self._transaction is None:
            lmdb = optional_package("lmdb", f"{self.path}: reading LMDB")
            try:
                database = lmdb.open(
                    self.path,
                    subdir=os.path.isdir(self.path),
                    readonly=True,
                    lock=False,
                    readahead=False,
                    meminit=False,
                )
            except lmdb.Error as error:
                raise UserError(
                    f"{self.path}: cannot be opened as LMDB: {one_line(error)}"
                ) from error
            self._check_whole(database)
            self._database = database
            self._transaction = database.begin(buffers=True)
        return self._transaction

    def _data_file(self):
        return os.path.join(self.path, "data.mdb") if os.path.isdir(self.path) else self.path

    def _check_whole(self, database):
        """Raise UserError if pages are missing at the end: to touch one would kill the process.

        The two numbers come from the first pages, which opening has read already.
        """
        need = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
        have = os.path.getsize(self._data_file())
        if have < need:
            database.close()
            raise UserError(
                f"{self.path}: the database is cut short: {have} of {need} bytes; fetch it again"
            )

    def __getstate__(self):
        return dict(self.__dict__, _transaction=None, _database=None)

    def __len__(self):
        return self._count

    def keys(self):
        """Yield the database's keys."""
        cursor = self._begin().cursor()
        return (bytes(key) for key in cursor.iternext(keys=True, values=False))

    def load(self, key):
        """Fetch and decode a picture."""
        return (*decode(self.encoded(key)), {})

    def encoded(self, key):
        """The bytes of a picture."""
        try:
            return bytes(self._begin().get(key))
        except self._errors as error:
            raise UnreadableImageError(str(error)) from error

    def label_key(self, key):
        """The key as text."""
        return key.decode("utf-8", "replace")

    def fingerprint(self):
        """That of the data file."""
        return file_fingerprint(self._data_file())


class RecordsSource(Source):
    """The images of a TFRecord set, or of one TFRecord file, with their labels.

    Args:
      path: the folder, or a file.
    """

    def __init__(self, path):
        self.path, self.description, self._set = os.path.abspath(path), path, None
        images = self._open()
        self._count = len(images)
        self._side = max(images.image(0).shape[1:])
        if os.path.isdir(self.path):
            self.ratio = (read_info(os.path.join(self.path, "dataset.json")) or {}).get("ratio")

    def _open(self):
        """The images, opened once a process."""
        if self._set is None:
            is_folder = os.path.isdir(self.path)
            self._set = RecordSet(self.path) if is_folder else RecordFile(self.path)
            if not len(self._set):
                raise UserError(f"{self.path}: holds no records")
        return self._set

    def __getstate__(self):
        return dict(self.__dict__, _set=None)

    def __len__(self):
        return self._count

    def keys(self):
        """Yield the images' numbers."""
        return iter(range(self._count))

    def some_keys(self, num):
        """From all over the set."""
        return spread(range(self._count), num)

    def load(self, key):
        """Take one image."""
        try:
            return as_picture(self._open().image(key))
        except DamagedRecordError as error:
            raise UnreadableImageError(f"{error.what} (byte {error.offset})") from error

    def own_labels(self):
        """Those beside the shards."""
        labels = self._set.labels() if os.path.isdir(self.path) else None
        if labels is None or not labels.shape[1]:
            return None
        return from_rows(labels, f"{self.path}: labels")

    def fingerprint(self):
        """Those of all shards."""
        images = self._open()
        files = images.files if os.path.isdir(self.path) else [images]
        return [file_fingerprint(file.path) for file in files]

    def resolution_of_set(self):
        """Side of the stored images."""
        return self._side


class ZippedRecordsSource(Source):
    """TFRecord shards inside a zip archive, read from front to back without unpacking them.

    Of several resolutions the largest is taken.

    Args:
      path: the archive.
    """

    def __init__(self, path):
        self.path, self.description = os.path.abspath(path), path
        with open_zip(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            levels = group_shards(sizes, path, _FETCH_AGAIN)
            self._side = max(levels)
            self._names = levels[self._side]
            _, first = next(self._records(archive), (None, None))
            if not first:
                raise UserError(f"{path}: the shards of resolution {self._side} are empty")
            beside = [name for name in sizes if _folder(name) == _folder(self._names[0])]
            self._labels_name = find_labels(beside)
            info_name = posixpath.join(_folder(self._names[0]), "dataset.json")
            info = self._read(archive, info_name, parse_info) if info_name in beside else {}
            self.ratio = info.get("ratio")
            one = len(first) + HEADER_BYTES
            self._count = sum(sizes[name] for name in self._names) // one
            self._is_dealt = are_dealt([sizes[name] // one for name in self._names])
            if info.get("record_format", "raw") != "raw":  # records differ in size
                self._count, self._is_dealt = info.get("num_images", self._count), True
        self._decode = ImageDecoder()

    def _read(self, archive, name, understand):
        """What ``understand`` makes of the bytes and the name of a small member."""
        try:
            return understand(archive.read(name), f"{self.path}: {name}")
        except _DAMAGED as error:
            raise UserError(f"{self.path}: the archive is damaged: {one_line(error)}") from error

    def own_labels(self):
        """Those beside the shards."""
        if self._labels_name is None:
            return None
        with open_zip(self.path) as archive:
            labels = self._read(archive, self._labels_name, _parse_labels)
        name = f"{self.path}: {self._labels_name}"
        check_labels(labels, self._count, self._is_dealt, name, _FETCH_AGAIN)
        return from_rows(labels, name) if labels.shape[1] else None

    def _records(self, archive):
        """Yield (shard, data and footer) of all records, from the shards in turn."""
        files = {name: self._open_member(archive, name) for name in self._names}
        while files:
            for name in list(files):
                try:
                    data = self._next_record(name, files[name])
                except _DAMAGED as error:
                    raise UserError(
                        f"{self.path}: the archive is damaged: {one_line(error)}"
                    ) from error
                if data:
                    yield name, data
                else:
                    files.pop(name).close()

    def _open_member(self, archive, name):
        """A shard as a file."""
        try:
            return archive.open(name)
        except (*_DAMAGED, RuntimeError, NotImplementedError) as error:  # a password and the like
            raise UserError(f"{self.path}: {name}: cannot be read: {one_line(error)}") from error

    def _next_record(self, name, file):
        """Data and footer of the next record; nothing at the end."""
        head = file.read(HEADER_BYTES)
        if head and int.from_bytes(head[8:], "little") != masked_crc32c(head[:8]):
            raise UserError(f"{self.path}: {name}: a record's length is damaged")
        return head and file.read(int.from_bytes(head[:8], "little") + FOOTER_BYTES)

    def __len__(self):
        return self._count

    def keys(self):
        """Yield (number, name of the shard, data and footer)."""
        with open_zip(self.path) as archive:
            for index, (name, data) in enumerate(self._records(archive)):
                yield index, name, data

    def load(self, key):
        """Check and decode the record that the key carries."""
        data, footer = key[2][:-FOOTER_BYTES], key[2][-FOOTER_BYTES:]
        if masked_crc32c(data) != int.from_bytes(footer, "little"):
            raise UnreadableImageError("its data does not match its checksum")
        try:
            return as_picture(np.array(self._decode(data)))
        except ValueError as error:
            raise UnreadableImageError(str(error)) from error

    def label_key(self, key):
        """The number."""
        return key[0]

    def label_keys(self):
        """All numbers."""
        return iter(range(self._count))

    def name_of(self, key):
        """Archive, shard and number."""
        return f"{self.description}: {key[1]}: image {key[0]}"

    def fingerprint(self):
        """That of the archive."""
        return file_fingerprint(self.path)

    def resolution_of_set(self):
        """Side of the stored images."""
        return self._side


def _folder(name):
    """Where in its archive a member lies."""
    return name.rpartition("/")[0]


def _parse_labels(data, name):
    """The bytes of a file of labels => an array."""
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{name}: cannot be read as labels: {error}") from error
