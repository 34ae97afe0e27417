"""Writes pickles for the tests: well-formed ones in old formats, and bad ones."""

import io
import pickle
import pickletools
import struct
import types

import numpy as np

RECONSTRUCT, NETWORK = "numpy.core.multiarray _reconstruct", "dnnlib.tflib.network Network"


class Name:
    """A class or function in a stream; need not exist."""

    def __init__(self, name):
        self.module, self.name = name.split(" ")


class Raw:
    """Instructions put into a stream as they are."""

    def __init__(self, code):
        self.code = code


class Call:
    """A call of a named function."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Object:
    """An object of a named class, with a state."""

    def __init__(self, name, state):
        self.name, self.state = name, state


class Writer(pickle._Pickler):
    """Pickles the classes above and arrays, in any protocol."""

    # Without what dill adds, which TensorFlow imports where it is installed.
    dispatch = {
        **{kind: f for kind, f in pickle._Pickler.dispatch.items() if f.__module__ == "pickle"},
        dict: pickle._Pickler.save_dict,
        type: pickle._Pickler.save_type,
        types.FunctionType: pickle._Pickler.save_global,
    }

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Raw):
            self.write(obj.code)
        elif isinstance(obj, Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(Name(obj.name))
            self.save(obj.args)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Object):
            self.save(Name(obj.name))
            self.save(())
            self.write(pickle.NEWOBJ)
            self.save(obj.state)
            self.write(pickle.BUILD)
        elif isinstance(obj, np.ndarray):
            self.save(Call(RECONSTRUCT, Name("numpy ndarray"), (0,), b"b"))
            self.save((1, obj.shape, self.dtype(obj.dtype), False, obj.tobytes()))
            self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)

    @staticmethod
    def dtype(dtype):
        code = Call("numpy dtype", dtype.str[1:], 0, 1)
        if dtype.itemsize == 1:
            return code
        state = (3, dtype.str[0], None, None, None, -1, -1, 0)
        return Raw(dumps_inner(code) + dumps_inner(state) + pickle.BUILD)


def dumps(obj, protocol=4, fast=False):
    buffer = io.BytesIO()
    writer = Writer(buffer, protocol)
    writer.fast = fast  # no memo: to be put into other streams
    writer.dump(obj)
    return buffer.getvalue()


def dumps_inner(obj):
    """Instructions that push an object, without beginning and end."""
    return dumps(obj, 2, fast=True)[2:-1]


def as_python2(data):
    """Protocol 2 as Python 2 writes it: bytes for all strings, instead of text."""
    out = bytearray()
    ends = [*[pos for _, _, pos in pickletools.genops(data)][1:], len(data)]
    for (opcode, arg, pos), end in zip(pickletools.genops(data), ends):
        if opcode.name == "BINUNICODE":
            raw = arg.encode("latin-1")
            is_short = len(raw) < 256
            out += b"U" + bytes([len(raw)]) if is_short else b"T" + struct.pack("<i", len(raw))
            out += raw
        else:
            out += data[pos:end]
    return bytes(out)


def state(version=4, **changes):
    """State of a small published network."""
    default = dict(
        version=version,
        name="D",
        static_kwargs=dict(num_channels=3, resolution=4, label_size=0),
        components={},
        build_module_src="raise AssertionError('executed')",
        build_func_name="D_stylegan2",
        variables=[("4x4/Conv/weight", np.arange(6, dtype=np.float32).reshape(2, 3))],
    )
    return dict(default, **changes)


def network(version=4, name=NETWORK, **changes):
    return Object(name, state(version, **changes))


# PyTorch's networks

MAGIC = 0x1950A86A20F9469CFC6C
PERSISTENT = "torch_utils.persistence _reconstruct_persistent_obj"
STORAGE, TENSOR = "torch.storage _load_from_bytes", "torch._utils _rebuild_tensor_v2"
PARAMETER, ORDERED = "torch._utils _rebuild_parameter", "collections OrderedDict"
KINDS = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte", "b1": "Bool"}


def torch_file(value, storages):
    """A file of PyTorch's first format.

    Args:
      value: What it holds; ``storage_id`` makes a reference to a storage.
      storages: {key: array}.
    """
    parts = [MAGIC, 1001, dict(protocol_version=1001, little_endian=True), value]
    data = b"".join(dumps(part, 2) for part in [*parts, sorted(storages)])
    for key in sorted(storages):
        data += struct.pack("<q", storages[key].size) + storages[key].tobytes()
    return data


def storage_id(array, key="0", **changes):
    """Reference to the storage of an array in a file of PyTorch's."""
    kind = changes.get("kind", KINDS.get(array.dtype.str[1:]))
    pid = ("storage", Name(f"torch {kind}Storage"), key, "cpu", changes.get("size", array.size))
    return Raw(dumps_inner((*pid, None)) + b"Q")


def storage(array):
    """The storage of a tensor in a snapshot."""
    array = np.ascontiguousarray(array)
    return Call(STORAGE, torch_file(storage_id(array, "94"), {"94": array}))


def tensor(array, offset=0, shape=None, stride=None):
    """A tensor: a view of a storage with these numbers."""
    shape = array.shape if shape is None else shape
    if stride is None:
        stride = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    return Call(TENSOR, storage(array), offset, shape, stride, False, Call(ORDERED))


def parameter(array, **view):
    return Call(PARAMETER, tensor(array, **view), True, Call(ORDERED))


def module(class_name, parameters=(), modules=(), buffers=(), **attributes):
    """A PyTorch network or layer with the source of its class."""
    state = dict(
        training=False,
        _parameters={k: parameter(x) for k, x in dict(parameters).items()},
        _buffers={k: tensor(x) for k, x in dict(buffers).items()},
        _modules=dict(modules),
        _non_persistent_buffers_set=set(),
        _forward_hooks=Call(ORDERED),
        **attributes,
    )
    source = "raise AssertionError('executed')"
    meta = dict(type="class", version=6, module_src=source, class_name=class_name, state=state)
    return Call(PERSISTENT, meta)
