"""The optimizer against Adam as a NumPy loop; replicas and rounds against one big batch."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.optimizer import Optimizer

# Random linear regression: loss_n = sum_o (x_n W - y_n)^2, W [3, 2] with known gradients.
RNG = np.random.RandomState(7)
X, Y = RNG.randn(5, 8, 3).astype(np.float32), RNG.randn(5, 8, 2).astype(np.float32)
START = RNG.randn(3, 2).astype(np.float32)


def new_variable(name="w", value=START):
    return tf.get_variable(name, initializer=tf.constant(value), use_resource=True)


def regression(w):
    """Placeholders and the loss of each sample."""
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 2])
    return x, y, tf.reduce_sum(tf.square(tf.matmul(x, w) - y), axis=1)


def gradient(w, x, y):
    return 2 * x.T.astype(np.float64) @ (x @ w - y) / len(x)


class NumpyAdam:
    def __init__(self, lr, beta1, beta2, epsilon=1e-8):
        self.lr, self.beta1, self.beta2, self.epsilon = lr, beta1, beta2, epsilon
        self.m = self.v = 0.0
        self.t = 0

    def step(self, w, g):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        lr = self.lr * np.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        return w - lr * self.m / (np.sqrt(self.v) + self.epsilon)


def run_steps(session, update, feeds):
    for feed in feeds:
        session.run(update, feed)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_equals_adam_as_a_loop(session, clip, beta1):
    w = new_variable()
    x, y, loss = regression(w)
    opt = Optimizer("O", learning_rate=0.1, beta1=beta1, beta2=0.95, clip=clip)
    opt.register_gradients(loss, [w])
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    oracle, expected = NumpyAdam(0.1, beta1, 0.95), START.astype(np.float64)
    for i in range(5):
        g = gradient(expected, X[i], Y[i])
        norm = np.sqrt(np.sum(g**2))
        _, measured = session.run([update, opt.grad_norm], {x: X[i], y: Y[i]})
        np.testing.assert_allclose(measured, norm, rtol=1e-5)
        if clip is not None:
            assert norm > clip
            g *= clip / norm
        expected = oracle.step(expected, g)
    np.testing.assert_allclose(session.run(w), expected, rtol=1e-5, atol=1e-6)


def test_clip_leaves_small_gradients_alone(session):
    w = new_variable()
    x, y, loss = regression(w)
    opt = Optimizer("O", learning_rate=0.1, epsilon=1.0, clip=1e6)
    opt.register_gradients(loss, {"w": w})
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    session.run(update, {x: X[0], y: Y[0]})
    oracle = NumpyAdam(0.1, 0.9, 0.999, epsilon=1.0)
    expected = oracle.step(START, gradient(START, X[0], Y[0]))
    np.testing.assert_allclose(session.run(w), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("replicas, rounds", [(2, 1), (1, 4), (2, 2)])
def test_replicas_and_rounds_equal_one_big_batch(session, replicas, rounds, clip):
    """Sample n of the batch goes to replica n % R in round n // R % Q, whatever the split."""
    copies, places = [], []
    # A large epsilon, or Adam would not notice gradients of another scale.
    options = dict(learning_rate=0.1, beta1=0.5, epsilon=1.0, clip=clip)
    opt = Optimizer("O", accumulate=rounds, **options)
    for replica in range(replicas):
        with tf.device(f"/cpu:{replica}"):
            w = new_variable(f"w{replica}")
            places.append(regression(w))
            opt.register_gradients(places[-1][2], {"w": w}, replica=replica)
            copies.append(w)
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    oracle, expected = NumpyAdam(0.1, 0.5, 0.999, epsilon=1.0), START.astype(np.float64)
    for i in range(4):
        for q in range(rounds):
            feed = {}
            for replica, (x, y, _) in enumerate(places):
                rows = slice(q * replicas + replica, None, replicas * rounds)
                feed.update({x: X[i][rows], y: Y[i][rows]})
            before = session.run(copies[0])
            _, norm = session.run([update, opt.grad_norm], feed)
            assert np.array_equal(session.run(copies[0]), before) == (q < rounds - 1)
        g = gradient(expected, X[i], Y[i])
        np.testing.assert_allclose(norm, np.sqrt(np.sum(g**2)), rtol=1e-4)
        expected = oracle.step(expected, g * (1 if clip is None else clip / np.sqrt(np.sum(g**2))))
    results = session.run(copies)
    np.testing.assert_allclose(results[0], expected, rtol=1e-4, atol=1e-5)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_no_accumulators_without_accumulation(session):
    w = new_variable()
    opt = Optimizer("O")
    opt.register_gradients(regression(w)[2], [w])
    opt.apply_updates()
    names = {variable.op.name for variable in tf.global_variables()}
    assert names == {"w", "O/step", "O/num_skipped", "O/w/m", "O/w/v"}


