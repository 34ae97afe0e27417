"""The protocols: which measure, of how many images, by which features. ``--metrics`` names them.

A protocol's name says all of it: ``fid50k`` is the published protocol of 50,000 images; asked for
1,000 images it calls itself ``fid1k``, for 1,500 ``fid-1500``; with other features than the
standard ones it carries their name, ``fid50k-random``. So no figure is ever mistaken for one that
it cannot be compared with.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, Callable

from dnnlib.errors import UserError, must_be_one_of

# Importing these registers their protocols.
MODULES = (
    "frechet_inception_distance",
    "kernel_inception_distance",
    "inception_score",
    "precision_recall",
    "density_coverage",
    "perceptual_path_length",
    "linear_separability",
    "scenes",
)

# Short and published names => protocols.
ALIASES = {
    "fid": "fid50k",
    "kid": "kid50k",
    "is": "is50k",
    "pr": "pr50k3",
    "dc": "dc50k5",
    "ppl": "ppl2_wend",
    "objects": "objects2k",
    "layout": "layout2k",
}

NAMED_FEATURES = ("random", "efficientnet")  # endings of names say whose features are meant


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way to measure.

    Attributes:
      name: as in results and file names, but for the label of unusual features.
      measure: function(context, **options) => {ending of the result's name: float}.
      roles: what features it needs, see ``features.ROLES``.
      best: min or max of its first result; None if neither is better.
      needs_generator: whether a folder of images is not enough.
      needs_real_features: whether the moments of the real images' features are not enough.
      options: keyword arguments of ``measure``; ``num_fakes`` is the number of generated images.
      features: "standard" or one of NAMED_FEATURES.
    """

    name: str
    measure: Callable[..., dict[str, float]]
    roles: tuple
    best: Callable | None
    needs_generator: bool
    needs_real_features: bool
    options: dict[str, Any]
    features: str = "standard"

    def with_images(self, num):
        """The same protocol for another number of images, under the name that says so."""
        default = self.options["num_fakes"]
        if num is None or num == default:
            return self
        options = dict(self.options, num_fakes=num)
        for name in ("num_reals", "num_kept"):  # in the same proportion; None means all
            if options.get(name) is not None:
                options[name] = max(1, options[name] * num // default)
        old, new = count_text(default), count_text(num)
        parts = self.name.split(old, 1) if old in self.name else [self.name, ""]
        if new.endswith("k") and old in self.name:
            name = new.join(parts)
        else:  # apart from the digits around it
            name = "-".join(part.strip("-") for part in (parts[0], new, parts[1]) if part)
        return dataclasses.replace(self, name=name, options=options)


_protocols: dict[str, Protocol] = {}


def register(name, roles, best, needs_generator=False, needs_real_features=False, **options):
    """Decorator: make a protocol out of a measuring function.

    Args:
      name: of the protocol; holds the number of images as :func:`count_text` writes it, if any.
      roles: see :class:`Protocol`.
      best: see :class:`Protocol`.
      needs_generator: see :class:`Protocol`.
      needs_real_features: see :class:`Protocol`.
      **options: keyword arguments for the function.
    """

    def add(measure):
        known = _protocols.get(name)
        if known is not None and known.measure.__module__ != measure.__module__:
            raise ValueError(f"metric {name!r} is registered twice")
        _protocols[name] = Protocol(
            name, measure, tuple(roles), best, needs_generator, needs_real_features, options
        )
        return measure

    return add


def protocols():
    """{name: protocol}, all of them."""
    for module in MODULES:
        importlib.import_module(f"metrics.{module}")
    return _protocols


def count_text(num):
    """50000 => "50k", 1500 => "1500"."""
    return f"{num // 1000}k" if num % 1000 == 0 else str(num)


def find(text, num_images=None, features="standard"):
    """The protocols of a comma-separated list.

    Args:
      text: names or aliases, for instance "fid,kid"; an ending like ``-random`` asks for those
        features; "none" or "" for none.
      num_images: replaces the protocols' numbers of images.
      features: "standard", or one of NAMED_FEATURES for all of them.

    Returns:
      List of :class:`Protocol`, each once.

    Raises:
      UserError: unknown name (names the closest, and all), or a number that is too small.
    """
    if num_images is not None and num_images < 2:
        raise UserError(f"--eval-images-num={num_images} is too few to measure; give 2 or more")
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["none"]:
        return []
    found = {}
    for given in names:
        name, kind = given, features
        for ending in NAMED_FEATURES:
            if given.endswith(f"-{ending}"):
                name, kind = given[: -len(ending) - 1], ending
        name = ALIASES.get(name, name.replace("_full", "-full"))  # StyleGAN2-ADA's spelling
        if name not in protocols():
            raise UserError(f"--metrics {must_be_one_of(given, [*ALIASES, *protocols()])}")
        protocol = protocols()[name].with_images(num_images)
        found[protocol.name, kind] = dataclasses.replace(protocol, features=kind)
    return list(found.values())
