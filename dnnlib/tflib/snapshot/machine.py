"""The stack machine that a pickle is a program for, as far as snapshots need it.

It knows the few classes that a snapshot names; none of them is ever called.
"""

import re

import numpy as np

MAX_DIMS = 32

NETWORK, EASY_DICT, NDARRAY, DTYPE, RECONSTRUCT, SCALAR, FROM_BUFFER, ENCODE, BYTES = range(9)

# All that a snapshot may name. Sub-modules of numpy.core moved to numpy._core with NumPy 2.
ALLOWED = {
    "dnnlib.tflib.network Network": NETWORK,
    "tfutil Network": NETWORK,  # Progressive GAN
    "dnnlib.util EasyDict": EASY_DICT,
    "numpy ndarray": NDARRAY,
    "numpy dtype": DTYPE,
    "numpy.core.multiarray _reconstruct": RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": RECONSTRUCT,
    "numpy.core.multiarray scalar": SCALAR,
    "numpy._core.multiarray scalar": SCALAR,
    "numpy.core.numeric _frombuffer": FROM_BUFFER,
    "numpy._core.numeric _frombuffer": FROM_BUFFER,
    "_codecs encode": ENCODE,  # how Python 3 writes bytes for Python 2
    "__builtin__ bytes": BYTES,
    "builtins bytes": BYTES,
}


class RefusedError(Exception):
    """The stream is damaged or asks for something that a snapshot does not need."""


class PickledNetwork:
    """A network in a stream: its state, still as the file has it."""

    def __init__(self):
        self.state = None


class PickledArray:
    """An array in a stream; ``value`` is a read-only array over the file's bytes."""

    def __init__(self):
        self.value = None


class _Global:
    """One of the names in ALLOWED."""

    def __init__(self, kind):
        self.kind = kind


class _Dtype:
    """A plain number type; pickles give its byte order after they have made it."""

    def __init__(self, code):
        self.value = np.dtype(code)


def need(condition, message):
    """Refuse unless the condition holds."""
    if not condition:
        raise RefusedError(message)


