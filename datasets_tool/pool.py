"""Conversion of pictures in worker processes, in order and with bounded memory."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from datasets_tool.images import UnreadableImageError, fit, levels
from dnnlib.errors import UserError
from dnnlib.tfrecord import image_record

_CHUNK_BYTES = 1 << 20  # pixels that travel between processes in one piece
_CHUNKS_AHEAD = 3  # per worker; bounds the memory


@dataclass(frozen=True)
class Recipe:
    """How pictures become images of a set.

    Attributes:
        resolution: side of the images; None: the power of two nearest to the first picture.
        ratio: height / width that pictures are cut to.
        crop: how (see images.fit).
        shards_num: files per level.
        max_images: stop after so many.
        multi_resolution: also write all smaller sizes down to 4x4.
    """

    resolution: int | None = None
    ratio: float = 1.0
    crop: str = "center"
    shards_num: int = 1
    max_images: int | None = None
    multi_resolution: bool = False


@dataclass
class Converted:
    """What a worker sends back for one picture; ``error`` says why there is no image."""

    name: str
    error: str | None = None
    label_key: object = None
    records: tuple = ()
    side_data: dict | None = None
    notes: frozenset = frozenset()
    sums: tuple = (0.0, 0.0, 0.0)


def _convert_one(source, recipe, key):
    """Load, fit and encode one picture."""
    name = source.name_of(key)
    try:
        picture, notes, side_data = source.load(key)
    except UnreadableImageError as error:
        return Converted(name, error=str(error))
    if not isinstance(picture, np.ndarray):
        picture = fit(picture, recipe.resolution, recipe.ratio, recipe.crop)
        bands = b"".join(band.tobytes() for band in picture.split())
        picture = np.frombuffer(bands, np.uint8).reshape(3, *picture.size)
    sizes = levels(picture) if recipe.multi_resolution else [picture]
    return Converted(
        name,
        label_key=source.label_key(key),
        records=tuple(image_record(image) for image in sizes),
        side_data=side_data,
        notes=frozenset(notes),
        sums=tuple(picture.reshape(3, -1).sum(1, dtype=np.uint32).tolist()),
    )


_worker = {}


def _end_with(parent):
    """End this process when its parent is gone, however that happened."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _start_worker(source, recipe, parent):
    """Keep what all chunks share; the parent alone answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker.update(source=source, recipe=recipe)


def _convert_chunk(keys):
    """Convert some pictures in a worker."""
    return [_convert_one(_worker["source"], _worker["recipe"], key) for key in keys]


@contextlib.contextmanager
def _one_thread_each():
    """Processes started in this context use one thread for their matrix products."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _chunks(keys, size):
    """Split an iterator into lists."""
    keys = iter(keys)
    return iter(lambda: list(itertools.islice(keys, size)), [])


def convert_all(source, recipe, skip, workers):
    """Yield a Converted for each picture after the first ``skip``, in order."""
    keys = itertools.islice(source.keys(), skip, None)
    if workers == 1:
        for key in keys:
            yield _convert_one(source, recipe, key)
        return
    # Fresh processes (spawn) are safe whatever the parent runs, and import no TensorFlow.
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (source, recipe, os.getpid())
    )
    size = max(1, min(32, _CHUNK_BYTES // (3 * recipe.resolution**2)))
    chunks, waiting = _chunks(keys, size), collections.deque()
    try:
        with _one_thread_each():
            for chunk in itertools.islice(chunks, _CHUNKS_AHEAD * workers):
                waiting.append(pool.submit(_convert_chunk, chunk))
        while waiting:
            results = waiting.popleft().result()
            for chunk in itertools.islice(chunks, 1):
                waiting.append(pool.submit(_convert_chunk, chunk))
            yield from results
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, often for want of memory; run the same command again to "
            "go on, with fewer --workers"
        ) from error
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown()
