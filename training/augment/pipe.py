"""The whole augmentation as one function of images."""

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
# --aug-pipe => parts; joint names are the initials of their parts.
PIPES = {name: (name,) for name in PARTS}
PIPES.update({name: tuple(PARTS)[:num] for num, name in enumerate(("bg", "bgc", "bgcf"), 2)})
PIPES.update(bgcfn=tuple(PARTS)[:5], bgcfnc=tuple(PARTS))


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
            for name in PIPES[options.pipe]:
                x = PARTS[name](x, p, rng.child(name))
        x = tf.ensure_shape(x, [None, *[images.shape.as_list()[i] for i in (2, 3, 1)]])
        return tf.transpose(x, [0, 3, 1, 2])
