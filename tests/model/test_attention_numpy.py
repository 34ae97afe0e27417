"""Our own forms of attention against NumPy loops over samples, heads, positions and latents.

The networks of published snapshots have their oracle in tests/oracle; this one is for what those
do not have: the paper's duplex attention, repaired k-means, masks and windows.
"""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from test_attention import Case, randomise

from training.model.attention import literal
from training.model.attention_weights import AttentionSpec, attention_weights
from training.model.folded import fold_queries
from training.model.image_attention import image_from_image

CASES = {
    "simplex": dict(
        num_heads=2, x_gate=True, y_gate=True, mask=True, norm="layer", integration="both"
    ),
    "kmeans": dict(kind="kmeans", num_heads=4, mask=True, norm="instance", integration="mul"),
    "kmeans_iterations": dict(kind="kmeans", num_heads=2, iterations=3, y_gate=True),
    "iterative": dict(kind="iterative", carried=4, num_heads=2, iterations=2),
    "duplex": dict(kind="duplex", num_heads=2, norm="layer", integration="mul"),
    "duplex_mask_gates": dict(kind="duplex", mask=True, x_gate=True, y_gate=True, iterations=2),
    "duplex_no_pos": dict(kind="duplex", pos=False, num_heads=2, norm="instance"),
}


def dense(v, name, x):
    """Vector [I] => [O]."""
    w = v[f"weight_{name}"]
    return x @ w / np.sqrt(len(w)) + v[f"bias_{name}"]


def softmax(scores):
    powers = np.exp(np.array(scores) - max(scores))
    return powers / powers.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def first_centroids(v, o, head, elements, keys, queries, carried, width):
    """[T][2S] of one sample and head."""
    num = len(keys)
    if o.kind == "kmeans":
        return [v["toasgn_init"][0, head, t] for t in range(num)]
    if o.kind == "duplex":  # each latent attends to the positions
        found = []
        for key in keys:
            shares = softmax([query @ key / np.sqrt(len(key)) for query in queries])
            found.append(sum(share * e for share, e in zip(shares, elements)))
        return found
    side, coarse = round(len(elements) ** 0.5), round(carried.shape[1] ** 0.5)
    found = []
    for t in range(num):
        mean, times = np.zeros(width), side // coarse
        for row in range(side):
            for column in range(side):
                share = carried[t, row // times * coarse + column // times] / times**2
                mean += share * elements[row * side + column]
        found.append(mean)
    return found


def dense_rows(v, name, rows, pos_name=None, positions=None):
    """[F, I] => [F, O], each row with its position's part if there is one."""
    out = np.stack([dense(v, name, row) for row in rows])
    if positions is not None:
        out += np.stack([dense(v, pos_name, position) for position in positions])
    return out


def head_probs(v, o, m, sides, hidden, carried):
    """Probabilities [F, T] of one head, and the first centroids, [T, 2S] or None."""
    content, place, key = sides
    S, (num, T) = key.shape[1] // o.num_heads, (len(content), len(key))
    part = slice(m * S, (m + 1) * S)
    queries, keys = (content + place)[:, part], key[:, part]
    if o.kind == "simplex":
        return np.stack([softmax(keys @ query / np.sqrt(S) + hidden) for query in queries]), None
    elements = np.concatenate([content[:, part], place[:, part]], axis=1)
    means = first_centroids(v, o, m, elements, keys, queries, carried, 2 * S)
    first, probs = np.stack(means), np.zeros([num, T])
    for i in range(o.iterations):
        if i > 0:
            total = probs.sum(axis=0) + 1e-8
            means = [
                sum(probs[f, t] / total[t] * elements[f] for f in range(num)) for t in range(T)
            ]
        balance = v[f"iter_{i}/st_weights"][m, 0]
        for f in range(num):
            dots = [(elements[f] * balance) @ mean / np.sqrt(2 * S) for mean in means]
            probs[f] = softmax(dots + hidden)
    return probs, first


def normalised(x, o):
    if o.norm is None:
        return x
    axis = 0 if o.norm == "instance" else 1
    if o.integration != "mul":
        x = x - x.mean(axis=axis, keepdims=True)
    if o.integration != "add":
        x = x / np.sqrt((x**2).mean(axis=axis, keepdims=True) + 1e-8)
    return x


def update(v, y, centroids):
    """LayerNorm(y + what each latent found)."""
    y = np.stack([row + dense(v, "update", found.ravel()) for row, found in zip(y, centroids)])
    y = y - y.mean(axis=1, keepdims=True)
    return y / np.sqrt((y**2).mean(axis=1, keepdims=True) + 1e-8)


def sample(v, x, y, o, x_pos, y_pos, mask, carried):
    """One sample: x [F, C], y [T, J] => new x, probabilities [F, M, T], new y."""
    (F, C), T, M = x.shape, len(y), o.num_heads
    content, key = dense_rows(v, "query", x), dense_rows(v, "key", y, "to_pos", y_pos)
    nothing = np.zeros_like(content)
    place = nothing if x_pos is None else dense_rows(v, "from_pos", x_pos)
    hidden = np.zeros(T) if mask is None else np.where(mask > 0, 0, -10000)
    found = [
        head_probs(v, o, m, (content, place, key), hidden, None if carried is None else carried[m])
        for m in range(M)
    ]
    probs = np.stack([shares for shares, _ in found], axis=1)
    given, S = y, key.shape[1] // M
    if o.kind == "duplex":
        y = update(v, y, np.stack([first for _, first in found], axis=1))
    if o.y_gate:
        probs *= sigmoid(dense_rows(v, "e_cont", given, "e_pos", y_pos)).T  # [M, T]
    if o.x_gate:
        probs *= sigmoid(1 + dense_rows(v, "n_cont", x, "n_pos", x_pos))[:, :, None]
    values, z = dense_rows(v, "value", y), normalised(x, o).copy()
    for f in range(F):
        taken = np.zeros(M * S)
        for m in range(M):
            for t in range(T):
                taken[m * S : (m + 1) * S] += probs[f, m, t] * values[t, m * S : (m + 1) * S]
        control = dense(v, "out", taken)
        if o.integration == "add":
            z[f] += control
        else:
            z[f] = z[f] * (1 + control[:C]) + (control[C:] if o.integration == "both" else 0)
    return z, probs, y


@pytest.mark.parametrize("name", CASES)
def test_by_loops(session, name):
    case = Case(**CASES[name])
    outputs = [case.outputs(form) for form in (fold_queries, literal)]
    randomise(session)
    inputs = [case.x, case.y, case.x_pos, case.y_pos, case.mask, case.carried]
    arrays = [None if t is None else session.run(t).astype(np.float64) for t in inputs]
    v = {key: np.asarray(value, np.float64) for key, value in session.run(case.variables).items()}
    x, y, x_pos, y_pos, mask, carried = arrays
    want = [
        sample(
            v,
            x[n],
            y[n],
            case.spec,
            x_pos,
            y_pos,
            None if mask is None else mask[n],
            None if carried is None else carried[n],
        )
        for n in range(len(x))
    ]
    for form in session.run(outputs):
        for got, *samples in zip(form, *want):
            wanted = np.stack(samples)
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, atol=2e-5 * (1 + np.abs(wanted).max()))


