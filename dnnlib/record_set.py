"""A folder of TFRecord shards, ours or that of a published tool, as one list of images.

Files are named ``<set>-rNN.tfrecords`` (StyleGAN2) or ``<set>-rNN.tfrecords<i>of<S>`` (GANsformer),
NN = log2 of the resolution; image j stands in shard j mod S. Labels, if any, are in
``<set>-rxx.labels``, in the order of the images.
"""

from __future__ import annotations

import os
import re

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tfrecord import DamagedRecordError, RecordFile

_SHARD = re.compile(r"-r(\d\d)\.tfrecords(?:(\d+)of(\d+))?$")


def find_levels(path, remedy):
    """The shards in a folder.

    Args:
        path: the folder.
        remedy: end of the error messages: what to do.

    Returns:
        {resolution: list of shard paths in order}.
    """
    found = {}
    for name in sorted(os.listdir(path)):
        match = _SHARD.search(name)
        if match:
            level, index, count = (int(group or 0) for group in match.groups())
            sets = found.setdefault(1 << level, {})
            sets.setdefault(count, {})[index] = os.path.join(path, name)
    if not found:
        raise UserError(f"{path}: holds no TFRecords (*-rNN.tfrecords*); {remedy}")
    return {side: _one_set(path, side, sets, remedy) for side, sets in found.items()}


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


def shard_order(names):
    """Sort shard names as the images are dealt out to them; other names are left out."""
    matches = [(name, _SHARD.search(name)) for name in names]
    return sorted(
        (name for name, match in matches if match),
        key=lambda name: tuple(int(group or 0) for group in _SHARD.search(name).groups()),
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
        shards = len(self.files)
        # False for sets whose shards were filled otherwise; then labels cannot be matched.
        self.is_dealt = all(
            len(file) == (self._count - index + shards - 1) // shards
            for index, file in enumerate(self.files)
        )
        self.shape = self.files[0].image(0).shape
        if max(self.shape[1:]) != (resolution or max(self.shape[1:])):
            found = f"images of {self.shape[1]}x{self.shape[2]} under the name of {resolution}"
            raise DamagedRecordError(self.files[0].path, 0, found)

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
        names = sorted(name for name in os.listdir(self.path) if name.endswith(".labels"))
        if not names:
            return None
        path = os.path.join(self.path, names[0])
        try:
            labels = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as labels: {error}") from error
        if labels.ndim != 2 or len(labels) != self._count:
            raise UserError(
                f"{path}: labels of shape {list(labels.shape)} do not fit {self._count} images; "
                f"{self._remedy}"
            )
        if labels.shape[1] and not self.is_dealt:
            raise UserError(
                f"{self.path}: the shards differ in length, so labels cannot be matched to images; "
                f"{self._remedy}"
            )
        return labels

    def close(self):
        """Close the files."""
        for file in self.files:
            file.close()
