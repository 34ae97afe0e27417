"""Pictures inside a page: small, bounded in number and in bytes. NumPy and Pillow only."""

import base64
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, features

from dnnlib.submission.run_dir import named_kimg

MAX_HISTORY = 40  # pictures of one kind
MAX_WIDTH = 1000  # pixels
MAX_BYTES = 80000  # of a picture, before it is written as text
MAX_NEWEST_BYTES = 240000  # of those that are not history
MAX_LOSSLESS_BYTES = 48000
QUALITIES = (88, 75, 60, 40, 20)
RESAMPLE = getattr(Image, "Resampling", Image).LANCZOS


def history(run_dir, kind):
    """The pictures KIND-KKKKKK.png of a run, thinned to at most MAX_HISTORY.

    Every 1st, 2nd, 4th, ... picture is taken, so that the choice rarely changes while a run grows;
    the newest is always among them.

    Args:
      run_dir: of the run.
      kind: "fakes", for instance.

    Returns:
      List of (kimg, path), oldest first.
    """
    found = [(named_kimg(path.name, kind), path) for path in Path(run_dir).glob("*.png")]
    pictures = sorted((kimg, path) for kimg, path in found if kimg is not None)
    stride = 1
    while -(-len(pictures) // stride) >= MAX_HISTORY:
        stride *= 2
    chosen = pictures[::stride]
    return chosen if not pictures or chosen[-1] == pictures[-1] else [*chosen, pictures[-1]]


def embed(path, max_bytes=MAX_BYTES):
    """A picture file for use in a page.

    Args:
      path: of the picture.
      max_bytes: how large it may be.

    Returns:
      {"src": data URI, "width": pixels, "height": pixels}; None if it cannot be read.
    """
    try:
        stat = Path(path).stat()
        return _embed(str(path), max_bytes, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):  # gone, or not whole
        return None


@functools.lru_cache(maxsize=4 * MAX_HISTORY)
def _embed(path, max_bytes, _mtime, _size):
    """See :func:`embed`; a file is read again only if it has changed."""
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB"))
    picture = without_repeats(picture)
    image = _reduced(Image.fromarray(np.ascontiguousarray(picture)), MAX_WIDTH)
    size = {"width": image.width, "height": image.height}
    kind, data = _encode(image, max_bytes)
    return {"src": f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}", **size}


def _reduced(image, width):
    """An image at most that wide."""
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), RESAMPLE)


def without_repeats(picture):
    """Undo an enlargement in which every pixel became a square, but for a factor of two.

    The factor that stays keeps lossy formats, which halve the resolution of colours, from blurring
    the colours of small pictures.

    Args:
      picture: [H, W, 3] uint8.

    Returns:
      [h, w, 3] uint8.
    """
    for factor in (16, 12, 8, 6, 4):
        height, width = (size // factor for size in picture.shape[:2])
        if picture.shape[:2] == (height * factor, width * factor):
            small = picture[::factor, ::factor]
            if np.array_equal(small.repeat(factor, 0).repeat(factor, 1), picture):
                return small.repeat(2, 0).repeat(2, 1)
    return picture


def _encode(image, max_bytes):
    """Image => (kind, bytes): lossless where that is small, else as good as the limit allows."""
    if not features.check("webp"):
        return "jpeg", _first_that_fits(image, "JPEG", max_bytes)
    # A hasty attempt tells whether it is worth the time to pack well.
    if len(_saved(image, "WEBP", lossless=True, method=0, quality=0)) <= 2 * MAX_LOSSLESS_BYTES:
        lossless = _saved(image, "WEBP", lossless=True)
        if len(lossless) <= MAX_LOSSLESS_BYTES:
            return "webp", lossless
    return "webp", _first_that_fits(image, "WEBP", max_bytes)


def _first_that_fits(image, kind, max_bytes):
    """Encoded with the highest quality that stays below a limit; smaller if none does."""
    while True:
        for quality in QUALITIES:
            data = _saved(image, kind, quality=quality)
            if len(data) <= max_bytes:
                return data
        image = _reduced(image, image.width // 2)


def _saved(image, kind, **options):
    """Image => bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
