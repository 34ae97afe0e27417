"""Sampling speed of GANsformer and of StyleGAN2 at one size, and what part of the machine it uses.

    python bench/sample_speed.py [--resolution 64] [--batch-size 8] ...

The moving average's use: z to images, truncated, with fresh noise; attention maps are not fetched.
The models take turns in one process; see train_speed.py for the yardstick.
"""

import common
import flops
import numpy as np

from dnnlib.tflib.compat import configure, tf


class Sampler:
    """A generator with a session of its own."""

    def __init__(self, model, args):
        config = common.resolve(model, args)["G"]
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.session = tf.Session(config=common.session_config(args.threads))
            with self.session.as_default():
                from dnnlib import tflib  # noqa: PLC0415 - after the session

                net = tflib.Network("G", "generator", resolution=args.resolution, **config)
                latents = np.random.RandomState(0).randn(args.batch_size, *net.input_shapes[0][1:])
                z = tf.constant(latents, tf.float32)
                out = net.get_output_for(z, tf.zeros([args.batch_size, 0]), return_as_list=True)
                self.images = out[0].op
        components = args.components_num if model == "GANsformer" else 0
        self.flops = sum(flops.forward_flops(net, components).values())

    def run(self):
        """One batch of images."""
        self.session.run(self.images)


def main():
    """Print images per second, their ratio, utilisation and peak memory."""
    args = common.parse_arguments(__doc__.splitlines()[0])
    configure()
    common.custom_ops(args.custom_ops)
    samplers = {model: Sampler(model, args) for model in common.MODELS}
    for sampler in samplers.values():
        common.seconds(sampler.run, 3)
    times = {model: [] for model in samplers}
    yardsticks = []
    for _ in range(args.rounds):
        yardsticks.append(common.convolution_flops_per_second(args.threads, args.batch_size))
        for model, sampler in samplers.items():
            times[model].append(min(common.seconds(sampler.run, 8)))
    yardstick = float(np.median(yardsticks))
    print(
        f"TensorFlow {tf.__version__}, {args.threads} threads, "
        f"{args.resolution}x{args.resolution}, "
        f"batch {args.batch_size}, custom ops {args.custom_ops}; "
        f"bare convolution {yardstick / 1e9:.0f} GFLOP/s"
    )
    rates = {}
    for model, sampler in samplers.items():
        rates[model] = args.batch_size / float(np.median(times[model]))
        used = rates[model] * sampler.flops / yardstick
        print(
            f"{model:11s} {rates[model]:7.2f} images/s  "
            f"{sampler.flops / 1e9:6.2f} GFLOP/image  utilisation {used:.2f}"
        )
    print(f"overhead of attention in sampling: {rates['StyleGAN2'] / rates['GANsformer']:.3f}")
    print(f"peak memory of the process (both models): {common.peak_memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
