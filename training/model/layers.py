"""Layers shared by the generators and the discriminators. Maps are [N, H, W, C].

Papers: ProGAN (Karras et al. 2018, arXiv:1710.10196), StyleGAN2 (Karras et al. 2020,
arXiv:1912.04958).
"""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import OptionError
from dnnlib.tflib.light import reshape, snapshot, times
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.ops.conv2d import conv2d
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act, scale_features
from dnnlib.tflib.ops.upfirdn_2d import conv_downsample_2d, upsample_conv_2d
from dnnlib.tflib.tfutil import shared_tensor

# f(a x) = a f(x) for a > 0: a gain after such an activation may as well scale weights before it.
LEAKY_SLOPES = {"linear": 1.0, "relu": 0.0, "lrelu": 0.2}


def log2_resolution(resolution):
    """log2 of a resolution, or OptionError if it is none that the networks can have."""
    log2 = int(resolution).bit_length() - 1
    if resolution != 2**log2 or log2 < 2:
        raise OptionError(f"resolution={resolution} is not a power of two, 4 or more")
    return log2


SQUARE = (4, 4)  # height and width of the map that square images begin with


def grid_size(start, r):
    """Height and width of the maps at level r, whose layers are named 2^r x 2^r.

    Args:
      start: height and width at level 2.
      r: level; those below 2 are for encodings only.
    """
    return tuple(max(1, (side << r) >> 2) for side in start)


def num_features(log2_res, channel_base, channel_max, channel_min=1, channel_decay=1.0):
    """Channels of the feature maps at resolution 2^log2_res: base / 2^(log2_res - 1), clipped."""
    channels = int(channel_base / 2.0 ** ((log2_res - 1) * channel_decay))
    return min(max(channels, channel_min), channel_max)


def get_weight(shape, gain=1.0, lrmul=1.0, name="weight"):
    """Create (or reuse) a weight with equalized learning rate.

    It is stored with standard deviation 1 / lrmul and scaled by the He constant when used, so that
    an Adam step changes every layer by the same relative amount (ProGAN, Sec. 4.1).

    Args:
      shape: [..., I, O]; all axes but the last count towards the fan-in.
      gain: scale of the layer's output.
      lrmul: learning-rate multiplier; 0.01 in the mapping network.
      name: of the variable.

    Returns:
      Tensor of the given shape, scaled.
    """
    init = tf.initializers.random_normal(stddev=1.0 / lrmul)
    scale = gain * lrmul / np.sqrt(np.prod(shape[:-1]))
    return scaled(tf.get_variable(name, shape=shape, initializer=init), scale)


def get_bias(size, gain=1.0, name="bias"):
    """Create (or reuse) a bias, zero at first: [size]."""
    return scaled(tf.get_variable(name, shape=[size], initializer=tf.initializers.zeros()), gain)


def scaled(variable, scale):
    """A variable times a number, made once in a graph: every use of a network has the same one."""
    scale = np.float32(scale)

    def build():
        with tf.device(variable.device):
            value = snapshot(variable)
            return value if scale == 1 else times(value, scale)

    if isinstance(variable, tf.Tensor):  # read in another precision
        return build()
    return shared_tensor(("scaled", variable.name, float(scale)), build)


def dense_weights(num_in, num_out, name=None, act="linear", lrmul=1.0):
    """Create (or reuse) the variables of a dense layer.

    Args:
      num_in: I.
      num_out: O.
      name: the variables are ``weight_<name>`` and ``bias_<name>``; None: ``weight``, ``bias``.
      act: activation, whose gain the weights take over if they can.
      lrmul: learning-rate multiplier; 0.01 in the mapping network (StyleGAN2, App. B).

    Returns:
      Tuple of weight [I, O] and bias [O].
    """
    suffix, gain = f"_{name}" if name else "", foldable_gain(act)
    w = get_weight([num_in, num_out], gain, lrmul, name=f"weight{suffix}")
    return w, get_bias(num_out, gain * lrmul, name=f"bias{suffix}")


def matmul_last(x, w):
    """[..., I] x [I, O] => [..., O], as one matrix product."""
    if x.shape.ndims == 2:
        return tf.matmul(x, w)
    inner = x.shape.as_list()[1:-1]
    y = tf.matmul(reshape(x, [-1, w.shape.as_list()[0]]), w)
    return reshape(y, [-1, *inner, w.shape.as_list()[1]])


