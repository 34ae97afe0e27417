"""Sessions, variables and small tensor helpers, under the names that StyleGAN2's scripts use."""

import atexit
import contextlib
import os
import random

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import config_pb2

from dnnlib.tflib import compat

DEFAULTS = {  # of sessions, see init_tf
    "rnd.np_random_seed": None,  # None = leave NumPy's generator alone
    "rnd.tf_random_seed": "auto",  # "auto" = drawn from NumPy's generator
    "gpu_options.allow_growth": True,  # take GPU memory when needed, not all of it at once
    "allow_soft_placement": True,  # operations without a GPU kernel run on the CPU
    # TensorFlow's optimizer goes through a graph once, not twice: half of its time is a quarter of
    # that to the first step, and what the second time finds is not to be measured
    "graph_options.rewrite_options.meta_optimizer_iterations": 1,
}

_open_contexts = []  # of sessions that are the default until the process ends

_CACHE = "dnnlib/cache"  # graph collection that holds one dict


def init_tf(config_dict=None, target=""):
    """Prepare TensorFlow and make sure that there is a default session.

    Does nothing to a session that is already there, so libraries may call it freely.

    Args:
      config_dict: settings by dotted name. ``rnd.np_random_seed`` and ``rnd.tf_random_seed`` seed
        the generators, ``env.NAME`` sets an environment variable, anything else is a field of
        ``tf.ConfigProto``, for instance ``gpu_options.allow_growth``.
      target: of the session; that of a server, or "" for this process.
    """
    compat.configure()
    session = tf.get_default_session()
    if session is not None and session.graph is tf.get_default_graph():
        return
    settings = dict(DEFAULTS, **(config_dict or {}))
    for key, value in settings.items():
        if key.startswith("env."):
            os.environ[key[len("env.") :]] = str(value)
    if settings["rnd.np_random_seed"] is not None:
        np.random.seed(settings["rnd.np_random_seed"])
        random.seed(settings["rnd.np_random_seed"])
    tf_seed = settings["rnd.tf_random_seed"]
    if tf_seed is not None:
        tf.set_random_seed(np.random.randint(1 << 31) if tf_seed == "auto" else tf_seed)
    create_session(settings, force_as_default=True, target=target)


def create_session(config_dict=None, force_as_default=False, target=""):
    """Open a session for the default graph.

    Args:
      config_dict: as for :func:`init_tf`; seeds and environment variables are ignored.
      force_as_default: install it as the default session until the process ends.
      target: as for :func:`init_tf`.

    Returns:
      tf.Session.
    """
    session = tf.Session(target, config=session_config(config_dict or {}))
    if force_as_default:
        manager = session.as_default()
        manager.__enter__()
        _open_contexts.append(manager)
    return session


@atexit.register
def _leave_contexts():
    """Leave them, the last one first, or TensorFlow complains when they are collected."""
    while _open_contexts:
        with contextlib.suppress(AssertionError):  # of one that another thread entered
            _open_contexts.pop().__exit__(None, None, None)


def session_config(config_dict):
    """tf.ConfigProto of settings by dotted name; dicts and lists add to maps and lists."""
    config = tf.ConfigProto()
    for key, value in config_dict.items():
        if not key.startswith(("rnd.", "env.")):
            *path, field = key.split(".")
            proto = config
            for name in path:
                proto = getattr(proto, name)
            if isinstance(value, dict):
                getattr(proto, field).update(value)
            elif isinstance(value, list):
                getattr(proto, field).extend(value)
            else:
                setattr(proto, field, value)
    return config


def assert_tf_initialized():
    """Raise RuntimeError unless there is a default session."""
    if tf.get_default_session() is None:
        raise RuntimeError("no default TensorFlow session; call dnnlib.tflib.init_tf() first")


def run(*args, **kwargs):
    """Evaluate tensors or operations in the default session: ``session.run(*args, **kwargs)``."""
    assert_tf_initialized()
    return tf.get_default_session().run(*args, **kwargs)


