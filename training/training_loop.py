"""The training loop: alternate steps of G and D until enough images have been shown."""

from __future__ import annotations

import contextlib
import math
import pathlib
import signal
import time
from dataclasses import asdict

from config.options import LoopOptions
from dnnlib import RunContext, tflib, util
from dnnlib.submission.run_context import ABORT_NAME
from training import augment, checkpoint
from training.distributed import ALONE, DivergedError, Onlooker
from training.graph import TrainingGraph
from training.maintenance import Maintenance

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def training_loop(run_dir, config, dataset, devices, metrics=None, pretrained=None, workers=ALONE):
    """Train until ``total_kimg`` thousand real images have been shown.

    Goes on from the newest checkpoint in the run directory, if there is one. After Ctrl-C or
    SIGTERM a checkpoint is written and the process exits with status 128 + signal number.

    Args:
      run_dir: of the run; gets snapshots, checkpoints, pictures and statistics. None for workers
        but the first.
      config: resolved configuration.
      dataset: training.dataset.Dataset.
      devices: names of the devices; one replica on each.
      metrics: object that measures each snapshot, see metrics.command.TrainingMetrics.
      pretrained: training.pretrained.Pretrained that a run without checkpoint begins with.
      workers: training.distributed.Workers, or Alone.

    Returns:
      Whether the training is done; False if ``abort.txt`` in the run directory has stopped it.

    Raises:
      UserError: the training diverged, the disk is full, or nothing pretrained fits.
    """
    options = LoopOptions(**config["loop"])
    started = time.time()
    graph = TrainingGraph(config, devices, workers)
    state = begin(run_dir, config, graph, pretrained)
    if workers.is_first:
        maintenance = Maintenance(run_dir, config, graph, dataset, state, metrics)
    else:
        maintenance = Onlooker(state)
    maintenance.begin(time.time() - started)
    context, is_first_step = RunContext.get(), True
    batches = dataset.iterate(
        state.nimg, options.batch_size, part=workers.rank, parts=workers.count
    )
    pairs = with_following(batches)
    with contextlib.closing(batches), contextlib.closing(maintenance), catch_signals() as stop:
        while state.nimg < options.total_kimg * 1000:
            batch, following = next(pairs)
            workers.begin_step()
            values = run_iteration(graph, state, batch, following)
            check_finite(values, state, maintenance)
            state.nimg += options.batch_size
            is_done = state.nimg >= options.total_kimg * 1000
            if workers.is_first:
                workers.be_busy()  # it may save and measure
            if is_first_step:
                maintenance.end_first_step()
            is_first_step = False
            if is_done or state.nimg >= state.tick_nimg + options.tick_kimg * 1000:
                maintenance.end_tick(is_done)
            maintenance.end_step()
            if context is not None:
                context.update(values["loss/G"], state.nimg / 1000, options.total_kimg)
            is_aborted = context is not None and context.should_stop()
            signum, is_aborted = agree_to_stop(workers, stop.signum, is_aborted)
            if (signum or is_aborted) and not is_done:
                if is_aborted and workers.is_first:
                    util.log(f"{pathlib.Path(run_dir) / ABORT_NAME} asks to stop")
                maintenance.stop()
                if signum:
                    raise SystemExit(128 + signum)
                return False
    return True


def begin(run_dir, config, graph, pretrained):
    """Give all workers the newest checkpoint, a snapshot's values, or the same initial ones.

    Returns:
      LoopState.
    """
    state, workers = checkpoint.LoopState(), graph.workers
    if workers.is_first:
        state = checkpoint.restore_state(run_dir, graph.state_vars())
        if pretrained is not None and not state.nimg:
            pretrained.start(graph, config, run_dir)
    workers.broadcast(list(graph.state_vars().values()))
    graph.sync_replicas()
    return checkpoint.LoopState(**workers.share(asdict(state)))


def agree_to_stop(workers, signum, is_aborted):
    """Whether a signal, and which, or a file asks any of the workers to stop; the same for all."""
    wishes = [float(signum == number) for number in STOP_SIGNALS] + [float(is_aborted)]
    *signals, aborts = workers.sum(wishes)
    received = [number for number, count in zip(STOP_SIGNALS, signals) if count]
    return (received[-1] if received else 0), bool(aborts)


def with_following(items):
    """Each item and the one after it, until none follows."""
    item = next(items)
    for following in items:
        yield item, following
        item = following


def run_iteration(graph, state, batch, following=None):
    """Update G, then D and the moving average; each with its regularizer when that is due.

    Args:
      graph: TrainingGraph.
      state: LoopState before the iteration.
      batch: uint8 images [N, C, H, W] and labels [N, c_dim].
      following: batch of the next iteration, to be copied to the devices during this one.

    Returns:
      {name: float} of losses, norms and scores.
    """
    iteration = state.nimg // graph.split.batch_size
    values = {}
    graph.augment_p = augment.probability(graph.augment_options, state)
    for phase in graph.phases:
        if iteration % phase.interval == 0:
            values.update(graph.run_phase(phase, state.nimg, *batch, following))
            following = None  # copied
    graph.finish_iteration(state.nimg)
    workers = graph.workers
    means = [total / workers.count for total in workers.sum(list(values.values()))]
    values = dict(zip(values, means))
    if graph.augment_options.name not in ("none", "diffaugment"):
        values["augment/p"] = graph.augment_p
    augment.adapt(graph.augment_options, state, values["scores/r_t"], graph.split.batch_size)
    for name, value in values.items():
        tflib.autosummary(name, value)
    return values


def check_finite(values, state, maintenance):
    """Stop a training that diverged, before anything of it is saved.

    Raises:
      DivergedError: a value is not finite.
    """
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        snapshot = maintenance.last_snapshot()
        raise DivergedError(
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
        for number in STOP_SIGNALS:
            with contextlib.suppress(ValueError):  # not in the main thread
                before[number] = signal.signal(number, note)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
