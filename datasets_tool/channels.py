"""How many channels the images of a set have: chosen by rule, and made of any picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from datasets_tool.decode import UnreadableImageError
from dnnlib.records.encoded import MODES
from dnnlib.util import log

CHANNELS = (1, 3, 4)
WHITE = "#ffffff"
COLOURED = "coloured"  # note of a picture whose colours a grey set loses
_NAMES = {1: "grey", 3: "RGB", 4: "RGBA"}
_LOOKED_AT = 100  # pictures from which the rule is found


def parse_background(text):
    """A colour by name or as #rrggbb => "#rrggbb"; ValueError if it is none."""
    rgb = ImageColor.getrgb(text)
    if len(rgb) != 3:
        raise ValueError(f"{text} has an opacity; give an opaque colour")
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def to_channels(picture, channels, background=None):
    """Give a picture that number of channels.

    Args:
      picture: PIL image of mode L, RGB or RGBA.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA).
      background: "#rrggbb" on which transparent parts are laid, unless they are kept (default:
        white).

    Returns:
      PIL image of mode L, RGB or RGBA. Colours that cannot be seen, as their opacity is 0, are
      black.
    """
    if picture.mode == "RGBA" and channels != 4:
        ground = Image.new("RGBA", picture.size, background or WHITE)
        picture = Image.alpha_composite(ground, picture).convert("RGB")
    if picture.mode != MODES[channels]:
        picture = picture.convert(MODES[channels])
    if channels == 4 and picture.getextrema()[3][0] == 0:
        pixels = np.array(picture)
        pixels[pixels[:, :, 3] == 0] = 0
        picture = Image.fromarray(pixels)
    return picture


def has_colour(picture):
    """Whether a picture of mode L, RGB or RGBA has pixels that are not grey."""
    if picture.mode == "L":
        return False
    red, green, blue = np.asarray(picture)[:, :, :3].transpose(2, 0, 1)
    return bool((red != green).any() or (green != blue).any())


def choose_channels(source, keeps_transparency):
    """The number of channels for a source whose user names none; said if it is not just RGB.

    1 if all pictures that are looked at are stored in grey, 4 if more than half of them have
    transparent parts, 3 otherwise.

    Args:
      source: a Source, of whose pictures up to 100 are looked at.
      keeps_transparency: False: a background is given, so 4 is no choice.
    """
    looked_at = grey = transparent = 0
    for key in source.some_keys(_LOOKED_AT):
        try:
            picture = source.load(key)[0]
        except UnreadableImageError:
            continue
        looked_at += 1
        grey += picture.mode == "L"
        transparent += picture.mode == "RGBA"
    channels = 3
    if grey and grey == looked_at:
        channels = 1
    elif 2 * transparent > looked_at and keeps_transparency:
        channels = 4
    if grey or transparent:
        counts = ((grey, "grey"), (transparent, "partly transparent"))
        found = " and ".join(f"{number} {what}" for number, what in counts if number)
        log(
            f"{source.description}: of {looked_at} images looked at, {found}: the set gets "
            f"{channels} channel{'s' if channels > 1 else ''} ({_NAMES[channels]}); "
            "--channels 1, 3 or 4 chooses"
        )
    return channels


def rules(channels, background):
    """{what was found in a picture: what is done about it}, as Recipe has the two."""
    laid = "white" if background in (None, WHITE) else background
    return {
        "grey": {1: "", 3: "three equal channels", 4: "three equal channels"}[channels],
        COLOURED: "made grey",
        "palette": "looked up",
        "16-bit": "scaled to 8",
        "transparent": "kept" if channels == 4 else f"laid on {laid}",
    }
