"""Tiny builders for the tests: a generator with two sub-networks, a discriminator."""

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.options import COUNT, option


def weight(name, shape, trainable=True):
    init = tf.initializers.random_normal()
    return tf.get_variable(name, shape=shape, initializer=init, trainable=trainable)


@dataclass(frozen=True)
class TinyMappingOptions:
    z_dim: int = 3
    w_dim: int = 5
    c_dim: int = 2
    depth: int = option(1, bound=COUNT)


@tflib.register_builder("tiny_mapping", TinyMappingOptions)
def tiny_mapping(z, c, options, *, scale=None):
    z.set_shape([None, options.z_dim])
    c.set_shape([None, options.c_dim])
    x = tf.concat([z, c], axis=1)
    for idx in range(options.depth):
        with tf.variable_scope(f"Dense{idx}"):
            w = weight("weight", [x.shape.as_list()[1], options.w_dim])
            x = tf.tanh(tf.matmul(x, w))
    if scale is not None:
        x *= scale
    return tf.identity(x, name="ws_out")


@tflib.register_builder("tiny_synthesis")
def tiny_synthesis(ws, *, w_dim=5, size=4, gain=1.0):
    ws.set_shape([None, w_dim])
    noise = weight("noise0", [1, 1, size, size], trainable=False)
    with tf.variable_scope("4x4/Conv"):
        x = tf.matmul(ws, weight("weight", [w_dim, 3 * size * size]))
        x = tf.reshape(x, [-1, 3, size, size]) + noise * weight("noise_strength", [])
    return tf.identity(x * gain, name="images_out")


@dataclass(frozen=True)
class TinyGeneratorOptions:
    z_dim: int
    w_dim: int = 5
    psi: float = 0.5
    shift: float = 0.0
    with_maps: bool = False
    with_scale: bool = False
    take_ws: bool = False
    mapping: dict = option({}, builder="tiny_mapping")
    synthesis: dict = option({}, builder="tiny_synthesis")


@tflib.register_builder("tiny_generator", TinyGeneratorOptions)
def tiny_generator(z, c, options, *, components, is_template_graph, is_training=False):
    opt = options
    z_dim, w_dim, psi, shift = opt.z_dim, opt.w_dim, opt.psi, opt.shift
    with_maps, with_scale, take_ws = opt.with_maps, opt.with_scale, opt.take_ws
    mapping, synthesis = opt.mapping, opt.synthesis
    avg = weight("dlatent_avg", [w_dim], trainable=False)
    if "mapping" not in components:
        components.mapping = tflib.Network(
            "tiny_map", "tiny_mapping", z_dim=z_dim, w_dim=w_dim, **mapping
        )
    if "synthesis" not in components:
        components.synthesis = tflib.Network("tiny_syn", "tiny_synthesis", w_dim=w_dim, **synthesis)
    if with_scale and is_template_graph:
        components.mapping.bind(scale=weight("scale", [w_dim]))
    z.set_shape([None, w_dim if take_ws else z_dim])
    c.set_shape([None, 2])
    ws = z if take_ws else components.mapping.get_output_for(z, c, **mapping)
    if not is_training:
        ws = avg + (ws - avg) * psi
    images = components.synthesis.get_output_for(ws, **synthesis)
    images = tf.identity(images + shift, name="images_out")
    if with_maps:
        return images, tf.identity(tf.nn.softmax(ws), name="maps_out")
    return images


@tflib.register_builder("tiny_discriminator")
def tiny_discriminator(images, *, size=4):
    images.set_shape([None, 3, size, size])
    x = tf.reshape(images, [-1, 3 * size * size])
    x = tf.nn.softplus(tf.matmul(x, weight("Dense/weight", [3 * size * size, 6])))
    return tf.identity(tf.matmul(x, weight("Output/weight", [6, 1])), name="scores_out")


def generator(name="G", **options):
    return tflib.Network(name, "tiny_generator", z_dim=3, **options)


def latents(num, dim=3, seed=0):
    return np.random.RandomState(seed).randn(num, dim).astype(np.float32)
