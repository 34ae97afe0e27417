"""Conversion of pictures in worker processes, in order and with bounded memory."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from datasets_tool.channels import COLOURED, has_colour, to_channels
from datasets_tool.decode import UnreadableImageError, fit, levels
from dnnlib.errors import UserError
from dnnlib.records.encoded import encode
from dnnlib.records.tfrecord import (
    image_record_bytes,
    write_encoded_record,
    write_image_record,
)

_KEPT = "JPEG, kept as it is"
_CHUNK_BYTES = 3 << 20  # of the largest images that a worker converts in one piece
# Records that may wait, per worker: enough to go on while files are synchronised with the disk.
_AHEAD_BYTES = 12 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt()
_KEPT_BYTES, _MALLOC_BYTES = 64 << 20, 32 << 20  # freed memory to keep, the largest block of it
_LOOK_SECONDS = 0.1  # between two looks at what a worker does, and at Ctrl-C


@dataclass(frozen=True)
class Recipe:
    """How pictures become images of a set.

    Attributes:
      resolution: side of the images; None: the power of two nearest to the first picture.
      ratio: height / width that pictures are cut to.
      crop: how (see images.fit).
      shards_num: files per level.
      max_images: number of images to stop after.
      multi_resolution: also write all smaller sizes down to 4x4.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA); None: by rule from the first pictures.
      background: "#rrggbb" on which transparent parts are laid; None: white, and a rule may keep
        them.
      record_format: "raw": pixels; "png", "webp": encoded without loss; "jpeg": JPEGs that fit
        are kept as they are, the others are encoded as PNG. None: by rule from the resolution.
    """

    resolution: int | None = None
    ratio: float = 1.0
    crop: str = "center"
    shards_num: int = 1
    max_images: int | None = None
    multi_resolution: bool = False
    channels: int | None = 3
    background: str | None = None
    record_format: str | None = "raw"

    def sides(self):
        """Sides of the images that are written, the largest first."""
        smallest = 4 if self.multi_resolution else self.resolution
        return [self.resolution >> k for k in range((self.resolution // smallest).bit_length())]

    def record_bytes(self):
        """Sizes of a picture's records, one for each side; encoded ones are smaller."""
        return [image_record_bytes((self.channels, side, side)) for side in self.sides()]


@dataclass
class Converted:
    """What became of one picture; ``error`` says why there is no image.

    ``records`` are views of memory that serves again once the next Converted is asked for;
    ``sizes`` are their sizes.
    """

    name: str
    error: str | None = None
    label_key: object = None
    records: tuple = ()
    sizes: tuple = ()
    side_data: dict | None = None
    notes: frozenset = frozenset()
    sums: tuple = ()


def _split(memory, sizes):
    """The first parts of a buffer, of these sizes."""
    ends = list(itertools.accumulate(sizes))
    return tuple(memory[end - size : end] for size, end in zip(sizes, ends))


def _planes(picture):
    """Picture of mode L, RGB or RGBA => its channels, uint8 [H, W]."""
    shape, bands = picture.size[::-1], picture.getbands()
    return [np.frombuffer(picture.tobytes("raw", band), np.uint8).reshape(shape) for band in bands]


def _convert_one(source, recipe, key, memory):
    """Load, fit and encode one picture; its records are put at the start of ``memory``."""
    name = source.name_of(key)
    try:
        picture, notes, side_data = source.load(key)
    except UnreadableImageError as error:
        return Converted(name, error=str(error))
    planes, kept = picture, None
    if not isinstance(picture, np.ndarray):
        if recipe.channels == 1 and has_colour(picture):
            notes.add(COLOURED)
        picture = to_channels(picture, recipe.channels, recipe.background)
        picture = fit(picture, recipe.resolution, recipe.ratio, recipe.crop)
        planes = _planes(picture)
        if recipe.record_format == "jpeg" and picture.format == "JPEG":  # it was not changed
            kept = source.encoded(key)
    images = levels(np.stack(planes)) if recipe.multi_resolution else [planes]
    sizes, start = [], 0
    for image, most in zip(images, recipe.record_bytes()):
        record = memory[start : start + most]
        sizes.append(_write_record(image, recipe.record_format, kept, record))
        if kept and sizes[-1] < most:
            notes.add(_KEPT)
        start, kept = start + sizes[-1], None
    return Converted(
        name,
        label_key=source.label_key(key),
        records=_split(memory, sizes),
        sizes=tuple(sizes),
        side_data=side_data,
        notes=frozenset(notes),
        sums=tuple(int(plane.sum(dtype=np.uint32)) for plane in planes),
    )


def _write_record(image, record_format, file, record):
    """Write an image at the start of a buffer: as pixels, or encoded if that is smaller.

    Args:
      image: its channels.
      record_format: see Recipe.
      file: bytes of its JPEG, if that is to be kept.
      record: buffer of the size that the pixels need.

    Returns:
      Size of the record.
    """
    if record_format != "raw":
        shape = (len(image), *image[0].shape)
        file = file or encode(image, "webp" if record_format == "webp" else "png")
        size = write_encoded_record(shape, file, record)
        if size:
            return size
    write_image_record(image, record)
    return len(record)


