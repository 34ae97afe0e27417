"""Labels of pictures: from sub-folders, from a JSON, CSV or npy file, or from the source itself."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
from pathlib import Path, PurePosixPath

import numpy as np

from datasets_tool.label_columns import read_column
from datasets_tool.sources.base import one_line
from dnnlib.errors import UserError

_HEADERS = ("", "file", "file_name", "filename", "image", "image_id", "img", "name", "path")
DATASET_JSON = "dataset.json"  # what StyleGAN3's tool calls the file of labels
MAX_CLASSES = 1 << 15
_AT_ONCE = 4096  # rows of an array that are looked at in one piece
# A byte-order mark is no part of the first name; names of files may be any bytes.
_TEXT = {"encoding": "utf-8-sig", "errors": "surrogateescape"}


class Labels:
    """Labels by key.

    Args:
      rows: {key: float32 row}, or an array [N, label size] with the place of a picture as its
        key. With ``classes_num``, the number of a class instead of each row.
      names: names of the classes, if the labels are one-hot.
      places: {key: place} if ``rows`` is an array and the pictures have other keys.
      classes_num: number of the classes that ``rows`` tells; labels are one-hot.
    """

    def __init__(self, rows, names=None, places=None, classes_num=None):
        self._rows, self.names, self._places = rows, names, places
        self._is_one_hot = classes_num is not None
        first = rows[0] if isinstance(rows, np.ndarray) else next(iter(rows.values()))
        self.size = classes_num if self._is_one_hot else len(first)

    def row(self, key):
        """The label of a picture as the bytes of float32 [label size]."""
        return self._bytes(self._rows[key if self._places is None else self._places[key]])

    def _bytes(self, row):
        """A row, or the number of a class, as the bytes of float32 [label size]."""
        if self._is_one_hot:
            number, row = row, np.zeros(self.size, "<f4")
            row[number] = 1
        return np.asarray(row, "<f4").tobytes()

    def fingerprint(self):
        """Hash of all labels."""
        digest = hashlib.md5(repr(self.names).encode())
        if not isinstance(self._rows, np.ndarray):
            for key, row in sorted(self._rows.items()):
                digest.update(repr(key).encode() + self._bytes(row))
        elif self._is_one_hot:
            for number in self._rows:
                digest.update(self._bytes(number))
        else:
            for start in range(0, len(self._rows), _AT_ONCE):
                rows = self._rows[start : start + _AT_ONCE]
                digest.update(np.ascontiguousarray(rows).tobytes())
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
    classes = {key: folder[shared] for key, folder in folders.items()}
    return _one_hot(classes, "--labels folders")


def from_file(path, source, column=None):
    """Labels out of a file.

    JSON: ``{"labels": [["a/b.png", 3], ...]}`` as StyleGAN2-ADA has it, or ``{"a/b.png": 3, ...}``.
    CSV: ``a/b.png,3`` per line, a header is recognised; further columns make a vector. A label is
        the number of a class, its name, or a vector of numbers. An .npy file holds [N] or [N, label
        size] in the order of the pictures. With ``column``: see label_columns.
    """
    if column is not None:
        table = read_column(path, column, list(source.label_keys()))
        return _of_pictures(table, source, f"--labels {path}: column {column}")
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
        raise UserError(f"--labels {path}: cannot be understood: {one_line(error)}") from error
    return _of_pictures(table, source, f"--labels {path}")


def from_dataset_json(data, where, folder, source):
    """Labels of the dataset.json that StyleGAN3's tool puts beside the pictures.

    Args:
      data: bytes of the file.
      where: it is, for messages.
      folder: that holds it, as the pictures' paths begin, "" or "set/".
      source: of the pictures.

    Returns:
      Labels; None if there are none in it.
    """
    try:
        info = json.loads(data.decode("utf-8"))
        entries = info.get("labels") if isinstance(info, dict) else None
        table = {folder + name: value for name, value in entries or ()}
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{where}: cannot be understood: {one_line(error)}; prepare_data.py --labels none "
            "leaves it out"
        ) from error
    return _of_pictures(table, source, where) if table else None


def from_array(path, count, places=None):
    """Labels in the order of the pictures: class numbers [N] or rows [N, label size]."""
    where = f"--labels {path}"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{where}: cannot be read: {one_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise UserError(
            f"{where}: is an archive of arrays; give one array, as numpy.save writes it"
        )
    if array.ndim not in (1, 2) or len(array) != count:
        raise UserError(f"{where}: holds labels {list(array.shape)} for {count} images")
    if array.ndim == 2:
        return from_rows(array, where, places)
    if array.dtype.kind not in "ui":
        raise UserError(f"{where}: class numbers must be integers from 0 up")
    return from_numbers(array, where, places)


def from_rows(array, where, places=None):
    """Labels out of numbers [N, label size] in the order of the pictures.

    Args:
      array: the numbers, which are looked at a part at a time.
      where: they are from, for messages.
      places: {key: place} if the pictures have other keys than their place.
    """
    if array.dtype.kind not in "fuib":
        raise UserError(f"{where}: labels must be numbers, found {array.dtype}")
    if not array.shape[1]:
        raise UserError(f"{where}: labels are empty vectors; leave them out with --labels none")
    for start in range(0, len(array), _AT_ONCE):
        with np.errstate(over="ignore"):
            is_right = np.isfinite(array[start : start + _AT_ONCE].astype(np.float32))
        if not is_right.all():
            row = start + int(np.argmin(is_right.all(1)))
            raise UserError(f"{where}: labels must be finite numbers; row {row} is not")
    return Labels(array, places=places)


def from_numbers(array, where, places=None, classes_num=None):
    """Labels out of the numbers of classes [N] in the order of the pictures, one-hot."""
    least, most = int(array.min()), int(array.max())
    if least < 0:
        raise UserError(f"{where}: class numbers must be integers from 0 up, found {least}")
    classes_num = max(classes_num or 0, most + 1)
    _check_classes(classes_num, where)
    return Labels(array, places=places, classes_num=classes_num)


def _check_classes(number, where):
    """Raise UserError if there are too many classes for one-hot labels."""
    if number > MAX_CLASSES:
        raise UserError(
            f"{where}: {number} classes; at most {MAX_CLASSES} can be labels, as each image gets a "
            "number for every class. Numbers must count the classes without gaps; names do not "
            "need to"
        )


def _read_json(path):
    """{name: value}."""
    data = json.loads(Path(path).read_text(**_TEXT))
    entries = data.get("labels", data) if isinstance(data, dict) else data
    if entries is None:
        raise ValueError("its 'labels' are null")
    return dict(entries)


def _read_csv(path):
    """{name: value}."""
    with Path(path).open(newline="", **_TEXT) as file:
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


def _of_pictures(table, source, where):
    """{key: value} => Labels of the pictures of a source, which must all be there."""
    keys = list(source.label_keys())
    missing = [key for key in keys if key not in table]
    if missing:
        raise UserError(
            f"{where}: has no label for {len(missing)} of {len(keys)} images, the first: "
            f"{missing[0]}; prepare_data.py --labels none prepares the set without labels"
        )
    return _to_labels({key: table[key] for key in keys}, where)


def _to_labels(table, where):
    """{key: number of a class, name of a class, or vector} => Labels."""
    kinds = {type(value) for value in table.values()}
    if kinds == {int} and min(table.values()) >= 0:
        classes_num = max(table.values()) + 1
        _check_classes(classes_num, where)
        return Labels(table, classes_num=classes_num)
    if kinds == {str}:
        return _one_hot(table, where)
    if kinds == {list} and len({len(value) for value in table.values()}) == 1:
        return Labels({key: _vector(key, value, where) for key, value in table.items()})
    raise UserError(
        f"{where}: labels must be all class numbers from 0 up, all class names, or all vectors of "
        "one length"
    )


def _vector(key, value, where):
    """A list as float32 [label size]; UserError unless it holds finite numbers."""
    if not value:
        raise UserError(f"{where}: labels are empty vectors; leave them out with --labels none")
    found = next((item for item in value if type(item) not in (int, float)), None)
    if found is None:
        with contextlib.suppress(OverflowError), np.errstate(over="ignore"):
            row = np.array(value, np.float32)
            if np.isfinite(row).all():
                return row
        found = value
    text = repr(found) if len(repr(found)) < 50 else f"{repr(found)[:50]}..."
    raise UserError(f"{where}: labels must be finite numbers; that of {key} holds {text}")


def _one_hot(classes, where):
    """{key: name of its class} => Labels."""
    names = sorted(set(classes.values()))
    _check_classes(len(names), where)
    numbers = {name: number for number, name in enumerate(names)}
    table = {key: numbers[name] for key, name in classes.items()}
    return Labels(table, names, classes_num=len(names))
