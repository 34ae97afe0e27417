import inspect
import json

import pytest

from config import consumers, flags, presets
from config.consumers import find_consumer
from config.resolve import (
    NESTED,
    add_facts,
    build_parser,
    contradictions,
    dataset_path,
    parse,
    reloaded_flags,
    resolve,
)
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import create_run, save_config
from dnnlib.tflib import native, precision
from training import loss

SECTIONS = sorted({section for flag in flags.FLAGS.values() for section, _ in flag.destinations()})


def resolved(*argv, **kwargs):
    return resolve(parse(["--dataset", "custom", *argv]), **kwargs)


# The table


@pytest.mark.parametrize("flag", flags.FLAGS.values(), ids=lambda flag: flag.name)
def test_every_flag_lands_on_a_real_parameter(flag):
    defaults = set()
    for section, parameter in flag.destinations():
        parameters = inspect.signature(find_consumer(section)).parameters
        assert parameter in parameters, f"{section}.{parameter}"
        defaults.add(parameters[parameter].default)
    assert len(defaults) == 1, "one flag, two defaults"
    assert inspect.Parameter.empty not in defaults


@pytest.mark.parametrize("name", SECTIONS)
def test_no_consumer_swallows_unknown_arguments(name):
    parameters = inspect.signature(find_consumer(name)).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters)


@pytest.mark.parametrize("flag", flags.FLAGS.values(), ids=lambda flag: flag.name)
def test_a_value_reaches_all_its_destinations(flag):
    samples = {"latent-size": "768", "gpus": "none", "kgan": "False", "resolution": "16"}
    samples["aug-pipe"] = "xflip,hue"
    samples["bf16-res"] = "0"  # TensorFlow 1.15 takes no other
    choices = flag.choices()
    text = samples.get(flag.name)
    if text is None:
        default = flag.default()
        candidates = choices or (["True", "False"] if flag.is_boolean else ["3", "0.5", "7"])
        values = [(word, flag.type(word)) for word in candidates if _parses(flag, word)]
        text = next(word for word, value in values if value != default)
    argv = [f"--{flag.name}={text}"]
    needs = flag.needs.split()
    if needs:
        name, _, value = needs[0].partition("=")
        on = {"g-reg": "path_length", "metrics": "fid", "end-gamma": "0.5"}
        argv += [f"--{name}={value.split(',')[0] or on.get(name, 'True')}"]
        argv += ["--transformer"] if name in ("kmeans", "pos-type") else []
        argv += ["--train"] if name == "submit" else []
    if flag.name == "components-num":
        argv += ["--latent-size=768"]
    if flag.name.endswith("-start-res"):
        argv += [f"--{flag.name[0]}-end-res=9"]
    if flag.name == "batch-gpu":
        argv += ["--batch-size=21"]
    result = resolved(*argv)
    for section, parameter in flag.destinations():
        if parameter in ("z_dim", "w_dim", "a_dim"):
            continue
        outer = NESTED.get(section)
        values = result[outer][section] if outer else result[section]
        assert values[parameter] == flag.type(text)


def _parses(flag, word):
    try:
        flag.type(word)
    except Exception:  # noqa: BLE001 - argparse.ArgumentTypeError and ValueError
        return False
    return True


def test_names_in_the_table_are_consistent():
    for flag in flags.FLAGS.values():
        needs = {need.partition("=")[0] for need in flag.needs.split()}
        assert needs <= set(flags.FLAGS), flag.name
        assert flag.role in (flags.FIXED, flags.FREE, flags.MODE), flag.name


def test_choices_are_those_of_the_code():
    tables = {
        "g-loss": loss.GENERATOR_LOSSES,
        "d-reg": loss.DISCRIMINATOR_REGULARIZERS,
        "custom-ops": native.CHOICES,
        "precision": precision.CHOICES,
        "baseline": presets.BASELINES,
        "recipe": presets.RECIPES,
        "normalize": ("batch", "instance", "layer"),
    }
    for name, table in tables.items():
        assert set(flags.FLAGS[name].choices()) == set(table)


