"""Sets that have a name: those of tensorflow_datasets, and of the Hugging Face hub.

The columns with the images and the labels are found by their type, or by the names ``image`` and
``label`` if there are several. The packages read in this process; pictures are handed to the
workers.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from datasets_tool.decode import UnreadableImageError, decode
from datasets_tool.labels import from_numbers
from datasets_tool.sources.arrays import as_picture, optional_package
from datasets_tool.sources.base import Source, one_line, spread
from dnnlib.errors import UserError


def _column(features, kind, usual):
    """Name of the feature of a type; None if there is none.

    Args:
      features: {name: feature}.
      kind: type of the feature.
      usual: name to choose among several.
    """
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    return usual if usual in found else (found or [None])[0]


class _NamedSource(Source):
    """Common to both; what the workers need is in the keys.

    Args:
      kind: "tfds" or "hf".
      name: of the set.
      split: of it.
      features: {name of a column: its type}.
      types: types of images and of labels.
    """

    def __init__(self, kind, name, split, features, types):
        self.description, self._name, self._split = f"{kind} {name}", name, split
        self._image = _column(features, types[0], "image")
        self._label = _column(features, types[1], "label")
        if self._image is None:
            raise UserError(
                f"{self.description}: has no column of images, only {', '.join(features)}"
            )

    def __getstate__(self):
        return {"description": self.description}

    def label_key(self, key):
        """The number."""
        return key[0]

    def label_keys(self):
        """All numbers."""
        return iter(range(len(self)))


class TfdsSource(_NamedSource):
    """A set of tensorflow_datasets, ``NAME`` or ``NAME:SPLIT``, with its labels."""

    def __init__(self, name):
        tfds = optional_package("tensorflow_datasets", f"--format tfds ({name})")
        name, _, split = name.partition(":")
        self._as_numpy = tfds.as_numpy
        try:
            self._builder = tfds.builder(name)
            self._builder.download_and_prepare()
        except (OSError, ValueError) as error:
            raise UserError(f"tfds {name}: cannot be had: {one_line(error)}") from error
        self._info = self._builder.info
        kinds = (tfds.features.Image, tfds.features.ClassLabel)
        super().__init__("tfds", name, split or "train", self._info.features, kinds)
        if self._split not in self._info.splits:
            have = ", ".join(self._info.splits)
            raise UserError(f"tfds {name}: has no split {self._split!r}, only {have}")

    def __len__(self):
        return self._info.splits[self._split].num_examples

    def _examples(self):
        """All examples as dicts of arrays, in a fixed order."""
        return self._as_numpy(self._builder.as_dataset(split=self._split, shuffle_files=False))

    def keys(self):
        """Yield (number, uint8 [H, W, C])."""
        for index, example in enumerate(self._examples()):
            yield index, example[self._image]

    def load(self, key):
        """Take the image that the key carries."""
        return as_picture(key[1].transpose(2, 0, 1))

    def own_labels(self):
        """The numbers of the classes, if there is such a column."""
        if self._label is None:
            return None
        values = np.array([int(example[self._label]) for example in self._examples()])
        classes_num = self._info.features[self._label].num_classes
        where = f"{self.description}: {self._label}"
        return from_numbers(values, where, classes_num=classes_num)

    def fingerprint(self):
        """Name, version and split."""
        return {"tfds": self._name, "version": str(self._info.version), "split": self._split}


class HfSource(_NamedSource):
    """A set of the Hugging Face hub, or a folder that its package has saved, with its labels.

    Args:
      name: ``NAME``, ``NAME:SPLIT`` or ``NAME:CONFIG:SPLIT``; NAME may be a folder.
    """

    def __init__(self, name):
        hf = optional_package("datasets", f"--format hf ({name})")
        name, *parts = name.split(":")
        split, config = (parts or ["train"])[-1], parts[0] if len(parts) > 1 else None
        try:
            if os.path.isdir(name):
                data = hf.load_from_disk(name)
                if isinstance(data, dict):
                    if split not in data:
                        raise ValueError(f"has no split {split!r}, only {', '.join(data)}")
                    data = data[split]
            else:
                data = hf.load_dataset(name, config, split=split)
        except (OSError, ValueError) as error:
            raise UserError(f"hf {name}: cannot be had: {one_line(error)}") from error
        super().__init__("hf", name, split, data.features, (hf.Image, hf.ClassLabel))
        self._fingerprint = data._fingerprint
        self._data = data.cast_column(self._image, hf.Image(decode=False))

    def __len__(self):
        return len(self._data)

    def _key(self, index):
        """(number, bytes of the file or None, its path or None)."""
        image = self._data[index][self._image] or {}
        return index, image.get("bytes"), image.get("path")

    def keys(self):
        """Yield (number, bytes of the file or None, its path or None)."""
        return map(self._key, range(len(self)))

    def some_keys(self, num):
        """From all over the set."""
        return map(self._key, spread(range(len(self)), num))

    def load(self, key):
        """Decode the picture that the key carries."""
        return (*decode(self.encoded(key)), {})

    def encoded(self, key):
        """The bytes of the picture's file."""
        _, data, path = key
        if data is None and path is None:
            raise UnreadableImageError("there is no image")
        try:
            return Path(path).read_bytes() if data is None else data
        except OSError as error:
            raise UnreadableImageError(error.strerror) from error

    def own_labels(self):
        """The numbers of the classes, if there is such a column."""
        if self._label is None:
            return None
        feature = self._data.features[self._label]
        values = np.array(self._data[self._label])
        where = f"{self.description}: {self._label}"
        labels = from_numbers(values, where, classes_num=feature.num_classes)
        labels.names = list(feature.names)
        return labels

    def fingerprint(self):
        """Name, split, and what the package tells its contents by."""
        return {"hf": self._name, "split": self._split, "contents": self._fingerprint}
