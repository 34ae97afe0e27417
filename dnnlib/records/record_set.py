"""A folder of TFRecord shards, ours or that of a published tool, as one list of images.

Files are named ``<set>-rNN.tfrecords`` (StyleGAN2) or ``<set>-rNN.tfrecords<i>of<S>`` (GANsformer),
NN = log2 of the resolution; image j stands in shard j mod S. Labels, if any, are in
``<set>-rxx.labels``, in the order of the images.
"""

from __future__ import annotations

import json
import os
import re

import numpy as np

from dnnlib.errors import UserError
from dnnlib.records.tfrecord import DamagedRecordError, RecordFile

_SHARD = re.compile(r"-r(\d\d)\.tfrecords(?:(\d+)of(\d+))?$")


def find_levels(path, remedy):
    """The shards in a folder.

    Args:
      path: the folder.
      remedy: end of the error messages: what to do.

    Returns:
      {resolution: list of shard paths in order}.
    """
    levels = group_shards(os.listdir(path), path, remedy)
    return {side: [os.path.join(path, name) for name in names] for side, names in levels.items()}


def group_shards(names, path, remedy):
    """Find the shards among names of files; hidden ones are none.

    Args:
      names: all names, of a folder or of an archive's members.
      path: where they are, for the error messages.
      remedy: end of the error messages: what to do.

    Returns:
      {resolution: list of names in the order in which images are dealt out to them}.
    """
    found = {}
    for name in sorted(names):
        match = _SHARD.search(name)
        if match and not _is_hidden(name):
            level, index, count = (int(group or 0) for group in match.groups())
            shards = found.setdefault(1 << level, {}).setdefault(count, {})
            if index in shards:
                raise UserError(f"{path}: {shards[index]} and {name} are the same shard; keep one")
            shards[index] = name
    if not found:
        raise UserError(f"{path}: holds no TFRecords (*-rNN.tfrecords*); {remedy}")
    return {side: _one_set(path, side, sets, remedy) for side, sets in found.items()}


def _is_hidden(name):
    """Whether a file is hidden, as those are that some systems put beside each file."""
    return name.rpartition("/")[2].startswith(".")


def _one_set(path, side, sets, remedy):
    """Order the shards of one resolution; refuse gaps and shards of different sets."""
    if len(sets) > 1:
        kinds = ", ".join(f"...of{count}" if count else "unnumbered" for count in sorted(sets))
        raise UserError(
            f"{path}: the shards of resolution {side} belong to different sets ({kinds}); keep "
            "those of one"
        )
    ((count, shards),) = sets.items()
    missing = [index for index in range(1, count + 1) if index not in shards]
    if missing:
        raise UserError(
            f"{path}: shards {missing[:5]} of {count} are missing at resolution {side}; {remedy}"
        )
    return [shards[index] for index in sorted(shards)]


