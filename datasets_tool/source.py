"""The interface of all sources of pictures."""

from __future__ import annotations


class Source:
    """Where pictures come from; the base class of all sources.

    Attributes:
        description: one line for people and for dataset.json.
        label_names: names of the classes, or None.
        label_size: length of a label; 0 without labels.
    """

    description = ""
    label_names = None
    label_size = 0

    def __len__(self):
        """Number of pictures, readable or not."""
        raise NotImplementedError

    def keys(self):
        """Yield what ``load`` needs for each picture: small, picklable, always in one order."""
        raise NotImplementedError

    def load(self, key):
        """Fetch a picture; runs in the workers.

        Args:
            key: one of ``keys``.

        Returns:
            A PIL image, or a finished uint8 [3, H, W]; a set of notes (what had to be converted);
            {suffix: bytes} for side files.

        Raises:
            UnreadableImageError: with the reason.
        """
        raise NotImplementedError

    def label(self, key):
        """Label of a picture, float32 [label_size]."""
        raise NotImplementedError

    def name_of(self, key):
        """The picture's name for messages."""
        return str(key)

    def fingerprint(self):
        """JSON-able value that changes when the pictures do."""
        raise NotImplementedError

    def resolution_of_set(self):
        """The one resolution all pictures have, if the source knows it; 0 otherwise."""
        return 0

    def side_files(self, resolution):
        """{suffix: (npy dtype, row shape) or None} of files beside the shards."""
        return {}
