"""Perceptual Path Length (PPL, Karras et al. 2019, arXiv:1812.04948, Sec. 4.1)."""

from __future__ import annotations

import numpy as np

from metrics.checks import UnfitError
from metrics.registry import register

EPSILON = 1e-4  # step along the path
CROP_UNIT = 8  # the face crop is given in eighths of the image


def lerp(a, b, t):
    """a + (b - a) t for a, b [N, ...] and t [N]."""
    return a + (b - a) * t.reshape([-1] + [1] * (a.ndim - 1))


def slerp(a, b, t):
    """Move from a to b along the arc between their directions.

    The directions turn evenly by the angle between them, the lengths change linearly. Mappings that
    normalise their input see only the directions, as in the paper; a global latent, which is not
    normalised, keeps its typical length.

    Args:
      a: [N, ..., D].
      b: [N, ..., D].
      t: [N]; 0 gives a, 1 gives b.

    Returns:
      [N, ..., D].
    """
    a_length, b_length = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    a_unit, b_unit = a / a_length, b / b_length
    cosine = (a_unit * b_unit).sum(axis=-1, keepdims=True)
    aside = b_unit - cosine * a_unit  # towards b, at right angles to a
    sine = np.linalg.norm(aside, axis=-1, keepdims=True)
    aside /= np.maximum(sine, 1e-300)
    t = t.reshape([-1] + [1] * (a.ndim - 1))
    angle = t * np.arctan2(sine, cosine)
    direction = a_unit * np.cos(angle) + aside * np.sin(angle)
    return direction * (a_length + (b_length - a_length) * t)


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
