"""Scripts and `python -m` names from a folder that is not the checkout."""

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = sorted(
    path.name for path in ROOT.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).parent.parts)
    for package in ROOT.glob("*/__init__.py")
    for path in package.parent.rglob("__main__.py")
)


def run_all(commands, folder, **environment):
    """Run commands at the same time; returns what each has printed."""
    names = ("PYTHONPATH", "PYTHONHOME")
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    options = dict(cwd=str(folder), stdout=-1, stderr=-2, env={**inherited, **environment})
    processes = [subprocess.Popen([*map(str, command)], **options) for command in commands]
    printed = [process.communicate()[0].decode() for process in processes]
    for process, text in zip(processes, printed):
        assert process.returncode == 0, text
    return printed


def test_help_of_every_script(tmp_path):
    assert {"run_network.py", "prepare_data.py", "generate.py", "export.py"} < {*SCRIPTS}
    commands = [[sys.executable, ROOT / script, "--help"] for script in SCRIPTS]
    for script, text in zip(SCRIPTS, run_all(commands, tmp_path)):
        assert text.startswith("usage: ") and script in text.splitlines()[0]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def env(tmp_path):
    """A virtual environment as scripts/make_env.sh makes it, but that it installs nothing."""
    folder = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "pip").mkdir()
    (packages / "pip" / "__main__.py").write_text("")
    (packages / "test.pth").write_text(sysconfig.get_path("purelib"))
    script = ROOT / "scripts" / "make_env.sh"
    command = ["sh", str(script), "no-python", str(folder)]
    subprocess.run(command, cwd=str(ROOT), stdout=-1, check=True)
    return folder


def test_python_m_names_in_an_environment_of_make(env, tmp_path):
    assert {"dnnlib.tflib.snapshot", "vis.report"} <= {*MODULES}
    commands = [[env / "bin" / "python", "-m", name, "--help"] for name in MODULES]
    commands.append(
        [env / "bin" / "python", "-c", "from dnnlib import UserError; print('usage: ')"]
    )
    for text in run_all(commands, tmp_path):
        assert text.startswith("usage: ")
