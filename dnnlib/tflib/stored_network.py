"""What snapshots hold: our own state and the published ones, brought to one form and checked."""

import math
import re
from collections import namedtuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib import builders
from dnnlib.tflib.options import COUNT, FREE, SIDE, SIZE, bound_of, part_builders

# A network as read from a snapshot, in our terms: ``components`` {role: StoredNetwork},
# ``variables`` {local name: array}.
StoredNetwork = namedtuple("StoredNetwork", "name builder static_kwargs components variables")

# Format versions: Progressive GAN, StyleGAN, StyleGAN2 and GANsformer, StyleGAN2-ADA; ours.
OWN_VERSION = 6
VERSIONS = (2, 3, 4, 5, OWN_VERSION)

MAX_DEPTH = 8  # of nested options and sub-networks
MAX_ITEMS = 10000  # options of a network, all levels counted
MAX_TEXT = 10000  # characters of an option

FEW, MANY = 16, 4096  # counts and sizes that are no burden, whatever the variables are


def _need(condition, message):
    """Raise UserError unless the condition holds."""
    if not condition:
        raise UserError(message)


class _PlainReader:
    """Copies options that are plain data; refuses others, and more than there can be."""

    def __init__(self):
        self.items = 0

    def read(self, value, depth=0):
        """Copy of None, bool, int, float, str, or lists and dicts of them."""
        self.items += 1
        _need(depth <= MAX_DEPTH and self.items <= MAX_ITEMS, "options are nested too deeply")
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            _need(len(value) <= MAX_TEXT, "an option is a very long text")
            return value
        if isinstance(value, (list, tuple)):
            return [self.read(item, depth + 1) for item in value]
        _need(isinstance(value, dict), f"an option is a {type(value).__name__}")
        _need(all(isinstance(key, str) for key in value), "an option's name is no text")
        return {key: self.read(item, depth + 1) for key, item in value.items()}


def _read_variables(items):
    """[(name, value)] => {name: array}."""
    _need(isinstance(items, (list, tuple)), "the variables are no list")
    variables = {}
    for item in items:
        is_pair = isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], str)
        _need(is_pair, "a variable is no pair of name and value")
        name, value = item
        value = getattr(value, "value", value)  # PickledArray
        is_number = isinstance(value, (np.ndarray, np.generic, int, float))
        _need(is_number and np.asarray(value).dtype.kind in "fiub", f"variable {name[:100]!r}")
        _need(name not in variables, f"variable {name[:100]!r} is there twice")
        variables[name] = np.asarray(value)
    return variables


def _component_state(component):
    """State of a pickled sub-network, however it was unpickled."""
    inner = getattr(component, "__dict__", {}).get("_pending_state")  # Network, by pickle itself
    state = inner if inner is not None else getattr(component, "state", None)  # PickledNetwork
    _need(isinstance(state, dict), "a sub-network is no network")
    return state


def _read_components(components, depth):
    """{role: pickled network} => {role: StoredNetwork}."""
    _need(isinstance(components, dict), "the sub-networks are no dict")
    _need(depth < MAX_DEPTH, "sub-networks are nested too deeply")
    return {
        str(role): _read_raw(_component_state(component), depth + 1)
        for role, component in components.items()
    }


def _read_raw(state, depth=0):
    """Check a state and bring it to one form; builder and options stay as the file has them."""
    version = state.get("version")
    _need(version in VERSIONS, f"a network of format version {version!r}; known: {VERSIONS}")
    key = "builder" if version == OWN_VERSION else "build_func_name"
    wanted = ("name", key, "static_kwargs", "variables")
    missing = [name for name in wanted if name not in state]
    _need(not missing, f"a network without {', '.join(missing)}")
    name, builder = state["name"], state[key]
    for text in (name, builder):
        _need(isinstance(text, str) and 0 < len(text) <= 100, "a network without proper name")
    _need(isinstance(state["static_kwargs"], dict), "the options are no dict")
    options = _PlainReader().read(state["static_kwargs"])
    components = _read_components(state.get("components", {}), depth)
    variables = _read_variables(state["variables"])
    return StoredNetwork(name, builder, options, components, variables)


