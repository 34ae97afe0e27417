import numpy as np
import pytest
from tiny_painter import CLASSES, SIZE, D, K, L, Z, painter_network, shared_session

from dnnlib import tflib
from dnnlib.errors import UserError
from vis.attention_maps import join_maps
from vis.latents import draw_z
from vis.sampler import Sampler, load_sampler

SEEDS = [5, 0, 7, 2, 9]


@pytest.fixture(scope="module", autouse=True)
def sampler():
    with shared_session():
        yield Sampler(painter_network(), batch_size=2)


def test_facts_come_from_the_network(sampler):
    assert sampler.z_shape == [K + 1, Z] and sampler.ws_shape == [K + 1, L, D]
    assert sampler.image_shape == [3, SIZE, SIZE]
    assert sampler.num_classes == 0 and sampler.has_attention


def test_images_are_those_of_the_network(sampler):
    z = draw_z(SEEDS, sampler.z_shape)
    want = sampler.Gs.components.synthesis.run(
        sampler.map(z, sampler.labels(SEEDS)), noise_mode="const", maps="none"
    )
    got = sampler.images(sampler.ws_of_seeds(SEEDS))
    assert got.shape == (5, 3, SIZE, SIZE)
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
def test_a_seed_gives_the_same_image_in_any_company(sampler, noise_mode):
    def images(seeds, batch_size):
        sampler.batch_size = batch_size
        return sampler.images(sampler.ws_of_seeds(seeds, 0.7), noise_mode, seeds)

    together, reversed_ = images(SEEDS, 3), images(SEEDS[::-1], 4)
    np.testing.assert_array_equal(reversed_[::-1], together)  # bit by bit
    np.testing.assert_array_equal(images([7], 1)[0], together[2])


@pytest.mark.parametrize("noise_mode", ["const", "random"])
def test_a_gpu_gets_batches_and_makes_the_same_images(sampler, monkeypatch, noise_mode):
    monkeypatch.setattr(tflib.compat, "local_gpu_names", lambda: ["/gpu:0"])
    batched = Sampler(sampler.Gs, batch_size=3)
    ws = batched.ws_of_seeds(SEEDS)
    np.testing.assert_allclose(ws, sampler.ws_of_seeds(SEEDS), atol=1e-6)
    want = sampler.images(ws, noise_mode, SEEDS)
    np.testing.assert_allclose(batched.images(ws, noise_mode, SEEDS), want, atol=1e-5)
    maps, want = batched.images_and_maps(ws)[1], sampler.images_and_maps(ws)[1]
    for layer, expected in zip(maps, want):
        np.testing.assert_allclose(layer, expected, atol=1e-5)


def test_noise_modes_differ(sampler):
    ws = sampler.ws_of_seeds([1, 1])
    const, none = sampler.images(ws), sampler.images(ws, "none")
    noise = sampler.images(ws, "random", [3, 4]) - none
    np.testing.assert_allclose(
        const - none, np.tile(sampler.Gs.get_var("G_synthesis/noise0"), [2, 3, 1, 1]), atol=1e-6
    )
    assert np.abs(noise[0] - noise[1]).mean() > 0.5  # every seed its own
    np.testing.assert_allclose(noise[:, 0], noise[:, 1], atol=1e-6)  # one value for all channels
    many = sampler.images(np.repeat(ws[:1], 64, axis=0), "random") - none[0]
    assert abs(many.mean()) < 0.05 and abs(many.std() - 1) < 0.05


def test_truncation_uses_the_networks_average_and_cutoff():
    sampler = Sampler(painter_network(truncation_cutoff=1))
    average = sampler.Gs.get_var("dlatent_avg")
    full, ws = sampler.ws_of_seeds(SEEDS), sampler.ws_of_seeds(SEEDS, psi=0)
    np.testing.assert_allclose(ws[:, :, 0], np.broadcast_to(average, [5, K + 1, D]), atol=1e-6)
    np.testing.assert_array_equal(ws[:, :, 1:], full[:, :, 1:])


