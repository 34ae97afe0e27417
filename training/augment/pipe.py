"""The whole augmentation as one function of images."""

import numpy as np
import tensorflow.compat.v1 as tf

from training.augment.color import recolor
from training.augment.corruptions import add_noise, cut_out
from training.augment.diffaugment import diffaugment
from training.augment.filters import amplify
from training.augment.geometry import blit, warp

# In the order of ADA, App. B.
PARTS = {
    "blit": blit,
    "geom": warp,
    "color": recolor,
    "filter": amplify,
    "noise": add_noise,
    "cutout": cut_out,
}
# Of parts with several transformations: their names, in the order of the part's probabilities.
TRANSFORMATIONS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
}
# A name of --aug-pipe => parts, or transformations; joint names are the initials of their parts.
PIPES = {name: (name,) for name in PARTS}
PIPES.update({name: tuple(PARTS)[:num] for num, name in enumerate(("bg", "bgc", "bgcf"), 2)})
PIPES.update(bgcfn=tuple(PARTS)[:5], bgcfnc=tuple(PARTS))
PIPES.update({name: (name,) for names in TRANSFORMATIONS.values() for name in names})


def shares(pipe):
    """What a pipe makes of p.

    Args:
      pipe: names of PIPES, separated by commas.

    Returns:
      {part: 1.0 if all of its transformations are drawn with probability p, else a float32 array of
      1 for those that are, and 0 for the others}, in the order in which parts are applied.
    """
    chosen = {item for name in pipe.split(",") for item in PIPES[name]}
    found = {}
    for part in PARTS:
        names = TRANSFORMATIONS.get(part, (part,))
        is_drawn = [part in chosen or name in chosen for name in names]
        if any(is_drawn):
            found[part] = 1.0 if all(is_drawn) else np.float32(is_drawn)
    return found


def augment(images, rng, options, p):
    """What D sees of images.

    Args:
      images: [N, C, H, W] in [-1, 1].
      rng: RandomSource.
      options: AugmentOptions.
      p: [] float32 probability of each transformation.

    Returns:
      [N, C, H, W].

    Raises:
      UserError: color transformations of images that are neither grey, RGB nor RGBA.
    """
    if options.name == "none":
        return images
    with tf.name_scope("augment"):
        x = tf.transpose(images, [0, 2, 3, 1])
        if options.name == "diffaugment":
            x = diffaugment(x, rng)
        else:
            for name, share in shares(options.pipe).items():
                x = PARTS[name](x, p * share, rng.child(name))
        x = tf.ensure_shape(x, [None, *[images.shape.as_list()[i] for i in (2, 3, 1)]])
        return tf.transpose(x, [0, 3, 1, 2])
