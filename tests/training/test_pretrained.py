"""What a fine-tuning takes from a snapshot, and what it says of the rest."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_painter import painter_network

from config.checks import check
from config.resolve import add_facts, contradictions, parse, resolve
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import LOG_NAME, create_run, save_config
from training import checkpoint, pretrained
from training.model.quirks import PUBLISHED_QUIRKS
from training.networks import build_networks
from training.pretrained import NothingFitsError, Pretrained, prepare

TINY = ["--channel-base=16", "--channel-max=6", "--mapping-layersnum=2"]
GANSFORMER = ["--gansformer-default", "--components-num=2", "--latent-size=8", *TINY]
PUBLISHED = ["--channel-base=128", "--channel-max=16"]
STYLEGAN2 = ["--baseline=StyleGAN2", "--latent-size=32", *PUBLISHED]


def make_config(*argv, resolution=8):
    config = resolve(parse(["--train", "--dataset=cats", *argv]))
    add_facts(config, resolution, 3, 100, 0)
    return config


def networks(config):
    """The networks of a training; G and its moving average are one."""
    G, D = build_networks(config)
    return SimpleNamespace(G=G, D=D, Gs=G)


def fill(net, value):
    tflib.set_vars({v: np.full(v.shape.as_list(), value) for v in net.vars.values()})


def start(path, config, tmp_path):
    source = Pretrained(str(path))
    source.adopt_ways(config)
    graph = networks(config)
    source.start(graph, config, tmp_path)
    log = (tmp_path / LOG_NAME).read_text().splitlines()
    return graph, log


def test_tuple_of_ours(session, tmp_path, capsys):
    """G, D and the moving average each get their own; what differs is named."""
    config = make_config(*GANSFORMER)
    G, D = build_networks(config)
    Gs = G.clone("Gs")
    for value, net in enumerate((G, D, Gs), 1):
        fill(net, value)
    path = tmp_path / "snapshot.pkl"
    tflib.save_networks((G, D, Gs), path)

    graph = SimpleNamespace(G=G, D=D, Gs=Gs)
    for net in (G, D, Gs):
        fill(net, 0)
    Pretrained(str(path)).start(graph, config, tmp_path)
    for value, net in enumerate((G, D, Gs), 1):
        assert all(np.all(x == value) for x in tflib.run(net.vars).values())
    line = capsys.readouterr().out.splitlines()[-1]
    g, d = len(G.vars), len(D.vars)
    assert line == (
        f"Beginning with {path}: {g} of {g} variables of G, {d} of {d} variables of D, "
        f"{g} of {g} variables of Gs"
    )
    assert (tmp_path / LOG_NAME).read_text() == ""

    # Other flags: what fits is taken, the rest keeps its initial values and is named.
    flags = [*GANSFORMER, "--kmeans=False", "--mapping-layersnum=4", "--d-arch=orig"]
    graph, log = start(path, make_config(*flags), tmp_path)
    out = capsys.readouterr().out.splitlines()
    assert "; the others keep their initial values, see log.txt" in out[0]
    assert f"{len(graph.G.vars)} variables of G" in out[0] and f"{g} of {g}" not in out[0]
    assert out[1].startswith("Taken from it: G ")
    assert out.pop(1).endswith("; D 6 of 6 layers (Output, 4x4, 8x8)")
    assert out[1].startswith("Options that are not the snapshot's (ours hold): ")
    for text in (
        "--kmeans: synthesis.kmeans False (its: True)",
        "--mapping-layersnum: mapping.mapping_num_layers 4 (its: 2)",
        "--d-arch: D.architecture orig (its: resnet)",
    ):
        assert text in out[1]
    assert out[1].count("its: ") == 3
    values = tflib.run(graph.G.vars)
    assert np.all(values["G_synthesis/8x8/Conv1/weight"] == 3)
    (missing,) = [line for line in log if line.startswith("Gs, not in the snapshot: ")]
    (unused,) = [line for line in log if line.startswith("Gs, only in the snapshot: ")]
    assert "mapping/Dense1_0/weight" in missing and "toasgn_init" in unused
    assert "D, only in the snapshot: 8x8/Skip/weight" in log
    assert not np.all(values["G_mapping/Dense1_0/weight"] == 3)


def test_between_resolutions_the_layers_that_fit_are_taken(session, tmp_path, capsys):
    small = build_networks(make_config(*GANSFORMER))
    for value, net in enumerate(small, 1):
        fill(net, value)
    tflib.save_networks((*small, small[0]), tmp_path / "small.pkl")
    graph, log = start(tmp_path / "small.pkl", make_config(*GANSFORMER, resolution=16), tmp_path)
    values = tflib.run({"G": graph.G.vars, "D": graph.D.vars})
    for name in ("G_mapping/global/Dense0/weight", "G_synthesis/8x8/Conv1/weight"):
        assert np.all(values["G"][name] == 1)
    assert np.all(values["D"]["8x8/Conv0/weight"] == 2)
    assert np.all(values["D"]["16x16/Conv0/weight"] != 2)
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "layers (" in text]
    assert line.endswith("; from resolution 8 to 16") and "16x16" not in line
    assert "layers (ltnt_emb" not in line and " (mapping, 4x4, 8x8); D " in line
    assert "layers (Output, 4x4, 8x8); from" in line
    assert any("16x16/FromRGB/weight" in text for text in log)
    with pytest.raises(NothingFitsError, match="--freeze-d=1 would keep 16x16/FromRGB/weight at"):
        config = make_config(*GANSFORMER, "--freeze-d=1", resolution=16)
        start(tmp_path / "small.pkl", config, tmp_path)

    # And back: the layers beyond are left.
    large = build_networks(make_config(*GANSFORMER, resolution=16))
    fill(large[0], 3)
    tflib.save_networks(large[0], tmp_path / "large.pkl")
    graph, _ = start(tmp_path / "large.pkl", make_config(*GANSFORMER), tmp_path)
    assert np.all(tflib.run(graph.G.vars)["G_synthesis/8x8/Conv1/weight"] == 3)
    assert "; from resolution 16 to 8" in capsys.readouterr().out


def test_single_networks(session, tmp_path, capsys):
    config = make_config(*GANSFORMER)
    graph = networks(config)
    parts = dict(D=graph.D, mapping=graph.G.components.mapping, G=graph.G)
    for value, (name, net) in enumerate(parts.items(), 1):
        fill(net, value)
        tflib.save_networks(net, tmp_path / f"{name}.pkl")
    for value, (name, net) in enumerate(parts.items(), 1):
        fill(graph.G, 0)
        fill(graph.D, 0)
        Pretrained(str(tmp_path / f"{name}.pkl")).start(graph, config, tmp_path)
        filled = {v.name for v in net.vars.values()}
        for variable in [*graph.G.vars.values(), *graph.D.vars.values()]:
            want = value if variable.name in filled else 0
            assert np.all(tflib.run(variable) == want), (name, variable.name)
        assert "its: " not in capsys.readouterr().out


def test_what_is_refused(session, tmp_path):
    tflib.save_networks(painter_network(), tmp_path / "painter.pkl")
    with pytest.raises(UserError, match=r"painter\.pkl holds painter.* begins with a gen"):
        Pretrained(str(tmp_path / "painter.pkl"))
    with pytest.raises(UserError, match=r"none\.pkl"):
        Pretrained(str(tmp_path / "none.pkl"))
    net = tflib.Network("D", "discriminator", resolution=8, channel_max=5)
    tflib.save_networks(net, tmp_path / "d.pkl")
    config = make_config(*GANSFORMER)
    graph = networks(config)
    before = tflib.run(graph.D.vars)
    with pytest.raises(NothingFitsError, match=r"d\.pkl fits nowhere: .* resolution 8; give"):
        Pretrained(str(tmp_path / "d.pkl")).start(graph, config, tmp_path)
    after = tflib.run(graph.D.vars)
    assert all(np.array_equal(after[name], value) for name, value in before.items())


def images_of(graph, data):
    z = data["z"]
    z = z if z.ndim == 3 else z[:, np.newaxis]
    options = dict(truncation_psi=1, noise_mode="const", return_as_list=True)
    return graph.Gs.run(z, None, **options)[0]


QUIRKS = ["growing_latents"]
CASES = {
    "stylegan2__config_f_r32": STYLEGAN2,
    "legacy__03_stylegan2_r32": STYLEGAN2,
    "head__01_gansformer_clevr_r32": [
        *("--gansformer-default", "--dataset=clevr", "--latent-size=128", *PUBLISHED)
    ],
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if "legacy" in n else []) for n in CASES]
)
def test_published_snapshots_go_on_as_they_are(session, data_dir, tmp_path, capsys, name):
    """The new networks, built from flags, give the snapshot's images and scores."""
    path = data_dir / "conformance" / "networks" / f"{name}.pkl"
    data = np.load(str(path.with_suffix(".npz")))
    config = make_config(*CASES[name], resolution=32)
    graph, log = start(path, config, tmp_path)
    assert np.abs(images_of(graph, data) - data["Gs_psi1_images"]).max() < 1e-4
    scores = graph.D.run(data["D_images_in"], None)
    assert np.abs(scores - data["D_scores_batch8"]).max() < 1e-4
    out = capsys.readouterr().out
    assert "Beginning with" in out and "its: " not in out
    assert ("Published networks" in out) == ("gansformer" in name)
    left = "\n".join(log)
    if "stylegan2__" in name:
        assert "Gs, not in the snapshot: ltnt_emb/emb, synthesis/noise7" in log
        assert "Gs, only in the snapshot: lod" in log
    elif "gansformer" in name:
        assert "weight" not in left  # nothing that counts
        assert config["G"]["quirks"] == PUBLISHED_QUIRKS["head"] and not config["D"].get("quirks")


