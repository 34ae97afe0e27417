"""Speed of prepare_data.py, from a JPEG folder and from LMDB, against simpler programs.

    python bench/prepare_speed.py [--images-num 3000] [--resolution 256] [--workers 2]

Compared, on the same files in turn: a loop in one process that decodes, resizes, encodes and
writes; decoding and resizing alone, in as many processes; and the same in processes that keep freed
memory as prepare_data.py's workers do (nothing can be faster than that).
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from datasets_tool.convert import prepare
from datasets_tool.decode import decode, fit
from datasets_tool.pool import Recipe, keep_freed_memory
from datasets_tool.sources.formats import open_source
from dnnlib.records.tfrecord import encode_image, frame


def make_jpegs(folder, count, size):
    """Write pictures that compress like photographs: smooth shapes with some grain."""
    rng = np.random.RandomState(0)
    width, height = size
    for index in range(count):
        coarse = Image.fromarray(rng.randint(0, 256, [9, 12, 3]).astype(np.uint8))
        pixels = np.asarray(coarse.resize(size, Image.BICUBIC)).astype(np.float32)
        pixels = (pixels + rng.randn(height, width, 1) * 6).clip(0, 255).astype(np.uint8)
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(str(path), quality=90)


def make_lmdb(folder, path):
    """The same pictures as an LMDB database."""
    import lmdb  # noqa: PLC0415 - optional

    files = sorted(folder.rglob("*.jpg"))
    database = lmdb.open(str(path), map_size=sum(f.stat().st_size for f in files) * 2 + (1 << 24))
    with database, database.begin(write=True) as transaction:
        for file in files:
            transaction.put(file.name.encode(), file.read_bytes())


def decode_and_resize(data, resolution):
    """What no program can leave out."""
    image = decode(data)[0]
    return np.asarray(fit(image, resolution)).transpose(2, 0, 1)


def simple_loop(paths, resolution, out):
    """Decode, resize, encode, write, one after the other."""
    with Path(out).open("wb") as file:
        for path in paths:
            file.write(frame(encode_image(decode_and_resize(Path(path).read_bytes(), resolution))))


def _only_decode(job):
    paths, resolution = job
    for path in paths:
        decode_and_resize(Path(path).read_bytes(), resolution)


def decoding_alone(paths, resolution, workers, start=None):
    """Decode and resize in parallel; results are thrown away. Workers first call ``start``."""
    jobs = [(paths[i : i + 16], resolution) for i in range(0, len(paths), 16)]
    with multiprocessing.get_context("spawn").Pool(workers, start) as pool:
        for _ in pool.imap_unordered(_only_decode, jobs):
            pass


def timed(function, *args, **kwargs):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def measure(args, work):
    """Seconds of each program, best of the rounds: {name: seconds}."""
    folder = work / "jpeg"
    make_jpegs(folder, args.images_num, (400, 300))
    paths = sorted(str(path) for path in folder.rglob("*.jpg"))
    places = {"JPEG folder": folder}
    try:
        make_lmdb(folder, work / "lmdb")
        places["LMDB"] = work / "lmdb"
    except ImportError:
        sys.stdout.write("LMDB is left out: pip install lmdb\n")
    recipe, seconds = Recipe(resolution=args.resolution), {}
    for _ in range(args.rounds):
        found = {
            "simple loop": timed(simple_loop, paths, args.resolution, str(work / "loop")),
            "decoding alone": timed(decoding_alone, paths, args.resolution, args.workers),
            "memory kept": timed(
                decoding_alone, paths, args.resolution, args.workers, keep_freed_memory
            ),
        }
        for name, place in places.items():
            out = work / "out"
            source = open_source(str(place))
            found[name] = timed(prepare, source, str(out), recipe, workers=args.workers)
            (shard,) = out.glob("*.tfrecords*")
            if shard.read_bytes() != (work / "loop").read_bytes():
                raise SystemExit(f"{name}: other bytes than the simple loop's")
            shutil.rmtree(str(out))
        for name, value in found.items():
            seconds[name] = min(value, seconds.get(name, value))
    return seconds


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images-num", type=int, default=3000)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        seconds = measure(args, Path(work))
    loop, alone, kept = (seconds.pop(k) for k in ("simple loop", "decoding alone", "memory kept"))
    n, size = args.images_num, args.resolution
    print(f"{n} JPEGs of 400x300 to {size}x{size}, {args.workers} processes, best of {args.rounds}")
    print(f"simple loop, one process     {n / loop:7.0f} images/s")
    print(f"decoding and resizing alone  {n / alone:7.0f} images/s")
    print(f"the same, freed memory kept  {n / kept:7.0f} images/s")
    for name, value in seconds.items():
        print(
            f"prepare, {name:19s} {n / value:7.0f} images/s: {loop / value:.2f} times the loop, "
            f"{value / alone:.2f} times the cost of decoding and resizing, "
            f"{value / kept:.2f} with memory kept"
        )


if __name__ == "__main__":
    main()
