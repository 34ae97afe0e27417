"""Killed at random moments of training and saving, a run loses nothing but what is done again."""

import json
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from test_resume import final_state, losses

import prepare_data
from dnnlib import cli

SERVER = pathlib.Path(__file__).with_name("kill_server.py")
COUNT, BATCH, INTERVAL = 22, 4, 16  # images, of a step, between checkpoints
FLAGS = ["--baseline=StyleGAN2", "--resolution=16", "--train", "--latent-size=8"]
FLAGS += ["--channel-base=64", "--channel-max=4", "--mapping-layersnum=2", "--d-reg-interval=3"]
FLAGS += [f"--batch-size={BATCH}", f"--tick={INTERVAL / 1000}", "--snapshot-ticks=1"]
FLAGS += ["--mirror-augment", "--gpus=none", "--custom-ops=ref"]


def make_zip(path):
    """Pictures with classes, as StyleGAN3's tool packs them."""
    random = np.random.RandomState(0)
    with zipfile.ZipFile(str(path), "w") as archive:
        for i in range(COUNT):
            with archive.open(f"{i:03d}.png", "w") as file:
                Image.fromarray(random.randint(0, 256, [16, 16, 3], np.uint8)).save(file, "png")
        labels = [[f"{i:03d}.png", i % 3] for i in range(COUNT)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return path


def dataset_flags(form, folder):
    """A training set in one of the forms that a training reads."""
    path = make_zip(folder / "toys.zip")
    if form == "zip":
        return [f"--dataset={path}"]
    argv = [f"--images-dir={path}", "--task=toys", f"--data-dir={folder}"]
    argv += ["--resolution=16", f"--record-format={form}"]
    assert cli.run_script(prepare_data.main, argv) == 0
    return ["--dataset=toys", f"--data-dir={folder}"]


def files(run_dir):
    return {path.name for path in run_dir.iterdir() if "events" not in path.name}


@pytest.mark.slow
@pytest.mark.parametrize(("form", "times"), [("raw", 20), ("png", 4), ("zip", 4)])
def test_kills_change_nothing(tmp_path, form, times):
    argv = [*FLAGS, *dataset_flags(form, tmp_path), f"--result-dir={tmp_path}"]
    command = [sys.executable, str(SERVER), "5", str(times), *argv]
    done = subprocess.run(command, stdout=-1, stderr=-1, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout.splitlines()[-1])
    assert len(kills) == times
    before = 0
    for reached, saved in kills:
        assert reached - saved <= INTERVAL  # lost, the step that was going on included
        assert before <= saved and saved % INTERVAL == 0
        before = saved
    parts, whole = tmp_path / "parts-000", tmp_path / "whole-000"
    want, found = final_state(whole), final_state(parts)
    assert set(found) == set(want) and len(want) > 100
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert losses(parts) == losses(whole)  # no step is missing, none is reported twice
    assert files(parts) == files(whole)  # nothing half-written is left
    final = [(run_dir / "network-final.pkl").read_bytes() for run_dir in (parts, whole)]
    assert final[0] == final[1]
