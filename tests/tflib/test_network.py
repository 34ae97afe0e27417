"""Network: the interface, strict keywords, batches, clones, moving averages, pickling."""

import pickle

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny

from dnnlib import UserError, tflib
from dnnlib.tflib.builders import register_builder
from dnnlib.tflib.running import cache_key

Z = tiny.latents(7)
LABELS = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 0, 0]]


def num_ops():
    return len(tf.get_default_graph().get_operations())


# ------------------------------------------------------------------------------- building


def test_attributes(session):
    G = tiny.generator(with_maps=True, mapping=dict(depth=2))
    assert (G.name, G.scope, G.builder) == ("G", "G", "tiny_generator")
    assert G.static_kwargs == dict(z_dim=3, with_maps=True, mapping=dict(depth=2))
    assert (G.num_inputs, G.input_names, G.input_shapes) == (2, ["z", "c"], [[None, 3], [None, 2]])
    assert (G.num_outputs, G.output_names) == (2, ["images_out", "maps_out"])
    assert G.output_shapes == [[None, 3, 4, 4], [None, 5]]
    assert (G.input_shape, G.output_shape) == ([None, 3], [None, 3, 4, 4])
    assert [t.op.name for t in G.input_templates] == ["G/z", "G/c"]
    assert list(G.own_vars) == ["dlatent_avg"]
    assert list(G.vars) == [
        "dlatent_avg",
        "tiny_map/Dense0/weight",
        "tiny_map/Dense1/weight",
        "tiny_syn/noise0",
        "tiny_syn/4x4/Conv/weight",
        "tiny_syn/4x4/Conv/noise_strength",
    ]
    assert set(G.vars) - set(G.trainables) == {"dlatent_avg", "tiny_syn/noise0"}
    assert G.var_global_to_local["tiny_syn/4x4/Conv/weight"] == "tiny_syn/4x4/Conv/weight"
    assert G.components.synthesis.components == {}
    assert next(iter(G.components.synthesis.own_vars)) == "noise0"


def test_variables_are_float32_resources_of_one_scope(session):
    first, second = tiny.generator(), tiny.generator()
    assert (first.scope, second.scope) == ("G", "G_1")
    for variable in list(first.vars.values()) + list(second.vars.values()):
        assert variable.dtype == tf.float32
        assert "VarHandle" in variable.op.type
    assert second.vars["dlatent_avg"].op.name == "G_1/dlatent_avg"


