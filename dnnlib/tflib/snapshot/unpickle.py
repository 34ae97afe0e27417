"""A reader for pickled networks that executes nothing.

A pickle is a program for a small stack machine. This module interprets the few instructions that
snapshots need; anything else is refused. Memory stays within a small multiple of the file: lengths
and shapes that a file claims are compared with the bytes that it has.
"""

import io
import pickletools

from dnnlib.tflib.snapshot.machine import (
    TORCH_NAMES,
    Limits,
    Machine,
    PickledArray,
    PickledModule,
    PickledNetwork,
    PickledStorage,
    PickledTensor,
    RefusedError,
    need,
)

__all__ = [
    "PickledArray",
    "PickledModule",
    "PickledNetwork",
    "PickledTensor",
    "RefusedError",
    "other_format",
    "read_pickle",
    "read_torch_file",
]

MAX_LINE = 10000  # bytes of an argument in protocol 0's text form
MAX_INT_BITS = 64

# Every file of PyTorch's first format begins with this pickle of a number, 0x1950a86a20f9469cfc6c.
TORCH_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
TORCH_PROTOCOL = 1001

# What else is taken for a snapshot, by how it begins.
OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive, such as torch.save's, not a pickle of networks",
    TORCH_MAGIC: "a file of torch.save, not a pickle of networks",
    b"\x89HDF": "an HDF5 file, not a pickle of networks",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"version https://git-lfs": "a pointer to a file that Git LFS keeps, not the file",
    b"<": "a web page, not the file that was meant to be downloaded",
}


class _Lines(io.BytesIO):
    """The file; keeps text arguments short (converting long decimal numbers takes for ever)."""

    def readline(self, limit=-1):
        line = super().readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise RefusedError(f"a line of more than {MAX_LINE} bytes")
        return line


def _push(machine, value):
    machine.push(value)


def _push_int(machine, value):
    size = abs(value).bit_length()
    need(size <= MAX_INT_BITS, f"a number of {size} bits")
    machine.push(value)


def _open_mark(machine, _):
    machine.marks.append(machine.stack)
    machine.stack = []


_INSTRUCTIONS = {
    "PROTO": lambda m, x: need(x <= 5, f"pickle protocol {x}"),
    "FRAME": lambda m, x: None,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "MARK": _open_mark,
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.pop_mark(),
    "DUP": lambda m, _: m.push(m.top()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "DICT": lambda m, _: m.make_dict(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.make_tuple(1),
    "TUPLE2": lambda m, _: m.make_tuple(2),
    "TUPLE3": lambda m, _: m.make_tuple(3),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    "SETITEM": lambda m, _: m.update([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.update(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.add(m.pop_mark()),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GLOBAL": lambda m, x: m.push_global(x),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "NEWOBJ": lambda m, _: m.new_object(*[m.pop(), m.pop()][::-1]),
    "OBJ": lambda m, _: m.instance_on_stack(),
    "INST": lambda m, x: m.instance(x),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.persistent(),
}
_INSTRUCTIONS.update(dict.fromkeys(["INT", "BININT", "BININT1", "BININT2"], _push_int))
_INSTRUCTIONS.update(dict.fromkeys(["LONG", "LONG1", "LONG4"], _push_int))
_INSTRUCTIONS.update(dict.fromkeys(["FLOAT", "BINFLOAT"], _push))
_INSTRUCTIONS.update(dict.fromkeys(["STRING", "BINSTRING", "SHORT_BINSTRING"], _push))
_INSTRUCTIONS.update(dict.fromkeys(["UNICODE", "BINUNICODE", "SHORT_BINUNICODE"], _push))
_INSTRUCTIONS.update(dict.fromkeys(["BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"], _push))
_INSTRUCTIONS.update(dict.fromkeys(["BINBYTES8", "BYTEARRAY8"], _push))
_INSTRUCTIONS.update(dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT"], lambda m, x: m.put(x)))
_INSTRUCTIONS.update(dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], lambda m, x: m.get(x)))


def read_pickle(data):
    """Read one pickle.

    Args:
      data: bytes of the file.

    Returns:
      Tree of None, bool, int, float, str, bytes, tuple, list, dict, set, NumPy scalars,
      :class:`PickledArray`, :class:`PickledTensor`, :class:`PickledNetwork` and
      :class:`PickledModule`.

    Raises:
      RefusedError: the stream is damaged or asks for something that a snapshot does not need.
    """
    limits = Limits(len(data))
    return _interpret(_Lines(data), Machine(limits, read_storage=lambda x: _storage(x, limits)))


def other_format(data):
    """What a file is that is no pickle, as far as its beginning tells: text, or None."""
    return next((text for begin, text in OTHER_FORMATS.items() if data.startswith(begin)), None)


def _interpret(file, machine):
    """Read one pickle from a file, up to its end."""
    try:
        for opcode, arg, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return machine.pop()
            machine.limits.step()
            instruction = _INSTRUCTIONS.get(opcode.name)
            need(instruction is not None, f"instruction {opcode.name}, which no network needs")
            instruction(machine, arg)
    except (ValueError, EOFError) as error:  # pickletools: unknown instruction, missing bytes
        raise RefusedError(f"damaged or cut off ({str(error)[:100]})") from error
    raise RefusedError("damaged or cut off (no end)")


def read_torch_file(data, limits=None):
    """Read a file of tensors in the first format of PyTorch, the one before its zip files.

    It is five pickles (a magic number, a protocol, facts about the machine, the object, a list of
    the keys of its storages), and then the storages, each behind its number of elements.

    Args:
      data: bytes of the file.
      limits: Limits of the file that this one is in; None: its own.

    Returns:
      Tree as of :func:`read_pickle`, with PickledTensor or PickledStorage.

    Raises:
      RefusedError: it is damaged or asks for something that tensors do not need.
    """
    need(data.startswith(TORCH_MAGIC), "not a file of PyTorch's first format")
    limits = limits or Limits(len(data))
    file, storages = _Lines(data), {}
    file.seek(len(TORCH_MAGIC))
    need(_interpret(file, Machine(limits, {})) == TORCH_PROTOCOL, "tensors of unknown protocol")
    facts = _interpret(file, Machine(limits, {}))
    is_little = type(facts) is dict and facts.get("little_endian") is True
    need(is_little, "tensors of another byte order")
    found = _interpret(file, Machine(limits, TORCH_NAMES, storages=storages))
    keys = _interpret(file, Machine(limits, {}))
    is_list = type(keys) is list and all(isinstance(key, str) for key in keys)
    need(is_list and sorted(keys) == sorted(storages), "tensors without their storages")
    position = file.tell()
    for key in keys:
        position = storages[key].fill(data, position)
    need(position == len(data), f"{len(data) - position} bytes behind the last storage")
    return found


def _storage(data, limits):
    """The storage of a tensor in a snapshot."""
    found = read_torch_file(data, limits)
    need(isinstance(found, PickledStorage), "a tensor without storage")
    return found
