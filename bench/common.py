"""What the speed benchmarks share: timing, memory, and the two models that they compare."""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from dnnlib.tflib import native
from dnnlib.tflib.compat import TF_VERSION, configure, local_gpu_names, tf, xla_settings
from dnnlib.tflib.precision import CHOICES, session_settings, set_precision
from dnnlib.tflib.tfutil import DEFAULTS
from dnnlib.tflib.tfutil import session_config as config_of

MODELS = {
    "GANsformer": ["--gansformer-default"],
    "StyleGAN2": ["--baseline", "StyleGAN2", "--g-arch", "resnet"],
}


def build_parser(description):
    """Sizes that the benchmarks take; the defaults are those that the documentation quotes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument(
        "--channel-base", type=int, default=2048, help="channels = 2 * base / resolution"
    )
    parser.add_argument("--channel-max", type=int, default=128)
    parser.add_argument("--components-num", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batch-gpu", type=int, help="images at once on a device")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=6, help="timed repetitions of each model")
    parser.add_argument("--custom-ops", default="auto", choices=["auto", "ref", "native"])
    parser.add_argument("--precision", default="float32", choices=CHOICES)
    parser.add_argument("--bf16-res", type=int, help="as run_network.py --bf16-res")
    parser.add_argument("--xla", action="store_true", help="as run_network.py --xla")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--full", action="store_true", help="CLEVR's preset, with its own channels and latents"
    )
    return parser


def parse_arguments(description):
    """The arguments of a benchmark that takes no others."""
    return build_parser(description).parse_args()


def resolve_model(model, args):
    """Configuration of a model at the benchmark's size."""
    from config.resolve import add_facts, parse, resolve  # noqa: PLC0415 - after the arguments

    argv = [*MODELS[model], "--train", "--batch-size", str(args.batch_size)]
    argv += ["--resolution", str(args.resolution), "--dataset", "clevr" if args.full else "scenes"]
    argv += ["--precision", args.precision]
    if args.bf16_res is not None:
        argv += ["--bf16-res", str(args.bf16_res)]
    if args.batch_gpu:
        argv += ["--batch-gpu", str(args.batch_gpu)]
    if not args.full:
        argv += ["--channel-base", str(args.channel_base), "--channel-max", str(args.channel_max)]
    if model != "StyleGAN2" and not args.full:
        argv += ["--components-num", str(args.components_num)]
        argv += ["--latent-size", str(16 * args.components_num)]
    resolved = resolve(parse(argv))
    add_facts(resolved, args.resolution, 3, 1, 0)
    return resolved


def start(args):
    """Set TensorFlow up as the arguments say."""
    configure()
    native.set_custom_ops(args.custom_ops)
    set_precision(args.precision, args.bf16_res)


def session_config(threads, xla=False):
    """Sessions as a training has them, with exactly this number of threads."""
    settings = dict.fromkeys(
        ("intra_op_parallelism_threads", "inter_op_parallelism_threads"), threads
    )
    return config_of(
        {**DEFAULTS, **settings, **session_settings(), **(xla_settings() if xla else {})}
    )


def seconds(run, repeats):
    """Wall time of each of ``repeats`` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def convolution_flops_per_second(threads, batch_size, repeats=30):
    """Speed of a bare 3x3 convolution, 128 to 128 channels at 32x32, forward: the yardstick.

    Returns:
      Operations per second of the fastest call.
    """
    with tf.Graph().as_default(), tf.Session(config=session_config(threads)) as session:
        rng = np.random.RandomState(0)
        x = tf.get_variable("x", initializer=rng.randn(batch_size, 32, 32, 128).astype(np.float32))
        w = tf.get_variable("w", initializer=rng.randn(3, 3, 128, 128).astype(np.float32))
        y = tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME").op
        session.run(tf.global_variables_initializer())
        seconds(lambda: session.run(y), 5)
        fastest = min(seconds(lambda: session.run(y), repeats))
    return 2 * 9 * 128 * 128 * 32 * 32 * batch_size / fastest


def peak_memory_mb():
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gpu_peak_memory_mb():
    """Most memory of the first GPU that TensorFlow has given out so far; None without a GPU."""
    if not local_gpu_names() or TF_VERSION < (2, 5):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20


def write_json(path, figures):
    """Write figures, as a whole or not at all; None does not."""
    if path is not None:
        beside = path.with_name(path.name + ".unfinished")
        beside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)


def compare(description, purpose, make):
    """Time both models in turns; print images per second, their ratio, utilisation, peak memory.

    Args:
      description: first line of the benchmark's help.
      purpose: "training" or "sampling".
      make: function of a model's name and the arguments. What it returns has warm_up(), turn(),
        which gives the seconds of one batch, and flops_per_image().
    """
    args = parse_arguments(description)
    start(args)
    runners = {model: make(model, args) for model in MODELS}
    for runner in runners.values():
        runner.warm_up()
    times, yardsticks = {model: [] for model in runners}, []
    for _ in range(args.rounds):
        yardsticks.append(convolution_flops_per_second(args.threads, args.batch_size))
        for model, runner in runners.items():
            times[model].append(runner.turn())
    yardstick = float(np.median(yardsticks))
    print(
        f"TensorFlow {tf.__version__}, {args.threads} threads, "
        f"{args.resolution}x{args.resolution}, "
        f"batch {args.batch_size}, custom ops {args.custom_ops}, {args.precision}"
        f"{', XLA' if args.xla else ''}; "
        f"bare convolution {yardstick / 1e9:.0f} GFLOP/s"
    )
    rates, figures = {}, {}
    for model, runner in runners.items():
        rates[model] = args.batch_size / float(np.median(times[model]))
        flops = runner.flops_per_image()
        print(
            f"{model:11s} {rates[model]:7.2f} images/s  "
            f"{flops / 1e9:6.2f} GFLOP/image  utilisation {rates[model] * flops / yardstick:.2f}"
        )
        figures[model] = dict(images_per_second=rates[model], gflop_per_image=flops / 1e9)
    print(f"overhead of attention in {purpose}: {rates['StyleGAN2'] / rates['GANsformer']:.3f}")
    print(f"peak memory of the process (both models): {peak_memory_mb():.0f} MB")
    figures.update(gflops_of_a_convolution=yardstick / 1e9, gpu_peak_mb=gpu_peak_memory_mb())
    write_json(args.json, dict(figures, batch_size=args.batch_size))
