"""Snapshots: saving, loading, what is refused, and what the user reads then."""

import pickle
import random
import subprocess
import sys
import tracemalloc

import numpy as np
import pickles
import pytest
import tensorflow.compat.v1 as tf
import tiny
from pickles import Call, dumps, network
from test_unpickle import mutate

from dnnlib import UserError, tflib
from dnnlib.cli import run_script
from dnnlib.tflib.snapshot.__main__ import main
from dnnlib.tflib.snapshot.unpickle import read_pickle
from dnnlib.tflib.stored_network import read_state

Z = tiny.latents(5)


def trio():
    G = tiny.generator(psi=0.25, with_maps=True)
    return G, tflib.Network("D", "tiny_discriminator"), G.clone("Gs")


def test_round_trip_in_a_fresh_graph(session, tmp_path):
    networks = trio()
    path = str(tmp_path / "network-snapshot-000001.pkl")
    tflib.save_networks(networks, path)
    expected = [networks[0].run(Z)[0], networks[1].run(networks[0].run(Z)[0])]
    with tf.Graph().as_default(), tf.Session().as_default():
        G, D, Gs = tflib.load_networks(path)
        assert [net.name for net in (G, D, Gs)] == ["G", "D", "Gs"]
        assert G.static_kwargs == dict(z_dim=3, psi=0.25, with_maps=True)
        assert np.array_equal(G.run(Z)[0], expected[0])
        assert np.array_equal(Gs.run(Z)[0], expected[0])
        np.testing.assert_allclose(D.run(G.run(Z)[0]), expected[1], rtol=1e-5, atol=1e-6)
        tflib.save_networks((G, D, Gs), tmp_path / "again.pkl")
        assert np.array_equal(tflib.load_networks(tmp_path / "again.pkl")[2].run(Z)[0], expected[0])


def test_single_network_and_choice(session, tmp_path):
    G, _, Gs = trio()
    tflib.save_networks(G, tmp_path / "one.pkl")
    assert tflib.load_networks(tmp_path / "one.pkl").name == "G"
    assert tflib.load_networks(tmp_path / "one.pkl", only=-1).name == "G"
    tflib.save_networks([G, Gs], tmp_path / "two.pkl")
    before = len(tf.global_variables())
    assert tflib.load_networks(tmp_path / "two.pkl", only=-1).name == "Gs"
    assert len(tf.global_variables()) == before + len(G.vars)


def test_loading_initializes_nothing_else(session, tmp_path):
    """No initializer runs: neither of other variables, nor of those that get the file's values.

    (Sizes that a file only claims would be allocated.)
    """
    path = changed(tmp_path / "n.pkl", lambda state: state["components"].pop("mapping"))
    other = tf.get_variable("other", [2])
    known = [variable.op.name for variable in tf.global_variables()]
    with pytest.raises(UserError, match="missing: mapping"):
        tflib.load_networks(path)
    assert [variable.op.name for variable in tf.global_variables()] == known
    handles = [op for op in session.graph.get_operations() if op.type == "VarHandleOp"]
    handles = [op for op in handles if op.name.startswith(("G_1/", "tiny_syn_1/", "tiny_map_1/"))]
    checks = [tf.raw_ops.VarIsInitializedOp(resource=op.outputs[0]) for op in handles]
    assert len(checks) == 5
    assert not any(session.run(checks))
    assert not session.run(tf.is_variable_initialized(other))


def test_sets_up_tensorflow_by_itself(tmp_path, root):
    """Three lines are a whole program."""
    with tf.Graph().as_default(), tf.Session().as_default():
        tflib.save_networks(tiny.generator(), tmp_path / "n.pkl")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from dnnlib import tflib\n"
        "import tiny\n"
        "print(tflib.load_networks(sys.argv[3]).run(tiny.latents(2)).shape)\n"
    )
    args = [str(root), str(root / "tests" / "tflib"), str(tmp_path / "n.pkl")]
    result = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, check=True)
    assert result.stdout.decode() == "(2, 3, 4, 4)\n"
    assert result.stderr.decode() == ""  # not a word from TensorFlow


