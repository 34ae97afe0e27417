"""Speed, memory and bytes of reading training images, for each form in which a set may be stored.

    python bench/read_speed.py [--images-num 2000] [--resolution 64] [--photos FOLDER]

Prepares the same images as raw, PNG and WebP records, as kept JPEGs, and as a zip of PNGs with a
dataset.json, and reads shuffled batches of each, ahead of a consumer that does nothing. The images
are rendered scenes with a camera's noise, or cut out of the pictures of a folder. The files are in
the page cache, so this is the cost of the program, not of the disk.
"""

import argparse
import contextlib
import io
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets_tool.convert import prepare
from datasets_tool.pool import Recipe
from datasets_tool.scenes import render_scene
from datasets_tool.sources.archives import ZipSource
from training.dataset import Dataset

NOISE = 3.0  # standard deviation, of 255
FORMS = ("raw", "png", "webp", "jpeg", "zip")
QUALITY = 92  # of the JPEGs


def scenes(side):
    """Yield rendered scenes with noise, uint8 [H, W, 3], 16 different ones."""
    rng = np.random.RandomState(0)
    drawn = [render_scene(0, index, side)[0].transpose(1, 2, 0) for index in range(16)]
    while True:
        image = drawn[rng.randint(len(drawn))]
        yield np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)


def cuttings(folder, side):
    """Yield squares out of the pictures of a folder, uint8 [H, W, 3]."""
    rng = np.random.RandomState(0)
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    while True:
        picture = Image.open(str(paths[rng.randint(len(paths))])).convert("RGB")
        cut = int(min(picture.size) * rng.uniform(0.5, 1))
        left, top = (rng.randint(size - cut + 1) for size in picture.size)
        box = (left, top, left + cut, top + cut)
        yield np.asarray(picture.crop(box).resize((side, side), Image.BICUBIC))


def write_zip(path, images, kind, **options):
    """A zip archive as the published tools write it, without labels."""
    with zipfile.ZipFile(str(path), "w") as archive:
        for index, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image).save(file, kind, **options)
            archive.writestr(f"{index // 1000:05d}/img{index:08d}.{kind}", file.getvalue())


def make(form, work, images):
    """Store images in a form; returns the path and the processor seconds for each image."""
    start = time.process_time()
    path = work / "set.zip"
    if form == "zip":
        write_zip(path, images, "png")
    else:
        kind = {"kind": "jpeg", "quality": QUALITY} if form == "jpeg" else {"kind": "png"}
        write_zip(work / "source.zip", images, compress_level=0, **kind)
        start, path = time.process_time(), work / "set"
        source = ZipSource(str(work / "source.zip"), (".png", ".jpeg"))
        with contextlib.redirect_stdout(io.StringIO()):
            recipe = Recipe(resolution=len(images[0]), record_format=form)
            prepare(source, str(path), recipe, workers=1)
    return path, (time.process_time() - start) / len(images)


def read(path, batch_size, windows):
    """Images for each second of processor time, in the best of some windows of half a second, after
    one epoch that checks the records. Unlike images a second, it is about the same beside other
    work; with N free cores up to N times as many come a second.
    """
    dataset = Dataset(path, mirror=True)
    for start in range(0, dataset.num_images, batch_size):
        dataset.batch(start, batch_size)
    best, stream = 0.0, dataset.iterate(dataset.num_images, batch_size)
    for _ in range(windows):
        count, spent, end = 0, time.process_time(), time.perf_counter() + 0.5
        while time.perf_counter() < end:
            next(stream)
            count += batch_size
        best = max(best, count / (time.process_time() - spent))
    stream.close()
    dataset.close()
    return best


def measure(form, args):
    """Print the row of one form."""
    draw = cuttings(args.photos, args.resolution) if args.photos else scenes(args.resolution)
    images = [image for image, _ in zip(draw, range(args.images_num))]
    with tempfile.TemporaryDirectory() as work:
        path, cost = make(form, Path(work), images)
        files = path.iterdir() if path.is_dir() else [path]
        size = sum(file.stat().st_size for file in files) / len(images)
        del images
        rate = read(path, args.batch_size, args.windows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    raw = 3 * args.resolution**2
    print(
        f"| {args.resolution} | {form} | {size:,.0f} | {size / raw:.2f} | {rate:,.0f} | "
        f"{1e3 * cost:.2f} | {peak:.0f} |",
        flush=True,
    )


def main():
    """Measure each form in a process of its own, so that memory is told apart."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images-num", type=int, default=2000)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--photos", help="folder of pictures to cut images out of")
    parser.add_argument("--form", choices=FORMS, help="only this one, without a heading")
    args = parser.parse_args()
    if args.form:
        measure(args.form, args)
        return
    columns = ("side", "form", "bytes an image", "of raw", "images per CPU second")
    print("|", " | ".join((*columns, "CPU ms to write", "peak MB")), "|")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for form in FORMS:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--form", form], check=True)


if __name__ == "__main__":
    main()
