"""How Network.run applies a network to arrays: cached graphs, batches, transforms, devices."""

import hashlib
import inspect
import sys
import types
from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import util
from dnnlib.tflib import tfutil

RunSpec = namedtuple(
    "RunSpec", "input_transform output_transform num_gpus assume_frozen dynamic_kwargs"
)


class _SameObject:
    """Compares equal only for one and the same object, which it keeps alive."""

    def __init__(self, target):
        self.target = target

    def __hash__(self):
        return id(self.target)

    def __eq__(self, other):
        return isinstance(other, _SameObject) and self.target is other.target


def cache_key(value, is_captured=False):
    """Hashable stand-in for an option: equal for options that build the same graph.

    Containers, arrays and plain values are compared by content and type, functions by their code
    and what they captured (so a lambda in a loop is one function), anything else by identity.

    Args:
      value: the option.
      is_captured: a function captured it; then functions are compared by identity, because they
        may have captured each other.
    """
    if isinstance(value, dict):
        items = [(str(key), cache_key(item, is_captured)) for key, item in value.items()]
        return ("dict", tuple(sorted(items)))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(cache_key(item, is_captured) for item in value))
    if isinstance(value, (np.ndarray, np.generic)):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return ("array", value.dtype.str, value.shape, digest)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return (type(value).__name__, repr(value))
    if isinstance(value, types.FunctionType) and not is_captured:
        captured = [cell.cell_contents for cell in value.__closure__ or ()]
        context = (captured, value.__defaults__, value.__kwdefaults__)
        return ("function", _SameObject(value.__code__), cache_key(context, is_captured=True))
    return ("object", _SameObject(value))


def pad_inputs(net, inputs):
    """Bring a sequence of inputs to the network's number, with None for missing ones.

    Raises:
      TypeError: there are more inputs than the network takes.
      ValueError: no input is given at all.
    """
    surplus = [x for x in inputs[net.num_inputs :] if x is not None]
    if surplus:
        names = ", ".join(net.input_names)
        raise TypeError(f"{net.name} takes {net.num_inputs} inputs ({names}), got {len(inputs)}")
    if all(x is None for x in inputs):
        raise ValueError(f"{net.name}: at least one of the inputs has to be given")
    padding = [None] * (net.num_inputs - len(inputs))
    return list(inputs[: net.num_inputs]) + padding


def _call_transform(transform, tensors):
    """Apply dict(func=..., **options) to the tensors it takes; keeps the remaining ones."""
    options = dict(transform)
    func = options.pop("func")
    taken = len(tensors)
    parameters = inspect.signature(func).parameters.values()
    if not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        required = [p for p in parameters if p.kind in positional and p.default is p.empty]
        taken = min(taken, len([p for p in required if p.name not in options]))
    results = func(*tensors[:taken], **options)
    results = [results] if tfutil.is_tf_expression(results) else list(results)
    return results + list(tensors[taken:])


def _build_on(net, spec, inputs):
    """One replica of the graph: input transform, network, output transform."""
    if spec.input_transform is not None:
        inputs = _call_transform(spec.input_transform, inputs)
    outputs = net.get_output_for(*inputs, return_as_list=True, **spec.dynamic_kwargs)
    if spec.output_transform is not None:
        outputs = _call_transform(spec.output_transform, outputs)
    return outputs


def _build(net, spec, arrays):
    """Graph for a set of inputs and options: (placeholders, outputs)."""
    with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope(net.name + "_Run"):
        feeds = [tf.placeholder(tf.float32, [None, *array.shape[1:]]) for array in arrays]
        if spec.num_gpus == 1:
            return feeds, _build_on(net, spec, feeds)
        items = tf.shape(feeds[0])[0]
        parts = []
        for gpu in range(spec.num_gpus):
            rows = slice(items * gpu // spec.num_gpus, items * (gpu + 1) // spec.num_gpus)
            with tf.device(f"/gpu:{gpu}"):
                copy = net.clone() if spec.assume_frozen and gpu > 0 else net
                parts.append(_build_on(copy, spec, [feed[rows] for feed in feeds]))
        with tf.device("/cpu:0"):
            return feeds, [tf.concat(outputs, axis=0) for outputs in zip(*parts)]


def _find_graph(net, spec, arrays):
    """The cached graph for these inputs and options, built at first use."""
    shapes = [array.shape[1:] for array in arrays]
    key = cache_key([shapes, list(spec), net._bound])
    if key not in net._run_cache:
        net._run_cache[key] = _build(net, spec, arrays)
    return net._run_cache[key]


def _to_arrays(net, inputs):
    """Inputs as float32 arrays of one length; zeros for those that are missing."""
    given = pad_inputs(net, inputs)
    arrays = [None if x is None else np.asarray(x, dtype=np.float32) for x in given]
    lengths = {name: len(x) for name, x in zip(net.input_names, arrays) if x is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{net.name}: inputs of different lengths: {lengths}")
    items = next(iter(lengths.values()))
    for index, (name, shape) in enumerate(zip(net.input_names, net.input_shapes)):
        if arrays[index] is None:
            if None in shape[1:]:
                raise ValueError(f"{net.name}: input {name!r} has to be given, its shape is open")
            arrays[index] = np.zeros([items, *shape[1:]], dtype=np.float32)
    return arrays, items


def _show_progress(done, items):
    """Rewrite one line of a terminal; say nothing elsewhere but the end."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r{done} / {items}" + ("\n" if done == items else ""))
        sys.stdout.flush()
    elif done == items:
        util.log(f"{done} / {items}")


def run_batches(net, spec, inputs, batch_size, is_verbose):
    """Apply a network to arrays.

    Args:
      net: Network.
      spec: RunSpec.
      inputs: arrays [N, ...] or None.
      batch_size: samples at a time; None = all at once.
      is_verbose: show progress.

    Returns:
      List of arrays [N, ...], one for each output.
    """
    arrays, items = _to_arrays(net, inputs)
    batch_size = max(items, 1) if batch_size is None else batch_size
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    results = None
    for begin in range(0, max(items, 1), batch_size):
        end = min(begin + batch_size, items)
        # Splitting fewer samples than GPUs would hand out empty parts.
        batch_spec = spec if end - begin >= spec.num_gpus else spec._replace(num_gpus=1)
        feeds, outputs = _find_graph(net, batch_spec, arrays)
        feed_dict = {feed: array[begin:end] for feed, array in zip(feeds, arrays)}
        values = tfutil.run(outputs, feed_dict)
        for tensor, value in zip(outputs, values):
            if np.ndim(value) == 0 or len(value) != end - begin:
                shape = list(np.shape(value))
                raise ValueError(f"{tensor.op.name} {shape} is not one entry for each sample")
        if results is None:
            results = [np.empty([items, *value.shape[1:]], value.dtype) for value in values]
        for result, value in zip(results, values):
            result[begin:end] = value
        if is_verbose:
            _show_progress(end, items)
    return results
