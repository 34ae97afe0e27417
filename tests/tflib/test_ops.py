"""Ops, reference and native: recorded samples of the published ops, NumPy loops, gradients."""

import gc
import json
import pathlib
import weakref

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from custom_ops import chosen

from dnnlib.tflib.ops import fir_reference
from dnnlib.tflib.ops import fused_bias_act as bias_act_module
from dnnlib.tflib.ops import upfirdn_2d as fir_module
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.ops.fir import Fir
from dnnlib.tflib.ops.fir_reference import fir_reference as apply_reference
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.upfirdn_2d import flip_transpose, upfirdn_2d

SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "conformance" / "ops" / "ops.npz"


@pytest.fixture(params=["ref", "native"])
def custom_ops(request):
    """Both implementations, where there is a compiler."""
    with chosen(request.param):
        yield request.param


def _cases():
    with np.load(SAMPLES) as data:
        return [(i, case) for i, case in enumerate(json.loads(str(data["cases"]))) if case]


def _function(name):
    return getattr(bias_act_module if name == "fused_bias_act" else fir_module, name)


@pytest.mark.parametrize(
    ("number", "case"), _cases(), ids=[f"{i}-{case['func']}" for i, case in _cases()]
)
def test_recorded_sample(number, case, custom_ops, session):
    with np.load(SAMPLES) as data:
        prefix = f"case{number:03d}/"
        arrays = {k[len(prefix) :]: data[k] for k in data.files if k.startswith(prefix)}
    inputs = {k[3:]: tf.constant(v) for k, v in arrays.items() if k.startswith("in/")}
    params = dict(case["params"])
    positional = [inputs[k] for k in ("x", "w") if k in inputs]
    if case["func"] == "upfirdn_2d":
        params["k"] = arrays["in/k"]
    if "b" in inputs:
        params["b"] = inputs["b"]
    out = _function(case["func"])(*positional, **params)
    assert out.shape.as_list() == list(arrays["out"].shape)
    results = {"out": out}
    wanted = {k[5:] for k in arrays if k.startswith("grad/")}
    for name in wanted & {"x", "w", "b"}:
        results[f"grad/{name}"] = tf.gradients(out, inputs[name], inputs["gy"])[0]
    if "gy2" in wanted:
        gx = tf.gradients(out, inputs["x"], inputs["gy"])[0]
        total = tf.reduce_sum(gx * inputs["v"])
        results["grad/gy2"] = tf.gradients(total, inputs["gy"])[0]
        if "x2" in wanted:
            results["grad/x2"] = tf.gradients(total, inputs["x"])[0]
    assert wanted == {k[5:] for k in results if k != "out"}
    # A derivative that is zero everywhere may as well be absent.
    assert all(not np.any(arrays[name]) for name, value in results.items() if value is None)
    results = {name: value for name, value in results.items() if value is not None}
    for name, value in session.run(results).items():
        np.testing.assert_allclose(value, arrays[name], rtol=2e-5, atol=2e-5, err_msg=name)


def _upfirdn_loop(x, k, up, down, pad_y, pad_x):
    """The definition, sample by sample: x [H, W], up = (y, x)."""
    zeros = np.zeros([x.shape[0] * up[0], x.shape[1] * up[1]])
    zeros[:: up[0], :: up[1]] = x
    wide = np.pad(zeros, [[max(p, 0) for p in pad_y], [max(p, 0) for p in pad_x]], "constant")
    height, width = wide.shape
    wide = wide[max(-pad_y[0], 0) : height - max(-pad_y[1], 0)]
    wide = wide[:, max(-pad_x[0], 0) : width - max(-pad_x[1], 0)]
    kh, kw = k.shape
    out = np.zeros([wide.shape[0] - kh + 1, wide.shape[1] - kw + 1])
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.sum(wide[i : i + kh, j : j + kw] * k[::-1, ::-1])
    return out[:: down[0], :: down[1]]


RNG = np.random.RandomState(0)
SEPARABLE = np.outer([1.0, -2.0, 3.0], [2.0, 1.0, 0.5, -1.0])
SKEW = RNG.randn(4, 3)
GEOMETRIES = [  # up (y, x), down (y, x), pad_y, pad_x
    ((1, 1), (1, 1), (0, 0), (0, 0)),
    ((1, 1), (1, 1), (2, 1), (1, 3)),
    ((2, 2), (1, 1), (2, 1), (3, 0)),
    ((2, 2), (1, 1), (5, 6), (4, 7)),
    ((3, 2), (1, 1), (2, 2), (1, 1)),
    ((1, 1), (2, 2), (1, 1), (0, 2)),
    ((1, 1), (2, 3), (1, 2), (1, 1)),
    ((2, 2), (3, 3), (3, 2), (1, 4)),
    ((1, 1), (1, 1), (-1, -2), (-2, 1)),
    ((2, 2), (1, 1), (-3, 1), (2, -2)),
    ((2, 1), (1, 2), (1, -1), (-1, 2)),
]


