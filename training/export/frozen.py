"""A generator as one graph of TensorFlow's own operations, with its values inside; SavedModel."""

import os
import pathlib
import tempfile
from collections import namedtuple

import tensorflow.compat.v1 as tf

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.tflib import native, tfutil
from dnnlib.tflib.builders import find_builder
from dnnlib.tflib.network import Network
from dnnlib.tflib.options import option_parameters

INPUTS = ("z", "labels", "truncation_psi")
OUTPUT = "images"
TAG, SIGNATURE = "serve", "serving_default"

# graph_def: GraphDef with a placeholder for each of INPUTS and a tensor OUTPUT, by these names.
# num_classes: width of the labels; 0 without, and then they have no effect.
Frozen = namedtuple("Frozen", "graph_def num_classes")


def freeze(stored, portable=False):
    """Build the graph of a generator from z, labels and psi to images, with its own noise.

    Args:
      stored: StoredNetwork of a generator.
      portable: keep to operations and types that other programs than TensorFlow have.

    Returns:
      Frozen.

    Raises:
      UserError: it is no generator, or cannot be built.
    """
    session = tf.Session(graph=tf.Graph(), config=tf.ConfigProto(device_count={"GPU": 0}))
    with session.graph.as_default(), session, native.plain_operations():
        tfutil.graph_cache()["portable"] = portable
        net = Network.from_stored(stored)
        if not {"mapping", "synthesis"} <= set(net.components):
            raise UserError(f"network {net.name!r} ({net.builder}) is no generator")
        shapes = [[None, *shape[1:]] for shape in net.input_shapes] + [[]]
        z, c, psi = (tf.placeholder(tf.float32, s, name=n) for s, n in zip(shapes, INPUTS))
        options = dict(truncation_psi=psi, noise_mode="const")
        if "maps" in option_parameters(find_builder(net.builder)):
            options["maps"] = "none"
        images = net.get_output_for(z, c, return_as_list=True, **options)[0]
        images = tf.identity(images, name=OUTPUT)
        graph_def = tf.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), [OUTPUT, *INPUTS]
        )
    for node in graph_def.node:
        if "_gradient_op_type" in node.attr:  # known to this project alone
            del node.attr["_gradient_op_type"]
    return Frozen(graph_def, shapes[1][1])


def save_saved_model(stored, path):
    """Write a generator as a SavedModel, as a whole or not at all.

    Its signature "serving_default" takes z [N, ...], labels [N, num_classes] and truncation_psi []
    and gives images [N, C, H, W], about [-1, 1].

    Args:
      stored: StoredNetwork of a generator.
      path: of the folder, which must not exist or be empty.

    Raises:
      UserError: it exists, or there is no room for it.
    """
    path = pathlib.Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"--output={path} exists already; a SavedModel is a new folder")
    frozen = freeze(stored)
    parent = util.make_folder(path.absolute().parent, "--output")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=str(parent)) as temporary:
        folder = os.path.join(temporary, "model")
        full = f"--output={path}: not saved, the disk is full; free some space"
        with tf.Graph().as_default(), tf.Session() as session, util.explain_full_disk(full):
            found = tf.import_graph_def(
                frozen.graph_def, return_elements=[f"{n}:0" for n in (*INPUTS, OUTPUT)], name=""
            )
            inputs = dict(zip(INPUTS, found))
            tf.saved_model.simple_save(session, folder, inputs, {OUTPUT: found[-1]})
        os.replace(folder, str(path))


def run_saved_model(path, feeds):
    """Images of a SavedModel, by its signature.

    Args:
      path: of the folder.
      feeds: {name of an input: array}.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        found = tf.saved_model.load(session, [TAG], str(path)).signature_def[SIGNATURE]
        feed_dict = {found.inputs[name].name: value for name, value in feeds.items()}
        return session.run(found.outputs[OUTPUT].name, feed_dict)
