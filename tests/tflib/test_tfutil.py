"""Sessions, variables, image conversion, the sum over devices."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.util import tf_inspect

from dnnlib import tflib
from dnnlib.tflib import compat


def images(seed=0, size=4):
    return np.random.RandomState(seed).uniform(-1.2, 1.2, [2, 3, size, size]).astype(np.float32)


@pytest.mark.parametrize("drange", [(-1, 1), (0, 1), [-2, 6]])
@pytest.mark.parametrize("nchw_to_nhwc", [False, True])
def test_images_to_uint8(session, drange, nchw_to_nhwc):
    x = (images() + 1) / 2 * (drange[1] - drange[0]) + drange[0]
    expected = (x - drange[0]) / (drange[1] - drange[0]) * 255 + 0.5
    expected = np.clip(expected, 0, 255).astype(np.uint8)  # truncates
    if nchw_to_nhwc:
        expected = expected.transpose(0, 2, 3, 1)
    options = dict(drange=drange, nchw_to_nhwc=nchw_to_nhwc)
    got = session.run(tflib.convert_images_to_uint8(tf.constant(x), **options))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


def test_exact_values_of_the_default_range(session):
    """x * 127.5 + 128, saturated and truncated, as StyleGAN2's scripts have it."""
    x = np.array([-9, -1, -0.9999, -1 / 255, 0, 0.5, 1 - 1 / 255, 1, 9], np.float32)
    got = session.run(tflib.convert_images_to_uint8(tf.constant(x.reshape(1, 1, 3, 3))))
    assert got.ravel().tolist() == [0, 0, 0, 127, 128, 191, 255, 255, 255]


def test_shrink_averages_and_no_cast_keeps_the_range(session):
    x = images(size=6)
    got = session.run(tflib.convert_images_to_uint8(tf.constant(x), shrink=3, uint8_cast=False))
    mean = x.reshape(2, 3, 2, 3, 2, 3).mean(axis=(3, 5))
    np.testing.assert_allclose(got, mean * 127.5 + 128, rtol=1e-5, atol=1e-3)


def test_images_from_uint8_and_back(session):
    x = np.random.RandomState(1).randint(0, 256, [2, 5, 7, 3], np.uint8)
    floats = tflib.convert_images_from_uint8(tf.constant(x), nhwc_to_nchw=True)
    assert floats.shape.as_list() == [2, 3, 5, 7]
    values, back = session.run([floats, tflib.convert_images_to_uint8(floats, nchw_to_nhwc=True)])
    np.testing.assert_allclose(values, x.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)
    assert np.array_equal(back, x)


def test_creating_an_operation_inspects_no_signature(session, monkeypatch):
    """Which TensorFlow 1.15 does by itself, for an argument without effect."""
    monkeypatch.delattr(tf_inspect, "getcallargs")
    assert session.run(tf.reshape(tf.constant(3), [1])).tolist() == [3]


def test_initializes_only_what_has_no_value(session):
    a, b = tf.get_variable("a", [2]), tf.get_variable("b", [2], initializer=tf.ones_initializer())
    tflib.init_uninitialized_vars([a])
    value = session.run(a)
    tflib.init_uninitialized_vars()
    assert np.array_equal(session.run(a), value)
    assert session.run(b).tolist() == [1, 1]
    before = len(session.graph.get_operations())
    tflib.init_uninitialized_vars()
    assert len(session.graph.get_operations()) == before


def test_set_vars(session):
    a = tf.get_variable("a", [2, 3])
    b = tf.get_variable("b", [], tf.int64, initializer=tf.zeros_initializer())
    tflib.set_vars({a: [[1, 2, 3], [4, 5, 6]], b: 1 << 40})
    assert session.run(a).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert session.run(b) == 1 << 40
    with pytest.raises(ValueError, match=r"a:0 has shape \[2, 3\], the value \[3\]"):
        tflib.set_vars({a: [1, 2, 3]})
    assert session.run(a)[0, 0] == 1


def test_small_helpers(session):
    assert session.run(tflib.lerp(tf.constant(2.0), 4.0, 0.25)) == 2.5
    assert session.run(tflib.lerp_clip(tf.constant(2.0), 4.0, 7.0)) == 4
    assert session.run(tflib.flatten(tf.ones([2, 3]))).shape == (6,)
    assert tflib.is_tf_expression(tf.constant(1))
    assert tflib.is_tf_expression(tf.get_variable("a_variable", [2], use_resource=True))
    assert not tflib.is_tf_expression(np.ones(2))


