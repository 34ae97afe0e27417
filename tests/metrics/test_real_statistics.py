"""The cache of what is known about real images: nothing stale, nothing half-written."""

import errno

import numpy as np
import pytest
from stand_ins import ColourNetwork, make_dataset, random_images

from dnnlib.errors import UserError
from metrics.cache import ArrayCache
from metrics.context import Reals
from metrics.frechet_inception_distance import mean_and_cov
from metrics.image_sources import DatasetImages, FolderImages
from training.dataset import Dataset
from vis.pictures import save_picture

KEY = {"what": "moments", "num": 5, "contents": "abc", "mirror": False}


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "cache")


def test_arrays_come_back_exactly(cache):
    assert cache.load(KEY) is None
    arrays = {"mean": np.arange(3.0), "cov": np.eye(3, dtype="f4")}
    cache.save(KEY, arrays)
    found = cache.load(dict(reversed(list(KEY.items()))))  # the order of a key does not matter
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("change", [{"num": 6}, {"mirror": True}, {"contents": ""}, {"more": 1}])
def test_another_key_has_other_arrays(cache, change):
    cache.save(KEY, {"x": np.zeros(2)})
    assert cache.load({**KEY, **change}) is None


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "bit", "moved", "other keys"])
def test_damaged_files_are_ignored_with_a_line(cache, capsys, damage):
    cache.save(KEY, {"x": np.arange(1000.0)})
    path = cache.path(KEY)
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
    other = cache.path({**KEY, "num": 7})
    if damage == "moved":
        cache.save({**KEY, "num": 7}, {"x": np.zeros(3)})
        data = other.read_bytes()
    if damage == "other keys":
        np.savez(str(other), x=np.zeros(3))
        data = other.read_bytes()
    contents = {"cut": data[: len(data) * 2 // 3], "garbage": b"\x00" * 500, "empty": b""}
    path.write_bytes(contents.get(damage, data))
    assert cache.load(KEY) is None
    assert "computing it again" in capsys.readouterr().out
    cache.save(KEY, {"x": np.ones(1)})
    np.testing.assert_array_equal(cache.load(KEY)["x"], [1])


def test_a_file_in_the_making_is_not_looked_at(cache, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cache.save(KEY, {"x": np.zeros(2)})
    assert cache.load(KEY) is None and list(cache.folder.glob("*.npz")) == []


def test_a_full_disk_costs_time_only(cache, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    cache.save(KEY, {"x": np.zeros(2)})
    assert "Not kept for the next time" in capsys.readouterr().out


# Keys of real statistics

IMAGES = random_images(12)


def reals_of(cache, folder, ratio=None, **options):
    return Reals(DatasetImages(Dataset(folder, **options), ratio), cache, batch_size=5)


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "set", IMAGES).close()
    return tmp_path / "set"


def runs_network(cache, folder, what="moments", num=10, network=None, head="pool", **options):
    """Whether asking for a statistic has the images computed anew."""
    network = network or ColourNetwork()
    reals = reals_of(cache, folder, **options)
    getattr(reals, what)(network, head, num)
    assert network.num_images in (0, num)
    return network.num_images > 0


def test_statistics_are_those_of_the_images(cache, folder):
    reals, network = reals_of(cache, folder), ColourNetwork()
    features = reals.features(network, "pool", None)
    expected = network.extract(IMAGES, ["pool"])["pool"]
    np.testing.assert_allclose(np.sort(features, axis=0), np.sort(expected, axis=0), rtol=1e-6)
    mean, cov = reals.moments(network, "pool", None)
    np.testing.assert_allclose(mean, mean_and_cov(expected)[0], rtol=1e-6)
    np.testing.assert_allclose(cov, mean_and_cov(expected)[1], rtol=1e-5, atol=1e-9)


def test_the_second_time_nothing_is_computed(cache, folder):
    assert runs_network(cache, folder)
    assert not runs_network(cache, folder)
    assert runs_network(cache, folder, "features")
    assert not runs_network(cache, folder, "features")


@pytest.mark.parametrize(
    "change",
    [
        dict(num=9),
        dict(what="features"),
        dict(head="probs"),
        dict(network=ColourNetwork("colours-2")),
        dict(mirror=True),
        dict(ratio=0.75),
        dict(max_images=11),
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_ingredient_means_another_computation(cache, folder, change):
    assert runs_network(cache, folder)
    assert runs_network(cache, folder, **change)
    assert not runs_network(cache, folder)  # the first one is still there


def test_other_contents_under_the_same_name_are_noticed(cache, tmp_path, folder):
    assert runs_network(cache, folder)
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    (tmp_path / "elsewhere").mkdir()
    make_dataset(tmp_path / "elsewhere" / "set", changed).close()
    for file in folder.iterdir():
        file.write_bytes((tmp_path / "elsewhere" / "set" / file.name).read_bytes())
    assert runs_network(cache, folder)


def test_another_resolution_is_noticed(cache, tmp_path):
    make_dataset(tmp_path / "set", IMAGES).close()
    half = tmp_path / "half"
    make_dataset(half, IMAGES[:, :, ::2, ::2]).close()
    for file in half.iterdir():
        (tmp_path / "set" / file.name).write_bytes(file.read_bytes())
    assert runs_network(cache, tmp_path / "set", resolution=16)
    assert runs_network(cache, tmp_path / "set", resolution=8)


def test_the_same_images_elsewhere_need_no_computation(cache, tmp_path, folder):
    assert runs_network(cache, folder)
    make_dataset(tmp_path / "copy", IMAGES).close()
    assert not runs_network(cache, tmp_path / "copy")
    assert not runs_network(cache, folder, seed=7)  # the training's seed does not matter


def test_moments_share_the_features_that_another_metric_needs(cache, folder):
    reals, network = reals_of(cache, folder), ColourNetwork()
    reals.want(network, "pool", 10)
    reals.moments(network, "pool", 10)
    reals.features(network, "pool", 10)
    assert network.num_images == 10


# Images


def test_a_dataset_gives_every_image_once(folder):
    images = DatasetImages(Dataset(folder, seed=5))
    for batch_size in (1, 5, 12, 50):
        found = np.concatenate(list(images.batches(12, batch_size)))
        assert sorted(x.tobytes() for x in found) == sorted(x.tobytes() for x in IMAGES)
    first = np.concatenate(list(images.batches(7, 3)))
    np.testing.assert_array_equal(first, found[:7])


def test_mirrored_images_are_the_same_every_time(folder):
    images = DatasetImages(Dataset(folder, mirror=True))
    found = np.concatenate(list(images.batches(12, 5)))
    again = np.concatenate(list(images.batches(12, 4)))
    np.testing.assert_array_equal(found, again)
    plain = {x.tobytes() for x in IMAGES}
    assert 0 < sum(x.tobytes() in plain for x in found) < 12


def test_images_are_cut_to_the_ratio(folder):
    images = DatasetImages(Dataset(folder), ratio=0.75)
    (batch,) = images.batches(3, 3)
    assert batch.shape == (3, 3, 12, 16)
    whole = {x[:, 2:14].tobytes() for x in IMAGES}
    assert {x.tobytes() for x in batch} <= whole


def save_folder(folder, images):
    (folder / "sub").mkdir(parents=True)
    for i, image in enumerate(images):
        name = f"sub/{i:03d}.png" if i % 2 else f"{i:03d}.png"
        save_picture(folder / name, image.transpose(1, 2, 0))
    return folder


def test_a_folder_gives_every_file_once(tmp_path):
    images = FolderImages(save_folder(tmp_path / "a", IMAGES))
    assert images.num_images == 12
    found = np.concatenate(list(images.batches(12, 5)))
    assert sorted(x.tobytes() for x in found) == sorted(x.tobytes() for x in IMAGES)


def test_a_folders_key_tells_its_contents(tmp_path):
    folder = save_folder(tmp_path / "a", IMAGES)
    key = FolderImages(folder).key()
    assert FolderImages(save_folder(tmp_path / "b", IMAGES)).key() == key
    assert FolderImages(folder, ratio=0.5).key() != key
    save_picture(folder / "000.png", IMAGES[1].transpose(1, 2, 0))
    assert FolderImages(folder).key() != key


def test_folders_that_cannot_be_measured(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        FolderImages(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        FolderImages(tmp_path / "empty")
    folder = save_folder(tmp_path / "a", IMAGES[:3])
    (folder / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"bad\.png: cannot be read"):
        list(FolderImages(folder).batches(4, 2))
    save_picture(folder / "bad.png", IMAGES[0].transpose(1, 2, 0)[:8])
    with pytest.raises(UserError, match=r"bad\.png: is 16x8, but .* is 16x16"):
        list(FolderImages(folder).batches(4, 4))


def test_a_folder_of_cut_images_is_not_cut_again(tmp_path):
    folder = save_folder(tmp_path / "a", IMAGES[:, :, 2:14])
    (batch,) = FolderImages(folder, ratio=0.75).batches(12, 12)
    assert batch.shape == (12, 3, 12, 16)
    with pytest.raises(UserError, match=r"neither square nor of --ratio=0\.5"):
        list(FolderImages(folder, ratio=0.5).batches(12, 12))
