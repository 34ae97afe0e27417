"""Write a dataset folder so that it is either whole or visibly unfinished.

While a set is made, everything lies in ``<folder>/.partial``: the growing files, and
``progress.json``, which says up to which byte of each file and up to which picture of the source
the work is safely on disk. A run that was interrupted cuts the files back to that point and goes
on. At the end the files are renamed into the folder, and ``dataset.json`` comes last.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import zlib

import numpy as np

from dnnlib.errors import UserError
from dnnlib.util import atomic_write, explain_full_disk

try:
    import fcntl
except ImportError:  # no lock where the system has none
    fcntl = None

PARTIAL = ".partial"
TOOL_VERSION = 1  # to be raised when the same recipe gives other files
NPY_HEADER_BYTES = 128
# Progress is noted so often, but less often on a disk where that takes more than this part of the
# time. Short intervals leave little to be done over, and little to wait for at the end.
_SYNC_SECONDS, _SYNC_SHARE = 1.0, 0.05
# What a set consists of, apart from dataset.json; only such files are ever replaced.
_OWN_FILES = (".labels", ".masks.npy", ".scenes.jsonl.gz")


def npy_header(shape, dtype):
    """Header of a .npy file (version 1), padded to NPY_HEADER_BYTES."""
    fields = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
    text = repr(fields).encode()
    room = NPY_HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


class _Stream:
    """A file that only grows; knows its size and its running CRC-32."""

    def __init__(self, path, size=0, crc=0):
        self.path, self.size, self.crc = path, size, crc
        self._file = open(path, "r+b" if size else "wb")  # noqa: SIM115, PTH123 - closed by close()
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, data):
        self._file.write(data)
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def sync(self):
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self):
        self._file.close()


class SetWriter:
    """Writes the shards and side files of one set.

    Args:
      folder: the set's folder; its name is the set's name.
      recipe: JSON-able dict of all that decides the contents; an interrupted run goes on only if
        its recipe was the same.
      levels: sides of the images to be written, the largest first.
      shards_num: shards per level; image j goes to shard j mod shards_num.
      side_files: {suffix: npy dtype and row shape, or None for free-form bytes}.

    Attributes:
      consumed: pictures of the source that are done (written or skipped).
      written: images written.
      tally: free dict of the caller, kept with the progress.
    """

    def __init__(self, folder, recipe, levels, shards_num, side_files=None):
        self.folder = os.path.abspath(folder)
        self.name = os.path.basename(self.folder)
        self._partial = os.path.join(self.folder, PARTIAL)
        self._progress_path = os.path.join(self._partial, "progress.json")
        self._side_files = dict(side_files or {})
        self._shards_num, self._recipe = shards_num, recipe
        self._shard_names = [
            [
                f"{self.name}-r{side.bit_length() - 1:02d}.tfrecords{i + 1}of{shards_num}"
                for i in range(shards_num)
            ]
            for side in levels
        ]
        with self._explain_full_disk():
            self._lock = self._take_place()
            progress = self._load_progress()
            self.consumed, self.written = progress["consumed"], progress["written"]
            self.tally = progress["tally"]
            self._finished = progress.get("finished")
            self._streams = {}
            if not self._finished:
                self._open_streams(progress["streams"])
        self._next_sync = time.monotonic() + _SYNC_SECONDS

    @property
    def is_resumed(self):
        """Whether an interrupted run is being continued."""
        return self.consumed > 0

    @property
    def is_finished(self):
        """Whether all images were written already and only the renaming was interrupted."""
        return bool(self._finished)

    def _explain_full_disk(self):
        return explain_full_disk(
            f"{self.folder}: the disk is full; no finished set was touched. Free some space and "
            "run the same command again: it goes on where it stopped"
        )

    def _take_place(self):
        """Make the folder, and lock it."""
        try:
            os.makedirs(self._partial, exist_ok=True)
            return _take_lock(os.path.join(self._partial, "lock"), self.folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self.folder}: no set can be written there ({error.strerror}); choose another "
                "--data-dir"
            ) from error

    def _load_progress(self):
        """What an interrupted run with this recipe left; a fresh start otherwise."""
        fresh = {"consumed": 0, "written": 0, "tally": {}, "streams": {}}
        try:
            with open(self._progress_path, "rb") as file:  # noqa: PTH123
                progress = json.loads(file.read().decode("utf-8"))
        except (OSError, ValueError):  # there is none, or another program has written it
            return fresh
        if not _is_progress(progress) or progress["recipe"] != json.loads(json.dumps(self._recipe)):
            return fresh
        for name, (size, _) in progress["streams"].items():
            path = os.path.join(self._partial, name)
            if not progress.get("finished") and (
                not os.path.isfile(path) or os.path.getsize(path) < size
            ):
                return fresh
        return progress

    def _open_streams(self, states):
        """Open all files, cut back to their safe sizes."""
        names = [name for shards in self._shard_names for name in shards]
        names += [self.name + suffix for suffix in self._side_files]
        for stale in set(os.listdir(self._partial)) - set(names) - {"lock", "progress.json"}:
            os.remove(os.path.join(self._partial, stale))
        for name in names:
            path = os.path.join(self._partial, name)
            self._streams[name] = _Stream(path, *states.get(name, (0, 0)))
        if not states:
            for suffix, layout in self._side_files.items():
                if layout is not None:
                    self._streams[self.name + suffix].write(bytes(NPY_HEADER_BYTES))

    def add(self, records, side_data=None):
        """Append one image.

        Args:
          records: its framed record at each level.
          side_data: {suffix: bytes} for the side files.
        """
        shard = self.written % self._shards_num
        with self._explain_full_disk():
            for names, record in zip(self._shard_names, records):
                self._streams[names[shard]].write(record)
            for suffix, data in (side_data or {}).items():
                self._streams[self.name + suffix].write(data)
        self.written += 1

    def sync(self, force=False):
        """Note the progress if the last note is old; an interrupted run goes on from here."""
        start = time.monotonic()
        if not force and start < self._next_sync:
            return
        with self._explain_full_disk():
            for stream in self._streams.values():
                stream.sync()
            self._save_progress()
        end = time.monotonic()
        self._next_sync = end + max(_SYNC_SECONDS, (end - start) / _SYNC_SHARE)

    def _save_progress(self):
        progress = {
            "recipe": self._recipe,
            "consumed": self.consumed,
            "written": self.written,
            "tally": self.tally,
            "streams": {name: (s.size, s.crc) for name, s in self._streams.items()},
            "finished": self._finished,
        }
        with atomic_write(self._progress_path, "w") as file:
            json.dump(progress, file)

    def finish(self, info):
        """Complete the files and move them into the folder.

        Args:
          info: dict for dataset.json; the files' sizes and checksums are added here.

        Returns:
          What dataset.json holds.
        """
        if not self._finished:
            files = {}
            for name, stream in self._streams.items():
                files[name] = {"bytes": stream.size, "crc32": f"{stream.crc:08x}"}
            with self._explain_full_disk():
                for suffix, layout in self._side_files.items():
                    if layout is not None:
                        name = self.name + suffix
                        self._streams[name].sync()
                        files[name]["crc32"] = f"{self._write_header(name, layout):08x}"
                for stream in self._streams.values():
                    stream.sync()
                    stream.close()
                self._finished = dict(info, tool_version=TOOL_VERSION, files=files)
                self._save_progress()
        self._move_into_place()
        return self._finished

    def _write_header(self, name, layout):
        """Fill in the header of a .npy file, now that its length is known; returns its CRC-32."""
        dtype, row_shape = layout
        path, crc = os.path.join(self._partial, name), 0
        with open(path, "r+b") as file:  # noqa: PTH123
            file.write(npy_header((self.written, *row_shape), dtype))
            file.seek(0)
            for block in iter(lambda: file.read(1 << 20), b""):
                crc = zlib.crc32(block, crc)
        return crc

    def _move_into_place(self):
        """Rename everything; may be repeated after an interruption at any point."""
        names = self._finished["files"]
        final = os.path.join(self.folder, "dataset.json")
        with contextlib.suppress(FileNotFoundError):
            os.remove(final)
        for name in os.listdir(self.folder):
            if (".tfrecords" in name or name.endswith(_OWN_FILES)) and name not in names:
                os.remove(os.path.join(self.folder, name))
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # moved before the interruption
                os.replace(os.path.join(self._partial, name), os.path.join(self.folder, name))
        with atomic_write(final, "w") as file:
            json.dump(self._finished, file, indent=1)
            file.write("\n")
        self.close()
        shutil.rmtree(self._partial)

    def discard(self):
        """Close, and leave nothing behind unless there is progress to go on from."""
        self.close()
        if not self.is_resumed:
            shutil.rmtree(self._partial)
            with contextlib.suppress(OSError):  # other files are in it
                os.rmdir(self.folder)

    def close(self):
        """Close all files and give the lock back; what was noted as progress stays."""
        for stream in self._streams.values():
            stream.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _is_progress(value):
    """Whether a JSON value has the form of a writer's progress."""
    if not isinstance(value, dict) or not isinstance(value.get("finished"), (dict, type(None))):
        return False
    streams = value.get("streams")
    return (
        all(isinstance(value.get(key), int) for key in ("consumed", "written"))
        and all(isinstance(value.get(key), dict) for key in ("recipe", "tally", "streams"))
        and all(
            isinstance(state, list) and [type(number) for number in state] == [int, int]
            for state in streams.values()
        )
        and isinstance((value.get("finished") or {"files": {}}).get("files"), dict)
    )


def _take_lock(path, folder):
    """An open, locked file; refuses when another process prepares the same set."""
    lock = open(path, "a")  # noqa: SIM115, PTH123 - lives as long as the writer
    if fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise UserError(
                f"{folder}: another process is preparing this set; wait for it"
            ) from error
    return lock
