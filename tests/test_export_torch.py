"""Networks of StyleGAN2's family as state dicts for PyTorch."""

import pickletools
import re
import zipfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import export
from dnnlib import UserError, cli, tflib
from dnnlib.tflib.snapshot import to_stored
from dnnlib.tflib.stored_network import StoredNetwork
from training.export import ada_numpy, ada_torch
from training.export.torch_file import read_torch, write_torch

SIZES = dict(resolution=8, num_channels=2)
CHANNELS = dict(channel_base=36, channel_max=12)  # 12 at 4x4, 9 at 8x8


def generator(builder="stylegan2_generator", **options):
    layers = dict(CHANNELS, **options.pop("synthesis", {}))
    mapping = dict(mapping_num_layers=3, **options.pop("mapping", {}))
    options = dict(SIZES, z_dim=5, w_dim=6, **options)
    return tflib.Network("Gs", builder, mapping=mapping, synthesis=layers, **options)


def to_torch(network):
    is_generator = network.builder in ("generator", "stylegan2_generator")
    return (ada_torch.generator if is_generator else ada_torch.discriminator)(network)


def perturb(net):
    """Let no variable have its initial value."""
    rng = np.random.default_rng(0)
    values = tflib.run(net.vars)
    values = {name: x + 0.3 * rng.standard_normal(np.shape(x)) for name, x in values.items()}
    tflib.set_vars({net.vars[name]: value for name, value in values.items()})
    return net


@pytest.mark.parametrize(
    "options",
    [
        dict(synthesis=dict(architecture="resnet", resample_kernel=[1, 2, 4, 3])),
        dict(synthesis=dict(architecture="orig", resample_kernel=[1, 3, 2])),
        dict(builder="generator", synthesis=dict(local_noise=False, nonlinearity="relu")),
    ],
    ids=["resnet", "orig", "baseline"],
)
def test_generators_against_numpy(session, options):
    net = perturb(generator(**options))
    network = to_torch(to_stored(net))
    has_noise = options.get("builder") is None
    assert ("synthesis.b8.conv0.noise_const" in network.tensors) == has_noise
    assert network.kwargs["synthesis_kwargs"]["use_noise"] == has_noise
    z, labels = np.random.RandomState(1).randn(3, 5).astype("f"), np.zeros([3, 0])
    images = net.run(z, labels, truncation_psi=0.4, noise_mode="const")
    found = ada_numpy.generate(*network, z, labels, 0.4)
    assert images.std() > 0.1
    np.testing.assert_allclose(found, images, atol=1e-5)


@pytest.mark.parametrize(
    "builder, options",
    [
        ("stylegan2_discriminator", dict(architecture="resnet", mbstd_num_channels=3)),
        ("discriminator", dict(architecture="skip", mbstd_group_size=2)),
        ("discriminator", dict(architecture="orig", mbstd_group_size=1, resample_kernel=[1, 2])),
    ],
    ids=["resnet", "skip", "orig"],
)
def test_discriminators_against_numpy(session, builder, options):
    net = perturb(tflib.Network("D", builder, **SIZES, **CHANNELS, **options))
    images, labels = np.random.RandomState(1).randn(4, 2, 8, 8).astype("f"), np.zeros([4, 0])
    scores = net.run(images, labels)
    assert scores.std() > 0.1
    found = ada_numpy.score(*to_torch(to_stored(net)), images, labels)
    np.testing.assert_allclose(found, scores, atol=1e-5)


