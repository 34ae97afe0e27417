"""Attention written down literally: every projection is computed, nothing is folded.

The oracle of the folded form, in values and in gradients. x asks, y answers; axes as in
training/model/attention.py. Variables come by name, as the layers create them, not yet scaled.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from training.model.quirks import NO_QUIRKS


class Options:
    """Options of one attention; anything not given is off."""

    heads, x_gate, y_gate, integration, norm = 1, False, False, "add", None
    kind, iterations, quirks = "simplex", 1, NO_QUIRKS
    x_pos = y_pos = mask = carried = keep = None

    def __init__(self, **options):
        for name, value in options.items():
            assert hasattr(self, name), name
            setattr(self, name, value)


def dense(v, name, x):
    """x W / sqrt(I) + b."""
    w = v[f"weight_{name}"]
    size = w.shape.as_list()[0]
    return tf.tensordot(x, w / np.sqrt(size).astype(np.float32), axes=1) + v[f"bias_{name}"]


def split(x, heads):
    """[N, T, D] => [N, M, T, S]."""
    _, num, dim = x.shape.as_list()
    return tf.transpose(tf.reshape(x, [-1, num, heads, dim // heads]), [0, 2, 1, 3])


def masked_softmax(scores, o, times=1.0):
    """Softmax over the last axis of [N, M, F, T]."""
    if o.mask is not None:
        scores += times * -10000.0 * (1.0 - o.mask)[:, None, None, :]
    return tf.nn.softmax(scores)


def assignments(probs):
    """[N, M, F, T] => [N, M, T, F], rows of sum one."""
    return tf.transpose(probs / (tf.reduce_sum(probs, axis=2, keepdims=True) + 1e-8), [0, 1, 3, 2])


def enlarged(carried, num_positions, o):
    """Assignments of a coarser grid on a finer one."""
    _, heads, num, old = carried.shape.as_list()
    if old == num_positions:
        return carried
    size = int(np.sqrt(old))
    x = tf.reshape(carried, [-1, heads, num, size, 1, size, 1])
    x = tf.reshape(tf.tile(x, [1, 1, 1, 1, 2, 1, 2]), [-1, heads, num, num_positions])
    return x if o.quirks.repeated_assignments else x * old / num_positions


def queries(v, x, o):
    """Content and position of every query: [N, F, D] each."""
    content = dense(v, "query", x)
    position = tf.zeros_like(content)
    return content, position if o.x_pos is None else position + dense(v, "from_pos", o.x_pos)


def found_centroids(v, y, e, scores):
    """What the latents find in the image, [N, M, T, 2S], and the latents with it, [N, T, J]."""
    m = tf.matmul(tf.nn.softmax(tf.transpose(scores, [0, 1, 3, 2])), e)
    N, heads, T, width = m.shape.as_list()
    y += dense(v, "update", tf.reshape(tf.transpose(m, [0, 2, 1, 3]), [N, T, heads * width]))
    y -= tf.reduce_mean(y, axis=2, keepdims=True)
    return m, y / tf.sqrt(tf.reduce_mean(y**2, axis=2, keepdims=True) + 1e-8)


def centroid_probs(v, y, halves, scores, o):
    """Probabilities [N, M, F, T] by centroids, and new y."""
    q0, qp = halves
    N, F, D = q0.shape.as_list()
    T = y.shape.as_list()[1]
    if o.quirks.heads_of_joined:
        e = split(tf.concat([q0, qp], axis=2), o.heads)
    else:
        e = tf.concat([split(q0, o.heads), split(qp, o.heads)], axis=3)  # [N, M, F, 2S]
    if o.kind == "duplex":
        m, y = found_centroids(v, y, e, scores)
    elif o.kind == "iterative" and o.carried is not None:
        m = tf.matmul(enlarged(o.carried, F, o), e)
    elif o.kind == "iterative" and T <= F:
        chosen = [round(i) for i in np.linspace(0, F - 1, T)]
        m = split(tf.gather(dense(v, "key2", q0 + qp), chosen, axis=1), o.heads)
    else:
        m = tf.tile(v["toasgn_init"], [N, 1, 1, 1])
    width = D // o.heads * (1 if o.quirks.scaled_by_half else 2)
    probs = None
    for i in range(o.iterations):
        if i > 0:
            m = tf.matmul(assignments(probs), e)
        scores = tf.matmul(e * v[f"iter_{i}/st_weights"], m, transpose_b=True)
        probs = masked_softmax(scores / np.float32(np.sqrt(width)), o)
    return probs, y


def gated(v, probs, x, y, o):
    """Probabilities [N, M, F, T] with the gates of both sides."""
    if o.y_gate:
        gate = dense(v, "e_cont", y)
        gate += 0.0 if o.y_pos is None else dense(v, "e_pos", o.y_pos)
        probs *= tf.transpose(tf.sigmoid(gate), [0, 2, 1])[:, :, None, :]
    if o.x_gate:
        gate = dense(v, "n_cont", x) + 1.0
        gate += 0.0 if o.x_pos is None else dense(v, "n_pos", o.x_pos)
        probs *= tf.transpose(tf.sigmoid(gate), [0, 2, 1])[..., None]
    return probs


def normalized(x, o):
    """x [N, F, C], as the integration wants it."""
    if o.norm is None:
        return x
    axis = 1 if o.norm == "instance" else 2
    if o.integration != "mul":
        x -= tf.reduce_mean(x, axis=axis, keepdims=True)
    if o.integration != "add":
        x /= tf.sqrt(tf.reduce_mean(x**2, axis=axis, keepdims=True) + 1e-8)
    return x


def attention(v, x, y, o):
    """Returns new x [N, F, C], probabilities [N, F, M, T] and new y [N, T, J]."""
    N, F, C = x.shape.as_list()
    halves = queries(v, x, o)
    k = dense(v, "key", y)
    k += 0.0 if o.y_pos is None else dense(v, "to_pos", o.y_pos)
    D = k.shape.as_list()[2]
    root = np.float32(np.sqrt(D // o.heads))
    scores = tf.matmul(split(sum(halves), o.heads), split(k, o.heads), transpose_b=True)
    given = y
    if o.kind == "simplex":
        times = sum(root**-i for i in range(o.iterations))
        probs = masked_softmax(scores / root**o.iterations, o, times)
    else:
        probs, y = centroid_probs(v, y, halves, scores / root, o)
    if o.keep is not None:
        probs *= tf.transpose(o.keep, [0, 2, 1, 3])
    probs = gated(v, probs, x, given, o)

    found = tf.matmul(probs, split(dense(v, "value", y), o.heads))
    found = tf.reshape(tf.transpose(found, [0, 2, 1, 3]), [N, F, D])
    control = dense(v, "out", found)
    x = normalized(x, o)
    if o.integration == "add":
        x += control
    else:
        x *= control[..., :C] + 1.0
        x += control[..., C:] if o.integration == "both" else 0.0
    return x, tf.transpose(probs, [0, 2, 1, 3]), y
