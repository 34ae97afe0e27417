"""Utilities shared by every part of the project. ``dnnlib.tflib`` holds what needs TensorFlow."""

from dnnlib.errors import UserError, closest
from dnnlib.util import EasyDict

__all__ = ["EasyDict", "UserError", "closest"]
