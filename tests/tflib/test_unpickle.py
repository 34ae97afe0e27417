"""The reader of pickles: old formats are read, everything else is refused and nothing executed."""

import contextlib
import os
import pickle
import random
import struct
import time
import tracemalloc

import numpy as np
import pickles
import pytest
from pickles import Call, Name, Object, Raw, dumps, network

from dnnlib import EasyDict
from dnnlib.tflib.snapshot.unpickle import (
    PickledModule,
    PickledNetwork,
    RefusedError,
    other_format,
    read_pickle,
    read_torch_file,
)

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def peak_of(func):
    """Most memory that Python had allocated while func ran, in bytes."""
    tracemalloc.start()
    with contextlib.suppress(RefusedError):
        func()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# ------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_protocol(protocol):
    options = dict(a=1, b=-(1 << 40), c=0.5, d=True, e=None, f=[1, "x"], g="\xe9" * 300, h=(1, 2))
    found = read_pickle(dumps((network(static_kwargs=options), 7), protocol))
    assert isinstance(found, tuple)
    assert found[1] == 7
    state = found[0].state
    assert state["static_kwargs"] == options
    assert state["build_module_src"] == "raise AssertionError('executed')"
    ((name, array),) = state["variables"]
    assert name == "4x4/Conv/weight"
    assert np.array_equal(array.value, WEIGHT)
    assert array.value.dtype == np.float32


def test_python_2():
    data = pickles.as_python2(dumps(network(name="tfutil Network"), 2))
    assert b"X" not in data[:60]
    found = read_pickle(data)
    assert np.array_equal(found.state["variables"][0][1].value, WEIGHT)


@pytest.mark.parametrize(
    "code", [b"(cdnnlib.tflib.network\nNetwork\no", b"(idnnlib.tflib.network\nNetwork\n"]
)
def test_python_2_old_classes(code):
    data = b"\x80\x02" + code + pickles.dumps_inner(pickles.state()) + b"b."
    assert read_pickle(data).state["name"] == "D"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_numpy_itself_writes(protocol):
    arrays = [
        WEIGHT,
        np.asfortranarray(WEIGHT),
        WEIGHT.astype(">f4"),
        WEIGHT.astype(np.float64),
        WEIGHT.astype(np.int32),
        WEIGHT.astype(np.uint8),
        WEIGHT > 2,
        np.full([], 1.5, np.float32),
        np.zeros([0, 5], np.float32),
    ]
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True)]
    found = read_pickle(pickle.dumps((arrays, scalars, b"", b"raw \xff"), protocol))
    for got, want in zip(found[0], arrays):
        assert got.value.dtype == want.dtype
        assert got.value.shape == want.shape
        assert np.array_equal(got.value, want)
    assert [type(value) for value in found[1]] == [type(value) for value in scalars]
    assert found[1] == scalars
    assert found[2:] == (b"", b"raw \xff")


def test_shared_objects_stay_shared():
    inner = [WEIGHT]
    found = read_pickle(pickle.dumps((inner, inner, WEIGHT)))
    assert found[0] is found[1]
    assert found[0][0] is found[2]


def test_easy_dict():
    assert read_pickle(pickle.dumps(EasyDict(a=1, b=[2]), 4)) == {"a": 1, "b": [2]}


