"""Files by name or URL: found on the disk, in the cache, or downloaded into it."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import re
import urllib.parse

from dnnlib import util
from dnnlib.errors import UserError, closest

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

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without any data


def cache_dir() -> pathlib.Path:
    """Folder of downloads: $DNNLIB_CACHE_DIR, else below the user's cache folder."""
    if os.environ.get("DNNLIB_CACHE_DIR"):
        return pathlib.Path(os.environ["DNNLIB_CACHE_DIR"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "gansformer"


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
        hint = closest(key, GDRIVE_FILES) or "known: " + ", ".join(sorted(GDRIVE_FILES))
        raise UserError(f"{name}: no such published file; {hint}")
    return GDRIVE_URL.format(id=file_id)


def fetch(name: str | os.PathLike, md5: str | None = None) -> pathlib.Path:
    """Find a file; download it into the cache if it is not there yet.

    Args:
      name: path, URL, or ``gdrive:`` name.
      md5: checksum that a download has to have, if one is known.

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
    path = cache_dir() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{tail[-100:]}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        util.log(f"Downloading {name} to {path}")
        _download(name, url, path, md5)
    return path


def _download(name: str, url: str, path: pathlib.Path, md5: str | None) -> None:
    """Download to a temporary name, check, rename."""
    import requests  # noqa: PLC0415 - only those who download need it

    digest, size = hashlib.md5(), 0
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            _check_type(name, response.headers.get("Content-Type", ""))
            with util.atomic_write(path) as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                _check_contents(name, response.headers, size, digest.hexdigest(), md5)
    except requests.RequestException as error:
        status = type(error).__name__ if error.response is None else error.response.status_code
        way_out = "check the connection, or download it by other means and give its path"
        raise UserError(f"{name}: the download failed ({status}); {way_out}") from error


def _check_type(name: str, content_type: str) -> None:
    """Refuse web pages: that is how Google Drive says that a file is gone or its quota used up."""
    if content_type.startswith("text/html"):
        way_out = "open its page in a browser, download it there and give its path"
        raise UserError(f"{name}: the server sends a web page instead of the file; {way_out}")


def _told_md5(headers) -> str | None:
    """The checksum that Google's storage tells of a file, if it does."""
    told = re.search(r"\bmd5=([A-Za-z0-9+/]+=*)", headers.get("x-goog-hash", ""))
    if told is None or "Content-Encoding" in headers:
        return None
    return base64.b64decode(told.group(1)).hex()


def _check_contents(name: str, headers, size: int, digest: str, md5: str | None) -> None:
    """Refuse downloads that are cut off or differ from their checksum."""
    told = headers.get("Content-Length")
    if told is not None and "Content-Encoding" not in headers and int(told) != size:
        raise UserError(f"{name}: got {size} of {told} bytes; try again")
    if size == 0:
        raise UserError(f"{name}: the server sends an empty file; try again")
    md5 = md5 or _told_md5(headers)
    if md5 is not None and digest != md5:
        raise UserError(f"{name}: md5 {digest} instead of {md5}; try again or use another source")
