"""Whole networks with the literal form of attention: what the folded form gives."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib

N, K = 2, 3
POS = dict(transformer=True, use_pos=True)
GENERATORS = {
    "simplex": dict(integration="both", norm="layer", ltnt2ltnt=True, img2ltnt=True, img_gate=True),
    "kmeans": dict(kmeans=True, integration="mul", norm="layer"),
    "iterative": dict(kmeans=True, iterative=True, kmeans_iters=2, nonlinearity="swish"),
    "duplex": dict(duplex=True, norm="instance", ltnt2ltnt=True),
}


def check(session, net, size, **literal):
    """The network, and its gradient, in both forms, with random variables."""
    rng = np.random.RandomState(1)
    values = {v: rng.randn(*v.shape.as_list()) for v in net.vars.values()}
    tflib.set_vars({v: 0.5 * value + ("st_weights" in v.name) for v, value in values.items()})
    x = tf.constant(rng.randn(N, *size), tf.float32)
    results = []
    for options in ({}, literal):
        outputs = net.get_output_for(x, None, return_as_list=True, **options)
        loss = tf.reduce_sum(tf.square(outputs[0]))
        results.append([*outputs, tf.gradients(loss, x)[0]])
    num_ops = [len(set(_ancestors(result))) for result in results]
    assert num_ops[0] != num_ops[1]  # the option arrives
    for got, want in zip(*session.run(results)):
        np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def _ancestors(tensors):
    """Names of all operations that tensors depend on."""
    found, todo = set(), [tensor.op for tensor in tensors]
    while todo:
        op = todo.pop()
        if op.name not in found:
            found.add(op.name)
            todo += [tensor.op for tensor in op.inputs]
    return found


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k == "simplex" else pytest.mark.slow) for k in GENERATORS]
)
def test_generator(session, kind):
    sizes = dict(resolution=8, z_dim=6, w_dim=6, components_num=K, num_heads=2, **POS)
    synthesis = dict(channel_base=32, channel_max=8, noise_mode="const", **GENERATORS[kind])
    mapping = dict(mapping_num_layers=1)
    net = tflib.Network("G", "generator", mapping=mapping, synthesis=synthesis, **sizes)
    check(session, net, [K + 1, 6], synthesis=dict(synthesis, attention_form="literal"))


def test_discriminator(session):
    options = dict(components_num=K, num_heads=2, ltnt2ltnt=True, ltnt2img=True, img_gate=True)
    sizes = dict(resolution=8, a_dim=6, channel_base=32, channel_max=8)
    net = tflib.Network("D", "discriminator", **sizes, **options, **POS)
    check(session, net, [3, 8, 8], attention_form="literal")
