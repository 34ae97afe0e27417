"""Speed and memory of the metrics.

1. FID from two sets of 10,000 x 2048 features: ours against np.cov and scipy.linalg.sqrtm.
2. Precision and recall at 50,000 x 2048: time, and peak memory beside the features themselves.
3. Images per second: dataset to features, against the bare session loop on arrays in memory.

    python bench/metrics_speed.py [--pr-images 50000] [--inception FILE]
"""

import argparse
import contextlib
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import scipy.linalg

from dnnlib.records.tfrecord import encode_image, frame
from metrics import neighbours
from metrics.cache import ArrayCache
from metrics.context import Reals
from metrics.features import Features
from metrics.frechet_inception_distance import frechet_distance, mean_and_cov
from metrics.image_sources import DatasetImages
from metrics.precision_recall import precision_recall
from training.dataset import Dataset

DIM = 2048


def seconds(function, *args):
    """Result and wall time of a call."""
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start


def best_of_two(function):
    """Result and the shorter wall time of two calls."""
    return min((seconds(function) for _ in range(2)), key=lambda pair: pair[1])


def make_features(num, seed, scale=1.0):
    """[num, DIM] float32 whose variances fall off as those of Inception's features do."""
    rng = np.random.RandomState(seed)
    features = rng.standard_normal([num, DIM]).astype(np.float32)
    return features * np.geomspace(1, 0.01, DIM, dtype=np.float32) * np.float32(scale)


def square_root_fid(a, b):
    """FID with scipy's matrix square root."""
    (mean_a, cov_a), (mean_b, cov_b) = [
        (x.mean(axis=0, dtype=np.float64), np.cov(x.astype(np.float64), rowvar=False))
        for x in (a, b)
    ]
    root = np.real(scipy.linalg.sqrtm(cov_a @ cov_b))
    return np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * root)


def bench_fid(num):
    """Print time and result of both forms."""
    a, b = make_features(num, 0), make_features(num, 1, 1.1)
    ours, our_time = best_of_two(lambda: frechet_distance(*mean_and_cov(a), *mean_and_cov(b)))
    theirs, their_time = best_of_two(lambda: square_root_fid(a, b))
    print(
        f"FID of {num:,} x {DIM} features: {our_time:.2f} s, with sqrtm {their_time:.2f} s "
        f"({their_time / our_time:.1f} x); {ours:.9g} and {theirs:.9g}"
    )


def bench_precision_recall(num):
    """Print time and peak memory."""
    real, fake = make_features(num, 0), make_features(num, 1, 0.9)
    tracemalloc.start()
    result, time_taken = seconds(precision_recall, real, fake)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    block = neighbours.BLOCK_ROWS * (neighbours.BLOCK_ROWS + DIM) * 8 / 2**20
    whole = num * num * 8 / 2**20
    print(
        f"Precision and recall of {num:,} x {DIM}: {time_taken:.0f} s, {peak:.0f} MB beside the "
        f"features (a block: {block:.0f} MB, all distances: {whole:,.0f} MB); {result}"
    )


def bench_features(network, name, head, num, batch_size, resolution):
    """Print images per second from a dataset on the disk, and from an array in memory."""
    images = np.random.RandomState(0).randint(
        0, 256, [num, 3, resolution, resolution], dtype=np.uint8
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "bench")
        place.mkdir()
        level = resolution.bit_length() - 1
        data = b"".join(frame(encode_image(image)) for image in images)
        (place / f"bench-r{level:02d}.tfrecords1of1").write_bytes(data)
        source = DatasetImages(Dataset(place))
        network.extract(images[:batch_size], [head])
        best = {"ours": float("inf"), "bare": float("inf")}
        for attempt in range(3):
            reals = Reals(source, ArrayCache(Path(folder, str(attempt))), batch_size)
            best["ours"] = min(best["ours"], seconds(reals.features, network, head, num)[1])

            def bare():
                for start in range(0, num, batch_size):
                    network.extract(images[start : start + batch_size], [head])

            best["bare"] = min(best["bare"], seconds(bare)[1])
    ours, bare = (num / best[key] for key in ("ours", "bare"))
    print(
        f"{name} features at {resolution}x{resolution}: {ours:.0f} images/s from the dataset to "
        f"the cache, {bare:.0f} images/s in the bare loop ({ours / bare:.2f} x)"
    )


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fid-images", type=int, default=10000)
    parser.add_argument("--pr-images", type=int, default=50000, help="0 leaves this part out")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--inception", help="measure this network's speed too")
    args = parser.parse_args()
    size = (args.images, args.batch_size, args.resolution)
    with contextlib.closing(Features(args.inception)) as features:
        bench_features(features.find("pool", "random")[0], "Random", "pool", *size)
        if args.inception:
            bench_features(features.find("pool")[0], "Inception", "pool", *size)
    bench_fid(args.fid_images)
    if args.pr_images:
        bench_precision_recall(args.pr_images)


if __name__ == "__main__":
    main()
