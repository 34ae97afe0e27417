"""Augmentation in a training: what the networks see, the controller, resuming, reports."""

import argparse
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import session_config

from config.flags import FLAGS as FLAGS_TABLE
from config.options import AugmentOptions
from config.resolve import add_facts, parse, resolve
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.random import StepRandom
from training import augment, checkpoint, loss
from training.batch import Batch
from training.checkpoint import LoopState
from training.graph import TrainingGraph
from training.maintenance import status_line
from training.training_loop import run_iteration

FLAGS = ["--dataset=cats", "--channel-base=16", "--channel-max=6", "--mapping-layersnum=2"]
FLAGS += ["--latent-size=8", "--batch-size=8", "--gamma=1", "--d-reg-interval=2"]
ADA = ["--aug=ada", "--aug-p=0.5", "--aug-kimg=0.1"]


def make_config(*argv):
    config = resolve(parse([*FLAGS, *argv]))
    add_facts(config, 4, 3, 100, 0)
    return config


def batch(step):
    images = np.random.RandomState(step).randint(0, 256, [8, 3, 4, 4]).astype(np.uint8)
    return images, np.zeros([8, 0], np.float32)


# What D sees


class Seen:
    """A discriminator-like object that keeps the images it is shown."""

    def __init__(self):
        self.images = []

    def get_output_for(self, images, labels, is_training, rng):
        self.images.append(images)
        return tf.reshape(tf.reduce_sum(images**3, axis=[1, 2, 3]), [-1, 1])


class Painter:
    """A generator-like object: images that are all the latent."""

    input_shapes = ((None, 2), (None, 0))

    def get_output_for(self, z, labels, return_as_list, is_training, rng):
        return [z[:, :1, tf.newaxis, tf.newaxis] * tf.ones([5, 3, 4, 4])]


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["r1", "r2", "r1r2", "gp"])
def test_every_loss_and_penalty_takes_augmented_images(name):
    """Augmentation is a known map here: reals + 10, fakes + 20. Then D must see only such."""
    D, reals = Seen(), tf.zeros([5, 3, 4, 4])
    rng = StepRandom(0, tf.constant(0, tf.int64), 5)

    def mark(images, rng):
        site = rng.prefixes[0].strip("/").rpartition("/")[2]
        return images * 0 + {"augment_real": 10.0, "augment_fake": 20.0}[site]

    given = Batch(Painter(), D, rng, tf.zeros([5, 0]), reals, augmentation=mark)
    loss.generator_loss(given, "relativistic")
    loss.discriminator_loss(given, "logistic")
    assert [tflib.run(x).mean() for x in D.images] == [20, 10, 20, 10]
    np.testing.assert_array_equal(tflib.run(given.watched["scores/r_t"]), np.ones([5, 1]))
    loss.discriminator_loss(given, "relativistic")
    np.testing.assert_array_equal(tflib.run(given.watched["scores/r_t"]), -np.ones([5, 1]))

    del D.images[:]
    penalty = tflib.run(loss.discriminator_penalty(given, name, 1.0))
    seen = [tflib.run(x).mean() for x in D.images]
    slope = [48 * (3 * value**2) ** 2 for value in seen]  # by the augmented image, of sum x^3
    if name == "gp":
        assert 10 < seen[0] < 20
    else:
        assert seen == {"r1": [10], "r2": [20], "r1r2": [10, 20]}[name]
        np.testing.assert_allclose(penalty, 0.5 * sum(slope) * np.ones(5), rtol=1e-5)


# The controller


def test_p_follows_the_signs():
    options = AugmentOptions(name="ada", target=0.5, kimg=1.0, p=0.1)
    state = LoopState()
    assert augment.probability(options, state) == 0.1
    for _ in range(3):
        augment.adapt(options, state, 0.6, 10)
        assert augment.probability(options, state) == 0.1
    augment.adapt(options, state, 0.4, 10)  # the mean of four is 0.55
    assert state.augment_p == pytest.approx(0.1 + 40 / 1000)
    assert (state.augment_signs, state.augment_nimg) == (0, 0)
    for _ in range(4):  # at the target p stays where it is
        augment.adapt(options, state, 0.5, 10)
    assert state.augment_p == pytest.approx(0.14)
    for _ in range(4 * 5):
        augment.adapt(options, state, -1.0, 10)
    assert state.augment_p == 0.0
    for _ in range(4 * 30):
        augment.adapt(options, state, 1.0, 10)
    assert state.augment_p == 1.0


@pytest.mark.parametrize("name", ["none", "fixed", "diffaugment"])
def test_only_ada_adapts(name):
    options, state = AugmentOptions(name=name, p=0.3), LoopState()
    for _ in range(9):
        augment.adapt(options, state, 1.0, 10)
    assert state == LoopState() and augment.probability(options, state) == 0.3


def test_r_t_settles_at_its_target():
    """A D whose signs fall as p rises: r_t = 1 - p."""
    options, state = AugmentOptions(name="ada", target=0.7, kimg=2.0), LoopState()
    for _ in range(400):
        augment.adapt(options, state, 1 - augment.probability(options, state), 20)
    assert 1 - state.augment_p == pytest.approx(0.7, abs=2 * 80 / 2000)


