"""A model card: README.md of a run directory, fit for a model hub.

The text before it, between lines of dashes, is what the Hugging Face hub reads; the rest is for
people: pictures, figures, how to use the model, how it was made.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex

from dnnlib import files
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import find_snapshots, load_config
from vis.report.page import describe_flags, read_rows
from vis.report.pictures import history

CARD_NAME = "README.md"
MARK = "<!-- written by export.py --card -->"
PICTURES = {"fakes": "Samples", "attention": "What each latent component attends to"}

PAPER = "[Generative Adversarial Transformers](https://arxiv.org/abs/2103.01209)"


def save_model_card(run_dir: str | pathlib.Path, licence: str = "mit") -> pathlib.Path:
    """Write README.md from what is in a run directory.

    Args:
      run_dir: of the run. Pictures and figures that are missing in it are left out.
      licence: of the model's values, as the hub has it: mit, apache-2.0, cc-by-4.0, other ...

    Returns:
      Path of the card.

    Raises:
      UserError: it is no run directory, or has a README.md that somebody else has written.
    """
    run_dir = pathlib.Path(run_dir)
    config = load_config(run_dir)
    path = run_dir / CARD_NAME
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path} was not written by export.py --card; move it elsewhere first")
    with files.atomic_write(path, "w") as file:
        file.write(_card(run_dir, config, licence))
    return path


def _card(run_dir, config, licence):
    """The text."""
    flags, facts = config["flags"], config["facts"]
    kind = flags.get("baseline") or ("GANsformer" if flags.get("transformer") else "StyleGAN2")
    model = _model_file(run_dir)
    kimg = max([row["kimg"] for row in read_rows(run_dir / "stats.jsonl")], default=None)
    shown = "" if kimg is None else f" for {1000 * kimg:,.0f} images shown"
    dataset = os.path.basename(flags.get("dataset") or "images")  # a path may be private
    height, width = facts.get("start", (4, 4))
    resolution = facts.get("resolution", 0)
    size = f"{resolution * height // 4}x{resolution * width // 4}" if resolution else "?x?"
    paper = PAPER if kind == "GANsformer" else f"a baseline of {PAPER}"
    parts = [
        _front_matter(kind, licence),
        MARK,
        f"# {kind}, {dataset}, {size}",
        f"A {kind} ({paper}) trained on {facts.get('num_images', 0):,} images of {dataset}{shown}.",
        *_pictures(run_dir),
        *_figures(run_dir),
        "## Use",
        f"```bash\npython generate.py --model hf:OWNER/REPO/{model} --seeds 0-15\n"
        f"python explore.py --model hf:OWNER/REPO/{model}\n```",
        "Nothing inside the file is executed when it is opened. `python export.py` gives the model "
        "to other programs (SavedModel, ONNX, safetensors).",
        "## Training",
        f"```bash\n{_command(flags)}\n```",
        _configuration(flags),
        "## Licence",
        f"The values of the model: {licence}. The images that it was trained on have a licence of "
        "their own, which may bind what is made from them.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(kind, licence):
    """What the hub reads: YAML; JSON texts are YAML."""
    tags = ["gan", kind.lower(), "image-generation"]
    lines = [
        "---",
        f"license: {json.dumps(licence)}",
        "pipeline_tag: unconditional-image-generation",
        f"tags: {json.dumps(tags)}",
        "---",
    ]
    return "\n".join(lines)


def _model_file(run_dir):
    """Name of the snapshot to use: of the end of the training, else the newest."""
    if (run_dir / "network-final.pkl").exists():
        return "network-final.pkl"
    return next((path.name for _, path in find_snapshots(run_dir)[-1:]), "network-final.pkl")


def _pictures(run_dir):
    """The newest picture of each kind."""
    for kind, title in PICTURES.items():
        for _, path in history(run_dir, kind)[-1:]:
            yield f"![{title}]({path.name})"


def _figures(run_dir):
    """A table of the newest figures of each metric; nothing if nothing was measured."""
    rows = []
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        records = [row for row in read_rows(path) if isinstance(row.get("results"), dict)]
        if records:
            newest = max(records, key=lambda row: row["kimg"])
            rows += [
                [f"{path.stem[len('metric-') :]}: {name}", f"{value:.4g}", *_measured(newest)]
                for name, value in newest["results"].items()
                if isinstance(value, (int, float))
            ]
    if not rows:
        return []
    return ["## Figures", _table([["metric", "value", "kimg", "images", "features"], *rows])]


def _measured(record):
    """How a record was measured: kimg, numbers of images, features."""
    numbers = [record[name] for name in ("num_fakes", "num_reals") if record.get(name)]
    features = str(record.get("features", "")).split(":")[0]
    return f"{record['kimg']:g}", " vs ".join(f"{number:,}" for number in numbers), features


def _command(flags):
    """The command that trains such a model."""
    words = ["python", "run_network.py", "--train"]
    for row in describe_flags(flags):
        if row["origin"] == "given" and row["value"] is not None:
            is_on = row["value"] is True
            words.append(f"--{row['name']}" + ("" if is_on else f"={_text(row['value'])}"))
    return " ".join(shlex.quote(word) for word in words)


def _configuration(flags):
    """A table of the flags that are not at their default."""
    rows = [
        [f"`--{row['name']}`", f"`{_text(row['value'])}`", row["origin"]]
        for row in describe_flags(flags)
        if row["origin"] != "default"
    ]
    return _table([["flag", "value", "from"], *rows])


def _text(value):
    """A flag's value as people write it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _table(rows):
    """Lists of cells => Markdown; the first row is the head."""
    rows = [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
