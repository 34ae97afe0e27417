"""Scripts in the manner of StyleGAN2's and StyleGAN2-ADA's run unmodified over our modules.

Generating, style mixing, projecting and measuring, on snapshots of StyleGAN2, of both GANsformer
codes and of our own.
"""

import pickle
import re

import numpy as np
import PIL.Image
import pytest
from tiny_records import write_set

import dnnlib
import pretrained_networks
import projector
from dnnlib import tflib
from dnnlib.errors import UserError
from metrics import metric_base
from metrics.metric_defaults import metric_defaults
from training import dataset, misc

FAMILIES = ("stylegan2__config_f_r32", "legacy__03_stylegan2_r32", "head__01_gansformer_clevr_r32")


@pytest.fixture
def snapshot(session, data_dir, monkeypatch):
    """Function name => path of a published snapshot; "ours": one of our own."""
    monkeypatch.setattr(pretrained_networks, "_cached_networks", {})
    return lambda name: str(data_dir / "conformance" / "networks" / f"{name}.pkl")


@pytest.fixture
def records(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, [7, 3, 32, 32]).astype(np.uint8)
    write_set(tmp_path / "pictures", images)
    return tmp_path, images


# Functions as a script has them at its top level, called through submit_run by their names.


def generate_images(network_pkl, seeds, truncation_psi):
    _G, _D, Gs = pretrained_networks.load_networks(network_pkl)
    noise_vars = [
        var for name, var in Gs.components.synthesis.vars.items() if name.startswith("noise")
    ]
    kwargs = dnnlib.EasyDict()
    kwargs.output_transform = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
    kwargs.randomize_noise = False
    if truncation_psi is not None:
        kwargs.truncation_psi = truncation_psi
    for seed in seeds:
        rnd = np.random.RandomState(seed)
        z = rnd.randn(1, *Gs.input_shape[1:])
        tflib.set_vars({var: rnd.randn(*var.shape.as_list()) for var in noise_vars})
        outputs = Gs.run(z, None, **kwargs)
        images = outputs[0] if isinstance(outputs, tuple) else outputs
        path = dnnlib.make_run_dir_path(f"seed{seed:04d}.png")
        PIL.Image.fromarray(images[0], "RGB").save(path)


def project_images(network_pkl, dataset_name, data_dir, num_images, num_steps):
    _G, _D, Gs = pretrained_networks.load_networks(network_pkl)
    proj = projector.Projector()
    proj.num_steps, proj.dlatent_avg_samples = num_steps, 17
    proj.set_network(Gs)
    reals = dataset.load_dataset(
        data_dir=data_dir, tfrecord_dir=dataset_name, max_label_size=0, repeat=False, shuffle_mb=0
    )
    assert reals.shape == Gs.output_shape[1:]
    for index in range(num_images):
        images, _labels = reals.get_minibatch_np(1)
        images = misc.adjust_dynamic_range(images, [0, 255], [-1, 1])
        prefix = dnnlib.make_run_dir_path(f"image{index:04d}-")
        misc.save_image_grid(images, prefix + "target.png", drange=[-1, 1])
        proj.start(images)
        while proj.get_cur_step() < proj.num_steps:
            proj.step()
        misc.save_image_grid(proj.get_images(), prefix + "found.png", drange=[-1, 1])
        np.savez(prefix + "found.npz", *proj.get_noises(), w=proj.get_dlatents())


def measure(network_pkl, metrics, data_dir, dataset_name):
    group = metric_base.MetricGroup(metrics)
    group.run(
        pretrained_networks.get_path_or_url(network_pkl),
        data_dir=data_dir,
        dataset_args=dnnlib.EasyDict(tfrecord_dir=dataset_name, shuffle_mb=0),
        mirror_augment=False,
        num_gpus=1,
    )
    return group.get_result_str()


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Function (name, **kwargs) => what it returns, run in a run directory of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(function, **kwargs):
        config = dnnlib.SubmitConfig()
        config.submit_target = dnnlib.SubmitTarget.LOCAL
        config.local.do_not_copy_source_files = True
        config.run_dir_root = str(tmp_path / "results")
        config.run_desc = function
        return dnnlib.submit_run(config, f"{__name__}.{function}", **kwargs)

    return run


@pytest.mark.parametrize("family", FAMILIES)
def test_generate(snapshot, submit, tmp_path, family):
    submit("generate_images", network_pkl=snapshot(family), seeds=[3, 5], truncation_psi=0.5)
    first, second = (
        np.asarray(PIL.Image.open(str(tmp_path / f"results/00000-generate_images/seed{n:04d}.png")))
        for n in (3, 5)
    )
    assert first.shape == (32, 32, 3) and not np.array_equal(first, second)


