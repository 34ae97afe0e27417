"""Small helpers: logging, files, times; and those of StyleGAN2's ``dnnlib.util``."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import sys
import tempfile
import urllib.parse
import urllib.request
from typing import IO, Any, Iterator

from dnnlib.errors import UserError
from dnnlib.objects import (  # noqa: F401 - StyleGAN2's scripts find these here
    call_func_by_name,
    copy_files_and_create_dirs,
    get_dtype_and_ctype,
    get_module_dir_by_obj_name,
    get_module_from_obj_name,
    get_obj_by_name,
    get_obj_from_module,
    get_top_level_function_name,
    is_pickleable,
    is_top_level_function,
    list_dir_recursively_with_ignore,
    tuple_product,
)

_log_file: IO[bytes] | None = None
_FULL = (errno.ENOSPC, errno.EDQUOT)


class EasyDict(dict):
    """A dict whose string keys can also be read, set and deleted as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None


def log(text: str = "") -> None:
    """Write one line to standard output, and to the file chosen with :func:`log_to`, if any."""
    line = f"{text}\n"
    sys.stdout.write(line)
    sys.stdout.flush()
    if _log_file is not None:
        with drop_if_full():
            _log_file.write(line.encode("utf-8"))


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


class Logger:
    """Standard output and error, written to a file too, until it is closed.

    Args:
      file_name: of the file; None writes none.
      file_mode: "w" or "a".
      should_flush: write through at once.
    """

    def __init__(
        self, file_name: str | None = None, file_mode: str = "w", should_flush: bool = True
    ) -> None:
        self._file = None
        if file_name is not None:
            self._file = open(file_name, file_mode, encoding="utf-8")  # noqa: SIM115, PTH123 - see close
        self._should_flush = should_flush
        self._stdout, self._stderr = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self  # type: ignore[assignment]

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def write(self, text: str | bytes) -> None:
        """Write to standard output and to the file."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self._stdout.write(text)
        self.write_to_file(text)
        if self._should_flush:
            self.flush()

    def write_to_file(self, text: str) -> None:
        """Write to the file alone; what a full disk has no room for is dropped."""
        if self._file is not None:
            with drop_if_full():
                self._file.write(text)

    def flush(self) -> None:
        """Write through."""
        self._stdout.flush()
        if self._file is not None:
            with drop_if_full():
                self._file.flush()

    def isatty(self) -> bool:
        """Whether somebody looks at the output."""
        return self._stdout.isatty()

    def close(self) -> None:
        """Give standard output and error back."""
        if sys.stdout is self:
            sys.stdout = self._stdout
        if sys.stderr is self:
            sys.stderr = self._stderr
        if self._file is not None:
            with drop_if_full():
                self._file.close()
            self._file = None


def ask_yes_no(question: str) -> bool:
    """Ask on the terminal until the answer is yes or no."""
    answers = {"y": True, "yes": True, "n": False, "no": False}
    while True:
        answer = input(f"{question} [y/n] ").strip().lower()
        if answer in answers:
            return answers[answer]


def is_url(obj: Any, allow_file_urls: bool = False) -> bool:
    """Whether an object is a URL, http or https; or file, where that is allowed."""
    if not isinstance(obj, str):
        return False
    parts = urllib.parse.urlparse(obj)
    if parts.scheme == "file":
        return allow_file_urls
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def open_url(
    url: str, cache_dir: str | None = None, num_attempts: int = 10, verbose: bool = True
) -> IO[bytes]:
    """Open a URL, a ``gdrive:`` name, or a path for reading in binary; downloads are cached.

    Args:
      url: "https://...", "file:///...", "gdrive:..." or a path.
      cache_dir: folder of downloads; None: the project's own.
      num_attempts: tries without a single byte in between before it fails.
      verbose: say what is downloaded.

    Raises:
      UserError: there is no such file, or it cannot be downloaded as a whole.
    """
    from dnnlib import fetch  # noqa: PLC0415 - it imports this module

    if url.startswith("file:"):
        url = urllib.request.url2pathname(urllib.parse.urlparse(url).path)
    return fetch.fetch(url, folder=cache_dir, tries=num_attempts, verbose=verbose).open("rb")


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


def format_time(seconds: float) -> str:
    """Write a duration for people: ``45s``, ``2m 05s``, ``3h 07m 09s``, ``1d 02h 00m``."""
    total = round(seconds)
    minutes, secs = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if total < 60:
        return f"{secs}s"
    if total < 60 * 60:
        return f"{minutes}m {secs:02d}s"
    if total < 24 * 60 * 60:
        return f"{hours}h {minutes:02d}m {secs:02d}s"
    return f"{days}d {hours:02d}h {minutes:02d}m"
