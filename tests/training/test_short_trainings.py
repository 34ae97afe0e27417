"""Every form of attention learns: D gets better in seconds, and pictures do not saturate."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from config.resolve import add_facts, parse, resolve
from training.checkpoint import LoopState
from training.graph import TrainingGraph
from training.training_loop import run_iteration

SMALL = [
    *("--train", "--dataset=discs", "--resolution=16", "--batch-size=8", "--gamma=1"),
    *("--transformer", "--components-num=4", "--latent-size=32", "--style", "--use-pos"),
    *("--channel-base=128", "--channel-max=16", "--mapping-layersnum=2"),
    *("--g-lr=0.002", "--d-lr=0.002"),
]
STEPS = 60
BOTH = "--g-img2ltnt --g-ltnt2ltnt --mapping-ltnt2ltnt --mapping-resnet"
FORMS = {
    "simplex": "",
    "kmeans": "--kmeans",
    "kmeans, two steps": "--kmeans --kmeans-iters=2",
    "iterative": "--kmeans --iterative",
    "duplex": "--duplex",
    "img2ltnt": "--g-img2ltnt",
    "ltnt2ltnt": "--g-ltnt2ltnt",
    "both": BOTH,
    "both, kmeans": f"{BOTH} --kmeans",
    "duplex, ltnt2ltnt": "--duplex --g-ltnt2ltnt --mapping-ltnt2ltnt --mapping-resnet",
    "gates": "--ltnt-gate --img-gate",
    "SAGAN": "--g-img2img=3 --d-img2img=3",
    "local": "--g-local-attention=4 --d-local-attention=4",
    "discriminator": "--d-transformer --d-ltnt2ltnt --d-ltnt2img",
}
CASES = [(form, "both") for form in FORMS]
CASES += [(form, how) for form in ("simplex", "kmeans", "duplex") for how in ("add", "mul")]


def discs(num, seed):
    """Coloured discs on grey: [N, 3, 16, 16] uint8."""
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:16, :16]
    images = np.full([num, 3, 16, 16], 128, np.uint8)
    for image in images:
        (y, x), radius = rng.randint(4, 12, 2), rng.randint(2, 5)
        image[:, np.hypot(rows - y, columns - x) <= radius] = rng.randint(0, 256, [3, 1])
    return images


@pytest.mark.slow
@pytest.mark.parametrize("form, integration", CASES)
def test_a_short_training_learns(session, form, integration):
    argv = [*SMALL, *FORMS[form].split(), f"--integration={integration}"]
    config = resolve(parse(argv))
    add_facts(config, 16, 3, 1000, 0)
    tf.set_random_seed(1)
    graph, state, losses = TrainingGraph(config, ["/cpu:0"]), LoopState(), []
    labels = np.zeros([8, 0], np.float32)
    for step in range(STEPS):
        values = run_iteration(graph, state, (discs(8, step), labels))
        assert all(np.isfinite(list(values.values())))
        losses.append(values["loss/D"])
        state.nimg += 8
    z = np.random.RandomState(0).randn(16, *graph.Gs.input_shapes[0][1:])
    images = graph.G.run(z, truncation_psi=1.0, return_as_list=True)[0]
    first, last = np.mean(losses[:3]), np.mean(losses[-10:])
    beyond = float(np.mean(np.abs(images) > 1))
    print(
        f"{form}, {integration}: D {first:.2f} => {last:.2f}, {beyond:.0%} beyond white and black"
    )
    assert last < first
    assert beyond < 0.5
