"""Convolution to few channels: both forms against sums over taps; which form is taken; refusals."""

import numpy as np
import pytest
from custom_ops import chosen

from dnnlib.tflib import native
from dnnlib.tflib.compat import tf
from dnnlib.tflib.ops.conv_narrow import conv_narrow

NATIVE = "GansformerConvNarrow"


@pytest.fixture
def _native_convolution():
    with chosen("native"):
        if native.has_cuda():
            pytest.skip("the native convolution to few channels is one for CPUs")
        yield


def _oracle(x, w):
    """[N, H, W, C] with [N, R * 9, C], tap by tap."""
    _, height, width, channels = x.shape
    w = w.reshape(len(w), -1, 3, 3, channels)
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], "constant")
    return sum(
        np.einsum("nhwc,nrc->nhwr", x[:, i : i + height, j : j + width], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )


@pytest.mark.parametrize("choice", ["native", "ref"])
@pytest.mark.parametrize("num_out", [3, 2])
@pytest.mark.parametrize("height, width", [(5, 7), (40, 65), (1, 1)])
def test_sums_over_taps(choice, num_out, height, width, session):
    rng = np.random.RandomState(0)
    x, w = rng.randn(2, height, width, 16), rng.randn(2, num_out * 9, 16)
    with chosen(choice):
        y = conv_narrow(tf.constant(x, tf.float32), tf.constant(w, tf.float32))
        assert y.shape.as_list() == [2, height, width, num_out]
        found = session.run(y)
    np.testing.assert_allclose(found, _oracle(x, w), rtol=0, atol=1e-4)


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize(
    "channels, columns, dtype, is_native",
    [
        (16, 27, tf.float32, True),
        (24, 27, tf.float32, False),
        (16, 72, tf.float32, False),
        (16, 27, tf.float64, False),
    ],
)
def test_which_form_is_taken(channels, columns, dtype, is_native, session):
    y = conv_narrow(tf.zeros([2, 3, 4, channels], dtype), tf.zeros([2, columns, channels], dtype))
    assert (y.op.type == NATIVE) == is_native
    assert session.run(y).shape == (2, 3, 4, columns // 9)


@pytest.mark.usefixtures("_native_convolution")
def test_an_empty_map_has_gradients_of_zero(session):
    x, w = tf.zeros([2, 0, 4, 16]), tf.ones([2, 27, 16])
    y = conv_narrow(x, w)
    dx, dw = session.run(tf.gradients(y, [x, w]))
    assert dx.shape == (2, 0, 4, 16)
    assert dw.shape == (2, 27, 16) and not dw.any()


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize(
    "result, shapes, what",
    [
        ("y", ([2, 4, 5, 16], [3, 27, 16]), "does not fit"),
        ("y", ([2, 4, 5, 16], [2, 26, 16]), "does not fit"),
        ("y", ([2, 4, 5, 24], [2, 27, 24]), "multiple of 16"),
        ("x", ([2, 27, 16], [2, 4, 5, 2]), "does not fit"),
        ("w", ([2, 4, 5, 16], [2, 5, 4, 3]), "does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(result, shapes, what, session):
    tensors = [tf.placeholder_with_default(tf.zeros(shape), None) for shape in shapes]
    y = native.library().gansformer_conv_narrow(*tensors, result=result)
    with pytest.raises(tf.errors.InvalidArgumentError, match=what):
        session.run(y)
