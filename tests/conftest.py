"""Fixtures that every test may use."""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # a test asks for a GPU by name: marker `gpu`

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DATA = ROOT / "tests" / "data"


@pytest.fixture
def session():
    """A fresh graph and session with fixed seeds and two logical CPU devices; nothing leaks."""
    from dnnlib.tflib import compat  # noqa: PLC0415 - after the environment is set
    from dnnlib.tflib.compat import tf  # noqa: PLC0415

    compat.configure()
    config = tf.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=True)
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        with tf.Session(config=config) as sess:
            yield sess


@pytest.fixture
def root():
    """The project's top folder."""
    return ROOT


@pytest.fixture
def data_dir():
    """Samples in the published formats, copied into the repository."""
    return DATA
