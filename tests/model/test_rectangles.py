"""Networks of images that are not square: the same layers on other maps."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from training.model.attention import enlarge_assignments
from training.model.attention_weights import AttentionSpec
from training.model.image_attention import _Cells
from training.model.positional import GridEncodings

START, SHAPE = (3, 5), (6, 10)
TINY = dict(resolution=8, num_channels=2)
KMEANS = dict(kmeans=True, iterative=True, img2img=3)
CASES = {
    "stylegan2": ({}, {}),
    "gansformer": (
        dict(transformer=True, components_num=3, use_pos=True),
        dict(duplex=True, pos_type="trainable2d", latent_stem=True, img2img=2),
    ),
    "iterative": (dict(transformer=True, components_num=3), dict(KMEANS, pos_type="trainable")),
    "kgan": (dict(components_num=2), dict(merge=True, merge_layer=2)),
}


def generator(start, case):
    own, synthesis = CASES[case]
    synthesis = dict(channel_base=24, channel_max=6, **synthesis)
    own = dict(own, merge=True) if synthesis.pop("merge", False) else own
    shape = {} if start is None else dict(start=start)
    mapping = dict(mapping_num_layers=1)
    return tflib.Network(
        "G",
        "generator",
        **TINY,
        **shape,
        z_dim=8,
        w_dim=8,
        mapping=mapping,
        synthesis=synthesis,
        **own,
    )


def discriminator(start, **options):
    shape = {} if start is None else dict(start=start)
    sizes = dict(channel_base=24, channel_max=6, a_dim=8)
    return tflib.Network("D", "discriminator", **TINY, **shape, **sizes, **options)


@pytest.mark.parametrize(
    "case", ["gansformer", *[pytest.param(c, marks=pytest.mark.slow) for c in CASES]]
)
def test_generators_draw_rectangles(session, case):
    G = generator(START, case)
    assert G.output_shapes[0] == [None, 2, *SHAPE]
    z = np.random.RandomState(0).randn(3, *G.input_shapes[0][1:])
    images, *maps = G.run(z, None, return_as_list=True, truncation_psi=1)
    assert images.shape == (3, 2, *SHAPE) and np.isfinite(images).all()
    assert np.abs(images[0] - images[1]).max() > 1e-3
    for one in maps:
        assert one.shape[-2:] == SHAPE
        np.testing.assert_allclose(one.sum(axis=1), 1, atol=1e-4)
    with tf.variable_scope("square"):
        square = generator(None, case)
    assert list(square.vars) == list(G.vars)
    different = {
        name.rpartition("/")[2].rstrip("0123456789")
        for name, v in G.vars.items()
        if v.shape.as_list() != square.vars[name].shape.as_list()
    }
    assert different <= {"noise", "const", "weight", "emb", "x_emb", "y_emb"}
    named = [n for n, v in G.vars.items() if v.shape != square.vars[n].shape and "weight" in n]
    assert named == (["G_synthesis/4x4/Dense/weight"] if case == "gansformer" else [])


def test_a_discriminator_reads_rectangles_and_has_no_start_if_it_is_not_asked(session):
    options = dict(transformer=True, components_num=2, ltnt2img=True, img2img=3, local_attention=2)
    D = discriminator(START, **options)
    assert D.input_shapes[0] == [None, 2, *SHAPE]
    images = np.random.RandomState(1).randn(4, 2, *SHAPE).astype(np.float32)
    scores = D.run(images, None)
    assert scores.shape == (4, 1) and np.isfinite(scores).all() and scores.std() > 1e-4
    assert D.vars["4x4/Dense0/weight"].shape.as_list()[0] == 6 * START[0] * START[1]
    square = discriminator((4, 4), **options)
    assert square.input_shapes[0] == [None, 2, 8, 8]


def test_a_snapshot_keeps_the_rectangle(session, tmp_path):
    G = generator(START, "stylegan2")
    tflib.save_networks(G, tmp_path / "G.pkl")
    again = tflib.load_networks(tmp_path / "G.pkl")
    z = np.random.RandomState(0).randn(2, *G.input_shapes[0][1:])
    options = dict(noise_mode="const", truncation_psi=1)
    np.testing.assert_array_equal(again.run(z, None, **options), G.run(z, None, **options))
    square = generator(None, "stylegan2")
    assert "start" not in square.static_kwargs
    assert "start" not in square.components.synthesis.static_kwargs


@pytest.mark.parametrize("directions", [2, 3])
def test_positions_are_as_far_apart_along_both_sides(session, directions):
    dim = 4 * directions
    wide, high, square = (
        session.run(GridEncodings(3, dim, directions=directions, start=start)[3])
        for start in ((3, 5), (5, 3), (5, 5))
    )
    wide, high, square = (
        x.reshape(*shape, dim)
        for x, shape in ((wide, (6, 10)), (high, (10, 6)), (square, (10, 10)))
    )
    # The middle of the square's grid: a rectangle is cut from it.
    np.testing.assert_allclose(wide, square[2:8], atol=1e-5)
    np.testing.assert_allclose(high, square[:, 2:8], atol=1e-5)


def test_windows_tile_a_rectangle(session):
    x = np.arange(6 * 10, dtype=np.float32).reshape(1, 60, 1)
    cells = _Cells(6, 10, 2)
    cut = session.run(cells.cut(tf.constant(x)))
    image = x.reshape(6, 10)
    assert cut.shape == (15, 4, 1) and cells.count == 15
    np.testing.assert_array_equal(cut[7, :, 0], image[2:4, 4:6].ravel())
    np.testing.assert_array_equal(session.run(cells.join(tf.constant(cut))), x)
    assert _Cells(6, 10, None).count == 1 and _Cells(6, 10, 8).count == 1


def test_assignments_grow_with_a_rectangle(session):
    spec = AttentionSpec(4, start=START)
    assert spec.sides(60) == (6, 10)

    class Weights:
        pass

    Weights.spec = spec
    shares = np.random.RandomState(0).rand(1, 1, 2, 15).astype(np.float32)
    grown = session.run(enlarge_assignments(tf.constant(shares), 60, Weights))
    want = shares.reshape(2, 3, 5).repeat(2, axis=1).repeat(2, axis=2) / 4
    np.testing.assert_allclose(grown.reshape(2, 6, 10), want, rtol=1e-6)