def dense(x, layer, act="linear"):
    """act(x W + b) along the last axis: [..., I] => [..., O].

    Args:
      x: [..., I]; every axis but the first known while the graph is built.
      layer: see :func:`dense_weights`.
      act: activation, with its usual gain; that of the weights.

    Returns:
      [..., O].
    """
    y = matmul_last(x, layer[0])
    return fused_bias_act(y, layer[1], act=act, gain=total_gain(act) / foldable_gain(act))


def dense_layer(x, num_out, act="linear", lrmul=1.0, name=None):
    """:func:`dense` with variables of its own, see :func:`dense_weights`."""
    return dense(x, dense_weights(x.shape.as_list()[-1], num_out, name, act, lrmul), act)


def latent_block_weights(dim, names, act="lrelu", lrmul=1.0):
    """Variables of :func:`latent_block`: two dense layers, in the scopes ``names``."""
    layers = []
    for name, layer_act in zip(names, (act, "linear")):
        with tf.variable_scope(name):
            layers.append(dense_weights(dim, dim, act=layer_act, lrmul=lrmul))
    return layers


def latent_block(x, y, layers, act="lrelu"):
    """Residual layer on latents: lrelu(dense(act(dense(y))) + x), the lrelu without gain.

    Args:
      x: [N, K, D], or [N, D].
      y: shaped like x: x after attention, or x.
      layers: see :func:`latent_block_weights`.
      act: activation of the first of them.
    """
    return tf.nn.leaky_relu(x + dense(dense(y, layers[0], act), layers[1]))


def total_gain(act, gain=1.0):
    """Gain of an activation times a further one."""
    if act not in ACTIVATIONS:
        raise ValueError(f"no activation {act!r}; there are {', '.join(ACTIVATIONS)}")
    return float(ACTIVATIONS[act].gain * gain)


def foldable_gain(act, gain=1.0):
    """How much of ``total_gain`` the weights before the activation can take over: all or 1."""
    return total_gain(act, gain) if act in LEAKY_SLOPES else 1.0


def bias_act_layer(x, act="linear", gain=1.0, carried=1.0, name="bias", clamp=None):
    """clip(gain * act(x / carried + b), -clamp, clamp), the activation with its usual gain as well.

    Args:
      x: [..., C], which the layers before have scaled by ``carried`` already.
      act: activation; one of LEAKY_SLOPES if ``carried`` is not 1.
      gain: further scale of the result.
      carried: see x.
      name: of the variable b, [C].
      clamp: number, or None.

    Returns:
      Tensor shaped like x.
    """
    b = get_bias(x.shape.as_list()[-1], carried, name)
    gain = _rest(total_gain(act, gain), carried)
    return fused_bias_act(x, b, act=act, gain=gain, clamp=clamp)


def _rest(total, done):
    """What is left of a gain; exactly 1 if nothing is."""
    rest = total / done
    return 1.0 if abs(rest - 1.0) < 1e-6 else rest


def conv2d_layer(x, num_out, kernel, up=False, down=False, resample_kernel=None, gain=1.0):
    """Convolution without bias: [N, H, W, I] => [N, H', W', O].

    Args:
      x: [N, H, W, I].
      num_out: O.
      kernel: side of the filter.
      up: double the resolution.
      down: halve the resolution.
      resample_kernel: FIR filter of ``up`` and ``down``.
      gain: scale of the output.
    """
    w = get_weight([kernel, kernel, x.shape.as_list()[-1], num_out], gain)
    return convolve(x, w, up, down, resample_kernel)


def convolve(x, w, up=False, down=False, resample_kernel=None, scale=None):
    """Convolution of x, scaled by [N, I] if given."""
    if not (up or down):
        return conv2d(x, w, padding="SAME", scale=scale)
    if scale is not None:
        x = scale_features(x, scale)
    return (upsample_conv_2d if up else conv_downsample_2d)(x, w, k=resample_kernel)


def conv2d_act_layer(
    x,
    num_out,
    kernel,
    act,
    down=False,
    resample_kernel=None,
    gain=1.0,
    clamp=None,
    spectral_norm=False,
):
    """gain * clip(act(convolution + bias), -clamp, clamp): [N, H, W, I] => [N, H', W', O].

    ``spectral_norm`` divides the filters by their largest singular value.
    """
    carried = foldable_gain(act, gain)
    w = get_weight([kernel, kernel, x.shape.as_list()[-1], num_out], carried)
    if spectral_norm:
        w = spectrally_normalized(w, carried)
    x = convolve(x, w, False, down, resample_kernel)
    clamp = None if clamp is None else clamp * gain
    return bias_act_layer(x, act, gain, carried, clamp=clamp)


