import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from literal_attention import Options, attention, dense, split

from dnnlib.tflib.random import FreeRandom
from training.model.attention import NO_DROPOUT, Dropout, attention_layer
from training.model.centroids import attention_kind
from training.model.image_attention import image_from_image, latents_from_image
from training.model.layers import Tail
from training.model.quirks import NO_QUIRKS, PUBLISHED_QUIRKS, Quirks
from training.model.shapes import ShapeError

N, F, T, C, J, D, P, R = 2, 16, 3, 5, 7, 8, 6, 9  # all different: a swapped axis cannot hide

# What one attention can be; heads 1 unless said otherwise.
PUBLISHED = Quirks.named(PUBLISHED_QUIRKS["head"])
CASES = {
    "simplex": {},
    "simplex_no_pos": dict(pos=False),
    "simplex_heads": dict(heads=4),
    "simplex_gates": dict(heads=2, x_gate=True, y_gate=True),
    "simplex_gates_no_pos": dict(x_gate=True, y_gate=True, pos=False),
    "simplex_mask": dict(mask=True, heads=2),
    "simplex_dropout": dict(dropout=0.4, heads=2, x_gate=True),
    "simplex_published_iterations": dict(iterations=3, quirks=PUBLISHED, mask=True),
    "kmeans": dict(kind="kmeans"),
    "kmeans_no_pos": dict(kind="kmeans", pos=False),
    "kmeans_heads": dict(kind="kmeans", heads=2),
    "kmeans_heads_published": dict(kind="kmeans", heads=2, quirks=PUBLISHED),
    "kmeans_iterations": dict(kind="kmeans", iterations=3, heads=2, mask=True),
    "kmeans_gates_mask": dict(kind="kmeans", x_gate=True, y_gate=True, mask=True),
    "kmeans_published": dict(kind="kmeans", iterations=2, quirks=PUBLISHED),
    "iterative_first": dict(kind="iterative", heads=2),
    "iterative_first_published": dict(kind="iterative", heads=2, quirks=PUBLISHED),
    "iterative_few_positions": dict(kind="iterative", small=True),
    "iterative_carried": dict(kind="iterative", carried=4, iterations=2),
    "iterative_carried_same_size": dict(kind="iterative", carried=16, heads=2),
    "iterative_carried_published": dict(kind="iterative", carried=4, heads=2, quirks=PUBLISHED),
    "duplex": dict(kind="duplex"),
    "duplex_no_pos": dict(kind="duplex", pos=False),
    "duplex_heads_mask": dict(kind="duplex", heads=2, mask=True, iterations=2),
    "duplex_gates": dict(kind="duplex", x_gate=True),
}
for _integration in ("add", "mul", "both"):
    for _norm in (None, "layer", "batch", "instance"):
        _options = dict(integration=_integration, norm=_norm)
        CASES[f"simplex_{_integration}_{_norm}"] = dict(heads=2, **_options)
        CASES[f"kmeans_{_integration}_{_norm}_gates"] = dict(kind="kmeans", y_gate=True, **_options)


class Case:
    """One attention on random inputs: ours, and what the literal form needs."""

    def __init__(self, seed=0, pos=True, small=False, carried=0, dropout=0.0, **options):
        rng = np.random.RandomState(seed)
        size, num = (4, 6) if small else (F, T)

        def constant(*shape):
            return tf.constant(rng.randn(*shape), tf.float32)

        self.x, self.y = constant(N, size, C), constant(N, num, J)
        self.o = o = Options(**options)
        if pos:
            o.x_pos, o.y_pos = constant(size, P), constant(num, R)
        if o.mask is not None:
            o.mask = tf.constant([[1, 1, 0], [0, 1, 1]], tf.float32)
        if carried:
            share = rng.rand(N, o.heads, num, carried)
            o.carried = tf.constant(share / share.sum(axis=3, keepdims=True), tf.float32)
        self.dropout = NO_DROPOUT
        if dropout:
            self.dropout = _FixedDropout(dropout, FreeRandom(N), "here")
        kind = o.kind
        assign = attention_kind(
            kind in ("kmeans", "iterative"),
            kind == "iterative",
            kind == "duplex",
            o.iterations,
            o.carried,
            o.quirks,
        )
        with tf.variable_scope("att"):
            self.layer = attention_layer(
                self.x,
                self.y,
                D,
                o.heads,
                o.x_pos,
                o.y_pos,
                o.x_gate,
                o.y_gate,
                o.mask,
                self.dropout,
                o.integration,
                o.norm,
                assign,
            )
        self.variables = {v.op.name.replace("att/", ""): v for v in tf.global_variables()}
        if dropout:
            o.keep = self.dropout.kept

    def outputs(self):
        """Ours: x, probabilities, y."""
        return self.layer.apply(), self.layer.probs(), self.layer.y

    def literal(self):
        """The same, literally."""
        return attention(self.variables, self.x, self.y, self.o)

    def inputs(self):
        """Everything that a gradient can be taken by."""
        found = dict(self.variables, x=self.x, y=self.y)
        if self.o.x_pos is not None:
            found.update(x_pos=self.o.x_pos, y_pos=self.o.y_pos)
        return found


