"""The datasets of the paper: where they come from, and how each becomes a set."""

from __future__ import annotations

import os
import posixpath
import shutil
from dataclasses import dataclass, replace

from datasets_tool.convert import choose_format, full_recipe, is_ready, prepare
from datasets_tool.sources.archives import ZipSource, open_zip
from datasets_tool.sources.databases import LmdbSource, RecordsSource, ZippedRecordsSource
from datasets_tool.sources.folders import picture_suffixes
from datasets_tool.sources.formats import open_source
from dnnlib.download import download
from dnnlib.errors import UserError
from dnnlib.files import file_digest, log, make_folder

_DRIVE = "https://drive.google.com/uc?export=download&id="
_STANFORD = "http://downloads.cs.stanford.edu/nlp/data/dorarad/"
ARCHIVES = ".archives"  # folder below --data-dir
RESOLUTION = 256


@dataclass(frozen=True)
class Entry:
    """A dataset that can be downloaded.

    Attributes:
      name: of the set.
      file: name of what is downloaded.
      url: from where.
      md5: its checksum.
      gigabytes: its size, about.
      images_num: number of images, about.
      ratio: height / width of the pictures inside the squares.
      shards_num: files of the set.
      kind: "records", "zipped records", "zipped lmdb" or "zipped pictures".
      below: where in the archive the pictures are.
    """

    name: str
    file: str
    url: str
    md5: str
    gigabytes: int
    images_num: int
    ratio: float
    shards_num: int
    kind: str
    below: str = ""


# fmt: off
ENTRIES = {
    "ffhq": Entry(
        "ffhq", "ffhq-r08.tfrecords1of1", _STANFORD + "ffhq-r08.tfrecords1of1",
        "74de4f07dc7bfb07c0ad4471fdac5e67", 13, 70000, 1.0, 1, "records"),
    "bedrooms": Entry(
        "bedrooms", "bedroom_train_lmdb.zip", "http://dl.yf.io/lsun/scenes/bedroom_train_lmdb.zip",
        "f2c5d904a82a6295dbdccb322b4b0a99", 43, 3033042, 188 / 256, 64, "zipped lmdb"),
    "cityscapes": Entry(
        "cityscapes", "cityscapes.zip", _DRIVE + "1t9Qhxm0iHFd3k-xTYEbKosSx_DkyoLLJ",
        "953d231046275120dc1f73a5aebc9087", 2, 25000, 0.5, 16, "zipped records"),
    "clevr": Entry(
        "clevr", "clevr.zip", _DRIVE + "1lY4JE30yk26v0MWHNpXBOMzltufUcTXj",
        "3040bb20a29cd2f0e1e9231aebddf2a1", 6, 100000, 0.75, 5, "zipped records"),
    "clevr-original": Entry(
        "clevr", "CLEVR_v1.0.zip", "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip",
        "b11922020e72d0cd9154779b2d3d07d2", 18, 100000, 320 / 480, 5, "zipped pictures",
        "CLEVR_v1.0/images/"),
}
# fmt: on


def prepare_entry(
    entry, data_dir, recipe, *, use_ratio=True, source=None, keep_archives=False, **options
):
    """Download and prepare a set of the catalogue.

    Args:
      entry: an Entry.
      data_dir: where sets live.
      recipe: a Recipe with its resolution.
      use_ratio: cut raw pictures to the entry's ratio, whatever the recipe's. Records were cut by
        whoever made them.
      source: a mirror's URL, a file or a folder to use instead of the entry's URL.
      keep_archives: keep what was downloaded.
      **options: ``strict``, ``overwrite`` and ``workers`` of convert.prepare.

    Returns:
      What dataset.json holds.
    """
    folder = os.path.join(data_dir, entry.name)
    archives = os.path.join(data_dir, ARCHIVES)
    fingerprint = {"file": entry.file, "md5": entry.md5}
    if source is not None and os.path.isdir(source):
        pictures = open_source(source)
        recipe = _recipe_for(entry, recipe, use_ratio, isinstance(pictures, RecordsSource))
        _set_ratio(pictures, entry)
        return prepare(pictures, folder, recipe, **options)
    overwrite = options.get("overwrite", False)
    recipe = _recipe_for(entry, recipe, use_ratio, entry.kind in ("records", "zipped records"))
    recipe = choose_format(recipe, folder, overwrite)
    if is_ready(folder, full_recipe(recipe, fingerprint, None), overwrite):
        return None
    make_folder(data_dir, "--data-dir")
    path = _archive(entry, source, archives)
    pictures, unpacked = _open(entry, path, archives)
    _set_ratio(pictures, entry)
    info = prepare(pictures, folder, recipe, fingerprint=fingerprint, **options)
    _clean_up(archives, unpacked, None if keep_archives or path == source else path)
    return info


