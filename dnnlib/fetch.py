"""Files by name or URL: found on the disk, in the cache, or downloaded into it."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import urllib.parse

from dnnlib import hugging_face
from dnnlib.download import download
from dnnlib.errors import UserError
from dnnlib.files import cache_folder, lock, log
from dnnlib.model_names import is_remote, to_url, where_to_have

TRIES = 3  # in a row, without a single byte


def cache_dir() -> pathlib.Path:
    """Folder of downloads: $DNNLIB_CACHE_DIR, else below the user's cache folder."""
    return cache_folder("DNNLIB_CACHE_DIR")


def fetch(
    name: str | os.PathLike,
    md5: str | None = None,
    folder: str | os.PathLike | None = None,
    tries: int = TRIES,
    verbose: bool = True,
) -> pathlib.Path:
    """Find a file; download it into the cache if it is not there yet.

    Args:
      name: path, URL, ``gdrive:`` or ``hf:`` name, see dnnlib/model_names.py.
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
            way_out = where_to_have(name) or "give a path, a URL, a gdrive: or hf: name"
            raise UserError(f"{name}: {found}; {way_out}")
        return path
    folder = folder or cache_dir()
    if name.startswith("hf:"):
        return hugging_face.fetch(name, folder, tries, verbose)
    url = to_url(name)
    tail = pathlib.PurePosixPath(urllib.parse.urlparse(url).path).name
    tail = re.sub(r"[^A-Za-z0-9_.-]", "_", name[len("gdrive:") :] if "gdrive:" in name else tail)
    path = pathlib.Path(folder) / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{tail[-100:]}"
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
