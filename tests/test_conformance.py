"""Published snapshots load and give what the code that wrote them gave."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from published_calls import (
    HEAD,
    INPUTS,
    NETWORKS,
    STYLEGAN2,
    family,
    run_discriminator,
    run_generator,
)

from dnnlib import tflib

TOLERANCE = 1e-4


def _generator_outputs(G, Gs, code, data):
    """{key of the samples: our value}, for those that the generators give."""
    z, c = data["z"], data["labels"]
    want_ws = code != STYLEGAN2
    full = run_generator(Gs, code, z, c, truncation_psi=1, want_ws=want_ws)
    psi07 = run_generator(Gs, code, z, c, truncation_psi=0.7, want_ws=want_ws)
    found = {
        "Gs_psi1_images": full.images,
        "Gs_psi07_images": psi07.images,
        "Gs_default_psi_images": run_generator(Gs, code, z, c).images,
        "Gs_validation_images": run_generator(Gs, code, z, c, is_validation=True).images,
        "G_psi1_images": run_generator(
            G, code, z, c, truncation_psi=1, fused_modconv=False, batch_size=3
        ).images,
    }
    options = dict(truncation_psi=0.5, truncation_cutoff=3, minibatch_size=4)
    found["Gs_psi05_cutoff3_images"] = run_generator(Gs, code, z, c, **options).images
    if code == STYLEGAN2:
        w = Gs.components.mapping.run(z, c)
        assert w.shape[1] == Gs.components.synthesis.input_shape[1]
        assert np.all(w == w[:, :1])
        found["Gs_mapping_w"] = w[:, 0]
        found["synthesis_images"] = Gs.components.synthesis.run(
            data["synthesis_ws_in"], randomize_noise=False
        )
        return found
    assert np.all(full.ws == full.ws[:, :, :1])  # all layers alike
    found["Gs_psi1_ws"], found["Gs_psi07_ws"] = full.ws[:, :, 0], psi07.ws[:, :, 0]
    ws = data["take_ws_in"]
    found["take_ws_images"] = run_generator(Gs, code, ws, c, take_ws=True, truncation_psi=1).images
    if code == HEAD:
        found["Gs_psi1_nonoise_images"] = run_generator(
            Gs, code, z, c, truncation_psi=1, noise_mode="none"
        ).images
    if full.maps is not None:
        found["Gs_psi1_maps"] = full.maps[:2]
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_snapshot_gives_the_published_outputs(optimized_session, data_dir, name):
    path = data_dir / "conformance" / "networks" / name
    data = np.load(str(path.with_suffix(".npz")))
    G, D, Gs = tflib.load_networks(str(path.with_suffix(".pkl")))
    code = HEAD if name.startswith("head") else family("G_main" if "config" in name else "G_GAN")

    found = _generator_outputs(G, Gs, code, data)
    images = data["D_images_in"]
    labels = data["D_labels_in"] if "D_labels_in" in data.files else None
    for n in (8, 4, 2):
        c = None if labels is None else labels[:n]
        found[f"D_scores_batch{n}"] = run_discriminator(D, code, images[:n], c)
    found["D_scores_of_Gs_psi1"] = run_discriminator(D, code, data["Gs_psi1_images"])

    recorded = set(data.files) - INPUTS
    assert recorded <= set(found)
    worst = {key: float(np.abs(found[key] - data[key]).max()) for key in sorted(recorded)}
    print(name, "largest error", max(worst.values()))
    assert max(worst.values()) < TOLERANCE, worst


@pytest.mark.parametrize("name", ["head__24_kgan_resnet_r64", "legacy__03_stylegan2_r32"])
def test_published_networks_without_attention_give_zeros_for_maps(session, data_dir, name):
    path = data_dir / "conformance" / "networks" / f"{name}.pkl"
    Gs = tflib.load_networks(str(path), only=-1)
    z = np.zeros([2, *Gs.input_shape[1:]], np.float32)
    images, maps = Gs.run(z, None)
    assert images.shape == (2, *Gs.output_shape[1:])
    assert maps.tolist() == [0, 0]
    assert len(Gs.run(z, None, return_ws=True)) == 3


def test_minibatch_groups_follow_the_batch_size(optimized_session, data_dir):
    """Scores of eight samples in batches of four are those of two batches, not of one."""
    path = data_dir / "conformance" / "networks" / "legacy__03_stylegan2_r32"
    data = np.load(str(path.with_suffix(".npz")))
    D = tflib.load_networks(str(path.with_suffix(".pkl")))[1]
    images = data["D_images_in"]
    at_once = run_discriminator(D, family("G_GANformer"), images)
    by_four = run_discriminator(D, family("G_GANformer"), images, batch_size=4)
    assert np.abs(by_four[:4] - data["D_scores_batch4"]).max() < TOLERANCE
    assert np.abs(by_four - at_once).max() > 100 * TOLERANCE


def _layers_below(images, prefix):
    """{scope: output of the layer, NCHW}: what is made in a scope and used outside of it."""
    found = {}
    for op in images.graph.get_operations():
        if not op.name.startswith(prefix):
            continue
        scope = op.name[len(prefix) :].rpartition("/")[0]
        while scope:
            for tensor in op.outputs:
                inside = f"{prefix}{scope}/"
                leaves = any(not user.name.startswith(inside) for user in tensor.consumers())
                if leaves and tensor.shape.ndims == 4:
                    found[scope] = tensor  # the last one
            scope = scope.rpartition("/")[0]
    return {scope: tf.transpose(x, [0, 3, 1, 2]) for scope, x in found.items()}


def test_layers_give_what_the_published_layers_gave(session, data_dir):
    """One sample, layer by layer; so an error is found where it begins."""
    path = data_dir / "conformance" / "networks" / "head__02_gansformer_ffhq_r32"
    want, data = np.load(str(path) + "_debug.npz"), np.load(str(path.with_suffix(".npz")))
    synthesis = tflib.load_networks(str(path.with_suffix(".pkl")), only=-1).components.synthesis
    ws = np.tile(data["Gs_psi1_ws"][:1, :, np.newaxis], [1, 1, synthesis.input_shape[2], 1])
    images = synthesis.get_output_for(
        tf.constant(ws), noise_mode="const", maps="none", return_as_list=True
    )[0]
    layers = _layers_below(images, images.op.name.rpartition("/")[0] + "/")
    # Ours multiplies the last two filters with each other, and learned constants with nothing.
    exposed = set(want.files) - {"32x32/ToRGB/extraLayer", "4x4/Const"}
    assert len(exposed) == 11
    assert exposed <= set(layers)
    found = tflib.run({name: layers[name] for name in exposed})
    for name, value in found.items():
        # Our last convolution of a block has the residual sum's factor in it already.
        other = want[name] / np.float32(np.sqrt(2)) if name.endswith("/Conv1") else want[name]
        assert value.shape == other.shape
        assert np.abs(value - other).max() < TOLERANCE * max(1, np.abs(other).max()), name
    const = np.abs(synthesis.get_var("4x4/Const/const") - want["4x4/Const"])
    assert const.max() < TOLERANCE
