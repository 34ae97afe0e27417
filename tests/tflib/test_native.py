"""Native operations equal their references: values, first and second derivatives; all types."""

import itertools

import numpy as np
import pytest
from custom_ops import chosen

from dnnlib.tflib import native
from dnnlib.tflib.compat import tf
from dnnlib.tflib.native import calls, check
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.ops.attend import attend
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.upfirdn_2d import filter_2d

PIXEL = np.ones([1, 1])
SMOOTH = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
LOPSIDED = np.outer([1, 2, 3, 5], [4, 1, 2, 3]) / 99
LONG = np.outer(np.arange(1, 13), np.arange(12, 0, -1)) / 1000
SKEW = np.random.RandomState(0).randn(5, 3)

UPFIRDN = [
    check.upfirdn_case(shape, kernel, (up, up), (down, down), pad_y, pad_x)
    for shape, kernel, (up, down), (pad_y, pad_x) in itertools.product(
        ([2, 11, 10, 3], [1, 6, 7, 37]),
        (SMOOTH, SKEW),
        ((1, 1), (2, 1), (1, 2), (3, 2)),
        (((2, 1), (2, 1)), ((-1, 4), (3, -2))),
    )
] + [
    check.upfirdn_case([2, 9, 8, 16], PIXEL, (2, 2), (2, 2), (0, 0), (1, -1)),
    check.upfirdn_case([3, 8, 8, 20], LONG, (2, 2), (1, 1), (7, 6), (5, 8)),
    check.upfirdn_case([3, 40, 3, 17], SMOOTH, (1, 2), (2, 1), (1, 1), (2, 1)),
    check.upfirdn_case([0, 8, 8, 4], SMOOTH),
]
# Long runs of whole vectors, in rows that are done in parts.
UPFIRDN_RUNS = [
    check.upfirdn_case(shape, kernel, (up, up), (down, down), (2, 1), (3, -1))
    for shape, kernel, (up, down) in (
        ([2, 11, 19, 80], SMOOTH, (1, 1)),
        ([2, 11, 70, 112], LOPSIDED, (1, 1)),
        ([1, 9, 41, 144], SMOOTH, (2, 1)),
        ([1, 10, 68, 144], LOPSIDED, (1, 2)),
    )
]
BIAS_ACT = [
    check.bias_act_case(shape, act, extras, clamp=clamp)
    for act, (shape, extras), clamp in itertools.product(
        ACTIVATIONS,
        (
            ([2, 5, 6, 19], "bsn"),
            ([3, 17, 16, 3], "b"),
            ([2, 300, 16], "s"),
            ([2, 3, 4, 5], "n"),
            ([2, 7, 9, 3], "bsn"),
            ([9, 40], "b"),
            ([7, 2], ""),
        ),
        (None, 0.8),
    )
]
ATTEND = [
    check.attend_case(shape, slots, heads, integration, normalise, extras, shared)
    for (shape, slots, heads), integration, normalise, (extras, shared) in itertools.product(
        (([2, 21, 20], 5, 1), ([3, 9, 35], 24, 2), ([2, 300, 16], 16, 1), ([1, 7, 5], 40, 5)),
        calls.INTEGRATIONS,
        (True, False),
        (("lksbna", ""), ("l", "klv"), ("lsa", "klp"), ("", "")),
    )
]
CONV3X3 = [
    check.conv3x3_case(shape, num_out, scaled, form)
    for form, (shape, num_out), scaled in itertools.product(
        calls.MIN_CONV_POSITIONS,
        (
            ([2, 9, 7, 32], 48),
            ([3, 17, 19, 64], 16),
            ([1, 3, 3, 16], 80),
            ([5, 3, 11, 48], 112),
            ([1, 41, 37, 16], 32),
        ),
        (False, True),
    )
] + [
    check.conv3x3_case(shape, num_out, scaled, form)
    for (form, shape, num_out), scaled in itertools.product(
        (
            ("same", [3, 16, 18, 64], 16),
            ("same", [1, 1, 1, 16], 80),
            ("same", [5, 2, 11, 48], 112),
            ("same", [1, 40, 37, 16], 32),
            ("same", [0, 4, 4, 16], 16),  # TensorFlow's other forms lose the shape of no samples
            ("up", [2, 1, 2, 16], 80),
        ),
        (False, True),
    )
]
CONV_NARROW = [
    check.conv_narrow_case(shape, num_out)
    for shape, num_out in (
        ([2, 9, 7, 32], 3),
        ([3, 1, 2, 16], 5),
        ([1, 34, 70, 48], 3),  # several parts
        ([2, 6, 4, 80], 7),
        ([5, 3, 1, 16], 4),
        ([2, 5, 130, 16], 1),
    )
]


