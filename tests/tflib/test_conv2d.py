"""Which form of a convolution is taken, and that all forms are the same function."""

import numpy as np
import pytest
from custom_ops import chosen

from dnnlib.tflib import native, precision
from dnnlib.tflib.compat import tf
from dnnlib.tflib.native import calls
from dnnlib.tflib.ops.conv2d import conv2d, conv2d_transpose

NATIVE = "GansformerConv3x3"


@pytest.fixture
def _native_convolution():
    with chosen("native"):
        if native.has_cuda():
            pytest.skip("the native 3x3 convolution is one for CPUs")
        yield


def _inputs(height=16, width=18, num_in=32, num_out=48, kernel=3):
    rng = np.random.RandomState(0)
    x = tf.constant(rng.randn(2, height, width, num_in), tf.float32)
    return x, tf.constant(rng.randn(kernel, kernel, num_in, num_out), tf.float32)


def _types(tensor):
    return {op.type for op in tensor.graph.get_operations()}


@pytest.mark.usefixtures("_native_convolution")
def test_large_maps_take_the_native_form(session):
    for height in (16, 15):  # 288 and 270 positions
        assert conv2d(*_inputs(height), padding="SAME").op.type == NATIVE


@pytest.mark.usefixtures("_native_convolution")
def test_resampling_takes_the_native_forms(session):
    x, w = _inputs(height=17, width=19)
    assert conv2d(x, w, 2).op.type == NATIVE
    for size in (7, 8):
        x, w = _inputs(height=size, width=12)
        y = conv2d_transpose(x, tf.transpose(w, [0, 1, 3, 2]), [2, 2 * size + 1, 25, 48], 2)
        assert y.op.type == NATIVE
        assert y.shape.as_list() == [2, 2 * size + 1, 25, 48]


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize("kernel, stride", [(1, 2), (3, 3), (5, 2)])
def test_other_transposes_take_tensorflows(kernel, stride, session):
    x, w = _inputs(height=9, width=10, kernel=kernel)
    shape = [2, 8 * stride + kernel, 9 * stride + kernel, 48]
    y = conv2d_transpose(x, tf.transpose(w, [0, 1, 3, 2]), shape, stride)
    assert NATIVE not in _types(y)
    assert session.run(y).shape == tuple(shape)


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize(
    "sizes, options",
    [
        (dict(height=8), dict(padding="SAME")),
        (dict(num_in=24), dict(padding="SAME")),
        (dict(num_out=3), dict(padding="SAME")),
        (dict(kernel=1), dict(padding="SAME")),
        (dict(), dict(padding="VALID")),
        (dict(), dict(padding="SAME", stride=2)),
        (dict(height=17), dict(padding="VALID", stride=2)),  # 18 columns are even
        (dict(height=17, width=19), dict(padding="VALID", stride=3)),
        (dict(height=15, width=15), dict(padding="VALID", stride=2)),
    ],
)
def test_others_take_tensorflows(sizes, options, session):
    assert NATIVE not in _types(conv2d(*_inputs(**sizes), **options))


@pytest.mark.usefixtures("_native_convolution")
def test_bfloat16_takes_tensorflows(session):
    precision.set_precision("bfloat16")
    try:
        assert NATIVE not in _types(conv2d(*_inputs(), padding="SAME"))
    finally:
        precision.set_precision("float32")


def test_the_reference_takes_tensorflows(session):
    with chosen("ref"):
        assert NATIVE not in _types(conv2d(*_inputs(), padding="SAME"))


@pytest.mark.usefixtures("_native_convolution")
def test_a_scale_multiplies_the_input(session):
    x, w = _inputs()
    scale = tf.constant(np.random.RandomState(1).randn(2, 32), tf.float32)
    results = []
    for choice in ("native", "ref"):
        with chosen(choice):
            results.append(conv2d(x, w, padding="SAME", scale=scale))
            results.append(conv2d(x * scale[:, tf.newaxis, tf.newaxis], w, padding="SAME"))
    first, *others = session.run(results)
    assert first.shape == (2, 16, 18, 48)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=2e-5 * np.abs(first).max())


