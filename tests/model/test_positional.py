"""Positional encodings against loops written from the formulas."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from training.model.positional import GridEncodings

R, SIZE = 3, 8


def encode(session, dim, r=R, **options):
    """Encoding of the grid of side 2^r, [H, W, P], and the variables."""
    grids = GridEncodings(R, dim, **options)
    encoding = grids[r]
    session.run(tf.global_variables_initializer())
    values = {v.op.name: session.run(v) for v in tf.global_variables()}
    return session.run(encoding).reshape(2**r, 2**r, -1), values


@pytest.mark.parametrize("published,unit", [(True, 1.0), (False, (SIZE - 1) / 2)])
def test_sinusoids_of_columns_then_rows(session, published, unit):
    got, variables = encode(session, 8, is_flat=published)
    assert not variables and got.shape == (SIZE, SIZE, 8)
    c = np.linspace(-1, 1, SIZE) * unit
    for y in range(SIZE):
        for x in range(SIZE):
            want = []
            for coordinate in (c[x], c[y]):
                angles = [coordinate / 10000 ** (4 * i / 8) for i in range(2)]
                want += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
            np.testing.assert_allclose(got[y, x], want, atol=1e-6)


def test_neighbouring_pixels_are_one_apart_unless_published(session):
    """What the published sinusoids cannot do: tell positions apart by more than a slope."""
    ours, _ = encode(session, 8)
    published, _ = encode(session, 8, is_flat=True)
    turns = [np.sum(np.diff(np.sign(np.diff(e[0, :, 0]))) != 0) for e in (ours, published)]
    assert turns[0] >= 1 and turns[1] == 0


def test_width_is_rounded_down_to_a_multiple_of_four(session):
    assert encode(session, 10)[0].shape == (SIZE, SIZE, 8)


@pytest.mark.parametrize("directions", [3, 4])
def test_sinusoids_along_more_directions(session, directions):
    dim = 4 * directions
    got, _ = encode(session, dim, directions=directions, is_flat=True)
    c = np.linspace(-1, 1, SIZE)
    for y in range(SIZE):
        for x in range(SIZE):
            want = []
            for j in range(directions):
                angle = j * np.pi / directions
                line = c[x] * np.cos(angle) + c[y] * np.sin(angle)
                angles = [line / 10000 ** (2 * directions * i / dim) for i in range(2)]
                want += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
            np.testing.assert_allclose(got[y, x], want, atol=1e-6)


def test_linear(session):
    got, variables = encode(session, 6, pos_type="linear", directions=3)
    emb, c = variables[f"pos_emb{R}/emb"], np.linspace(-1, 1, SIZE)
    assert emb.shape == (3, 2) and emb.min() >= 0 and emb.max() <= 1
    for y, x in ((0, 0), (2, 5), (7, 1)):
        angles = np.arange(3) * np.pi / 3
        lines = c[x] * np.cos(angles) + c[y] * np.sin(angles)
        np.testing.assert_allclose(got[y, x], (lines[:, None] * emb).ravel(), atol=1e-6)


def test_trainable_kinds(session):
    got, variables = encode(session, 6, pos_type="trainable")
    columns, rows = (variables[f"pos_emb{R}/{name}_emb"] for name in "xy")
    np.testing.assert_array_equal(got[2, 5], np.concatenate([columns[5], rows[2]]))
    with tf.Graph().as_default(), tf.Session() as sess:
        got, variables = encode(sess, 6, pos_type="trainable2d", pos_init="normal")
        np.testing.assert_array_equal(got, variables[f"pos_emb{R}/emb"])
        assert got.min() < 0
        assert [variables[f"pos_emb{r}/emb"].shape[0] for r in range(R + 1)] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "options,match",
    [
        (dict(pos_type="sinusoid"), "got 'sinusoid'; did you mean 'sinus'"),
        (dict(pos_init="zeros"), "pos_init must be one of uniform, normal, got 'zeros'"),
        (dict(directions=3), r"sinus encoding in 3 directions .* cannot be 8 wide"),
        (dict(pos_type="linear", directions=3), "must be divisible by 3"),
    ],
)
def test_odd_options_are_refused(session, options, match):
    with pytest.raises(ValueError, match=match):
        GridEncodings(R, 8, **options)
