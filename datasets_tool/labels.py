"""Labels of pictures: from sub-folders, from a JSON, CSV or npy file, or from the source itself."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path, PurePosixPath

import numpy as np

from dnnlib.errors import UserError

_HEADERS = ("", "file", "file_name", "filename", "image", "image_id", "img", "name", "path")


class Labels:
    """Labels by key.

    Args:
        rows: {key: float32 row}, or an array [N, label size] with the place of a picture as its
            key.
        names: names of the classes, if the labels are one-hot.
        places: {key: place} if ``rows`` is an array and the pictures have other keys.
    """

    def __init__(self, rows, names=None, places=None):
        self._rows, self.names, self._places = rows, names, places
        first = rows[0] if isinstance(rows, np.ndarray) else next(iter(rows.values()))
        self.size = len(first)

    def row(self, key):
        """The label of a picture as the bytes of float32 [label size]."""
        place = key if self._places is None else self._places[key]
        return np.asarray(self._rows[place], "<f4").tobytes()

    def fingerprint(self):
        """Hash of all labels."""
        digest = hashlib.md5(repr(self.names).encode())
        if isinstance(self._rows, np.ndarray):
            for start in range(0, len(self._rows), 4096):
                digest.update(np.ascontiguousarray(self._rows[start : start + 4096]).tobytes())
        else:
            for key, row in sorted(self._rows.items()):
                digest.update(repr(key).encode() + np.asarray(row, "<f4").tobytes())
        return digest.hexdigest()


def from_folders(source):
    """The sub-folder of each picture is its class (the first one that they do not all share)."""
    folders = {key: PurePosixPath(str(key)).parts[:-1] for key in source.label_keys()}
    shared = 0  # number of folders that all paths start with
    for parts in zip(*folders.values()):
        if len(set(parts)) > 1:
            break
        shared += 1
    for key, folder in folders.items():
        if len(folder) == shared:
            raise UserError(
                f"--labels folders: {key} is in no sub-folder of {source.description}; "
                "each class needs a folder of its own"
            )
    return _one_hot({key: folder[shared] for key, folder in folders.items()})


def from_file(path, source):
    """Labels out of a file.

    JSON: ``{"labels": [["a/b.png", 3], ...]}`` as StyleGAN2-ADA has it, or ``{"a/b.png": 3, ...}``.
    CSV: ``a/b.png,3`` per line, a header is recognised; further columns make a vector. A label is
        the number of a class, its name, or a vector of numbers. An .npy file holds [N] or [N, label
        size] in the order of the pictures.
    """
    suffix = Path(path).suffix.lower()
    readers = {".json": _read_json, ".csv": _read_csv}
    if suffix == ".npy":
        places = {key: place for place, key in enumerate(source.label_keys())}
        return from_array(path, len(places), places)
    if suffix not in readers:
        raise UserError(f"--labels {path}: must be none, folders, or a .json, .csv or .npy file")
    try:
        table = readers[suffix](path)
    except OSError as error:
        raise UserError(f"--labels {path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"--labels {path}: cannot be understood: {error}") from error
    keys = list(source.label_keys())
    missing = [key for key in keys if key not in table]
    if missing:
        raise UserError(
            f"--labels {path}: has no label for {len(missing)} of {len(keys)} images, "
            f"the first: {missing[0]}"
        )
    return _to_labels({key: table[key] for key in keys}, path)


def from_array(path, count, places=None):
    """Labels in the order of the pictures: class numbers [N] or rows [N, label size]."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--labels {path}: cannot be read: {error}") from error
    if array.ndim not in (1, 2) or len(array) != count:
        raise UserError(f"--labels {path}: holds labels {list(array.shape)} for {count} images")
    if array.ndim == 1:
        if array.dtype.kind not in "ui" or array.min() < 0:
            raise UserError(f"--labels {path}: class numbers must be integers from 0 up")
        array = np.eye(int(array.max()) + 1, dtype=np.float32)[array]
    return Labels(array, places=places)


def _read_json(path):
    """{name: value}."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    entries = data.get("labels", data) if isinstance(data, dict) else data
    if entries is None:
        raise ValueError("its 'labels' are null")
    return dict(entries)


def _read_csv(path):
    """{name: value}."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and rows[0][0].strip().lower() in _HEADERS:
        rows = rows[1:]
    short = [row for row in rows if len(row) < 2]
    if short:
        raise ValueError(f"the line {','.join(short[0])!r} has no label")
    if any(len(row) > 2 for row in rows):
        return {row[0]: [float(value) for value in row[1:]] for row in rows}
    values = {row[0]: row[1].strip() for row in rows}
    if all(value.isdigit() for value in values.values()):
        return {name: int(value) for name, value in values.items()}
    return values


def _to_labels(table, path):
    """{key: number of a class, name of a class, or vector} => Labels."""
    kinds = {type(value) for value in table.values()}
    if kinds == {int} and min(table.values()) >= 0:
        eye = np.eye(max(table.values()) + 1, dtype=np.float32)
        return Labels({key: eye[value] for key, value in table.items()})
    if kinds == {str}:
        return _one_hot(table)
    if kinds == {list} and len({len(value) for value in table.values()}) == 1:
        rows = {key: np.array(value, np.float32) for key, value in table.items()}
        if all(row.ndim == 1 for row in rows.values()):
            return Labels(rows)
    raise UserError(
        f"--labels {path}: labels must be all class numbers from 0 up, all class names, or all "
        "vectors of one length"
    )


def _one_hot(classes):
    """{key: name of its class} => Labels."""
    names = sorted(set(classes.values()))
    rows = dict(zip(names, np.eye(len(names), dtype=np.float32)))
    return Labels({key: rows[name] for key, name in classes.items()}, names)
