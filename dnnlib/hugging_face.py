"""Files of the Hugging Face hub: downloaded once, and then those of that commit.

Beside a file in the cache lies FILE.json with the commit that it is of and its checksum. Whoever
wants a later commit gives it as revision, or removes the file from the cache.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import re
import shutil

from dnnlib.download import download
from dnnlib.errors import UserError
from dnnlib.files import atomic_write, file_digest, lock, log
from dnnlib.model_names import HubFile

WAY_OUT = (
    "see that it exists; a private one needs `pip install huggingface_hub` and `hf auth login`"
)


def fetch(name: str, folder: str | os.PathLike, tries: int, verbose: bool) -> pathlib.Path:
    """Find a file of the hub in the cache, or download it.

    Args:
      name: "hf:owner/repo/file" or "hf:owner/repo/file@revision".
      folder: the cache.
      tries: attempts in a row without a single byte.
      verbose: say what is downloaded.

    Returns:
      Path of a local file.

    Raises:
      UserError: there is no such file, or it cannot be downloaded as a whole.
    """
    wanted = HubFile.of(name)
    names = [wanted.repo, wanted.revision, wanted.path]
    path = pathlib.Path(folder, "hf", *(part.replace("/", "--") for part in names))
    note_path = path.with_name(path.name + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.parent / f".{path.name}.lock"):
        note = _read_note(note_path)
        if path.is_file():
            if file_digest(path) == note.get("sha256"):
                return path
            log(f"{path}: not the file that was downloaded; downloading it again")
            path.unlink()
        # A file that was lost comes back as it was, whatever the branch holds by now.
        pinned = wanted._replace(revision=note.get("commit") or wanted.revision)
        if verbose:
            log(f"Downloading {name} to {path}")
        commit = _download(pinned, path, name, tries)
        found = {"name": name, "commit": commit, "sha256": file_digest(path)}
        if note.get("sha256", found["sha256"]) != found["sha256"]:
            path.unlink()
            raise UserError(
                f"{name}: commit {commit} gives another file than before; to accept it, remove "
                f"{note_path} (and the cache of huggingface_hub, if that is installed)"
            )
        with atomic_write(note_path, "w") as file:
            file.write(json.dumps(found, indent=2) + "\n")
        if verbose:
            log(f"{name} is of commit {commit or 'unknown'}; the cache keeps to it")
    return path


def _read_note(path):
    """What is noted of a file: {"commit", "sha256"}, or {}."""
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(note, dict):
            return note
    return {}


def _download(wanted, path, name, tries):
    """Bring a HubFile to a path; returns its commit, None if the server does not tell."""
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        room = "free some space, or choose another folder with DNNLIB_CACHE_DIR"
        told = download(wanted.url, path, title=name, way_out=WAY_OUT, room=room, tries=tries)
        return told["commit"]
    try:
        found = hub.hf_hub_download(wanted.repo, wanted.path, revision=wanted.revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{name}: the download failed ({reason}); {WAY_OUT}") from error
    found = pathlib.Path(found)
    commit = re.search(r"/snapshots/([0-9a-f]{40})/", found.as_posix())
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        os.link(str(found.resolve()), str(temporary))
    except OSError:  # another file system
        shutil.copyfile(str(found), str(temporary))
    os.replace(str(temporary), str(path))
    return commit and commit.group(1)
