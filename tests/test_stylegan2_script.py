"""Programs written for StyleGAN2's tflib run unchanged: sampling, truncation and mixing by hand,
projection.
"""

import pickle

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import dnnlib
from dnnlib import tflib
from training import loss
from training.batch import Batch

STYLEGAN2 = "stylegan2__config_f_r32"
GANSFORMER = "head__01_gansformer_clevr_r32"


@pytest.fixture
def open_pickle(session, data_dir):
    def load(name):
        tflib.init_tf()
        path = data_dir / "conformance" / "networks" / f"{name}.pkl"
        with path.open("rb") as f:
            return pickle.load(f, encoding="latin1"), np.load(path.with_suffix(".npz"))

    return load


def test_sample(open_pickle, capsys):
    (_G, _D, Gs), _ = open_pickle(STYLEGAN2)
    noise_vars = [v for k, v in Gs.components.synthesis.vars.items() if k.startswith("noise")]
    assert len(noise_vars) == 7
    kwargs = dnnlib.EasyDict()
    kwargs.output_transform = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
    kwargs.randomize_noise = False
    kwargs.truncation_psi = 0.7
    assert (Gs.static_kwargs.resolution, Gs.static_kwargs["num_channels"]) == (32, 3)
    Gs.print_layers()
    table = capsys.readouterr().out
    assert "G_synthesis/32x32/Conv1" in table and "G_mapping/Dense7" in table
    z = np.random.RandomState(5).randn(1, *Gs.input_shape[1:])
    tflib.set_vars({v: np.random.RandomState(5).randn(*v.shape.as_list()) for v in noise_vars})
    images = Gs.run(z, None, **kwargs)
    assert (images.shape, images.dtype) == ((1, 32, 32, 3), np.uint8)
    assert np.array_equal(Gs.run(z, None, **kwargs), images)
    kwargs.randomize_noise = True
    assert not np.array_equal(Gs.run(z, None, **kwargs), images)


def test_mix_styles_by_hand(open_pickle):
    """Styles of rows and columns, mixed layer by layer, as uint8 pictures."""
    (_G, _D, Gs), data = open_pickle(STYLEGAN2)
    z = data["z"]
    w = Gs.components.mapping.run(z, None)  # [4, 8, 32]
    w_avg = Gs.get_var("dlatent_avg")
    truncated = w_avg + (w - w_avg) * 0.7
    options = dict(randomize_noise=False, minibatch_size=3)
    images = Gs.components.synthesis.run(truncated, **options)
    assert np.abs(images - data["Gs_psi07_images"]).max() < 1e-4
    mixed = truncated[:1].copy()
    mixed[:, 4:] = truncated[1:2, 4:]
    mixture = Gs.components.synthesis.run(mixed, **options)
    assert np.abs(mixture - images[:1]).max() > 0.01
    assert np.abs(mixture - images[1:2]).max() > 0.01

    fmt = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
    kwargs = dnnlib.EasyDict(output_transform=fmt, randomize_noise=False, minibatch_size=4)
    all_z = np.stack([np.random.RandomState(seed).randn(*Gs.input_shape[1:]) for seed in (1, 2)])
    all_w = Gs.components.mapping.run(all_z, None)
    all_w = w_avg + (all_w - w_avg) * 0.7
    row, col = all_w.copy()
    row[[0, 1, 2]] = col[[0, 1, 2]]
    pictures = Gs.components.synthesis.run(np.stack([row, col]), **kwargs)
    assert (pictures.shape, pictures.dtype) == ((2, 32, 32, 3), np.uint8)
    alone = Gs.components.synthesis.run(row[np.newaxis], **kwargs)[0]
    assert np.abs(alone.astype(int) - pictures[0]).max() <= 1
    assert np.any(pictures[0] != pictures[1])


