"""--eval of runs, snapshots and folders, and metrics while training."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny_painter
from stand_ins import make_dataset, random_images

from config.options import DataOptions, EvalOptions, LoopOptions, RunOptions
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import create_run
from dnnlib.tflib.compat import tf
from metrics import command, inception, kernel_inception_distance, report
from training.dataset import Dataset
from vis.pictures import save_picture


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def painter(session):
    net = tiny_painter.painter_network()
    net.reset_vars()
    return net


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A dataset and a run with two snapshots, as training leaves them."""
    folder = tmp_path_factory.mktemp("template") / "place"
    (folder / "datasets").mkdir(parents=True)
    make_dataset(folder / "datasets" / "set", random_images(20, 8)).close()
    run_dir = create_run(str(folder / "results"), "exp")
    with tf.Graph().as_default(), tf.Session().as_default():
        net = tiny_painter.painter_network()
        for kimg in (8, 16):
            net.reset_vars()
            tflib.save_networks((net, net, net), run_dir / f"network-snapshot-{kimg:06d}.pkl")
        tflib.save_networks((net, net, net), run_dir / "network-final.pkl")
    return folder


@pytest.fixture
def place(tmp_path, template):
    """A copy of it."""
    shutil.copytree(str(template), str(tmp_path / "place"))
    return tmp_path / "place"


SECTIONS = {"eval": EvalOptions, "run": RunOptions, "data": DataOptions, "loop": LoopOptions}


def make_config(place, **options):
    """Resolved configuration, as far as the evaluation looks at it."""
    base = dict(metrics="fid,kid", images_num=10, features="random", dataset="set")
    base.update(data_dir=str(place / "datasets"), result_dir=str(place / "results"))
    config = {name: dataclasses.asdict(section()) for name, section in SECTIONS.items()}
    for name, value in {**base, **options}.items():
        (section,) = [section for section in config.values() if name in section]
        section[name] = value
    return config


def evaluate(place, run_dir="results/exp-000", **options):
    """The command, with options of all sections by their names."""
    is_run = not {"folder", "pretrained_pkl"} & set(options)
    command.evaluate(make_config(place, **options), place / run_dir if is_run else None)


def records(place, metric, folder="results/exp-000"):
    return report.read_records(place / folder, metric)


def test_a_run_is_measured_by_its_last_snapshot(place, capsys):
    evaluate(place)
    (record,) = records(place, "fid-10-random")
    assert (record["snapshot"], record["kimg"]) == ("network-snapshot-000016.pkl", 16)
    assert (record["num_fakes"], record["num_reals"], record["reals"]) == (10, 10, "set")
    out = capsys.readouterr().out
    assert f"fid-10-random  {record['results']['fid-10-random']:.6g}" in out
    assert "kid-10-random" in out
    assert (
        "best-fid-10-random.pkl" in out
        and (place / "results/exp-000").joinpath("best-fid-10-random.pkl").exists()
    )
    assert list((place / "results/exp-000").glob("events.out.*"))
    assert "fid-10-random" in (place / "results/exp-000/log.txt").read_text()


def test_all_snapshots_are_measured_once(place, capsys):
    evaluate(place)
    evaluate(place, all=True)
    found = records(place, "fid-10-random")
    assert [record["kimg"] for record in found] == [16, 8]  # 16 was known already
    page = (place / "results/exp-000/report.html").read_text(encoding="utf-8")
    assert '"title": "fid-10-random"' in page
    best = min(found, key=lambda record: record["results"]["fid-10-random"])
    assert f"Best fid-10-random: {best['results']['fid-10-random']:.6g} at {best['kimg']} kimg" in (
        capsys.readouterr().out
    )
    evaluate(place, all=True, seed=1)
    assert len(records(place, "fid-10-random")) == 4


