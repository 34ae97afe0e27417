"""NVIDIA's feature networks: pickles that hold Python source, run only if the user trusts them.

Everywhere else in this project the source inside a pickle is ignored, because our own builders take
its place. These networks (VGG-16, LPIPS, the CelebA classifiers) have no other description than
their source. ``--trust-snapshot FILE`` is the user's word that this file may run.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import pathlib
import re

import numpy as np

from dnnlib import tflib, util
from dnnlib.errors import UserError
from dnnlib.tflib.compat import tf
from dnnlib.tflib.snapshot.unpickle import PickledNetwork, RefusedError, read_pickle
from metrics.graph_network import GraphNetwork

# Roles whose networks take float images, and how many batches of them.
FUNCTIONS = {"distance": 2, "classifiers": 1}

# File name => what its network is good for. Files keep the names under which they are published.
ROLES = {
    r"inception_v3_features\.pkl": "pool",
    r"inception_v3_softmax\.pkl": "probs",
    r"vgg16\.pkl": "manifold",
    r"vgg16_zhang_perceptual\.pkl": "distance",
    r"celebahq-classifier-\d\d-.*\.pkl": "classifiers",
}
ROLE_NAMES = (
    "inception_v3_features.pkl, inception_v3_softmax.pkl, vgg16.pkl, vgg16_zhang_perceptual.pkl, "
    "celebahq-classifier-NN-*.pkl"
)


def find_files(names):
    """The files that are trusted, by role.

    Args:
      names: paths of files or folders; of a folder, those files that have one of the known names.

    Returns:
      {role: sorted list of paths}.

    Raises:
      UserError: no such file, or one of another name.
    """
    found = {}
    for name in names:
        path = pathlib.Path(name)
        files = sorted(path.glob("*.pkl")) if path.is_dir() else [path]
        roles = {file: _role_of(file.name) for file in files}
        if not path.exists():
            raise UserError(f"--trust-snapshot={name}: no such file")
        if not any(roles.values()):
            raise UserError(
                f"--trust-snapshot={name}: what it is for is told by its name, which must be one "
                f"of {ROLE_NAMES}"
            )
        for file, role in roles.items():
            if role:
                found.setdefault(role, []).append(file)
    return {role: sorted(set(files)) for role, files in found.items()}


def _role_of(name):
    """Role of a file name, or None."""
    return next((role for pattern, role in ROLES.items() if re.fullmatch(pattern, name)), None)


def classifier_number(path):
    """NN of celebahq-classifier-NN-*.pkl, which attribute it is about."""
    return int(pathlib.Path(path).name.split("-")[2])


def load_trusted(path, role):
    """Open a feature network whose source the user trusts, and run that source.

    Args:
      path: the pickle.
      role: see ``ROLES``; those in ``FUNCTIONS`` take float images.

    Returns:
      GraphNetwork with the head ``role``, or with a function.

    Raises:
      UserError: it is no such pickle, or it does not run on this TensorFlow.
    """
    data = pathlib.Path(path).read_bytes()
    state = _read_state(path, data)
    util.log(f"{path}: runs the code inside, as --trust-snapshot says")

    def build(*images):
        return _run_source(path, state, list(images))

    if role in FUNCTIONS:
        options = dict(build_function=build, num_inputs=FUNCTIONS[role])
    else:
        options = dict(build_heads=lambda images: {role: build(images)})
    options["initialize"] = lambda session: _initialize(path, state["variables"], session)
    try:
        return GraphNetwork(pathlib.Path(path).name, hashlib.sha256(data).hexdigest(), **options)
    except UserError:
        raise
    except Exception as error:  # foreign code may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{path}: its code does not run here ({reason})") from error


def _read_state(path, data):
    """The state of the only network in a pickle, of a published format."""
    try:
        network = read_pickle(data)
    except RefusedError as error:
        raise UserError(f"{path} is no readable network: {error}") from None
    state = network.state if isinstance(network, PickledNetwork) else None
    wanted = {"build_module_src", "build_func_name", "static_kwargs", "variables"}
    if not isinstance(state, dict) or not wanted <= set(state) or state.get("components"):
        raise UserError(f"{path} is a pickle, but no published feature network")
    return state


def _import(name, *args, **kwargs):
    """``import`` as published code means it: TensorFlow is TensorFlow 1."""
    if name == "tensorflow":
        return tf
    return builtins.__import__(name, *args, **kwargs)


def _run_source(path, state, inputs):
    """Build the network of a state on input tensors; returns its first output."""
    namespace = {"__name__": "trusted_network", "__file__": str(path)}
    namespace["__builtins__"] = dict(vars(builtins), __import__=_import)
    exec(compile(state["build_module_src"], str(path), "exec"), namespace)  # trusted
    func = namespace[state["build_func_name"]]
    options = dict(state["static_kwargs"], components=util.EasyDict())
    inputs = _fit_inputs(func, inputs)
    with tf.variable_scope("network"):
        func(*inputs, is_template_graph=True, **options)
    with tf.variable_scope("network", reuse=True):
        output = func(*inputs, is_template_graph=False, **options)
    return output[0] if isinstance(output, (tuple, list)) else output


def _fit_inputs(func, inputs):
    """Give further inputs (labels) as None, as far as the function has them."""
    parameters = inspect.signature(func).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = len([p for p in parameters if p.kind in kinds and p.default is p.empty])
    if count < len(inputs):
        raise ValueError(f"{func.__name__}() takes {count} inputs, not {len(inputs)}")
    return inputs + [tf.zeros([tf.shape(inputs[0])[0], 0])] * (count - len(inputs))


def _initialize(path, stored, session):
    """Give the variables the stored values; they must be just these."""
    values = {name: np.asarray(getattr(value, "value", value)) for name, value in stored}
    variables = {v.op.name[len("network/") :]: v for v in tf.global_variables()}
    if set(values) != set(variables):
        odd = sorted(set(values) ^ set(variables))
        raise UserError(f"{path}: its variables do not fit its code: {', '.join(odd[:5])}")
    with session.as_default():
        tflib.set_vars({variables[name]: value for name, value in values.items()})
