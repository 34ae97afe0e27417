"""A tiny generator with the interface of ours: pictures whose content is easy to compute."""

import contextlib

import tensorflow.compat.v1 as tf

from dnnlib import tflib

K, Z, D, L, SIZE, CLASSES = 3, 4, 5, 6, 8, 7


@tflib.register_builder("painter_mapping")
def painter_mapping(z, c, *, c_dim=0):
    z.set_shape([None, K + 1, Z])
    c.set_shape([None, c_dim])
    w = tf.tensordot(z, tf.get_variable("weight", [Z, D]), axes=1)
    if c_dim:
        w += tf.matmul(c, tf.get_variable("label", [c_dim, D]))[:, tf.newaxis]
    ws = tf.tile(w[:, :, tf.newaxis], [1, 1, L, 1])
    return tf.identity(tf.tanh(ws), name="ws_out")


@tflib.register_builder("painter_synthesis")
def painter_synthesis(ws, *, attention=True, noise_mode="random", rng=None, maps="image"):
    ws.set_shape([None, K + 1, L, D])
    num = tf.shape(ws)[0]
    layers, x = [], tf.zeros([num, SIZE, SIZE, 3])
    for layer, size in zip((1, L - 1), (4, SIZE)):
        with tf.variable_scope(f"{size}x{size}"):
            grid = tf.get_variable(
                "grid", [size * size, D], initializer=tf.random_normal_initializer()
            )
            probs = tf.nn.softmax(tf.einsum("pd,nkd->npk", 3 * grid, ws[:, :-1, layer]))
            value = tf.tensordot(ws[:, :-1, layer], tf.get_variable("value", [D, 3]), axes=1)
            y = tf.reshape(tf.matmul(probs, value), [-1, size, size, 3])
            x += tf.image.resize_nearest_neighbor(y, [SIZE, SIZE])
        probs = tf.reshape(tf.transpose(probs, [0, 2, 1]), [-1, K, 1, size, size])
        layers.append(probs)
    const = tf.get_variable("noise0", [1, 1, SIZE, SIZE], trainable=False)
    if noise_mode == "const":
        x += tf.transpose(const, [0, 2, 3, 1])
    elif noise_mode == "random":
        noise = tf.random_normal([num, SIZE, SIZE, 1])
        x += noise if rng is None else rng.child("8x8").normal("noise", [SIZE, SIZE, 1])
    images = tf.identity(tf.transpose(x, [0, 3, 1, 2]), name="images_out")
    if not attention or maps == "none":
        return images
    if maps == "layers":
        return (images, *[tf.identity(m, name=f"maps{i}_out") for i, m in enumerate(layers)])
    up = [
        tf.repeat(tf.repeat(m, SIZE // m.shape[3], axis=3), SIZE // m.shape[4], axis=4)
        for m in layers
    ]
    return images, tf.identity(tf.stack(up, axis=2), name="maps_out")


@tflib.register_builder("painter")
def painter(z, c, *, c_dim=0, ratio=1.0, attention=True, truncation_cutoff=None, components):
    z.set_shape([None, K + 1, Z])
    c.set_shape([None, c_dim])
    tf.get_variable("dlatent_avg", [D], initializer=tf.random_normal_initializer(), trainable=False)
    if not components:
        components.mapping = tflib.Network("G_mapping", "painter_mapping", c_dim=c_dim)
        components.synthesis = tflib.Network(
            "G_synthesis", "painter_synthesis", attention=attention
        )
    ws = components.mapping.get_output_for(z, c)
    outputs = components.synthesis.get_output_for(ws, return_as_list=True)
    names = ["images_out", "maps_out"]
    return tuple(tf.identity(x, name=name) for x, name in zip(outputs, names))


def painter_network(**options):
    return tflib.Network("Gs", "painter", **options)


@contextlib.contextmanager
def shared_session():
    """A graph and a session for all tests of a file: building graphs is what takes the time."""
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        with tf.Session():
            tflib.init_tf({"rnd.tf_random_seed": 0})
            yield
