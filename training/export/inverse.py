"""Our networks as state dicts of PyTorch code: what training/foreign does, the other way round.

The names and layouts of PyTorch's tensors stand there alone. Here every tensor that a network might
have is looked up; those whose variable we have make the state dict.
"""

import re
from collections import namedtuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.builders import find_builder
from dnnlib.tflib.options import option_parameters
from training.foreign import layers

# tensors: {name: array}, the state dict. kwargs: arguments of the network's constructor.
TorchNetwork = namedtuple("TorchNetwork", "tensors kwargs")

INVERSES = {
    layers.same: lambda x: x,
    layers.dense: lambda x: x.T,
    layers.conv: lambda x: x.transpose(3, 2, 0, 1),
    layers.flipped_conv: lambda x: x[::-1, ::-1].transpose(3, 2, 0, 1),
    layers.offset: lambda x: x + np.float32(1.0),
}
OUR_AXES = {"const": 1, "noise_const": 2}  # leading axes of size 1 that only our variables have


def no_counterpart(code, what):
    """The error for what a code does not have."""
    return UserError(f"--format torch: {code} has no counterpart of {what}; use another format")


def options_of(stored, code, needed):
    """All options of a StoredNetwork, those at their defaults too.

    Args:
      stored: StoredNetwork in the words of our builders.
      code: name of the PyTorch code.
      needed: {option: the value that it has to have, where the builder takes it}.

    Raises:
      UserError: an option has another value.
    """
    parameters = option_parameters(find_builder(stored.builder))
    options = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    options.update(stored.static_kwargs)
    for name, value in needed.items():
        if (options.get(name, value) or None) != (value or None):
            raise no_counterpart(code, f"{name}={options[name]!r}")
    return options


def variables_of(stored):
    """{(role of the sub-network or "", name): array}."""
    found = {("", name): value for name, value in stored.variables.items()}
    for role, part in stored.components.items():
        found.update(((role, name), value) for name, value in part.variables.items())
    return found


def tensors_of(candidates, variables, unused, code):
    """Those of PyTorch's tensors whose variables we have.

    Args:
      candidates: [(path, [(role, name, how to convert it into ours)])].
      variables: result of :func:`variables_of`.
      unused: (role, name) of variables that change nothing.
      code: name of the PyTorch code.

    Returns:
      {path: array}.

    Raises:
      UserError: a variable has no place there.
    """
    tensors, left = {}, set(variables) - set(unused)
    for path, places in candidates:
        for role, name, convert in places:
            if (role, name) in variables:
                value = _inverted(path, convert, variables[role, name])
                if not np.array_equal(tensors.setdefault(path, value), value):
                    raise no_counterpart(code, f"several values of {path!r}, among them {name!r}")
                left.discard((role, name))
    if left:
        raise no_counterpart(code, f"the variable {'/'.join(filter(None, min(left)))!r}")
    return tensors


def _inverted(path, convert, value):
    """Our variable as PyTorch's tensor."""
    axes = OUR_AXES.get(path.rpartition(".")[2])
    return INVERSES[convert](value) if axes is None else value.reshape(value.shape[axes:])


def add_filters(tensors, kernel, name, prefix=""):
    """The buffers of the resampling filter, in every block and in its layers of convolutions.

    Args:
      tensors: {path: array}; gets the buffers.
      kernel: taps of the filter. Layers that keep the resolution have the usual one, unused.
      name: of a buffer.
      prefix: of the blocks' paths: "synthesis." in a generator.
    """
    resampling = ("conv0" if prefix else "conv1", "skip")
    usual, given = _outer(layers.DEFAULT_KERNEL), _outer(kernel)
    for path in list(tensors):
        match = re.match(prefix + r"(b\d+)\.(conv\w*|skip|fromrgb)\.", path)
        if match:
            block, layer = match.groups()
            if prefix or block != "b4":  # the end of a discriminator is no block
                tensors[f"{prefix}{block}.{name}"] = given
            has_given = layer in resampling
            tensors[f"{prefix}{block}.{layer}.{name}"] = given if has_given else usual


def _outer(kernel):
    """k k^T / sum."""
    outer = np.outer(kernel, kernel).astype(np.float32)
    return outer / outer.sum()


def channel_kwargs(options, channels, code):
    """channel_base and channel_max of the constructor.

    Args:
      options: of our network.
      channels: {side: channels that the network has there}.
      code: name of the PyTorch code.

    Raises:
      UserError: they do not give these channels.
    """
    base, most = int(2 * options["channel_base"]), options["channel_max"]
    for side, num in channels.items():
        if num != min(base // side, most):
            raise no_counterpart(code, f"{num} channels at {side}x{side}")
    return dict(channel_base=base, channel_max=most)


def sides_of(resolution):
    """Sides of the blocks: 4, 8, ..., resolution."""
    return [2**r for r in range(2, resolution.bit_length())]
