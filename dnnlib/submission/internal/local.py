"""The target LOCAL: the run is executed in this process."""

from __future__ import annotations

import os
import sys
from typing import Any

from dnnlib.submission.execute import run_wrapper


class TargetOptions:
    """Options of the target, ``SubmitConfig.local``.

    Attributes:
      do_not_copy_source_files: leave ``src`` out of the run directory.
    """

    def __init__(self) -> None:
        self.do_not_copy_source_files = False


def command_of(run_dir: str) -> list[str]:
    """The command that executes the run of a directory in a process of its own.

    Modules are found there where they are found here.
    """
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    interpreter = ["env", f"PYTHONPATH={path}", sys.executable]
    return [*interpreter, "-m", "dnnlib.submission", os.path.abspath(run_dir)]


class Target:
    """Executes a run where it is submitted."""

    def finalize_submit_config(self, submit_config: Any, host_run_dir: str) -> None:
        """Fill in where the run happens: on this machine, in the directory as it is seen here."""
        submit_config.run_dir = host_run_dir

    def submit(self, submit_config: Any, host_run_dir: str) -> Any:
        """Run; returns what the run function returns."""
        return run_wrapper(submit_config)
