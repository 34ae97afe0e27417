"""Print what is in a snapshot; see :func:`main`."""

import sys

from dnnlib import util
from dnnlib.cli import Parser, run_script
from dnnlib.tflib.snapshot import read_snapshot


def _num_params(stored):
    """Numbers in all variables of a network, those of sub-networks too."""
    own = sum(value.size for value in stored.variables.values())
    return own + sum(_num_params(component) for component in stored.components.values())


def describe(stored, indent=""):
    """Lines about a StoredNetwork: builder, options, variables with shapes, sub-networks."""
    lines = [f"{indent}{stored.name}: {stored.builder}, {_num_params(stored):,} parameters"]
    for name, value in stored.static_kwargs.items():
        lines.append(f"{indent}  {name} = {value!r}")
    width = max([len(name) for name in stored.variables], default=0)
    for name, value in stored.variables.items():
        lines.append(f"{indent}  {name.ljust(width)}  {list(value.shape)}")
    for component in stored.components.values():
        lines += describe(component, indent + "  ")
    return lines


def main(argv=None):
    """Print builder, options, variables and parameters of the networks in a file."""
    parser = Parser(prog="python -m dnnlib.tflib.snapshot", description=main.__doc__)
    parser.add_argument("file", metavar="FILE", help="path, URL, gdrive: or hf: name of a snapshot")
    args = parser.parse_args(argv)
    networks, _ = read_snapshot(args.file)
    for stored in networks:
        util.log("\n".join(describe(stored)))


if __name__ == "__main__":
    sys.exit(run_script(main))
