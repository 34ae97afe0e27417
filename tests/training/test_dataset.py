import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from tiny_records import reading_peak, write_set

from dnnlib.errors import UserError
from dnnlib.records.tfrecord import DamagedRecordError, encode_image, frame
from training.dataset import Dataset


@pytest.fixture
def samples(data_dir):
    return data_dir / "tfrecords"


@pytest.fixture
def originals(samples):
    return np.load(samples / "imgs.npy"), np.load(samples / "imgs-labels.npy")


@pytest.fixture
def numbered(tmp_path):
    """23 images whose first pixel is their number; labels are their number; 3 shards."""
    images = np.zeros([23, 3, 4, 4], np.uint8)
    images[:, 0, 0, 0] = np.arange(23)
    images[:, 1, 0, 3] = 200  # tells left from right
    labels = np.arange(23, dtype=np.float32)[:, None]
    return write_set(tmp_path / "numbered", images, 3, labels)


def numbers(images):
    """The number of each image, mirrored or not."""
    return np.maximum(images[:, 0, 0, 0], images[:, 0, 0, -1]).tolist()


# Published sets


@pytest.mark.parametrize("name", ["gansformer_imgs", "gansformer_npy_labels"])
def test_published_gansformer_sets(samples, originals, name):
    dataset = Dataset(samples / name)
    images, labels = originals
    assert dataset.shape == (3, 32, 32) and dataset.num_images == 20 and dataset.name == name
    assert (np.stack([dataset.image(i) for i in range(20)]) == images).all()
    if "labels" in name:
        assert dataset.label_size == 5
        assert (np.stack([dataset.label(i) for i in range(20)]) == labels).all()
    else:
        assert dataset.label_size == 0 and dataset.label(3).shape == (0,)


def test_published_stylegan2_set(samples, originals):
    """Written in a shuffled order, images and labels alike (spec: RandomState(123))."""
    dataset = Dataset(samples / "stylegan2_hdf5_labels")
    order = np.arange(20)
    np.random.RandomState(123).shuffle(order)
    for place, index in enumerate(order):
        assert (dataset.image(place) == originals[0][index]).all()
        assert (dataset.label(place) == originals[1][index]).all()


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_every_level_of_a_multi_resolution_set(samples, originals, resolution):
    dataset = Dataset(samples / "gansformer_imgs", resolution=resolution)
    factor = 32 // resolution
    mean = originals[0].astype(np.float64).reshape(20, 3, resolution, factor, resolution, factor)
    mean = mean.mean((3, 5))
    assert dataset.shape == (3, resolution, resolution)
    assert abs(np.stack([dataset.image(i) for i in range(20)]) - mean).max() <= 0.5 + 1e-3


def test_letter_boxed_set(samples):
    dataset = Dataset(samples / "gansformer_wide_ratio05")
    assert dataset.shape == (3, 64, 64) and dataset.num_images == 6
    assert not dataset.image(0)[:, :14].any() and dataset.image(0)[:, 18:46].any()


def test_non_square_records_come_as_letter_boxed_squares(tmp_path):
    images = np.full([4, 3, 4, 8], 9, np.uint8)
    dataset = Dataset(write_set(tmp_path / "wide", images))
    assert dataset.shape == (3, 8, 8) and dataset.ratio == 0.5
    batch, _ = dataset.batch(0, 4)
    assert (batch[:, :, 2:6] == 9).all() and not batch[:, :, :2].any() and not batch[:, :, 6:].any()


@pytest.mark.parametrize("channels", [1, 2])
def test_other_channel_counts(tmp_path, channels):
    dataset = Dataset(write_set(tmp_path / "few", np.ones([2, channels, 4, 4], np.uint8)))
    assert dataset.shape == (channels, 4, 4) and dataset.num_channels == channels


# The stream


def test_an_epoch_is_a_permutation_and_the_next_another(numbered):
    dataset = Dataset(numbered, seed=7)
    first, second = dataset.batch(0, 23)[0], dataset.batch(23, 23)[0]
    assert sorted(numbers(first)) == sorted(numbers(second)) == list(range(23))
    assert numbers(first) != numbers(second) != list(range(23))


def test_labels_stay_with_their_images(numbered):
    for kwargs in (dict(), dict(mirror=True, max_images=17), dict(seed=3)):
        images, labels = Dataset(numbered, **kwargs).batch(11, 60)
        assert numbers(images) == labels[:, 0].astype(int).tolist()


