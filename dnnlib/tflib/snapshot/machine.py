"""The stack machine that a pickle is a program for, as far as snapshots need it.

It knows the few classes that a snapshot names; none of them is ever called.
"""

import re

import numpy as np

MAX_DIMS = 32

(
    NETWORK,
    EASY_DICT,
    NDARRAY,
    DTYPE,
    RECONSTRUCT,
    SCALAR,
    FROM_BUFFER,
    ENCODE,
    BYTES,
    MODULE,
    DROPOUT,
    ORDERED_DICT,
    SET,
    PARAMETER,
    TENSOR,
    STORAGE,
    STORAGE_TYPE,
) = range(17)

# All that a snapshot may name. Sub-modules of numpy.core moved to numpy._core with NumPy 2.
SNAPSHOT_NAMES = {
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
    # PyTorch networks of StyleGAN2-ADA and GANsformer
    "torch_utils.persistence _reconstruct_persistent_obj": MODULE,
    "torch.nn.modules.dropout Dropout": DROPOUT,
    "collections OrderedDict": ORDERED_DICT,
    "builtins set": SET,
    "__builtin__ set": SET,
    "torch._utils _rebuild_parameter": PARAMETER,
    "torch._utils _rebuild_tensor_v2": TENSOR,
    "torch.storage _load_from_bytes": STORAGE,
}

# Number types of PyTorch's storages, little-endian.
STORAGE_TYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
    "torch BoolStorage": "|b1",
}

# All that a file of PyTorch's may name: tensors, or the storage of one inside a snapshot.
TORCH_NAMES = {
    "collections OrderedDict": ORDERED_DICT,
    "torch._utils _rebuild_parameter": PARAMETER,
    "torch._utils _rebuild_tensor_v2": TENSOR,
    **dict.fromkeys(STORAGE_TYPES, STORAGE_TYPE),
}


class RefusedError(Exception):
    """The stream is damaged or asks for something that a snapshot does not need."""


class PickledNetwork:
    """A network in a stream: its state, still as the file has it."""

    def __init__(self):
        self.state = None


class PickledModule:
    """A PyTorch network or layer in a stream: name of its class, and its state as the file has it.

    The state holds the options that the object was made with, ``_parameters`` and ``_buffers``
    ({name: PickledTensor or None}), and ``_modules`` ({name: PickledModule or None}). ``name`` is
    the network's in the snapshot.
    """

    def __init__(self, class_name):
        self.class_name, self.name = class_name, class_name
        self.state = None


class PickledArray:
    """An array in a stream; ``value`` is a read-only array over the file's bytes."""

    def __init__(self):
        self.value = None


class PickledStorage:
    """The numbers behind PyTorch tensors; ``values``, a flat array over the file, comes last."""

    def __init__(self, code, size):
        self.dtype, self.size = np.dtype(code), size
        self.values = None

    def fill(self, data, position):
        """Read the number of elements and the elements; returns the position behind them."""
        begin = position + 8
        end = begin + self.size * self.dtype.itemsize
        count = int.from_bytes(data[position:begin], "little")
        told = f"a storage of {self.size} elements that has {count}"
        need(count == self.size and end <= len(data), told)
        self.values = np.zeros(0, self.dtype)
        if count:
            self.values = np.frombuffer(data, self.dtype, count, begin)
        return end


class PickledTensor:
    """A PyTorch tensor in a stream: a view of a storage.

    Args:
      storage: PickledStorage.
      offset: of its first element.
      shape: of the tensor.
      strides: one for each axis; like ``offset`` in elements.
    """

    def __init__(self, storage, offset, shape, strides):
        need(isinstance(storage, PickledStorage), "a tensor without storage")
        for sizes in (shape, strides):
            need(isinstance(sizes, tuple) and len(sizes) <= MAX_DIMS, "a tensor without shape")
        numbers = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
        need(numbers and len(shape) == len(strides), "a tensor of impossible shape")
        self.storage, self.offset, self.shape = storage, offset, shape
        self.strides = [stride if size > 1 else 0 for size, stride in zip(shape, strides)]
        self.size = 1
        for size in shape:
            self.size *= size
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, self.strides))
        fits = self.size == 0 or (last < storage.size and self.size <= storage.size)
        need(fits, f"a tensor of shape {list(shape)} over {storage.size} elements")

    @property
    def value(self):
        """Read-only array over the file's bytes."""
        need(self.storage.values is not None, "a tensor whose storage is not in the file")
        if self.size == 0:
            try:
                return np.zeros(self.shape, self.storage.dtype)
            except ValueError:  # the other axes are larger than NumPy allows
                raise RefusedError(f"a tensor of shape {list(self.shape)}") from None
        strides = [stride * self.storage.dtype.itemsize for stride in self.strides]
        values = self.storage.values[self.offset :]
        return np.lib.stride_tricks.as_strided(values, self.shape, strides, writeable=False)


class Limits:
    """What the stream of a file, and those inside it, may use together.

    Args:
      size: of the file, in bytes.
    """

    def __init__(self, size):
        self._bytes = 2 * size
        # A real snapshot has one instruction in 17 bytes or more. Each may make an object of up to
        # 240 bytes (an empty dict of Python 3.7), so this bounds memory by a small multiple of the
        # file.
        self._instructions = 20000 + size // 8

    def spend(self, count):
        """Account for copied bytes; a stream could have the same ones copied again and again."""
        self._bytes -= count
        need(self._bytes >= 0, "more bytes in arrays than in the file")

    def step(self):
        """Account for an instruction."""
        self._instructions -= 1
        need(self._instructions >= 0, "too many instructions for its size")


class _Global:
    """One of the names that are allowed."""

    def __init__(self, kind, name):
        self.kind, self.name = kind, name


