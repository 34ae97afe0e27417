"""Every form of attention starts sane: the spread of images and of gradients of fresh networks.

Latents that accumulate from layer to layer without normalisation, say, start with images of a
deviation of hundreds, whose losses no training recovers from.
"""

import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT

from dnnlib import tflib

sys.path.insert(0, str(ROOT / "bench"))

from starts import MAPPING, NUM_LATENTS, spreads

FORMS = {
    "simplex": {},
    "kmeans": dict(kmeans=True),
    "kmeans, two steps": dict(kmeans=True, kmeans_iters=2),
    "iterative": dict(kmeans=True, iterative=True),
    "duplex": dict(duplex=True),
}
LATENT_STEPS = {
    "no steps": {},
    "image to latents": dict(img2ltnt=True),
    "between latents": dict(ltnt2ltnt=True),
    "both steps": dict(img2ltnt=True, ltnt2ltnt=True),
}


def check(image_spread, gradient_length):
    assert 0.2 <= image_spread <= 10
    assert 0.2 <= gradient_length / np.sqrt(NUM_LATENTS) <= 10  # of one latent


@pytest.mark.parametrize("integration", ["add", "both"])
@pytest.mark.parametrize("steps", LATENT_STEPS)
def test_small_networks(steps, integration):
    check(*spreads(16, integration=integration, **LATENT_STEPS[steps]))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("integration", ["add", "mul", "both"])
@pytest.mark.parametrize("steps", LATENT_STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_all_forms(form, steps, integration, architecture):
    options = {**FORMS[form], **LATENT_STEPS[steps]}
    if options.get("duplex") and options.get("img2ltnt"):
        pytest.skip("--duplex updates the latents from the image already")
    mapping = MAPPING if steps == "both steps" else ()
    check(*spreads(32, mapping, integration=integration, architecture=architecture, **options))


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [64, 128, 256])
@pytest.mark.parametrize(
    "options",
    [
        dict(img2ltnt=True, ltnt2ltnt=True, integration="both"),
        dict(kmeans=True, img2ltnt=True, ltnt2ltnt=True, integration="both"),
        dict(duplex=True, ltnt2ltnt=True, integration="both"),
        dict(img2ltnt=True, ltnt2ltnt=True, integration="both", architecture="skip"),
        dict(img2ltnt=True, integration="both", architecture="orig"),
        dict(local_attention=4, integration="add"),
        dict(img2img=4, integration="mul"),
        dict(ltnt_gate=True, img_gate=True, integration="both"),
    ],
    ids="-".join,
)
def test_large_networks(options, resolution):
    check(*spreads(resolution, MAPPING if "ltnt2ltnt" in options else (), **options))


def test_latents_are_normalised_after_each_step(session):
    """Y := LayerNorm(Y + a(Y, X)), Sec. 3.1.2; not in published snapshots, which were trained
    without.
    """
    from training.model.attention import layer_norm  # noqa: PLC0415 - where it lives is no matter

    x = np.random.RandomState(0).randn(2, 3, 7) * 100 + 30
    y = tflib.run(layer_norm(tf.constant(x)))
    assert np.allclose(y.mean(axis=-1), 0) and np.allclose(y.std(axis=-1), 1)
