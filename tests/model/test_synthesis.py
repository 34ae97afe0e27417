"""Options of the synthesis network, called as a plain function at 8x8."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib.tflib import StepRandom
from training.model.synthesis import synthesis

N, K, D = 2, 3, 6
LAYERS = 5  # at resolution 8

BASE = dict(resolution=8, channel_base=24, channel_max=7, w_dim=D, components_num=K)
ATTENTION = dict(transformer=True, use_pos=True)

CASES = {
    "stylegan2": dict(components_num=1),
    "resnet": dict(components_num=1, architecture="resnet"),
    "orig_latent_stem": dict(components_num=1, architecture="orig", latent_stem=True),
    "gan": dict(components_num=1, style=False, latent_stem=True),
    "sagan": dict(components_num=1, style=False, latent_stem=True, img2img=3),
    "tanh_swish": dict(components_num=1, tanh=True, nonlinearity="swish"),
    "simplex": dict(ATTENTION),
    "simplex_resnet_both": dict(
        ATTENTION, architecture="resnet", integration="both", norm="layer", ltnt_gate=True
    ),
    "simplex_instance_heads": dict(ATTENTION, norm="instance", integration="both", num_heads=1),
    "kmeans": dict(ATTENTION, kmeans=True, integration="mul", norm="layer", architecture="resnet"),
    "kmeans_no_style": dict(ATTENTION, kmeans=True, integration="mul", norm="layer", style=False),
    "kmeans_iterations": dict(ATTENTION, kmeans=True, kmeans_iters=2),
    "iterative": dict(ATTENTION, kmeans=True, iterative=True),
    "duplex": dict(ATTENTION, duplex=True, integration="mul", norm="layer"),
    "duplex_latents": dict(ATTENTION, duplex=True, ltnt2ltnt=True, integration="both"),
    "both_latent_steps": dict(ATTENTION, ltnt2ltnt=True, img2ltnt=True, img_gate=True),
    "img2img_local": dict(ATTENTION, img2img=3, local_attention=2, integration="mul"),
    "attention_swish": dict(ATTENTION, nonlinearity="swish", integration="mul"),
    "positions_trainable": dict(ATTENTION, pos_type="trainable", pos_init="normal"),
    "positions_linear": dict(ATTENTION, pos_type="linear", pos_directions_num=3),
    "start_end": dict(ATTENTION, start_res=3, end_res=4),
    "end_early": dict(ATTENTION, start_res=2, end_res=3),
    "kgan": dict(merge=True, merge_layer=2, merge_type="softmax"),
}
QUICK = ("simplex_resnet_both", "kmeans", "kgan")

# Variables that may have no gradient, by case: what the computation cannot depend on.
DEAD = {
    # Where a latent attends depends on the image alone, see attention.py.
    "kmeans": ("_key", "_to_pos"),
    "kmeans_no_style": ("_key", "_to_pos", "mod_"),
    "kmeans_iterations": ("_key", "_to_pos"),
    "iterative": ("_key", "_to_pos"),
    "gan": ("mod_",),
    "sagan": ("mod_",),
    # The grids below 4x4 exist, as in the published code, and are not used.
    "positions_trainable": ("pos_emb0", "pos_emb1"),
    "positions_linear": ("pos_emb0", "pos_emb1"),
}
# A softmax does not see what all its scores have in common; a last layer hands nothing on.
INVISIBLE = ("bias_key", "bias_query", "bias_from_pos", "bias_to_pos")
LAST = "8x8/Conv1/"


def slow_unless(names, quick):
    return [pytest.param(n, marks=[] if n in quick else [pytest.mark.slow]) for n in names]


def latents(num, seed=0):
    return np.random.RandomState(seed).randn(N, num, LAYERS, D).astype(np.float32)


def build(name, ws=None, reuse=False, **changes):
    """Returns (images, maps or None, ws)."""
    options = dict(BASE, **CASES[name])
    options.update(changes)
    num = options["components_num"] + (1 if options.get("transformer") else 0)
    ws = tf.constant(latents(num)) if ws is None else ws
    if options.get("use_pos") and "ltnt_pos" not in options:
        options["ltnt_pos"] = tf.constant(np.random.RandomState(5).randn(K, D), tf.float32)
    with tf.variable_scope("S", reuse=reuse):
        images, *maps = synthesis(ws, **options)
    return images, (maps[0] if maps else None), ws


def randomise(session, seed=1):
    """Moderate random values for all variables: nothing is zero, so no term can hide."""
    rng = np.random.RandomState(seed)
    for variable in tf.global_variables():
        value = rng.randn(*variable.shape.as_list())
        if "bias" in variable.name or "strength" in variable.name:
            value = 0.3 * value
        variable.load(np.asarray(value + ("st_weights" in variable.name), np.float32), session)


def step(seed=0):
    return StepRandom(seed, tf.constant(100, tf.int64), N)


@pytest.mark.parametrize("name", slow_unless(CASES, QUICK))
def test_second_derivatives_exist_everywhere(session, name):
    """Path length: the gradient of a gradient reaches every variable and is finite."""
    images, _, ws = build(name, rng=step(), attention_dropout=0.2)
    y = tf.constant(np.random.RandomState(2).randn(*images.shape.as_list()), tf.float32)
    slope = tf.gradients(tf.reduce_sum(images * y), ws)[0]
    lengths = tf.sqrt(tf.reduce_mean(tf.square(slope), axis=[1, 2, 3]))
    trained = {v.op.name[2:]: v for v in tf.trainable_variables()}
    # tanh of images, so that the loss is linear in nothing
    loss = tf.reduce_sum(tf.tanh(images) * y) + tf.reduce_sum(lengths)
    grads = dict(zip(trained, tf.gradients(loss, list(trained.values()))))
    randomise(session)
    missing = {n for n, g in grads.items() if g is None}
    values = session.run({n: g for n, g in grads.items() if g is not None})
    images, slope = session.run([images, slope])
    assert images.shape == (N, 3, 8, 8) and np.all(np.isfinite(images))
    assert np.all(np.isfinite(slope)) and np.abs(slope).max() > 0
    for variable, value in values.items():
        assert np.all(np.isfinite(value)), variable
    zero = missing | {n for n, value in values.items() if np.abs(value).max() < 1e-9}
    unexpected = {n for n in zero if not _may_be_dead(name, n)}
    assert not unexpected


def _may_be_dead(case, variable):
    last = LAST in variable and any(part in variable for part in ("l2l", "n2l", "update"))
    invisible = variable.rsplit("/", 1)[-1] in INVISIBLE
    return last or invisible or any(part in variable for part in DEAD.get(case, ()))


@pytest.mark.parametrize("name", ["simplex", "duplex", "both_latent_steps"])
def test_order_of_latents_does_not_matter(session, name):
    """Latents and encodings in another order: the same images, maps permuted."""
    order, pos = [2, 0, 1], np.random.RandomState(5).randn(K, D).astype(np.float32)
    ws = latents(K + 1)
    images, maps, _ = build(name, noise_mode="const")
    moved = tf.constant(np.concatenate([ws[:, order], ws[:, K:]], axis=1))
    other, other_maps, _ = build(
        name, moved, reuse=True, noise_mode="const", ltnt_pos=tf.constant(pos[order])
    )
    randomise(session)
    images, maps, other, other_maps = session.run([images, maps, other, other_maps])
    scale = np.abs(images).max()
    np.testing.assert_allclose(other / scale, images / scale, atol=1e-4)
    np.testing.assert_allclose(other_maps, maps[:, order], atol=1e-4)


@pytest.mark.parametrize("name", ["kmeans", "duplex_latents"])
def test_a_hidden_component_changes_nothing(session, name):
    mask = tf.constant([[1, 0, 1], [1, 1, 0]], tf.float32)
    images, maps, ws = build(name, noise_mode="const", component_mask=mask)
    slope = tf.gradients(tf.reduce_sum(tf.tanh(images)), ws)[0]
    randomise(session)
    maps, slope = session.run([maps, slope])
    assert maps[0, 1].max() == 0 and maps[1, 2].max() == 0
    assert np.abs(slope[0, 1]).max() == 0 and np.abs(slope[1, 2]).max() == 0
    assert np.abs(slope[0, 0]).max() > 0 and np.abs(slope[1, 1]).max() > 0


def test_maps_come_in_three_forms(session):
    options = dict(noise_mode="const", num_heads=1)
    _, maps, _ = build("simplex", **options)
    with tf.variable_scope("S", reuse=True):
        all_options = dict(BASE, **ATTENTION, ltnt_pos=tf.ones([K, D]), **options)
        ws = tf.constant(latents(K + 1))
        parts = synthesis(ws, maps="layers", **all_options)[1:]
        assert len(synthesis(ws, maps="none", **all_options)) == 1
    assert maps.shape.as_list() == [N, K, 3, 1, 8, 8]
    assert [part.shape.as_list() for part in parts] == [
        [N, K, 1, 4, 4],
        [N, K, 1, 8, 8],
        [N, K, 1, 8, 8],
    ]
    randomise(session)
    maps = session.run(maps)
    np.testing.assert_allclose(maps.sum(axis=1), 1, atol=1e-5)
    # Nearest neighbour: each 2x2 block of the 4x4 map is constant.
    coarse = maps[:, :, 0, 0].reshape(N, K, 4, 2, 4, 2)
    assert np.ptp(coarse, axis=(3, 5)).max() == 0


def test_noise_modes(session):
    case = dict(components_num=1)
    random = build("stylegan2", rng=step(3), **case)[0]
    again = build("stylegan2", reuse=True, rng=step(3), **case)[0]
    other = build("stylegan2", reuse=True, rng=step(4), **case)[0]
    free = build("stylegan2", reuse=True, **case)[0]
    const = build("stylegan2", reuse=True, noise_mode="const", **case)[0]
    none = build("stylegan2", reuse=True, noise_mode="none", **case)[0]
    randomise(session)
    images = session.run([random, again, other, const, none])
    assert np.all(images[0] == images[1])
    for a in range(1, 5):
        for b in range(a):
            assert (a, b) == (1, 0) or np.abs(images[a] - images[b]).max() > 1e-3
    assert np.abs(session.run(free) - session.run(free)).max() > 1e-3
    assert np.all(session.run(const) == session.run(const))


def test_half_batches_get_the_noise_and_dropout_of_the_whole(session):
    """Samples 0, 2, ... and 1, 3, ... on their own are those of the whole batch."""
    ws = latents(K + 1)
    nimg = tf.constant(7, tf.int64)
    options = dict(attention_dropout=0.3, use_pos=False)
    whole = build("simplex", tf.constant(ws), rng=StepRandom(1, nimg, N), **options)[0]
    halves = [
        build(
            "simplex",
            tf.constant(ws[half::2]),
            reuse=True,
            rng=StepRandom(1, nimg, N, half, 2),
            **options,
        )[0]
        for half in range(2)
    ]
    randomise(session)
    whole, halves = session.run([whole, halves])
    for half in range(2):
        np.testing.assert_allclose(halves[half], whole[half::2], rtol=1e-4, atol=1e-4)


def test_the_last_layers_latents_count_where_they_should(session):
    """Every index into ws but the stem's changes the image; with a latent stem that one too."""
    for name, unused in (("resnet", [0]), ("orig_latent_stem", [])):
        with tf.Graph().as_default(), tf.Session() as sess:
            images, _, ws = build(name, noise_mode="const")
            slope = tf.gradients(tf.reduce_sum(tf.square(images)), ws)[0]
            randomise(sess)
            used = np.abs(sess.run(slope)).max(axis=(0, 1, 3)) > 0
        assert [index for index in range(LAYERS) if not used[index]] == unused


@pytest.mark.parametrize(
    "options,match",
    [
        (dict(architecture="resent"), "architecture must .*'resent'; did you mean 'resnet'"),
        (dict(norm="group"), "norm must be one of None, instance, layer, batch, got 'group'"),
        (dict(resolution=12), "resolution=12 is not a power of two"),
        (dict(merge=True, transformer=True), "exclude each other"),
        (dict(ATTENTION, duplex=True, img2ltnt=True), "leave out --g-img2ltnt"),
        (dict(merge=True, merge_layer=5), r"--merge-layer=5 must be -1, .* from 2 to 3"),
        (dict(merge=True, merge_type="leafs"), "did you mean 'leaves'"),
        (dict(maps="all"), "maps must be one of"),
        (dict(pos_type="sine"), "pos_type must .*'sine'"),
    ],
)
def test_contradictions_are_refused(session, options, match):
    with pytest.raises(ValueError, match=match):
        synthesis(tf.placeholder(tf.float32), **dict(BASE, **options))