def clip(x, clamp):
    """x within -clamp and clamp; ``clamp`` None leaves it alone."""
    return x if clamp is None else fused_bias_act(x, gain=1.0, clamp=clamp)


def spectrally_normalized(w, gain=1.0):
    """Filters over their largest singular value (Miyato et al. 2018, arXiv:1802.05957, Alg. 1).

    One step of power iteration, which begins with the vector that the step before has left in the
    variable ``weight_sn``, [1, O].

    Args:
      w: [k, k, I, O].
      gain: of w, which the result keeps.
    """
    channels = w.shape.as_list()[-1]
    init = tf.initializers.random_normal()
    vector = tf.get_variable("weight_sn", [1, channels], initializer=init, trainable=False)
    matrix = reshape(w, [-1, channels]) / np.float32(gain)
    left = tf.matmul(tf.convert_to_tensor(vector), matrix, transpose_b=True)
    left *= tf.rsqrt(tf.reduce_sum(tf.square(left)) + 1e-8)
    right = tf.matmul(left, matrix)
    inverse = tf.rsqrt(tf.reduce_sum(tf.square(right)) + 1e-8)
    with tf.control_dependencies([vector.assign(right * inverse)]):
        return w * inverse


class Tail(namedtuple("Tail", "scale noise bias act gain clamp", defaults=[None])):
    """What ends a layer: gain * act(x * scale + noise + bias), clipped to [-clamp, clamp].

    Args:
      scale: [N, C] or None.
      noise: [N, H, W, 1] or None.
      bias: [C] or None.
      act: activation; its usual gain is not added to ``gain``.
      gain: number.
      clamp: number or None.
    """

    def apply(self, x):
        """[N, H, W, C] => [N, H, W, C]."""
        return fused_bias_act(
            x,
            self.bias,
            self.act,
            gain=self.gain,
            clamp=self.clamp,
            scale=self.scale,
            noise=self.noise,
        )

    @property
    def is_leaky(self):
        """Whether the activation is a leaky ReLU, of any slope: :attr:`alpha`."""
        return self.act in LEAKY_SLOPES

    @property
    def alpha(self):
        """Slope of the activation below zero."""
        return LEAKY_SLOPES[self.act]

    def flat(self):
        """The same for a map as [N, H * W, C]."""
        if self.noise is None:
            return self
        _, height, width, _ = self.noise.shape.as_list()
        return self._replace(noise=reshape(self.noise, [-1, height * width, 1]))


NO_TAIL = Tail(scale=None, noise=None, bias=None, act="linear", gain=1.0)


def minibatch_stddev_layer(x, group_size=4, num_new_channels=1):
    """Append how much each feature varies within small groups of samples (ProGAN, Sec. 3).

    Group m of M holds the samples m, m + M, m + 2M, ...

    Args:
      x: [N, H, W, C]; N divisible by the group size (or smaller).
      group_size: samples in a group; None: all.
      num_new_channels: the C features are averaged in this many parts.

    Returns:
      [N, H, W, C + num_new_channels].
    """
    _, height, width, channels = x.shape.as_list()
    size = x.shape.as_list()[0]
    group = size or tf.shape(x)[0]
    if group_size is not None:
        group = min(group_size, size) if size else tf.minimum(group_size, group)
    part = channels // num_new_channels
    y = reshape(x, [group, -1, height, width, num_new_channels, part])
    y -= tf.reduce_mean(y, axis=0, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), axis=0) + 1e-8)  # [M, H, W, parts, C / parts]
    y = tf.reduce_mean(y, axis=[1, 2, 4])[:, tf.newaxis, tf.newaxis, :]  # [M, 1, 1, parts]
    y = tf.tile(y, [group, height, width, 1])
    y = tf.ensure_shape(y, [size, height, width, num_new_channels])
    return tf.concat([x, y], axis=3)


def noise_strength():
    """Create (or reuse) the strength of a layer's noise, zero at first: []."""
    init = tf.initializers.zeros()
    return scaled(tf.get_variable("noise_strength", shape=[], initializer=init), 1.0)
