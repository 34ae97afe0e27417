"""The page on a run: what is in it, that its script runs, and that it stays small."""

import base64
import io
import json
import re

import chromium
import numpy as np
import pytest
import report_picture
from PIL import Image

from config.resolve import add_facts, resolve
from dnnlib import cli
from vis.pictures import save_picture, save_sample_grid
from vis.report.page import MAX_POINTS, collect, curves, main, render, write_report
from vis.report.pictures import (
    MAX_BYTES,
    MAX_HISTORY,
    MAX_NEWEST_BYTES,
    embed,
    history,
    without_repeats,
)


def row(tick, **values):
    return {"tick": tick, "kimg": tick + 1.0, "nimg": 1000 * (tick + 1), "seconds": 9.0, **values}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of four ticks, a broken line, two snapshots, a metric, and a mischievous flag."""
    folder = tmp_path_factory.mktemp("results") / "tiny-000"
    folder.mkdir()
    rows = [
        row(i, sec_per_kimg=2.0, memory_gb=1.5, **{"loss/G": 1.0 + i, "loss/D": 0.5, "reg/r1": 0.1})
        for i in range(4)
    ]
    lines = [*map(json.dumps, rows[:3]), '{"kimg": 3', json.dumps(rows[3])]
    (folder / "stats.jsonl").write_text("\n".join(lines) + "\n")
    measured = [{"kimg": k, "results": {"fid": 50.0 - k, "fid_std": None}} for k in (2, 4, 4)]
    (folder / "metric-fid.jsonl").write_text("\n".join(map(json.dumps, measured)))
    given = {"dataset": "scenes", "gansformer-default": True, "total-kimg": 8.0, "g-lr": 0.5}
    resolved = resolve(
        {**given, "resolution": 16, "metrics": "fid", "features": "</script><b>bold</b>"}
    )
    add_facts(resolved, 16, 3, 24, 0)
    (folder / "config.json").write_text(json.dumps(resolved))
    random = np.random.RandomState(0)
    for kind in ("reals", "fakes-000000", "fakes-000004", "attention-000004", "layers-000004"):
        samples = random.uniform(-1, 1, [8, 3, 16, 16])
        save_sample_grid(folder / f"{kind}.png", samples, columns=4)
    (folder / "fakes-000002.png").write_bytes(b"half a picture")
    return folder


def test_what_the_page_says(run_dir):
    data = collect(run_dir)
    assert data["name"] == "tiny-000"
    assert data["facts"]["num_images"] == 24
    assert data["progress"]["kimg"] == 4 and data["progress"]["total_kimg"] == 8
    assert data["progress"]["seconds_left"] == 8.0  # 4 kimg at 2 s each
    titles = [chart["title"] for chart in data["charts"]]
    assert titles == ["Losses", "Regularisation", "Speed", "Memory"]
    losses = data["charts"][0]["series"]
    assert [one["name"] for one in losses] == ["G", "D"]
    assert losses[0]["x"] == [1, 2, 3, 4] and losses[0]["y"] == [1, 2, 3, 4]
    (metric,) = data["metrics"]
    assert metric["title"] == "fid" and metric["series"][0]["x"] == [2, 4]
    assert metric["series"][0]["y"] == [48, 46]
    assert [step["kimg"] for step in data["steps"]] == [0, 4]
    assert set(data["steps"][1]) == {"kimg", "fakes", "attention"}
    assert data["reals"]["src"].startswith("data:image/") and data["layers"]


def test_the_origin_of_flags(run_dir):
    flags = {flag["name"]: flag for flag in collect(run_dir)["flags"]}
    assert (flags["g-lr"]["origin"], flags["g-lr"]["value"]) == ("given", 0.5)
    assert flags["g-lr"]["default"] == 0.002
    assert flags["d-lr"]["origin"] == flags["transformer"]["origin"] == "preset"
    assert flags["seed"]["origin"] == "default"
    assert "expname" not in flags
    origins = [flag["origin"] for flag in flags.values()]
    assert origins == sorted(origins, key=["given", "preset", "default"].index)


def test_the_page_stands_alone(run_dir):
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", page)
    assert not re.search(r"url\(|@import|fetch\(", page)
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}
    assert "@@" not in page and "<b>bold" not in page
    assert page.count("</script>") == 2
    assert [path.name for path in run_dir.glob(".*")] == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_in_a_browser(run_dir, tmp_path, dark):
    chromium.require()
    url = write_report(run_dir).as_uri()
    chromium.screenshot(url, tmp_path / "page.png", (1000, 1400), dark=dark)
    pixels = np.asarray(Image.open(str(tmp_path / "page.png")).convert("RGB"))
    assert pixels.shape == (1400, 1000, 3)
    background = pixels[:, :2].mean()
    assert background < 60 if dark else background > 200
    assert len(np.unique(pixels[::2, ::2].reshape(-1, 3), axis=0)) > 500
    rows_with_ink = (np.ptp(pixels.astype(int).mean(axis=2), axis=1) > 20).mean()
    assert rows_with_ink > 0.6


def test_the_documentations_picture_is_taken(run_dir, tmp_path):
    chromium.require()
    report_picture.take(run_dir, tmp_path / "a.png")
    with Image.open(str(tmp_path / "a.png")) as taken:
        pixels = np.asarray(taken.convert("RGB"))
    assert pixels.shape == (*report_picture.SIZE[::-1], 3)
    assert len(np.unique(pixels[::8, ::8].reshape(-1, 3), axis=0)) > 32
    assert (tmp_path / "a.png").stat().st_size < report_picture.MAX_BYTES


def test_the_documentations_picture_is_a_small_one(root):
    path = root / "docs" / "images" / "report.png"
    assert path.stat().st_size < report_picture.MAX_BYTES
    with Image.open(str(path)) as committed:
        assert committed.size == report_picture.SIZE


def test_the_script_of_the_page_ran(run_dir):
    chromium.require()
    dom = chromium.dump_dom(write_report(run_dir).as_uri())
    body = re.sub(r"<script.*?</script>", "", dom, flags=re.S)
    assert "<title>tiny-000" in dom and "GANsformer on scenes" in body
    assert len(re.findall("<svg", body)) == 5  # a metric and four charts
    # With few points, every curve has its dots: one path each, and its name with the last value.
    assert len(re.findall(r'<path class="curve[^>]* d="M[\d.,ML-]+"', body)) == 6
    assert len(re.findall("<circle", body)) == 4 * 5 + 2
    assert re.search(r"fid<b>46</b>", body) and re.search(r"G<b>4</b>", body)
    assert "thousands of images shown" in body
    slider = re.search(r'<input id="slider"[^>]*>', body).group()
    assert 'max="1"' in slider
    assert 'id="place">4 kimg' in body
    assert re.search(r'<img[^>]*id="picture-fakes"[^>]*src="data:image/', body)
    assert body.index("--g-lr") < body.index("--transformer") < body.index("--seed")
    assert "&lt;/script&gt;&lt;b&gt;bold" in body


def test_curves_are_thinned_to_means():
    rows = [row(i, **{"loss/G": float(i)}) for i in range(1001)]
    (chart,) = curves(rows)
    (curve,) = chart["series"]
    assert len(curve["x"]) == 334 <= MAX_POINTS
    assert curve["y"][:2] == [1.0, 4.0] and curve["y"][-1] == 999.5
    assert curve["x"][0] == 3 and curve["x"][-1] == 1001


def test_values_that_are_no_numbers_leave_gaps():
    rows = [row(0, **{"loss/G": 1.0}), row(1, **{"loss/G": float("nan")}), row(2, note="x")]
    page = render({"charts": curves(rows)})
    data = re.search(r'id="data">(.*?)</script>', page, re.S).group(1)
    assert json.loads(data)["charts"][0]["series"] == [{"name": "G", "x": [1, 2], "y": [1, None]}]


@pytest.mark.parametrize("num, count", [(1, 1), (39, 39), (40, 21), (78, 40), (1000, 33)])
def test_the_history_is_bounded(tmp_path, num, count):
    for kimg in range(num):
        (tmp_path / f"fakes-{kimg:06d}.png").write_bytes(b"")
    chosen = [kimg for kimg, _ in history(tmp_path, "fakes")]
    assert len(chosen) == count <= MAX_HISTORY
    assert chosen[0] == 0 and chosen[-1] == num - 1 and chosen == sorted(set(chosen))


def test_pictures_are_small(tmp_path):
    noise = np.random.RandomState(1).randint(0, 256, [600, 1100, 3]).astype(np.uint8)
    save_picture(tmp_path / "noise.png", noise)
    picture = embed(tmp_path / "noise.png")
    assert (picture["width"], picture["height"]) == (1000, 545)
    assert len(picture["src"]) <= 4 / 3 * MAX_BYTES + 100
    better = embed(tmp_path / "noise.png", MAX_NEWEST_BYTES)
    assert len(picture["src"]) < len(better["src"]) <= 4 / 3 * 240000 + 100
    assert embed(tmp_path / "none.png") is None


def test_few_colours_are_kept_exactly(tmp_path):
    flat = np.zeros([100, 200, 3], np.uint8)
    flat[30:60, 20:90], flat[50:, 100:] = (213, 94, 0), (0, 114, 178)
    save_picture(tmp_path / "flat.png", flat)
    source = embed(tmp_path / "flat.png")["src"]
    data = base64.b64decode(source.split(",")[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), flat)


def test_enlarged_pixels_become_small_again():
    small = np.random.RandomState(2).randint(0, 256, [5, 7, 3]).astype(np.uint8)
    found = without_repeats(small.repeat(8, 0).repeat(8, 1))
    assert np.array_equal(found, small.repeat(2, 0).repeat(2, 1))
    other = np.random.RandomState(3).randint(0, 256, [16, 16, 3]).astype(np.uint8)
    assert without_repeats(other) is other


def test_the_command(run_dir, tmp_path, capsys):
    (run_dir / "report.html").write_text("an old one")
    assert cli.run_script(main, [str(run_dir)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert "tiny-000" in (run_dir / "report.html").read_text(encoding="utf-8")
    for folder, message in ((tmp_path / "none", "no such run"), (tmp_path, "neither stats.jsonl")):
        assert cli.run_script(main, [str(folder)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_a_run_that_has_nothing_yet(tmp_path):
    (tmp_path / "stats.jsonl").write_text("")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert '"charts": []' in page