def test_a_run_keeps_to_what_it_was_begun_with(tmp_path, monkeypatch):
    opened = []

    def stand_in(name):
        opened.append(name)
        return SimpleNamespace(
            adopt_ways=lambda config: config["G"].update(quirks=["growing_latents"])
        )

    monkeypatch.setattr(pretrained, "Pretrained", stand_in)
    first = make_config(*GANSFORMER, "--pretrained-pkl=a.pkl")
    assert prepare(tmp_path, make_config(*GANSFORMER)) is None and not opened
    assert prepare(tmp_path, first) is not None and opened == ["a.pkl"]
    save_config(tmp_path, first)

    # Begun, but stopped before there was a checkpoint: once more, named or not.
    again = make_config(*GANSFORMER)
    assert prepare(tmp_path, again) is not None and opened == ["a.pkl"] * 2
    assert again["flags"]["pretrained-pkl"] == again["run"]["pretrained_pkl"] == "a.pkl"

    # From a checkpoint: not read again, and of the same kind.
    meta = dict(format=checkpoint.FORMAT, nimg=4, tick=1, tick_nimg=4, seconds=1.0)
    with (tmp_path / "training-state-000000.npz").open("wb") as file:
        np.savez(file, meta=np.array(json.dumps(meta)))
    for flags in ([], ["--pretrained-pkl=a.pkl"]):
        again = make_config(*GANSFORMER, *flags)
        assert prepare(tmp_path, again) is None and len(opened) == 2
        assert again["G"]["quirks"] == QUIRKS and "quirks" not in again["D"]
        assert again["run"]["pretrained_pkl"] == "a.pkl"


