"""Headless Chromium for tests of pages: a picture of a page, and the page after its script ran."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",  # which a container's root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
TIMEOUT = 240  # seconds; a browser takes one or two, unless the machine is very busy


def find():
    """Path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def require():
    """Path of a Chromium; skips the test where there is none."""
    path = find()
    if path is None:
        pytest.skip(f"no Chromium on the PATH ({', '.join(NAMES)}); Debian's package is chromium")
    return path


def screenshot(url, path, size=(1200, 900), wait_ms=2000, dark=False):
    """Write a PNG of a page as it looks ``wait_ms`` of its own time after loading.

    Args:
      url: http://127.0.0.1... or file:///...
      path: of the PNG.
      size: (width, height) of the window in pixels.
      wait_ms: milliseconds of the page's clock, which waits for requests under way.
      dark: whether the page is asked for its dark colours.
    """
    path = os.path.abspath(str(path))
    flags = [f"--screenshot={path}", f"--window-size={size[0]},{size[1]}"]
    _run(url, wait_ms, [*flags, *(["--force-dark-mode"] if dark else [])])
    assert os.path.getsize(path) > 0


def dump_dom(url, size=(1200, 900), wait_ms=2000):
    """The page's HTML as it is ``wait_ms`` of its own time after loading, scripts included."""
    return _run(url, wait_ms, ["--dump-dom", f"--window-size={size[0]},{size[1]}"])


@contextlib.contextmanager
def _empty_folder():
    """A folder that is removed as far as a helper process that still dies lets it be."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(url, wait_ms, flags):
    """Standard output of one run in an empty profile; leaves no process behind."""
    browser = require()
    with _empty_folder() as folder, tempfile.TemporaryFile() as errors:
        flags = [*FLAGS, f"--user-data-dir={folder}/profile", *flags]
        command = [browser, *flags, f"--virtual-time-budget={wait_ms}", str(url)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,  # a file: a helper process that lives on cannot hold it open
            env={**os.environ, "HOME": folder},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        assert process.returncode == 0, errors.read().decode(errors="replace")[-2000:]
    return output.decode("utf-8")
