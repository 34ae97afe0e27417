"""Files in parts that fit through a narrow door, with checksums, and joined again. No packages.

A folder of parts holds ``manifest.json``: for each file its name, size, SHA-256, and its parts.
Everything is written beside its place and then renamed, and is left alone if it is there already:
what was cut is done again, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import Iterator

MANIFEST = "manifest.json"
MEGABYTE = 1 << 20
_BLOCK = 1 << 22


class PartsError(Exception):
    """Parts are missing or damaged, or something else is in the way; the message is one line."""


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            total.update(block)
    return total.hexdigest()


def is_whole(path: pathlib.Path, entry: dict) -> bool:
    """Whether a file is what an entry of the manifest says, with "size" and "sha256"."""
    return (
        path.is_file() and path.stat().st_size == entry["size"] and digest(path) == entry["sha256"]
    )


def split(files: list[pathlib.Path], folder: pathlib.Path, part_size: int) -> dict:
    """Cut files into parts, and write the manifest.

    Args:
      files: of different names.
      folder: for the parts; made if need be.
      part_size: most bytes of a part.

    Returns:
      The manifest: {"files": [{"name", "size", "sha256", "parts": [{"name", "size", "sha256"}]}]}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {}
    if (folder / MANIFEST).exists():
        known = {entry["name"]: entry for entry in read_manifest(folder)["files"]}
    entries = []
    for path in sorted(files):
        entry = known.get(path.name)
        if entry is None or not _is_split(path, entry, folder, part_size):
            entry = _split_one(path, folder, part_size)
        entries.append(entry)
    manifest = {"files": entries}
    write(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
    wanted = {part["name"] for entry in entries for part in entry["parts"]}
    for path in folder.glob("*.part*"):
        if path.name not in wanted:
            path.unlink()
    return manifest


def _is_split(path, entry, folder, part_size):
    sizes = [part["size"] for part in entry["parts"]]
    return (
        all(size == part_size for size in sizes[:-1])
        and sizes[-1] <= part_size
        and is_whole(path, entry)
        and all(is_whole(folder / part["name"], part) for part in entry["parts"])
    )


def _split_one(path, folder, part_size):
    """Cut one file; returns its entry."""
    total, size, parts = hashlib.sha256(), path.stat().st_size, []
    with path.open("rb") as file:
        for number in range(max(1, -(-size // part_size))):
            data = file.read(part_size)
            total.update(data)
            name = f"{path.name}.part{number:03d}"
            write(folder / name, data)
            part = dict(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            parts.append(part)
    return dict(name=path.name, size=size, sha256=total.hexdigest(), parts=parts)


def read_manifest(folder: pathlib.Path) -> dict:
    """The manifest of a folder of parts.

    Raises:
      PartsError: there is none.
    """
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PartsError(f"{folder / MANIFEST}: {error}; run pack.py, and bring it here") from error


def missing(manifest: dict, folder: pathlib.Path) -> list[str]:
    """Names of the parts that are not there, or damaged."""
    parts = (part for entry in manifest["files"] for part in entry["parts"])
    return [part["name"] for part in parts if not is_whole(folder / part["name"], part)]


def join(manifest: dict, folder: pathlib.Path, target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Put the files together again; yields each of them.

    Args:
      manifest: see :func:`split`.
      folder: of the parts.
      target: folder for the files.

    Raises:
      PartsError: a part is missing or damaged; those that are, are named.
    """
    lacking = missing(manifest, folder)
    if lacking:
        raise PartsError(
            f"{folder}: {len(lacking)} parts are missing or damaged; bring {', '.join(lacking)}"
        )
    target.mkdir(parents=True, exist_ok=True)
    for entry in manifest["files"]:
        path = target / entry["name"]
        if not is_whole(path, entry):
            beside = path.with_name(path.name + ".unfinished")
            with beside.open("wb") as file:
                for part in entry["parts"]:
                    file.write((folder / part["name"]).read_bytes())
            os.replace(str(beside), str(path))
            if not is_whole(path, entry):  # the parts were
                raise PartsError(f"{path}: differs from its checksum; run pack.py again")
        yield path


def write(path: pathlib.Path, data: bytes) -> None:
    """Write a file at once: it is there as a whole, or as it was before."""
    beside = path.with_name(path.name + ".unfinished")
    beside.write_bytes(data)
    os.replace(str(beside), str(path))