@pytest.mark.parametrize("legacy", [True, False], ids=["matrix", "depthwise"])
@pytest.mark.parametrize("kernel", [SEPARABLE, SKEW], ids=["separable", "skew"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_reference_is_its_definition(geometry, kernel, legacy, session, monkeypatch):
    """All forms of the reference, whichever of them this runtime prefers."""
    monkeypatch.setattr(fir_reference, "SLOW_DEPTHWISE", legacy)
    up, down, pad_y, pad_x = geometry
    x = np.random.RandomState(1).randn(2, 7, 9, 5).astype(np.float32)
    fir = Fir(np.asarray(kernel, np.float32), *up, *down, pad_y, pad_x)
    _compare_with_loop(session.run(apply_reference(tf.constant(x), fir)), x, kernel, geometry)


@pytest.mark.parametrize("kernel", [SEPARABLE, SKEW], ids=["separable", "skew"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_upfirdn_is_its_definition(geometry, kernel, custom_ops, session):
    up, down, pad_y, pad_x = geometry
    x = np.random.RandomState(1).randn(2, 7, 9, 5).astype(np.float32)
    pads = dict(pady0=pad_y[0], pady1=pad_y[1], padx0=pad_x[0], padx1=pad_x[1])
    rates = dict(upy=up[0], upx=up[1], downy=down[0], downx=down[1])
    out = session.run(upfirdn_2d(tf.constant(x), kernel, **rates, **pads))
    _compare_with_loop(out, x, kernel, geometry)


def _compare_with_loop(out, x, kernel, geometry):
    up, down, pad_y, pad_x = geometry
    for n, c in ((0, 0), (1, 3)):
        expected = _upfirdn_loop(x[n, :, :, c], kernel, up, down, pad_y, pad_x)
        np.testing.assert_allclose(out[n, :, :, c], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_adjoint_is_the_transpose(geometry):
    """<A x, y> = <x, A' y>, and the adjoint of the adjoint is the filter itself."""
    up, down, pad_y, pad_x = geometry
    fir = Fir(SKEW, up[0], up[1], down[0], down[1], pad_y, pad_x)
    adjoint = fir.adjoint(7, 9)
    x = np.random.RandomState(2).randn(7, 9)
    y = np.random.RandomState(3).randn(*fir.out_size(7, 9))
    ax = _upfirdn_loop(x, fir.kernel, up, down, pad_y, pad_x)
    ay = _upfirdn_loop(y, adjoint.kernel, down, up, adjoint.pad_y, adjoint.pad_x)
    assert ay.shape == (7, 9)
    np.testing.assert_allclose(np.sum(ax * y), np.sum(x * ay), rtol=1e-10)
    again = adjoint.adjoint(*fir.out_size(7, 9))
    np.testing.assert_allclose(again.kernel, fir.kernel)
    assert again.pad_y[0] == fir.pad_y[0]


def test_fourth_derivative(custom_ops, session):
    """d^4/dx^4 of (A x)^4 exists and is 24 times the products of the filter's taps."""
    x = tf.constant(np.random.RandomState(4).randn(1, 5, 6, 2).astype(np.float32))
    y = upfirdn_2d(x, [1, 3, 3, 1], upx=2, upy=2, padx0=2, padx1=1, pady0=2, pady1=1)
    value = tf.reduce_sum(y**4)
    for _ in range(4):
        value = tf.reduce_sum(tf.gradients(value, x)[0])
    ones = upfirdn_2d(tf.ones_like(x), [1, 3, 3, 1], 2, 2, padx0=2, padx1=1, pady0=2, pady1=1)
    got, expected = session.run([value, 24 * tf.reduce_sum(ones**4)])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_unknown_batch(custom_ops, session):
    x = tf.placeholder(tf.float32, [None, 4, 4, 3])
    y = fir_module.upsample_2d(x, [1, 3, 3, 1])
    z = fir_module.upsample_conv_2d(x, tf.ones([3, 3, 3, 2]), [1, 3, 3, 1])
    gradient = tf.gradients(z, x)[0]
    assert y.shape.as_list() == [None, 8, 8, 3]
    got = session.run([y, z, gradient], {x: np.ones([5, 4, 4, 3])})
    assert [v.shape for v in got] == [(5, 8, 8, 3), (5, 8, 8, 2), (5, 4, 4, 3)]


def test_flip_transpose_gradients(session):
    w = tf.constant(np.random.RandomState(5).randn(3, 2, 4, 5).astype(np.float32))
    v = tf.constant(np.random.RandomState(6).randn(3, 2, 5, 4).astype(np.float32))
    out = flip_transpose(w)
    gradient = tf.gradients(out, w, v)[0]
    back = tf.gradients(gradient, v, w)[0]
    out, gradient, back, w, v = session.run([out, gradient, back, w, v])
    np.testing.assert_array_equal(out, w[::-1, ::-1].transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(gradient, v[::-1, ::-1].transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(back, out)


def test_a_graph_with_filters_is_freed(custom_ops):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 3])
        z = fir_module.upsample_conv_2d(x, tf.ones([3, 3, 3, 2]), [1, 3, 3, 1])
        assert tf.gradients(z, x)[0] is not None
    is_alive = weakref.ref(graph)
    del graph, x, z
    gc.collect()
    assert is_alive() is None


def _activation(name, x, alpha):
    """Float64 NumPy."""
    return {
        "linear": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "lrelu": lambda: np.where(x > 0, x, x * alpha),
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "elu": lambda: np.where(x > 0, x, np.expm1(x)),
        "selu": lambda: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        "softplus": lambda: np.log1p(np.exp(x)),
        "swish": lambda: x / (1 + np.exp(-x)),
    }[name]()


@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("act", sorted(ACTIVATIONS))
def test_bias_act_is_its_formula(act, axis, clamp, custom_ops, session):
    rng = np.random.RandomState(7)
    x, b = rng.randn(2, 3, 5, 4), rng.randn([0, 3, 0, 4][axis])
    shape = [1, 3, 1, 1] if axis == 1 else [4]
    expected = _activation(act, x + b.reshape(shape), 0.3) * 1.5
    if clamp is not None:
        expected = np.clip(expected, -clamp, clamp)
    out = fused_bias_act(
        tf.constant(x, tf.float32), tf.constant(b, tf.float32), act, 0.3, 1.5, axis, clamp
    )
    np.testing.assert_allclose(session.run(out), expected, rtol=1e-5, atol=1e-5)


def test_bias_act_extras_are_their_formula(custom_ops, session):
    rng = np.random.RandomState(8)
    x, b, scale, noise = rng.randn(2, 3, 5, 4), rng.randn(4), rng.randn(2, 4), rng.randn(2, 3, 5, 1)
    expected = np.tanh(x * scale[:, np.newaxis, np.newaxis] + noise + b)
    x, b, scale, noise = (tf.constant(array, tf.float32) for array in (x, b, scale, noise))
    out = fused_bias_act(x, b, act="tanh", scale=scale, noise=noise)
    np.testing.assert_allclose(session.run(out), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fused_bias_act(x, act="relo"), "act='relo': must be one of linear, relu"),
        (lambda x: fused_bias_act(x, tf.zeros([3])), "does not fit axis 3"),
        (lambda x: fused_bias_act(x, axis=4), "not an axis"),
        (lambda x: fused_bias_act(x, clamp=-1), "negative"),
        (lambda x: fused_bias_act(x, scale=tf.zeros([2, 5])), "scale of shape"),
        (lambda x: fused_bias_act(x, noise=tf.zeros([2, 8, 8])), "noise of shape"),
        (lambda x: fused_bias_act(x, axis=1, scale=tf.zeros([2, 4])), "last axis"),
        (lambda x: upfirdn_2d(x, np.ones([9, 9])), "longer than"),
        (lambda x: upfirdn_2d(x, np.ones([2, 2, 2])), "vector or a matrix"),
        (lambda x: upfirdn_2d(x, [1, 1], upx=0), "at least 1"),
        (lambda x: upfirdn_2d(x, [1, 1], data_format="NWHC"), "data_format"),
        (lambda x: fir_module.filter_2d(x, np.ones([2, 3])), "square"),
    ],
)
def test_wrong_arguments_are_named(call, message, session):
    with pytest.raises(ValueError, match=message):
        call(tf.zeros([2, 8, 8, 4]))
