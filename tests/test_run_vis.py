"""run_network.py --vis, from the command line to the files."""

import numpy as np
import pytest
from tiny_painter import painter_network
from tiny_records import write_set

import run_network
from dnnlib import cli, tflib


@pytest.fixture
def run(session, tmp_path):
    """A function that runs ``run_network.py --vis`` with flags; one experiment has a snapshot."""
    (tmp_path / "datasets").mkdir()
    write_set(tmp_path / "datasets" / "toys", np.zeros([2, 3, 8, 8], np.uint8))
    for name, options in (("painter", {}), ("plain", {"attention": False})):
        folder = tmp_path / "results" / f"{name}-000"
        folder.mkdir(parents=True)
        tflib.save_networks(painter_network(**options), folder / "network-snapshot-000001.pkl")

    def call(*flags):
        folders = ["--data-dir", str(tmp_path / "datasets"), "--result-dir"]
        argv = ["--vis", "--dataset", "toys", *folders, str(tmp_path / "results"), *flags]
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
        (["--vis-num", "0"], "--vis-num: must be at least 1"),
        (["--vis", "False", "--vis-maps"], "--vis-maps has no effect without --vis"),
        (["--pretrained-pkl", "none.pkl"], "none.pkl"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(run, capsys, flags, message):
    assert run(*flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
