"""A training step compiled by XLA does what it does without."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from dnnlib.errors import UserError
from dnnlib.tflib import compat

STEP = """
    import json, sys
    import numpy as np
    from dnnlib import tflib
    from dnnlib.tflib import native
    from dnnlib.tflib.compat import configure, tf, xla_settings
    from tests.training.test_graph import GANSFORMER, batch, make_config
    from training.graph import TrainingGraph

    configure()
    native.set_custom_ops("ref")
    config = make_config(*GANSFORMER, "--batch-size=4", "--attention-dropout=0.2")
    settings = xla_settings()  # read by the process's first session
    states, clusters = [], []
    for chosen in ({}, settings):
        with tf.Graph().as_default(), tflib.create_session(chosen) as session:
            with session.as_default():
                step = TrainingGraph(config, ["/cpu:0"])
                if states:
                    tflib.set_vars({step.state_vars()[k]: v for k, v in states[0].items()})
                else:
                    states.append(tflib.run(step.state_vars()))
                images, labels = batch(4)
                seen = {}
                for phase in step.phases:
                    seen.update(step.run_phase(phase, 0, images, labels))
                states.append(tflib.run(step.state_vars()))
                metadata = tf.RunMetadata()
                session.run(
                    step.G.get_output_for(tf.zeros([1, *step.G.input_shapes[0][1:]]), None),
                    options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                    run_metadata=metadata,
                )
                nodes = [n for d in metadata.step_stats.dev_stats for n in d.node_stats]
                clusters.append(sum("xla_run" in node.node_name for node in nodes))
                states.append(seen)
    _, plain, plain_seen, compiled, compiled_seen = states
    errors = {k: float(abs(plain[k] - compiled[k]).max()) for k in plain}
    seen = {k: abs(v - compiled_seen[k]) / (abs(v) + 1e-3) for k, v in plain_seen.items()}
    sizes = {k: float(abs(v).max()) for k, v in plain.items()}
    print(json.dumps([errors, sizes, seen, clusters]))
"""


@pytest.mark.slow
def test_a_step_under_xla_gives_the_same(root):
    if compat.tf.__version__.startswith("1."):
        pytest.skip("XLA of TensorFlow 1.15 compiles a step for over ten minutes")
    environment = dict(os.environ, PYTHONPATH=str(root))
    environment.pop("TF_XLA_FLAGS", None)
    command = [sys.executable, "-c", textwrap.dedent(STEP)]
    done = subprocess.run(
        command, cwd=str(root), env=environment, stdout=subprocess.PIPE, check=True
    )
    errors, sizes, seen, clusters = json.loads(done.stdout.decode().splitlines()[-1])
    assert clusters[0] == 0 < clusters[1]  # it was compiled
    assert max(seen.values()) < 1e-4, seen
    for name, error in errors.items():
        # Adam's first steps have the gradient's sign: where that is rounding, so is the step.
        allowed = 1e-4 * max(1.0, sizes[name]) if name.startswith("Loss") else 5e-3
        assert error < allowed, name


def test_tensorflow_without_xla_is_refused(monkeypatch):
    monkeypatch.setattr(compat, "_has_xla", lambda: False)
    with pytest.raises(UserError, match=r"--xla: TensorFlow .* was built without XLA"):
        compat.xla_settings()