def test_a_consumer_that_registers_later_takes_its_options(monkeypatch):
    monkeypatch.setattr(consumers, "_consumers", dict(consumers._consumers))
    monkeypatch.setattr(consumers, "_choices", dict(consumers._choices))
    table = {"one": None}

    @consumers.takes_flags("later", {"name": table})
    def later(name="one", gain=2.5):
        return name, gain

    flag = flags.Flag("later-gain", flags.FREE, "later.gain", float, "gain")
    kind = flags.Flag("later", flags.FREE, "later.name", flags.registered(), "kind")
    assert flag.default() == 2.5 and kind.choices() == ["one"]
    table["two"] = None
    assert kind.choices() == ["one", "two"]
    with pytest.raises(ValueError, match="'later' is already registered by"):
        consumers.takes_flags("later")(json.dumps)


@pytest.mark.parametrize(
    "values",
    [presets.GANSFORMER, *presets.DATASETS.values(), *presets.BASELINES.values(), presets.SMALL],
)
def test_presets_use_known_flags_and_possible_values(values):
    for name, value in values.items():
        parsed = flags.FLAGS[name].type(str(value))
        choices = flags.FLAGS[name].choices()
        assert parsed == value and (choices is None or value in choices)


# Precedence


@pytest.mark.parametrize("spelling", [["--gamma", "7"], ["--gamma=7"], ["--gam", "7"]])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_explicit_flag_beats_the_preset_in_every_spelling(spelling, is_first):
    preset = ["--gansformer-default", "--dataset", "clevr"]
    argv = spelling + preset if is_first else preset + spelling
    assert resolve(parse(argv))["D_reg"]["gamma"] == 7


def test_a_boolean_of_the_preset_can_be_switched_off():
    result = resolved("--ganformer-default", "--kmeans", "False", "--style=no")
    assert result["G"]["synthesis"]["kmeans"] is False
    assert result["G"]["synthesis"]["style"] is False
    assert result["G"]["transformer"] is True


def test_defaults_come_from_the_signatures():
    result = resolved()
    wanted = {"name": "r1", "gamma": 10.0, "gamma_end": None, "gamma_kimg": 1000.0}
    assert result["D_reg"] == wanted
    assert result["G"]["z_dim"] == result["G"]["w_dim"] == result["D"]["a_dim"] == 512
    assert result["loop"]["batch_size"] == 32 and result["loop"]["total_kimg"] == 25000


def test_resolve_is_pure_and_plain():
    argv = ["--ganformer-default", "--g-reg", "path_length"]
    assert resolved(*argv) == resolved(*argv)
    assert json.loads(json.dumps(resolved(*argv))) == resolved(*argv)


# Presets, as published

PUBLISHED = {
    #            components latent gamma mirror  ltnt2ltnt style
    "clevr": (8, 128, 40, False, False, False),
    "ffhq": (16, 512, 10, True, True, True),
    "cityscapes": (16, 512, 20, True, True, True),
    "bedrooms": (16, 512, 100, False, True, True),
    "cats": (16, 512, 10, False, True, True),
}


@pytest.mark.parametrize("name", ["--gansformer-default", "--ganformer-default"])
@pytest.mark.parametrize("dataset", PUBLISHED)
def test_the_published_preset(dataset, name):
    components, latent, gamma, mirror, ltnt2ltnt, style = PUBLISHED[dataset]
    result = resolve(parse(["--train", name, "--dataset", dataset]))
    G, D, synthesis = result["G"], result["D"], result["G"]["synthesis"]
    assert G["components_num"] == D["components_num"] == components
    assert G["z_dim"] == G["w_dim"] == D["a_dim"] == latent // components
    assert (result["D_reg"]["name"], result["D_reg"]["gamma"]) == ("r1", gamma)
    assert result["data"]["mirror_augment"] is mirror
    assert G["mapping"]["mapping_ltnt2ltnt"] is ltnt2ltnt and synthesis["style"] is style
    assert G["transformer"] and G["use_pos"] and D["use_pos"] and G["mapping"]["mapping_resnet"]
    assert synthesis["norm"] == "layer" and synthesis["integration"] == "mul"
    assert synthesis["kmeans"] and synthesis["architecture"] == "resnet"
    assert not D["transformer"] and D["architecture"] == "resnet"
    assert result["G_opt"]["learning_rate"] == result["D_opt"]["learning_rate"] == 0.002


