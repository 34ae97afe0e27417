"""What a discriminator remembers: bench/held_out.py."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT
from tiny_records import write_set

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.compat import tf

sys.path.insert(0, str(ROOT / "bench"))

import held_out

BATCH, TRAINING, RESOLUTION = 3, 5, 8


@pytest.fixture
def run(tmp_path):
    """A run directory of fresh networks, on 5 of 12 images; also the images and D's scores."""
    images = np.random.RandomState(4).randint(256, size=[12, 3, RESOLUTION, RESOLUTION])
    images = images.astype(np.uint8)
    write_set(tmp_path / "set", images)
    sizes = dict(channel_base=64, channel_max=6)
    data = dict(dataset="set", data_dir=str(tmp_path), resolution=RESOLUTION, ratio=None)
    data.update(rectangle=False, train_images_num=TRAINING)
    loop = dict(batch_size=BATCH, seed=2)
    config = {"flags": {}, "facts": {}, "data": data, "loop": loop}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with tf.Graph().as_default(), tflib.create_session({}):
        latents = dict(z_dim=4, w_dim=4, components_num=2, resolution=RESOLUTION)
        G = tflib.Network("G", "generator", synthesis=sizes, **latents)
        D = tflib.Network("D", "discriminator", resolution=RESOLUTION, **sizes)
        tflib.save_networks((G, D, G.clone("Gs")), tmp_path / "network-snapshot-000001.pkl")
        floats = images / np.float32(127.5) - 1

        def score(start):
            batch = floats[start : start + BATCH]
            return D.run(batch, np.zeros([BATCH, 0], np.float32)).mean()

        yield tmp_path, score


def test_scores_are_those_of_whole_batches_of_each_part(run):
    folder, score = run
    training, other, samples = held_out.mean_scores(folder, 100)
    np.testing.assert_allclose(training, score(0), rtol=1e-5)
    np.testing.assert_allclose(other, (score(5) + score(8)) / 2, rtol=1e-5)
    assert np.isfinite(samples) and samples not in (training, other)


def test_a_run_on_all_images_has_none_to_compare_with(run):
    folder, _ = run
    config = json.loads((folder / "config.json").read_text())
    config["data"]["train_images_num"] = 12
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"all 12 images .*--train-images-num holds some out"):
        held_out.mean_scores(folder, 100)


def test_share_of_memory():
    assert held_out.memory_share(2.0, 2.0, -1.0) == 0.0
    assert held_out.memory_share(2.0, -1.0, -1.0) == 1.0
    assert held_out.memory_share(3.0, 2.0, -1.0) == 0.25