def _recipe_for(entry, recipe, use_ratio, are_records):
    """The recipe, which cuts raw pictures to the entry's ratio if that is to be used."""
    return replace(recipe, ratio=entry.ratio) if use_ratio and not are_records else recipe


def _set_ratio(pictures, entry):
    """Records whose own set does not say their ratio have that of the entry."""
    if isinstance(pictures, (RecordsSource, ZippedRecordsSource)) and pictures.ratio is None:
        pictures.ratio = entry.ratio


def _archive(entry, source, archives):
    """Path of the entry's file, downloaded and checked if need be."""
    if source is not None and not source.startswith(("http://", "https://")):
        if not os.path.isfile(source):
            raise UserError(f"--source {source}: there is no such file or folder")
        found = file_digest(source, "md5", entry.file)
        if found != entry.md5:
            raise UserError(
                f"--source {source}: md5 {found} instead of {entry.md5}: not the file that is "
                f"expected; prepare it as your own: --task {entry.name} --images-dir {source}"
            )
        return source
    path = os.path.join(archives, entry.file)
    if os.path.isfile(path):  # only checked files get this name
        log(f"{path}: was downloaded already")
    else:
        log(f"{entry.name}: downloading {entry.file}, about {entry.gigabytes} GB")
        download(
            source or entry.url,
            path,
            entry.md5,
            way_out="give another place with --source",
            room="free some space, or choose another --data-dir",
        )
    return path


def _open(entry, path, archives):
    """Source of the pictures in a file, and what had to be unpacked for it."""
    if entry.kind == "records":
        return RecordsSource(path), None
    if entry.kind == "zipped records":
        return ZippedRecordsSource(path), None
    if entry.kind == "zipped pictures":
        return ZipSource(path, picture_suffixes(None), entry.below), None
    # LMDB maps its file into memory, so this one has to be unpacked.
    unpacked = os.path.join(archives, f"{entry.name}_lmdb")
    unpack_member(path, "data.mdb", unpacked)
    return LmdbSource(unpacked), unpacked


def unpack_member(path, base_name, folder):
    """Unpack the one member of that name, wherever it lies in the archive, to ``folder``/base_name.

    Only the base name is used, so no member can end up outside of the folder.
    """
    with open_zip(path) as archive:
        found = [e for e in archive.infolist() if posixpath.basename(e.filename) == base_name]
        if len(found) != 1:
            raise UserError(f"{path}: holds {len(found)} files {base_name}, not one")
        target = os.path.join(folder, base_name)
        if os.path.isfile(target) and os.path.getsize(target) == found[0].file_size:
            return
        free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
        if found[0].file_size > free:
            raise UserError(
                f"{path}: needs {found[0].file_size / 1e9:.1f} GB to unpack, but {free / 1e9:.1f} "
                "GB are free; free some space, or choose another --data-dir"
            )
        log(f"{path}: unpacking {base_name}, {found[0].file_size / 1e9:.1f} GB")
        os.makedirs(folder, exist_ok=True)
        with archive.open(found[0]) as member, open(target + ".part", "wb") as file:  # noqa: PTH123
            shutil.copyfileobj(member, file, 1 << 20)
        os.replace(target + ".part", target)


def _clean_up(archives, *paths):
    """Remove what is no longer needed, and the folder if nothing else is in it."""
    for path in paths:
        if path is None:
            continue
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.isfile(path):
            os.remove(path)
    if os.path.isdir(archives) and not os.listdir(archives):
        os.rmdir(archives)
