"""Variables of a graph: made with few operations, and found again by their names.

A network has hundreds of variables, an optimizer twice as many; ``tf.get_variable`` takes several
milliseconds for each. These are what it makes, resource variables, from as few operations as
TensorFlow's own description of a variable (VariableDef) needs.
"""

import copy
import zlib

import tensorflow.compat.v1 as tf
from tensorflow.core.framework import variable_pb2

from dnnlib.tflib import light, tfutil


def known_variables():
    """{full name: variable} of those that :func:`create` made in the default graph."""
    return tfutil.graph_cache().setdefault("variables", {})


def create(name, shape, initial, trainable=True, dtype=tf.float32):
    """Make a variable on the device whose scope we are in, as ``tf.get_variable`` does.

    Args:
      name: its full name.
      shape: list of int.
      initial: function without arguments that makes its initial value: a tensor of its own, which
        :func:`dnnlib.tflib.tfutil.set_vars` feeds.
      trainable: whether it is among ``tf.trainable_variables()``.
      dtype: of its values.

    Returns:
      tf.Variable.
    """
    with tf.init_scope(), tf.name_scope(None), tf.name_scope(name) as scope:
        facts = dict(dtype=dtype, shape=shape, container=b"", shared_name=scope[:-1].encode())
        handle = light.output("VarHandleOp", [], tf.resource, scope, **facts)
        value = initial()
        assign = light.operation("AssignVariableOp", [handle, value], [], "Assign", dtype=dtype)
        read = light.output("ReadVariableOp", [handle], dtype, "Read/ReadVariableOp", dtype=dtype)
        definition = variable_pb2.VariableDef(
            variable_name=handle.name,
            initial_value_name=value.name,
            initializer_name=assign.name,
            snapshot_name=read.name,
            is_resource=True,
            trainable=trainable,
        )
        variable = tf.Variable(variable_def=definition, use_resource=True)
        tf.add_to_collection(tf.GraphKeys.GLOBAL_VARIABLES, variable)
        if trainable:
            tf.add_to_collection(tf.GraphKeys.TRAINABLE_VARIABLES, variable)
        known_variables()[name] = variable
    return variable


def create_zeros(name, shape, dtype=tf.float32):
    """Make a variable that starts at zero and is not trained, in the open variable scope."""
    name, shape = f"{tf.get_variable_scope().name}/{name}", tfutil.shape_to_list(shape)
    return create(name, shape, lambda: _filled(shape, 0, dtype), False, dtype)


def find_or_create(
    getter, name, shape=None, dtype=tf.float32, initializer=None, trainable=True, **others
):
    """Getter of the variables of networks; their random initial values depend on seed and name.

    (TensorFlow's own choice depends on the number of operations that happen to come before.)
    Variables that are shared, or have an unusual initializer or option, are left to ``getter``.
    """
    with tf.init_scope():
        variable, seed = known_variables().get(name), tf.get_default_graph().seed
    reuse = others.get("reuse")
    if variable is not None:
        if reuse is False:
            raise ValueError(f"variable {name} exists already")
        found = tfutil.shape_to_list(variable.shape)
        if shape is not None and found != tfutil.shape_to_list(shape):
            raise ValueError(f"variable {name} has the shape {found}, not {shape}")
        return variable
    if seed is not None and getattr(initializer, "seed", 0) is None:
        initializer = copy.copy(initializer)
        initializer.seed = zlib.crc32(name.encode()) & 0x7FFFFFFF
    unusual = ("regularizer", "collections", "partitioner", "constraint")
    if not reuse and shape is not None and all(others.get(key) is None for key in unusual):
        shape, dtype = tfutil.shape_to_list(shape), tf.as_dtype(dtype)
        initial = _initial_value(initializer, shape, dtype)
        if initial is not None:
            return create(name, shape, initial, trainable is not False, dtype)
    others.update(shape=shape, dtype=dtype, initializer=initializer, trainable=trainable)
    return getter(name, **others)


def _initial_value(initializer, shape, dtype):
    """Function that makes what an initializer would, in fewer operations; None if it is unknown."""
    kinds = tf.initializers
    if isinstance(initializer, (kinds.zeros, kinds.ones)):
        return lambda: _filled(shape, int(isinstance(initializer, kinds.ones)), dtype)
    if isinstance(initializer, kinds.random_normal):
        draw, scale, offset = tf.raw_ops.RandomStandardNormal, initializer.stddev, initializer.mean
    elif isinstance(initializer, kinds.random_uniform) and dtype.is_floating:
        offset, end = initializer.minval, initializer.maxval
        draw, scale = tf.raw_ops.RandomUniform, (1.0 if end is None else end) - offset
    else:
        return None
    if not all(isinstance(number, (int, float)) for number in (scale, offset)):
        return None

    def initial():
        seeds = [seed or 0 for seed in tf.random.get_seed(initializer.seed)]
        dims = light.constant(shape, tf.int32)
        value = draw(shape=dims, dtype=dtype, seed=seeds[0], seed2=seeds[1])
        value = value if scale == 1 else value * light.constant(scale, dtype)
        return value if offset == 0 else value + light.constant(offset, dtype)

    return initial


def _filled(shape, number, dtype):
    """A tensor of its own, full of a number."""
    given = [light.constant(shape, tf.int32), light.constant(number, dtype)]
    return light.output("Fill", given, dtype, T=dtype, index_type=tf.int32)


def below(scope):
    """Variables of a scope in the order of creation: {name within the scope: variable}."""
    start = scope + "/"
    found = [variable for variable in tf.global_variables() if variable.op.name.startswith(start)]
    return {variable.op.name[len(start) :]: variable for variable in found}


def create_like(source, scope):
    """Create variables like those of {local name: variable} in a scope, with their initial values.

    Needs variables that builders have made with ``tf.get_variable``, as they have to.
    """
    for name, variable in source.items():

        def initial(variable=variable):
            value = variable.initial_value
            return light.output("Identity", [value], value.dtype, T=value.dtype)

        shape = tfutil.shape_to_list(variable.shape)
        create(f"{scope}/{name}", shape, initial, variable.trainable, variable.dtype)


def forget_all_but(names):
    """Take the variables of a failed build out of the graph's lists, so nobody initializes them."""
    known = known_variables()
    for name in [name for name, variable in known.items() if variable.name not in names]:
        del known[name]
    for key in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES):
        collection = tf.get_collection_ref(key)
        collection[:] = [variable for variable in collection if variable.name in names]
