"""Published networks to compare with: every configuration that ran, made small, and more."""

import json
import pathlib

import numpy as np

from .snapshot import make_discriminator, make_generator

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "published_kwargs.json"


def small(func_name, kwargs, **changes):
    """Published keywords at resolution 32 with few channels; `changes` have the last word."""
    kwargs = dict(kwargs)
    resolution = (
        64 if kwargs.get("merge_layer", 0) >= 5 else 32
    )  # a merge has to come before the end
    base, most = ("channel_base", "channel_max")
    if func_name not in ("Generator", "Discriminator"):
        base, most = ("fmap_base", "fmap_max")
    kwargs.update({"resolution": resolution, base: 4 * resolution, most: 16})
    for name in ("z_dim", "w_dim", "a_dim", "latent_size", "dlatent_size"):
        if kwargs.get(name, 0) >= 64:
            kwargs[name] = 24
    if func_name == "G_main":
        kwargs.update(latent_size=24, dlatent_size=24, mapping_fmaps=20)
    return {**kwargs, **changes}


def published():
    """Every configuration of the published code that builds and runs => {name: (func, kwargs)}."""
    rows = json.loads(GOLDEN.read_text())
    return {name: (func, small(func, kwargs)) for name, (func, kwargs) in rows.items()}


def variants():
    """Options that published files may hold beside the recorded configurations."""
    rows = json.loads(GOLDEN.read_text())
    made = {}

    def add(name, parent, **changes):
        func, kwargs = rows[parent]
        made[name] = (func, small(func, kwargs, **changes))

    simplex, duplex = "head__12_simplex_plain:G", "head__01_gansformer_clevr:G"
    for integration in ("add", "mul", "both"):
        for norm in (None, "layer", "instance", "batch"):
            if (integration, norm) != ("add", None):
                name = f"simplex_{integration}_{norm}"
                add(name, simplex, integration=integration, norm=norm, end_res=4)
    add("simplex_no_pos", simplex, use_pos=False)
    add("simplex_no_pos_gates", simplex, use_pos=False, ltnt_gate=True, img_gate=True, num_heads=2)
    add("simplex_image_gate", simplex, img_gate=True)
    add("simplex_latent_gate", simplex, ltnt_gate=True, num_heads=4)
    add("simplex_repeated_scaling", simplex, kmeans_iters=3)
    add("simplex_pos_dim", simplex, pos_dim=12)
    add("simplex_odd_pos", simplex, pos_dim=10)
    add("simplex_linear_3_directions", simplex, pos_type="linear", pos_directions_num=3, pos_dim=12)
    add("simplex_img2img_gates", simplex, img2img=3, img_gate=True, ltnt_gate=True, num_heads=2)
    add("simplex_style_off_tanh", simplex, style=False, tanh=True, latent_stem=True)
    add("simplex_no_noise_stem", simplex, local_noise=False, latent_stem=True, architecture="orig")
    add("simplex_res64_end_res5", simplex, resolution=64, channel_base=256, end_res=5)
    add("simplex_res64_end_res6", simplex, resolution=64, channel_base=256, start_res=3, end_res=6)
    add("simplex_res16", simplex, resolution=16)
    add("simplex_one_component", simplex, components_num=1)
    add("simplex_gray", simplex, num_channels=1)
    add("simplex_box_kernel", simplex, resample_kernel=[1, 1])
    add("simplex_wide_kernel", simplex, resample_kernel=[1, 4, 6, 4, 1], architecture="resnet")
    add("simplex_swallowed_layers", simplex, mapping_layersnum=4, label_size=7)
    add("simplex_mapping_layers", simplex, mapping_num_layers=3, mapping_lrmul=0.1)
    add("simplex_mapping_resnet_dim", simplex, mapping_resnet=True, mapping_dim=20)
    add("simplex_mapping_inert", simplex, mapping_ltnt2ltnt=True)
    add("simplex_latents_as_they_are", simplex, normalize_latents=False)
    add("duplex_heads", duplex, num_heads=2)
    add("duplex_heads_gates", duplex, num_heads=2, ltnt_gate=True, img_gate=True)
    add("duplex_no_pos", duplex, use_pos=False)
    add("duplex_both_instance", duplex, integration="both", norm="instance", style=True)
    add("duplex_kmeans2", duplex, kmeans_iters=2, num_heads=2)
    add("duplex_trainable_style", "head__10a_pos_trainable:G", style=True, num_heads=2)
    add("duplex_self_attention", duplex, mapping_ltnt2ltnt=True, num_heads=2, ltnt_gate=True)
    add("duplex_self_attention_dim", duplex, mapping_ltnt2ltnt=True, mapping_dim=20)
    iterative = "head__09d_kmeans1_iterative_k16:G"
    add("iterative_kmeans2_heads", iterative, kmeans_iters=2, num_heads=2)
    add("iterative_gates", iterative, ltnt_gate=True, img_gate=True)
    add("iterative_start3", iterative, components_num=64, z_dim=8, w_dim=8, start_res=3)
    add("iterative_to_16", iterative, end_res=5, style=False)
    for code, base in (("head", "channel_base"), ("legacy", "fmap_base")):
        for merge_type in ("max", "sum", "leaves", "softmax"):
            for same in (False, True):
                if (merge_type, same) in (("softmax", False), ("leaves", True)):
                    continue  # recorded configurations
                parent = f"{code}__2{5 if same else 4}_kgan_{'orig' if same else 'resnet'}:G"
                changes = dict(merge_type=merge_type, merge_same=same, resolution=32)
                changes.update({base: 128, "merge_layer": 4 if same else 3, "components_num": 5})
                add(f"{code}_kgan_{merge_type}_{'same' if same else 'each'}", parent, **changes)
    kgan = "legacy__24_kgan_resnet:G"
    add("legacy_kgan_style_off", kgan, style=False, merge_layer=4, resolution=32, fmap_base=128)
    everything = "legacy__08_simplex_everything:G"
    add("legacy_everything_no_pos", everything, use_pos=False)
    add("legacy_everything_add", everything, integration="add", norm=None, img2img=4)
    add("legacy_everything_duplex", everything, kmeans=True, integration="mul", norm="layer")
    add("legacy_img2ltnt_gates", "legacy__19_g_img2ltnt:G", ltnt_gate=True, img_gate=True)
    add("legacy_img2ltnt_start_end", "legacy__19_g_img2ltnt:G", start_res=3, end_res=5)
    add("legacy_img2ltnt_duplex", "legacy__19_g_img2ltnt:G", kmeans=True, kmeans_iters=2)
    add("legacy_ltnt2ltnt_res64", "legacy__18_g_ltnt2ltnt:G", resolution=64, end_res=5)
    shared = "legacy__13_mapping_shared_dim:G"
    add("legacy_shared_dim_resnet", shared, mapping_resnet=True)
    add("legacy_shared_dim_dim", shared, mapping_dim=12, mapping_layersnum=5)
    add("legacy_layersnum", "legacy__12_simplex_plain:G", mapping_layersnum=4)
    add("legacy_layersnum_resnet", "legacy__15_mapping_resnet_ltnt2ltnt_gates_heads:G",
        mapping_layersnum=6)  # fmt: skip
    add("legacy_stylegan2_resnet", "legacy__03_stylegan2:G", architecture="resnet")
    add("legacy_gan_orig_tanh", "legacy__04_gan:G", architecture="orig", tanh=True)
    add("legacy_clevr_trainable", "legacy__01_gansformer_clevr:G", pos_type="trainable")
    made["legacy_name_of_spring"] = ("G_GANsformer", made["legacy_layersnum"][1])

    D = "head__07_gansformer_dtransformer:D"
    for pos_type in ("trainable", "trainable2d", "linear"):
        add(f"D_transformer_{pos_type}", D, pos_type=pos_type)
    add("D_transformer_no_pos", D, use_pos=False, num_heads=2)
    add("D_transformer_skip", D, architecture="skip", start_res=4)
    add("D_transformer_orig_end4", D, architecture="orig", end_res=4)
    add("D_transformer_labels", D, c_dim=3, img2img=3)
    add("D_transformer_no_mbstd", D, mbstd_group_size=1)
    add("D_transformer_directions4", D, pos_directions_num=4)
    add("D_mbstd2_channels2", "head__03_stylegan2:D", mbstd_group_size=2, mbstd_num_channels=2)
    add("D_mbstd8", "head__03_stylegan2:D", mbstd_group_size=8)
    add("D_no_mbstd", "head__03_stylegan2:D", mbstd_group_size=1)
    add("D_labels_skip", "head__11_labels:D_labels", architecture="skip")
    add("D_legacy_labels_transformer", "legacy__16_d_transformer_full:D", label_size=4)
    add("D_legacy_mbstd", "legacy__03_stylegan2:D", mbstd_num_features=2, mbstd_group_size=2)
    add("D_legacy_transformer_resnet_no_pos", "legacy__16_d_transformer_full:D", use_pos=False)

    G, D = "stylegan2__config_f:G", "stylegan2__config_f:D"
    for architecture in ("orig", "resnet"):
        add(f"stylegan2_{architecture}", G, architecture=architecture)
    for architecture in ("orig", "skip"):
        add(f"D_stylegan2_{architecture}", D, architecture=architecture)
    add("stylegan2_labels_orig", "stylegan2__config_f_labels:G", architecture="orig")
    add("stylegan2_explicit_func", G, synthesis_func="G_synthesis_stylegan2")
    add("stylegan2_mapping", G, mapping_layers=4, normalize_latents=False, mapping_lrmul=0.02)
    add("stylegan2_relu", G, nonlinearity="relu", mapping_nonlinearity="relu")
    add("D_stylegan2_relu", D, nonlinearity="relu", mbstd_num_features=4)
    add("stylegan2_fmap_min", G, fmap_min=12, fmap_decay=1.5)
    add("stylegan2_progressive_labels", "stylegan2__config_d:G", label_size=3)
    add("D_stylegan2_progressive_labels", "stylegan2__config_d:D", label_size=3)
    return made


