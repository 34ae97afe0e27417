"""The module that dnnlib imports to find the networks of this project."""

import training.networks  # noqa: F401 - registers the builders, and the names of published ones
