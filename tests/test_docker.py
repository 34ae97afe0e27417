"""The Dockerfiles' steps, in a folder and a virtual environment instead of a container."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

RUNTIMES = {True: ("Dockerfile", "python3.12"), False: ("Dockerfile.tf1", "python3.7")}


def instructions(text):
    """[(instruction, argument)] of a Dockerfile."""
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", "")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name, python", RUNTIMES.values())
def test_what_dockerfiles_name_is_there(root, name, python):
    steps = instructions((root / name).read_text(encoding="utf-8"))
    assert [kind for kind, _ in steps][:3] == ["ARG", "FROM", "ARG"]
    kinds = {"ARG", "FROM", "RUN", "ENV", "COPY", "WORKDIR", "CMD"}
    assert {kind for kind, _ in steps} == kinds
    copied = [argument.split()[0] for kind, argument in steps if kind == "COPY"]
    assert copied == ["requirements.txt", "."]
    (command,) = [json.loads(argument) for kind, argument in steps if kind == "CMD"]
    assert (root / command[1].replace("/gansformer/", "")).exists()
    (pattern,) = re.findall(r"s/(\^tensorflow\S+?)/", (root / name).read_text(encoding="utf-8"))
    requirements = (root / "requirements.txt").read_text(encoding="utf-8")
    assert len(re.findall(pattern, requirements, re.M)) == 1
    assert any(f"{python} -m venv" in argument for _, argument in steps)


def copy_checkout(root, target):
    """What ``COPY .`` copies: the folder without what .dockerignore names."""
    ignored = (root / ".dockerignore").read_text().split()
    patterns = [name.split("/")[-1] for name in ignored]
    shutil.copytree(str(root), str(target), ignore=shutil.ignore_patterns(*patterns))


@pytest.mark.slow
def test_the_steps_of_this_runtime(root, tmp_path):
    name, python = RUNTIMES[sys.version_info >= (3, 8)]
    places = {"/opt/venv": tmp_path / "venv", "/gansformer": tmp_path / "gansformer"}
    places = {**places, "/data": tmp_path / "data"}

    def placed(text):
        for path, place in places.items():
            text = text.replace(path, str(place))
        return text.replace(f"{python} ", f"{sys.executable} ")

    kept = {k: v for k, v in os.environ.items() if k.lower().startswith(("pip_", "http", "no_"))}
    env = {**kept, "HOME": os.environ["HOME"], "PATH": os.environ["PATH"]}
    env["TENSORFLOW"] = "tensorflow-cpu"  # the smallest
    cwd = tmp_path

    def run(command):
        options = dict(cwd=str(cwd), env=env, stdout=-1, stderr=-2)
        done = subprocess.run(["bash", "-ec", command], check=False, **options)
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}"
        return done.stdout.decode()

    for kind, argument in instructions((root / name).read_text(encoding="utf-8")):
        if kind == "RUN" and "apt-get" not in argument:
            run(placed(argument))
        elif kind == "ENV":
            for pair in placed(argument).split():
                key, _, value = pair.partition("=")
                env[key] = value.replace("$PATH", env["PATH"])
        elif kind == "COPY" and argument.startswith(". "):
            shutil.rmtree(str(places["/gansformer"]))
            copy_checkout(root, places["/gansformer"])
        elif kind == "COPY":
            places["/gansformer"].mkdir()
            shutil.copy(str(root / "requirements.txt"), str(places["/gansformer"]))
        elif kind == "WORKDIR":
            cwd = places[argument]
            cwd.mkdir()
        elif kind == "CMD":
            assert run(" ".join(json.loads(placed(argument)))).startswith("usage: ")
    assert run("command -v python") == f"{places['/opt/venv']}/bin/python\n"
    run("python -m vis.report --help")
    scenes = "--scenes --images-num 8 --resolution 8 --workers 1"
    run(f"python {places['/gansformer']}/prepare_data.py {scenes}")
    assert (cwd / "datasets" / "scenes" / "dataset.json").exists()
    run("python -c 'from dnnlib import tflib; tflib.init_tf()'")
