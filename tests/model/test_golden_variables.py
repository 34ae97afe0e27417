"""Names, shapes, order and trainability of all variables against those of the published code.

tests/golden/variables.json holds them for every configuration that the published code builds:
nested by scope, shapes as "3x3x48x48", with a star where a variable is not trained.
"""

import functools
import json
import pathlib

import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import builders

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "variables.json").read_text())
NETWORKS = GOLDEN["networks"]

QUICK = (
    "head__02_gansformer_ffhq:G",
    "head__07_gansformer_dtransformer:D",
    "head__10a_pos_trainable:D",
    "head__22_kgan_leaves_same:G",
    "legacy__03_stylegan2:G",
    "stylegan2__config_d__res64:G",
    "stylegan2__config_d__res64:D",
)

# What ours has and the published code has not: attention where there was none, and an encoding for
# the last component of networks without a global latent.
REPAIRED = ("legacy__05_sagan", *(f"head__{kgan}" for kgan in ("06_", "22_", "23_", "24_", "25_")))


def _flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            shape = [int(size) for size in value.rstrip("*").split("x") if size]
            yield prefix + name, shape, not value.endswith("*")


def _build(name, **changes):
    row = NETWORKS[name]
    builder, options = builders.resolve(row["func"], _known(row["func"], row["kwargs"]))
    options.update({k: v for k, v in changes.items() if k in options})
    with tf.Graph().as_default():  # without a session: nothing is initialized
        net = tflib.Network(name.rsplit(":", 1)[1], builder, **options)
        trainable = {variable.name for variable in tf.trainable_variables()}
    return [(k, v.shape.as_list(), v.name in trainable) for k, v in net.vars.items()]


def _known(func, kwargs):
    """The published functions swallow what they do not know; these are such cases on record."""
    swallowed = (
        ("label_size", "mapping_layersnum") if func in ("Generator", "Discriminator") else ()
    )
    return {k: v for k, v in kwargs.items() if k not in swallowed}


@functools.lru_cache(maxsize=None)
def _want(name):
    return list(_flat(GOLDEN["variables"][NETWORKS[name]["variables"]]))


def _parameters():
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[] if name in QUICK else [slow]) for name in NETWORKS]


@pytest.mark.parametrize("name", _parameters())
def test_variables_are_the_published_ones(name):
    assert _build(name) == _want(name)


@pytest.mark.parametrize("name", [p for p in _parameters() if not p.values[0].startswith(REPAIRED)])
def test_repaired_networks_have_the_same_variables(name):
    """Without quirks, computations differ, variables do not."""
    if not name.startswith("stylegan2"):
        assert _build(name, quirks=()) == _want(name)


def test_the_table_is_read_right():
    """A wrong reader would compare nothing with nothing."""
    assert len(NETWORKS) == 144
    want = _want("head__01_gansformer_clevr:G")
    assert want[0] == ("ltnt_emb/emb", [8, 16], True)
    assert want[1] == ("dlatent_avg", [16], False)
    assert ("G_synthesis/4x4/Conv/noise_strength", [], True) in want
    assert len(want) == 231
