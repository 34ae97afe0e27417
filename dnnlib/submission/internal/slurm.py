"""The target SLURM: the run is a job of a cluster, on one machine or several.

The script that is submitted lies in the run directory as ``job.sh``. Each task of the job runs the
same command; training finds the others by Slurm's environment. Pre-empted, out of time, or after
the loss of a machine the job queues itself again and goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess
from typing import Any, Sequence

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.submission.internal.local import command_of
from dnnlib.submission.job_file import OUTPUT_NAME, write_job

SCRIPT_NAME = "job.sh"
MAX_LOSSES = 20  # machines or processes, after which a job is not queued again
NOTICE = 120  # seconds before the end of a job's time at which it is asked to stop

_SCRIPT = """#!/bin/bash
{directives}

cd {folder}
# srun does not take it from the job by itself.
[ -z "${{SLURM_CPUS_PER_TASK:-}}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun {command}
status=$?  # the highest of all tasks
case $status in
    143) is_to_go_on=true ;;  # asked to stop, pre-empted or out of time
    75|137) [ "${{SLURM_RESTART_COUNT:-0}}" -lt {losses} ] && is_to_go_on=true ;;  # a task was lost
esac
if [ -n "${{is_to_go_on:-}}" ]; then
    echo "Status $status: job $SLURM_JOB_ID queues itself again."
    scontrol requeue "$SLURM_JOB_ID" && sleep 60  # Slurm ends this script
fi
exit $status
"""


class TargetOptions:
    """Options of the target, ``SubmitConfig.slurm``.

    Args:
      nodes: machines.
      gpus_per_node: GPUs of each machine; 0 for CPUs only.
      tasks_per_node: processes on each machine; one drives all GPUs of its machine.
      cpus_per_task: CPU cores of each process; None for the cluster's default, often a single one.
      time: limit, as sbatch takes it: "24:00:00", "3-00:00:00"; None for the partition's.
      partition: None for the cluster's default.
      extra: further options of sbatch, such as ["--account=vision"].
    """

    def __init__(
        self,
        nodes: int = 1,
        gpus_per_node: int = 0,
        tasks_per_node: int = 1,
        cpus_per_task: int | None = None,
        time: str | None = None,
        partition: str | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.nodes, self.gpus_per_node, self.tasks_per_node = nodes, gpus_per_node, tasks_per_node
        self.cpus_per_task = cpus_per_task
        self.time, self.partition, self.extra = time, partition, list(extra)


def script(command: Sequence[str], run_dir: pathlib.Path, options: TargetOptions) -> str:
    """Text of the job's script."""
    run_dir = pathlib.Path(os.path.abspath(run_dir))
    rows = {
        "job-name": run_dir.name,
        "nodes": options.nodes,
        "ntasks-per-node": options.tasks_per_node,
        "cpus-per-task": options.cpus_per_task,
        "gpus-per-node": options.gpus_per_node or None,
        "time": options.time,
        "partition": options.partition,
        "output": run_dir / OUTPUT_NAME,
        "open-mode": "append",
        "signal": f"TERM@{NOTICE}",
    }
    rows = {name: value for name, value in rows.items() if value is not None}
    directives = [f"#SBATCH {shlex.quote(f'--{name}={value}')}" for name, value in rows.items()]
    directives += ["#SBATCH --requeue", *(f"#SBATCH {extra}" for extra in options.extra)]
    return _SCRIPT.format(
        directives="\n".join(directives),
        folder=shlex.quote(os.getcwd()),
        command=" ".join(shlex.quote(part) for part in command),
        losses=MAX_LOSSES,
    )


def check() -> None:
    """Raise UserError unless Slurm is here."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "--submit=slurm: there is no 'sbatch' on this machine; run the command where Slurm is, "
            "or use --submit detached"
        )


def submit(command: Sequence[str], run_dir: pathlib.Path, options: TargetOptions) -> str:
    """Write ``job.sh`` and submit it.

    Returns:
      Number of the job.

    Raises:
      UserError: there is no Slurm here, or it refuses.
    """
    check()
    path = run_dir / SCRIPT_NAME
    with util.atomic_write(path, "w") as file:
        file.write(script(command, run_dir, options))
    said = _call("sbatch", "--parsable", str(path))
    number = re.match(r"\d+", said)
    if number is None:
        raise UserError(f"--submit=slurm: sbatch says {said!r} instead of a job's number")
    write_job(run_dir, "slurm", job=number.group())
    return number.group()


def state_of(job: str) -> str:
    """Slurm's word for a job's state, such as PENDING; "" when it is over or there is no Slurm."""
    try:
        return _call("squeue", "--noheader", "--format=%T", f"--jobs={job}").strip()
    except UserError:  # a job that is over for a while is not known any more
        return ""


def cancel(job: str) -> None:
    """End a job.

    Raises:
      UserError: Slurm refuses.
    """
    _call("scancel", job)


def _call(*command: str) -> str:
    """What a command of Slurm prints; UserError with its complaint if it fails."""
    try:
        done = subprocess.run(list(command), stdout=-1, stderr=-1, timeout=120, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"status {done.returncode}"
        raise UserError(f"{command[0]}: {reason}")
    return done.stdout.decode("utf-8", "replace")


class Target:
    """Executes a run as a job of Slurm."""

    def finalize_submit_config(self, submit_config: Any, host_run_dir: str) -> None:
        """Fill in where the run happens: the directory is the same on all machines."""
        submit_config.run_dir = os.path.abspath(host_run_dir)

    def submit(self, submit_config: Any, host_run_dir: str) -> str:
        """Submit the run; returns the job's number."""
        folder = pathlib.Path(host_run_dir)
        return submit(command_of(host_run_dir), folder, submit_config.slurm)
