"""The networks of this project: importing this module registers all builders, and translators.

It also says which of them take the values of flags.

A network of your own is registered here, too: import its module, see docs/extending.md.
"""

import training.foreign
import training.published_names  # noqa: F401 - both register what is in published snapshots
from config.consumers import takes_flags
from dnnlib import tflib
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
    "build_networks",
    "discriminator",
    "generator",
    "mapping",
    "stylegan2_discriminator",
    "stylegan2_generator",
    "stylegan2_mapping",
    "stylegan2_synthesis",
    "synthesis",
]


def build_networks(config):
    """G and D as the configuration describes them, with initial values."""
    facts = config["facts"]
    shape = {key: facts[key] for key in ("num_channels", "resolution")}
    shape["c_dim"] = facts["label_size"]
    shape.update({key: facts[key] for key in ("start",) if key in facts})
    names = config["networks"]
    G = tflib.Network("G", names["generator"], **shape, **config["G"])
    return G, tflib.Network("D", names["discriminator"], **shape, **config["D"])
