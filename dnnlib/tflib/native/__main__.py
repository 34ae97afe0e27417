"""Build, check or remove the native op library: ``python -m dnnlib.tflib.native --build``."""

from __future__ import annotations

import shutil
import sys
from typing import Sequence

from dnnlib import util
from dnnlib.cli import Parser, run_script
from dnnlib.errors import UserError
from dnnlib.tflib import native
from dnnlib.tflib.native import build
from dnnlib.tflib.native.check import check


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    parser = Parser(prog="python -m dnnlib.tflib.native", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "--build",
        action="store_true",
        help="compile, unless it is in the cache; print where it lies",
    )
    action.add_argument(
        "--check",
        action="store_true",
        help="compare every native operation with its reference, on every device",
    )
    action.add_argument("--clean", action="store_true", help="remove all libraries from the cache")
    parser.add_argument(
        "--gpu-arch",
        action="append",
        metavar="NN",
        help="with --build: compile CUDA kernels for this architecture, e.g. 80; may be repeated; "
        "default: those of the GPUs here",
    )
    options = parser.parse_args(argv)
    if options.gpu_arch and not options.build:
        raise UserError("--gpu-arch: goes with --build only")
    if options.clean:
        clean()
    elif options.build:
        try:
            util.log(str(build.build(build.find_toolchain(options.gpu_arch))))
        except build.Unavailable as error:
            raise UserError(f"--build: {error}") from error
    else:
        native.set_custom_ops("native")
        check()


def clean() -> None:
    """Remove all libraries from the cache."""
    removed = 0
    for path in build.folder().glob("tf*"):
        if path.suffix == ".build":
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix in (".so", ".lock"):
            path.unlink()
            removed += path.suffix == ".so"
    util.log(f"{build.folder()}: {removed} libraries removed")


if __name__ == "__main__":
    sys.exit(run_script(main))
