"""GANsformer's networks in PyTorch (Hudson & Zitnick 2021, arXiv:2103.01209), in our terms.

Their differences from the code in TensorFlow are quirks, see :mod:`training.model.quirks`.
"""

import re

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib import builders
from dnnlib.tflib.snapshot.machine import PickledModule
from dnnlib.tflib.stored_network import StoredNetwork
from training.foreign.ada_torch import (
    DISCRIMINATOR_LAYERS,
    GENERATOR_LAYERS,
    blocks,
    layer_place,
    minibatch_options,
    sizes,
)
from training.foreign.layers import Layers, channel_options, conv, dense, offset, same, with_axes
from training.model.quirks import PUBLISHED_QUIRKS

# Dense layers of an attention => ours.
PROJECTIONS = {
    "to_queries": "query",
    "to_keys": "key",
    "to_values": "value",
    "from_pos_map": "from_pos",
    "to_pos_map": "to_pos",
    "modulation": "out",
    "to_gate_attention.gate": "e_cont",
    "to_gate_attention.gate_pos": "e_pos",
    "from_gate_attention.gate": "n_cont",
    "from_gate_attention.gate_pos": "n_pos",
}


@builders.register_importer
def import_gansformer_torch(found, version):
    """Turn a network of GANsformer in PyTorch into ours.

    Args:
      found: PickledModule, or what other importers take.
      version: not used.

    Returns:
      StoredNetwork, or None if it is no such network.

    Raises:
      UserError: it is damaged, or of a kind that does not work there.
    """
    del version
    if not isinstance(found, PickledModule):
        return None
    if found.class_name not in ("Generator", "Discriminator"):
        return None
    layers = Layers(found)
    if not layers.paths("BiasActLayer"):  # StyleGAN2-ADA's
        return None
    stored = (_generator if found.class_name == "Generator" else _discriminator)(layers)
    return stored._replace(name=found.name)


def _generator(layers):
    """Layers => StoredNetwork."""
    num_latents = layers.number("", "k")
    paths = blocks(layers, "synthesis.")
    if any(layers.get(path, "latent_stem") for path in paths.values()):
        raise UserError("a PyTorch network with a latent stem, which does not work in its code")
    has_components = num_latents > 1
    quirks = list(PUBLISHED_QUIRKS["torch"])
    if not layers.get("mapping", "normalize_global", True):
        quirks.append("raw_global_latent")
    options = dict(
        **sizes(layers),
        z_dim=layers.number("", "z_dim"),
        w_dim=layers.number("", "w_dim"),
        components_num=num_latents - 1 if has_components else 1,
        transformer=has_components,
        truncation_psi=1.0,
        w_avg_beta=layers.get("mapping", "w_avg_beta", 0.995),
        component_dropout=layers.get("", "component_dropout", 0.0),
        quirks=quirks,
        mapping=_mapping_options(layers, has_components),
        synthesis=_synthesis_options(layers, paths, has_components),
    )
    options["use_pos"] = any(options[part]["use_pos"] for part in ("mapping", "synthesis"))
    iterations = options["synthesis"].get("kmeans_iters", 1)
    encoding = {} if has_components else {"ltnt_emb/emb": np.zeros([0, options["w_dim"]], "f4")}
    variables = {"": encoding, "mapping": {}, "synthesis": {}}
    for path, value in layers.tensors.items():
        for role, name, convert in generator_places(path, max(paths), options, iterations):
            variables[role][name] = convert(value)
    components = {
        role: StoredNetwork(f"G_{role}", role, {}, {}, variables[role])
        for role in ("synthesis", "mapping")
    }
    return StoredNetwork("G", "generator", options, components, variables[""])


def _mapping_options(layers, has_components):
    """Options of the mapping network."""
    mlp = "mapping.mlp" if has_components else "mapping.global_mlp"
    pattern = re.escape(mlp) + r"\.l\d+"
    plain = [path for path in layers.classes if re.fullmatch(pattern, path)]
    is_resnet = any(layers.classes[path] == "ResnetLayer" for path in plain)
    num = 2 * len(plain) if is_resnet else len(plain) + 1
    first = [f"{path}.fc0" if is_resnet else path for path in plain]
    attentions = layers.paths("TransformerLayer")
    attentions = [path for path in attentions if path.startswith("mapping.")]
    options = dict(
        mapping_num_layers=num,
        mapping_lrmul=layers.common([*first, f"{mlp}.out_layer"], "b_gain"),
        mapping_nonlinearity=layers.common([*first, f"{mlp}.out_layer"], "act"),
        mapping_resnet=is_resnet,
        mapping_ltnt2ltnt=bool(attentions),
        use_pos=bool(has_components and layers.get("mapping", "use_pos")),
        embed_labels=True,
        **_attention_options(layers, attentions),
    )
    if not is_resnet:
        names = [f"{mlp}.l{i}" for i in range(len(plain))] + [f"{mlp}.out_layer"]
        widths = [(layers.shape(f"{name}.weight") or (None,))[0] for name in names]
        options["mapping_fmaps"] = widths
    if "mapping.embed.weight" in layers.tensors:
        options["label_fmaps"] = layers.shape("mapping.embed.weight")[0]
    return options


