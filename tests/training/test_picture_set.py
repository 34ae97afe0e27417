"""Zips and folders of pictures with a dataset.json, as StyleGAN2-ADA's and StyleGAN3's tools have
them, as training sets."""

import io
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tiny_records import write_set

from config.resolve import find_dataset
from datasets_tool.sources.archives import ZipSource
from dnnlib.errors import UserError
from training.dataset import Dataset

COUNT = 11


def pixels(channels=3, side=8):
    return np.random.RandomState(0).randint(0, 256, [COUNT, channels, side, side]).astype(np.uint8)


def name_of(index):
    """As those tools name members: not in the order of the numbers if there are more digits."""
    return f"{index % 3:05d}/img{index:08d}.png"


def encode(image):
    image, file = image.transpose(1, 2, 0), io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "png")
    return file.getvalue()


def write(path, images, labels=None, compression=zipfile.ZIP_STORED):
    """A zip, or a folder if its name has no suffix; returns the order in which images stand."""
    members = {name_of(i): encode(image) for i, image in enumerate(images)}
    if labels is not None:
        entries = [[name_of(i), label] for i, label in enumerate(labels)]
        members["dataset.json"] = json.dumps({"labels": entries}).encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(str(path), "w", compression) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        for name, data in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return sorted(range(len(images)), key=name_of)


@pytest.mark.parametrize("kind", ["zip", "deflated zip", "folder"])
@pytest.mark.parametrize("threads", [1, 3])
def test_they_are_read_like_records(tmp_path, monkeypatch, kind, threads):
    """The same stream as from records of the same images, mirrored, from any place on."""
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    images, classes = pixels(), [i * 5 % 4 for i in range(COUNT)]
    path = tmp_path / ("toys.zip" if "zip" in kind else "toys")
    compression = zipfile.ZIP_DEFLATED if "deflated" in kind else zipfile.ZIP_STORED
    order = write(path, images, classes, compression)
    one_hot = np.eye(4, dtype=np.float32)[classes]
    records = Dataset(write_set(tmp_path / "same", images[order], 2, one_hot[order]), mirror=True)
    found = Dataset(path, mirror=True)
    assert found.shape == (3, 8, 8) and found.num_images == COUNT and found.label_size == 4
    for start, size in ((0, 4), (7, 30), (3, 1)):
        for mine, expected in zip(found.batch(start, size), records.batch(start, size)):
            assert (mine == expected).all()
    stream = found.iterate(5, 6)
    for step in range(3):
        assert (next(stream)[0] == records.batch(5 + 6 * step, 6)[0]).all()
    stream.close()
    assert (found.sample_grid(4)[0] == records.sample_grid(4)[0]).all()
    assert Dataset(path, max_images=5).fingerprint() != found.fingerprint()
    found.close()


def test_threads_read_the_same_bytes_of_a_zip(tmp_path):
    write(tmp_path / "toys.zip", pixels(side=16))
    source = ZipSource(str(tmp_path / "toys.zip"), (".png",))
    names = list(source.keys())
    expected = {name: source.read(name) for name in names}
    order = np.random.RandomState(1).choice(names, 20000)
    with ThreadPoolExecutor(7) as pool:
        assert all(pool.map(lambda name: source.read(name) == expected[name], order))


def test_vector_labels_and_none(tmp_path):
    vectors = [[0.5 * i, -1.0, 3] for i in range(COUNT)]
    order = write(tmp_path / "a.zip", pixels(), vectors)
    assert (Dataset(tmp_path / "a.zip").label(2) == vectors[order[2]]).all()
    write(tmp_path / "b.zip", pixels())
    assert Dataset(tmp_path / "b.zip").label_size == 0
    assert Dataset(tmp_path / "a.zip", labels=False).label_size == 0


