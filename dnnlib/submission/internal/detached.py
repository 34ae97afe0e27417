"""The target DETACHED: the run goes on in a process of its own, which survives the terminal."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
from typing import Any, Sequence

from dnnlib.submission.internal.local import command_of
from dnnlib.submission.job_file import OUTPUT_NAME, process_start, write_job


def launch(command: Sequence[str], run_dir: pathlib.Path) -> int:
    """Start a command in a session of its own; what it prints goes to ``output.txt``.

    Returns:
      Its process id.
    """
    with (run_dir / OUTPUT_NAME).open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal that closes signals those of its session
        )
    started = process_start(process.pid)
    write_job(run_dir, "detached", pid=process.pid, host=platform.node(), process_started=started)
    process.returncode = 0  # it is not ours to wait for
    return process.pid


class Target:
    """Executes a run in a process of its own."""

    def finalize_submit_config(self, submit_config: Any, host_run_dir: str) -> None:
        """Fill in where the run happens: on this machine, in the directory as it is seen here."""
        submit_config.run_dir = os.path.abspath(host_run_dir)

    def submit(self, submit_config: Any, host_run_dir: str) -> int:
        """Start the run; returns its process id."""
        return launch(command_of(host_run_dir), pathlib.Path(host_run_dir))