def test_scopes_do_not_depend_on_where_we_are(session):
    with tf.variable_scope("outer"), tf.name_scope("inner"):
        G = tiny.generator()
        G.get_output_for(tf.zeros([2, 3]), None)
    assert G.vars["tiny_syn/noise0"].op.name == "tiny_syn/noise0"
    assert G.vars["dlatent_avg"].op.name == "G/dlatent_avg"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: tiny.generator(psii=1), r"tiny_generator\(\) does not take 'psii'; .* 'psi'\?"),
        (lambda: tiny.generator(qqq=1), r"tiny_generator\(\) does not take 'qqq'$"),
        (lambda: tiny.generator(mapping=dict(dept=2)), r"tiny_mapping\(\) .*'dept'; .* 'depth'\?"),
        (lambda: tflib.Network("G", "tiny_generator"), r"tiny_generator\(\) needs 'z_dim'"),
        (lambda: tiny.generator().run(Z, psii=1), r"tiny_generator\(\) does not take 'psii'"),
        (lambda: tiny.generator().get_output_for(Z, psii=1), r"does not take 'psii'"),
        (lambda: tiny.generator().run(Z, LABELS, Z), r"G takes 2 inputs \(z, c\), got 3"),
        (lambda: tflib.Network("G", 7), "func_name must be the name"),
    ],
)
def test_wrong_keywords_are_named(session, make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_inputs_are_no_keywords(session):
    with pytest.raises(TypeError, match="does not take 'z'"):
        tiny.generator(z=1)


def test_unknown_builder_names_the_closest(session):
    with pytest.raises(ValueError, match="got 'tiny_generatr'; did you mean 'tiny_generator'"):
        tflib.Network("G", "tiny_generatr")


def test_builder_has_to_set_input_shapes(session):
    @register_builder("shapeless")
    def shapeless(x):
        return tf.identity(x)

    with pytest.raises(ValueError, match="does not set the shape of N/x"):
        tflib.Network("N", "shapeless")


def test_a_builder_name_belongs_to_one_module():
    @register_builder("test_owner")
    def mine(x):
        return x

    def other(x):
        return x

    other.__module__ = "somewhere"
    with pytest.raises(ValueError, match="already registered by"):
        register_builder("test_owner")(other)


# -------------------------------------------------------------------------------- applying


def by_hand(G, z, labels, psi):
    """The tiny generator in NumPy."""
    v = {name: G.get_var(name) for name in G.vars}
    ws = np.tanh(np.concatenate([z, labels], axis=1) @ v["tiny_map/Dense0/weight"])
    ws = v["dlatent_avg"] + (ws - v["dlatent_avg"]) * psi
    images = (ws @ v["tiny_syn/4x4/Conv/weight"]).reshape(-1, 3, 4, 4)
    return images + v["tiny_syn/noise0"] * v["tiny_syn/4x4/Conv/noise_strength"]


@pytest.mark.parametrize("options", [{}, dict(batch_size=3), dict(minibatch_size=1)])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_run_in_batches_of_any_size(session, options, labels):
    G = tiny.generator()
    expected = by_hand(G, Z, np.zeros_like(LABELS) if labels is None else labels, 0.5)
    np.testing.assert_allclose(G.run(Z, labels, **options), expected, rtol=1e-5, atol=1e-5)


def test_missing_trailing_inputs_are_zeros(session):
    G = tiny.generator()
    assert np.array_equal(G.run(Z), G.run(Z, None))
    assert np.array_equal(G.run(Z, None, None), G.run(Z))
    tensors = session.run([G.get_output_for(tf.constant(Z)), G.get_output_for(Z, None)])
    np.testing.assert_allclose(tensors[0], G.run(Z), rtol=1e-5, atol=1e-6)
    assert np.array_equal(tensors[0], tensors[1])


def test_first_input_may_be_the_missing_one(session):
    G = tiny.generator()
    expected = by_hand(G, np.zeros_like(Z), LABELS, 0.5)
    np.testing.assert_allclose(G.run(None, LABELS), expected, rtol=1e-5, atol=1e-5)


def test_dynamic_options_beat_static_ones(session):
    G = tiny.generator(psi=0.25, mapping=dict(scale=2.0), synthesis=dict(gain=0.5))
    same = tiny.generator(psi=0.25)
    same.copy_vars_from(G)
    base = same.run(Z, mapping=dict(scale=2.0), synthesis=dict(gain=0.5))
    np.testing.assert_allclose(G.run(Z), base, rtol=1e-5, atol=1e-6)
    both = same.run(Z, psi=1.0, mapping=dict(scale=2.0), synthesis=dict(gain=3.0))
    np.testing.assert_allclose(
        G.run(Z, psi=1.0, synthesis=dict(gain=3.0)), both, rtol=1e-5, atol=1e-5
    )
    training, neutral = G.run(Z, is_training=True), G.run(Z, psi=1.0)
    np.testing.assert_allclose(training, neutral, rtol=1e-5, atol=1e-5)


def test_nested_options_are_merged_key_by_key(session):
    @register_builder("test_nested")
    def nested(x, *, factors={}):  # noqa: B006 - a default that is never changed
        x.set_shape([None, 2])
        return x * factors.get("a", 1.0) * factors.get("b", 1.0)

    net = tflib.Network("N", "test_nested", factors=dict(a=2.0, b=3.0))
    assert net.run(np.ones([1, 2])).tolist() == [[6, 6]]
    assert net.run(np.ones([1, 2]), factors=dict(b=5.0)).tolist() == [[10, 10]]
    assert net.clone(factors=dict(a=7.0)).static_kwargs == dict(factors=dict(a=7.0, b=3.0))
    assert net.static_kwargs == dict(factors=dict(a=2.0, b=3.0))


def test_inputs_of_several_sizes(session):
    @register_builder("test_any_size")
    def any_size(x):
        x.set_shape([None, None])
        width = x.shape.as_list()[1] or 0
        return tf.identity(x + width)

    net = tflib.Network("N", "test_any_size")
    assert net.run(np.zeros([1, 2])).tolist() == [[2, 2]]
    assert net.run(np.zeros([1, 3])).tolist() == [[3, 3, 3]]


def test_inputs_whose_shape_an_option_changes(session):
    G = tiny.generator()
    ws = G.components.mapping.run(Z)
    assert ws.shape == (7, 5)
    avg = G.get_var("dlatent_avg")
    expected = G.components.synthesis.run(avg + (ws - avg) * 0.5)
    np.testing.assert_allclose(G.run(ws, take_ws=True), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"(?i)shape"):
        G.run(ws)


def test_graphs_are_built_once_for_each_set_of_options(session):
    G = tiny.generator()

    def run(psi, gains=(1, 2)):
        transform = dict(func=tflib.convert_images_to_uint8, drange=[-2, 2])
        G.run(Z, output_transform=transform, psi=psi)
        G.run(Z[:3], LABELS[:3], batch_size=2, output_transform=transform, psi=psi)
        for gain in gains:
            G.run(Z, output_transform=dict(func=lambda x: x * gain), psi=psi)  # noqa: B023

    run(0.5)
    before = num_ops()
    run(0.5)
    assert num_ops() == before
    run(0.5, gains=[3])
    assert num_ops() > before
    before = num_ops()
    run(0.25)
    assert num_ops() > before


def test_cache_keys():
    def captured(value):
        return lambda x: x + value

    assert cache_key(captured(1)) == cache_key(captured(1))
    assert cache_key(captured(1)) != cache_key(captured(2))
    assert cache_key(1) != cache_key(1.0) != cache_key(True)
    assert cache_key([1]) != cache_key((1,))
    assert cache_key({"a": 1, "b": [2]}) == cache_key({"b": [2], "a": 1})
    assert cache_key(np.ones(2)) == cache_key(np.ones(2)) != cache_key(np.zeros(2))
    assert cache_key(float("nan")) == cache_key(float("nan"))
    thing = object()
    assert cache_key(thing) == cache_key(thing) != cache_key(object())


def test_output_transform_acts_on_the_images(session):
    """A function of one tensor gets the images; attention maps stay as they are."""
    G = tiny.generator(with_maps=True)
    images, maps = G.run(Z)
    transform = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
    converted, same_maps = G.run(Z, batch_size=3, output_transform=transform)
    assert (converted.shape, converted.dtype) == ((7, 4, 4, 3), np.uint8)
    expected = np.clip(images * 127.5 + 128, 0, 255).transpose(0, 2, 3, 1)
    assert np.abs(converted.astype(float) - expected).max() <= 1
    np.testing.assert_allclose(same_maps, maps, rtol=1e-5, atol=1e-6)
    both = G.run(Z, output_transform=dict(func=lambda x, m: tf.reduce_sum(x, [1, 2, 3]) + m[:, 0]))
    np.testing.assert_allclose(both, images.sum((1, 2, 3)) + maps[:, 0], rtol=1e-4, atol=1e-4)


def test_input_transform(session):
    G = tiny.generator()
    doubled = G.run(Z, LABELS, input_transform=dict(func=lambda z, c, f: (z * f, c), f=2.0))
    np.testing.assert_allclose(doubled, G.run(Z * 2, LABELS), rtol=1e-5, atol=1e-6)


def test_return_as_list(session):
    G = tiny.generator()
    assert isinstance(G.run(Z, return_as_list=True), list)
    assert isinstance(G.get_output_for(Z, None, return_as_list=True), list)
    assert isinstance(tiny.generator(with_maps=True).get_output_for(Z, None), tuple)


@pytest.mark.parametrize("option", ["print_progress", "verbose"])
def test_progress(session, capsys, option):
    tiny.generator().run(Z, batch_size=3, **{option: True})
    assert capsys.readouterr().out == "7 / 7\n"
    tiny.generator().run(Z, batch_size=3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("assume_frozen", [False, True])
@pytest.mark.parametrize("items", [7, 1])
def test_several_devices_split_each_batch(session, assume_frozen, items):
    """Devices that are not there are replaced by soft placement; the split is the same."""
    G = tiny.generator(with_maps=True)
    expected = G.run(Z[:items], LABELS[:items])
    options = dict(num_gpus=2, assume_frozen=assume_frozen, batch_size=3)
    for got, want in zip(G.run(Z[:items], LABELS[:items], **options), expected):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_no_samples(session):
    assert tiny.generator().run(Z[:0]).shape == (0, 3, 4, 4)


def test_wrong_calls(session):
    G = tiny.generator()
    with pytest.raises(ValueError, match="at least one of the inputs"):
        G.run(None, None)
    with pytest.raises(ValueError, match=r"different lengths: \{'z': 7, 'c': 2\}"):
        G.run(Z, LABELS[:2])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        G.run(Z, batch_size=-1)
    with pytest.raises(ValueError, match="not one entry for each sample"):
        G.run(Z, output_transform=dict(func=tf.reduce_mean))


def test_bound_tensors_are_defaults_and_not_saved(session):
    G = tiny.generator(with_scale=True)
    mapping = G.components.mapping
    plain = tflib.Network("M", "tiny_mapping", z_dim=3)
    plain.copy_vars_from(mapping)
    scale = G.get_var("scale")
    np.testing.assert_allclose(mapping.run(Z), plain.run(Z) * scale, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mapping.run(Z, scale=2.0), plain.run(Z) * 2, rtol=1e-5, atol=1e-6)
    assert mapping.static_kwargs == dict(z_dim=3, w_dim=5)
    G.set_var("scale", np.ones(5))
    np.testing.assert_allclose(mapping.run(Z), plain.run(Z), rtol=1e-5, atol=1e-6)
    copy = pickle.loads(pickle.dumps(G))
    assert np.array_equal(copy.components.mapping.run(Z), mapping.run(Z))
    with pytest.raises(TypeError, match="'scal'; did you mean 'scale'"):
        mapping.bind(scal=1.0)


# ------------------------------------------------------------------------------- variables


def test_get_set_find_and_reset(session):
    G = tiny.generator()
    variable = G.find_var("tiny_syn/noise0")
    assert G.find_var(variable) is variable
    G.set_var("tiny_syn/noise0", np.full([1, 1, 4, 4], 2))
    assert np.all(G.get_var(variable) == 2)
    G.set_var(variable, tf.zeros([1, 1, 4, 4]))
    assert np.all(G.get_var("tiny_syn/noise0") == 0)
    with pytest.raises(ValueError, match=r"noise0:0 has shape \[1, 1, 4, 4\], the value \[4\]"):
        G.set_var("tiny_syn/noise0", np.zeros(4))
    average, weight = G.get_var("dlatent_avg"), G.get_var("tiny_syn/4x4/Conv/weight")
    G.reset_own_vars()
    assert not np.array_equal(G.get_var("dlatent_avg"), average)
    assert np.array_equal(G.get_var("tiny_syn/4x4/Conv/weight"), weight)
    average = G.get_var("dlatent_avg")
    G.reset_trainables()
    assert np.array_equal(G.get_var("dlatent_avg"), average)
    assert not np.array_equal(G.get_var("tiny_syn/4x4/Conv/weight"), weight)
    G.reset_vars()
    assert not np.array_equal(G.get_var("dlatent_avg"), average)


def test_setting_variables_does_not_grow_the_graph(session):
    G = tiny.generator()
    before = num_ops()
    for value in range(3):
        G.set_var("dlatent_avg", np.full(5, value))
    assert num_ops() == before


def test_clone_is_independent(session):
    G = tiny.generator(psi=0.25)
    Gs = G.clone("Gs")
    assert (Gs.name, Gs.scope, Gs.static_kwargs) == ("Gs", "Gs", G.static_kwargs)
    assert Gs.components.synthesis.name == "tiny_syn"
    before = G.run(Z)
    assert np.array_equal(Gs.run(Z), before)
    assert not {v.name for v in Gs.vars.values()} & {v.name for v in G.vars.values()}
    Gs.set_var("tiny_syn/4x4/Conv/weight", np.zeros([5, 48]))
    assert np.array_equal(G.run(Z), before)
    assert not np.array_equal(Gs.run(Z), before)
    Gs.static_kwargs["psi"] = 1.0
    assert G.static_kwargs["psi"] == 0.25


def test_clone_makes_only_variables_until_more_is_asked_for(session):
    G = tiny.generator(with_scale=True)
    mapped, images, before = G.components.mapping.run(Z), G.run(Z), num_ops()
    Gs = G.clone("Gs")
    assert num_ops() - before < 6 * len(Gs.vars)
    assert [v.op.name.split("/", 1)[1] for v in Gs.own_vars.values()] == list(G.own_vars)
    assert (list(Gs.vars), set(Gs.trainables)) == (list(G.vars), set(G.trainables))
    # What the whole network gives its sub-network is there when that is used on its own.
    assert np.array_equal(Gs.components.mapping.run(Z), mapped)
    Gs.set_var("scale", np.zeros(5))
    assert not Gs.components.mapping.run(Z).any()
    Gs.copy_vars_from(G)
    assert np.array_equal(Gs.run(Z), images)
    names = [name for name, _, _ in Gs.list_layers()]
    assert names == [name for name, _, _ in G.list_layers()]
    assert Gs.input_templates[0].op.name == "Gs/z"
    assert np.array_equal(Gs.clone().components.mapping.run(Z), mapped)
    used = G.clone()
    used.run(Z)  # which binds nothing: that is the template's
    assert np.array_equal(used.components.mapping.run(Z), mapped)
    Gs.reset_vars()
    assert not np.array_equal(Gs.run(Z), images)


def test_initial_values_depend_on_seed_and_name(monkeypatch):
    def values(seed, num_before):
        with tf.Graph().as_default(), tf.Session().as_default():
            tf.set_random_seed(seed)
            for _ in range(num_before):
                tf.zeros([2])
            G = tiny.generator()
            return {name: G.get_var(name) for name in G.vars}

    first, same, other = values(3, 0), values(3, 5), values(4, 0)
    for name, value in first.items():
        assert np.array_equal(same[name], value)
        assert not np.array_equal(other[name], value)
    assert len({value.ravel()[0] for value in first.values()}) == len(first)


def test_clone_with_other_options(session):
    G = tiny.generator(mapping=dict(depth=1))
    deeper = G.clone(mapping=dict(depth=2))
    assert deeper.static_kwargs == dict(z_dim=3, mapping=dict(depth=2))
    name = "tiny_map/Dense0/weight"
    assert np.array_equal(deeper.get_var(name), G.get_var(name))
    assert G.static_kwargs == dict(z_dim=3, mapping=dict(depth=1))


def test_copy_trainables_leaves_others_alone(session):
    first, second = tiny.generator(), tiny.generator()
    noise = second.get_var("tiny_syn/noise0")
    second.copy_trainables_from(first)
    assert np.array_equal(second.get_var("tiny_syn/noise0"), noise)
    for name in first.trainables:
        assert np.array_equal(first.get_var(name), second.get_var(name))
    weight = second.get_var("tiny_syn/4x4/Conv/weight")
    third = tiny.generator()
    second.copy_own_vars_from(third)
    assert np.array_equal(second.get_var("dlatent_avg"), third.get_var("dlatent_avg"))
    assert np.array_equal(second.get_var("tiny_syn/4x4/Conv/weight"), weight)


@pytest.mark.parametrize("beta_nontrainable", [0.0, 0.5, None])
def test_moving_average(session, beta_nontrainable):
    G = tiny.generator()
    Gs = G.clone("Gs")
    beta = tf.placeholder(tf.float32, [])
    update = Gs.setup_as_moving_average_of(G, beta, beta_nontrainable)
    expected = {name: Gs.get_var(name).astype(np.float64) for name in Gs.vars}
    for step in range(3):
        G.reset_vars()
        session.run(update, {beta: 0.25 * (step + 1)})
        for name, value in expected.items():
            b = 0.25 * (step + 1) if name in G.trainables else beta_nontrainable
            if b is not None:
                expected[name] = value * b + G.get_var(name) * (1 - b)
    for name, value in expected.items():
        np.testing.assert_allclose(Gs.get_var(name), value, rtol=1e-5, atol=1e-6)
    if beta_nontrainable == 0:
        assert np.array_equal(Gs.get_var("tiny_syn/noise0"), G.get_var("tiny_syn/noise0"))


def test_values_need_a_session(monkeypatch):
    monkeypatch.setattr(tf, "get_default_session", lambda: None)  # whatever ran before
    with tf.Graph().as_default():
        G = tiny.generator()  # the graph alone does not
        with pytest.raises(RuntimeError, match="init_tf"):
            G.clone("Gs")
        with pytest.raises(RuntimeError, match="init_tf"):
            G.get_var("dlatent_avg")


# -------------------------------------------------------------------------- text and pickles


def test_layers(session, capsys):
    G = tiny.generator(with_maps=True)
    layers = {name: (output, variables) for name, output, variables in G.list_layers()}
    output, variables = layers["tiny_syn/4x4/Conv"]
    assert output.shape.as_list() == [None, 3, 4, 4]
    assert [v.op.name for v in variables] == [
        "tiny_syn/4x4/Conv/weight",
        "tiny_syn/4x4/Conv/noise_strength",
    ]
    G.print_layers(title="Tiny", hide_layers_with_no_params=True)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["Tiny", "Params", "OutputShape"]
    assert ["tiny_map/Dense0", "25", "[?,", "5]"] in rows
    assert rows[-1] == ["Total", str(25 + 5 * 48 + 1)]
    assert not any(row[0] == "dlatent_avg" for row in rows)
    G.print_layers()
    assert "dlatent_avg" in capsys.readouterr().out


def test_weight_histograms(session):
    assert len(tiny.generator().setup_weight_histograms()) == 3


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_round_trip(session, protocol):
    G = tiny.generator(psi=0.25, mapping=dict(depth=2))
    data = pickle.dumps((G, G.clone("Gs")), protocol)
    expected = G.run(Z)
    for other in (True, False):  # in the same graph, and in a fresh one
        with tf.Graph().as_default() if other else tf.name_scope("here"):
            copy, Gs = pickle.loads(data)
            sess = tf.Session() if other else session
            with sess.as_default():
                assert np.array_equal(Gs.run(Z), expected)
                assert (copy.name, copy.static_kwargs) == ("G", G.static_kwargs)
                assert list(copy.vars) == list(G.vars)


def test_pickled_state_is_plain_data(session):
    state = tiny.generator(psi=0.25).__getstate__()
    assert list(state) == [
        "version",
        "name",
        "builder",
        "static_kwargs",
        "components",
        "variables",
    ]
    assert (state["version"], state["builder"]) == (6, "tiny_generator")
    assert [(name, type(value), value.dtype) for name, value in state["variables"]] == [
        ("dlatent_avg", np.ndarray, np.float32)
    ]


def test_a_failed_restore_leaves_no_variables(session):
    data = pickle.dumps(tiny.generator()).replace(b"dlatent_avg", b"dlatent_bvg")
    before = tf.global_variables()
    with pytest.raises(UserError, match="missing: dlatent_avg; unexpected: dlatent_bvg"):
        pickle.loads(data).run(Z)
    assert tf.global_variables() == before


def test_unknown_attribute(session):
    with pytest.raises(AttributeError, match="no attribute 'varz'"):
        _ = tiny.generator().varz
