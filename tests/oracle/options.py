"""Static keywords of the published build functions => one set of options.

Defaults are those of the published build functions; snapshots do not store them. Keywords that the
published functions swallow (num_threads of nothing, label_size in the later code) are ignored here
too; a misspelt one would show up as a mismatch of variables.
"""

from types import SimpleNamespace

FAMILIES = {
    "Generator": "head",
    "Discriminator": "head",
    "G_GANformer": "legacy",
    "G_GANsformer": "legacy",
    "D_GANformer": "legacy",
    "D_GANsformer": "legacy",
    "G_main": "stylegan2",
    "D_stylegan2": "stylegan2",
    "D_stylegan": "stylegan2",
}

# Earlier names => ours. Which of the two spellings counts depends on the code base, see below.
LEGACY_NAMES = {
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "label_size": "c_dim",
    "fmap_base": "channel_base",
    "fmap_max": "channel_max",
    "fmap_min": "channel_min",
    "fmap_decay": "channel_decay",
    "mapping_layersnum": "mapping_num_layers",
    "mapping_layers": "mapping_num_layers",
    "dlatent_avg_beta": "w_avg_beta",
    "mbstd_num_features": "mbstd_num_channels",
    "ltnt_stem": "latent_stem",
}

COMMON = dict(
    num_channels=3,
    resolution=1024,
    c_dim=0,
    channel_base=16 << 10,
    channel_max=512,
    channel_min=1,
    channel_decay=1.0,
    nonlinearity="lrelu",
    resample_kernel=[1, 3, 3, 1],
)
ATTENTION = dict(
    components_num=1,
    transformer=False,
    start_res=0,
    end_res=20,
    num_heads=1,
    integration="add",
    norm=None,
    kmeans=False,
    kmeans_iters=1,
    iterative=False,
    img2img=0,
    img2ltnt=False,
    ltnt2ltnt=False,
    ltnt_gate=False,
    img_gate=False,
    use_pos=False,
    pos_dim=None,
    pos_type="sinus",
    pos_directions_num=2,
)
GENERATOR = dict(
    z_dim=512,
    w_dim=512,
    truncation_psi=0.7,
    truncation_cutoff=None,
    truncation_psi_val=None,
    truncation_cutoff_val=None,
    mapping_num_layers=8,
    mapping_lrmul=0.01,
    mapping_nonlinearity="lrelu",
    mapping_dim=None,
    mapping_resnet=False,
    mapping_ltnt2ltnt=False,
    mapping_shared_dim=0,
    normalize_latents=True,
    architecture="skip",
    style=True,
    latent_stem=False,
    local_noise=True,
    noise_mode="random",
    tanh=False,
    merge=False,
    merge_layer=-1,
    merge_type="sum",
    merge_same=False,
    mapping_fmaps=512,
    synthesis_func="G_synthesis_stylegan2",
)
DISCRIMINATOR = dict(a_dim=512, architecture="resnet", mbstd_group_size=4, mbstd_num_channels=1)


def rename(family, kind, kwargs):
    """Keywords that the function reads, under our names."""
    if family == "head":
        # label_size, mapping_layersnum and the rest of the earlier names are swallowed.
        return {key: value for key, value in kwargs.items() if key not in LEGACY_NAMES}
    renamed = {LEGACY_NAMES.get(key, key): value for key, value in kwargs.items()}
    if kind == "discriminator" and "z_dim" in renamed:
        renamed["a_dim"] = renamed.pop("z_dim")
    return renamed


def published_options(func_name, kwargs):
    """(build function, static keywords) => options as a namespace."""
    func_name = func_name.split(".")[-1]
    family = FAMILIES[func_name]
    kind = "discriminator" if func_name.startswith("D") else "generator"
    options = {**COMMON, **ATTENTION, **(GENERATOR if kind == "generator" else DISCRIMINATOR)}
    if family == "stylegan2":
        options.update(truncation_psi=0.5)
        if func_name == "D_stylegan":
            options.update(architecture="orig")
    kwargs = rename(family, kind, kwargs)
    if kwargs.get("randomize_noise") is False:
        options["noise_mode"] = "const"
    for name, value in kwargs.items():
        if name in options:
            options[name] = value
    opt = SimpleNamespace(**options, family=family, kind=kind)
    opt.R = int(opt.resolution).bit_length() - 1
    opt.progressive = func_name == "D_stylegan" or (
        kind == "generator" and str(opt.synthesis_func).endswith("revised")
    )
    if opt.progressive:
        opt.architecture = "orig"
    if kind == "generator":
        opt.is_gansformer = family != "stylegan2"
        opt.L = 2 * opt.R - (1 if opt.is_gansformer else 2)
        opt.n = opt.components_num if opt.is_gansformer else 1
        opt.k = opt.n + (1 if opt.transformer else 0)
        opt.m = opt.R + 1 if opt.merge_layer < 0 else opt.merge_layer
    return opt


def channels(opt, r):
    """Feature maps at resolution 2^r."""
    maps = int(opt.channel_base / 2.0 ** ((r - 1) * opt.channel_decay))
    return min(max(maps, opt.channel_min), opt.channel_max)
