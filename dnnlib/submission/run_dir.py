"""Run directories: ``results/<expname>-NNN/`` with ``config.json`` and ``log.txt``."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
from typing import Any, Callable, Iterator

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.submission import run_lock

CONFIG_NAME = "config.json"
LOG_NAME = "log.txt"
# What a run directory holds before the run has a configuration.
LEFT_BY_REFUSED = {LOG_NAME, "run.json", "git.diff", ".lock", "job.sh"}
NEEDED = ("flags", "loop", "facts")  # parts of a configuration that every reader relies on


def check_name(expname: str) -> None:
    """Raise UserError unless the name can be a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", expname):
        rule = "use letters, digits, '_', '-' and '.', not beginning with '-' or '.'"
        raise UserError(f"--expname={expname} cannot name a folder; {rule}")


def find_runs(result_dir: str, expname: str) -> list[pathlib.Path]:
    """Run directories of an experiment, oldest first.

    The name has to match exactly: ``exp-foo-000`` is no run of ``exp``.
    """
    folder = pathlib.Path(result_dir)
    pattern = re.compile(re.escape(expname) + r"-(\d{3,})")
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match and path.is_dir():
            found.append((int(match.group(1)), path))
    return [path for _, path in sorted(found)]


def latest_run(result_dir: str, expname: str) -> pathlib.Path | None:
    """The newest run directory of an experiment; None if there is none."""
    check_name(expname)
    runs = find_runs(result_dir, expname)
    return runs[-1] if runs else None


def kimg_text(nimg: int, is_fine: bool = False) -> str:
    """Images shown, as names of files have it: 12000 => "000012", finely 12512 => "000012.512"."""
    rest = f".{nimg % 1000:03d}" if is_fine and nimg % 1000 else ""
    return f"{nimg // 1000:06d}{rest}"


def named_kimg(name: str, kind: str) -> float | None:
    """Thousands of images that a file name tells, such as ``network-snapshot-000012.512.pkl``.

    Args:
      name: of the file.
      kind: what it begins with, such as "network-snapshot".

    Returns:
      int, or float if the name is finer; None if the name is not of this kind.
    """
    match = re.fullmatch(rf"{re.escape(kind)}-(\d{{6,}})(\.\d{{3}})?\.\w+", name)
    if not match:
        return None
    return float(match.group(1) + match.group(2)) if match.group(2) else int(match.group(1))


def snapshot_kimg(path: pathlib.Path) -> float | None:
    """Thousands of images that a snapshot's name tells; None if it is no snapshot's name."""
    return named_kimg(path.name, "network-snapshot") if path.suffix == ".pkl" else None


def find_snapshots(run_dir: str | pathlib.Path) -> list[tuple[float | None, pathlib.Path]]:
    """Snapshots of a run, (kimg, path) in the order of the training.

    ``network-final.pkl`` equals the last numbered one; it counts, with None as its kimg, only if
    there is no other.
    """
    final = pathlib.Path(run_dir) / "network-final.pkl"
    found = [(snapshot_kimg(path), path) for path in final.parent.iterdir()]
    numbered = sorted((kimg, path) for kimg, path in found if kimg is not None)
    return numbered or [(None, path) for path in (final,) if path.exists()]


def newest_snapshot(result_dir: str, expname: str) -> pathlib.Path | None:
    """The snapshot of the most kimg in the newest run that has any; None if there is none."""
    check_name(expname)
    for run in reversed(find_runs(result_dir, expname)):
        for _, path in find_snapshots(run)[-1:]:
            return path
    return None


def create_run(result_dir: str, expname: str) -> pathlib.Path:
    """Make the next run directory of an experiment."""
    check_name(expname)
    pattern = re.escape(expname) + r"-(\d{3,})"
    return create_numbered(result_dir, pattern, lambda number: f"{expname}-{number:03d}")


def discard_unused(run_dir: str | pathlib.Path) -> None:
    """Remove the directory of a run that was refused before it had a configuration.

    Not if another process holds it, which may just be starting there.
    """
    process = run_lock.holder(run_dir)
    if process is not None and process.get("pid") != os.getpid():
        return
    if {path.name for path in pathlib.Path(run_dir).iterdir()} <= LEFT_BY_REFUSED:
        shutil.rmtree(str(run_dir))


def create_numbered(result_dir: str, pattern: str, spell: Callable[[int], str]) -> pathlib.Path:
    """Make a folder whose number follows the largest there is.

    Safe against others that do the same at the same time: each gets a number of its own.

    Args:
      result_dir: the folder around it.
      pattern: regular expression of the names that count; its group is the number.
      spell: number => name.

    Raises:
      UserError: it cannot be made.
    """
    folder = pathlib.Path(result_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            matches = [re.fullmatch(pattern, path.name) for path in folder.iterdir()]
            number = max([int(match.group(1)) for match in matches if match], default=-1) + 1
            path = folder / spell(number)
            try:
                path.mkdir()
                return path
            except FileExistsError:
                if not path.is_dir():
                    raise  # a file has this name
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--result-dir={result_dir}: cannot make a folder: {reason}") from error


def save_config(run_dir: str | pathlib.Path, config: dict[str, Any]) -> None:
    """Write config.json, as a whole or not at all."""
    with util.atomic_write(pathlib.Path(run_dir) / CONFIG_NAME, "w") as file:
        file.write(json.dumps(config, indent=2) + "\n")


def load_config(run_dir: str | pathlib.Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
      UserError: it is missing or damaged.
    """
    path = pathlib.Path(run_dir) / CONFIG_NAME
    way_out = "use another --expname, or put the file back"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {way_out}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {way_out}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged (no JSON object); {way_out}")
    lost = [name for name in NEEDED if not isinstance(config.get(name), dict)]
    if lost:
        raise UserError(f"{path} is damaged (no {', '.join(lost)}); {way_out}")
    return config


@contextlib.contextmanager
def open_log(run_dir: str | pathlib.Path) -> Iterator[None]:
    """Within this context, whatever is logged is appended to the run's log.txt as well."""
    with util.log_to(pathlib.Path(run_dir) / LOG_NAME):
        yield
