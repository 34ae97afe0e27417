"""A page to follow a run by, and to look back at it: report.html in the run directory.

The page needs nothing but a browser: numbers, pictures, style and script are inside the file, whose
size is bounded however long the run was. The training writes it anew at every snapshot;
``python -m vis.report RUN_DIR`` does so for any run.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import pathlib

from config import presets
from config.flags import FLAGS
from config.resolve import is_mode, preset_values
from dnnlib import cli, util
from dnnlib.errors import UserError
from vis.report.pictures import MAX_NEWEST_BYTES, embed, history

REPORT_NAME = "report.html"
MAX_POINTS = 400  # of a curve
MAX_METRICS = 24  # charts
PAGE = pathlib.Path(__file__).parent

# Prefix of the names in stats.jsonl => title and unit of the chart that shows them.
CHARTS = {
    "loss": ("Losses", ""),
    "scores": ("Scores of the discriminator", "logits"),
    "grad_norm": ("Norms of the gradients", ""),
    "reg": ("Regularisation", ""),
    "path_length": ("Path length", ""),
    "augment": ("Augmentation", "probability"),
    "samples": ("Variety of the samples", "of the real images' variance"),
    "sec_per_kimg": ("Speed", "seconds per 1,000 images"),
    "memory_gb": ("Memory", "GB"),
}
FROM_ZERO = ("sec_per_kimg", "memory_gb")
SERIES = {"sec_per_kimg": "sec/kimg", "memory_gb": "process", "path_length": "mean"}
NOT_CURVES = ("tick", "kimg", "nimg", "seconds")


def write_report(run_dir):
    """Write report.html from what is in the run directory.

    Args:
      run_dir: of the run.

    Returns:
      Path of the page.

    Raises:
      UserError: the disk is full.
    """
    path = pathlib.Path(run_dir) / REPORT_NAME
    page = render(collect(run_dir))
    with util.atomic_write(path, "w") as file:
        file.write(page)
    return path


def collect(run_dir):
    """Everything the page shows, as plain values.

    Args:
      run_dir: of the run. What is missing in it, or damaged, is left out.

    Returns:
      Dict that JSON can hold.
    """
    run_dir = pathlib.Path(run_dir).resolve()
    rows = read_rows(run_dir / "stats.jsonl")
    config = _read_config(run_dir)
    return {
        "name": run_dir.name,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "facts": config.get("facts", {}),
        "progress": progress(rows, config),
        "charts": curves(rows),
        "metrics": metric_curves(run_dir),
        "flags": describe_flags(config.get("flags", {})),
        **_pictures(run_dir),
    }


def render(data):
    """The page with its data.

    Args:
      data: result of :func:`collect`.

    Returns:
      HTML text.
    """
    # "<" could end the script element that holds the data.
    text = json.dumps(_plain(data), allow_nan=False).replace("<", "\\u003c")
    page = _part("page.html")
    for name in ("style.css", "charts.js", "script.js"):
        page = page.replace(f"@@{name}@@", _part(name))
    return page.replace("@@data@@", text)  # last: nothing inside it is replaced


def _part(name):
    return (PAGE / name).read_text(encoding="utf-8")


def _plain(value):
    """Without numbers that JSON does not know, and with short ones."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


# Numbers


