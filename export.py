"""Give a trained model to other programs: python export.py --model FILE --format FORMAT; or write a
card of it, fit for a model hub: python export.py --card RUN_DIR.

Every export is checked: it makes the picture of one seed, which is compared with ours.
"""

import importlib
import pathlib
import re
import sys
from collections import namedtuple

from dnnlib import cli
from dnnlib.errors import UserError, must_be_one_of
from dnnlib.files import log
from vis.report.card import save_model_card

# suffix: of the default --output. about: what the file is, for --help.
Format = namedtuple("Format", "suffix about")
FORMATS = {
    "savedmodel": Format("", "a folder for TensorFlow, of TensorFlow's own operations"),
    "onnx": Format(".onnx", "for ONNX runtimes; needs tf2onnx"),
    "safetensors": Format(".safetensors", "all networks, without pickle; --model opens it"),
    "torch": Format(
        ".pt", "a state dict for StyleGAN2-ADA PyTorch, or GANsformer's PyTorch version"
    ),
}


def build_parser():
    """The command line."""
    parser = cli.Parser(
        prog="export.py",
        description="Give a trained model to other programs. The export makes the picture of one "
        "seed, which is compared with ours. Or, with --card, describe the model of a run.",
    )
    add = parser.add_argument
    add("--model", metavar="FILE", help="snapshot: a path, URL, gdrive: or hf: name")
    about = "; ".join(f"{name}: {form.about}" for name, form in FORMATS.items())
    add("--format", choices=tuple(FORMATS), help=about)
    add("--output", metavar="PATH", help="(default: the model's name with the format's suffix)")
    add("--network", metavar="NAME", help="of the snapshot, e.g. G (default: the last one, Gs)")
    add("--card", metavar="RUN_DIR", help="write README.md, a model card, into a run directory")
    add(
        "--licence",
        metavar="NAME",
        help="of the model, for its card, e.g. other (default: mit)",
    )
    add("--gpus", metavar="LIST", help="e.g. 0; none for the CPU (default: all there are)")
    return parser


def parse_args(argv):
    """The command line, checked as far as that goes without the model.

    Raises:
      UserError: an impossible or unknown flag, or flags that exclude each other.
    """
    args = build_parser().parse_args(argv)
    for name in ("model", "format", "output", "network"):
        if args.card is not None and getattr(args, name) is not None:
            raise UserError(f"--card describes a run; leave out --{name}")
    if args.card is None:
        for name, example in (("model", "network-final.pkl"), ("format", "onnx")):
            if getattr(args, name) is None:
                raise UserError(f"--{name} is missing, e.g. --{name} {example}; or give --card")
        if args.licence is not None:
            raise UserError("--licence has no effect without --card")
    return args


def choose_network(networks, name):
    """The StoredNetwork of a name; the last one for None.

    Raises:
      UserError: the file has none of that name.
    """
    if name is None:
        return networks[-1]
    names = [network.name for network in networks]
    if name not in names:
        raise UserError(f"--network {must_be_one_of(name, names)}")
    return networks[names.index(name)]


def run(argv):
    """Parse the arguments; write the card, or open the model, write the export, compare."""
    args = parse_args(argv)
    if args.card is not None:
        log(f"Model card: {save_model_card(args.card, args.licence or 'mit')}")
        return
    cli.start_tensorflow(args.gpus)
    exports = importlib.import_module("training.export.checked")
    networks, is_single = exports.read_snapshot(args.model)
    stored = choose_network(networks, args.network)
    stem = re.split("[/:]", args.model)[-1].rpartition(".")[0] or "model"
    path = pathlib.Path(args.output or stem + FORMATS[args.format].suffix)
    if args.format == "safetensors":
        whole = args.network is None
        exports.export_safetensors(networks if whole else [stored], is_single or not whole, path)
    else:
        exports.EXPORTS[args.format](stored, path, networks)


if __name__ == "__main__":
    sys.exit(cli.run_script(run))