def test_the_published_ratios():
    def ratio(dataset):
        return resolve(parse(["--dataset", dataset]))["data"]["ratio"]

    assert ratio("clevr") == 0.75 and ratio("bedrooms") == 188 / 256 and ratio("cats") is None


def test_baselines():
    gan, sagan = resolved("--baseline", "GAN"), resolved("--baseline=SAGAN")
    for result in (gan, sagan):
        synthesis = result["G"]["synthesis"]
        assert synthesis["style"] is False and synthesis["latent_stem"] is True
    assert gan["G"]["synthesis"]["img2img"] == 0 and sagan["G"]["synthesis"]["img2img"] == 5
    kgan = resolved("--baseline=kGAN")["G"]
    assert kgan["merge"] and kgan["components_num"] == 8 and kgan["z_dim"] == 64
    assert kgan["synthesis"]["merge_layer"] == 5 and kgan["synthesis"]["merge_type"] == "softmax"
    assert {**resolved("--baseline=StyleGAN2")["flags"], "baseline": None} == resolved()["flags"]


def test_small_scenes_are_trained_with_a_small_gamma_by_every_model():
    for argv in (["--gansformer-default"], ["--baseline=StyleGAN2"]):
        result = resolve(parse([*argv, "--dataset=scenes"]))
        assert result["D_reg"]["gamma"] < 1


# Bad input


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--gama=7"], "--gama: no such flag; did you mean '--gamma'?"),
        (["--gansformer-defualt"], "did you mean '--gansformer-default'?"),
        (["--g-arch=resnt"], "--g-arch: must be one of skip, resnet, orig, got 'resnt'; did you"),
        (["--g-loss=hings"], "did you mean 'hinge'?"),
        (["--baseline=StyleGAN"], "did you mean 'StyleGAN2'?"),
        (["--gamma=-1"], "--gamma: must be at least 0, got -1"),
        (["--gamma=nan"], "--gamma: must be at least 0, got nan"),
        (["--g-lr=0"], "--g-lr: must be greater than 0, got 0"),
        (["--g-lr=inf"], "--g-lr: must be finite, got inf"),
        (["--batch-size=2.5"], "--batch-size: must be a whole number, got '2.5'"),
        (["--batch-size=0"], "--batch-size: must be at least 1, got 0"),
        (["--style-mixing=1.1"], "--style-mixing: must be at most 1, got 1.1"),
        (["--kmeans=maybe"], "--kmeans: must be True or False, got 'maybe'"),
        (
            ["--latent-size=500", "--components-num=16"],
            "--latent-size=500 is not divisible by --components-num=16; nearest: 496 or 512",
        ),
        (["--latent-size=5", "--components-num=16"], "nearest: 16"),
        (["--resolution=100"], "--resolution=100 is not a power of two; nearest: 64 or 128"),
        (["--kgan", "--transformer"], "--kgan and --transformer exclude each other"),
        (["--baseline=GAN", "--ganformer-default"], "exclude each other"),
        (["--batch-size=30", "--batch-gpu=4"], "--batch-size=30 is not divisible by --batch-gpu=4"),
        (["--transformer", "--g-start-res=8"], "--g-start-res=8 must be less than --g-end-res=8"),
        (["--kmeans"], "--kmeans has no effect without --transformer"),
        (["--pos-type=linear"], "has no effect without --transformer or --d-transformer"),
        (["--merge-type=max"], "--merge-type has no effect without --kgan"),
        (["--g-reg-weight=3"], "--g-reg-weight has no effect without --g-reg"),
    ],
)
def test_bad_flags_are_explained(argv, message):
    with pytest.raises(UserError) as error:
        resolved(*argv)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "--baseline=SAGAN --g-img2img=3 --attention-dropout=0 --img-gate --num-heads=2",
        "--g-img2img=3 --pos-type=linear --pos-dim=4 --g-start-res=3 --g-end-res=4",
        "--g-local-attention=4 --pos-type=trainable --pos-init=normal --pos-directions-num=3",
        "--d-img2img=3 --d-start-res=3 --d-end-res=4 --pos-dim=4 --img-gate",
        "--d-local-attention=4 --attention-dropout=0.5",
        "--kgan --components-num=2 --mapping-ltnt2ltnt --ltnt-gate --use-pos --num-heads=2",
        "--mapping-ltnt2ltnt --attention-dropout=0",
        "--transformer --duplex --kmeans-iters=2",
        "--d-transformer --components-num=2",
        "--train --metrics=fid --features=random --eval-images-num=9",
        "--eval --inception=x.pb --trust-snapshot=x",
    ],
)
def test_flags_with_an_effect_are_taken(text):
    resolved(*text.split())


