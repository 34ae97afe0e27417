"""``job.json`` in a run directory: which target the run was submitted to, and its name there.

Runs of a terminal have none.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from dnnlib import util

JOB_NAME = "job.json"
OUTPUT_NAME = "output.txt"  # all that the processes of a submitted run print


def read_job(run_dir: pathlib.Path) -> dict[str, Any]:
    """What ``job.json`` says; {} for a run of a terminal."""
    try:
        return dict(json.loads((run_dir / JOB_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def write_job(run_dir: pathlib.Path, target: str, **facts: Any) -> None:
    """Write ``job.json``."""
    with util.atomic_write(run_dir / JOB_NAME, "w") as file:
        file.write(json.dumps({"target": target, **facts}) + "\n")


def process_start(pid: int) -> str | None:
    """When a process of this machine began, in ticks since the machine did; None if it is over."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