class _FixedDropout(Dropout):
    """Keeps its factors, so that the literal form can use them too."""

    def keep(self, shape, axis=0):
        _FixedDropout.kept = super().keep(shape, axis)
        return self.kept


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


def _parameters():
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[] if name in QUICK else [slow]) for name in CASES]


@pytest.mark.parametrize("name", _parameters())
def test_folded_equals_literal_in_values_and_gradients(session, name):
    case = Case(**CASES[name])
    outputs = case.outputs(), case.literal()
    inputs = case.inputs()
    gradients = [
        dict(zip(inputs, tf.gradients(probe(out), list(inputs.values())))) for out in outputs
    ]
    randomise(session)
    fetched = [{k: g for k, g in grads.items() if g is not None} for grads in gradients]
    (got, want), grads = session.run([outputs, fetched])
    for ours, literal in zip(got, want):
        np.testing.assert_allclose(ours, literal, atol=1e-5 * (1 + np.abs(literal).max()))
    for key in set(grads[0]) | set(grads[1]):
        ours, literal = (np.asarray(_dense(g.get(key, 0.0))) for g in grads)
        scale = 1e-5 * (1 + np.abs(literal).max())
        literal = np.broadcast_to(literal, ours.shape)
        np.testing.assert_allclose(ours, literal, atol=scale, err_msg=key)

    sums = got[1].sum(axis=3)
    if case.o.x_gate or case.o.y_gate or case.dropout.rate:
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
    if case.o.y_pos is not None:
        feed[case.o.y_pos] = session.run(case.o.y_pos)[order]
    if case.o.carried is not None:
        feed[case.o.carried] = session.run(case.o.carried)[:, :, order]
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
    carried = 4 if kind == "iterative" else 0
    case = Case(kind=kind, iterations=iterations, mask=True, heads=2, y_gate=True, carried=carried)
    x, probs, _ = case.outputs()
    gradient = tf.gradients(probe([x]), case.y)[0]
    randomise(session)
    probs, gradient = session.run([probs, gradient])
    assert probs[0, ..., 2].max() == 0 and probs[1, ..., 0].max() == 0
    assert np.abs(gradient[0, 2]).max() == 0 and np.abs(gradient[1, 0]).max() == 0
    assert np.abs(gradient[0, 0]).max() > 1e-3 and np.abs(gradient[1, 2]).max() > 1e-3


@pytest.mark.parametrize("kind", ["simplex", "kmeans", "duplex"])
def test_nothing_as_wide_as_the_image_is_projected(session, kind):
    """The graph has no [N, F, D] tensor: linear cost is not an accident of small sizes."""
    case = Case(kind=kind, heads=2, x_gate=True, y_gate=True)
    case.outputs()
    for op in tf.get_default_graph().get_operations():
        for tensor in op.outputs:
            if tensor.shape.ndims is not None:
                assert tensor.shape.as_list() not in ([N, F, D], [N * F, D]), op.name


@pytest.mark.parametrize("integration", ["add", "mul", "both"])
@pytest.mark.parametrize("norm", [None, "layer"])
def test_a_tail_is_what_it_says(session, integration, norm):
    """Scale before, noise, bias, activation and gain after: one pass, the same numbers."""
    rng = np.random.RandomState(3)
    scale = tf.constant(rng.rand(N, C) + 0.5, tf.float32)
    noise, bias = (
        tf.constant(rng.randn(N, 4, 4, 1), tf.float32),
        tf.constant(rng.randn(C), tf.float32),
    )
    case = Case(heads=2, integration=integration, norm=norm)
    got = case.layer.apply(Tail(scale, noise, bias, "lrelu", 1.7))
    want, probs, _ = attention(case.variables, case.x * scale[:, None], case.y, case.o)
    want = tf.nn.leaky_relu(want + tf.reshape(noise, [N, F, 1]) + bias, 0.2) * 1.7
    randomise(session)
    got, want, maps, probs = session.run([got, want, case.layer.probs(scale), probs])
    np.testing.assert_allclose(got, want, atol=1e-4)
    np.testing.assert_allclose(maps, probs, atol=1e-5)


