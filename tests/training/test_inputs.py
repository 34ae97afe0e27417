"""Batches in the devices' memory, one ahead; logical CPU devices stand for GPUs."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from test_graph import GANSFORMER, batch, make_config

from dnnlib import tflib
from training.checkpoint import LoopState
from training.graph import TrainingGraph
from training.inputs import Inputs
from training.training_loop import run_iteration, with_following

DEVICES, ROUNDS, NUM = ["/cpu:0", "/cpu:1"], 3, 5
SESSION = dict(config=tf.ConfigProto(device_count={"CPU": 2}))


def build(num_labels=4):
    turn = tf.placeholder_with_default(np.int32(0), [])
    return Inputs(DEVICES, [NUM, 3, 2, 7], num_labels, turn, ROUNDS), turn


def made(seed, num_labels=4):
    rng = np.random.RandomState(seed)
    images = rng.randint(0, 256, [2 * ROUNDS * NUM, 3, 2, 7]).astype(np.uint8)
    return images, rng.randn(len(images), num_labels).astype(np.float32)


def assert_in_front(inputs, turn, want):
    """Sample s of the batch is on device s % 2, in round s // 2 % 3."""
    for number in range(ROUNDS):
        for index, found in enumerate(tflib.run(inputs.heads, {turn: number})):
            assert [x.device[-6:] for x in inputs.heads[index][:1]] == [f":CPU:{index}"]
            rows = [s for s in range(len(want[0])) if (s % 2, s // 2 % 3) == (index, number)]
            for got, array in zip(found, want):
                np.testing.assert_array_equal(got, array[rows])


@pytest.mark.parametrize("num_labels", [0, 4])
def test_the_next_batch_stands_behind_the_present_one(num_labels):
    first, second, third = (made(seed, num_labels) for seed in range(3))
    with tf.Graph().as_default():
        inputs, turn = build(num_labels)
        with tf.Session(**SESSION).as_default():
            inputs.hold(*first)
            assert_in_front(inputs, turn, first)
            assert inputs.end_step() == []  # nothing came behind it
            for now, following in ((first, second), (second, third)):
                inputs.hold(*now)
                for number in range(ROUNDS):
                    tflib.run(inputs.put, inputs.ahead(*following, number))
                    assert_in_front(inputs, turn, now)
                with pytest.raises(AssertionError, match="one batch ahead"):
                    inputs.ahead(*first, 0)
                tflib.run(inputs.end_step())
                assert_in_front(inputs, turn, following)
            inputs.hold(*first)  # another one than was announced
            assert_in_front(inputs, turn, first)
        with tf.Session(**SESSION).as_default():  # whose queues are empty
            inputs.hold(*first)
            assert_in_front(inputs, turn, first)


def test_pairs():
    assert list(with_following(iter("abc"))) == [("a", "b"), ("b", "c")]


@pytest.mark.slow
def test_copied_ahead_the_same_is_learned_to_the_bit():
    config = make_config(*GANSFORMER, "--batch-size=8", "--batch-gpu=2", "--d-reg-interval=2",
                         resolution=4, label_size=2)  # fmt: skip
    batches = [batch(8, 4, 2, seed) for seed in range(4)]
    with tf.Graph().as_default(), tf.Session(**SESSION).as_default():
        graph = TrainingGraph(config, DEVICES)
        assert (graph.split.num_replicas, graph.split.num_rounds) == (2, 2)
        variables = graph.state_vars()
        initial, results = tflib.run(variables), []
        for following in (batches[1:], [None] * 3, [batches[2], None, batches[0]]):
            tflib.set_vars({variables[name]: value for name, value in initial.items()})
            graph.sync_replicas()
            state, seen = LoopState(), []
            for now, then in zip(batches, following):
                seen.append(run_iteration(graph, state, now, then))
                state.nimg += 8
            results.append((seen, tflib.run(variables)))
    for seen, values in results[1:]:
        assert seen == results[0][0]
        for name, value in values.items():
            np.testing.assert_array_equal(value, results[0][1][name], err_msg=name)
        assert any((value != initial[name]).any() for name, value in values.items())