@pytest.mark.usefixtures("session")
def test_a_checkpoint_holds_p_and_the_signs(tmp_path):
    state = LoopState(nimg=2000, augment_p=0.1 + 0.2, augment_signs=-7.0, augment_nimg=18)
    tf.get_variable("unused", [])
    checkpoint.save_state(tmp_path, {}, state)
    assert checkpoint.read_progress(tmp_path) == state
    old = {"nimg": 3000, "tick": 1, "tick_nimg": 0, "seconds": 2.0}  # of earlier versions
    meta = np.array(json.dumps({"format": 1, **old}))
    np.savez(str(tmp_path / "training-state-000003.npz"), meta=meta)
    assert checkpoint.read_progress(tmp_path) == LoopState(**old)


# A training


def train(graph, state, steps):
    seen = []
    for _ in range(steps):
        seen.append(run_iteration(graph, state, batch(state.nimg)))
        state.nimg += 8
    return seen


@pytest.mark.slow
@pytest.mark.usefixtures("session")
def test_resuming_and_splitting_change_nothing(tmp_path):
    config, state = make_config(*ADA), LoopState()
    graph = TrainingGraph(config, ["/cpu:0"])
    seen = train(graph, state, 2)
    checkpoint.save_state(tmp_path, graph.state_vars(), state)
    whole = train(graph, state, 7)
    want, end = tflib.run(graph.state_vars()), state
    assert seen[0]["augment/p"] == 0.5 and {row["augment/p"] for row in whole[3:]} != {0.5}
    assert all(abs(row["scores/r_t"]) <= 1 for row in whole)

    # Resumed: the same to the bit. Steps 3 and 4 of the first period come after the checkpoint.
    state = checkpoint.restore_state(tmp_path, graph.state_vars())
    assert state.augment_nimg == 16 and train(graph, state, 7) == whole and state == end
    for name, value in tflib.run(graph.state_vars()).items():
        np.testing.assert_array_equal(value, want[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("devices", [["/cpu:0"], ["/cpu:0", "/cpu:1"]])
def test_every_split_sees_the_same(devices):
    """r_t and scores do not depend on how a batch is split (beyond rounding)."""
    seen = []
    for size, places in ((8, ["/cpu:0"]), (4, devices)):
        argv = [f"--batch-gpu={size}", "--aug=fixed", "--aug-p=0.7", "--aug-pipe=bgcfnc"]
        with tf.Graph().as_default(), tf.Session(config=session_config()).as_default():
            graph = TrainingGraph(make_config(*argv), places)
            rng = np.random.RandomState(0)
            nets = {"G": graph.G, "D": graph.D}
            for _, net in sorted(nets.items()):
                values = {
                    v: 0.5 * rng.randn(*v.shape.as_list()) for _, v in sorted(net.vars.items())
                }
                tflib.set_vars(values)
            graph.sync_replicas()
            seen.append(train(graph, LoopState(), 1)[0])
    for name, value in seen[0].items():
        assert seen[1][name] == pytest.approx(value, rel=2e-3, abs=1e-4), name
    assert seen[0]["scores/r_t"] == pytest.approx(seen[1]["scores/r_t"], abs=1e-6)


# Flags and reports


@pytest.mark.parametrize(
    "argv, message",
    [
        (
            ["--aug-p=0.5"],
            "--aug-p has no effect without --aug ada or fixed",
        ),
        (
            ["--aug=fixed", "--aug-p=0.1", "--aug-kimg=3"],
            "--aug-kimg has no effect without --aug ada",
        ),
        (["--aug=diffaugment", "--aug-pipe=bg"], "--aug-pipe has no effect without --aug ada or"),
        (["--aug=fixed"], "--aug=fixed needs a probability, such as --aug-p=0.2"),
        (["--aug=ada", "--aug-p=1.5"], "--aug-p: must be at most 1, got 1.5"),
    ],
)
def test_flags_that_contradict_are_refused(argv, message):
    with pytest.raises(UserError, match=message):
        resolve(parse(argv))


def test_the_flag_names_the_pipes():
    parsed = FLAGS_TABLE["aug-pipe"].type
    assert set(parsed.names) == set(augment.PIPES)
    for name in augment.PIPES:
        assert parsed(name) == name and parsed(f"cutout,{name}") == f"cutout,{name}"
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"xfrac, .*, got 'xflop'; did you mean 'xflip'"
    ):
        parsed("color,xflop")


def test_the_status_line_shows_p():
    row = {"tick": 3, "kimg": 12.0, "seconds": 60.0, "sec_per_kimg": 5.0, "memory_gb": 1.0}
    row.update({"loss/G": 1.0, "loss/D": 2.0, "augment/p": 0.1234, "scores/r_t": 0.6})
    assert " aug 0.123 " in status_line(row) and len(status_line(row)) <= 100
