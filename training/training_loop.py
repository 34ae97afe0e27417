"""The training loop: alternate steps of G and D until enough images have been shown."""

from __future__ import annotations

import contextlib
import math
import pathlib
import signal
import time

from config.options import LoopOptions
from dnnlib import RunContext, tflib, util
from dnnlib.errors import UserError
from dnnlib.submission.run_context import ABORT_NAME
from training import augment, checkpoint
from training.graph import TrainingGraph
from training.maintenance import Maintenance


def training_loop(run_dir, config, dataset, devices, metrics=None, pretrained=None):
    """Train until ``total_kimg`` thousand real images have been shown.

    Goes on from the newest checkpoint in the run directory, if there is one. After Ctrl-C or
    SIGTERM a checkpoint is written and the process exits with status 128 + signal number.

    Args:
      run_dir: of the run; gets snapshots, checkpoints, pictures and statistics.
      config: resolved configuration.
      dataset: training.dataset.Dataset.
      devices: names of the devices; one replica on each.
      metrics: object that measures each snapshot, see metrics.command.TrainingMetrics.
      pretrained: training.pretrained.Pretrained that a run without checkpoint begins with.

    Returns:
      Whether the training is done; False if ``abort.txt`` in the run directory has stopped it.

    Raises:
      UserError: the training diverged, the disk is full, or nothing pretrained fits.
    """
    options = LoopOptions(**config["loop"])
    started = time.time()
    graph = TrainingGraph(config, devices)
    state = checkpoint.restore_state(run_dir, graph.state_vars())
    if pretrained is not None and not state.nimg:
        pretrained.start(graph, config, run_dir)
    graph.sync_replicas()
    maintenance = Maintenance(run_dir, config, graph, dataset, state, metrics)
    maintenance.begin(time.time() - started)
    abort = pathlib.Path(run_dir) / ABORT_NAME
    context = RunContext.get()
    batches, is_first = dataset.iterate(state.nimg, options.batch_size), True
    with contextlib.closing(batches), contextlib.closing(maintenance), catch_signals() as stop:
        while state.nimg < options.total_kimg * 1000:
            values = run_iteration(graph, state, next(batches))
            check_finite(values, state, maintenance)
            state.nimg += options.batch_size
            is_done = state.nimg >= options.total_kimg * 1000
            if is_first:
                maintenance.end_first_step()
            is_first = False
            if is_done or state.nimg >= state.tick_nimg + options.tick_kimg * 1000:
                maintenance.end_tick(is_done)
            if stop.signum and not is_done:
                maintenance.stop()
                raise SystemExit(128 + stop.signum)
            if context is not None:
                context.update(values["loss/G"], state.nimg / 1000, options.total_kimg)
                if context.should_stop() and not is_done:
                    util.log(f"{abort} asks to stop")
                    maintenance.stop()
                    return False
    return True


def run_iteration(graph, state, batch):
    """Update G, then D and the moving average; each with its regularizer when that is due.

    Args:
      graph: TrainingGraph.
      state: LoopState before the iteration.
      batch: uint8 images [N, C, H, W] and labels [N, c_dim].

    Returns:
      {name: float} of losses, norms and scores.
    """
    iteration = state.nimg // graph.split.batch_size
    values = {}
    graph.augment_p = augment.probability(graph.augment_options, state)
    for phase in graph.phases:
        if iteration % phase.interval == 0:
            values.update(graph.run_phase(phase, state.nimg, *batch))
    graph.finish_iteration(state.nimg)
    if graph.augment_options.name not in ("none", "diffaugment"):
        values["augment/p"] = graph.augment_p
    augment.adapt(graph.augment_options, state, values["scores/r_t"], graph.split.batch_size)
    for name, value in values.items():
        tflib.autosummary(name, value)
    return values


def check_finite(values, state, maintenance):
    """Stop a training that diverged, before anything of it is saved.

    Raises:
      UserError: a value is not finite.
    """
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        snapshot = maintenance.last_snapshot()
        raise UserError(
            f"training diverged in tick {state.tick} at {state.nimg / 1000:g} kimg: "
            f"{', '.join(bad)}; last good snapshot: {snapshot or 'none yet'}; "
            "try lower --g-lr and --d-lr, a higher --gamma, or --clip"
        )


class _StopRequest:
    """Number of the signal that asked us to stop, or 0."""

    signum = 0


@contextlib.contextmanager
def catch_signals():
    """Note the first Ctrl-C or SIGTERM instead of dying at once; a second one acts as usual.

    Yields:
      Object with ``signum``, the signal's number, or 0.
    """
    stop = _StopRequest()
    before = {}

    def note(signum, _frame):
        stop.signum = signum
        util.log("Stopping after this step, with a checkpoint; once more to stop at once.")
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread
                before[number] = signal.signal(number, note)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
