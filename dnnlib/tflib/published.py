"""What snapshots hold: our own state and the published ones, brought to one form and checked."""

from collections import namedtuple

import numpy as np

from dnnlib.errors import UserError

# A network as read from a snapshot, in our terms: ``components`` {role: StoredNetwork},
# ``variables`` {local name: array}.
StoredNetwork = namedtuple("StoredNetwork", "name builder static_kwargs components variables")


def resolve(func_name, options):
    """Translate a builder's name and its options, if they are published ones, to ours.

    Returns:
      (builder, options).
    """
    if not isinstance(func_name, str):
        raise TypeError(f"func_name must be the name of a builder, got {func_name!r}")
    return func_name.rsplit(".", 1)[-1], dict(options)


def read_state(state):
    """Turn the state of a pickled network into a StoredNetwork."""
    builder, options = resolve(state["builder"], state["static_kwargs"])
    components = {}
    for role, component in state["components"].items():
        inner = getattr(component, "_pending_state", None) or component.__getstate__()
        components[role] = read_state(inner)
    variables = dict(state["variables"])
    return StoredNetwork(state["name"], builder, options, components, variables)


def _pair(net, stored, where, pairs, problems):
    """Collect (variable, value) pairs and what does not fit, sub-networks included."""
    for name, variable in net.own_vars.items():
        if name not in stored.variables:
            problems["missing"].append(where + name)
            continue
        value = np.asarray(stored.variables[name], dtype=np.float32)
        shape = variable.shape.as_list()
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
      {variable: float32 array}.

    Raises:
      UserError: they do not fit; lists all that are missing, unexpected or misshapen.
    """
    pairs, problems = [], {"missing": [], "unexpected": [], "misshapen": []}
    _pair(net, stored, "", pairs, problems)
    found = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if found:
        raise UserError(f"network {stored.name!r} does not fit its variables; {'; '.join(found)}")
    return dict(pairs)
