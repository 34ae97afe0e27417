"""Convolutions in bfloat16: close to float32, in values and derivatives, and never in its place."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.tflib import precision
from dnnlib.tflib.compat import TF_VERSION, configure, tf
from dnnlib.tflib.ops.conv2d import conv2d
from dnnlib.tflib.ops.upfirdn_2d import conv_downsample_2d, upsample_conv_2d
from dnnlib.tflib.tfutil import session_config


@pytest.fixture(autouse=True)
def back_to_float32():
    yield
    precision.set_precision("float32")


def _results(choice, session):
    """Values, gradients and second gradients of the convolutions that the networks use."""
    precision.set_precision(choice)
    rng = np.random.RandomState(0)
    x = tf.constant(rng.randn(2, 8, 8, 6), tf.float32)
    w = tf.constant(rng.randn(3, 3, 6, 5) / 7, tf.float32)
    results = []
    for conv in (conv2d, upsample_conv_2d, conv_downsample_2d):
        y = tf.tanh(conv(x, w))
        dx, dw = tf.gradients(tf.reduce_sum(tf.square(y)), [x, w])
        (second,) = tf.gradients(tf.reduce_sum(tf.square(dx)), [w])
        results += [y, dx, dw, second]
    assert all(result.dtype == tf.float32 for result in results)
    return session.run(results)


def test_bfloat16_is_close_to_float32_and_not_the_same(session):
    exact, rounded = (_results(choice, session) for choice in ("float32", "bfloat16"))
    for one, other in zip(exact, rounded):
        error = np.linalg.norm(one - other) / np.linalg.norm(one)
        assert 1e-5 < error < 0.02


def test_unknown_precision_names_the_closest():
    with pytest.raises(UserError, match="did you mean 'bfloat16'"):
        precision.set_precision("bfloat")


@pytest.mark.parametrize(
    "version, archs, message",
    [((1, 15), (), "not have it on a GPU"), ((2, 16), ("75",), "sm_80 or later, this is sm_75")],
)
@pytest.mark.parametrize("choice", ["bfloat16", "tf32"])
def test_gpus_without_it_are_refused(choice, version, archs, message, monkeypatch):
    monkeypatch.setattr(precision, "TF_VERSION", version)
    monkeypatch.setattr(precision, "local_gpu_names", lambda: ["/gpu:0"])
    monkeypatch.setattr(precision.build, "visible_cuda_archs", lambda: archs)
    with pytest.raises(UserError, match=f"--precision {choice}: .*{message}"):
        precision.set_precision(choice)
    precision.set_precision("float32")


def test_a_gpu_with_bfloat16_is_taken(monkeypatch):
    monkeypatch.setattr(precision, "TF_VERSION", max(TF_VERSION, (2, 16)))
    monkeypatch.setattr(precision, "local_gpu_names", lambda: ["/gpu:0"])
    monkeypatch.setattr(precision.build, "visible_cuda_archs", lambda: ("80", "90"))
    precision.set_precision("bfloat16")
    # Tensor cores want maps as they are.
    config = session_config(precision.session_settings()).graph_options.rewrite_options
    assert config.layout_optimizer == config.OFF
    precision.set_precision("float32")
    assert precision.session_settings() == {}


def _tf32_is_allowed():
    return TF_VERSION >= (2, 4) and tf.config.experimental.tensor_float_32_execution_enabled()


def test_float32_means_it_on_every_gpu():
    configure()
    assert not _tf32_is_allowed()


def test_tf32_is_for_gpus(monkeypatch):
    with pytest.raises(UserError, match="--precision tf32: only GPUs have it"):
        precision.set_precision("tf32")
    monkeypatch.setattr(precision, "TF_VERSION", max(TF_VERSION, (2, 16)))
    monkeypatch.setattr(precision, "local_gpu_names", lambda: ["/gpu:0"])
    monkeypatch.setattr(precision.build, "visible_cuda_archs", lambda: ("80",))
    precision.set_precision("tf32")
    configure()  # once more, as a session does
    assert _tf32_is_allowed() == (TF_VERSION >= (2, 4))
    precision.set_precision("float32")
    assert not _tf32_is_allowed()
    assert precision.convolution_dtype(tf.zeros([1])) == tf.float32
