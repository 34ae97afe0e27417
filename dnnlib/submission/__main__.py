"""Execute the run of a directory: ``python -m dnnlib.submission RUN_DIR``."""

from __future__ import annotations

import pathlib
import pickle
import sys

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.submission.execute import run_wrapper


def main(argv: list[str]) -> None:
    """Call the run function as ``submit_config.pkl``, which :func:`dnnlib.submit_run` wrote, says.

    Args:
      argv: the run directory.

    Raises:
      UserError: it is not one that was submitted.
    """
    parser = cli.Parser(prog="python -m dnnlib.submission", description=__doc__.partition(":")[0])
    parser.add_argument("run_dir", metavar="RUN_DIR", help="directory of a run that was submitted")
    path = pathlib.Path(parser.parse_args(argv).run_dir) / "submit_config.pkl"
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; RUN_DIR is that of a submitted run")
    with path.open("rb") as file:
        config = pickle.load(file)
    run_wrapper(config)


if __name__ == "__main__":
    sys.exit(cli.run_script(main, sys.argv[1:]))
