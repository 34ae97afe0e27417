"""What of a snapshot fits a network: variables by the path of their sub-network, name and shape."""

from __future__ import annotations

import re
from collections import namedtuple

from dnnlib.tflib.builders import find_builder
from dnnlib.tflib.options import part_builders

GENERATORS = ("generator", "stylegan2_generator")
# Builders of a generator's parts; a part may be in a file on its own.
PARTS = {
    name: role
    for builder in GENERATORS
    for role, name in part_builders(find_builder(builder)).items()
}

# values {path: array}; lists of paths.
Fit = namedtuple("Fit", "values missing misshapen unused")


def details(fits):
    """Lines about what did not fit: {network: Fit} => list of str."""
    lines = []
    for name, fit in fits.items():
        for what, names in (
            ("not in the snapshot", fit.missing),
            ("of another shape in the snapshot", fit.misshapen),
            ("only in the snapshot", fit.unused),
        ):
            if names:
                lines.append(f"{name}, {what}: {', '.join(names)}")
    return lines


def layers_taken(fit):
    """Which layers a network has from a snapshot, for people.

    A layer is a scope with weights, or with a constant. Those of a resolution, and those of a part
    of the network without one, are named if all of them are taken.

    Args:
      fit: Fit.

    Returns:
      Text such as "20 of 24 layers (mapping, 4x4, 8x8, 16x16)".
    """
    lacking = [*fit.missing, *[text.partition(" ")[0] for text in fit.misshapen]]
    layers, groups = {}, {}
    for path in [*fit.values, *lacking]:
        scope, _, name = path.rpartition("/")
        if "weight" in name or name == "const":
            layers[scope] = layers.get(scope, True) and path in fit.values
    for scope, is_taken in layers.items():
        size = re.search(r"(?:^|/)(\d+)x\d+(?:/|$)", scope)
        group = (int(size.group(1)), size.group(0).strip("/")) if size else (0, scope.split("/")[0])
        groups[group] = groups.get(group, True) and is_taken
    whole = [name for (_, name), is_whole in sorted(groups.items()) if is_whole]
    taken = f"{sum(layers.values())} of {len(layers)} layers"
    return f"{taken} ({', '.join(whole)})" if whole else taken


def match(net, stored):
    """Compare the variables of a network with stored ones, by name and shape.

    Args:
      net: Network.
      stored: StoredNetwork, of whatever builder.

    Returns:
      Fit: values {path: array} that fit, and the paths of those that are missing in the snapshot,
      have another shape there, and are in the snapshot only.
    """
    ours = variables_by_path(net)
    theirs = arrays_by_path(stored, PARTS.get(stored.builder, ""))
    values, missing, misshapen = {}, [], []
    for path, variable in ours.items():
        shape = variable.shape.as_list()
        if path not in theirs:
            missing.append(path)
        elif list(theirs[path].shape) != shape:
            misshapen.append(f"{path} ({list(theirs[path].shape)} instead of {shape})")
        else:
            values[path] = theirs[path]
    return Fit(values, missing, misshapen, [path for path in theirs if path not in ours])


def variables_by_path(net, path=""):
    """{path: variable}; those of sub-networks have the sub-network's role in front."""
    found = {_join(path, name): variable for name, variable in net.own_vars.items()}
    for role, part in net.components.items():
        found.update(variables_by_path(part, _join(path, role)))
    return found


def arrays_by_path(stored, path=""):
    """The same of a StoredNetwork: {path: array}."""
    found = {_join(path, name): value for name, value in stored.variables.items()}
    for role, part in stored.components.items():
        found.update(arrays_by_path(part, _join(path, role)))
    return found


def _join(path, name):
    return f"{path}/{name}" if path else name


def has_weights(fit):
    """Whether anything but biases and other vectors, noise and averages fits."""
    found = (path for path, value in fit.values.items() if value.ndim > 1)
    return any("weight" in path.rsplit("/", 1)[-1] for path in found)