def test_project(snapshot, submit, records, tmp_path):
    folder, images = records
    submit(
        "project_images",
        network_pkl=snapshot(FAMILIES[0]),
        dataset_name="pictures",
        data_dir=str(folder),
        num_images=2,
        num_steps=6,
    )
    run_dir = tmp_path / "results" / "00000-project_images"
    target = np.asarray(PIL.Image.open(str(run_dir / "image0001-target.png")))
    assert np.abs(target.astype(int) - images[1].transpose(1, 2, 0)).max() <= 1
    found = np.load(str(run_dir / "image0001-found.npz"))
    assert found["w"].shape == (1, 8, 32)
    assert [found[f"arr_{i}"].shape[-1] for i in range(7)] == [4, 8, 8, 16, 16, 32, 32]


def test_project_comes_closer(snapshot, records):
    (_G, _D, Gs) = pretrained_networks.load_networks(snapshot(FAMILIES[2]))
    target = Gs.run(np.random.RandomState(1).randn(1, *Gs.input_shape[1:]), None)[0]
    proj = projector.Projector()
    proj.num_steps, proj.dlatent_avg_samples, proj.verbose = 12, 40, True
    proj.set_network(Gs)
    proj.start(target)
    before = np.square(proj.get_images() - target).mean()
    found = proj.run(target)
    assert np.square(found.images - target).mean() < 0.7 * before
    assert found.dlatents.shape == (1, *Gs.components.synthesis.input_shape[1:])
    assert np.array_equal(proj.get_images(), found.images)
    with pytest.raises(ValueError, match="target_images"):
        proj.start(target[:, :, :8])


def test_measure(snapshot, submit, records, tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    kwargs = dict(metric_defaults["fid50k"], num_images=7, features="random")
    line = submit(
        "measure",
        network_pkl=snapshot(FAMILIES[0]),
        metrics=[kwargs],
        data_dir=str(records[0]),
        dataset_name="pictures",
    )
    assert re.search(r"^stylegan2__config_f_r32 +time .* fid-7-random \d+\.\d{4}$", line)
    assert {"fid50k", "kid50k", "pr50k3", "ppl2_wend", "is50k"} <= set(metric_defaults)


def test_style_mixing_in_the_manner_of_ada(snapshot, tmp_path):
    """ADA's scripts read the pickle themselves, and mix ws layer by layer."""
    tflib.init_tf()
    with dnnlib.util.open_url(snapshot(FAMILIES[0])) as file:
        _G, _D, Gs = pickle.load(file, encoding="latin1")
    w_avg = Gs.get_var("dlatent_avg")
    synthesis_kwargs = dict(
        output_transform=dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True),
        randomize_noise=False,
        minibatch_size=4,
    )
    z = np.stack([np.random.RandomState(seed).randn(*Gs.input_shape[1:]) for seed in (1, 2, 3)])
    w = w_avg + (Gs.components.mapping.run(z, None) - w_avg) * 0.7
    images = Gs.components.synthesis.run(w, **synthesis_kwargs)
    mixed = w[0].copy()
    mixed[[0, 1, 2]] = w[1][[0, 1, 2]]
    image = Gs.components.synthesis.run(mixed[np.newaxis], **synthesis_kwargs)[0]
    assert image.shape == images[0].shape and not np.array_equal(image, images[0])
    canvas = PIL.Image.new("RGB", (64, 32), "black")
    canvas.paste(PIL.Image.fromarray(images[0], "RGB"), (0, 0))
    canvas.save(str(tmp_path / "grid.png"))


def test_names_of_the_network_interface(snapshot):
    _G, _D, Gs = pretrained_networks.load_networks(snapshot(FAMILIES[0]))
    assert pretrained_networks.load_networks(snapshot(FAMILIES[0]))[2] is Gs  # remembered
    var = Gs.find_var("dlatent_avg")
    assert Gs.get_var_local_name(var) == Gs.get_var_local_name(var.name) == "dlatent_avg"
    names = {op.name for op in Gs.list_ops()}
    assert any(name.endswith("images_out") for name in names)
    other = Gs.convert(Gs.builder, new_name="Other", resolution=32, **_sizes(Gs))
    assert other.name == "Other"
    assert np.array_equal(other.get_var("dlatent_avg"), Gs.get_var("dlatent_avg"))


def _sizes(net):
    return {k: v for k, v in net.static_kwargs.items() if k != "resolution"}


def test_summaries(session, tmp_path):
    tf = tflib.compat.tf
    placeholder = tf.placeholder(tf.float32, [])
    shown = tflib.autosummary("Loss/x", placeholder, condition=placeholder > 0)
    tf.summary.scalar("own", tf.constant(2.5))
    tflib.finalize_autosummaries()
    for value in (3.0, 5.0, -100.0):
        assert tflib.run(shown, {placeholder: value}) == value
    assert tflib.autosummary("Loss/y", 1.0, passthru="kept") == "kept"
    writer = tf.summary.FileWriter(str(tmp_path))
    tflib.save_summaries(writer, 7)
    writer.close()
    (path,) = tmp_path.iterdir()
    values = {}
    for event in tf.train.summary_iterator(str(path)):
        values.update({v.tag: v.simple_value for v in event.summary.value})
    assert values == {"Loss/x": 4.0, "Loss/y": 1.0, "own": 2.5}


