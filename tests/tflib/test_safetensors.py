"""Snapshots as safetensors: the format, the way back, and what is refused."""

import json
import random
import tracemalloc

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny

from dnnlib import UserError, tflib
from dnnlib.tflib.snapshot import read_snapshot
from dnnlib.tflib.snapshot.safetensors import DTYPES, write_safetensors
from dnnlib.tflib.stored_network import StoredNetwork

Z = tiny.latents(5)


def parts(path):
    """(header, bytes of the tensors), read by the format's description alone."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size].decode()), data[8 + size :]


def put_together(path, header, tensors):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)
    return path


@pytest.fixture
def trio(session, tmp_path):
    """A file with (G, D, Gs), and the networks."""
    G = tiny.generator(psi=0.25, with_maps=True)
    networks = G, tflib.Network("D", "tiny_discriminator"), G.clone("Gs")
    networks[2].set_var("dlatent_avg", np.arange(5.0))
    tflib.save_networks(networks, tmp_path / "n.safetensors")
    return tmp_path / "n.safetensors", networks


def test_round_trip_in_a_fresh_graph(trio, tmp_path):
    path, networks = trio
    want = [networks[0].run(Z)[0], networks[2].run(Z)[0]]
    with tf.Graph().as_default(), tf.Session().as_default():
        G, D, Gs = tflib.load_networks(path)
        assert [(net.name, net.builder) for net in (G, D, Gs)] == [
            ("G", "tiny_generator"),
            ("D", "tiny_discriminator"),
            ("Gs", "tiny_generator"),
        ]
        assert G.static_kwargs == dict(z_dim=3, psi=0.25, with_maps=True)
        assert np.array_equal(G.run(Z)[0], want[0])
        assert np.array_equal(Gs.run(Z)[0], want[1])
        assert not np.array_equal(*want)
    pickled = tmp_path / "n.pkl"
    tflib.save_networks(networks, pickled)
    assert repr(read_snapshot(path)) == repr(read_snapshot(pickled))


def test_the_format_as_described(trio):
    path, networks = trio
    header, tensors = parts(path)
    metadata = header.pop("__metadata__")
    assert all(isinstance(text, str) for text in metadata.values())
    assert path.stat().st_size % 4 == 0 and (path.stat().st_size - len(tensors)) % 8 == 0
    begins = [entry["data_offsets"][0] for entry in header.values()]
    ends = [entry["data_offsets"][1] for entry in header.values()]
    assert begins == [0, *ends[:-1]] and ends[-1] == len(tensors)
    name = "Gs/synthesis/4x4/Conv/weight"
    begin, end = header[name]["data_offsets"]
    value = np.frombuffer(tensors[begin:end], "<f4").reshape(header[name]["shape"])
    assert header[name]["dtype"] == "F32"
    assert np.array_equal(value, networks[2].get_var("tiny_syn/4x4/Conv/weight"))


def test_a_single_network(trio, tmp_path):
    tflib.save_networks(trio[1][1], tmp_path / "d.safetensors")
    assert tflib.load_networks(tmp_path / "d.safetensors").name == "D"


@pytest.mark.parametrize("names", [("G", "G"), ("a/b", "c")])
def test_names_that_are_no_keys(tmp_path, names):
    networks = [
        StoredNetwork(name, "mapping", {}, {}, {"w": np.full([2, i + 3], i, np.float32)})
        for i, name in enumerate(names)
    ]
    write_safetensors(tmp_path / "n.safetensors", networks)
    found, _ = read_snapshot(tmp_path / "n.safetensors")
    assert [net.name for net in found] == list(names)
    assert [net.variables["w"].tolist() for net in found] == [[[0] * 3] * 2, [[1] * 4] * 2]


def test_every_type_of_number_and_shape(tmp_path):
    values = {f"w{kind}": np.asarray([[1, 0, 1]], kind) for kind in DTYPES.values()}
    values.update(
        big=np.asarray([1.5], ">f4"), scalar=np.float32(2.5), empty=np.zeros([2, 0], "f4")
    )
    values["turned"] = np.arange(6, dtype=np.float32).reshape(2, 3).T
    stored = StoredNetwork("G", "mapping", dict(a=[1, {"b": None}], c="ä"), {}, values)
    write_safetensors(tmp_path / "n.safetensors", [stored], is_single=True)
    (found,), is_single = read_snapshot(tmp_path / "n.safetensors")
    assert is_single and found.static_kwargs == stored.static_kwargs
    assert found.variables.keys() == values.keys()
    for name, value in values.items():
        assert np.array_equal(found.variables[name], value)
        assert found.variables[name].shape == value.shape


def _entry(header, **changes):
    header["G/dlatent_avg"].update(changes)


def _contents(header, change):
    contents = json.loads(header["__metadata__"]["gansformer"])
    change(contents)
    header["__metadata__"]["gansformer"] = json.dumps(contents)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda h: _entry(h, shape=[6]), r"tensor 'G/dlatent_avg', \[6\] at 0 to 20"),
        (lambda h: _entry(h, shape=[2**62, 2**62, 2**62]), "at 0 to 20"),
        (lambda h: _entry(h, shape=[-5]), "damaged entry 'G/dlatent_avg'"),
        (lambda h: _entry(h, shape=[5.0]), "damaged entry"),
        (lambda h: _entry(h, shape=[1] * 40), "damaged entry"),
        (lambda h: _entry(h, dtype="F128"), "numbers of type 'F128'"),
        (lambda h: _entry(h, dtype=[]), "damaged entry"),
        (lambda h: _entry(h, data_offsets=[4, 24]), "at 4 to 24"),
        (lambda h: _entry(h, data_offsets=[0, 10**12], shape=[25 * 10**10]), "of .* bytes"),
        (lambda h: _entry(h, data_offsets=[0]), "damaged entry"),
        (lambda h: _entry(h, more=1), "damaged entry"),
        (lambda h: h.pop("G/dlatent_avg"), "at 20 to"),
        (lambda h: h.popitem(), "bytes after the last tensor"),
        (lambda h: h.pop("__metadata__"), "of another program.*export.py writes them"),
        (lambda h: h.update(__metadata__={"format": "pt"}), "of another program"),
        (lambda h: h["__metadata__"].update(gansformer="{"), "a damaged header"),
        (lambda h: h["__metadata__"].update(gansformer="[" * 10**5), "a damaged header"),
        (lambda h: h["__metadata__"].update(gansformer='{"a": %s}' % ("9" * 99)), "many digits"),
        (lambda h: h["__metadata__"].update(gansformer='{"a": 1, "a": 2}'), "there twice"),
        (lambda h: _contents(h, lambda c: c.update(version=2)), "version 2"),
        (lambda h: _contents(h, lambda c: c.update(networks=[])), "without networks"),
        (lambda h: _contents(h, lambda c: c["networks"].pop()), r"tensor 'Gs/.* of no network"),
        (lambda h: _contents(h, lambda c: c["networks"].append("x")), "without key"),
        (
            lambda h: _contents(h, lambda c: c["networks"][0].pop("components")),
            "network 'G' without components",
        ),
        (lambda h: _contents(h, lambda c: c["networks"][0].pop("builder")), "without builder"),
        (lambda h: _contents(h, lambda c: c.update(single=True)), "a single network that is"),
    ],
)
def test_damaged_headers_are_refused_in_one_line(trio, tmp_path, damage, message):
    header, tensors = parts(trio[0])
    damage(header)
    path = put_together(tmp_path / "damaged.safetensors", header, tensors)
    with pytest.raises(UserError, match=message) as caught:
        read_snapshot(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "header", [b"{}", b'{"a": ' * 20000, b'{"__metadata__": 1}', b'{"a": NaN}', b"{\xff}"]
)
def test_headers_of_others(tmp_path, header):
    with pytest.raises(UserError, match="no readable snapshot"):
        read_snapshot(put_together(tmp_path / "n.safetensors", header, b""))


def test_a_header_longer_than_the_file(tmp_path):
    (tmp_path / "n.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match=f"a header of {2**40} bytes"):
        read_snapshot(tmp_path / "n.safetensors")


def test_mutated_files_are_read_or_refused(trio, tmp_path):
    data = trio[0].read_bytes()
    rng = random.Random(0)
    path = tmp_path / "mutated.safetensors"
    outcomes, peaks = {"read": 0, "refused": 0}, []
    read_snapshot(trio[0])  # imports and caches are not a file's
    for _ in range(400):
        mutated = bytearray(data[: rng.choice([len(data)] * 3 + [rng.randrange(len(data))])])
        for _ in range(rng.randrange(1, 5)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        path.write_bytes(mutated)
        tracemalloc.start()  # anew: the garbage of earlier reads is not this one's
        try:
            read_snapshot(path)
            outcomes["read"] += 1
        except UserError:
            outcomes["refused"] += 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(outcomes.values()) > 40
    assert max(peaks) < 20 * len(data)
