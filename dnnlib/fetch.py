"""Files by name or URL: found on the disk, in the cache, or downloaded into it."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import urllib.parse

from dnnlib.download import download
from dnnlib.errors import UserError, must_be_one_of
from dnnlib.files import cache_folder, lock, log

# Snapshots that the authors of GANsformer published on Google Drive (no checksums are published).
GDRIVE_FILES = {
    "clevr-snapshot.pkl": "1sYtuNEi0HGBH1F8GW2JlF4mCRGGrtZa9",
    "cityscapes-snapshot.pkl": "1iL8S26IYCNAQmUS-6GYCVheKFtCE4ktQ",
    "ffhq-snapshot.pkl": "1-b0vwevUQs6LI_EybdO8XJ5uYSx63vEa",
    "bedrooms-snapshot.pkl": "1lrB4t3hOOpn8YiwHEduIZYzndHrsKX8z",
    "cityscapes-snapshot-2048.pkl": "1lJlbIuxF89-owG7vQSBYXc8y2RqqP_bP",
    "ffhq-snapshot-1024.pkl": "1OcsibUthk2y8y0slf2lQnrYBAtmdJYCQ",
}
GDRIVE_URL = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
TRIES = 3  # in a row, without a single byte


def cache_dir() -> pathlib.Path:
    """Folder of downloads: $DNNLIB_CACHE_DIR, else below the user's cache folder."""
    return cache_folder("DNNLIB_CACHE_DIR")


def is_remote(name: str) -> bool:
    """Whether a name means something to download rather than a path."""
    return name.startswith(("gdrive:", "http://", "https://"))


def to_url(name: str) -> str:
    """URL of a ``gdrive:`` name: a published file's, or ``gdrive:`` and any file id.

    Raises:
      UserError: there is no such name.
    """
    if not name.startswith("gdrive:"):
        return name
    key = name[len("gdrive:") :]
    file_id = GDRIVE_FILES.get(key)
    if file_id is None and re.fullmatch(r"[A-Za-z0-9_-]{25,}", key):
        file_id = key
    if file_id is None:
        raise UserError(f"{name}: what follows gdrive: {must_be_one_of(key, sorted(GDRIVE_FILES))}")
    return GDRIVE_URL.format(id=file_id)


def fetch(
    name: str | os.PathLike,
    md5: str | None = None,
    folder: str | os.PathLike | None = None,
    tries: int = TRIES,
    verbose: bool = True,
) -> pathlib.Path:
    """Find a file; download it into the cache if it is not there yet.

    Args:
      name: path, URL, or ``gdrive:`` name.
      md5: checksum that a download has to have, if one is known.
      folder: of downloads; None: :func:`cache_dir`.
      tries: attempts in a row without a single byte.
      verbose: say what is downloaded.

    Returns:
      Path of a local file.

    Raises:
      UserError: there is no such file, or it cannot be downloaded as a whole.
    """
    name = os.fspath(name)
    if not is_remote(name):
        path = pathlib.Path(name)
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "no such file"
            raise UserError(f"{name}: {found}; give a path, a URL or a gdrive: name")
        return path
    url = to_url(name)
    tail = pathlib.PurePosixPath(urllib.parse.urlparse(url).path).name
    tail = re.sub(r"[^A-Za-z0-9_.-]", "_", name[len("gdrive:") :] if "gdrive:" in name else tail)
    path = (
        pathlib.Path(folder or cache_dir())
        / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{tail[-100:]}"
    )
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(path.parent / f".{path.name}.lock"):
            if not path.is_file():  # unless another process has fetched it meanwhile
                if verbose:
                    log(f"Downloading {name} to {path}")
                download(
                    url,
                    path,
                    md5,
                    title=name,
                    way_out="download it by other means and give its path",
                    room="free some space, or choose another folder with DNNLIB_CACHE_DIR",
                    tries=tries,
                )
    return path
