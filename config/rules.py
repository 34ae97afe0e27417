"""Settings that follow from the resolution, the batch and the number of devices.

The rules of ``--auto`` are those of StyleGAN2-ADA's automatic configuration (Karras et al. 2020,
arXiv:2006.06676); they assume the logistic loss with R1. Their gamma was made for larger images:
small ones, of which a preset knows nothing, take ``--recipe small`` instead.
"""

from config.presets import DATASETS, RECIPES, RELATIVISTIC, SMALL_LATENTS, SMALL_SIDE
from dnnlib.cli import device_names
from dnnlib.errors import UserError

BESIDE_PRESETS = ("batch-size", "gamma", "g-lr", "d-lr", "ema-kimg")


START_POSITIONS = (12, 64)  # bounds of the number of positions that an image begins with


def choose_start(height, width):
    """The map that images of a size begin with: both sides over the same power of two.

    Of all that are possible, the smallest of at least 12 positions: 4x4 for squares, 3x4 for
    images of 3:4, 4x8 for those of 1:2.

    Args:
      height: in pixels.
      width: in pixels.

    Returns:
      ((height, width) of the map, resolution): images are resolution / 4 times as large.

    Raises:
      UserError: there is none of at most 64 positions.
    """
    least, most = START_POSITIONS
    doublings = 0
    while not (height >> doublings & 1 or width >> doublings & 1):
        if (height >> doublings + 1) * (width >> doublings + 1) < least:
            break
        doublings += 1
    start = height >> doublings, width >> doublings
    if start[0] * start[1] > most:
        raise UserError(
            f"--rectangle: {height}x{width} is no power of two times a map of {least} to {most} "
            "positions, such as 3x4 or 4x6; cut the pictures to such a ratio (prepare_data.py "
            "--ratio 3/4), or leave --rectangle out to train them with bars"
        )
    return start, 4 << doublings


def choose_batch(resolution, num_devices):
    """Images in a step: as many as the published memory budget takes, at most 64."""
    return _split_evenly(min(num_devices * min(4096 // resolution, 32), 64), num_devices)


def _split_evenly(batch, num_devices):
    """The largest batch up to this one with as many images for each device, at least one."""
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


def recipe_settings(name, given, num_devices):
    """Settings of a recipe of ``presets.RECIPES``, with smaller latents in a GANsformer.

    Losses and regularizers stay the published ones if one of them was given, or ``--aug ada``,
    whose r_t is no measure of memory with relativistic losses.
    """
    found = dict(RECIPES[name])
    if given.get("aug") == "ada" or not given.keys().isdisjoint(RELATIVISTIC):
        found = {name: value for name, value in found.items() if name not in RELATIVISTIC}
    if given.get("gansformer-default"):
        found.update(SMALL_LATENTS)
    found["batch-size"] = _split_evenly(found["batch-size"], num_devices)
    return found


def settings_by_rule(given, find_resolution):
    """What rules and recipes give: those asked for, or those for what a preset leaves open.

    A published preset has values for certain datasets. For others, its gamma, batch, learning rates
    and moving average are those of ``--auto``; images up to 32x32 take ``--recipe small``.

    Args:
      given: the flags on the command line, {name: value}.
      find_resolution: function that gives the side of the images; called if there are rules to
        apply, since it may open the dataset.

    Returns:
      {name of a flag: value}; the flags that were given are not among them.
    """
    is_preset = given.get("gansformer-default") or given.get("baseline")
    recipe, is_auto = given.get("recipe"), given.get("auto")
    is_open = is_preset and not (recipe or is_auto) and given.get("dataset") not in DATASETS
    num_devices = len(device_names(given.get("gpus")) or ["/gpu:0"])
    found = {}
    if is_open and find_resolution() <= SMALL_SIDE:
        recipe = "small"
    elif is_open or is_auto:
        found = choose_settings(find_resolution(), num_devices, given.get("batch-size"))
        if not is_auto:
            found = {name: found[name] for name in BESIDE_PRESETS}
    if recipe:
        found.update(recipe_settings(recipe, given, num_devices))
    return {name: value for name, value in found.items() if name not in given}
