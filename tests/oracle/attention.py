"""Positional encodings and the attention layer."""

import numpy as np

from . import ops


def grid_encoding(v, r, dim, opt):
    """Encodings of the positions of a 2^r x 2^r grid => [H * W, dim]."""
    size = 2**r
    c = np.linspace(-1, 1, size) if size > 1 else np.array([-1.0])
    x, y = np.broadcast_to(c[None, :], (size, size)), np.broadcast_to(c[:, None], (size, size))
    D = opt.pos_directions_num
    angles = np.arange(D) * np.pi / D
    lines = [x * np.cos(t) + y * np.sin(t) for t in angles]  # the coordinate along each direction
    if opt.pos_type == "sinus" and D == 2:
        scale = 10000 ** (4 * np.arange(dim // 4) / dim)
        ax, ay = x[..., None] / scale, y[..., None] / scale
        e = np.concatenate([np.sin(ax), np.cos(ax), np.sin(ay), np.cos(ay)], axis=-1)
    elif opt.pos_type == "sinus":
        scale = 10000 ** (2 * D * np.arange(dim // (2 * D)) / dim)
        e = [f(line[..., None] / scale) for line in lines for f in (np.sin, np.cos)]
        e = np.concatenate(e, axis=-1)
    elif opt.pos_type == "linear":
        emb = v("emb", (D, dim // D), "uniform")
        e = np.concatenate([line[..., None] * emb[j] for j, line in enumerate(lines)], axis=-1)
    elif opt.pos_type == "trainable":
        x_emb = v("x_emb", (size, dim // 2), "uniform")
        y_emb = v("y_emb", (size, dim // 2), "uniform")
        e = np.empty((size, size, dim // 2 * 2))
        for row in range(size):
            for column in range(size):
                e[row, column] = np.concatenate([x_emb[column], y_emb[row]])
    elif opt.pos_type == "trainable2d":
        e = v("emb", (size, size, dim), "uniform")
    else:
        raise ValueError(f"pos_type {opt.pos_type}")
    return e.reshape(size * size, -1)


def upsample_assignments(a, F):
    """Assignments of the layer before, [N, M, T, F'] => [N, M, T, F] by nearest neighbour."""
    if a.shape[-1] == F:
        return a
    size = round(a.shape[-1] ** 0.5)
    a = a.reshape((*a.shape[:3], size, size)).repeat(2, axis=3).repeat(2, axis=4)
    return a.reshape((*a.shape[:3], -1))


def centroid_weights(probs):
    """Probabilities [N, M, F, T] => shares of the positions in each centroid [N, M, T, F]."""
    return (probs / (probs.sum(axis=2, keepdims=True) + 1e-8)).transpose(0, 1, 3, 2)


def split_heads(x, heads):
    """[N, F, D] => [N, M, F, D / M]."""
    N, F, D = x.shape
    return x.reshape(N, F, heads, D // heads).transpose(0, 2, 1, 3)


def normalize(x, norm, integration):
    """x [N, F, C], over positions ("instance") or channels (any other word)."""
    if norm is None:
        return x
    axis = 1 if norm == "instance" else 2
    if integration in ("add", "both"):
        x = x - x.mean(axis=axis, keepdims=True)
    if integration in ("mul", "both"):
        x = x / np.sqrt((x**2).mean(axis=axis, keepdims=True) + 1e-8)
    return x


def kmeans_probs(v, queries, T, opt, carried):
    """Probabilities by similarity to centroids of the positions => [N, M, F, T]."""
    q0, q = queries  # without and with positions
    M = opt.num_heads
    N, F, dim = q.shape
    S = dim // M
    elements = split_heads(np.concatenate([q0, q - q0], axis=-1), M)  # [N, M, F, 2S]
    if not opt.iterative:
        init = v("toasgn_init", (1, M, T, 2 * S))
        centroids = np.broadcast_to(init, (N, M, T, 2 * S))
    elif carried is None:
        centroids = ops.dense(v, q, 2 * dim, name="key2").reshape(N, T, M, 2 * S)
        centroids = centroids.transpose(0, 2, 1, 3)
    else:
        centroids = upsample_assignments(carried, F) @ elements
    probs = None
    for i in range(opt.kmeans_iters):
        if i > 0:
            centroids = centroid_weights(probs) @ elements
        st = v(f"iter_{i}/st_weights", (M, 1, 2 * S), "st_weights")
        scores = (elements * st) @ centroids.transpose(0, 1, 3, 2) / np.sqrt(S)
        probs = ops.softmax(scores)
    return probs


def plain_probs(q, k, opt, iterations):
    """softmax(q k^T / sqrt(S)); every iteration after the first divides the scores again."""
    S = q.shape[-1] // opt.num_heads
    scores = split_heads(q, opt.num_heads) @ split_heads(k, opt.num_heads).transpose(0, 1, 3, 2)
    return ops.softmax(scores / np.sqrt(S) ** iterations)


def attend(
    v, x, to, dim, opt, *, pos=(None, None), gates=(False, False), image=False, carried=None
):
    """One attention layer.

    Args:
      v: Scope AttLayer_NAME.
      x: [N, F, C], the elements that ask.
      to: [N, T, C'], the elements that answer.
      dim: Width of queries, keys and values.
      opt: The network's options.
      pos: Positions of either side, [F, P] and [T, P], or None.
      gates: Whether either side gates the probabilities.
      image: The layer l2n, which alone has norm, integration and k-means.
      carried: Assignments of the layer l2n before [N, M, T, F'].

    Returns:
      (new x [N, F, C], probabilities [N, M, F, T], assignments [N, M, T, F])
    """
    (from_pos, to_pos), (from_gate, to_gate) = pos, gates
    N, _, C = x.shape
    T, M = to.shape[1], opt.num_heads
    norm, integration = (opt.norm, opt.integration) if image else (None, "add")

    q0, k = ops.dense(v, x, dim, name="query"), ops.dense(v, to, dim, name="key")
    values = ops.dense(v, to, dim, name="value")
    q = q0
    if from_pos is not None:
        q = q0 + ops.dense(v, from_pos, dim, name="from_pos")[None]
    if to_pos is not None:
        k = k + ops.dense(v, to_pos, dim, name="to_pos")[None]

    if image and opt.kmeans:
        probs = kmeans_probs(v, (q0, q), T, opt, carried)
    else:
        probs = plain_probs(q, k, opt, opt.kmeans_iters if image else 1)

    if to_gate:
        gate = ops.dense(v, to, M, name="e_cont")
        if to_pos is not None:
            gate = gate + ops.dense(v, to_pos, M, name="e_pos")[None]
        probs = probs * ops.sigmoid(gate).transpose(0, 2, 1)[:, :, None, :]
    if from_gate:
        gate = ops.dense(v, x, M, name="n_cont")
        if from_pos is not None:
            gate = gate + ops.dense(v, from_pos, M, name="n_pos")[None]
        probs = probs * ops.sigmoid(gate + 1).transpose(0, 2, 1)[:, :, :, None]

    context = (probs @ split_heads(values, M)).transpose(0, 2, 1, 3).reshape(N, -1, dim)
    control = ops.dense(v, context, 2 * C if integration == "both" else C, name="out")
    x = normalize(x, norm, integration)
    if integration == "add":
        x = x + control
    elif integration == "mul":
        x = x * (control + 1)
    else:
        x = x * (control[..., :C] + 1) + control[..., C:]
    return x, probs, centroid_weights(probs)


def resnet_block(v, x, attention, names, *, act="lrelu", lrmul=1.0):
    """x => leaky_relu(dense(dense(attention(x))) + x); the last one without gain."""
    y = x if attention is None else attention(x)
    y = ops.dense(v.scope(names[0]), y, x.shape[-1], act, lrmul)
    y = ops.dense(v.scope(names[1]), y, x.shape[-1], "linear", lrmul)
    return ops.leaky_relu(y + x)
