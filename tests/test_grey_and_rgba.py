"""Grey and RGBA sets from records to pictures, figures and latents, through the command lines."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tiny_records import write_set

import generate
import project
import run_network
from dnnlib import cli, tflib
from dnnlib.tflib.compat import tf

MODES = {1: "L", 4: "RGBA"}
FLAGS = "--gansformer-default --gpus=none --batch-size=4 --total-kimg=0.008 --tick=0.008 "
FLAGS += "--snapshot-ticks=1 --components-num=2 --latent-size=32 --mapping-layersnum=2 "
FLAGS += "--channel-base=64 --channel-max=8 --aug=ada --aug-pipe=color --aug-p=0.5"


def drawn(num, channels):
    """Discs of random place and colour on a ground that is transparent, or grey: [N, C, 16, 16]."""
    random, images = np.random.RandomState(0), []
    for _ in range(num):
        x, y = random.randint(2, 14, 2)
        picture = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
        fill = (*random.randint(80, 256, 3).tolist(), 255)
        ImageDraw.Draw(picture).ellipse((x - 4, y - 4, x + 4, y + 4), fill=fill)
        pixels = np.asarray(picture.convert(MODES[channels])).reshape(16, 16, channels)
        images.append(pixels.transpose(2, 0, 1))
    return images


def run(script, *argv):
    with tf.Graph().as_default(), tf.Session().as_default():
        assert cli.run_script(script, list(map(str, argv))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("channels", sorted(MODES))
def test_from_records_to_figures(channels, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data" / "discs", drawn(8, channels))
    where = [f"--data-dir={tmp_path / 'data'}", f"--result-dir={tmp_path / 'results'}"]
    run(run_network.main, "--train", "--dataset=discs", *FLAGS.split(), *where)
    run_dir = tmp_path / "results" / "exp-000"
    model = run_dir / "network-final.pkl"
    with tf.Graph().as_default(), tf.Session().as_default():
        G, D, _ = tflib.load_networks(model)
        assert G.output_shapes[0] == [None, channels, 16, 16]
        assert D.input_shapes[0] == [None, channels, 16, 16]
    assert json.loads((run_dir / "config.json").read_text())["facts"]["num_channels"] == channels
    for kind in ("reals", "fakes"):
        for path in run_dir.glob(f"{kind}*.png"):
            with Image.open(str(path)) as sheet:
                assert sheet.mode == "RGB"

    out = tmp_path / "pictures"
    more = ["--grid", "--attention", "--interpolate", "--interpolation-density=2"]
    run(generate.run, "--model", model, "--seeds=0-1", "--output-dir", out, *more)
    for name, mode in (
        ("seed0000", MODES[channels]),
        ("grid", "RGB"),
        ("seed0001_attention", "RGB"),
    ):
        with Image.open(str(out / f"{name}.png")) as picture:
            assert picture.mode == mode
    measured = ["--eval", "--metrics=fid", "--features=random", "--eval-images-num=8"]
    run(run_network.main, *measured, *where)
    assert (run_dir / "metric-fid-8-random.jsonl").exists(), sorted(run_dir.iterdir())
    argv = ["--steps=3", "--animation=gif", "--output-dir", tmp_path / "projected"]
    run(project.run, "--model", model, out / "seed0000.png", *argv)
    with Image.open(str(tmp_path / "projected" / "seed0000_projected.png")) as picture:
        assert picture.mode == MODES[channels]
    assert "PSNR" in capsys.readouterr().out


@pytest.mark.slow
def test_rectangles_from_records_to_figures(tmp_path):
    (tmp_path / "data").mkdir()
    images = np.stack(drawn(8, 1))
    images[:, :, :2] = images[:, :, 14:] = 0
    folder = write_set(tmp_path / "data" / "discs", images)
    (folder / "dataset.json").write_text(json.dumps({"ratio": 0.75}))
    where = [f"--data-dir={tmp_path / 'data'}", f"--result-dir={tmp_path / 'results'}"]
    flags = [*FLAGS.split(), "--rectangle", "--aug-pipe=bg", "--aug-p=1"]
    run(run_network.main, "--train", "--dataset=discs", *flags, *where)
    run(run_network.main, "--train", "--dataset=discs", *flags, *where, "--total-kimg=0.012")
    run_dir = tmp_path / "results" / "exp-000"
    assert json.loads((run_dir / "config.json").read_text())["facts"]["start"] == [3, 4]
    model, out = run_dir / "network-final.pkl", tmp_path / "pictures"
    run(generate.run, "--model", model, "--seeds=0-1", "--output-dir", out, "--grid", "--attention")
    with Image.open(str(out / "seed0000.png")) as picture:
        assert picture.size == (16, 12)
    measured = ["--metrics=fid", "--features=random", "--eval-images-num=8"]
    run(run_network.main, "--eval", *measured, *where)
    run(run_network.main, "--vis", "--vis-images", "--vis-maps", "--vis-num=2", *where)
