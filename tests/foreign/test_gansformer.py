"""GANsformer's networks in PyTorch's files compute what the formulas say."""

import ada_oracle
import gansformer_torch
import numpy as np
import pytest
from ada_files import torch_discriminator, tree
from pickles import dumps
from test_ada import labels_of, load, one_quick

from dnnlib import UserError, tflib

TOLERANCE = 5e-5

GENERATORS = {
    "heads, gates, steps": dict(
        heads=2,
        img_gate=True,
        kmeans_iters=2,
        ltnt2ltnt=True,
        mapping_heads=2,
        architecture="skip",
        start=3,
        kernel=[1, 2, 1],
    ),
    "plain mapping": dict(
        resnet=False, layer_dim=6, z_dim=5, c_dim=3, style=False, pos_type="trainable2d"
    ),
    "attention in plain mapping": dict(
        resnet=False, ltnt2ltnt=True, normalize_global=False, norm=None, integration="add", end=3
    ),
    "simplex": dict(kmeans=False, norm="instance", local_noise=False, directions=4, use_pos=False),
    "StyleGAN2": dict(k=1, resnet=False, architecture="orig", c_dim=2, num_layers=2),
    "16": dict(resolution=16, ltnt_gate=True, ltnt2ltnt=True, num_layers=5, num_channels=1),
}


def difference(got, want):
    assert got.shape == want.shape
    return np.abs(got - want).max() / max(1, np.abs(want).max())


@pytest.mark.parametrize("name", one_quick(GENERATORS))
def test_generator(session, tmp_path, name):
    o = gansformer_torch.options(**GENERATORS[name])
    net = gansformer_torch.Generator(o)
    Gs = load(tmp_path / "n.pkl", dict(Gs=tree(net.layers)))[0]
    assert Gs.name == "Gs"
    rng = np.random.RandomState(9)
    z, c = rng.randn(2, o.k, o.z_dim), labels_of(2, o.c_dim)
    calls = [dict(randomize_noise=False, truncation_psi=0.6, truncation_cutoff=2)]
    calls.append(dict(noise_mode="none"))
    for call, wanted in zip(calls, (dict(psi=0.6, cutoff=2), dict(noise=False))):
        images, maps, ws = net(z, c, **wanted)
        *got, got_ws = Gs.run(z, c, return_ws=True, **call)
        assert difference(got_ws, ws) < TOLERANCE
        assert difference(got[0], images) < TOLERANCE
        assert len(got) == (1 if maps is None else 2)
        if maps is not None:
            assert difference(got[1], maps) < TOLERANCE
    ws = rng.randn(*ws.shape)  # each layer another
    got = Gs.run(ws, c, take_ws=True, randomize_noise=False, return_as_list=True)[0]
    assert difference(got, net.generated(ws)[0]) < TOLERANCE


@pytest.mark.parametrize("c_dim", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_discriminator(session, tmp_path, c_dim):
    """Labels choose a score; nothing is mapped or scaled."""
    given = dict(c_dim=0, scores=max(c_dim, 1), torch=True, architecture="skip", group=2)
    o = ada_oracle.options(ada_oracle.DISCRIMINATOR, **given)
    v = ada_oracle.discriminator_variables(o)
    layers = {}
    for path, (class_name, attributes, tensors, buffers) in torch_discriminator(o, v).items():
        old = dict(attributes, c_dim=c_dim) if path == "" else dict(attributes)
        act = old.pop("activation", None)
        kept = {name.replace("filter", "kernel"): x for name, x in buffers.items()}
        if class_name == "Conv2dLayer":
            bias = dict(bias=tensors.pop("bias")) if "bias" in tensors else {}
            layers[f"{path}.biasAct"] = ("BiasActLayer", dict(act=act), bias, {})
        elif act is not None:
            old.update(act=act)
        layers[path] = (class_name, old, tensors, kept)
    (D,) = load(tmp_path / "n.pkl", dict(D=tree(layers)))
    images = np.random.RandomState(9).randn(4, 2, 8, 8).astype(np.float32)
    c = labels_of(4, c_dim)
    o.scores = 1
    want = scores_of_all(v, o, images)
    want = (want * c).sum(axis=1, keepdims=True) if c_dim else want
    assert difference(D.run(images, c), want) < TOLERANCE


def scores_of_all(v, o, images):
    """[N, scores]: each column by itself."""
    found = []
    for i in range(v["Output/bias"].size):
        one = {"Output/weight": v["Output/weight"][:, i:], "Output/bias": v["Output/bias"][i:]}
        found.append(ada_oracle.scored({**v, **one}, o, images, None))
    return np.concatenate(found, axis=1)


def _iterative(net):
    for class_name, attributes, _, _ in net.layers.values():
        if class_name == "TransformerLayer":
            attributes["parametric"] = False


def _stem(net):
    net.layers["synthesis.b4"][1]["latent_stem"] = True


def _hole(net):
    for path in [path for path in net.layers if path.startswith("synthesis.b4.conv1.transf")]:
        del net.layers[path]
    for path in [path for path in net.layers if path.startswith("synthesis.b8.conv0.transf")]:
        del net.layers[path]


REFUSED = {
    "iterative": (_iterative, "iterative attention, which its code cannot run"),
    "latent stem": (_stem, "a latent stem"),
    "hole": (_hole, "attention in an unusual choice of layers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(session, tmp_path, name):
    change, message = REFUSED[name]
    net = gansformer_torch.Generator(gansformer_torch.options())
    change(net)
    (tmp_path / "n.pkl").write_bytes(dumps(dict(Gs=tree(net.layers))))
    with pytest.raises(UserError) as caught:
        tflib.load_networks(tmp_path / "n.pkl")
    assert message in str(caught.value)