def thinned(cases, step):
    """All cases; those that are no multiple of ``step`` are left to the slow suite."""
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] if i % step else [])
        for i, case in enumerate(cases)
    ]


@pytest.fixture(autouse=True)
def _native_ops():
    with chosen("native"):
        yield


def _compare(case, session, dtype="float32"):
    errors = check.max_errors(case, session, dtype)
    name = max(errors, key=errors.get)
    assert errors[name] <= check.TOLERANCE[dtype], f"{name} of {case.name}"


@pytest.mark.parametrize("case", thinned(UPFIRDN, 3) + thinned(UPFIRDN_RUNS, 1))
def test_upfirdn(case, session):
    _compare(case, session)


@pytest.mark.parametrize("case", thinned(BIAS_ACT, 7))
def test_bias_act(case, session):
    _compare(case, session)


@pytest.mark.parametrize("case", thinned(CONV3X3, 3))
def test_conv3x3(case, session):
    if native.has_cuda():
        pytest.skip("the native 3x3 convolution is one for CPUs")
    _compare(case, session)


@pytest.mark.parametrize("case", thinned(CONV_NARROW, 3))
def test_conv_narrow(case, session):
    if native.has_cuda():
        pytest.skip("the native convolution to few channels is one for CPUs")
    _compare(case, session)


@pytest.mark.parametrize("case", thinned(ATTEND, 7))
def test_attend(case, session):
    _compare(case, session)


def test_on_a_cpu_other_types_take_the_reference(session):
    if native.has_cuda():
        pytest.skip("the CUDA kernels have other types")
    x = tf.constant(np.random.RandomState(3).randn(2, 6, 7, 16), tf.float16)
    y = fused_bias_act(filter_2d(x, [1, 3, 3, 1]), act="lrelu")
    assert not [op for op in y.graph.get_operations() if op.type.startswith("Gansformer")]
    assert session.run(y).shape == (2, 6, 7, 16)


def test_an_empty_batch_has_gradients_of_zero(session):
    """Sums over no positions, in memory that held something else before."""
    channels = 900
    x, b = tf.zeros([0, 6, channels]), tf.ones([channels])
    table, scale = tf.ones([1, 5, channels]), tf.zeros([0, channels])
    logits, noise = tf.ones([1, 6, 5]), tf.zeros([0, 6, 1])
    ys = [
        fused_bias_act(x, b, "lrelu", scale=scale, noise=noise),
        attend(x, table, table, logits=logits, bias=b, noise=noise, act_bias=b),
    ]
    gradients = [tf.gradients(y, [b, *more]) for y, more in zip(ys, ([], [table, logits]))]
    for _ in range(3):
        session.run([tf.fill(shape, np.nan) for shape in ([channels], [1, 5, channels], [1, 6, 5])])
        for found in session.run(gradients[0] + gradients[1]):
            assert found.size and not found.any()


def test_not_a_number_stays(session):
    """Training stops when numbers go bad; an operation must not hide them."""
    x = np.ones([1, 4, 4, 20], np.float32)
    x[0, 1, 2, 3] = np.nan
    for act in ACTIVATIONS:
        out = session.run(fused_bias_act(tf.constant(x), act=act, clamp=2.0))
        assert np.isnan(out[0, 1, 2, 3]), act
        assert np.isfinite(np.delete(out.ravel(), np.flatnonzero(np.isnan(x)))).all(), act
    table = tf.ones([1, 6, 20])
    out = session.run(attend(tf.constant(x.reshape([1, 16, 20])), table, table, normalise=True))
    assert np.isnan(out[0, 6]).all()
    assert np.isfinite(out[0, :6]).all()


def test_infinity_and_large_values(session):
    x = np.array([[-np.inf, -1e4, -100.0, 100.0, 1e4, np.inf] * 4], np.float32)
    for act in ACTIVATIONS:
        native_out = calls.bias_act(tf.constant(x), None, None, None, act, 0.2, 1.0, None)
        reference = ACTIVATIONS[act].fn(tf.constant(x), 0.2)
        out, expected = session.run([native_out, reference])
        finite = np.isfinite(expected) & np.isfinite(x)
        np.testing.assert_allclose(out[finite], expected[finite], atol=1e-5, err_msg=act)


