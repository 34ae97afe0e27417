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
from dnnlib.tflib.snapshot.unpickle import PickledNetwork, RefusedError, read_pickle

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
    "set": (dumps({1, 2}), "EMPTY_SET"),
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
        assert peak_of(lambda data=data: read_pickle(data)) < 20 * len(data) + 3000000


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
