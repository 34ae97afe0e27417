"""A reader for pickled networks that executes nothing.

A pickle is a program for a small stack machine. This module interprets the few instructions that
snapshots need; anything else is refused. Memory stays within a small multiple of the file: lengths
and shapes that a file claims are compared with the bytes that it has.
"""

import io
import pickletools

from dnnlib.tflib.snapshot.machine import Machine, PickledArray, PickledNetwork, RefusedError, need

__all__ = ["PickledArray", "PickledNetwork", "RefusedError", "read_pickle"]

MAX_LINE = 10000  # bytes of an argument in protocol 0's text form
MAX_INT_BITS = 64


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
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GLOBAL": lambda m, x: m.push_global(x),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "NEWOBJ": lambda m, _: m.new_object(*[m.pop(), m.pop()][::-1]),
    "OBJ": lambda m, _: m.instance_on_stack(),
    "INST": lambda m, x: m.instance(x),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
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
      Tree of None, bool, int, float, str, bytes, tuple, list, dict, NumPy scalars,
      :class:`PickledArray` and :class:`PickledNetwork`.

    Raises:
      RefusedError: the stream is damaged or asks for something that a snapshot does not need.
    """
    machine = Machine(len(data))
    # A real snapshot has one instruction in 30 bytes or more. Each may make an object of up to 240
    # bytes (an empty dict of Python 3.7), so this bounds memory by a small multiple of the file.
    left = 10000 + len(data) // 16
    try:
        for opcode, arg, _ in pickletools.genops(_Lines(data)):
            if opcode.name == "STOP":
                return machine.pop()
            left -= 1
            need(left >= 0, "too many instructions for its size")
            instruction = _INSTRUCTIONS.get(opcode.name)
            need(instruction is not None, f"instruction {opcode.name}, which no network needs")
            instruction(machine, arg)
    except (ValueError, EOFError) as error:  # pickletools: unknown instruction, missing bytes
        raise RefusedError(f"damaged or cut off ({str(error)[:100]})") from error
    raise RefusedError("damaged or cut off (no end)")
