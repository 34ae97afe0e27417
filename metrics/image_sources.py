"""Where the images to be measured come from: a prepared dataset or a folder of picture files.

Both sides of a comparison go the same way: uint8, [N, C, H, W], cut to the same ratio of height to
width, every image once.
"""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from training.dataset import Dataset
from vis.channels import convert
from vis.pictures import crop_to_ratio

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
RATIO_SLACK = 0.02  # how far an image that is cut already may be off, as a share


def crop(images, ratio):
    """Cut images to a ratio of height to width.

    Args:
      images: [N, C, H, W], square, or of about that ratio already.
      ratio: height / width to keep; 1 keeps all.

    Returns:
      [N, C, h, w], or ``images``.

    Raises:
      UserError: neither square nor of that ratio.
    """
    height, width = images.shape[2:]
    if ratio == 1 or abs(height / width - ratio) <= RATIO_SLACK * ratio:
        return images
    if height != width:
        raise UserError(
            f"images of {height}x{width} are neither square nor of --ratio={ratio:g}; "
            f"give --ratio {height / width:.4g} to measure them whole"
        )
    return crop_to_ratio(images, ratio)


class DatasetImages:
    """The images of a prepared dataset, in an order that never changes.

    Args:
      dataset: the training.dataset.Dataset to measure; its place, resolution, number of images and
        mirroring count, its seed does not.
      ratio: see :func:`crop`; the dataset's own by default.

    Attributes:
      num_images, ratio, name, label_size.
    """

    def __init__(self, dataset, ratio=None):
        self._dataset = Dataset(
            dataset.path, dataset.resolution, dataset.num_images, seed=0, mirror=dataset.mirror
        )
        self.num_images, self.name = dataset.num_images, dataset.name
        self.label_size = dataset.label_size
        self.ratio = dataset.ratio if ratio is None else ratio
        self._fingerprint = None

    def key(self):
        """All that decides about the images, as a dict of plain values."""
        if self._fingerprint is None:
            self._fingerprint = self._dataset.fingerprint()
        return {
            "contents": self._fingerprint,
            "resolution": self._dataset.resolution,
            "mirror": self._dataset.mirror,
            "ratio": self.ratio,
        }

    def batches(self, num, batch_size):
        """Yield the first ``num`` images, uint8 [N, C, H, W], cut to the ratio."""
        left = num
        with contextlib.closing(self._dataset.iterate(0, batch_size)) as batches:
            while left > 0:
                images = next(batches)[0][:left]
                left -= len(images)
                yield crop(images, self.ratio)

    def label_key(self):
        """Text that tells these labels, which :meth:`key` says nothing about, from any others."""
        return hashlib.sha256(self.labels(range(self.num_images)).tobytes()).hexdigest()

    def labels(self, indices):
        """Labels of images by their stored place, float32 [N, label_size]."""
        return np.stack([self._dataset.label(index) for index in indices])


class FolderImages:
    """Picture files of one size, in the order of their names, sub-folders included.

    Args:
      path: the folder.
      ratio: see :func:`crop`.

    Attributes:
      num_images, ratio, name.
    """

    def __init__(self, path, ratio=1.0):
        folder = pathlib.Path(path)
        if not folder.is_dir():
            raise UserError(f"{path}: there is no such folder of images")
        files = (file for file in folder.rglob("*") if file.suffix.lower() in FORMATS)
        self._files = sorted(file for file in files if not file.name.startswith("."))
        if not self._files:
            raise UserError(f"{path}: holds no images ({', '.join(FORMATS)})")
        if len(self._files) < 2:
            raise UserError(f"{path}: holds one image only; to be measured it takes two or more")
        self.num_images, self.name, self.ratio = len(self._files), str(path), ratio
        self._first = None
        self._digests = None

    def key(self):
        """All that decides about the images, as a dict of plain values."""
        if self._digests is None:
            self._digests = hashlib.sha256()
            for file in self._files:
                self._digests.update(hashlib.sha256(file.read_bytes()).digest())
        contents = self._digests.hexdigest()
        return {"contents": contents, "mirror": False, "ratio": self.ratio, "ground": "white"}

    def batches(self, num, batch_size):
        """Yield the first ``num`` images, uint8 [N, 3, H, W], cut to the ratio."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, num, batch_size):
                files = self._files[start : min(start + batch_size, num)]
                images = list(pool.map(_read, files))
                self._check_sizes(files, images)
                yield crop(np.stack(images), self.ratio)

    def _check_sizes(self, files, images):
        """Refuse an image that is not of the first one's size."""
        for file, image in zip(files, images):
            self._first = self._first or (file, image.shape)
            if image.shape != self._first[1]:
                sizes = ["{2}x{1}".format(*shape) for shape in (image.shape, self._first[1])]
                raise UserError(
                    f"{file}: is {sizes[0]}, but {self._first[0]} is {sizes[1]}; images to be "
                    "measured must be of one size: prepare_data.py --task makes a dataset of them"
                )


def _read(file):
    """One image, uint8 [3, H, W]; transparent ones lie on white."""
    try:
        with Image.open(str(file)) as image:
            return np.asarray(convert(image, 3)).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: cannot be read as an image ({error}); remove it") from error
