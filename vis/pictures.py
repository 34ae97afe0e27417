"""From network outputs to picture files: conversion, grids, labels. NumPy and Pillow only.

"Images" are what networks take and give: float [N, C, H, W] in [-1, 1]. "Pictures" are what people
look at: uint8 [H, W, 3]; channels.py turns one into the other. Every file is written under a
temporary name first, so there is never half a picture.
"""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from dnnlib.errors import UserError
from dnnlib.util import atomic_write
from vis.channels import convert, to_pictures

READABLE_SIZE = 128  # pixels: smaller cells are enlarged towards this size
MAX_SHEET_SIZE = 4096  # pixels: larger sheets are reduced to this width and height
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

WHITE = (255, 255, 255)
INK = (40, 40, 40)
TEXT_HEIGHT = 16  # pixels of a line of text, with its margins


def crop_to_ratio(images, ratio):
    """Keep the middle of square images that were padded from a wider or a higher format.

    Args:
      images: [..., H, W] with H = W.
      ratio: height / width of what is kept.

    Returns:
      [..., round(W * ratio), W] view, or [..., H, round(H / ratio)] if the ratio is above 1;
      images that are not square, which have no bars, as they are.
    """
    size = images.shape[-1]
    if images.shape[-2] != size:
        return images
    height, width = (max(1, int(np.rint(size * min(x, 1)))) for x in (ratio, 1 / ratio))
    top, left = (images.shape[-2] - height) // 2, (size - width) // 2
    return images[..., top : top + height, left : left + width]


def save_picture(path, picture, text=None):
    """Write a picture file, complete or not at all.

    Args:
      path: file name; its ending chooses the format (.png, .jpg, .jpeg, .webp).
      picture: [H, W, C] uint8; C is 1, 3 or 4.
      text: dict of strings kept in the header of a PNG, e.g. the seed.

    Raises:
      UserError: unknown file format, or one without transparency for an RGBA picture.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: pictures are written as {known}, not as {ending!r}")
    if picture.shape[2] == 4 and FORMATS[ending] == "JPEG":
        raise UserError(f"{path}: JPEG has no transparency; write .png or .webp")
    with atomic_write(path) as file:
        file.write(encode_picture(picture, ending, text))


def encode_picture(picture, ending, text=None):
    """The bytes of a picture file; ``ending`` is one of FORMATS, the rest as for save_picture."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    options = {"PNG": {"pnginfo": info}, "JPEG": {"quality": 95, "subsampling": 0}}
    options["WEBP"] = {"lossless": True}
    kind = FORMATS[ending]
    file = io.BytesIO()
    pixels = picture[..., 0] if picture.shape[2] == 1 else picture
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, **options[kind])
    return file.getvalue()


def read_picture(path):
    """A picture file as [H, W, 3] uint8; what is transparent lies on white."""
    with Image.open(str(path)) as image:
        return np.asarray(convert(image, 3))


