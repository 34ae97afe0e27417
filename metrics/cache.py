"""Arrays that are expensive to compute, kept in files under a key of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import pathlib
import zipfile
import zlib

import numpy as np

from dnnlib import fetch, util
from dnnlib.errors import UserError

VERSION = 1  # changes when the same key would mean other arrays


class ArrayCache:
    """A folder of .npz files; each holds its whole key, which has to match.

    Args:
      folder: made when something is first kept; the user's cache folder by default.
    """

    def __init__(self, folder=None):
        self.folder = pathlib.Path(folder or fetch.cache_dir() / "metrics")

    def path(self, key):
        """Where the arrays of a key are kept.

        Args:
          key: dict of plain values.
        """
        digest = hashlib.sha256(_text(key).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.npz"

    def load(self, key):
        """The arrays of a key, {name: array}; None if they are not there, or not whole."""
        path = self.path(key)
        try:
            with np.load(str(path), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}  # reading compares checksums
            if str(arrays.pop("key")) == _text(key):
                return arrays
            reason = "belongs to something else"
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            reason = f"cannot be read ({error})"
        util.log(f"{path}: {reason}; computing it again")
        return None

    def save(self, key, arrays):
        """Keep arrays. A full disk costs the next run time, but nothing else."""
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with util.atomic_write(path) as file:
                np.savez(file, key=np.array(_text(key)), **arrays)
        except (UserError, OSError) as error:
            util.log(f"Not kept for the next time: {error}")


def _text(key):
    """A key as text that is equal for equal keys."""
    return json.dumps({"version": VERSION, **key}, sort_keys=True)
