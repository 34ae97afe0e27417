"""Labels out of one column of a table about the pictures: a JSON file of objects, or a CSV file."""

from __future__ import annotations

import collections
import csv
import json
import posixpath
from pathlib import Path

from datasets_tool.sources.base import one_line
from dnnlib.errors import UserError, must_be_one_of

_TEXT = {"encoding": "utf-8-sig", "errors": "surrogateescape"}  # as labels.py reads names


def read_column(path, column, keys):
    """The labels of pictures in one column of a table.

    The column that names the pictures is the one in which most of them are found, by path or by the
    name of the file alone. An object within another one has the outer one's columns too, unless it
    has its own.

    Args:
      path: a .json or .csv file; of the latter the first line names the columns.
      column: the one with the labels.
      keys: of all pictures, paths or numbers.

    Returns:
      {key: number or name of a class, or vector}; only of the pictures that were found.

    Raises:
      UserError: no such column, no pictures found, or two labels for one picture.
    """
    where = f"--labels {path}"
    rows = _read_rows(path, where)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if column not in columns:
        raise UserError(f"--label-column: {must_be_one_of(column, columns)} of {path}")
    by_name = _by_name(keys)
    counts = collections.Counter(
        name
        for row in rows
        for name, value in row.items()
        if isinstance(value, str) and value in by_name
    )
    if not counts:
        raise UserError(f"{where}: no column holds the names of images, such as {next(iter(keys))}")
    name_column = counts.most_common(1)[0][0]
    table = {}
    for row in rows:
        name = row.get(name_column)
        if not isinstance(name, str) or name not in by_name or column not in row:
            continue
        key, value = by_name[name], row[column]
        if table.setdefault(key, value) != value:
            raise UserError(
                f"{where}: {name} has two labels in column {column}, {table[key]} and {value}"
            )
    if path.lower().endswith(".csv") and all(value.isdigit() for value in table.values()):
        return {key: int(value) for key, value in table.items()}
    return table


def _by_name(keys):
    """{path, or name of the file if no other has it: key}."""
    files = [posixpath.basename(str(key).replace("\\", "/")) for key in keys]
    counts = collections.Counter(files)
    by_file = {file: key for file, key in zip(files, keys) if counts[file] == 1}
    return {**by_file, **{str(key): key for key in keys}}


def _read_rows(path, where):
    """A list of dicts, one for each object or line."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", ".csv"):
        raise UserError(f"{where}: --label-column names a column of a .json or .csv file")
    try:
        if suffix == ".json":
            return list(_objects(json.loads(Path(path).read_text(**_TEXT)), {}))
        with Path(path).open(newline="", **_TEXT) as file:
            return [
                {name: value.strip() for name, value in row.items() if name and value}
                for row in csv.DictReader(file, restkey=None)
            ]
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, csv.Error, AttributeError) as error:
        raise UserError(f"{where}: cannot be understood: {one_line(error)}") from error


def _objects(value, outer):
    """Yield each object in a JSON value, the outer ones first, with the columns it inherits."""
    if isinstance(value, dict):
        is_plain = {name: item for name, item in value.items() if not isinstance(item, dict)}
        outer = {**outer, **is_plain}
        yield outer
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                yield from _objects(item, outer)
