"""The model card of a run."""

import json
import re
import shlex

import numpy as np
import pytest

import export
from config.resolve import add_facts, parse, resolve
from dnnlib import UserError, cli
from vis.pictures import save_sample_grid
from vis.report.card import save_model_card


def make_run(folder, given, kimg=3.5):
    """A run directory as a training leaves it."""
    folder.mkdir(parents=True)
    config = resolve(given)
    add_facts(config, 32, 3, 1234, 0)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "stats.jsonl").write_text(json.dumps({"tick": 1, "kimg": kimg}) + "\n")
    for name in ("fakes-000000", "fakes-000003", "attention-000003"):
        save_sample_grid(folder / f"{name}.png", np.zeros([2, 3, 16, 16]), columns=2)
    records = [
        dict(kimg=1, results=dict(fid=80.0)),
        dict(kimg=3, results=dict(fid=40.25), num_fakes=2000, num_reals=1234, features="random:v2"),
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metric-fid2k-random.jsonl").write_text(text + '{"kimg": 4, "res')
    (folder / "network-snapshot-000003.pkl").write_bytes(b"")
    return folder


GIVEN = {"dataset": "my | scenes", "gansformer-default": True, "g-lr": 0.5, "mirror-augment": True}


def test_what_a_card_says(tmp_path, capsys):
    folder = make_run(tmp_path / "first-000", GIVEN)
    assert cli.run_script(export.run, ["--card", str(folder), "--licence", "cc-by-4.0"]) == 0
    assert capsys.readouterr().out == f"Model card: {folder / 'README.md'}\n"
    text = (folder / "README.md").read_text()
    front = re.match(r"---\n(.*?)\n---\n", text, re.S).group(1).splitlines()
    read = {line.partition(": ")[0]: line.partition(": ")[2] for line in front}
    assert json.loads(read["license"]) == "cc-by-4.0"
    assert json.loads(read["tags"])[1] == "gansformer"
    assert "trained on 1,234 images of my | scenes for 3,500 images shown." in text
    assert "](fakes-000003.png)" in text and "](attention-000003.png)" in text
    assert "fakes-000000" not in text
    assert "| fid2k-random: fid | 40.25 | 3 | 2,000 vs 1,234 | random |" in text
    assert "hf:OWNER/REPO/network-snapshot-000003.pkl" in text
    assert r"| `--dataset` | `my \| scenes` | given |" in text
    assert "| `--normalize` | `layer` | preset |" in text and "`--batch-size`" not in text


def test_the_command_of_a_card_gives_the_same_configuration(tmp_path):
    folder = make_run(tmp_path / "first-000", GIVEN)
    text = save_model_card(folder).read_text()
    (command,) = re.findall(r"^python run_network\.py .*$", text, re.M)
    flags = resolve(parse(shlex.split(command)[2:]))["flags"]
    assert flags == dict(resolve(GIVEN)["flags"], train=True)


@pytest.mark.parametrize(
    "given, kind",
    [
        ({"dataset": "x", "baseline": "kGAN"}, "kGAN"),
        ({"dataset": "x"}, "StyleGAN2"),
        ({"dataset": "x", "transformer": True}, "GANsformer"),
    ],
)
def test_kinds_of_models(tmp_path, given, kind):
    text = save_model_card(make_run(tmp_path / "run", given)).read_text()
    assert f"\n# {kind}, x, 32x32\n" in text


def test_a_run_without_pictures_or_figures(tmp_path):
    folder = make_run(tmp_path / "run", {"dataset": "x"})
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()
    text = save_model_card(folder).read_text()
    assert "## Figures" not in text and "![" not in text and "images shown" not in text
    assert "hf:OWNER/REPO/network-final.pkl" in text


def test_a_card_is_written_anew_but_no_other_text_is(tmp_path):
    folder = make_run(tmp_path / "run", {"dataset": "x"})
    save_model_card(folder)
    save_model_card(folder, "other")
    assert 'license: "other"' in (folder / "README.md").read_text()
    (folder / "README.md").write_text("My model")
    with pytest.raises(UserError, match=r"README\.md was not written by export\.py --card"):
        save_model_card(folder)
    with pytest.raises(UserError, match=r"config\.json is missing"):
        save_model_card(tmp_path)
