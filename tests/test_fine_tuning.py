"""run_network.py --train --pretrained-pkl, from the command line to the files."""

import numpy as np
import pytest
from tiny_records import write_set

import run_network
from dnnlib import cli, tflib
from dnnlib.tflib.compat import tf

FLAGS = ["--train", "--gpus=none", "--batch-size=4", "--tick=0.004", "--snapshot-ticks=1"]
FLAGS += ["--baseline=StyleGAN2", "--latent-size=32", "--channel-base=128", "--channel-max=16"]
FLAGS += ["--g-lr=1e-12", "--d-lr=1e-12", "--total-kimg=0.004"]  # what is trained stays


@pytest.fixture
def train(tmp_path):
    """A function that runs ``run_network.py --train`` with flags, in a graph of its own."""
    (tmp_path / "datasets").mkdir()
    images = np.random.RandomState(0).randint(0, 256, [8, 3, 32, 32]).astype(np.uint8)
    write_set(tmp_path / "datasets" / "toys", images)
    where = [f"--data-dir={tmp_path / 'datasets'}", f"--result-dir={tmp_path / 'results'}"]

    def call(*flags):
        with tf.Graph().as_default(), tf.Session().as_default():
            argv = [*FLAGS, "--dataset=toys", *where, *flags]
            return cli.run_script(run_network.main, argv)

    return call


@pytest.mark.slow
def test_fine_tune_nvidias_network_and_resume_without_it(train, tmp_path, data_dir, capsys):
    published = data_dir / "conformance" / "networks" / "stylegan2__config_f_r32"
    data = np.load(str(published.with_suffix(".npz")))
    copy = tmp_path / "copy.pkl"
    copy.write_bytes(published.with_suffix(".pkl").read_bytes())
    assert train(f"--pretrained-pkl={copy}") == 0
    out = capsys.readouterr().out
    run_dir = tmp_path / "results" / "exp-000"
    assert out.count("Beginning with") == 1
    assert "Gs, only in the snapshot: lod" in (run_dir / "log.txt").read_text().splitlines()
    with tf.Graph().as_default(), tf.Session().as_default():
        G = tflib.load_networks(run_dir / "network-final.pkl")[0]
        assert G.builder == "generator"
        images = G.run(data["z"][:, np.newaxis], None, truncation_psi=1, noise_mode="const")
    assert np.abs(images - data["G_psi1_images"]).max() < 1e-4

    # Longer, without naming it: the checkpoint counts, and the snapshot need not be there.
    copy.unlink()
    assert train("--total-kimg=0.008") == 0
    out = capsys.readouterr().out
    assert "Continuing at 0.004 kimg" in out and "Beginning with" not in out
    assert f'"pretrained_pkl": "{copy}"' in (run_dir / "config.json").read_text()


@pytest.mark.slow
def test_what_fits_nowhere_leaves_no_run_behind(train, tmp_path, data_dir, capsys):
    """The next try may have other flags."""
    published = data_dir / "conformance" / "networks" / "stylegan2__config_f_r32.pkl"
    flags = ["--channel-max=5", "--latent-size=7", f"--pretrained-pkl={published}"]
    for _ in range(2):
        assert train(*flags) == cli.EXIT_USER_ERROR
        (line,) = capsys.readouterr().err.splitlines()
        assert "fits nowhere" in line
        flags[0] = "--channel-max=3"
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["exp-000"]
