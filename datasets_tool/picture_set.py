"""A zip or folder of pictures with a dataset.json, as StyleGAN2-ADA's and StyleGAN3's tools write
it, read in place: what :class:`dnnlib.records.record_set.RecordSet` is to records.

Pictures stand in the order of their paths. ``dataset.json`` holds ``{"labels": [[path, label],
...]}``; a label is the number of a class or a vector.
"""

from __future__ import annotations

import os
import shlex

import numpy as np

from datasets_tool.channels import to_channels
from datasets_tool.decode import RESOLUTIONS, UnreadableImageError
from datasets_tool.sources.archives import ZipSource
from datasets_tool.sources.folders import FolderSource, picture_suffixes
from dnnlib.errors import UserError
from dnnlib.records.encoded import MODES, to_planes

_LOOKED_AT = 100  # pictures from which the channels of all are found
_CHANNELS = {mode: channels for channels, mode in MODES.items()}


def holds_pictures(path):
    """Whether there is a zip archive at ``path``, or a folder with pictures and no records."""
    if not os.path.isdir(path):
        return path.lower().endswith(".zip")
    names = os.listdir(path)
    if ".partial" in names or any(".tfrecords" in name for name in names):
        return False
    suffixes = picture_suffixes(None)
    return any(name.lower().endswith(suffixes) for _, _, names in os.walk(path) for name in names)


class PictureSet:
    """The pictures of a zip archive or a folder.

    Args:
      path: of either.
      resolution: refuse pictures of another side; None: any power of two.

    Attributes:
      shape: (C, H, W) of the images; C is 3 if some are grey and some RGB.
      is_encoded: True: an image is decoded each time it is read.
    """

    is_encoded = True

    def __init__(self, path, resolution=None):
        is_folder = os.path.isdir(path)
        self._source = FolderSource(path) if is_folder else ZipSource(path, picture_suffixes(None))
        self._remedy = (
            f"prepare the set: python prepare_data.py --task NAME --images-dir {shlex.quote(path)}"
        )
        self._keys = list(self._source.keys())
        looked_at = [self._load(key) for key in self._source.some_keys(_LOOKED_AT)]
        side = looked_at[0].size[0]
        if side not in RESOLUTIONS:
            raise UserError(
                f"{self._source.name_of(self._keys[0])}: is {_size(looked_at[0])}; images must be "
                f"square, with a power of two from 4 to 4096 as side; {self._remedy}"
            )
        if resolution is not None and resolution != side:
            raise UserError(
                f"{path}: holds images of resolution {side}, not {resolution}; {self._remedy} "
                f"--resolution {resolution}"
            )
        channels = max(_CHANNELS[picture.mode] for picture in looked_at)
        self.shape = (channels, side, side)

    def __len__(self):
        return len(self._keys)

    def _load(self, key):
        """A picture of mode L, RGB or RGBA."""
        try:
            return self._source.load(key)[0]
        except UnreadableImageError as error:
            raise UserError(
                f"{self._source.name_of(key)}: unreadable image: {error}; {self._remedy}, which "
                "skips it"
            ) from error

    def image(self, index):
        """Image ``index``, uint8 [C, H, W]; all have the same shape."""
        key = self._keys[index]
        picture, side = self._load(key), self.shape[1]
        if picture.size != (side, side):
            raise UserError(
                f"{self._source.name_of(key)}: is {_size(picture)} in a set of {side}x{side}; "
                f"{self._remedy}"
            )
        if _CHANNELS[picture.mode] > self.shape[0]:
            raise UserError(
                f"{self._source.name_of(key)}: is {picture.mode} in a set of "
                f"{self.shape[0]} channels; {self._remedy}"
            )
        return to_planes(to_channels(picture, self.shape[0]))

    def labels(self):
        """Rows float32 [label size] by the number of the image; None if there are none."""
        labels = self._source.own_labels()
        return None if labels is None else _LabelRows(labels, self._keys)

    def checksums(self):
        """Length and CRC-32 of every picture's file, int64 [num images, 2]."""
        return np.array([self._source.size_and_crc(key) for key in self._keys], np.int64)

    def close(self):
        """Close the archive."""
        self._source.close()


class _LabelRows:
    """Labels by number, so that one-hot ones need no memory."""

    def __init__(self, labels, keys):
        self._labels, self._keys = labels, keys
        self.shape = (len(keys), labels.size)

    def __getitem__(self, index):
        return np.frombuffer(self._labels.row(self._keys[index]), "<f4")


def _size(picture):
    """Width and height for people."""
    return f"{picture.size[0]}x{picture.size[1]}"
