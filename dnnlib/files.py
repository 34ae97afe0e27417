"""Files that are whole or not there, full disks, locks, and the log."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pathlib
import sys
import tempfile
from typing import IO, Any, Iterator

from dnnlib.errors import UserError

_log_file: IO[bytes] | None = None
_FULL = (errno.ENOSPC, errno.EDQUOT)


def log(text: str = "") -> None:
    """Write one line to standard output, and to the file chosen with :func:`log_to`, if any."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    log_to_file_only(text)


def log_to_file_only(text: str) -> None:
    """Write one line to the file chosen with :func:`log_to`, if any."""
    if _log_file is not None:
        with drop_if_full():
            _log_file.write(f"{text}\n".encode())


@contextlib.contextmanager
def log_to(path: str | os.PathLike) -> Iterator[None]:
    """Within this context, append everything that is logged to the file at ``path``.

    Contexts nest: the innermost file gets the lines. Those that a full disk has no room for are
    dropped.
    """
    global _log_file  # noqa: PLW0603 - one log per process is the point
    outer = _log_file
    # Without a buffer: it would keep a refused line, and fail again when it is closed.
    with pathlib.Path(path).open("ab", buffering=0) as file:
        _log_file = file
        try:
            yield
        finally:
            _log_file = outer


def _current_umask() -> int:
    """Permission bits that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def explain_full_disk(message: str) -> Iterator[None]:
    """Within this context, a full disk raises a UserError with this message."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UserError(message) from error


@contextlib.contextmanager
def drop_if_full() -> Iterator[None]:
    """Within this context, what a full disk has no room for is left out."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise


@contextlib.contextmanager
def lock(path: str | os.PathLike) -> Iterator[None]:
    """One process at a time; where files cannot be locked, all of them."""
    try:
        import fcntl  # noqa: PLC0415 - exists on Unix only
    except ImportError:
        yield
        return
    with pathlib.Path(path).open("w", encoding="utf-8") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def file_digest(path: str | os.PathLike, kind: str = "sha256", title: str | None = None) -> str:
    """Checksum of a file in hexadecimal; with a title, a progress bar is shown."""
    digest, size, is_hidden = hashlib.new(kind), os.path.getsize(path), None if title else True
    from tqdm import tqdm  # noqa: PLC0415 - for the kernels' benchmark NumPy is enough

    bar = tqdm(total=size, unit="B", unit_scale=True, desc=f"checking {title}", disable=is_hidden)
    with pathlib.Path(path).open("rb") as file, bar:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def cache_folder(variable: str, *below: str) -> pathlib.Path:
    """The folder that an environment variable names, else one below the user's cache folder."""
    if os.environ.get(variable):
        return pathlib.Path(os.environ[variable])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base, "gansformer", *below)


def make_folder(path: str | os.PathLike, flag: str) -> pathlib.Path:
    """Create a folder, with its parents, and see that files can be written in it.

    Args:
      path: of the folder.
      flag: that names it, for the message.

    Raises:
      UserError: that is impossible.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            return folder
    except OSError as error:
        raise UserError(
            f"{flag}={path}: no files can be written there ({error.strerror}); name another folder"
        ) from error


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under its name only once it is complete.

    The contents go to a temporary file in the same folder, which is synced to disk and renamed at
    the end. If anything fails, the temporary file is removed and an earlier file stays as it was.

    Args:
      path: final name.
      mode: "wb" or "w" (UTF-8).

    Yields:
      The open temporary file.

    Raises:
      UserError: the disk is full, or the folder takes no files.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode must be 'wb' or 'w', got {mode!r}")
    path = os.path.abspath(os.fspath(path))
    folder, name = os.path.split(path)
    encoding = None if "b" in mode else "utf-8"
    kept = "; the earlier file is kept" if os.path.exists(path) else ""
    message = f"{path}: not saved, the disk is full{kept}; free some space"
    temporary = None
    try:
        with explain_full_disk(message):
            handle, temporary = _open_temporary(folder, name)
            with os.fdopen(handle, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_current_umask())  # mkstemp makes it private
            os.replace(temporary, path)
            temporary = None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.remove(temporary)
    _sync_folder(folder)


def _open_temporary(folder: str, name: str) -> tuple[int, str]:
    """A new file that will become ``name``: its handle and path."""
    try:
        return tempfile.mkstemp(prefix=f".{name[:100]}.", suffix=".tmp", dir=folder)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise UserError(
            f"{os.path.join(folder, name)}: cannot be written ({error.strerror}); "
            "name another folder"
        ) from error


def _sync_folder(folder: str) -> None:
    """Make a rename in ``folder`` survive a power cut, where the file system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
