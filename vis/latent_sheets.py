"""What the latents do: interpolations, mixing, edits of one component, the effect of noise.

All functions take a Sampler and give pictures or sheets, uint8 [H, W, 3]; those that end in
``_frames`` give a sequence of them.
"""

import numpy as np

from vis.attention_maps import join_maps, spotlights
from vis.channels import to_pictures
from vis.latents import draw_z, interpolate, lerp, replace_components, replace_layers, slerp
from vis.pictures import (
    TEXT_HEIGHT,
    cell_size,
    fit_cells,
    resize,
    sample_grid,
    stack,
    titled,
    with_margin,
)

CUTS = (2, 5, 8, 11)  # layers, or components, that a mixed image takes from the first of its two
NOISE_DRAWS = 100
EDIT_GAIN = 4  # makes small differences visible
EDIT_COLUMNS = 9  # components side by side
NOISE_GAIN = 4  # makes the deviation visible: most noise changes a pixel by a few levels


def interpolate_ws(sampler, seeds, steps, *, space="z", psi=1, is_loop=True):
    """ws along a path through the pictures of several seeds.

    In z every component moves on its own arc (slerp), which keeps its length; in w all move
    along straight lines. Frame i * steps is exactly the picture of seeds[i].

    Args:
      sampler: Sampler.
      seeds: ints, at least two.
      steps: frames from one seed to the next.
      space: "z" or "w".
      psi: truncation.
      is_loop: whether the path returns to the first seed.

    Returns:
      [F, *ws_shape] float32, truncated.
    """
    if space == "w":
        return interpolate(sampler.ws_of_seeds(seeds, psi), steps, lerp, is_loop)
    z = interpolate(draw_z(seeds, sampler.z_shape), steps, slerp, is_loop)
    labels = interpolate(sampler.labels(seeds), steps, lerp, is_loop)
    return sampler.truncate(sampler.map(z, labels), psi)


def frames_of(sampler, ws, noise_mode="const"):
    """Yield the pictures of ws, [H, W, 3] uint8 each, small ones enlarged.

    Args:
      sampler: Sampler.
      ws: [F, *ws_shape], truncated.
      noise_mode: see Sampler.images; "random" is the same noise in all frames.
    """
    for images, _ in sampler.batches(ws, noise_mode, np.zeros(len(ws), np.int64)):
        pictures = sampler.pictures(images)
        yield from resize(pictures, *cell_size(*pictures.shape[1:3], 1, 1))


def truncation_frames(sampler, seeds, steps):
    """Yield sheets of the seeds' pictures with psi from 0 to 1 and back; the loop closes.

    Args:
      sampler: Sampler.
      seeds: ints.
      steps: frames from psi 0 to 1.
    """
    full = sampler.ws_of_seeds(seeds)
    for step in [*range(steps), *range(steps, 0, -1)]:
        images = sampler.images(sampler.truncate(full, step / steps))
        yield sample_grid(sampler.crop(images))


def component_frames(sampler, seed, other, steps, *, psi=1):
    """Yield sheets in which each picture moves one of its components to another's and back.

    Args:
      sampler: Sampler of a network with several components.
      seed: of the picture that all start from.
      other: seed whose components they move to.
      steps: frames one way.
      psi: truncation.
    """
    sampler.require_components()
    start, end = sampler.ws_of_seeds([seed, other], psi)
    for step in [*range(steps), *range(steps, 0, -1)]:
        ws = edits_of_each(start, lerp(start, end, step / steps))
        yield sample_grid(sampler.crop(sampler.images(ws)))