def test_fingerprints_tell_contents(tmp_path):
    write(tmp_path / "a.zip", pixels())
    write(tmp_path / "b.zip", pixels(), compression=zipfile.ZIP_DEFLATED)
    write(tmp_path / "c", pixels())
    marks = {Dataset(tmp_path / name).fingerprint() for name in ("a.zip", "b.zip", "c")}
    images = pixels()
    images[3, 0, 0, 0] ^= 1
    write(tmp_path / "d.zip", images)
    assert len(marks) == 1 and Dataset(tmp_path / "d.zip").fingerprint() not in marks


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_rgba(tmp_path, channels):
    images = pixels(channels)
    images[:, -1, 2] |= 1  # no colours that cannot be seen
    order = write(tmp_path / "a.zip", images)
    dataset = Dataset(tmp_path / "a.zip")
    visible = np.where(images[:, -1:] == 0, 0, images) if channels == 4 else images
    assert dataset.shape == (channels, 8, 8)
    assert (dataset.image(6) == visible[order[6]]).all()


def test_grey_ones_among_others_are_rgb(tmp_path):
    write(tmp_path / "a", pixels())
    Image.new("L", (8, 8), 77).save(str(tmp_path / "a/00000/img00000000.png"))
    assert Dataset(tmp_path / "a").shape == (3, 8, 8)
    assert (Dataset(tmp_path / "a").image(0) == 77).all()


def spoil(folder, monkeypatch, how):
    """Damage a good folder; returns what the message says."""
    first, last = folder / "00000/img00000000.png", folder / "00002/img00000008.png"
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    if how == "sides":
        Image.new("RGB", (48, 48)).save(str(first))
        return "is 48x48; images must be square, with a power of two"
    if how == "mixed":
        Image.new("RGB", (8, 16)).save(str(last))
        return "is 8x16 in a set of 8x8"
    if how == "alpha":
        monkeypatch.setattr("datasets_tool.picture_set._LOOKED_AT", 1)
        Image.new("RGBA", (8, 8)).save(str(last))
        return "is RGBA in a set of 3 channels"
    if how == "damaged":
        monkeypatch.setattr("datasets_tool.picture_set._LOOKED_AT", 1)
        last.write_bytes(last.read_bytes()[:60])
        return "unreadable image"
    if how == "label":
        labels.pop()
    if how == "kinds":
        labels[3][1] = [1.0, 2.0]
    (folder / "dataset.json").write_text("5," if how == "json" else json.dumps({"labels": labels}))
    return {
        "label": "has no label for 1 of 11 images",
        "kinds": "all class numbers from 0 up",
        "json": "cannot be understood",
    }[how]


@pytest.mark.parametrize("how", ["sides", "mixed", "alpha", "damaged", "label", "kinds", "json"])
def test_faults_are_one_line(tmp_path, monkeypatch, how):
    write(tmp_path / "a", pixels(), list(range(COUNT)))
    message = spoil(tmp_path / "a", monkeypatch, how)
    with pytest.raises(UserError, match=message) as error:
        Dataset(tmp_path / "a").batch(0, COUNT)
    assert "\n" not in str(error.value)


def test_what_is_not_there(tmp_path):
    write(tmp_path / "a.zip", pixels())
    with pytest.raises(UserError, match=r"images of resolution 8, not 16; prepare the set: .*16$"):
        Dataset(tmp_path / "a.zip", resolution=16)
    with pytest.raises(UserError, match=r"b\.zip: there is no such file"):
        Dataset(tmp_path / "b.zip")
    (tmp_path / "c.zip").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="cannot be opened as a zip archive"):
        Dataset(tmp_path / "c.zip")
    (tmp_path / "d.tar").write_bytes(b"")
    with pytest.raises(UserError, match="is neither a folder nor a zip"):
        Dataset(tmp_path / "d.tar")


def test_datasets_are_names_or_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("datasets/toys", "docs", "more/pictures"):
        (tmp_path / name).mkdir(parents=True)
    assert find_dataset("datasets", "toys") == os.path.join("datasets", "toys")
    assert find_dataset("datasets", "docs") == os.path.join("datasets", "docs")
    assert find_dataset("datasets", "a.zip") == "a.zip"
    assert find_dataset("datasets", "more/pictures") == "more/pictures"
    (tmp_path / "datasets/a.zip").write_bytes(b"")
    assert find_dataset("datasets", "a.zip") == os.path.join("datasets", "a.zip")
