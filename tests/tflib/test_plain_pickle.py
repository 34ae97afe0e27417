"""Our snapshots under plain pickle: they hold data only, and StyleGAN2's README works on them."""

import pathlib
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib

# Everything that a snapshot of ours makes pickle look up: the class of its networks, and arrays.
NAMES = {
    ("dnnlib.tflib.network", "Network"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}

# Sampling as StyleGAN2's README has it.
SNIPPET = """
import pickle, sys
import numpy as np
import dnnlib.tflib as tflib

tflib.init_tf()
with open(sys.argv[1], 'rb') as f:
    _G, _D, Gs = pickle.load(f)
rnd = np.random.RandomState(5)
latents = rnd.randn(2, Gs.input_shape[1])
fmt = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
images = Gs.run(latents, None, truncation_psi=0.7, randomize_noise=False, output_transform=fmt)
np.save(sys.argv[2], images)
"""


@pytest.fixture
def snapshot(session, tmp_path):
    """A small snapshot of StyleGAN2's networks, and the images of Gs."""
    options = dict(resolution=8, channel_base=32, channel_max=6)
    G = tflib.Network("G", "stylegan2_generator", z_dim=5, w_dim=5, **G_options(options))
    D = tflib.Network("D", "stylegan2_discriminator", **options)
    path = tmp_path / "n.pkl"
    tflib.save_networks((G, D, G.clone("Gs")), path)
    latents = np.random.RandomState(5).randn(2, 5)
    fmt = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
    options = dict(truncation_psi=0.7, randomize_noise=False, output_transform=fmt)
    return path, G.run(latents, None, **options)


def G_options(options):
    parts = dict(options)
    return dict(resolution=parts.pop("resolution"), synthesis=parts, mapping=dict(mapping_fmaps=5))


class Names(pickle.Unpickler):
    """Plain pickle that keeps account of what is looked up."""

    def __init__(self, file):
        super().__init__(file)
        self.found = set()

    def find_class(self, module, name):
        self.found.add((module, name))
        return super().find_class(module, name)


def test_nothing_but_our_state_is_looked_up(snapshot):
    """Neither is a network built, nor anything else done, before it is used."""
    path, want = snapshot
    with tf.Graph().as_default():
        modules, before = set(sys.modules), sorted(path.parent.iterdir())
        with path.open("rb") as file:
            reader = Names(file)
            networks = reader.load()
        assert reader.found <= NAMES and ("dnnlib.tflib.network", "Network") in reader.found
        assert tf.get_default_graph().get_operations() == []
        assert sys.modules.keys() == modules
        assert sorted(path.parent.iterdir()) == before
        assert [sorted(net.__dict__) for net in networks] == [["_pending_state"]] * 3
        with tf.Session().as_default():
            latents = np.random.RandomState(5).randn(2, 5)
            fmt = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
            options = dict(truncation_psi=0.7, randomize_noise=False, output_transform=fmt)
            assert np.array_equal(networks[2].run(latents, None, **options), want)


def test_instructions_call_arrays_only(snapshot):
    """What a reader of the file sees: no REDUCE of anything but NumPy's two functions."""
    path, _ = snapshot
    texts, called = [], set()
    for opcode, arg, _ in pickletools.genops(path.read_bytes()):
        if "UNICODE" in opcode.name:
            texts.append(arg)
        elif opcode.name in ("GLOBAL", "INST", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"):
            called.add(opcode.name)
    assert called == set()  # protocol 4 has its names as texts
    assert not {"os", "posix", "builtins", "subprocess", "sys"} & set(texts)


def test_snippet_of_stylegan2(snapshot, tmp_path, root):
    path, want = snapshot
    args = [sys.executable, "-c", SNIPPET, str(path), str(tmp_path / "images.npy")]
    subprocess.run(args, check=True, cwd=str(pathlib.Path(root)), timeout=300)
    assert np.array_equal(np.load(str(tmp_path / "images.npy")), want)
