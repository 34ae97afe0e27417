"""Freeze-D: which layers stay as they are."""

import numpy as np
import pytest

from config.resolve import add_facts, parse, resolve
from dnnlib import tflib
from dnnlib.errors import UserError
from training.freeze import trained_variables
from training.graph import TrainingGraph

LAYERS = ["4x4/Conv", "8x8/Conv0", "8x8/Conv0/AttLayer", "8x8/Skip", "16x16/FromRGB"]
NAMES = [f"{layer}/{name}" for layer in [*LAYERS, "16x16/Conv0"] for name in ("weight", "bias")]
NAMES += ["Output/weight", "ltnt_emb/emb"]


def left(count):
    names = list(trained_variables(dict.fromkeys(NAMES), count))
    return list(dict.fromkeys(name.rpartition("/")[0] for name in names))


def test_layers_are_counted_from_the_image_on():
    ends = ["Output", "ltnt_emb"]
    assert left(0) == [*LAYERS, "16x16/Conv0", *ends]
    assert left(1) == [*LAYERS[:4], "16x16/Conv0", *ends]
    assert left(2) == [*LAYERS[:4], *ends]
    assert left(3) == ["4x4/Conv", "8x8/Skip", *ends]
    assert left(4) == ["4x4/Conv", *ends]
    with pytest.raises(UserError, match="--freeze-d=5: the discriminator has 4 layers before 4x4"):
        left(5)


@pytest.mark.slow
@pytest.mark.usefixtures("session")
def test_a_step_leaves_frozen_layers_to_the_bit():
    flags = "--dataset=cats --channel-base=16 --channel-max=6 --mapping-layersnum=2 --gamma=1"
    config = resolve(parse(f"{flags} --latent-size=8 --batch-size=4 --freeze-d=4".split()))
    add_facts(config, 8, 3, 100, 0)
    graph = TrainingGraph(config, ["/cpu:0"])
    images = np.random.RandomState(0).randint(0, 256, [4, 3, 8, 8]).astype(np.uint8)
    before = tflib.run(graph.D.trainables)
    for phase in graph.phases:
        graph.run_phase(phase, 0, images, np.zeros([4, 0], np.float32))
    after = tflib.run(graph.D.trainables)
    same = {name for name, value in before.items() if np.array_equal(value, after[name])}
    assert same == {name for name in before if name.startswith("8x8/")}
