"""StyleGAN2-ADA PyTorch's networks in NumPy, from a state dict alone: what checks an export.

Written from formulas (StyleGAN2, Karras et al. 2020, arXiv:1912.04958) in the terms of that code:
names and layouts are those of a state dict, see ada_torch.py; nothing is shared with our layers.
Maps are [N, H, W, C] inside.
"""

import numpy as np

SQRT_HALF = np.float32(np.sqrt(0.5))

# Activation => (function, gain).
# fmt: off
ACTIVATIONS = {
    "linear":   (lambda x: x,                                                   1.0),
    "relu":     (lambda x: np.maximum(x, 0),                                    np.sqrt(2)),
    "lrelu":    (lambda x: np.maximum(x, 0.2 * x),                              np.sqrt(2)),
    "tanh":     (np.tanh,                                                       1.0),
    "sigmoid":  (lambda x: 1 / (1 + np.exp(-x)),                                1.0),
    "elu":      (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),      1.0),
    "selu":     (lambda x: 1.0507009873554805 * np.where(
                     x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))), 1.0),
    "softplus": (lambda x: np.logaddexp(x, 0),                                  1.0),
    "swish":    (lambda x: x / (1 + np.exp(-x)),                                np.sqrt(2)),
}
# fmt: on


def generate(state, kwargs, z, labels, truncation_psi):
    """Images [N, C, H, W] of a generator with its own noise.

    Args:
      state: {name: array}.
      kwargs: of the constructor.
      z: [N, z_dim].
      labels: [N, c_dim].
      truncation_psi: number.
    """
    mapping = _Part(state, "mapping.", kwargs["mapping_kwargs"])
    w = mapping.mapped(z, labels, kwargs["mapping_kwargs"])
    w = state["mapping.w_avg"] + (w - state["mapping.w_avg"]) * np.float32(truncation_psi)
    part = _Part(state, "synthesis.", kwargs["synthesis_kwargs"])
    x = np.tile(state["synthesis.b4.const"].transpose(1, 2, 0), [len(z), 1, 1, 1])
    x = part.modulated(x, w, "b4.conv1")
    y = part.to_rgb(x, w, None, "b4", is_last=kwargs["img_resolution"] == 4)
    res = 8
    while res <= kwargs["img_resolution"]:
        is_resnet = part.architecture == "resnet"
        skip = x
        x = part.modulated(x, w, f"b{res}.conv0", up=True)
        x = part.modulated(x, w, f"b{res}.conv1", gain=SQRT_HALF if is_resnet else 1)
        if is_resnet:
            skip = _conv(skip, part.filter(f"b{res}.skip"))
            x = x + _upsample(skip, part.kernel) * SQRT_HALF
        y = None if y is None else _upsample(y, part.kernel)
        y = part.to_rgb(x, w, y, f"b{res}", is_last=res == kwargs["img_resolution"])
        res *= 2
    return y.transpose(0, 3, 1, 2)


def score(state, kwargs, images, labels):
    """Scores [N, 1] of a discriminator.

    Args:
      state: {name: array}.
      kwargs: of the constructor.
      images: [N, C, H, W].
      labels: [N, c_dim].
    """
    part = _Part(state, "", {**kwargs, **kwargs["block_kwargs"]})
    y, x = images.transpose(0, 2, 3, 1), None
    res = kwargs["img_resolution"]
    while res > 4:
        is_resnet = part.architecture == "resnet"
        x = part.from_rgb(x, y, f"b{res}", part.clamp)
        skip = x
        x = part.convolved(x, f"b{res}.conv0", part.clamp)
        x = _filter(x, part.kernel, *_pads(len(part.kernel)))
        x = part.convolved(x, f"b{res}.conv1", part.clamp, SQRT_HALF if is_resnet else 1, down=True)
        if is_resnet:
            skip = _downsample(skip, part.kernel)
            x = x + _conv(skip, part.filter(f"b{res}.skip")) * SQRT_HALF
        if part.architecture == "skip":
            y = _downsample(y, part.kernel)
        res //= 2
    ends = kwargs["epilogue_kwargs"]
    part.act = ends.get("activation", part.act)
    x = part.from_rgb(x, y, "b4", None if part.architecture == "skip" else part.clamp)
    if ends["mbstd_num_channels"]:
        x = _with_stddev(x, ends["mbstd_group_size"], ends["mbstd_num_channels"])
    x = part.convolved(x, "b4.conv", part.clamp)
    x = part.dense(x.transpose(0, 3, 1, 2).reshape(len(x), -1), "b4.fc", part.act)
    x = part.dense(x, "b4.out", "linear")
    if kwargs["c_dim"]:
        mapping = _Part(state, "mapping.", kwargs["mapping_kwargs"])
        wanted = mapping.mapped(None, labels, kwargs["mapping_kwargs"])
        x = (x * wanted).sum(axis=1, keepdims=True) / np.sqrt(wanted.shape[1])
    return x


