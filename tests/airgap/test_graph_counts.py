"""What a training step has TensorFlow do on a GPU that is only named: no detours."""

import sys

import pytest
from conftest import ROOT

from dnnlib.tflib import native
from dnnlib.tflib.compat import TF_VERSION

sys.path.insert(0, str(ROOT / "bench"))

import common
import graph_counts

SIZES = "--resolution 16 --channel-max 16 --components-num 2 --batch-size 2 --custom-ops ref"


@pytest.mark.slow
@pytest.mark.skipif(TF_VERSION < (2, 0), reason="the optimizer's interface of TensorFlow 2")
def test_a_step_on_a_gpu_makes_no_detours():
    parser = common.build_parser("")
    parser.set_defaults(architecture="9.0", model="GANsformer")
    try:
        found = graph_counts.measure(parser.parse_args(SIZES.split()))
    finally:
        native.set_custom_ops("auto")
    assert set(found) == {"G", "D", "D_reg"}
    for phase, forms in found.items():
        written, left = forms["as written"], forms["layouts left alone"]
        assert left["inserted"] == 0, phase
        assert left["transpositions"] <= written["transpositions"], phase
        assert forms["layouts rewritten"]["inserted"] > 0, phase
        assert left["casts"] <= written["casts"] <= 20, phase
        assert forms["host reads"] == [], phase
        assert 0 < forms["bytes fed"] <= 8 + 3 * 4, phase  # images shown, round, phase, augment_p
        assert forms["bytes copied ahead"] == 2 * 3 * 16 * 16
