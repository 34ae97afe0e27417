"""Fixtures that every test may use."""

import contextlib
import gc
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # a test asks for a GPU by name: marker `gpu`

import pytest

# Graphs are millions of objects, which Python's collector would look through again and again.
gc.set_threshold(100_000, 50, 100)

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DATA = ROOT / "tests" / "data"


@pytest.fixture
def session():
    """A fresh graph and session with fixed seeds and two logical CPU devices; nothing leaks.

    TensorFlow's graph optimizers are off, which take longer than the small graphs of tests run.
    """
    with _session(optimize=False) as sess:
        yield sess


@pytest.fixture
def optimized_session():
    """The same with TensorFlow's graph optimizers, as in use."""
    with _session(optimize=True) as sess:
        yield sess


def session_config(optimize=False):
    """tf.ConfigProto: two logical CPU devices, with or without TensorFlow's graph optimizers."""
    from dnnlib.tflib.compat import tf  # noqa: PLC0415 - after the environment is set

    config = tf.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
    return config


@contextlib.contextmanager
def _session(optimize):
    from dnnlib.tflib.compat import configure, tf  # noqa: PLC0415 - after the environment is set

    configure()
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        with tf.Session(config=session_config(optimize)) as sess:
            yield sess


@pytest.fixture
def root():
    """The project's top folder."""
    return ROOT


@pytest.fixture
def data_dir():
    """Samples in the published formats, copied into the repository."""
    return DATA


# Cases that take longer than they are worth in `make test`; `make test-all` runs them.
SLOW_CASES = [
    line
    for line in (ROOT / "tests" / "slow_cases.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def pytest_collection_modifyitems(items):
    """Mark the slow cases."""
    for item in items:
        if any(case in item.nodeid for case in SLOW_CASES):
            item.add_marker(pytest.mark.slow)
