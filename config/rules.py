"""Settings that follow from the resolution, the batch and the number of devices, for ``--auto``.

The rules are those of StyleGAN2-ADA's automatic configuration (Karras et al. 2020,
arXiv:2006.06676); they assume the logistic loss with R1.
"""


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
      batch: images in a step; None = by rule.

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
