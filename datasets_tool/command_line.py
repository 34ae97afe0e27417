"""The command line of prepare_data.py: its flags, and which of them go together."""

from datasets_tool.catalogue import ENTRIES
from datasets_tool.channels import CHANNELS, parse_background
from datasets_tool.decode import CROPS, WHOLE_CROPS
from datasets_tool.sources.formats import FORMATS
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.records.encoded import RECORD_FORMATS

# Flags that say how a set is prepared. Those of the first table only mean something for some tasks.
MEANT_FOR = {
    "images_num": ("scenes",),
    "seed": ("scenes",),
    "large_objects": ("scenes",),
    "images_dir": ("task",),
    "format": ("task",),
    "labels": ("task",),
    "label_column": ("task",),
    "source": ("catalogue",),
    "keep_archives": ("catalogue",),
    "ratio": ("task", "catalogue"),
    "crop": ("task", "catalogue"),
    "channels": ("task", "catalogue"),
    "background": ("task", "catalogue"),
    "strict": ("task", "catalogue"),
}
MEANT_FOR_ALL = (
    "resolution",
    "max_images",
    "shards_num",
    "multi_resolution",
    "record_format",
    "overwrite",
)


def seed(text):
    """Argparse type: an integer from 0 to 2^63 - 1."""
    if not text.isdigit() or int(text) >= 1 << 63:
        raise cli.argparse.ArgumentTypeError(f"must be an integer from 0 up, got {text!r}")
    return int(text)


def background(text):
    """Argparse type: the name of a colour, or #rrggbb."""
    try:
        return parse_background(text)
    except ValueError as error:
        raise cli.argparse.ArgumentTypeError(
            f"must be the name of a colour or #rrggbb: {error}"
        ) from error


def build_parser():
    """The command line."""
    parser = cli.Parser(
        description="Prepare datasets for training.",
        usage="%(prog)s --scenes | --ffhq ... | --task NAME --images-dir PATH  [flags]",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to prepare")
    what.add_argument("--scenes", action="store_true", help="render CLEVR-like scenes here")
    for flag, entry in ENTRIES.items():
        note = ", as its authors published it" if flag != entry.name else ""
        text = f"{entry.images_num} images, a download of {entry.gigabytes} GB{note}"
        what.add_argument(f"--{flag}", action="store_true", help=text)
    what.add_argument("--task", action=cli.Once, metavar="NAME", help="a set of your own images")
    scenes = parser.add_argument_group("scenes")
    scenes.add_argument(
        "--images-num", type=cli.positive_int, help="number of scenes (default: 10000)"
    )
    scenes.add_argument("--seed", type=seed, help="another seed, other scenes (default: 0)")
    scenes.add_argument(
        "--large-objects",
        action="store_true",
        default=None,
        help="one to four large objects instead of three to ten, for pictures of 32x32",
    )
    images = parser.add_argument_group("your own images")
    images.add_argument(
        "--images-dir",
        action=cli.Once,
        metavar="PATH",
        help="a folder, searched with all sub-folders; a zip or tar archive; an npy or hdf5 file; "
        "an LMDB database; TFRecords",
    )
    images.add_argument(
        "--format",
        choices=FORMATS,
        help="png, jpg, webp, bmp: take only these files; the others say what PATH is where its "
        "name does not (default: found out); tfds: PATH is the NAME or NAME:SPLIT of a set of "
        "tensorflow_datasets; hf: NAME, NAME:SPLIT or NAME:CONFIG:SPLIT of the Hugging Face hub, "
        "or a folder saved by its package",
    )
    images.add_argument(
        "--labels",
        metavar="HOW",
        help="folders: each sub-folder is a class; a .json, .csv or .npy file; none (default: "
        "labels that come with npy, hdf5, tfds, hf and TFRecords, or in a dataset.json of "
        "StyleGAN3's form)",
    )
    images.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of the .json (a list of objects) or .csv of --labels that holds the labels; "
        "the one that names the images is found",
    )
    images.add_argument(
        "--ratio",
        type=cli.ratio,
        metavar="H/W",
        help="height / width to which images are cut, such as 3/4 (default: 1)",
    )
    images.add_argument(
        "--crop",
        choices=CROPS,
        help="center: cut around the middle (default); top: keep the upper edge; none: keep all "
        "and add black bars; stretch: squeeze into the square",
    )
    images.add_argument(
        "--channels",
        type=int,
        choices=CHANNELS,
        help="1: grey, 3: RGB, 4: RGBA (default: 1 if all of the images looked at are grey, 4 if "
        "most of them have transparent parts, else 3; downloaded sets: 3)",
    )
    images.add_argument(
        "--background",
        type=background,
        metavar="COLOUR",
        help="a name or #rrggbb, on which transparent parts are laid where they are not kept "
        "(default: white)",
    )
    images.add_argument(
        "--strict", action="store_true", default=None, help="refuse unreadable images, do not skip"
    )
    catalogue = parser.add_argument_group("downloaded sets")
    catalogue.add_argument(
        "--source", metavar="PLACE", help="a URL, file or folder to use instead of the usual place"
    )
    catalogue.add_argument(
        "--keep-archives",
        action="store_true",
        default=None,
        help="keep what was downloaded, in .archives of the data folder",
    )
    both = parser.add_argument_group("the set")
    both.add_argument("--data-dir", default="datasets", help="where sets live (default: datasets)")
    both.add_argument(
        "--resolution",
        type=cli.positive_int,
        help="side, a power of two (default: 64 for scenes, 256 for downloaded sets, else nearest "
        "to the size of the first image)",
    )
    both.add_argument("--max-images", type=cli.positive_int, help="use only the first ones")
    both.add_argument(
        "--shards-num",
        type=cli.positive_int,
        help="files (default: 1; published sets as published)",
    )
    both.add_argument(
        "--multi-resolution", action="store_true", help="write all smaller sizes too, down to 4x4"
    )
    both.add_argument(
        "--record-format",
        choices=RECORD_FORMATS,
        help="raw: pixels, which StyleGAN2's reader needs; png, webp: smaller, without loss; jpeg: "
        "JPEGs that need no change are kept as they are, the others become PNG (default: webp from "
        "128x128 on, else raw; raw with --multi-resolution)",
    )
    both.add_argument("--overwrite", action="store_true", help="replace an existing set")
    both.add_argument("--workers", type=cli.positive_int, help="processes (default: all cores)")
    look = parser.add_argument_group("look at prepared sets")
    look.add_argument("--verify", action="store_true", help="check every byte of the set")
    look.add_argument("--preview", metavar="FILE.png", help="draw a sheet of its images")
    return parser


