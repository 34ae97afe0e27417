"""Colours for latent components: far apart for every kind of colour vision."""

from functools import lru_cache

import numpy as np

NUM_COLORS = 256  # different ones; more components than that share them in turn

# The seven chromatic colours of Okabe and Ito's "Color Universal Design" set, strongest first.
_FIRST = ("0072B2", "E69F00", "009E73", "CC79A7", "56B4E9", "D55E00", "F0E442")

# How linear RGB looks with no red, no green and no blue cones
# (Machado, Oliveira and Fernandes 2009, Table 1, severity 1.0).
_VISIONS = (
    np.eye(3),
    np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
)

# sRGB primaries to CIE XYZ, each row divided by the D65 white point: white maps to [1, 1, 1].
_RGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_RGB_TO_XYZ /= _RGB_TO_XYZ.sum(axis=1, keepdims=True)


def _to_lab(linear):
    """Linear RGB [..., 3] in [0, 1] => CIELAB [..., 3]."""
    xyz = linear @ _RGB_TO_XYZ.T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def appearances(colors):
    """How colours look with normal, red-blind, green-blind and blue-blind vision.

    Args:
      colors: [F, 3] uint8 sRGB.

    Returns:
      [F, 4, 3] float64 CIELAB, where Euclidean distance is perceived difference.
    """
    srgb = np.asarray(colors) / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = [np.clip(linear @ vision.T, 0.0, 1.0) for vision in _VISIONS]
    return _to_lab(np.stack(seen, axis=1))


def _distance(a, b):
    """[F, 4, 3], [4, 3] => [F]: difference under the vision that tells them apart least."""
    return np.sqrt(np.square(a - b).sum(axis=-1)).min(axis=-1)


@lru_cache(maxsize=None)
def _table():
    """[NUM_COLORS, 3] uint8: the fixed first colours, then always the one farthest from all."""
    first = np.array([[int(text[i : i + 2], 16) for i in (0, 2, 4)] for text in _FIRST], np.uint8)
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = appearances(candidates)
    # Very dark and very light colours do not read as colours in a blend.
    visible = (lab[:, 0, 0] > 25) & (lab[:, 0, 0] < 92)
    candidates, lab = candidates[visible], lab[visible]

    colors = list(first)
    nearest = np.min([_distance(lab, seen) for seen in appearances(first)], axis=0)
    while len(colors) < NUM_COLORS:
        best = int(np.argmax(nearest))
        colors.append(candidates[best])
        nearest = np.minimum(nearest, _distance(lab, lab[best]))
    table = np.array(colors, np.uint8)
    table.flags.writeable = False
    return table


def component_colors(num):
    """The colours of components 0..num-1; a component keeps its colour whatever ``num`` is.

    The first seven are Okabe and Ito's; each further one is the colour that is farthest from all
    before it in CIELAB, under the least favourable of four kinds of colour vision. Up to some 64
    can be told apart by eye. From NUM_COLORS on they begin again, so that there is no limit.

    Args:
      num: number of components.

    Returns:
      [num, 3] uint8 sRGB.
    """
    return _table()[np.arange(num) % NUM_COLORS]
