"""StyleGAN2-ADA's networks, in TensorFlow's and PyTorch's files, compute what the formulas say."""

import ada_oracle
import numpy as np
import pytest
from ada_files import (
    tensorflow_discriminator,
    tensorflow_generator,
    torch_discriminator,
    torch_generator,
    tree,
)
from pickles import dumps

from dnnlib import UserError, tflib

TOLERANCE = 2e-5


def one_quick(cases):
    """Names of cases; all but the first are slow."""
    marks = [()] + [pytest.mark.slow] * (len(cases) - 1)
    return [pytest.param(name, marks=mark) for name, mark in zip(cases, marks)]


def labels_of(num, size):
    return np.eye(size, dtype=np.float32)[np.arange(num) % size] if size else np.zeros([num, 0])


def load(path, contents):
    path.write_bytes(dumps(contents))
    return tflib.load_networks(path)


def check_generator(Gs, variables, o):
    rng = np.random.RandomState(9)
    z, c = rng.randn(3, o.z_dim), labels_of(3, o.c_dim)
    for call, wanted in (
        (
            dict(randomize_noise=False, truncation_psi=0.6, truncation_cutoff=2),
            dict(psi=0.6, cutoff=2),
        ),
        (dict(noise_mode="none", truncation_psi=1), dict(noise=False)),
    ):
        want = ada_oracle.generated(variables, o, z, c, **wanted)
        got = Gs.run(z, c, **call)
        assert got.shape == (3, o.num_channels, o.resolution, o.resolution)
        assert np.abs(got - want).max() < TOLERANCE * max(1, np.abs(want).max())


def check_discriminator(D, v, o, batches=(8, 4, 2)):
    v = dict(v)
    rng = np.random.RandomState(9)
    images = rng.randn(8, o.num_channels, o.resolution, o.resolution).astype(np.float32)
    for num in batches:  # in this order, for the spectral norm's sake
        c = labels_of(num, o.c_dim)
        want = ada_oracle.scored(v, o, images[:num], c)
        got = D.run(images[:num], c)
        assert got.shape == want.shape
        assert np.abs(got - want).max() < TOLERANCE * max(1, np.abs(want).max()), num


GENERATORS = {
    "labels, clamp": dict(c_dim=3, clamp=0.7, kernel=[1, 2, 1], num_channels=1),
    "resnet, no noise": dict(architecture="resnet", use_noise=False, act="swish", layers=1),
    "orig, 16": dict(architecture="orig", resolution=16, mapping_act="relu", base=64, most=11),
    "4": dict(resolution=4, clamp=0.5, layers=3),
    "tiny styles": dict(clamp=None, act="linear"),
}
DISCRIMINATORS = {
    "labels, clamp": dict(c_dim=3, clamp=0.7, kernel=[1, 2, 1], num_channels=1, features=3),
    "skip, all of a batch": dict(architecture="skip", clamp=0.4, group=None, end_act="relu"),
    "orig, no features": dict(architecture="orig", features=0, resolution=16, base=64, act="elu"),
    "labels without layers": dict(c_dim=2, layers=0, embed=5, group=1),
}


@pytest.mark.parametrize("name", one_quick(GENERATORS))
def test_generator_in_pytorch(session, tmp_path, name):
    o = ada_oracle.options(ada_oracle.GENERATOR, torch=True, **GENERATORS[name])
    variables = ada_oracle.generator_variables(o)
    if name == "tiny styles":
        for key in variables["synthesis"]:
            if "/mod_" in key and "ToRGB" not in key:
                variables["synthesis"][key] *= np.float32(1e-5)
                if key.endswith("mod_bias"):
                    variables["synthesis"][key] -= np.float32(1)
    Gs = load(tmp_path / "n.pkl", dict(G_ema=tree(torch_generator(o, variables))))[0]
    assert Gs.name == "Gs"
    check_generator(Gs, variables, o)


@pytest.mark.parametrize("name", one_quick(DISCRIMINATORS))
def test_discriminator_in_pytorch(session, tmp_path, name):
    o = ada_oracle.options(ada_oracle.DISCRIMINATOR, torch=True, **DISCRIMINATORS[name])
    v = ada_oracle.discriminator_variables(o)
    frozen = ("b8.fromrgb", "b8.conv0")
    (D,) = load(tmp_path / "n.pkl", dict(D=tree(torch_discriminator(o, v, frozen))))
    check_discriminator(D, v, o)


TF_GENERATORS = {
    "labels, clamp": dict(GENERATORS["labels, clamp"], const=5),
    "resnet, no noise": GENERATORS["resnet, no noise"],
}
TF_DISCRIMINATORS = {
    "spectral norm": dict(spectral_norm=True, last=9, scores=4, group=None),
    "labels": dict(c_dim=3, clamp=0.7, embed=5, hidden=5, last=9, features=3),
    "skip": dict(architecture="skip", clamp=0.4, last=9, group=1),
    "narrow": dict(base=6, most=9, last=6, resolution=4),
}


