"""Find the latents of a picture: python project.py --model FILE PICTURE.

Every latent component is searched on its own, so the result can be edited like any sample of the
model: python generate.py --model FILE --latents projected/PICTURE_latents.npz
"""

import importlib
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from dnnlib import cli, util
from dnnlib.errors import UserError
from vis.animation import check_format, save_animation
from vis.attention_maps import attention_overlay
from vis.channels import convert, to_pictures, to_rgb
from vis.pictures import (
    cell_size,
    crop_to_ratio,
    resize,
    save_picture,
    tile,
    titled,
    with_margin,
)

PROGRESS_FRAMES = 80  # of the animation
FINAL_FRAMES = 15  # that show the result
DIFFERENCE_GAIN = 4  # makes small differences visible
BOX = getattr(Image, "Resampling", Image).BOX


def build_parser():
    """The command line."""
    parser = cli.Parser(
        prog="project.py",
        usage="python project.py --model FILE PICTURE [PICTURE ...] [flags]",
        description="Find the latents with which a model draws given pictures.",
    )
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="files of the model's size")
    cli.add_model_flags(parser)
    add("--resize", action="store_true", help="cut out the middle of other sizes and resize it")
    add(
        "--trust-snapshot",
        metavar="FILE",
        help="vgg16_zhang_perceptual.pkl: compare by LPIPS, which sees grey as RGB and transparent "
        "pictures on white, and run the code in that file to do so (default: compare pixels on all "
        "scales)",
    )
    add(
        "--space",
        choices=("w", "w+"),
        default="w",
        help="one w per component, or one per component and layer, which comes closer to pictures "
        "that the model does not know (default: w)",
    )
    add("--steps", type=cli.positive_int, default=500, metavar="N", help="(default: 500)")
    add(
        "--lr",
        type=cli.positive_float,
        default=0.1,
        metavar="X",
        help="highest learning rate (default: 0.1)",
    )
    add("--optimize-noise", action="store_true", help="search the noise in the layers as well")
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    add("--class", type=int, dest="class_idx", metavar="IDX", help="class to begin with")
    add("--output-dir", default="projected", metavar="DIR", help="(default: projected)")
    add(
        "--animation",
        choices=("gif", "webp", "png", "mp4", "none"),
        default="gif",
        help="of the search (default: gif)",
    )
    return parser


def parse_args(argv):
    """The command line, checked as far as that goes without the model.

    Raises:
      UserError: an impossible or unknown flag, or pictures that would get the same name.
    """
    args = build_parser().parse_args(argv)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed={args.seed}: must be from 0 to {2**32 - 1}")
    if args.animation != "none":
        check_format(f"progress.{args.animation}", f"--animation={args.animation}")
    names = {}
    for path in args.pictures:
        other = names.setdefault(Path(path).stem, path)
        if other != path:
            raise UserError(f"{other} and {path} have the same name; project them one by one")
    args.pictures = list(names.values())
    return args


def load_target(path, shape, ratio=1.0, is_resized=False):
    """A picture file as the model sees it.

    Args:
      path: of the file.
      shape: [C, H, W] of the model's images.
      ratio: height / width of the pictures; black bars make them square.
      is_resized: take pictures of any size.

    Returns:
      [C, H, W] float32 in [-1, 1].

    Raises:
      UserError: no such file, not a picture, or one of another size.
    """
    channels, *sizes = shape
    height, width = crop_to_ratio(np.empty(sizes), ratio).shape
    try:
        with Image.open(str(path)) as file:
            image = convert(ImageOps.exif_transpose(file), channels)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a picture that can be read ({reason})") from None
    if image.size != (width, height):
        if not is_resized:
            found = f"{image.width}x{image.height}"
            raise UserError(
                f"{path}: {found} pixels, but this model's pictures are {width}x{height}; "
                "give --resize to cut out the middle and resize it"
            )
        method = BOX if min(image.size) >= max(width, height) else Image.BICUBIC
        image = ImageOps.fit(image, (width, height), method=method)
    pixels = np.asarray(image, np.float32).reshape(height, width, channels) / 127.5 - 1
    image = np.full(shape, -1, np.float32)
    crop_to_ratio(image, ratio)[...] = pixels.transpose(2, 0, 1)
    return image


