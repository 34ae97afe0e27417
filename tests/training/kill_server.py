"""Train in children that are killed at random moments: kill_server.py SEED KILLS flags...

What takes long is done once, in this process: it loads TensorFlow and builds the graph of the
training, with a stand-in for the session, since threads do not survive a fork. Each child is a fork
that opens a session of its own and goes on with the run "parts". After the last kill the run is
finished, and trained once more from the start as the run "whole".

Prints a line of JSON: one [images of the step that was going on, images in the newest checkpoint]
for each kill.
"""

import json
import mmap
import os
import pathlib
import random
import signal
import struct
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import numpy as np

import run_network
from config.resolve import parse
from dnnlib import cli, tflib
from dnnlib.submission.run_dir import find_snapshots
from dnnlib.tflib import selftest
from dnnlib.tflib.compat import tf
from dnnlib.tflib.snapshot import read_snapshot
from metrics import command  # noqa: F401 - loaded before the forks, as all that a training needs
from training import checkpoint, pretrained, resume, training_loop  # noqa: F401
from training.graph import TrainingGraph
from training.maintenance import Maintenance

ENDLESS = 1000  # thousands of images
reached = mmap.mmap(-1, 8)  # shared with the child: images with which its present step ends


class NoSession:
    """Stands in for a session while a graph is built: everything is zero."""

    graph = property(lambda _: tf.get_default_graph())

    def run(self, fetches, feed_dict=None):
        items = max([len(x) for x in (feed_dict or {}).values() if np.ndim(x)], default=0)

        def zeros(fetch):
            if isinstance(fetch, tf.Operation):
                return None
            shape = [items if size is None else size for size in fetch.shape.as_list()]
            return np.zeros(shape, fetch.dtype.base_dtype.as_numpy_dtype)

        return tf.nest.map_structure(zeros, fetches)


def build(argv):
    """The graph of a training, with all that is built at its first snapshot and checkpoint."""
    config, dataset = run_network.resolve_training(parse(argv), {})
    devices, _ = cli.start_tensorflow(config["run"]["gpus"], config["run"]["custom_ops"])
    tf.set_random_seed(config["loop"]["seed"])
    with tf.Session.as_default(NoSession()), tempfile.TemporaryDirectory() as folder:
        graph = TrainingGraph(config, devices)
        state_vars = graph.state_vars()
        tflib.set_vars({v: np.zeros(v.shape.as_list()) for v in state_vars.values()})
        state = checkpoint.LoopState()
        maintenance = Maintenance(folder, config, graph, dataset, state)
        maintenance.begin(0.0)
        maintenance.close()
    return graph


def patch(graph):
    """Let trainings in this process take the graph, and tell how far they are."""

    def take_graph(*_):
        tflib.run(tf.global_variables_initializer())
        graph.Gs.copy_vars_from(graph.G)
        reached[:] = struct.pack("q", 0)
        return graph

    run_iteration, start = training_loop.run_iteration, cli.start_tensorflow

    def noted_iteration(graph, state, *batches):
        reached[:] = struct.pack("q", state.nimg + graph.split.batch_size)
        return run_iteration(graph, state, *batches)

    def quick_start(*args):
        devices, settings = start(*args)  # optimizing the graph would take longer than it saves
        return devices, {**settings, "graph_options.rewrite_options.disable_meta_optimizer": True}

    training_loop.TrainingGraph, training_loop.run_iteration = take_graph, noted_iteration
    cli.start_tensorflow, selftest.refuse_wrong = quick_start, lambda devices: None


def start(argv):
    """Fork a child that trains; returns its process id as soon as it has a session."""
    reached[:] = struct.pack("q", -1)
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)  # what it says does not mix with our line
        try:
            os._exit(cli.run_script(run_network.main, argv))
        except BaseException:  # noqa: BLE001 - a fork must not go on with what its parent does
            traceback.print_exc()
            os._exit(1)
    while struct.unpack("q", reached[:])[0] < 0:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended before it began"
        time.sleep(0.01)
    return pid


def finish(argv):
    assert os.waitpid(start(argv), 0)[1] == 0


def saved(run_dir):
    """Images in the newest checkpoint. All files that have their names are whole."""
    for path in checkpoint.find_states(run_dir):
        with np.load(str(path)) as file:
            assert len([file[name] for name in file.files]) > 50
    for _, path in find_snapshots(run_dir):
        assert len(read_snapshot(path)[0]) == 3
    progress = checkpoint.read_progress(run_dir)
    return progress.nimg if progress else 0


def main(seed, kills, argv):
    patch(build(argv))
    moments, rows = random.Random(seed), []
    run_dir = pathlib.Path(parse(argv)["result-dir"]) / "parts-000"
    parts, patience = [*argv, "--expname=parts"], 0.0
    for _ in range(kills):
        child, started = start([*parts, f"--total-kimg={ENDLESS}"]), time.time()
        if not patience:  # the first one shows how long it takes until there is a checkpoint
            while not checkpoint.find_states(run_dir):
                assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it saved"
                time.sleep(0.01)
            patience = 2 * (time.time() - started)
        time.sleep(moments.uniform(0, patience))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        rows.append([struct.unpack("q", reached[:])[0], saved(run_dir)])
    end = f"--total-kimg={(rows[-1][1] + 40) / 1000}"
    finish([*parts, end])
    finish([*argv, "--expname=whole", end])
    print(json.dumps(rows))


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
