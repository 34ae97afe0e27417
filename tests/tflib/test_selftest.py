"""The self-test of a device."""

import numpy as np
import pytest

from dnnlib.errors import UserError
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
    kinds = [result.name.split()[1] for result in found[4:]]
    assert sorted(kinds) == ["attend", "bias_act", "conv3x3", "conv_narrow", "upfirdn"]
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
        case = selftest._convolution(selftest.tf_conv3x3)
    error = selftest._errors(case._replace(wanted={"y": case.wanted["y"]}), "/cpu:0")["y"]
    assert 2 * selftest.TOLERANCE < error < 2e-3


def test_a_device_that_is_not_there_fails_with_the_reason(choose):
    choose("ref")
    for result in selftest.check("/gpu:3"):
        assert not result.ok and "GPU:3" in result.name and result.error == float("inf")
    with pytest.raises(UserError, match=r"^/gpu:3 computes wrong numbers: product of .*, which fa"):
        selftest.refuse_wrong(["/gpu:3"])


@pytest.mark.parametrize(
    "version, archs, refused",
    [((1, 15), ("75", "80"), True), ((1, 15), ("75",), False), ((2, 21), ("90",), False)],
)
def test_new_gpus_of_an_old_tensorflow_are_tested(choose, monkeypatch, version, archs, refused):
    """TensorFlow 1.15 on compute capability 8 or later."""
    choose("ref")
    monkeypatch.setattr(selftest, "TF_VERSION", version)
    monkeypatch.setattr(selftest.build, "visible_cuda_archs", lambda: archs)
    monkeypatch.setattr(selftest, "check", lambda *_, **__: [("a product", 0.03, False)])
    if not refused:
        selftest.refuse_new_gpus(["/gpu:0"])
        return
    with pytest.raises(UserError) as caught:
        selftest.refuse_new_gpus(["/gpu:0"])
    said = str(caught.value)
    assert "/gpu:0" in said and "a product differs from NumPy's by 0.03" in said
    assert "use the current TensorFlow" in said and "\n" not in said


def test_tf32_is_no_reason_to_refuse(monkeypatch):
    monkeypatch.setattr(selftest, "check", lambda *_, **__: [("a product", 5e-4, False)])
    selftest.refuse_wrong(["/gpu:0", "/gpu:1"])


def test_logical_cpus_are_one_processor(monkeypatch):
    asked = []
    monkeypatch.setattr(selftest, "check", lambda device, **_: asked.append(device) or [])
    selftest.refuse_wrong(["/cpu:0", "/cpu:1"])
    assert asked == ["/cpu:0"]
