"""Train a GANsformer or one of its baselines; ``python run_network.py --help`` lists the flags."""

import json
import os
import re
import sys

from dnnlib import util
from dnnlib.cli import run_script
from dnnlib.errors import UserError
from dnnlib.submission import run_dir as runs
from training import config as configuration
from training.dataset import Dataset


def main(argv=None):
    """Parse, resolve, check, run. What needs TensorFlow is imported after the quick checks."""
    given = configuration.parse(argv)
    if given.pop("help", False):
        print(configuration.build_parser(with_defaults=True).format_help())
        return
    hide_gpus(given.get("gpus"))
    reloaded = configuration.reloaded_flags(given) if given.get("reload") else {}
    path = configuration.dataset_path({**reloaded, **given})
    if not os.path.isdir(path):
        Dataset(path)  # says how to prepare it
    config = configuration.resolve(given, reloaded)
    dataset = open_dataset(path, config)
    if config["run"]["dry_run"]:
        print(json.dumps(config, indent=2))
    elif config["run"]["train"]:
        train(config, dataset)
    else:
        print_networks(config)


def hide_gpus(gpus):
    """Let TensorFlow see the chosen GPUs only; has to come before it looks for them."""
    if gpus is None:
        return
    if gpus in ("", "none"):
        gpus = "-1"
    elif not re.fullmatch(r"\d+(,\d+)*", gpus):
        raise UserError(f"--gpus={gpus}: give numbers separated by commas, e.g. 0,1, or none")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus


def open_dataset(path, config):
    """Open the dataset; add its facts to the configuration."""
    options = config["data"]
    dataset = Dataset(
        path,
        resolution=options["resolution"],
        max_images=options["train_images_num"],
        seed=config["loop"]["seed"],
        mirror=options["mirror_augment"],
    )
    configuration.add_facts(
        config, dataset.resolution, dataset.num_channels, dataset.num_images, dataset.label_size
    )
    return dataset


def start_tensorflow(config):
    """Open a session; returns the names of the devices to train on."""
    from dnnlib import tflib  # noqa: PLC0415 - TensorFlow takes seconds to load

    tflib.compat.configure()
    devices = tflib.compat.local_gpu_names()
    gpus = config["run"]["gpus"]
    if gpus not in (None, "", "none") and len(devices) != len(gpus.split(",")):
        raise UserError(
            f"--gpus={gpus}: TensorFlow can use {len(devices)} of these; see nvidia-smi, "
            "or use --gpus none for the CPU"
        )
    tflib.init_tf({"rnd.tf_random_seed": config["loop"]["seed"]})
    return devices or ["/cpu:0"]


def train(config, dataset):
    """Train in a new run directory, or continue an unfinished run."""
    from training import resume  # noqa: PLC0415 - needs TensorFlow

    run_dir = resume.choose_run(config)
    if run_dir is None:
        return
    with resume.locked(run_dir), runs.open_log(run_dir):
        runs.save_config(run_dir, config)
        devices = start_tensorflow(config)
        from training.training_loop import training_loop  # noqa: PLC0415 - needs TensorFlow

        util.log(f"Training in {run_dir} on {', '.join(devices)}: {dataset.num_images:,} images")
        training_loop(run_dir, config, dataset, devices)
        util.log(f"Done: {run_dir}/network-final.pkl")


def print_networks(config):
    """Print the layers of the networks that the flags describe."""
    start_tensorflow(config)
    from training.graph import build_networks  # noqa: PLC0415 - needs TensorFlow

    for net in build_networks(config):
        net.print_layers()


if __name__ == "__main__":
    sys.exit(run_script(main))
