"""The Inception network of 2015 (Szegedy et al. 2016, arXiv:1512.00567): features of FID, KID, IS.

The published figures of this field all stand on one frozen graph, ``classify_image_graph_def.pb``
out of ``inception-2015-12-05.tgz``; other weights, or another way to resize, give other figures. So
the graph is run as it is, its own resizing included. That resizing does not average where it
shrinks, so it aliases; behind the "clean" resize (clean-fid, Parmar et al. 2022, arXiv:2104.11222)
the same network gives figures that compare with clean-fid's.
"""

from __future__ import annotations

import hashlib
import io
import pathlib
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from dnnlib import fetch, util
from dnnlib.errors import UserError
from dnnlib.tflib.compat import tf
from metrics.graph_network import GraphNetwork, to_nhwc
from vis.channels import to_rgb

URL = (
    "https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/"
    "inception-2015-12-05.tgz"
)
MEMBER = "classify_image_graph_def.pb"
NAME = "inception-2015-12-05"

SIZE = 299  # pixels a side that the network sees
INPUT = "ExpandDims:0"  # [1, H, W, 3] in [0, 255]; behind it the graph resizes to 299x299
POOL = "pool_3:0"
LOGITS = "softmax/logits/MatMul"
HOW_TO_GET = f"get {URL} on a machine with a network and give it with --inception FILE"


def load_inception(path=None, is_clean=False):
    """Open the network.

    Args:
      path: the .tgz or the .pb out of it; None downloads the .tgz into the cache, once.
      is_clean: whether images are resized as clean-fid does, not as the graph does.

    Returns:
      GraphNetwork with the heads "pool" [N, 2048] and "probs" [N, 1008], or CleanInception.

    Raises:
      UserError: it cannot be had, or the file is another one.
    """
    try:
        file = fetch.fetch(path or URL)
    except UserError as error:
        if path is not None:
            raise UserError(f"--inception: {error}") from None
        reason = str(error).split(";")[0]
        raise UserError(
            f"{reason}; get it on a machine with a network and give it with --inception FILE, or "
            "use --features random"
        ) from None
    data = _read(file)
    checksum = hashlib.sha256(data).hexdigest()
    if path is None:
        _check_unchanged(file, checksum)
    graph_def = tf.GraphDef()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # says less than the error
            graph_def.ParseFromString(data)
        if is_clean:
            build = lambda images: _build(graph_def, images)["pool"]  # noqa: E731
            return CleanInception(GraphNetwork(NAME, checksum, build_function=build))
        return GraphNetwork(NAME, checksum, lambda images: _build(graph_def, images))
    except (ValueError, KeyError, tf.errors.InvalidArgumentError, _decode_error()) as error:
        raise _unusable(file, "is not the Inception graph of 2015", error) from None


def _unusable(file, what, error):
    """The error for a file that is another one, in one line."""
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{file}: {what} ({reason}); {HOW_TO_GET}")


def _decode_error():
    """What protobuf raises for bytes that are no message."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - comes with TensorFlow

    return DecodeError


def _read(file):
    """Bytes of the graph out of the archive or the file itself."""
    data = pathlib.Path(file).read_bytes()
    if not data.startswith(b"\x1f\x8b"):  # gzip
        return data
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return archive.extractfile(MEMBER).read()
    except (tarfile.TarError, OSError, EOFError, KeyError, AttributeError) as error:
        raise _unusable(file, f"holds no readable {MEMBER}", error) from None


def _check_unchanged(file, checksum):
    """Compare a file in the cache with the checksum that it had when it was downloaded."""
    note = pathlib.Path(f"{file}.sha256")
    if not note.exists():
        with util.atomic_write(note, "w") as out:
            out.write(checksum + "\n")
    elif note.read_text(encoding="utf-8").strip() != checksum:
        raise UserError(f"{file}: has changed since it was downloaded; delete it and {note.name}")


def _build(graph_def, images):
    """Import the graph behind its input: {head: tensor}."""
    pool, logits = tf.import_graph_def(
        graph_def,
        name="inception",
        input_map={INPUT: to_nhwc(images)},
        return_elements=[POOL, LOGITS],
    )
    weights = logits.inputs[1]
    features = tf.reshape(pool, [-1, weights.shape.as_list()[0]])
    # The graph's own head takes one image at a time. Its biases are left out, as in the code of the
    # Inception Score's authors, on which all published scores stand.
    return {"pool": features, "probs": tf.nn.softmax(features @ weights)}


# clean-fid's resize


def resize_clean(image):
    """Resize as clean-fid does: bicubic with antialiasing, each channel in floating point.

    The result is not rounded, only limited to [0, 255].

    Args:
      image: uint8 [C, H, W].

    Returns:
      float32 [C, SIZE, SIZE].
    """
    resized = [
        np.asarray(Image.fromarray(x).resize((SIZE, SIZE), Image.BICUBIC))
        for x in image.astype(np.float32)
    ]
    return np.clip(resized, 0, 255)


class CleanInception:
    """The network behind clean-fid's resize; its own then leaves images as they are.

    Args:
      network: GraphNetwork whose function gives the pooled features.

    Attributes:
      name, identity: as of GraphNetwork.
    """

    def __init__(self, network):
        self._network = network
        self.name, self.identity = f"{network.name}-clean", f"{network.identity}-clean"

    def extract(self, images, heads):
        """{"clean": features [N, 2048] float32} of images [N, C, H, W] uint8."""
        with ThreadPoolExecutor() as pool:
            resized = np.stack(list(pool.map(resize_clean, to_rgb(images))))
        return {head: {"clean": self._network.apply}[head](resized) for head in heads}

    def close(self):
        """Free the session's memory."""
        self._network.close()
