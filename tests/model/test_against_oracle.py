"""The networks against the NumPy oracle, through files in the published layout.

For every configuration of the published code that runs, and for options that published files may
hold beside those: a file is made with random variables, written as the published code writes it
(with source text that must not be executed), loaded and evaluated.
"""

import numpy as np
import pytest
from oracle import cases, snapshot
from oracle.options import published_options
from published_calls import LEGACY, STYLEGAN2, family, run_discriminator, run_generator

from dnnlib import tflib

TOLERANCE = 1e-4
PUBLISHED, VARIANTS = cases.published(), cases.variants()
CASES = {**PUBLISHED, **VARIANTS}

# One of each kind for the quick suite, smaller still; the whole grid is marked slow.
QUICK = (
    "head__02_gansformer_ffhq:G",
    "head__08b_simplex_gates:G",
    "head__16b_d_transformer_img2img:D",
    "head_kgan_leaves_each",
    "iterative_kmeans2_heads",
    "legacy__08_simplex_everything:G",
    "legacy__16_d_transformer_full:D",
    "stylegan2__config_f_labels:G",
    "stylegan2__config_d:D",
)
CASES.update(
    {f"{name}@16": (CASES[name][0], {**CASES[name][1], "resolution": 16}) for name in QUICK}
)


def _parameters(is_generator):
    names = [name for name, (func, _) in CASES.items() if cases.is_generator(func) == is_generator]
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[] if name.endswith("@16") else [slow]) for name in names]


def _load(name, tmp_path, case=None):
    """=> (the fabricated network, the loaded one)."""
    net = cases.make(name, *(case or CASES[name]))
    path = tmp_path / "network.pkl"
    snapshot.write(net, path)
    return net, tflib.load_networks(str(path))


def _largest(**pairs):
    """{name: (got, want)} => {name: largest difference}; shapes have to agree."""
    worst = {}
    for name, (got, want) in pairs.items():
        assert np.shape(got) == np.shape(want), name
        worst[name] = float(np.abs(got - want).max())
    return worst


def _check(name, worst):
    print(name, worst)
    assert max(worst.values()) < TOLERANCE, worst


@pytest.mark.parametrize("name", _parameters(is_generator=True))
def test_generator(session, tmp_path, name):
    net, loaded = _load(name, tmp_path)
    code, opt = family(net.func_name), published_options(net.func_name, net.kwargs)
    z, c = snapshot.random_latents(net, 4, seed=1)
    psi = dict(truncation_psi=0.7, truncation_cutoff=3)

    got = run_generator(loaded, code, z, c, want_ws=True, **psi)
    want = net.generate(z, c, noise_mode="const", **psi)
    ws = want.ws[:, 0] if code == STYLEGAN2 else want.ws
    worst = _largest(images=(got.images, want.images), ws=(got.ws, ws))
    assert (got.maps is None) == (want.maps is None)
    if want.maps is not None:
        worst.update(_largest(maps=(got.maps, want.maps)))

    # Other values for each layer: every index into ws counts.
    rng = np.random.RandomState(2)
    ws = (want.ws + 0.2 * rng.randn(*want.ws.shape)).astype(np.float32)
    psi = dict(truncation_psi=None if code == STYLEGAN2 else 0.8)  # the earlier GANsformer uses it
    want = net.generate(ws, c, noise_mode="const", take_ws=True, **psi).images
    if code == STYLEGAN2:
        got = loaded.components.synthesis.run(ws[:, 0], randomize_noise=False)
    else:
        got = run_generator(loaded, code, ws, c, take_ws=True, **psi).images
    worst.update(_largest(take_ws=(got, want)))
    assert want.shape == (4, opt.num_channels, opt.resolution, opt.resolution)
    _check(name, worst)


@pytest.mark.parametrize("name", _parameters(is_generator=False))
def test_discriminator(session, tmp_path, name):
    net, loaded = _load(name, tmp_path)
    code = family(net.func_name)
    images, c = cases.random_images(net, 8, seed=1), snapshot.random_labels(net, 8, seed=1)
    worst = {}
    for n in (8, 4, 2):
        got = run_discriminator(loaded, code, images[:n], c[:n])
        worst.update(_largest(**{f"batch{n}": (got, net.judge(images[:n], c[:n]).scores)}))
    _check(name, worst)


