"""Images of a generator to be measured: the same ones for the same seed.

No truncation, random latents, random noise, labels drawn from the training set's.
"""

from __future__ import annotations

import copy

import numpy as np

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.builders import find_builder
from dnnlib.tflib.compat import tf
from dnnlib.tflib.options import option_parameters
from metrics.image_sources import crop
from metrics.randomness import random_of


class GeneratedImages:
    """Draws latents and makes images of them.

    Args:
      network: generator with the sub-networks "mapping" and "synthesis", in the default session.
      seed: decides everything that is drawn.
      batch_size: images at a time. Noise depends on it, latents do not.
      reals: DatasetImages to draw labels from; None draws any class.
      ratio: see :func:`metrics.image_sources.crop`; None: that of the network's training set.

    Raises:
      UserError: the images to draw labels from have other labels than the network takes.

    Attributes:
      num_images: None, as many as one likes.
      name: of the network.
    """

    num_images = None

    def __init__(self, network, seed=0, batch_size=32, reals=None, ratio=None):
        self.name = network.name
        self.ratio = ratio or network.static_kwargs.get("ratio", 1.0)
        self._network, self._seed, self._stream = network, seed, "images"
        self._batch_size, self._reals = batch_size, reals
        self._z_shape = network.input_shapes[0][1:]
        self._label_size = network.input_shapes[1][1]
        self._graphs = {}
        if self._label_size and reals is not None and reals.label_size != self._label_size:
            found = f"{reals.label_size} classes" if reals.label_size else "no labels"
            raise UserError(
                f"--dataset={reals.name} has {found}, but the generator was trained with "
                f"{self._label_size} classes; name the dataset that it was trained on"
            )

    def label_source(self):
        """What the labels are drawn from, as text; None for an unconditional network."""
        if not self._label_size:
            return None
        return "all classes" if self._reals is None else self._reals.label_key()

    def stream(self, name):
        """The same generator with other draws; shares the graphs."""
        other = copy.copy(self)
        other._stream = name
        return other

    # Draws

    def _random(self, what):
        """Generator of one kind of draw; independent of all others."""
        return random_of(f"{self._seed}/{self._stream}/{what}")

    def _draw(self, num, *kinds):
        """Yield ((z for each of the kinds), labels) in batches; ``num`` in all."""
        randoms = [self._random(kind) for kind in kinds]
        label_random = self._random("labels")
        for start in range(0, num, self._batch_size):
            size = min(self._batch_size, num - start)
            z = [random.standard_normal([size, *self._z_shape]) for random in randoms]
            yield (*[x.astype(np.float32) for x in z], self._labels(size, label_random))

    def _labels(self, size, random):
        """Labels of random training images, or of random classes: [size, label_size]."""
        if not self._label_size:
            return np.zeros([size, 0], np.float32)
        if self._reals is None:
            return np.eye(self._label_size, dtype=np.float32)[
                random.randint(self._label_size, size=size)
            ]
        return self._reals.labels(random.randint(self._reals.num_images, size=size))

    def draw(self, num):
        """Yield (z [N, ...], labels [N, label_size])."""
        return self._draw(num, "z")

    def draw_pairs(self, num):
        """Yield (z of one end [N, ...], z of the other end, labels)."""
        return self._draw(num, "z", "z of the other end")

    # Networks

    def batches(self, num, batch_size=None):
        """Yield ``num`` images, uint8 [N, C, H, W], cut to the ratio; ``batch_size`` is ignored."""
        done = 0
        for z, labels in self.draw(num):
            images = self._run("uint8", done, z, labels)
            done += len(images)
            yield crop(images, self.ratio)

    def ws(self, z, labels):
        """Latents => ws [N, ...], not truncated."""
        return self._run("ws", 0, z, labels)

    def images_of_ws(self, ws, start):
        """ws => images [N, C, H, W] float, about [-1, 1]; noise is that of places from start on."""
        return crop(self._run("images of ws", start, ws), self.ratio)

    def image_pairs(self, a, b, labels, is_ws, start):
        """Two batches of latents => their images, both with the same noise.

        Args:
          a: z, or ws if ``is_ws``.
          b: likewise.
          labels: [N, label_size]; not used for ws.
          is_ws: what a and b are.
          start: place of the first of them in the stream.

        Returns:
          Two batches [N, C, H, W] float.
        """
        feeds = [a, b] if is_ws else [a, b, labels]
        images = self._run("pairs of ws" if is_ws else "pairs of z", start, *feeds)
        return [crop(x, self.ratio) for x in images]

    def _run(self, kind, start, *arrays):
        """Run a graph on a batch; the last one of a stream is filled up, for the noise's sake."""
        if kind not in self._graphs:
            with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope("Metrics"):
                self._graphs[kind] = self._build(kind)
        place, feeds, outputs = self._graphs[kind]
        size = len(arrays[0])
        missing = self._batch_size - size
        padded = [np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for x in arrays]
        results = tflib.run(outputs, {place: start, **dict(zip(feeds, padded))})
        if isinstance(results, list):
            return [result[:size] for result in results]
        return results[:size]

    def _build(self, kind):
        """Placeholders and outputs of a graph: (place, feeds, outputs)."""
        mapping = self._network.components.mapping
        synthesis = self._network.components.synthesis
        place = tf.placeholder(tf.int64, [])
        rng = tflib.StepRandom(self._seed, place, self._batch_size, prefix="metrics/")
        known = option_parameters(find_builder(synthesis.builder))
        options = dict(noise_mode="random", rng=rng)
        if "maps" in known:
            options["maps"] = "none"

        def feed(shape):
            return tf.placeholder(tf.float32, [self._batch_size, *shape])

        def synthesise(ws):
            return synthesis.get_output_for(ws, return_as_list=True, **options)[0]

        z_shape, ws_shape = self._z_shape, synthesis.input_shapes[0][1:]
        if kind == "images of ws":
            feeds = [feed(ws_shape)]
            return place, feeds, synthesise(feeds[0])
        if kind == "pairs of ws":
            feeds = [feed(ws_shape), feed(ws_shape)]
            return place, feeds, [synthesise(ws) for ws in feeds]
        labels = feed([self._label_size])
        if kind == "pairs of z":
            feeds = [feed(z_shape), feed(z_shape)]
            images = [synthesise(mapping.get_output_for(z, labels)) for z in feeds]
            return place, [*feeds, labels], images
        z = feed(z_shape)
        ws = mapping.get_output_for(z, labels)
        if kind == "ws":
            return place, [z, labels], ws
        return place, [z, labels], tflib.convert_images_to_uint8(synthesise(ws))
