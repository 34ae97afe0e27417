"""Step time, and bytes exchanged, of one device, two devices and several workers on this machine.

    python bench/scaling.py --workers 2 --steps 8

Workers are processes on loopback, so their bytes are those of the loopback interface: other traffic
there disturbs the count. Several workers on one processor share it: the time shows the cost of
exchanging gradients, not a gain.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from dnnlib.cluster import find_cluster


def main():
    """Measure each arrangement in processes of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--channel-max", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args, args.child)))
        return
    rows = [("1 device", run(args, "none", 1)), ("2 logical devices", run(args, "cpu:2", 1))]
    rows.append((f"{args.workers} workers", run(args, "none", args.workers)))
    print(f"{'':20} {'s / step':>10} {'gradients MB':>14} {'exchanged MB':>14} {'ratio':>7}")
    for name, found in rows:
        size, sent = found["gradients"] / 1e6, found["exchanged"] / 1e6
        print(f"{name:20} {found['seconds']:10.3f} {size:14.2f} {sent:14.2f} {sent / size:7.2f}")


def run(args, gpus, workers):
    """What the first worker of an arrangement measures."""
    sockets = [socket.socket() for _ in range(workers)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for rank in range(workers):
        task = {"type": "worker", "index": rank}
        cluster = {"cluster": {"worker": addresses}, "task": task}
        command = [sys.executable, __file__, *sys.argv[1:], "--child", gpus]
        env = {**os.environ, "TF_CONFIG": json.dumps(cluster)}
        processes.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("a worker failed")
    return json.loads(outputs[0].decode().splitlines()[-1])


def measure(args, gpus):
    """Train some steps; {"seconds": of a step, "gradients", "exchanged": bytes in a step}."""
    from config.resolve import add_facts, parse, resolve  # noqa: PLC0415 - after the arguments
    from dnnlib import cli  # noqa: PLC0415
    from training import distributed  # noqa: PLC0415
    from training.checkpoint import LoopState  # noqa: PLC0415
    from training.graph import TrainingGraph  # noqa: PLC0415
    from training.training_loop import run_iteration  # noqa: PLC0415

    argv = ["--gansformer-default", "--dataset=scenes", "--components-num=4", "--latent-size=32"]
    argv += [f"--channel-max={args.channel_max}", f"--batch-size={args.batch_size}"]
    config = resolve(parse([*argv, "--d-reg-interval=1000", f"--gpus={gpus}"]))
    add_facts(config, args.resolution, 3, 100, 0)
    devices, settings = cli.start_tensorflow(gpus, "ref")
    workers = distributed.join(find_cluster(), {**settings, "rnd.tf_random_seed": 0}, 60)
    with workers.watched():
        graph = TrainingGraph(config, devices, workers)
        workers.broadcast(list(graph.state_vars().values()))
        graph.sync_replicas()
        share = args.batch_size // workers.count
        images = np.zeros([share, 3, args.resolution, args.resolution], np.uint8)
        batch = images, np.zeros([share, 0], np.float32)
        state, seconds, exchanged = LoopState(), [], []
        for _ in range(args.steps + 2):  # the first has the regularizer and prepares the graph
            started, before = time.perf_counter(), loopback_bytes()
            run_iteration(graph, state, batch, batch)
            seconds.append(time.perf_counter() - started)
            exchanged.append(loopback_bytes() - before)
            state.nimg += args.batch_size
    nets = (graph.G, graph.D)
    count = sum(int(np.prod(v.shape.as_list())) for n in nets for v in n.trainables.values())
    facts = {"seconds": np.median(seconds[2:]), "exchanged": np.median(exchanged[2:])}
    return {**{key: float(value) for key, value in facts.items()}, "gradients": 4 * count}


def loopback_bytes():
    """Bytes that the loopback interface has sent, in all."""
    text = pathlib.Path("/proc/net/dev").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.strip().startswith("lo:")]
    return int(line.partition(":")[2].split()[8])


if __name__ == "__main__":
    main()
