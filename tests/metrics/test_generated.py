"""Generated images to be measured: exact counts, the same ones for a seed."""

import numpy as np
import pytest
import tiny_painter
from stand_ins import make_dataset, random_images

from dnnlib import tflib
from dnnlib.errors import UserError
from metrics.generated import GeneratedImages
from metrics.image_sources import DatasetImages
from metrics.perceptual_path_length import path_ends


@pytest.fixture
def painter(session):
    net = tiny_painter.painter_network()
    net.reset_vars()
    return net


def all_images(generated, num):
    return np.concatenate(list(generated.batches(num)))


@pytest.mark.parametrize("num", [1, 4, 9])
def test_exact_number_of_images(painter, num):
    images = all_images(GeneratedImages(painter, batch_size=4), num)
    assert images.shape == (num, 3, 8, 8) and images.dtype == np.uint8


def test_a_seed_gives_the_same_images_always(painter):
    images = all_images(GeneratedImages(painter, seed=3, batch_size=4), 9)
    np.testing.assert_array_equal(
        images, all_images(GeneratedImages(painter, seed=3, batch_size=4), 9)
    )
    np.testing.assert_array_equal(
        images[:6], all_images(GeneratedImages(painter, seed=3, batch_size=4), 6)
    )
    other = all_images(GeneratedImages(painter, seed=4, batch_size=4), 9)
    assert (images != other).any(axis=(1, 2, 3)).all()
    assert len({image.tobytes() for image in images}) == 9


def test_latents_do_not_depend_on_the_batch_size(painter):
    def latents(batch_size):
        return np.concatenate([z for z, _ in GeneratedImages(painter, 0, batch_size).draw(9)])

    np.testing.assert_array_equal(latents(4), latents(9))
    assert latents(2).shape == (9, tiny_painter.K + 1, tiny_painter.Z)
    many = np.concatenate([z for z, _ in GeneratedImages(painter, 0, 100).draw(2000)])
    assert abs(many.mean()) < 0.02 and abs(many.std() - 1) < 0.02


def test_streams_are_independent_and_named(painter):
    generated = GeneratedImages(painter, 0, 5)
    (z, _), (z_again, _) = next(generated.draw(5)), next(generated.stream("images").draw(5))
    (other, _) = next(generated.stream("ppl").draw(5))
    a, b, _ = next(generated.draw_pairs(5))
    np.testing.assert_array_equal(z, z_again)
    assert (z != other).all() and (a != b).all()


def test_images_are_those_of_the_network_without_truncation(session):
    net = tflib.Network(
        "G", "generator", resolution=8, components_num=2, z_dim=4, w_dim=4, transformer=True,
        truncation_psi=0.5, synthesis=dict(channel_base=64),
    )  # fmt: skip
    net.reset_vars()
    net.set_var("dlatent_avg", np.ones(4))
    generated = GeneratedImages(net, batch_size=3)
    generated_images = all_images(generated, 3)
    ((z, labels),) = generated.draw(3)
    convert = dict(func=tflib.convert_images_to_uint8)
    plain = net.run(z, labels, is_validation=True, output_transform=convert, return_as_list=True)
    np.testing.assert_allclose(
        generated_images, plain[0], atol=1
    )  # noise is random, its strength 0
    truncated = net.run(z, labels, output_transform=convert, return_as_list=True)
    assert np.abs(generated_images.astype(int) - truncated[0]).max() > 1


def test_noise_is_random_and_belongs_to_the_place(painter):
    generated = GeneratedImages(painter, batch_size=4)
    ws = np.zeros([4, tiny_painter.K + 1, tiny_painter.L, tiny_painter.D])
    images = generated.images_of_ws(ws, 0)
    assert len({image.tobytes() for image in images}) == 4
    np.testing.assert_array_equal(images, generated.images_of_ws(ws, 0))
    assert (images != generated.images_of_ws(ws, 4)).any()


@pytest.mark.parametrize("space", ["z", "w"])
def test_both_ends_of_a_pair_have_the_same_noise(painter, space):
    generated = GeneratedImages(painter, batch_size=4)
    draws = next(generated.draw_pairs(3))
    a, b = path_ends(draws, generated, space, True, np.random.RandomState(0))
    is_ws = space == "w"
    images = generated.image_pairs(a, a, draws[2], is_ws, 0)
    np.testing.assert_array_equal(*images)
    near, far = (generated.image_pairs(a, x, draws[2], is_ws, 0) for x in (b, -a))
    assert 0 < np.abs(near[0] - near[1]).max() < 0.01 < np.abs(far[0] - far[1]).max()
    assert images[0].shape == (3, 3, 8, 8)


def test_labels_are_those_of_the_training_set(session, tmp_path):
    labels = np.zeros([10, tiny_painter.CLASSES], "f4")
    labels[:, 2], labels[7:, 2], labels[7:, 5] = 1, 0, 1
    dataset = make_dataset(tmp_path / "set", random_images(10, 8), labels)
    net = tiny_painter.painter_network(c_dim=tiny_painter.CLASSES)
    net.reset_vars()
    generated = GeneratedImages(net, 0, 16, DatasetImages(dataset))
    drawn = np.concatenate([c for _, c in generated.draw(500)])
    np.testing.assert_array_equal(np.unique(drawn.argmax(axis=1)), [2, 5])
    assert drawn[:, 2].mean() == pytest.approx(0.7, abs=0.07)
    free = np.concatenate([c for _, c in GeneratedImages(net, 0, 16).draw(500)])
    assert set(free.argmax(axis=1)) == set(range(tiny_painter.CLASSES))
    assert all_images(generated, 3).shape == (3, 3, 8, 8)


@pytest.mark.parametrize("classes, found", [(0, "no labels"), (4, "4 classes")])
def test_labels_of_another_kind_are_refused(session, tmp_path, classes, found):
    labels = np.eye(classes, dtype="f4")[np.arange(8) % classes] if classes else None
    dataset = make_dataset(tmp_path / "set", random_images(8, 8), labels)
    net = tiny_painter.painter_network(c_dim=tiny_painter.CLASSES)
    with pytest.raises(UserError, match=f"--dataset=set has {found}, .* trained with 7 classes"):
        GeneratedImages(net, 0, 16, DatasetImages(dataset))


def test_images_are_cut_to_the_ratio(painter):
    whole = all_images(GeneratedImages(painter, 0, 4), 4)
    cut = all_images(GeneratedImages(painter, 0, 4, ratio=0.5), 4)
    np.testing.assert_array_equal(cut, whole[:, :, 2:6])
    generated = GeneratedImages(painter, 0, 4, ratio=0.5)
    ws = generated.ws(*next(generated.draw(4)))
    assert generated.images_of_ws(ws, 0).shape == (4, 3, 4, 8)
    assert generated.image_pairs(ws, ws, None, True, 0)[1].shape == (4, 3, 4, 8)
