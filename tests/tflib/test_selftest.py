"""The self-test of a device."""

import numpy as np
import pytest

from dnnlib.tflib import native, selftest
from dnnlib.tflib.compat import tf

TENSORFLOWS_OWN = [
    "product of matrices",
    "convolution",
    "convolution, gradient of x",
    "convolution, gradient of w",
]


@pytest.fixture
def choose():
    yield native.set_custom_ops
    native.set_custom_ops("auto")


def test_a_healthy_device_passes(choose):
    choose("native")
    found = selftest.check("/cpu:0")
    assert [result.name for result in found[:4]] == TENSORFLOWS_OWN
    assert {result.name.split(",")[0] for result in found[4:]} == {
        "native upfirdn",
        "native bias_act",
        "native attend",
        "native conv3x3",
        "native conv_narrow",
    }
    assert all(result.ok for result in found), found
    assert max(result.error for result in found) < 1e-5


@pytest.mark.parametrize("spoil", [lambda y: y * 1.0001, lambda y: y * np.nan, lambda y: y * 0.0])
def test_a_wrong_convolution_is_found(choose, monkeypatch, spoil):
    choose("ref")
    right = selftest.tf_conv3x3
    monkeypatch.setattr(selftest, "tf_conv3x3", lambda x, w: spoil(right(x, w)))
    found = {result.name: result.ok for result in selftest.check("/cpu:0")}
    assert list(found) == TENSORFLOWS_OWN
    assert found["product of matrices"] and not found["convolution"]


def test_products_of_tf32_are_not_float32(choose, monkeypatch):
    choose("ref")

    def rounded(x):  # to 10 bits of mantissa
        bits = tf.bitcast(x, tf.int32) + 0x1000
        return tf.bitcast(tf.bitwise.bitwise_and(bits, ~0x1FFF), tf.float32)

    right = selftest.tf_conv3x3
    monkeypatch.setattr(selftest, "tf_conv3x3", lambda x, w: right(rounded(x), rounded(w)))
    with tf.Graph().as_default():
        case = selftest._convolution(selftest.tf_conv3x3, "convolution")
    error = selftest._errors(case._replace(wanted={"y": case.wanted["y"]}), "/cpu:0")["y"]
    assert 2 * selftest.TOLERANCE < error < 2e-3


def test_a_device_that_is_not_there_is_an_error(choose):
    choose("ref")
    with pytest.raises(tf.errors.InvalidArgumentError):
        selftest.check("/gpu:3")
