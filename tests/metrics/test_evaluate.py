"""Lists of metrics over generators and folders: names, records, sharing, refusals."""

import json

import numpy as np
import pytest
import tiny_inception
import tiny_painter
from stand_ins import ColourFeatures, make_dataset, random_images

from dnnlib.errors import UserError
from metrics import registry
from metrics.evaluate import Evaluator
from metrics.features import Features
from metrics.frechet_inception_distance import frechet_distance, mean_and_cov
from metrics.generated import GeneratedImages
from metrics.image_sources import DatasetImages, FolderImages
from metrics.inception_score import inception_score
from metrics.perceptual_path_length import path_ends, path_lengths, trimmed_mean
from vis.pictures import save_picture

REALS = random_images(30, 8, seed=1)


@pytest.fixture
def reals(tmp_path):
    return DatasetImages(make_dataset(tmp_path / "set", REALS))


@pytest.fixture
def painter(session):
    net = tiny_painter.painter_network()
    net.reset_vars()
    return net


def evaluator_of(names, reals, tmp_path, num=20, features=None, **options):
    protocols = registry.find(names, num)
    features = features or ColourFeatures()
    return Evaluator(protocols, features, reals, cache_dir=tmp_path / "cache", **options)


def results_of(records):
    return {name: value for record in records for name, value in record["results"].items()}


# Names


def test_published_names_are_protocols():
    names = "fid,is,pr,ppl_zfull,ppl_wfull,ppl_zend,ppl_wend,ppl2_wend,ls"
    found = [protocol.name for protocol in registry.find(names)]
    assert found[:3] == ["fid50k", "is50k", "pr50k3"] and found[3:] == names.split(",")[3:]
    protocols = registry.protocols()
    assert protocols["fid50k"].options == {"num_fakes": 50000, "num_reals": 50000}
    assert protocols["ls"].options == {"num_fakes": 200000, "num_kept": 100000}
    crops = {name: protocols[name].options["has_crop"] for name in found[3:-1]}
    assert [name for name, has_crop in crops.items() if not has_crop] == ["ppl2_wend"]
    assert [p.name for p in registry.find("fid,kid,fid50k")] == ["fid50k", "kid50k"]
    assert registry.find("none") == [] == registry.find("")


def test_names_tell_the_number_of_images():
    names = [p.name for p in registry.find("fid,pr,fid10k-train,fid50k-full,ppl_wend,ls", 2500)]
    assert names == [
        "fid-2500",
        "pr-2500-3",
        "fid-2500-train",
        "fid-2500-full",
        "ppl_wend-2500",
        "ls-2500",
    ]
    fid, full, ls = registry.find("fid,fid50k-full,ls", 1000)
    assert fid.name == "fid1k" and fid.options == {"num_fakes": 1000, "num_reals": 1000}
    assert full.options == {"num_fakes": 1000, "num_reals": None}
    assert ls.options == {"num_fakes": 1000, "num_kept": 500}
    assert registry.find("fid", 50000)[0].name == "fid50k"


@pytest.mark.parametrize("name, hint", [("fdi", "fid"), ("ppl_zful", "ppl_zfull"), ("FID", "fid")])
def test_unknown_names(name, hint):
    with pytest.raises(UserError, match=f"got '{name}'") as error:
        registry.find(f"kid,{name}")
    assert "must be one of fid, kid, is" in str(error.value)
    assert f"did you mean '{hint}'" in str(error.value) or name == "FID"
    with pytest.raises(UserError, match="--eval-images-num=1"):
        registry.find("fid", 1)


# Generators


def test_results_are_those_of_the_algorithms(painter, reals, tmp_path):
    evaluator = evaluator_of("fid,is,ppl2_wend", reals, tmp_path, batch_size=8)
    generated = GeneratedImages(painter, 0, 8, reals)
    records = evaluator.evaluate(generated)
    network = ColourFeatures().network
    fake = np.concatenate(list(generated.batches(20)))
    fakes = network.extract(fake, ["pool", "probs"])
    real = network.extract(next(reals.batches(20, 20)), ["pool"])["pool"]
    fid = frechet_distance(*mean_and_cov(real), *mean_and_cov(fakes["pool"]))
    mean, std = inception_score(fakes["probs"])
    distances = []
    stream = generated.stream("ppl")
    for i, draws in enumerate(stream.draw_pairs(20)):
        ends = path_ends(draws, stream, "w", False, None)
        distances.append(network.apply(*stream.image_pairs(*ends, draws[2], True, 8 * i)))
    ppl = trimmed_mean(path_lengths(np.concatenate(distances)))
    expected = {
        "fid-20-colours": fid,
        "is-20-colours_mean": mean,
        "is-20-colours_std": std,
        "ppl2_wend-20-colours": ppl,
    }
    assert results_of(records) == pytest.approx(expected, rel=1e-5)