def test_batches_do_not_depend_on_how_the_stream_is_cut(numbered):
    def read(sizes):
        dataset, place, parts = Dataset(numbered, seed=1, mirror=True), 5, []
        for size in sizes:
            parts.append(dataset.batch(place, size)[0])
            place += size
        return np.concatenate(parts)

    assert (read([90]) == read([1, 7, 30, 52])).all()


def test_going_back_gives_the_same(numbered):
    dataset = Dataset(numbered, mirror=True)
    early = dataset.batch(3, 9)[0]
    dataset.batch(2300, 50)
    assert (dataset.batch(3, 9)[0] == early).all()
    assert (Dataset(numbered, mirror=True).batch(3, 9)[0] == early).all()


def test_readers_get_disjoint_parts_of_one_stream(numbered):
    whole, labels = Dataset(numbered, mirror=True).batch(10, 24)
    together, together_labels = np.empty_like(whole), np.empty_like(labels)
    for part in range(3):
        reader = Dataset(numbered, mirror=True)
        together[part::3], together_labels[part::3] = reader.batch(10, 24, part, 3)
    assert (together == whole).all() and (together_labels == labels).all()


def test_seeds_differ_also_beyond_32_bits(numbered):
    orders = {tuple(numbers(Dataset(numbered, seed=s).batch(0, 23)[0])) for s in (0, 1, 1 << 32)}
    assert len(orders) == 3


def test_the_order_is_the_same_on_every_numpy(numbered):
    """Golden: a run must resume exactly, whatever the versions installed."""
    assert Dataset(numbered, seed=5).indices(20, 10).tolist() == [
        17,
        5,
        18,
        14,
        3,
        22,
        8,
        4,
        16,
        11,
    ]


def test_mirroring_flips_half_of_the_images_and_others_each_epoch(numbered):
    dataset = Dataset(numbered, mirror=True)
    epochs = []
    for epoch in range(40):
        images, _ = dataset.batch(23 * epoch, 23)
        flipped = images[:, 1, 0, 0] == 200
        assert (flipped != (images[:, 1, 0, 3] == 200)).all()
        order = np.argsort(numbers(images))
        epochs.append(flipped[order])
    share = np.mean(epochs)
    assert 0.44 < share < 0.56
    assert 0 < np.std(np.mean(epochs, axis=0)) < 0.15  # no image is always flipped
    assert not Dataset(numbered).batch(0, 100)[0][:, 1, 0, 0].any()


def test_a_subset_is_the_first_images(numbered):
    dataset = Dataset(numbered, max_images=5)
    assert dataset.num_images == 5
    assert sorted(numbers(dataset.batch(0, 5)[0])) == [0, 1, 2, 3, 4]
    assert Dataset(numbered, max_images=99).num_images == 23


# Reading ahead


def test_iterate_equals_batch_and_stops_its_thread(numbered):
    dataset, before = Dataset(numbered, mirror=True), threading.active_count()
    stream = dataset.iterate(4, 6, prefetch=2)
    for step in range(7):
        images, labels = next(stream)
        expected = dataset.batch(4 + 6 * step, 6)
        assert (images == expected[0]).all() and (labels == expected[1]).all()
    stream.close()
    assert threading.active_count() == before


def test_iterate_reads_no_further_ahead_than_asked(numbered, monkeypatch):
    dataset, read = Dataset(numbered), threading.Semaphore(0)
    batch = dataset.batch
    counted = []

    def counting(*args):
        counted.append(args[0])
        read.release()
        return batch(*args)

    monkeypatch.setattr(dataset, "batch", counting)
    stream = dataset.iterate(0, 2, prefetch=3)
    next(stream)
    for _ in range(5):  # one handed out, three wait, one in the thread's hands
        assert read.acquire(timeout=10)
    assert not read.acquire(timeout=0.3)
    stream.close()


def test_damage_ahead_is_raised_when_its_batch_is_due(numbered):
    path = numbered / "numbered-r02.tfrecords2of3"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(bytes(data))
    dataset = Dataset(numbered)
    stream = dataset.iterate(0, 1, prefetch=2)
    with pytest.raises(DamagedRecordError, match="tfrecords2of3: damaged record at byte"):
        for _ in range(23):
            next(stream)


def test_sample_grid_is_fixed_and_distinct(numbered):
    dataset = Dataset(numbered, mirror=True, seed=2)
    images, labels = dataset.sample_grid(12)
    assert (images == dataset.sample_grid(12)[0]).all()
    assert len(set(numbers(images))) == 12 and numbers(images) == labels[:, 0].tolist()
    assert dataset.sample_grid(50)[0].shape == (50, 3, 4, 4)


