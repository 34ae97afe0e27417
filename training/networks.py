"""The networks of this project: importing this module registers all builders, and translators.

It also says which of them take the values of flags.

A network of your own is registered here, too: import its module, see docs/extending.md.
"""

import training.foreign
import training.published_names  # noqa: F401 - both register what is in published snapshots
from config.consumers import takes_flags
from training.model.discriminator import discriminator
from training.model.generator import generator
from training.model.mapping import mapping
from training.model.stylegan2 import (
    stylegan2_discriminator,
    stylegan2_generator,
    stylegan2_mapping,
    stylegan2_synthesis,
)
from training.model.synthesis import synthesis

takes_flags("G")(generator)
takes_flags("mapping")(mapping)
takes_flags("synthesis")(synthesis)
takes_flags("D")(discriminator)

__all__ = [
    "discriminator",
    "generator",
    "mapping",
    "stylegan2_discriminator",
    "stylegan2_generator",
    "stylegan2_mapping",
    "stylegan2_synthesis",
    "synthesis",
]
