"""The configuration of a training: flags, rules, and what its dataset says."""

import os

from config.resolve import add_facts, dataset_path, resolve
from config.rules import settings_by_rule
from dnnlib import util
from training.dataset import Dataset


def resolve_training(given, reloaded):
    """The configuration of a training, with "facts", and its dataset; says what rules chose.

    Args:
      given: the flags on the command line, {name: value}.
      reloaded: values of flags that these beat, {name: value}.
    """
    flags = {**reloaded, **given}
    path = dataset_path(flags)
    if not os.path.exists(path):
        Dataset(path)  # says how to prepare it

    def find_resolution():
        if flags.get("resolution") and not flags.get("rectangle"):
            return flags["resolution"]
        shape = dict(rectangle=flags.get("rectangle", False), ratio=flags.get("ratio"))
        return Dataset(path, flags.get("resolution"), labels=False, **shape).networks_resolution

    by_rule = settings_by_rule(given, find_resolution)
    config = resolve(given, reloaded, by_rule)
    dataset = open_dataset(path, config)
    if by_rule:
        text = ", ".join(
            f"--{name} {format(value, 'g') if isinstance(value, float) else value}"
            for name, value in by_rule.items()
        )
        util.log(f"By rule for {'x'.join(map(str, dataset.shape[1:]))} images: {text}")
    return config, dataset


def open_dataset(path, config):
    """Open the dataset; add its facts to the configuration."""
    options = config["data"]
    dataset = Dataset(
        path,
        resolution=options["resolution"],
        max_images=options["train_images_num"],
        seed=config["loop"]["seed"],
        mirror=options["mirror_augment"],
        rectangle=options["rectangle"],
        ratio=options["ratio"],
    )
    add_facts(
        config,
        dataset.networks_resolution,
        dataset.num_channels,
        dataset.num_images,
        dataset.label_size,
        1.0 if dataset.start else dataset.ratio,
        dataset.start,
    )
    return dataset
