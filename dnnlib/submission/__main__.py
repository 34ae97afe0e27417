"""Execute the run of a directory: ``python -m dnnlib.submission RUN_DIR``."""

from __future__ import annotations

import pathlib
import pickle
import sys

from dnnlib import cli
from dnnlib.submission.execute import run_wrapper


def main(argv: list[str]) -> None:
    """Call the run function as ``submit_config.pkl``, which :func:`dnnlib.submit_run` wrote, says.

    Args:
      argv: the run directory.
    """
    (run_dir,) = argv
    with (pathlib.Path(run_dir) / "submit_config.pkl").open("rb") as file:
        config = pickle.load(file)
    run_wrapper(config)


if __name__ == "__main__":
    sys.exit(cli.run_script(main, sys.argv[1:]))
