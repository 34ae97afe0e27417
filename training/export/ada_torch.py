"""Networks of the StyleGAN2 family in StyleGAN2-ADA PyTorch's terms: arguments and state dicts.

Names and layouts are facts about github.com/NVlabs/stylegan2-ada-pytorch. Filters are [O, I, h, w]
there (that of an up-sampling convolution is flipped), matrices [O, I]; 1 is part of a style's bias.
"""

import re
from collections import namedtuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.builders import find_builder
from dnnlib.tflib.options import option_parameters

# tensors: {name: array}, the state dict. kwargs: of the constructor.
TorchNetwork = namedtuple("TorchNetwork", "tensors kwargs")

GENERATORS = ("generator", "stylegan2_generator")
DISCRIMINATORS = ("discriminator", "stylegan2_discriminator")

# Options that have to have this value, where a builder has them.
# fmt: off
NEEDED = dict(
    transformer=False, merge=False, progressive=False, components_num=1, c_dim=0,
    mapping_resnet=False, mapping_dim=None, mapping_shared_dim=None, mapping_ltnt2ltnt=False,
    normalize_latents=True, style=True, latent_stem=False, tanh=False, img2img=0, local_attention=0,
)
# fmt: on

# Our layer => theirs, within a block; our variable => theirs, within a layer.
LAYERS = {
    "synthesis": dict(Conv="conv1", Conv0_up="conv0", Conv1="conv1", ToRGB="torgb", Skip="skip"),
    "discriminator": dict(
        FromRGB="fromrgb", Conv0="conv0", Conv1_down="conv1", Skip="skip", Conv="conv", Dense0="fc"
    ),
}
VARIABLES = {
    "weight": ("weight", lambda x: x.T if x.ndim == 2 else x.transpose(3, 2, 0, 1)),
    "bias": ("bias", lambda x: x),
    "noise_strength": ("noise_strength", lambda x: x),
    "mod_weight": ("affine.weight", lambda x: x.T),
    "mod_bias": ("affine.bias", lambda x: x + 1),
}
WITHOUT_FILTER = ("torgb", "fc", "out", "affine")  # layers that never change the resolution


def to_torch(stored):
    """A network in the terms of StyleGAN2-ADA PyTorch.

    Args:
      stored: StoredNetwork of a network that has been built, so that its parts are ours.

    Returns:
      TorchNetwork.

    Raises:
      UserError: it has something that is not known there.
    """
    if stored.builder in GENERATORS:
        return _generator(stored)
    if stored.builder in DISCRIMINATORS:
        return _discriminator(stored)
    raise UserError(
        f"--format torch: {stored.name!r} ({stored.builder}) is no network of StyleGAN2"
    )


def _options(stored):
    """All options of a StoredNetwork, those at their defaults too; checked."""
    parameters = option_parameters(find_builder(stored.builder))
    options = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    options.update(stored.static_kwargs)
    for name, value in NEEDED.items():
        if (options.get(name, value) or None) != (value or None):
            raise _no_counterpart(f"{name}={options[name]!r}")
    return options


def _no_counterpart(what):
    return UserError(
        f"--format torch: StyleGAN2-ADA PyTorch has no counterpart of {what}; use another format"
    )


def _generator(stored):
    options = _options(stored)
    mapping, synthesis = (stored.components[role] for role in ("mapping", "synthesis"))
    of_mapping, of_synthesis = _options(mapping), _options(synthesis)
    w_dim = options["w_dim"]
    tensors = {"mapping.w_avg": stored.variables["dlatent_avg"].reshape(w_dim)}
    for name, value in mapping.variables.items():
        layer, leaf = _matched(r"Dense(\d+)/(weight|bias)", name)
        tensors[f"mapping.fc{layer}.{leaf}"] = VARIABLES[leaf][1](value)
    last_noise = 2 * options["resolution"].bit_length() - 6
    for name, value in synthesis.variables.items():
        noise = re.fullmatch(r"noise(\d+)", name)
        if noise is None:
            tensors.update(_layer_tensor("synthesis", name, value))
        elif int(noise.group(1)) <= last_noise and of_synthesis.get("local_noise", True):
            i = int(noise.group(1))
            layer = f"b{2 ** ((i + 5) // 2)}.conv{1 - i % 2}"
            tensors[f"synthesis.{layer}.noise_const"] = value[0, 0]
    _add_filters(tensors, "synthesis.", of_synthesis["resample_kernel"])
    kwargs = dict(
        z_dim=options["z_dim"],
        c_dim=options["c_dim"],
        w_dim=w_dim,
        img_resolution=options["resolution"],
        img_channels=options["num_channels"],
        mapping_kwargs=dict(
            num_layers=of_mapping["mapping_num_layers"],
            layer_features=of_mapping.get("mapping_fmaps", w_dim),
            activation=of_mapping["mapping_nonlinearity"],
            lr_multiplier=of_mapping["mapping_lrmul"],
        ),
        synthesis_kwargs=dict(
            _sizes(of_synthesis, tensors, "synthesis."),
            architecture=of_synthesis["architecture"],
            resample_filter=list(of_synthesis["resample_kernel"]),
            use_noise=of_synthesis.get("local_noise", True),
            activation=of_synthesis["nonlinearity"],
        ),
    )
    return TorchNetwork(tensors, kwargs)