class _Part:
    """A mapping network, synthesis network or discriminator: its tensors and options.

    Args:
      state: {name: array}.
      prefix: of its names.
      options: those of its layers.
    """

    def __init__(self, state, prefix, options):
        self.tensors = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        self.act = options.get("activation", "lrelu")
        self.architecture = options.get("architecture")
        self.clamp = options.get("conv_clamp")
        kernel = np.asarray(options.get("resample_filter", [1, 3, 3, 1]), np.float32)
        self.kernel = kernel / kernel.sum()

    def mapped(self, z, labels, kwargs):
        """z [N, z_dim] or None, labels [N, c_dim] => [N, w_dim]."""
        parts = [] if z is None else [_normalized(z)]
        if "embed.weight" in self.tensors:
            parts.append(_normalized(self.dense(labels, "embed", "linear")))
        x = np.concatenate(parts, axis=1)
        for i in range(kwargs["num_layers"]):
            x = self.dense(x, f"fc{i}", self.act, kwargs["lr_multiplier"])
        return x

    def dense(self, x, name, act, lrmul=1.0):
        """[N, I] => [N, O]."""
        w = self.tensors[f"{name}.weight"]
        x = x @ w.T * np.float32(lrmul / np.sqrt(w.shape[1])) + self.tensors[f"{name}.bias"] * lrmul
        return _act(x, act)

    def filter(self, name):
        """[O, I, h, w] as it is used without modulation."""
        w = self.tensors[f"{name}.weight"]
        return w * np.float32(1 / np.sqrt(np.prod(w.shape[1:])))

    def _ended(self, x, name, clamp, gain):
        """Bias, activation, gain and clamp."""
        x = _act(x + self.tensors[f"{name}.bias"], self.act) * np.float32(gain)
        return x if clamp is None else np.clip(x, -clamp * gain, clamp * gain)

    def convolved(self, x, name, clamp, gain=1, down=False):
        """A layer of a discriminator."""
        x = _conv(x, self.filter(name), 2 if down else 1, is_padded=not down)
        return self._ended(x, name, clamp, gain)

    def from_rgb(self, x, y, block, clamp):
        """Features of the image y [N, H, W, RGB], added to x, where a block has them."""
        if f"{block}.fromrgb.weight" not in self.tensors:
            return x
        seen = self.convolved(y, f"{block}.fromrgb", clamp)
        return seen if x is None else x + seen

    def modulated(self, x, w, name, up=False, gain=1):
        """A layer of a synthesis network (StyleGAN2, Eq. 1 to 3)."""
        weight = self.tensors[f"{name}.weight"]
        style = self.dense(w, f"{name}.affine", "linear")
        norm = (style**2) @ (weight**2).sum(axis=(2, 3)).T
        x = x * style[:, np.newaxis, np.newaxis]
        if up:
            size = len(self.kernel) - 4
            x = _filter(_conv_up(x, weight), self.kernel, (size + 1) // 2 + 1, size // 2 + 1, 2)
        else:
            x = _conv(x, weight)
        x = x / np.sqrt(norm + 1e-8)[:, np.newaxis, np.newaxis]
        if f"{name}.noise_const" in self.tensors:
            noise = self.tensors[f"{name}.noise_const"] * self.tensors[f"{name}.noise_strength"]
            x = x + noise[..., np.newaxis]
        return self._ended(x, name, self.clamp, gain)

    def to_rgb(self, x, w, y, block, is_last):
        """Add a block's image to y, where it has one."""
        if self.architecture != "skip" and not is_last:
            return y
        name = f"{block}.torgb"
        weight = self.tensors[f"{name}.weight"]
        style = self.dense(w, f"{name}.affine", "linear") / np.float32(np.sqrt(weight.shape[1]))
        rgb = _conv(x * style[:, np.newaxis, np.newaxis], weight) + self.tensors[f"{name}.bias"]
        rgb = rgb if self.clamp is None else np.clip(rgb, -self.clamp, self.clamp)
        return rgb if y is None else y + rgb


def _act(x, act):
    function, gain = ACTIVATIONS[act]
    return function(x) * np.float32(gain)


def _normalized(x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)


def _conv(x, w, stride=1, is_padded=True):
    """Correlation of [N, H, W, I] with [O, I, k, k]."""
    side = w.shape[2]
    if is_padded:
        x = np.pad(x, [(0, 0), *[(side // 2, side // 2)] * 2, (0, 0)], "constant")
    height, width = ((size - side) // stride + 1 for size in x.shape[1:3])
    return sum(
        x[:, i : i + stride * height : stride, j : j + stride * width : stride] @ w[:, :, i, j].T
        for i in range(side)
        for j in range(side)
    )


def _conv_up(x, w):
    """Transposed convolution with stride 2: [N, H, W, I] => [N, 2 H + k - 2, ..., O]."""
    num, height, width, _ = x.shape
    side = w.shape[2]
    y = np.zeros([num, 2 * height + side - 2, 2 * width + side - 2, len(w)], x.dtype)
    for i in range(side):
        for j in range(side):
            y[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] += x @ w[:, :, i, j].T
    return y


def _pads(size, factor=0):
    """Zeros before and after for a filter of that size that keeps a map's size, but for factor."""
    size -= factor
    return (size + 1) // 2, size // 2


def _filter(x, kernel, before, after, gain=1):
    """Filter rows and columns, after padding; negative pads crop."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (max(before, 0), max(after, 0))
        x = np.pad(x, pads, "constant").swapaxes(1, axis)
        x = x[:, max(-before, 0) : x.shape[1] - max(-after, 0)]
        size = x.shape[1] - len(kernel) + 1
        x = sum(tap * gain * x[:, i : i + size] for i, tap in enumerate(kernel[::-1]))
        x = x.swapaxes(1, axis)
    return x


def _upsample(x, kernel):
    """[N, H, W, C] => [N, 2 H, 2 W, C]."""
    num, height, width, channels = x.shape
    spread = np.zeros([num, 2 * height, 2 * width, channels], x.dtype)
    spread[:, ::2, ::2] = x
    before, after = _pads(len(kernel), 2)
    return _filter(spread, kernel, before + 1, after, 2)


def _downsample(x, kernel):
    """[N, H, W, C] => [N, H / 2, W / 2, C]."""
    return _filter(x, kernel, *_pads(len(kernel), 2))[:, ::2, ::2]


def _with_stddev(x, group, num_channels):
    """Append the standard deviation over groups of samples g * M + m of equal m."""
    num, height, width, channels = x.shape
    group = min(group or num, num)
    y = x.reshape(group, -1, height, width, num_channels, channels // num_channels)
    y = np.sqrt(y.var(axis=0) + 1e-8).mean(axis=(1, 2, 4))  # [M, num_channels]
    y = np.tile(y[:, np.newaxis, np.newaxis], [group, height, width, 1])
    return np.concatenate([x, y], axis=3)