@pytest.mark.parametrize(
    "make, kind",
    [
        (lambda: generator(mapping=dict(mapping_fmaps=7)), "Generator"),
        (lambda: tflib.Network("D", "discriminator", **SIZES, **CHANNELS), "Discriminator"),
    ],
    ids=["G", "D"],
)
def test_the_command(session, tmp_path, capsys, make, kind):
    net = perturb(make())
    tflib.save_networks(net, tmp_path / "net.pkl")
    argv = ["--model", str(tmp_path / "net.pkl"), "--format", "torch", "--gpus", "none"]
    with tf.Graph().as_default(), tf.Session().as_default():
        assert cli.run_script(export.run, [*argv, "--output", str(tmp_path / "net.pt")]) == 0
    text = capsys.readouterr().out
    assert float(re.search(r"differ by (\S+) at most", text).group(1)) < 1e-5
    network, found = to_torch(to_stored(net)), read_torch(tmp_path / "net.pt")
    assert found.keys() == network.tensors.keys()
    assert all(np.array_equal(found[name], value) for name, value in network.tensors.items())
    line = text.splitlines()[-1]
    assert (
        line.startswith(f"It loads into StyleGAN2-ADA PyTorch, training.networks.{kind}(")
        and "img_channels=2" in line
    )


# fmt: off
G_NAMES = {
    "mapping.w_avg": [6],
    "mapping.fc0.weight": [6, 5], "mapping.fc0.bias": [6],
    "mapping.fc1.weight": [6, 6], "mapping.fc1.bias": [6],
    "mapping.fc2.weight": [6, 6], "mapping.fc2.bias": [6],
    "synthesis.b4.const": [12, 4, 4], "synthesis.b4.resample_filter": [4, 4],
    "synthesis.b4.conv1.weight": [12, 12, 3, 3], "synthesis.b4.conv1.bias": [12],
    "synthesis.b4.conv1.affine.weight": [12, 6], "synthesis.b4.conv1.affine.bias": [12],
    "synthesis.b4.conv1.noise_const": [4, 4], "synthesis.b4.conv1.noise_strength": [],
    "synthesis.b4.conv1.resample_filter": [4, 4],
    "synthesis.b8.resample_filter": [4, 4],
    "synthesis.b8.conv0.weight": [9, 12, 3, 3], "synthesis.b8.conv0.bias": [9],
    "synthesis.b8.conv0.affine.weight": [12, 6], "synthesis.b8.conv0.affine.bias": [12],
    "synthesis.b8.conv0.noise_const": [8, 8], "synthesis.b8.conv0.noise_strength": [],
    "synthesis.b8.conv0.resample_filter": [4, 4],
    "synthesis.b8.conv1.weight": [9, 9, 3, 3], "synthesis.b8.conv1.bias": [9],
    "synthesis.b8.conv1.affine.weight": [9, 6], "synthesis.b8.conv1.affine.bias": [9],
    "synthesis.b8.conv1.noise_const": [8, 8], "synthesis.b8.conv1.noise_strength": [],
    "synthesis.b8.conv1.resample_filter": [4, 4],
    "synthesis.b8.skip.weight": [9, 12, 1, 1], "synthesis.b8.skip.resample_filter": [4, 4],
    "synthesis.b8.torgb.weight": [2, 9, 1, 1], "synthesis.b8.torgb.bias": [2],
    "synthesis.b8.torgb.affine.weight": [9, 6], "synthesis.b8.torgb.affine.bias": [9],
}
D_NAMES = {
    "b8.resample_filter": [4, 4],
    "b8.fromrgb.weight": [9, 2, 1, 1], "b8.fromrgb.bias": [9],
    "b8.fromrgb.resample_filter": [4, 4],
    "b8.conv0.weight": [9, 9, 3, 3], "b8.conv0.bias": [9], "b8.conv0.resample_filter": [4, 4],
    "b8.conv1.weight": [12, 9, 3, 3], "b8.conv1.bias": [12], "b8.conv1.resample_filter": [4, 4],
    "b8.skip.weight": [12, 9, 1, 1], "b8.skip.resample_filter": [4, 4],
    "b4.conv.weight": [12, 13, 3, 3], "b4.conv.bias": [12], "b4.conv.resample_filter": [4, 4],
    "b4.fc.weight": [12, 192], "b4.fc.bias": [12],
    "b4.out.weight": [1, 12], "b4.out.bias": [1],
}
# fmt: on


def test_names_and_shapes(session):
    """Those of its networks, checked against state dicts that PyTorch has written."""
    G = generator(synthesis=dict(architecture="resnet"), mapping=dict(mapping_fmaps=6))
    D = tflib.Network("D", "discriminator", **SIZES, **CHANNELS)
    for net, names in ((G, G_NAMES), (D, D_NAMES)):
        tensors = to_torch(to_stored(net)).tensors
        assert {name: list(np.shape(value)) for name, value in tensors.items()} == names


