"""Checks of flags against each other and against the dataset; bad ones are refused in one line."""

from __future__ import annotations

from config import presets
from config.flags import FLAGS
from dnnlib.errors import UserError, must_be_one_of


def check(values, given=()):
    """The rules that join several flags.

    Args:
      values: value of every flag.
      given: names of those that the user typed.

    Raises:
      UserError: names flag, value, rule and a way out.
    """
    for name in given:
        choices = FLAGS[name].choices() if name in FLAGS and FLAGS[name].is_registered else None
        if choices and values[name] not in choices:
            raise UserError(f"--{name}: {must_be_one_of(values[name], choices)}")
    size, num = values["latent-size"], values["components-num"]
    if size % num:
        low = size // num * num
        nearest = f"{low} or {low + num}" if low else str(num)
        raise UserError(
            f"--latent-size={size} is not divisible by --components-num={num}; nearest: {nearest}"
        )
    check_resolution(values["resolution"])
    if values["kgan"] and values["transformer"]:
        raise UserError("--kgan and --transformer exclude each other; leave out one of them")
    for side in ("g", "d"):
        start, end = values[f"{side}-start-res"], values[f"{side}-end-res"]
        if start >= end:
            raise UserError(
                f"--{side}-start-res={start} must be less than --{side}-end-res={end}, "
                "which is the first resolution without attention"
            )
    if values["batch-gpu"] and values["batch-size"] % values["batch-gpu"]:
        raise UserError(
            f"--batch-size={values['batch-size']} is not divisible by "
            f"--batch-gpu={values['batch-gpu']}"
        )
    if values["aug"] == "fixed" and values["aug-p"] is None:
        raise UserError("--aug=fixed needs a probability, such as --aug-p=0.2")
    for name in given:
        if name in FLAGS and not FLAGS[name].matters(values):
            needs = [
                need.replace("=", " ").replace(",", " or ") for need in FLAGS[name].needs.split()
            ]
            wanted = " or ".join(f"--{need}" for need in needs)
            raise UserError(f"--{name} has no effect without {wanted}")


def check_resolution(resolution):
    """Raise UserError unless the resolution is None or a power of two."""
    if resolution is not None and resolution & (resolution - 1):
        low = 1 << (resolution.bit_length() - 1)
        raise UserError(
            f"--resolution={resolution} is not a power of two; nearest: {low} or {2 * low}"
        )


def check_levels(flags, resolution):
    """Raise UserError if a flag names a layer that networks of the resolution do not have.

    Args:
      flags: value of every flag.
      resolution: of the networks, a power of two.
    """
    levels = resolution.bit_length() - 1
    for name in ("g-img2img", "d-img2img", "merge-layer", "g-start-res", "d-start-res"):
        if flags[name] > levels:
            preset = presets.BASELINES.get(flags["baseline"], {})
            origin = ""
            if preset.get(name) == flags[name]:
                origin = f", as --baseline={flags['baseline']} sets it,"
            raise UserError(
                f"--{name}={flags[name]}{origin} is beyond {levels}, the log2 of the resolution "
                f"{resolution}; use at most {levels}"
            )
    _check_attention(flags, levels, "g", "generator", 2)
    _check_attention(flags, levels, "d", "discriminator", 3)


def _check_attention(flags, levels, side, network, lowest):
    """Raise UserError if attention that was asked for has no layer.

    Args:
      flags: value of every flag.
      levels: log2 of the resolution.
      side: "g" or "d".
      network: its name.
      lowest: log2 of the least resolution with attention.
    """
    kinds = ("transformer" if side == "g" else "d-transformer",)
    kinds += (f"{side}-img2img", f"{side}-local-attention")
    wanted = [name for name in kinds if flags[name]]
    if not wanted:
        return
    if levels < lowest:
        raise UserError(f"--{wanted[0]} has no layer at resolution {2**levels}; leave it out")
    start, end = flags[f"{side}-start-res"], flags[f"{side}-end-res"]
    if end <= lowest:
        raise UserError(
            f"--{side}-end-res={end} leaves --{wanted[0]} no layer; use {lowest + 1} or more"
        )
    level, first, last = flags[f"{side}-img2img"], max(lowest, start), min(levels, end - 1)
    if level and not first <= level <= last:
        possible = f"{first} to {last}" if first < last else first
        raise UserError(
            f"--{side}-img2img={level}: the {network} has attention at log2 resolutions {lowest} "
            f"to {levels}, from --{side}-start-res={start} on and below --{side}-end-res={end}; "
            f"use {possible}"
        )