def test_memory_stays_bounded_by_the_batches(tmp_path):
    """Reading keeps nothing: tracked allocations do not grow with the number of images read."""
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, [64, 3, 64, 64]).astype(np.uint8)
    dataset = Dataset(write_set(tmp_path / "many", images))
    assert reading_peak(dataset, 32) < 4 * 8 * images[0].nbytes


# What can be wrong


@pytest.mark.parametrize(
    "name, command",
    [
        ("ffhq", "prepare_data.py --ffhq"),
        ("scenes", "prepare_data.py --scenes"),
        ("cats", "prepare_data.py --task cats --images-dir DIR"),
    ],
)
def test_a_missing_set_names_the_command_that_makes_it(tmp_path, name, command):
    with pytest.raises(UserError, match="there is no such dataset") as error:
        Dataset(tmp_path / name)
    assert command in str(error.value) and str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_resolution_lists_what_there_is(samples):
    with pytest.raises(UserError, match="resolution 4, 8, 16, 32, not 128"):
        Dataset(samples / "gansformer_imgs", resolution=128)
    command = r"--images-dir DIR --data-dir \S+ --resolution 12 --overwrite$"
    with pytest.raises(UserError, match=f"resolution 4, 8, 16, 32, not 12; .*{command}"):
        Dataset(samples / "gansformer_imgs", resolution=12)


def copy(samples, tmp_path, name="gansformer_npy_labels"):
    return shutil.copytree(str(samples / name), str(tmp_path / name))


def test_a_missing_shard_is_named(samples, tmp_path):
    folder = copy(samples, tmp_path)
    (tmp_path / "gansformer_npy_labels/gansformer_npy_labels-r05.tfrecords2of2").unlink()
    with pytest.raises(UserError, match=r"shards \[2\] of 2 are missing at resolution 32"):
        Dataset(folder)


def test_left_over_shards_of_another_set_are_refused(samples, tmp_path):
    folder = copy(samples, tmp_path)
    shard = tmp_path / "gansformer_npy_labels/gansformer_npy_labels-r05.tfrecords2of2"
    shutil.copy(str(shard), str(shard.with_name("old-r05.tfrecords1of7")))
    with pytest.raises(UserError, match=r"different sets \(...of2, ...of7\)"):
        Dataset(folder)


def test_labels_must_fit_the_images(samples, tmp_path):
    folder = copy(samples, tmp_path)
    path = tmp_path / "gansformer_npy_labels/gansformer_npy_labels-rxx.labels"
    with path.open("wb") as file:
        np.save(file, np.zeros([19, 5], np.float32))
    with pytest.raises(UserError, match=r"labels of shape \[19, 5\] do not fit 20 images"):
        Dataset(folder)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as labels"):
        Dataset(folder)
    assert Dataset(folder, labels=False).label_size == 0


def test_labels_of_unbalanced_shards_are_refused(tmp_path):
    images = np.zeros([5, 3, 4, 4], np.uint8)
    folder = write_set(tmp_path / "odd", images, 2)
    first, second = sorted(folder.iterdir())
    second.write_bytes(first.read_bytes() + second.read_bytes())
    assert Dataset(folder).num_images == 8  # without labels nothing can be mixed up
    with (folder / "odd-rxx.labels").open("wb") as file:
        np.save(file, np.zeros([8, 2], np.float32))
    with pytest.raises(UserError, match="labels cannot be matched"):
        Dataset(folder)


def test_mixed_shapes_are_refused_with_file_and_offset(tmp_path):
    folder = write_set(tmp_path / "mixed", np.zeros([3, 3, 4, 4], np.uint8))
    (path,) = folder.iterdir()
    offset = path.stat().st_size
    path.write_bytes(path.read_bytes() + frame(encode_image(np.zeros([3, 8, 8], np.uint8))))
    with pytest.raises(DamagedRecordError, match=rf"byte {offset}: image of shape \[3, 8, 8\]"):
        Dataset(folder).batch(0, 4)


