"""Feature networks in pickles with source: run if trusted, and only then."""

import pickle

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics import registry, trusted
from metrics.evaluate import Evaluator
from metrics.features import Features

VGG = """
import numpy as np
import tensorflow as tf
from dnnlib.tflib import is_tf_expression

def vgg(images, scale=2.0, is_template_graph=False, components=None, **_kwargs):
    images.set_shape([None, 3, None, None])
    x = tf.reduce_mean(images, axis=[2, 3]) * scale
    with tf.variable_scope("fc"):
        w = tf.get_variable("weight", shape=[3, 4], initializer=tf.initializers.zeros())
    return tf.identity(tf.matmul(x, w), name="features_out")

def lpips(a, b, is_template_graph=False, **_kwargs):
    w = tf.get_variable("weight", shape=[3], initializer=tf.initializers.zeros())
    return tf.reduce_sum(tf.square(a - b) * tf.reshape(w, [1, 3, 1, 1]), axis=[1, 2, 3])

def classifier(images_in, labels_in, label_size=0, **_kwargs):
    labels_in.set_shape([None, label_size])
    w = tf.get_variable("weight", shape=[3, 1], initializer=tf.initializers.zeros())
    return tf.matmul(tf.reduce_mean(images_in, axis=[2, 3]), w)

def broken(images, **_kwargs):
    raise RuntimeError("needs CUDA 9")
"""


def write_pickle(path, func, variables, source=VGG, **static_kwargs):
    """As StyleGAN2 writes a single network; the class is looked up under its published name."""
    state = dict(
        version=4, name=func, static_kwargs=static_kwargs, components={}, build_module_src=source,
        build_func_name=func, variables=list(variables.items()),
    )  # fmt: skip

    class Network:
        def __reduce__(self):
            raise AssertionError

    class Pickler(pickle._Pickler):
        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, Network):
                self.write(b"cdnnlib.tflib.network\nNetwork\n)\x81")
                pickle._Pickler.save(self, state)
                self.write(b"b")
            else:
                pickle._Pickler.save(self, obj)

    with path.open("wb") as file:
        Pickler(file, protocol=3).dump(Network())
    return path


WEIGHT = np.arange(12, dtype="f4").reshape(3, 4)


@pytest.fixture
def vgg_file(tmp_path):
    return write_pickle(tmp_path / "vgg16.pkl", "vgg", {"fc/weight": WEIGHT}, scale=3.0)


def images(num=4, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [num, 3, 8, 8]).astype(np.uint8)


def test_features_of_a_trusted_pickle(vgg_file, capsys):
    network = trusted.load_trusted(vgg_file, "manifold")
    assert f"{vgg_file}: runs the code inside, as --trust-snapshot says" in capsys.readouterr().out
    found = network.extract(images(), ["manifold"])["manifold"]
    expected = images().astype("f8").mean(axis=(2, 3)) * 3.0 @ WEIGHT
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert network.name == "vgg16.pkl" and network.heads == {"manifold": 4}


def test_pr_takes_vgg_where_it_is_trusted(vgg_file):
    features = Features(trusted_files=[vgg_file])
    assert Evaluator(registry.find("pr"), features).check() == ["pr50k3"]
    (protocol,) = registry.find("pr")
    assert features.describe(protocol).startswith("vgg16.pkl:")


def test_distance_of_a_trusted_pickle(tmp_path):
    weight = np.array([1.0, 2.0, 3.0], "f4")
    path = write_pickle(tmp_path / "vgg16_zhang_perceptual.pkl", "lpips", {"weight": weight})
    features = Features(trusted_files=[path])
    a, b = np.random.RandomState(0).uniform(-1, 1, [2, 5, 3, 8, 8]).astype("f4")
    expected = (((a - b).astype("f8") * 127.5) ** 2 * weight[:, None, None]).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(features.distance(a, b, "standard"), expected, rtol=1e-4)
    assert Evaluator(registry.find("ppl"), features).check() == ["ppl2_wend"]


