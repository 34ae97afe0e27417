"""Look at a prepared set: check every byte of it, or draw a sheet of its images."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import zlib

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets_tool.convert import load_info
from dnnlib.errors import UserError
from dnnlib.record_set import RecordSet, find_levels
from dnnlib.tfrecord import DamagedRecordError, RecordFile
from dnnlib.util import atomic_write, log

_SHOWN = 20  # faults that are printed
_BLOCK = 1 << 22


def _check_file(path, expected):
    """Faults of a file against its entry in dataset.json."""
    if not os.path.isfile(path):
        return [f"{path}: is missing"]
    size, crc = os.path.getsize(path), 0
    if size != expected["bytes"]:
        return [f"{path}: has {size} bytes, not {expected['bytes']}"]
    with open(path, "rb") as file:  # noqa: PTH123
        for block in iter(lambda: file.read(_BLOCK), b""):
            crc = zlib.crc32(block, crc)
    if f"{crc:08x}" != expected.get("crc32", f"{crc:08x}"):
        return [f"{path}: its contents do not match the checksum in dataset.json"]
    return []


def _check_shard(path, side):
    """Number of images of a shard, and its faults: every record is read and decoded."""
    try:
        file = RecordFile(path)
    except DamagedRecordError as error:
        return 0, [str(error)]
    faults = []
    for index in range(len(file)):
        try:
            image = file.image(index)
            if max(image.shape[1:]) != side:
                where = int(file.offsets[index])
                raise DamagedRecordError(path, where, f"image of shape {list(image.shape)}")
        except DamagedRecordError as error:
            faults.append(str(error))
    return len(file), faults


def _map(check, arguments, workers):
    """Yield check(*arguments) for all, in as many processes as asked for."""
    bar = tqdm(arguments, unit=" files", disable=None)
    if workers == 1:
        yield from (check(*job) for job in bar)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers or os.cpu_count(), context) as pool:
        jobs = [pool.submit(check, *job) for job in arguments]
        for job, _ in zip(jobs, bar):
            yield job.result()


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
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise UserError(f"--preview {path}: there is no such folder; make it first")


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
        image = np.array(images.image(int(index)))
        image = np.repeat(image, 3, axis=0) if len(image) == 1 else image[:3]
        at = (place % columns * width, place // columns * height)
        sheet.paste(Image.fromarray(image.transpose(1, 2, 0)), at)
    with atomic_write(path) as file:
        sheet.save(file, "png")
    log(f"{path}: {count} of {len(images)} images")