def test_dataset_json_is_compared_with_the_files(samples, tmp_path):
    folder = copy(samples, tmp_path)
    path = tmp_path / "gansformer_npy_labels"
    name = "gansformer_npy_labels-r05.tfrecords1of2"
    size = (path / name).stat().st_size
    (path / "dataset.json").write_text(
        json.dumps({"ratio": 0.75, "files": {name: {"bytes": size}}})
    )
    assert Dataset(folder).ratio == 0.75
    record = size // 10
    (path / name).write_bytes((path / name).read_bytes()[:-record])  # whole records are missing
    with pytest.raises(UserError, match=f"{name}: has {size - record} bytes, not {size}"):
        Dataset(folder)
    (path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        Dataset(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "5", '"x"', "{", "\xff", '{"ratio": null}', '{"ratio": "x"}', '{"ratio": -1}'),
        *('{"ratio": NaN}', '{"ratio": true}', '{"ratio": 200}', '{"files": []}'),
        *('{"files": {"a": 5}}', '{"files": {"a": {}}}', '{"files": {"a": {"bytes": "5"}}}'),
    ],
)
def test_a_dataset_json_of_another_form_is_refused(samples, tmp_path, text):
    folder = copy(samples, tmp_path)
    path = tmp_path / "gansformer_npy_labels/dataset.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"^{path}: .*; prepare the set again: .*--overwrite$"):
        Dataset(folder)


def test_an_interrupted_preparation_is_refused(samples, tmp_path):
    folder = copy(samples, tmp_path)
    (tmp_path / "gansformer_npy_labels/.partial").mkdir()
    with pytest.raises(UserError, match="preparation was interrupted"):
        Dataset(folder)


def test_an_empty_folder_and_an_empty_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no TFRecords"):
        Dataset(tmp_path / "empty")
    (tmp_path / "empty/empty-r05.tfrecords1of1").write_bytes(b"")
    with pytest.raises(UserError, match="the shards are empty"):
        Dataset(tmp_path / "empty")


def test_reading_imports_no_tensorflow(numbered, root):
    code = (
        "import sys; from training.dataset import Dataset; "
        f"Dataset({str(numbered)!r}).batch(0, 3); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=str(root), check=True)


# Fingerprints


def test_fingerprint_tells_contents_not_files(tmp_path, numbered):
    images = np.stack([Dataset(numbered).image(i) for i in range(23)])
    same = write_set(tmp_path / "other_shards", images, shards=2)
    mark = Dataset(numbered).fingerprint()
    assert Dataset(same).fingerprint() == mark
    assert Dataset(numbered, seed=3, mirror=True).fingerprint() == mark
    assert Dataset(numbered, max_images=22).fingerprint() != mark
    images[7, 2, 1, 1] += 1
    changed = write_set(tmp_path / "changed", images, shards=3)
    assert Dataset(changed).fingerprint() != mark
    assert Dataset(changed, max_images=7).fingerprint() == Dataset(same, max_images=7).fingerprint()
    reordered = write_set(tmp_path / "reordered", images[::-1], shards=3)
    assert Dataset(reordered).fingerprint() != Dataset(changed).fingerprint()


# Rectangles


def test_rectangles_are_cut_out_of_the_bars(tmp_path):
    images = np.random.RandomState(0).randint(1, 256, [3, 3, 16, 16]).astype(np.uint8)
    images[:, :, :2] = images[:, :, 14:] = 0
    folder = write_set(tmp_path / "wide", images)
    (folder / "dataset.json").write_text(json.dumps({"ratio": 0.75}))
    dataset = Dataset(folder, rectangle=True)
    assert dataset.shape == (3, 12, 16) and dataset.start == (3, 4)
    assert dataset.networks_resolution == dataset.resolution == 16
    np.testing.assert_array_equal(dataset.image(1), images[1, :, 2:14])
    assert dataset.batch(0, 2)[0].shape == (2, 3, 12, 16)
    assert Dataset(folder).start is None and Dataset(folder).shape == (3, 16, 16)
    half = Dataset(folder, rectangle=True, ratio=0.5)
    assert half.shape == (3, 8, 16) and half.start == (4, 8) and half.networks_resolution == 8
    with pytest.raises(UserError, match="--rectangle: 15x16 is no power of two times a map"):
        Dataset(folder, rectangle=True, ratio=15 / 16)


def test_rectangles_as_they_are_stored_and_squares(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, [3, 3, 8, 16]).astype(np.uint8)
    dataset = Dataset(write_set(tmp_path / "stored", images), rectangle=True)
    assert dataset.shape == (3, 8, 16) and dataset.start == (4, 8)
    np.testing.assert_array_equal(dataset.image(2), images[2])
    square = Dataset(write_set(tmp_path / "square", images[..., :8]), rectangle=True)
    assert square.start is None and square.networks_resolution == 8
