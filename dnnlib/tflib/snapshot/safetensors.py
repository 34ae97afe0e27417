"""Snapshots as safetensors files: numbers under a JSON header, without any pickle. NumPy only.

The format (github.com/huggingface/safetensors): 8 bytes, the length of the header as a
little-endian integer; the header, a JSON object {tensor: {"dtype", "shape", "data_offsets": [begin,
end]}} with an entry "__metadata__" of texts; the tensors' bytes, without gaps. Other programs find
the tensors under names like "Gs/synthesis/4x4/Const/const"; the metadata's entry "gansformer" is
the JSON text of what a network needs besides: {"version", "single", "networks": [{"key", "name",
"builder", "static_kwargs", "components"}]}, a component being {"name", "builder", ...} under its
role.
"""

import json

import numpy as np

from dnnlib import util
from dnnlib.tflib.snapshot.machine import MAX_DIMS, PickledNetwork, RefusedError, need
from dnnlib.tflib.stored_network import MAX_DEPTH, OWN_VERSION

SUFFIX = ".safetensors"
VERSION = 1
ENTRY = "gansformer"  # in the metadata
MAX_HEADER = 4 << 20  # bytes; a network of 1024x1024 has 40 kB
MAX_DIGITS = 19  # of an integer

# fmt: off
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}
# fmt: on


def is_safetensors(data):
    """Whether bytes begin as a safetensors file does, and as no pickle can."""
    return len(data) > 8 and data[7:9] == b"\0{"


# Writing


def write_safetensors(path, networks, is_single=False):
    """Write networks, as a whole or not at all.

    Args:
      path: file name.
      networks: list of StoredNetwork.
      is_single: the file stands for one network rather than for a tuple.

    Raises:
      UserError: the disk is full; an earlier file is kept.
    """
    names = [network.name for network in networks]
    has_keys = len(set(names)) == len(names) and not any("/" in name for name in names)
    described, tensors = [], {}
    for index, network in enumerate(networks):
        key = network.name if has_keys else str(index)
        described.append({"key": key, **_describe(network)})
        tensors.update(_tensors(network, key))
    contents = {"version": VERSION, "single": is_single, "networks": described}
    header = {"__metadata__": {"format": "tf", ENTRY: json.dumps(contents)}}
    begin = 0
    for name, value in tensors.items():
        code = next(code for code, kind in DTYPES.items() if value.dtype == np.dtype(kind))
        end = begin + value.nbytes
        header[name] = {"dtype": code, "shape": list(value.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with util.atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            file.write(value.tobytes())


def _describe(network):
    """All of a StoredNetwork but its variables, as JSON has it."""
    return {
        "name": network.name,
        "builder": network.builder,
        "static_kwargs": dict(network.static_kwargs),
        "components": {role: _describe(part) for role, part in network.components.items()},
    }


def _tensors(network, path):
    """{path: little-endian array} of a StoredNetwork and its sub-networks."""
    found = {
        f"{path}/{name}": value.astype(value.dtype.newbyteorder("<"), copy=False)
        for name, value in network.variables.items()
    }
    for role, part in network.components.items():
        found.update(_tensors(part, f"{path}/{role}"))
    return found


# Reading


def read_safetensors(data):
    """Read what :func:`write_safetensors` has written.

    Args:
      data: bytes of the file.

    Returns:
      (list of PickledNetwork, as a pickle of them gives; whether it is a single network). Arrays
      are read-only and lie over the file's bytes.

    Raises:
      RefusedError: it is damaged, or no file of networks.
    """
    size = int.from_bytes(data[:8], "little")
    need(size <= min(len(data) - 8, MAX_HEADER), f"a header of {size} bytes")
    header = _parse(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = _read_tensors(header, memoryview(data)[8 + size :])
    text = metadata.get(ENTRY) if isinstance(metadata, dict) else None
    need(
        isinstance(text, str),
        "safetensors of another program, without the options of networks; export.py writes them",
    )
    contents = _parse(text)
    need(contents.get("version") == VERSION, f"version {str(contents.get('version'))[:20]}")
    described = contents.get("networks")
    need(isinstance(described, list) and described, "a header without networks")
    networks = [_network(item, _key(item), tensors, 0) for item in described]
    need(not tensors, f"a tensor {next(iter(tensors), '')[:100]!r} of no network")
    is_single = contents.get("single") is True
    need(len(networks) == 1 or not is_single, "a single network that is several")
    return networks, is_single


def _parse(text):
    """A JSON object, each name in it once, with numbers of a usual length."""

    def integer(digits):
        need(len(digits) <= MAX_DIGITS, "a number of many digits")
        return int(digits)

    def unique(pairs):
        found = dict(pairs)
        need(len(found) == len(pairs), "a name that is there twice")
        return found

    try:
        found = json.loads(text, parse_int=integer, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"a damaged header ({str(error)[:100]})") from None
    need(isinstance(found, dict), "a header that is no JSON object")
    return found


def _read_tensors(header, buffer):
    """{name: array} of a header; the tensors fill the buffer, one after the other."""
    places = []
    for name, entry in header.items():
        told = f"a damaged entry {name[:100]!r}"
        need(isinstance(entry, dict) and {*entry} == {"dtype", "shape", "data_offsets"}, told)
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        need(isinstance(dtype, str) and dtype in DTYPES, f"{told}: numbers of type {dtype!r:.20}")
        for numbers in (shape, offsets):
            is_list = isinstance(numbers, list) and len(numbers) <= MAX_DIMS
            need(is_list and all(type(x) is int and x >= 0 for x in numbers), told)
        need(len(offsets) == 2, told)
        places.append((*offsets, name, np.dtype(DTYPES[dtype]), shape))
    tensors, position = {}, 0
    for begin, end, name, dtype, shape in sorted(places, key=lambda place: place[:3]):
        count = 1
        for size in shape:
            count *= size
        fits = begin == position and end - begin == count * dtype.itemsize and end <= len(buffer)
        need(fits, f"tensor {name[:100]!r}, {shape} at {begin} to {end} of {len(buffer)} bytes")
        try:
            tensors[name] = np.frombuffer(buffer[begin:end], dtype).reshape(shape)
        except ValueError:  # no elements, but other axes larger than NumPy allows
            raise RefusedError(f"tensor {name[:100]!r} of shape {shape}") from None
        position = end
    need(position == len(buffer), f"{len(buffer) - position} bytes after the last tensor")
    return tensors


def _key(item):
    """What the names of a network's tensors begin with."""
    key = item.get("key") if isinstance(item, dict) else None
    need(isinstance(key, str) and key and "/" not in key, "a network without key")
    return key


def _network(item, path, tensors, depth):
    """A network of the header; takes what is its own from ``tensors``."""
    need(isinstance(item, dict) and depth < MAX_DEPTH, "a network that is no JSON object")
    components = item.get("components")
    need(isinstance(components, dict), f"network {path[:100]!r} without components")
    parts = {
        role: _network(part, f"{path}/{role}", tensors, depth + 1)
        for role, part in components.items()
    }
    start = f"{path}/"
    names = [name for name in tensors if name.startswith(start)]
    network = PickledNetwork()
    network.state = {
        "version": OWN_VERSION,
        "variables": [(name[len(start) :], tensors.pop(name)) for name in names],
        "components": parts,
        **{key: item[key] for key in ("name", "builder", "static_kwargs") if key in item},
    }
    return network
