"""Running averages of named scalars, gathered wherever they arise and reported once a tick.

A scalar may be a tensor, which is then averaged inside the graph over all its evaluations, or a
plain number. Reading a summary starts a new average.
"""

import io
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib.tflib import tfutil

MAX_IMAGE_SIZE = 1024  # pixels: larger pictures are reduced to fit

_plain = {}  # name => [count, sum] of plain numbers


def _accumulators():
    """{name: list of [2] variables (count, sum)} of the default graph; one for each place."""
    return tfutil.graph_cache().setdefault("autosummary", {})


def autosummary(name, value, passthru=None, condition=True):
    """Add to the running average of a scalar.

    NaN and infinity are averaged like other values, so they show.

    Args:
      name: "Loss/G" becomes a group "Loss" in TensorBoard.
      value: a number or array, recorded now; or a tensor of any shape, recorded by its mean every
        time the returned tensor is evaluated.
      passthru: tensor to be returned instead of the value, or None.
      condition: bool, or tensor of one: whether to record.

    Returns:
      The value, or ``passthru``. If it is a tensor, the returned one has to be used in its place.
    """
    if tfutil.is_tf_expression(condition):
        value = tf.convert_to_tensor(value)
        return tf.cond(
            condition,
            lambda: tf.identity(autosummary(name, value, passthru)),
            lambda: tf.identity(value if passthru is None else passthru),
        )
    result = value if passthru is None else passthru
    if not condition:
        return result
    if not tfutil.is_tf_expression(value):
        count_and_sum = _plain.setdefault(name, [0, 0.0])
        count_and_sum[0] += np.size(value)
        count_and_sum[1] += float(np.sum(np.asarray(value, dtype=np.float64)))
        return result
    places = _accumulators().setdefault(name, [])
    scope = f"Autosummary/{name.replace(' ', '_')}/{len(places)}"
    # The accumulator is made outside of any condition or loop that we are called in.
    with tf.init_scope(), tfutil.absolute_variable_scope(scope, reuse=False), tf.device("/cpu:0"):
        zeros = tf.initializers.zeros()
        total = tf.get_variable("total", [2], tf.float64, zeros, trainable=False)
    places.append(total)
    with tf.name_scope(None), tf.name_scope("Autosummary"), tf.device("/cpu:0"):
        tensor = tf.convert_to_tensor(value)
        number = tf.cast(tensor, tf.float64)
        add = total.assign_add([tf.cast(tf.size(tensor), tf.float64), tf.reduce_sum(number)])
    with tf.control_dependencies([add.op]):
        return tf.identity(result)


def collect_autosummaries():
    """Averages since the last call: {name: float}. Scalars without new values are left out."""
    totals = {name: np.array(pair, np.float64) for name, pair in _plain.items()}
    _plain.clear()
    places = _accumulators()
    variables = [variable for found in places.values() for variable in found]
    if variables and tf.get_default_session() is not None:
        tfutil.init_uninitialized_vars(variables)
        for name, values in tfutil.run(places).items():
            totals[name] = totals.get(name, 0) + np.sum(values, axis=0)
        tfutil.run([variable.initializer for variable in variables])
    return {name: float(total / count) for name, (count, total) in totals.items() if count}


class SummaryWriter:
    """Writes scalars and pictures to a TensorBoard event file.

    Args:
      folder: where the file goes; made if it is not there.
    """

    def __init__(self, folder):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.FileWriter(str(folder))

    def write(self, scalars, step):
        """Append {name: number} at a step, which may be any int."""
        values = [tf.Summary.Value(tag=name, simple_value=x) for name, x in scalars.items()]
        self._writer.add_summary(tf.Summary(value=values), step)
        self._writer.flush()

    def write_image(self, name, picture, step):
        """Append a picture, as a JPEG of at most MAX_IMAGE_SIZE.

        Args:
          name: of the picture; the same at every step.
          picture: [H, W, 3] uint8.
          step: any int.
        """
        image = Image.fromarray(np.ascontiguousarray(picture))
        image.thumbnail((MAX_IMAGE_SIZE, MAX_IMAGE_SIZE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        value = tf.Summary.Image(
            height=image.height,
            width=image.width,
            colorspace=3,  # RGB
            encoded_image_string=buffer.getvalue(),
        )
        summary = tf.Summary(value=[tf.Summary.Value(tag=name, image=value)])
        self._writer.add_summary(summary, step)
        self._writer.flush()

    def close(self):
        """Finish the file."""
        self._writer.close()


def finalize_autosummaries():
    """Initialize the averages made so far. They need no other preparation to be saved."""
    tfutil.init_uninitialized_vars([v for found in _accumulators().values() for v in found])


def save_summaries(file_writer, global_step=None):
    """Write the averages since the last call, and the graph's own summaries, for TensorBoard.

    Args:
      file_writer: tf.summary.FileWriter.
      global_step: any int.
    """
    scalars = collect_autosummaries()
    values = [tf.Summary.Value(tag=name, simple_value=x) for name, x in scalars.items()]
    file_writer.add_summary(tf.Summary(value=values), global_step)
    own, cache = tf.get_collection(tf.GraphKeys.SUMMARIES), tfutil.graph_cache()
    if own:
        if cache.get("summaries", (0, None))[0] != len(own):
            cache["summaries"] = len(own), tf.summary.merge(own)
        file_writer.add_summary(tfutil.run(cache["summaries"][1]), global_step)
    file_writer.flush()


def save_autosummaries(writer, step):
    """Collect all averages, write them with a SummaryWriter (or None), and return them."""
    scalars = collect_autosummaries()
    if writer is not None:
        writer.write(scalars, step)
    return scalars