_worker = {}


def _end_with(parent):
    """End this process when its parent is gone, however that happened."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _block_interrupts(is_blocked):
    """Block Ctrl-C for this thread or let it through; returns whether it was blocked before.

    Windows has no such thing: there, a worker that has not come to ``start_quietly`` when Ctrl-C
    is pressed ends with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return False
    how = signal.SIG_BLOCK if is_blocked else signal.SIG_UNBLOCK
    return signal.SIGINT in signal.pthread_sigmask(how, {signal.SIGINT})


@contextlib.contextmanager
def interrupts_wait():
    """Ctrl-C waits for the end of this context.

    Processes started in it inherit the block, so they see no Ctrl-C before ``start_quietly``,
    however long they take to come so far. Other threads of this process do not block it, thus its
    handler only takes a note.
    """
    came, is_main = [], threading.current_thread() is threading.main_thread()
    before = _block_interrupts(True)
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(1)) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        if not before:
            _block_interrupts(False)
    if came and callable(handler):
        handler(signal.SIGINT, None)


def result_of(future, look=lambda: None):
    """The result of a future of a pool; ``look()`` is called every tenth of a second until then.

    ``future.result()`` alone may hang the pool: Ctrl-C that strikes just after it has taken the
    future's lock leaves it locked, and then the pool's own thread waits for ever to set the result.
    """
    while True:
        with interrupts_wait():
            if concurrent.futures.wait([future], _LOOK_SECONDS).done:
                return future.result()
        look()


def end_pool(pool, futures):
    """Cancel what has not begun, and wait for the rest; a further Ctrl-C waits, too."""
    with interrupts_wait():
        for future in futures:
            future.cancel()
        pool.shutdown()


def start_quietly(parent):
    """First thing in a worker: the parent alone answers Ctrl-C, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _block_interrupts(False)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def keep_freed_memory():
    """Ask the C library to keep freed memory for the next picture: glibc's own choice is to give
    every large block back, and then to have the system clear its pages anew, picture by picture.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _MALLOC_BYTES)


def _start_worker(source, recipe, memory, parent):
    """Keep what all chunks share."""
    start_quietly(parent)
    keep_freed_memory()
    _worker.update(source=source, recipe=recipe, memory=memoryview(memory).cast("B"))


def _convert_chunk(keys, start):
    """Convert some pictures in a worker.

    Returns:
      A Converted for each, without the records: those lie one after the other in the shared
      memory from ``start`` on.
    """
    memory = _worker["memory"][start:]
    results = []
    for key in keys:
        results.append(_convert_one(_worker["source"], _worker["recipe"], key, memory))
        if results[-1].records:
            results[-1].records, memory = (), memory[sum(results[-1].sizes) :]
    return results


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
        memory = memoryview(bytearray(sum(recipe.record_bytes())))
        for key in keys:
            yield _convert_one(source, recipe, key, memory)
        return
    try:
        yield from _convert_in_workers(source, recipe, keys, workers)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, often for want of memory; run the same command again to "
            "go on, with fewer --workers"
        ) from error


def _convert_in_workers(source, recipe, keys, workers):
    """convert_all with several processes. Records come through shared memory, a slot a chunk."""
    sizes = recipe.record_bytes()
    pictures = max(1, min(32, _CHUNK_BYTES // sizes[0]))
    slot_bytes = pictures * sum(sizes)
    slots_num = max(2, _AHEAD_BYTES // slot_bytes) * workers + 1
    # Fresh processes (spawn) are safe whatever the parent runs, and import no TensorFlow.
    context = multiprocessing.get_context("spawn")
    shared = context.RawArray(ctypes.c_ubyte, slots_num * slot_bytes)
    memory = memoryview(shared).cast("B")
    with interrupts_wait():  # this starts a process, which keeps account of semaphores
        pool = concurrent.futures.ProcessPoolExecutor(
            workers, context, _start_worker, (source, recipe, shared, os.getpid())
        )
    chunks, waiting = _chunks(keys, pictures), collections.deque()
    starts = collections.deque(slot * slot_bytes for slot in range(slots_num))

    def submit(most):
        for chunk in itertools.islice(chunks, most):
            start = starts.popleft()
            with interrupts_wait():  # each call may start a worker
                waiting.append((pool.submit(_convert_chunk, chunk, start), start))

    try:
        with _one_thread_each():
            submit(slots_num - 1)
        while waiting:
            future, start = waiting.popleft()
            results, position = result_of(future), start
            submit(1)
            for converted in results:
                if converted.error is None:
                    converted.records = _split(memory[position:], converted.sizes)
                    position += sum(converted.sizes)
                yield converted
            starts.append(start)
    finally:
        end_pool(pool, [future for future, _ in waiting])