def noise_deviation(sampler, ws, draws=NOISE_DRAWS):
    """How far the noise moves each pixel: its standard deviation over draws, as grey pictures.

    Args:
      sampler: Sampler.
      ws: [N, *ws_shape].
      draws: number of draws of the noise.

    Returns:
      [N, H, W, 3] uint8, NOISE_GAIN times the deviation of the mean of the colours.
    """
    deviations = []
    for one in ws:
        total, squares = 0.0, 0.0
        for images, _ in sampler.batches(np.repeat(one[np.newaxis], draws, axis=0), "random"):
            pictures = sampler.pictures(images)
            grey = pictures.astype(np.float64).mean(axis=-1)  # [N, H, W]
            total, squares = total + grey.sum(axis=0), squares + np.square(grey).sum(axis=0)
        variance = np.maximum(squares / draws - np.square(total / draws), 0)
        deviations.append(np.sqrt(variance))
    grey = np.clip(np.rint(np.stack(deviations) * NOISE_GAIN), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def noise_sheet(sampler, seeds, *, psi=1, draws=NOISE_DRAWS):
    """Pictures above :func:`noise_deviation` of each."""
    ws = sampler.ws_of_seeds(seeds, psi)
    pictures = sampler.pictures(sampler.images(ws))
    cells = np.concatenate([pictures, noise_deviation(sampler, ws, draws)])
    titles = [f"seed {seed}" for seed in seeds] + [f"noise x{NOISE_GAIN}"] * len(seeds)
    return with_margin(titled(fit_cells(cells, len(seeds)), titles, len(seeds)))


def mixing_sheet(sampler, rows, columns, *, by="layers", psi=1):
    """Tables of images with some latents from the row's seed and the rest from the column's.

    Args:
      sampler: Sampler.
      rows: seeds that give the first layers (coarse ones) or components.
      columns: seeds that give the rest.
      by: "layers" or "components".
      psi: truncation.

    Returns:
      A sheet with one table for each of CUTS that divides the layers or components.

    Raises:
      UserError: too few of them to divide.
    """
    if by == "components":
        sampler.require_components(CUTS[0] + 1)
    count = sampler.ws_shape[-2 if by == "layers" else 0]
    seeds = [*rows, *columns]
    ws = sampler.ws_of_seeds(seeds, psi)
    whole = sampler.pictures(sampler.images(ws))
    blank = np.full_like(whole[:1], 255)
    tables = []
    for cut in [cut for cut in CUTS if cut < count]:
        cells, titles = [blank, *whole[len(rows) :, np.newaxis]], [f"first {cut} {by}"]
        titles += [f"seed {seed}" for seed in columns]
        for idx, seed in enumerate(rows):
            first = np.repeat(ws[idx : idx + 1], len(columns), axis=0)
            mixed = _mix(first, ws[len(rows) :], cut, by)
            pictures = sampler.pictures(sampler.images(mixed))
            cells += [whole[idx : idx + 1], pictures]
            titles += [f"seed {seed}"] + [""] * len(columns)
        cells = fit_cells(np.concatenate(cells), len(columns) + 1)
        tables.append(titled(cells, titles, len(columns) + 1))
    return with_margin(stack(tables, gap=TEXT_HEIGHT))


def _mix(first, second, cut, by):
    """The first ``cut`` layers or components from ``first``, the rest from ``second``."""
    if by == "layers":
        return replace_layers(second, first, cut)
    return replace_components(second, first, list(range(cut)))


def edit_sheet(sampler, seed, other, *, psi=1):
    """What each component is responsible for: replace it alone and look at the difference.

    Args:
      sampler: Sampler of a network with several components.
      seed: of the picture.
      other: seed that gives the new latents.
      psi: truncation.

    Returns:
      A sheet with a column per component: the picture with that latent replaced, the difference
      and, where the network has attention, what the latent attends to.

    Raises:
      UserError: the network has one latent only.
    """
    sampler.require_components()
    start, end = sampler.ws_of_seeds([seed, other], psi)
    ws = np.concatenate([start[np.newaxis], edits_of_each(start, end)])
    images = sampler.crop(sampler.images(ws))
    before, *edited = to_pictures(images)
    changes = [np.abs(after.astype(np.int16) - before) for after in edited]
    changes = [np.minimum(change * EDIT_GAIN, 255).astype(np.uint8) for change in changes]
    lights = _lights_of_each(sampler, start, images[:1])
    names = [f"new latent {i}" for i in range(len(edited))]
    if sampler.has_attention:
        names[-1] = "new global latent"
    kinds = [(edited, names), (changes, [f"difference x{EDIT_GAIN}"] * len(edited))]
    kinds += [(lights, ["attention"] * len(lights))] if lights else []

    columns = min(len(edited), EDIT_COLUMNS)
    rows = -(-len(edited) // columns) * len(kinds) + 1
    size = cell_size(*before.shape[:2], columns, rows)
    blocks = [titled(resize(before[np.newaxis], *size), [f"seed {seed}"], 1)]
    for begin in range(0, len(edited), columns):
        part = slice(begin, begin + columns)
        rows = [
            titled(resize(np.stack(cells[part]), *size), titles[part], columns)
            for cells, titles in kinds
            if cells[part]
        ]
        blocks.append(stack(rows))
    return with_margin(stack(blocks, TEXT_HEIGHT))


def edits_of_each(start, end):
    """[K, L, D], [K, L, D] => [K, K, L, D]: the start, each time with one component of the end."""
    ws = np.repeat(start[np.newaxis], len(start), axis=0)
    each = np.arange(len(start))
    ws[each, each] = end
    return ws


def _lights_of_each(sampler, ws, image):
    """[K, L, D] => spotlight pictures of the latents that attend; none without attention."""
    if not sampler.has_attention:
        return []
    maps = sampler.images_and_maps(ws[np.newaxis])[1]
    joined = join_maps(maps, *sampler.image_shape[1:], layer=-1)
    return list(spotlights(image, sampler.crop(joined))[0])
