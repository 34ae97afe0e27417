"""Randomness as a function: of seed, position and site, whatever the batch is split into."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib


def draw(session, seed=3, nimg=48, site="noise0", offset=0, stride=1, batch_size=6, prefix=""):
    rng = tflib.StepRandom(seed, nimg, batch_size, offset, stride, prefix)
    return session.run(rng.normal(site, [2, 5]))


def test_same_arguments_same_numbers(session):
    assert np.array_equal(draw(session), draw(session))
    nimg = tf.placeholder(tf.int64, [])
    tensor = tflib.StepRandom(3, nimg, 6).normal("noise0", [2, 5])
    assert np.array_equal(session.run(tensor, {nimg: 48}), draw(session))
    assert not np.array_equal(session.run(tensor, {nimg: 54}), draw(session))


@pytest.mark.parametrize(
    "other",
    [
        dict(seed=4),
        dict(nimg=49),
        dict(nimg=48 + (1 << 33)),
        dict(site="noise1"),
        dict(prefix="G/"),
    ],
)
def test_any_other_argument_other_numbers(session, other):
    assert not np.any(draw(session, **other) == draw(session))


@pytest.mark.parametrize("stride", [1, 2, 3, 6])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_parts_get_the_numbers_of_their_samples(session, stride, as_tensor):
    whole = draw(session)
    for offset in range(stride):
        place = tf.constant(offset) if as_tensor else offset
        part = draw(session, offset=place, stride=stride)
        assert np.array_equal(part, whole[offset::stride])


def test_static_shapes(session):
    rng = tflib.StepRandom(0, 0, 6, offset=tf.constant(1), stride=2)
    assert rng.normal("a", [2, 5]).shape.as_list() == [3, 2, 5]
    assert rng.uniform("a", []).shape.as_list() == [3]
    assert rng.scalar_uniform("a").shape.as_list() == []


def test_children_have_sites_of_their_own(session):
    rng = tflib.StepRandom(3, 48, 6)
    child, same = rng.child("G"), tflib.StepRandom(3, 48, 6, prefix="G/")
    values = [r.uniform("x", [4]) for r in (rng, child, same, child.child("mapping"))]
    a, b, c, d = session.run(values)
    assert np.array_equal(b, c)
    assert not np.any(a == b)
    assert not np.any(b == d)
    parts = tflib.StepRandom(3, 48, 6, offset=1, stride=2).child("G")
    assert np.array_equal(session.run(parts.uniform("x", [4])), b[1::2])


def test_distributions(session):
    rng = tflib.StepRandom(7, 0, 4000)
    normal, uniform = session.run([rng.normal("n", [10]), rng.uniform("u", [10])])
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(normal[:-1, 0], normal[1:, 0])[0, 1]) < 0.06


def test_scalars_are_one_for_the_whole_batch(session):
    nimg = tf.placeholder(tf.int64, [])
    parts = [tflib.StepRandom(7, nimg, 8, offset, 4) for offset in range(4)]
    ints = [rng.scalar_int("cut", 2, 5) for rng in parts]
    uniforms = [rng.scalar_uniform("p") for rng in parts]
    seen = []
    for step in range(200):
        values, chances = session.run([ints, uniforms], {nimg: step * 8})
        assert len(set(values)) == 1
        assert len(set(chances)) == 1
        seen.append((values[0], chances[0]))
    ints, chances = np.array(seen).T
    assert set(ints) == {2, 3, 4}
    assert 0 <= chances.min() < 0.1
    assert 0.9 < chances.max() < 1


def test_strides_have_to_divide_the_batch(session):
    with pytest.raises(ValueError, match="batch_size=6 is not divisible by stride=4"):
        tflib.StepRandom(0, 0, 6, stride=4)
