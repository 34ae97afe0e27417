"""run_network.py --eval and --metrics, from the command line to the files."""

import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from tiny_painter import painter_network
from tiny_records import write_set

import run_network
from dnnlib import cli, fetch, tflib
from dnnlib.submission.run_dir import create_run, save_config
from dnnlib.tflib import native
from dnnlib.tflib.compat import tf

RANDOM = ["--features", "random", "--eval-images-num", "12"]


def toys():
    return np.random.RandomState(0).randint(0, 256, [16, 3, 8, 8]).astype(np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a dataset, where the cache is too."""
    monkeypatch.setattr(fetch, "cache_dir", lambda: tmp_path / "cache")
    (tmp_path / "datasets").mkdir()
    write_set(tmp_path / "datasets" / "toys", toys())
    return tmp_path


@pytest.fixture
def run(place):
    """A function that runs ``run_network.py`` with flags."""

    def call(*flags):
        folders = ["--data-dir", str(place / "datasets"), "--result-dir", str(place / "results")]
        return cli.run_script(run_network.main, [*folders, *flags])

    return call


@pytest.fixture
def painted(place):
    """A run of the experiment "painter", trained with mirrored images."""
    run_dir = create_run(str(place / "results"), "painter")
    flags = {"dataset": "toys", "mirror-augment": True, "metrics": "fid-random"}
    save_config(run_dir, {"flags": flags, "loop": {}, "facts": {}})
    with tf.Graph().as_default(), tf.Session().as_default():
        net = painter_network()
        net.reset_vars()
        tflib.save_networks(net, run_dir / "network-snapshot-000003.pkl")
    return run_dir


def read(run_dir, metric):
    lines = (run_dir / f"metric-{metric}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_is_measured_as_it_was_trained(run, place, painted, capsys):
    flags = ["--eval", "--expname", "painter", "--eval-images-num", "12"]
    assert run(*flags) == 0
    (record,) = read(painted, "fid-12-random")
    assert (record["reals"], record["kimg"], record["num_reals"]) == ("toys", 3, 12)
    assert re.search(r"fid-12-random +\d", capsys.readouterr().out)
    assert (
        run(*flags, "--mirror-augment", "False", "--metrics", "fid,kid", "--features=random") == 0
    )
    assert read(painted, "fid-12-random")[1]["results"] != record["results"]
    assert len(read(painted, "kid-12-random")) == 1


def test_a_zip_is_measured_as_records_of_its_pictures(run, place, painted):
    flags = ["--eval", "--pretrained-pkl", str(painted / "network-snapshot-000003.pkl"), *RANDOM]
    assert run(*flags, "--dataset", "toys") == 0
    path = place / "toys.zip"
    with zipfile.ZipFile(str(path), "w") as archive:
        for i, image in enumerate(toys()):
            with archive.open(f"{i:03d}.png", "w") as file:
                Image.fromarray(image.transpose(1, 2, 0)).save(file, "png")
    assert run(*flags, "--dataset", str(path)) == 0
    found = read(place / "results" / "evaluations", "fid-12-random")
    assert [record["reals"] for record in found] == ["toys", "toys.zip"]
    assert found[0]["results"] == found[1]["results"]


def test_a_snapshot_and_a_folder_need_no_run(run, place, painted):
    snapshot = painted / "network-snapshot-000003.pkl"
    assert run("--eval", "--pretrained-pkl", str(snapshot), "--dataset", "toys", *RANDOM) == 0
    assert (
        run("--vis", "--dataset", "toys", "--expname", "painter", "--vis-images", "--vis-num", "9")
        == 0
    )
    pictures = painted / "visuals" / "images"
    flags = ["--eval", "--eval-folder", str(pictures), *RANDOM]
    assert run(*flags, "--eval-reference", str(pictures)) == 0
    found = read(place / "results" / "evaluations", "fid-9-random")
    assert abs(found[-1]["results"]["fid-9-random"]) < 1e-6
    assert run(*flags, "--dataset", "toys") == 0


def test_metrics_of_every_snapshot_while_training(run, place, capsys):
    flags = ["--train", "--gansformer-default", "--dataset", "toys", "--expname", "new", *RANDOM]
    flags += ["--components-num", "2", "--latent-size", "8", "--channel-base", "32", "--gpus=none"]
    flags += ["--batch-size", "4", "--tick", "0.004", "--snapshot-ticks", "1"]
    assert run(*flags, "--total-kimg", "0.008", "--metrics", "fid,ppl_wend,is") == 0
    run_dir = place / "results" / "new-000"
    out = capsys.readouterr().out
    assert out.count("Training goes on without is-12: is needs a network that knows classes") == 1
    for metric in ("fid-12-random", "ppl_wend-12-random"):
        records = read(run_dir, metric)
        assert len(records) == 3 and all(np.isfinite(r["results"][metric]) for r in records)
        assert (run_dir / f"best-{metric}.pkl").exists()
    assert run("--eval", "--expname", "new", "--gpus=none", "--metrics", "fid") == 0
    assert len(read(run_dir, "fid-12-random")) == 3  # the same measurement; it is known


def test_flags_about_the_machine_hold_for_measuring_too(run, painted, monkeypatch):
    for name in ("_requested", "_decided", "_library"):
        monkeypatch.setattr(native, name, getattr(native, name))  # put back afterwards
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    settings, create = [], tflib.create_session
    monkeypatch.setattr(tflib, "create_session", lambda x: settings.append(x) or create(x))
    flags = ["--eval", "--expname", "painter", *RANDOM]
    assert run(*flags, "--custom-ops", "ref", "--xla") == 0
    assert native._requested == "ref" and native.library() is None
    assert "graph_options.optimizer_options.global_jit_level" in settings[0]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--eval", "--expname", "painter", "--gpus", "7"], "--gpus=7: this machine has no GPU"),
        (["--eval", "--expname", "none"], "--eval: the experiment 'none' has no snapshot in"),
        (["--eval", "--expname", "painter", "--metrics", "fdi"], "did you mean 'fid'"),
        (["--train", "--dataset", "toys", "--metrics", "fdi"], "did you mean 'fid'"),
        (["--eval", "--expname", "painter", "--dataset", "toyz"], "toyz: there is no such dataset"),
        (["--eval", "--eval-folder", "nowhere"], "nowhere: there is no such folder"),
        (["--eval-all", "--dataset", "toys"], "--eval-all has no effect without --eval"),
        (["--eval", "--eval-images-num", "1"], "--eval-images-num: must be at least 2"),
        (["--eval", "--features", "vgg"], "--features: must be one of inception"),
        (["--eval", "--expname", "painter", "--inception", "none.pb"], "--inception: none.pb"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    run, painted, capsys, monkeypatch, flags, message
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if "--inception" in flags:
        flags = [*flags, "--metrics", "fid"]
    assert run(*flags) == cli.EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