def test_small_functions_of_tflib(session):
    assert np.allclose(tflib.run([tflib.log2(8.0), tflib.exp2(3.0)]), [3, 8])
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    variable = tflib.create_var_with_large_initial_value(array, trainable=False, name="large")
    assert np.array_equal(tflib.run(variable), array)
    with pytest.raises(UserError, match="must be one of fused_bias_act"):
        tflib.custom_ops.get_plugin("kernels/bicubic.cu")


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(tf_optimizer="tf.train.GradientDescentOptimizer"), "must be one of tf.train.Adam"),
        (dict(use_loss_scaling=True), "nothing is computed in float16"),
    ],
)
def test_optimizers_that_are_not_there_say_why(session, options, words):
    with pytest.raises(UserError, match=words):
        tflib.Optimizer("O", **options)


def test_optimizer_keywords(session):
    tf = tflib.compat.tf
    variable = tf.get_variable("x", [], initializer=tf.initializers.ones(), use_resource=True)
    opt = tflib.Optimizer(
        name="O", tf_optimizer="tf.train.AdamOptimizer", minibatch_multiplier=2, learning_rate=0.5
    )
    opt.register_gradients(variable * 3.0, [variable])
    update = opt.apply_updates()
    tflib.init_uninitialized_vars()
    tflib.run(update)
    assert tflib.run(variable) == 1.0  # half of an update
    tflib.run(update)
    assert np.isclose(tflib.run(variable), 0.5)
    idle = tflib.Optimizer("Idle").apply_updates(allow_no_op=True)
    tflib.run(idle)


def test_pictures(tmp_path):
    images = np.random.RandomState(0).rand(5, 3, 6, 4).astype(np.float32)
    grid = misc.create_image_grid(images)
    assert grid.shape == (3, 12, 12) and np.array_equal(grid[:, 6:, :4], images[3])
    assert not grid[:, 6:, 8:].any()
    assert misc.create_image_grid(images, (5, 1)).shape == (3, 6, 20)
    picture = np.asarray(misc.convert_to_pil_image(images[0], [0, 1]))
    assert np.abs(picture.transpose(2, 0, 1) - images[0] * 255).max() <= 0.51
    assert misc.convert_to_pil_image(images[0, 0]).mode == "L"
    misc.save_image_grid(images, tmp_path / "grid.png", drange=[0, 1], grid_size=(2, 3))
    assert PIL.Image.open(str(tmp_path / "grid.png")).size == (8, 18)
    assert np.allclose(
        misc.adjust_dynamic_range(np.array([0.0, 255.0]), [0, 255], [-1, 1]), [-1, 1]
    )
    np.random.seed(1)
    mirrored = misc.apply_mirror_augment(images)
    is_flipped = [not np.array_equal(a, b) for a, b in zip(mirrored, images)]
    assert 0 < sum(is_flipped) < 5
    assert all(
        np.array_equal(a, b[..., ::-1] if flip else b)
        for a, b, flip in zip(mirrored, images, is_flipped)
    )
    misc.save_pkl({"a": 1}, tmp_path / "a.pkl")
    with misc.open_file_or_url(str(tmp_path / "a.pkl")) as file:
        assert pickle.load(file) == {"a": 1}


def test_minibatches(records):
    folder, images = records
    options = dict(data_dir=str(folder), tfrecord_dir="pictures", class_name="any", verbose=True)
    ordered = dataset.load_dataset(**options, repeat=False, shuffle_mb=0)
    ordered.configure(4)
    assert np.array_equal(ordered.get_minibatch_np()[0], images[:4])
    assert np.array_equal(ordered.get_minibatch_np(3)[0], images[4:])
    with pytest.raises(StopIteration):
        ordered.get_minibatch_np(1)
    shuffled = dataset.load_dataset(**options, seed=3)
    seen = shuffled.get_minibatch_np(7)[0]
    assert not np.array_equal(seen, images)
    assert sorted(seen.sum(axis=(1, 2, 3))) == sorted(images.sum(axis=(1, 2, 3)))
    assert shuffled.get_random_labels_np(2).shape == (2, 0) == (2, shuffled.label_size)
    with pytest.raises(UserError, match="lod=1"):
        shuffled.configure(4, lod=1)
    (sheet, reals, labels) = misc.setup_snapshot_image_grid(dataset.Dataset(folder / "pictures"))
    assert sheet == (32, 32) and len(reals) == len(labels) == 32 * 32


def test_every_name_of_the_page_is_there(root):
    text = (root / "docs" / "stylegan2_api.md").read_text(encoding="utf-8").split("## Not there")[0]
    names = re.findall(r"^\| `([\w.]+)` \|", text, re.M)
    assert len(names) > 70
    for name in names:
        assert dnnlib.util.get_obj_by_name(name) is not None