def test_shared_moments_are_updated_by_both(session):
    """Loss and lazy regularizer: one memory, alternating gradients (StyleGAN2)."""
    w = new_variable()
    x, y, loss = regression(w)
    opt = Optimizer("Loss", learning_rate=0.1, beta1=0.5, beta2=0.9)
    reg = Optimizer("Reg", learning_rate=0.1, beta1=0.5, beta2=0.9, share=opt)
    opt.register_gradients(loss, {"w": w})
    reg.register_gradients(tf.reduce_sum(tf.square(w)) * 4, {"w": w})
    updates = [opt.apply_updates(), reg.apply_updates()]
    tflib.init_uninitialized_vars()
    oracle, expected = NumpyAdam(0.1, 0.5, 0.9), START.astype(np.float64)
    for i in range(4):
        session.run(updates[0], {x: X[i], y: Y[i]})
        expected = oracle.step(expected, gradient(expected, X[i], Y[i]))
        session.run(updates[1])
        expected = oracle.step(expected, 8 * expected)
    np.testing.assert_allclose(session.run(w), expected, rtol=1e-4, atol=1e-5)
    assert list(opt.state_vars()) == ["step", "w/m", "w/v"]
    assert reg.state_vars() == {}
    assert session.run(opt.state_vars()["step"]) == 8


def test_variables_without_gradient_keep_their_value(session):
    w, other = new_variable(), new_variable("other")
    x, y, loss = regression(w)
    opt = Optimizer("O", learning_rate=0.1)
    opt.register_gradients(loss, {"w": w, "other": other})
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    session.run(update, {x: X[0], y: Y[0]})
    assert np.array_equal(session.run(other), START)
    assert not np.array_equal(session.run(w), START)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("rounds", [1, 2])
def test_non_finite_gradients_skip_the_update_and_are_counted(session, bad, rounds):
    w = new_variable()
    x, y, loss = regression(w)
    opt = Optimizer("O", learning_rate=0.1, accumulate=rounds, clip=1.0)
    opt.register_gradients(loss, [w])
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    spoilt = X[0].copy()
    spoilt[3, 1] = bad
    run_steps(session, update, [{x: spoilt, y: Y[0]}] + [{x: X[0], y: Y[0]}] * (rounds - 1))
    assert np.array_equal(session.run(w), START)
    assert session.run(opt.num_skipped) == 1
    assert all(not np.any(value) for value in session.run(opt.state_vars()).values())
    run_steps(session, update, [{x: X[0], y: Y[0]}] * rounds)
    assert np.all(np.isfinite(session.run(w)))
    assert not np.array_equal(session.run(w), START)
    assert session.run(opt.num_skipped) == 1


def test_state_restores_the_run_exactly(session):
    """5 steps = 2 steps, save, spoil, restore, 3 steps; bit by bit, on all replicas."""
    copies, places = [], []
    opt = Optimizer("O", learning_rate=0.1, beta1=0.5)
    for replica in range(2):
        with tf.device(f"/cpu:{replica}"):
            copies.append(new_variable(f"w{replica}"))
            places.append(regression(copies[-1]))
            opt.register_gradients(places[-1][2], {"w": copies[-1]}, replica=replica)
    update, sync = opt.apply_updates(), opt.sync_replicas()
    tflib.init_uninitialized_vars()

    def feed(i):
        return {p: a[i][r::2] for r, place in enumerate(places) for p, a in zip(place, (X, Y))}

    run_steps(session, update, [feed(i) for i in range(2)])
    saved, saved_w = session.run([opt.state_vars(), copies[0]])
    run_steps(session, update, [feed(i) for i in range(2, 5)])
    expected = session.run(copies)
    opt.reset_optimizer_state()
    assert session.run(opt.state_vars()["step"]) == 0
    tflib.set_vars({variable: saved[name] for name, variable in opt.state_vars().items()})
    session.run(sync)
    tflib.set_vars(dict.fromkeys(copies, saved_w))
    run_steps(session, update, [feed(i) for i in range(2, 5)])
    assert all(np.array_equal(a, b) for a, b in zip(session.run(copies), expected))


def test_learning_rate_may_be_a_tensor(session):
    w, rate = new_variable(), tf.placeholder(tf.float32, [])
    x, y, loss = regression(w)
    opt = Optimizer("O", learning_rate=rate)
    opt.register_gradients(loss, [w])
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    session.run(update, {x: X[0], y: Y[0], rate: 0.25})
    expected = NumpyAdam(0.25, 0.9, 0.999).step(START, gradient(START, X[0], Y[0]))
    np.testing.assert_allclose(session.run(w), expected, rtol=1e-5, atol=1e-6)


def test_misuse_is_refused(session):
    w = new_variable()
    _, _, loss = regression(w)
    opt = Optimizer("O")
    with pytest.raises(RuntimeError, match="O: no gradients"):
        opt.apply_updates()
    with pytest.raises(ValueError, match="none of the variables"):
        opt.register_gradients(tf.constant(1.0), [w])
    opt.register_gradients(loss, [w])
    with pytest.raises(ValueError, match="replica 0 is registered twice"):
        opt.register_gradients(loss, [w])
    opt.apply_updates()
    with pytest.raises(RuntimeError, match="after apply_updates"):
        opt.register_gradients(loss, [w], replica=1)
    with pytest.raises(ValueError, match="accumulate"):
        Optimizer("O", accumulate=0)
    uneven = Optimizer("U")
    bias = new_variable("b", np.zeros(2, np.float32))
    uneven.register_gradients(loss, [w])
    uneven.register_gradients(tf.reduce_sum(bias), [bias], replica=1)
    with pytest.raises(ValueError, match="different variables"):
        uneven.apply_updates()
