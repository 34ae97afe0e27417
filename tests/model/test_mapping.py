"""The mapping network as a plain function."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from training.model.mapping import mapping
from training.model.quirks import PUBLISHED_QUIRKS

N, K, Z, W, H = 4, 3, 6, 6, 10
LRELU_GAIN = np.sqrt(2)


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def build(c=None, z=None, reuse=False, **options):
    z = tf.constant(latents(options.get("transformer", True))) if z is None else z
    options = dict(dict(z_dim=Z, w_dim=W, components_num=K, transformer=True), **options)
    c = tf.zeros([N, options.get("c_dim", 0)]) if c is None else tf.constant(c, tf.float32)
    with tf.variable_scope("M", reuse=reuse):
        return mapping(z, c, **options)


def latents(transformer=True, seed=0):
    return np.random.RandomState(seed).randn(N, K + bool(transformer), Z).astype(np.float32)


def randomise(session):
    rng = np.random.RandomState(1)
    values = {}
    for variable in tf.global_variables():
        name = variable.op.name[2:]
        scale = 100.0 if "Dense" in name else 1.0
        values[name] = (scale * rng.randn(*variable.shape.as_list())).astype(np.float32)
        variable.load(values[name], session)
    return values


def dense(values, name, x, lrmul=0.01, suffix=""):
    w, b = values[f"{name}weight{suffix}"], values[f"{name}bias{suffix}"]
    return x @ (w * lrmul / np.sqrt(len(w))) + b * lrmul


@pytest.mark.parametrize("published", [False, True])
def test_plain_layers_by_the_formula(session, published):
    got = build(mapping_num_layers=2, quirks=PUBLISHED_QUIRKS["head"] if published else ())
    v = randomise(session)
    z = latents()
    x, g = z[:, :K], z[:, K]
    x = x / np.sqrt(np.mean(x**2, axis=2, keepdims=True) + 1e-8)
    if not published:
        g = g / np.sqrt(np.mean(g**2, axis=1, keepdims=True) + 1e-8)
    for i in range(2):
        x = LRELU_GAIN * lrelu(dense(v, f"Dense{i}/", x))
        g = LRELU_GAIN * lrelu(dense(v, f"global/Dense{i}/", g))
    want = np.concatenate([x, g[:, None]], axis=1)
    np.testing.assert_allclose(session.run(got), want, atol=1e-4)


def test_residual_blocks_by_the_formula(session):
    got = build(mapping_num_layers=4, mapping_resnet=True, transformer=False)
    v = randomise(session)
    x = latents(False)
    x = x / np.sqrt(np.mean(x**2, axis=2, keepdims=True) + 1e-8)
    for i in range(2):
        y = LRELU_GAIN * lrelu(dense(v, f"Dense{i}_0/", x))
        x = lrelu(dense(v, f"Dense{i}_1/", y) + x)
    want = LRELU_GAIN * lrelu(dense(v, "Dense1/", x))
    np.testing.assert_allclose(session.run(got), want, atol=1e-4)


def test_width_shared_layers_and_broadcast(session):
    for options, names in (
        (dict(mapping_dim=H), {"weight_map_start", "weight_map_end"}),
        (dict(mapping_shared_dim=H), {"weight_inmap", "weight_outmap"}),
    ):
        with tf.Graph().as_default(), tf.Session() as sess:
            w = build(num_broadcast=5, mapping_num_layers=2, **options)
            assert w.shape.as_list() == [N, K + 1, 5, W]
            v = randomise(sess)
            assert names <= set(v) and v["Dense1/weight"].shape == (H, H)
            w = sess.run(w)
            assert np.all(np.isfinite(w)) and np.all(w == w[:, :, :1])


def test_shared_layers_mix_the_components(session):
    """Joined, a change of one latent reaches the others; each on its own, it does not."""
    for options, mixes in ((dict(mapping_shared_dim=H), True), ({}, False)):
        with tf.Graph().as_default(), tf.Session() as sess:
            z = tf.constant(latents())
            w = build(z=z, mapping_num_layers=2, **options)
            slope = tf.gradients(tf.reduce_sum(w[:, 0] ** 2), z)[0]
            randomise(sess)
            assert (np.abs(sess.run(slope)[:, 1]).max() > 0) == mixes


@pytest.mark.parametrize("resnet", [False, True])
@pytest.mark.parametrize("published", [False, True])
def test_self_attention(session, resnet, published):
    """Components see each other, and not those that are hidden; never the global latent.

    The published code ignores the option without residual blocks.
    """
    z = tf.constant(latents())
    mask = tf.constant([[1.0, 1.0, 0.0]] * N)
    w = build(
        z=z,
        mapping_num_layers=4,
        mapping_resnet=resnet,
        mapping_ltnt2ltnt=True,
        use_pos=True,
        ltnt_pos=tf.ones([K, W]),
        component_mask=mask,
        quirks=PUBLISHED_QUIRKS["head"] if published else (),
    )
    seen = tf.gradients(tf.reduce_sum(w[:, 0] ** 2), z)[0]
    seen_by_global = tf.gradients(tf.reduce_sum(w[:, K] ** 2), z)[0]
    names = set(randomise(session))
    seen, seen_by_global = session.run([seen, seen_by_global])
    attends = resnet or not published
    assert any("AttLayer_1" in name for name in names) == attends
    assert (np.abs(seen[:, 1]).max() > 0) == attends
    assert np.abs(seen[:, 2]).max() == 0
    assert np.abs(seen[:, K]).max() == 0 and np.abs(seen_by_global[:, :K]).max() == 0


def test_labels_are_embedded_beside_every_latent(session):
    c = np.eye(N, 5)
    got = build(c, c_dim=5, mapping_num_layers=1)
    v = randomise(session)
    assert v["LabelConcat/weight"].shape == (5, Z)
    assert v["Dense0/weight"].shape == (2 * Z, W)
    z, label = latents(), c @ v["LabelConcat/weight"]
    x = np.concatenate([z, np.repeat(label[:, None], K + 1, axis=1)], axis=2)
    x = x / np.sqrt(np.mean(x**2, axis=2, keepdims=True) + 1e-8)
    want = LRELU_GAIN * lrelu(dense(v, "Dense0/", x))
    got = session.run(got)
    np.testing.assert_allclose(got[:, :K], want[:, :K], atol=1e-4)
    want = LRELU_GAIN * lrelu(dense(v, "global/Dense0/", x[:, K]))
    np.testing.assert_allclose(got[:, K], want, atol=1e-4)


def test_contradictions_are_refused(session):
    with pytest.raises(ValueError, match="needs them apart"):
        build(mapping_shared_dim=H, mapping_ltnt2ltnt=True)
    with tf.Graph().as_default(), pytest.raises(ValueError, match="needs 2 layers or more"):
        build(mapping_resnet=True, mapping_num_layers=1)
    with tf.Graph().as_default(), pytest.raises(ValueError, match="needs ltnt_pos"):
        build(use_pos=True)