class Progress:
    """Follows a search: a bar, and pictures for the animation.

    Args:
      target: [C, H, W].
      steps: of the search.
      ratio: height / width of the pictures.
      title: of the bar.
    """

    def __init__(self, target, steps, ratio, title):
        self._target, self._steps, self._ratio = target, steps, ratio
        self._every = max(1, steps // PROGRESS_FRAMES)
        self._bar = tqdm(total=steps, unit="step", desc=title, disable=None)
        self.frames, self.distances = [], []

    def __call__(self, step, distance, image):
        """One more step is done."""
        if not np.isfinite(distance):
            raise UserError(f"the search diverged at step {step}; give a smaller --lr")
        self.distances.append(distance)
        if step:
            self._bar.set_postfix(distance=f"{distance:.4g}", refresh=False)
            self._bar.update()
        if step % self._every == 0 or step == self._steps:
            self.frames.append(side_by_side([self._target, image], self._ratio))

    def close(self):
        """End the bar."""
        self._bar.close()


def side_by_side(images, ratio, titles=None):
    """Images [C, H, W] in a row, small ones enlarged, [height, width, 3] uint8."""
    pictures = to_pictures(crop_to_ratio(np.stack(images), ratio))
    pictures = resize(pictures, *cell_size(*pictures.shape[1:3], len(images), 1))
    if titles:
        return with_margin(titled(pictures, titles, len(images)))
    return tile(pictures, len(images), 2)


def comparison(target, image, maps, ratio):
    """Given, found, their difference, and what the latents attend to in what was found."""
    overlay = None if maps is None else attention_overlay(image[np.newaxis], maps)[0, 1]
    target, image = to_rgb(np.stack([target, image]))
    difference = np.abs(target - image) * DIFFERENCE_GAIN - 1
    images = [target, image, difference]
    titles = ["given", "projected", f"difference x{DIFFERENCE_GAIN}"]
    if overlay is not None:
        images.append(overlay.transpose(2, 0, 1) / 127.5 - 1)
        titles.append("attention")
    return side_by_side(images, ratio, titles)


def psnr(a, b):
    """Peak signal-to-noise ratio of two images in [-1, 1], in dB."""
    a, b = (np.clip(x, -1, 1).astype(np.float64) for x in (a, b))
    return 10 * np.log10(4 / max(np.square(a - b).mean(), 1e-12))


def project(args, projector, draw, name, target):
    """Search for one picture and write everything about it.

    Args:
      args: result of :func:`parse_args`.
      projector: vis.projection.Projector.
      draw: function(ws, noise) => images [1, C, H, W] and attention maps or None.
      name: of the picture; files begin with it.
      target: [C, H, W].
    """
    begun = time.time()
    progress = Progress(target, args.steps, projector.sampler.ratio, name)
    ws, noise = projector.search(target, progress)
    progress.close()
    images, maps = draw(ws, noise)
    folder = Path(args.output_dir)
    picture = projector.sampler.pixels(images)[0]
    save_picture(folder / f"{name}_projected.png", picture, {"model": Path(args.model).name})
    sheet = comparison(target, images[0], maps, projector.sampler.ratio)
    save_picture(folder / f"{name}_comparison.png", sheet)
    with util.atomic_write(folder / f"{name}_latents.npz") as file:
        np.savez(file, ws=ws, **{f"noise:{site}": maps for site, maps in noise.items()})
    if args.animation != "none":
        frames = [*progress.frames, *[progress.frames[-1]] * FINAL_FRAMES]
        save_animation(folder / f"{name}_progress.{args.animation}", frames)
    likeness = psnr(*to_rgb(np.stack([target, images[0]])))
    util.log(
        f"{name}: distance {progress.distances[0]:.4g} => {progress.distances[-1]:.4g}, "
        f"PSNR {likeness:.1f} dB, {util.format_time(time.time() - begun)}"
    )


def load_lpips(path):
    """Open the network of --trust-snapshot.

    Raises:
      UserError: it is not that of LPIPS, or does not run here.
    """
    trusted = importlib.import_module("metrics.trusted")
    files = trusted.find_files([path]).get("distance")
    if not files:
        raise UserError(
            f"--trust-snapshot={path}: projection compares by vgg16_zhang_perceptual.pkl; "
            "leave the flag out to compare pixels on all scales"
        )
    return trusted.load_trusted(files[0], "distance")


def run(argv):
    """Parse the arguments, open the model, project the pictures."""
    args = parse_args(argv)
    cli.start_tensorflow(args.gpus)
    load_sampler = importlib.import_module("vis.sampler").load_sampler
    noise_maps = importlib.import_module("vis.noise_maps")
    projection = importlib.import_module("vis.projection")

    sampler = load_sampler(args.model, class_idx=args.class_idx, ratio=args.ratio)
    targets = {
        Path(path).stem: load_target(path, sampler.image_shape, sampler.ratio, args.resize)
        for path in args.pictures
    }
    lpips = load_lpips(args.trust_snapshot) if args.trust_snapshot else None
    options = projection.ProjectionOptions(
        space=args.space,
        steps=args.steps,
        learning_rate=args.lr,
        optimize_noise=args.optimize_noise,
        seed=args.seed,
    )
    projector = projection.Projector(sampler, options, lpips)
    util.make_folder(args.output_dir, "--output-dir")

    def draw(ws, noise):
        options = dict(with_maps=sampler.has_attention)
        if noise:
            return next(noise_maps.batches(sampler, ws, noise, **options))
        return next(sampler.batches(ws, **options))

    for name, target in targets.items():
        project(args, projector, draw, name, target)
    util.log(f"All files are in {args.output_dir}")


if __name__ == "__main__":
    sys.exit(cli.run_script(run))
