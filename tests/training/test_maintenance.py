"""Between the steps: what is written, kept and refused; the network is a stand-in."""

import errno
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import UserError
from training import checkpoint, maintenance, training_loop
from training.checkpoint import LoopState
from training.maintenance import Maintenance, status_line
from vis.pictures import read_picture


class FakeNetwork:
    """Has images of one colour, the mean of z, and a picklable value."""

    name = "fake"
    input_shapes = [[None, 2, 3], [None, 0]]

    def __init__(self, has_attention=True, num_components=2):
        self.num_components = num_components
        self.output_names = ["images_out", "maps_out"] if has_attention else ["images_out"]
        self.trainables = {}

    def run(self, z, labels, **options):
        images = np.tile(np.mean(z, axis=(1, 2))[:, None, None, None], [1, 3, 16, 16])
        maps = np.full([len(z), self.num_components, 1, 4, 4], 0.5, np.float32)
        return [images, maps] if "maps" in options else [images]


class FakeGraph:
    def __init__(self, **kwargs):
        self.G = self.D = self.Gs = FakeNetwork(**kwargs)
        self.split = type(
            "Split", (), dict(batch_size=4, num_replicas=1, num_rounds=1, batch_gpu=4)
        )
        self.variable = None

    def state_vars(self):
        return {}


