"""The discriminator and its options, at 8x8 and 16x16."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib.tflib import StepRandom
from training.model.discriminator import discriminator

N, K, A = 4, 3, 6
BASE = dict(resolution=16, channel_base=48, channel_max=7, a_dim=A, components_num=K)

CASES = {
    "resnet": {},
    "skip": dict(architecture="skip"),
    "orig_swish": dict(architecture="orig", nonlinearity="swish"),
    "labels": dict(c_dim=5),
    "stddev_channels": dict(mbstd_num_channels=3, channel_max=6),
    "no_stddev": dict(mbstd_group_size=1),
    "aggregators": dict(transformer=True, use_pos=True),
    "aggregators_gates": dict(transformer=True, ltnt_gate=True, img_gate=True, num_heads=2),
    "aggregators_all": dict(
        transformer=True, use_pos=True, ltnt2ltnt=True, ltnt2img=True, img2img=3, local_attention=4
    ),
    "aggregators_no_stddev": dict(transformer=True, mbstd_group_size=0, start_res=4),
    "sagan": dict(img2img=3),
}
QUICK = ("skip", "aggregators_all")
# Softmax does not see what all scores have in common.
INVISIBLE = ("bias_key", "bias_query", "bias_from_pos", "bias_to_pos")


def build(c=None, images=None, reuse=False, **options):
    options = dict(BASE, **options)
    size, c_dim = options["resolution"], options.get("c_dim", 0)
    if images is None:
        images = tf.constant(pictures(size))
    c = tf.zeros([images.shape[0], c_dim]) if c is None else tf.constant(c, tf.float32)
    with tf.variable_scope("D", reuse=reuse):
        return discriminator(images, c, **options), images


def pictures(size, seed=0):
    return np.random.RandomState(seed).randn(N, 3, size, size).astype(np.float32)


def randomise(session):
    rng = np.random.RandomState(1)
    for variable in tf.global_variables():
        scale = 0.3 if "bias" in variable.name else 1.0
        variable.load((scale * rng.randn(*variable.shape.as_list())).astype(np.float32), session)


def step(seed=0, offset=0, stride=1):
    return StepRandom(seed, tf.constant(100, tf.int64), N, offset, stride)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in CASES]
)
def test_gradients_of_r1_exist_everywhere(session, name):
    options = CASES[name]
    c = np.eye(N, options["c_dim"]) if "c_dim" in options else None
    scores, images = build(c, rng=step(), is_training=True, **options)
    slope = tf.gradients(tf.reduce_sum(tf.tanh(scores)), images)[0]
    penalty = tf.reduce_sum(tf.square(slope))
    trained = {v.op.name[2:]: v for v in tf.trainable_variables()}
    loss = tf.reduce_sum(tf.square(scores)) + penalty
    grads = dict(zip(trained, tf.gradients(loss, list(trained.values()))))
    randomise(session)
    missing = {n for n, g in grads.items() if g is None}
    values = session.run({n: g for n, g in grads.items() if g is not None})
    scores, slope = session.run([scores, slope])
    assert scores.shape == (N, 1) and np.all(np.isfinite(slope)) and np.abs(slope).max() > 0
    for variable, value in values.items():
        assert np.all(np.isfinite(value)), variable
    zero = missing | {n for n, value in values.items() if np.abs(value).max() < 1e-9}
    assert not {n for n in zero if n.rsplit("/", 1)[-1] not in INVISIBLE}


def test_dropout_is_for_training_and_a_function_of_the_step(session):
    """Scores of a sample alone depend on nothing random; in training on the step alone."""
    options = dict(transformer=True, attention_dropout=0.5, mbstd_group_size=1)
    plain, _ = build(**options)
    again, _ = build(reuse=True, **options)
    trained = [build(reuse=True, is_training=True, rng=step(s), **options)[0] for s in (0, 0, 1)]
    images = pictures(16)
    halves = [
        build(
            images=tf.constant(images[half::2]),
            reuse=True,
            is_training=True,
            rng=step(0, half, 2),
            **options,
        )[0]
        for half in range(2)
    ]
    randomise(session)
    plain, again, trained, halves = session.run([plain, again, trained, halves])
    assert np.all(plain == again)
    assert np.all(trained[0] == trained[1]) and np.abs(trained[0] - trained[2]).max() > 1e-3
    assert np.abs(trained[0] - plain).max() > 1e-3
    for half in range(2):
        np.testing.assert_allclose(halves[half], trained[0][half::2], rtol=1e-4, atol=1e-4)


def test_groups_of_the_stddev_are_interleaved(session):
    """Group m of M holds samples m, m + M, ...: a change of one reaches those alone."""
    images = tf.constant(pictures(16))
    scores, _ = build(images=images, mbstd_group_size=2)
    reach = tf.stack([
        tf.gradients(tf.square(scores[n, 0]), images)[0] for n in range(N)
    ])  # fmt: skip
    randomise(session)
    reach = np.abs(session.run(reach)).max(axis=(2, 3, 4)) > 0
    np.testing.assert_array_equal(reach, [[(a - b) % 2 == 0 for a in range(N)] for b in range(N)])


def test_a_label_chooses_its_score(session):
    c = np.eye(N, 5)
    for_each = [build(np.eye(5)[[label] * N], c_dim=5, reuse=label > 0)[0] for label in range(5)]
    mixed, _ = build(c, c_dim=5, reuse=True)
    nothing, _ = build(np.zeros([N, 5]), c_dim=5, reuse=True)
    randomise(session)
    for_each, mixed, nothing = session.run([for_each, mixed, nothing])
    np.testing.assert_allclose(mixed[:, 0], [for_each[n][n, 0] for n in range(N)], atol=1e-5)
    assert np.all(nothing == 0)
    assert np.abs(np.diff([scores[0, 0] for scores in for_each])).min() > 1e-4


def test_aggregators_in_another_order(session):
    """With their encodings and scores, in another order: the same score."""
    score, _ = build(transformer=True, use_pos=True, ltnt2img=True)
    randomise(session)
    before = session.run(score)
    order = [2, 0, 1]
    for variable in tf.global_variables():
        if variable.op.name in ("D/aggregators", "D/ltnt_emb/emb"):
            variable.load(session.run(variable)[order], session)
        if variable.op.name == "D/Output/weight":
            w = session.run(variable)
            variable.load(np.concatenate([w[:-K], w[-K:][order]]), session)
    np.testing.assert_allclose(session.run(score), before, atol=1e-4 * (1 + np.abs(before).max()))


def test_odd_options_are_refused(session):
    with pytest.raises(ValueError, match="got 'resnt'; did you mean 'resnet'"):
        build(architecture="resnt")
    with tf.Graph().as_default(), pytest.raises(ValueError, match="not a power of two"):
        build(resolution=48)
