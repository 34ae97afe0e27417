"""Snapshots: pickles of networks, ours and those of other code, read without executing anything; or
safetensors files of them.

A snapshot holds a tuple of networks, usually (G, D, Gs), or a single one. Those of PyTorch code are
dicts of networks, and are read as a tuple.
``python -m dnnlib.tflib.snapshot FILE`` prints what is inside.
"""

import os
import pickle

import numpy as np

from dnnlib import fetch, util
from dnnlib.errors import UserError
from dnnlib.tflib import tfutil
from dnnlib.tflib.network import Network
from dnnlib.tflib.snapshot.safetensors import (
    SUFFIX,
    is_safetensors,
    read_safetensors,
    write_safetensors,
)
from dnnlib.tflib.snapshot.unpickle import (
    PickledModule,
    PickledNetwork,
    RefusedError,
    other_format,
    read_pickle,
)
from dnnlib.tflib.stored_network import StoredNetwork, read_network

PROTOCOL = 4  # the newest one that Python 3.7 reads


def read_snapshot(path_or_url):
    """Read a snapshot without building anything.

    Args:
      path_or_url: path, URL, or ``gdrive:`` name of a published file.

    Returns:
      (list of StoredNetwork, whether the file holds a single network rather than a tuple).

    Raises:
      UserError: the file is missing, damaged, or not a snapshot.
    """
    path = fetch.fetch(path_or_url)
    try:
        data = path.read_bytes()
        networks, is_single = (read_safetensors if is_safetensors(data) else _unpickle)(data)
        if any(network.state is None for network in networks):
            raise UserError("holds no networks, but a name of their class")
        return [read_network(network) for network in networks], is_single
    except RefusedError as error:
        told = error if is_safetensors(data) else other_format(data) or error
        raise UserError(f"{path_or_url} is no readable snapshot: {told}") from None
    except OSError as error:
        raise UserError(f"{path_or_url} cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path_or_url}: {error}") from None


# What PyTorch code calls the networks of a snapshot, a dict: ours.
KEYS = {"G": "G", "D": "D", "G_ema": "Gs", "Gs": "Gs"}


def _unpickle(data):
    """Bytes of a pickle => (list of PickledNetwork or PickledModule, whether it is one alone)."""
    found = read_pickle(data)
    what = f"a {type(found).__name__}"
    if isinstance(found, dict):
        what += f" with {', '.join(repr(key) for key in list(found)[:5])}"[:200]
    kinds = (PickledNetwork, PickledModule)
    if isinstance(found, kinds):
        return [found], True
    if isinstance(found, dict):
        found = {key: found[key] for key in KEYS if isinstance(found.get(key), PickledModule)}
        for key, module in found.items():
            module.name = KEYS[key]
        found = list(found.values())
    items = found if isinstance(found, (tuple, list)) else []
    networks = [item for item in items if isinstance(item, kinds)]
    if not networks:
        raise UserError(f"holds no networks, but {what}")
    return networks, False


def load_networks(path_or_url, only=None):
    """Build the networks of a snapshot, with their values, in the default graph.

    Args:
      path_or_url: path, URL, or ``gdrive:`` name of a published file.
      only: place of one network in the file, -1 for the last; the others are not built.

    Returns:
      What the file holds: a tuple of Network, or one Network. With ``only``, that one.

    Raises:
      UserError: the file is missing, damaged, not a snapshot, or does not fit our builders.
    """
    stored, is_single = read_snapshot(path_or_url)
    if only is not None:
        stored, is_single = [stored[only]], True
    tfutil.init_tf()
    try:
        networks = tuple(Network.from_stored(network) for network in stored)
    except UserError as error:
        raise UserError(f"{path_or_url}: {error}") from None
    return networks[0] if is_single else networks


def load_generator(path_or_url):
    """The last network of a snapshot, Gs of (G, D, Gs), which has to be a generator.

    Args:
      path_or_url: path, URL, or ``gdrive:`` name of a published file.

    Raises:
      UserError: as for :func:`load_networks`, or it is none.
    """
    Gs = load_networks(path_or_url, only=-1)
    if not {"mapping", "synthesis"} <= set(Gs.components):
        raise UserError(f"{path_or_url}: holds no generator, but {Gs.name!r} ({Gs.builder})")
    return Gs


def to_stored(net):
    """The StoredNetwork that describes a Network, with its values."""
    parts = {role: to_stored(part) for role, part in net.components.items()}
    values = {name: np.asarray(value) for name, value in tfutil.run(net.own_vars).items()}
    return StoredNetwork(net.name, net.builder, net.static_kwargs, parts, values)


def save_networks(networks, path):
    """Write a snapshot, as a whole or not at all.

    Args:
      networks: a tuple or list of Network, or one.
      path: file name; one that ends in ".safetensors" gets that format, others are pickles.

    Raises:
      UserError: the disk is full; an earlier file is kept.
    """
    is_single = isinstance(networks, Network)
    if os.fspath(path).endswith(SUFFIX):
        stored = [to_stored(net) for net in ([networks] if is_single else networks)]
        write_safetensors(path, stored, is_single)
        return
    contents = networks if is_single else tuple(networks)
    with util.atomic_write(path) as file:
        pickle.dump(contents, file, protocol=PROTOCOL)