class FakeDataset:
    resolution, ratio = 16, 0.75

    def sample_grid(self, num):
        return np.zeros([num, 3, 16, 16], np.uint8), np.zeros([num, 0], np.float32)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes a Maintenance in tmp_path; networks are saved as a text."""

    def save_networks(networks, path):
        with checkpoint.util.atomic_write(path) as file:
            file.write(b"networks")

    monkeypatch.setattr(tflib, "save_networks", save_networks)
    monkeypatch.setattr(tflib, "run", lambda fetches: {})
    monkeypatch.setattr(tflib, "collect_autosummaries", lambda: {"loss/G": 1.0, "loss/D": 2.0})

    def build(has_attention=True, metrics=None, num_components=2, **loop):
        config = {"loop": {"seed": 1, "summarize": False, **loop}, "data": {"ratio": None}}
        state = LoopState()
        graph = FakeGraph(has_attention=has_attention, num_components=num_components)
        return Maintenance(tmp_path, config, graph, FakeDataset(), state, metrics), state

    return build


def names(folder, pattern):
    return sorted(path.name for path in folder.glob(pattern))


def run_ticks(outputs, state, count, kimg=1):
    for _ in range(count):
        state.nimg += kimg * 1000
        outputs.end_tick(is_done=False)


def test_a_run_leaves_its_files(make, tmp_path):
    outputs, state = make(snapshot_ticks=2)
    outputs.begin(1.0)
    run_ticks(outputs, state, 5)
    assert names(tmp_path, "*.pkl") == [f"network-snapshot-{k:06d}.pkl" for k in (0, 2, 4)]
    assert names(tmp_path, "*.npz") == [f"training-state-{k:06d}.npz" for k in (2, 4)]
    for kind in ("fakes", "attention", "layers"):
        assert names(tmp_path, f"{kind}-*.png") == [f"{kind}-{k:06d}.png" for k in (0, 2, 4)]
    assert (tmp_path / "reals.png").exists()
    state.nimg += 1000
    outputs.end_tick(is_done=True)
    assert names(tmp_path, "network-*.pkl")[0] == "network-final.pkl"
    rows = [json.loads(row) for row in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [row["tick"] for row in rows] == list(range(6)) and rows[-1]["nimg"] == 6000
    assert rows[0]["loss/G"] == 1.0 and state.tick == 6 and state.tick_nimg == 6000


def test_only_the_last_snapshots_are_kept(make, tmp_path):
    (tmp_path / "network-final.pkl").write_bytes(b"of an earlier end")
    outputs, state = make(snapshot_ticks=1, last_snapshots=3)
    run_ticks(outputs, state, 12)
    assert names(tmp_path, "network-snapshot-*") == [
        f"network-snapshot-{k:06d}.pkl" for k in (10, 11, 12)
    ]
    assert (tmp_path / "network-final.pkl").exists()
    assert names(tmp_path, "*.npz") == ["training-state-000011.npz", "training-state-000012.npz"]


def test_all_snapshots_are_kept_if_asked(make, tmp_path):
    outputs, state = make(snapshot_ticks=1, last_snapshots=-1, keep_samples=False)
    run_ticks(outputs, state, 12)
    assert len(names(tmp_path, "network-snapshot-*")) == 12
    assert names(tmp_path, "fakes-*") == ["fakes-000012.png"]
    assert names(tmp_path, "attention-*") == ["attention-000012.png"]
    assert names(tmp_path, "layers-*") == ["layers-000012.png"]


def test_no_overlay_without_attention(make, tmp_path):
    outputs, _ = make(has_attention=False)
    outputs.begin(1.0)
    assert names(tmp_path, "*.png") == ["fakes-000000.png", "reals.png"]


def test_more_components_than_can_be_told_apart_are_drawn(make, tmp_path):
    outputs, _ = make(num_components=300)
    outputs.begin(1.0)
    for kind in ("attention", "layers"):
        assert names(tmp_path, f"{kind}-*.png") == [f"{kind}-000000.png"]


def test_pictures_keep_the_ratio_of_the_dataset(make, tmp_path):
    outputs, _ = make()
    outputs.begin(1.0)
    columns, rows, cell = 12, 6, (12 * 8, 16 * 8)  # 16 pixels, 12 of them kept, enlarged 8 times
    grid = read_picture(tmp_path / "fakes-000000.png")
    assert grid.shape == (rows * cell[0], columns * cell[1], 3)
    sheet = read_picture(tmp_path / "attention-000000.png")
    assert 4 * cell[0] < sheet.shape[0] < 4 * cell[1]  # four rows of samples


def test_the_report_is_written_at_every_snapshot(make, tmp_path):
    outputs, state = make(snapshot_ticks=2)
    outputs.begin(1.0)
    pages = []
    for tick in range(4):
        if tick % 2 == 0:
            pages.append((tmp_path / "report.html").read_text(encoding="utf-8"))
            (tmp_path / "report.html").unlink()
        run_ticks(outputs, state, 1)
    assert "fakes" in pages[0] and '"charts": []' in pages[0]
    assert "Losses" in pages[1] and (tmp_path / "report.html").exists()


def test_a_report_that_fails_stops_no_training(make, tmp_path, monkeypatch, capsys):
    def fail(_):
        raise UserError("the disk is full")

    monkeypatch.setattr(maintenance, "write_report", fail)
    outputs, state = make(snapshot_ticks=1)
    run_ticks(outputs, state, 1)
    assert (tmp_path / "training-state-000001.npz").exists()
    assert "report.html not written: the disk is full" in capsys.readouterr().out


def test_tensorboard_gets_pictures(session, make, tmp_path):
    outputs, state = make(snapshot_ticks=1, summarize=True)
    outputs.begin(1.0)
    run_ticks(outputs, state, 1)
    outputs.close()
    (path,) = tmp_path.glob("events.*")
    seen = {}
    for event in tf.train.summary_iterator(str(path)):
        for value in event.summary.value:
            if value.HasField("image"):
                seen.setdefault(value.tag, []).append(event.step)
    assert seen == {"reals": [0], "fakes": [0, 1000], "attention": [0, 1000], "layers": [0, 1000]}


def test_samples_are_the_same_latents_each_time(make, tmp_path):
    outputs, state = make(snapshot_ticks=1)
    run_ticks(outputs, state, 2)
    first, second = (tmp_path / f"fakes-00000{k}.png" for k in (1, 2))
    assert first.read_bytes() == second.read_bytes()


@pytest.fixture
def full_disk(monkeypatch):
    """From now on, nothing can be written to its end."""

    def fill():
        def fsync(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


def test_a_full_disk_leaves_the_last_good_snapshot(make, tmp_path, full_disk):
    outputs, state = make(snapshot_ticks=1)
    run_ticks(outputs, state, 1)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.[pn][kp][lz]")}
    assert len(before) == 2
    full_disk()
    state.nimg += 1000
    with pytest.raises(UserError) as error:
        outputs.end_tick(is_done=False)
    message = str(error.value)
    assert "network-snapshot-000002.pkl: not saved, the disk is full" in message
    assert message.endswith(f"last good snapshot: {tmp_path / 'network-snapshot-000001.pkl'}")
    assert "\n" not in message
    assert {path: path.read_bytes() for path in tmp_path.glob("*.[pn][kp][lz]")} == before
    assert not names(tmp_path, ".*.tmp")
    with pytest.raises(UserError, match=r"training-state-000002\.npz: not saved.*the disk is full"):
        outputs.stop()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_between_snapshots_is_one_line(make, tmp_path):
    outputs, state = make(snapshot_ticks=2)
    (tmp_path / "stats.jsonl").symlink_to("/dev/full")
    state.nimg += 1000
    with pytest.raises(UserError) as error:
        outputs.end_tick(is_done=False)
    assert "stats.jsonl: not saved, the disk is full; free some space; last" in str(error.value)


def test_checkpoints_come_by_the_clock_too(make, tmp_path, monkeypatch):
    outputs, state = make(checkpoint_minutes=2.0, snapshot_ticks=5)
    started = maintenance.time.time()
    for seconds, nimg in ((100, 1000), (121, 2000), (200, 3000), (242, 4000)):
        monkeypatch.setattr(maintenance.time, "time", lambda at=started + seconds: at)
        state.nimg = nimg
        outputs.end_step()
    want = [f"training-state-{kimg:06d}.npz" for kimg in (2, 4)]
    assert names(tmp_path, "training-state-*") == want
    assert checkpoint.read_progress(tmp_path).seconds == pytest.approx(242, abs=5)
    outputs, state = make(checkpoint_minutes=0.0)
    monkeypatch.setattr(maintenance.time, "time", lambda: started + 1e6)
    state.nimg = 9000
    outputs.end_step()
    assert names(tmp_path, "training-state-*") == want


def test_divergence_is_reported_with_tick_loss_and_snapshot(make, tmp_path):
    outputs, state = make(snapshot_ticks=1)
    run_ticks(outputs, state, 2)
    training_loop.check_finite({"loss/G": 1.0}, state, outputs)
    with pytest.raises(UserError) as error:
        values = {"loss/G": float("nan"), "loss/D": 1.0, "grad_norm/D": float("inf")}
        training_loop.check_finite(values, state, outputs)
    message = str(error.value)
    assert "in tick 2 at 2 kimg: loss/G is nan, grad_norm/D is inf;" in message
    assert str(tmp_path / "network-snapshot-000002.pkl") in message
    outputs, state = make()
    for path in tmp_path.glob("*.pkl"):
        path.unlink()
    with pytest.raises(UserError, match="last good snapshot: none yet"):
        training_loop.check_finite({"loss/G": float("nan")}, state, outputs)


def test_statistics_of_undone_steps_are_forgotten(make, tmp_path):
    rows = [json.dumps({"nimg": nimg}) for nimg in (1000, 2000, 3000)]
    (tmp_path / "stats.jsonl").write_text("\n".join([*rows, '{"nimg": 40']) + "\n")
    outputs, state = make()
    state.nimg = 2000
    outputs.begin(1.0)
    kept = (tmp_path / "stats.jsonl").read_text().splitlines()
    assert kept == rows[:2]


def test_measures_are_taken_of_each_snapshot(make, tmp_path):
    class Metrics:
        seen = []

        def measure(self, Gs, snapshot):
            self.seen.append(snapshot.name)
            return {"fid": 3.0}

    outputs, state = make(snapshot_ticks=2, metrics=Metrics())
    run_ticks(outputs, state, 4)
    assert Metrics.seen == ["network-snapshot-000002.pkl", "network-snapshot-000004.pkl"]


def test_the_status_line_tells_how_well_d_knows_fakes():
    row = {"tick": 3, "kimg": 12.0, "seconds": 60.0, "sec_per_kimg": 5.0, "memory_gb": 1.0}
    row.update({"loss/G": 1.0, "loss/D": 2.0, "scores/real": 1.5, "scores/fake": -0.25})
    assert " gap 1.75 " in status_line(row)


@pytest.mark.parametrize("reg", ["reg/r1", "reg/gp"])
def test_the_status_line_fits_a_terminal(reg):
    row = {"tick": 3124, "kimg": 24999.96, "seconds": 1e6, "sec_per_kimg": 1234.56}
    row.update({"memory_gb": 117.3, "loss/G": -12.3456, "loss/D": 123.456, reg: 12345.6789})
    line = status_line(row)
    assert len(line) <= 100
    assert "tick 3124" in line and "kimg 25000.0" in line and "11d 13h 46m" in line
    row.update({"loss/G": -1.23456e-5, "loss/D": -1.23456e-5, reg: 1.23456e-12})
    line = status_line(row)
    assert len(line) <= 100 and "D -1.2e-5" in line
    row.update({"tick": 123456, "kimg": 1234567.8, "seconds": 1e9, "memory_gb": 1234.5})
    row.update({"sec_per_kimg": 1.23456e-5, "loss/G": -1.2e-300, "loss/D": -1.2e300, reg: 1.2e300})
    line = status_line(row)
    assert len(line) <= 100 and "kimg 1234567.8" in line and "D -1.2e300" in line
