"""Utilities shared by every part of the project. ``dnnlib.tflib`` holds what needs TensorFlow."""

from dnnlib import submission, util
from dnnlib.errors import UserError, closest
from dnnlib.submission.run_context import RunContext
from dnnlib.submission.submit import (
    PathType,
    SubmitConfig,
    SubmitTarget,
    convert_path,
    get_path_from_template,
    make_run_dir_path,
    submit_run,
)
from dnnlib.util import EasyDict

submit_config = None  # SubmitConfig of the run that is going on in this process

__all__ = [
    "EasyDict",
    "PathType",
    "RunContext",
    "SubmitConfig",
    "SubmitTarget",
    "UserError",
    "closest",
    "convert_path",
    "get_path_from_template",
    "make_run_dir_path",
    "submission",
    "submit_config",
    "submit_run",
    "util",
]
