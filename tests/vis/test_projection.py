"""The search for the latents of a picture: its parts in closed form, and that it finds them."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tiny_painter import SIZE, painter_network, shared_session

from dnnlib import tflib
from dnnlib.errors import UserError
from metrics.graph_network import GraphNetwork
from vis.noise_maps import batches
from vis.projection import (
    SMALLEST,
    SPACES,
    Adam,
    ProjectionOptions,
    Projector,
    _as_lpips_sees,
    learning_rate_at,
    noise_penalty,
    w_noise_at,
)
from vis.sampler import Sampler

K, Z = 3, 6
QUICK = dict(w_samples=20, seed=3)


def gansformer(**synthesis):
    """A GANsformer for 8x8 pixels with visible noise; not trained."""
    net = tflib.Network(
        "Gs",
        "generator",
        resolution=8,
        z_dim=Z,
        w_dim=Z,
        components_num=K,
        transformer=True,
        mapping=dict(mapping_num_layers=2),
        synthesis=dict(channel_base=24, channel_max=7, **synthesis),
    )
    rng = np.random.RandomState(1)
    strong = [v for name, v in net.vars.items() if "noise_strength" in name]
    tflib.set_vars(dict.fromkeys(strong, 0.1))
    biases = {v: 0.3 * rng.randn(*v.shape.as_list()) for n, v in net.vars.items() if "bias" in n}
    tflib.set_vars(biases)
    return net


def stylegan2():
    return tflib.Network(
        "Gs",
        "stylegan2_generator",
        resolution=8,
        z_dim=Z,
        w_dim=Z,
        mapping=dict(mapping_num_layers=2),
        synthesis=dict(channel_base=24, channel_max=7),
    )


@pytest.fixture(scope="module", autouse=True)
def graph():
    with shared_session():
        yield


@pytest.fixture(scope="module")
def sampler(graph):
    return Sampler(gansformer())


@pytest.fixture(scope="module")
def target(sampler):
    """[C, H, W] that the network can make."""
    return sampler.images(sampler.ws_of_seeds([1234]))[0]


@pytest.fixture(scope="module")
def projector(sampler):
    return Projector(sampler, ProjectionOptions(steps=80, **QUICK))


def test_an_image_of_the_network_is_found_again(sampler, projector, target):
    seen = []
    ws, noise = projector.search(target, lambda *args: seen.append(args))
    steps, distances, images = zip(*seen)
    assert steps == tuple(range(81)) and np.isfinite(distances).all()
    assert distances[-1] < distances[0] / 10
    assert ws.shape == (1, *sampler.ws_shape) and ws.dtype == np.float32 and not noise
    np.testing.assert_array_equal(
        ws, np.broadcast_to(ws[:, :, :1], ws.shape)
    )  # one w per component
    found = sampler.images(ws)[0]
    np.testing.assert_allclose(found, images[-1], atol=1e-5)
    # The last distance is that of what was found, by the definition.
    scales = [found - target]
    while scales[-1].shape[1] > SMALLEST:
        num, size, _ = scales[-1].shape
        scales.append(scales[-1].reshape(num, size // 2, 2, size // 2, 2).mean(axis=(2, 4)))
    want = np.mean([np.square(scale).mean() for scale in scales])
    np.testing.assert_allclose(distances[-1], want, rtol=1e-3)


def test_every_component_is_searched_on_its_own(sampler, projector, target):
    ws, _ = projector.search(target)
    moved = np.abs(ws - projector.to_ws(projector._mean)).max(axis=(0, 2, 3))
    assert moved.shape == (K + 1,) and (moved > 1e-3).all()
    assert np.abs(np.diff(ws[0, :, 0], axis=0)).max(axis=1).min() > 1e-3


def test_the_search_can_be_repeated(projector, target):
    np.testing.assert_array_equal(projector.search(target)[0], projector.search(target)[0])


def test_w_plus_comes_closer_to_what_the_network_does_not_know(sampler):
    target = np.random.RandomState(0).uniform(-1, 1, sampler.image_shape).astype(np.float32)
    last = {}
    for space in SPACES:
        options = ProjectionOptions(steps=60, space=space, **QUICK)
        ws, _ = Projector(sampler, options).search(
            target, lambda _, distance, __, space=space: last.update({space: distance})
        )
        assert ws.shape == (1, *sampler.ws_shape)
    assert last["w+"] < last["w"]
    assert np.abs(np.diff(ws, axis=2)).max() > 1e-3  # layers differ


def test_noise_maps_are_found_and_draw_the_same_image(sampler, target):
    options = ProjectionOptions(steps=80, optimize_noise=True, **QUICK)
    projector = Projector(sampler, options)
    seen = []
    ws, noise = projector.search(target, lambda *args: seen.append(args))
    assert seen[-1][1] < seen[0][1] / 5
    assert len(noise) == 3  # one at 4x4, two at 8x8
    for maps in noise.values():
        assert abs(maps.mean()) < 1e-5 and abs(maps.std() - 1) < 1e-4
    ((images, maps),) = batches(sampler, ws, noise, with_maps=True)
    np.testing.assert_allclose(images[0], seen[-1][2], atol=1e-5)
    assert len(maps) == sampler.num_layers
    assert np.abs(sampler.images(ws) - images).max() > 1e-3  # with the network's own noise


def test_noise_of_another_network_is_refused(sampler):
    ws = sampler.ws_of_seeds([0])
    elsewhere = {"elsewhere": np.zeros([1, 1, 8, 8, 1], "f4")}
    with pytest.raises(UserError, match=r"^a\.npz: .*those of another network.*--noise-mode none"):
        batches(sampler, ws, elsewhere, source="a.npz")


def test_a_network_without_noise_takes_none(graph):
    sampler = Sampler(gansformer(local_noise=False))
    ws = sampler.ws_of_seeds([0])
    noise = {"8x8/noise": np.zeros([1, 8, 8, 1], "f4")}
    with pytest.raises(UserError, match=r"a\.npz: holds noise maps for 8x8/noise.*has no noise"):
        batches(sampler, ws, noise, source="a.npz")
    options = ProjectionOptions(steps=1, optimize_noise=True, **QUICK)
    with pytest.raises(UserError, match="--optimize-noise: this model has no noise"):
        Projector(sampler, options)


def test_a_network_with_a_single_latent(graph):
    sampler = Sampler(stylegan2())
    assert len(sampler.ws_shape) == 2
    target = sampler.images(sampler.ws_of_seeds([7]))[0]
    seen = []
    projector = Projector(sampler, ProjectionOptions(steps=80, **QUICK))
    ws, _ = projector.search(target, lambda *args: seen.append(args))
    assert ws.shape == (1, *sampler.ws_shape) and seen[-1][1] < seen[0][1] / 5


def colour_distance(a, b):
    return tf.reduce_mean(tf.square(a - b) / 127.5**2, axis=[1, 2, 3])


@pytest.fixture(scope="module")
def lpips():
    network = GraphNetwork("colours", "1", build_function=colour_distance, num_inputs=2)
    yield network
    network.close()


def test_the_gradient_of_a_feature_network(lpips):
    a, b = np.random.RandomState(0).uniform(0, 255, [2, 2, 3, 4, 4]).astype(np.float32)
    values, gradient = lpips.value_and_gradient(a, b)
    np.testing.assert_allclose(values, np.square(a - b).mean(axis=(1, 2, 3)) / 127.5**2, rtol=1e-5)
    np.testing.assert_allclose(gradient, 2 * (a - b) / 127.5**2 / 48, rtol=1e-4, atol=1e-9)


def test_lpips_leads_the_search(lpips):
    sampler = Sampler(painter_network())
    projector = Projector(sampler, ProjectionOptions(steps=60, **QUICK), lpips)
    target = sampler.images(sampler.ws_of_seeds([1234]))[0]
    seen = []
    projector.search(target, lambda *args: seen.append(args))
    assert seen[-1][1] < seen[0][1] / 10
    want = np.square(seen[-1][2] - target).mean()  # what the stand-in for LPIPS measures
    np.testing.assert_allclose(seen[-1][1], want, rtol=1e-3)


def test_lpips_sees_colours_of_at_most_256_pixels(graph):
    picture = np.random.RandomState(0).uniform(-1, 1, [1, 512, 512, 1]).astype(np.float32)
    seen = tflib.run(_as_lpips_sees(tf.constant(picture)))
    want = picture.reshape(256, 2, 256, 2).mean(axis=(1, 3)) * 127.5 + 127.5
    assert seen.shape == (1, 3, 256, 256)
    for channel in seen[0]:
        np.testing.assert_allclose(channel, want, atol=1e-3)


def test_the_noise_penalty_by_its_formula(graph):
    noise = np.random.RandomState(5).randn(2, 32, 32, 1).astype(np.float32)
    want, maps = 0.0, noise[..., 0].astype(np.float64)
    while True:
        for axis in (1, 2):
            want += np.square((maps * np.roll(maps, 1, axis)).mean(axis=(1, 2))).sum()
        size = maps.shape[1] // 2
        if size < 8:
            break
        maps = 2 * maps.reshape(2, size, 2, size, 2).mean(axis=(2, 4))
    found = tflib.run(noise_penalty(tf.constant(noise)))
    np.testing.assert_allclose(found, want, rtol=1e-3)
    stripes = np.sign(np.sin(np.arange(32)))[:, None, None] * np.ones([2, 32, 32, 1], "f4")
    assert tflib.run(noise_penalty(tf.constant(stripes.astype("f4")))) > 50 * found


def test_the_schedules():
    options = ProjectionOptions()
    rates = [learning_rate_at(place, options) for place in (0, 0.025, 0.05, 0.5, 0.75, 0.875, 1)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.1, 0.1, 0.05, 0], atol=1e-12)
    noises = [w_noise_at(place, options) for place in (0, 0.375, 0.75, 0.9)]
    np.testing.assert_allclose(noises, [0.05, 0.0125, 0, 0], atol=1e-12)


def test_adam_by_its_formula():
    x = {"a": np.array([1.0, 2.0], np.float32)}
    adam = Adam(x)
    adam.update({"a": np.array([0.5, -2.0])}, 0.1)
    np.testing.assert_allclose(x["a"], [0.9, 2.1], rtol=1e-6)  # the first step has unit length
    adam.update({"a": np.array([0.5, 1.0])}, 0.1)
    mean = (0.9 * 0.1 * -2 + 0.1 * 1) / (1 - 0.81)
    square = (0.999 * 0.001 * 4 + 0.001 * 1) / (1 - 0.999**2)
    np.testing.assert_allclose(x["a"], [0.8, 2.1 - 0.1 * mean / np.sqrt(square)], rtol=1e-5)


def test_the_painter_has_noise_too(graph):
    projector = Projector(
        Sampler(painter_network()), ProjectionOptions(optimize_noise=True, **QUICK)
    )
    assert [x.shape.as_list() for x in projector._noise.values()] == [[None, SIZE, SIZE, 1]]
