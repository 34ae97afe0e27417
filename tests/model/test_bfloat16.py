"""Maps in bfloat16 between the layers: close to float32, and float32 where that matters."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from custom_ops import chosen

from dnnlib.errors import UserError
from dnnlib.tflib import StepRandom, native, precision
from dnnlib.tflib.compat import TF_VERSION
from training.model.discriminator import discriminator
from training.model.synthesis import synthesis

N, K, SIZE = 3, 2, 16  # of 16x16: 4x4 stays float32, 8x8 and 16x16 do not with bf16_res=2
SHARED = dict(resolution=SIZE, channel_base=48, channel_max=8, components_num=K, conv_clamp=256.0)
ATTENTION = dict(SHARED, transformer=True, use_pos=True)

G_CASES = {
    "stylegan2": dict(SHARED, components_num=1, architecture="resnet"),
    "kmeans": dict(ATTENTION, kmeans=True, norm="layer", integration="both", num_heads=2),
    "duplex": dict(ATTENTION, kmeans=True, duplex=True, norm="instance", integration="mul"),
    "all": dict(ATTENTION, ltnt2ltnt=True, img2ltnt=True, img2img=3, img_gate=True, end_res=4),
    "literal": dict(ATTENTION, norm="layer", attention_form="literal"),
    "kgan": dict(SHARED, merge=True, merge_layer=3, merge_type="softmax"),
    "plain": dict(SHARED, components_num=1, style=False, tanh=True),
}
D_CASES = {
    "resnet": SHARED,
    "skip": dict(SHARED, architecture="skip"),
    "aggregators": dict(ATTENTION, a_dim=6, ltnt2img=True, local_attention=4),
}
# Of the norm. A slope of the leaky ReLU, and a probability, change with a rounded map.
TOLERANCE = dict(value=0.03, dx=0.2, variables=0.25, second=0.6)
AGGREGATED = dict(TOLERANCE, value=0.1)  # scores of what latents gather from the maps

pytestmark = pytest.mark.skipif(TF_VERSION < (2, 0), reason="TensorFlow 1.15 has no such maps")


@pytest.fixture(autouse=True)
def back_to_float32():
    yield
    precision.set_precision("float32")


def generate(options):
    """Images, and the latents that they are made from."""
    num = options["components_num"] + bool(options.get("transformer"))
    ws = tf.constant(np.random.RandomState(3).randn(N, num, 7, 6), tf.float32)
    given = dict(ltnt_pos=tf.ones([K, 6])) if options.get("use_pos") else {}
    rng = StepRandom(0, tf.constant(100, tf.int64), N)
    with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        return synthesis(ws, rng=rng, w_dim=6, **given, **options)[0], ws


def judge(options):
    """Scores, and the images that they are of."""
    images = tf.constant(np.random.RandomState(3).randn(N, 3, SIZE, SIZE), tf.float32)
    with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        return discriminator(images, tf.zeros([N, 0]), **options), images


def results(choice, build, options):
    """Value, gradient by the input, by the variables, and of the squared gradient by these."""
    precision.set_precision(choice, 2 if choice == "bfloat16" else None)
    first = len(tf.get_default_graph().get_operations())
    y, x = build(options)
    operations = tf.get_default_graph().get_operations()[first:]
    weights = tf.constant(np.random.RandomState(5).randn(*y.shape.as_list()), tf.float32)
    total, variables = tf.reduce_sum(y * weights), tf.trainable_variables()
    dx = tf.gradients(total, x)[0]
    by_variables = tf.gradients(total, variables)
    found = dict(value=[y], variables=by_variables)
    if dx is not None:  # without style the latents do nothing
        second = tf.gradients(tf.reduce_sum(tf.square(dx)), variables)
        found.update(dx=[dx], second=second)
    found = {name: [g for g in parts if g is not None] for name, parts in found.items()}
    assert all(part.dtype == tf.float32 for parts in found.values() for part in parts)
    return found, operations


CASES = [("G", name) for name in G_CASES] + [("D", name) for name in D_CASES]


@pytest.mark.slow
@pytest.mark.parametrize(("side", "name"), CASES)
def test_values_and_derivatives_are_close(session, side, name):
    build, options = (generate, G_CASES[name]) if side == "G" else (judge, D_CASES[name])
    exact, _ = results("float32", build, options)
    rounded, operations = results("bfloat16", build, options)
    rng = np.random.RandomState(1)
    for variable in tf.global_variables():
        scale = 0.3 if "bias" in variable.name or "strength" in variable.name else 1.0
        variable.load(scale * np.float32(rng.standard_normal(variable.shape.as_list())), session)
    exact, rounded = session.run([exact, rounded])
    for what, parts in exact.items():
        one, other = (np.concatenate([p.ravel() for p in of]) for of in (parts, rounded[what]))
        error = np.linalg.norm(one - other) / np.linalg.norm(one)
        print(f"{side} {name} {what}: {error:.4f}")
        assert 1e-5 < error < (AGGREGATED if name == "aggregators" else TOLERANCE)[what], what
    check_types(operations)


@pytest.mark.slow
def test_on_a_gpu_no_cast_stands_around_native_operations(session, monkeypatch):
    """In the graph: maps go from operation to operation as they are, from 8x8 on."""
    with chosen("native"):
        monkeypatch.setattr(native, "has_cuda", lambda: True)
        _, operations = results("bfloat16", generate, dict(G_CASES["kmeans"], num_heads=1))
    seen = set()
    for op in operations:
        if op.type.startswith("Gansformer") and op.outputs[0].dtype == tf.bfloat16:
            seen.add(op.type)
            casts = [x.op for x in op.inputs if x.op.type == "Cast"]
            assert not casts or "/8x8/Conv0_up/" in op.name, (op.name, casts)
    assert seen == {"GansformerUpfirdn", "GansformerBiasAct", "GansformerAttend"}


def check_types(operations):
    """Convolutions of 8x8 and 16x16 are bfloat16; sums, softmax, and 4x4 are float32."""
    for op in operations:
        kind = op.outputs[0].dtype if op.outputs else None
        if op.type == "Conv2D" and "/ToRGB/" not in op.name:
            assert op.outputs[0].shape.as_list()[1] < 8 or kind == tf.bfloat16, op.name
        if op.type in ("Softmax", "Sum", "Mean", "Rsqrt", "DepthwiseConv2dNative"):
            assert kind != tf.bfloat16, op.name


def test_number_of_resolutions():
    x = tf.zeros([1, 4, 4, 2])
    precision.set_precision("bfloat16")
    types = [precision.as_map(x, r, 8).dtype for r in range(2, 9)]
    assert types == [tf.float32] * 3 + [tf.bfloat16] * 4
    precision.set_precision("bfloat16", 9)
    types = [precision.as_map(x, r, 4).dtype for r in range(2, 5)]
    assert types == [tf.float32, tf.bfloat16, tf.bfloat16]
    assert precision.as_map(tf.cast(x, tf.float64), 4, 4).dtype == tf.float64
    precision.set_precision("bfloat16", 0)
    assert precision.as_map(x, 8, 8) is x


def test_tensorflow_1_is_refused(monkeypatch):
    monkeypatch.setattr(precision, "TF_VERSION", (1, 15))
    with pytest.raises(UserError, match="--bf16-res=4: TensorFlow"):
        precision.set_precision("bfloat16", 4)
    precision.set_precision("bfloat16")
    assert precision.as_map(tf.zeros([1, 4, 4, 2]), 8, 8).dtype == tf.float32
