"""Walks through the latent space: interpolations as sequences of pictures."""

import numpy as np

from training import images as im
from training import latents as lat

SPACES = ("z", "w")


def interpolate_ws(sampler, seeds, steps, *, space="z", psi=1, class_idx=None, is_loop=True):
    """ws along a path through the pictures of several seeds.

    In z every component moves on its own arc (slerp), which keeps its length; in w all move
    along straight lines. Frame i * steps is exactly the picture of seeds[i].

    Args:
      sampler: Sampler.
      seeds: ints, at least two.
      steps: frames from one seed to the next.
      space: "z" or "w".
      psi: truncation.
      class_idx: class of a conditional network.
      is_loop: whether the path returns to the first seed.

    Returns:
      [F, *ws_shape] float32, truncated.
    """
    if space == "w":
        keys = sampler.ws_of_seeds(seeds, psi, class_idx)
        return lat.interpolate(keys, steps, lat.lerp, is_loop)
    z = lat.interpolate(lat.draw_z(seeds, sampler.z_shape), steps, lat.slerp, is_loop)
    return sampler.truncate(sampler.map(z, sampler.labels(len(z), class_idx)), psi)


def frames_of(sampler, ws, noise_mode="const", ratio=1.0):
    """Yield the pictures of ws, [H, W, 3] uint8 each, small ones enlarged.

    Args:
      sampler: Sampler.
      ws: [F, *ws_shape], truncated.
      noise_mode: see Sampler.images; "random" is the same noise in all frames.
      ratio: height over width to keep.
    """
    for images, _ in sampler.batches(ws, noise_mode, np.zeros(len(ws), np.int64)):
        pictures = im.to_pictures(im.crop_to_ratio(images, ratio))
        yield from im.resize(pictures, *im.cell_size(*pictures.shape[1:3], 1, 1))
