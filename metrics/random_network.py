"""Random features: a fixed convolutional network that nobody trained.

For machines without a network connection and for images far from ImageNet's. Distances between
distributions of such features order well what changes colours, textures, shapes and their variety,
but have a scale of their own: never compare them with figures from Inception's features.
"""

from __future__ import annotations

import hashlib

import numpy as np

from dnnlib.tflib.compat import tf
from metrics.graph_network import GraphNetwork, to_nhwc

SEED = 2103
SIZE = 64  # pixels a side that every image is resized to
WIDTHS = (32, 64, 128, 256)  # channels of the layers; each ends by halving the resolution
SLOPE = 0.2  # of the leaky ReLU below 0
NAME = "random"


def _weights():
    """Kernels [3, 3, I, O] of variance 2 / fan-in; the same numbers everywhere."""
    random = np.random.RandomState(SEED)
    kernels, width = [], 3
    for width_out in WIDTHS:
        kernel = random.standard_normal([3, 3, width, width_out])
        kernels.append((kernel * np.sqrt(2.0 / (9 * width))).astype(np.float32))
        width = width_out
    return kernels


def _layers(images):
    """Images [N, 3, H, W] in [0, 255] => list of activations [N, SIZE / 2^i, SIZE / 2^i, C]."""
    x = tf.image.resize_area(to_nhwc(images), [SIZE, SIZE]) / 127.5 - 1.0
    layers = []
    for kernel in _weights():
        x = tf.nn.leaky_relu(tf.nn.conv2d(x, kernel, strides=1, padding="SAME"), SLOPE)
        layers.append(x)
        x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
    return layers


def _build(images):
    """Means and deviations of all channels of all layers, and the coarse layout: [N, D]."""
    parts = []
    for layer in _layers(images):
        mean, variance = tf.nn.moments(layer, axes=[1, 2])
        parts += [mean, tf.sqrt(variance + 1e-8)]
    return {"pool": tf.concat(parts, axis=1)}


def _build_distance(a, b):
    """Sum over layers of the mean squared difference of unit-length channel vectors: [N].

    As LPIPS (Zhang et al. 2018, arXiv:1801.03924, Eq. 1) with all weights 1.
    """
    total = 0.0
    for pair in zip(_layers(a), _layers(b)):
        x, y = (tf.nn.l2_normalize(layer, axis=-1, epsilon=1e-10) for layer in pair)
        total += tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(x, y), axis=-1), [1, 2])
    return total


def load_random():
    """Open the network: head "pool" [N, 960], and a distance."""
    digest = hashlib.sha256(b"".join(kernel.tobytes() for kernel in _weights()))
    digest.update(repr((SIZE, WIDTHS, SLOPE, "mean+std")).encode())
    return GraphNetwork(NAME, digest.hexdigest(), _build, _build_distance, num_inputs=2)
