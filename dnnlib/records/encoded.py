"""Images in records as encoded files: PNG, lossless WebP, or a JPEG as it came."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, features

from dnnlib.errors import UserError

RECORD_FORMATS = ("raw", "png", "webp", "jpeg")
_SIGNATURES = (b"\x89PNG", b"RIFF", b"\xff\xd8\xff")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # number of channels => Pillow's name

# What Pillow raises on damaged files, depending on the format and where the damage is.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    KeyError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def check_format(record_format):
    """Raise UserError if this Pillow cannot write the format."""
    if record_format == "webp" and not features.check("webp"):
        raise UserError(
            "--record-format webp: this Pillow is built without WebP; use --record-format png"
        )


def encode(planes, record_format):
    """An image as the bytes of a file.

    Args:
      planes: its 1, 3 or 4 channels, uint8 [C, H, W] or C arrays [H, W].
      record_format: "png" or "webp", both lossless.
    """
    pixels = np.stack(planes, axis=-1)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    if record_format == "webp":  # the least effort is still smaller than PNG, and much faster
        picture.save(file, "webp", lossless=True, exact=True, quality=0, method=0)
    else:
        picture.save(file, "png")
    return file.getvalue()


def decode(data, shape):
    """The bytes of a file => uint8 [C, H, W] of that shape; ValueError if it holds none."""
    if not bytes(data[:4]).startswith(_SIGNATURES):
        raise ValueError(f"shape {list(shape)} does not fit {len(data)} bytes of pixels")
    if shape[0] not in MODES:
        raise ValueError(f"has {shape[0]} channels, which no encoded image has")
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.size != (shape[2], shape[1]):
            raise ValueError(f"is encoded with another size, {picture.size[0]}x{picture.size[1]}")
        picture.load()
    except UNREADABLE as error:
        raise ValueError(f"cannot be decoded: {' '.join(str(error).split())}") from error
    if picture.mode != MODES[shape[0]]:  # WebP knows no grey
        picture = picture.convert(MODES[shape[0]])
    return to_planes(picture)


def to_planes(picture):
    """A Pillow picture of mode L, RGB or RGBA => uint8 [C, H, W]."""
    pixels = np.asarray(picture)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
