#!/usr/bin/env python3
"""Prepare datasets for training: TFRecords in datasets/<name>/, out of any images.

python prepare_data.py --scenes
python prepare_data.py --ffhq --cityscapes --clevr --bedrooms
python prepare_data.py --task flowers --images-dir ~/pictures/flowers
"""

import os
import sys
from functools import partial

from datasets_tool import inspect_set, labels
from datasets_tool.catalogue import ENTRIES, RESOLUTION, prepare_entry
from datasets_tool.command_line import (
    build_parser,
    flags_of_preparation,
    is_looking,
    kinds_of_tasks,
)
from datasets_tool.convert import prepare
from datasets_tool.decode import WHOLE_CROPS, check_resolution
from datasets_tool.pool import Recipe
from datasets_tool.scenes import CLEVR_OBJECTS, LARGE_OBJECTS, ScenesSource
from datasets_tool.sources.formats import NAMED, open_source
from dnnlib import cli
from dnnlib.errors import UserError


def labels_of(source, how, column=None):
    """What --labels and --label-column ask for: Labels or None."""
    if column is not None and how in (None, "none", "folders"):
        raise UserError("--label-column: names a column of a file; give the file with --labels")
    if how == "none":
        return None
    if how == "folders":
        return labels.from_folders(source)
    return labels.from_file(how, source, column) if how else source.own_labels()


def recipe_of(args, resolution=None, shards_num=1, channels=None):
    """The Recipe that the flags give, with a task's defaults."""
    return Recipe(
        resolution=args.resolution or resolution,
        ratio=args.ratio or 1.0,
        crop=args.crop or "center",
        shards_num=args.shards_num or shards_num,
        max_images=args.max_images,
        multi_resolution=args.multi_resolution,
        channels=args.channels or channels,
        background=args.background,
        record_format=args.record_format,
    )


def prepare_scenes(args, options):
    """Do --scenes."""
    resolution = args.resolution or 64
    kind = LARGE_OBJECTS if args.large_objects else CLEVR_OBJECTS
    source = ScenesSource(args.images_num or 10000, resolution, args.seed or 0, kind)
    recipe = Recipe(
        resolution=resolution,
        shards_num=args.shards_num or 1,
        max_images=args.max_images,
        multi_resolution=args.multi_resolution,
        record_format=args.record_format,
    )
    prepare(source, os.path.join(args.data_dir, "scenes"), recipe, **options)


def check_not_inside(path, folder, task):
    """Raise UserError if pictures lie in the folder of the set that is to be made of them.

    Its files are replaced at the end, so they would be lost halfway.
    """
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([path, folder]) == folder:
        raise UserError(
            f"--images-dir {path}: lies in the folder of --task {task} itself, which would be "
            "replaced; give another --task name, or another --data-dir"
        )


def prepare_task(args, options):
    """Do --task."""
    folder = os.path.join(args.data_dir, args.task)
    if args.format not in NAMED or os.path.exists(args.images_dir):
        check_not_inside(args.images_dir, folder, args.task)
    source = open_source(args.images_dir, args.format)
    prepare(
        source,
        folder,
        recipe_of(args),
        labels=labels_of(source, args.labels, args.label_column),
        strict=bool(args.strict),
        **options,
    )


def prepare_download(flag, args, options):
    """Do --ffhq and the like."""
    entry = ENTRIES[flag]
    prepare_entry(
        entry,
        args.data_dir,
        recipe_of(args, RESOLUTION, entry.shards_num, channels=3),
        use_ratio=args.ratio is None and args.crop not in WHOLE_CROPS,
        source=args.source,
        keep_archives=bool(args.keep_archives),
        strict=bool(args.strict),
        **options,
    )


def plan(args):
    """What is to be done: {name of a set: function that prepares it}; UserError if it cannot be."""
    entries = kinds_of_tasks(args)
    if args.resolution is not None:
        check_resolution(args.resolution)
    if args.task is not None and (
        os.path.basename(args.task) != args.task or args.task[:1] in (".", "-", "")
    ):
        raise UserError(
            f"--task {args.task!r}: must be a plain name; --data-dir says where it goes"
        )
    work = {ENTRIES[flag].name: partial(prepare_download, flag) for flag in entries}
    if args.scenes:
        work["scenes"] = prepare_scenes
    if args.task is not None:
        if args.images_dir is None and not is_looking(args):
            raise UserError(f"--task {args.task}: needs --images-dir PATH, where the images are")
        if args.task in work:
            raise UserError(f"--task {args.task}: another set of this command has that name")
        work[args.task] = prepare_task
    if args.preview is not None:
        inspect_set.check_preview(args.preview)
        if len(work) > 1:
            raise UserError("--preview: draws one set; give just one")
    return work


def main(argv=None):
    """Do what the command line says."""
    args = build_parser().parse_args(argv)
    work = plan(args)
    options = {"overwrite": args.overwrite, "workers": args.workers}
    only_look = is_looking(args) and not flags_of_preparation(args)
    for name, do in work.items():
        folder = os.path.join(args.data_dir, name)
        looks_at_task = name == args.task and args.images_dir is None
        if not looks_at_task and not (only_look and os.path.isdir(folder)):
            do(args, options)
        if args.verify:
            inspect_set.verify(folder, args.workers)
        if args.preview is not None:
            inspect_set.preview(folder, args.preview)


if __name__ == "__main__":
    sys.exit(cli.run_script(main))