def _attention_options(layers, paths):
    """Options of attention layers, {} without any."""
    if not paths:
        return {}
    return dict(
        num_heads=layers.common(paths, "num_heads"),
        ltnt_gate=layers.common([f"{x}.to_gate_attention" for x in paths], "should_gate", False),
    )


def _synthesis_options(layers, paths, has_components):
    """Options of the synthesis network."""
    convs = [x for x in layers.paths("SynthesisLayer") if not x.endswith("conv_last")]
    for path in convs:
        if layers.get(path, "up") != (2 if path.endswith("conv0") else 1):
            raise UserError(f"a PyTorch network with an unusual layer {path!r}")
    channels = {r: layers.shape(f"{path}.conv1.weight") for r, path in paths.items()}
    if not all(channels.values()):
        raise UserError("a PyTorch network without conv1 in one of its blocks")
    acts = [f"{path}.biasAct" for path in convs]
    options = dict(
        architecture=layers.common(paths.values(), "architecture"),
        style=layers.common(convs, "style", True),
        local_noise=layers.common(convs, "local_noise", True),
        nonlinearity=layers.common(acts, "act"),
        conv_clamp=layers.common(acts, "out_clamp"),
        resample_kernel=layers.kernel("resample_kernel"),
        use_pos=False,
        start_res=0,
        end_res=0,
        **channel_options({r: shape[0] for r, shape in channels.items()}),
    )
    attentions = [f"{path}.transformer" for path in convs]
    attentions = [path for path in attentions if path in layers.classes]
    if not attentions:
        return options
    if not has_components:
        raise UserError("a PyTorch network with attention, but without components")
    kmeans = bool(layers.common(attentions, "kmeans"))
    if kmeans and not layers.common(attentions, "parametric", True):
        raise UserError("a PyTorch network with iterative attention, which its code cannot run")
    levels = {r for r, path in paths.items() if any(x.startswith(path + ".") for x in attentions)}
    if levels != set(range(min(levels), max(levels) + 1)) or _has_gaps(attentions, levels):
        raise UserError("a PyTorch network with attention in an unusual choice of layers")
    gates = [f"{path}.from_gate_attention" for path in attentions]
    owners = [path[: -len(".transformer")] for path in attentions]
    options.update(
        start_res=min(levels),
        end_res=max(levels) + 1,
        norm=layers.common(attentions, "norm"),
        integration=layers.common(attentions, "integration", "add"),
        kmeans=kmeans,
        kmeans_iters=layers.common(attentions, "kmeans_iters", 1) if kmeans else 1,
        img_gate=layers.common(gates, "should_gate", False),
        use_pos=bool(layers.common(owners, "use_pos", False)),
        **_attention_options(layers, attentions),
        **_position_options(layers, attentions),
    )
    return options


def _has_gaps(attentions, levels):
    """Whether a block has attention in one of its layers only."""
    return len(attentions) != sum(1 if r == 2 else 2 for r in levels)


def _position_options(layers, attentions):
    """Options of the image's positional encoding."""
    path = attentions[0]
    grid = layers.shape(f"{path[: -len('.transformer')]}.grid_pos")
    if len(grid) != 3:
        raise UserError(f"a PyTorch network with attention but no grid_pos in layer {path!r}")
    return dict(
        pos_dim=grid[2],
        pos_type=str(layers.option(path, "pos_type", "sinus")),
        pos_directions_num=layers.option(path, "pos_directions_num", 2),
    )


def generator_places(path, max_log2, options, iterations):
    """Where a tensor of the generator goes: list of (role, name, how to convert it).

    Args:
      path: of the tensor.
      max_log2: log2 of the resolution.
      options: of the generator.
      iterations: k-means steps, which share a weight there.
    """
    last = path.rsplit(".", 1)[-1]
    if last == "resample_kernel" or re.fullmatch(r"pos\d+", last):  # the latter is a grid_pos again
        return []
    own = {"pos": "ltnt_emb/emb", "mapping.w_avg": "dlatent_avg"}
    if path in own:
        return [("", own[path], same)]
    if path.startswith("mapping."):
        return [("mapping", *_mapping_place(path, options))]
    found = [(path, same)]  # unknown; found out when variables are matched
    match = re.fullmatch(r"synthesis\.b(\d{1,6})\.([a-z0-9_]+)\.(.+)", path)
    if path == "synthesis.b4.const":
        found = [("4x4/Const/const", with_axes(1))]
    elif match and match.group(2) == "conv_last":
        found = [_last_place(2**max_log2, match.group(3))]
    elif match:
        side, layer, leaf = match.groups()
        has_own_grid = options["synthesis"].get("pos_type") == "trainable2d"
        found = _layer_places(int(side), layer, leaf, iterations, has_own_grid) or found
        found = [] if leaf == "grid_pos" and not has_own_grid else found
    return [("synthesis", *place) for place in found]