class _Dtype:
    """A plain number type; pickles give its byte order after they have made it."""

    def __init__(self, code):
        self.value = np.dtype(code)


def need(condition, message):
    """Refuse unless the condition holds."""
    if not condition:
        raise RefusedError(message)


class Machine:
    """The stack machine: one method for each kind of instruction.

    Args:
      limits: Limits of the file.
      names: {"module name": kind}, all that the stream may name.
      read_storage: function of the bytes of a file of PyTorch's, gives a PickledStorage; None
        refuses them.
      storages: {key: PickledStorage} for those that the stream refers to by persistent ids, filled
        as it does; None refuses such ids.
    """

    def __init__(self, limits, names=SNAPSHOT_NAMES, read_storage=None, storages=None):
        self.limits, self.names = limits, names
        self.read_storage, self.storages = read_storage, storages
        self.stack = []
        self.marks = []  # stacks that wait for a mark to be closed
        self.memo = {}

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

    # Containers

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

    def add(self, items):
        """Put texts into the set on top."""
        target = self.top()
        need(type(target) is set, "items are added to something that is no set")
        need(all(isinstance(item, str) for item in items), "a set of other things than texts")
        target.update(items)

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

    # Memo

    def put(self, key):
        """Remember the top."""
        self.memo[key] = self.top()

    def get(self, key):
        """Push what was remembered."""
        need(key in self.memo, "an unknown memo entry")
        self.push(self.memo[key])

    # Classes and objects

    def push_global(self, name):
        """Push one of the allowed names, "module name"."""
        need(name in self.names, f"it names {name.replace(' ', '.')!r}, which no network needs")
        self.push(_Global(self.names[name], name))

    def stack_global(self):
        """The same with module and name on the stack."""
        name, module = self.pop(), self.pop()
        need(isinstance(name, str) and isinstance(module, str), "a class without name")
        self.push_global(f"{module} {name}")

    def new_object(self, cls, args):
        """Push an empty object of a class; __init__ and __new__ do not exist here."""
        kind = cls.kind if isinstance(cls, _Global) else None
        makers = {NETWORK: PickledNetwork, EASY_DICT: dict, DROPOUT: self._dropout}
        need(kind in makers and args == (), "an object that is no network")
        self.push(makers[kind]())

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
        """A function and its arguments: the few that stand for arrays, tensors and layers."""
        args, func = self.pop(), self.pop()
        kind = func.kind if isinstance(func, _Global) else None
        need(isinstance(args, tuple), "a call without arguments")
        makers = {
            EASY_DICT: dict,
            ORDERED_DICT: self._ordered_dict,
            SET: self._set,
            DTYPE: self._dtype,
            RECONSTRUCT: self._reconstruct,
            SCALAR: self._scalar,
            FROM_BUFFER: self._from_buffer,
            ENCODE: self._encode,
            BYTES: bytes,
            MODULE: self._module,
            PARAMETER: self._parameter,
            TENSOR: self._tensor,
            STORAGE: self._storage,
        }
        need(kind in makers, "a call of something that is no function of NumPy's or PyTorch's")
        need(kind not in (EASY_DICT, BYTES) or args == (), "a malformed object")
        try:
            self.push(makers[kind](*args))
        except (TypeError, ValueError) as error:  # number or kinds of arguments
            raise RefusedError(f"a malformed array ({error})") from error

    def build(self):
        """Give the object on top its state."""
        state, target = self.pop(), self.top()
        if isinstance(target, (PickledNetwork, PickledModule)):
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
        else:  # the dict of a state dict has notes about versions
            is_notes = type(target) is dict and self.storages is not None
            need(is_notes, "state for something that is no network")

    def _ordered_dict(self, *items):
        need(items == (), "a dict made in an unusual way")
        return {}

    def _set(self, items):
        need(type(items) is list, "a set made in an unusual way")
        need(all(isinstance(item, str) for item in items), "a set of other things than texts")
        return set(items)

    # NumPy

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
            self.limits.spend(len(data))
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
        self.limits.spend(len(text))
        return text.encode("latin-1")

    # PyTorch

    def _module(self, meta):
        """An object with the source of its class, which is ignored."""
        need(type(meta) is dict and meta.get("type") == "class", "an object without class")
        need(isinstance(meta.get("class_name"), str), "an object without class")
        need(type(meta.get("state")) is dict, "a PyTorch network without proper state")
        module = PickledModule(meta["class_name"])
        module.state = meta["state"]
        return module

    def _dropout(self):
        return PickledModule("Dropout")

    def _storage(self, data):
        """The numbers behind a tensor, a file of PyTorch's inside the stream."""
        need(isinstance(data, bytes) and self.read_storage is not None, "a storage without bytes")
        return self.read_storage(data)

    def _tensor(self, storage, offset, shape, strides, *_):
        tensor = PickledTensor(storage, offset, shape, strides)
        self.limits.spend(tensor.size * storage.dtype.itemsize)
        return tensor

    def _parameter(self, tensor, *_):
        need(isinstance(tensor, PickledTensor), "a parameter that is no tensor")
        return tensor

    def persistent(self):
        """A storage that follows the stream: ("storage", type, key, device, size, None)."""
        told = "something outside of the file"
        pid = self.pop()
        need(self.storages is not None and isinstance(pid, tuple) and len(pid) == 6, told)
        kind, cls, key, _, size, part = pid
        is_type = isinstance(cls, _Global) and cls.kind == STORAGE_TYPE
        need(kind == "storage" and is_type and part is None, told)
        need(isinstance(key, str) and type(size) is int and size >= 0, told)
        if key not in self.storages:
            self.storages[key] = PickledStorage(STORAGE_TYPES[cls.name], size)
        self.push(self.storages[key])