@pytest.mark.parametrize("window", [None, 2])
def test_positions_among_themselves_by_loops(session, window):
    """Every position attends to those of its window, or to all."""
    rng = np.random.RandomState(0)
    heads, side, C, D, P = 2, 4, 5, 8, 6
    x, pos = rng.randn(2, side**2, C), rng.randn(side**2, P)
    tensor, encoding = tf.constant(x, tf.float32), tf.constant(pos, tf.float32)
    with tf.variable_scope("att"):
        w = attention_weights(tensor, tensor, AttentionSpec(D, heads), encoding, encoding)
    got = image_from_image(tensor, w, window=window)
    variables = {v.op.name.replace("att/", ""): v for v in tf.global_variables()}
    randomise(session)
    v = {key: np.asarray(value, np.float64) for key, value in session.run(variables).items()}
    want = x.copy()
    for n in range(2):
        for f in range(side**2):
            places = range(side**2)
            if window:
                square = (f // side // window, f % side // window)
                places = [g for g in places if (g // side // window, g % side // window) == square]
            query = dense(v, "query", x[n, f]) + dense(v, "from_pos", pos[f])
            keys = [dense(v, "key", x[n, g]) + dense(v, "to_pos", pos[g]) for g in places]
            values = [dense(v, "value", x[n, g]) for g in places]
            found = np.zeros(D)
            for m in range(heads):
                part = slice(m * D // heads, (m + 1) * D // heads)
                probs = softmax([query[part] @ key[part] / np.sqrt(D / heads) for key in keys])
                found[part] = sum(p * value[part] for p, value in zip(probs, values))
            want[n, f] += dense(v, "out", found)
    np.testing.assert_allclose(session.run(got), want, atol=2e-5 * np.abs(want).max())
