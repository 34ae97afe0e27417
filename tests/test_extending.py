"""The examples of docs/extending.md are executed."""

import re

import numpy as np
import pytest

from dnnlib import tflib
from metrics import registry
from training import loss
from training.model.image_attention import FORMS


@pytest.fixture
def examples(root, session, monkeypatch):
    """Namespace of all code blocks; what they register is forgotten afterwards."""
    for table in ("GENERATOR_LOSSES", "DISCRIMINATOR_LOSSES", "DISCRIMINATOR_REGULARIZERS"):
        known = getattr(loss, table)
        for name in ("least_squares", "small_scores"):
            monkeypatch.setitem(known, name, None)
            monkeypatch.delitem(known, name)
    monkeypatch.setitem(FORMS, "cosine", None)
    monkeypatch.delitem(FORMS, "cosine")
    monkeypatch.setattr(registry, "_protocols", dict(registry.protocols()))
    text = (root / "docs" / "extending.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    found = {}
    exec(compile(code, "extending.md", "exec"), found)
    return found


def test_the_losses_and_the_regularizer_are_registered_and_computed(examples, session):
    tf = examples["tf"]
    f, t = tf.constant([[3.0]]), tf.constant([[0.5]])
    assert session.run(loss.GENERATOR_LOSSES["least_squares"](f, None)) == 4.0
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
