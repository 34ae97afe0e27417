"""What StyleGAN2's scripts import from here: pictures, pickles, sheets; over our own modules."""

from __future__ import annotations

import pickle

import numpy as np
from PIL import Image

from dnnlib import tflib, util
from vis.channels import to_pictures, to_pixels
from vis.pictures import save_picture


def open_file_or_url(file_or_url):
    """Open a path or URL for reading in binary; downloads are cached."""
    return util.open_url(file_or_url)


def load_pkl(file_or_url):
    """The networks of a snapshot: a tuple, or one; nothing inside the file is executed."""
    return tflib.load_networks(file_or_url)


def save_pkl(obj, filename):
    """Pickle an object, as a whole or not at all."""
    with util.atomic_write(filename) as file:
        pickle.dump(obj, file, protocol=4)


def adjust_dynamic_range(data, drange_in, drange_out):
    """Map values linearly such that the ends of ``drange_in`` become those of ``drange_out``."""
    if list(drange_in) == list(drange_out):
        return data
    scale = np.float32(drange_out[1] - drange_out[0]) / np.float32(drange_in[1] - drange_in[0])
    return data * scale + (np.float32(drange_out[0]) - np.float32(drange_in[0]) * scale)


def create_image_grid(images, grid_size=None):
    """Lay images out side by side, row by row.

    Args:
      images: [N, C, H, W], or [N, H, W].
      grid_size: (columns, rows); None: as square as possible.

    Returns:
      [C, rows * H, columns * W], or [rows * H, columns * W]; places without an image are zero.
    """
    images = np.asarray(images)
    num, (height, width) = len(images), images.shape[-2:]
    if grid_size is None:
        columns = max(int(np.ceil(np.sqrt(num))), 1)
        grid_size = columns, max(-(-num // columns), 1)
    columns, rows = grid_size
    grid = np.zeros([rows * columns, *images.shape[1:]], images.dtype)
    grid[: min(num, len(grid))] = images[: len(grid)]
    grid = grid.reshape([rows, columns, *images.shape[1:-2], height, width])
    grid = np.moveaxis(grid, [0, 1], [-4, -2])  # [..., rows, H, columns, W]
    return grid.reshape([*images.shape[1:-2], rows * height, columns * width])


def convert_to_pil_image(image, drange=(0, 1)):
    """A picture [C, H, W] (C is 1, 3 or 4) or [H, W], with values in ``drange``, for Pillow."""
    pixels = to_pixels(_as_network_image(image, drange))[0]
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _as_network_image(image, drange):
    """[C, H, W] or [H, W] with values in ``drange`` => [1, C, H, W] uint8, or in [-1, 1]."""
    image = np.asarray(image)
    image = image[np.newaxis] if image.ndim == 2 else image
    if image.dtype != np.uint8 or list(drange) != [0, 255]:
        image = adjust_dynamic_range(image.astype(np.float32), drange, [-1, 1])
    return image[np.newaxis]


def save_image_grid(images, filename, drange=(0, 1), grid_size=None):
    """Write images [N, C, H, W] with values in ``drange`` as one sheet, RGBA on a checkerboard."""
    sheet = _as_network_image(create_image_grid(images, grid_size), drange)
    save_picture(filename, to_pictures(sheet)[0])


def apply_mirror_augment(minibatch):
    """Flip about half of the images [N, C, H, W], chosen by NumPy's generator, horizontally."""
    mask = np.random.rand(len(minibatch)) < 0.5
    minibatch = np.array(minibatch)
    minibatch[mask] = minibatch[mask, :, :, ::-1]
    return minibatch


def setup_snapshot_image_grid(training_set, size="1080p", layout="random"):
    """Real images for a sheet of the size of a screen.

    Args:
      training_set: training.dataset.Dataset.
      size: "1080p", "4k" or "8k"; larger images mean fewer of them.
      layout: "random".

    Returns:
      (columns, rows), images [N, C, H, W] uint8, labels [N, c_dim].
    """
    screens = {"1080p": (1920, 1080), "4k": (3840, 2160), "8k": (7680, 4320)}
    if layout != "random" or size not in screens:
        raise ValueError(f"size must be one of {', '.join(screens)}, and layout 'random'")
    _, height, width = training_set.shape
    columns = int(np.clip(screens[size][0] // width, 3, 32))
    rows = int(np.clip(screens[size][1] // height, 2, 32))
    images, labels = training_set.sample_grid(columns * rows)
    return (columns, rows), images, labels
