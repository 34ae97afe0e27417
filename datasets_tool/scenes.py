"""``scenes``: a CLEVR-like set of images, rendered here instead of downloaded.

Three to ten spheres, cubes and cylinders in 8 colours, 2 sizes and 2 materials stand on a grey
ground (CLEVR, Johnson et al. 2017, arXiv:1612.06890); or one to four large ones, which small
pictures can show. Image i of seed s is the same in any set: its
randomness depends on (s, i) alone.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import namedtuple

import numpy as np

from datasets_tool.decode import check_resolution
from datasets_tool.raycast import Solid, render
from datasets_tool.sources.base import Source

RENDERER_VERSION = 1  # to be raised when the pictures change

SHAPES = ("cube", "sphere", "cylinder")
SIZES = {"large": 0.7, "small": 0.4}
MATERIALS = ("rubber", "metal")
COLOURS = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
Objects = namedtuple("Objects", "least most scale")  # how many in a picture, and how large
CLEVR_OBJECTS = Objects(3, 10, 1.0)
LARGE_OBJECTS = Objects(1, 4, 1.9)  # for small pictures and short trainings

_SAMPLES = 3  # rays per pixel along each axis
_GAMMA = 2.2
_GAP = 0.22  # least distance between two objects on the ground
_OVERLAP = 0.75  # two discs on the picture are at least this share of their radii's sum apart
_MARGIN = 0.03  # share of the half picture kept free at the border
_LIGHT_RADIUS = 1.1
_GOLDEN_ANGLE = 2.399963


class Camera:
    """A pinhole camera above the ground that looks at the middle of the scene."""

    def __init__(self, rng):
        azimuth = math.radians(-45 + rng.uniform(-8, 8))
        elevation = math.radians(30 + rng.uniform(-3, 3))
        distance = 11.0 + rng.uniform(-0.4, 0.4)
        around = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
        back = around * math.cos(elevation) + np.array([0, 0, math.sin(elevation)])
        self.eye = back * distance + np.array([0, 0, 0.3])
        self.back = back
        self.right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        self.up = np.cross(back, self.right)
        self.ahead = -around  # on the ground
        self.half = math.tan(math.radians(18.5))  # half the picture's side at distance 1

    def project(self, point):
        """(x, y, scale): place on the picture, in [-1, 1] (y down), and its change per length."""
        offset = np.asarray(point) - self.eye
        scale = 1 / (self.half * -float(offset @ self.back))
        return float(offset @ self.right) * scale, -float(offset @ self.up) * scale, scale

    def rays(self, side):
        """[3, side * side] unit directions through the cells of a grid, row by row."""
        at = ((np.arange(side) + 0.5) / side * 2 - 1) * self.half
        x, y = np.meshgrid(at, -at)
        d = x.reshape(1, -1) * self.right[:, None] + y.reshape(1, -1) * self.up[:, None]
        d -= self.back[:, None]
        return (d / np.sqrt((d * d).sum(0))).astype(np.float32)


def _bound(shape, radius):
    """Radii of the discs that hold an object: on the ground, and on the picture (about)."""
    return (radius * 2**0.5, radius * 1.3) if shape == "cube" else (radius, radius * 1.15)


def _place(camera, rng, shape, radius, placed):
    """A free (x, y) for one more object, or None; ``placed`` holds what _place returned so far."""
    ground, disc = _bound(shape, radius)
    for _ in range(40):
        right, ahead = rng.uniform(-3.3, 3.3), rng.uniform(-4.2, 4.6)
        x, y = (right * camera.right + ahead * camera.ahead)[:2]
        u, v, scale = camera.project((x, y, radius))
        on_picture = disc * scale
        if max(abs(u), abs(v)) + on_picture > 1 - _MARGIN:
            continue
        if all(
            math.hypot(x - p[0], y - p[1]) > ground + p[2] + _GAP
            and math.hypot(u - p[3], v - p[4]) > _OVERLAP * (on_picture + p[5])
            for p in placed
        ):
            return x, y, ground, u, v, on_picture
    return None


def sample_scene(seed, index, kind=CLEVR_OBJECTS):
    """Draw scene ``index`` of ``seed``, with objects of a kind.

    Returns:
      camera, light (dict, see raycast.render), a list of objects as dicts with the attributes
      that are stored, and the generator, for what else is random in the picture.
    """
    rng = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, index])
    camera = Camera(rng)
    key = 5.0 * -camera.right + 2.0 * -camera.ahead + np.array([0, 0, 8.5])
    key = key + rng.uniform(-1, 1, 3)
    fill = 0.9 * camera.right + 0.5 * -camera.ahead + np.array([0, 0, 0.5])
    fill = fill + rng.uniform(-0.2, 0.2, 3)
    light = {
        "key": key.astype(np.float32)[:, None],
        "fill": (fill / math.sqrt(fill @ fill)).astype(np.float32)[:, None],
    }
    count = rng.randint(kind.least, kind.most + 1)
    while True:  # start over when an object finds no room, as most tries do find it
        objects, placed = [], []
        for _ in range(count):
            shape = SHAPES[rng.randint(len(SHAPES))]
            size = list(SIZES)[rng.randint(len(SIZES))]
            radius = kind.scale * SIZES[size] / (2**0.5 if shape == "cube" else 1)
            place = _place(camera, rng, shape, radius, placed)
            if place is None:
                break
            placed.append(place)
            objects.append(
                {
                    "shape": shape,
                    "size": size,
                    "material": MATERIALS[rng.randint(len(MATERIALS))],
                    "color": list(COLOURS)[rng.randint(len(COLOURS))],
                    "rotation": rng.uniform(0, 360),
                    "3d_coords": [place[0], place[1], radius],
                }
            )
        if len(objects) == count:
            return camera, light, objects, rng


def _solid(item):
    """The renderer's form of an object."""
    x, y, radius = item["3d_coords"]
    colour = (np.array(COLOURS[item["color"]]) / 255.0) ** _GAMMA
    metal = item["material"] == "metal"
    return Solid(item["shape"], radius, (x, y), math.radians(item["rotation"]), colour, metal)