def cell_size(height, width, columns, rows):
    """The size of a cell at which a sheet reads well.

    Small cells grow by the largest integer factor that keeps them within READABLE_SIZE and the
    sheet within half of MAX_SHEET_SIZE; cells that would make a sheet larger than MAX_SHEET_SIZE
    shrink.

    Args:
      height: of a cell in pixels.
      width: of a cell in pixels.
      columns: cells side by side.
      rows: cells below each other.

    Returns:
      height and width in pixels.
    """
    room = min(1 / (columns * width), 1 / (rows * height))
    zoom = int(min(READABLE_SIZE // max(height, width), MAX_SHEET_SIZE // 2 * room))
    if zoom > 1:
        return height * zoom, width * zoom
    scale = min(1, MAX_SHEET_SIZE * room)
    return max(1, int(height * scale)), max(1, int(width * scale))


def resize(pictures, height, width):
    """Enlarge so that every pixel becomes a rectangle, or reduce by averaging.

    Args:
      pictures: [N, H, W, 3] uint8.
      height: of the result; a multiple of H, or smaller.
      width: of the result; a multiple of W, or smaller.

    Returns:
      [N, height, width, 3] uint8.
    """
    old_height, old_width = pictures.shape[1:3]
    if height >= old_height and width >= old_width:
        pictures = np.repeat(pictures, height // old_height, axis=1)
        return np.repeat(pictures, width // old_width, axis=2)
    small = [Image.fromarray(p).resize((width, height), Image.LANCZOS) for p in pictures]
    return np.stack([np.asarray(picture) for picture in small])


def fit_cells(pictures, columns):
    """Bring [N, H, W, 3] pictures to the :func:`cell_size` of a sheet of them all."""
    num, height, width = pictures.shape[:3]
    return resize(pictures, *cell_size(height, width, columns, -(-num // columns)))


def grid_shape(num, aspect=1.5):
    """Columns and rows for ``num`` cells: about ``aspect`` times as wide as high, few empty."""

    def misfit(columns):
        empty = -num % columns
        return abs(np.log(columns**2 / (num * aspect))) + 4 * empty / num

    columns = min(range(1, num + 1), key=misfit)
    return columns, -(-num // columns)


def tile(pictures, columns, gap=0):
    """Lay pictures out in rows, left to right; places that stay empty are white.

    Args:
      pictures: [N, H, W, 3] uint8, or a list of N pictures of one size.
      columns: pictures in a row.
      gap: white pixels between neighbours.

    Returns:
      [rows * (H + gap) - gap, columns * (W + gap) - gap, 3] uint8.
    """
    pictures = np.asarray(pictures)
    num, height, width = pictures.shape[:3]
    rows = -(-num // columns)
    sheet = np.full([rows, height + gap, columns, width + gap, 3], 255, np.uint8)
    for i, picture in enumerate(pictures):
        sheet[i // columns, :height, i % columns, :width] = picture
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), 3)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def stack(pictures, gap=0):
    """Put pictures of any widths below each other, left-aligned on white."""
    width = max(picture.shape[1] for picture in pictures)
    parts = []
    for picture in pictures:
        blank = np.full([picture.shape[0], width, 3], 255, np.uint8)
        blank[:, : picture.shape[1]] = picture
        parts += [np.full([gap, width, 3], 255, np.uint8), blank]
    return np.concatenate(parts[1:])


def with_margin(picture, margin=8):
    """A picture in a white frame."""
    widths = ((margin, margin), (margin, margin), (0, 0))
    return np.pad(picture, widths, mode="constant", constant_values=255)


def text_line(texts, width, height=TEXT_HEIGHT, columns=None):
    """A line of text on white, centred in equal columns.

    Args:
      texts: strings, one per column from the left.
      width: of the line in pixels.
      height: of the line in pixels.
      columns: number of columns; as many as there are texts by default.

    Returns:
      [height, width, 3] uint8.
    """
    image = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(image)
    cell = width / (columns or len(texts))
    for i, text in enumerate(texts):
        _draw_centred(draw, text, (i + 0.5) * cell, height / 2)
    return np.asarray(image)


def legend(colors, width, names=None):
    """A line, or several, of coloured squares with names.

    Args:
      colors: [K, 3] uint8.
      width: of the legend in pixels.
      names: K strings; the component numbers by default.

    Returns:
      [height, width, 3] uint8, as high as it takes.
    """
    names = names or [str(i) for i in range(len(colors))]
    text_width = max(_text_size(name)[0] for name in names)
    swatch = TEXT_HEIGHT - 6
    cell = swatch + text_width + 16
    columns = max(1, width // cell)
    rows = -(-len(names) // columns)
    image = Image.new("RGB", (width, rows * TEXT_HEIGHT), WHITE)
    draw = ImageDraw.Draw(image)
    for i, (color, name) in enumerate(zip(colors, names)):
        left, top = (i % columns) * cell + 4, (i // columns) * TEXT_HEIGHT + 3
        # Rectangles include their last row and column.
        box = (left, top, left + swatch - 1, top + swatch - 1)
        draw.rectangle(box, fill=tuple(int(v) for v in color))
        left += swatch + 4
        _draw_centred(draw, name, left + _text_size(name)[0] / 2, top + swatch / 2)
    return np.asarray(image)


def titled(pictures, titles, columns, gap=4):
    """Pictures in rows, each under its title.

    Args:
      pictures: [N, H, W, 3] uint8.
      titles: N strings.
      columns: pictures in a row.
      gap: pixels between pictures.

    Returns:
      [height, width, 3] uint8.
    """
    lines = [text_line([title], pictures.shape[2]) for title in titles]
    cells = [np.concatenate([line, picture]) for line, picture in zip(lines, pictures)]
    return tile(cells, columns, gap)


class Sheet:
    """A grid that is filled piece by piece and never holds more than what it will show.

    Args:
      num: pictures it has place for.
      height: of each picture.
      width: of each picture.
      columns: pictures in a row; chosen for a sheet of about 3:2 by default.
    """

    def __init__(self, num, height, width, columns=None):
        self.columns = columns or grid_shape(num)[0]
        self.cell = cell_size(height, width, self.columns, -(-num // self.columns))
        self.cells = np.full([num, *self.cell, 3], 255, np.uint8)

    def put(self, places, pictures):
        """Put [N, H, W, 3] uint8 pictures into N places, counted row by row."""
        self.cells[places] = resize(pictures, *self.cell)

    def picture(self, gap=0):
        """[height, width, 3] uint8; places not yet filled are white."""
        return tile(self.cells, self.columns, gap)


def sample_grid(images, columns=None):
    """Images side by side, enlarged by an integer factor where they are small.

    Args:
      images: [N, C, H, W] float in [-1, 1] or uint8.
      columns: images in a row; chosen for a sheet of about 3:2 by default.

    Returns:
      [height, width, 3] uint8, neither side longer than MAX_SHEET_SIZE.
    """
    pictures = to_pictures(images)
    sheet = Sheet(*pictures.shape[:3], columns=columns)
    sheet.put(slice(None), pictures)
    return sheet.picture()


def save_sample_grid(path, images, columns=None):
    """Write :func:`sample_grid` of images to a file."""
    save_picture(path, sample_grid(images, columns))


@lru_cache(maxsize=None)
def _font():
    """Pillow's built-in font, at about the same size in all versions."""
    try:
        return ImageFont.load_default(size=12)
    except TypeError:  # Pillow before 10.1 has one fixed size
        return ImageFont.load_default()


def _text_size(text):
    """Width and height in pixels."""
    left, top, right, bottom = _font().getbbox(text)
    return right - left, bottom - top


def _draw_centred(draw, text, x, y):
    """Text around the point (x, y)."""
    left, top, right, bottom = _font().getbbox(text)
    draw.text((int(x - (left + right) / 2), int(y - (top + bottom) / 2)), text, INK, font=_font())
