"""The state of a run while it goes on: progress, and whether it is asked to stop."""

from __future__ import annotations

import pathlib
import time
from types import TracebackType
from typing import Any

ABORT_NAME = "abort.txt"  # whoever puts it into a run directory asks the run to stop
FINISHED_NAME = "_finished.txt"


class RunContext:
    """Context of a run; StyleGAN2's interface.

    Args:
      submit_config: of the run; anything with an attribute ``run_dir``. None: a run without a
        directory, which nobody can ask to stop.
      config_module: a module whose source is kept in the run directory as ``config.py``, or None.
    """

    _current: RunContext | None = None

    def __init__(self, submit_config: Any, config_module: Any = None) -> None:
        run_dir = getattr(submit_config, "run_dir", None)
        self.submit_config = submit_config
        self.run_dir = None if run_dir is None else pathlib.Path(run_dir)
        self._started = self._updated = time.time()
        self._last_interval = 0.0
        self._outer: RunContext | None = None
        self._is_open = False
        if config_module is not None and self.run_dir is not None:
            source = pathlib.Path(config_module.__file__).read_bytes()
            (self.run_dir / "config.py").write_bytes(source)
        self.__enter__()  # scripts make one without a with statement, too

    def __enter__(self) -> RunContext:
        if not self._is_open:
            self._outer, RunContext._current = RunContext._current, self
            self._is_open = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def get() -> RunContext | None:
        """The context of the run that is going on, or None."""
        return RunContext._current

    def update(self, loss: Any = 0, cur_epoch: float = 0, max_epoch: float | None = None) -> None:
        """Note progress: the time, and how far the run is.

        Args:
          loss: anything to be shown.
          cur_epoch: done so far, in any unit.
          max_epoch: of how much; None where that is not known.
        """
        now = time.time()
        self._last_interval, self._updated = now - self._updated, now
        self.loss, self.cur_epoch, self.max_epoch = loss, cur_epoch, max_epoch

    def should_stop(self) -> bool:
        """Whether ``abort.txt`` lies in the run directory."""
        return self.run_dir is not None and (self.run_dir / ABORT_NAME).exists()

    def get_time_since_start(self) -> float:
        """Seconds."""
        return time.time() - self._started

    def get_time_since_last_update(self) -> float:
        """Seconds since :meth:`update`."""
        return time.time() - self._updated

    def get_last_update_interval(self) -> float:
        """Seconds between the last two updates."""
        return self._last_interval

    def close(self) -> None:
        """Leave the context."""
        if self._is_open:
            RunContext._current, self._outer = self._outer, None
            self._is_open = False
