"""Small helpers: logging, files, times; and those of StyleGAN2's ``dnnlib.util``."""

from __future__ import annotations

import sys
import urllib.parse
import urllib.request
from typing import IO, Any

from dnnlib.fetch import fetch
from dnnlib.files import (  # noqa: F401
    atomic_write,
    cache_folder,
    drop_if_full,
    explain_full_disk,
    lock,
    log,
    log_to,
    log_to_file_only,
    make_folder,
)
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
    if url.startswith("file:"):
        url = urllib.request.url2pathname(urllib.parse.urlparse(url).path)
    return fetch(url, folder=cache_dir, tries=num_attempts, verbose=verbose).open("rb")


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
