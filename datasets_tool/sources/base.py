"""The interface of all sources of pictures."""

from __future__ import annotations

import itertools
import os


class Source:
    """Where pictures come from; the base class of all sources.

    A source travels to the worker processes once, by pickle: what cannot travel (open files) is
    opened where it is needed and left out by ``__getstate__``.

    Attributes:
      description: one line for people and for dataset.json.
      ratio: height / width of the part of the pictures without black bars, if the source knows
        it.
      order_is_fixed: pictures come in the order of a file, not of their names.
    """

    description = ""
    ratio = None

    def __len__(self):
        """Number of pictures, readable or not."""
        raise NotImplementedError

    def keys(self):
        """Yield what ``load`` needs for each picture: small, picklable, always in one order."""
        raise NotImplementedError

    def some_keys(self, num):
        """Yield keys of up to ``num`` pictures to look at: the first ones, or better ones."""
        return itertools.islice(self.keys(), num)

    def load(self, key):
        """Fetch a picture; runs in the workers.

        Args:
          key: one of ``keys``.

        Returns:
          A PIL image of mode L, RGB or RGBA, or a finished uint8 [C, H, W]; a set of notes (what
          was found in it); {suffix: bytes} for side files.

        Raises:
          UnreadableImageError: with the reason.
        """
        raise NotImplementedError

    def encoded(self, key):
        """The bytes of a picture's file; None where pictures are no files."""
        return

    def label_key(self, key):
        """What labels know the picture by: its path in the source, or its number."""
        return key

    def label_keys(self):
        """Yield ``label_key`` of all pictures."""
        return (self.label_key(key) for key in self.keys())

    def name_of(self, key):
        """The picture's name for messages."""
        return printable(f"{self.description}: {self.label_key(key)}")

    def own_labels(self):
        """The Labels that come with the pictures; None if there are none."""
        return

    def fingerprint(self):
        """JSON-able value that changes when the pictures do."""
        raise NotImplementedError

    def resolution_of_set(self):
        """The one resolution all pictures have, if the source knows it; 0 otherwise."""
        return 0

    def side_files(self, resolution):
        """{suffix: (npy dtype, row shape) or None} of files beside the shards."""
        return {}


def spread(keys, num):
    """Up to ``num`` elements from all over a sequence."""
    return keys[:: -(-len(keys) // num)]


def one_line(error):
    """What an error says, without line breaks; its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text):
    """A name of a file, which may be any bytes, as text that can be written anywhere."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_fingerprint(path):
    """Size and time of a file: a cheap sign of a change."""
    status = os.stat(path)
    return {"bytes": status.st_size, "changed": status.st_mtime_ns}
