"""The documentation's sheet of all transformations: python tests/augment_picture.py OUT.png."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from datasets_tool.scenes import render_scene
from dnnlib.tflib.compat import tf
from dnnlib.tflib.random import StepRandom
from training.augment import diffaugment
from training.augment.pipe import PARTS
from vis.pictures import tile, titled, to_pictures

NUM = 6  # of each transformation
SIDE = 64
MAX_BYTES = 200000
# Each transformation: its part of the pipe, and its place among the part's gates.
ROWS = {
    "x-flip": ("blit", 0),
    "90-degree rotation": ("blit", 1),
    "integer translation": ("blit", 2),
    "isotropic scaling": ("geom", 0),
    "rotation before": ("geom", 1),
    "anisotropic scaling": ("geom", 2),
    "rotation after": ("geom", 3),
    "fractional translation": ("geom", 4),
    "brightness": ("color", 0),
    "contrast": ("color", 1),
    "luma flip": ("color", 2),
    "hue": ("color", 3),
    "saturation": ("color", 4),
    "filter, lowest band": ("filter", 0),
    "filter, band 1": ("filter", 1),
    "filter, band 2": ("filter", 2),
    "filter, highest band": ("filter", 3),
    "additive noise": ("noise", 0),
    "cutout": ("cutout", 0),
    "all of bgc at p = 0.5": ("bgc", None),
    "all of bgcfnc at p = 0.5": ("bgcfnc", None),
    "DiffAugment": ("diffaugment", None),
}


class OneGate(StepRandom):
    """Numbers of a step, with all gates closed but one."""

    gate = None

    def uniform(self, site, shape):
        """As StepRandom; the open gate gives 0, closed ones 1."""
        if site != "gates":
            return super().uniform(site, shape)
        return tf.ones([self.batch_size, *shape]) - np.eye(*shape, dtype=np.float32)[self.gate]


def draw_row(x, part, gate):
    """[N, H, W, C] under one transformation, or under all of a pipe."""
    nimg = tf.constant(0, tf.int64)
    if gate is not None:
        rng = OneGate(0, nimg, NUM, prefix=part)
        rng.gate = gate
        return PARTS[part](x, tf.constant(0.5), rng)
    rng = StepRandom(0, nimg, NUM, prefix=part)
    if part == "diffaugment":
        return diffaugment.diffaugment(x, rng)
    for name in list(PARTS)[: len(part)]:
        x = PARTS[name](x, tf.constant(0.5), rng.child(name))
    return x


def draw(path):
    """Write the sheet."""
    scene = render_scene(0, 3, SIDE)[0].transpose(1, 2, 0).astype(np.float32) / 127.5 - 1
    x = tf.constant(np.tile(scene, [NUM, 1, 1, 1]))
    with tf.Session() as session:
        rows = session.run({title: draw_row(x, *where) for title, where in ROWS.items()})
    strips = [tile(to_pictures(row.transpose(0, 3, 1, 2)), NUM, gap=1) for row in rows.values()]
    sheet = titled(np.stack(strips), list(rows), columns=2, gap=6)
    picture = Image.fromarray(sheet).quantize(256, Image.MEDIANCUT, dither=Image.NONE)
    picture.save(path, optimize=True)
    assert pathlib.Path(path).stat().st_size < MAX_BYTES


if __name__ == "__main__":
    tf.disable_v2_behavior()
    draw(sys.argv[1])
