"""Execute the function of a submitted run in its run directory."""

from __future__ import annotations

import inspect
import os
import pathlib
import sys
import time
import traceback
from typing import Any

from dnnlib import objects, util
from dnnlib.submission.run_context import FINISHED_NAME
from dnnlib.submission.run_dir import LOG_NAME

# The configuration of the run that is going on in this process; None outside of a run.
submit_config: Any = None


def make_run_dir_path(*paths: str) -> str:
    """A path in the directory of the current run; outside of a run, in the working directory."""
    if submit_config is None or submit_config.run_dir is None:
        return os.path.join(os.curdir, *paths)
    return os.path.join(submit_config.run_dir, *paths)


def run_wrapper(config: Any) -> Any:
    """Call the run function of a configuration in its run directory.

    What it prints goes to ``log.txt`` as well. An error is written there with its traceback, and
    raised again.

    Returns:
      What the function returns.
    """
    global submit_config  # noqa: PLW0603 - the run that is going on in this process
    outer, started = submit_config, time.time()
    folder = pathlib.Path(config.run_dir)
    submit_config = config
    _announce(config)
    logger = util.Logger(str(folder / LOG_NAME), "a")
    try:
        with logger:
            _say(f"dnnlib: Running {config.run_func_name}() on {config.host_name}...")
            function = objects.get_obj_by_name(config.run_func_name)
            kwargs = dict(config.run_func_kwargs)
            if "submit_config" in inspect.signature(function).parameters:
                kwargs["submit_config"] = config
            try:
                result = function(**kwargs)
            except BaseException:
                logger.write_to_file(traceback.format_exc())
                raise
            seconds = util.format_time(time.time() - started)
            _say(f"dnnlib: Finished {config.run_func_name}() in {seconds}.")
        (folder / FINISHED_NAME).touch()
        return result
    finally:
        submit_config = outer
        _announce(outer)


def _say(text: str) -> None:
    """Write a line to standard output, which :class:`dnnlib.util.Logger` writes to the log."""
    sys.stdout.write(f"{text}\n")


def _announce(config: Any) -> None:
    """Set ``dnnlib.submit_config``, where scripts look for the current run."""
    sys.modules["dnnlib"].submit_config = config