def test_project(open_pickle, session):
    """Find latents and noise for a picture by gradient descent through the synthesis network."""
    (_G, _D, Gs), data = open_pickle(STYLEGAN2)
    synthesis = Gs.components.synthesis
    target = data["Gs_psi07_images"][:1]
    w = tf.Variable(np.tile(Gs.get_var("dlatent_avg"), [1, 1, 1]), dtype=tf.float32)
    step_size = tf.placeholder(tf.float32, [])
    ws = tf.tile(w, [1, synthesis.input_shape[1], 1])
    images = synthesis.get_output_for(ws, randomize_noise=False)
    distance = tf.reduce_mean(tf.square(images - target))
    noise_vars = []
    while f"G_synthesis/noise{len(noise_vars)}" in Gs.vars:
        noise_vars.append(Gs.vars[f"G_synthesis/noise{len(noise_vars)}"])
    found = [v for k, v in synthesis.vars.items() if k.startswith("noise")]
    assert [v.name for v in found] == [v.name for v in noise_vars] and len(found) == 7
    # Measuring paths between images, both networks get what is meant for the outer one.
    w_of_z = Gs.components.mapping.get_output_for(data["z"][:1], None, is_validation=True)
    same = synthesis.get_output_for(w_of_z, randomize_noise=False, is_validation=True)
    assert np.abs(tflib.run(same) - data["Gs_psi1_images"][:1]).max() < 1e-4
    tflib.run([tf.assign(v, tf.random_normal(tf.shape(v))) for v in noise_vars])
    opt = tflib.Optimizer(learning_rate=step_size)
    opt.register_gradients(distance, [w, *noise_vars])
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    opt.reset_optimizer_state()
    before = tflib.run(distance)
    for _ in range(30):
        tflib.run(update, {step_size: 0.1})
    assert tflib.run(distance) < 0.5 * before


@pytest.mark.slow
def test_train_its_networks_with_our_losses(open_pickle):
    """The losses give every network what a training gives: random numbers, training mode."""
    (G, D, _Gs), data = open_pickle(STYLEGAN2)
    rng = tflib.StepRandom(0, tf.constant(0, tf.int64), 4)
    reals = tf.constant(data["D_images_in"][:4])
    batch = Batch(G, D, rng, tf.zeros([4, 0]), reals)
    losses = [
        loss.generator_loss(batch),
        loss.path_lengths(batch),
        loss.discriminator_loss(batch),
        loss.discriminator_penalty(batch),
    ]
    for value, net in zip(losses, (G, G, D, D)):
        assert tflib.run(value).shape[0] == 4
        norms = [
            tf.norm(g) for g in tf.gradients(value, list(net.trainables.values())) if g is not None
        ]
        norms = np.array(tflib.run(norms))
        assert np.all(np.isfinite(norms)) and norms.max() > 0


def test_sample_a_gansformer_the_same_way(open_pickle):
    """Its generator gives attention maps as well; what acts on images acts on the images."""
    (_G, _D, Gs), data = open_pickle(GANSFORMER)
    transform = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
    options = dict(truncation_psi=0.7, randomize_noise=False, minibatch_size=3)
    images, maps = Gs.run(data["z"], None, output_transform=transform, **options)
    assert (images.shape, images.dtype) == ((4, 32, 32, 3), np.uint8)
    expected = np.clip(data["Gs_psi07_images"] * 127.5 + 128, 0, 255).transpose(0, 2, 3, 1)
    assert np.abs(images - expected).max() < 1.01
    assert maps.shape[:2] == (4, 8)
    ws = Gs.components.mapping.run(data["z"], None)
    assert np.abs(ws[:, :, 0] - data["Gs_psi1_ws"]).max() < 1e-4
    w_avg = Gs.get_var("dlatent_avg")
    truncated = w_avg + (ws - w_avg) * 0.7
    again, _ = Gs.components.synthesis.run(truncated, noise_mode="const")
    assert np.abs(again - data["Gs_psi07_images"]).max() < 1e-4
    scripts, _ = Gs.components.synthesis.run(truncated, randomize_noise=False)
    assert np.array_equal(scripts, again)
    varied, _ = Gs.components.synthesis.run(truncated, randomize_noise=True)
    assert np.abs(varied - again).max() > 1e-3