def test_without_session(monkeypatch):
    monkeypatch.setattr(tf, "get_default_session", lambda: None)  # an earlier test may have one
    with tf.Graph().as_default():
        with pytest.raises(RuntimeError, match=r"call dnnlib\.tflib\.init_tf"):
            tflib.run(tf.constant(1))
        with pytest.raises(RuntimeError, match=r"call dnnlib\.tflib\.init_tf"):
            tflib.assert_tf_initialized()


def test_sum_over_two_devices(session):
    tensors = []
    for device in range(2):
        with tf.device(f"/cpu:{device}"):
            tensors.append(tf.constant([1.0 + device, 10.0]) + 0)
    sums = compat.all_sum(tensors)
    assert [total.device for total in sums] == [tensor.device for tensor in tensors]
    for value in session.run(sums):
        assert value.tolist() == [3, 20]
    assert compat.all_sum(tensors[:1]) == tensors[:1]


def run_python(root, code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=str(root), capture_output=True, check=True)


def test_init_tf_in_a_process_of_its_own(root):
    """Seeds give the same numbers, settings reach the session, and TensorFlow is quiet."""
    code = (
        "import os\n"
        "from dnnlib import tflib\n"
        "import numpy as np, tensorflow.compat.v1 as tf\n"
        "tflib.init_tf({'rnd.np_random_seed': 7, 'env.SOMETHING': 5,\n"
        "               'gpu_options.per_process_gpu_memory_fraction': 0.25})\n"
        "tflib.init_tf()\n"
        "session = tf.get_default_session()\n"
        "assert session is tf.get_default_session()\n"
        "assert os.environ['SOMETHING'] == '5'\n"
        "config = session._config\n"
        "assert config.gpu_options.per_process_gpu_memory_fraction == 0.25\n"
        "assert config.gpu_options.allow_growth and config.allow_soft_placement\n"
        "w = tf.get_variable('w', [2])\n"
        "tflib.init_uninitialized_vars()\n"
        "assert 'Resource' in type(w).__name__ and not tf.executing_eagerly()\n"
        "print(tflib.run(w), np.random.randn())\n"
    )
    results = [run_python(root, code) for _ in range(2)]
    assert results[0].stdout == results[1].stdout
    assert results[0].stderr.decode() == ""


def test_a_process_with_several_sessions_ends_quietly(root):
    code = (
        "import threading\n"
        "from dnnlib import tflib\n"
        "import tensorflow.compat.v1 as tf\n"
        "def begin():\n"
        "    with tf.Graph().as_default():\n"
        "        tflib.init_tf()\n"
        "tflib.init_tf()\n"
        "begin()\n"
        "thread = threading.Thread(target=begin)\n"
        "thread.start()\n"
        "thread.join()\n"
        "begin()\n"
    )
    assert run_python(root, code).stderr.decode() == ""


def test_importing_dnnlib_does_not_import_tensorflow(root):
    code = (
        "import sys, dnnlib, dnnlib.util, dnnlib.cli, dnnlib.fetch, dnnlib.submission.run_dir\n"
        "assert not any(name.startswith('tensorflow') for name in sys.modules)\n"
        "import dnnlib.tflib\n"
        "assert not any(name.split('.')[0] == 'training' for name in sys.modules)\n"
    )
    run_python(root, code)


def test_callable_is_a_run(session):
    image, number = tf.placeholder(tf.uint8, [2, 3]), tf.placeholder_with_default(1.5, [])
    count = tf.get_variable("count", initializer=0.0)
    session.run(count.initializer)
    update = count.assign_add(number)
    total = tf.reduce_sum(tf.cast(image, tf.float32)) * number
    call = tflib.tfutil.make_callable(session, [image, number], [total, number + 1], [update.op])
    images = np.arange(24).reshape([4, 6])
    part = images[::2, ::2]  # neither uint8 nor packed
    assert call([part, 2]) == [2 * part.sum(), 3]
    assert call([images[1::2, 1::2].astype(np.uint8), 0.5])[1] == 1.5
    assert session.run(count) == 2.5
