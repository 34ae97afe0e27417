"""The visualizations of a trained model: what ``run_network.py --vis`` writes, kind by kind.

Which kinds make sense is asked of the model: a network without attention has no maps, one with a
single latent has no components to edit. Samples are those of the seeds 0, 1, ...
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib.util import atomic_write, log
from vis.animation import check_format, save_animation
from vis.attention_maps import (
    blend,
    hard_segmentation,
    join_maps,
    layer_regions,
    save_attention_overlay,
    save_layer_strips,
    soft_segmentation,
)
from vis.latent_sheets import (
    component_frames,
    edit_sheet,
    frames_of,
    interpolate_ws,
    mixing_sheet,
    noise_sheet,
    truncation_frames,
)
from vis.latents import draw_z
from vis.pictures import Sheet, read_picture, save_picture

SWEEP_STEPS = 12  # frames one way
PROGRESS_MS = 500  # milliseconds for each snapshot in the animation of the training
MIX_ROWS, MIX_COLUMNS = 2, 4  # as in the published tables
MIX_COMPONENTS = 3  # the least number that a table divides
WHOLE_SHEET = 24  # samples on the sheet of overlays


def _ending(animation):
    """File ending of an animation's format."""
    return "png" if animation == "apng" else animation


def check_animation(animation):
    """Raise UserError unless animations of VisOptions.animation can be written here."""
    check_format(f"loop.{_ending(animation)}", f"--vis-animation={animation}")


class Show:
    """What every kind of visualization needs.

    Args:
      sampler: Sampler of the model.
      folder: where the files go.
      options: VisOptions.
      psi: truncation.
    """

    def __init__(self, sampler, folder, options, psi=1.0):
        self.sampler, self.folder, self.options = sampler, Path(folder), options
        self.psi = psi
        self.seeds = list(range(options.num))
        self.rich_seeds = list(range(options.rich_num))

    def path(self, *parts):
        """A file below the folder; its parents exist."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def animate(self, folder, name, frames, *frame_ms):
        """Write an animation of the chosen format."""
        ending = _ending(self.options.animation)
        save_animation(self.path(folder, f"{name}.{ending}"), frames, *frame_ms)

    def sections(self, seeds, with_maps=False):
        """Yield (seeds, images, maps), as many samples at once as the options allow."""
        bar = tqdm(total=len(seeds), unit="sample", disable=None)
        for begin in range(0, len(seeds), self.options.section_size):
            part = seeds[begin : begin + self.options.section_size]
            ws = self.sampler.ws_of_seeds(part, self.psi)
            if with_maps:
                yield (part, *self.sampler.images_and_maps(ws))
            else:
                yield part, self.sampler.images(ws), None
            bar.update(len(part))
        bar.close()

    def writer(self, kind, seeds):
        """A function (seeds, pictures) that writes files of a kind, or fills its sheet."""
        return _GridFile(self, kind, seeds) if self.options.grid else _Files(self, kind)


class _Files:
    """kind/seed0000.png, ..."""

    def __init__(self, show, kind):
        self._show, self._kind = show, kind

    def add(self, seeds, pictures):
        """Write a file for each seed."""
        for seed, picture in zip(seeds, pictures):
            save_picture(self._show.path(self._kind, f"seed{seed:04d}.png"), picture)

    def close(self):
        """Nothing is left to do."""


class _GridFile:
    """kind.png with all samples."""

    def __init__(self, show, kind, seeds):
        self._path, self._seeds, self._sheet = show.path(f"{kind}.png"), seeds, None

    def add(self, seeds, pictures):
        """Put pictures into their places."""
        if self._sheet is None:
            self._sheet = Sheet(len(self._seeds), *pictures.shape[1:3])
        self._sheet.put([self._seeds.index(seed) for seed in seeds], pictures)

    def close(self):
        """Write the sheet."""
        save_picture(self._path, self._sheet.picture())


def show_images(show):
    """Samples."""
    writer = show.writer("images", show.seeds)
    for seeds, images, _ in show.sections(show.seeds):
        writer.add(seeds, show.sampler.pictures(images))
    writer.close()


def show_latents(show):
    """z and w of each sample, for other programs; w is the first layer's."""
    for seed in show.seeds:
        ws = show.sampler.ws_of_seeds([seed], show.psi)[0]
        arrays = {"z": draw_z([seed], show.sampler.z_shape)[0], "w": ws[..., 0, :]}
        for name, array in arrays.items():
            with atomic_write(show.path(f"latents-{name}", f"seed{seed:04d}.npy")) as file:
                np.save(file, array)


def show_maps(show):
    """The last layer's attention: as regions and as mixed colours, alone and over the image."""
    kinds = ("maps", "softmaps", "blends", "softblends")
    writers = [show.writer(kind, show.seeds) for kind in kinds]
    for seeds, images, maps in show.sections(show.seeds, with_maps=True):
        pictures = show.sampler.pictures(images)
        joined = join_maps(maps, *images.shape[2:], layer=-1)
        joined = show.sampler.crop(joined)
        plain = [hard_segmentation(joined), soft_segmentation(joined)]
        blends = [blend(pictures, one, show.options.blending_alpha) for one in plain]
        for writer, results in zip(writers, plain + blends):
            writer.add(seeds, results)
        if seeds[0] == 0:
            rows = slice(0, WHOLE_SHEET)
            options = dict(layer=-1, alpha=show.options.blending_alpha, ratio=show.sampler.ratio)
            whole = [layer[rows] for layer in maps]
            path = show.path("attention.png")
            save_attention_overlay(path, images[rows], whole, **options)
    for writer in writers:
        writer.close()