def test_large_images_are_averaged_down_first(tmp_path):
    path = write_pickle(
        tmp_path / "vgg16_zhang_perceptual.pkl", "lpips", {"weight": np.ones(3, "f4")}
    )
    features = Features(trusted_files=[path])
    checkerboard = np.indices([512, 512]).sum(axis=0) % 2 * 2.0 - 1
    a = np.zeros([1, 3, 512, 512]) + checkerboard
    assert features.distance(a, np.zeros_like(a), "standard") == pytest.approx(0, abs=1e-6)
    half = np.ones([1, 3, 384, 512])  # 512 wide: to 192x256
    assert features.distance(half, half * 0, "standard") == pytest.approx(
        127.5**2 * 3 * 192 * 256, rel=1e-4
    )


def test_classifiers_in_a_folder(tmp_path):
    weights = np.random.RandomState(1).randn(3, 40).astype("f4")
    for i in range(40):
        file = tmp_path / f"celebahq-classifier-{i:02d}-attribute.pkl"
        write_pickle(file, "classifier", {"weight": weights[:, [i]]}, label_size=0)
    (tmp_path / "something-else.pkl").write_bytes(b"not looked at")
    features = Features(trusted_files=[tmp_path])
    a = np.random.RandomState(0).uniform(-1, 1, [5, 3, 8, 8]).astype("f4")
    np.testing.assert_allclose(features.classify(a), a.mean(axis=(2, 3)) @ weights, atol=1e-5)
    assert Evaluator(registry.find("ls"), features).check() == ["ls"]
    features.close()


@pytest.mark.parametrize("numbers", [range(2), range(41), [*range(39), 38]])
def test_separability_is_that_of_forty_attributes(tmp_path, numbers):
    for place, number in enumerate(numbers):
        (tmp_path / f"celebahq-classifier-{number:02d}-{place}.pkl").write_bytes(b"not opened")
    features, found = Features(trusted_files=[tmp_path]), len(set(numbers))
    message = f"40 attributes, but .* gives {len(numbers)} classifiers of {found}; name one folder"
    with pytest.raises(UserError, match=message):
        Evaluator(registry.find("ls"), features).check()


def test_nothing_runs_that_is_not_trusted(tmp_path, vgg_file):
    mark = tmp_path / "ran"
    source = f"open({str(mark)!r}, 'w')\n" + VGG
    write_pickle(vgg_file, "vgg", {"fc/weight": WEIGHT}, source=source)
    features = Features(inception_file=vgg_file)
    with pytest.raises(UserError, match="is not the Inception graph"):
        features.find("pool")
    assert not mark.exists()
    Features(trusted_files=[vgg_file]).find("manifold")
    assert mark.exists()


@pytest.mark.parametrize("name", ["network.pkl", "vgg16.txt"])
def test_files_of_other_names_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"must be one of inception_v3_features\.pkl"):
        Features(trusted_files=[tmp_path / name])
    with pytest.raises(UserError, match="no such file"):
        Features(trusted_files=[tmp_path / "vgg16.pkl"])


def test_trust_does_not_extend_to_other_pickles(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    path = tmp_path / "vgg16.pkl"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="is no readable network"):
        Features(trusted_files=[path]).find("manifold")
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="no published feature network"):
        Features(trusted_files=[path]).find("manifold")


def test_code_that_does_not_run_here_is_one_line(tmp_path):
    path = write_pickle(tmp_path / "vgg16.pkl", "broken", {})
    with pytest.raises(UserError, match=r"does not run here \(RuntimeError: needs CUDA 9\)"):
        Features(trusted_files=[path]).find("manifold")


@pytest.mark.parametrize("variables", [{}, {"fc/weight": WEIGHT, "fc/bias": WEIGHT}])
def test_variables_have_to_fit_the_code(tmp_path, variables):
    path = write_pickle(tmp_path / "vgg16.pkl", "vgg", variables)
    with pytest.raises(UserError, match="variables do not fit its code: fc/"):
        Features(trusted_files=[path]).find("manifold")
