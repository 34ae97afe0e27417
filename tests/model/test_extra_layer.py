import numpy as np
import pytest

from dnnlib.tflib.compat import tf
from training.model import modulation

N, H, W, C, D, R = 2, 4, 6, 5, 7, 3


@pytest.mark.parametrize("modulate", [True, False])
def test_two_convolutions_in_one_are_the_two_in_turn(session, modulate):
    rng = np.random.RandomState(0)
    x, y, y_rgb, out = (
        tf.constant(rng.randn(*shape), tf.float32)
        for shape in ([N, H, W, C], [N, D], [N, D], [N, H, W, R])
    )
    with tf.variable_scope("net"):
        got = modulation.extra_rgb_layer(x, y, y_rgb, R, modulate)
    with tf.variable_scope("net", reuse=True):
        with tf.variable_scope("extraLayer"):
            between, scale = modulation.modulated_conv2d_layer(x, y, C, 3, modulate=modulate)
        if modulate:
            between *= scale[:, tf.newaxis, tf.newaxis, :]
        want = modulation.modulated_rgb_layer(between, y_rgb, R, modulate)
    session.run(tf.global_variables_initializer())
    np.testing.assert_allclose(*session.run([got, want]), atol=1e-5)
    sources = [x, y, y_rgb, *tf.trainable_variables()]
    for source in sources:
        grads = [tf.gradients(tf.reduce_sum(image * out), source)[0] for image in (got, want)]
        if grads[1] is None:  # latents and their layers, without modulation
            assert grads[0] is None and not modulate
        else:
            np.testing.assert_allclose(*session.run(grads), atol=1e-4)
