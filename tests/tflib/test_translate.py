"""Published builders and keywords in our terms."""

import json

import pytest

from dnnlib import UserError
from dnnlib.tflib import builders
from dnnlib.tflib.builders import resolve
from dnnlib.tflib.options import check_options, part_builders
from dnnlib.tflib.stored_network import read_state
from training.model.quirks import PUBLISHED_QUIRKS
from training.published_names import PUBLISHED_BUILDERS, translate

HEAD, LEGACY = PUBLISHED_QUIRKS["head"], PUBLISHED_QUIRKS["legacy"]


def test_head_generator():
    builder, options = translate(
        "training.networks.Generator",
        dict(
            num_channels=3,
            resolution=64,
            label_size=5,
            z_dim=16,
            w_dim=24,
            components_num=8,
            transformer=True,
            truncation_psi=0.75,
            architecture="resnet",
            mapping_layersnum=4,
            mapping_resnet=True,
            kmeans=True,
            use_pos=True,
            norm="layer",
            num_heads=2,
            fused_modconv=True,
            channel_base=1024,
            whatever=1,
        ),
    )
    assert builder == "generator"
    assert options == dict(
        num_channels=3,
        resolution=64,
        z_dim=16,
        w_dim=24,
        components_num=8,
        transformer=True,
        truncation_psi=0.75,
        use_pos=True,
        num_heads=2,
        fused_modconv=True,
        attention_dropout=0.0,
        quirks=HEAD,
        mapping=dict(mapping_resnet=True),
        synthesis=dict(
            architecture="resnet", kmeans=True, norm="layer", channel_base=1024, end_res=20
        ),
    )


@pytest.mark.parametrize("func_name", ["G_GANformer", "G_GANsformer"])
def test_legacy_generator(func_name):
    given = dict(
        resolution=32,
        label_size=2,
        latent_size=16,
        dlatent_size=24,
        components_num=4,
        transformer=True,
        mapping_layersnum=4,
        dlatent_avg_beta=0.9,
        fmap_base=512,
        fmap_max=64,
        fmap_decay=1.5,
        ltnt_stem=True,
        randomize_noise=False,
        end_res=8,
        attention_dropout=0.2,
    )
    builder, options = translate(func_name, given)
    assert builder == "generator"
    assert options == dict(
        resolution=32,
        c_dim=2,
        z_dim=16,
        w_dim=24,
        components_num=4,
        transformer=True,
        w_avg_beta=0.9,
        randomize_noise=False,
        attention_dropout=0.2,
        quirks=LEGACY,
        mapping=dict(mapping_num_layers=4),
        synthesis=dict(
            channel_base=512, channel_max=64, channel_decay=1.5, latent_stem=True, end_res=8
        ),
    )


def test_head_with_the_earlier_names_of_what_it_needs():
    _, options = translate("Generator", dict(latent_size=16, dlatent_size=24, latent_stem=True))
    assert (options["z_dim"], options["w_dim"]) == (16, 24)
    assert options["synthesis"]["latent_stem"] is True


def test_later_names_win_over_earlier_ones():
    _, options = translate("Generator", dict(z_dim=8, latent_size=16))
    assert options["z_dim"] == 8
    _, options = translate("Generator", dict(latent_size=16, z_dim=8))
    assert options["z_dim"] == 8


def test_discriminators():
    head = translate("Discriminator", dict(resolution=32, label_size=3, a_dim=16, c_dim=2))
    assert head == (
        "discriminator",
        dict(resolution=32, a_dim=16, c_dim=2, end_res=20, quirks=HEAD),
    )
    legacy = translate("D_GANformer", dict(resolution=32, label_size=3, latent_size=16))
    assert legacy == (
        "discriminator",
        dict(resolution=32, a_dim=16, c_dim=3, end_res=20, quirks=LEGACY),
    )
    given = dict(resolution=32, label_size=3, fmap_base=512, mbstd_num_features=2)
    assert translate("D_stylegan2", given) == (
        "stylegan2_discriminator",
        dict(resolution=32, c_dim=3, channel_base=512, mbstd_num_channels=2),
    )
    assert translate("D_stylegan", given)[1]["progressive"] is True


