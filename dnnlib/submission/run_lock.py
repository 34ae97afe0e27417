"""Who works in a run directory: one process at a time, whose name the lock file tells."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import time
from typing import Any, Iterator

from dnnlib.errors import UserError

LOCK_NAME = ".lock"
_PATIENCE = 1.0  # seconds; whoever asks who works here holds the lock for a moment

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def hold(run_dir: str | os.PathLike) -> Iterator[bool]:
    """Hold a run directory, so that no second process works in it.

    The system releases it when the process ends, in whatever way.

    Yields:
      Whether it is held; False on a file system, or a system, without locks.

    Raises:
      UserError: another process holds it.
    """
    if fcntl is None:
        yield False
        return
    with (pathlib.Path(run_dir) / LOCK_NAME).open("a+", encoding="utf-8") as file:
        is_held = _try_lock(file, run_dir)
        if is_held:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": platform.node()}))
            file.flush()
        yield is_held


def _try_lock(file, run_dir) -> bool:
    """Whether the file is locked now; False where files cannot be."""
    deadline = time.time() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.time() > deadline:
                raise UserError(
                    f"{run_dir} is being trained by another process; wait for it, "
                    "or use another --expname"
                ) from None
            time.sleep(0.1)
        except OSError:
            return False


def holder(run_dir: str | os.PathLike) -> dict[str, Any] | None:
    """The process that works in a run directory, {"pid": int, "host": name}; None without one.

    An empty dict if there is one that has not told its name yet.
    """
    if fcntl is None:
        return None
    try:
        with (pathlib.Path(run_dir) / LOCK_NAME).open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with contextlib.suppress(ValueError):
                    return dict(json.loads(file.read()))
                return {}
    except OSError:  # no such file, or no locks
        pass
    return None
