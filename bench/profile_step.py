"""Where the time of a training step and of sampling goes: per operation type and per layer.

    python bench/profile_step.py [--model GANsformer] [--resolution 64] [--batch-size 8] ...
    python bench/profile_step.py --memory --full --resolution 256 --batch-size 1

Times are those of TensorFlow's own tracing of one run, after a warm-up: sums over operations, which
may run side by side, so that they can exceed the step's time. A layer's operations are forward and
backward ones; its flops are those of flops.py, for the batch. ``--memory`` prints the peak memory
of one step instead; ``--full`` takes the published preset as it is, channels and latents included.
"""

import collections
import contextlib
import re
import time

import common
import flops
import sample_speed
import train_speed

from dnnlib.tflib.compat import tf

Node = collections.namedtuple("Node", "name type seconds")

# Numbered copies of a network's scope, as in D_4, belong to D.
_LAYER = re.compile(r"(?:^|/)(Gs?|D)(?:_\d+)?/(?:(?:.*?/)?(\d+x\d+/\w+)|(G_mapping|Output)\b)")
_TYPE = re.compile(r" = _*(\w+)\(")


@contextlib.contextmanager
def traced(session):
    """Within this context, every run of the session is traced; gives the list of its metadata."""
    collected, plain = [], session.run

    def run(fetches, feed_dict=None):
        collected.append(tf.RunMetadata())
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        return plain(fetches, feed_dict, options=options, run_metadata=collected[-1])

    session.run = run
    try:
        yield collected
    finally:
        del session.run


def read_nodes(collected):
    """Metadata of some runs => list of Node. Of a GPU's work, what its streams tell."""
    nodes = []
    for metadata in collected:
        devices = metadata.step_stats.dev_stats
        streams = [d for d in devices if "stream:all" in d.device]
        for device in streams + [
            d for d in devices if "CPU" in d.device and "stream" not in d.device
        ]:
            for stats in device.node_stats:
                found = _TYPE.search(stats.timeline_label)
                kind = (
                    found.group(1)
                    if found
                    else stats.node_name.split("/")[-1].rstrip("_0123456789")
                )
                time_ = (stats.op_end_rel_micros - stats.op_start_rel_micros) / 1e6
                nodes.append(Node(stats.node_name.split(":")[0], kind, time_))
    return nodes


def layer_of(name):
    """'gradients/D_4/8x8/Conv0/Conv2D_grad/...' => 'D/8x8/Conv0'; 'rest' for what is no layer's."""
    found = _LAYER.search(name)
    if found is None:
        return "rest"
    return f"{found.group(1)}/{found.group(2) or found.group(3)}"


def sums(nodes, key):
    """{key(node): seconds}, the largest first."""
    total = collections.Counter()
    for node in nodes:
        total[key(node)] += node.seconds
    return dict(total.most_common())


def layer_flops(network, name, batch_size, times):
    """{layer: operations} of one pass of a network over a batch, ``times`` times."""
    components = network.static_kwargs.get("components_num", 0)
    total = collections.Counter()
    for variable, number in flops.forward_flops(network, components).items():
        total[layer_of(f"{name}/{variable}")] += number * batch_size * times
    return total


def show(title, nodes, wall, by_layer, most):
    """Print both tables.

    Args:
      title: what was done.
      nodes: list of Node.
      wall: seconds it took.
      by_layer: {layer: operations}.
      most: rows per table.
    """
    busy = sum(node.seconds for node in nodes)
    print(f"\n{title}: {wall * 1e3:.1f} ms, {busy * 1e3:.1f} ms in {len(nodes)} operations")
    for kind, seconds in list(sums(nodes, lambda node: node.type).items())[:most]:
        print(f"  {seconds * 1e3:9.2f} ms {seconds / busy:6.1%}  {kind}")
    print(f"  {'time':>12s} {'':6s} {'GFLOP':>8s} {'GFLOP/s':>8s}  layer")
    for layer, seconds in list(sums(nodes, lambda node: layer_of(node.name)).items())[:most]:
        giga = by_layer.get(layer, 0) / 1e9
        rate = f"{giga / seconds:8.1f}" if giga and seconds else " " * 8
        print(f"  {seconds * 1e3:9.2f} ms {seconds / busy:6.1%} {giga:8.3f} {rate}  {layer}")


def profile_training(args):
    """One iteration: G, D, and D's regularizer."""
    trainer = train_speed.Trainer(args.model, args)
    trainer.warm_up()
    trainer.iteration(with_reg=True)
    with traced(trainer.session) as collected:
        start = time.perf_counter()
        trainer.iteration(with_reg=True)
        wall = time.perf_counter() - start
    size = args.batch_size  # passes of the networks: see flops.training_flops
    by_layer = layer_flops(trainer.step.G, "G", size, 4)
    by_layer.update(layer_flops(trainer.step.D, "D", size, 8 + 6))
    title = f"Training step of {args.model}, with the regularizer"
    show(title, read_nodes(collected), wall, by_layer, args.rows)


def profile_sampling(args):
    """One batch of images."""
    sampler = sample_speed.Sampler(args.model, args)
    sampler.warm_up()
    with traced(sampler.session) as collected:
        start = time.perf_counter()
        sampler.run()
        wall = time.perf_counter() - start
    by_layer = layer_flops(sampler.network, "G", args.batch_size, 1)
    show(f"Sampling of {args.model}", read_nodes(collected), wall, by_layer, args.rows)


def print_memory(args):
    """Peak memory of a training step."""
    before = common.peak_memory_mb()
    start = time.perf_counter()
    trainer = train_speed.Trainer(args.model, args)
    built, built_after = common.peak_memory_mb(), time.perf_counter() - start
    print(
        f"before: {before:.0f} MB; graph built in {built_after:.0f} s: {built:.0f} MB", flush=True
    )
    for with_reg in (False, True):
        start = time.perf_counter()
        trainer.iteration(with_reg)
        what = "with" if with_reg else "without"
        print(
            f"step {what} the regularizer, {time.perf_counter() - start:.1f} s the first time: "
            f"peak {common.peak_memory_mb():.0f} MB",
            flush=True,
        )


def main():
    """Print the tables, or the memory."""
    parser = common.build_parser(__doc__.splitlines()[0])
    parser.add_argument("--model", default="GANsformer", choices=list(common.MODELS))
    parser.add_argument("--rows", type=int, default=24, help="of each table")
    parser.add_argument("--memory", action="store_true", help="peak memory of a step instead")
    args = parser.parse_args()
    common.start(args)
    print(
        f"TensorFlow {tf.__version__}, {args.threads} threads, "
        f"{args.resolution}x{args.resolution}, batch {args.batch_size}"
    )
    if args.memory:
        print_memory(args)
        return
    profile_sampling(args)
    profile_training(args)


if __name__ == "__main__":
    main()
