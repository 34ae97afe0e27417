"""The examples of docs/extending.md are executed."""

import re

import numpy as np
import pytest

from config import presets
from config.resolve import add_facts, parse, resolve
from dnnlib import tflib
from dnnlib.tflib import builders
from metrics import registry
from training import loss, networks
from training.graph import TrainingGraph
from training.model import image_attention

TABLES = {
    "GENERATOR_LOSSES": loss,
    "DISCRIMINATOR_LOSSES": loss,
    "GENERATOR_REGULARIZERS": loss,
    "DISCRIMINATOR_REGULARIZERS": loss,
    "_builders": builders,
    "FORMS": image_attention,
    "BASELINES": presets,
    "_protocols": registry,
}


@pytest.fixture
def examples(root, session):
    """Namespace of all code blocks; what they register is forgotten afterwards."""
    networks.generator, registry.protocols()  # all registered
    known = {name: dict(getattr(module, name)) for name, module in TABLES.items()}
    text = (root / "docs" / "extending.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    found = {}
    exec(compile(code, "extending.md", "exec"), found)
    yield found
    for name, module in TABLES.items():
        table = getattr(module, name)
        table.clear()
        table.update(known[name])


def test_the_losses_and_the_regularizer_are_registered_and_computed(examples, session):
    tf = examples["tf"]
    f, t = tf.constant([[3.0]]), tf.constant([[0.5]])
    assert session.run(loss.GENERATOR_LOSSES["least_squares"](f)) == 4.0
    assert session.run(loss.DISCRIMINATOR_LOSSES["least_squares"](f, t)) == 9.25

    class Batch:
        reals = t

        def scores(self, images, site):
            return images * 2

    penalty = loss.DISCRIMINATOR_REGULARIZERS["small_scores"](Batch())
    assert session.run(penalty) == [1.0]


def test_the_metric_measures(examples):
    (protocol,) = registry.find("mean1k")

    class Context:
        def fake_features(self, role, num):
            return np.full([5, 2], 3.0)

        def real_features(self, role, num):
            return np.full([7, 2], [0.0, -1.0])

    assert protocol.measure(Context(), **protocol.options) == {"": 5.0}


def test_the_score_is_that_of_a_network(examples, session):
    sizes = dict(resolution=8, z_dim=6, w_dim=6, components_num=3, transformer=True)
    options = dict(channel_base=32, channel_max=8, attention_form="cosine")
    net = tflib.Network("G", "generator", synthesis=options, **sizes)
    tflib.set_vars({v: np.ones(v.shape.as_list()) for v in net.vars.values()})
    z = examples["tf"].constant(np.random.RandomState(1).randn(2, 4, 6), "float32")
    images, *_ = net.get_output_for(z, None, return_as_list=True)
    assert np.isfinite(session.run(images)).all()
    ops = [op for op in images.graph.get_operations() if "l2_normalize" in op.name]
    assert ops, "the scores are not those of the example"


def test_everything_is_trained_from_the_command_line(examples, session):
    argv = "--dataset=cats --baseline=Plain --batch-size=4 --latent-size=8 --mapping-layersnum=1"
    argv += " --channel-base=32 --channel-max=8 --g-loss=least_squares --d-loss=least_squares"
    argv += " --g-reg=small_styles --d-reg=small_scores --seed=3"
    config = resolve(parse(argv.split()))
    add_facts(config, 8, 3, 100, 0)
    graph = TrainingGraph(config, ["/cpu:0"])
    assert graph.D.builder == "plain_discriminator"
    images = np.random.RandomState(1).randint(0, 256, [4, 3, 8, 8]).astype(np.uint8)
    stats = {}
    for phase in graph.phases:
        stats.update(graph.run_phase(phase, 0, images, np.zeros([4, 0], np.float32)))
    assert {"loss/G", "loss/D", "reg/small_styles", "reg/small_scores"} <= set(stats)
    assert np.isfinite(list(stats.values())).all() and stats["reg/small_styles"] > 0
