import json

import pytest

from metrics import registry, report


def record(kimg, value, metric="fid50k", **more):
    snapshot = f"network-snapshot-{kimg:06d}.pkl"
    results = {metric: value}
    return dict(
        metric=metric, results=results, kimg=kimg, snapshot=snapshot, num_fakes=50000,
        features="inception:abc", key=f"{kimg}", **more,
    )  # fmt: skip


def fill(run_dir, values, metric="fid50k"):
    for kimg, value in values:
        report.append_record(run_dir, record(kimg, value, metric))
        (run_dir / f"network-snapshot-{kimg:06d}.pkl").write_text(f"snapshot {kimg}")


def test_records_are_lines_of_json(tmp_path):
    fill(tmp_path, [(10, 50.0), (20, 40.0)])
    lines = (tmp_path / "metric-fid50k.jsonl").read_text().splitlines()
    assert [json.loads(line)["results"] for line in lines] == [{"fid50k": 50.0}, {"fid50k": 40.0}]
    assert report.read_records(tmp_path, "fid50k") == [record(10, 50.0), record(20, 40.0)]
    assert report.read_records(tmp_path, "kid50k") == []


def test_a_line_that_was_cut_off_costs_itself_only(tmp_path):
    fill(tmp_path, [(10, 50.0), (20, 40.0)])
    path = tmp_path / "metric-fid50k.jsonl"
    path.write_text(path.read_text()[:-30])
    fill(tmp_path, [(30, 30.0)])
    assert [r["kimg"] for r in report.read_records(tmp_path, "fid50k")] == [10, 30]


def test_the_latest_record_of_a_measurement_counts(tmp_path):
    fill(tmp_path, [(10, 50.0), (20, 40.0), (10, 45.0)])
    assert report.find_record(tmp_path, record(10, 0.0))["results"] == {"fid50k": 45.0}
    assert report.find_record(tmp_path, record(30, 0.0)) is None
    curve = report.by_kimg(report.read_records(tmp_path, "fid50k"))
    assert [(k, r["results"]["fid50k"]) for k, r in curve.items()] == [(10, 45.0), (20, 40.0)]


def test_table_has_a_line_for_each_result():
    pr = record(1, 0.5, "pr50k3", num_reals=6000)
    pr["results"] = {"pr50k3_precision": 0.5, "pr50k3_recall": 0.25}
    lines = report.table([record(1, 12.3456789), pr])
    assert len(lines) == 4 and lines[0].split() == ["metric", "value", "images", "features"]
    assert lines[1].split() == ["fid50k", "12.3457", "50,000", "inception"]
    assert lines[2].split() == ["pr50k3_precision", "0.5", "50,000", "vs", "6,000", "inception"]


@pytest.mark.parametrize("metric, best", [("fid50k", 20), ("is50k", 30)])
def test_the_best_snapshot_stays_when_others_go(tmp_path, capsys, metric, best):
    fill(tmp_path, [(10, 50.0), (20, 40.0), (30, 60.0)], metric)
    protocol = registry.protocols()[metric]
    report.keep_best(tmp_path, [protocol], [metric])
    link = tmp_path / f"best-{metric}.pkl"
    assert link.read_text() == f"snapshot {best}"
    assert f"at {best} kimg, kept as {link}" in capsys.readouterr().out
    for path in tmp_path.glob("network-snapshot-*.pkl"):
        path.unlink()
    report.keep_best(tmp_path, [protocol], [metric])
    assert link.read_text() == f"snapshot {best}"
    fill(tmp_path, [(40, 0.0 if metric == "fid50k" else 99.0)], metric)
    report.keep_best(tmp_path, [protocol], [metric])
    assert link.read_text() == "snapshot 40"
    assert not list(tmp_path.glob(".best*"))


def test_the_best_snapshot_on_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    fill(tmp_path, [(10, 50.0)])
    report.link_best(tmp_path, registry.protocols()["fid50k"], "fid50k")
    assert (tmp_path / "best-fid50k.pkl").read_text() == "snapshot 10"


def test_nothing_is_best_of_two_values_or_none(tmp_path):
    fill(tmp_path, [(10, 0.5)], "pr50k3")
    assert report.link_best(tmp_path, registry.protocols()["pr50k3"], "pr50k3") is None
    assert report.link_best(tmp_path, registry.protocols()["fid50k"], "fid50k") is None
    assert not list(tmp_path.glob("best-*"))


# Plots