ALL = "fid,kid,is,pr,dc,ppl_zfull,ppl2_wend,ls"


def test_all_metrics_at_once_make_each_image_and_feature_once(painter, reals, tmp_path):
    features = ColourFeatures()
    evaluator = evaluator_of(ALL, reals, tmp_path, features=features, batch_size=8)
    generated, passes = GeneratedImages(painter, 0, 8, reals), []
    generated.batches = lambda num, batch_size, f=generated.batches: passes.append(num) or f(num)
    records = evaluator.evaluate(generated)
    assert passes == [20]
    # 20 reals and 20 fakes; nothing twice.
    assert features.network.num_images == 40
    assert len(results_of(records)) == 12 and np.isfinite(list(results_of(records).values())).all()
    again = evaluator.evaluate(GeneratedImages(painter, 0, 8, reals))
    assert results_of(again) == results_of(records)
    assert features.network.num_images == 60  # the reals are known


def test_metrics_do_not_influence_each_other(painter, reals, tmp_path):
    together = results_of(
        evaluator_of(ALL, reals, tmp_path).evaluate(GeneratedImages(painter, 0, 32, reals))
    )
    for name in ("kid", "ppl_zfull", "ls"):
        alone = evaluator_of(name, reals, tmp_path).evaluate(GeneratedImages(painter, 0, 32, reals))
        for key, value in results_of(alone).items():
            assert value == pytest.approx(together[key], rel=1e-6)


def test_another_seed_gives_other_results(painter, reals, tmp_path):
    results = [
        results_of(
            evaluator_of("fid,kid", reals, tmp_path, seed=seed).evaluate(
                GeneratedImages(painter, seed, 32, reals)
            )
        )
        for seed in (0, 1)
    ]
    assert all(results[0][name] != results[1][name] for name in results[0])


def test_records_say_all_that_a_figure_stands_on(painter, reals, tmp_path):
    seen = []
    evaluator = evaluator_of("fid,is", reals, tmp_path, num=30, seed=5)
    fid, score = evaluator.evaluate(
        GeneratedImages(painter, 5, 32), on_record=seen.append, snapshot="a.pkl", kimg=12
    )
    assert seen == [fid, score] and json.loads(json.dumps(fid)) == fid
    assert fid["metric"] == "fid-30-colours" and list(fid["results"]) == ["fid-30-colours"]
    assert (fid["num_fakes"], fid["num_reals"], fid["reals"]) == (30, 30, "set")
    assert (fid["snapshot"], fid["kimg"], fid["seed"]) == ("a.pkl", 12, 5)
    assert fid["features"] == "colours:colours-1" and fid["seconds"] >= 0
    assert fid["time"].endswith("+00:00") and "num_reals" not in score


def test_fewer_reals_than_asked_for_are_counted(painter, reals, tmp_path):
    (record,) = evaluator_of("fid", reals, tmp_path, num=40).evaluate(GeneratedImages(painter))
    assert (record["metric"], record["num_fakes"], record["num_reals"]) == (
        "fid-40-colours",
        40,
        30,
    )


def test_what_is_known_is_not_measured_again(painter, reals, tmp_path):
    evaluator = evaluator_of("fid,kid", reals, tmp_path)
    first = evaluator.evaluate(GeneratedImages(painter), snapshot="a.pkl")
    known = {record["key"]: record for record in first[:1]}
    seen = []
    second = evaluator.evaluate(
        GeneratedImages(painter),
        known=lambda record: known.get(record["key"]),
        on_record=seen.append,
        snapshot="a.pkl",
    )
    assert second[0] is first[0] and [record["metric"] for record in seen] == ["kid-20-colours"]
    other = evaluator.evaluate(GeneratedImages(painter), snapshot="b.pkl")
    assert other[0]["key"] != first[0]["key"]


def test_labels_are_part_of_what_is_known(session, tmp_path):
    net = tiny_painter.painter_network(c_dim=tiny_painter.CLASSES)
    net.reset_vars()
    keys = []
    for name, chosen in (("a", [0]), ("b", [0]), ("c", [1])):  # the same images in all
        labels = np.eye(tiny_painter.CLASSES, dtype="f4")[np.resize(chosen, len(REALS))]
        reals = DatasetImages(make_dataset(tmp_path / name, REALS, labels))
        (record,) = evaluator_of("is", reals, tmp_path).evaluate(GeneratedImages(net, 0, 32, reals))
        keys.append(record["key"])
    (free,) = evaluator_of("is", None, tmp_path).evaluate(GeneratedImages(net, 0, 32))
    assert keys[0] == keys[1] and len({keys[0], keys[2], free["key"]}) == 3


