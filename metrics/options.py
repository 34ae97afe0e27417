"""Options of the evaluation. The defaults of their flags live here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvalOptions:
    """What to measure, by which features, on which images."""

    metrics: str | None = None  # names, comma-separated; None = fid with --eval, else nothing
    images_num: int | None = None  # None = as many as each protocol has
    all: bool = False  # all snapshots of the run, not the last one only
    folder: str | None = None  # pictures to measure in place of a generator
    reference: str | None = None  # pictures to compare with in place of the dataset
    features: str = "inception"  # or "random"
    inception: str | None = None  # file of the Inception graph; None = download it once
    trust_snapshot: str = ""  # feature networks whose code may run, comma-separated
