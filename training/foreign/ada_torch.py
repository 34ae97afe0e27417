"""StyleGAN2-ADA's networks in PyTorch (Karras et al. 2020, arXiv:2006.06676), in our terms.

StyleGAN3's code writes StyleGAN2's networks, too, with other defaults; so options are taken from
the layers, not from the keywords of the network.
"""

import re

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib import builders
from dnnlib.tflib.snapshot.machine import PickledModule
from dnnlib.tflib.stored_network import StoredNetwork
from training.foreign.ada import say_float16
from training.foreign.layers import (
    Layers,
    channel_options,
    conv,
    dense,
    flipped_conv,
    offset,
    same,
    with_axes,
)

# (layer of the generator, scope of ours with its side in it, index of its noise for 2^r)
GENERATOR_LAYERS = {
    "conv0": ("{0}x{0}/Conv0_up", lambda r: 2 * r - 5),
    "conv1": ("{0}x{0}/Conv1", lambda r: 2 * r - 4),
    "torgb": ("{0}x{0}/ToRGB", None),
    "skip": ("{0}x{0}/Skip", None),
}
DISCRIMINATOR_LAYERS = {
    "fromrgb": "{0}x{0}/FromRGB",
    "conv0": "{0}x{0}/Conv0",
    "conv1": "{0}x{0}/Conv1_down",
    "skip": "{0}x{0}/Skip",
    "conv": "4x4/Conv",
    "fc": "4x4/Dense0",
    "out": "Output",
}


@builders.register_importer
def import_ada_torch(found, version):
    """Turn a network of StyleGAN2-ADA in PyTorch into ours.

    Args:
      found: PickledModule, or what other importers take.
      version: not used.

    Returns:
      StoredNetwork, or None if it is no such network.

    Raises:
      UserError: it is damaged, or StyleGAN3's.
    """
    del version
    if not isinstance(found, PickledModule):
        return None
    if found.class_name not in ("Generator", "Discriminator"):
        return None
    layers = Layers(found)
    if layers.paths("BiasActLayer"):  # GANsformer's
        return None
    if layers.paths("SynthesisInput"):
        raise UserError("a StyleGAN3 network, which this project does not have")
    stored = (_generator if found.class_name == "Generator" else _discriminator)(layers)
    say_float16(len([path for path in layers.classes if layers.get(path, "use_fp16")]))
    return stored._replace(name=found.name)


def blocks(layers, prefix):
    """{log2 of the side: path} of the blocks of a network, each named after its side."""
    found = {}
    for path in layers.classes:
        match = re.fullmatch(re.escape(prefix) + r"b(\d{1,6})", path)
        if match:
            found[int(match.group(1)).bit_length() - 1] = path
    sides = {2**r for r in found}
    if 2 not in found or sides != {int(path[len(prefix) + 1 :]) for path in found.values()}:
        raise UserError(f"a PyTorch network without layer {prefix}b4: not StyleGAN2's")
    return found


def sizes(layers):
    """Options of a whole network that its attributes give."""
    return dict(
        resolution=layers.number("", "img_resolution"),
        num_channels=layers.number("", "img_channels"),
        c_dim=layers.number("", "c_dim"),
    )


def label_mapping(layers):
    """Options of a mapping network, of latents, of labels, or of both."""
    paths = [path for path in layers.classes if re.fullmatch(r"mapping\.fc\d+", path)]
    options = dict(mapping_num_layers=len(paths), embed_labels=True)
    if "mapping.embed.weight" in layers.tensors:
        options["label_fmaps"] = layers.shape("mapping.embed.weight")[0]
    if len(paths) > 1:
        options["mapping_fmaps"] = (layers.shape("mapping.fc0.weight") or (None,))[0]
    if paths:
        options["mapping_lrmul"] = layers.common(paths, "bias_gain")
        options["mapping_nonlinearity"] = layers.common(paths, "activation")
    return options


# Generator


def _generator(layers):
    """Layers => StoredNetwork."""
    paths = blocks(layers, "synthesis.")
    convs = layers.paths("SynthesisLayer")
    for path in convs:
        wanted = 2 if path.endswith("conv0") else 1
        if layers.get(path, "up") != wanted or layers.get(path, "padding") != 1:
            raise UserError(f"a PyTorch network with an unusual layer {path!r}")
    width = layers.number("", "w_dim")
    options = dict(
        **sizes(layers),
        z_dim=layers.number("", "z_dim"),
        w_dim=width,
        truncation_psi=1.0,
        w_avg_beta=layers.get("mapping", "w_avg_beta", 0.995),
        mapping={"mapping_fmaps": None, **label_mapping(layers)},
        synthesis=dict(
            architecture=layers.common(paths.values(), "architecture"),
            nonlinearity=layers.common(convs, "activation"),
            conv_clamp=layers.common([*convs, *layers.paths("ToRGBLayer")], "conv_clamp"),
            use_noise=layers.common(convs, "use_noise"),
            resample_kernel=layers.kernel("resample_filter"),
            quirks=["unscaled_norm"],
            **channel_options(_output_channels(layers, paths, "conv1")),
        ),
    )
    variables = {"": {"lod": np.zeros([], np.float32)}, "mapping": {}, "synthesis": {}}
    for path, value in layers.tensors.items():
        place = generator_place(path)
        if place is not None:
            role, name, convert = place
            variables[role][name] = convert(value)
    components = {
        role: StoredNetwork(f"G_{role}", f"stylegan2_{role}", {}, {}, variables[role])
        for role in ("synthesis", "mapping")
    }
    return StoredNetwork("G", "stylegan2_generator", options, components, variables[""])


