"""What comes out of a study: figures, a table, a sheet, and its section of docs/studies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu
from studies import STUDIES

from dnnlib.errors import UserError
from dnnlib.submission.run_dir import latest_run
from dnnlib.util import atomic_write, log
from metrics.registry import count_text
from metrics.report import read_records
from vis.pictures import read_picture, save_picture, titled

SHEET_SEEDS = 5  # on a sheet
SHEET_WIDTH = 400  # of a run's samples on it, in pixels, at most
PAGE_HEAD = """\
# Figures of every run

Written by `python bench/study.py --document`; beside this page a JSON file has each study's
figures. What follows from them is in [results.md](../results.md), with the studies that were run
before figures were kept. Medians (ranges) over seeds; "chance": how often ranks differ from the
first setting's as much by chance (Mann-Whitney, both sides); minutes of a core.

"""

# Results => (title of the column, digits behind the point).
COLUMNS = {
    "fid{n}-efficientnet": ("distance", 0),
    "pr{n}{sep}3-efficientnet_precision": ("precision", 2),
    "pr{n}{sep}3-efficientnet_recall": ("recall", 2),
    "objects{n}": ("objects", 1),
    "objects{n}_colours": ("colours", 1),
    "layout{n}_spread": ("spread", 2),
    "layout{n}_variety": ("variety", 2),
}


# Runs


def is_finished(run_dir):
    """Whether a run was trained to its end."""
    return run_dir is not None and (run_dir / "network-final.pkl").exists()


def read_figures(run_dir, study):
    """{title of a column: value} of the final snapshot, as far as it was judged."""
    number, found = count_text(study.images_num), {}
    if not is_finished(run_dir):
        return found
    number = number if number.endswith("k") else f"-{number}"
    for pattern, (title, _) in COLUMNS.items():
        name = pattern.format(n=number, sep="-" if number.startswith("-") else "")
        for metric in (name.rsplit("_", 1)[0], name):
            for record in read_records(run_dir, metric)[-1:]:
                if name in record["results"]:
                    found[title] = record["results"][name]
    return found


def is_judged(run_dir, study):
    """Whether all that a study measures is known of a run."""
    return len(read_figures(run_dir, study)) == len(_titles(study))


def _titles(study):
    """Titles of the columns that a study's metrics fill."""
    wanted = tuple(study.metrics.split(","))
    return [title for name, (title, _) in COLUMNS.items() if name.startswith(wanted)]


def _read_json(path, fallback):
    """A JSON file; ``fallback`` if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else fallback


def _minutes(run_dir):
    """Time that a run's training took; None if it does not say."""
    path = run_dir / "stats.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return round(json.loads(lines[-1])["seconds"] / 60, 1) if lines else None


def collect(name, study, folder):
    """All that is known of a study's runs.

    Args:
      name: of the study.
      study: studies.Study.
      folder: of this study.

    Returns:
      A dict of plain values: name, question, base, settings, titles, and runs, a list of dicts of
      setting, seed, minutes, commit and figures; only finished runs are in it, and settings that
      have some.
    """
    settings = _read_json(Path(folder) / "study.json", {"settings": study.settings})["settings"]
    runs = []
    for setting in settings:
        pattern = re.compile(re.escape(setting) + r"-s(\d+)-\d{3,}")
        matches = [pattern.fullmatch(path.name) for path in Path(folder, "runs").glob("*")]
        for seed in sorted({int(match.group(1)) for match in matches if match}):
            run_dir = latest_run(str(Path(folder, "runs")), f"{setting}-s{seed}")
            if is_finished(run_dir):
                about = (_read_json(run_dir / "run.json", None) or [{}])[-1]
                runs.append(
                    {
                        "setting": setting,
                        "seed": seed,
                        "minutes": _minutes(run_dir),
                        "commit": about.get("git_commit"),
                        "packages": about.get("packages"),
                        "figures": read_figures(run_dir, study),
                        "run_dir": str(run_dir),
                    }
                )
    return {
        "name": name,
        "question": study.question,
        "base": study.base,
        "settings": {
            s: flags for s, flags in settings.items() if any(r["setting"] == s for r in runs)
        },
        "images_num": study.images_num,
        "titles": _titles(study),
        "runs": runs,
    }


# Tables


def _values(results, setting, title):
    """A figure of all of a setting's runs that have it."""
    runs = [run for run in results["runs"] if run["setting"] == setting]
    return [run["figures"][title] for run in runs if title in run["figures"]]


def _spread(values, digits):
    """Median and range as text: "787 (651-1004)"."""
    if not values:
        return ""
    middle, low, high = (f"{f(values):.{digits}f}" for f in (np.median, np.min, np.max))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def chance(first, second):
    """How often ranks differ as much by chance (Mann-Whitney, both sides); None of fewer than 3.

    Args:
      first: list of numbers.
      second: list of numbers.
    """
    if min(len(first), len(second)) < 3:
        return None
    return float(mannwhitneyu(first, second, alternative="two-sided").pvalue)