def _literal_latents_from_image(v, y, x, heads, y_pos, x_pos, gates):
    """Few latents ask, many positions answer, literally."""
    q, k = dense(v, "query", y), dense(v, "key", x)
    if y_pos is not None:
        q, k = q + dense(v, "from_pos", y_pos), k + dense(v, "to_pos", x_pos)
    S = q.shape.as_list()[2] // heads
    scores = tf.matmul(split(q, heads), split(k, heads), transpose_b=True)
    probs = tf.nn.softmax(scores / np.float32(np.sqrt(S)))
    if gates:
        given = dense(v, "e_cont", x) + (0.0 if x_pos is None else dense(v, "e_pos", x_pos))
        taken = dense(v, "n_cont", y) + (0.0 if y_pos is None else dense(v, "n_pos", y_pos)) + 1.0
        probs *= tf.transpose(tf.sigmoid(given), [0, 2, 1])[:, :, None, :]
        probs *= tf.transpose(tf.sigmoid(taken), [0, 2, 1])[..., None]
    found = tf.transpose(tf.matmul(probs, split(dense(v, "value", x), heads)), [0, 2, 1, 3])
    return y + dense(v, "out", tf.reshape(found, [N, y.shape.as_list()[1], heads * S]))


@pytest.mark.parametrize("heads,gates,pos", [(1, False, True), (4, True, True), (2, True, False)])
@pytest.mark.parametrize("direction", ["latents_from_image", "image_from_image"])
def test_attention_to_the_image_equals_its_literal_form(session, direction, heads, gates, pos):
    rng = np.random.RandomState(0)
    x = tf.constant(rng.randn(N, F, C), tf.float32)
    y = tf.constant(rng.randn(N, T, J), tf.float32)
    x_pos = tf.constant(rng.randn(F, P), tf.float32) if pos else None
    y_pos = tf.constant(rng.randn(T, R), tf.float32) if pos else None
    with tf.variable_scope("att"):
        if direction == "latents_from_image":
            got = latents_from_image(y, x, D, heads, y_pos, x_pos, gates, gates)
        else:
            got = image_from_image(x, D, heads, x_pos, gates)
    v = {v.op.name.replace("att/", ""): v for v in tf.global_variables()}
    asks, pos_of_it = (y, y_pos) if direction == "latents_from_image" else (x, x_pos)
    want = _literal_latents_from_image(v, asks, x, heads, pos_of_it, x_pos, gates)
    inputs = [x, y, *v.values()] if direction == "latents_from_image" else [x, *v.values()]
    grads = [tf.gradients(probe([t]), inputs) for t in (got, want)]
    randomise(session)
    (got, want), grads = session.run([(got, want), grads])
    np.testing.assert_allclose(got, want, atol=1e-5 * (1 + np.abs(want).max()))
    for name, ours, literal in zip(["x", "y", *v], *grads):
        scale = 1e-5 * (1 + np.abs(literal).max())
        np.testing.assert_allclose(ours, literal, atol=scale, err_msg=name)


def test_windows_are_attention_within_each_square(session):
    """Windows of 2 on a 4x4 map: each quarter for itself gives the same."""
    rng = np.random.RandomState(0)
    x = tf.constant(rng.randn(N, F, C), tf.float32)
    with tf.variable_scope("att"):
        got = image_from_image(x, D, num_heads=2, gate=True, window=2)
    quarters = tf.reshape(x, [N, 2, 2, 2, 2, C])
    parts = []
    with tf.variable_scope("att", reuse=True):
        for row in range(2):
            for column in range(2):
                part = tf.reshape(quarters[:, row, :, column], [N, 4, C])
                parts.append(image_from_image(part, D, num_heads=2, gate=True))
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


@pytest.mark.parametrize("batch", [None, N])
def test_static_shape_survives(session, batch):
    x, y = tf.placeholder(tf.float32, [batch, F, C]), tf.placeholder(tf.float32, [batch, T, J])
    layer = attention_layer(x, y, D, num_heads=4)
    assert layer.apply().shape.as_list() == [batch, F, C]
    assert layer.probs().shape.as_list() == [batch, F, 4, T]


def test_errors_say_what_is_wrong(session):
    x, y = tf.zeros([N, F, C]), tf.zeros([N, T, J])
    with pytest.raises(ShapeError, match=r"y must be \[N, T, J\].*N=3, but x has N=2"):
        attention_layer(x, tf.zeros([3, T, J]), D)
    with pytest.raises(ValueError, match=r"--num-heads=3 does not divide 8, .* such as 2"):
        attention_layer(x, y, D, num_heads=3)
    with pytest.raises(ValueError, match="integration='div' is none of add, mul, both"):
        attention_layer(x, y, D, integration="div")
    with pytest.raises(ValueError, match="choose one"):
        attention_kind(True, True, True, 1, None, NO_QUIRKS)
    with pytest.raises(ValueError, match="need --kmeans"):
        attention_kind(False, False, False, 3, None, NO_QUIRKS)