def _output_channels(layers, paths, name):
    """{log2 of the side: output channels of the convolution of that name in each block}."""
    found = {r: layers.shape(f"{path}.{name}.weight") for r, path in paths.items()}
    if not all(found.values()):
        raise UserError(f"a PyTorch network without {name} in one of its blocks")
    return {r: shape[0] for r, shape in found.items()}


def generator_place(path):
    """Where a tensor of the generator belongs: (role, name, how to convert it), or None."""
    if path.endswith("resample_filter"):
        return None
    if path == "mapping.w_avg":
        return "", "dlatent_avg", same
    if path == "synthesis.b4.const":
        return "synthesis", "4x4/Const/const", with_axes(1)
    match = re.fullmatch(r"mapping\.(embed|fc(\d+))\.(weight|bias)", path)
    if match:
        _, number, leaf = match.groups()
        scope = "LabelEmbed" if number is None else f"Dense{number}"
        return "mapping", f"{scope}/{leaf}", dense
    match = re.fullmatch(r"synthesis\.b(\d{1,6})\.(conv0|conv1|torgb|skip)\.([a-z_.]+)", path)
    if match:
        place = layer_place(int(match.group(1)), match.group(2), match.group(3))
        if place is not None:
            return ("synthesis", *place)
    return "synthesis", path, same  # unknown; found out when variables are matched


def layer_place(side, layer, leaf):
    """Where a tensor of a layer of a synthesis network belongs: (name, how to convert it), or None.

    Args:
      side: of the layer's output.
      layer: one of GENERATOR_LAYERS.
      leaf: name of the tensor in the layer.
    """
    scope, noise_index = GENERATOR_LAYERS[layer]
    scope = "4x4/Conv" if side == 4 and layer == "conv1" else scope.format(side)
    if leaf == "noise_const" and noise_index is not None:
        return f"noise{noise_index(side.bit_length() - 1)}", with_axes(2)
    places = {
        "weight": ("weight", flipped_conv if layer == "conv0" else conv),
        "bias": ("bias", same),
        "noise_strength": ("noise_strength", same),
        "affine.weight": ("mod_weight", dense),
        "affine.bias": ("mod_bias", offset),
    }
    if leaf not in places:
        return None
    name, convert = places[leaf]
    return f"{scope}/{name}", convert


# Discriminator


def _discriminator(layers):
    """Layers => StoredNetwork."""
    paths = blocks(layers, "")
    convs = layers.paths("Conv2dLayer")
    for path in convs:
        wanted = 2 if re.search(r"(conv1|skip)$", path) else 1
        if layers.get(path, "down") != wanted or layers.get(path, "up") != 1:
            raise UserError(f"a PyTorch network with an unusual layer {path!r}")
    acting = [path for path in convs if not path.endswith("skip") and not path.startswith("b4.")]
    ending = [path for path in ("b4.conv", "b4.fc", "b4.fromrgb") if path in layers.classes]
    channels = {
        r: layers.shape(f"{path}.conv{'' if r == 2 else '0'}.weight") for r, path in paths.items()
    }
    if not all(channels.values()):
        raise UserError("a PyTorch network without convolution in one of its blocks")
    options = dict(
        **sizes(layers),
        architecture=layers.common(paths.values(), "architecture"),
        nonlinearity=layers.common(acting or ending, "activation"),
        epilogue_nonlinearity=layers.common(ending, "activation"),
        conv_clamp=layers.common([*acting, "b4.conv"], "conv_clamp"),
        resample_kernel=layers.kernel("resample_filter"),
        hidden_dim=(layers.shape("b4.fc.weight") or (None,))[0],
        quirks=["groups_of_one", "unclamped_last_rgb"],
        **minibatch_options(layers),
        **channel_options({r: shape[0] for r, shape in channels.items()}),
    )
    if options["c_dim"]:
        cmap_dim = (layers.shape("b4.out.weight") or (None,))[0]
        options.update(label_mapping(layers), cmap_dim=cmap_dim)
    variables = {}
    for path, value in layers.tensors.items():
        if not path.endswith("resample_filter"):
            name, convert = discriminator_place(path)
            variables[name] = convert(value)
    return StoredNetwork("D", "stylegan2_discriminator", options, {}, variables)


def minibatch_options(layers):
    """Options of the discriminator's layer that compares samples."""
    if "b4.mbstd" not in layers.classes:
        return dict(mbstd_num_channels=0)
    return dict(
        mbstd_group_size=layers.get("b4.mbstd", "group_size"),
        mbstd_num_channels=layers.number("b4.mbstd", "num_channels"),
    )


def discriminator_place(path):
    """Where a tensor of the discriminator belongs: (name, how to convert it)."""
    match = re.fullmatch(r"mapping\.(embed|fc(\d+))\.(weight|bias)", path)
    if match:
        _, number, leaf = match.groups()
        scope = "LabelEmbed" if number is None else f"Mapping{number}"
        return f"{scope}/{leaf}", dense
    match = re.fullmatch(r"b(\d{1,6})\.([a-z0-9]+)\.(weight|bias)", path)
    if match and match.group(2) in DISCRIMINATOR_LAYERS:
        side, layer, leaf = match.groups()
        is_dense = layer in ("fc", "out") or leaf == "bias"
        return (
            f"{DISCRIMINATOR_LAYERS[layer].format(side)}/{leaf}",
            dense if is_dense else conv,
        )
    return path, same  # unknown; found out when variables are matched
