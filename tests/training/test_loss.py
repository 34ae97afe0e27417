"""Losses and regularizers: closed forms, recorded values and gradients, second derivatives."""

import pathlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from training import loss
from training.batch import Batch, Step

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data" / "conformance"
SAMPLES = ("head__02_gansformer_ffhq_r32", "legacy__03_stylegan2_r32")


class Recorded:
    """Stands in for StepRandom: gives recorded numbers by site."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def child(self, prefix):
        return self

    def normal(self, site, shape):
        array = self.arrays[site]
        assert list(array.shape[1:]) == list(shape)
        return tf.constant(array)

    uniform = normal


def recorded_batch(G, D, data):
    """What the recorded losses were computed from."""
    rng = Recorded(z=data["z"], gp_mix=data["gp_mixing"], path_noise=data["pl_noise"])
    num = len(data["z"])
    still = dict(noise_mode="const", style_mixing=0.0, attention_dropout=0.0)
    labels = tf.zeros([num, 0])
    reals = tf.constant(data["reals"])
    return Batch(G, D, rng, labels, reals, still, dict(attention_dropout=0.0))


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request):
    """G, D and the recorded numbers, in a graph of their own."""
    tflib.compat.configure()
    path = FOLDER / "networks" / f"{request.param}.pkl"
    data = dict(np.load(str(FOLDER / "losses" / f"{request.param}_losses.npz")))
    with tf.Graph().as_default(), tf.Session().as_default():
        yield tflib.load_networks(path, only=0), tflib.load_networks(path, only=1), data


def assert_gradients(total, net, data, key):
    """Compare the gradients by their norms and their products with cos(0), cos(1), cos(2), ..."""
    names = list(data[f"{key}_grad/names"])
    variables = [net.trainables[name] for name in names]
    grads = tf.gradients(total, variables)
    connected = [grad is not None for grad in grads]
    found = iter(tflib.run([grad for grad in grads if grad is not None]))
    norms = np.maximum(data[f"{key}_grad/norm"], 0.0)  # -1 stands for "not connected"
    for name, is_connected, length, product in zip(
        names, connected, norms, data[f"{key}_grad/cosdot"]
    ):
        grad = next(found).ravel().astype(np.float64) if is_connected else np.zeros(1)
        assert np.linalg.norm(grad) == pytest.approx(length, rel=1e-3, abs=1e-7), name
        cosdot = grad @ np.cos(np.arange(grad.size))
        assert cosdot == pytest.approx(product, rel=1e-3, abs=1e-3 * length + 1e-7), name


def test_recorded_losses_and_gradients_of_g(sample):
    G, D, data = sample
    batch = recorded_batch(G, D, data)
    before = tflib.run(G.vars["dlatent_avg"])
    np.testing.assert_allclose(before, data["dlatent_avg_before"], rtol=1e-6)
    value = loss.generator_loss(batch, "logistic_ns")
    assert value.shape.as_list() == [4, 1] and batch.watched == {}
    np.testing.assert_allclose(tflib.run(value), data["G_loss/logistic_ns"], rtol=1e-3)
    after = tflib.run(G.vars["dlatent_avg"])
    np.testing.assert_allclose(after, data["dlatent_avg_after_one_G_loss"], rtol=1e-4, atol=1e-6)
    for name in ("logistic", "wgan"):  # the recorded hinge is the clipped form, see ours
        found = tflib.run(loss.generator_loss(batch, name))
        np.testing.assert_allclose(found, data[f"G_loss/{name}"], rtol=1e-3)
    assert_gradients(tf.reduce_mean(value), G, data, "G_loss/logistic_ns")


def test_recorded_losses_and_gradients_of_d(sample):
    G, D, data = sample
    batch = recorded_batch(G, D, data)
    for name in ("logistic", "hinge", "wgan"):
        value = loss.discriminator_loss(batch, name)
        found = tflib.run(value)
        np.testing.assert_allclose(found, data[f"D_loss/{name}"], rtol=1e-3)
    assert set(batch.watched) == {"scores/fake", "scores/real", "scores/r_t"}
    value = tf.reduce_mean(loss.discriminator_loss(batch, "logistic"))
    assert_gradients(value, D, data, "D_loss/logistic")


@pytest.mark.parametrize("name", ["r1", "r2", "gp"])
def test_recorded_regularizers_and_their_gradients(sample, name):
    G, D, data = sample
    penalty = loss.discriminator_penalty(recorded_batch(G, D, data), name, 10.0)
    assert penalty.shape.as_list() == [4]
    key = f"D_reg/{name}_gamma10"
    np.testing.assert_allclose(tflib.run(penalty), data[key], rtol=1e-3)
    assert_gradients(tf.reduce_mean(penalty), D, data, key)


# Closed forms


class Linear:
    """A network-like object whose scores are <w, x> and whose images are <a, z> b."""

    def __init__(self, w=None, shape=(3, 4, 2)):
        rng = np.random.RandomState(0)
        self.w = tf.constant(w, tf.float32) if w is not None else None
        self.a = tf.constant(rng.randn(5), tf.float32)
        self.b = tf.constant(rng.randn(*shape), tf.float32)
        self.input_shapes = [[None, 5], [None, 0]]

    def get_output_for(
        self, x, labels, is_training, rng, return_as_list=False, return_ws=False, gain=1.0
    ):
        assert is_training
        if self.w is not None:
            return tf.reduce_sum(x * self.w, axis=[1, 2, 3])[:, None]
        ws = tf.identity(x)[:, None, None, :] * gain  # [N, K, L, D]
        scale = tf.reduce_sum(ws * self.a, axis=[1, 2, 3])
        images = scale[:, None, None, None] * self.b
        return [images, ws] if return_ws else [images]


def linear_batch(num=6):
    rng = np.random.RandomState(1)
    w = rng.randn(3, 4, 2).astype(np.float32)
    reals = rng.randn(num, 3, 4, 2).astype(np.float32)
    sites = Recorded(
        z=rng.randn(num, 5).astype(np.float32),
        gp_mix=rng.rand(num, 1, 1, 1).astype(np.float32),
        path_noise=rng.randn(num, 3, 4, 2).astype(np.float32),
    )
    batch = Batch(Linear(), Linear(w), sites, tf.zeros([num, 0]), tf.constant(reals))
    return batch, w, sites.arrays


def test_penalties_of_a_linear_discriminator(session):
    batch, w, _ = linear_batch()
    slope = np.sum(w**2)
    wanted = dict(r1=slope / 2, r2=slope / 2, r1r2=slope, gp=(np.sqrt(slope) - 1) ** 2)
    for name, want in wanted.items():
        found = session.run(loss.discriminator_penalty(batch, name, gamma=3.0))
        np.testing.assert_allclose(found, np.full([6], 3 * want), rtol=1e-5)


def test_path_length_of_a_linear_generator(session):
    batch, _, arrays = linear_batch()
    b, a = session.run([batch.G.b, batch.G.a])
    y = arrays["path_noise"] / np.sqrt(4 * 2)
    want = np.abs(np.sum(y * b, axis=(1, 2, 3))) * np.linalg.norm(a)  # one component, one layer
    lengths = loss.path_lengths(batch)
    np.testing.assert_allclose(session.run(lengths), want, rtol=1e-5)
    penalty = loss.generator_penalty(batch, "path_length", weight=3.0)
    variable, after = batch.step.means["path_average"]
    session.run(variable.assign(0.5))
    average = 0.5 + 0.01 * (want.mean() - 0.5)
    assert session.run(after) == pytest.approx(average, rel=1e-5)
    np.testing.assert_allclose(session.run(penalty), 3 * (want - average) ** 2, rtol=1e-4)
    np.testing.assert_allclose(session.run(batch.watched["path_length"]), want, rtol=1e-5)


def test_gradients_flow_through_the_updated_running_mean(session):
    """Those of every device into every other's: the mean is a mean over devices."""
    x, share = np.array([[1.0, 3.0], [7.0, 2.0]], np.float32), 0.5
    lengths, step = tf.constant(x), Step()
    batches = [Batch(None, None, None, None, reals=lengths[i], step=step) for i in range(2)]
    means = [batch.running_mean("mean", lambda b: b.reals, decay=share) for batch in batches[:1]]
    means += [batches[1].running_mean("mean", None, None)]
    assert means[0] is means[1]
    variable, after = step.means["mean"]
    session.run(variable.assign(1.0))
    assert session.run(after) == pytest.approx(1 + share * (x.mean() - 1))
    penalty = tf.reduce_mean(tf.square(lengths - means[0]))

    def value(x):
        return np.mean((x - (1 + share * (x.mean() - 1))) ** 2)

    moves = 1e-3 * np.eye(4).reshape(4, 2, 2)
    want = [(value(x + move) - value(x - move)) / 2e-3 for move in moves]
    found = session.run(tf.gradients(penalty, lengths)[0])
    np.testing.assert_allclose(found.ravel(), want, rtol=1e-3)


