"""The networks of this project: importing this module registers all builders."""

from training.discriminator import discriminator
from training.generator import generator
from training.mapping import mapping
from training.stylegan2 import (
    stylegan2_discriminator,
    stylegan2_generator,
    stylegan2_mapping,
    stylegan2_synthesis,
)
from training.synthesis import synthesis

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
