"""Primitive operations, float64, NCHW."""

import numpy as np


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def leaky_relu(x, alpha=0.2):
    return np.where(x > 0, x, alpha * x)


# name: (function, gain)
ACTIVATIONS = {
    "linear": (lambda x: x, 1.0),
    "relu": (lambda x: np.maximum(x, 0), np.sqrt(2)),
    "lrelu": (leaky_relu, np.sqrt(2)),
    "tanh": (np.tanh, 1.0),
    "sigmoid": (sigmoid, 1.0),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 1.0),
    "selu": (
        lambda x: (
            1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
        ),
        1.0,
    ),
    "softplus": (lambda x: np.logaddexp(x, 0), 1.0),
    "swish": (lambda x: x * sigmoid(x), np.sqrt(2)),
}


def bias_act(x, b, act):
    """gain * act(x + b), b along axis 1."""
    function, gain = ACTIVATIONS[act]
    return gain * function(x + b.reshape([1, -1] + [1] * (x.ndim - 2)))


def dense(v, x, out, act="linear", lrmul=1.0, *, name=None):
    """[..., I] => [..., out]. `name` gives the variables weight_NAME and bias_NAME."""
    suffix = "" if name is None else f"_{name}"
    fan_in = x.shape[-1]
    w = v(f"weight{suffix}", (fan_in, out), "weight", 1 / lrmul) * lrmul / np.sqrt(fan_in)
    b = v(f"bias{suffix}", (out,), "bias", 1 / lrmul) * lrmul
    rows = x.reshape(-1, fan_in) @ w
    return bias_act(rows, b, act).reshape((*x.shape[:-1], out))


def correlate(x, w, stride=1):
    """Valid cross-correlation. x [N, I, H, W], w [k, k, I, O] => [N, O, H', W']."""
    k = w.shape[0]
    out_h, out_w = (x.shape[2] - k) // stride + 1, (x.shape[3] - k) // stride + 1
    y = np.zeros([x.shape[0], out_h, out_w, w.shape[3]])
    for a in range(k):
        for b in range(k):
            rows = slice(a, a + stride * (out_h - 1) + 1, stride)
            cols = slice(b, b + stride * (out_w - 1) + 1, stride)
            y += np.tensordot(x[:, :, rows, cols], w[a, b], axes=(1, 0))
    return y.transpose(0, 3, 1, 2)


def pad2d(x, before, after):
    """Zeros before and after on both spatial axes; negative sizes crop."""
    pads = [(max(before, 0), max(after, 0))] * 2
    x = np.pad(x, [(0, 0), (0, 0), *pads], mode="constant")
    crop = slice(max(-before, 0), x.shape[2] - max(-after, 0))
    return x[:, :, crop, slice(max(-before, 0), x.shape[3] - max(-after, 0))]


def insert_zeros(x, up, trailing):
    """Each sample is followed by up - 1 zeros; without `trailing` none after the last one."""
    y = np.zeros((*x.shape[:2], x.shape[2] * up, x.shape[3] * up))
    y[:, :, ::up, ::up] = x
    cut = 0 if trailing else up - 1
    return y[:, :, : y.shape[2] - cut, : y.shape[3] - cut]


def upfirdn(x, k, *, up=1, down=1, pad0=0, pad1=0):
    """Zero insertion, padding, true convolution with k [k, k], decimation."""
    x = pad2d(insert_zeros(x, up, trailing=True), pad0, pad1)
    taps = k.shape[0]
    out_h, out_w = x.shape[2] - taps + 1, x.shape[3] - taps + 1
    y = np.zeros((*x.shape[:2], out_h, out_w))
    for a in range(taps):
        for b in range(taps):
            y += k[taps - 1 - a, taps - 1 - b] * x[:, :, a : a + out_h, b : b + out_w]
    return y[:, :, ::down, ::down]


def fir_kernel(k, factor=2):
    """1-D list => normalised 2-D kernel; None is a box of the factor's length."""
    k = np.asarray([1.0] * factor if k is None else k, np.float64)
    k = np.outer(k, k) if k.ndim == 1 else k
    return k / k.sum()


def upsample_2d(x, k, factor=2):
    k = fir_kernel(k, factor) * factor**2
    p = k.shape[0] - factor
    return upfirdn(x, k, up=factor, pad0=(p + 1) // 2 + factor - 1, pad1=p // 2)


def downsample_2d(x, k, factor=2):
    k = fir_kernel(k, factor)
    p = k.shape[0] - factor
    return upfirdn(x, k, down=factor, pad0=(p + 1) // 2, pad1=p // 2)


def upsample_conv_2d(x, w, k, factor=2):
    size = w.shape[0]
    x = correlate(pad2d(insert_zeros(x, factor, trailing=False), size - 1, size - 1), w)
    k = fir_kernel(k, factor) * factor**2
    p = (k.shape[0] - factor) - (size - 1)
    return upfirdn(x, k, pad0=(p + 1) // 2 + factor - 1, pad1=p // 2 + 1)


def conv_downsample_2d(x, w, k, factor=2):
    k = fir_kernel(k, factor)
    p = (k.shape[0] - factor) + (w.shape[0] - 1)
    x = upfirdn(x, k, pad0=(p + 1) // 2, pad1=p // 2)
    return correlate(x, w, stride=factor)


def resampling_conv(x, w, up, down, k):
    """Convolution without bias, stride 1 SAME, or with up- or down-sampling by 2."""
    if up:
        return upsample_conv_2d(x, w, k)
    if down:
        return conv_downsample_2d(x, w, k)
    pad = w.shape[0] // 2
    return correlate(pad2d(x, pad, pad), w)


def conv_layer(v, x, out, size, *, up=False, down=False, k=None):
    """Equalised convolution without bias."""
    w = v("weight", (size, size, x.shape[1], out))
    return resampling_conv(x, w / np.sqrt(size * size * x.shape[1]), up, down, k)


def modulated_conv_layer(v, x, y, out, size, *, up=False, k=None, modulate=True, demodulate=True):
    """x [N, I, H, W] styled by y [N, D] => [N, O, H', W'], no bias."""
    channels, w_dim = x.shape[1], y.shape[-1]
    w = v("weight", (size, size, channels, out)) / np.sqrt(size * size * channels)
    mod_w = v("mod_weight", (w_dim, channels)) / np.sqrt(w_dim)
    s = y @ mod_w + v("mod_bias", (channels,), "bias") + 1
    if not modulate:
        return resampling_conv(x, w, up, False, k)
    x = resampling_conv(x * s[:, :, None, None], w, up, False, k)
    if demodulate:
        energy = np.einsum("abio,ni->no", w**2, s**2)
        x = x / np.sqrt(energy + 1e-8)[:, :, None, None]
    return x


def minibatch_stddev(x, group_size, new_channels=1):
    """x [N, C, ...] => [N, C + new_channels, ...]; group m holds the samples m, m + M, ..."""
    N, C = x.shape[:2]
    G = min(group_size, N)
    y = x.reshape((G, N // G, new_channels, C // new_channels, *x.shape[2:]))
    y = np.sqrt(((y - y.mean(axis=0)) ** 2).mean(axis=0) + 1e-8)
    y = y.mean(axis=tuple(range(2, y.ndim)))  # [M, new_channels]
    y = np.tile(y, (G, 1)).reshape((N, new_channels, *[1] * (x.ndim - 2)))
    return np.concatenate([x, np.broadcast_to(y, (N, new_channels, *x.shape[2:]))], axis=1)