def test_conformance_files(data_dir):
    for path in sorted((data_dir / "conformance" / "networks").glob("*.pkl")):
        G, D, Gs = read_pickle(path.read_bytes())
        assert all(isinstance(net, PickledNetwork) for net in (G, D, Gs))
        assert [net.state["name"] for net in (G, D, Gs)] == ["G", "D", "Gs"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_torch_networks(protocol):
    """Layers, parameters and buffers, options; the source in the file does not run."""
    layer = pickles.module("FullyConnectedLayer", dict(weight=WEIGHT), act="lrelu")
    attributes = dict(_init_kwargs=EasyDict(a=1), _init_args=(1, "b"), gain=0.5)
    net = pickles.module("Generator", {}, dict(fc=layer, skip=None), dict(w_avg=WEIGHT[0]))
    net.args[0]["state"].update(attributes)
    found = read_pickle(dumps(dict(G=net, D=None), protocol))
    G = found["G"]
    assert isinstance(G, PickledModule)
    assert (G.class_name, found["D"]) == ("Generator", None)
    assert {key: G.state[key] for key in attributes} == attributes
    assert G.state["_modules"]["skip"] is None
    fc = G.state["_modules"]["fc"]
    assert (fc.class_name, fc.state["act"]) == ("FullyConnectedLayer", "lrelu")
    assert np.array_equal(fc.state["_parameters"]["weight"].value, WEIGHT)
    w_avg = G.state["_buffers"]["w_avg"].value
    assert np.array_equal(w_avg, WEIGHT[0]) and not w_avg.flags.writeable


def test_views_of_storages():
    numbers = np.arange(24, dtype=np.float32)
    views = {
        "part": (dict(offset=4, shape=(2, 3), stride=(3, 1)), [[4, 5, 6], [7, 8, 9]]),
        "turned": (dict(shape=(3, 2), stride=(1, 3)), [[0, 3], [1, 4], [2, 5]]),
        "scalar": (dict(offset=23, shape=(), stride=()), 23),
        "one row": (dict(offset=20, shape=(1, 2), stride=(1 << 62, 1)), [[20, 21]]),
        "empty": (dict(offset=99, shape=(0, 5), stride=(5, 1)), np.zeros([0, 5])),
    }
    found = read_pickle(dumps({k: pickles.tensor(numbers, **v) for k, (v, _) in views.items()}))
    for key, (_, want) in views.items():
        assert np.array_equal(found[key].value, want), key
        assert found[key].value.shape == np.shape(want)


@pytest.mark.parametrize("code", pickles.KINDS)
def test_number_types_of_tensors(code):
    array = np.array([0, 1, 1], code)
    value = read_pickle(dumps(pickles.tensor(array))).value
    assert value.dtype == array.dtype and np.array_equal(value, array)


def test_other_layers_of_pytorch():
    found = read_pickle(dumps(Object("torch.nn.modules.dropout Dropout", dict(p=0.5))))
    assert (found.class_name, found.state) == ("Dropout", dict(p=0.5))


def test_a_set_of_names():
    assert read_pickle(dumps({"a", "b"})) == {"a", "b"}
    assert read_pickle(dumps(Call("builtins set", ["a"]), 2)) == {"a"}


# ------------------------------------------------------------------------- what is refused


class Evil:
    def __reduce__(self):
        return os.system, ("echo executed > executed.txt",)


def bomb(levels):
    """Lists of two of the same list, nested: 2^levels leaves in a few bytes."""
    value = []
    for _ in range(levels):
        value = [value, value]
    return value


FLOAT32 = Raw(pickles.dumps_inner(Call("numpy dtype", "f4", 0, 1)))
NDARRAY = Name("numpy ndarray")
OBJECT = b"\x80\x02cdnnlib.tflib.network\nNetwork\n"
CLAIM = struct.pack("<Q", 1 << 40)
BAD = {
    "reduce": (pickle.dumps(Evil()), "system"),
    "reduce in a network": (dumps(network(extra=Call("os system", "echo"))), "'os.system'"),
    "eval": (dumps(Call("builtins eval", "1 + 1")), "'builtins.eval'"),
    "network called": (dumps(Call(pickles.NETWORK, "G")), "no function of NumPy"),
    "np.load": (dumps(Call("numpy load", "file")), "'numpy.load'"),
    "string is no function": (dumps(Raw(b"U\x06system)R")), "no function"),
    "wrong class": (dumps(Object("dnnlib.tflib.optimizer Optimizer", {})), "Optimizer"),
    "network with arguments": (OBJECT + b"K\x01\x85\x81.", "no network"),
    "stack global": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "'os.system'"),
    "stack global of numbers": (b"\x80\x04K\x01K\x02\x93.", "without name"),
    "inst": (b"(S'echo'\nios\nsystem\n.", "'os.system'"),
    "obj": (b"(cos\nsystem\nU\x04echoo.", "'os.system'"),
    "newobj_ex": (dumps(Raw(b"cnumpy\nndarray\n)}\x92")), "NEWOBJ_EX"),
    "persistent id": (dumps(Raw(b"Pfile\n")), "PERSID"),
    "extension": (dumps(Raw(b"\x82\x01")), "EXT1"),
    "set of numbers": (dumps({1, 2}), "texts"),
    "set of numbers, called": (dumps(Call("builtins set", [1])), "texts"),
    "frozen set": (dumps(frozenset("a")), "FROZENSET"),
    "ordered dict of pairs": (dumps(Call(pickles.ORDERED, [("a", 1)])), "unusual"),
    "persistent storage": (dumps(pickles.storage_id(WEIGHT)), "'torch.FloatStorage'"),
    "persistent name": (dumps(Raw(b"U\x04fileQ")), "outside of the file"),
    "another class of PyTorch": (dumps(Object("torch.nn.modules.linear Linear", {})), "Linear"),
    "module called with two": (dumps(Call(pickles.PERSISTENT, {}, {})), "malformed"),
    "module without class": (dumps(Call(pickles.PERSISTENT, dict(type="class"))), "class"),
    "module of a function": (dumps(Call(pickles.PERSISTENT, dict(type="func"))), "class"),
    "module without state": (
        dumps(Call(pickles.PERSISTENT, dict(type="class", class_name="G", state=[]))),
        "proper state",
    ),
    "parameter of a number": (dumps(Call(pickles.PARAMETER, 1, True, {})), "no tensor"),
    "tensor of an array": (dumps(Call(pickles.TENSOR, WEIGHT, 0, (1,), (1,))), "storage"),
    "storage of text": (dumps(Call(pickles.STORAGE, "x")), "without bytes"),
    "storage of a zip": (dumps(Call(pickles.STORAGE, b"PK\x03\x04")), "first format"),
    "storage of a pickle": (
        dumps(Call(pickles.STORAGE, pickle.dumps(Evil(), 2))),
        "first format",
    ),
    "protocol 9": (b"\x80\x09N.", "protocol 9"),
    "ndarray made at once": (dumps(Call("numpy ndarray", (1 << 40,))), "no function"),
    "array of another class": (dumps(Call(pickles.RECONSTRUCT, FLOAT32, (0,), b"b")), "class"),
    "array made large": (dumps(Call(pickles.RECONSTRUCT, NDARRAY, (9,), b"b")), "unusual"),
    "objects": (dumps(Call("numpy dtype", "O8", 0, 1)), "'O8'"),
    "void": (dumps(Call("numpy dtype", "V1000000000", 0, 1)), "V1000000000"),
    "sub-arrays": (dumps(Call("numpy dtype", "(9,9)f4", 0, 1)), "(9,9)f4"),
    "dtype of three": (dumps(Call("numpy dtype")), "malformed"),
    "scalar too long": (dumps(Call("numpy.core.multiarray scalar", FLOAT32, b"12345")), "shape"),
    "state of a number": (dumps(Raw(b"K\x01}b")), "no network"),
    "two states": (dumps(Raw(pickles.dumps_inner(network()) + b"}b")), "proper state"),
    "append to a dict": (b"}K\x01a.", "no list"),
    "set in a list": (b"]K\x01K\x02s.", "no dict"),
    "list as key": (b"}]K\x02s.", "key"),
    "odd items": (b"}(K\x01u.", "without value"),
    "no mark": (b"]e.", "no mark"),
    "underflow": (b"0.", "underflow"),
    "unknown memo": (b"h\x05.", "memo"),
    "nothing": (b"", "damaged"),
    "no end": (b"N", "damaged"),
    "text": (b"hello world", "damaged|memo"),
    "zip": (b"PK\x03\x04" + b"\0" * 40, "damaged"),
    "claimed bytes": (b"\x80\x04\x8e" + CLAIM + b"abc.", "damaged"),
    "claimed text": (b"\x80\x04\x8d" + CLAIM + b"abc.", "damaged"),
    "claimed byte array": (b"\x80\x05\x96" + CLAIM + b"abc.", "damaged"),
    "claimed 32 bit": (b"\x80\x02T\xff\xff\xff\x7fabc.", "damaged"),
    "claimed integer": (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", "damaged"),
    "claimed frame": (b"\x80\x04\x95" + CLAIM + b"].", None),
    "long integer": (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "bits"),
    "long decimal": (b"L" + b"9" * 1000000 + b"L\n.", "line"),
    "long line": (b"V" + b"x" * 1000000 + b"\n.", "line"),
    "far memo entry": (b"\x80\x02Nr\xff\xff\xff\xff.", None),
    "impossible text": (b"\x80\x02X\x02\x00\x00\x00\xff\xff.", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused(name, tmp_path, monkeypatch):
    """Nothing runs, nothing large is allocated, and the message says what it was."""
    monkeypatch.chdir(tmp_path)
    data, message = BAD[name]
    if message is None:
        read_pickle(data)
    else:
        with pytest.raises(RefusedError, match=message if "|" in message else None) as caught:
            read_pickle(data)
        assert "|" in message or message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert peak_of(lambda: read_pickle(data)) < 20 * len(data) + 200000
    assert os.listdir(tmp_path) == []


FLOATS = np.arange(6, dtype=np.float32)


def nested(value, storages=None):
    """The bytes of a storage, with something else in place of it."""
    return pickles.torch_file(value, {"0": FLOATS} if storages is None else storages)


GOOD_STORAGE = nested(pickles.storage_id(FLOATS))
BAD_STORAGES = {
    "a call": (nested(Call("os system", "echo")), "'os.system'"),
    "a network": (nested(network()), "'dnnlib.tflib.network.Network'"),
    "a storage in it": (nested(Call(pickles.STORAGE, GOOD_STORAGE)), "_load_from_bytes"),
    "a module": (nested(pickles.module("G")), "_reconstruct_persistent_obj"),
    "a number": (nested(7, {}), "without storage"),
    "a name": (nested(Raw(b"U\x04fileQ")), "outside of the file"),
    "unknown type": (nested(pickles.storage_id(FLOATS, kind="BFloat16")), "BFloat16Storage"),
    "a claimed size": (nested(pickles.storage_id(FLOATS, size=1 << 40)), "that has 6"),
    "a size below zero": (nested(pickles.storage_id(FLOATS, size=-6)), "outside"),
    "another key": (nested(pickles.storage_id(FLOATS, key="1")), "without their storages"),
    "no storage": (nested(pickles.storage_id(FLOATS), {}), "without their storages"),
    "two storages": (nested(pickles.storage_id(FLOATS), {"0": FLOATS, "1": FLOATS}), "without"),
    "a part": (nested(Raw(pickles.dumps_inner(("storage",)) + b"Q")), "outside of the file"),
    "more bytes": (GOOD_STORAGE + b"\0", "behind the last storage"),
    "fewer bytes": (GOOD_STORAGE[:-1], "a storage of 6 elements"),
    "big-endian": (GOOD_STORAGE.replace(b"\x88", b"\x89"), "byte order"),
    "a protocol": (GOOD_STORAGE.replace(b"M\xe9\x03.", b"M\xe8\x03."), "protocol"),
}


@pytest.mark.parametrize("name", BAD_STORAGES)
def test_refused_storages(name):
    data, message = BAD_STORAGES[name]
    with pytest.raises(RefusedError) as caught:
        read_pickle(dumps(Call(pickles.TENSOR, Call(pickles.STORAGE, data), 0, (6,), (1,))))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "view",
    [
        dict(shape=(7,)),
        dict(shape=(6,), offset=1),
        dict(shape=(2, 3), stride=(4, 1)),
        dict(shape=(1 << 40, 3), stride=(0, 0)),  # one element again and again
        dict(shape=(7, 1), stride=(0, 0)),
        dict(shape=(2, 3), stride=(-3, 1), offset=3),
        dict(shape=(2, 3), stride=(1,)),
        dict(shape=(2.0, 3), stride=(3, 1)),
        dict(shape=[2, 3], stride=(3, 1)),
        dict(shape=(True, 6), stride=(6, 1)),
        dict(shape=(1,) * 40, stride=(1,) * 40),
        dict(shape=(1,), stride=(1,), offset=-1),
    ],
)
def test_impossible_views(view):
    data = dumps(pickles.tensor(FLOATS, **view))
    with pytest.raises(RefusedError, match="a tensor"):
        read_pickle(data)
    assert peak_of(lambda: read_pickle(data)) < 200000


def test_empty_tensor_with_claims_beyond_numpy():
    huge = dict(shape=(0, 1 << 62, 1 << 62), stride=(1, 1, 1))
    tensor = read_pickle(dumps(pickles.tensor(FLOATS, **huge)))
    with pytest.raises(RefusedError, match="a tensor of shape"):
        tensor.value  # noqa: B018


def test_one_storage_is_not_multiplied():
    """Views of the same numbers, again and again, would be many arrays."""
    numbers = np.zeros(100000, np.float32)
    one = pickles.dumps_inner(pickles.storage(numbers)) + b"q\x07"
    call = pickles.dumps_inner(Name(pickles.TENSOR)) + b"(h\x07K\x00"
    call += pickles.dumps_inner((100000,)) + pickles.dumps_inner((1,)) + b"tR"
    with pytest.raises(RefusedError, match="more bytes"):
        read_pickle(b"\x80\x02" + one + call * 10 + b".")
    assert read_pickle(b"\x80\x02" + one + call + b".").value.size == 100000


def test_what_other_files_are():
    torch_file = nested(pickles.storage_id(FLOATS))
    assert read_torch_file(torch_file).values.tolist() == FLOATS.tolist()
    assert "torch.save" in other_format(torch_file)
    assert "zip archive" in other_format(b"PK\x03\x04" + bytes(20))
    assert "web page" in other_format(b"<!DOCTYPE html>")
    assert other_format(dumps(network())) is None


def array_state(shape, code="f4", raw=b"\0" * 24):
    dtype = Raw(pickles.dumps_inner(Call("numpy dtype", code, 0, 1)))
    made = pickles.dumps_inner(Call(pickles.RECONSTRUCT, Name("numpy ndarray"), (0,), b"b"))
    return dumps(Raw(made + pickles.dumps_inner((1, shape, dtype, False, raw)) + b"b"))


@pytest.mark.parametrize(
    "shape",
    [
        (1 << 40,),
        (2, 3, 1),
        (7,),
        (0, 1 << 62, 7),
        (-2, -3),
        (1,) * 40,
        (2.0, 3.0),
        (True, 6),
    ],
)
def test_claimed_shapes(shape):
    data = array_state(shape)
    if shape == (2, 3, 1):
        assert read_pickle(data).value.shape == shape
    else:
        with pytest.raises(RefusedError, match="an array of"):
            read_pickle(data)
    assert peak_of(lambda: read_pickle(data)) < 200000


def test_empty_array_with_claims_beyond_numpy():
    with pytest.raises(RefusedError, match="an array of shape"):
        read_pickle(array_state((0, 1 << 62, 1 << 62), raw=b""))


def test_memory_of_many_small_objects():
    for code in (b"}", b"]", b"(", b"N", b"K\x01", b")", b"\x8c\x00", b"}\x94", b"I1\n"):
        data = b"\x80\x04" + code * (400000 // len(code)) + b"."
        assert peak_of(lambda data=data: read_pickle(data)) < 35 * len(data) + 6000000


def test_bytes_are_not_multiplied():
    """One text turned into bytes, or under arrays, again and again."""
    text = "x" * 100000
    calls = pickles.dumps_inner(Name("_codecs encode")) + pickles.dumps_inner(text) + b"q\x07"
    again = b"0h\x08h\x07X\x06\0\0\0latin1\x86R"
    data = b"\x80\x02" + calls.replace(b"encode\n", b"encode\nq\x08") + again * 1000 + b"."
    with pytest.raises(RefusedError, match="more bytes"):
        read_pickle(data)
    assert peak_of(lambda: read_pickle(data)) < 6 * len(data)
    raw = np.zeros(100000, np.uint8).tobytes()
    arrays = pickle.dumps([np.frombuffer(raw, np.uint8) for _ in range(3)], 4)
    assert peak_of(lambda: read_pickle(arrays)) < 5 * len(arrays)


def test_nested_lists_take_no_time():
    began = time.time()
    read_pickle(dumps(bomb(200)))
    read_pickle(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".")
    assert time.time() - began < 2


# ------------------------------------------------------------------------------------ fuzz


def mutate(data, rng):
    """A damaged copy: bytes changed, cut out, doubled, moved, or the end missing."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        pos = rng.randrange(len(data))
        length = rng.choice([1, 1, 2, 4, 8, rng.randrange(1, 200)])
        kind = rng.randrange(6)
        if kind <= 1:
            data[pos] = rng.randrange(256)
        elif kind == 2:
            data[pos : pos + length] = bytes(rng.choice([0, 255, 127]) for _ in range(length))
        elif kind == 3:
            del data[pos : pos + length]
        elif kind == 4:
            other = rng.randrange(len(data))
            data[pos:pos] = data[other : other + length]
        elif rng.random() < 0.3:
            del data[pos:]
        data = data or bytearray(b".")
    return bytes(data)


def fuzz(samples, rounds, seed):
    """Read mutations; anything but a result or RefusedError fails the test."""
    rng, outcomes = random.Random(seed), [0, 0]
    for _ in range(rounds):
        data = mutate(rng.choice(samples), rng)
        try:
            read_pickle(data)
            outcomes[0] += 1
        except RefusedError as error:
            assert "\n" not in str(error)
            outcomes[1] += 1
    return outcomes


def own_and_published():
    small = [dumps((network(), network(), 1), protocol) for protocol in (1, 2, 4)]
    small.append(pickles.as_python2(dumps(network(), 2)))
    small.append(pickle.dumps([WEIGHT, np.float32(1), b"x"], pickle.HIGHEST_PROTOCOL))
    return small


def test_fuzz():
    tracemalloc.start()
    good, bad = fuzz(own_and_published(), 4000, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert good > 100
    assert bad > 100
    assert peak < 2000000


@pytest.mark.slow
def test_fuzz_long(data_dir):
    files = sorted((data_dir / "conformance" / "networks").glob("*.pkl"))
    fuzz(own_and_published(), 50000, seed=2)
    largest = max(path.stat().st_size for path in files)
    tracemalloc.start()
    fuzz([path.read_bytes() for path in files], 500, seed=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sum(path.stat().st_size for path in files) + 10 * largest