def table(results):
    """Lines of Markdown: a row for each setting, medians and ranges over its seeds."""
    titles, digits = results["titles"], dict(COLUMNS.values())
    head = ["setting", "runs", *titles, "chance", "minutes"]
    lines = [_row(head), _row(["---"] * len(head))]
    first = None
    for setting in results["settings"]:
        runs = [run for run in results["runs"] if run["setting"] == setting]
        values = _values(results, setting, titles[0])
        p = None if first is None else chance(first, values)
        first = values if first is None else first
        minutes = [run["minutes"] for run in runs if run["minutes"] is not None]
        cells = [_spread(_values(results, setting, title), digits[title]) for title in titles]
        last = ["" if p is None else f"{p:.2g}", f"{np.median(minutes):.2g}" if minutes else ""]
        lines.append(_row([setting, str(len(runs)), *cells, *last]))
    return lines


def _row(cells):
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


# Sheets


def _samples(run_dir):
    """The upper left quarter of a run's last sheet of samples, small; None if there is none."""
    paths = sorted(Path(run_dir).glob("fakes-*.png"))
    if not paths:
        return None
    picture = read_picture(paths[-1])
    height, width = (size // 2 for size in picture.shape[:2])
    step = -(-width // SHEET_WIDTH)
    height, width = height // step * step, width // step * step
    blocks = picture[:height, :width].reshape(height // step, step, width // step, step, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def sheet(results):
    """Samples side by side: a row for each setting, a column for each of the first seeds.

    Returns:
      [height, width, 3] uint8, or None if no run has samples.
    """
    found = {(run["setting"], run["seed"]): _samples(run["run_dir"]) for run in results["runs"]}
    found = {place: samples for place, samples in found.items() if samples is not None}
    if not found:
        return None
    seeds = sorted({seed for _, seed in found})[:SHEET_SEEDS]
    shown = [setting for setting in results["settings"] if any(s == setting for s, _ in found)]
    empty = np.full_like(next(iter(found.values())), 255)
    places = [(setting, seed) for setting in shown for seed in seeds]
    pictures = [found.get(place, empty) for place in places]
    return titled(
        np.stack(pictures), [f"{setting}, seed {seed}" for setting, seed in places], len(seeds)
    )


def write(folder, results):
    """Write results.json, table.md and sheet.png."""
    _write_json(Path(folder) / "results.json", results)
    with atomic_write(Path(folder) / "table.md", "w") as file:
        file.write("\n".join(table(results)) + "\n")
    picture = sheet(results)
    if picture is not None:
        save_picture(Path(folder) / "sheet.png", picture)


# Documentation


def seeds_table(results):
    """Lines of Markdown: the first figure of every run that has it, a column for each seed."""
    title, digits = results["titles"][0], dict(COLUMNS.values())
    found = {
        (run["setting"], run["seed"]): f"{run['figures'][title]:.{digits[title]}f}"
        for run in results["runs"]
        if title in run["figures"]
    }
    seeds = sorted({seed for _, seed in found})
    lines = [_row([f"{title}, seed", *map(str, seeds)]), _row(["---"] * (len(seeds) + 1))]
    for setting in results["settings"]:
        lines.append(_row([setting, *(found.get((setting, seed), "") for seed in seeds)]))
    return lines


def section(results):
    """Lines of Markdown about one study, given what :func:`collect` returns."""
    name = results["name"]
    commits = sorted({(run["commit"] or "unknown")[:7] for run in results["runs"]})
    versions = {(run["packages"] or {}).get("tensorflow", "unknown") for run in results["runs"]}
    return [
        f"## {name}",
        "",
        results["question"],
        "",
        f"    python bench/study.py {name}",
        "",
        *table(results),
        "",
        *seeds_table(results),
        "",
        f"All runs: `{results['base']}`",
        "",
        *(f"- {s}: `{flags}`" for s, flags in results["settings"].items() if flags),
        "",
        f"{results['images_num']:,} samples; TensorFlow {', '.join(sorted(versions))}; code of "
        f"{', '.join(commits)}.",
        "",
    ]


def document(folder, docs):
    """Write the page of all studies, docs/studies/README.md.

    What is known of each study stands beside it in a JSON file; those of studies that are not in
    ``folder`` stay.

    Args:
      folder: of all studies.
      docs: folder of the documentation.

    Raises:
      UserError: there are no results at all.
    """
    kept = Path(docs, "studies")
    kept.mkdir(exist_ok=True)
    for path in sorted(Path(folder).glob("*/results.json")):
        results = _read_json(path, None)
        name = results["name"]
        if name in STUDIES and results["runs"]:
            for run in results["runs"]:
                run.pop("run_dir", None)
            _write_json(kept / f"{name}.json", results)
    names = [name for name in STUDIES if (kept / f"{name}.json").exists()]
    if not names:
        raise UserError(f"{folder}: holds no results yet; run a study first")
    lines = PAGE_HEAD.splitlines()
    for name in names:
        lines += section(_read_json(kept / f"{name}.json", None))
    with atomic_write(kept / "README.md", "w") as file:
        file.write("\n".join(lines))
    log(f"{kept / 'README.md'}: {', '.join(names)}")


def _write_json(path, value):
    with atomic_write(path, "w") as file:
        file.write(json.dumps(value, indent=1) + "\n")
