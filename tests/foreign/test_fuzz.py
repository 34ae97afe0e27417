"""Damaged and hostile files in all formats: a load or one clear line, and nothing runs."""

import collections
import pickletools
import random
import sys
import time
import tracemalloc

import ada_oracle
import gansformer_torch
import numpy as np
import pickles
import pytest
from ada_files import (
    tensorflow_discriminator,
    tensorflow_generator,
    torch_discriminator,
    torch_generator,
    tree,
)
from pickles import dumps

from dnnlib import UserError, tflib
from dnnlib.tflib.compat import tf
from dnnlib.tflib.network import Network
from dnnlib.tflib.snapshot import read_snapshot

# Calls that a hostile file would like to be made, as instructions.
HOSTILE = (
    b"cos\nsystem\n(S'touch hostile'\ntR0",
    b'cbuiltins\nexec\n(S\'open("hostile", "w")\'\ntR0',
    b"csubprocess\nPopen\n(S'touch hostile'\ntR0",
    b"(S'touch hostile'\nios\nsystem\n0",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x0dtouch hostile\x85R0",
    b"ctorch.storage\n_load_from_bytes\n(S'cos\\nsystem\\n(S\"touch hostile\"\\ntR.'\ntR0",
    b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}R0",
    b"cdnnlib.util\nopen_url\n(S'http://127.0.0.1:9/'\ntR0",
)
LARGE = (1 << 31, 1 << 62, 1 << 15, 1 << 24)

# Events of Python's auditing that reading a file never causes.
FORBIDDEN = ("exec", "compile", "os.system", "subprocess.Popen", "import", "pickle.find_class")
FORBIDDEN += ("socket.connect", "os.exec", "os.posix_spawn", "ctypes.dlopen", "os.fork")


class Watch:
    """Counts forbidden events while it is on. (Python 3.7 has no auditing: it counts none.)"""

    def __init__(self):
        self.is_on, self.events = False, collections.Counter()
        if hasattr(sys, "addaudithook"):
            sys.addaudithook(self._hook)

    def _hook(self, event, _):
        if self.is_on and event in FORBIDDEN:
            self.events[event] += 1

    def __enter__(self):
        self.is_on = True

    def __exit__(self, *_):
        self.is_on = False


WATCH = Watch()


def small_files(tmp_path):
    """{format: bytes} of small networks."""
    given = dict(c_dim=2, num_channels=1)
    o = ada_oracle.options(ada_oracle.GENERATOR, **given)
    d = ada_oracle.options(ada_oracle.DISCRIMINATOR, **given)
    variables, v = ada_oracle.generator_variables(o), ada_oracle.discriminator_variables(d)
    G, D = torch_generator(o, variables), torch_discriminator(d, v)
    net = gansformer_torch.Generator(gansformer_torch.options(num_channels=1, num_layers=2))
    files = {
        "ADA PyTorch 4": dumps(dict(G=tree(G), D=tree(D), G_ema=tree(G), augment_pipe=None)),
        "ADA PyTorch 2": dumps(dict(G_ema=tree(G), D=tree(D)), 2),
        "GANsformer PyTorch": dumps(dict(Gs=tree(net.layers))),
    }
    widths = dict(embed=5, hidden=5, last=9)
    d = ada_oracle.options(ada_oracle.DISCRIMINATOR, **given, **widths)
    v = ada_oracle.discriminator_variables(d)
    trio = (tensorflow_generator(o, variables), tensorflow_discriminator(d, v))
    files["ADA TensorFlow 3"] = dumps(trio, 3)
    path = tmp_path / "n.pkl"
    path.write_bytes(files["ADA TensorFlow 3"])
    with tf.Graph().as_default(), tf.Session().as_default():
        networks = tflib.load_networks(path)
        for name in ("ours.pkl", "ours.safetensors"):
            tflib.save_networks(networks, tmp_path / name)
            files[name] = (tmp_path / name).read_bytes()
    files["StyleGAN2"] = dumps((pickles.network(), pickles.network()), 4)
    return files


def boundaries(data):
    """Where instructions begin; [] if it is no pickle."""
    try:
        return [pos for _, _, pos in pickletools.genops(data)]
    except ValueError:
        return []


