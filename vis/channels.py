"""Grey, RGB and RGBA: what files, eyes and networks of other kinds get of images [N, C, H, W].

Alpha is straight: colors are not multiplied by it. What has no alpha channel is opaque.
"""

import numpy as np

from datasets_tool.channels import to_channels
from dnnlib.errors import UserError
from dnnlib.records.encoded import MODES

LIGHT, DARK = 255, 204  # squares of the checkerboard under transparent pictures
SQUARES = 16  # of them along the longer side


def to_pixels(images):
    """Network images as files hold them: rint(127.5 x + 127.5), clipped to [0, 255].

    Args:
      images: [N, C, H, W] float in [-1, 1], or uint8, which is only rearranged; C is 1, 3 or 4.

    Returns:
      [N, H, W, C] uint8.

    Raises:
      ValueError: wrong shape.
      UserError: a value that is not a number.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] not in MODES:
        raise ValueError(f"images must be [N, 1, 3 or 4, H, W], got {list(images.shape)}")
    if images.dtype != np.uint8:
        if np.isnan(images).any():
            raise UserError(
                "the images hold values that are not a number; has the training diverged? "
                "An earlier snapshot may be whole"
            )
        images = np.clip(np.rint(images * 127.5 + 127.5), 0, 255).astype(np.uint8)
    return images.transpose(0, 2, 3, 1)


def to_pictures(images):
    """Network images as people see them: grey as RGB, RGBA on a checkerboard.

    Args and errors are those of :func:`to_pixels`.

    Returns:
      [N, H, W, 3] uint8.
    """
    pixels = to_pixels(images)
    if pixels.shape[3] == 4:
        return _lay_on(pixels, checkerboard(*pixels.shape[1:3]))
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


def checkerboard(height, width):
    """[height, width, 1] uint8 light and dark grey squares."""
    side = max(1, max(height, width) // SQUARES)
    is_dark = (np.arange(height)[:, np.newaxis] // side + np.arange(width) // side) % 2
    return np.where(is_dark, DARK, LIGHT).astype(np.uint8)[..., np.newaxis]


def _lay_on(pixels, ground):
    """RGBA [..., 4] uint8 on a ground [..., 1] uint8: [..., 3] uint8, rounded."""
    colors, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((colors * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_rgb(images):
    """What networks that know RGB get of images: grey three times, RGBA on white.

    Args:
      images: [N, C, H, W] uint8, or float in [-1, 1]; C is 1, 3 or 4.

    Returns:
      [N, 3, H, W] of the same type.

    Raises:
      ValueError: another number of channels.
    """
    channels = images.shape[1]
    if channels not in MODES:
        raise ValueError(f"images must be [N, 1, 3 or 4, H, W], got {list(images.shape)}")
    if channels == 1:
        return np.repeat(images, 3, axis=1)
    if channels == 3:
        return images
    if images.dtype == np.uint8:
        white = np.full([1], 255, np.uint8)
        return _lay_on(images.transpose(0, 2, 3, 1), white).transpose(0, 3, 1, 2)
    alpha = np.clip((images[:, 3:] + 1) / 2, 0, 1)
    return images[:, :3] * alpha + (1 - alpha)


def convert(image, channels):
    """A Pillow image of any mode as grey, RGB or RGBA, as a prepared set would hold it."""
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    return to_channels(image.convert("RGBA") if has_alpha else image, channels)
