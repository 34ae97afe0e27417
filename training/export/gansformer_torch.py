"""Networks of GANsformer's PyTorch version in its terms: state dicts and arguments.

Its function differs from ours, see training/model/quirks.py, so that only networks that have its
quirks, those that came from there, have an exact counterpart.
"""

import re

import tensorflow.compat.v1 as tf

from training.export.ada_torch import discriminator as ada_discriminator
from training.export.inverse import (
    TorchNetwork,
    add_filters,
    channel_kwargs,
    no_counterpart,
    options_of,
    sides_of,
    tensors_of,
    variables_of,
)
from training.foreign.ada_torch import GENERATOR_LAYERS
from training.foreign.gansformer_torch import PROJECTIONS, generator_places
from training.model.positional import GridEncodings
from training.model.quirks import PUBLISHED_QUIRKS

CODE = "GANsformer's PyTorch version"

NEEDED = dict(
    merge=False,
    mapping_dim=None,
    mapping_shared_dim=None,
    normalize_latents=True,
    latent_stem=False,
    tanh=False,
    duplex=False,
    ltnt2ltnt=False,
    img2ltnt=False,
    img2img=0,
    local_attention=0,
    iterative=False,
    pos_type="sinus",
    conv_clamp=None,
    const_channels=None,
)
NEEDED_QUIRKS = set(PUBLISHED_QUIRKS["torch"]) - {"double_precision"}

LEAVES = ("weight", "biasAct.bias", "affine.weight", "affine.bias", "noise_const", "noise_strength")
DENSE_LEAVES = ("weight", "bias")


def is_gansformer(stored):
    """Whether a StoredNetwork is of this code's kind rather than StyleGAN2-ADA's."""
    options = stored.static_kwargs
    return bool(options.get("transformer")) or "extra_layer_always" in options.get("quirks", ())


def generator(stored):
    """A generator as TorchNetwork.

    Args:
      stored: StoredNetwork of a network that has been built, so that its parts are ours.

    Raises:
      UserError: it has something that is not known there.
    """
    options, mapping, synthesis = _all_options(stored)
    missing = NEEDED_QUIRKS - set(options["quirks"])
    if missing:
        raise no_counterpart(
            CODE, f"a network that was not made there (it lacks the quirk {min(missing)!r})"
        )
    resolution, has_components = options["resolution"], options["transformer"]
    paths = _generator_paths(resolution, mapping, has_components)
    candidates = [(path, _places(path, options, mapping, synthesis)) for path in paths]
    unused = [] if has_components else [("", "ltnt_emb/emb")]
    variables = {k: v for k, v in variables_of(stored).items() if k not in unused}
    tensors = tensors_of(candidates, variables, unused, CODE)
    channels = {s: tensors[f"synthesis.b{s}.conv1.weight"].shape[0] for s in sides_of(resolution)}
    synthesis_kwargs = dict(
        channel_kwargs(synthesis, channels, CODE),
        architecture=synthesis["architecture"],
        style=synthesis["style"],
        local_noise=synthesis["local_noise"],
        act=synthesis["nonlinearity"],
        resample_kernel=list(synthesis["resample_kernel"]),
    )
    if has_components:
        synthesis_kwargs.update(_attention_kwargs(synthesis))
        _add_grids(tensors, resolution, synthesis, options["w_dim"])
    add_filters(tensors, synthesis["resample_kernel"], "resample_kernel", "synthesis.")
    kwargs = dict(
        z_dim=options["z_dim"],
        c_dim=options["c_dim"],
        w_dim=options["w_dim"],
        k=options["components_num"] + 1 if has_components else 1,
        img_resolution=resolution,
        img_channels=options["num_channels"],
        component_dropout=options["component_dropout"],
        mapping_kwargs=_mapping_kwargs(mapping, options),
        synthesis_kwargs=synthesis_kwargs,
    )
    return TorchNetwork(tensors, kwargs)


def with_tensors(stored, tensors):
    """Our generator with the values of a state dict, as importing it would place them.

    Args:
      stored: StoredNetwork that the state dict was made from.
      tensors: {name: array}.

    Returns:
      StoredNetwork.
    """
    found = {"": dict(stored.variables), "mapping": {}, "synthesis": {}}
    options = _all_options(stored)
    for path, value in tensors.items():
        for role, name, convert in _places(path, *options):
            found[role][name] = convert(value)
    components = {
        role: part._replace(variables=found[role]) for role, part in stored.components.items()
    }
    return stored._replace(variables=found[""], components=components)


