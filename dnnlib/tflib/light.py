"""Operations that take less time to build than TensorFlow's functions of the same effect.

TensorFlow makes a new constant for every number and shape, and with the gradient of ``x * 2`` all
that the gradient of the number 2 would take, which nobody runs. In networks of thousands of
operations that is half of the time to the first step.
"""

import tensorflow.compat.v1 as tf

from dnnlib.tflib.tfutil import is_tf_expression, shared_tensor


def constant(value, dtype=tf.float32):
    """A constant that is made once in a graph and on a device.

    Args:
      value: number, or list of numbers.
      dtype: of the tensor.
    """
    graph, dtype = tf.get_default_graph(), tf.as_dtype(dtype)
    if graph.building_function or graph._get_control_flow_context() is not None:
        return tf.constant(value, dtype)  # from outside, its value would not be known there
    value = tuple(value) if isinstance(value, list) else value
    key = ("constant", value, dtype, tuple(graph._device_functions_outer_to_inner))
    return shared_tensor(key, lambda: tf.constant(value, dtype))


def operation(kind, inputs, types, name=None, **attributes):
    """Make an operation from exactly what TensorFlow stores of it.

    Args:
      kind: its type.
      inputs: list of tensors.
      types: list of the dtypes of its outputs.
      name: of the operation; one that ends with "/" is taken as it is.
      **attributes: those without default; dtypes, shapes as lists, or bytes.

    Returns:
      tf.Operation.
    """
    made = {key: _attribute(value) for key, value in attributes.items()}
    return tf.get_default_graph().create_op(kind, inputs, types, name=name, attrs=made)


def output(kind, inputs, result_type, name=None, **attributes):
    """The only output, a tensor of this dtype, of such an :func:`operation`."""
    return operation(kind, inputs, [result_type], name, **attributes).outputs[0]


def _attribute(value):
    if isinstance(value, tf.DType):
        return tf.AttrValue(type=value.as_datatype_enum)
    if isinstance(value, bytes):
        return tf.AttrValue(s=value)
    return tf.AttrValue(shape=tf.TensorShape(value).as_proto())


def snapshot(variable):
    """The value of a variable as it was at the start of a run: no operation is made for it."""
    return tf.get_default_graph().as_graph_element(variable)


def times(x, number):
    """x times a number."""
    return _times(x, constant(number, x.dtype))


def plus(x, number):
    """x plus a number."""
    with tf.get_default_graph().gradient_override_map({"AddV2": "PlusConstant"}):
        return tf.raw_ops.AddV2(x=x, y=constant(number, x.dtype))


def reshape(x, shape):
    """x in another shape: a list of int, of which one may be -1."""
    if any(is_tf_expression(size) for size in shape):
        return tf.reshape(x, shape)
    with tf.get_default_graph().gradient_override_map({"Reshape": "ReshapeConstant"}):
        return tf.raw_ops.Reshape(tensor=x, shape=constant(shape, tf.int32))


def pad_last(x, before, after):
    """x, of known shape, with so many zeros before and after its last axis."""
    paddings = [(0, 0)] * (x.shape.ndims - 1) + [(before, after)]
    with tf.get_default_graph().gradient_override_map({"Pad": "PadConstant"}):
        return tf.raw_ops.Pad(input=x, paddings=constant(paddings, tf.int32))


def _times(x, factor):
    with tf.get_default_graph().gradient_override_map({"Mul": "TimesConstant"}):
        return tf.raw_ops.Mul(x=x, y=factor)


@tf.RegisterGradient("TimesConstant")
def _times_gradient(op, gradient):
    return _times(tf.convert_to_tensor(gradient), op.inputs[1]), None


@tf.RegisterGradient("PlusConstant")
def _plus_gradient(_op, gradient):
    return gradient, None


@tf.RegisterGradient("PadConstant")
def _pad_gradient(op, gradient):
    before, size = tf.get_static_value(op.inputs[1])[:, 0], op.inputs[0].shape.as_list()
    begin, size = constant(before.tolist(), tf.int32), constant(size, tf.int32)
    return tf.raw_ops.Slice(input=tf.convert_to_tensor(gradient), begin=begin, size=size), None


@tf.RegisterGradient("ReshapeConstant")
def _reshape_gradient(op, gradient):
    x, gradient = op.inputs[0], tf.convert_to_tensor(gradient)
    shape = x.shape.as_list() if x.shape.ndims is not None else [None, None]
    if shape.count(None) > 1 or 0 in shape:
        return tf.reshape(gradient, tf.shape(x)), None
    return reshape(gradient, [-1 if size is None else size for size in shape]), None
