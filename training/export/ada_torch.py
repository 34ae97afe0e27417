"""Networks of the StyleGAN2 family in StyleGAN2-ADA PyTorch's terms: state dicts and arguments."""

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
from training.foreign.ada_torch import (
    DISCRIMINATOR_LAYERS,
    GENERATOR_LAYERS,
    discriminator_place,
    generator_place,
)

CODE = "StyleGAN2-ADA PyTorch"

# Options that have to have this value, where a builder has them.
# fmt: off
NEEDED = dict(
    transformer=False, merge=False, progressive=False, components_num=1,
    mapping_resnet=False, mapping_dim=None, mapping_shared_dim=None, mapping_ltnt2ltnt=False,
    normalize_latents=True, style=True, latent_stem=False, tanh=False, img2img=0, local_attention=0,
    spectral_norm=False, score_max=1,
)
# fmt: on

LEAVES = ("weight", "bias", "affine.weight", "affine.bias", "noise_const", "noise_strength")


def generator(stored):
    """A generator as TorchNetwork.

    Args:
      stored: StoredNetwork of a network that has been built, so that its parts are ours.

    Raises:
      UserError: it has something that is not known there.
    """
    options = _checked(stored)
    mapping, synthesis = (_checked(stored.components[role]) for role in ("mapping", "synthesis"))
    resolution, w_dim = options["resolution"], options["w_dim"]
    variables = variables_of(stored)
    variables["", "dlatent_avg"] = variables["", "dlatent_avg"].reshape(w_dim)
    has_noise = synthesis.get("use_noise", synthesis.get("local_noise", True))
    last = 2 * resolution.bit_length() - 6 if has_noise else -1  # of the noises in use
    unused = [("", "lod"), ("", "ltnt_emb/emb")]
    unused += [("synthesis", f"noise{i}") for i in range(last + 1, len(variables))]
    candidates = _generator_paths(resolution, mapping["mapping_num_layers"])
    variables = {key: value for key, value in variables.items() if key not in unused}
    tensors = tensors_of([(x, [generator_place(x)]) for x in candidates], variables, unused, CODE)
    channels = {s: len(tensors[f"synthesis.b{s}.conv1.bias"]) for s in sides_of(resolution)}
    if len(tensors["synthesis.b4.const"]) != channels[4]:
        raise no_counterpart(CODE, f"const_channels={len(tensors['synthesis.b4.const'])}")
    kwargs = dict(
        z_dim=options["z_dim"],
        c_dim=options["c_dim"],
        w_dim=w_dim,
        img_resolution=resolution,
        img_channels=options["num_channels"],
        mapping_kwargs=_mapping_kwargs(mapping, tensors),
        synthesis_kwargs=dict(
            channel_kwargs(synthesis, channels, CODE),
            architecture=synthesis["architecture"],
            resample_filter=list(synthesis["resample_kernel"]),
            conv_clamp=synthesis["conv_clamp"],
            use_noise=has_noise,
            activation=synthesis["nonlinearity"],
        ),
    )
    add_filters(tensors, synthesis["resample_kernel"], "resample_filter", "synthesis.")
    return TorchNetwork(tensors, kwargs)


def discriminator(stored):
    """A discriminator as TorchNetwork; see :func:`generator`."""
    if stored.builder not in ("discriminator", "stylegan2_discriminator"):
        raise no_counterpart(CODE, f"{stored.name!r} ({stored.builder}) alone")
    options = _checked(stored)
    candidates = _discriminator_paths(options["resolution"], options["mapping_num_layers"])
    places = [(path, [("", *discriminator_place(path))]) for path in candidates]
    tensors = tensors_of(places, variables_of(stored), (), CODE)
    sides = sides_of(options["resolution"])
    channels = {s: len(tensors[f"b{s}.{'conv' if s == 4 else 'conv0'}.bias"]) for s in sides}
    if len(tensors["b4.fc.bias"]) != channels[4]:
        raise no_counterpart(CODE, f"a last layer of {len(tensors['b4.fc.bias'])} features")
    clamps_all = "unclamped_last_rgb" not in options["quirks"]
    if options["conv_clamp"] and options["architecture"] == "skip" and clamps_all:
        raise no_counterpart(CODE, "conv_clamp at 4x4 with architecture='skip'")
    group = options["mbstd_group_size"]
    has_stddev = group is None or group > 1 or "groups_of_one" in options["quirks"]
    kwargs = dict(
        c_dim=options["c_dim"],
        img_resolution=options["resolution"],
        img_channels=options["num_channels"],
        architecture=options["architecture"],
        **channel_kwargs(options, channels, CODE),
        conv_clamp=options["conv_clamp"],
        block_kwargs=dict(
            activation=options["nonlinearity"], resample_filter=list(options["resample_kernel"])
        ),
        epilogue_kwargs=dict(
            mbstd_group_size=group,
            mbstd_num_channels=options["mbstd_num_channels"] if has_stddev else 0,
            activation=options["epilogue_nonlinearity"] or options["nonlinearity"],
        ),
    )
    if options["c_dim"]:
        cmap_dim = len(tensors["b4.out.bias"])
        kwargs.update(cmap_dim=cmap_dim, mapping_kwargs=_mapping_kwargs(options, tensors))
    add_filters(tensors, options["resample_kernel"], "resample_filter")
    return TorchNetwork(tensors, kwargs)


def _checked(stored):
    """Options of a StoredNetwork whose labels, if any, are embedded."""
    options = options_of(stored, CODE, NEEDED)
    if options.get("c_dim") and "embed_labels" in options and not options["embed_labels"]:
        raise no_counterpart(CODE, f"c_dim={options['c_dim']} with embed_labels=False")
    return options


def _generator_paths(resolution, num_layers):
    """Paths of all tensors that a generator might have."""
    yield from ("mapping.w_avg", "synthesis.b4.const")
    yield from _mapping_paths(num_layers)
    for side in sides_of(resolution):
        for layer in GENERATOR_LAYERS:
            yield from (f"synthesis.b{side}.{layer}.{leaf}" for leaf in LEAVES)


def _discriminator_paths(resolution, num_layers):
    """Paths of all tensors that a discriminator might have."""
    yield from _mapping_paths(num_layers)
    for side in sides_of(resolution):
        for layer in DISCRIMINATOR_LAYERS:
            is_end = layer in ("conv", "fc", "out")
            if side == 4 or not is_end:
                yield from (f"b{side}.{layer}.{leaf}" for leaf in ("weight", "bias"))


def _mapping_paths(num_layers):
    for layer in ("embed", *(f"fc{i}" for i in range(num_layers))):
        yield from (f"mapping.{layer}.{leaf}" for leaf in ("weight", "bias"))


def _mapping_kwargs(options, tensors):
    """Arguments of a mapping network."""
    num = options["mapping_num_layers"]
    widths = {len(tensors[f"mapping.fc{i}.bias"]) for i in range(num - 1)}
    if len(widths) > 1:
        raise no_counterpart(CODE, f"a mapping with layers of different widths, {sorted(widths)}")
    kwargs = dict(num_layers=num, layer_features=widths.pop() if widths else None)
    if "mapping.embed.bias" in tensors:
        kwargs["embed_features"] = len(tensors["mapping.embed.bias"])
    return dict(
        kwargs,
        activation=options["mapping_nonlinearity"],
        lr_multiplier=options["mapping_lrmul"],
    )
