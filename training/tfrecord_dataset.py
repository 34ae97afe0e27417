"""StyleGAN2's interface to a set of records, over :class:`training.dataset.Dataset`."""

from __future__ import annotations

import os

import numpy as np

from dnnlib.errors import UserError
from training.dataset import Dataset


class TFRecordDataset:
    """A prepared set for scripts that take minibatches one after the other.

    Args:
      tfrecord_dir: folder of the records.
      resolution: side of the images; None: the largest there is.
      max_label_size: 0: no labels; "full": all of them; N: at most the first N of their numbers.
      max_images: use only the first images of the set.
      repeat: begin again at the end of the set; else StopIteration is raised there.
      shuffle_mb: 0 gives the stored order, anything else a random one.
      seed: of that order.

    Attributes:
      shape: [C, H, W]; resolution: H; label_size; dtype: "uint8"; dynamic_range: [0, 255].
    """

    def __init__(
        self,
        tfrecord_dir,
        resolution=None,
        max_label_size=0,
        max_images=None,
        repeat=True,
        shuffle_mb=4096,
        seed=0,
    ):
        self._set = Dataset(
            tfrecord_dir, resolution, max_images, seed=seed, labels=bool(max_label_size)
        )
        self._repeat, self._shuffles, self._next = repeat, bool(shuffle_mb), 0
        self._minibatch_size = 1
        self.tfrecord_dir, self.resolution = tfrecord_dir, self._set.resolution
        self.shape, self.dtype, self.dynamic_range = list(self._set.shape), "uint8", [0, 255]
        most = None if max_label_size == "full" else max_label_size
        self.label_size = self._set.label_size if most is None else min(most, self._set.label_size)

    def close(self):
        """Close the files."""
        self._set.close()

    def configure(self, minibatch_size, lod=0):
        """Choose the minibatch size of :meth:`get_minibatch_np`.

        Raises:
          UserError: ``lod`` is not 0: only one resolution is open.
        """
        _check_lod(lod)
        self._minibatch_size = minibatch_size

    def get_minibatch_np(self, minibatch_size=None, lod=0):
        """The next images [N, C, H, W] uint8 and labels [N, label_size].

        Raises:
          StopIteration: the set is at its end, and does not repeat.
        """
        _check_lod(lod)
        size = minibatch_size or self._minibatch_size
        num = self._set.num_images
        if not self._repeat and self._next + size > num:
            raise StopIteration
        if self._shuffles:
            images, labels = self._set.batch(self._next, size)
        else:
            indices = [n % num for n in range(self._next, self._next + size)]
            images = np.stack([self._set.image(index) for index in indices])
            labels = np.stack([self._set.label(index) for index in indices])
        self._next += size
        return images, labels[:, : self.label_size]

    def get_random_labels_np(self, minibatch_size):
        """Labels of images drawn by NumPy's generator, [N, label_size]."""
        indices = np.random.randint(self._set.num_images, size=[minibatch_size])
        return np.stack([self._set.label(index) for index in indices])[:, : self.label_size]


def _check_lod(lod):
    if lod != 0:
        raise UserError(f"lod={lod}: only one resolution is open; give resolution= instead")


def load_dataset(class_name=None, data_dir=None, verbose=False, **kwargs):
    """Open a set by the keywords of StyleGAN2's configurations.

    Args:
      class_name: accepted for old scripts; there is one class.
      data_dir: folder of all datasets, in which ``tfrecord_dir`` is looked for.
      verbose: accepted for old scripts.
      **kwargs: of :class:`TFRecordDataset`.
    """
    del class_name, verbose
    if data_dir is not None and "tfrecord_dir" in kwargs:
        kwargs = {**kwargs, "tfrecord_dir": os.path.join(data_dir, kwargs["tfrecord_dir"])}
    return TFRecordDataset(**kwargs)
