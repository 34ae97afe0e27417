"""Models for other programs: each format is opened by a program that knows nothing of this one."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import export
from dnnlib import UserError, cli, tflib
from dnnlib.tflib import native
from training.export import frozen, onnx_file
from training.export.checked import compare
from training.model.quirks import PUBLISHED_QUIRKS
from vis.latents import draw_z
from vis.sampler import Sampler

MODERN = tflib.compat.TF_VERSION >= (2, 0)

# A fresh process in which the project cannot be imported.
OPEN_SAVED_MODEL = {
    True: """
import sys
import numpy as np
import tensorflow as tf
path, feeds, out = sys.argv[1:]
function = tf.saved_model.load(path).signatures["serving_default"]
feeds = {name: tf.constant(value) for name, value in np.load(feeds).items()}
np.save(out, function(**feeds)["images"].numpy())
assert "dnnlib" not in sys.modules
""",
    False: """
import sys
import numpy as np
import tensorflow as tf
path, feeds, out = sys.argv[1:]
with tf.Session(graph=tf.Graph()) as session:
    found = tf.saved_model.loader.load(session, ["serve"], path)
    signature = found.signature_def["serving_default"]
    feeds = {signature.inputs[name].name: value for name, value in np.load(feeds).items()}
    np.save(out, session.run(signature.outputs["images"].name, feeds))
assert "dnnlib" not in sys.modules
""",
}


def save_model(path, **options):
    """A snapshot of one small generator; returns its path."""
    shared = dict(resolution=8, z_dim=5, w_dim=6, c_dim=2, mapping=dict(mapping_num_layers=2))
    shared["synthesis"] = dict(channel_base=32, channel_max=12)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        Gs = tflib.Network("Gs", "generator", **{**shared, **options})
        rng = np.random.default_rng(0)
        values = {
            v: x + 0.3 * rng.standard_normal(x.shape) for v, x in session.run(Gs.vars).items()
        }
        tflib.set_vars({Gs.vars[name]: value for name, value in values.items()})
        tflib.save_networks(Gs, path)
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A generator with classes."""
    return save_model(tmp_path_factory.mktemp("model") / "small.pkl")


@pytest.fixture(scope="module")
def ours(model):
    """(feeds, image) of two seeds."""
    with tf.Graph().as_default(), tf.Session():
        sampler = Sampler(tflib.load_generator(model))
        images = sampler.images(sampler.ws_of_seeds([4, 7], 0.6))
        z = np.concatenate([draw_z([seed], sampler.z_shape) for seed in (4, 7)])
        feeds = dict(z=z, labels=sampler.labels([4, 7]), truncation_psi=np.float32(0.6))
        return feeds, images


def run(*argv):
    assert cli.run_script(export.run, [*argv, "--gpus", "none"]) == 0


def difference(output):
    return float(re.search(r"differ by (\S+) at most", output).group(1))


def test_saved_model_in_a_process_without_this_project(model, ours, tmp_path, capsys):
    run("--model", model, "--format", "savedmodel", "--output", str(tmp_path / "exported"))
    assert difference(capsys.readouterr().out) < 1e-5
    feeds, images = ours
    np.savez(tmp_path / "feeds.npz", **feeds)
    code, args = OPEN_SAVED_MODEL[MODERN], ["exported", "feeds.npz", "images.npy"]
    command = [sys.executable, "-I", "-c", code, *args]
    done = subprocess.run(command, cwd=str(tmp_path), stdout=-1, stderr=-2, check=False)
    assert done.returncode == 0, done.stdout.decode()
    found = np.load(tmp_path / "images.npy")
    assert images.std() > 0.1
    np.testing.assert_allclose(found, images, atol=1e-5)


def test_saved_models_have_operations_of_tensorflow_alone(model):
    stored = export_networks(model)[-1]
    graph_def = frozen.freeze(stored).graph_def
    kinds = {node.op for node in graph_def.node}
    assert not any("ansformer" in kind for kind in kinds), kinds
    assert not kinds & {"VarHandleOp", "VariableV2", "ReadVariableOp"}
    assert "ansformer" not in str(graph_def.node)


def test_plain_operations_are_for_a_while(monkeypatch):
    monkeypatch.setattr(native, "_decided", True)
    monkeypatch.setattr(native, "_library", "a library")
    with native.plain_operations():
        assert native.library() is None
    assert native.library() == "a library"


def export_networks(path):
    return tflib.snapshot.read_snapshot(path)[0]