def mutate(data, places, rng):
    """A damaged or hostile copy."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        pos, kind = rng.randrange(len(data)), rng.randrange(8)
        if kind == 0 and places:
            pos = min(rng.choice(places), len(data))
            data[pos:pos] = rng.choice(HOSTILE)
        elif kind == 1:
            data[pos] = rng.randrange(256)
        elif kind == 2:
            data[pos] ^= 1 << rng.randrange(8)
        elif kind == 3:
            value = rng.choice(LARGE).to_bytes(8, "little")
            data[pos : pos + 8] = value[: rng.choice([4, 8])]
        elif kind == 4:
            del data[pos : pos + rng.choice([1, 2, 8, 100])]
        elif kind == 5:
            other = rng.randrange(len(data))
            data[pos:pos] = data[other : other + rng.choice([1, 8, 64, 400])]
        elif kind == 6 and places:
            # an instruction with its argument gone, or the argument of another instruction
            begin = min(rng.choice(places), len(data))
            data[begin : begin + 1] = bytes([rng.choice(b"0125NKMJ])}(tRb.hqu\x81\x85\x89\x94")])
        elif rng.random() < 0.3:
            del data[pos:]
        data = data or bytearray(b".")
    return bytes(data)


def structure(stored):
    """What is built for a network, its values left out."""
    shapes = {name: value.shape for name, value in stored.variables.items()}
    parts = {role: structure(part) for role, part in stored.components.items()}
    return repr((stored.builder, stored.static_kwargs, shapes, parts))


def build(stored):
    """Build networks; one line tells why it cannot be done."""
    with tf.Graph().as_default(), tf.Session().as_default():
        try:
            Network.from_stored(stored)
        except UserError as error:
            assert "\n" not in str(error)
            return "refused to build"
    return "built"


def fuzz(files, rounds, seed, tmp_path, max_builds):
    """Read mutations of files; returns counts of what came of them."""
    rng, outcomes = random.Random(seed), collections.Counter()
    names = sorted(files)
    places = {name: boundaries(files[name]) for name in names}
    path = tmp_path / "mutated.pkl"
    path.write_bytes(files[names[0]])
    read_snapshot(path)  # imports what reading needs
    known, slowest, most = set(), 0.0, 0.0
    for number in range(rounds):
        name = names[number % len(names)]
        data = mutate(files[name], places[name], rng)
        path.write_bytes(data)
        is_traced = number % 10 == 0
        if is_traced:
            tracemalloc.start()
        began, stored = time.time(), []
        try:
            with WATCH:
                stored, _ = read_snapshot(path)
            outcomes["read"] += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            outcomes["refused"] += 1
        if is_traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            most = max(most, peak / len(data))
            assert peak < 40 * len(data) + 12000000, (name, number, peak)
        else:
            slowest = max(slowest, time.time() - began)
        for network in stored:
            text = structure(network)
            if text not in known and outcomes["built"] + outcomes["refused to build"] < max_builds:
                outcomes[build(network)] += 1
            known.add(text)
    assert not WATCH.events, WATCH.events
    assert not (tmp_path / "hostile").exists()
    outcomes["slowest read, ms"] = int(1000 * slowest)
    outcomes["most memory, times the file"] = int(most)
    return outcomes


def test_some_hundred_mutations(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = fuzz(small_files(tmp_path), 350, 1, tmp_path, max_builds=5)
    assert outcomes["read"] > 30 and outcomes["refused"] > 100


def test_hostile_calls_are_refused_in_every_format(session, tmp_path):
    """At each place of some: before the first instruction, in the middle, at the end."""
    for name, data in small_files(tmp_path).items():
        places = boundaries(data)
        for code in HOSTILE if places else ():
            for pos in (places[1], places[len(places) // 2], places[-1]):
                (tmp_path / "n.pkl").write_bytes(data[:pos] + code + data[pos:])
                with WATCH, pytest.raises(UserError):
                    read_snapshot(tmp_path / "n.pkl")
        assert not WATCH.events, name


@pytest.mark.slow
def test_ten_thousand_mutations(session, tmp_path, data_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = small_files(tmp_path)
    outcomes = fuzz(files, 9500, 2, tmp_path, max_builds=150)
    real = [*(data_dir / "conformance" / "foreign").glob("*.pkl")]
    real += [*(data_dir / "conformance" / "networks").glob("*.pkl")]
    samples = {path.name: path.read_bytes() for path in real}
    outcomes += fuzz(samples, 500, 3, tmp_path, max_builds=10)
    print(dict(outcomes))
    assert outcomes["read"] > 1000 and outcomes["refused"] > 3000
    assert outcomes["built"] > 5 and outcomes["refused to build"] > 5
    assert np.all([len(data) > 500 for data in files.values()])
