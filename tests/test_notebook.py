"""The notebook, run cell by cell as Jupyter would, with a training of two steps."""

import ast
import json
import re
import subprocess
import sys

import pytest

# Runs the code cells that a file lists; says what kind of picture a cell shows at its end.
RUNNER = """
import ast, json, sys

cells, scope = json.load(open(sys.argv[1])), {}
for text in cells:
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), scope)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), scope)
        if shown is not None:
            print("SHOWN", type(shown).__module__, *shown.size)
"""


@pytest.fixture
def cells(root):
    """Text of the code cells."""
    notebook = json.loads((root / "notebooks" / "first_steps.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    found = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in found)
    return ["".join(cell["source"]) for cell in found]


def test_the_notebook_is_plain_python(cells):
    for text in cells:
        ast.parse(text)


@pytest.mark.slow
def test_the_notebook_runs(cells, root, tmp_path):
    changes = {
        "^ROOT = .*": f"ROOT = pathlib.Path({str(root)!r})",
        "^IMAGES = .*": "IMAGES = 24",
        "^KIMG = .*": "KIMG = 0.016",
        r"^os\.chdir\(ROOT\)": "",  # data and results go into the folder of this test
    }
    text = cells[0]
    for pattern, changed in changes.items():
        text, count = re.subn(pattern, changed, text, flags=re.M)
        assert count == 1
    (tmp_path / "cells.json").write_text(json.dumps([text, *cells[1:]]))
    command = [sys.executable, "-c", RUNNER, "cells.json"]
    done = subprocess.run(command, cwd=str(tmp_path), stdout=-1, stderr=-2, check=False)
    printed = done.stdout.decode()
    assert done.returncode == 0, printed
    shown = re.findall(r"^SHOWN PIL\.\S+ (\d+) (\d+)$", printed, re.M)
    assert len(shown) == 6 and all(int(size) > 31 for pair in shown for size in pair)
    assert (tmp_path / "results" / "notebook-000" / "network-final.pkl").exists()
