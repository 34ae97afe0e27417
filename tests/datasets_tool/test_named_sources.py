"""Sets of tensorflow_datasets and of the Hugging Face hub, without a network."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

import prepare_data
from datasets_tool.sources import named
from datasets_tool.sources.formats import open_source
from dnnlib import cli
from dnnlib.errors import UserError
from training.dataset import Dataset

COUNT = 7
IMAGES = np.random.RandomState(0).randint(0, 256, [COUNT, 16, 16, 3]).astype(np.uint8)
CLASSES = np.arange(COUNT) * 2 % 3


class ImageType:
    pass


class ClassType:
    num_classes, names = 3, ["a", "b", "c"]


def prepare(tmp_path, name, kind, *flags):
    argv = ["--task", "out", "--images-dir", name, "--format", kind, "--data-dir", tmp_path]
    argv = [str(arg) for arg in (*argv, "--workers", 1, *flags)]
    assert cli.run_script(prepare_data.main, argv) == 0
    return Dataset(tmp_path / "out")


def check(dataset):
    for index in range(COUNT):
        assert (dataset.image(index) == IMAGES[index].transpose(2, 0, 1)).all()
        assert dataset.label(index).tolist() == np.eye(3)[CLASSES[index]].tolist()


class Builder:
    """A stand-in with the calls of tensorflow_datasets that are used."""

    features = {"id": int, "photo": ImageType(), "class": ClassType()}
    info = types.SimpleNamespace(
        splits={"train": types.SimpleNamespace(num_examples=COUNT)},
        features=features,
        version="1.0.0",
    )

    def download_and_prepare(self):
        pass

    def as_dataset(self, split, shuffle_files):
        assert split == "train" and shuffle_files is False
        return [{"photo": image, "class": c, "id": 5} for image, c in zip(IMAGES, CLASSES)]


def build(name):
    if name != "toys":
        raise ValueError(f"Dataset {name}\n not found")
    return Builder()


@pytest.fixture
def tfds(monkeypatch):
    kinds = types.SimpleNamespace(Image=ImageType, ClassLabel=ClassType)
    package = types.SimpleNamespace(builder=build, as_numpy=lambda data: data, features=kinds)
    monkeypatch.setattr(named, "optional_package", lambda name, purpose: package)


def test_tfds(tfds, tmp_path):
    check(prepare(tmp_path, "toys", "tfds"))


def test_tfds_faults_are_one_line(tfds, monkeypatch):
    with pytest.raises(UserError, match="has no split 'test', only train"):
        open_source("toys:test", "tfds")
    with pytest.raises(UserError, match="tfds other: cannot be had: Dataset other not found"):
        open_source("other", "tfds")
    monkeypatch.setattr(Builder.info, "features", {"text": int})
    with pytest.raises(UserError, match="has no column of images, only text"):
        open_source("toys", "tfds")


@pytest.fixture
def saved(tmp_path):
    """A folder as Hugging Face's package saves it: bytes of PNGs, one of them missing."""
    hf = pytest.importorskip("datasets")
    files = []
    for index, image in enumerate(IMAGES):
        files.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(image).save(files[-1])
    features = hf.Features(
        {
            "text": hf.Value("string"),
            "photo": hf.Image(),
            "kind": hf.ClassLabel(names=["a", "b", "c"]),
        }
    )
    columns = {"text": ["x"] * COUNT, "photo": files, "kind": CLASSES.tolist()}
    data = hf.Dataset.from_dict(columns, features=features)
    data.save_to_disk(str(tmp_path / "one"))
    hf.DatasetDict({"dev": data, "train": data.select([3])}).save_to_disk(str(tmp_path / "two"))
    return tmp_path


@pytest.mark.slow
def test_hf_folder(saved):
    check(prepare(saved, saved / "one", "hf"))
    info = json.loads((saved / "out/dataset.json").read_text())
    assert info["label_names"] == ["a", "b", "c"]
    check(prepare(saved, f"{saved / 'two'}:dev", "hf", "--overwrite", "--record-format", "png"))
    assert len(open_source(str(saved / "two"), "hf")) == 1


@pytest.mark.slow
def test_hf_of_the_hub(saved, monkeypatch):
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        if name == "no/such":
            raise ValueError("Unknown\n set")
        return sys.modules["datasets"].load_from_disk(str(saved / "one"))

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert len(open_source("a/b", "hf")) == len(open_source("a/b:x", "hf")) == COUNT
    assert len(open_source("a/b:y:x", "hf")) == COUNT
    assert asked == [("a/b", None, "train"), ("a/b", None, "x"), ("a/b", "y", "x")]
    with pytest.raises(UserError, match="hf no/such: cannot be had: Unknown set"):
        open_source("no/such", "hf")


def test_a_folder_of_the_packages_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    with pytest.raises(UserError, match="needs the package datasets: pip install 'datasets'"):
        open_source("a/b", "hf")
    sys.modules.pop("datasets", None)


@pytest.mark.slow
def test_hf_faults_are_one_line(saved):
    with pytest.raises(UserError, match="has no split 'x', only dev, train"):
        open_source(f"{saved / 'two'}:x", "hf")
    (saved / "empty").mkdir()
    with pytest.raises(UserError, match="empty: cannot be had: ") as error:
        open_source(str(saved / "empty"), "hf")
    assert "\n" not in str(error.value)
