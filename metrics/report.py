"""What measurements leave: a file for each metric, a table, the best snapshot's name."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil

from dnnlib import util


def records_path(run_dir, metric):
    """The file of a metric's records, one JSON object a line."""
    return pathlib.Path(run_dir) / f"metric-{metric}.jsonl"


def append_record(run_dir, record):
    """Add a record to its metric's file. A line that was cut off before is ended first."""
    path = records_path(run_dir, record["metric"])
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    start = "\n" if text and not text.endswith("\n") else ""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{start}{json.dumps(record)}\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(run_dir, metric):
    """Records of a metric, oldest first; lines that are not whole are left out."""
    path = records_path(run_dir, metric)
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and record.get("results"):
                records.append(record)
    return records


def find_record(run_dir, wanted):
    """The latest record of the very same measurement, or None."""
    records = read_records(run_dir, wanted["metric"])
    return next((r for r in reversed(records) if r.get("key") == wanted["key"]), None)


def by_kimg(records):
    """{kimg: latest record} of those that belong to a place of the training, in its order."""
    found = {r["kimg"]: r for r in records if r.get("kimg") is not None}
    return dict(sorted(found.items()))


def table(records):
    """Lines for the screen: names, values, numbers of images, features."""
    rows = [("metric", "value", "images", "features")]
    for record in records:
        counts = f"{record['num_fakes']:,}"
        if "num_reals" in record:
            counts += f" vs {record['num_reals']:,}"
        features = record["features"].split(":")[0]
        for name, value in record["results"].items():
            rows.append((name, f"{value:.6g}", counts, features))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    return [line.rstrip() for line in lines]


def link_best(run_dir, protocol, metric):
    """Give the best snapshot that is still there a name of its own, best-METRIC.pkl.

    It is a second name of the same file, which stays when old snapshots are removed.

    Args:
      run_dir: of the run.
      protocol: registry.Protocol of the metric.
      metric: its name.

    Returns:
      (record of the best snapshot, path of the link); None if nothing is better than the rest.
    """
    records = by_kimg(read_records(run_dir, metric)).values()
    if protocol.best is None or not records:
        return None
    best = protocol.best(records, key=lambda record: next(iter(record["results"].values())))
    link = pathlib.Path(run_dir) / f"best-{metric}.pkl"
    snapshot = pathlib.Path(run_dir) / str(best.get("snapshot"))
    if snapshot.is_file():
        temporary = link.with_name(f".{link.name}.tmp")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        try:
            os.link(str(snapshot), str(temporary))
            os.replace(str(temporary), str(link))
        except OSError:  # a file system without links
            with snapshot.open("rb") as source, util.atomic_write(link) as target:
                shutil.copyfileobj(source, target)
    elif not link.exists():
        return None
    return best, link


def keep_best(run_dir, protocols, metrics):
    """After measuring: name the best snapshots, and log a line for each.

    Args:
      run_dir: of the run.
      protocols: list of registry.Protocol.
      metrics: their names, with the labels of their features.
    """
    for protocol, metric in zip(protocols, metrics):
        found = link_best(run_dir, protocol, metric)
        if found:
            best, link = found
            value = next(iter(best["results"].values()))
            util.log(f"Best {metric}: {value:.6g} at {best['kimg']:g} kimg, kept as {link}")
