"""Studies: tables, sheets and the page they are put into; and a small one from end to end."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import studies
import study
import study_report

from config.resolve import parse, resolve
from dnnlib.errors import UserError
from vis.pictures import save_picture


@pytest.mark.parametrize("name", studies.STUDIES)
def test_flags_of_every_study_exist_and_fit(name):
    one = studies.STUDIES[name]
    assert len(one.settings) > 1 and one.seeds >= 2
    for flags in [*one.settings.values(), one.first]:
        words = study.last_of_each(f"--train --seed 3 {one.base} {flags}".split())
        flags_given = [word for word in words if word.startswith("--")]
        assert len(flags_given) == len(set(flags_given))
        resolve(parse(words))


def test_a_setting_beats_the_base():
    words = ["--train", "--batch-size", "8", "--seed", "1", "--batch-size", "16", "--kmeans"]
    wanted = ["--train", "--seed", "1", "--batch-size", "16", "--kmeans"]
    assert study.last_of_each(words) == wanted


def test_a_budget_of_ones_own_beats_that_of_the_study():
    args = study.build_parser().parse_args(["native", "--kimg", "12"])
    one, settings = study.choose(args)
    flags = study.last_of_each(f"--train {one.base}".split())
    assert resolve(parse(flags))["loop"]["total_kimg"] == 12
    assert settings == ["native", "ref"] and one.seeds == 10


def make_run(folder, setting, seed, distance):
    run = folder / "runs" / f"{setting}-s{seed}-000"
    run.mkdir(parents=True)
    (run / "network-final.pkl").write_bytes(b"")
    (run / "stats.jsonl").write_text(json.dumps({"seconds": 90.0 * (seed + 1)}) + "\n")
    about = [{"git_commit": "0123456789", "packages": {"tensorflow": "2.21.0"}}]
    (run / "run.json").write_text(json.dumps(about))
    for name, values in (
        ("fid-40-efficientnet", {"fid-40-efficientnet": distance}),
        (
            "pr-40-3-efficientnet",
            {"pr-40-3-efficientnet_precision": 0.25, "pr-40-3-efficientnet_recall": 0.5},
        ),
    ):
        record = {"metric": name, "results": values, "network": "network-final.pkl"}
        (run / f"metric-{name}.jsonl").write_text(json.dumps(record) + "\n")
    save_picture(run / "fakes-000000.png", np.full([8, 12, 3], 10 * seed, np.uint8))
    return run


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two settings, three seeds each, of which one was not judged."""
    monkeypatch.setattr(
        study_report,
        "COLUMNS",
        {
            "fid{n}-efficientnet": ("distance", 0),
            "pr{n}{sep}3-efficientnet_precision": ("precision", 2),
            "pr{n}{sep}3-efficientnet_recall": ("recall", 2),
        },
    )
    one = studies.Study("Which?", "--base 1", {"a": "", "b": "--flag"}, 3, "", "fid,pr", 40)
    for seed, (a, b) in enumerate([(700.0, 300.0), (900.0, 100.0), (800.0, 200.0)]):
        make_run(tmp_path, "a", seed, a)
        make_run(tmp_path, "b", seed, b)
    return study_report.collect("which", one, tmp_path)


def test_medians_and_ranges(results):
    lines = study_report.table(results)
    assert lines[0] == ("| setting | runs | distance | precision | recall | chance | minutes |")
    assert lines[2].startswith("| a | 3 | 800 (700-900) | 0.25 (0.25-0.25) | 0.50 (0.50-0.50) | |")
    # All three of b lie below all of a: 2 of the 20 orders are as extreme.
    assert lines[3].startswith("| b | 3 | 200 (100-300) |") and "| 0.1 |" in lines[3]


def test_chance_wants_three_of_each():
    assert study_report.chance([1, 2], [3, 4, 5]) is None
    assert study_report.chance([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)


def test_a_sheet_has_a_row_for_each_setting(results):
    picture = study_report.sheet(results)
    assert picture.ndim == 3 and picture.shape[0] > 8 and picture.dtype == np.uint8


def test_a_page_of_all_studies(results, tmp_path):
    folder, docs = tmp_path / "studies" / "native", tmp_path / "docs"
    folder.mkdir(parents=True)
    docs.mkdir()
    unjudged = dict(results["runs"][0], seed=3, figures={})
    study_report.write(folder, dict(results, name="native", runs=[*results["runs"], unjudged]))
    study_report.document(tmp_path / "studies", docs)
    page = (docs / "studies" / "README.md").read_text(encoding="utf-8")
    for line in [
        "    python bench/study.py native",
        "| distance, seed | 0 | 1 | 2 |",
        "| b | 300 | 100 | 200 |",
        "- b: `--flag`",
    ]:
        assert f"\n{line}\n" in page
    assert "0123456" in page
    kept = json.loads((docs / "studies" / "native.json").read_text(encoding="utf-8"))
    assert len(kept["runs"]) == 7 and "run_dir" not in kept["runs"][0]
    study_report.document(tmp_path / "none", docs)  # what was found before stays
    assert (docs / "studies" / "README.md").read_text(encoding="utf-8") == page
    with pytest.raises(UserError, match="holds no results yet; run a study first"):
        study_report.document(tmp_path / "none", tmp_path)


def test_what_failed_is_said(tmp_path, capsys):
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "run_network.py").write_text("raise SystemExit(1)")
    one = studies.Study("Which?", "--base 1", {"a": "", "b": ""}, 1, "", "fid,pr", 40)
    make_run(tmp_path / "which", "b", 0, 1.0)
    (tmp_path / "which" / "runs" / "b-s0-000" / "metric-fid-40-efficientnet.jsonl").unlink()
    runner = study.Runner("which", one, tmp_path, tmp_path, ["a", "b"], 1, commands=commands)
    assert runner.run_all(1) == ["a-s0", "b-s0"]
    shown = capsys.readouterr().out
    assert "a-s0: training failed; see " in shown and "b-s0: judging failed; see " in shown


@pytest.mark.slow
def test_a_study_from_end_to_end(tmp_path, capsys):
    argv = ["smoke", "--folder", str(tmp_path), "--seeds", "1", "--jobs", "1"]
    assert study.main(argv) == 0
    shown = capsys.readouterr().out
    assert "| kmeans | 1 |" in shown and "| simplex | 1 |" in shown
    (tmp_path / "smoke" / "runs" / "kmeans-s0-000" / "network-final.pkl").stat()
    assert "Beginning with" in (tmp_path / "smoke" / "logs" / "kmeans-s0.txt").read_text()
    before = (tmp_path / "smoke" / "results.json").read_text()
    assert study.main([*argv, "--report"]) == 0  # nothing is trained again
    assert (tmp_path / "smoke" / "results.json").read_text() == before
