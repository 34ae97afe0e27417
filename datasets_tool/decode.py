"""From any picture to the square uint8 image of a dataset: decode, crop, pad, resize."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from dnnlib.errors import UserError
from dnnlib.records.encoded import UNREADABLE

CROPS = ("center", "top", "none", "stretch")
WHOLE_CROPS = ("none", "stretch")  # those that cut nothing off, whatever the ratio
RESOLUTIONS = tuple(1 << level for level in range(2, 13))  # 4 ... 4096

_ORIENTATION = 0x0112  # EXIF tag
_PNG, _PNG_DEPTH = b"\x89PNG", 24  # first bytes of a PNG, place of its bits per channel
_LANCZOS = getattr(Image, "Resampling", Image).LANCZOS


class UnreadableImageError(Exception):
    """A picture that cannot be decoded; the text says why."""


def check_resolution(resolution, flag="--resolution"):
    """Raise UserError unless ``resolution`` is a power of two from 4 to 4096."""
    if resolution in RESOLUTIONS:
        return
    low = max([r for r in RESOLUTIONS if r < resolution], default=RESOLUTIONS[0])
    high = min([r for r in RESOLUTIONS if r > resolution], default=RESOLUTIONS[-1])
    near = f"{low} or {high}" if low != high else f"{low}"
    raise UserError(f"{flag} {resolution}: must be a power of two from 4 to 4096; nearest: {near}")


# Decoding


def decode(data):
    """Decode an encoded picture.

    Args:
      data: the bytes of the file.

    Returns:
      A PIL image of mode L, RGB or (if parts are transparent) RGBA, upright, and the set of what
      was found: "grey", "palette", "16-bit", "transparent", "CMYK", "turned (EXIF)", "animated
      (first frame)", ...

    Raises:
      UnreadableImageError: with the reason.
    """
    if not len(data):
        raise UnreadableImageError("the file is empty")
    notes = set()
    try:
        image = Image.open(io.BytesIO(data))
        if getattr(image, "n_frames", 1) > 1:
            notes.add("animated (first frame)")
        image.load()
        if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
            image = ImageOps.exif_transpose(image)
            notes.add("turned (EXIF)")
        if data[:4] == _PNG and data[_PNG_DEPTH] == 16:
            notes.add("16-bit")  # Pillow scales all but grey ones
        return simplify(image, notes), notes
    except UnreadableImageError:
        raise
    except UNREADABLE as error:
        text = " ".join(str(error).replace(repr(error), "").split())
        text = text.split(" <_io.")[0]  # Pillow names the buffer, which says nothing
        raise UnreadableImageError(text or type(error).__name__) from error


def simplify(image, notes):
    """PIL image of any mode => L, RGB or (if parts are transparent) RGBA; adds to ``notes``."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        notes.update({"16-bit", "grey"})
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableImageError("has 32 bits per pixel, which has no agreed range")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImageError("has floating-point pixels, which have no agreed range")
    if image.mode == "P":
        notes.add("palette")
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if has_alpha:
        rgba = image.convert("RGBA")
        if rgba.getextrema()[3][0] < 255:
            notes.add("transparent")
            return rgba
    if image.mode in ("1", "L", "LA", "La"):
        notes.add("grey")
        return image.convert("L")
    if image.mode not in ("P", "PA", "RGB", "RGBA", "RGBa"):
        notes.add(image.mode)
    return image.convert("RGB")


def to_picture(array):
    """uint8 [C, H, W] with 1, 3 or 4 channels => PIL image."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[0] not in (1, 3, 4):
        raise UnreadableImageError(
            f"is {array.dtype} {list(array.shape)}, not uint8 [1, 3 or 4, H, W]"
        )
    array = np.ascontiguousarray(array.transpose(1, 2, 0))
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


# Geometry


def _crop_box(width, height, ratio, crop):
    """Box (left, top, right, bottom) of the largest part with height = ratio * width."""
    side = min(width, height / ratio)
    cut_width, cut_height = side, ratio * side
    left, top = (width - cut_width) // 2, (height - cut_height) // 2
    if crop == "top":
        return left, 0, left + cut_width, cut_height
    return left, top, (width + cut_width) // 2, (height + cut_height) // 2


def fit(image, resolution, ratio=1.0, crop="center"):
    """Crop, pad and resize a picture, as the published tool does.

    Args:
      image: PIL image.
      resolution: side of the result.
      ratio: height / width that the picture is cut to; black bars fill the square.
      crop: "center" cuts around the middle, "top" keeps the upper edge, "none" keeps the whole
        picture (bars fill the square), "stretch" scales it to the square unevenly.

    Returns:
      PIL image [resolution, resolution].
    """
    if crop in ("center", "top"):
        box = tuple(round(edge) for edge in _crop_box(*image.size, ratio, crop))
        if box != (0, 0, *image.size):
            image = image.crop(box)
    width, height = image.size
    if width != height and crop != "stretch":
        side = max(width, height)
        square = Image.new(image.mode, (side, side))
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        image = square
    if image.size != (resolution, resolution):
        image = image.resize((resolution, resolution), _LANCZOS)
    return image


def natural_resolution(size, ratio=1.0, crop="center"):
    """The power of two nearest to the side of the square that ``fit`` makes of (width, height)."""
    width, height = size
    if crop in ("center", "top"):
        width = min(width, height / ratio)
        height = ratio * width
    side = max(width, height)
    level = int(np.rint(np.log2(max(side, 4))))
    return min(1 << level, RESOLUTIONS[-1])


def levels(image, smallest=4):
    """All smaller sizes of an image: each the mean of 2x2 pixels of the unrounded one before.

    Colours of RGBA count by their opacity.

    Args:
      image: uint8 [C, H, W], H = W a power of two.
      smallest: the last size.

    Yields:
      uint8 [C, H, W], [C, H/2, W/2], ...
    """
    yield image
    exact = image.astype(np.float32)
    has_alpha = len(image) == 4
    if has_alpha:
        exact[:3] *= exact[3] / 255
    while exact.shape[1] > smallest:
        exact = exact.reshape(len(exact), exact.shape[1] // 2, 2, exact.shape[2] // 2, 2)
        exact = exact.mean((2, 4), dtype=np.float32)
        level = exact
        if has_alpha:
            opacity = np.maximum(exact[3], 1e-3) / 255
            level = np.concatenate([exact[:3] / opacity, exact[3:]])
        yield np.rint(level).clip(0, 255).astype(np.uint8)