def _last_place(side, leaf):
    """The same of a tensor of the convolution before the last ToRGB: (name, how to convert it)."""
    places = {
        "weight": ("weight", conv),
        "affine.weight": ("mod_weight", dense),
        "affine.bias": ("mod_bias", offset),
    }
    name, convert = places.get(leaf, (leaf, same))
    return f"{side}x{side}/ToRGB/extraLayer/{name}", convert


def _layer_places(side, layer, leaf, iterations, has_own_grid):
    """The same of a tensor of another layer: list of (name, how to convert it)."""
    if layer not in GENERATOR_LAYERS:
        return []
    scope = "4x4/Conv" if side == 4 else GENERATOR_LAYERS[layer][0].format(side)
    if leaf == "grid_pos" and has_own_grid:
        return [(f"{scope}/AttLayer_l2n/grid_pos", same)]
    if leaf.startswith("transformer."):
        found = _attention_places(leaf[len("transformer.") :], iterations)
        return [(f"{scope}/AttLayer_l2n/{name}", convert) for name, convert in found]
    place = layer_place(side, layer, "bias" if leaf == "biasAct.bias" else leaf)
    return [] if place is None else [place]


def _attention_places(leaf, iterations=1):
    """The same of a tensor of an attention layer: list of (name, how to convert it)."""
    if leaf == "centroids":
        return [("toasgn_init", same)]
    if leaf == "att_weight":
        return [(f"iter_{i}/st_weights", same) for i in range(iterations)]
    layer, _, kind = leaf.rpartition(".")
    if layer in PROJECTIONS and kind in ("weight", "bias"):
        return [(f"{kind}_{PROJECTIONS[layer]}", dense)]
    return [(leaf, same)]


def _mapping_place(path, options):
    """The same of a tensor of the mapping network: (name, how to convert it)."""
    match = re.fullmatch(r"mapping\.embed\.(weight|bias)", path)
    if match:
        return f"LabelEmbed/{match.group(1)}", dense
    match = re.fullmatch(r"mapping\.(global_)?mlp\.(.+)", path)
    if match is None:
        return path, same
    has_scope = match.group(1) and options["transformer"]
    scope, leaf = "global/" if has_scope else "", match.group(2)
    attention = re.fullmatch(r"sa(\d+)\.(.+)", leaf)
    if attention:
        ((name, convert),) = _attention_places(attention.group(2))
        return f"{scope}AttLayer_{attention.group(1)}/{name}", convert
    num = options["mapping"]["mapping_num_layers"]
    last = num // 2 - 1 if options["mapping"]["mapping_resnet"] else num - 1
    leaf = re.sub(r"^out_layer\.", f"Dense{last}/", leaf)
    leaf = re.sub(r"^l(\d+)\.fc(\d)\.", r"Dense\1_\2/", leaf)
    return scope + re.sub(r"^l(\d+)\.", r"Dense\1/", leaf), dense


# Discriminator


def _discriminator(layers):
    """Layers => StoredNetwork."""
    paths = blocks(layers, "")
    convs = [path for path in layers.paths("Conv2dLayer") if not path.endswith("skip")]
    acts = [f"{path}.biasAct" for path in convs if not path.startswith("b4.")]
    channels = {
        r: layers.shape(f"{path}.conv{'' if r == 2 else '0'}.weight") for r, path in paths.items()
    }
    if not all(channels.values()):
        raise UserError("a PyTorch network without convolution in one of its blocks")
    options = dict(
        **sizes(layers),
        architecture=layers.common(paths.values(), "architecture"),
        nonlinearity=layers.common(acts, "act", "lrelu"),
        epilogue_nonlinearity=layers.common(["b4.conv.biasAct", "b4.fc"], "act"),
        resample_kernel=layers.kernel("resample_kernel"),
        hidden_dim=(layers.shape("b4.fc.weight") or (None,))[0],
        quirks=["groups_of_one"],
        **minibatch_options(layers),
        **channel_options({r: shape[0] for r, shape in channels.items()}),
    )
    variables = {}
    for path, value in layers.tensors.items():
        match = re.fullmatch(r"b(\d{1,6})\.([a-z0-9]+)\.(?:biasAct\.)?(weight|bias)", path)
        if match and match.group(2) in DISCRIMINATOR_LAYERS:
            side, layer, leaf = match.groups()
            convert = dense if layer in ("fc", "out") or leaf == "bias" else conv
            name = f"{DISCRIMINATOR_LAYERS[layer].format(side)}/{leaf}"
            variables[name] = convert(value)
        elif not path.endswith("resample_kernel"):
            variables[path] = value  # unknown; found out when variables are matched
    return StoredNetwork("D", "stylegan2_discriminator", options, {}, variables)