def test_another_snapshot_contradicts_an_unfinished_run():
    old, same = make_config("--pretrained-pkl=a.pkl")["flags"], make_config()["flags"]
    other = make_config("--pretrained-pkl=b.pkl")["flags"]
    assert contradictions(old, same) == []
    assert contradictions(old, other) == [("pretrained-pkl", "a.pkl", "b.pkl")]
    assert contradictions(same, other) == [("pretrained-pkl", None, "b.pkl")]
    flags = {**same, "train": False}
    with pytest.raises(UserError, match="--pretrained-pkl has no effect without --train or --vis"):
        check(flags, ["pretrained-pkl"])


def test_without_flags_the_networks_are_the_snapshots(session, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = "--transformer --duplex --components-num=3 --latent-size=12 --num-heads=2 --g-arch=skip"
    argv += " --d-arch=orig --channel-base=36 --channel-max=8 --mapping-layersnum=2 --use-pos"
    config = make_config(*argv.split())
    G, D = build_networks(config)
    tflib.save_networks((G, D, G), "x.pkl")
    given = {"train": True, "dataset": "cats", "pretrained-pkl": "x.pkl"}
    flags = pretrained.architecture_flags(given)
    assert "No flag says what to build: the networks are those of x.pkl" in capsys.readouterr().out
    wanted = {name: config["flags"][name] for name in pretrained.ARCHITECTURE if name in flags}
    assert len(wanted) > 30 and flags == wanted
    found = resolve(given, flags)
    assert found["G"] == config["G"] and found["D"] == config["D"]
    assert pretrained.architecture_flags(dict(given, recipe="small")) == flags
    assert pretrained.architecture_flags(dict(given, transformer=True)) == {}
    assert pretrained.architecture_flags({"train": True}) == {}


def test_a_resumed_run_does_not_need_the_snapshot_for_its_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"train": True, "dataset": "cats", "pretrained-pkl": "gone.pkl", "result-dir": "r"}
    config = resolve(given, {"transformer": True, "components-num": 4})
    add_facts(config, 8, 3, 100, 0)
    save_config(create_run("r", "exp"), config)
    flags = pretrained.architecture_flags(given)
    assert flags["transformer"] is True and flags["components-num"] == 4
    with pytest.raises(UserError, match=r"gone\.pkl"):
        pretrained.architecture_flags(dict(given, restart=True))
