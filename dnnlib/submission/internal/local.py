"""The target LOCAL: the run is executed in this process."""

from __future__ import annotations

from typing import Any

from dnnlib.submission.execute import run_wrapper


class TargetOptions:
    """Options of the target, ``SubmitConfig.local``.

    Attributes:
      do_not_copy_source_files: leave ``src`` out of the run directory.
    """

    def __init__(self) -> None:
        self.do_not_copy_source_files = False


class Target:
    """Executes a run where it is submitted."""

    def finalize_submit_config(self, submit_config: Any, host_run_dir: str) -> None:
        """Fill in where the run happens: on this machine, in the directory as it is seen here."""
        submit_config.run_dir = host_run_dir

    def submit(self, submit_config: Any, host_run_dir: str) -> Any:
        """Run; returns what the run function returns."""
        return run_wrapper(submit_config)