def make_callable(session, feeds, fetches, targets):
    """What ``session.run`` would do again and again, with as little as possible on each call.

    Args:
      session: tf.Session; with a remote one, the function is ``session.run`` after all.
      feeds: list of tensors.
      fetches: list of tensors.
      targets: list of operations.

    Returns:
      Function of a list of values for the feeds; it returns a list of arrays.
    """
    if session.sess_str:
        return lambda values: session.run([fetches, targets], dict(zip(feeds, values)))[0]
    options = config_pb2.CallableOptions(
        feed=[tensor.name for tensor in feeds],
        fetch=[tensor.name for tensor in fetches],
        target=[operation.name for operation in targets],
    )
    # session.make_callable, which is public, falls back to session.run if there are feeds.
    function = session._make_callable_from_options(options)
    types = [tensor.dtype.as_numpy_dtype for tensor in feeds]

    def call(values):
        return function(*[np.asarray(x, t, "C") for x, t in zip(values, types)])

    return call


def is_tf_expression(x):
    """Whether x is a tensor, variable or operation."""
    return tf.is_tensor(x) or isinstance(x, tf.Operation)


def shape_to_list(shape):
    """Static shape as a list of int or None."""
    return tf.TensorShape(shape).as_list()


def flatten(x):
    """Tensor of one axis with all elements of x."""
    return tf.reshape(x, [-1])


def log2(x):
    """Logarithm to the base of two."""
    return tf.log(x) * np.float32(1 / np.log(2))


def exp2(x):
    """Two to the power of x."""
    return tf.exp(x * np.float32(np.log(2)))


def lerp(a, b, t):
    """a + (b - a) * t."""
    return a + (b - a) * t


def lerp_clip(a, b, t):
    """a + (b - a) * t with t clipped to [0, 1]."""
    return a + (b - a) * tf.clip_by_value(t, 0.0, 1.0)


def absolute_name_scope(scope):
    """Enter the name scope of exactly this name, wherever we are."""
    return tf.name_scope(scope + "/")


def absolute_variable_scope(scope, reuse, custom_getter=None):
    """Enter the variable scope of exactly this name, wherever we are; opens no name scope."""
    absolute = tf.VariableScope(reuse=reuse, name=scope, use_resource=True)
    return tf.variable_scope(
        absolute,
        reuse=reuse,
        use_resource=True,
        custom_getter=custom_getter,
        auxiliary_name_scope=False,
    )


def graph_cache(graph=None):
    """Dict that belongs to a graph: holds operations that are made once and used many times."""
    collection = (graph or tf.get_default_graph()).get_collection_ref(_CACHE)
    if not collection:
        collection.append({})
    return collection[0]


def shared_tensor(key, build):
    """A tensor that depends on variables and constants alone, made once in a graph.

    Networks are applied several times in a graph, and half of the time that it takes to build one
    would go into making such tensors again. Gradients flow through them as through others.

    Args:
      key: hashable; says which tensor it is, for instance the name of a variable and a factor.
      build: function without arguments that makes the tensor, of nothing that belongs to a branch
        of a tf.cond or to the body of a loop.
    """
    with tf.init_scope():  # no control dependencies, and outside of branches and loops
        made = graph_cache().setdefault("shared", {})
        if key not in made:
            made[key] = build()
        return made[key]


@contextlib.contextmanager
def without_values():
    """Networks that are made in this context get no values: who makes them runs initializers.

    In one call for all of them; then clones get their originals' values, as they share the draws.
    """
    cache = graph_cache()
    before, cache["without_values"] = cache.get("without_values", False), True
    try:
        yield
    finally:
        cache["without_values"] = before


def gives_values():
    """Whether networks that are made now get initial values at once."""
    return not graph_cache().get("without_values", False)


def is_portable(graph=None):
    """Whether a graph keeps to operations and types that other programs than TensorFlow have."""
    return graph_cache(graph).get("portable", False)