@pytest.mark.parametrize("name", one_quick(TF_GENERATORS))
def test_generator_in_tensorflow(session, tmp_path, name):
    o = ada_oracle.options(ada_oracle.GENERATOR, **TF_GENERATORS[name])
    variables = ada_oracle.generator_variables(o)
    contents = (tensorflow_generator(o, variables, version=4 if o.const else 5),)
    check_generator(load(tmp_path / "n.pkl", contents)[0], variables, o)


@pytest.mark.parametrize("name", one_quick(TF_DISCRIMINATORS))
def test_discriminator_in_tensorflow(session, tmp_path, name):
    o = ada_oracle.options(ada_oracle.DISCRIMINATOR, **TF_DISCRIMINATORS[name])
    v = ada_oracle.discriminator_variables(o)
    D = load(tmp_path / "n.pkl", tensorflow_discriminator(o, v))
    check_discriminator(D, v, o)


def test_parts_alone(session, tmp_path):
    """A mapping network by itself: its name is other code's, too; the format's version decides."""
    o = ada_oracle.options(ada_oracle.GENERATOR, c_dim=3)
    variables = ada_oracle.generator_variables(o)
    mapping = tensorflow_generator(o, variables).state["components"]["mapping"]
    net = load(tmp_path / "n.pkl", mapping)
    z, c = np.random.RandomState(1).randn(2, o.z_dim), labels_of(2, 3)
    assert net.builder == "stylegan2_mapping"
    assert np.abs(net.run(z, c) - ada_oracle.mapped(variables["mapping"], o, z, c)).max() < 1e-5


def test_float16_is_said_once(session, tmp_path, capsys):
    from training.foreign.ada import say_once  # noqa: PLC0415

    say_once.cache_clear()
    o = ada_oracle.options(ada_oracle.GENERATOR, torch=True, resolution=4)
    G = tree(torch_generator(o, ada_oracle.generator_variables(o)))
    load(tmp_path / "n.pkl", dict(G=G, G_ema=G))
    assert "float16" not in capsys.readouterr().out
    o = ada_oracle.options(ada_oracle.GENERATOR, torch=True)
    G = tree(torch_generator(o, ada_oracle.generator_variables(o)))
    load(tmp_path / "n.pkl", dict(G=G, G_ema=G))
    assert capsys.readouterr().out.count("float16") == 2  # in one line


def changed(change):
    """Layers of a generator with a change."""
    o = ada_oracle.options(ada_oracle.GENERATOR, torch=True)
    layers = torch_generator(o, ada_oracle.generator_variables(o))
    change(layers)
    return dict(G_ema=tree(layers))


def _set(layers, path, **attributes):
    layers[path] = (layers[path][0], dict(layers[path][1], **attributes), *layers[path][2:])


def _stylegan3(layers):
    layers["synthesis.input"] = ("SynthesisInput", {}, {}, dict(freqs=np.zeros([4, 2], "f4")))
    for path in [path for path in layers if path.startswith("synthesis.b")]:
        del layers[path]


REFUSED = {
    "StyleGAN3": (_stylegan3, "a StyleGAN3 network, which this project does not have"),
    "clamps differ": (
        lambda layers: _set(layers, "synthesis.b8.conv1", conv_clamp=3.0),
        "layers differ in conv_clamp (3.0, None)",
    ),
    "no blocks": (lambda layers: layers.pop("synthesis.b4"), "without layer synthesis.b4"),
    "odd layer": (
        lambda layers: _set(layers, "synthesis.b8.conv0", up=3),
        "an unusual layer 'synthesis.b8.conv0'",
    ),
    "no sizes": (lambda layers: _set(layers, "", w_dim="6"), "without w_dim"),
    "large claim": (lambda layers: _set(layers, "", img_resolution=1 << 30), "resolution=10737"),
    "lists": (lambda layers: _set(layers, "synthesis.b8", architecture=[]), "damaged"),
    "another tensor": (
        lambda layers: layers["synthesis.b8.conv1"][2].update(extra=np.zeros(3, "f4")),
        "unexpected: synthesis/synthesis.b8.conv1.extra",
    ),
    "another class": (
        lambda layers: layers.update({"": ("TriPlaneGenerator", *layers[""][1:])}),
        "a PyTorch network of class 'TriPlaneGenerator'; those of StyleGAN2-ADA and GANsformer",
    ),
    "filters differ": (
        lambda layers: layers["synthesis.b8.conv0"][3].update(
            resample_filter=np.eye(4, dtype="f4")
        ),
        "a filter that is no product",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(session, tmp_path, name):
    change, message = REFUSED[name]
    with pytest.raises(UserError) as caught:
        load(tmp_path / "n.pkl", changed(change))
    assert message in str(caught.value) and "\n" not in str(caught.value)