@pytest.mark.usefixtures("_native_convolution")
def test_a_size_that_is_known_late(session):
    """The number of samples may be unknown while the graph is built."""
    x, w = _inputs()
    fed = tf.placeholder(tf.float32, [None, 16, 18, 32])
    y = conv2d(fed, w, padding="SAME")
    assert y.shape.as_list() == [None, 16, 18, 48]
    for num in (1, 2):
        images = session.run(x)[:num]
        wanted = session.run(tf.nn.conv2d(images, w, [1, 1, 1, 1], "SAME"))
        found = session.run(y, {fed: images})
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize(
    "form, shape, size",
    [
        ("same", [3, 34, 36], [34, 36]),  # larger patches
        ("same", [13, 14, 16], [14, 16]),  # smaller ones
        ("down", [3, 69, 73], [34, 36]),
    ],
)
@pytest.mark.parametrize("num_in, num_out", [(16, 80), (272, 48)])
def test_many_chunks_of_tiles_give_the_filters_gradient(
    num_in, num_out, form, shape, size, session
):
    """More tiles and channels than one part of the gradient has; channels that fill no panel."""
    rng = np.random.RandomState(2)
    x = tf.constant(rng.randn(*shape, num_in), tf.float32)
    dy = tf.constant(rng.randn(shape[0], *size, num_out), tf.float32)
    w = tf.zeros([3, 3, num_in, num_out])
    (found,) = tf.gradients(calls.conv3x3(x, w, form=form), w, dy)
    strides, padding = ([1, 1, 1, 1], "SAME") if form == "same" else ([1, 2, 2, 1], "VALID")
    (wanted,) = tf.gradients(tf.nn.conv2d(x, w, strides, padding), w, dy)
    found, again, wanted = session.run([found, tf.identity(found), wanted])
    assert (found == again).all()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize(
    "height, width, num_in, num_out",
    [
        (16, 17, 16, 32),  # larger patches
        (15, 17, 16, 32),  # smaller: fewer than 256 positions
        (16, 17, 272, 272),  # smaller: many channels for the positions
    ],
)
def test_rounding_grows_little_and_does_not_depend_on_the_batch(
    height, width, num_in, num_out, session
):
    rng = np.random.RandomState(4)
    x, w = rng.randn(3, height, width, num_in), rng.randn(3, 3, num_in, num_out)
    x[:, :, :, 0] += 10.0
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], "constant")
    wanted = sum(
        padded[:, i : i + height, j : j + width] @ w[i, j] for i in range(3) for j in range(3)
    )
    x, w = tf.constant(x, tf.float32), tf.constant(w, tf.float32)
    found, first = session.run([calls.conv3x3(x, w), calls.conv3x3(x[:1], w)])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-6 * np.abs(wanted).max())
    np.testing.assert_array_equal(found[:1], first)


@pytest.mark.usefixtures("_native_convolution")
@pytest.mark.parametrize(
    "shape, filter_shape, scale_shape, form, what",
    [
        ([2, 4, 4, 16], [3, 3, 32, 16], [0], "same", "do not fit"),
        ([2, 4, 4, 16], [3, 3, 16, 32], [0], "up", "do not fit"),
        ([2, 4, 4, 8], [3, 3, 8, 16], [0], "same", "multiples of 16"),
        ([2, 4, 4, 16], [3, 3, 16, 16], [3, 16], "same", "scale does not fit"),
        ([2, 5, 4, 16], [3, 3, 16, 16], [0], "down", "must be odd"),
        ([2, 5, 1, 16], [3, 3, 16, 16], [0], "down", "must be odd"),
    ],
)
def test_what_does_not_fit_is_refused(shape, filter_shape, scale_shape, form, what, session):
    x, w = (tf.placeholder_with_default(tf.zeros(size), None) for size in (shape, filter_shape))
    y = native.library().gansformer_conv3x3(
        tf.reshape(x, shape),
        tf.zeros(scale_shape),
        w,
        form=form,
        turned=False,
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=what):
        session.run(y)
