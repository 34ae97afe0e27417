"""run_network.py --vis, from the command line to the files."""

import numpy as np
import pytest
from tiny_painter import painter_network
from tiny_records import write_set

import run_network
from dnnlib import cli, tflib
from dnnlib.submission.run_dir import save_config
from vis.pictures import read_picture, to_pictures
from vis.sampler import Sampler, load_sampler


@pytest.fixture
def run(session, tmp_path):
    """A function that runs ``run_network.py --vis`` with flags; one experiment has a snapshot."""
    (tmp_path / "datasets").mkdir()
    write_set(tmp_path / "datasets" / "toys", np.zeros([2, 3, 8, 8], np.uint8))
    for name, options in (("painter", {}), ("plain", {"attention": False})):
        folder = tmp_path / "results" / f"{name}-000"
        folder.mkdir(parents=True)
        tflib.save_networks(painter_network(**options), folder / "network-snapshot-000001.pkl")
        flags = {"dataset": "toys", "data-dir": str(tmp_path / "datasets"), "ratio": 0.75}
        save_config(folder, {"flags": {**flags, "truncation-psi": 0.4}, "loop": {}, "facts": {}})

    def call(*flags):
        argv = ["--vis", "--result-dir", str(tmp_path / "results"), *flags]
        return cli.run_script(run_network.main, argv)

    return call


def _files(folder):
    return sorted(path.name for path in folder.rglob("*.png"))


def test_the_newest_snapshot_is_shown_in_its_run(run, tmp_path, capsys):
    flags = ["--vis-images", "--vis-num", "2", "--truncation-psi", "0.5"]
    assert run("--expname", "painter", *flags) == 0
    visuals = tmp_path / "results" / "painter-000" / "visuals"
    assert _files(visuals) == ["seed0000.png", "seed0001.png"]
    assert "network-snapshot-000001.pkl" in capsys.readouterr().out


def test_a_run_is_shown_as_its_flags_say(run, tmp_path, monkeypatch):
    sizes, batches = [], Sampler.batches

    def watch(self, ws, *args, **kwargs):
        sizes.append(self.batch_size)
        return batches(self, ws, *args, **kwargs)

    monkeypatch.setattr(Sampler, "batches", watch)
    flags = ["--expname", "painter", "--vis-images", "--vis-num", "3"]
    assert run(*flags, "--batch-gpu", "2") == 0 and set(sizes) == {2}
    run_dir = tmp_path / "results" / "painter-000"
    sampler = load_sampler(run_dir / "network-snapshot-000001.pkl")
    want = to_pictures(sampler.images(sampler.ws_of_seeds([1], 0.4)))[0]
    picture = run_dir / "visuals" / "images" / "seed0001.png"
    np.testing.assert_array_equal(read_picture(picture), want[1:7])
    assert run(*flags, "--ratio", "1", "--truncation-psi", "1") == 0 and sizes[-1] == 8
    assert read_picture(picture).shape == (8, 8, 3)


def test_a_given_snapshot_is_shown_in_a_run_of_its_own(run, tmp_path):
    model = tmp_path / "results" / "painter-000" / "network-snapshot-000001.pkl"
    flags = ["--vis-layer-maps", "--vis-rich-num", "1", "--ratio", "0.5"]
    assert run("--expname", "other", "--pretrained-pkl", str(model), *flags) == 0
    names = _files(tmp_path / "results" / "other-000" / "visuals")
    assert names == ["layer_maps.png", "seed0000_l0_h0.png", "seed0000_l1_h0.png"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--expname", "none"], "'none' has no snapshot in"),
        (["--expname", "plain", "--vis-maps"], "this model has no attention"),
        (
            ["--expname", "painter", "--vis-animation", "mp4"],
            "--vis-animation=mp4: MP4 needs ffmpeg",
        ),
        (["--vis-num", "0"], "--vis-num: must be at least 1"),
        (
            ["--vis", "False", "--vis-maps", "--dataset", "toys"],
            "--vis-maps has no effect without --vis",
        ),
        (["--pretrained-pkl", "none.pkl"], "none.pkl"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    run, tmp_path, capsys, monkeypatch, flags, message
):
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    monkeypatch.chdir(tmp_path)
    assert run(*flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