def test_stylegan2():
    given = dict(
        resolution=32,
        label_size=0,
        latent_size=16,
        dlatent_size=24,
        mapping_fmaps=20,
        mapping_layers=4,
        style_mixing_prob=0.5,
        architecture="orig",
        structure="auto",
    )
    assert translate("G_main", given) == (
        "stylegan2_generator",
        dict(
            resolution=32,
            c_dim=0,
            z_dim=16,
            w_dim=24,
            style_mixing=0.5,
            mapping=dict(mapping_fmaps=20, mapping_num_layers=4),
            synthesis=dict(architecture="orig"),
        ),
    )
    progressive = dict(given, synthesis_func="G_synthesis_stylegan_revised")
    assert translate("G_main", progressive)[1]["progressive"] is True
    plain = dict(given, synthesis_func="training.networks_stylegan2.G_synthesis_stylegan2")
    assert "progressive" not in translate("G_main", plain)[1]
    with pytest.raises(UserError, match="synthesis_func='G_synthesis_mine'"):
        translate("G_main", dict(given, synthesis_func="G_synthesis_mine"))


def test_sub_networks_on_their_own():
    assert translate("G_mapping", dict(dlatent_size=24, dlatent_broadcast=8)) == (
        "stylegan2_mapping",
        dict(w_dim=24, num_broadcast=8),
    )
    assert translate("G_mapping", dict(w_dim=24, num_broadcast=9, components_num=1)) == (
        "mapping",
        dict(w_dim=24, num_broadcast=9, components_num=1, quirks=HEAD),
    )
    given = dict(dlatent_size=24, components_num=1, resolution=32, fmap_base=64)
    assert translate("G_synthesis", given) == (
        "synthesis",
        dict(w_dim=24, components_num=1, resolution=32, channel_base=64, end_res=20, quirks=LEGACY),
    )
    assert translate("G_synthesis_stylegan2", dict(resolution=32))[0] == "stylegan2_synthesis"


def test_unknown_names():
    assert translate("inception_v3", {}) is None
    with pytest.raises(UserError, match="G_style is StyleGAN's network"):
        translate("G_style", {})
    with pytest.raises(
        TypeError, match=r"G_main\(\) does not take 'latent_sizes'; .*'latent_size'"
    ):
        resolve("training.networks_stylegan2.G_main", dict(resolution=32, latent_sizes=8))
    assert resolve("training.networks.generator", dict(a=1)) == ("generator", dict(a=1))
    given = dict(resolution=32, latent_size=8)
    assert resolve("training.networks_stylegan2.G_main", given) == translate("G_main", given)


@pytest.mark.parametrize(
    "published,quirks", [(True, HEAD), ("head", HEAD), ("legacy", LEGACY), (False, None)]
)
def test_earlier_snapshots_of_ours(published, quirks):
    """Where they said ``published``, there are quirks now."""
    options = dict(resolution=32, mapping=dict(mapping_num_layers=2))
    want = options if quirks is None else dict(options, quirks=quirks)
    state = dict(version=6, name="G", builder="generator", variables=[])
    stored = read_state(dict(state, static_kwargs=dict(options, published=published)))
    assert (stored.builder, stored.static_kwargs) == ("generator", want)


def test_a_registered_name_is_nobody_elses(monkeypatch):
    monkeypatch.setattr(builders, "_builders", dict(builders._builders, G_main=lambda z, *, a: z))
    assert resolve("mine.G_main", dict(a=1)) == ("G_main", dict(a=1))


def test_no_provider(monkeypatch):
    monkeypatch.setattr(builders, "PROVIDER", "there_is_no_such_module")
    monkeypatch.setattr(builders, "_translators", [])
    assert builders.translate("G_main", {}) is None
    with pytest.raises(ValueError, match=r"network builder must be .* got 'nothing_like_it'"):
        builders.find_builder("nothing_like_it")


def test_every_published_keyword_is_known(root):
    """What the published command lines pass is either taken by a network or known to be inert."""
    rows = json.loads((root / "tests" / "golden" / "published_kwargs.json").read_text())
    for name, (func_name, kwargs) in rows.items():
        given = {k: v for k, v in kwargs.items() if k not in ("label_size", "synthesis_func")}
        builder, _ = translate(func_name, given, is_strict=True)
        assert builder == PUBLISHED_BUILDERS[func_name].builder, name


@pytest.mark.parametrize("name", sorted(PUBLISHED_BUILDERS))
def test_translations_are_options_of_our_builders(name):
    """Every keyword that comes out is in the signature of the network that gets it."""
    given = dict(resolution=32, latent_size=8, dlatent_size=8, fmap_base=64, mapping_layers=2)
    builder, options = translate(name, dict(given, architecture="orig", components_num=2))
    roles = part_builders(builders.find_builder(builder))
    check_options(builder, builders.find_builder(builder), options)
    for role, sub in roles.items():
        check_options(sub, builders.find_builder(sub), options.get(role, {}))
