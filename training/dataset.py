"""The training images: a prepared set as an endless, exactly repeatable stream.

Which image stands at place n of the stream is a function of (seed, n): epoch ``n // num_images``
goes through all images in the order of a permutation of (seed, epoch). So a run goes on after a
break just where it was, and several readers share one stream by taking different places of it.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from config.rules import choose_start
from datasets_tool.picture_set import PictureSet, holds_pictures
from dnnlib.errors import UserError
from dnnlib.records.record_set import RecordSet, read_info
from vis.pictures import crop_to_ratio

# Datasets that prepare_data.py makes with a flag of their own name.
CATALOGUE = ("bedrooms", "cityscapes", "clevr", "ffhq", "scenes")

_ORDER, _MIRROR, _GRID = 0, 1, 2  # sites of randomness
_MAX_THREADS = 8  # that decode images; their common lock leaves nothing to more


def _random_state(seed, site, counter=0):
    """A generator that depends on all three numbers; the same on every NumPy version."""
    words = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, site, counter & 0xFFFFFFFF, counter >> 32]
    return np.random.RandomState(words)


def _hash_bits(seed, n):
    """A fair bit for each place of the stream (splitmix64 of seed and place), bool like ``n``."""
    with np.errstate(over="ignore"):
        x = np.asarray(n).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64((seed * 4 + _MIRROR) * 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(63)).astype(bool)


def _how_to_prepare(path):
    """The command that makes the dataset at ``path``."""
    root, name = os.path.split(os.path.abspath(path))
    what = f"--{name}" if name in CATALOGUE else f"--task {name} --images-dir DIR"
    root = min(root, os.path.relpath(root), key=len)
    where = "" if root == "datasets" else f" --data-dir {root}"
    return f"python prepare_data.py {what}{where}"


def _load_info(path):
    """What dataset.json says, compared with the files; {} for sets of other tools."""
    remedy = f"prepare the set again: {_how_to_prepare(path)} --overwrite"
    info = read_info(os.path.join(path, "dataset.json"), remedy)
    if info is None:
        if Path(path, ".partial").is_dir():
            raise UserError(
                f"{path}: its preparation was interrupted; run the same command again to finish it"
            )
        return {}
    for name, expected in info.get("files", {}).items():
        file = Path(path, name)
        size = file.stat().st_size if file.is_file() else None
        if size != expected["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes, not {expected['bytes']}"
            raise UserError(f"{file}: {found}; {remedy}")
    return info


def _open_set(path, resolution):
    """The images at ``path``, in stored order, and what the dataset.json of records says."""
    if not os.path.exists(path):
        what = "file" if path.endswith(".zip") else "dataset"
        remedy = "" if path.endswith(".zip") else f"; prepare it: {_how_to_prepare(path)}"
        raise UserError(f"{path}: there is no such {what}{remedy}")
    if holds_pictures(path):
        return PictureSet(path, resolution), {}
    if not os.path.isdir(path):
        raise UserError(
            f"{path}: is neither a folder nor a zip of images; prepare it: python prepare_data.py "
            f"--task NAME --images-dir {path}"
        )
    info = _load_info(path)
    return RecordSet(path, resolution, f"prepare it: {_how_to_prepare(path)}"), info


class Dataset:
    """Images and labels of a set.

    Args:
        path: folder of records (our tool's, StyleGAN2's or GANsformer's), ``<data-dir>/<name>``;
            or a zip or folder of pictures, as StyleGAN2-ADA and StyleGAN3 have it.
        resolution: side of the images; the largest in the folder by default.
        max_images: use only the first images of the set.
        seed: decides the order and the mirroring.
        mirror: flip half of the images horizontally, another half in each epoch.
        labels: read the labels, if the set has any.
        rectangle: hand out pictures that are not square without the bars that make them square.
        ratio: height / width of the pictures; what the set says by default.

    Attributes:
        name, num_channels, num_images, label_size.
        resolution: longer side of the images.
        shape: (C, H, W) of the images as handed out; H = W = resolution without ``rectangle``.
        ratio: height / width of the pictures, and with bars of what is seen inside the square.
        start: height and width of the first map of networks for images that are not square; None
            for squares.
        networks_resolution: resolution of networks for the images, see config.rules.choose_start.
    """

    def __init__(
        self,
        path,
        resolution=None,
        max_images=None,
        *,
        seed=0,
        mirror=False,
        labels=True,
        rectangle=False,
        ratio=None,
    ):
        path = os.fspath(path)
        self.path, self.name = path, os.path.basename(os.path.abspath(path))
        self.seed, self.mirror = int(seed), bool(mirror)
        self._set, self.info = _open_set(path, resolution)
        if max_images is not None and max_images < 1:
            raise UserError(f"train-images-num must be at least 1, got {max_images}")
        self.num_images = min(len(self._set), max_images or len(self._set))
        self.num_channels, height, width = self._set.shape
        self.resolution = max(height, width)
        self.shape = (self.num_channels, self.resolution, self.resolution)
        self.ratio = float(ratio or self.info.get("ratio", height / width))
        self.start, self.networks_resolution = None, self.resolution
        if rectangle:
            stored = np.empty(self._set.shape, np.bool_)
            self.shape = crop_to_ratio(stored, self.ratio).shape
            self.start, self.networks_resolution = choose_start(*self.shape[1:])
            self.start = None if self.start == (4, 4) else self.start
        self._labels = self._set.labels() if labels else None
        self.label_size = 0 if self._labels is None else self._labels.shape[1]
        self._orders = {}  # epoch => permutation; the last two
        self._threads = min(os.cpu_count() or 1, _MAX_THREADS) if self._set.is_encoded else 1
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    # Single images, in stored order

    def image(self, index):
        """Image ``index`` of the set in stored order, uint8 [C, H, W], read-only.

        One that is not square is centred on a black square, as the published tool stores them, or
        with ``rectangle`` cut out of it.
        """
        image = self._set.image(index)
        if self.start is not None:
            image = crop_to_ratio(image, self.ratio)
        if image.shape == self.shape:
            return image
        _, height, width = image.shape
        out = np.zeros(self.shape, np.uint8)
        top, left = (self.resolution - height) // 2, (self.resolution - width) // 2
        out[:, top : top + height, left : left + width] = image
        return out

    def label(self, index):
        """Label of image ``index`` in stored order, float32 [label_size]."""
        if self._labels is None:
            return np.zeros([0], np.float32)
        return np.asarray(self._labels[index], np.float32)

    # The stream

    def _order(self, epoch):
        """The permutation of one epoch, int [num_images]."""
        order = self._orders.get(epoch)
        if order is None:
            order = _random_state(self.seed, _ORDER, epoch).permutation(self.num_images)
            order = order.astype(np.uint32 if self.num_images < 1 << 32 else np.int64)
            kept = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders = {**dict(list(kept.items())[:1]), epoch: order}
        return order

    def indices(self, start_nimg, batch_size, part=0, parts=1):
        """Which images stand at the places start_nimg ... start_nimg + batch_size - 1, int64 [N].

        With ``parts`` readers, each gets every parts-th place from ``part`` on.
        """
        places = np.arange(start_nimg + part, start_nimg + batch_size, parts, dtype=np.int64)
        out = np.empty(len(places), np.int64)
        epochs, rows = places // self.num_images, places % self.num_images
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = self._order(int(epoch))[rows[here]]
        return out

    def batch(self, start_nimg, batch_size, part=0, parts=1):
        """The images at the places start_nimg ... of the stream; always the same for the same call.

        Args:
            start_nimg: first place, the number of images shown before.
            batch_size: number of places (over all readers).
            part: number of this reader; it takes the places ``start_nimg + part`` and so on.
            parts: number of readers; each takes every parts-th place.

        Returns:
            images uint8 [N, C, H, W] and labels float32 [N, label_size].
        """
        indices = self.indices(start_nimg, batch_size, part, parts)
        images = np.empty((len(indices), *self.shape), np.uint8)
        labels = np.zeros([len(indices), self.label_size], np.float32)
        places = np.arange(start_nimg + part, start_nimg + batch_size, parts, dtype=np.int64)
        flips = (_hash_bits(self.seed, places) & self.mirror).tolist()
        rows = list(zip(range(len(indices)), indices.tolist(), flips))

        def read(part):
            for row, index, flip in part:
                image = self.image(index)
                images[row] = image[:, :, ::-1] if flip else image
                if self.label_size:
                    labels[row] = self._labels[index]

        if self._pool is None:
            read(rows)
        else:
            list(self._pool.map(read, [rows[k :: self._threads] for k in range(self._threads)]))
        return images, labels

    def iterate(self, start_nimg, batch_size, prefetch=4, part=0, parts=1):
        """Batches from ``start_nimg`` on without end, read ahead by a thread.

        At most ``prefetch`` batches wait in memory. Close the generator to stop the thread. A
        damaged record raises where its batch is due.
        """
        ready = queue.Queue(maxsize=max(1, prefetch))
        stop = threading.Event()

        def put(item):
            while not stop.is_set():
                try:
                    return ready.put(item, timeout=0.1)
                except queue.Full:
                    continue
            return None

        def read_ahead():
            nimg = start_nimg
            while not stop.is_set():
                try:
                    item = self.batch(nimg, batch_size, part, parts)
                except Exception as error:  # noqa: BLE001 - handed to the reader, which raises it
                    put(error)
                    return
                put(item)
                nimg += batch_size

        thread = threading.Thread(target=read_ahead, name="dataset", daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()

    def sample_grid(self, num):
        """``num`` images to look at: the same for a seed, different ones if the set has as many.

        Returns:
            images uint8 [N, C, H, W] and labels float32 [N, label_size]; never mirrored.
        """
        order = _random_state(self.seed, _GRID).permutation(self.num_images)
        chosen = np.resize(order, num).tolist()
        labels = np.zeros([num, self.label_size], np.float32)
        for row, index in enumerate(chosen):
            labels[row] = self.label(index)
        return np.stack([self.image(index) for index in chosen]), labels

    def fingerprint(self):
        """Text that tells these images, in this order, from any others; reads only checksums."""
        records = self._set.checksums()[: self.num_images]
        facts = f"{self.shape} {self.num_images} ".encode()
        return hashlib.sha256(facts + records.astype("<i8").tobytes()).hexdigest()

    def close(self):
        """Close the files."""
        if self._pool is not None:
            self._pool.shutdown()
        self._set.close()


def load_dataset(**kwargs):
    """StyleGAN2's function of this name, see :mod:`training.tfrecord_dataset`."""
    from training.tfrecord_dataset import load_dataset as load  # noqa: PLC0415 - it imports us

    return load(**kwargs)