def test_the_same_command_gives_the_same_figures(place):
    evaluate(place, metrics="fid,ppl_zfull")
    files = sorted((place / "results/exp-000").glob("metric-*.jsonl"))
    first = [json.loads(path.read_text())["results"] for path in files]
    assert len(files) == 2
    for path in files:
        path.unlink()
    evaluate(place, metrics="fid,ppl_zfull")
    second = [json.loads(path.read_text())["results"] for path in files]
    for a, b in zip(first, second):
        assert b == pytest.approx(a, rel=1e-4)  # threads may add in another order


def test_other_options_mean_another_measurement(place):
    evaluate(place)
    evaluate(place, mirror_augment=True)
    make_dataset(place / "datasets" / "other", random_images(12, 8, seed=9)).close()
    evaluate(place, dataset="other")
    plain, mirrored, other = records(place, "fid-10-random")
    assert plain["results"] != mirrored["results"] and plain["key"] != mirrored["key"]
    assert other["reals"] == "other"


def test_an_interrupted_evaluation_keeps_what_is_done(place, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel_inception_distance, "kernel_distance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluate(place)
    assert len(records(place, "fid-10-random")) == 1 and not records(place, "kid-10-random")
    monkeypatch.undo()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    evaluate(place)
    assert len(records(place, "fid-10-random")) == len(records(place, "kid-10-random")) == 1


def test_a_snapshot_file_is_measured(place):
    path = str(place / "results/exp-000/network-snapshot-000008.pkl")
    evaluate(place, pretrained_pkl=path)
    (record,) = records(place, "fid-10-random", "results/evaluations")
    assert record["snapshot"] == path and record["reals"] == "set" and record["kimg"] is None
    with pytest.raises(UserError, match="needs real images to compare with; give --dataset"):
        evaluate(place, pretrained_pkl=path, dataset="")
    evaluate(place, pretrained_pkl=path, metrics="ppl2_wend", dataset="")
    assert len(records(place, "ppl2_wend-10-random", "results/evaluations")) == 1


def save_folder(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        save_picture(folder / f"{i:03d}.png", image.transpose(1, 2, 0))
    return str(folder)


def test_a_folder_is_measured(place):
    folder = save_folder(place / "pictures", random_images(20, 8))
    evaluate(place, folder=folder, images_num=20)
    (record,) = records(place, "fid-20-random", "results/evaluations")
    assert record["folder"] == folder
    assert abs(record["results"]["fid-20-random"]) < 1e-9  # they are the dataset's own images
    other = save_folder(place / "others", random_images(15, 8, seed=7, high=128))
    evaluate(place, folder=other, reference=folder)
    found = records(place, "fid-10-random", "results/evaluations")[-1]
    assert found["results"]["fid-10-random"] > 0.1 and found["reals"] == folder


@pytest.mark.parametrize(
    "flags, message",
    [
        (dict(metrics="fdi"), "did you mean 'fid'"),
        (dict(metrics="none"), "leaves nothing for --eval"),
        (dict(folder="a", pretrained_pkl="b"), "exclude each other"),
        (dict(folder="a", all=True), "--eval-all measures the snapshots of a run"),
        (dict(pretrained_pkl="8", dataset=""), "needs real images to compare with"),
        (dict(folder="nowhere"), "nowhere: there is no such folder"),
        (dict(pretrained_pkl="nowhere.pkl"), "nowhere.pkl: no such file"),
        (dict(metrics="is"), "is needs a network that knows classes"),
        (dict(resolution=16), "resolution 8, not 16"),
        (dict(dataset="missing"), "there is no such dataset"),
        (dict(trust_snapshot="vgg16.pkl"), "--trust-snapshot=vgg16.pkl: no such file"),
    ],
)
def test_mistakes_are_one_line(place, flags, message):
    if flags.get("pretrained_pkl") == "8":
        flags["pretrained_pkl"] = str(place / "results/exp-000/network-snapshot-000008.pkl")
    with pytest.raises(UserError) as error:
        evaluate(place, **flags)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (place / "results" / "evaluations").exists()


def test_a_place_that_takes_no_files_is_said_before_measuring(place):
    (place / "file").write_text("no folder")
    snapshot = str(place / "results/exp-000/network-snapshot-000008.pkl")
    folder = save_folder(place / "pictures", random_images(4, 8))
    for what in (dict(pretrained_pkl=snapshot), dict(folder=folder)):
        for result_dir in (str(place / "file"), "/proc"):
            with pytest.raises(UserError, match=r"--result-dir=.*: no files can be written there"):
                evaluate(place, result_dir=result_dir, **what)


def test_a_run_without_snapshots(place):
    with pytest.raises(UserError, match="has no snapshots to evaluate yet"):
        evaluate(place, create_run(str(place / "results"), "new"))


def test_something_else_than_a_generator(place, session):
    D = tflib.Network("D", "painter_mapping")
    D.reset_vars()
    tflib.save_networks(D, place / "d.pkl")
    with pytest.raises(UserError, match="holds no generator, but 'D'"):
        evaluate(place, pretrained_pkl=str(place / "d.pkl"), metrics="ppl")


def test_a_run_on_part_of_a_dataset_is_compared_with_all_of_it(place):
    evaluate(place, train_images_num=5)
    assert records(place, "fid-10-random")[0]["num_reals"] == 10


# While training


def training_metrics(place, names, max_images=None):
    dataset = Dataset(place / "datasets" / "set", max_images=max_images)
    config = make_config(place, metrics=names, features="inception")
    return command.training_metrics(config, dataset, place / "results/exp-000")


def test_metrics_while_training(place, painter):
    metrics = training_metrics(place, "fid-random,kid-random", max_images=5)
    run_dir = place / "results/exp-000"
    found = [
        metrics.measure(painter, run_dir / f"network-snapshot-{kimg:06d}.pkl") for kimg in (8, 16)
    ]
    assert set(found[0]) == {"fid-10-random", "kid-10-random"}
    assert found[0] == pytest.approx(found[1], rel=1e-4)  # the same weights, the same draws
    found = records(place, "fid-10-random")
    assert [(record["kimg"], record["num_reals"]) for record in found] == [(8, 10), (16, 10)]
    assert (run_dir / "best-fid-10-random.pkl").exists()


def test_measuring_leaves_the_training_alone(place, painter):
    metrics = training_metrics(place, "fid-random,ppl_zfull-random")
    before = {name: painter.get_var(name) for name in painter.vars}
    np.random.seed(5)
    expected = np.random.RandomState(5).rand()
    metrics.measure(painter, place / "results/exp-000/network-snapshot-000008.pkl")
    assert np.random.rand() == expected
    for name, value in before.items():
        np.testing.assert_array_equal(painter.get_var(name), value)


def test_training_goes_on_without_what_cannot_be_had(place, monkeypatch, capsys):
    def fail(name):
        raise UserError(f"{name}: the download failed (ConnectionError)")

    monkeypatch.setattr(inception.fetch, "fetch", fail)
    assert training_metrics(place, "fid,ppl") is None
    out = capsys.readouterr().out
    assert out.count("\n") == 2
    assert "Training goes on without fid-10: " in out and "--inception FILE" in out
    assert "Training goes on without ppl2_wend-10: " in out and "--trust-snapshot" in out
    assert training_metrics(place, "fid,kid-random") is not None
    assert training_metrics(place, None) is None
    with pytest.raises(UserError, match="--metrics must be one of"):
        training_metrics(place, "fdi")


def test_training_goes_on_when_measuring_fails(place, painter, capsys):
    metrics = training_metrics(place, "fid-random")
    painter.set_var("G_mapping/weight", np.full([4, 5], np.nan))
    snapshot = place / "results/exp-000/network-snapshot-000008.pkl"
    metrics._evaluator._features.find("pool", "random")[0].extract = lambda images, heads: {
        "pool": np.full([len(images), 3], np.nan)
    }
    assert metrics.measure(painter, snapshot) == {}
    assert "Not measured: fid-10-random: features" in capsys.readouterr().out
