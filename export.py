"""Give a trained model to other programs: python export.py --model FILE --format FORMAT.

Every export is checked: it makes the picture of one seed, which is compared with ours.
"""

import importlib
import pathlib
import re
import sys
from collections import namedtuple

from dnnlib import cli
from dnnlib.errors import UserError, closest

# suffix: of the default --output. about: what the file is, for --help.
Format = namedtuple("Format", "suffix about")
FORMATS = {
    "savedmodel": Format("", "a folder for TensorFlow, of TensorFlow's own operations"),
    "onnx": Format(".onnx", "for ONNX runtimes; needs tf2onnx"),
    "safetensors": Format(".safetensors", "all networks, without pickle; --model opens it"),
    "torch": Format(".pt", "a state dict for StyleGAN2-ADA PyTorch, of StyleGAN2's networks"),
}


def build_parser():
    """The command line."""
    parser = cli.Parser(
        prog="export.py",
        description="Give a trained model to other programs. The export makes the picture of one "
        "seed, which is compared with ours.",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="FILE", help="snapshot: a path, URL, gdrive: or hf: name")
    about = "; ".join(f"{name}: {form.about}" for name, form in FORMATS.items())
    add("--format", required=True, choices=tuple(FORMATS), help=about)
    add("--output", metavar="PATH", help="(default: the model's name with the format's suffix)")
    add("--network", metavar="NAME", help="of the snapshot, e.g. G (default: the last one, Gs)")
    add("--gpus", metavar="LIST", help="e.g. 0; none for the CPU (default: all there are)")
    return parser


def choose_network(networks, name):
    """The StoredNetwork of a name; the last one for None.

    Raises:
      UserError: the file has none of that name.
    """
    if name is None:
        return networks[-1]
    names = [network.name for network in networks]
    if name not in names:
        hint = closest(name, names) or f"it holds {', '.join(names)}"
        raise UserError(f"--network={name}: the model has no such network; {hint}")
    return networks[names.index(name)]


def run(argv):
    """Parse the arguments, open the model, write the export, compare."""
    args = build_parser().parse_args(argv)
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
        exports.EXPORTS[args.format](stored, path)


if __name__ == "__main__":
    sys.exit(cli.run_script(run))
