#!/usr/bin/env python3
"""Prepare datasets for training: TFRecords in datasets/<name>/, out of any images.

python prepare_data.py --scenes
python prepare_data.py --task flowers --images-dir ~/pictures/flowers
"""

import os
import sys

from datasets_tool import inspect_set, labels
from datasets_tool.convert import Recipe, prepare
from datasets_tool.formats import FORMATS, open_source
from datasets_tool.images import CROPS, check_resolution
from datasets_tool.scenes import ScenesSource
from dnnlib import cli
from dnnlib.errors import UserError

# Flags that only mean something for some tasks; None = not given.
ONLY_SCENES = ("images_num", "seed")
ONLY_IMAGES = ("images_dir", "format", "labels", "ratio", "crop", "strict")


def ratio(text):
    """Argparse type: height / width, above 0 and at most 1; "3/4" is understood."""
    over, _, under = text.partition("/")
    value = cli.positive_float(over) / (cli.positive_float(under) if under else 1.0)
    if value > 1:
        raise cli.argparse.ArgumentTypeError(
            f"must be at most 1 (height / width), got {text}; --crop none keeps upright pictures "
            "whole"
        )
    return value


def seed(text):
    """Argparse type: an integer from 0 to 2^63 - 1."""
    if not text.isdigit() or int(text) >= 1 << 63:
        raise cli.argparse.ArgumentTypeError(f"must be an integer from 0 up, got {text!r}")
    return int(text)


def build_parser():
    """The command line."""
    parser = cli.Parser(
        description="Prepare datasets for training.",
        usage="%(prog)s --scenes | --task NAME ... [flags]",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to prepare")
    what.add_argument("--scenes", action="store_true", help="render CLEVR-like scenes here")
    what.add_argument("--task", metavar="NAME", help="a set of your own images")
    scenes = parser.add_argument_group("scenes")
    scenes.add_argument(
        "--images-num", type=cli.positive_int, help="number of scenes (default: 10000)"
    )
    scenes.add_argument("--seed", type=seed, help="another seed, other scenes (default: 0)")
    images = parser.add_argument_group("your own images")
    images.add_argument(
        "--images-dir",
        metavar="PATH",
        help="a folder, searched with all sub-folders; a zip or tar archive; an npy or hdf5 file; "
        "an LMDB database; TFRecords",
    )
    images.add_argument(
        "--format",
        choices=FORMATS,
        help="png, jpg, webp, bmp: take only these files; the others say what PATH is where its "
        "name does not (default: found out); tfds: PATH is the NAME or NAME:SPLIT of a set of "
        "tensorflow_datasets",
    )
    images.add_argument(
        "--labels",
        metavar="HOW",
        help="folders: each sub-folder is a class; a .json, .csv or .npy file; none (default: "
        "labels that come with npy, hdf5, tfds and TFRecords)",
    )
    images.add_argument(
        "--ratio", type=ratio, help="height / width to which images are cut (default: 1, a square)"
    )
    images.add_argument(
        "--crop",
        choices=CROPS,
        help="center: cut around the middle (default); top: keep the upper edge; none: keep all "
        "and add black bars; stretch: squeeze into the square",
    )
    images.add_argument(
        "--strict", action="store_true", default=None, help="refuse unreadable images, do not skip"
    )
    both = parser.add_argument_group("the set")
    both.add_argument("--data-dir", default="datasets", help="where sets live (default: datasets)")
    both.add_argument(
        "--resolution",
        type=cli.positive_int,
        help="side, a power of two (default: 64 for scenes; nearest to that of the first image)",
    )
    both.add_argument("--max-images", type=cli.positive_int, help="use only the first ones")
    both.add_argument("--shards-num", type=cli.positive_int, default=1, help="files (default: 1)")
    both.add_argument(
        "--multi-resolution", action="store_true", help="write all smaller sizes too, down to 4x4"
    )
    both.add_argument("--overwrite", action="store_true", help="replace an existing set")
    both.add_argument("--workers", type=cli.positive_int, help="processes (default: all cores)")
    look = parser.add_argument_group("look at prepared sets")
    look.add_argument("--verify", action="store_true", help="check every byte of the set")
    look.add_argument("--preview", metavar="FILE.png", help="draw a sheet of its images")
    return parser


def refuse(args, names, task):
    """Raise UserError if a flag was given that means nothing for this task."""
    for name in names:
        if getattr(args, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: has no meaning with {task}")


def scenes_source(args):
    """The source of --scenes."""
    refuse(args, ONLY_IMAGES, "--scenes")
    return ScenesSource(args.images_num or 10000, args.resolution or 64, args.seed or 0)


def images_source(args):
    """The source of --task."""
    refuse(args, ONLY_SCENES, "--task")
    if args.images_dir is None:
        raise UserError(f"--task {args.task}: needs --images-dir DIR, the folder with the images")
    return open_source(args.images_dir, args.format)


def labels_of(source, how):
    """What --labels asks for: Labels or None."""
    if how == "none":
        return None
    if how == "folders":
        return labels.from_folders(source)
    return labels.from_file(how, source) if how else source.own_labels()


def main(argv=None):
    """Do what the command line says."""
    args = build_parser().parse_args(argv)
    if args.scenes == (args.task is not None):
        raise UserError("nothing to prepare: give --scenes, or --task NAME --images-dir DIR")
    if args.resolution is not None:
        check_resolution(args.resolution)
    if args.task is not None and (
        os.path.basename(args.task) != args.task or args.task[:1] in ".-"
    ):
        raise UserError(
            f"--task {args.task!r}: must be a plain name; --data-dir says where it goes"
        )
    folder = os.path.join(args.data_dir, args.task or "scenes")
    is_there = os.path.isdir(folder) and os.listdir(folder)
    only_look = args.verify or args.preview
    if not (only_look and is_there and args.images_dir is None):
        prepare_set(args, folder)
    if args.verify:
        inspect_set.verify(folder, args.workers)
    if args.preview:
        inspect_set.preview(folder, args.preview)


def prepare_set(args, folder):
    """Make one set."""
    source = scenes_source(args) if args.scenes else images_source(args)
    recipe = Recipe(
        resolution=args.resolution,
        ratio=args.ratio or 1.0,
        crop=args.crop or "center",
        shards_num=args.shards_num,
        max_images=args.max_images,
        multi_resolution=args.multi_resolution,
    )
    prepare(
        source,
        folder,
        recipe,
        labels=labels_of(source, args.labels),
        strict=bool(args.strict),
        overwrite=args.overwrite,
        workers=args.workers,
    )


if __name__ == "__main__":
    sys.exit(cli.run_script(main))