def test_third_derivative_is_native(session):
    """Piecewise linear activations: d3/dx3 of sum(f(x)^3) is 6 slope^3."""
    x = tf.constant(np.random.RandomState(3).randn(2, 4, 4, 8).astype(np.float32))
    value = tf.reduce_sum(fused_bias_act(x, act="lrelu", gain=1.0) ** 3)
    for _ in range(3):
        value = tf.gradients(tf.reduce_sum(value), x)[0]
    expected = 6 * np.where(session.run(x) > 0, 1.0, 0.2) ** 3
    np.testing.assert_allclose(session.run(value), expected, rtol=1e-5)
    types = {op.type for op in value.graph.get_operations()}
    assert "LeakyRelu" not in types
    assert "GansformerBiasActGrad" in types


def test_result_does_not_depend_on_threads():
    """Sums over positions are added in a fixed order: bitwise the same on any number of threads."""
    results = []
    for threads in (1, 2, 5):
        config = tf.ConfigProto(intra_op_parallelism_threads=threads)
        with tf.Graph().as_default(), tf.Session(config=config) as session:
            rng = np.random.RandomState(4)
            x = tf.constant(rng.randn(3, 700, 24).astype(np.float32))
            table = tf.constant(rng.randn(1, 6, 24).astype(np.float32))
            b = tf.constant(rng.randn(24).astype(np.float32))
            y = attend(x, table, table, integration="mul", normalise=True, act_bias=b, alpha=0.2)
            y = fused_bias_act(y, b, "lrelu", scale=tf.ones([3, 24]))
            results.append(session.run([y, *tf.gradients(y, [x, table, b], y)]))
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(integration="sub"), "integration='sub': must be one of add"),
        (dict(heads=4), "6 keys cannot be divided among 4 heads"),
        (dict(keys=tf.TensorSpec([3, 6, 8])), "keys of shape"),
        (dict(values=tf.TensorSpec([1, 6, 16])), "values of shape"),
        (dict(logits=tf.TensorSpec([1, 4, 6])), "logits of shape"),
        (dict(noise=tf.TensorSpec([2, 5])), "noise of shape"),
    ],
)
def test_wrong_arguments_of_attend_are_named(change, message, session):
    arguments = dict(keys=tf.zeros([1, 6, 8]), values=tf.zeros([1, 6, 8]))
    for name, value in change.items():
        arguments[name] = tf.zeros(value.shape) if isinstance(value, tf.TensorSpec) else value
    with pytest.raises(ValueError, match=message):
        attend(tf.zeros([2, 5, 8]), **arguments)


def test_what_is_compared_has_run(optimized_session):
    """And was not computed beforehand, on the CPU, as TensorFlow does it with constants."""
    plain, metadata = optimized_session.run, tf.RunMetadata()

    def traced(fetches, feeds):
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        return plain(fetches, feeds, options=options, run_metadata=metadata)

    optimized_session.run = traced
    _compare(check.bias_act_case([2, 3, 4, 5], "lrelu"), optimized_session)
    devices = metadata.step_stats.dev_stats
    labels = [node.timeline_label for device in devices for node in device.node_stats]
    assert any("GansformerBiasAct(" in label for label in labels)
    assert any("GansformerBiasActGrad(" in label for label in labels)


@pytest.mark.slow
def test_maps_of_bfloat16_are_read_and_made(session):
    """The graph of a GPU, of values and two derivatives: maps are bfloat16, all else is float32."""
    for case in check.default_cases("bfloat16"):
        inputs = {name: np.zeros(shape, np.float32) for name, shape in case.shapes.items()}
        check._derivatives(case.native, inputs, {}, "bfloat16", orders=2)
    found = [op for op in session.graph.get_operations() if op.type.startswith("Gansformer")]
    assert {op.type for op in found} == {
        f"Gansformer{kind}"
        for kind in ("Upfirdn", "BiasAct", "BiasActGrad", "Attend", "AttendGrad")
    }
    for op in found:
        assert op.outputs[0].dtype == tf.bfloat16
        assert all(x.dtype == tf.float32 for x in op.outputs[1:])