def _key_points(light, rng, side, count):
    """``count`` arrays [3, side * side] of points on the key light, for the rays' shadows.

    All points of a pixel's rays together are a sunflower spiral over the light, turned at random.
    """
    n = _SAMPLES
    pixel_ray = np.tile(np.arange(n * n).reshape(1, n, 1, n), (side // n, 1, side // n, 1))
    turn = rng.uniform(0, 2 * math.pi, [side // n, 1, side // n, 1])
    points = []
    for shadow in range(count):
        seed = pixel_ray * count + shadow
        radius = _LIGHT_RADIUS * np.sqrt((seed + 0.5) / (n * n * count))
        angle = (seed * _GOLDEN_ANGLE + turn).astype(np.float32)
        offset = np.zeros([3, side * side], np.float32)
        offset[0] = (radius * np.cos(angle)).reshape(-1)
        offset[1] = (radius * np.sin(angle)).reshape(-1)
        points.append(light["key"] + offset)
    return points


def render_scene(seed, index, resolution, kind=CLEVR_OBJECTS):
    """Render one image.

    Args:
      seed: seed of the set.
      index: number of the image.
      resolution: side in pixels.
      kind: Objects.

    Returns:
      image: uint8 [3, H, W].
      mask: uint8 [H, W], 0 for the ground, 1 + the object's place in the list otherwise.
      scene: dict with "image_index" and "objects": their attributes, the pixel coordinates of
        their centres and the boxes [left, top, right, bottom] of their visible parts.
    """
    camera, light, objects, rng = sample_scene(seed, index, kind)
    side, n = resolution * _SAMPLES, _SAMPLES
    solids = [_solid(item) for item in objects]
    eye = camera.eye.astype(np.float32)[:, None]
    shadows = min(max(resolution // 32, 1), 4)  # rays of a pixel; the grain is finer than a pixel
    keys = _key_points(light, rng, side, shadows)
    rgb, what = render(solids, eye, camera.rays(side), light, keys)
    rgb = np.minimum(rgb, 1).reshape(3, resolution, n, resolution, n).mean((2, 4))
    image = np.rint(255 * rgb ** (1 / _GAMMA)).astype(np.uint8)
    what = what.reshape(side, side)
    for number, item in enumerate(objects):
        u, v, _ = camera.project(item["3d_coords"])
        item["3d_coords"] = [round(float(value), 4) for value in item["3d_coords"]]
        item["rotation"] = round(item["rotation"], 2)
        item["pixel_coords"] = [round((value + 1) / 2 * resolution, 2) for value in (u, v)]
        item["box"] = _box(what == number, n)
    mask = np.maximum(what[n // 2 :: n, n // 2 :: n] + 1, 0).astype(np.uint8)
    return image, mask, {"image_index": index, "objects": objects}


def _box(seen, samples):
    """Box of the true part of [side, side] in pixels; None if there is none."""
    (rows,), (columns,) = np.nonzero(seen.any(1)), np.nonzero(seen.any(0))
    if not len(rows):
        return None
    edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return [round(int(edge) / samples, 2) for edge in edges]


class ScenesSource(Source):
    """The first ``num_images`` scenes of a seed, with masks and attributes beside the images."""

    def __init__(self, num_images, resolution, seed=0, kind=CLEVR_OBJECTS):
        check_resolution(resolution)
        self.num_images, self.resolution, self.seed = num_images, resolution, seed
        self.kind = kind
        self.description = f"rendered scenes, seed {seed}"

    def __len__(self):
        return self.num_images

    def keys(self):
        """Yield the numbers of the scenes."""
        return iter(range(self.num_images))

    def load(self, key):
        """Render scene ``key``."""
        image, mask, scene = render_scene(self.seed, key, self.resolution, self.kind)
        line = json.dumps(scene, separators=(",", ":")).encode() + b"\n"
        # Each line is a gzip member of its own: the file can grow, and be cut back, at any line.
        gzip = zlib.compressobj(wbits=31)
        side_data = {
            ".masks.npy": mask.tobytes(),
            ".scenes.jsonl.gz": gzip.compress(line) + gzip.flush(),
        }
        return image, set(), side_data

    def fingerprint(self):
        """Seed, number, version of the renderer, and the objects if they are not CLEVR's."""
        facts = {"scenes": self.seed, "images_num": self.num_images, "renderer": RENDERER_VERSION}
        return facts if self.kind == CLEVR_OBJECTS else {**facts, "objects": list(self.kind)}

    def resolution_of_set(self):
        """The resolution asked for."""
        return self.resolution

    def side_files(self, resolution):
        """Masks [N, H, W] and one line of JSON for each scene."""
        return {".masks.npy": ("|u1", (resolution, resolution)), ".scenes.jsonl.gz": None}
