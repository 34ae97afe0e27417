"""A feature network as a TensorFlow graph with a session of its own."""

from __future__ import annotations

from dnnlib.errors import UserError
from dnnlib.tflib import compat
from dnnlib.tflib.compat import tf
from vis.channels import to_rgb


class GraphNetwork:
    """Turns images into features; knows nothing of the graph and session that train.

    Args:
      name: for people, e.g. "inception-2015-12-05".
      identity: changes whenever the features would, e.g. the checksum of a file.
      build_heads: function(images [N, 3, H, W] float32, [0, 255]) => {head: tensor [N, D]}.
      build_function: function(batches of images [N, 3, H, W] float32) => tensor [N, ...], for what
        compares images or takes another range.
      num_inputs: how many batches ``build_function`` takes.
      initialize: function(session), called last.

    Attributes:
      name, identity: as given.
      heads: {head: D}.
    """

    def __init__(
        self, name, identity, build_heads=None, build_function=None, num_inputs=1, initialize=None
    ):
        self.name, self.identity = name, identity
        compat.configure()
        graph = tf.Graph()
        with graph.as_default():
            self._images = tf.placeholder(tf.uint8, [None, 3, None, None])
            self._heads = build_heads(tf.cast(self._images, tf.float32)) if build_heads else {}
            shape = [None, 3, None, None]
            self._inputs = [tf.placeholder(tf.float32, shape) for _ in range(num_inputs)]
            self._gradient = None  # built when it is asked for
            self._function = build_function(*self._inputs) if build_function else None
            self.session = tf.Session(graph=graph, config=_session_config())
            if initialize:
                initialize(self.session)
        self.heads = {head: x.shape.as_list()[1] for head, x in self._heads.items()}

    def extract(self, images, heads):
        """Features of a batch of images.

        Args:
          images: [N, C, H, W] uint8; grey is tripled, RGBA laid on white.
          heads: which ones.

        Returns:
          {head: [N, D] float32}.
        """
        feed = {self._images: to_rgb(images)}
        return self._run({head: self._heads[head] for head in heads}, feed)

    def apply(self, *batches):
        """The network's function of batches [N, 3, H, W] float32: [N, ...]."""
        return self._run(self._function, dict(zip(self._inputs, batches)))

    def value_and_gradient(self, *batches):
        """The function's values [N], and the gradient of their sum with respect to the first batch.

        Args:
          *batches: [N, 3, H, W] float32.

        Returns:
          ([N, ...], [N, 3, H, W]).
        """
        if self._gradient is None:
            with self.session.graph.as_default():
                (self._gradient,) = tf.gradients(self._function, self._inputs[:1])
        return self._run([self._function, self._gradient], dict(zip(self._inputs, batches)))

    def _run(self, outputs, feed):
        """Evaluate; what a device or its memory cannot do becomes one line."""
        try:
            return self.session.run(outputs, feed)
        except tf.errors.ResourceExhaustedError:
            raise UserError(f"{self.name}: out of memory; give a smaller --batch-gpu") from None
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            reason = " ".join(str(error.message).split())[:200]
            raise UserError(f"{self.name}: does not run on this device ({reason})") from None

    def close(self):
        """Free the session's memory."""
        self.session.close()


def _session_config():
    """Memory as it is needed; no reordering, which would transpose bytes, slowly on CPUs."""
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    rewriting = config.graph_options.rewrite_options
    rewriting.arithmetic_optimization = rewriting.OFF
    return config


def to_nhwc(images):
    """Tensor [N, C, H, W] => [N, H, W, C]."""
    return tf.transpose(images, [0, 2, 3, 1])