@pytest.mark.parametrize(
    "text, name",
    [
        ("--components-num=2", "components-num"),
        ("--num-heads=2", "num-heads"),
        ("--d-transformer --g-end-res=4", "g-end-res"),
        ("--g-img2img=3 --d-end-res=4", "d-end-res"),
        ("--g-img2img=3 --ltnt-gate", "ltnt-gate"),
        ("--g-img2img=0 --pos-dim=4", "pos-dim"),
        ("--transformer --kmeans-iters=2", "kmeans-iters"),
        ("--transformer --pos-type=linear --pos-init=normal", "pos-init"),
        ("--style --component-dropout=0.1", "component-dropout"),
        ("--g-img2img=3 --component-mixing=0.1", "component-mixing"),
        ("--train --features=random", "features"),
        ("--train --eval-images-num=9", "eval-images-num"),
        ("--vis --inception=x.pb", "inception"),
        ("--trust-snapshot=x", "trust-snapshot"),
    ],
)
def test_flags_without_an_effect_are_refused(text, name):
    with pytest.raises(UserError, match=f"--{name} has no effect without --"):
        resolved(*text.split())


def test_a_generator_without_use_for_components_has_one():
    result = resolved("--d-transformer", "--components-num=4")
    assert result["D"]["components_num"] == 4 and result["D"]["a_dim"] == 128
    assert result["G"]["components_num"] == 1
    assert result["G"]["z_dim"] == result["G"]["w_dim"] == 512
    result = resolved("--gansformer-default", "--transformer=False")
    assert result["G"]["components_num"] == 1 and result["G"]["z_dim"] == 512


def test_a_dataset_has_to_be_named():
    with pytest.raises(UserError, match="--dataset is missing"):
        dataset_path({})


def test_layers_beyond_the_resolution_are_refused():
    result = resolved("--baseline=kGAN")
    add_facts(result, 32, 3, 10, 0)
    assert result["facts"]["resolution"] == 32
    with pytest.raises(UserError, match="--merge-layer=5, as --baseline=kGAN sets it, is beyond 4"):
        add_facts(resolved("--baseline=kGAN"), 16, 3, 10, 0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("--baseline=SAGAN", "--g-img2img=5, as --baseline=SAGAN sets it, is beyond 4"),
        (
            "--g-img2img=5",
            "--g-img2img=5 is beyond 4, the log2 of the resolution 16; use at most 4",
        ),
        ("--g-img2img=1", "--g-img2img=1: the generator has attention at log2 resolutions 2 to 4"),
        (
            "--d-img2img=2",
            "--d-img2img=2: the discriminator has attention at log2 resolutions 3 to",
        ),
        (
            "--g-img2img=4 --g-end-res=4",
            "from --g-start-res=0 on and below --g-end-res=4; use 2 to 3",
        ),
        ("--g-img2img=3 --g-start-res=4", "; use 4"),
        (
            "--transformer --g-end-res=2",
            "--g-end-res=2 leaves --transformer no layer; use 3 or more",
        ),
        ("--d-transformer --d-end-res=3", "--d-end-res=3 leaves --d-transformer no layer; use 4"),
        (
            "--d-local-attention=2 --d-end-res=1",
            "--d-end-res=1 leaves --d-local-attention no layer",
        ),
    ],
)
def test_attention_without_a_layer_is_refused(text, message):
    with pytest.raises(UserError) as error:
        add_facts(resolved(*text.split()), 16, 3, 10, 0)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_generator_keeps_the_ratio_of_the_set():
    config = resolved()
    add_facts(config, 16, 3, 10, 0)
    assert "ratio" not in config["G"]
    add_facts(config, 16, 3, 10, 0, ratio=0.75)
    assert config["G"]["ratio"] == 0.75


