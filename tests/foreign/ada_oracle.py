"""StyleGAN2-ADA's networks in NumPy, float64, NCHW, from its TensorFlow variables by name.

Also makes such variables, random ones. ``torch`` in the options asks for what the PyTorch code
computes otherwise.
"""

from types import SimpleNamespace

import numpy as np
from oracle import ops

GENERATOR = dict(
    resolution=8,
    num_channels=2,
    z_dim=5,
    w_dim=6,
    c_dim=0,
    embed=7,
    hidden=4,
    layers=2,
    lrmul=0.1,
    act="lrelu",
    mapping_act="lrelu",
    architecture="skip",
    clamp=None,
    use_noise=True,
    kernel=[1, 3, 3, 1],
    base=40,
    most=9,
    const=None,
    torch=False,
)
DISCRIMINATOR = dict(
    resolution=8,
    num_channels=2,
    c_dim=0,
    embed=7,
    hidden=6,
    layers=2,
    lrmul=0.1,
    cmap=5,
    act="lrelu",
    end_act="lrelu",
    mapping_act="lrelu",
    architecture="resnet",
    clamp=None,
    kernel=[1, 3, 3, 1],
    base=40,
    most=9,
    last=3,
    group=4,
    features=1,
    scores=1,
    spectral_norm=False,
    torch=False,
)


def options(defaults, **given):
    assert set(given) <= set(defaults)
    return SimpleNamespace(**dict(defaults, **given))


def channels(o, r):
    return min(o.base >> (r - 1), o.most)


def levels(o):
    return o.resolution.bit_length() - 1


class Random:
    """Makes variables on demand: {name: float32 array}."""

    def __init__(self, seed):
        self.rng, self.variables = np.random.RandomState(seed), {}

    def __call__(self, name, *shape):
        value = self.rng.standard_normal(shape).astype(np.float32)
        self.variables[name] = value.reshape(shape)

    def layer(self, name, num_in, num_out, size=None):
        self(f"{name}/weight", *([] if size is None else [size, size]), num_in, num_out)
        self(f"{name}/bias", num_out)


def dense_widths(o, first, last):
    return [first] + [o.hidden] * (o.layers - 1) + ([last] if o.layers else [])