def test_maps_come_layer_by_layer_and_sum_to_one(sampler):
    images, maps = sampler.images_and_maps(sampler.ws_of_seeds(SEEDS))
    np.testing.assert_allclose(images, sampler.images(sampler.ws_of_seeds(SEEDS)), atol=1e-6)
    assert [m.shape for m in maps] == [(5, K, 1, 4, 4), (5, K, 1, SIZE, SIZE)]
    for layer in maps:
        np.testing.assert_allclose(layer.sum(axis=1), 1, atol=1e-5)


def test_a_network_without_attention_says_so():
    sampler = Sampler(painter_network(attention=False))
    assert not sampler.has_attention
    assert sampler.images(sampler.ws_of_seeds(SEEDS)).shape == (5, 3, SIZE, SIZE)
    with pytest.raises(UserError, match="no attention"):
        sampler.images_and_maps(sampler.ws_of_seeds(SEEDS))


def test_no_latents_give_no_images(sampler):
    ws = np.zeros([0, *sampler.ws_shape], np.float32)
    assert sampler.images(ws).shape == (0, 3, SIZE, SIZE)


def test_classes_change_the_image():
    Gs = painter_network(c_dim=CLASSES)
    fixed, in_turn = Sampler(Gs, class_idx=2), Sampler(Gs)
    np.testing.assert_array_equal(fixed.labels([5, 8]), [[0, 0, 1, 0, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(in_turn.labels([1, 9]).argmax(axis=1), [1, 2])
    a, b = fixed.ws_of_seeds([8, 9]), in_turn.ws_of_seeds([8, 9])
    assert np.abs(a[0] - b[0]).max() > 0.01  # class 2 and class 1
    np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("class_idx", [-1, CLASSES])
def test_a_class_that_is_not_there(class_idx):
    with pytest.raises(UserError, match=f"--class={class_idx}: this model has the classes 0 to 6"):
        Sampler(painter_network(c_dim=CLASSES), class_idx=class_idx)


def test_a_class_for_a_model_without_classes_is_an_error(sampler):
    assert sampler.class_of(3) is None and sampler.labels([3, 4]).shape == (2, 0)
    with pytest.raises(UserError, match="--class=0: this model has no classes"):
        Sampler(sampler.Gs, class_idx=0)


PUBLISHED = ["head__01_gansformer_clevr_r32", "legacy__03_stylegan2_r32", "stylegan2__config_f_r32"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_snapshots_give_the_recorded_images(session, data_dir, name):
    folder = data_dir / "conformance" / "networks"
    with np.load(str(folder / f"{name}.npz")) as data:
        sampler = load_sampler(folder / f"{name}.pkl", batch_size=3)
        full = sampler.map(data["z"], data["labels"])
        for psi in (0.7, 1):
            images = sampler.images(sampler.truncate(full, psi))
            want = data[f"Gs_psi{psi}_images".replace("0.7", "07")]
            np.testing.assert_allclose(images, want, atol=1e-4)
        assert sampler.has_attention == ("Gs_psi1_maps" in data)
        if sampler.has_attention:
            maps = sampler.images_and_maps(full[:2])[1]
            last = join_maps(maps, 32, 32, layer=-1, head=0)
            np.testing.assert_allclose(last, data["Gs_psi1_maps"][:, :, -1, 0], atol=1e-4)


@pytest.mark.parametrize("side", [32, 64])
def test_the_models_that_come_with_the_code(sampler, root, side):
    """They draw grey ground with other things on it for other seeds; 6 pictures."""
    model = load_sampler(root / "models" / f"scenes{side}.pkl", batch_size=4)
    pictures = model.pictures(model.images(model.ws_of_seeds(range(6)))).astype(float)
    assert pictures.shape == (6, side, side, 3) and model.has_attention
    corner = pictures[:, :4, :4].mean(axis=(1, 2))
    assert np.all(np.abs(corner - corner.mean(axis=1, keepdims=True)) < 25)  # about grey
    assert pictures.std(axis=0).mean() > 10