def test_relativistic_losses_compare_pairs(session):
    """R3GAN, Sec. 2: f(D(G(z)) - D(x)) for D, f(D(x) - D(G(z))) for G, with f = softplus."""
    random = np.random.RandomState(0)
    f, t = random.randn(2, 5, 1) * 3
    for table, margin in ((loss.GENERATOR_LOSSES, f - t), (loss.DISCRIMINATOR_LOSSES, t - f)):
        found = session.run(table["relativistic"](tf.constant(f), tf.constant(t)))
        np.testing.assert_allclose(found, np.log1p(np.exp(-margin)), rtol=1e-6)


def test_relativistic_generator_looks_at_reals(session):
    batch, w, _ = linear_batch()
    found = session.run(loss.generator_loss(batch, "relativistic"))
    fakes, reals = session.run([batch.fakes(), batch.reals])
    margin = np.sum((fakes - reals) * w, axis=(1, 2, 3))
    np.testing.assert_allclose(found[:, 0], np.log1p(np.exp(-margin)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic_ns", "hinge", "wgan", "relativistic"])
def test_generator_learns_even_when_d_is_sure(session, name):
    scores = tf.constant([[-20.0], [0.0], [20.0]])
    others = [tf.zeros_like(scores)] if name == "relativistic" else []
    grad = tf.gradients(loss.GENERATOR_LOSSES[name](scores, *others), scores)[0]
    assert session.run(grad)[0, 0] < -0.5


@pytest.mark.parametrize("name", loss.DISCRIMINATOR_LOSSES)
def test_discriminator_is_pushed_apart(session, name):
    fake, real = tf.constant([[0.1]]), tf.constant([[-0.1]])
    value = loss.DISCRIMINATOR_LOSSES[name](fake, real)
    grads = session.run(tf.gradients(value, [fake, real]))
    assert grads[0] > 0 > grads[1]


def test_unknown_loss_suggests_the_closest_name(session):
    batch, _, _ = linear_batch()
    with pytest.raises(
        ValueError, match=r"generator loss must .* got 'hings'; did you mean 'hinge'\?"
    ):
        loss.generator_loss(batch, "hings")
    with pytest.raises(ValueError, match=r"regularizer must be one of gp, none, r1, r1r2, r2, got"):
        loss.discriminator_penalty(batch, "r3")


# Second derivatives against finite differences, on real networks


def tiny_networks(**attention):
    shape = dict(resolution=8, num_channels=3)
    # Smooth activations: a penalty of a piecewise linear network jumps at its kinks.
    channels = dict(channel_base=16, channel_max=6, nonlinearity="softplus")
    G = tflib.Network(
        "G",
        "generator",
        z_dim=4,
        w_dim=4,
        mapping=dict(mapping_num_layers=2, mapping_lrmul=1.0, mapping_nonlinearity="tanh"),
        synthesis=dict(channels, **attention.get("synthesis", {})),
        **shape,
        **attention.get("G", {}),
    )
    D = tflib.Network(
        "D", "discriminator", **shape, **channels, mbstd_group_size=2, **attention.get("D", {})
    )
    return G, D


NETWORKS = {
    "stylegan2": {},
    "gansformer": dict(
        G=dict(components_num=3, transformer=True, use_pos=True),
        synthesis=dict(architecture="resnet", norm="layer", integration="mul", kmeans=True),
    ),
    "aggregators": dict(
        G=dict(components_num=3, transformer=True),
        synthesis=dict(architecture="orig", integration="both"),
        D=dict(transformer=True, components_num=2, a_dim=4),
    ),
}


@pytest.mark.parametrize("name", ["r1", "r1r2", "gp", "path_length"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_second_derivatives(session, kind, name):
    G, D = tiny_networks(**NETWORKS[kind])
    rng = np.random.RandomState(0)
    num = 2
    arrays = dict(
        z=rng.randn(num, *G.input_shapes[0][1:]).astype(np.float32),
        gp_mix=rng.rand(num, 1, 1, 1).astype(np.float32),
        path_noise=rng.randn(num, 3, 8, 8).astype(np.float32),
    )
    reals = tf.constant(rng.rand(num, 3, 8, 8).astype(np.float32) * 2 - 1)
    still = dict(noise_mode="const", style_mixing=0.0, attention_dropout=0.0, w_avg_beta=1.0)
    labels = tf.zeros([num, 0])
    batch = Batch(G, D, Recorded(**arrays), labels, reals, still, dict(attention_dropout=0.0))
    if name == "path_length":
        net, values = G, tf.square(loss.path_lengths(batch))
    else:
        net, values = D, loss.discriminator_penalty(batch, name)
    total = tf.reduce_sum(values)
    variables = list(net.trainables.values())
    grads = tf.gradients(total, variables)
    pairs = [(v, g) for v, g in zip(variables, grads) if g is not None]
    assert len(pairs) > len(variables) / 3
    before, slopes = session.run([[v for v, _ in pairs], [g for _, g in pairs]])
    # Half of the way along the gradient, half at random, such that the slope is not lost in noise.
    noise = [rng.randn(*value.shape) for value in before]
    directions = [s / norm(slopes) + d / norm(noise) for s, d in zip(slopes, noise)]
    want = sum(np.sum(d * s) for d, s in zip(directions, slopes))

    def move(step):
        tflib.set_vars({v: b + step * d for (v, _), b, d in zip(pairs, before, directions)})
        return float(session.run(total))

    assert want > 0
    found = [(move(step) - move(-step)) / (2 * step) for step in (1e-3, 3e-3, 1e-2)]
    assert min(abs(f / want - 1) for f in found) < 0.01, (found, want)


def norm(arrays):
    return np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays))


@pytest.mark.parametrize(
    "nimg, weight", [(0, 3.0), (1500, 0.5 + 2.5 * 0.5 * (1 + np.cos(np.pi / 4))), (99000, 0.5)]
)
def test_gamma_moves_along_a_cosine(session, nimg, weight):
    batch, _, _ = linear_batch()
    batch.step.nimg = nimg
    one = loss.discriminator_penalty(batch, "r1", 1.0)
    moved = loss.discriminator_penalty(batch, "r1", 3.0, gamma_end=0.5, gamma_kimg=6.0)
    one, moved = session.run([one, moved])
    np.testing.assert_allclose(moved, one * weight, rtol=1e-5)