def _all_options(stored):
    """Options of a generator, its mapping and its synthesis network; checked."""
    parts = (stored, stored.components["mapping"], stored.components["synthesis"])
    return [options_of(part, CODE, NEEDED) for part in parts]


def _places(path, options, mapping, synthesis):
    """Where a tensor belongs in our network: [(role, name, how to convert it)]."""
    options = dict(options, mapping=mapping, synthesis=synthesis)
    log2_resolution = options["resolution"].bit_length() - 1
    return generator_places(path, log2_resolution, options, synthesis["kmeans_iters"])


def discriminator(stored):
    """A discriminator as TorchNetwork: that of StyleGAN2-ADA under other names."""
    network = ada_discriminator(stored)
    tensors = {}
    for path, value in network.tensors.items():
        name = path.replace("resample_filter", "resample_kernel")
        if not path.startswith(("b4.fc.", "b4.out.")):  # those are dense layers
            name = re.sub(r"\.bias$", ".biasAct.bias", name)
        tensors[name] = value
    kwargs = dict(network.kwargs, block_kwargs={}, mapping_kwargs={})
    kwargs.pop("conv_clamp")
    return TorchNetwork(tensors, kwargs)


def _generator_paths(resolution, mapping, has_components):
    """Paths of all tensors that a generator might have, but for buffers."""
    yield from ("pos", "mapping.w_avg", "synthesis.b4.const")
    yield from (f"mapping.embed.{leaf}" for leaf in DENSE_LEAVES)
    num, is_resnet = mapping["mapping_num_layers"], mapping["mapping_resnet"]
    for mlp in ("mlp", "global_mlp") if has_components else ("global_mlp",):
        dense = ["out_layer"]
        for i in range(num // 2 if is_resnet else num - 1):
            dense += [f"l{i}.fc0", f"l{i}.fc1"] if is_resnet else [f"l{i}"]
            dense += [f"sa{i}.{name}" for name in PROJECTIONS]
        yield from (f"mapping.{mlp}.{name}.{leaf}" for name in dense for leaf in DENSE_LEAVES)
    for side in sides_of(resolution):
        layers = ["conv1", "torgb"] if side == 4 else list(GENERATOR_LAYERS)
        for layer in [*layers, "conv_last"] if side == resolution else layers:
            start = f"synthesis.b{side}.{layer}"
            yield from (f"{start}.{leaf}" for leaf in LEAVES)
            if layer in ("conv0", "conv1"):
                yield from (f"{start}.transformer.{leaf}" for leaf in ("centroids", "att_weight"))
                for name in PROJECTIONS:
                    yield from (f"{start}.transformer.{name}.{leaf}" for leaf in DENSE_LEAVES)


def _mapping_kwargs(mapping, options):
    num = mapping["mapping_num_layers"]
    return dict(
        num_layers=num if mapping["mapping_resnet"] else num - 1,
        act=mapping["mapping_nonlinearity"],
        lrmul=mapping["mapping_lrmul"],
        transformer=options["transformer"],
        resnet=mapping["mapping_resnet"],
        ltnt2ltnt=mapping["mapping_ltnt2ltnt"],
        ltnt_gate=mapping["ltnt_gate"],
        use_pos=mapping["use_pos"],
        num_heads=mapping["num_heads"],
        normalize_global="raw_global_latent" not in options["quirks"],
    )


def _attention_kwargs(synthesis):
    """Arguments about attention; they have the names of our options."""
    names = "start_res end_res norm integration kmeans kmeans_iters num_heads ltnt_gate img_gate"
    names += " use_pos pos_dim pos_type pos_init pos_directions_num"
    return dict({name: synthesis[name] for name in names.split()}, transformer=True)


def _add_grids(tensors, resolution, synthesis, w_dim):
    """The buffers of the image's positional encoding, in each layer with attention."""
    dim, directions = synthesis["pos_dim"] or w_dim, synthesis["pos_directions_num"]
    with tf.Graph().as_default(), tf.Session() as session:
        grids = GridEncodings(resolution.bit_length() - 1, dim, directions=directions, is_flat=True)
        for side in sides_of(resolution):
            for layer in ("conv0", "conv1"):
                start = f"synthesis.b{side}.{layer}"
                if f"{start}.transformer.to_queries.weight" in tensors:
                    grid = session.run(grids[side.bit_length() - 1])
                    tensors[f"{start}.grid_pos"] = grid.reshape(side, side, -1)
