"""The conversion: pictures of a source, in parallel, into the files of a set."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from dataclasses import asdict, replace

import numpy as np
from PIL import features
from tqdm import tqdm

from datasets_tool.channels import COLOURED, choose_channels, rules
from datasets_tool.decode import UnreadableImageError, check_resolution, natural_resolution
from datasets_tool.pool import convert_all
from datasets_tool.sources.base import printable
from datasets_tool.writer import SetWriter
from dnnlib.errors import UserError
from dnnlib.records.encoded import RECORD_FORMATS, check_format
from dnnlib.records.record_set import read_info
from dnnlib.util import log

_LABELS = "-rxx.labels"
_NAMED_SKIPS = 10  # unreadable pictures that are named one by one
# Parts of a recipe that older sets do not name, with what they were prepared with.
_NEWER = {"channels": 3, "background": None, "record_format": "raw"}
# Sets from this resolution on are encoded by default: fewer bytes, and their training is slow
# enough for decoding (docs/data.md). Those of several resolutions are for readers of pixels.
_ENCODED_FROM = 128
_PROBES = 100  # pictures tried when the resolution is to be guessed


# The set as a whole


def _complete(source, recipe, strict):
    """The recipe with its resolution and channels filled in: given, or found in the pictures."""
    if recipe.resolution is None:
        side = source.resolution_of_set()
        recipe = replace(recipe, resolution=side or _first_resolution(source, recipe, strict))
    check_resolution(recipe.resolution)
    if recipe.channels is None:
        channels = choose_channels(source, keeps_transparency=recipe.background is None)
        recipe = replace(recipe, channels=channels)
    return recipe


def choose_format(recipe, folder, overwrite):
    """The recipe with its record format filled in: given, that of the set there, or by rule.

    Args:
      recipe: a Recipe whose resolution is known.
      folder: of the set.
      overwrite: whether a set that is there counts for nothing.
    """
    record_format = recipe.record_format
    if record_format is None:
        info = None if overwrite else load_info(folder)
        is_large = recipe.resolution >= _ENCODED_FROM and not recipe.multi_resolution
        by_rule = ("webp" if features.check("webp") else "png") if is_large else "raw"
        before = info and info.get("recipe", {}).get("record_format", "raw")
        record_format = before if before in RECORD_FORMATS else by_rule
    check_format(record_format)
    return replace(recipe, record_format=record_format)


def _first_resolution(source, recipe, strict):
    """The resolution that is nearest to the first picture's size."""
    reason = ""
    for key in itertools.islice(source.keys(), _PROBES):
        try:
            picture, _, _ = source.load(key)
        except UnreadableImageError as error:
            reason = f"{source.name_of(key)}: {error}"
            if strict:
                raise UserError(f"unreadable image {reason} (--strict)") from error
            continue
        return natural_resolution(picture.size, recipe.ratio, recipe.crop)
    what = f"; the last one tried: {reason}" if reason else ""
    raise UserError(f"{source.description}: no readable image found{what}")


def _check_room(folder, source, recipe, labels, done):
    """Refuse before the work what would fill the disk."""
    count = min(len(source), recipe.max_images or len(source)) - done
    pixels = recipe.resolution**2 * (4 / 3 if recipe.multi_resolution else 1)
    size = recipe.channels * pixels + 100
    size += sum(
        int(np.prod(layout[1])) if layout else 1000
        for layout in source.side_files(recipe.resolution).values()
    )
    size += 4 * labels.size if labels else 0
    free = shutil.disk_usage(folder).free
    if count * size > free:
        raise UserError(
            f"{folder}: {count} images need {_format_size(count * size)}, but {_format_size(free)} "
            "are free; free some space, or use a smaller --resolution or --max-images"
        )


def _format_size(size):
    """A number of bytes for people."""
    unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    return f"{size / factor:.1f} {unit}"


def load_info(folder):
    """What the folder's dataset.json says; None if there is none."""
    return read_info(os.path.join(folder, "dataset.json"), "delete it or use --overwrite")


def full_recipe(recipe, fingerprint, labels):
    """All that decides the contents of a set, JSON-able."""
    facts = {k: v for k, v in asdict(recipe).items() if k not in _NEWER or v != _NEWER[k]}
    return dict(facts, source=fingerprint, labels=labels.fingerprint() if labels else None)


def is_ready(folder, recipe, overwrite):
    """Whether the set exists with this very (full) recipe, which is said.

    Raises:
      UserError: another set is there and would have to be replaced.
    """
    if overwrite:
        return False
    info = load_info(folder)
    if info is None:
        if os.path.isdir(folder) and any(".tfrecords" in name for name in os.listdir(folder)):
            raise UserError(
                f"{folder}: holds TFRecords of another tool; choose another name, or --overwrite"
            )
        return False
    before = info.get("recipe", {})
    now = json.loads(json.dumps(recipe))
    if before == now:
        what = f"{info.get('num_images')} images of {info.get('resolution')}"
        log(f"{folder}: is ready already, {what}")
        return True
    differing = sorted(key for key in set(before) | set(now) if before.get(key) != now.get(key))
    raise UserError(
        f"{folder}: exists already, made with another {', '.join(differing)}; choose another "
        "name, or replace it with --overwrite"
    )