def init_uninitialized_vars(target_vars=None):
    """Initialize those variables (default: all of the graph) that have no value yet."""
    assert_tf_initialized()
    variables = tf.global_variables() if target_vars is None else list(target_vars)
    checks = graph_cache().setdefault("is_initialized", {})
    for variable in variables:
        if variable.name not in checks:
            with tf.control_dependencies(None), tf.name_scope(None):
                checks[variable.name] = tf.is_variable_initialized(variable)
    done = run([checks[variable.name] for variable in variables])
    run([variable.initializer for variable, is_done in zip(variables, done) if not is_done])


def create_var_with_large_initial_value(initial_value, *args, **kwargs):
    """A variable whose initial value does not become part of the graph.

    Args:
      initial_value: array.
      *args: of tf.Variable.
      **kwargs: of tf.Variable.

    Returns:
      tf.Variable, already initialized.
    """
    assert_tf_initialized()
    initial_value = np.asarray(initial_value)
    zeros = tf.zeros(initial_value.shape, initial_value.dtype)
    variable = tf.Variable(zeros, *args, **kwargs)
    set_vars({variable: initial_value})
    return variable


def set_vars(var_to_value_dict):
    """Give variables new values, all in one call and without adding to the graph.

    Args:
      var_to_value_dict: {variable: array-like of the variable's shape}.

    Raises:
      ValueError: a value has another shape than its variable.
    """
    feeds = []
    for variable, value in var_to_value_dict.items():
        array = np.asarray(value, dtype=variable.dtype.base_dtype.as_numpy_dtype)
        shape = shape_to_list(variable.shape)
        if list(array.shape) != shape:
            raise ValueError(f"{variable.name} has shape {shape}, the value {list(array.shape)}")
        feeds.append((variable.initializer, array))
    # An initializer assigns its second input; feeding that assigns anything we like.
    run([op for op, _ in feeds], {op.inputs[1]: array for op, array in feeds})


def convert_images_from_uint8(images, drange=(-1, 1), nhwc_to_nchw=False):
    """uint8 images, [0, 255], to float32 in ``drange``.

    Args:
      images: [N, C, H, W], or [N, H, W, C] with ``nhwc_to_nchw``.
      drange: values that 0 and 255 become.
      nhwc_to_nchw: move the channels from the last place to the second.

    Returns:
      [N, C, H, W] float32.
    """
    images = tf.cast(images, tf.float32)
    if nhwc_to_nchw:
        images = tf.transpose(images, [0, 3, 1, 2])
    return images * ((drange[1] - drange[0]) / 255) + drange[0]


def convert_images_to_uint8(images, drange=(-1, 1), nchw_to_nhwc=False, shrink=1, uint8_cast=True):
    """Float images to [0, 255]: for drange [-1, 1], x * 127.5 + 128, saturated and truncated.

    That is rounding to the nearest of 256 levels, as StyleGAN2's scripts and metrics do it; as an
    ``output_transform`` of Network.run it acts on the images and leaves further outputs alone.

    Args:
      images: [N, C, H, W] float32.
      drange: values that become 0 and 255.
      nchw_to_nhwc: move the channels to the last place.
      shrink: int; average squares of this many pixels a side first.
      uint8_cast: False keeps float32 values, neither saturated nor truncated.

    Returns:
      [N, C, H / shrink, W / shrink] or [N, H / shrink, W / shrink, C].
    """
    images = tf.cast(images, tf.float32)
    images = tf.transpose(images, [0, 2, 3, 1])  # [N, H, W, C]; CPUs pool only this layout
    if shrink > 1:
        size = [1, shrink, shrink, 1]
        images = tf.nn.avg_pool(images, ksize=size, strides=size, padding="VALID")
    if not nchw_to_nhwc:
        images = tf.transpose(images, [0, 3, 1, 2])
    scale = 255 / (drange[1] - drange[0])
    images = images * scale + (0.5 - drange[0] * scale)
    return tf.saturate_cast(images, tf.uint8) if uint8_cast else images
