"""Settings by rule, for --auto and for sets that a preset says nothing about."""

import pytest

from config import presets, rules
from config.resolve import parse, resolve
from dnnlib.errors import UserError


@pytest.mark.parametrize(
    "resolution, devices, batch, gamma",
    # StyleGAN2-ADA's automatic configuration, for one, two and eight GPUs.
    [
        (256, 1, 16, 0.8192),
        (256, 2, 32, 0.4096),
        (256, 8, 64, 0.2048),
        (1024, 1, 4, 52.4288),
        (1024, 8, 32, 6.5536),
        (32, 1, 32, 0.0064),
    ],
)
def test_batch_and_gamma(resolution, devices, batch, gamma):
    found = rules.choose_settings(resolution, devices)
    assert found["batch-size"] == batch
    assert found["gamma"] == pytest.approx(gamma, rel=1e-6)


def test_the_rest_follows():
    small, large = rules.choose_settings(256, 2), rules.choose_settings(1024, 8)
    assert (small["g-lr"], small["d-lr"], small["ema-kimg"]) == (0.0025, 0.0025, 10.0)
    assert (large["g-lr"], large["ema-kimg"], large["ema-rampup"]) == (0.002, 10.0, 0.05)
    assert (small["channel-base"], large["channel-base"]) == (8192, 16384)
    assert rules.choose_settings(64, 1, batch=8)["gamma"] == pytest.approx(0.1024)


def flags(*argv, resolution):
    given = parse(["--train", *argv])
    return resolve(given, None, rules.settings_by_rule(given, lambda: resolution))["flags"]


def test_auto_beats_presets_and_flags_beat_auto():
    argv = ["--gansformer-default", "--dataset=clevr", "--auto", "--g-lr=0.5"]
    found = flags(*argv, resolution=256)
    assert found["gamma"] == pytest.approx(0.0002 * 256**2 / 16) and found["batch-size"] == 16
    assert found["g-lr"] == 0.5 and found["d-lr"] == 0.0025 and found["ema-rampup"] == 0.05
    assert found["components-num"] == presets.DATASETS["clevr"]["components-num"]


def test_devices_are_those_that_are_named():
    found = flags("--dataset=cats", "--auto", "--gpus=0,1,2,5", resolution=128)
    assert found["batch-size"] == 64
    assert flags("--dataset=cats", "--auto", "--gpus=cpu:2", resolution=256)["batch-size"] == 32


def test_a_preset_takes_from_rules_what_it_leaves_open():
    known = flags("--gansformer-default", "--dataset=ffhq", resolution=64)
    assert (known["gamma"], known["batch-size"]) == (10.0, 32)
    other = flags("--gansformer-default", "--dataset=cats", "--batch-size=8", resolution=64)
    assert other["gamma"] == pytest.approx(0.1024) and other["ema-kimg"] == 2.5
    assert other["channel-base"] == known["channel-base"] and other["ema-rampup"] is None
    assert flags("--dataset=cats", resolution=64)["gamma"] == 10.0


def test_small_images_of_any_set_take_the_recipe():
    small = {name: v for name, v in presets.RECIPES["small"].items() if name != "batch-size"}
    transformer = flags("--gansformer-default", "--dataset=cats", "--gpus=0,1,2", resolution=32)
    for name, value in {**small, **presets.SMALL_LATENTS, "batch-size": 6}.items():
        assert transformer[name] == value, name
    assert transformer["kmeans"] and transformer["g-arch"] == "resnet"
    baseline = flags("--baseline=StyleGAN2", "--dataset=cats", "--gamma=3", resolution=16)
    for name, value in {**small, "gamma": 3.0, "batch-size": 8}.items():
        assert baseline[name] == value, name
    assert baseline["latent-size"] == 512
    for flag in ("--d-reg=r1", "--aug=ada"):
        other = flags("--gansformer-default", "--dataset=cats", flag, resolution=16)
        assert (other["g-loss"], other["d-loss"]) == ("logistic_ns", "logistic"), flag
        assert (other["gamma"], other["d-reg-interval"]) == (10.0, 16), flag
    large = flags("--gansformer-default", "--dataset=cats", resolution=64)
    assert (large["latent-size"], large["gamma"]) == (512, pytest.approx(0.0256))
    auto = flags("--gansformer-default", "--dataset=cats", "--auto", resolution=32)
    assert auto["gamma"] == pytest.approx(0.0064) and auto["latent-size"] == 512


def test_a_recipe_beats_presets_and_auto():
    small = {**presets.RECIPES["small"], **presets.SMALL_LATENTS}
    argv = ["--gansformer-default", "--recipe=small"]
    for dataset in ("scenes", "ffhq", "cats"):
        found = flags(*argv, f"--dataset={dataset}", "--ema-kimg=7", resolution=256)
        for name, value in {**small, "ema-kimg": 7.0}.items():
            assert found[name] == value, (dataset, name)
    auto = flags(*argv, "--dataset=cats", "--auto", resolution=256)
    assert (auto["gamma"], auto["batch-size"], auto["ema-rampup"]) == (10.0, 8, 0.05)
    baseline = flags("--baseline=GAN", "--dataset=scenes", "--recipe=small", resolution=16)
    assert (baseline["gamma"], baseline["d-reg"]) == (10.0, "r1r2")
    assert baseline["latent-size"] == 512
    assert flags("--dataset=cats", "--recipe=small", resolution=256)["g-loss"] == "relativistic"


@pytest.mark.parametrize(
    "size, start, resolution",
    [
        ((64, 64), (4, 4), 64),
        ((48, 64), (3, 4), 64),
        ((96, 64), (6, 4), 64),
        ((64, 128), (4, 8), 64),
        ((512, 1024), (4, 8), 512),
        ((320, 256), (5, 4), 256),
        ((12, 20), (3, 5), 16),
        ((7, 9), (7, 9), 4),
    ],
)
def test_the_first_map_of_a_rectangle(size, start, resolution):
    assert rules.choose_start(*size) == (start, resolution)
    assert [side * resolution // 4 for side in start] == list(size)


def test_a_rectangle_of_no_small_map_is_refused():
    with pytest.raises(UserError, match=r"--rectangle: 144x256 is no power of two times a map of"):
        rules.choose_start(144, 256)
