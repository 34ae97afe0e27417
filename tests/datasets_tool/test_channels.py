"""--channels and --background: what is chosen by rule, and what is said."""

import json

import numpy as np
import pytest
from PIL import Image

import prepare_data
from dnnlib import cli
from training.dataset import Dataset


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def run(folder, *flags):
    argv = ["--task", "out", "--images-dir", folder, "--data-dir", folder.parent, "--workers", 1]
    return cli.run_script(prepare_data.main, [str(arg) for arg in (*argv, *flags)])


def save(folder, mode, count=3, size=(16, 8)):
    rng = np.random.RandomState(0)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "I;16": ()}[mode]
    kind = np.uint16 if mode == "I;16" else np.uint8
    for index in range(count):
        pixels = rng.randint(0, np.iinfo(kind).max + 1, [*size[::-1], *channels]).astype(kind)
        Image.fromarray(pixels).save(str(folder / f"{mode[0]}{len(mode)}-{index}.png"))


@pytest.mark.parametrize("mode, channels", [("L", 1), ("I;16", 1), ("RGB", 3), ("RGBA", 4)])
def test_the_rule(folder, capsys, mode, channels):
    save(folder, mode)
    assert run(folder, "--multi-resolution") == 0
    info, out = json.loads((folder.parent / "out/dataset.json").read_text()), capsys.readouterr()
    dataset = Dataset(folder.parent / "out")
    assert dataset.shape == (channels, 8, 8) and info["channels"] == channels
    assert Dataset(folder.parent / "out", resolution=4).num_channels == channels
    means = np.mean([dataset.image(i).mean((1, 2)) for i in range(3)], axis=0)
    np.testing.assert_allclose(info["channel_means"], means, atol=1e-3)
    lines = [line for line in out.out.splitlines() if "looked at" in line]
    assert len(lines) == (mode != "RGB")
    assert not lines or f"the set gets {channels} channel" in lines[0]
    assert ("3 images: 16-bit, scaled to 8" in out.out) == (mode == "I;16")
    assert run(folder, "--multi-resolution", "--channels", channels) == 0
    assert "is ready already" in capsys.readouterr().out


def test_mixed_sets_are_rgb_and_a_background_asks_for_it(folder, capsys):
    save(folder, "L")
    save(folder, "RGBA", 4)
    assert run(folder, "--background", "navy") == 0
    out = capsys.readouterr().out
    assert "of 7 images looked at, 3 grey and 4 partly transparent: the set gets 3 channels" in out
    assert "4 images: transparent, laid on #000080" in out
    assert Dataset(folder.parent / "out").num_channels == 3
    assert run(folder, "--overwrite") == 0 and Dataset(folder.parent / "out").num_channels == 4
    assert run(folder, "--overwrite", "--channels", 1) == 0
    out = capsys.readouterr().out
    assert "7 images of 8x8 in grey" in out and "4 images: coloured, made grey" in out


def test_colours_are_not_lost_by_rule(folder, capsys, monkeypatch):
    save(folder, "L", 2)
    save(folder, "RGB", 1)
    monkeypatch.setattr("datasets_tool.channels._LOOKED_AT", 1)
    assert run(folder) == 2
    assert "R3-0.png: has colours, unlike" in capsys.readouterr().err
    assert run(folder, "--channels", 3) == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--channels", 2], "--channels: must be one of 1, 3, 4, got 2"),
        (["--background", "whit"], "--background: must be the name of a colour or #rrggbb"),
        (["--background", "#11223344"], "give an opaque colour"),
        (["--background", "red", "--channels", 4], "--channels 4 keeps transparent parts"),
    ],
)
def test_bad_flags(folder, capsys, flags, message):
    assert run(folder, *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
