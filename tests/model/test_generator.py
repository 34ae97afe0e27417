"""The generator around its sub-networks, at 8x8."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import StepRandom
from training.model.generator import mix_latents, truncate

N, K, Z, LAYERS = 4, 3, 6, 5
SMALL = dict(channel_base=24, channel_max=7)


def network(name="G", labels=0, mapping=None, synthesis=None, **options):
    defaults = dict(
        resolution=8,
        z_dim=Z,
        w_dim=Z,
        c_dim=labels,
        components_num=K,
        transformer=True,
        mapping=dict(mapping_num_layers=2, **(mapping or {})),
        synthesis=dict(SMALL, **(synthesis or {})),
    )
    options = dict(defaults, **options)
    net = tflib.Network(name, "generator", **options)
    rng = np.random.RandomState(1)
    for key, variable in net.vars.items():
        scale = 0.3 if "bias" in key or "strength" in key or "avg" in key else 1.0
        # Dense layers of the mapping are stored a hundred times larger.
        scale *= 100 if "mapping/" in key and "Dense" in key else 1
        tflib.set_vars({variable: scale * rng.randn(*variable.shape.as_list())})
    return net


def latents(num=K + 1, seed=0, count=N):
    return np.random.RandomState(seed).randn(count, num, Z).astype(np.float32)


def step(seed=0, offset=0, stride=1):
    return StepRandom(seed, tf.constant(100, tf.int64), N, offset, stride)


def test_interface(session):
    net = network()
    assert net.input_names == ["z", "c"]
    assert net.input_shapes == [[None, K + 1, Z], [None, 0]]
    assert net.output_names == ["images_out", "maps_out"]
    assert net.output_shapes == [[None, 3, 8, 8], [None, K, 3, 1, 8, 8]]
    images, maps, ws = net.run(latents(), None, return_ws=True)
    assert images.shape == (N, 3, 8, 8) and maps.shape == (N, K, 3, 1, 8, 8)
    assert ws.shape == (N, K + 1, LAYERS, Z)


def test_one_latent_may_come_without_its_axis(session):
    net = network(components_num=1, transformer=False)
    z, const = latents(1), dict(noise_mode="const")
    assert net.input_shapes[0] == [None, 1, Z] and net.output_names == ["images_out"]
    images = net.run(z, None, **const)
    z = tf.constant(z[:, 0])
    np.testing.assert_allclose(session.run(net.get_output_for(z, None, **const)), images, atol=1e-5)


def test_both_spellings_of_every_option(session):
    net = network()
    z = latents()
    const = dict(noise_mode="const")
    images, _, ws = net.run(z, None, return_ws=True, **const)
    assert np.all(images == net.run(z, None, randomize_noise=False, fused_modconv=False)[0])
    assert np.all(ws == net.run(z, None, return_dlatents=True, **const)[2])
    for name in ("take_ws", "take_dlatents"):
        again = net.run(ws, None, **{name: True}, **const)[0]
        np.testing.assert_allclose(again, images, atol=1e-5)
    with pytest.raises(TypeError, match=r"generator\(\) does not take 'truncation_phi'"):
        net.run(z, None, truncation_phi=0.5)
    with pytest.raises(TypeError, match=r"mapping\(\) does not take 'mapping_layersnum'"):
        network("G2", mapping=dict(mapping_layersnum=3))


def test_truncation_scales_about_the_average(session):
    net = network(truncation_psi=0.3)
    z, avg = latents(), net.get_var("dlatent_avg")
    full = net.run(z, None, truncation_psi=1, return_ws=True)[2]
    default = net.run(z, None, return_ws=True)[2]
    np.testing.assert_allclose(default, avg + (full - avg) * 0.3, atol=1e-5)
    cut = net.run(z, None, truncation_psi=0.5, truncation_cutoff=2, return_ws=True)[2]
    np.testing.assert_allclose(cut[:, :, 2:], full[:, :, 2:], atol=1e-6)
    np.testing.assert_allclose(cut[:, :, :2], (avg + (full - avg) * 0.5)[:, :, :2], atol=1e-5)
    assert np.all(net.run(z, None, is_validation=True, return_ws=True)[2] == full)
    half = net.run(z, None, is_validation=True, truncation_psi_val=0.5, return_ws=True)[2]
    np.testing.assert_allclose(half, avg + (full - avg) * 0.5, atol=1e-5)


def test_every_latent_may_have_an_average_of_its_own(session):
    net = network(w_avg_beta=0.9, average_by_component=True)
    z, before = latents(), net.get_var("dlatent_avg")
    full = net.run(z, None, truncation_psi=1, return_ws=True)[2]
    assert before.shape == (full.shape[1], full.shape[3])
    session.run(net.get_output_for(tf.constant(z), None, is_training=True)[0])
    avg = net.get_var("dlatent_avg")
    mean = full[:, :, 0].mean(axis=0)
    np.testing.assert_allclose(avg, mean + (before - mean) * 0.9, atol=1e-5)
    avg = avg[:, np.newaxis]
    ws = net.run(z, None, truncation_psi=0.25, return_ws=True)[2]
    np.testing.assert_allclose(ws, avg + (full - avg) * 0.25, atol=1e-5)


def test_truncation_takes_tensors(session):
    ws, avg = tf.ones([1, 2, 4, 3]), tf.zeros([3])
    got = session.run(truncate(ws, avg, tf.constant(0.25), tf.constant(3)))
    assert got[0, 0, :, 0].tolist() == [0.25, 0.25, 0.25, 1.0]


def test_training_moves_the_average_and_nothing_else(session):
    net = network(w_avg_beta=0.9)
    z, before = latents(), net.get_var("dlatent_avg")
    ws = net.run(z, None, truncation_psi=1, return_ws=True)[2]
    assert np.all(net.get_var("dlatent_avg") == before)
    images = net.get_output_for(tf.constant(z), None, is_training=True)[0]
    session.run(images)
    mean = ws[:, :, 0].mean(axis=(0, 1))
    want = mean + (before - mean) * 0.9
    np.testing.assert_allclose(net.get_var("dlatent_avg"), want, atol=1e-5)


def test_gradients_by_the_returned_ws_exist(session):
    """Path length regularisation needs them; the published code returns a copy beside the path."""
    net = network()
    images, _, ws = net.get_output_for(
        tf.constant(latents()), None, is_training=True, return_ws=True
    )
    slope = session.run(tf.gradients(tf.reduce_sum(tf.square(images)), ws)[0])
    assert np.abs(slope[:, :, 1:]).max() > 0


def test_a_step_is_a_function_of_its_place(session):
    """The same step twice is the same; half batches are halves of the whole."""
    net = network(component_mixing=0.5, component_dropout=0.3, attention_dropout=0.3)
    z = latents()

    def images(z, rng):
        return net.get_output_for(tf.constant(z), None, is_training=True, rng=rng)[0]

    whole, again, other = images(z, step()), images(z, step()), images(z, step(1))
    halves = [images(z[half::2], step(0, half, 2)) for half in range(2)]
    whole, again, other = (session.run(t) for t in (whole, again, other))
    assert np.all(whole == again) and np.abs(whole - other).max() > 1e-3
    for half, part in enumerate(session.run(halves)):
        np.testing.assert_allclose(part, whole[half::2], atol=2e-4 * np.abs(whole).max())


class FixedCuts:
    """A source of randomness that always mixes, at given places."""

    def __init__(self, **cuts):
        self.cuts = cuts

    def scalar_uniform(self, site):
        return tf.constant(0.0)

    def scalar_int(self, site, lo, hi):
        assert (lo, hi) == (1, {"style_mixing": 5, "component_mixing": 4}[site.split("/")[0]])
        return tf.constant(self.cuts[site.split("/")[0]])

    def normal(self, site, shape):
        return tf.zeros([2, *shape])


def test_mixing_replaces_what_comes_after_the_cut(session):
    def map_latents(z, name):
        return tf.fill([2, 4, 5, 3], {"style_mixing": 1.0, "component_mixing": 2.0}[name])

    rng = FixedCuts(style_mixing=3, component_mixing=1)
    ws = session.run(mix_latents(tf.zeros([2, 4, 5, 3]), map_latents, rng, [4, 6], 0.9, 0.5))
    assert ws[0, 0, :, 0].tolist() == [0, 0, 0, 1, 1]
    assert np.all(ws[:, 1:] == 2)
    never = mix_latents(tf.zeros([2, 4, 5, 3]), map_latents, rng, [4, 6], 0.0, 0.0)
    assert np.all(session.run(never) == 0)


def test_mixing_cuts_everywhere(session):
    """Over many steps every cut happens, about as often as it should."""
    cuts = []
    for nimg in range(60):
        rng = StepRandom(0, tf.constant(nimg, tf.int64), 2)
        ws = mix_latents(
            tf.zeros([2, 1, 5, 3]), lambda z, name: tf.ones([2, 1, 5, 3]), rng, [6], 0.9, 0.0
        )
        cuts.append(tf.reduce_sum(ws[0, 0, :, 0]))
    kept = 5 - np.asarray(session.run(cuts))
    assert set(kept) == {1, 2, 3, 4, 5}
    assert 1 <= np.sum(kept == 5) <= 15


def test_dropped_components_only_in_training(session):
    net = network(component_dropout=0.5, attention_dropout=0.0)
    z = latents()
    plain = network("H", attention_dropout=0.0)
    plain.copy_vars_from(net)
    const = dict(noise_mode="const")
    np.testing.assert_allclose(net.run(z, None, **const)[1], plain.run(z, None, **const)[1])
    maps = net.get_output_for(tf.constant(z), None, is_training=True, rng=step())[1]
    maps, drawn = session.run([maps, step().uniform("component_dropout", [K])])
    shown = drawn >= 0.5
    assert 0 < shown.sum() < shown.size
    some = shown.any(axis=1)  # where all are hidden there is no choice
    np.testing.assert_array_equal(maps[some].max(axis=(2, 3, 4, 5)) > 0, shown[some])


def test_labels_change_the_image(session):
    """Each label gives its own image; without labels, z alone does."""
    net = network(labels=3, mapping=dict(mapping_resnet=True))
    z, const = np.repeat(latents(count=1), 3, axis=0), dict(noise_mode="const")
    images = net.run(z, np.eye(3), **const)[0]
    unlabelled = net.run(z[:1], None, **const)[0]
    for a in range(3):
        assert np.abs(images[a] - unlabelled).max() > 1e-2
        for b in range(a):
            assert np.abs(images[a] - images[b]).max() > 1e-2


def test_sub_networks_run_on_their_own(session):
    net = network(use_pos=True, mapping=dict(mapping_resnet=True, mapping_ltnt2ltnt=True))
    z = latents()
    images, maps, ws = net.run(z, None, truncation_psi=1, noise_mode="const", return_ws=True)
    alone = net.components.mapping.run(z, None)
    np.testing.assert_allclose(alone, ws, atol=1e-5)
    again, maps_again = net.components.synthesis.run(ws, noise_mode="const")
    np.testing.assert_allclose(again, images, atol=1e-5)
    np.testing.assert_allclose(maps_again, maps, atol=1e-6)


def test_an_unknown_quirk_is_refused(session):
    with pytest.raises(ValueError, match="got 'zero_for_maps'; did you mean 'zeros_for_maps'"):
        network(quirks=["zero_for_maps"])