def flags_of_preparation(args):
    """Those flags of preparation that were given."""
    values = {name: getattr(args, name) for name in (*MEANT_FOR, *MEANT_FOR_ALL)}
    return [name for name, value in values.items() if value is not None and value is not False]


def is_looking(args):
    """Whether a prepared set is to be looked at."""
    return args.verify or args.preview is not None


def kinds_of_tasks(args):
    """Which kinds of tasks were asked for; UserError if a flag is for none of them."""
    entries = [flag for flag in ENTRIES if getattr(args, flag.replace("-", "_"))]
    kinds = {"scenes": args.scenes, "task": args.task is not None, "catalogue": bool(entries)}
    if not any(kinds.values()):
        known = ", ".join(f"--{flag}" for flag in ("scenes", *ENTRIES))
        raise UserError(f"nothing to prepare: give {known}, or --task NAME --images-dir PATH")
    only_looks = args.images_dir is None and is_looking(args)
    for name in flags_of_preparation(args):
        meant_for = [kind for kind in MEANT_FOR.get(name, kinds) if kinds[kind]]
        if meant_for == ["task"] and only_looks:
            raise UserError(
                f"--{name.replace('_', '-')}: has no meaning where --task {args.task} is only "
                "looked at; leave it out, or prepare the set with --images-dir PATH"
            )
        if not meant_for:
            given = ", ".join(kind for kind, is_given in kinds.items() if is_given)
            flags = given.replace("catalogue", "downloaded sets").replace("scenes", "--scenes")
            flags = flags.replace("task", "--task")
            raise UserError(f"--{name.replace('_', '-')}: has no meaning with {flags}")
    if args.source is not None and len(entries) != 1:
        raise UserError("--source: stands for one downloaded set; give just one of them")
    if args.ratio is not None and args.crop in WHOLE_CROPS:
        raise UserError(
            f"--ratio: --crop {args.crop} cuts nothing, so no picture would get that ratio; "
            "leave --ratio out, or use --crop center or top"
        )
    if args.background is not None and args.channels == 4:
        raise UserError(
            "--background: --channels 4 keeps transparent parts, so nothing is laid on it; leave "
            "one out"
        )
    if args.clevr and args.clevr_original:
        raise UserError("--clevr and --clevr-original make the same set; give one of them")
    return entries