def test_a_saved_model_is_a_new_folder(model, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    argv = ["--model", model, "--format", "savedmodel", "--gpus", "none", "--output"]
    assert cli.run_script(export.run, [*argv, str(tmp_path)]) == 2
    assert "exists already; a SavedModel is a new folder" in capsys.readouterr().err
    assert cli.run_script(export.run, [*argv, str(tmp_path / "file")]) == 2


def test_onnx_in_its_own_runtime(model, ours, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    path = str(tmp_path / "exported.onnx")
    run("--model", model, "--format", "onnx", "--output", path)
    assert difference(capsys.readouterr().out) < 1e-5
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in session.get_inputs()}
    assert shapes == {"z": ["N", 1, 5], "labels": ["N", 2], "truncation_psi": []}
    (found,) = session.run(["images"], {**ours[0], "truncation_psi": np.asarray(0.6, "f")})
    np.testing.assert_allclose(found, ours[1], atol=1e-5)


VARIANTS = {
    "duplex": dict(
        transformer=True,
        components_num=3,
        use_pos=True,
        synthesis=dict(duplex=True, integration="mul", norm="layer"),
    ),
    "simplex": dict(
        transformer=True,
        components_num=3,
        num_heads=2,
        ltnt_gate=True,
        mapping=dict(mapping_resnet=True, mapping_ltnt2ltnt=True, mapping_num_layers=4),
        synthesis=dict(architecture="resnet", ltnt2ltnt=True, img2ltnt=True, img_gate=True),
    ),
    "kmeans": dict(
        transformer=True,
        components_num=3,
        synthesis=dict(kmeans=True, kmeans_iters=2, iterative=True, latent_stem=True),
    ),
    "sagan": dict(synthesis=dict(img2img=3, local_attention=2, norm="instance", tanh=True)),
    "kgan": dict(merge=True, components_num=3, synthesis=dict(merge_type="softmax")),
    "baseline": dict(c_dim=0, components_num=1),
    "published": dict(quirks=PUBLISHED_QUIRKS["head"], transformer=True, components_num=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_architecture_in_every_format(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = dict(VARIANTS[name])
    sizes = dict(channel_base=32, channel_max=12)
    options["synthesis"] = dict(sizes, **options.get("synthesis", {}))
    path = save_model("small.pkl", **options)
    for form in ("savedmodel", "safetensors", "onnx")[: 3 if MODERN else 2]:
        run("--model", path, "--format", form)
        assert difference(capsys.readouterr().out) < 1e-4, form


def test_onnx_without_its_packages(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "tf2onnx.convert", None)
    argv = ["--model", model, "--format", "onnx", "--gpus", "none", "--output", str(tmp_path / "x")]
    assert cli.run_script(export.run, argv) == 2
    assert capsys.readouterr().err.endswith("--format onnx needs tf2onnx: pip install tf2onnx\n")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert onnx_file.run_onnx("x", {}) is None


def test_safetensors_open_as_a_model(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("--model", model, "--format", "safetensors")
    assert difference(capsys.readouterr().out) == 0
    (found,), (stored,) = export_networks("small.safetensors"), export_networks(model)
    assert repr(found) == repr(stored)


@pytest.mark.parametrize("name, place", [(None, 2), ("G", 0), ("D", 1)])
def test_networks_by_name(name, place):
    networks = [SimpleNamespace(name=name) for name in ("G", "D", "Gs")]
    assert export.choose_network(networks, name) is networks[place]


def test_a_picture_that_differs_is_an_error(capsys):
    ours = np.zeros([1, 3, 2, 2])
    compare("file", "its image", ours + 1e-3, ours)
    for wrong in (0.5, np.nan):
        with pytest.raises(UserError, match="file: that is more than rounding explains"):
            compare("file", "its image", ours + wrong, ours)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--format", "onxx"], "did you mean 'onnx'?"),
        (["--format", "onnx", "--network", "gs"], "--network must be one of Gs, got 'gs'"),
        ([], "--format is missing, e.g. --format onnx; or give --card"),
        (["--format", "onnx", "--licence", "mit"], "--licence has no effect without --card"),
        (["--card", "results/exp-000"], "--card describes a run; leave out --model"),
        (["--format", "onnx", "--model", "missing.pkl"], "missing.pkl: no such file"),
    ],
)
def test_mistakes_get_one_line(model, argv, message, capsys):
    argv = ["--model", model, "--gpus", "none", *argv]
    assert cli.run_script(export.run, argv) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
