"""Snapshots of StyleGAN2-ADA and GANsformer's PyTorch version give what their own code gave."""

import pickle

import numpy as np
import pytest
from foreign_calls import CALLS, errors

from dnnlib import tflib

TOLERANCE = 1e-4

SAMPLES = (
    "ada__cifar_r32",
    "ada_torch__fp16_r32",
    "gf_torch__clevr_r32",
    "ada__auto_r32",
    "ada_torch__labels_r32",
)
QUICK = ("Gs_psi05_cutoff3_images", "Gs_psi1_ws", "Gs_psi1_maps", "Gs_mapping_w", "D_scores_batch4")


def load(data_dir, name):
    path = data_dir / "conformance" / "foreign" / f"{name}.pkl"
    return path, dict(np.load(str(path.with_suffix(".npz"))))


@pytest.mark.parametrize("name", SAMPLES[:3])
def test_main_outputs(session, data_dir, name):
    path, data = load(data_dir, name)
    worst = errors(tflib.load_networks(path), data, QUICK)
    assert len(worst) >= 3
    assert max(worst.values()) < TOLERANCE, worst


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_all_outputs(optimized_session, data_dir, name):
    path, data = load(data_dir, name)
    worst = errors(tflib.load_networks(path), data)
    assert "G_psi1_images" in worst and len(worst) >= 9
    assert max(worst.values()) < TOLERANCE, worst


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ada_torch__labels_r32", "gf_torch__clevr_r32"])
def test_saved_as_ours(optimized_session, data_dir, tmp_path, name):
    """Once read, it is a snapshot like any other: no class of other code in it."""
    path, data = load(data_dir, name)
    tflib.save_networks(tflib.load_networks(path), tmp_path / "ours.pkl")
    assert b"torch." not in (tmp_path / "ours.pkl").read_bytes()
    worst = errors(tflib.load_networks(tmp_path / "ours.pkl"), data, list(CALLS)[:1])
    assert max(worst.values()) < TOLERANCE


def test_plain_pickle_opens_ada_in_tensorflow(session, data_dir):
    """As that code's own scripts do; PyTorch's files name modules that this project has not."""
    path, data = load(data_dir, "ada__cifar_r32")
    with path.open("rb") as file:
        _G, _D, Gs = pickle.load(file)
    w = Gs.components.mapping.run(data["z"], data["labels"])
    assert np.abs(w[:, 0] - data["Gs_mapping_w"]).max() < TOLERANCE
    path, _ = load(data_dir, "ada_torch__fp16_r32")
    with path.open("rb") as file, pytest.raises(ImportError):
        pickle.load(file)
