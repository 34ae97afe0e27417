"""Look at a prepared set: check every byte of it, or draw a sheet of its images."""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import zlib
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets_tool.convert import load_info
from datasets_tool.decode import to_picture
from datasets_tool.pool import end_pool, interrupts_wait, result_of, start_quietly
from dnnlib.errors import UserError
from dnnlib.records.record_set import RecordSet, find_levels
from dnnlib.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, DamagedRecordError, RecordFile
from dnnlib.util import atomic_write, log

_SHOWN = 20  # faults that are printed
_BLOCK = 1 << 22


class _StoppedError(Exception):
    """The parent wants no more results."""


_worker = {}


def _start_worker(progress, parent):
    """Keep the numbers of bytes that are done of each job, and the sign to stop behind them."""
    start_quietly(parent)
    _worker.update(progress=progress)


def _check_file(path, expected, report):
    """Faults of a file against its entry in dataset.json; ``report`` is told the bytes read."""
    if not os.path.isfile(path):
        return [f"{path}: is missing"]
    size, crc = os.path.getsize(path), 0
    if size != expected["bytes"]:
        return [f"{path}: has {size} bytes, not {expected['bytes']}"]
    with open(path, "rb") as file:  # noqa: PTH123
        for block in iter(lambda: file.read(_BLOCK), b""):
            crc = zlib.crc32(block, crc)
            report(len(block))
    if f"{crc:08x}" != expected.get("crc32", f"{crc:08x}"):
        return [f"{path}: its contents do not match the checksum in dataset.json"]
    return []


def _check_shard(path, side, report):
    """Number of images of a shard, and its faults: every record is read and decoded."""
    try:
        file = RecordFile(path)
    except DamagedRecordError as error:
        return 0, [str(error)]
    faults = []
    for index in range(len(file)):
        report(HEADER_BYTES + int(file.lengths[index]) + FOOTER_BYTES)
        try:
            image = file.image(index)
            if max(image.shape[1:]) != side:
                where = int(file.offsets[index])
                raise DamagedRecordError(path, where, f"image of shape {list(image.shape)}")
        except DamagedRecordError as error:
            faults.append(str(error))
    return len(file), faults


def _map(check, jobs, workers):
    """Yield check(*job, report) for all jobs, in as many processes as asked for.

    The first value of a job is the path of the file that is read.
    """
    total = sum(os.path.getsize(path) for path, *_ in jobs if os.path.isfile(path))
    with tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar:
        if workers == 1 or not jobs:
            yield from (check(*job, bar.update) for job in jobs)
            return
        workers = min(workers or os.cpu_count() or 1, len(jobs))
        try:
            yield from _map_in_workers(check, jobs, workers, bar)
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed; use fewer --workers") from error


def _map_in_workers(check, jobs, workers, bar):
    """_map with several processes, which tell in shared memory how far they are."""
    context = multiprocessing.get_context("spawn")
    progress = context.RawArray(ctypes.c_uint64, len(jobs) + 1)
    with interrupts_wait():  # this starts a process, which keeps account of semaphores
        pool = concurrent.futures.ProcessPoolExecutor(
            workers, context, _start_worker, (progress, os.getpid())
        )
    futures = []

    def show_progress():
        bar.update(sum(progress[:-1]) - bar.n)

    try:
        for place, job in enumerate(jobs):
            with interrupts_wait():  # each call may start a worker
                futures.append(pool.submit(_check_in_worker, check, job, place))
        for future in futures:
            result = result_of(future, show_progress)
            show_progress()
            yield result
    finally:
        progress[len(jobs)] = 1
        end_pool(pool, futures)


def _check_in_worker(check, job, place):
    """One call of ``check``, in a worker."""
    progress = _worker["progress"]

    def report(size):
        if progress[len(progress) - 1]:
            raise _StoppedError
        progress[place] += size

    return check(*job, report)


def _check_there(folder):
    """Raise UserError if there is no such folder."""
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: there is no such set")


def verify(folder, workers=None):
    """Check a set: files against dataset.json, every record's checksums and shape, counts, labels.

    Args:
      folder: the set.
      workers: processes.

    Raises:
      UserError: with the number of faults, after each was printed.
    """
    _check_there(folder)
    info = load_info(folder) or {}
    levels = find_levels(folder, "nothing to verify")
    shards = [(path, side) for side, paths in levels.items() for path in paths]
    files = [(os.path.join(folder, name), entry) for name, entry in info.get("files", {}).items()]
    faults, counts = [], {}
    for found in _map(_check_file, files, workers):
        faults += found
    for (_, side), (count, found) in zip(shards, _map(_check_shard, shards, workers)):
        counts[side] = counts.get(side, 0) + count
        faults += found
    faults += _check_counts(folder, info, counts, bool(faults))
    for fault in faults[:_SHOWN]:
        log(fault)
    if faults:
        raise UserError(f"{folder}: {len(faults)} faults found; prepare the set again")
    number, sides = max(counts.values()), ", ".join(str(side) for side in sorted(levels))
    log(f"{folder}: all {number} images of resolution {sides} are whole")


def _check_counts(folder, info, counts, is_damaged):
    """Faults in the numbers of images and labels."""
    faults = []
    expected = info.get("num_images", max(counts.values()))
    for side, count in sorted(counts.items()):
        if count != expected:
            faults.append(f"{folder}: {count} images of resolution {side}, not {expected}")
    if not is_damaged and not faults:
        try:
            RecordSet(folder).labels()
        except UserError as error:
            faults.append(str(error))
    return faults


def check_preview(path):
    """Raise UserError if no sheet can be written to ``path``."""
    if not path.lower().endswith(".png"):
        raise UserError(f"--preview {path}: sheets are PNG files; give a name that ends in .png")
    if os.path.isdir(path):
        raise UserError(f"--preview {path}: is a folder; give the name of a file")


def preview(folder, path, columns=8, rows=8):
    """Draw images from all over the set on one sheet.

    Args:
      folder: the set.
      path: PNG file to write.
      columns: images side by side.
      rows: images below each other.
    """
    _check_there(folder)
    images = RecordSet(folder)
    count = min(len(images), columns * rows)
    columns = min(columns, count)
    _, height, width = images.shape
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    for place, index in enumerate(np.linspace(0, len(images) - 1, count).round().astype(int)):
        picture = to_picture(images.image(int(index)))
        at = (place % columns * width, place // columns * height)
        sheet.paste(picture, at, picture if picture.mode == "RGBA" else None)
    with atomic_write(path) as file:
        sheet.save(file, "png")
    log(f"{path}: {count} of {len(images)} images")
