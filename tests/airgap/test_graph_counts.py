"""What a training step has TensorFlow do on a GPU that is only named: no detours."""

import pathlib
import sys

import pytest

from dnnlib.tflib import native, precision
from dnnlib.tflib.compat import TF_VERSION

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))

import common
import graph_counts

SIZES = "--resolution 16 --channel-max 16 --components-num 2 --batch-size 2 --custom-ops ref"


@pytest.fixture
def counts():
    def measure(*more):
        parser = common.build_parser("")
        parser.set_defaults(architecture="9.0", model="GANsformer")
        return graph_counts.measure(parser.parse_args([*SIZES.split(), *more]))

    yield measure
    precision.set_precision("float32")
    native.set_custom_ops("auto")


@pytest.mark.slow
@pytest.mark.skipif(TF_VERSION < (2, 0), reason="the optimizer's interface of TensorFlow 2")
@pytest.mark.parametrize("choice", ["float32", "bfloat16"])
def test_a_step_on_a_gpu_makes_no_detours(counts, choice):
    found = counts("--precision", choice)
    assert set(found) == {"G", "D", "D_reg"}
    for phase, forms in found.items():
        written, left = forms["as written"], forms["layouts left alone"]
        assert left["inserted"] == 0, phase
        assert left["transpositions"] <= written["transpositions"], phase
        # In float32 the optimizer may go over to [N, C, H, W], in bfloat16 it must not.
        assert (forms["layouts rewritten"]["inserted"] > 0) == (choice == "float32"), phase
        assert left["casts"] <= written["casts"] <= (20 if choice == "float32" else 400), phase
        # The one round trip: whether the gradient is finite.
        assert len(forms["host reads"]) == 1 and "cond" in forms["host reads"][0], phase