def stored(builder, options, parts=(), **variables):
    values = {name.replace("_", "/"): np.zeros(size) for name, size in variables.items()}
    return StoredNetwork("G", builder, options, dict(parts), values)


@pytest.mark.parametrize(
    "builder, options, message",
    [
        ("stylegan2_mapping", dict(c_dim=2), "c_dim=2 with embed_labels=False"),
        ("stylegan2_generator", dict(progressive=True), "progressive=True"),
        ("generator", dict(components_num=3, merge=True), "merge=True"),
        ("generator", dict(transformer=True), "transformer=True"),
        ("stylegan2_mapping", dict(normalize_latents=False), "normalize_latents=False"),
        ("mapping", dict(mapping_resnet=True), "mapping_resnet=True"),
        ("synthesis", dict(latent_stem=True), "latent_stem=True"),
        ("discriminator", dict(img2img=4), "img2img=4"),
    ],
)
def test_networks_without_counterpart(builder, options, message):
    options = dict(options, **({} if "mapping" in builder else dict(resolution=8)))
    network = stored(builder, options)
    if builder in ("mapping", "synthesis", "stylegan2_mapping"):
        parts = {"mapping": stored("mapping", {}), "synthesis": stored("synthesis", SIZES)}
        parts[builder.replace("stylegan2_", "")] = network
        network = stored("generator", SIZES, parts)
    with pytest.raises(UserError, match=f"has no counterpart of {message}; use another format"):
        to_torch(network)


def test_other_numbers_of_channels():
    sizes = dict(SIZES, **CHANNELS)
    biases = {"8x8_Conv0_bias": 9, "4x4_Conv_bias": 12, "4x4_Dense0_bias": 12}
    for name, number, message in (
        ("8x8_Conv0_bias", 10, "10 channels at 8x8"),
        ("4x4_Dense0_bias", 3, "a last layer of 3 features"),
    ):
        with pytest.raises(UserError, match=f"no counterpart of {message}"):
            to_torch(stored("discriminator", sizes, **{**biases, name: number}))


def test_other_networks():
    with pytest.raises(UserError, match=r"no counterpart of 'G' \(stylegan2_mapping\) alone"):
        to_torch(stored("stylegan2_mapping", {}))
    with pytest.raises(UserError, match="no counterpart of the variable '8x8/New/weight'"):
        to_torch(stored("discriminator", SIZES, **{"8x8_New_weight": [2, 3]}))


TENSORS = {
    "a.weight": np.arange(24, dtype=np.float64).reshape(2, 3, 4).transpose(2, 0, 1),
    "scalar": np.float32(2.5),
    "empty": np.zeros([3, 0], np.float32),
}


def test_the_file(tmp_path):
    write_torch(tmp_path / "t.pt", TENSORS)
    found = read_torch(tmp_path / "t.pt")
    assert list(found) == list(TENSORS)
    for name, value in TENSORS.items():
        assert found[name].dtype == np.float32 and np.array_equal(found[name], value)
    data = (tmp_path / "t.pt").read_bytes()
    with zipfile.ZipFile(str(tmp_path / "t.pt")) as archive:
        assert archive.read("archive/version") == b"3\n"
        pickled = archive.read("archive/data.pkl")
        for entry in archive.infolist():
            header = entry.header_offset
            sizes = np.frombuffer(data[header + 26 : header + 30], "<u2")
            assert (header + 30 + sizes.sum()) % 64 == 0 and entry.compress_type == 0
    names = {arg for opcode, arg, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}
    assert names == {
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "collections OrderedDict",
    }


def test_pytorch_reads_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    write_torch(tmp_path / "t.pt", TENSORS)
    found = torch.load(str(tmp_path / "t.pt"), weights_only=True, mmap=True)
    for name, value in TENSORS.items():
        assert np.array_equal(found[name].numpy(), value)
