"""The folded form of attention against the literal one, and what both have to do."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib.tflib.random import FreeRandom, StepRandom
from training.model.attention import literal
from training.model.attention_weights import AttentionSpec, attention_weights, kind_of
from training.model.dropout import NO_DROPOUT, Dropout
from training.model.folded import fold_keys, fold_queries
from training.model.image_attention import (
    FORMS,
    image_from_image,
    image_from_latents,
    latents_from_image,
)
from training.model.layers import NO_TAIL, Tail
from training.model.quirks import PUBLISHED_QUIRKS, Quirks
from training.model.shapes import ShapeError

N, F, T, C, I, D, XI, YI = 2, 16, 3, 5, 7, 8, 6, 9  # all different: a swapped axis cannot hide

# What one attention can be: arguments of Case.
PUBLISHED = Quirks.named(PUBLISHED_QUIRKS["head"])
CASES = {
    "simplex": {},
    "simplex_no_pos": dict(pos=False),
    "simplex_heads": dict(num_heads=4),
    "simplex_gates": dict(num_heads=2, x_gate=True, y_gate=True),
    "simplex_gates_no_pos": dict(x_gate=True, y_gate=True, pos=False),
    "simplex_mask": dict(mask=True, num_heads=2),
    "simplex_dropout": dict(dropout=0.4, num_heads=2, x_gate=True),
    "simplex_published_iterations": dict(iterations=3, quirks=PUBLISHED, mask=True),
    "kmeans": dict(kind="kmeans"),
    "kmeans_no_pos": dict(kind="kmeans", pos=False),
    "kmeans_heads": dict(kind="kmeans", num_heads=2),
    "kmeans_heads_published": dict(kind="kmeans", num_heads=2, quirks=PUBLISHED),
    "kmeans_iterations": dict(kind="kmeans", iterations=3, num_heads=2, mask=True),
    "kmeans_gates_mask": dict(kind="kmeans", x_gate=True, y_gate=True, mask=True),
    "kmeans_published": dict(kind="kmeans", iterations=2, quirks=PUBLISHED),
    "iterative_first": dict(kind="iterative", num_heads=2),
    "iterative_first_published": dict(kind="iterative", num_heads=2, quirks=PUBLISHED),
    "iterative_few_positions": dict(kind="iterative", small=True),
    "iterative_carried": dict(kind="iterative", carried=4, iterations=2),
    "iterative_carried_same_size": dict(kind="iterative", carried=16, num_heads=2),
    "iterative_carried_published": dict(kind="iterative", carried=4, num_heads=2, quirks=PUBLISHED),
    "duplex": dict(kind="duplex"),
    "duplex_no_pos": dict(kind="duplex", pos=False),
    "duplex_heads_mask": dict(kind="duplex", num_heads=2, mask=True, iterations=2),
    "duplex_gates": dict(kind="duplex", x_gate=True),
}
for _integration in ("add", "mul", "both"):
    for _norm in (None, "layer", "batch", "instance"):
        _options = dict(integration=_integration, norm=_norm)
        CASES[f"simplex_{_integration}_{_norm}"] = dict(num_heads=2, **_options)
        CASES[f"kmeans_{_integration}_{_norm}_gates"] = dict(kind="kmeans", y_gate=True, **_options)


class Case:
    """One attention on random inputs.

    Args:
      pos: positional encodings on both sides.
      small: fewer queries than keys.
      carried: number of queries in carried assignments.
      mask: hide a latent of each sample.
      dropout: rate.
      **spec: of AttentionSpec.
    """

    def __init__(self, pos=True, small=False, carried=0, mask=False, dropout=0.0, **spec):
        rng = np.random.RandomState(0)
        size, num = (4, 6) if small else (F, T)

        def constant(*shape):
            return tf.constant(rng.randn(*shape), tf.float32)

        self.spec = AttentionSpec(D, **spec)
        self.x, self.y = constant(N, size, C), constant(N, num, I)
        self.x_pos, self.y_pos = (constant(size, XI), constant(num, YI)) if pos else (None, None)
        self.mask = tf.constant([[1, 1, 0], [0, 1, 1]], tf.float32) if mask else None
        self.carried = None
        if carried:
            share = rng.rand(N, self.spec.num_heads, num, carried)
            self.carried = tf.constant(share / share.sum(axis=3, keepdims=True), tf.float32)
        self.dropout = Dropout(dropout, StepRandom(0, tf.constant(7, tf.int64), N), "here")
        with tf.variable_scope("att"):
            self.w = attention_weights(
                self.x, self.y, self.spec, self.x_pos, self.y_pos, bool(carried)
            )
        self.variables = {v.op.name.replace("att/", ""): v for v in tf.global_variables()}

    def outputs(self, form=fold_queries, tail=NO_TAIL):
        """x, probabilities [N, F, M, T] and y after the attention."""
        attended = form(self.x, self.y, self.w, self.mask, self.dropout, self.carried, tail)
        return attended.x, attended.probs(), attended.y

    def inputs(self):
        """Everything that a gradient can be taken by."""
        found = dict(self.variables, x=self.x, y=self.y)
        if self.x_pos is not None:
            found.update(x_pos=self.x_pos, y_pos=self.y_pos)
        return found


def randomise(session, seed=1):
    """Random values for all variables: nothing is zero, so no term can hide."""
    rng = np.random.RandomState(seed)
    for variable in tf.global_variables():
        shape = variable.shape.as_list()
        value = rng.randn(*shape) + (1.0 if "st_weights" in variable.name else 0.0)
        variable.load(value.astype(np.float32), session)


def probe(outputs):
    """A number that depends on every entry of the outputs."""
    rng = np.random.RandomState(7)
    return tf.add_n([tf.reduce_sum(t * rng.randn(*t.shape.as_list())) for t in outputs])


QUICK = (
    "simplex",
    "simplex_gates_no_pos",
    "simplex_dropout",
    "simplex_published_iterations",
    "simplex_both_layer",
    "kmeans_heads",
    "kmeans_heads_published",
    "kmeans_gates_mask",
    "kmeans_both_instance_gates",
    "iterative_first",
    "iterative_few_positions",
    "iterative_carried_published",
    "duplex_heads_mask",
    "duplex_gates",
)

# Inputs moved by their rounding move gradients through three iterations by up to 1.6e-5.
ACCURACY = {"kmeans_iterations": 3e-5}


def _parameters():
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[] if name in QUICK else [slow]) for name in CASES]


@pytest.mark.parametrize("heads", [1, 2])
def test_learned_centroids_are_repeated_for_products(session, heads):
    """oneDNN corrupts memory in a product of [N, 1, F, S] with [1, 1, T, S] on AVX-512."""
    Case(kind="kmeans", num_heads=heads).outputs(literal)
    found = [op for op in session.graph.get_operations() if op.type.startswith("BatchMatMul")]
    sides = [[side.shape.as_list()[:-2] for side in op.inputs] for op in found]
    assert sides and all(left == right == [N, heads] for left, right in sides)


@pytest.mark.parametrize("name", _parameters())
def test_folded_equals_literal_in_values_and_gradients(session, name):
    case = Case(**CASES[name])
    outputs, inputs = [case.outputs(form) for form in (fold_queries, literal)], case.inputs()
    gradients = [dict(zip(inputs, tf.gradients(probe(out), [*inputs.values()]))) for out in outputs]
    randomise(session)
    fetched = [{k: g for k, g in grads.items() if g is not None} for grads in gradients]
    (got, want), grads = session.run([outputs, fetched])
    accuracy = ACCURACY.get(name, 1e-5)
    for folded, expected in zip(got, want):
        np.testing.assert_allclose(folded, expected, atol=accuracy * (1 + np.abs(expected).max()))
    for key in set(grads[0]) | set(grads[1]):
        folded, expected = (np.asarray(_dense(g.get(key, 0.0))) for g in grads)
        scale = accuracy * (1 + np.abs(expected).max())
        np.testing.assert_allclose(folded, expected, atol=scale, err_msg=key)

    sums = got[1].sum(axis=3)
    if case.spec.x_gate or case.spec.y_gate or case.dropout.rate:
        assert np.abs(sums - 1).max() > 0.01
    else:
        np.testing.assert_allclose(sums, 1, atol=1e-5)
    if _is_permutable(name):
        _check_order_of_latents(session, case)


def _is_permutable(name):
    options = CASES[name]
    starts_somewhere = "iterative" in name and not options.get("carried")
    return not (starts_somewhere or options.get("mask") or options.get("dropout"))


def _check_order_of_latents(session, case):
    """Latents, with their encodings and centroids, in another order: the same x, maps permuted."""
    order = [2, 0, 1]
    outputs = case.outputs()
    before = session.run(outputs)
    feed = {case.y: session.run(case.y)[:, order]}
    if case.y_pos is not None:
        feed[case.y_pos] = session.run(case.y_pos)[order]
    if case.carried is not None:
        feed[case.carried] = session.run(case.carried)[:, :, order]
    centroids = case.variables.get("toasgn_init")
    if centroids is not None:
        centroids.load(session.run(centroids)[:, :, order], session)
    x, probs, y = session.run(outputs, feed)
    np.testing.assert_allclose(x, before[0], atol=2e-5)
    np.testing.assert_allclose(probs, before[1][..., order], atol=1e-5)
    np.testing.assert_allclose(y, before[2][:, order], atol=1e-5)


def _dense(gradient):
    """Gradient of a gather as an array."""
    if hasattr(gradient, "indices"):
        full = np.zeros(gradient.dense_shape, np.float32)
        np.add.at(full, gradient.indices, gradient.values)
        return full
    return gradient


@pytest.mark.parametrize("kind", ["simplex", "kmeans", "iterative", "duplex"])
@pytest.mark.parametrize("iterations", [1, 2])
def test_hidden_latent_gets_no_weight_and_no_gradient(session, kind, iterations):
    if kind == "simplex" and iterations > 1:
        pytest.skip("simplex attention has no iterations")
    options = dict(kind=kind, iterations=iterations, num_heads=2, y_gate=True)
    case = Case(mask=True, carried=4 if kind == "iterative" else 0, **options)
    x, probs, _ = case.outputs()
    gradient = tf.gradients(probe([x]), case.y)[0]
    randomise(session)
    probs, gradient = session.run([probs, gradient])
    assert probs[0, ..., 2].max() == 0 and probs[1, ..., 0].max() == 0
    assert np.abs(gradient[0, 2]).max() == 0 and np.abs(gradient[1, 0]).max() == 0
    assert np.abs(gradient[0, 0]).max() > 1e-3 and np.abs(gradient[1, 2]).max() > 1e-3


@pytest.mark.parametrize("kind", ["simplex", "kmeans", "duplex"])
@pytest.mark.parametrize("form", [fold_queries, literal])
def test_only_the_literal_form_projects_what_is_as_wide_as_the_image(session, kind, form):
    """The folded graph has no [N, F, D] tensor: linear cost is not an accident of small sizes."""
    case = Case(kind=kind, num_heads=2, x_gate=True, y_gate=True)
    case.outputs(form)
    shapes = [
        tensor.shape.as_list()
        for op in tf.get_default_graph().get_operations()
        for tensor in op.outputs
        if tensor.shape.ndims is not None
    ]
    assert ([N, F, D] in shapes or [N * F, D] in shapes) == (form is literal)


@pytest.mark.parametrize("form", [fold_queries, literal])
@pytest.mark.parametrize("integration", ["add", "mul", "both"])
@pytest.mark.parametrize("norm", [None, "layer"])
def test_a_tail_is_what_it_says(session, integration, norm, form):
    """Scale before, noise, bias, activation and gain after: one pass, the same numbers."""
    rng = np.random.RandomState(3)
    scale = tf.constant(rng.rand(N, C) + 0.5, tf.float32)
    noise = tf.constant(rng.randn(N, F, 1), tf.float32)
    bias = tf.constant(rng.randn(C), tf.float32)
    case = Case(num_heads=2, integration=integration, norm=norm)
    got, got_probs, _ = case.outputs(form, Tail(scale, noise, bias, "lrelu", 1.7))
    case.x *= scale[:, None]
    want, probs, _ = case.outputs(literal)
    want = tf.nn.leaky_relu(want + noise + bias, 0.2) * 1.7
    randomise(session)
    got, want, got_probs, probs = session.run([got, want, got_probs, probs])
    np.testing.assert_allclose(got, want, atol=1e-4)
    np.testing.assert_allclose(got_probs, probs, atol=1e-5)


def cosine(q, k):
    """A score that cannot be folded: 8 times the cosine of the angle between query and key."""
    q, k = tf.math.l2_normalize(q, axis=3), tf.math.l2_normalize(k, axis=3)
    return 8.0 * tf.matmul(q, k, transpose_b=True)


@pytest.mark.parametrize("kind", ["simplex", "kmeans", "duplex"])
def test_another_score_is_one_function(session, monkeypatch, kind):
    monkeypatch.setitem(FORMS, "cosine", functools.partial(literal, score=cosine))
    case = Case(kind=kind, num_heads=2, form="cosine", integration="both")
    attended = image_from_latents(case.x, case.y, case.w)
    plain, *_ = case.outputs(literal)
    gradients = tf.gradients(attended.x, list(case.variables.values()))
    randomise(session)
    probs, x, plain = session.run([attended.probs(), attended.x, plain])
    assert np.abs(x - plain).max() > 0.01
    # Scores lie between -8 and 8, those of the dot product do not.
    ratio = probs.max(axis=3) / probs.min(axis=3)
    assert ratio.min() > 1 and ratio.max() <= np.exp(16) * 1.001
    reached = [name for name, g in zip(case.variables, gradients) if g is not None]
    unused = {"simplex": [], "kmeans": ["key", "to_pos"], "duplex": []}[kind]
    assert all(any(part in name for part in unused) or name in reached for name in case.variables)


@pytest.mark.parametrize("heads,gates,pos", [(1, False, True), (4, True, True), (2, True, False)])
@pytest.mark.parametrize("direction", ["latents_from_image", "image_from_image"])
def test_attention_to_the_image_equals_its_literal_form(session, direction, heads, gates, pos):
    rng = np.random.RandomState(0)
    x = tf.constant(rng.randn(N, F, C), tf.float32)
    y, y_pos = x, tf.constant(rng.randn(F, XI), tf.float32)
    x_pos = y_pos
    if direction == "latents_from_image":
        x, x_pos = (tf.constant(rng.randn(*size), tf.float32) for size in ((N, T, I), (T, YI)))
    spec = AttentionSpec(D, heads, gates, gates)
    with tf.variable_scope("att"):
        w = attention_weights(x, y, spec, *((x_pos, y_pos) if pos else (None, None)))
    got = image_from_image(x, w) if y is x else fold_keys(x, y, w)
    want = literal(x, y, w).x
    inputs = dict({v.op.name: v for v in tf.trainable_variables()}, x=x, y=y)
    grads = [tf.gradients(probe([t]), list(inputs.values())) for t in (got, want)]
    randomise(session)
    (got, want), grads = session.run([(got, want), grads])
    np.testing.assert_allclose(got, want, atol=1e-5 * (1 + np.abs(want).max()))
    for name, ours, expected in zip(inputs, *grads):
        scale = 1e-5 * (1 + np.abs(expected).max())
        np.testing.assert_allclose(ours, expected, atol=scale, err_msg=name)


def test_windows_are_attention_within_each_square(session):
    """Windows of 2 on a 4x4 map: each quarter for itself gives the same."""
    rng = np.random.RandomState(0)
    x = tf.constant(rng.randn(N, F, C), tf.float32)
    w = attention_weights(x, x, AttentionSpec(D, 2, x_gate=True, y_gate=True))
    got = image_from_image(x, w, window=2)
    quarters = tf.reshape(x, [N, 2, 2, 2, 2, C])
    parts = [
        image_from_image(tf.reshape(quarters[:, row, :, column], [N, 4, C]), w)
        for row in range(2)
        for column in range(2)
    ]
    randomise(session)
    got, parts = session.run([got, parts])
    got = got.reshape(N, 2, 2, 2, 2, C)
    for index, part in enumerate(parts):
        quarter = got[:, index // 2, :, index % 2].reshape(N, 4, C)
        np.testing.assert_allclose(quarter, part, atol=1e-5)


def test_dropout_keeps_the_mean_and_drops_whole_latents(session):
    dropout = Dropout(0.5, FreeRandom(400), "here")
    keep = session.run(dropout.keep([F, 2, T]))
    assert keep.shape == (400, F, 2, T)
    assert abs(keep.mean() - 1) < 0.05
    whole = (keep == 0).all(axis=1).mean()  # a latent dropped for all positions
    assert 0.2 < whole < 0.3
    assert NO_DROPOUT.keep([F, 2, T]) is None


@pytest.mark.parametrize("form", [fold_queries, literal])
@pytest.mark.parametrize("batch", [None, N])
def test_static_shape_survives(session, batch, form):
    x, y = tf.placeholder(tf.float32, [batch, F, C]), tf.placeholder(tf.float32, [batch, T, I])
    attended = form(x, y, attention_weights(x, y, AttentionSpec(D, num_heads=4)))
    assert attended.x.shape.as_list() == [batch, F, C]
    assert attended.probs().shape.as_list() == [batch, F, 4, T]


def test_errors_say_what_is_wrong(session):
    x, y = tf.zeros([N, F, C]), tf.zeros([N, T, I])
    w = attention_weights(x, y, AttentionSpec(D))
    with pytest.raises(ShapeError, match=r"y must be \[N, T, I\].*N=3, but x has N=2"):
        image_from_latents(x, tf.zeros([3, T, I]), w)
    with pytest.raises(ShapeError, match=r"mask must be \[N, T\].*T=4, but y has T=3"):
        image_from_latents(x, y, w, mask=tf.zeros([N, 4]))
    with pytest.raises(ShapeError, match=r"x must be \[N, P, C\].*N=3, but y has N=2"):
        latents_from_image(y, tf.zeros([3, F, C]), w)
    with pytest.raises(ValueError, match=r"--num-heads=3 does not divide 8, .* such as 2"):
        AttentionSpec(D, num_heads=3)
    with pytest.raises(ValueError, match="integration must be one of add, mul, both, got 'div'"):
        AttentionSpec(D, integration="div")
    options = dict(duplex=False, kmeans=True, iterative=True, kmeans_iters=1, quirk=Quirks())
    assert kind_of(SimpleNamespace(**options)) == "iterative"
    with pytest.raises(ValueError, match="choose one"):
        kind_of(SimpleNamespace(**{**options, "duplex": True}))
    with pytest.raises(ValueError, match="need --kmeans"):
        kind_of(SimpleNamespace(**{**options, "kmeans": False}))