def test_attention_in_the_first_and_the_last_layer_is_taken():
    for name, levels in (("g", (2, 4)), ("d", (3, 4))):
        for level in levels:
            add_facts(resolved(f"--{name}-img2img={level}"), 16, 3, 10, 0)
    with pytest.raises(UserError, match=r"--g-img2img=8: .* below --g-end-res=8; use 2 to 7"):
        add_facts(resolved("--g-img2img=8"), 256, 3, 10, 0)
    with pytest.raises(UserError, match="--d-transformer has no layer at resolution 4; leave it"):
        add_facts(resolved("--d-transformer"), 4, 3, 10, 0)


def test_help_shows_every_flag_with_its_default():
    text = build_parser(with_defaults=True).format_help()
    for name in flags.FLAGS:
        assert f"--{name} " in text
    assert "(default: 0.002)" in text and "(default: logistic_ns)" in text
    assert max(len(line) for line in text.splitlines()) <= 100


# Resuming


def test_contradictions_name_the_flags_that_matter():
    old = resolved("--gamma=40", "--total-kimg=10", "--g-lr=0.001")["flags"]
    new = resolved("--gamma=10", "--total-kimg=20", "--g-lr=0.001", "--gpus=none")["flags"]
    assert contradictions(old, new) == [("gamma", 40.0, 10.0)]


def test_reload_takes_the_flags_of_the_latest_run(tmp_path):
    where = [f"--result-dir={tmp_path}", "--expname=a"]
    run = create_run(str(tmp_path), "a")
    earlier = resolved("--gansformer-default", "--gamma=40", "--train", *where)
    add_facts(earlier, 32, 3, 10, 0)
    save_config(run, earlier)
    given = parse(["--reload", "--g-lr=0.001", *where])
    result = resolve(given, reloaded_flags(given))
    assert result["D_reg"]["gamma"] == 40 and result["G_opt"]["learning_rate"] == 0.001
    assert result["data"]["dataset"] == "custom" and result["G"]["transformer"]
    assert result["run"]["train"] is False
    with pytest.raises(UserError, match="'b' has no run yet"):
        reloaded_flags({"result-dir": str(tmp_path), "expname": "b"})


@pytest.mark.parametrize("flag", ["--num-threads=4", "--recompile", "--fused-modconv=True"])
def test_flags_that_nothing_needs_are_taken_and_explained(flag, capsys):
    assert parse(["--seed=3", flag]) == {"seed": 3}
    name = flag.partition("=")[0]
    assert capsys.readouterr().out.startswith(f"{name} is not needed: it ")


def test_none_is_no_snapshot():
    assert parse(["--pretrained-pkl=None"]) == {"pretrained-pkl": None}


@pytest.mark.parametrize("version", [(1, 15), (2, 16)])
def test_maps_of_bfloat16_are_bounded(version, monkeypatch):
    """Where there are any: TensorFlow 1.15 has none."""
    monkeypatch.setattr(precision, "TF_VERSION", version)
    has_maps = version > (2, 0)
    for argv, clamp in (
        ([], None),
        (["--precision=bfloat16"], 256.0 if has_maps else None),
        (["--precision=bfloat16", "--bf16-res=0"], None),
        *([(["--precision=bfloat16", "--bf16-res=2"], 256.0)] * has_maps),
    ):
        config = resolved(*argv)
        for part in (config["G"]["synthesis"], config["D"]):
            assert part.get("conv_clamp") == clamp, argv
    if not has_maps:
        with pytest.raises(UserError, match=r"--bf16-res=2: TensorFlow .* use 0, or a current"):
            resolved("--precision=bfloat16", "--bf16-res=2")
    with pytest.raises(UserError, match="--bf16-res has no effect without --precision bfloat16"):
        resolved("--bf16-res=2")