def generator_variables(o, seed=0):
    """{"": own, "mapping": ..., "synthesis": ...}, each {name: array}."""
    own, mapping, synthesis = Random(seed), Random(seed + 1), Random(seed + 2)
    own("dlatent_avg", o.w_dim)
    if o.c_dim:
        mapping.layer("LabelEmbed", o.c_dim, o.embed)
    widths = dense_widths(o, o.z_dim + (o.embed if o.c_dim else 0), o.w_dim)
    for i, (num_in, num_out) in enumerate(zip(widths, widths[1:])):
        mapping.layer(f"Dense{i}", num_in, num_out)
    const = o.const or channels(o, 2)
    synthesis("4x4/Const/const", 1, const, 4, 4)

    def modulated(name, num_in, num_out, size, noise=None):
        synthesis.layer(name, num_in, num_out, size)
        synthesis(f"{name}/mod_weight", o.w_dim, num_in)
        synthesis(f"{name}/mod_bias", num_in)
        if noise is not None and o.use_noise:
            synthesis(f"{name}/noise_strength")
            side = 2 ** ((noise + 5) // 2)
            synthesis(f"noise{noise}", 1, 1, side, side)

    modulated("4x4/Conv", const, channels(o, 2), 3, 0)
    for r in range(2, levels(o) + 1):
        res, here = f"{2**r}x{2**r}", channels(o, r)
        if r > 2:
            modulated(f"{res}/Conv0_up", channels(o, r - 1), here, 3, 2 * r - 5)
            modulated(f"{res}/Conv1", here, here, 3, 2 * r - 4)
            if o.architecture == "resnet":
                synthesis(f"{res}/Skip/weight", 1, 1, channels(o, r - 1), here)
        if o.architecture == "skip" or r == levels(o):
            modulated(f"{res}/ToRGB", here, o.num_channels, 1)
    return {"": own.variables, "mapping": mapping.variables, "synthesis": synthesis.variables}


def discriminator_variables(o, seed=0):
    """{name: array}."""
    make = Random(seed)
    if o.c_dim:
        make.layer("LabelEmbed", o.c_dim, o.embed)
        widths = dense_widths(o, o.embed, o.cmap)
        for i, (num_in, num_out) in enumerate(zip(widths, widths[1:])):
            make.layer(f"Mapping{i}", num_in, num_out)

    def conv(name, num_in, num_out, size):
        make.layer(name, num_in, num_out, size)
        if o.spectral_norm and size == 3:
            make(f"{name}/weight_sn", 1, num_out)

    for r in range(levels(o), 1, -1):
        res, here = f"{2**r}x{2**r}", channels(o, r)
        if o.architecture == "skip" or r == levels(o):
            conv(f"{res}/FromRGB", o.num_channels, here, 1)
        if r > 2:
            conv(f"{res}/Conv0", here, here, 3)
            conv(f"{res}/Conv1_down", here, channels(o, r - 1), 3)
            if o.architecture == "resnet":
                make(f"{res}/Skip/weight", 1, 1, here, channels(o, r - 1))
    conv("4x4/Conv", channels(o, 2) + o.features, channels(o, 2), 3)
    make.layer("4x4/Dense0", channels(o, 2) * 16, o.last)
    make.layer("Output", o.last, o.cmap if o.c_dim else o.scores)
    return make.variables


# Evaluation


def normalized(x, axis=1):
    return x / np.sqrt((x**2).mean(axis=axis, keepdims=True) + 1e-8)


def dense(v, name, x, act, lrmul=1.0):
    w, b = v[f"{name}/weight"].astype(float), v[f"{name}/bias"].astype(float)
    return ops.bias_act(x @ (w * lrmul / np.sqrt(len(w))), b * lrmul, act)


def clipped(x, clamp):
    return x if clamp is None else np.clip(x, -clamp, clamp)


def mapped(v, o, z, c):
    """[N, z_dim], [N, c_dim] => w [N, w_dim]."""
    x = normalized(z)
    if o.c_dim:
        x = np.concatenate([x, normalized(dense(v, "LabelEmbed", c, "linear"))], axis=1)
    for i in range(o.layers):
        x = dense(v, f"Dense{i}", x, o.mapping_act, o.lrmul)
    return x


def modulated_conv(v, o, name, x, w, up=False, demodulate=True):
    """A filter for each sample."""
    style = w @ (v[f"{name}/mod_weight"].astype(float) / np.sqrt(o.w_dim))
    style = style + v[f"{name}/mod_bias"] + 1
    filters = v[f"{name}/weight"].astype(float)
    fan_in = np.sqrt(np.prod(filters.shape[:3]))
    if not (o.torch and demodulate):
        filters = filters / fan_in
    images = []
    for n in range(len(x)):
        own = filters * style[n][:, np.newaxis]
        if demodulate:
            own = own / np.sqrt((own**2).sum(axis=(0, 1, 2)) + 1e-8)
        images.append(ops.resampling_conv(x[n : n + 1], own, up, False, o.kernel))
    return np.concatenate(images)


def synthesized(v, o, ws, noise=True):
    """ws [N, L, w_dim] => images [N, C, H, W]."""

    def layer(name, x, index, up=False):
        x = modulated_conv(v, o, name, x, ws[:, index], up)
        if o.use_noise and noise:
            x = x + v[f"noise{index}"] * v[f"{name}/noise_strength"]
        return clipped(ops.bias_act(x, v[f"{name}/bias"], o.act), o.clamp)

    x = np.tile(v["4x4/Const/const"].astype(float), [len(ws), 1, 1, 1])
    x, y = layer("4x4/Conv", x, 0), None
    for r in range(2, levels(o) + 1):
        res, before = f"{2**r}x{2**r}", x
        if r > 2:
            x = layer(f"{res}/Conv0_up", x, 2 * r - 5, True)
            x = layer(f"{res}/Conv1", x, 2 * r - 4)
            if o.architecture == "resnet":
                w = v[f"{res}/Skip/weight"].astype(float) / np.sqrt(before.shape[1])
                x = (x + ops.upsample_conv_2d(before, w, o.kernel)) / np.sqrt(2)
        y = None if y is None else ops.upsample_2d(y, o.kernel)
        if o.architecture == "skip" or r == levels(o):
            name = f"{res}/ToRGB"
            rgb = modulated_conv(v, o, name, x, ws[:, 2 * r - 3], demodulate=False)
            rgb = clipped(ops.bias_act(rgb, v[f"{name}/bias"], "linear"), o.clamp)
            y = rgb if y is None else y + rgb
    return y


def generated(variables, o, z, c, psi=1.0, cutoff=None, noise=True):
    """Images of all variables of a generator."""
    w = mapped(variables["mapping"], o, z, c)
    ws = np.repeat(w[:, np.newaxis], 2 * levels(o) - 2, axis=1)
    average = variables[""]["dlatent_avg"].astype(float)
    cutoff = ws.shape[1] if cutoff is None else cutoff
    ws[:, :cutoff] = average + (ws[:, :cutoff] - average) * psi
    return synthesized(variables["synthesis"], o, ws, noise)


def spectral(v, name, w):
    """w over its largest singular value, by one step; the vector goes on."""
    matrix = w.reshape(-1, w.shape[-1])
    left = v[f"{name}/weight_sn"].astype(float) @ matrix.T
    left /= np.sqrt((left**2).sum() + 1e-8)
    right = left @ matrix
    size = np.sqrt((right**2).sum() + 1e-8)
    v[f"{name}/weight_sn"] = right / size
    return w / size


def scored(v, o, images, c):
    """Images [N, C, H, W], labels => scores; vectors of the spectral norm in v change."""

    def conv(name, x, act, clamp, down=False):
        w = v[f"{name}/weight"].astype(float)
        w = w / np.sqrt(np.prod(w.shape[:3]))
        w = spectral(v, name, w) if o.spectral_norm and w.shape[0] == 3 else w
        x = ops.resampling_conv(x, w, False, down, o.kernel)
        return clipped(ops.bias_act(x, v[f"{name}/bias"], act), clamp)

    label = None
    if o.c_dim:
        label = normalized(dense(v, "LabelEmbed", c, "linear"))
        for i in range(o.layers):
            label = dense(v, f"Mapping{i}", label, o.mapping_act, o.lrmul)
    x, y = None, images.astype(float)
    for r in range(levels(o), 1, -1):
        res, act = f"{2**r}x{2**r}", o.act if r > 2 else o.end_act
        if o.architecture == "skip" or r == levels(o):
            clamp = None if o.torch and r == 2 else o.clamp
            seen = conv(f"{res}/FromRGB", y, act, clamp)
            x = seen if x is None else x + seen
        if r > 2:
            before = x
            x = conv(f"{res}/Conv0", x, act, o.clamp)
            x = conv(f"{res}/Conv1_down", x, act, o.clamp, True)
            if o.architecture == "resnet":
                w = v[f"{res}/Skip/weight"].astype(float) / np.sqrt(before.shape[1])
                x = (x + ops.conv_downsample_2d(before, w, o.kernel)) / np.sqrt(2)
            if o.architecture == "skip":
                y = ops.downsample_2d(y, o.kernel)
    if o.features:
        x = ops.minibatch_stddev(x, o.group or len(x), o.features)
    x = conv("4x4/Conv", x, o.end_act, o.clamp)
    x = dense(v, "4x4/Dense0", x.reshape(len(x), -1), o.end_act)
    x = dense(v, "Output", x, "linear")
    if label is None:
        return x[:, :1]
    return (x * label).sum(axis=1, keepdims=True) / np.sqrt(o.cmap)