@pytest.mark.parametrize(
    "name", ["head__01_gansformer_clevr:G", "legacy__03_stylegan2:G", "stylegan2__config_f:G"]
)
def test_truncation_in_every_form(session, tmp_path, name):
    func, kwargs = CASES[name]
    net, loaded = _load(name, tmp_path, (func, dict(kwargs, resolution=8)))
    code = family(net.func_name)
    z, c = snapshot.random_latents(net, 2, seed=3)
    forms = {
        "static": {},
        "validation": dict(is_validation=True),
        "none": dict(truncation_psi=None),
        "zero": dict(truncation_psi=0.0),
        "beyond": dict(truncation_psi=-0.5, truncation_cutoff=4),
        "first_only": dict(truncation_psi=0.3, truncation_cutoff=1),
        "no_layer": dict(truncation_psi=0.3, truncation_cutoff=0),
    }
    worst, images = {}, {}
    for form, options in forms.items():
        images[form] = run_generator(loaded, code, z, c, **options).images
        want = net.generate(z, c, noise_mode="const", **options).images
        worst.update(_largest(**{form: (images[form], want)}))
    _check(name, worst)
    assert np.abs(images["static"] - images["none"]).max() > 0.1
    assert np.abs(images["zero"][0] - images["zero"][1]).max() < 1e-5  # noise is const


def test_static_truncation_keywords_count(session, tmp_path):
    """truncation_psi_val and cutoffs stored in a file are used."""
    func, kwargs = CASES["legacy__12_simplex_plain:G"]
    kwargs = dict(kwargs, truncation_psi_val=0.6, truncation_cutoff=2, resolution=8)
    net, loaded = _load("", tmp_path, (func, kwargs))
    z, _ = snapshot.random_latents(net, 2, seed=3)
    worst = {}
    for form, options in dict(static={}, validation=dict(is_validation=True)).items():
        got = run_generator(loaded, LEGACY, z, **options).images
        want = net.generate(z, noise_mode="const", **options).images
        worst.update(_largest(**{form: (got, want)}))
    _check("static truncation", worst)


def test_a_whole_file_keeps_its_three_networks_apart(session, tmp_path):
    """(G, D, Gs): two generators with the same options and different variables."""
    func, kwargs = CASES["head__20_start_end_res:G"]
    kwargs = dict(kwargs, resolution=16)
    G = snapshot.make_generator(func, kwargs, seed=5, name="G")
    Gs = snapshot.make_generator(func, kwargs, seed=6, name="Gs")
    D = cases.make("", *CASES["head__03_stylegan2:D"])
    snapshot.write((G, D, Gs), tmp_path / "network.pkl")
    networks = tflib.load_networks(str(tmp_path / "network.pkl"))
    assert [net.name for net in networks] == ["G", "D", "Gs"]
    z, _ = snapshot.random_latents(G, 2, seed=3)
    worst = {}
    for net, loaded in ((G, networks[0]), (Gs, networks[2])):
        got = run_generator(loaded, "head", z, truncation_psi=1).images
        want = net.generate(z, noise_mode="const", truncation_psi=1).images
        worst.update(_largest(**{loaded.name: (got, want)}))
    images = cases.random_images(D, 4, seed=1)
    got = run_discriminator(networks[1], "head", images)
    worst.update(_largest(D=(got, D.judge(images).scores)))
    _check("three networks", worst)


@pytest.mark.parametrize("name", ["head__15_mapping_resnet_ltnt2ltnt_gates_heads:G"])
def test_sub_networks_run_on_their_own(session, tmp_path, name):
    """mapping and synthesis as StyleGAN2 scripts use them; the outer network gives the rest."""
    func, kwargs = CASES[name]
    net, loaded = _load(name, tmp_path, (func, dict(kwargs, resolution=16)))
    z, c = snapshot.random_latents(net, 2, seed=3)
    want = net.generate(z, c, noise_mode="const", truncation_psi=None)
    ws = loaded.components.mapping.run(z, None)
    images, maps = loaded.components.synthesis.run(ws, noise_mode="const")
    _check(name, _largest(ws=(ws, want.ws), images=(images, want.images), maps=(maps, want.maps)))


@pytest.mark.parametrize("name", ["duplex_heads_gates", "legacy__24_kgan_resnet:G"])
def test_a_published_network_stays_what_it_is(session, tmp_path, name):
    """Cloned, and saved in our own form, it still computes what its published code did."""
    func, kwargs = CASES[name]
    changes = dict(resolution=16, merge_layer=3) if kwargs.get("merge") else dict(resolution=8)
    net, loaded = _load(name, tmp_path, (func, {**kwargs, **changes}))
    z, c = snapshot.random_latents(net, 2, seed=3)
    tflib.save_networks((loaded, loaded.clone("Gs")), str(tmp_path / "ours.pkl"))
    want = net.generate(z, c, noise_mode="const", truncation_psi=0.5).images
    worst = {}
    for again in tflib.load_networks(str(tmp_path / "ours.pkl")):
        got = run_generator(again, family(func), z, c, truncation_psi=0.5).images
        worst.update(_largest(**{again.name: (got, want)}))
    assert list(worst) == ["G", "Gs"]
    _check(name, worst)