def prepare(
    source,
    folder,
    recipe,
    *,
    labels=None,
    fingerprint=None,
    strict=False,
    overwrite=False,
    workers=None,
):
    """Make a dataset folder out of a source, or go on where an interrupted run stopped.

    Args:
      source: a Source.
      folder: the set's folder.
      recipe: a Recipe.
      labels: Labels of the pictures, or None.
      fingerprint: stands for the source in the recipe; its own by default.
      strict: refuse unreadable pictures rather than skip them.
      overwrite: replace an existing set.
      workers: processes; all cores by default.

    Returns:
      What dataset.json holds.
    """
    is_by_rule = recipe.channels is None
    recipe = choose_format(_complete(source, recipe, strict), folder, overwrite)
    whole_recipe = full_recipe(recipe, fingerprint or source.fingerprint(), labels)
    if is_ready(folder, whole_recipe, overwrite):
        return load_info(folder)
    side_files = dict(source.side_files(recipe.resolution))
    if labels:
        side_files[_LABELS] = ("<f4", (labels.size,))
    writer = SetWriter(folder, whole_recipe, recipe.sides(), recipe.shards_num, side_files)
    try:
        if writer.is_resumed:
            log(f"{folder}: goes on after {writer.written} images")
        if not writer.is_finished:
            try:
                _check_room(folder, source, recipe, labels, writer.written)
            except UserError:
                writer.discard()
                raise
            results = convert_all(source, recipe, writer.consumed, workers or os.cpu_count() or 1)
            _write_images(source, recipe, results, writer, labels, strict, is_by_rule)
        info = writer.finish(_describe(source, recipe, whole_recipe, labels, writer))
    finally:
        writer.close()
    _report(folder, info, rules(recipe.channels, recipe.background))
    return info


def _write_images(source, recipe, results, writer, labels, strict, is_by_rule):
    """Write the Converted pictures, ``results``; all are right if the channels were given."""
    tally = writer.tally
    tally.setdefault("sums", [0] * recipe.channels)
    tally.setdefault("notes", {})
    tally.setdefault("skipped", [])
    tally.setdefault("skipped_num", 0)
    limit = recipe.max_images or len(source)
    done = writer.written >= limit
    with contextlib.closing(results), tqdm(
        total=min(limit, len(source)), initial=writer.written, unit=" images", disable=None
    ) as bar:
        for converted in results if not done else ():
            if converted.error is not None:
                _skip(converted, tally, strict, bar)
            else:
                if is_by_rule and COLOURED in converted.notes:
                    raise UserError(
                        f"{converted.name}: has colours, unlike the images from which it was found "
                        "that the set is grey; give --channels 3 to keep them, or --channels 1 to "
                        "make all grey"
                    )
                side_data = dict(converted.side_data)
                if labels:
                    side_data[_LABELS] = labels.row(converted.label_key)
                writer.add(converted.records, side_data)
                tally["sums"] = [a + b for a, b in zip(tally["sums"], converted.sums)]
                for note in converted.notes:
                    tally["notes"][note] = tally["notes"].get(note, 0) + 1
                bar.update()
            writer.consumed += 1
            writer.sync()
            if writer.written >= limit:
                break
    if writer.written == 0:
        raise UserError(
            f"{source.description}: none of {writer.consumed} images could be read; the first: "
            f"{tally['skipped'][0] if tally['skipped'] else 'none found'}"
        )


def _skip(converted, tally, strict, bar):
    """Count and name an unreadable picture; refuse it with ``strict``."""
    text = f"{converted.name}: {converted.error}"
    if strict:
        raise UserError(f"unreadable image {text} (--strict refuses it; without, it is skipped)")
    tally["skipped_num"] += 1
    if tally["skipped_num"] <= _NAMED_SKIPS:
        bar.clear()
        log(f"skipped, unreadable: {text}")
    if len(tally["skipped"]) < 1000:
        tally["skipped"].append(text)


def _describe(source, recipe, whole_recipe, labels, writer):
    """The contents of dataset.json, without the files."""
    if writer.is_finished:
        return {}
    tally = writer.tally
    has_names = labels and labels.names is not None
    pixels = writer.written * recipe.resolution**2
    return {
        "name": writer.name,
        "num_images": writer.written,
        "resolution": recipe.resolution,
        "channels": recipe.channels,
        "ratio": source.ratio if source.ratio and recipe.ratio == 1 else recipe.ratio,
        "shards": recipe.shards_num,
        "record_format": recipe.record_format,
        "multi_resolution": recipe.multi_resolution,
        "label_size": labels.size if labels else 0,
        "label_names": [printable(name) for name in labels.names] if has_names else None,
        "channel_means": [round(total / pixels, 4) for total in tally["sums"]],
        "source": printable(source.description),
        "skipped_num": tally["skipped_num"],
        "skipped": tally["skipped"],
        "notes": tally["notes"],
        "recipe": whole_recipe,
    }


def _report(folder, info, done):
    """Say what was made, and by which rules pictures were converted ({what was found: rule})."""
    for note, count in sorted(info["notes"].items()):
        log(f"{count} images: {note}{f', {done[note]}' if done.get(note) else ''}")
    if info["skipped_num"]:
        log(f"{info['skipped_num']} unreadable images were skipped (named in dataset.json)")
    size = sum(entry["bytes"] for entry in info["files"].values())
    labels = f", labels of size {info['label_size']}" if info["label_size"] else ""
    kind = {1: " in grey", 4: " in RGBA"}.get(info["channels"], "")
    if info["record_format"] != "raw":
        kind += f", records of {info['record_format'].upper()}"
    log(
        f"{folder}: {info['num_images']} images of "
        f"{info['resolution']}x{info['resolution']}{kind}{labels}, {size / 1e6:.1f} MB"
    )
