"""The module that dnnlib imports to find the networks of this project, and config its flags'."""

import training.loss
import training.networks  # noqa: F401 - both register what they have
