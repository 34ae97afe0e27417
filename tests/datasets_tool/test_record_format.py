"""--record-format: encoded records beside raw ones."""

import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image
from tiny_records import reading_peak

import prepare_data
from datasets_tool.sources.formats import open_source
from dnnlib import cli
from dnnlib.records import encoded
from dnnlib.records.tfrecord import DamagedRecordError
from training.dataset import Dataset

COUNT = 7


@pytest.fixture
def folder(tmp_path):
    """Smooth pictures of 32x32, and two of noise, which no format makes smaller."""
    (tmp_path / "images").mkdir()
    save(tmp_path / "images", 3)
    return tmp_path / "images"


def save(folder, channels, side=32):
    y, x = np.mgrid[:side, :side]
    for index in range(COUNT):
        planes = [x * (index + 1) % 256, y * 3, (x + y + 9 * index) % 256, 255 - (x > y) * 60]
        image = np.stack(planes[:channels], axis=2)
        if index in (2, 5):
            image = np.random.RandomState(index).randint(1, 256, image.shape)
        image = image.astype(np.uint8)
        image = image[:, :, 0] if channels == 1 else image
        Image.fromarray(image).save(str(folder / f"{index}.png"))


def run(folder, *flags, task="out", workers=1):
    argv = ["--task", task, "--images-dir", folder, "--data-dir", folder.parent]
    argv += ["--workers", workers, *flags]
    return cli.run_script(prepare_data.main, [str(arg) for arg in argv])


def size_of(folder):
    return sum(path.stat().st_size for path in folder.glob("*.tfrecords*"))


@pytest.mark.parametrize("record_format", ["png", "webp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_same_pixels_in_fewer_bytes(folder, monkeypatch, record_format, channels):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    save(folder, channels)
    flags = ("--channels", channels, "--multi-resolution", "--shards-num", 2)
    assert run(folder, *flags, task="raw") == 0
    assert run(folder, *flags, "--record-format", record_format, "--verify") == 0
    for resolution in (32, 4):
        raw = Dataset(folder.parent / "raw", resolution, mirror=True)
        small = Dataset(folder.parent / "out", resolution, mirror=True)
        assert small.shape == raw.shape == (channels, resolution, resolution)
        for start in (0, 5, 40):
            assert (small.batch(start, 9)[0] == raw.batch(start, 9)[0]).all()
        assert (next(small.iterate(3, 6))[0] == raw.batch(3, 6)[0]).all()
    assert size_of(folder.parent / "out") < 0.75 * size_of(folder.parent / "raw")
    info = json.loads((folder.parent / "out/dataset.json").read_text())
    assert info["record_format"] == record_format
    assert run(folder.parent / "out", *flags, task="again") == 0
    again = Dataset(folder.parent / "again")
    assert all((again.image(i) == Dataset(folder.parent / "raw").image(i)).all() for i in range(7))


@pytest.mark.slow
def test_workers_write_the_same_bytes(folder):
    flags = ("--record-format", "webp", "--multi-resolution")
    assert run(folder, *flags) == 0 and run(folder, *flags, task="two", workers=2) == 0
    for path in (folder.parent / "out").glob("*.tfrecords*"):
        other = folder.parent / "two" / path.name.replace("out", "two")
        assert other.read_bytes() == path.read_bytes()


def test_jpegs_that_fit_are_kept(folder, capsys):
    for index in range(COUNT):
        picture = Image.open(str(folder / f"{index}.png"))
        kind = {"exif": Image.Exif()} if index == 1 else {}
        if kind:
            kind["exif"][0x0112] = 3  # to be turned
        size = (40, 32) if index == 0 else (32, 32)
        picture.resize(size).save(str(folder / f"{index}.jpg"), quality=80, **kind)
        (folder / f"{index}.png").unlink()
    Image.new("L", (32, 32), 9).save(str(folder / "grey.jpg"))
    assert run(folder, "--channels", 3, task="raw") == 0
    assert run(folder, "--channels", 3, "--record-format", "jpeg", "--verify") == 0
    out = capsys.readouterr().out
    assert f"{COUNT - 2} images: JPEG, kept as it is" in out
    raw, kept = Dataset(folder.parent / "raw"), Dataset(folder.parent / "out")
    assert all((raw.image(i) == kept.image(i)).all() for i in range(COUNT + 1))
    data = (folder.parent / "out/out-r05.tfrecords1of1").read_bytes()
    found = [(folder / f"{index}.jpg").read_bytes() in data for index in range(COUNT)]
    assert found == [False, False, True, True, True, True, True]


def test_the_default_goes_by_resolution_and_keeps_what_is_there(folder, capsys):
    def format_of(*flags):
        assert run(folder, "--max-images", 1, *flags) == 0
        return json.loads((folder.parent / "out/dataset.json").read_text())["record_format"]

    large = ("--resolution", 128)
    assert format_of("--resolution", 64) == "raw"
    assert format_of(*large, "--overwrite") == "webp"
    assert format_of(*large, "--multi-resolution", "--overwrite") == "raw"
    assert format_of(*large, "--record-format", "raw", "--overwrite") == "raw"
    capsys.readouterr()
    assert format_of(*large) == "raw" and "is ready already" in capsys.readouterr().out
    assert run(folder, "--max-images", 1, *large, "--record-format", "png") == 2
    assert "made with another record_format" in capsys.readouterr().err


def test_zipped_sets_of_encoded_records(folder):
    assert run(folder, "--record-format", "png", "--shards-num", 2) == 0
    with zipfile.ZipFile(str(folder.parent / "out.zip"), "w") as archive:
        for path in (folder.parent / "out").iterdir():
            archive.write(str(path), f"out/{path.name}")
    source = open_source(str(folder.parent / "out.zip"))
    assert len(source) == COUNT == len(list(source.keys()))


def test_damaged_and_odd_images_are_value_errors():
    image = np.zeros([3, 8, 8], np.uint8)
    data = encoded.encode(image, "png")
    assert (encoded.decode(data, (3, 8, 8)) == image).all()
    for bad in (b"x", b""):
        with pytest.raises(ValueError, match=f"does not fit {len(bad)} bytes of pixels"):
            encoded.decode(bad, (3, 8, 8))
    for bad in (data[:40], data[:4]):
        with pytest.raises(ValueError, match=r"^cannot be decoded: \S"):
            encoded.decode(bad, (3, 8, 8))
    for shape, message in (((3, 4, 16), "another size, 8x8"), ((2, 8, 8), "has 2 channels")):
        with pytest.raises(ValueError, match=message):
            encoded.decode(data, shape)


def test_a_damaged_image_is_named_with_its_place(folder, monkeypatch):
    assert run(folder, "--record-format", "png") == 0
    dataset = Dataset(folder.parent / "out")

    def fail(data, shape):
        raise ValueError("cannot be decoded: x")

    monkeypatch.setattr(encoded, "decode", fail)
    with pytest.raises(DamagedRecordError, match="damaged record at byte 0: cannot be decoded"):
        dataset.image(0)


def test_webp_is_refused_where_pillow_has_none(folder, capsys, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    assert run(folder, "--record-format", "webp") == 2
    assert "built without WebP; use --record-format png" in capsys.readouterr().err
    assert run(folder, "--max-images", 1, "--resolution", 128) == 0
    assert '"png"' in (folder.parent / "out/dataset.json").read_text()


def test_memory_stays_bounded_by_the_batches(folder, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert run(folder, "--record-format", "png") == 0
    assert reading_peak(Dataset(folder.parent / "out"), 9) < 16 * 8 * 3072
