"""The NumPy oracle gives what the published code gave, and names variables as it does."""

import pickletools

import numpy as np
import pytest
from oracle import cases, snapshot
from oracle.discriminator import discriminator
from oracle.generator import generator
from published_calls import INPUTS, NETWORKS, STYLEGAN2, family


def _generator_outputs(G, Gs, data):
    """{key of the samples: the oracle's value}, for those that the generators give."""
    z, c = data["z"], data["labels"]
    const = dict(noise_mode="const")
    full = Gs.generate(z, c, truncation_psi=1, **const)
    psi07 = Gs.generate(z, c, truncation_psi=0.7, **const)
    found = {
        "Gs_psi1_images": full.images,
        "Gs_psi07_images": psi07.images,
        "Gs_default_psi_images": Gs.generate(z, c, **const).images,
        "Gs_validation_images": Gs.generate(z, c, is_validation=True, **const).images,
        "G_psi1_images": G.generate(z, c, truncation_psi=1, **const).images,
        "Gs_psi1_nonoise_images": Gs.generate(z, c, truncation_psi=1, noise_mode="none").images,
    }
    options = dict(truncation_psi=0.5, truncation_cutoff=3)
    found["Gs_psi05_cutoff3_images"] = Gs.generate(z, c, **options, **const).images
    if family(G.func_name) == STYLEGAN2:
        found["Gs_mapping_w"] = full.w[:, 0]
        ws = data["synthesis_ws_in"][:, None]
        found["synthesis_images"] = Gs.generate(ws, take_ws=True, truncation_psi=1, **const).images
    else:
        found["Gs_psi1_ws"], found["Gs_psi07_ws"] = full.w, psi07.ws[:, :, 0]
        ws = data["take_ws_in"]
        found["take_ws_images"] = Gs.generate(ws, take_ws=True, truncation_psi=1, **const).images
    if full.maps is not None:
        found["Gs_psi1_maps"] = full.maps[:2]
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_oracle_gives_the_recorded_outputs(data_dir, name):
    path = data_dir / "conformance" / "networks" / name
    G, D, Gs = snapshot.read(path.with_suffix(".pkl"))
    data = np.load(path.with_suffix(".npz"))
    found = _generator_outputs(G, Gs, data)
    for n in (8, 4, 2):
        found[f"D_scores_batch{n}"] = D.judge(data["D_images_in"][:n]).scores
    found["D_scores_of_Gs_psi1"] = D.judge(data["Gs_psi1_images"]).scores

    recorded = set(data.files) - INPUTS
    assert recorded <= set(found)
    worst = {key: np.abs(found[key] - data[key]).max() for key in recorded}
    assert max(worst.values()) < 1e-4, worst


def test_oracle_gives_the_recorded_layers(data_dir):
    path = data_dir / "conformance" / "networks" / "head__02_gansformer_ffhq_r32"
    _, _, Gs = snapshot.read(path.with_suffix(".pkl"))
    layers = np.load(str(path) + "_debug.npz")
    z = np.load(path.with_suffix(".npz"))["z"][:1]
    acts = Gs.generate(z, truncation_psi=1, noise_mode="const").acts
    assert set(acts) == set(layers.files)
    for name in layers.files:
        scale = np.abs(layers[name]).max()
        assert np.abs(acts[name] - layers[name]).max() < 1e-4 * max(scale, 1), name


@pytest.mark.parametrize("name", NETWORKS)
def test_oracle_uses_every_variable_in_the_published_order(data_dir, name):
    path = (data_dir / "conformance" / "networks" / name).with_suffix(".pkl")
    for net in snapshot.read(path):
        variables = net.variables()
        if net.func_name.startswith("D"):
            size = net.kwargs["resolution"]
            discriminator(net.func_name, net.kwargs, variables, np.zeros((2, 3, size, size)))
        else:
            z, c = snapshot.random_latents(net, 1, seed=0)
            generator(net.func_name, net.kwargs, variables, z, c, noise_mode="const")
        for asked in variables.values():
            assert list(asked.trainable) == list(asked.values)


@pytest.mark.parametrize("name", ["head__07_gansformer_dtransformer:D", "legacy__04_gan:G"])
def test_fabricated_file_reads_back(tmp_path, name):
    net = cases.make(name, *cases.published()[name])
    snapshot.write((net, net), tmp_path / "net.pkl")
    back, again = snapshot.read(tmp_path / "net.pkl")
    assert back is again
    assert back.kwargs == net.kwargs and back.func_name == net.func_name
    pairs = [(net, back)]
    pairs += [(c, back.state["components"][role]) for role, c in net.state["components"].items()]
    for want, got in pairs:
        got_names = [key for key, _ in got.state["variables"]]
        assert got_names == [key for key, _ in want.state["variables"]]
        for (_, a), (_, b) in zip(want.state["variables"], got.state["variables"]):
            assert np.asarray(b).dtype == np.float32
            np.testing.assert_array_equal(a, b)


def test_fabricated_file_is_laid_out_as_a_published_one(tmp_path, data_dir):
    """The same opcodes and globals as the recorded pickles, except for sizes."""

    def words(path):
        ops = [(op.name, arg) for op, arg, _ in pickletools.genops(path.read_bytes())]
        strings = {arg for name, arg in ops if name == "SHORT_BINUNICODE"}
        return {name for name, _ in ops}, {s for s in strings if s.startswith(("numpy", "dnnlib"))}

    name = "head__02_gansformer_ffhq:G"
    net = cases.make(name, *cases.published()[name])
    snapshot.write((net, net), tmp_path / "net.pkl")
    ops, names = words(tmp_path / "net.pkl")
    want_ops, want_names = words(
        data_dir / "conformance" / "networks" / "head__02_gansformer_ffhq_r32.pkl"
    )
    assert names == want_names
    assert ops - want_ops <= {"TUPLE2", "BINBYTES8", "LONG_BINGET", "BINUNICODE", "BINBYTES"}
