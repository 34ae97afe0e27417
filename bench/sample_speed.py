"""Sampling speed of GANsformer and of StyleGAN2 at one size, and what part of the machine it uses.

    python bench/sample_speed.py [--resolution 64] [--batch-size 8] ...

The moving average's use: z to images, truncated, with fresh noise; attention maps are not fetched.
The models take turns in one process; see train_speed.py for the yardstick.
"""

import common
import flops
import numpy as np

from dnnlib.tflib.compat import tf


class Sampler:
    """A generator with a session of its own."""

    def __init__(self, model, args):
        config = common.resolve_model(model, args)["G"]
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.session = tf.Session(config=common.session_config(args.threads, args.xla))
            with self.session.as_default():
                from dnnlib import tflib  # noqa: PLC0415 - after the session

                net = tflib.Network("G", "generator", resolution=args.resolution, **config)
                latents = np.random.RandomState(0).randn(args.batch_size, *net.input_shapes[0][1:])
                z = tf.constant(latents, tf.float32)
                out = net.get_output_for(z, tf.zeros([args.batch_size, 0]), return_as_list=True)
                self.images = out[0].op
        components = 0 if model == "StyleGAN2" else args.components_num
        self.network = net
        self.flops = sum(flops.forward_flops(net, components).values())

    def run(self):
        """One batch of images."""
        self.session.run(self.images)

    def warm_up(self):
        """Let TensorFlow prepare the graph."""
        common.seconds(self.run, 3)

    def turn(self):
        """Seconds per batch."""
        return min(common.seconds(self.run, 8))

    def flops_per_image(self):
        """Useful operations per image."""
        return self.flops


if __name__ == "__main__":
    common.compare(__doc__.splitlines()[0], "sampling", Sampler)
