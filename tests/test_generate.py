import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_painter import CLASSES, SIZE, painter_network, shared_session

import generate
from dnnlib import cli, tflib
from vis.pictures import TEXT_HEIGHT, save_picture, to_pictures
from vis.sampler import Sampler, load_sampler


def _save(tmp_path, **options):
    path = tmp_path / "model.pkl"
    tflib.save_networks(painter_network(**options), path)
    return path


@pytest.fixture(autouse=True)
def own_graph(session):
    """Networks that other tests loaded would slow down every run."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Path of a snapshot of a tiny network with attention."""
    with shared_session():
        return _save(tmp_path_factory.mktemp("model"))


def _make(model, out, *flags):
    status = cli.run_script(
        generate.run, ["--model", str(model), "--output-dir", str(out), *map(str, flags)]
    )
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    return status, names


def _read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_picture_for_each_seed_under_its_name(model, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    status, names = _make(model, out, "--seeds", "2-3,10")
    assert status == 0
    assert names == ["seed0002.png", "seed0003.png", "seed0010.png"]
    assert capsys.readouterr().out == f"3 pictures in {out}\n"
    sampler = load_sampler(model)
    want = to_pictures(sampler.images(sampler.ws_of_seeds([2, 3, 10], psi=0.7)))
    for name, picture in zip(names, want):
        np.testing.assert_array_equal(_read(out / name), picture)
    with Image.open(out / names[2]) as image:
        assert image.text == {"model": "model.pkl", "picture": "seed0010"}


@pytest.mark.parametrize("noise_mode", ["const", "random"])
def test_a_picture_does_not_depend_on_what_else_is_made(model, tmp_path, noise_mode):
    flags = ["--noise-mode", noise_mode]
    _, names = _make(model, tmp_path / "a", "--images-num", 5, "--batch-size", 3, *flags)
    assert len(names) == 5
    _make(model, tmp_path / "b", "--seeds", "4,1", "--batch-size", 1, "--grid", *flags)
    for seed in (1, 4):
        name = f"seed000{seed}{'' if noise_mode == 'const' else '_noise-random'}.png"
        np.testing.assert_array_equal(_read(tmp_path / "b" / name), _read(tmp_path / "a" / name))


def test_names_carry_what_differs_from_the_defaults(tmp_path):
    model = _save(tmp_path, c_dim=CLASSES)
    flags = ["--truncation-psi", "0.5,1", "--class", 3, "--noise-mode", "none", "--format", "webp"]
    _, names = _make(model, tmp_path / "a", "--seeds", 7, *flags)
    assert names == [
        "seed0007_class3_psi0.5_noise-none.webp",
        "seed0007_class3_psi1_noise-none.webp",
    ]
    sampler = load_sampler(model, class_idx=3)
    want = sampler.images(sampler.ws_of_seeds([7], psi=0.5), "none")
    np.testing.assert_array_equal(_read(tmp_path / "a" / names[0]), to_pictures(want)[0])
    _, names = _make(model, tmp_path / "b", "--seeds", "8-9")
    assert names == ["seed0008_class1.png", "seed0009_class2.png"]


def test_a_name_says_the_truncation_exactly(model, tmp_path):
    _, names = _make(model, tmp_path / "a", "--seeds", 3, "--truncation-psi", "0.12345678")
    assert names == ["seed0003_psi0.123457.png"]
    _make(model, tmp_path / "b", "--seeds", 3, "--truncation-psi", "0.123457")
    again = (tmp_path / "b" / names[0]).read_bytes()
    assert (tmp_path / "a" / names[0]).read_bytes() == again
    args = generate.parse_args(["--model", "m", "--truncation-psi", "0.12345678"])
    assert args.psis == [0.123457]


def test_the_grid_has_a_column_for_each_truncation(model, tmp_path):
    _make(model, tmp_path / "a", "--seeds", "0-4", "--truncation-psi", "0,1", "--grid")
    sheet = _read(tmp_path / "a" / "grid.png")
    assert sheet.shape == (5 * 128, 2 * 128, 3)
    for seed in range(5):
        for column in range(2):
            cell = sheet[seed * 128 : seed * 128 + 128 : 16, column * 128 : column * 128 + 128 : 16]
            want = _read(tmp_path / "a" / f"seed000{seed}_psi{column}.png")
            np.testing.assert_array_equal(cell, want)


def test_the_ratio_cuts_pictures_grid_and_attention(model, tmp_path):
    flags = ["--grid", "--attention", "--ratio", 0.5]
    _, names = _make(model, tmp_path / "a", "--seeds", "0-1", *flags)
    assert names == [
        "grid.png",
        "seed0000.png",
        "seed0000_attention.png",
        "seed0001.png",
        "seed0001_attention.png",
    ]
    assert _read(tmp_path / "a" / "seed0000.png").shape == (SIZE // 2, SIZE, 3)
    assert _read(tmp_path / "a" / "grid.png").shape == (64, 256, 3)
    sheet = _read(tmp_path / "a" / "seed0001_attention.png")
    top = 8 + TEXT_HEIGHT
    first = sheet[top : top + 64 : 16, 8 : 8 + 128 : 16]
    np.testing.assert_array_equal(first, _read(tmp_path / "a" / "seed0001.png"))


def test_the_ratio_is_that_of_the_models_training_set(tmp_path):
    model = _save(tmp_path, ratio=2.0)
    assert _make(model, tmp_path / "a", "--images-num", 1, "--attention")[0] == 0
    high = _read(tmp_path / "a" / "seed0000.png")
    assert high.shape == (SIZE, SIZE // 2, 3)
    _make(model, tmp_path / "b", "--images-num", 1, "--ratio", 1)
    whole = _read(tmp_path / "b" / "seed0000.png")
    np.testing.assert_array_equal(whole[:, SIZE // 4 : -SIZE // 4], high)
    _make(model, tmp_path / "c", "--images-num", 1, "--ratio", "3/4")
    np.testing.assert_array_equal(_read(tmp_path / "c" / "seed0000.png"), whole[1:-1])


def test_saved_latents_make_the_same_pictures_again(model, tmp_path):
    _make(model, tmp_path / "a", "--seeds", "3,8", "--truncation-psi", "0.4,1", "--save-latents")
    with np.load(str(tmp_path / "a" / "latents.npz")) as arrays:
        assert arrays["seeds"].tolist() == [3, 8, 3, 8]
        assert arrays["psi"].tolist() == [0.4, 0.4, 1.0, 1.0]
    _, names = _make(model, tmp_path / "b", "--latents", tmp_path / "a" / "latents.npz")
    assert names == [f"latent000{i}.png" for i in range(4)]
    for i, name in enumerate(["seed0003_psi0.4", "seed0008_psi0.4", "seed0003_psi1"]):
        want = _read(tmp_path / "a" / f"{name}.png")
        np.testing.assert_array_equal(_read(tmp_path / "b" / names[i]), want)


@pytest.mark.parametrize("space", ["z", "w"])
def test_an_interpolation_starts_at_its_seed(model, tmp_path, space):
    flags = ["--interpolate", space, "--interpolation-density", 3, "--animation", "png"]
    _, names = _make(model, tmp_path / "a", "--seeds", "5,6", *flags)
    assert names[0] == f"interpolation-{space}.png"
    with Image.open(tmp_path / "a" / names[0]) as animation:
        assert animation.n_frames == 6
        for frame, seed in ((0, 5), (3, 6)):
            animation.seek(frame)
            picture = np.asarray(animation.convert("RGB"))[::16, ::16]
            np.testing.assert_array_equal(picture, _read(tmp_path / "a" / f"seed000{seed}.png"))


def test_every_option_has_a_help_text():
    for action in generate.build_parser()._actions:
        assert action.help, action.option_strings


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--seeds", "5-3"], "--seeds=5-3: the range 5-3 runs backwards; write 3-5"),
        (["--seeds", "a"], "--seeds=a: 'a' is no seed"),
        (["--seeds", "1", "--images-num", "2"], "--seeds and --images-num exclude each other"),
        (["--latents", "a", "--class", "2"], "--latents and --class exclude each other"),
        (["--latents", "a.npz"], "a.npz: no such file"),
        (["--latents", "a", "--save-latents"], "--latents and --save-latents exclude each other"),
        (["--animation", "gif"], "--animation has no effect without --interpolate"),
        (["--interpolation-density", "8"], "--interpolation-density has no effect without"),
        (["--images-num", "2000000"], "--images-num=2000000: at most 1000000 pictures"),
        (["--images-num", "0"], "--images-num: must be at least 1"),
        (["--ratio", "0"], "--ratio: must be above 0, got 0"),
        (["--ratio", "3/4/5"], "--ratio: must be a number, got '4/5'"),
        (["--ratio", "101"], "--ratio: must be height / width, from 1/100 to 100, got 101"),
        (["--truncation-psi", "much"], "--truncation-psi: must be a number, got 'much'"),
        (["--noise-mode", "cnst"], "did you mean 'const'?"),
        (["--class", "1"], "--class=1: this model has no classes"),
        (["--interpolate", "--seeds", "1"], "--interpolate needs at least two seeds"),
        (["--gpus", "first"], "--gpus=first: give numbers"),
        (["--gpus", "5"], "--gpus=5: this machine has no GPU"),
        (["--seed-list", "1"], "--seed-list: no such flag"),
        (["--interpolate", "--animation", "mp4"], "needs ffmpeg"),
    ],
)
def test_bad_flags_get_one_line_and_status_2(model, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    out = tmp_path / "a"
    status, names = _make(model, out, *flags)
    error = capsys.readouterr().err
    assert (status, names) == (2, []), error
    assert message in error and error.count("\n") == 1


def test_attention_of_a_model_without_it_is_an_error(tmp_path, capsys):
    model = _save(tmp_path, attention=False)
    assert _make(model, tmp_path / "a", "--attention") == (2, [])
    assert "this model has no attention" in capsys.readouterr().err


def test_a_file_that_is_missing_or_no_generator(tmp_path, capsys):
    assert _make(tmp_path / "none.pkl", tmp_path / "a") == (2, [])
    error = capsys.readouterr().err
    assert "none.pkl" in error and error.count("\n") == 1
    tflib.save_networks(painter_network().components.mapping, tmp_path / "m.pkl")
    assert _make(tmp_path / "m.pkl", tmp_path / "a") == (2, [])
    assert "holds no generator, but 'G_mapping'" in capsys.readouterr().err


def test_latents_that_cannot_be_drawn_make_no_folder(model, tmp_path, capsys):
    ws = np.zeros([1, *load_sampler(model).ws_shape], np.float32)
    np.savez(str(tmp_path / "nan.npz"), ws=ws * np.nan)
    np.savez(str(tmp_path / "noise.npz"), ws=ws, **{"noise:elsewhere": np.zeros([1, 8, 8, 1])})
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("nan.npz", "noise.npz", "empty.npz"):
        status = _make(model, tmp_path / "a", "--latents", tmp_path / name)[0]
        error = capsys.readouterr().err
        assert status == 2 and name in error and error.count("\n") == 1
        assert not (tmp_path / "a").exists()


def test_an_output_folder_that_cannot_be(model, tmp_path, capsys):
    (tmp_path / "a").write_text("a file")
    for folder in (tmp_path / "a", Path("/proc")):
        flags = ["--model", str(model), "--output-dir", str(folder), "--seeds", "1"]
        assert cli.run_script(generate.run, flags) == 2
        error = capsys.readouterr().err
        assert f"--output-dir={folder}: no files can be written there" in error
        assert error.count("\n") == 1


def test_memory_does_not_grow_with_the_number_of_pictures(model, tmp_path, monkeypatch):
    # What is held at once is what the sampler is asked for at once.
    sizes = []
    batches = Sampler.batches

    def watch(self, ws, *args, **kwargs):
        sizes.append(len(ws))
        return batches(self, ws, *args, **kwargs)

    monkeypatch.setattr(Sampler, "batches", watch)
    _, names = _make(model, tmp_path / "a", "--images-num", 11, "--batch-size", 4)
    assert len(names) == 11 and sizes == [4, 4, 3]


def test_an_interrupted_run_leaves_whole_pictures_only(model, tmp_path, monkeypatch):
    def stop(path, picture, text):
        if "seed0002" in str(path):
            raise KeyboardInterrupt
        save_picture(path, picture, text)

    monkeypatch.setattr(generate, "save_picture", stop)
    status, names = _make(model, tmp_path / "a")
    assert status == 130 and names == ["seed0000.png", "seed0001.png"]
    for name in names:
        _read(tmp_path / "a" / name)


def test_the_script_runs_from_the_command_line(root):
    script = [sys.executable, str(root / "generate.py")]
    result = subprocess.run([*script, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "--truncation-psi" in result.stdout
    result = subprocess.run([*script, "--modle", "a"], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
