"""The training graph: splits of a batch, order of an iteration, every preset."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from config.resolve import add_facts, parse, resolve
from dnnlib import tflib
from dnnlib.errors import UserError
from training.batch import split_batch
from training.checkpoint import LoopState
from training.graph import TrainingGraph
from training.training_loop import run_iteration

SMALL = ["--channel-base=16", "--channel-max=6", "--mapping-layersnum=2", "--dataset=cats"]
GANSFORMER = ["--gansformer-default", "--components-num=2", "--latent-size=8", "--gamma=1"]


def make_config(*argv, resolution=8, label_size=0):
    config = resolve(parse([*SMALL, *argv]))
    add_facts(config, resolution, 3, 100, label_size)
    return config


def batch(num=8, resolution=8, label_size=0, seed=0):
    rng = np.random.RandomState(seed)
    images = rng.randint(0, 256, [num, 3, resolution, resolution]).astype(np.uint8)
    labels = np.eye(max(label_size, 1), label_size)[rng.randint(0, max(label_size, 1), num)]
    return images, labels.astype(np.float32)


def train(config, devices, steps, **kwargs):
    """Some iterations; returns the watched values of each, and the final state."""
    graph = TrainingGraph(config, devices)
    state, seen = LoopState(), []
    num = config["loop"]["batch_size"]
    for step in range(steps):
        seen.append(run_iteration(graph, state, batch(num, seed=step, **kwargs)))
        state.nimg += num
    return graph, seen, tflib.run(graph.state_vars())


# Splits


@pytest.mark.parametrize(
    "args, want",
    [
        ((32, 4, 1, 256), (4, 8)),
        ((32, None, 1, 256), (4, 8)),
        ((32, None, 2, 256), (4, 4)),
        ((32, None, 1, 1024), (4, 8)),
        ((32, None, 1, 128), (16, 2)),
        ((32, None, 1, 64), (32, 1)),
        ((12, None, 1, 256), (4, 3)),
        ((2, None, 1, 256), (2, 1)),
        ((6, None, 1, 32), (3, 2)),
        ((20, None, 1, 64), (20, 1)),
    ],
)
def test_rounds_are_chosen_by_resolution(args, want):
    split = split_batch(*args)
    assert (split.batch_gpu, split.num_rounds) == want
    assert split.batch_gpu * split.num_rounds * split.num_replicas == split.batch_size


@pytest.mark.parametrize(
    "args, message",
    [
        ((9, None, 2, 32), "--batch-size=9 is not divisible by the number of devices, 2"),
        ((16, 3, 2, 32), r"--batch-gpu=3 does not divide 8, .* use one of 1, 2, 4, 8"),
        ((12, 6, 1, 32), r"--batch-gpu=6 .* or of a multiple of 4; use one of 1, 2, 3, 4, 12"),
    ],
)
def test_batches_that_do_not_divide_are_refused(args, message):
    with pytest.raises(UserError, match=message):
        split_batch(*args)


EVERYTHING = [*GANSFORMER, "--attention-dropout=0.2", "--clip=1.5", "--component-mixing=0.5"]
EVERYTHING += ["--component-dropout=0.3", "--batch-size=8"]
PATH_LENGTH = [*GANSFORMER, "--g-reg=path_length", "--batch-size=8"]


def assert_same_training(found, want):
    """Values watched in each step, and the state after them."""
    for values, want_values in zip(found[0], want[0]):
        assert list(values) == list(want_values)
        for name, value in want_values.items():
            assert values[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert set(found[1]) == set(want[1])
    for name, value in want[1].items():
        atol = 1e-5
        if f"Loss{name}/v" in want[1]:
            # Where the gradient is rounding noise, Adam follows the noise.
            atol = np.where(want[1][f"Loss{name}/v"] < 1e-10, np.inf, 1e-4)
        wrong = np.abs(found[1][name] - value) > atol + 2e-3 * np.abs(value)
        assert not wrong.any(), (name, found[1][name], value)


def train_alone(*argv, devices=1, steps=2, **kwargs):
    """Train in a graph of its own: (values watched, state)."""
    two_devices = tf.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), tf.Session(config=two_devices).as_default():
        tf.set_random_seed(0)
        config = make_config(*argv, **kwargs)
        names = [f"/cpu:{index}" for index in range(devices)]
        graph, seen, state = train(config, names, steps, **kwargs)
        return seen, state, graph.split


@pytest.fixture(scope="module")
def one_batch():
    """Two iterations with one replica of batch 8."""
    return train_alone(*EVERYTHING)


@pytest.mark.parametrize("devices, rounds", [(2, 1), (1, 2)])
def test_every_split_of_a_batch_does_the_same(one_batch, devices, rounds):
    found = train_alone(*EVERYTHING, f"--batch-gpu={8 // devices // rounds}", devices=devices)
    assert (found[2].num_replicas, found[2].num_rounds) == (devices, rounds)
    assert_same_training(found, one_batch)


STYLEGAN2 = ["--baseline=StyleGAN2", "--latent-size=8", "--gamma=1", "--g-reg=path_length"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", [GANSFORMER, STYLEGAN2], ids=["GANsformer", "StyleGAN2"])
def test_two_devices_do_three_steps_of_one(preset):
    """Batch 4 on each of two against batch 8; the groups of the statistics layer are the same."""
    argv = [*preset, "--batch-size=8", "--d-reg-interval=2"]
    one = train_alone(*argv, "--batch-gpu=8", steps=3, resolution=4)
    two = train_alone(*argv, "--batch-gpu=4", devices=2, steps=3, resolution=4)
    assert two[2].num_replicas == 2
    assert_same_training(two, one)


@pytest.mark.slow
def test_relativistic_pairs_stay_pairs_on_two_devices():
    """Each fake is compared with the real of its own place in the batch, wherever it is."""
    argv = [*GANSFORMER, "--g-loss=relativistic", "--d-loss=relativistic", "--d-reg=r1r2"]
    argv += ["--d-reg-interval=2", "--batch-size=8"]
    one = train_alone(*argv, resolution=4)
    two = train_alone(*argv, "--batch-gpu=4", devices=2, resolution=4)
    assert one[0][0]["reg/r1r2"] > 0
    assert_same_training(two, one)


def test_path_length_sees_all_replicas():
    # Not so with rounds: the running mean of one round cannot know the lengths of the next.
    one = train_alone(*PATH_LENGTH, steps=1, resolution=4)
    two = train_alone(*PATH_LENGTH, "--batch-gpu=4", devices=2, steps=1, resolution=4)
    assert one[0][0]["path_length"] > 0 and one[1]["path_average"] > 0
    assert_same_training(two, one)


def test_labels_reach_both_networks():
    size = 3
    seen, state, _ = train_alone(
        *GANSFORMER, "--batch-size=4", steps=1, resolution=4, label_size=size
    )
    assert state["D/Output/weight"].shape[1] == size
    assert state["G/G_mapping/LabelConcat/weight"].shape[0] == size
    moments = {name: value for name, value in state.items() if name.endswith("/v")}
    for name, value in moments.items():
        if "LabelConcat" in name or "Output/weight" in name:
            assert np.abs(value).max() > 0, name
    assert np.isfinite(list(seen[0].values())).all()


# Order of things, in one graph


ORDER = [*GANSFORMER, "--batch-size=4", "--ema-kimg=0.004", "--g-reg=path_length"]
ORDER += ["--g-reg-interval=2", "--d-reg-interval=3", "--g-lr=0.01", "--d-lr=0.02"]


@pytest.fixture(scope="module")
def graph():
    with tf.Graph().as_default(), tf.Session().as_default():
        tf.set_random_seed(0)
        yield TrainingGraph(make_config(*ORDER, resolution=4), ["/cpu:0"])


@pytest.fixture
def fresh(graph):
    """The graph with the state it was built with, and its session."""
    variables = graph.state_vars()
    if not hasattr(graph, "initial"):
        graph.initial = tflib.run(variables)
    tflib.set_vars({variables[name]: value for name, value in graph.initial.items()})
    return graph


def test_phases_are_due_at_their_intervals(fresh):
    assert [phase.name for phase in fresh.phases] == ["G", "G_reg", "D", "D_reg"]
    due = []
    for step in range(7):
        values = run_iteration(fresh, LoopState(nimg=4 * step), batch(4, resolution=4))
        assert {"loss/G", "loss/D", "scores/real", "scores/fake"} <= set(values)
        due.append(("reg/path_length" in values, "reg/r1" in values))
    assert due == [(step % 2 == 0, step % 3 == 0) for step in range(7)]


def test_an_iteration_is_deterministic_and_depends_on_its_place(fresh):
    variables = fresh.state_vars()

    def step(nimg):
        tflib.set_vars({variables[name]: value for name, value in fresh.initial.items()})
        values = run_iteration(fresh, LoopState(nimg=nimg), batch(4, resolution=4))
        return values, tflib.run(variables)

    first, again, later = step(48), step(48), step(96)
    assert first[0] == again[0] != later[0]
    for name, value in first[1].items():
        np.testing.assert_array_equal(value, again[1][name], err_msg=name)


def test_lazy_regularization_adjusts_the_optimizers(fresh):
    G, G_reg, D, D_reg = [phase.optimizer for phase in fresh.phases]
    for optimizers, lr, interval in (((G, G_reg), 0.01, 2), ((D, D_reg), 0.02, 3)):
        for optimizer in optimizers:
            assert optimizer.learning_rate == pytest.approx(lr * interval / (interval + 1))
            assert optimizer.beta2 == pytest.approx(0.99 ** (interval / (interval + 1)))
    assert G.state_vars() and D.state_vars() and not G_reg.state_vars()


def test_the_moving_average_follows_after_each_iteration(fresh):
    before = tflib.run(fresh.Gs.trainables)
    run_iteration(fresh, LoopState(nimg=4), batch(4, resolution=4))
    G, Gs = tflib.run([fresh.G.vars, fresh.Gs.vars])
    for name, value in Gs.items():
        if name in before:  # a half-life of 4 images, and 4 images
            np.testing.assert_allclose(value, (before[name] + G[name]) / 2, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(value, G[name], err_msg=name)
    assert np.abs(Gs["dlatent_avg"]).max() > 0


def test_half_life_and_learning_rates_follow_the_images_shown(session):
    argv = [*GANSFORMER, "--batch-size=4", "--ema-kimg=0.1", "--ema-rampup=0.25", "--g-lr=0.01"]
    argv += ["--d-lr=0.03", "--d-reg=none", "--lr-decay-kimg=2"]
    graph = TrainingGraph(make_config(*argv, resolution=4), ["/cpu:0"])
    rates = [phase.optimizer.learning_rate for phase in graph.phases]
    for nimg, factor in ((0, 1.0), (500, 0.55 + 0.45 * 0.5**0.5), (2000, 0.1), (9000, 0.1)):
        found = tflib.run(rates, {graph._nimg: nimg})
        np.testing.assert_allclose(found, [0.01 * factor, 0.03 * factor], rtol=1e-6)
    # Images shown before => half-life: a quarter of those shown after the step, at most 100.
    for nimg, half_life in ((12, 4), (28, 8), (4000, 100)):
        before = tflib.run(graph.Gs.trainables)
        run_iteration(graph, LoopState(nimg=nimg), batch(4, resolution=4))
        after, source = tflib.run([graph.Gs.trainables, graph.G.trainables])
        beta = 0.5 ** (4 / half_life)
        for name, value in after.items():
            want = source[name] + (before[name] - source[name]) * beta
            np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6, err_msg=name)


MODELS = {
    "clevr": ["--gansformer-default", "--dataset=clevr", "--components-num=2", "--latent-size=8"],
    "ffhq": ["--gansformer-default", "--dataset=ffhq", "--components-num=2", "--latent-size=8"],
    "StyleGAN2": ["--baseline=StyleGAN2", "--latent-size=8", "--d-reg=gp", "--d-loss=wgan"],
    "GAN": ["--baseline=GAN", "--latent-size=8", "--g-loss=hinge", "--d-loss=hinge"],
    "SAGAN": ["--baseline=SAGAN", "--latent-size=8", "--g-img2img=3", "--d-reg=r2"],
    "kGAN": ["--baseline=kGAN", "--latent-size=16", "--merge-layer=3", "--d-reg=none"],
}
QUICK = ("clevr", "StyleGAN2", "kGAN")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_one_step_of_every_model_is_finite(session, name):
    config = make_config(*MODELS[name], "--batch-size=4")
    graph, seen, state = train(config, ["/cpu:0"], 1)
    assert all(np.isfinite(value) for value in seen[0].values()), seen
    for key, value in state.items():
        assert np.isfinite(value).all(), key
    assert seen[0]["grad_norm/G"] > 0 and seen[0]["grad_norm/D"] > 0
    has_reg = config["D_reg"]["name"] != "none"
    assert ("grad_norm/D_reg" in seen[0]) == has_reg
    if not has_reg:
        assert graph.phases[-1].optimizer.beta2 == 0.99  # no regularizer, no adjustment
