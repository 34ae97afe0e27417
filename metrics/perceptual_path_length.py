"""Perceptual Path Length (PPL, Karras et al. 2019, arXiv:1812.04948, Sec. 4.1)."""

from __future__ import annotations

import numpy as np

from metrics.checks import UnfitError
from metrics.registry import register
from vis.latents import lerp, slerp

EPSILON = 1e-4  # step along the path
CROP_UNIT = 8  # the face crop is given in eighths of the image


def face_crop(images):
    """The part of aligned portraits that holds the face: [N, C, H, W] => [N, C, H / 2, W / 2]."""
    rows, columns = (size // CROP_UNIT for size in images.shape[2:])
    return images[:, :, 3 * rows : 7 * rows, 2 * columns : 6 * columns]


def trimmed_mean(lengths):
    """Mean of what lies between the 1st and the 99th percentile of lengths [N].

    The percentiles are members of the sample, the next lower and the next higher one; they count.
    """
    lengths = np.asarray(lengths, np.float64)
    if lengths.ndim != 1 or len(lengths) < 1 or not np.isfinite(lengths).all():
        raise UnfitError("path lengths must be finite, at least one; has training diverged?")
    ordered = np.sort(lengths)
    last = len(ordered) - 1
    low, high = ordered[int(np.floor(0.01 * last))], ordered[int(np.ceil(0.99 * last))]
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def path_lengths(distances, epsilon=EPSILON):
    """Distances of image pairs [N] => lengths of their paths per unit squared, d / epsilon^2."""
    return np.asarray(distances, np.float64) / epsilon**2


def path_ends(draws, sampler, space, is_full, rng):
    """Two points close to each other on the path between two random latents.

    Args:
      draws: (z of one end [N, ...], z of the other end, labels [N, label_size]).
      sampler: object with ``ws(z, labels)``.
      space: "z" (arcs between z) or "w" (lines between ws).
      is_full: points anywhere on the path; else at its start.
      rng: np.random.RandomState; draws the places.

    Returns:
      The pair of points, of the shape of z or of ws, float64.
    """
    start, stop, labels = draws
    place = rng.uniform(size=len(start)) if is_full else np.zeros(len(start))
    if space == "z":
        between = slerp
        start, stop = (np.asarray(x, np.float64) for x in (start, stop))
    else:
        between = lerp
        start, stop = (np.asarray(sampler.ws(x, labels), np.float64) for x in (start, stop))
    return between(start, stop, place), between(start, stop, place + EPSILON)


_PPL = dict(roles=["distance"], best=min, needs_generator=True, num_fakes=50000)


@register("ppl_zfull", **_PPL, space="z", is_full=True, has_crop=True)
@register("ppl_wfull", **_PPL, space="w", is_full=True, has_crop=True)
@register("ppl_zend", **_PPL, space="z", is_full=False, has_crop=True)
@register("ppl_wend", **_PPL, space="w", is_full=False, has_crop=True)
@register("ppl2_zfull", **_PPL, space="z", is_full=True, has_crop=False)
@register("ppl2_wfull", **_PPL, space="w", is_full=True, has_crop=False)
@register("ppl2_zend", **_PPL, space="z", is_full=False, has_crop=False)
@register("ppl2_wend", **_PPL, space="w", is_full=False, has_crop=False)
def ppl(context, num_fakes, space, is_full, has_crop):
    """PPL with the same noise at both ends of each step; names as published (ppl2: no crop)."""
    sampler, rng = context.sampler("ppl"), context.rng("ppl-places")
    distances, done = [], 0
    for draws in context.progress(sampler.draw_pairs(num_fakes), "paths", num_fakes):
        ends = path_ends(draws, sampler, space, is_full, rng)
        images = sampler.image_pairs(*ends, draws[2], is_ws=space == "w", start=done)
        if has_crop:
            images = [face_crop(x) for x in images]
        distances.append(context.distance(*images))
        done += len(draws[0])
    return {"": trimmed_mean(path_lengths(np.concatenate(distances)))}
