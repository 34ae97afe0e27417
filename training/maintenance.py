"""What the training loop does between steps: status lines, statistics, pictures, snapshots."""

from __future__ import annotations

import json
import pathlib
import resource
import time

import numpy as np

from config.options import LoopOptions
from dnnlib import tflib, util
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import find_snapshots, kimg_text
from dnnlib.tflib.autosummary import SummaryWriter
from training import checkpoint
from training.alarms import Alarms, distinctness, variety
from vis.attention_maps import layer_strips, overlay_sheet
from vis.pictures import crop_to_ratio, sample_grid, save_picture
from vis.report.page import REPORT_NAME, write_report

OVERLAY_NUM = 8  # samples on an attention sheet
STRIPS_NUM = 4  # samples on a sheet of all layers
LINE_WIDTH = 100
GRID_PIXELS = 1024  # width of a sample grid, about
STATS_NAME = "stats.jsonl"


class Maintenance:
    """Outputs of a run.

    Args:
      run_dir: of the run.
      config: resolved configuration.
      graph: TrainingGraph.
      dataset: training.dataset.Dataset.
      state: LoopState, kept up to date by the loop.
      metrics: object that measures each snapshot; None if there is nothing to measure.
    """

    def __init__(self, run_dir, config, graph, dataset, state, metrics=None):
        self._run_dir = pathlib.Path(run_dir)
        self._options = LoopOptions(**config["loop"])
        self._graph, self._dataset, self._state = graph, dataset, state
        self._metrics = metrics
        self._ratio = config["data"]["ratio"] or dataset.ratio
        columns = int(np.clip(GRID_PIXELS // dataset.resolution, 4, 12))
        self._grid_num = columns * max(2, columns // 2)
        self._columns = columns
        self._writer = SummaryWriter(run_dir) if self._options.summarize else None
        self._timed_nimg, self._timed_since = state.nimg, time.time()
        self._saved_at = time.time()  # there is nothing to lose yet
        self._alarms, self._signs, self._spread = Alarms(), 0.0, None

    def begin(self, seconds):
        """Say what is trained; show the data and, in a new run, the untrained generator."""
        graph, state, split = self._graph, self._state, self._graph.split
        for net in (graph.G, graph.D):
            count = sum(int(np.prod(v.shape.as_list())) for v in net.trainables.values())
            util.log(f"{net.name}: {count:,} trainable parameters")
        util.log(
            f"Batch of {split.batch_size}: {split.num_replicas} device(s) x {split.num_rounds} "
            f"round(s) x {split.batch_gpu} images; built in {util.format_time(seconds)}"
        )
        self._forget_later_stats()
        if state.nimg:
            util.log(f"Continuing at {state.nimg / 1000:g} kimg, tick {state.tick}")
        else:
            reals, _ = self._dataset.sample_grid(self._grid_num)
            self._save_grid("reals.png", reals)
            self._save_snapshot()  # where curves of metrics and the training's animation begin
            self._save_pictures()
            self._measure()
            self._write_report()
        self._timed_since = time.time()

    def end_first_step(self):
        """Leave the first step, in which TensorFlow prepares the graph, out of the speed."""
        seconds = self._count_time()
        util.log(f"First step: {util.format_time(seconds)}; the next ones are quicker")

    def end_step(self):
        """Save the state, if that was long ago."""
        minutes = self._options.checkpoint_minutes
        if minutes and time.time() - self._saved_at > minutes * 60:
            self._count_time()
            self._save_state()

    def end_tick(self, is_done):
        """Report, and save what is due."""
        state = self._state
        self._report()
        state.tick, state.tick_nimg = state.tick + 1, state.nimg
        if is_done or state.tick % self._options.snapshot_ticks == 0:
            self._save_snapshot()
            if is_done:
                self._save_networks("network-final.pkl")
            self._save_pictures()
            self._save_state()  # last: whoever finds it finds the rest
            self._measure()
            self._write_report()
        self._timed_nimg, self._timed_since = state.nimg, time.time()

    def stop(self):
        """Save the state in the middle of a tick."""
        self._count_time()
        self._save_state()
        util.log(f"Stopped at {self._state.nimg / 1000:g} kimg; the same command continues")

    def close(self):
        """Finish the event file."""
        if self._writer is not None:
            self._writer.close()

    # Reports

    def _report(self):
        """One line for people, one for programs, one event for TensorBoard."""
        state = self._state
        kimg = (state.nimg - self._timed_nimg) / 1000
        seconds = self._count_time()
        means = tflib.collect_autosummaries()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB => GB
        row = {
            "tick": state.tick,
            "kimg": state.nimg / 1000,
            "nimg": state.nimg,
            "seconds": round(state.seconds, 1),
            "sec_per_kimg": seconds / kimg if kimg else None,
            "memory_gb": memory,
            **means,
        }
        if self._spread is not None:  # of the last snapshot
            row["samples/variety"], row["samples/distinctness"] = self._spread
        self._signs = means.get("scores/r_t", 0.0)
        self._guard(_append_row, self._run_dir / STATS_NAME, row)
        if self._writer is not None:
            scalars = {k: v for k, v in row.items() if k != "nimg" and v is not None}
            self._writer.write(scalars, state.nimg)
        util.log(status_line(row))

    def _count_time(self):
        """Add the time since the last call to the training's; returns it."""
        now = time.time()
        seconds = now - self._timed_since
        self._state.seconds += seconds
        self._timed_nimg, self._timed_since = self._state.nimg, now
        return seconds

    def _forget_later_stats(self):
        """Remove statistics of steps after the checkpoint, which are going to be done again."""
        path = self._run_dir / STATS_NAME
        if path.exists():
            rows = path.read_text(encoding="utf-8").splitlines()
            kept = [row for row in rows if _row_nimg(row) <= self._state.nimg]
            if len(kept) < len(rows):
                with util.atomic_write(path, "w") as file:
                    file.write("".join(f"{row}\n" for row in kept))

    def _measure(self):
        """Measure the snapshot that was just saved."""
        if self._metrics is not None:
            results = self._metrics.measure(self._graph.Gs, self.last_snapshot())
            if self._writer is not None:
                scalars = {f"metrics/{name}": value for name, value in results.items()}
                self._writer.write(scalars, self._state.nimg)

    # Files

    def _save_state(self):
        self._guard(checkpoint.save_state, self._run_dir, self._graph.state_vars(), self._state)
        self._saved_at = time.time()

    def last_snapshot(self):
        """Path of the newest snapshot, or None."""
        snapshots = find_snapshots(self._run_dir)
        return snapshots[-1][1] if snapshots else None

    def _save_snapshot(self):
        """Save the networks under their number of kimg and remove the oldest snapshots."""
        self._save_networks(f"network-snapshot-{self._kimg()}.pkl")
        keep = self._options.last_snapshots
        snapshots = find_snapshots(self._run_dir)
        for _, path in snapshots[: -keep if keep > 0 else None] if keep >= 0 else ():
            path.unlink()

    def _save_networks(self, name):
        graph = self._graph
        self._guard(tflib.save_networks, (graph.G, graph.D, graph.Gs), self._run_dir / name)

    def _guard(self, save, *args):
        """Call a function that writes a file; if the disk is full, name what survives."""
        try:
            save(*args)
        except UserError as error:
            last = self.last_snapshot()
            raise UserError(f"{error}; last good snapshot: {last or 'none yet'}") from error

    def _kimg(self):
        """Images shown, for names of files; finer where snapshots are closer than a thousand."""
        spacing = self._options.tick_kimg * self._options.snapshot_ticks
        return kimg_text(self._state.nimg, is_fine=spacing < 1)

    def _save_pictures(self):
        """Sample grid and, for a network with attention, overlays; always of the same latents."""
        Gs, batch = self._graph.Gs, self._graph.split.batch_gpu
        random = np.random.RandomState(self._options.seed)
        z = random.randn(self._grid_num, *Gs.input_shapes[0][1:])
        reals, labels = self._dataset.sample_grid(self._grid_num)
        options = {"noise_mode": "const", "return_as_list": True}
        has_attention = "maps_out" in Gs.output_names
        if has_attention:
            options["maps"] = "layers"
        samples, *maps = Gs.run(z, labels, batch_size=batch, **options)
        self._warn(samples, reals)
        self._save_grid(f"fakes-{self._kimg()}.png", samples)
        if has_attention:
            self._save_attention("attention", overlay_sheet, OVERLAY_NUM, samples, maps)
            self._save_attention("layers", layer_strips, STRIPS_NUM, samples, maps)
        if not self._options.keep_samples:
            for kind in ("fakes", "attention", "layers"):
                for path in sorted(self._run_dir.glob(f"{kind}-*.png"))[:-1]:
                    path.unlink()

    def _warn(self, samples, reals):
        """Say so if samples of the moving average are too much alike, or if D knows its reals."""
        reals = reals / 127.5 - 1
        self._spread = variety(samples, reals), distinctness(samples, reals)
        for line in self._alarms.check(*self._spread, self._signs):
            util.log(line)

    def _save_attention(self, kind, draw, num, samples, maps):
        """A sheet of the first ``num`` samples, drawn by ``draw(samples, maps, ratio=...)``."""
        sheet = draw(samples[:num], [layer[:num] for layer in maps], ratio=self._ratio)
        self._save_picture(f"{kind}-{self._kimg()}.png", sheet)

    def _save_grid(self, name, samples):
        cropped = crop_to_ratio(samples, self._ratio)
        self._save_picture(name, sample_grid(cropped, self._columns))

    def _save_picture(self, name, picture):
        """Write [H, W, 3] uint8 to a file, and for TensorBoard."""
        save_picture(self._run_dir / name, picture)
        if self._writer is not None:
            kind = pathlib.Path(name).stem.partition("-")[0]
            self._writer.write_image(kind, picture, self._state.nimg)

    def _write_report(self):
        """Write report.html; a training does not end because its page cannot be written."""
        try:
            write_report(self._run_dir)
        except (UserError, OSError, ValueError, KeyError, TypeError) as error:
            util.log(f"{REPORT_NAME} not written: {error}")


def status_line(row):
    """The line of a tick, in columns as long as it fits 100 of them; what is last may be left out.

    Args:
      row: statistics of the tick.
    """
    parts = [
        f"tick {row['tick']:<4d}",
        f"kimg {row['kimg']:<7.1f}",
        f"time {util.format_time(row['seconds']):<11s}",
        f"sec/kimg {row['sec_per_kimg'] or 0:<6.4g}",
        f"G {_short(row['loss/G']):<6s}",
        f"D {_short(row['loss/D']):<6s}",
    ]
    parts += [f"{k[4:]} {_short(v):<7s}" for k, v in row.items() if k.startswith("reg/")]
    if "scores/r_t" in row:
        parts.append(f"r_t {row['scores/r_t']:<5.2f}")
    if "scores/real" in row:
        parts.append(f"gap {_short(row['scores/real'] - row['scores/fake']):<5s}")
    if "augment/p" in row:
        parts.append(f"aug {row['augment/p']:.3f}")
    parts.append(f"mem {row['memory_gb']:.1f} GB")
    line = " ".join(parts)
    while len(line) > LINE_WIDTH:
        line = " ".join(" ".join(parts).split())
        parts.pop()
    return line


def _short(value):
    """A number in at most seven columns, such as -1.2e-5."""
    text = f"{value:.3g}"
    if "e" not in text:
        return text
    number, exponent = f"{value:.1e}".split("e")
    return f"{number}e{int(exponent)}"


def _append_row(path, row):
    """Add a line to the statistics."""
    message = f"{path}: not saved, the disk is full; free some space"
    with util.explain_full_disk(message), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _row_nimg(row):
    """Images shown at a line of statistics; infinity for a line that was not finished."""
    try:
        return json.loads(row)["nimg"]
    except (ValueError, KeyError):
        return float("inf")
