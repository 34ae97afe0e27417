"""What measure.py found, as a table for docs/performance.md and as JSON for bench/results.

    python scripts/airgap/report.py FOLDER [--json bench/results/DEVICE.json] [--into FILE.md]

``--into`` replaces what stands between the lines ``<!-- gpu:begin -->`` and ``<!-- gpu:end -->``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import measure
import parts

BEGIN, END = "<!-- gpu:begin -->", "<!-- gpu:end -->"
MODELS = ("GANsformer", "StyleGAN2")


def collect(folder: pathlib.Path) -> dict[str, dict]:
    """{step: {"status", "seconds", "command", "figures"}} in the order of the steps.

    Raises:
      parts.PartsError: the folder holds no results.
    """
    order = [step.name for step in [*measure.all_steps(), *measure.small_steps()]]
    found = {}
    for name in dict.fromkeys(order):
        path = folder / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: result[key] for key in ("status", "seconds", "command", "figures")}
    if not found:
        raise parts.PartsError(f"{folder}: no results here; run measure.py --out {folder} first")
    return found


def title(results: dict[str, dict]) -> str:
    """The device, and what was installed."""
    here = (results.get("machine") or {}).get("figures") or {}
    words = [here.get("device", "unknown device")]
    words += [f"{here[key]}" for key in ("memory",) if here.get(key)]
    names = dict(driver="driver", nvcc="nvcc of CUDA", python="Python", tensorflow="TensorFlow")
    words += [f"{name} {here[key]}" for key, name in names.items() if here.get(key)]
    return ", ".join(words)


def lines(results: dict[str, dict]) -> list[str]:
    """Title and table, in Markdown."""
    rows = [f"{title(results)}:", "", "| step | result |", "| --- | --- |"]
    for name, result in results.items():
        if name != "machine":
            rows.append(f"| {name} | {describe(result)} |")
    return rows


def describe(result: dict) -> str:
    """A step's figures in words; its status, if it did not succeed."""
    figures = result["figures"] or {}
    if result["status"] == measure.SKIPPED_TOO:
        return "skipped"
    if not figures:
        return result["status"] if result["status"] != measure.OK else "done"
    kernels = any("share_of_copy" in value for value in figures.values() if isinstance(value, dict))
    say = next((_WORDS[key] for key in _WORDS if key in figures), lambda _: "done")
    words = (_kernels if kernels else say)(figures)
    return words if result["status"] == measure.OK else f"{words}; then: {result['status']}"


def _speeds(figures):
    words = []
    for model in filter(figures.get, MODELS):
        rate = figures[model]["images_per_second"]
        words.append(f"{model} {rate:.1f} images/s, {1000 / rate:.2f} s per thousand")
    if len(words) == len(MODELS):
        rates = [figures[model]["images_per_second"] for model in MODELS]
        words.append(f"ratio {rates[1] / rates[0]:.2f}")
    if figures.get("gpu_peak_mb"):
        words.append(f"peak {figures['gpu_peak_mb'] / 1024:.1f} GB")
    return "; ".join(words)


def _errors(figures):
    errors = figures.get("largest relative error") or figures["largest error"]
    worst = max(errors, key=errors.get)
    return f"{len(errors)} right; largest error {errors[worst]:.1e} ({worst})"


def _kernels(figures):
    shares = {k: v["share_of_copy"] for k, v in figures.items() if "share_of_copy" in v}
    copy = max(v["gb_per_second"] for v in figures.values() if "gb_per_second" in v)
    worst = min(shares, key=shares.get)
    good = sum(share >= 0.85 for share in shares.values())
    return (
        f"a copy moves {copy:.0f} GB/s; {good} of {len(shares)} kernels reach 85% of it; "
        f"least {shares[worst]:.0%} ({worst})"
    )


def _training(figures):
    last = figures["last"]
    speed = last.get("sec_per_kimg")
    speed = f", {speed:.2f} s per thousand images" if speed else ""
    return f"{figures['resolution']}x{figures['resolution']}, {last['kimg']:g} kimg{speed}"


# A key that tells a step's kind => what makes a sentence of its figures.
_WORDS = {
    "largest relative error": _errors,
    "largest error": _errors,
    "GANsformer": _speeds,
    "build_seconds": lambda f: (
        f"built in {f['build_seconds']:.0f} s, with{'' if f['has_cuda'] else 'out'} CUDA kernels"
    ),
    "seconds_per_image": lambda f: (
        f"PyTorch's convolutions alone: {1000 * f['seconds_per_image']:.2f} s per thousand images"
    ),
    "last": _training,
    "peak_mb": lambda f: f"batch {f['batch_size']}: {f['peak_mb'] / 1024:.1f} GB",
}


def insert(text: str, rows: list[str]) -> str:
    """A page with the table in its place.

    Raises:
      parts.PartsError: the page has no place for it.
    """
    before, found, rest = text.partition(BEGIN)
    _, found_too, after = rest.partition(END)
    if not found or not found_too:
        raise parts.PartsError(f"the page has no lines {BEGIN} and {END}; add them")
    return before + "\n".join([BEGIN, *rows, END]) + after


def main(argv=None) -> int:
    """Print the table; write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="what measure.py --out named")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all figures")
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="a page in Markdown")
    args = parser.parse_args(argv)
    try:
        results = collect(args.folder)
        rows = lines(results)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            parts.write(args.json, json.dumps(results, indent=1).encode() + b"\n")
        if args.into:
            text = insert(args.into.read_text(encoding="utf-8"), rows)
            parts.write(args.into, text.encode())
    except (parts.PartsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
