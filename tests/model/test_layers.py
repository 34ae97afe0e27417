"""Layers against literal forms and closed ones."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from training.model.layers import (
    conv2d_act_layer,
    dense_layer,
    get_weight,
    minibatch_stddev_layer,
    num_features,
)
from training.model.modulation import modulated_conv2d_layer, modulated_rgb_layer

N, H, I, O, D = 3, 6, 5, 7, 4


def randomise(session):
    rng = np.random.RandomState(1)
    for variable in tf.global_variables():
        variable.load(np.float32(rng.randn(*variable.shape.as_list())), session)
    return {v.op.name: session.run(v) for v in tf.global_variables()}


def inputs(*shape):
    return np.random.RandomState(0).randn(*shape).astype(np.float32)


def test_feature_counts():
    assert [num_features(r, 16384, 512) for r in range(1, 11)] == [512] * 6 + [256, 128, 64, 32]
    assert num_features(6, 100, 512, channel_min=8) == 8
    assert num_features(3, 64, 512, channel_decay=2.0) == 4


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("act", ["linear", "lrelu", "swish"])
def test_dense_layer(session, rank, act):
    x = inputs(N, *[2] * (rank - 2), I)
    got = dense_layer(tf.constant(x), O, act, lrmul=0.5, name="q")
    v = randomise(session)
    z = x @ (v["weight_q"] * 0.5 / np.sqrt(I)) + v["bias_q"] * 0.5
    want = {
        "linear": z,
        "lrelu": np.where(z > 0, z, 0.2 * z) * np.sqrt(2),
        "swish": z / (1 + np.exp(-z)) * np.sqrt(2),
    }[act]
    np.testing.assert_allclose(session.run(got), want, atol=1e-5)


def test_gain_after_a_convolution(session):
    """The gain, folded into weight and bias, is that of the formula."""
    x = tf.constant(inputs(N, H, H, I))
    plain = conv2d_act_layer(x, O, 3, "lrelu")
    with tf.variable_scope("", reuse=True):
        scaled = conv2d_act_layer(x, O, 3, "lrelu", gain=0.3)
    randomise(session)
    plain, scaled = session.run([plain, scaled])
    np.testing.assert_allclose(scaled, 0.3 * plain, atol=1e-5)


@pytest.mark.parametrize("modulate", [False, True])
def test_modulated_convolution_is_a_filter_for_each_sample(session, modulate):
    x, y = tf.constant(inputs(N, H, H, I)), inputs(N, D)
    got, scale = modulated_conv2d_layer(x, tf.constant(y), O, 3, modulate=modulate)
    assert (scale is not None) == modulate
    got = got if scale is None else got * scale[:, None, None, :]
    v = randomise(session)
    w = np.repeat(v["weight"][None] / np.sqrt(9 * I), N, axis=0)  # [N, 3, 3, I, O]
    if modulate:
        s = y @ (v["mod_weight"] / np.sqrt(D)) + v["mod_bias"] + 1
        w = w * s[:, None, None, :, None]
        w = w / np.sqrt((w**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
    want = [tf.nn.conv2d(x[n : n + 1], np.float32(w[n]), [1] * 4, "SAME") for n in range(N)]
    got, want = session.run([got, tf.concat(want, axis=0)])
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_rgb_layer_scales_its_filters(session):
    x, y = inputs(N, H, H, I), inputs(N, D)
    got = modulated_rgb_layer(tf.constant(x), tf.constant(y), 3)
    v = randomise(session)
    s = y @ (v["mod_weight"] / np.sqrt(D)) + v["mod_bias"] + 1
    want = (x * s[:, None, None]) @ (v["weight"][0, 0] / np.sqrt(I))
    np.testing.assert_allclose(session.run(got), want, atol=1e-5)


@pytest.mark.parametrize("size,group", [(6, 2), (6, 3), (2, 4)])
@pytest.mark.parametrize("batch", [True, False])
def test_minibatch_stddev(session, size, group, batch):
    x = inputs(size, 4, 4, 6)
    feed = tf.placeholder(tf.float32, [size if batch else None, 4, 4, 6])
    got = session.run(minibatch_stddev_layer(feed, group, num_new_channels=2), {feed: x})
    group = min(group, size)
    num = size // group
    for n in range(size):
        members = x[n % num :: num].reshape(group, 4, 4, 2, 3)
        std = np.sqrt(members.var(axis=0) + 1e-8).mean(axis=(0, 1, 3))
        np.testing.assert_allclose(got[n, ..., 6:], np.broadcast_to(std, (4, 4, 2)), atol=1e-5)
    np.testing.assert_array_equal(got[..., :6], x)


def test_scaled_variables_are_made_once_and_outside_of_branches(session):
    with tf.variable_scope("shared", use_resource=True, reuse=tf.AUTO_REUSE):
        taken = tf.cond(
            tf.placeholder_with_default(True, []),
            lambda: get_weight([3, 2]) + 0.0,
            lambda: tf.zeros([3, 2]),
        )
        w = get_weight([3, 2])
        num = len(tf.get_default_graph().get_operations())
        assert get_weight([3, 2]) is w
        assert get_weight([3, 2], gain=2.0) is not w
        variable = tf.get_variable("weight", [3, 2])
    assert len(tf.get_default_graph().get_operations()) == num + 2  # constant, product
    session.run(tf.global_variables_initializer())
    (gradient,) = tf.gradients(tf.reduce_sum(w * w), [variable])
    value, scaled, inner, found = session.run([variable, w, taken, gradient])
    np.testing.assert_allclose(scaled, value / np.sqrt(3), rtol=1e-6)
    assert np.array_equal(inner, scaled)
    np.testing.assert_allclose(found, 2 * value / 3, rtol=1e-6)