def test_full_disk_keeps_the_earlier_snapshot(session, tmp_path, monkeypatch):
    path = tmp_path / "n.pkl"
    tflib.save_networks(tiny.generator(), path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pickle, "dump", fail)
    with pytest.raises(UserError, match="the disk is full; the earlier file is kept"):
        tflib.save_networks(tiny.generator(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["n.pkl"]


# ------------------------------------------------------------------------- what is refused


def changed(path, change):
    """Write our tiny generator with its state changed by a function."""
    state = tiny.generator(psi=0.25).__getstate__()
    parts = {
        role: pickles.Object(pickles.NETWORK, net.__getstate__())
        for role, net in state["components"].items()
    }
    state["components"] = parts
    change(state)
    path.write_bytes(dumps(pickles.Object(pickles.NETWORK, state)))
    return path


def test_unchanged(session, tmp_path):
    assert tflib.load_networks(changed(tmp_path / "n.pkl", lambda state: None)).run(Z).shape[0] == 5


def _swap_variables(state):
    state["components"]["synthesis"].state["variables"] = [
        ("noise0", np.zeros([1, 1, 4, 4], np.float32)),
        ("4x4/Conv/weight", np.zeros([5, 47], np.float32)),
        ("4x4/Conv/strength", np.float32(0).reshape([])),
    ]


CHANGES = {
    "all differences in one error": (
        _swap_variables,
        "network 'G' does not fit its variables; missing: synthesis/4x4/Conv/noise_strength; "
        "unexpected: synthesis/4x4/Conv/strength; "
        "misshapen: synthesis/4x4/Conv/weight [5, 47] instead of [5, 48]",
    ),
    "sub-network missing": (lambda s: s["components"].pop("mapping"), "missing: mapping/*"),
    "sub-network unexpected": (
        lambda s: s["components"].update(extra=s["components"]["mapping"]),
        "unexpected: extra/*",
    ),
    "option unknown": (
        lambda s: s["static_kwargs"].update(psii=1),
        "cannot be built: tiny_generator() does not take 'psii'; did you mean 'psi'?",
    ),
    "option missing": (lambda s: s["static_kwargs"].clear(), "tiny_generator() needs 'z_dim'"),
    "option of the framework": (
        lambda s: s["static_kwargs"].update(is_training=True),
        "does not take 'is_training'",
    ),
    "option of another kind": (
        lambda s: s["static_kwargs"].update(w_dim="x"),
        "network 'G' cannot be built: ",
    ),
    "option that breaks the builder": (
        lambda s: s["static_kwargs"].update(mapping=7),
        "cannot be built: ",
    ),
    "builder unknown": (
        lambda s: s.update(builder="tiny_generatr"),
        "got 'tiny_generatr'; did you mean 'tiny_generator'?",
    ),
    "version": (lambda s: s.update(version=99), "format version 99"),
    "no version": (lambda s: s.pop("version"), "format version None"),
    "no name": (lambda s: s.pop("name"), "without name"),
    "name": (lambda s: s.update(name=7), "without proper name"),
    "options": (lambda s: s.update(static_kwargs=[]), "options are no dict"),
    "variables": (lambda s: s.update(variables={}), "variables are no list"),
    "variable": (lambda s: s.update(variables=["x"]), "no pair"),
    "variable of text": (lambda s: s.update(variables=[("x", "y")]), "variable 'x'"),
    "variable twice": (
        lambda s: s.update(variables=s["variables"] * 2),
        "'dlatent_avg' is there twice",
    ),
    "components": (lambda s: s.update(components=[]), "sub-networks are no dict"),
    "component": (lambda s: s["components"].update(mapping=3), "sub-network is no network"),
    "array as option": (
        lambda s: s["static_kwargs"].update(psi=np.zeros(3, np.float32)),
        "an option is a PickledArray",
    ),
    "network as option": (
        lambda s: s["static_kwargs"].update(psi=network()),
        "an option is a PickledNetwork",
    ),
    "claimed size": (lambda s: s["static_kwargs"].update(w_dim=1 << 40), "w_dim=1099511627776"),
    "claimed nested": (lambda s: s["static_kwargs"].update(mapping=dict(z_dim=9999)), "z_dim=9999"),
    "claimed layers": (lambda s: s["static_kwargs"].update(mapping=dict(depth=99)), "depth=99"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_refused(session, tmp_path, name):
    change, message = CHANGES[name]
    path = changed(tmp_path / "n.pkl", change)
    before = tf.global_variables()
    with pytest.raises(UserError) as caught:
        tflib.load_networks(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tf.global_variables() == before


def endless(kind):
    value = kind()
    if kind is list:
        value.append(value)
    else:
        value["x"] = value
    return value


@pytest.mark.parametrize("value", [endless(list), endless(dict)])
def test_options_that_contain_themselves(session, tmp_path, value):
    path = changed(tmp_path / "n.pkl", lambda state: state["static_kwargs"].update(psi=value))
    with pytest.raises(UserError, match="nested too deeply"):
        tflib.load_networks(path)


def test_options_of_exponential_size(session, tmp_path):
    value = 1
    for _ in range(6):
        value = [value] * 10
    path = changed(tmp_path / "n.pkl", lambda state: state["static_kwargs"].update(psi=value))
    assert path.stat().st_size < 5000
    with pytest.raises(UserError, match="nested too deeply"):
        tflib.load_networks(path)


@pytest.mark.parametrize("kind", ["sinus", "linear"])
def test_claims_of_a_small_file_cost_no_memory(session, tmp_path, kind):
    """A grid of 256 x 256 positions of width 1024 would take half a gigabyte."""
    options = dict(resolution=256, transformer=True, use_pos=True, start_res=8, end_res=9)
    options.update(pos_type=kind, pos_directions_num=4, pos_dim=1024, a_dim=8, channel_base=32)
    small = [("256x256/weight", np.zeros([1], np.float32))]
    name = dict(build_func_name="Discriminator", static_kwargs=options, variables=small)
    (tmp_path / "n.pkl").write_bytes(dumps(network(**name)))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"does not fit its variables; missing: .*256x256/FromRGB"):
        tflib.load_networks(tmp_path / "n.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_network_that_contains_itself(session, tmp_path):
    path = tmp_path / "n.pkl"
    # q\x07 remembers the outer network, h\x07 puts it into its own sub-networks.
    inner = pickles.dumps_inner(dict(pickles.state(), components={"x": pickles.Raw(b"h\x07")}))
    path.write_bytes(b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81q\x07" + inner + b"b.")
    with pytest.raises(UserError, match="nested too deeply"):
        tflib.load_networks(path)


@pytest.mark.parametrize(
    "contents, message",
    [
        (b"", "is no readable snapshot: damaged"),
        (pickle.dumps({"G": 1}), "holds no networks, but a dict with 'G'"),
        (pickle.dumps(()), "holds no networks, but a tuple"),
        (b"PK\x03\x04" + bytes(40), "is no readable snapshot: a zip archive"),
        (dumps(network(extra=Call("os system", "touch x"))), "it names 'os.system'"),
        (
            dumps(network(build_func_name="D_main", static_kwargs=dict(mapping_func="f"))),
            "n.pkl: a generator with mapping_func='f', which is unknown",
        ),
        (dumps(network(build_func_name="G_style")), "G_style is StyleGAN's network"),
        (dumps(network(build_func_name="mine")), "built by 'mine', which is unknown"),
        (dumps(network(static_kwargs=dict(resolution=1 << 30))), "resolution=1073741824, but no"),
        (dumps(network()), "network 'D' does not fit its variables; missing: "),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81.", "holds no networks"),
    ],
)
def test_refused_files(session, tmp_path, monkeypatch, contents, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "n.pkl"
    path.write_bytes(contents)
    with pytest.raises(UserError) as caught:
        tflib.load_networks(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["n.pkl"]


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"none\.pkl: no such file"):
        tflib.load_networks(tmp_path / "none.pkl")
    with pytest.raises(UserError, match="is a folder"):
        tflib.load_networks(tmp_path)
    with pytest.raises(UserError, match=r"gdrive:ffhq\.pkl: .* mean 'ffhq-snapshot\.pkl'"):
        tflib.load_networks("gdrive:ffhq.pkl")


def test_embedded_source_is_not_executed(session, tmp_path, monkeypatch):
    """Neither by our reader nor by pickle itself, which knows Network."""
    monkeypatch.chdir(tmp_path)
    source = "import pathlib\npathlib.Path('executed').write_text('x')\n"
    data = dumps(network(build_module_src=source, build_func_name="D_stylegan2"))
    (tmp_path / "n.pkl").write_bytes(data)
    with pytest.raises(UserError, match="does not fit"):
        tflib.load_networks("n.pkl")
    with pytest.raises(UserError, match="does not fit"):
        pickle.loads(data).run(Z)
    assert [p.name for p in tmp_path.iterdir()] == ["n.pkl"]


def test_pickle_itself_opens_published_files(session, data_dir):
    """As StyleGAN2's scripts do it; the outer network says what its sub-networks are."""
    path = data_dir / "conformance" / "networks" / "stylegan2__config_f_r32.pkl"
    with path.open("rb") as file:
        _, _, Gs = pickle.load(file, encoding="latin1")
    data = np.load(path.with_suffix(".npz"))
    images = Gs.run(data["z"], None, truncation_psi=0.7, randomize_noise=False)
    assert np.abs(images - data["Gs_psi07_images"]).max() < 1e-4


def test_python_2_snapshot(session):
    """Byte strings for text; the builder's name and options arrive as text."""
    data = pickles.as_python2(dumps(pickles.Object(pickles.NETWORK, pickles.state(2)), 2))
    stored = read_state(read_pickle(data).state)
    assert stored.builder == "stylegan2_discriminator"
    assert stored.static_kwargs == dict(num_channels=3, resolution=4, c_dim=0)


# --------------------------------------------------------------------------- the command


def test_command_prints_what_is_inside(session, tmp_path, capsys):
    tflib.save_networks(trio(), tmp_path / "n.pkl")
    assert run_script(main, [str(tmp_path / "n.pkl")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"G: tiny_generator, {5 + 25 + 16 + 240 + 1} parameters"
    assert "  psi = 0.25" in lines
    assert "    4x4/Conv/weight          [5, 48]" in lines
    assert [line for line in lines if not line.startswith(" ")][1:] == [
        "D: tiny_discriminator, 294 parameters",
        "Gs: tiny_generator, 287 parameters",
    ]


def test_command_reads_published_files_without_building(session, data_dir, capsys):
    path = data_dir / "conformance" / "networks" / "head__02_gansformer_ffhq_r32.pkl"
    assert run_script(main, [str(path)]) == 0
    out = capsys.readouterr().out
    assert "G: generator" in out
    assert "  quirks = ('shorter_encoding', " in out
    assert tf.global_variables() == []


def test_command_errors(capsys, tmp_path):
    assert run_script(main, [str(tmp_path / "none.pkl")]) == 2
    assert run_script(main, ["--what", "x"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_command_as_a_module(tmp_path, root):
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(Call("os system", "touch x")))
    command = [sys.executable, "-m", "dnnlib.tflib.snapshot", str(tmp_path / "n.pkl")]
    result = subprocess.run(command, cwd=str(root), capture_output=True, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.decode().splitlines()
    assert "is no readable snapshot: it names" in line


# ------------------------------------------------------------------------------------ fuzz


def fuzz(data, path, rounds, seed):
    """Load mutations: each gives networks, or one line."""
    rng, outcomes = random.Random(seed), [0, 0]
    for _ in range(rounds):
        path.write_bytes(mutate(data, rng))
        with tf.Graph().as_default(), tf.Session().as_default():
            try:
                tflib.load_networks(path)
                outcomes[0] += 1
            except UserError as error:
                assert "\n" not in str(error)
                outcomes[1] += 1
    return outcomes


def test_fuzz(session, tmp_path):
    tflib.save_networks(tiny.generator(), tmp_path / "n.pkl")
    good, bad = fuzz((tmp_path / "n.pkl").read_bytes(), tmp_path / "n.pkl", 60, seed=1)
    assert good > 5
    assert bad > 5


@pytest.mark.slow
def test_fuzz_long(session, tmp_path, data_dir):
    tflib.save_networks(trio(), tmp_path / "n.pkl")
    fuzz((tmp_path / "n.pkl").read_bytes(), tmp_path / "n.pkl", 1000, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["head__01_gansformer_clevr_r32", "stylegan2__config_f_r32"])
def test_fuzz_published(session, tmp_path, data_dir, name):
    """Mutations of D, from where its options and names are."""
    path = data_dir / "conformance" / "networks" / f"{name}.pkl"
    data = path.read_bytes()
    rng = random.Random(3)
    for _ in range(60):
        begin = data.rindex(b"static_kwargs")
        damaged = data[:begin] + mutate(data[begin : begin + 900], rng) + data[begin + 900 :]
        (tmp_path / "n.pkl").write_bytes(damaged)
        with tf.Graph().as_default(), tf.Session().as_default():
            try:
                tflib.load_networks(tmp_path / "n.pkl", only=1)
            except UserError as error:
                assert "\n" not in str(error)
