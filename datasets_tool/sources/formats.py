"""Which source reads what: by ``--format``, or by what is found."""

from __future__ import annotations

import os

from datasets_tool.sources.archives import TarSource, ZipSource, open_zip
from datasets_tool.sources.arrays import Hdf5Source, NpySource
from datasets_tool.sources.databases import LmdbSource, RecordsSource, ZippedRecordsSource
from datasets_tool.sources.folders import PICTURES, FolderSource, picture_suffixes
from datasets_tool.sources.named import HfSource, TfdsSource
from dnnlib.errors import UserError

NAMED = {"tfds": TfdsSource, "hf": HfSource}
FORMATS = (*PICTURES, "zip", "tar", "npy", "hdf5", "lmdb", "tfrecords", *NAMED)

_BY_SUFFIX = {
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",
    ".tar.gz": "tar",
    ".tar.bz2": "tar",
    ".tar.xz": "tar",
    ".npy": "npy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mdb": "lmdb",
}
_CONTAINERS = {
    "npy": NpySource,
    "hdf5": Hdf5Source,
    "lmdb": LmdbSource,
    "tfrecords": RecordsSource,
}


def open_source(path, kind=None):
    """The source of the pictures at ``path``.

    Args:
      path: a folder, archive, database or file of arrays; the name of a set of NAMED.
      kind: one of FORMATS; a picture format restricts which files of a folder or archive count;
        None: found out by name and contents.

    Returns:
      A Source.
    """
    if kind in NAMED:
        return NAMED[kind](path)
    if not os.path.exists(path):
        raise UserError(f"--images-dir {path}: there is no such file or folder")
    container = kind if kind and kind not in PICTURES else _guess(path)
    if container == "tar":
        return TarSource(path, picture_suffixes(kind if kind in PICTURES else None))
    if container == "zip":
        return _open_zip(path, kind if kind in PICTURES else None)
    if container in _CONTAINERS:
        return _CONTAINERS[container](path)
    return FolderSource(path, kind)


def _guess(path):
    """The kind of container at ``path``; "folder" for folders of pictures."""
    name = os.path.basename(path).lower()
    if os.path.isdir(path):
        names = os.listdir(path)
        if "data.mdb" in names:
            return "lmdb"
        return "tfrecords" if any(".tfrecords" in name for name in names) else "folder"
    if ".tfrecords" in name:
        return "tfrecords"
    for suffix, kind in _BY_SUFFIX.items():
        if name.endswith(suffix):
            return kind
    raise UserError(f"--images-dir {path}: not known what this is; --format says it")


def _open_zip(path, kind):
    """A zip of pictures, or of TFRecord shards."""
    with open_zip(path) as archive:
        names = archive.namelist()
    if kind is None and any(".tfrecords" in name for name in names):
        return ZippedRecordsSource(path)
    return ZipSource(path, picture_suffixes(kind))
