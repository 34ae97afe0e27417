"""Training speed of GANsformer and of StyleGAN2 at one size, and what part of the machine it uses.

    python bench/train_speed.py [--resolution 64] [--batch-size 8] ...

Both models are built in one process and take turns, so that their ratio does not depend on how busy
the machine is. A step is G, D and R1 at its interval, on random images. The utilisation is the
step's useful operations per second over those of a bare convolution, timed between the turns.
"""

import common
import flops
import numpy as np

from dnnlib.tflib.compat import local_gpu_names, tf


class Trainer:
    """A model's training graph with a session of its own."""

    def __init__(self, model, args, device=None):
        self.config = common.resolve_model(model, args)
        self.batch_size = args.batch_size
        images = np.random.RandomState(0).randint(
            0, 256, [args.batch_size, 3, args.resolution, args.resolution], dtype=np.uint8
        )
        self.batch = images, np.zeros([args.batch_size, 0], np.float32)
        self.nimg = 0
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.session = tf.Session(config=common.session_config(args.threads, args.xla))
            with self.session.as_default():
                from training.graph import TrainingGraph  # noqa: PLC0415 - after the session

                device = device or ("/gpu:0" if local_gpu_names() else "/cpu:0")
                self.step = TrainingGraph(self.config, [device])
        components = 0 if model == "StyleGAN2" else args.components_num
        self.g_flops = sum(flops.forward_flops(self.step.G, components).values())
        self.d_flops = sum(flops.forward_flops(self.step.D).values())

    def flops_per_image(self):
        """Useful operations per real image."""
        interval = self.config["loop"]["d_reg_interval"]
        return flops.training_flops(self.g_flops, self.d_flops, interval)

    def iteration(self, with_reg):
        """One update of G and of D, with D's regularizer or without."""
        with self.graph.as_default(), self.session.as_default():
            following = self.batch
            for phase in self.step.phases:
                if phase.interval == 1 or with_reg:
                    self.step.run_phase(phase, self.nimg, *self.batch, following)
                    following = None  # copied
            self.step.finish_iteration(self.nimg)
        self.nimg += self.batch_size

    def warm_up(self):
        """Let TensorFlow prepare the graph, with the regularizer and without."""
        self.iteration(with_reg=True)
        self.iteration(with_reg=False)

    def turn(self):
        """Seconds per iteration: the plain ones and the regularizer's share."""
        plain = min(common.seconds(lambda: self.iteration(with_reg=False), 3))
        with_reg = min(common.seconds(lambda: self.iteration(with_reg=True), 2))
        return plain + max(0.0, with_reg - plain) / self.config["loop"]["d_reg_interval"]


if __name__ == "__main__":
    common.compare(__doc__.splitlines()[0], "training", Trainer)
