"""project.py from the command line to the files, and back through generate.py."""

import re

import numpy as np
import pytest
from PIL import Image
from tiny_painter import CLASSES, SIZE, K, painter_network, shared_session

import generate
import project
from dnnlib import cli, tflib
from metrics import trusted
from metrics.graph_network import GraphNetwork
from vis.pictures import read_picture, save_picture, to_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and pictures of it."""
    folder = tmp_path_factory.mktemp("project")
    with shared_session():
        tflib.save_networks(painter_network(), folder / "model.pkl")
        flags = ["--output-dir", str(folder), "--truncation-psi", "1", "--seeds", "7,8"]
        assert cli.run_script(generate.run, ["--model", str(folder / "model.pkl"), *flags]) == 0
    random = np.random.RandomState(0).randint(0, 256, [20, 40, 3]).astype(np.uint8)
    save_picture(folder / "wide.png", random)
    (folder / "text.png").write_text("no picture")
    Image.new("1", (14000, 14000)).save(str(folder / "huge.png"))  # more than Pillow opens
    (folder / "vgg16.pkl").write_bytes(b"")
    (folder / "other").mkdir()
    save_picture(folder / "other" / "wide.png", random)
    return folder


@pytest.fixture(autouse=True)
def own_graph(session):
    """Networks that other tests loaded would slow down every run."""


def _project(folder, *flags):
    flags = ["--model", str(folder / "model.pkl"), "--output-dir", str(folder / "out"), *flags]
    return cli.run_script(project.run, list(map(str, flags)))


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "flags, factor",
    # The painter's noise is half of its picture, and a search for noise starts from another one.
    [([], 10), (["--optimize-noise", "--space", "w+"], 1.25)],
)
def test_a_picture_is_projected_and_drawn_again(folder, tmp_path, capsys, flags, factor):
    model, out = folder / "model.pkl", tmp_path / "out"
    given = folder / "seed0007_psi1.png"
    argv = ["--model", model, given, "--output-dir", out, "--steps", 90, *flags]
    assert cli.run_script(project.run, list(map(str, argv))) == 0
    text = capsys.readouterr().out
    first, last = map(float, re.search(r"distance (\S+) => (\S+),", text).groups())
    assert last < first / factor
    kinds = ["comparison.png", "latents.npz", "progress.gif", "projected.png"]
    assert _names(out) == [f"seed0007_psi1_{kind}" for kind in kinds]
    found = read_picture(out / "seed0007_psi1_projected.png")
    assert found.shape == (SIZE, SIZE, 3)
    if not flags:
        assert np.abs(found.astype(int) - read_picture(given)).mean() < 20
    with Image.open(str(out / "seed0007_psi1_progress.gif")) as animation:
        assert animation.n_frames > 50
    flags = ["--latents", out / "seed0007_psi1_latents.npz", "--output-dir", tmp_path / "again"]
    assert cli.run_script(generate.run, list(map(str, ["--model", model, *flags]))) == 0
    np.testing.assert_array_equal(read_picture(tmp_path / "again" / "latent0000.png"), found)


def test_several_pictures_of_any_size(folder, tmp_path):
    flags = ["--resize", "--steps", "3", "--animation", "none", "--ratio", "0.75"]
    argv = ["--model", folder / "model.pkl", "--output-dir", tmp_path, *flags]
    argv += [folder / "wide.png", folder / "seed0008_psi1.png"]
    assert cli.run_script(project.run, list(map(str, argv))) == 0
    names = _names(tmp_path)
    assert len(names) == 6 and "wide_projected.png" in names and "wide_latents.npz" in names
    assert read_picture(tmp_path / "wide_projected.png").shape == (6, SIZE, 3)
    with np.load(str(tmp_path / "wide_latents.npz")) as arrays:
        assert arrays["ws"].shape[:2] == (1, K + 1)


def test_targets(folder, tmp_path):
    square = np.random.RandomState(1).randint(0, 256, [8, 8, 3]).astype(np.uint8)
    save_picture(tmp_path / "square.png", square)
    target = project.load_target(tmp_path / "square.png", [3, 8, 8])
    np.testing.assert_array_equal(to_pictures(target[np.newaxis])[0], square)
    wide = project.load_target(folder / "wide.png", [3, 16, 16], 0.5, is_resized=True)
    assert wide.shape == (3, 16, 16)
    assert (wide[:, :4] == -1).all() and (wide[:, 12:] == -1).all()  # black bars
    assert wide[:, 4:12].std() > 0.05
    high = project.load_target(folder / "wide.png", [3, 16, 16], 2, is_resized=True)
    assert (high[:, :, :4] == -1).all() and (high[:, :, 12:] == -1).all()
    assert high[:, :, 4:12].std() > 0.05
    grey = project.load_target(tmp_path / "square.png", [1, 8, 8])
    assert grey.shape == (1, 8, 8) and grey.dtype == np.float32


@pytest.mark.parametrize(
    "flags, message",
    [
        (["{}/none.png"], "none.png: no such file"),
        (["{}/text.png"], "text.png: not a picture that can be read"),
        (["{}/wide.png"], "40x20 pixels, but this model's pictures are 8x8; give --resize"),
        (["{}/wide.png", "{}/other/wide.png"], "have the same name"),
        (["{}/wide.png", "--ratio", "0"], "--ratio: must be above 0, got 0"),
        (["{}/wide.png", "--steps", "0"], "--steps: must be at least 1"),
        (["{}/wide.png", "--seed", "-1"], "--seed=-1: must be from 0"),
        (["{}/wide.png", "--space", "z"], "must be one of w, w+"),
        (["{}/seed0007_psi1.png", "--gpus", "5"], "--gpus=5: this machine has no GPU"),
        (["{}/seed0007_psi1.png", "--class", "0"], "this model has no classes"),
        (["{}/seed0007_psi1.png", "--trust-snapshot", "{}/no.pkl"], "no such file"),
        (["{}/seed0007_psi1.png", "--trust-snapshot", "{}/vgg16.pkl"], "leave the flag out"),
        (["{}/seed0007_psi1.png", "--output-dir", "{}/text.png"], "no files can be written there"),
        (["{}/seed0007_psi1.png", "--output-dir", "/proc"], "--output-dir=/proc: no files"),
        (["{}/huge.png"], "huge.png: not a picture that can be read"),
        ([], "required: PICTURE"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, monkeypatch, flags, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _project(folder, *[flag.format(folder) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())


def test_lpips_is_what_the_user_trusts(folder, tmp_path, capsys, monkeypatch):
    def load(path, role):
        assert (path.name, role) == ("vgg16_zhang_perceptual.pkl", "distance")
        return GraphNetwork(
            "constant", "1", build_function=lambda a, _: 0 * a[:, 0, 0, 0] + 77, num_inputs=2
        )

    monkeypatch.setattr(trusted, "load_trusted", load)
    (tmp_path / "vgg16_zhang_perceptual.pkl").write_bytes(b"")
    flags = ["--trust-snapshot", tmp_path, "--steps", "2", "--animation", "none"]
    argv = ["--model", folder / "model.pkl", folder / "seed0008_psi1.png", *flags]
    argv += ["--output-dir", tmp_path / "out"]
    assert cli.run_script(project.run, list(map(str, argv))) == 0
    assert "distance 77 => 77" in capsys.readouterr().out


def test_a_class_to_begin_with(tmp_path):
    with shared_session():
        tflib.save_networks(painter_network(c_dim=CLASSES), tmp_path / "model.pkl")
    save_picture(tmp_path / "a.png", np.zeros([SIZE, SIZE, 3], np.uint8))
    flags = ["--class", "2", "--steps", "2", "--animation", "none"]
    assert _project(tmp_path, tmp_path / "a.png", *flags) == 0


def test_a_picture_given_twice_is_projected_once():
    assert project.parse_args(["--model", "m.pkl", "a.png", "a.png"]).pictures == ["a.png"]
