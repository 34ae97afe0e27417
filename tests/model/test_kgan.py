"""k-GAN: how pictures merge, and that every architecture and merge layer works."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from training.model.kgan import MERGE_TYPES, Merging
from training.model.quirks import NO_QUIRKS, PUBLISHED_QUIRKS, Quirks
from training.model.synthesis import synthesis

N, K, C, H, D = 2, 3, 5, 4, 6


def scores_and_weights(session, kind, quirks=NO_QUIRKS, same=False):
    """Random pictures: scores [N, K, H, W] by the formula, weights as they come."""
    x = np.random.RandomState(0).randn(N * K, H, H, C).astype(np.float32)
    merging = Merging(K, 3, 2, kind, same, quirks)
    weights = merging.weights(tf.constant(x))
    w = tf.global_variables()[0]
    w.load(np.random.RandomState(1).randn(1, 1, C, 1).astype(np.float32), session)
    scores = np.einsum("nhwc,c->nhw", x, session.run(w)[0, 0, :, 0] / np.sqrt(C))
    scores = scores.reshape(N, K, H, H)
    if same:
        scores = scores.sum(axis=(2, 3), keepdims=True)
    return scores, session.run(weights)[..., 0], weights, w


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def leaves(scores, top):
    alpha = [np.ones_like(scores[:, 0])]
    for idx in range(1, K):
        cover = sigmoid(scores[:, idx] - top(scores[:, :idx]))
        alpha = [a * (1 - cover) for a in alpha] + [cover]
    return np.stack(alpha, axis=1)


FORMULAS = {
    "softmax": lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True),
    "sum": sigmoid,
    "max": lambda s: (s == s.max(axis=1, keepdims=True)).astype(float),
    "leaves": lambda s: leaves(s, lambda behind: behind.max(axis=1)),
}
PUBLISHED = dict(FORMULAS, sum=np.ones_like, leaves=lambda s: leaves(s, np.max))


@pytest.mark.parametrize("kind", MERGE_TYPES)
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("published", [False, True])
def test_weights_by_the_formula(session, kind, same, published):
    quirks = Quirks.named(PUBLISHED_QUIRKS["head"] if published else ())
    scores, got, weights, w = scores_and_weights(session, kind, quirks, same)
    want = (PUBLISHED if published else FORMULAS)[kind](scores)
    np.testing.assert_allclose(got, want, atol=1e-5)
    if kind != "sum":
        np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-5)
    if not published:  # every kind of merging learns
        pick = np.random.RandomState(2).randn(*weights.shape.as_list())
        slope = tf.gradients(tf.reduce_sum(weights * pick), w)[0]
        assert np.abs(session.run(slope)).max() > 1e-4


def build(ws, **options):
    with tf.variable_scope("S", reuse=tf.AUTO_REUSE):
        return synthesis(
            ws,
            resolution=16,
            channel_base=48,
            channel_max=7,
            w_dim=D,
            components_num=K,
            merge=True,
            **options,
        )[0]


GRID = [
    pytest.param(architecture, layer, stem, marks=[] if quick else [pytest.mark.slow])
    for architecture in ("skip", "resnet", "orig")
    for layer in (2, 3, 4, -1)
    for stem in (False, True)
    for quick in [(architecture, layer, stem) in [("skip", 3, False), ("resnet", -1, True)]]
]


@pytest.mark.parametrize("architecture,layer,stem", GRID)
def test_every_architecture_and_merge_layer(session, architecture, layer, stem):
    """All k pictures show, each sample is its own, and every index into ws in use counts."""
    rng = np.random.RandomState(0)
    ws = tf.constant(rng.randn(N, K, 7, D), tf.float32)
    options = dict(architecture=architecture, merge_layer=layer, latent_stem=stem)
    images = build(ws, merge_type="softmax", noise_mode="const", **options)
    random = build(ws, merge_type="softmax", **options)
    slope = tf.gradients(tf.reduce_sum(tf.square(images[0])), ws)[0]
    for variable in tf.global_variables():
        variable.load(np.float32(rng.randn(*variable.shape.as_list())), session)
    images, random, slope = session.run([images, random, slope])
    assert images.shape == random.shape == (N, 3, 16, 16)
    assert np.all(np.isfinite(images)) and np.all(np.isfinite(random))
    assert np.abs(slope[1]).max() == 0
    used = np.abs(slope[0]).max(axis=(0, 2)) > 0
    rgb = [2, 4, 6] if architecture == "skip" else [6]
    assert [i for i in range(7) if used[i]] == sorted({1, 2, 3, 4, 5} | set(rgb) | set([0] * stem))
    assert np.abs(slope[0]).max(axis=(1, 2)).min() > 0


@pytest.mark.parametrize("kind", ["softmax", "max", "leaves"])
def test_equal_pictures_merge_into_that_picture(session, kind):
    """Whatever the scores: shares of one and the same picture make up that picture."""
    rng = np.random.RandomState(0)
    ws = tf.constant(np.repeat(rng.randn(N, 1, 7, D), K, axis=1), tf.float32)
    images = build(ws, merge_layer=3, merge_type=kind, noise_mode="none")
    scores = None
    for variable in tf.global_variables():
        value = rng.randn(*variable.shape.as_list())
        if variable.op.name.endswith("Const/const"):
            value = np.repeat(value[:1], K, axis=0)
        if "merge3" in variable.op.name:
            scores = variable
        variable.load(np.float32(value), session)
    before = session.run(images)
    scores.load(-2 * session.run(scores), session)
    after = session.run(images)
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
