"""Make pictures with a trained model: python generate.py --model FILE.

A picture's name carries its seed: the same model, seed and options give the same picture, whatever
else is made with it.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib import cli, util
from dnnlib.errors import UserError
from vis.animation import check_format, save_animation
from vis.attention_maps import attention_sheet
from vis.latent_sheets import frames_of, interpolate_ws
from vis.latents import MAX_SEEDS_NUM, draw_z, load_ws, parse_seeds, save_latents
from vis.pictures import Sheet, save_picture

DEFAULT_PSI = 0.7
DEFAULT_IMAGES_NUM = 32
DEFAULT_DENSITY = 8
DEFAULT_ANIMATION = "gif"


def build_parser():
    """The command line."""
    parser = cli.Parser(
        prog="generate.py",
        description="Make pictures with a trained model. A picture's name carries its seed.",
    )
    add = parser.add_argument
    cli.add_model_flags(parser)
    add("--seeds", help="a picture for each, e.g. 0-31,40")
    add(
        "--images-num",
        type=cli.positive_int,
        metavar="N",
        help=f"instead of --seeds: pictures of the seeds 0 to N-1 (default: {DEFAULT_IMAGES_NUM})",
    )
    add("--latents", metavar="FILE", help="instead of seeds: ws of an .npz file, as they are")
    add(
        "--class",
        type=int,
        dest="class_idx",
        metavar="IDX",
        help="class of the images, for a model trained with labels (default: all in turn)",
    )
    add(
        "--truncation-psi",
        type=cli.float_list,
        metavar="PSI",
        help=f"0: the average picture, 1: full variety; or a list (default: {DEFAULT_PSI})",
    )
    add(
        "--noise-mode",
        choices=("const", "random", "none"),
        default="const",
        help="noise in the layers: the model's own (or that in the --latents file), drawn from the "
        "seed, or none (default: const)",
    )
    add("--output-dir", default="images", metavar="DIR", help="(default: images)")
    add(
        "--format",
        choices=("png", "jpg", "webp"),
        default="png",
        help="of the pictures, which are grey or transparent if the model's are (default: png)",
    )
    add("--grid", action="store_true", help="also one sheet of all pictures, grid.png")
    add("--attention", action="store_true", help="also what the latents attend to")
    add("--save-latents", action="store_const", const=True, help="also the latents, latents.npz")
    add(
        "--interpolate",
        nargs="?",
        const="z",
        choices=("z", "w"),
        help="also an animation through all seeds and back, along arcs in z or straight lines in w",
    )
    add(
        "--interpolation-density",
        type=cli.positive_int,
        metavar="N",
        help=f"frames from one seed to the next (default: {DEFAULT_DENSITY})",
    )
    add(
        "--animation",
        choices=("gif", "webp", "png", "mp4"),
        help=f"format of the animation (default: {DEFAULT_ANIMATION})",
    )
    add("--batch-size", type=cli.positive_int, default=8, metavar="N", help="pictures at a time")
    return parser


def parse_args(argv):
    """The command line, checked as far as that goes without the model.

    Returns:
      Namespace; ``seeds`` is a list of int, ``psis`` a list of float, exactly as names say them.

    Raises:
      UserError: an impossible or unknown flag, or flags that exclude each other.
    """
    args = build_parser().parse_args(argv)
    of_seeds = ("seeds", "images_num", "class_idx", "truncation_psi", "save_latents", "interpolate")
    _exclude(args, "latents", *of_seeds)
    _exclude(args, "seeds", "images_num")
    if not args.interpolate:
        for name in ("animation", "interpolation_density"):
            if getattr(args, name) is not None:
                raise UserError(f"{_flag(name)} has no effect without --interpolate")
    args.animation = args.animation or DEFAULT_ANIMATION
    num = args.images_num or DEFAULT_IMAGES_NUM
    if num > MAX_SEEDS_NUM:
        raise UserError(f"--images-num={num}: at most {MAX_SEEDS_NUM} pictures in one run")
    args.seeds = list(range(num)) if args.seeds is None else parse_seeds(args.seeds)
    args.psis = [float(f"{psi:g}") for psi in args.truncation_psi or [DEFAULT_PSI]]
    if args.interpolate and len(args.seeds) < 2:
        raise UserError("--interpolate needs at least two seeds; give e.g. --seeds 0-7")
    if args.interpolate:
        check_format(f"interpolation.{args.animation}", f"--animation={args.animation}")
    return args


def _exclude(args, first, *others):
    """Refuse flags that cannot go with ``first``."""
    given = [name for name in (first, *others) if getattr(args, name) is not None]
    if first in given and len(given) > 1:
        names = [_flag(name) for name in (first, *others) if name in given]
        raise UserError(f"{names[0]} and {names[1]} exclude each other; leave out one of them")


def _flag(name):
    """An attribute of the arguments as it is typed."""
    return f"--{name.replace('_idx', '').replace('_', '-')}"


class Writer:
    """Puts pictures into the output folder as they are made, and the sheet of all at the end.

    Args:
      args: result of :func:`parse_args`.
      sampler: Sampler of the model.
      num: pictures that will come.
    """

    def __init__(self, args, sampler, num):
        self.args, self.sampler = args, sampler
        self.folder = util.make_folder(args.output_dir, "--output-dir")
        self.num = num
        self.bar = tqdm(total=num, unit="picture", disable=None)
        self.sheet = None
        if args.grid:
            height, width = sampler.crop(np.zeros(sampler.image_shape)).shape[1:]
            columns = len(args.psis) if len(args.psis) > 1 else None
            self.sheet = Sheet(num, height, width, columns)

    def path(self, name, ending=None):
        """Where a file goes."""
        return self.folder / f"{name}.{ending or self.args.format}"

    def add(self, names, places, images, maps):
        """Write a batch: its pictures, and their attention if there are maps.

        Args:
          names: N names, see :func:`picture_name`.
          places: N places in the sheet.
          images: [N, C, H, W].
          maps: list of [N, K, M, H, W], or None.
        """
        args = self.args
        for i, (name, picture) in enumerate(zip(names, self.sampler.pixels(images))):
            text = {"model": Path(args.model).name, "picture": name}
            save_picture(self.path(name), picture, text)
            if maps is not None:
                one = [layer[i : i + 1] for layer in maps]
                sheet = attention_sheet(images[i : i + 1], one, ratio=self.sampler.ratio)
                save_picture(self.path(f"{name}_attention"), sheet, text)
            self.bar.update()
        if self.sheet:
            self.sheet.put(places, self.sampler.pictures(images))

    def close(self):
        """Write the sheet of all pictures and say where everything is."""
        self.bar.close()
        if self.sheet:
            save_picture(self.path("grid"), self.sheet.picture())
        print(f"{self.num} pictures in {self.folder}")


def picture_name(args, start, psi=None, class_idx=None):
    """``start``, the class and the options that are not the default: what a picture depends on."""
    parts = [start]
    if class_idx is not None:
        parts.append(f"class{class_idx}")
    if psi is not None and args.psis != [DEFAULT_PSI]:
        parts.append(f"psi{psi:g}")
    if args.noise_mode != "const":
        parts.append(f"noise-{args.noise_mode}")
    return "_".join(parts)


def make_pictures(args, sampler):
    """The pictures of all seeds at all truncations, and their latents if asked for."""
    writer = Writer(args, sampler, len(args.seeds) * len(args.psis))
    latents = []
    for begin in range(0, len(args.seeds), args.batch_size):
        seeds = args.seeds[begin : begin + args.batch_size]
        z = draw_z(seeds, sampler.z_shape)
        full = sampler.map(z, sampler.labels(seeds))
        for column, psi in enumerate(args.psis):
            ws = sampler.truncate(full, psi)
            names = [
                picture_name(args, f"seed{seed:04d}", psi, sampler.class_of(seed)) for seed in seeds
            ]
            places = (begin + np.arange(len(seeds))) * len(args.psis) + column
            for images, maps in sampler.batches(ws, args.noise_mode, seeds, args.attention):
                writer.add(names, places, images, maps)
            if args.save_latents:
                latents.append((z, ws, seeds, [psi] * len(seeds)))
    writer.close()
    if args.save_latents:
        z, ws, seeds, psis = [np.concatenate(column) for column in zip(*latents)]
        save_latents(writer.path("latents", "npz"), z, ws, seeds=seeds, psi=psis)


def make_pictures_of_latents(args, sampler):
    """The pictures of ws that a file holds."""
    noise_maps = importlib.import_module("vis.noise_maps")
    ws = load_ws(args.latents, sampler.ws_shape)
    noise = noise_maps.load_noise(args.latents, len(ws)) if args.noise_mode == "const" else {}
    if noise:
        batches = noise_maps.batches(sampler, ws, noise, args.attention, args.latents)
    else:
        batches = sampler.batches(ws, args.noise_mode, range(len(ws)), args.attention)
    writer = Writer(args, sampler, len(ws))
    begin = 0
    for images, maps in batches:
        places = np.arange(begin, begin + len(images))
        names = [picture_name(args, f"latent{place:04d}") for place in places]
        writer.add(names, places, images, maps)
        begin += len(images)
    writer.close()


def make_animation(args, sampler):
    """A closed tour of all seeds, for each truncation."""
    for psi in args.psis:
        ws = interpolate_ws(
            sampler,
            args.seeds,
            args.interpolation_density or DEFAULT_DENSITY,
            space=args.interpolate,
            psi=psi,
        )
        frames = frames_of(sampler, ws, args.noise_mode)
        name = picture_name(args, f"interpolation-{args.interpolate}", psi, args.class_idx)
        path = Path(args.output_dir) / f"{name}.{args.animation}"
        save_animation(path, tqdm(frames, total=len(ws), unit="frame", disable=None))
        print(f"{len(ws)} frames in {path}")


def run(argv):
    """Parse the arguments, open the model, make the pictures."""
    args = parse_args(argv)
    cli.start_tensorflow(args.gpus)
    load_sampler = importlib.import_module("vis.sampler").load_sampler

    sampler = load_sampler(args.model, args.batch_size, args.class_idx, args.ratio)
    if args.attention:
        sampler.require_attention()
    if args.latents:
        make_pictures_of_latents(args, sampler)
        return
    make_pictures(args, sampler)
    if args.interpolate:
        make_animation(args, sampler)


if __name__ == "__main__":
    sys.exit(cli.run_script(run))
