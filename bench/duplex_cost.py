"""Cost of the forms of attention: simplex, learned centroids (published), the paper's duplex.

    python bench/duplex_cost.py [--resolution 64] [--batch-size 8] ...

The same network with three ways to find the attention's scores; docs/attention.md says how they
differ. All are built in one process and take turns in sampling and in training, so that the ratios
do not depend on how busy the machine is. Operations are counted by the formulas of
training/model/attention.py and training/model/folded.py, for the layers of the image's attention
alone.
"""

import common
import numpy as np
from flops import MACS_TO_FLOPS, forward_flops, resolution_of
from sample_speed import Sampler
from train_speed import Trainer

from dnnlib.tflib import native
from dnnlib.tflib.compat import configure, tf

FORMS = {
    "simplex": ["--kmeans", "False"],
    "centroids": [],
    "duplex": ["--duplex"],
}


def attention_flops(network, form, num):
    """Operations of the attention of one image's way through a generator.

    Args:
      network: generator.
      form: one of FORMS.
      num: K, number of components.

    Returns:
      Tuple of the operations that grow with the image, and of those that do not.
    """
    shapes = {name: var.shape.as_list() for name, var in network.vars.items()}
    wide = narrow = 0
    for name, shape in shapes.items():
        if not name.endswith("AttLayer_l2n/weight_query"):
            continue
        channels, dim = shape
        scope = name[: -len("weight_query")]
        positions = resolution_of(name) ** 2
        latent = shapes[scope + "weight_key"][0]
        pos = shapes[scope + "weight_from_pos"][0]
        out = shapes[scope + "weight_out"][1]
        # x times the table of keys, probabilities times the table of values.
        wide += positions * num * (channels + out)
        narrow += num * (latent * dim + dim * out)  # values
        # Keys are tables made of latents, or of what the latents found in the image; the learned
        # ones are the same for all images, so that their share of one image is next to nothing.
        if form == "simplex":
            wide += positions * num * pos
            narrow += num * dim * (latent + channels + pos)
        if form == "duplex":
            # First, latents look at the image: scores, and sums of content and position.
            wide += positions * num * (2 * channels + 3 * pos)
            narrow += num * dim * (latent + channels + pos)
            narrow += 2 * num * 2 * dim * (channels + pos)  # centroids, then keys
            narrow += num * 2 * dim * latent  # update
    return MACS_TO_FLOPS * wide, MACS_TO_FLOPS * narrow


def measure(make, args):
    """Seconds per image of each form, in turns: {form: seconds}, and what was measured."""
    runners = {form: make(form, args) for form in FORMS}
    for runner in runners.values():
        runner.warm_up()
    times = {form: [] for form in FORMS}
    for _ in range(args.rounds):
        for form, runner in runners.items():
            times[form].append(runner.turn() / args.batch_size)
    return {form: float(np.median(found)) for form, found in times.items()}, runners


def main():
    """Print a line for each form, and the ratios to simplex."""
    args = common.parse_arguments(__doc__.splitlines()[0])
    configure()
    native.set_custom_ops(args.custom_ops)
    common.MODELS.update({form: ["--gansformer-default", *more] for form, more in FORMS.items()})
    sampling, samplers = measure(Sampler, args)
    training, _ = measure(Trainer, args)
    flops, shares = {}, {}
    for form, sampler in samplers.items():
        layers = forward_flops(sampler.network, args.components_num)
        others = sum(count for name, count in layers.items() if "AttLayer" not in name)
        flops[form] = attention_flops(sampler.network, form, args.components_num)
        shares[form] = sum(flops[form]) / (sum(flops[form]) + others)
    print(
        f"TensorFlow {tf.__version__}, {args.threads} threads, "
        f"{args.resolution}x{args.resolution}, K = {args.components_num}, "
        f"batch {args.batch_size}, custom ops {args.custom_ops}"
    )
    first = "simplex"
    for form in FORMS:
        print(
            f"{form:9s}  sampling {1000 * sampling[form]:7.2f} ms/image "
            f"({sampling[form] / sampling[first]:.2f})  "
            f"training {1000 * training[form]:8.2f} ms/image "
            f"({training[form] / training[first]:.2f})  "
            f"attention {sum(flops[form]) / 1e6:7.2f} MFLOP/image "
            f"({sum(flops[form]) / sum(flops[first]):.2f}), {shares[form]:.1%} of the generator"
        )


if __name__ == "__main__":
    main()
