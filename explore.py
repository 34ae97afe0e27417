"""Try out the latents of a trained model in the browser: python explore.py --model FILE.

Serves one page on this machine alone: seeds, truncation, new latents one by one, mixing of layers,
and what each latent attends to.
"""

import importlib
import os
import sys
import threading
import webbrowser

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.util import log
from vis.explorer.server import open_server

MAX_PORT = 65535


def build_parser():
    """The command line."""
    parser = cli.Parser(
        prog="explore.py",
        description="Try out the latents of a trained model in the browser. Ctrl-C ends it.",
    )
    add = parser.add_argument
    cli.add_model_flags(parser)
    add(
        "--port",
        type=int,
        metavar="P",
        help="TCP port on 127.0.0.1 (default: the first free one from 8765 up)",
    )
    add("--no-browser", action="store_true", help="only print the address, open no browser")
    return parser


def parse_args(argv):
    """The command line, checked as far as that goes without the model.

    Raises:
      UserError: an impossible or unknown flag.
    """
    args = build_parser().parse_args(argv)
    if args.port is not None and not 0 < args.port <= MAX_PORT:
        raise UserError(f"--port={args.port}: ports go from 1 to {MAX_PORT}")
    return args


def open_browser(url):
    """Show the page; in the background, since some browsers return only when they are closed."""
    has_screen = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if has_screen:  # else a text browser would take over the terminal
        threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()


def serve(server):
    """Serve until Ctrl-C."""
    log(f"The explorer is at {server.url} (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log("\nThe explorer is closed")
    server.explorer.close()


def run(argv):
    """Parse the arguments, open the model, serve."""
    args = parse_args(argv)
    cli.start_tensorflow(args.gpus)
    load_sampler = importlib.import_module("vis.sampler").load_sampler
    explorer = importlib.import_module("vis.explorer.render").Explorer

    with open_server(args.port) as server:
        sampler = load_sampler(args.model, batch_size=1, ratio=args.ratio)
        server.explorer = explorer(sampler, args.model)
        if not args.no_browser:
            open_browser(server.url)
        serve(server)


if __name__ == "__main__":
    sys.exit(cli.run_script(run))