def show_layer_maps(show):
    """The regions of every layer and head."""
    for seeds, images, maps in show.sections(show.rich_seeds, with_maps=True):
        for layer, probs in enumerate(maps):
            for head in range(probs.shape[2]):
                regions = layer_regions(
                    [probs], *images.shape[2:], head=head, ratio=show.sampler.ratio
                )
                for seed, region in zip(seeds, regions[0][:, 0]):
                    name = f"seed{seed:04d}_l{layer}_h{head}.png"
                    save_picture(show.path("layer_maps", name), region)
        name = f"layer_maps-{seeds[0]}.png" if seeds[0] else "layer_maps.png"
        save_layer_strips(show.path(name), images, maps, ratio=show.sampler.ratio)


def show_interpolations(show):
    """From each of the costly samples to the next, on arcs in z and on straight lines in w."""
    seeds = show.rich_seeds if len(show.rich_seeds) > 1 else [0, 1]
    for space in ("z", "w"):
        ws = interpolate_ws(
            show.sampler, seeds, show.options.interpolation_density, space=space, psi=show.psi
        )
        folder = f"interpolations-{space}"
        frames = frames_of(show.sampler, ws)
        show.animate(folder, "loop", _saved(show, folder, frames))


def _saved(show, folder, frames):
    """Pass frames on, each after its file is written, so that they are not held."""
    for idx, frame in enumerate(frames):
        save_picture(show.path(folder, f"frame{idx:04d}.png"), frame)
        yield frame


def show_noise_var(show):
    """How much the noise changes each pixel."""
    sheet = noise_sheet(show.sampler, show.rich_seeds, psi=show.psi)
    save_picture(show.path("noise-variance.png"), sheet)


def show_style_mix(show):
    """Tables of images with layers, or components, of two samples."""
    rows = list(range(MIX_ROWS))
    columns = list(range(MIX_ROWS, MIX_ROWS + MIX_COLUMNS))
    kinds = ["layer"]
    if show.sampler.num_latents >= MIX_COMPONENTS:
        kinds.append("component")
    for kind in kinds:
        sheet = mixing_sheet(show.sampler, rows, columns, by=f"{kind}s", psi=show.psi)
        save_picture(show.path(f"{kind}-mixing.png"), sheet)


def show_edits(show):
    """What changes if one component alone is replaced by that of the next sample."""
    for seed in show.rich_seeds:
        sheet = edit_sheet(show.sampler, seed, seed + 1, psi=show.psi)
        save_picture(show.path("edits", f"seed{seed:04d}.png"), sheet)


def show_sweeps(show):
    """Animations: truncation from 0 to 1, each component moving to another sample's, training."""
    frames = truncation_frames(show.sampler, show.rich_seeds, SWEEP_STEPS)
    show.animate("sweeps", "truncation", frames)
    if show.sampler.num_latents > 1:
        frames = component_frames(show.sampler, 0, 1, SWEEP_STEPS, psi=show.psi)
        show.animate("sweeps", "components", frames)
    sheets = sorted(show.folder.parent.glob("fakes-*.png"), key=lambda path: (len(path.name), path))
    if len(sheets) > 1:  # the folder belongs to a run of more than one snapshot
        show.animate("sweeps", "training", map(read_picture, sheets), PROGRESS_MS)


# Kind => (function, what the model needs, whether it is made when no kind is asked for).
KINDS = {
    "images": (show_images, None, True),
    "latents": (show_latents, None, False),
    "maps": (show_maps, "attention", True),
    "layer_maps": (show_layer_maps, "attention", True),
    "interpolations": (show_interpolations, None, True),
    "noise_var": (show_noise_var, None, True),
    "style_mix": (show_style_mix, None, True),
    "edits": (show_edits, "components", True),
    "sweeps": (show_sweeps, None, True),
}


def chosen_kinds(sampler, options):
    """The kinds that are asked for; else all useful ones that the model has.

    Raises:
      UserError: the model lacks what a kind that is asked for needs.
    """
    asked = [kind for kind in KINDS if getattr(options, kind)]
    for kind in asked:
        if KINDS[kind][1] == "attention":
            sampler.require_attention()
        if KINDS[kind][1] == "components":
            sampler.require_components()
    has = {None: True, "attention": sampler.has_attention, "components": sampler.num_latents > 1}
    return asked or [
        kind for kind, (_, need, by_default) in KINDS.items() if by_default and has[need]
    ]


def save_visuals(sampler, folder, options, psi=1.0):
    """Write the visualizations of a model.

    Args:
      sampler: Sampler of the model.
      folder: where the files go; created.
      options: VisOptions.
      psi: truncation.

    Raises:
      UserError: the model lacks what an asked-for kind needs.
    """
    show = Show(sampler, folder, options, psi)
    for kind in chosen_kinds(sampler, options):
        log(f"Visualizing {kind.replace('_', ' ')} ...")
        KINDS[kind][0](show)
    log(f"Visualizations are in {folder}")
