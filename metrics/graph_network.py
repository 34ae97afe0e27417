"""A feature network as a frozen TensorFlow graph with a session of its own."""

from __future__ import annotations

import numpy as np

from dnnlib.tflib import compat
from dnnlib.tflib.compat import tf


class GraphNetwork:
    """Turns images into features; knows nothing of the graph and session that train.

    Args:
      name: for people, e.g. "inception-2015-12-05".
      identity: changes whenever the features would, e.g. the checksum of a file.
      build: function(images [N, H, W, 3] float32, [0, 255]) => {head: tensor [N, D]}.
      build_distance: function(images, images) => [N] perceptual distances, if it knows any.

    Attributes:
      name, identity: as given.
      heads: {head: D}.
    """

    def __init__(self, name, identity, build=None, build_distance=None):
        self.name, self.identity = name, identity
        compat.configure()
        graph = tf.Graph()
        with graph.as_default():
            self._images = tf.placeholder(tf.uint8, [None, 3, None, None])
            self._pair = [tf.placeholder(tf.float32, [None, 3, None, None]) for _ in range(2)]
            self._heads = build(_to_nhwc(self._images)) if build else {}
            self._distance = None
            if build_distance:
                self._distance = build_distance(*[_to_nhwc(x) for x in self._pair])
            init = tf.global_variables_initializer()
            config = tf.ConfigProto(allow_soft_placement=True)
            config.gpu_options.allow_growth = True
            self.session = tf.Session(graph=graph, config=config)
            self.session.run(init)
        self.heads = {head: x.shape.as_list()[1] for head, x in self._heads.items()}

    def extract(self, images, heads):
        """Features of a batch of images.

        Args:
          images: [N, C, H, W] uint8, C is 1 or 3.
          heads: which ones.

        Returns:
          {head: [N, D] float32}.
        """
        feed = {self._images: to_rgb(images)}
        return self.session.run({head: self._heads[head] for head in heads}, feed)

    def distance(self, a, b):
        """Perceptual distances [N] of two batches [N, C, H, W] float in [0, 255]."""
        return self.session.run(self._distance, dict(zip(self._pair, (to_rgb(a), to_rgb(b)))))

    def close(self):
        """Free the session's memory."""
        self.session.close()


def _to_nhwc(images):
    """[N, C, H, W] of any type => [N, H, W, C] float32."""
    return tf.transpose(tf.cast(images, tf.float32), [0, 2, 3, 1])


def to_rgb(images):
    """[N, 1 or 3, H, W] => [N, 3, H, W]."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images must be [N, 1 or 3, H, W], got {list(images.shape)}")
    return images if images.shape[1] == 3 else np.repeat(images, 3, axis=1)
