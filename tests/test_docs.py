"""Links and commands of the documentation: all lead somewhere, all are understood."""

import re
import shlex
import sys

import pytest
from conftest import ROOT
from test_readme import PARSERS

sys.path.insert(0, str(ROOT / "bench"))

import study

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*.md")]
SCRIPTS = {**PARSERS, "bench/study.py": lambda words: study.choose(parse_study(words))}


def parse_study(words):
    args = study.build_parser().parse_args(words)
    if args.study is None:  # --list, --document
        args.study = "smoke"
    return args


def anchors(path):
    """Those that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def broken_links(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http://", "https://")):
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            if not target.exists() or (anchor and anchor not in anchors(target)):
                yield link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert list(broken_links(path)) == []


def commands(text):
    """(script, flags) of the commands in blocks of code; ... stands for what is left out."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found = [re.fullmatch(r"(?: {4})?(python [\w/.]+\.py .*)", line) for line in lines]
    words = [shlex.split(m.group(1).replace("...", ""), comments=True) for m in found if m]
    return [(script, flags) for _, script, *flags in words if script in SCRIPTS]


def test_commands_are_understood():
    seen = set()
    for path in PAGES:
        for script, flags in commands(path.read_text(encoding="utf-8")):
            SCRIPTS[script](flags)
            seen.add(script)
    assert {"bench/study.py", "run_network.py", "prepare_data.py", "generate.py"} <= seen