# Random networks may sit where a step of k-means or a softmax over summed scores is about to tip
# over; float32 cannot be compared with float64 there. These seeds are well away from such places,
# and where centroids are carried from layer to layer the scores are made moderate.
SEEDS = {
    "head__02_gansformer_ffhq:G": 3,
    "legacy__02_gansformer_ffhq:G": 3,
    "head__09b_kmeans3_iterative_k16:G": 7,
    "head__09d_kmeans1_iterative_k16:G": 1,
    "head__10c_pos_linear:G": 14,
    "iterative_kmeans2_heads": 7,
    "iterative_gates": 2,
    "iterative_to_16": 7,
    "iterative_start3": 1,
    "head_kgan_softmax_same": 10,
    "legacy_kgan_softmax_same": 5,
    "legacy_shared_dim_resnet": 6,
    "legacy_everything_no_pos": 2,
    "legacy_everything_duplex": 10,
    "duplex_self_attention": 4,
    "duplex_self_attention_dim": 10,
    "stylegan2_progressive_labels": 10,
}


def is_generator(func_name):
    return func_name.startswith("G")


def make(name, func_name, kwargs):
    """A fabricated published network."""
    maker = make_generator if is_generator(func_name) else make_discriminator
    net = maker(func_name, kwargs, SEEDS.get(name.split("@")[0], 0))
    if kwargs.get("iterative"):
        scale_queries(net, 0.65)
    return net


def scale_queries(net, factor):
    """Makes the scores of the image's attention to the latents smaller or larger."""
    state = net.state["components"]["synthesis"].state
    leaves = [f"{kind}_{name}" for kind in ("weight", "bias") for name in ("query", "from_pos")]
    state["variables"] = [
        (name, value * np.float32(factor))
        if name.split("/")[-1] in leaves and "AttLayer_l2n" in name
        else (name, value)
        for name, value in state["variables"]
    ]


def random_images(net, N, seed):
    """Patches of different contrast, [N, C, H, W], so that the scores differ."""
    rng, size = np.random.RandomState(seed), net.kwargs["resolution"]
    patches = (
        rng.randn(N, net.kwargs["num_channels"], 4, 4) * (1 + np.arange(N))[:, None, None, None]
    )
    images = patches.repeat(size // 4, axis=2).repeat(size // 4, axis=3)
    return (images / 4 + 0.3 * rng.randn(*images.shape)).astype(np.float32)
