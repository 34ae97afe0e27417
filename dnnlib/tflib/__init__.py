"""Networks, optimizers and snapshots in TensorFlow's graph mode, with StyleGAN2's interface."""

from dnnlib.tflib import compat, custom_ops
from dnnlib.tflib.autosummary import (
    SummaryWriter,
    autosummary,
    collect_autosummaries,
    finalize_autosummaries,
    save_autosummaries,
    save_summaries,
)
from dnnlib.tflib.builders import register_builder
from dnnlib.tflib.network import Network
from dnnlib.tflib.optimizer import Optimizer
from dnnlib.tflib.random import StepRandom
from dnnlib.tflib.snapshot import load_generator, load_networks, save_networks
from dnnlib.tflib.tfutil import (
    absolute_name_scope,
    absolute_variable_scope,
    assert_tf_initialized,
    convert_images_from_uint8,
    convert_images_to_uint8,
    create_session,
    create_var_with_large_initial_value,
    exp2,
    flatten,
    init_tf,
    init_uninitialized_vars,
    is_tf_expression,
    lerp,
    lerp_clip,
    log2,
    run,
    session_config,
    set_vars,
    shape_to_list,
)

__all__ = [
    "Network",
    "Optimizer",
    "StepRandom",
    "SummaryWriter",
    "absolute_name_scope",
    "absolute_variable_scope",
    "assert_tf_initialized",
    "autosummary",
    "collect_autosummaries",
    "compat",
    "convert_images_from_uint8",
    "convert_images_to_uint8",
    "create_session",
    "create_var_with_large_initial_value",
    "custom_ops",
    "exp2",
    "finalize_autosummaries",
    "flatten",
    "init_tf",
    "init_uninitialized_vars",
    "is_tf_expression",
    "lerp",
    "lerp_clip",
    "load_generator",
    "load_networks",
    "log2",
    "register_builder",
    "run",
    "save_autosummaries",
    "save_networks",
    "save_summaries",
    "session_config",
    "set_vars",
    "shape_to_list",
]
