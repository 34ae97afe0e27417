"""A generator as an ONNX file, by tf2onnx, and run by onnxruntime; both are imported where used."""

import importlib

import tensorflow.compat.v1 as tf

from dnnlib import util
from dnnlib.errors import UserError
from training.export.frozen import INPUTS, OUTPUT, freeze

OPSET = 17


def save_onnx(stored, path):
    """Write a generator as an ONNX file, as a whole or not at all.

    Inputs and output are those of a SavedModel, see frozen.py, without labels where there are none.

    Args:
      stored: StoredNetwork of a generator.
      path: of the file.

    Raises:
      UserError: tf2onnx is not installed, or knows one of the operations not; or there is no room.
    """
    convert = _import("tf2onnx.convert", "tf2onnx", "--format onnx")
    frozen = freeze(stored, portable=True)
    names = [name for name in INPUTS if name != "labels" or frozen.num_classes]
    ends = [*names, OUTPUT]
    graph_def = tf.graph_util.extract_sub_graph(frozen.graph_def, ends)
    model, _ = convert.from_graph_def(
        graph_def,
        input_names=[f"{name}:0" for name in names],
        output_names=[f"{OUTPUT}:0"],
        opset=OPSET,
        tensors_to_rename={f"{name}:0": name for name in ends},
    )
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    _check(model)
    with util.atomic_write(path) as file:
        file.write(model.SerializeToString())


def run_onnx(path, feeds):
    """Images of an ONNX file; None if onnxruntime is not installed.

    Args:
      path: of the file.
      feeds: {name of an input: array}; those that the file does not take are left out.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return None
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    taken = [value.name for value in session.get_inputs()]
    return session.run([OUTPUT], {name: feeds[name] for name in taken})[0]


def _check(model):
    """Raise UserError if the model has operations that ONNX does not."""
    checker = _import("onnx.checker", "onnx", "--format onnx")
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--format onnx: tf2onnx cannot express this network ({reason}); use savedmodel"
        ) from error


def _import(module, package, flag):
    """A module of a package that not everybody has."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{flag} needs {package}: pip install {package}") from error
