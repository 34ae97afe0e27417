"""Settings that follow from the resolution, the batch and the number of devices, for ``--auto``.

The rules are those of StyleGAN2-ADA's automatic configuration (Karras et al. 2020,
arXiv:2006.06676); they assume the logistic loss with R1.
"""

from config.presets import DATASETS
from dnnlib.cli import device_names

BESIDE_PRESETS = ("batch-size", "gamma", "g-lr", "d-lr", "ema-kimg")


def choose_batch(resolution, num_devices):
    """Images in a step: as many as the published memory budget takes, at most 64."""
    batch = min(num_devices * min(4096 // resolution, 32), 64)
    return max(batch // num_devices, 1) * num_devices


def choose_gamma(resolution, batch):
    """Weight of R1: smaller images have smaller slopes, larger batches less noise."""
    return 0.0002 * resolution**2 / batch


def choose_settings(resolution, num_devices, batch=None):
    """All settings that rules give.

    Args:
      resolution: side of the images.
      num_devices: GPUs, or 1 for the CPU.
      batch: images in a step; None: by rule.

    Returns:
      {name of a flag: value}.
    """
    batch = batch or choose_batch(resolution, num_devices)
    rate = 0.002 if resolution >= 1024 else 0.0025
    return {
        "batch-size": batch,
        "gamma": choose_gamma(resolution, batch),
        "g-lr": rate,
        "d-lr": rate,
        "ema-kimg": batch * 10 / 32,
        "ema-rampup": 0.05,
        "channel-base": 16384 if resolution >= 512 else 8192,
    }


def settings_by_rule(given, find_resolution):
    """What rules say about a training: all with --auto; without it, what a preset leaves open.

    A published preset has values for certain datasets. For others, its gamma, batch, learning rates
    and moving average are those that rules give.

    Args:
      given: the flags on the command line, {name: value}.
      find_resolution: function that gives the side of the images; called if there are rules to
        apply, since it may open the dataset.

    Returns:
      {name of a flag: value}; the flags that were given are not among them.
    """
    is_preset = given.get("gansformer-default") or given.get("baseline")
    is_open = is_preset and not given.get("recipe") and given.get("dataset") not in DATASETS
    if not (given.get("auto") or is_open):
        return {}
    num_devices = len(device_names(given.get("gpus")) or ["/gpu:0"])
    found = choose_settings(find_resolution(), num_devices, given.get("batch-size"))
    if not given.get("auto"):
        found = {name: found[name] for name in BESIDE_PRESETS}
    return {name: value for name, value in found.items() if name not in given}
