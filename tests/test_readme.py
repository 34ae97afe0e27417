"""The commands of the README: all of them are understood, and the first steps are run."""

import re
import shlex
import subprocess
import sys

import pytest

import explore
import export
import generate
import prepare_data
import project
from config.resolve import parse

PARSERS = {
    "explore.py": explore.parse_args,
    "export.py": export.parse_args,
    "generate.py": generate.parse_args,
    "prepare_data.py": prepare_data.build_parser().parse_args,
    "project.py": project.parse_args,
    "run_network.py": parse,
}

# Appended to the commands of the first steps; a later flag beats an earlier one.
SHRINK = {
    "prepare_data.py": ["--images-num", "24", "--resolution", "8", "--workers", "1"],
    "run_network.py": ["--total-kimg", "0.016", "--channel-max", "8", "--components-num", "2"],
    "generate.py": ["--seeds", "0,1"],
}


def blocks(root, tag):
    text = (root / "README.md").read_text(encoding="utf-8")
    return [block.strip().splitlines() for block in re.findall(f"```{tag}\n(.*?)```", text, re.S)]


def commands(root):
    lines = [line for tag in ("bash", "bash smoke") for b in blocks(root, tag) for line in b]
    return [shlex.split(line, comments=True) for line in lines]


def test_every_command_is_understood(root):
    targets = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M)
    seen = set()
    for command in commands(root):
        if command[0] == "make":
            assert command[1] in targets
        else:
            assert command[0] == "python"
            seen.add(command[1])
            if "--help" not in command:
                PARSERS[command[1]](command[2:])
    assert seen == set(PARSERS)


@pytest.mark.slow
def test_the_first_steps_work(root, tmp_path):
    (steps,) = blocks(root, "bash smoke")
    for step in steps:
        script, *flags = shlex.split(step)[1:]
        command = [sys.executable, str(root / script), *flags, *SHRINK[script]]
        done = subprocess.run(command, cwd=str(tmp_path), stdout=-1, stderr=-2, check=False)
        assert done.returncode == 0, done.stdout.decode()
    assert (tmp_path / "results/first-000/fakes-000000.png").stat().st_size
    assert {"seed0000.png", "seed0001.png", "grid.png"} <= {
        path.name for path in (tmp_path / "images").iterdir()
    }
