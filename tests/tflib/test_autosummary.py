"""Running averages in the graph and outside, and what reaches TensorBoard's files."""

import io
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib import tflib
from dnnlib.tflib.autosummary import SummaryWriter, collect_autosummaries, save_autosummaries


@pytest.fixture(autouse=True)
def nothing_left_over(session):
    collect_autosummaries()
    yield
    collect_autosummaries()


def test_plain_numbers_are_averaged_until_read():
    assert tflib.autosummary("a", 1) == 1
    tflib.autosummary("a", np.float32(4))
    tflib.autosummary("b", np.array([1.0, 2.0, 6.0]))
    assert collect_autosummaries() == {"a": 2.5, "b": 3.0}
    assert collect_autosummaries() == {}


def test_tensors_are_averaged_over_evaluations_and_places(session):
    x = tf.placeholder(tf.float32, [None])
    first = tflib.autosummary("Loss/G", x)
    second = tflib.autosummary("Loss/G", tf.reduce_sum(x))
    tflib.init_uninitialized_vars()
    assert session.run(first, {x: [1, 2]}).tolist() == [1, 2]
    session.run(first, {x: [9]})
    session.run(second, {x: [4, 4]})
    tflib.autosummary("Loss/G", 30)
    assert collect_autosummaries() == {"Loss/G": (1 + 2 + 9 + 8 + 30) / 5}
    assert collect_autosummaries() == {}
    session.run(first, {x: [5]})
    assert collect_autosummaries() == {"Loss/G": 5.0}


def test_averages_do_not_lose_small_values_behind_large_ones(session):
    x = tf.placeholder(tf.float32, [])
    y = tflib.autosummary("x", x)
    tflib.init_uninitialized_vars()
    for value in [2.0**26] + [1.0] * 7:  # float32 sums would drop every 1
        session.run(y, {x: value})
    assert collect_autosummaries() == {"x": (2.0**26 + 7) / 8}


def test_nan_shows(session):
    x = tf.placeholder(tf.float32, [])
    y = tflib.autosummary("x", x)
    tflib.init_uninitialized_vars()
    session.run(y, {x: 1.0})
    session.run(y, {x: float("nan")})
    assert math.isnan(collect_autosummaries()["x"])
    session.run(y, {x: 1.0})
    assert collect_autosummaries() == {"x": 1.0}


def test_inside_a_condition(session):
    flag = tf.placeholder(tf.bool, [])
    y = tf.cond(flag, lambda: tflib.autosummary("taken", tf.constant(3.0)), lambda: 0.0)
    tflib.init_uninitialized_vars()
    session.run(y, {flag: False})
    assert collect_autosummaries() == {}
    session.run(y, {flag: True})
    assert collect_autosummaries() == {"taken": 3.0}


def test_event_file(session, tmp_path):
    writer = SummaryWriter(tmp_path / "events")
    tflib.autosummary("Loss/G", 0.5)
    assert save_autosummaries(writer, 8) == {"Loss/G": 0.5}
    assert save_autosummaries(None, 9) == {}
    writer.close()
    (path,) = (tmp_path / "events").iterdir()
    events = [e for e in tf.train.summary_iterator(str(path)) if e.summary.value]
    assert [(e.step, e.summary.value[0].tag) for e in events] == [(8, "Loss/G")]
    assert events[0].summary.value[0].simple_value == 0.5


def test_pictures_in_the_event_file(tmp_path):
    writer = SummaryWriter(tmp_path)
    writer.write_image("fakes", np.full([100, 2048, 3], (250, 10, 10), np.uint8), 8)
    writer.close()
    (path,) = tmp_path.iterdir()
    (event,) = [e for e in tf.train.summary_iterator(str(path)) if e.summary.value]
    image = event.summary.value[0].image
    assert (event.step, image.width, image.height) == (8, 1024, 50)
    picture = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert picture.shape == (50, 1024, 3)
    assert abs(picture.mean(axis=(0, 1)) - [250, 10, 10]).max() < 4
