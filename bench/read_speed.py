"""Speed and memory of reading, shuffling and batching, against a bare sequential read of the files.

    python bench/read_speed.py [--images-num 4000] [--resolution 256] [--batch-size 32]

The first pass over the set compares every record with its checksum, later ones do not. The files
are in the page cache for all, so this is the cost of the program, not of the disk.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.dataset import Dataset

# In a process of its own, so that its memory is not counted here.
MAKE = """
import sys
import numpy as np
from datasets_tool.writer import SetWriter
from dnnlib.records.tfrecord import encode_image, frame
folder, count, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writer, rng = SetWriter(folder, {}, [side], 1), np.random.RandomState(0)
block = rng.randint(0, 256, [3, side, side + 64]).astype(np.uint8)
for index in range(count):
    writer.add([frame(encode_image(block[:, :, index % 64 : index % 64 + side]))])
writer.finish({})
"""


def read_files(folder):
    """Read all bytes, front to back."""
    for path in sorted(folder.glob("*.tfrecords*")):
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(1 << 20)
            while file.readinto(buffer):
                pass


def read_stream(dataset, first_epoch, batch_size):
    """Read one epoch of shuffled batches, ahead of the consumer."""
    batches = -(-dataset.num_images // batch_size)
    stream = dataset.iterate(first_epoch * dataset.num_images, batch_size)
    for _ in range(batches):
        next(stream)
    stream.close()
    return batches * batch_size


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images-num", type=int, default=4000)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "set")
        size = [str(args.images_num), str(args.resolution)]
        subprocess.run([sys.executable, "-c", MAKE, str(folder), *size], cwd=str(root), check=True)
        total = sum(path.stat().st_size for path in folder.glob("*.tfrecords*"))
        read_files(folder)
        rates = {"bare sequential read": 0.0}
        for _ in range(3):
            start = time.perf_counter()
            read_files(folder)
            rate = args.images_num / (time.perf_counter() - start)
            rates["bare sequential read"] = max(rate, rates["bare sequential read"])
        start = time.perf_counter()
        dataset = Dataset(folder, mirror=True)
        print(
            f"{args.images_num} images of {args.resolution}x{args.resolution}, {total / 1e6:.0f} MB"
        )
        print(f"opening (index)              {time.perf_counter() - start:.2f} s")
        for epoch, name in enumerate(("first pass, checked", "second pass", "third pass")):
            start = time.perf_counter()
            count = read_stream(dataset, epoch, args.batch_size)
            rates[name] = count / (time.perf_counter() - start)
    bare = rates["bare sequential read"]
    for name, rate in rates.items():
        print(f"{name:24s} {rate:8.0f} images/s, {rate / bare:.2f} of the bare read")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory     {peak:8.0f} MB")


if __name__ == "__main__":
    main()