def read_rows(path):
    """The rows of a .jsonl file that are whole, as a list of dicts."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and _is_number(row.get("kimg")):
                rows.append(row)
    return rows


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def curves(rows):
    """Charts of a run's statistics.

    Args:
      rows: of stats.jsonl.

    Returns:
      List of {"title", "unit", "series": [{"name", "x", "y"}]}, x in kimg, in the order of CHARTS.
    """
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_CURVES)
    charts = {}
    for name in names:
        points = [(row["kimg"], row[name]) for row in rows if _is_number(row.get(name))]
        group, _, rest = name.partition("/")
        title, unit = CHARTS.get(group, (group.replace("_", " "), ""))
        chart = {"title": title, "unit": unit, "series": [], "from_zero": group in FROM_ZERO}
        chart = charts.setdefault(group, chart)
        if points:
            chart["series"].append(_series(rest or SERIES.get(name, name), points))
    order = [*CHARTS, *charts]
    return [charts[name] for name in sorted(charts, key=order.index) if charts[name]["series"]]


def metric_curves(run_dir):
    """Charts of the metrics in metric-*.jsonl, in the form of :func:`curves`."""
    charts = []
    for path in sorted(pathlib.Path(run_dir).glob("metric-*.jsonl"))[:MAX_METRICS]:
        by_name = {}
        for row in read_rows(path):
            for name, value in (row.get("results") or {}).items():
                if _is_number(value):
                    by_name.setdefault(name, {})[row["kimg"]] = value  # the latest counts
        series = [_series(name, sorted(points.items())) for name, points in by_name.items()]
        if series:
            title = path.name[len("metric-") : -len(".jsonl")]
            charts.append({"title": title, "unit": "", "series": series})
    return charts


def _series(name, points):
    """[(x, y), ...] => a curve of at most MAX_POINTS points, each the mean of its neighbours."""
    size = -(-len(points) // MAX_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return {
        "name": name,
        "x": [group[-1][0] for group in groups],
        "y": [sum(y for _, y in group) / len(group) for group in groups],
    }


def progress(rows, config):
    """How far the training is: kimg, total_kimg, seconds, seconds_left, the latest values."""
    last = rows[-1] if rows else {"kimg": 0}
    total = config.get("loop", {}).get("total_kimg")
    speeds = [row["sec_per_kimg"] for row in rows[-10:] if _is_number(row.get("sec_per_kimg"))]
    speed = sum(speeds) / len(speeds) if speeds else None
    left = None if total is None or speed is None else max(0, total - last["kimg"]) * speed
    return {
        "kimg": last["kimg"],
        "total_kimg": total,
        "tick": last.get("tick"),
        "seconds": last.get("seconds"),
        "seconds_left": left,
        "sec_per_kimg": speed,
        "memory_gb": last.get("memory_gb"),
    }


# Configuration


def _read_config(run_dir):
    """config.json of a run; {} if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
        if isinstance(config, dict):
            return config
    return {}


def describe_flags(flags):
    """Where the value of each flag comes from.

    Args:
      flags: {name: value} of a run.

    Returns:
      List of {"name", "value", "default", "origin"}, but for flags that say what to do with a run
      rather than what it is: first what was "given", then what a "preset"
      sets, then what is at its "default".
    """
    known = {name: flag for name, flag in FLAGS.items() if name in flags}
    preset = {"ratio": presets.RATIOS.get(flags.get("dataset")), **preset_values(flags)}
    rows = []
    for name, value in flags.items():
        if is_mode(name):
            continue
        default = known[name].default() if name in known else None
        if value == default:
            origin = "default"
        else:
            origin = "preset" if name in preset and preset[name] == value else "given"
        rows.append({"name": name, "value": value, "default": default, "origin": origin})
    order = ["given", "preset", "default"]
    return sorted(rows, key=lambda row: order.index(row["origin"]))


# Pictures


def _pictures(run_dir):
    """Samples and attention over time, the data, and the newest layer strips."""
    steps, newest = {}, MAX_NEWEST_BYTES
    for kind in ("fakes", "attention"):
        pictures = history(run_dir, kind)
        for kimg, path in pictures:
            limits = [newest] if path == pictures[-1][1] else []
            picture = embed(path, *limits)
            if picture:
                steps.setdefault(kimg, {"kimg": kimg})[kind] = picture
    layers = history(run_dir, "layers")
    return {
        "steps": [steps[kimg] for kimg in sorted(steps)],
        "reals": embed(run_dir / "reals.png", newest),
        "layers": embed(layers[-1][1], newest) if layers else None,
    }


def main(argv=None):
    """Write the page of a run, and say where it is."""
    parser = cli.Parser(
        prog="python -m vis.report",
        description="Write report.html, a page on a run that opens in any browser.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="e.g. results/first-000")
    run_dir = pathlib.Path(parser.parse_args(argv).run_dir)
    if not run_dir.is_dir():
        raise UserError(f"{run_dir}: no such run directory; see the folders in results/")
    if not (run_dir / "stats.jsonl").exists() and not (run_dir / "config.json").exists():
        raise UserError(f"{run_dir}: holds neither stats.jsonl nor config.json; give one run's own")
    util.log(f"Report: {write_report(run_dir)}")
