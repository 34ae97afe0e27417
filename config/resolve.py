"""Command line => configuration: one nested dict of plain values.

Precedence: default in the consumer's signature < options of the run to --reload < preset < rules <
flag that was given, in whatever spelling. :func:`parse` needs no TensorFlow; :func:`resolve`
imports the consumers, for their defaults.

What becomes of the configuration: ``training_loop(run_dir, config, ...)`` hands each consumer its
own part, ``config["D_loss"]`` for instance; those of G and D are options of the networks, and the
network hands the parts "mapping" and "synthesis" of ``config["G"]`` on. So a flag is followed in
flags.py, here, and in the consumer.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from config import presets
from config.checks import check, check_levels
from config.flags import FIXED, FLAGS, GROUPS, MODE
from config.options import DataOptions, RunOptions
from dnnlib.cli import Parser
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import latest_run, load_config
from dnnlib.util import log

BF16_CLAMP = 256.0  # bound of feature maps that are bfloat16, as StyleGAN2-ADA's of float16
NESTED = {"mapping": "G", "synthesis": "G"}  # consumers whose options are an option of another


def build_parser(with_defaults=False):
    """Argparse front end of the table.

    Args:
      with_defaults: show the defaults in the help; imports the networks.
    """
    parser = Parser(
        prog="run_network.py",
        description="Train a GANsformer or one of its baselines.",
        add_help=False,
        usage="python run_network.py --train --gansformer-default --dataset NAME [flags]",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    parser.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS)
    for title, rows in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in rows:
            names = [f"--{name}" for name in [flag.name, *flag.aliases.split()]]
            # SUPPRESS: an entry exists only if the user typed the flag, in whatever spelling.
            kwargs = dict(type=flag.type, default=argparse.SUPPRESS, dest=flag.name)
            if with_defaults or not flag.is_registered:
                kwargs["choices"] = flag.choices()
            if flag.is_boolean:
                kwargs.update(nargs="?", const=True)
            text = flag.help.replace("%", "%%")
            if with_defaults:
                text += _default_text(flag.default())
            metavar = _metavar(flag, kwargs.get("choices"))
            group.add_argument(*names, help=text, metavar=metavar, **kwargs)
    for name in UNNEEDED:
        hidden = dict.fromkeys(("dest", "default", "help"), argparse.SUPPRESS)
        parser.add_argument(f"--{name}", action=_Unneeded, nargs="?", **hidden)
    return parser


# Flags of the published command line that are accepted with a line that says why they do nothing.
UNNEEDED = {
    "num-threads": "it set the number of threads that read images; here the next batch is read "
    "while the step runs",
    "recompile": "it compiled the CUDA operations anew; here they are compiled again when their "
    "source, the compiler or TensorFlow changes",
    "fused-modconv": "it chose one of two ways to compute a modulated convolution; here there is "
    "one, which needs no grouped convolutions",
}


class _Unneeded(argparse.Action):
    """Say why a flag is not needed; store nothing."""

    def __call__(self, parser, namespace, values, option=None):
        log(f"{option} is not needed: {UNNEEDED[option.lstrip('-')]}")


def _metavar(flag, choices):
    """What stands for the value in the help."""
    if choices:
        return "{" + ",".join(choices) + "}"
    return "BOOL" if flag.is_boolean else getattr(flag.type, "metavar", "NAME")


def _default_text(value):
    """The default as the end of a help text."""
    return "" if value in (None, "") else f" (default: {value})"


def parse(argv=None):
    """The flags that were given: {name: value}.

    Raises:
      UserError: an unknown flag (names the closest one) or an impossible value.
    """
    return vars(build_parser().parse_args(argv))


def preset_values(given):
    """Values of the presets that were asked for, by flag name."""
    dataset, baseline = given.get("dataset"), given.get("baseline")
    if given.get("gansformer-default") and baseline:
        raise UserError(f"--gansformer-default and --baseline={baseline} exclude each other")
    if given.get("gansformer-default"):
        return {**presets.GANSFORMER, **presets.DATASETS.get(dataset, {})}
    if baseline:
        return {**presets.BASELINES[baseline], **presets.BASELINE_DATASETS.get(dataset, {})}
    return {}


def resolve(given, reloaded=None, by_rule=None):
    """Flags => configuration.

    Args:
      given: result of :func:`parse`.
      reloaded: values of all flags of an earlier run, for --reload.
      by_rule: values that rules give, see :func:`config.rules.settings_by_rule`.

    Returns:
      {consumer: {parameter: value}} of plain values, with "flags", the value of every flag.
      The options of mapping and synthesis stand inside those of G.

    Raises:
      UserError: flags that contradict each other.
    """
    values = {flag.name: flag.default() for flag in FLAGS.values()}
    values["ratio"] = presets.RATIOS.get(given.get("dataset"))
    values.update(reloaded or {})
    values.update(preset_values({"dataset": values["dataset"], **given}))
    values.update(by_rule or {})
    values.update(given)
    check(values, given)
    config: dict[str, Any] = {}
    for flag in FLAGS.values():
        for name, parameter in flag.destinations():
            config.setdefault(name, {})[parameter] = values[flag.name]
    from dnnlib.tflib.precision import bf16_resolutions  # noqa: PLC0415 - loads TensorFlow

    if bf16_resolutions(values["precision"], values["bf16-res"]):
        config["synthesis"]["conv_clamp"] = config["D"]["conv_clamp"] = BF16_CLAMP
    size = values["latent-size"] // values["components-num"]
    config["G"].update(z_dim=size, w_dim=size)
    config["D"].update(a_dim=size)
    if not (values["transformer"] or values["kgan"]):
        # Components would be those of D alone: an image is made from one latent, of the full size.
        size = values["latent-size"]
        config["G"].update(components_num=1, z_dim=size, w_dim=size)
    for name, outer in NESTED.items():
        config[outer][name] = config.pop(name)
    return {"flags": values, **config}


def add_facts(config, resolution, num_channels, num_images, label_size, ratio=1.0, start=None):
    """Add what the dataset says to the configuration, and check the flags against it.

    Args:
      config: result of :func:`resolve`.
      resolution: of the networks: side of square images; else images are resolution / 4 times as
        large as ``start``.
      num_channels: of the images.
      num_images: number of images.
      label_size: number of label features.
      ratio: height / width of the pictures inside square images.
      start: height and width of the first map, for images that are not square.

    Raises:
      UserError: a flag names a layer that a network of this resolution does not have.
    """
    check_levels(config["flags"], resolution)
    if ratio != 1:
        config["G"]["ratio"] = ratio  # of the saved pictures; every snapshot carries it
    config["facts"] = {
        "resolution": resolution,
        "num_channels": num_channels,
        "num_images": num_images,
        "label_size": label_size,
    }
    if start is not None:
        config["facts"]["start"] = list(start)


def find_dataset(data_dir, name):
    """Path of a dataset: ``name`` below ``data_dir``, or the path that ``name`` is itself.

    A path has a slash in it or ends in .zip.
    """
    below = os.path.join(data_dir, name)
    is_path = os.sep in name or name.lower().endswith(".zip")
    return name if is_path and not os.path.exists(below) else below


def dataset_path(flags):
    """Path of the dataset, from flags that were given.

    Raises:
      UserError: none was given.
    """
    if not flags.get("dataset"):
        raise UserError("--dataset is missing; name one that prepare_data.py made, e.g. scenes")
    return find_dataset(flags.get("data-dir", DataOptions().data_dir), flags["dataset"])


def reloaded_flags(given):
    """For --reload: the flags of the experiment's latest run.

    Args:
      given: the flags on the command line, {name: value}.

    Returns:
      {name: value}.
    """
    defaults = RunOptions()
    expname = given.get("expname", defaults.expname)
    latest = latest_run(given.get("result-dir", defaults.result_dir), expname)
    if latest is None:
        raise UserError(f"--reload: the experiment {expname!r} has no run yet; leave it out")
    return flags_of_run(latest)


def flags_of_run(run_dir):
    """The flags of a run, {name: value}, but for those that say what to do with it."""
    flags = load_config(run_dir)["flags"]
    return {name: value for name, value in flags.items() if not is_mode(name)}


def is_mode(name):
    """Whether a flag says what to do with a run rather than what the run is."""
    return name in FLAGS and FLAGS[name].role == MODE


def contradictions(old, new):
    """Flags that differ between an earlier run and this one and may not.

    Args:
      old: "flags" of the earlier run's configuration.
      new: "flags" of this one.

    Returns:
      List of (name, earlier value, value now).
    """
    fixed = [name for name, flag in FLAGS.items() if flag.role == FIXED and name in old]
    if new.get("pretrained-pkl") is not None and "pretrained-pkl" in old:
        fixed.append("pretrained-pkl")  # what a run was begun with need not be said again
    return [(name, old[name], new[name]) for name in fixed if old[name] != new[name]]