class Machine:
    """The stack machine: one method for each kind of instruction."""

    def __init__(self, size):
        self.stack = []
        self.marks = []  # stacks that wait for a mark to be closed
        self.memo = {}
        self.budget = 2 * size  # bytes that may be copied out of the stream

    def spend(self, count):
        """Account for copied bytes; a stream could have the same ones copied again and again."""
        self.budget -= count
        need(self.budget >= 0, "more bytes in arrays than in the file")

    def push(self, value):
        """Put a value on top."""
        self.stack.append(value)

    def pop(self):
        """Take the top of the stack."""
        need(self.stack, "stack underflow")
        return self.stack.pop()

    def top(self):
        """Look at the top of the stack."""
        need(self.stack, "stack underflow")
        return self.stack[-1]

    def pop_mark(self):
        """Take everything above the latest mark."""
        need(self.marks, "no mark")
        items, self.stack = self.stack, self.marks.pop()
        return items

    # ------------------------------------------------------------------------- containers

    def extend(self, items):
        """Append items to the list on top."""
        target = self.top()
        need(type(target) is list, "items are appended to something that is no list")
        target.extend(items)

    def update(self, items):
        """Put [key, value, key, value, ...] into the dict on top."""
        target = self.top()
        need(type(target) is dict, "items are set in something that is no dict")
        self._fill(target, items)

    def _fill(self, target, items):
        """Put [key, value, ...] into a dict."""
        need(len(items) % 2 == 0, "a key without value")
        for key, value in zip(items[::2], items[1::2]):
            need(isinstance(key, (str, int)), f"a {type(key).__name__} as key of a dict")
            target[key] = value

    def make_dict(self, items):
        """Push a dict made of [key, value, ...]."""
        target = {}
        self._fill(target, items)
        self.push(target)

    def make_tuple(self, count):
        """Push a tuple of the topmost items."""
        self.push(tuple(reversed([self.pop() for _ in range(count)])))

    # ------------------------------------------------------------------------------ memo

    def put(self, key):
        """Remember the top."""
        self.memo[key] = self.top()

    def get(self, key):
        """Push what was remembered."""
        need(key in self.memo, "an unknown memo entry")
        self.push(self.memo[key])

    # --------------------------------------------------------------- classes and objects

    def push_global(self, name):
        """Push one of the allowed names, "module name"."""
        need(name in ALLOWED, f"it names {name.replace(' ', '.')!r}, which no network needs")
        self.push(_Global(ALLOWED[name]))

    def stack_global(self):
        """The same with module and name on the stack."""
        name, module = self.pop(), self.pop()
        need(isinstance(name, str) and isinstance(module, str), "a class without name")
        self.push_global(f"{module} {name}")

    def new_object(self, cls, args):
        """Push an empty object of a class; __init__ and __new__ do not exist here."""
        kind = cls.kind if isinstance(cls, _Global) else None
        need(kind in (NETWORK, EASY_DICT) and args == (), "an object that is no network")
        self.push(PickledNetwork() if kind == NETWORK else {})

    def instance(self, name):
        """Objects of Python 2's old classes, class named in the instruction."""
        args = tuple(self.pop_mark())
        self.push_global(name)
        self.new_object(self.pop(), args)

    def instance_on_stack(self):
        """Objects of Python 2's old classes, class on the stack."""
        items = self.pop_mark()
        need(items, "an object without class")
        self.new_object(items[0], tuple(items[1:]))

    def call(self):
        """A function and its arguments: the few that stand for arrays and bytes."""
        args, func = self.pop(), self.pop()
        kind = func.kind if isinstance(func, _Global) else None
        need(isinstance(args, tuple), "a call without arguments")
        makers = {
            EASY_DICT: self._easy_dict,
            DTYPE: self._dtype,
            RECONSTRUCT: self._reconstruct,
            SCALAR: self._scalar,
            FROM_BUFFER: self._from_buffer,
            ENCODE: self._encode,
            BYTES: self._empty_bytes,
        }
        need(kind in makers, "a call of something that is no function of NumPy's")
        try:
            self.push(makers[kind](*args))
        except (TypeError, ValueError) as error:  # number or kinds of arguments
            raise RefusedError(f"a malformed array ({error})") from error

    def build(self):
        """Give the object on top its state."""
        state, target = self.pop(), self.top()
        if isinstance(target, PickledNetwork):
            need(type(state) is dict and target.state is None, "a network without proper state")
            target.state = state
        elif isinstance(target, PickledArray):
            need(target.value is None, "an array with two states")
            need(isinstance(state, tuple) and len(state) == 5, "an array without proper state")
            _, shape, dtype, is_fortran, data = state
            target.value = self._array(data, dtype, shape, "F" if is_fortran else "C")
        elif isinstance(target, _Dtype):
            is_plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None,) * 3
            need(is_plain and state[1] in ("<", ">", "=", "|"), "a structured number type")
            if target.value.itemsize > 1:
                target.value = target.value.newbyteorder(state[1])
        else:
            raise RefusedError("state for something that is no network")

    # ------------------------------------------------------------------------------ NumPy

    def _easy_dict(self):
        return {}

    def _dtype(self, code, *flags):
        """numpy.dtype("f4", align, copy) for plain numbers."""
        need(all(flag in (0, 1) for flag in flags), "a structured number type")
        plain = isinstance(code, str) and re.fullmatch(r"[<>=|]?(f[248]|[iu][1248]|b1)", code)
        need(plain, f"numbers of type {str(code)[:20]!r}")
        return _Dtype(code)

    def _reconstruct(self, cls, shape, code):
        """An array whose state follows."""
        need(isinstance(cls, _Global) and cls.kind == NDARRAY, "an array of another class")
        need(shape == (0,) and code in ("b", b"b"), "an array made in an unusual way")
        return PickledArray()

    def _raw(self, data):
        """Bytes; Python 2's strings have been read as latin-1 text."""
        if isinstance(data, str):
            self.spend(len(data))
            return data.encode("latin-1")
        need(isinstance(data, (bytes, bytearray)), "an array without bytes")
        return data

    def _array(self, data, dtype, shape, order):
        """Array over bytes of the stream; copies nothing."""
        need(isinstance(dtype, _Dtype), "an array without number type")
        shape = shape if isinstance(shape, tuple) else (shape,)
        sizes = all(type(size) is int and size >= 0 for size in shape)
        need(sizes and len(shape) <= MAX_DIMS, "an array of impossible shape")
        count = 1
        for size in shape:
            count *= size
        data = self._raw(data)
        told = f"an array of shape {list(shape)} over {len(data)} bytes"
        need(count * dtype.value.itemsize == len(data), told)
        try:
            return np.frombuffer(data, dtype.value, count).reshape(shape, order=order)
        except ValueError:  # no elements, but other axes larger than NumPy allows
            raise RefusedError(told) from None

    def _from_buffer(self, data, dtype, shape, order="C"):
        """An array in one call, as protocol 5 has it."""
        need(order in ("C", "F"), "an array in unknown order")
        array = PickledArray()
        array.value = self._array(data, dtype, shape, order)
        return array

    def _scalar(self, dtype, data):
        """A number with a NumPy type."""
        return self._array(data, dtype, (), "C")[()]

    def _encode(self, text, encoding):
        """Bytes that were written as text."""
        need(isinstance(text, str) and encoding in ("latin1", "latin-1"), "bytes in other text")
        self.spend(len(text))
        return text.encode("latin-1")

    def _empty_bytes(self):
        return b""
