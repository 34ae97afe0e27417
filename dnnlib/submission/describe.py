"""``run.json``: what is needed to make a run again."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

from dnnlib import util
from dnnlib.submission.names import get_user_name

RUN_NAME = "run.json"


def _git(*arguments: str) -> str | None:
    """Output of git in the project's folder; None without git or outside of a repository."""
    root = str(pathlib.Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(
            ["git", "-C", root, *arguments], stdout=-1, stderr=-3, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _package_versions() -> dict[str, str]:
    """Versions of the packages that are loaded and matter for the numbers."""
    names = ("tensorflow", "numpy", "scipy", "PIL")
    loaded = {name: sys.modules.get(name) for name in names}
    return {name: str(module.__version__) for name, module in loaded.items() if module}


def describe_run(run_dir: str | os.PathLike) -> None:
    """Write what is needed to make a run again: ``run.json``, and ``git.diff`` of local changes.

    A run that is continued adds an entry. Holds the command, folder, time, host, user, Python,
    versions of packages, and the git commit.
    """
    path = pathlib.Path(run_dir) / RUN_NAME
    commit, diff = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    entry = {
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": [sys.executable, *sys.argv],
        "folder": os.getcwd(),
        "host": platform.node(),
        "user": get_user_name(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": _package_versions(),
        "git_commit": commit.strip() if commit else None,
        "has_local_changes": bool(diff),
    }
    _write(path, [*_read(path), entry])
    if diff:
        with util.atomic_write(pathlib.Path(run_dir) / "git.diff", "w") as file:
            file.write(diff)


def note_facts(run_dir: str | os.PathLike, **facts: Any) -> None:
    """Add what is known later, such as the devices, to the last entry of ``run.json``."""
    path = pathlib.Path(run_dir) / RUN_NAME
    *entries, last = _read(path) or [{}]
    _write(path, [*entries, {**last, "packages": _package_versions(), **facts}])


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The entries so far; none if they are damaged."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return []


def _write(path: pathlib.Path, entries: list[dict[str, Any]]) -> None:
    with util.atomic_write(path, "w") as file:
        file.write(json.dumps(entries, indent=2) + "\n")
