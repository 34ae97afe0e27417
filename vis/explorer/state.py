"""What the explorer shows, as a value that a short name carries.

A picture's name holds all that the picture depends on besides the model. It is at once the name of
the saved file, the path of the request and the end of the page's address:

    seed0005_class3_psi0.5_latent2-17_global-4_mix9-layers0-3,6_noise-random

is the picture of seed 5 as class 3, truncated to 0.5, with latent 2 of seed 17, the global latent
of seed 4, and layers 0 to 3 and 6 of seed 9 in all latents that were not replaced. Only the seed
has to be there. Names of generate.py's pictures are names here too, for the same pictures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dnnlib.errors import UserError
from vis.latents import MAX_SEED

DEFAULT_PSI = 0.7  # as in generate.py
MAX_PSI = 2
NOISE_MODES = ("const", "random", "none")
MAX_NAME = 2000  # characters

_PARTS = {
    "seed": r"seed(\d{1,12})",
    "class": r"class(\d{1,12})",
    "psi": r"psi(-?[\d.]{1,20}(?:e-?\d{1,3})?)",
    "reroll": r"(?:latent(\d{1,12})|global)-(\d{1,12})",
    "mix": r"mix(\d{1,12})-layers([\d,-]{1,200})",
    "noise": r"noise-([a-z]{1,10})",
}


@dataclass(frozen=True)
class Limits:
    """What a model has, and so what its states may hold."""

    num_latents: int  # with the global one
    has_global: bool  # the last latent is the global one
    num_layers: int  # of ws
    num_classes: int

    def latent_names(self) -> list[str]:
        """The latents' names in states, in order."""
        names = [f"latent{i}" for i in range(self.num_latents)]
        return [*names[:-1], "global"] if self.has_global else names


@dataclass(frozen=True)
class State:
    """All that a picture depends on besides the model; equal states have equal names."""

    seed: int
    class_idx: int | None = None
    psi: float = DEFAULT_PSI
    rerolls: tuple[tuple[int, int], ...] = ()  # (latent, seed that gives it), in order
    mix_seed: int | None = None
    mix_layers: tuple[int, ...] = ()
    noise_mode: str = "const"

    def name(self, limits: Limits) -> str:
        """The state's name, parts at their default left out."""
        parts = [f"seed{self.seed:04d}"]
        if self.class_idx is not None:
            parts.append(f"class{self.class_idx}")
        if self.psi != DEFAULT_PSI:
            parts.append(f"psi{self.psi:g}")
        names = limits.latent_names()
        parts += [f"{names[latent]}-{seed}" for latent, seed in self.rerolls]
        if self.mix_layers:
            parts.append(f"mix{self.mix_seed}-layers{format_ranges(self.mix_layers)}")
        if self.noise_mode != "const":
            parts.append(f"noise-{self.noise_mode}")
        return "_".join(parts)


def parse_name(name: str, limits: Limits) -> State:
    """The state of a name; see the module's docstring.

    Args:
      name: parts joined by ``_``, the seed first.
      limits: of the model.

    Returns:
      State. For a conditional model it always has a class: classes take turns over the seeds.

    Raises:
      UserError: not such a name, or more than the model has.
    """
    if len(name) > MAX_NAME:
        raise UserError(f"a picture's name has at most {MAX_NAME} characters, got {len(name)}")
    first, *rest = name.split("_")
    match = re.fullmatch(_PARTS["seed"], first)
    if not match:
        raise UserError(f"{name!r}: a picture's name begins with its seed, e.g. seed0005_psi0.5")
    values = {"seed": _seed(match.group(1), name)}
    rerolls = {}
    for part in rest:
        kind, groups = _match(part, name)
        if kind == "reroll":
            latent, seed = _parse_reroll(groups, limits, name)
            rerolls[latent] = seed
        else:
            values.update(_PARSERS[kind](groups, limits, name))
    if limits.num_classes and "class_idx" not in values:
        values["class_idx"] = values["seed"] % limits.num_classes
    return State(rerolls=tuple(sorted(rerolls.items())), **values)


def format_ranges(numbers) -> str:
    """Sorted integers as text: (0, 1, 2, 6) => "0-2,6"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _match(part: str, name: str):
    """The kind of a part, and its groups."""
    for kind, pattern in _PARTS.items():
        match = re.fullmatch(pattern, part)
        if match and kind != "seed":
            return kind, match.groups()
    known = "class, psi, latentN-SEED, global-SEED, mixSEED-layersLIST, noise-MODE"
    raise UserError(f"{name!r}: {part!r} is no part of a picture's name; there are {known}")


def _seed(text: str, name: str) -> int:
    if int(text) > MAX_SEED:
        raise UserError(f"{name!r}: seeds go from 0 to {MAX_SEED}, got {text}")
    return int(text)


def _parse_class(groups, limits: Limits, name: str) -> dict:
    class_idx = int(groups[0])
    if class_idx >= limits.num_classes:
        num = limits.num_classes
        rule = f"has the classes 0 to {num - 1}" if num else "has no classes"
        raise UserError(f"{name!r}: this model {rule}, got class {class_idx}")
    return dict(class_idx=class_idx)


def _parse_psi(groups, limits: Limits, name: str) -> dict:
    try:
        psi = float(groups[0])
    except ValueError:
        raise UserError(f"{name!r}: psi must be a number, got {groups[0]!r}") from None
    if abs(psi) > MAX_PSI:
        raise UserError(f"{name!r}: psi goes from -{MAX_PSI} to {MAX_PSI}, got {groups[0]}")
    return dict(psi=float(f"{psi:g}"))  # exactly what its name will say


def _parse_reroll(groups, limits: Limits, name: str) -> tuple[int, int]:
    is_global = groups[0] is None
    last = limits.num_latents - 1 - limits.has_global
    if is_global and not limits.has_global:
        raise UserError(f"{name!r}: this model has no global latent")
    latent = limits.num_latents - 1 if is_global else int(groups[0])
    if limits.num_latents == 1:
        raise UserError(f"{name!r}: this model has a single latent, which is the seed's")
    if not is_global and latent > last:
        raise UserError(f"{name!r}: this model has the latents 0 to {last}, got {latent}")
    return latent, _seed(groups[1], name)


def _parse_mix(groups, limits: Limits, name: str) -> dict:
    layers: set[int] = set()
    for part in groups[1].split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if not match:
            raise UserError(f"{name!r}: {part!r} is no layer or range of layers; write e.g. 0-3,6")
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if not first <= last < limits.num_layers:
            known = limits.num_layers - 1
            raise UserError(f"{name!r}: this model has the layers 0 to {known}, got {part}")
        layers.update(range(first, last + 1))
    return dict(mix_seed=_seed(groups[0], name), mix_layers=tuple(sorted(layers)))


def _parse_noise(groups, limits: Limits, name: str) -> dict:
    if groups[0] not in NOISE_MODES:
        known = ", ".join(NOISE_MODES)
        raise UserError(f"{name!r}: unknown noise mode {groups[0]!r}; there are {known}")
    return dict(noise_mode=groups[0])


_PARSERS = {
    "class": _parse_class,
    "psi": _parse_psi,
    "mix": _parse_mix,
    "noise": _parse_noise,
}