def _all_variables(stored):
    """[(name, array)] of a network and its sub-networks."""
    found = list(stored.variables.items())
    for component in stored.components.values():
        found += _all_variables(component)
    return found


def _integers(builder, options):
    """[(option, its bound, int)] in options of a builder, and those of its sub-networks."""
    func = builders.known_builder(builder)
    parts, found = part_builders(func), []
    for name, value in options.items():
        if isinstance(value, dict):
            found += _integers(parts.get(name), value)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int):
                found.append((name, bound_of(func, name), item))
    return found


def _check_claims(stored):
    """Refuse sizes and counts that the variables do not bear out, before anything of that size is
    built: a resolution of 2^30 or a million layers. Each option's declaration says what bounds it.
    """
    variables = _all_variables(stored)
    sides = [int(side) for name, _ in variables for side in re.findall(r"\b(\d{1,6})x\1\b", name)]
    largest = max([size for _, x in variables if x.size for size in x.shape], default=0)
    limits = {SIZE: max(largest, MANY), COUNT: max(len(variables), FEW), FREE: math.inf}
    limits[SIDE] = max(sides, default=limits[SIZE])
    for name, bound, value in _integers(stored.builder, stored.static_kwargs):
        is_possible = abs(value) <= limits[bound]
        _need(is_possible, f"it has option {name}={value}, but no variables of that size")


def read_state(state):
    """Turn the state of a pickled network into a StoredNetwork, in our terms.

    Args:
      state: dict that a Network pickled, ours or a published one; its values may be those of
        :mod:`dnnlib.tflib.snapshot.unpickle`.

    Returns:
      StoredNetwork. Nothing in it refers to the file's code or classes.

    Raises:
      UserError: it is not what a network pickles.
    """
    stored = _read_raw(state)
    imported = builders.import_network(stored, state["version"])
    translated = builders.translate(stored.builder, stored.static_kwargs)
    if imported is not None:
        stored = imported
    elif translated is not None:
        stored = stored._replace(builder=translated[0], static_kwargs=translated[1])
    else:
        is_own = state["version"] == OWN_VERSION
        _need(is_own, f"a network built by {stored.builder!r}, which is unknown")
    _check_claims(stored)
    return stored


def read_network(network):
    """Turn a network of a snapshot into a StoredNetwork, in our terms.

    Args:
      network: PickledNetwork or PickledModule.

    Returns:
      StoredNetwork. Nothing in it refers to the file's code or classes.

    Raises:
      UserError: a network that this project does not have, or a damaged one.
    """
    if not hasattr(network, "class_name"):
        return read_state(network.state)
    imported = builders.import_network(network)
    known = "a PyTorch network of class {!r}; those of StyleGAN2-ADA and GANsformer open"
    _need(imported is not None, known.format(network.class_name[:100]))
    _check_claims(imported)
    return imported


def _pair(net, stored, where, pairs, problems):
    """Collect (variable, value) pairs and what does not fit, sub-networks included."""
    for name, variable in net.own_vars.items():
        if name not in stored.variables:
            problems["missing"].append(where + name)
            continue
        value, shape = stored.variables[name], variable.shape.as_list()
        if list(value.shape) != shape:
            problems["misshapen"].append(f"{where}{name} {list(value.shape)} instead of {shape}")
        else:
            pairs.append((variable, value))
    problems["unexpected"] += [where + k for k in stored.variables if k not in net.own_vars]
    for role in {**net.components, **stored.components}:
        if role not in stored.components:
            problems["missing"].append(f"{where}{role}/*")
        elif role not in net.components:
            problems["unexpected"].append(f"{where}{role}/*")
        else:
            _pair(net.components[role], stored.components[role], f"{where}{role}/", pairs, problems)


def match_variables(net, stored):
    """Pair the variables of a network with stored values, in both directions.

    Returns:
      {variable: array}.

    Raises:
      UserError: they do not fit; lists all that are missing, unexpected or misshapen.
    """
    pairs, problems = [], {"missing": [], "unexpected": [], "misshapen": []}
    _pair(net, stored, "", pairs, problems)
    found = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if found:
        raise UserError(f"network {stored.name!r} does not fit its variables; {'; '.join(found)}")
    return dict(pairs)
