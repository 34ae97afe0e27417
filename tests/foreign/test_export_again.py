"""PyTorch networks imported and exported again are what they were."""

import ada_oracle
import numpy as np
import pytest
from ada_files import torch_discriminator, torch_generator, tree
from pickles import dumps
from test_ada import DISCRIMINATORS, GENERATORS, labels_of

from dnnlib import UserError, tflib
from dnnlib.tflib.snapshot import to_stored
from training.export import ada_numpy, ada_torch, gansformer_torch
from training.model.quirks import PUBLISHED_QUIRKS


def import_network(path, key, layers):
    path.write_bytes(dumps({key: tree(layers)}))
    return tflib.load_networks(path)[0]


def check_tensors(found, layers):
    """The state dict has the layers' tensors and buffers, and no others."""
    wanted = {
        f"{path}.{name}": value
        for path, (_, _, tensors, buffers) in layers.items()
        for name, value in {**tensors, **buffers}.items()
    }
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        is_exact = not name.endswith(("affine.bias", "filter"))  # ours have no 1 in the bias
        np.testing.assert_allclose(found[name], value, rtol=0, atol=0 if is_exact else 1e-6)


@pytest.mark.parametrize(
    "name", ["labels, clamp", pytest.param("resnet, no noise", marks=pytest.mark.slow)]
)
def test_generator_of_ada(session, tmp_path, name):
    o = ada_oracle.options(ada_oracle.GENERATOR, torch=True, **GENERATORS[name])
    variables = ada_oracle.generator_variables(o)
    layers = torch_generator(o, variables)
    network = ada_torch.generator(to_stored(import_network(tmp_path / "n.pkl", "G_ema", layers)))
    check_tensors(network.tensors, layers)
    assert network.kwargs["synthesis_kwargs"]["conv_clamp"] == o.clamp
    z, c = np.random.RandomState(9).randn(3, o.z_dim), labels_of(3, o.c_dim)
    want = ada_oracle.generated(variables, o, z, c, psi=0.6)
    assert np.abs(ada_numpy.generate(*network, z, c, 0.6) - want).max() < 1e-4


@pytest.mark.parametrize(
    "name", ["labels, clamp", pytest.param("skip, all of a batch", marks=pytest.mark.slow)]
)
def test_discriminator_of_ada(session, tmp_path, name):
    given = dict(DISCRIMINATORS[name], last=9)  # the channels at 4x4, as that code has it
    o = ada_oracle.options(ada_oracle.DISCRIMINATOR, torch=True, **given)
    v = ada_oracle.discriminator_variables(o)
    layers = torch_discriminator(o, v)
    network = ada_torch.discriminator(to_stored(import_network(tmp_path / "n.pkl", "D", layers)))
    check_tensors(network.tensors, layers)
    images = np.random.RandomState(9).randn(4, o.num_channels, o.resolution, o.resolution)
    c = labels_of(4, o.c_dim)
    want = ada_oracle.scored(v, o, images, c)
    assert np.abs(ada_numpy.score(*network, images, c) - want).max() < 1e-4


# Names of GANsformer's PyTorch version, for one layer of each kind, with shapes.
# fmt: off
NAMES = {
    "pos": (3, 6), "mapping.w_avg": (6,),
    "mapping.mlp.l0.fc0.weight": (6, 6), "mapping.mlp.l0.fc1.bias": (6,),
    "mapping.mlp.out_layer.weight": (6, 6), "mapping.global_mlp.out_layer.bias": (6,),
    "mapping.mlp.sa0.to_queries.weight": (6, 6), "mapping.mlp.sa0.modulation.bias": (6,),
    "synthesis.b4.const": (12, 4, 4), "synthesis.b4.resample_kernel": (4, 4),
    "synthesis.b8.conv0.weight": (9, 12, 3, 3), "synthesis.b8.conv0.biasAct.bias": (9,),
    "synthesis.b8.conv0.noise_const": (8, 8), "synthesis.b8.conv0.noise_strength": (),
    "synthesis.b8.conv0.affine.weight": (12, 6),
    "synthesis.b8.conv0.grid_pos": (8, 8, 4),  # 6 // 4 sines and cosines along 2 directions
    "synthesis.b8.conv1.resample_kernel": (4, 4),
    "synthesis.b8.conv1.transformer.centroids": (1, 1, 3, 18),
    "synthesis.b8.conv1.transformer.att_weight": (1, 1, 18),
    "synthesis.b8.conv1.transformer.to_keys.weight": (9, 6),
    "synthesis.b8.conv1.transformer.from_pos_map.bias": (9,),
    "synthesis.b8.conv_last.weight": (9, 9, 3, 3), "synthesis.b8.conv_last.affine.bias": (9,),
    "synthesis.b8.torgb.weight": (2, 9, 1, 1), "synthesis.b8.torgb.biasAct.bias": (2,),
    "synthesis.b8.skip.weight": (9, 12, 1, 1),
}
# fmt: on


def gansformer(quirks=PUBLISHED_QUIRKS["torch"]):
    return tflib.Network(
        "Gs",
        "generator",
        resolution=8,
        num_channels=2,
        z_dim=6,
        w_dim=6,
        components_num=3,
        transformer=True,
        use_pos=True,
        quirks=quirks,
        mapping=dict(mapping_num_layers=2, mapping_resnet=True, mapping_ltnt2ltnt=True),
        synthesis=dict(
            channel_base=36, channel_max=12, kmeans=True, architecture="resnet", norm="layer"
        ),
    )


def test_generator_of_gansformer(session):
    net = gansformer()
    stored = to_stored(net)
    network = gansformer_torch.generator(stored)
    assert NAMES.keys() <= network.tensors.keys()
    assert {name: np.shape(network.tensors[name]) for name in NAMES} == NAMES
    again = gansformer_torch.with_tensors(stored, network.tensors)
    for part, other in (
        (stored, again),
        *zip(stored.components.values(), again.components.values()),
    ):
        assert part.variables.keys() == other.variables.keys()
        for name, value in part.variables.items():
            np.testing.assert_allclose(other.variables[name], value, rtol=0, atol=1e-6)
    assert network.kwargs["k"] == 4 and network.kwargs["synthesis_kwargs"]["end_res"] == 8


def test_a_network_of_ours_has_no_counterpart_there(session):
    stored = to_stored(gansformer(quirks=()))
    assert gansformer_torch.is_gansformer(stored)
    with pytest.raises(UserError, match="no counterpart of a network that was not made there"):
        gansformer_torch.generator(stored)


def test_discriminator_of_gansformer(session):
    net = tflib.Network("D", "stylegan2_discriminator", resolution=8, channel_max=12)
    names = gansformer_torch.discriminator(to_stored(net)).tensors.keys()
    wanted = {"b8.fromrgb.biasAct.bias", "b8.conv1.resample_kernel", "b4.fc.bias", "b4.out.weight"}
    assert wanted <= names and "b8.conv0.bias" not in names
