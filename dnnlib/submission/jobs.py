"""Runs that go on elsewhere: their state, their end, and what they print."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import signal
import sys
import time
from typing import Any, Sequence

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.submission.internal import detached, slurm
from dnnlib.submission.job_file import OUTPUT_NAME, process_start, read_job
from dnnlib.submission.run_context import ABORT_NAME, FINISHED_NAME
from dnnlib.submission.run_dir import (
    CONFIG_NAME,
    LOG_NAME,
    find_snapshots,
    latest_run,
)
from dnnlib.submission.run_lock import hold, holder

_LINES = 20  # of the past that --tail begins with
_POLL = 0.5  # seconds


def find_run(result_dir: str, name: str) -> pathlib.Path:
    """The run directory that a name means.

    Args:
      result_dir: folder of all runs.
      name: path of a run directory, its name, or an experiment's name for its latest run. Names
        have to match as a whole: exp-001 is no run of ex.

    Raises:
      UserError: there is none.
    """
    for path in (pathlib.Path(name), pathlib.Path(result_dir) / name):
        if path.is_dir():
            return path
    latest = latest_run(result_dir, name)
    if latest is None:
        raise UserError(
            f"{name}: no such run in {result_dir}; name a run, such as exp-000, an experiment, "
            "or a folder"
        )
    return latest


def submit(
    target: str, command: Sequence[str], run_dir: pathlib.Path, options: slurm.TargetOptions
) -> str:
    """Start a command elsewhere.

    Args:
      target: "detached" or "slurm".
      command: to be started, in this folder.
      run_dir: of the run, which takes what it prints.
      options: of a job of Slurm.

    Returns:
      What was started, for people.

    Raises:
      UserError: the run goes on already, or there is no Slurm.
    """
    _refuse_unless_over(run_dir, state_of(run_dir))
    with hold(run_dir):  # of two that submit at the same time, the second finds the first's job
        _refuse_unless_over(run_dir, _state_by_job(run_dir))
        if target == "slurm":
            return f"Slurm job {slurm.submit(command, run_dir, options)}"
        return f"process {detached.launch(command, run_dir)}"


def _refuse_unless_over(run_dir: pathlib.Path, state: str) -> None:
    if state not in ("stopped", "finished"):
        raise UserError(f"{run_dir} is {state}; stop it with --stop, or use another --expname")


def state_of(run_dir: pathlib.Path) -> str:
    """What a run does: running ..., waiting ..., finished or stopped."""
    process = holder(run_dir)
    if process is None:
        return _state_by_job(run_dir)
    return f"running (process {process['pid']} on {process['host']})" if process else "running"


def _state_by_job(run_dir: pathlib.Path) -> str:
    """The same, of a run that no process holds."""
    job = read_job(run_dir)
    if job.get("target") == "slurm":
        state = slurm.state_of(job["job"])
        if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD"):
            return f"waiting (Slurm job {job['job']})"
        if state:
            return f"{state.lower()} (Slurm job {job['job']})"
    if job.get("target") == "detached" and _is_starting(job):
        return f"running (process {job['pid']} on {job['host']})"
    return "finished" if (run_dir / FINISHED_NAME).exists() else "stopped"


def _is_starting(job: dict[str, Any]) -> bool:
    """Whether the process of a detached run lives: before it holds the run directory."""
    if job["host"] != platform.node():
        return False
    try:
        os.kill(job["pid"], 0)
    except OSError:
        return False
    started = process_start(job["pid"])
    return started is not None and started == job["process_started"]


def status(run_dir: pathlib.Path) -> str:
    """One line about a run: state, progress, speed, newest snapshot."""
    parts = [f"{run_dir}: {state_of(run_dir)}"]
    row, total = _last_row(run_dir), _total_kimg(run_dir)
    if row:
        parts.append(f"{row['kimg']:g}" + (f" of {total:g} kimg" if total else " kimg"))
        if row.get("sec_per_kimg"):
            parts.append(f"{row['sec_per_kimg']:.4g} s/kimg")
            if total and total > row["kimg"]:
                left = (total - row["kimg"]) * row["sec_per_kimg"]
                parts.append(f"{util.format_time(left)} to go")
    snapshots = find_snapshots(run_dir)
    if snapshots:
        parts.append(snapshots[-1][1].name)
    return ", ".join(parts)


def _last_row(run_dir: pathlib.Path) -> dict[str, Any]:
    try:
        rows = (run_dir / "stats.jsonl").read_text(encoding="utf-8").splitlines()
        return dict(json.loads(rows[-1]))
    except (OSError, ValueError, IndexError):
        return {}


def _total_kimg(run_dir: pathlib.Path) -> float | None:
    try:
        config = json.loads((run_dir / CONFIG_NAME).read_text(encoding="utf-8"))
        return config["loop"]["total_kimg"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stop(run_dir: pathlib.Path) -> str:
    """Ask a run to stop after its step, with a checkpoint.

    Returns:
      A line that says what was done.
    """
    process, job = holder(run_dir), read_job(run_dir)
    state = state_of(run_dir)
    if state in ("finished", "stopped"):
        return f"{run_dir}: {state} already"
    if process is None and job.get("target") == "slurm":
        slurm.cancel(job["job"])
        return f"{run_dir}: Slurm job {job['job']} is cancelled"
    (run_dir / ABORT_NAME).touch()  # wherever it runs
    if process is None:  # it is starting: nothing is lost
        os.kill(job["pid"], signal.SIGTERM)
    return f"{run_dir}: asked to stop; it ends its step and saves its state"


def tail(run_dir: pathlib.Path) -> None:
    """Write the last lines that a run has printed, and more until it ends."""
    paths = [run_dir / name for name in (OUTPUT_NAME, LOG_NAME)]
    path = next((path for path in paths if path.exists()), paths[1])
    at = 0
    if path.exists():
        data = path.read_bytes()
        at = len(data)
        sys.stdout.write("".join(_decode(data).splitlines(keepends=True)[-_LINES:]))
    while True:
        is_over = state_of(run_dir) in ("finished", "stopped")
        if path.exists():
            with path.open("rb") as file:
                file.seek(at)
                data = file.read()
            at += len(data)
            sys.stdout.write(_decode(data))
            sys.stdout.flush()
        if is_over:
            return
        time.sleep(_POLL)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")
