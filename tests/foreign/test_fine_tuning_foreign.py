"""A training that begins with other code's network computes what that network does."""

import ada_oracle
import gansformer_torch
import numpy as np
import pytest
from ada_files import torch_discriminator, torch_generator, tree
from pickles import dumps
from test_ada import labels_of
from test_gansformer import difference

from config.flags import FLAGS
from config.resolve import add_facts, parse, resolve
from dnnlib import tflib
from training.fitting import match, variables_by_path
from training.networks import build_networks
from training.pretrained import WAYS, Pretrained

TOLERANCE = 5e-5


def begin(path, contents, flags, o):
    """G and D of a training with these flags, with the values of a snapshot; its Pretrained."""
    path.write_bytes(dumps(contents))
    config = resolve(parse(["--train", "--dataset=cats", *flags]))
    add_facts(config, o.resolution, o.num_channels, 100, o.c_dim)
    source = Pretrained(str(path))
    source.adopt_ways(config)
    G, D = build_networks(config)
    for name, net in (("G", G), ("D", D)):
        if name in source.networks:
            fit = match(net, source.networks[name])
            variables = variables_by_path(net)
            tflib.set_vars({variables[key]: value for key, value in fit.values.items()})
    return G, D


def test_flags_do_not_set_ways():
    """What a flag sets is the user's."""
    set_by_flags = {place for flag in FLAGS.values() for place in flag.destinations()}
    ways = {(consumer, name) for consumer, names in WAYS.items() for name in names}
    assert not ways & set_by_flags


def test_conditional_ada_network(session, tmp_path):
    shared = dict(c_dim=3, clamp=0.7, base=64, most=9, num_channels=3)
    o = ada_oracle.options(
        ada_oracle.GENERATOR, torch=True, z_dim=6, w_dim=6, hidden=6, lrmul=0.01, **shared
    )
    d = ada_oracle.options(ada_oracle.DISCRIMINATOR, torch=True, **shared)
    variables, v = ada_oracle.generator_variables(o), ada_oracle.discriminator_variables(d)
    G = tree(torch_generator(o, variables))
    flags = ["--baseline=StyleGAN2", "--latent-size=6", "--mapping-layersnum=2"]
    flags += ["--channel-base=64", "--channel-max=9"]
    contents = dict(G=G, D=tree(torch_discriminator(d, v)), G_ema=G)
    ours, D = begin(tmp_path / "n.pkl", contents, flags, o)
    rng = np.random.RandomState(9)
    z, c = rng.randn(4, 6), labels_of(4, 3)
    images = ours.run(z[:, np.newaxis], c, truncation_psi=1, noise_mode="const")
    want = ada_oracle.generated(variables, o, z, c)
    assert difference(images, want) < TOLERANCE
    assert difference(D.run(images, c), ada_oracle.scored(v, d, images, c)) < 10 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 1])
def test_gansformer_in_pytorch(session, tmp_path, k):
    o = gansformer_torch.options(
        k=k, num_channels=3, num_layers=4, lrmul=0.01, kmeans=k > 1, base=64, end=20
    )
    net = gansformer_torch.Generator(o)
    flags = ["--gansformer-default", f"--components-num={k - 1}", f"--latent-size={8 * (k - 1)}"]
    flags += ["--mapping-ltnt2ltnt=False", "--g-end-res=20"]
    if k == 1:
        flags = ["--baseline=StyleGAN2", "--latent-size=8", "--mapping-resnet", "--g-arch=resnet"]
    flags += ["--mapping-layersnum=4", "--channel-base=64", "--channel-max=8"]
    ours, _ = begin(tmp_path / "n.pkl", dict(G=tree(net.layers)), flags, o)
    z = np.random.RandomState(9).randn(2, k, 8)
    images = ours.run(z, None, truncation_psi=1, noise_mode="const", return_as_list=True)[0]
    assert difference(images, net(z, np.zeros([2, 0]))[0]) < TOLERANCE