def test_mistakes_in_a_measure_are_not_the_users(painter, reals, tmp_path):
    features = ColourFeatures()
    features.network.extract = lambda images, heads: {head: np.zeros(3) for head in heads}
    with pytest.raises(ValueError, match=r"must be \[N, D\]"):
        evaluator_of("kid", reals, tmp_path, features=features).evaluate(GeneratedImages(painter))


def test_diverged_generators_are_refused(painter, reals, tmp_path):
    features = ColourFeatures()
    extract = features.network.extract
    features.network.extract = lambda *args: {k: v * np.nan for k, v in extract(*args).items()}
    with pytest.raises(UserError, match="fid-20-colours: features of image 0 are not finite"):
        evaluator_of("fid", reals, tmp_path, features=features).evaluate(GeneratedImages(painter))


# Folders


def save_folder(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        save_picture(folder / f"{i:03d}.png", image.transpose(1, 2, 0))
    return folder


def test_a_folder_against_a_folder(tmp_path):
    a = save_folder(tmp_path / "a", REALS)
    b = save_folder(tmp_path / "b", random_images(12, 8, seed=2, high=200))
    evaluator = evaluator_of("fid,kid,pr,dc", FolderImages(a), tmp_path, num=None)
    same = results_of(evaluator.evaluate(FolderImages(a)))
    assert same["fid-30-colours"] == pytest.approx(0, abs=1e-9)
    assert same["pr-30-3-colours_precision"] == same["dc-30-5-colours_coverage"] == 1
    other = evaluator.evaluate(FolderImages(b))
    assert results_of(other)["fid-12-colours"] > 0.001
    assert [record["num_fakes"] for record in other] == [12] * 4


def test_a_folder_is_not_enough_for_all(tmp_path):
    images = FolderImages(save_folder(tmp_path / "a", REALS))
    with pytest.raises(UserError, match="ppl2_wend-20 needs a generator"):
        evaluator_of("ppl2_wend", images, tmp_path).evaluate(images)
    with pytest.raises(UserError, match="needs real images"):
        evaluator_of("fid", None, tmp_path).evaluate(images)
    with pytest.raises(UserError, match="one: holds one image only"):
        FolderImages(save_folder(tmp_path / "one", REALS[:1]))


# Features


def test_the_graph_of_2015_from_file_to_figure(painter, reals, tmp_path):
    features = Features(tiny_inception.write_tgz(tmp_path / "inception.tgz"))
    evaluator = evaluator_of("fid,is,pr", reals, tmp_path, features=features)
    assert evaluator.check() == ["fid-20", "is-20", "pr-20-3-inception"]
    generated = GeneratedImages(painter, 0, 32)
    records = evaluator.evaluate(generated)
    fake, probs = tiny_inception.features(next(generated.batches(20)))
    real, _ = tiny_inception.features(next(reals.batches(20, 20)))
    results = results_of(records)
    expected = frechet_distance(*mean_and_cov(real), *mean_and_cov(fake))
    assert results["fid-20"] == pytest.approx(expected, rel=1e-3)
    assert results["is-20_mean"] == pytest.approx(inception_score(probs)[0], rel=1e-3)
    assert records[0]["features"].startswith("inception-2015-12-05:")
    features.close()


def test_random_features_are_labelled(painter, reals, tmp_path):
    protocols = registry.find("fid-random,kid,ppl_zfull", 8, features="random")
    evaluator = Evaluator(protocols, Features(), reals, cache_dir=tmp_path / "cache")
    names = evaluator.check()
    assert names == ["fid-8-random", "kid-8-random", "ppl_zfull-8-random"]
    results = results_of(evaluator.evaluate(GeneratedImages(painter, 0, 8)))
    assert (
        list(results) == names and results["fid-8-random"] > 0 and results["ppl_zfull-8-random"] > 0
    )


@pytest.mark.parametrize(
    "name, what", [("is", "a network that knows classes"), ("ls", "networks that know attributes")]
)
def test_random_features_know_no_classes(name, what):
    with pytest.raises(UserError, match=f"{name} needs {what}"):
        Evaluator(registry.find(f"{name}-random"), Features()).check()


@pytest.mark.parametrize(
    "name, file", [("ppl", "vgg16_zhang_perceptual.pkl"), ("ls", "celebahq-classifier")]
)
def test_missing_networks_are_named(name, file):
    with pytest.raises(UserError, match=f"{name} needs NVIDIA's .*{file}.*--trust-snapshot"):
        Evaluator(registry.find(name), Features()).check()