def read_info(path, remedy="prepare the set again"):
    """The contents of a dataset.json, checked; None if there is no such file.

    Raises:
      UserError: it does not have the form that is written.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_info(data, path, remedy)


def parse_info(data, path, remedy="prepare the set again"):
    """The bytes of a dataset.json => a dict with a "ratio", "files" and the like that are right."""
    try:
        info = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: {error}; {remedy}") from error
    if not isinstance(info, dict):
        raise UserError(f"{path}: must be an object {{...}}; {remedy}")
    for key, (is_right, rule) in _INFO_RULES.items():
        if key in info and not is_right(info[key]):
            found = json.dumps(info[key])
            found = found if len(found) < 50 else f"{found[:50]}..."
            raise UserError(f"{path}: {key} must be {rule}, found {found}; {remedy}")
    return info


def _is_count(value):
    return type(value) is int and value >= 0


def _are_files(value):
    """{name: {"bytes": size, "crc32": checksum}}."""
    return isinstance(value, dict) and all(
        isinstance(entry, dict)
        and _is_count(entry.get("bytes"))
        and isinstance(entry.get("crc32", ""), str)
        for entry in value.values()
    )


_INFO_RULES = {
    "ratio": (
        lambda value: type(value) in (int, float) and 0.01 <= value <= 100,
        "a number from 0.01 to 100",
    ),
    "files": (_are_files, 'an object of {"bytes": ..., "crc32": ...}'),
    "num_images": (_is_count, "a number"),
    "resolution": (_is_count, "a number"),
    "recipe": (lambda value: isinstance(value, dict), "an object"),
}


def are_dealt(lengths):
    """Whether shards of these lengths can have got their images in turn."""
    total, shards = sum(lengths), len(lengths)
    return all(
        length == (total - index + shards - 1) // shards for index, length in enumerate(lengths)
    )


def find_labels(names):
    """The name of the file with the labels among others; None if there is none."""
    names = sorted(name for name in names if name.endswith(".labels") and not _is_hidden(name))
    return names[0] if names else None


def check_labels(labels, count, is_dealt, path, remedy):
    """Raise UserError unless labels can belong to ``count`` images."""
    if labels.ndim != 2 or len(labels) != count:
        raise UserError(
            f"{path}: labels of shape {list(labels.shape)} do not fit {count} images; {remedy}"
        )
    if labels.dtype.kind not in "fiub":
        raise UserError(f"{path}: labels are {labels.dtype}, not numbers; {remedy}")
    if labels.shape[1] and not is_dealt:
        raise UserError(
            f"{path}: the shards differ in length, so labels cannot be matched to images; {remedy}"
        )


class RecordSet:
    """The images of one resolution of a set, in stored order.

    Args:
      path: the folder.
      resolution: which level; the largest by default.
      remedy: end of the error messages: what to do.

    Attributes:
      files: the shards as RecordFiles.
      shape: (C, H, W) of the stored images.
      is_encoded: some images are stored encoded, so that reading them takes time.
    """

    def __init__(self, path, resolution=None, remedy="prepare the set again"):
        self.path, self._remedy = str(path), remedy
        levels = find_levels(self.path, remedy)
        if resolution is not None and resolution not in levels:
            have = ", ".join(str(side) for side in sorted(levels))
            raise UserError(
                f"{path}: holds images of resolution {have}, not {resolution}; {remedy} "
                f"--resolution {resolution} --overwrite"
            )
        self.files = [RecordFile(shard) for shard in levels[resolution or max(levels)]]
        self._count = sum(len(file) for file in self.files)
        if not self._count:
            raise UserError(f"{path}: the shards are empty; {remedy}")
        # False for sets whose shards were filled otherwise; then labels cannot be matched.
        self.is_dealt = are_dealt([len(file) for file in self.files])
        self.shape = self.files[0].image(0).shape
        if max(self.shape[1:]) != (resolution or max(self.shape[1:])):
            found = f"images of {self.shape[1]}x{self.shape[2]} under the name of {resolution}"
            raise DamagedRecordError(self.files[0].path, 0, found)

        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        self.is_encoded = any((file.lengths < pixels).any() for file in self.files)

    def __len__(self):
        return self._count

    def place(self, index):
        """Shard and row of image ``index``."""
        if self.is_dealt:
            return index % len(self.files), index // len(self.files)
        for shard, file in enumerate(self.files):
            if index < len(file):
                return shard, index
            index -= len(file)
        raise IndexError(index)

    def image(self, index):
        """Image ``index``, uint8 [C, H, W], read-only; all have the same shape."""
        shard, row = self.place(index)
        file = self.files[shard]
        image = file.image(row)
        if image.shape != self.shape:
            what = f"image of shape {list(image.shape)} in a set of {list(self.shape)}"
            raise DamagedRecordError(file.path, int(file.offsets[row]), what)
        return image

    def checksums(self):
        """Length and checksum of every image's record, int64 [num images, 2], in stored order."""
        out = np.empty([len(self), 2], np.int64)
        start, step = 0, len(self.files) if self.is_dealt else 1
        for file in self.files:
            rows = out[start::step] if self.is_dealt else out[start : start + len(file)]
            rows[:, 0], rows[:, 1] = file.lengths, file.checksums()
            start += 1 if self.is_dealt else len(file)
        return out

    def labels(self):
        """The labels, memory-mapped float32 [num images, label size]; None if there are none."""
        name = find_labels(os.listdir(self.path))
        if name is None:
            return None
        path = os.path.join(self.path, name)
        try:
            labels = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: cannot be read as labels: {error}") from error
        check_labels(labels, self._count, self.is_dealt, path, self._remedy)
        return labels

    def close(self):
        """Close the files."""
        for file in self.files:
            file.close()