def _discriminator(stored):
    options = _options(stored)
    tensors = {}
    for name, value in stored.variables.items():
        if name.startswith("Output/"):
            leaf = name[len("Output/") :]
            tensors[f"b4.out.{leaf}"] = VARIABLES[leaf][1](value)
        else:
            tensors.update(_layer_tensor("discriminator", name, value))
    sizes = _sizes(options, tensors, "")
    if len(tensors["b4.fc.bias"]) != len(tensors["b4.conv.bias"]):
        raise _no_counterpart(f"a last layer of {len(tensors['b4.fc.bias'])} features")
    _add_filters(tensors, "", options["resample_kernel"])
    has_stddev = options["mbstd_group_size"] > 1
    kwargs = dict(
        c_dim=options["c_dim"],
        img_resolution=options["resolution"],
        img_channels=options["num_channels"],
        architecture=options["architecture"],
        **sizes,
        block_kwargs=dict(
            activation=options["nonlinearity"], resample_filter=list(options["resample_kernel"])
        ),
        epilogue_kwargs=dict(
            mbstd_group_size=options["mbstd_group_size"],
            mbstd_num_channels=options["mbstd_num_channels"] if has_stddev else 0,
            activation=options["nonlinearity"],
        ),
    )
    return TorchNetwork(tensors, kwargs)


def _matched(pattern, name):
    match = re.fullmatch(pattern, name)
    if match is None:
        raise _no_counterpart(f"the variable {name!r}")
    return match.groups()


def _layer_tensor(part, name, value):
    """{their name: tensor} of a variable of a synthesis network or discriminator."""
    prefix = "synthesis." if part == "synthesis" else ""
    if name == "4x4/Const/const":
        return {f"{prefix}b4.const": value[0]}
    res, layer, leaf = _matched(r"(\d+)x\d+/(\w+)/(\w+)", name)
    if layer not in LAYERS[part] or leaf not in VARIABLES:
        raise _no_counterpart(f"the variable {name!r}")
    their_leaf, convert = VARIABLES[leaf]
    value = convert(value)
    if layer == "Conv0_up" and leaf == "weight":
        value = value[:, :, ::-1, ::-1]
    return {f"{prefix}b{res}.{LAYERS[part][layer]}.{their_leaf}": value}


def _add_filters(tensors, prefix, kernel):
    """The buffers of the resampling filter, in every block and in layers that may resample."""
    kernel = np.asarray(kernel, np.float32)
    outer = np.outer(kernel, kernel)
    owners = {}
    for name in tensors:
        if not re.match(prefix + r"b\d+\.", name):
            continue
        block, *layer = name[len(prefix) :].split(".")[:-1]
        if prefix or block != "b4":
            owners[f"{prefix}{block}"] = None
        if layer and layer[0] not in WITHOUT_FILTER:
            owners[f"{prefix}{block}.{layer[0]}"] = None
    for owner in owners:
        tensors[f"{owner}.resample_filter"] = outer / outer.sum()


def _sizes(options, tensors, prefix):
    """channel_base and channel_max of their constructor; they must give our numbers of channels."""
    base, most = int(2 * options["channel_base"]), options["channel_max"]
    for name, value in tensors.items():
        match = re.fullmatch(prefix + r"b(\d+)\.(conv|conv1|conv0)\.bias", name)
        if match is None:
            continue
        res = int(match.group(1))
        res = res // 2 if not prefix and match.group(2) == "conv1" else res
        if len(value) != min(base // res, most):
            raise _no_counterpart(f"{len(value)} channels at {res}x{res}")
    return dict(channel_base=base, channel_max=most)
