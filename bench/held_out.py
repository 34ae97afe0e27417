"""What a discriminator remembers: its scores of training images, of others, and of samples.

    python bench/held_out.py results/X-000 results/Y-000 [--images-num 300]

For runs with --train-images-num, which leave the rest of their dataset unseen. Of each run's last
snapshot: mean scores of training images, held-out images and samples of the moving average, and
r_v = (training - held out) / (training - samples), Eq. 1 of StyleGAN2-ADA (arXiv:2006.06676):
0 for a discriminator that treats unseen images like training images, 1 for one that treats them
like samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from config.resolve import find_dataset
from dnnlib import cli, tflib
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import find_snapshots, load_config
from dnnlib.tflib.compat import tf
from metrics.generated import GeneratedImages
from metrics.image_sources import DatasetImages
from training.dataset import Dataset


def memory_share(training, held_out, samples):
    """r_v, Eq. 1 of arXiv:2006.06676, of mean scores."""
    return (training - held_out) / (training - samples)


def mean_score(D, images, labels, batch_size):
    """Mean of D's scores, in batches of the training's size; the last, smaller one is left out.

    Args:
      D: discriminator.
      images: uint8 [N, C, H, W].
      labels: [N, label_size].
      batch_size: images at a time, on which the standard deviation within a batch depends.
    """
    num = len(images) // batch_size * batch_size
    floats = images[:num].astype(np.float32) / 127.5 - 1
    return float(np.mean(D.run(floats, labels[:num], batch_size=batch_size)))


def mean_scores(run_dir, num):
    """Mean scores of the training images, of the others, of samples, each of ``num`` at most.

    Args:
      run_dir: of a run on part of its dataset.
      num: number of images of each kind.

    Raises:
      UserError: it is no run, has no snapshot, or no image was held out.
    """
    config = load_config(run_dir)
    data, loop = config["data"], config["loop"]
    snapshots = find_snapshots(run_dir)
    if not snapshots:
        raise UserError(f"{run_dir}: has no snapshot yet")
    path = find_dataset(data["data_dir"], data["dataset"])
    dataset = Dataset(path, data["resolution"], rectangle=data["rectangle"], ratio=data["ratio"])
    first = data["train_images_num"] or dataset.num_images
    if first >= dataset.num_images:
        raise UserError(
            f"{run_dir}: was trained on all {dataset.num_images} images of {path}; "
            "--train-images-num holds some out"
        )
    reals = DatasetImages(dataset, ratio=1.0)  # whole, as D takes them; samples likewise
    with tf.Graph().as_default(), tflib.create_session({}):
        _, D, Gs = tflib.load_networks(snapshots[-1][1])
        generated = GeneratedImages(Gs, loop["seed"], loop["batch_size"], reals, reals.ratio)
        parts = []
        for start, end in ((0, first), (first, dataset.num_images)):
            places = range(start, min(end, start + num))
            images = np.stack([dataset.image(place) for place in places])
            parts.append((images, reals.labels(places)))
        samples = np.concatenate(list(generated.batches(num)))
        parts.append((samples, np.concatenate([labels for _, labels in generated.draw(num)])))
        return [mean_score(D, *part, loop["batch_size"]) for part in parts]


def main(argv=None):
    """Print a line for each run."""
    parser = cli.Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="run directories")
    parser.add_argument(
        "--images-num",
        type=cli.positive_int,
        default=300,
        help="images of each kind (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    for run in args.runs:
        scores = mean_scores(run, args.images_num)
        training, held_out, samples = (f"{score:.2f}" for score in scores)
        print(
            f"{run}  training {training}  held out {held_out}  samples {samples}  "
            f"r_v {memory_share(*scores):.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run_script(main))
