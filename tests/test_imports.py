"""Imports point one way, and nothing imports in a circle; strings that name modules count."""

import ast
import functools
import pathlib
import re
import sys

import pytest

STRING = ast.Str if sys.version_info < (3, 8) else ast.Constant
ROOT = pathlib.Path(__file__).resolve().parents[1]
# From the bottom up; a package imports from itself and from the lines before its own. Scripts at
# the top of the tree, and bench/, import from everywhere.
LAYERS = (("dnnlib",), ("config", "datasets_tool"), ("vis",), ("training",), ("metrics",))

KNOWN_CYCLES = [
    # The gradients of operations are registered when the library has been loaded.
    {
        "dnnlib.tflib." + name
        for name in ("native", "native.calls", "native.gradients", "ops.attend")
    },
    # load_dataset() stands where StyleGAN2 has it.
    {"training.dataset", "training.tfrecord_dataset"},
]


def _find_modules():
    """{name of a module: its file}, without the tests."""
    modules = {path.stem: path for path in ROOT.glob("*.py")}
    for folder in ROOT.iterdir():  # not all files at once: environments have thousands
        if folder.name != "tests" and not folder.name.startswith("."):
            for path in folder.rglob("*.py"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = _find_modules()


def _module_of(name):
    """The module of a dotted name, which may go on with names inside the module; or None."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def _imported(tree):
    """Yield the dotted names that a module imports, or mentions in strings."""
    skipped = set()  # destinations of flags: "vis.latents" is a parameter there
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Flag":
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where things are"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, STRING) and node not in skipped:
            name = _named_module(node.s if sys.version_info < (3, 8) else node.value)
            if name is not None:
                yield name


def _named_module(value):
    """The module that a string names, as "vis.sampler" or "training.networks:mapping" do."""
    if not isinstance(value, str) or not re.fullmatch(r"\w+(\.\w+)+(:\w+)?", value):
        return None
    name = _module_of(value.replace(":", "."))
    return name if name and "." in name else None  # config.json is a file's name


@functools.lru_cache(maxsize=None)
def import_edges():
    """{module: modules that it imports}, at any depth of its code."""
    found = {}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = {_module_of(other) for other in _imported(tree)} - {None, name}
    return found


def _height(module):
    """Place of a module's package in LAYERS, from the bottom up."""
    top = module.partition(".")[0]
    heights = [height for height, packages in enumerate(LAYERS) if top in packages]
    return heights[0] if heights else len(LAYERS)


def _runs_upward(module, other):
    is_same_package = module.partition(".")[0] == other.partition(".")[0]
    if is_same_package or _height(module) == len(LAYERS):
        return False
    return _height(other) >= _height(module)


def test_imports_point_one_way():
    found = {
        (m, other)
        for m, others in import_edges().items()
        for other in others
        if _runs_upward(m, other)
    }
    assert not found


def test_every_module_belongs_to_a_layer_or_is_a_script():
    packages = {package for layer in LAYERS for package in layer}
    for module, path in MODULES.items():
        top = module.partition(".")[0]
        assert top in packages | {"bench", "scripts"} or path.parent == ROOT, module


def test_nothing_imports_in_a_circle():
    assert [set(cycle) for cycle in _cycles(import_edges())] == KNOWN_CYCLES


def _cycles(edges):
    """Strongly connected components of two modules or more, sorted (Kosaraju)."""
    order, seen = [], set()

    def visit(module, neighbours, out):
        seen.add(module)
        for other in sorted(neighbours[module]):
            if other not in seen:
                visit(other, neighbours, out)
        out.append(module)

    for module in sorted(edges):
        if module not in seen:
            visit(module, edges, order)
    reverse = {module: {m for m in edges if module in edges[m]} for module in edges}
    seen.clear()
    components = []
    for module in reversed(order):
        if module not in seen:
            component = []
            visit(module, reverse, component)
            components.append(sorted(component))
    return sorted(component for component in components if len(component) > 1)


@pytest.mark.parametrize(
    "code, names",
    [
        ("from vis import sampler", {"vis.sampler"}),
        ("def f():\n    import training.loss", {"training.loss"}),
        ("from vis.sampler import Sampler", {"vis.sampler"}),
        ("find('vis.sampler')", {"vis.sampler"}),
        ("TABLE = {'D': 'training.networks:discriminator'}", {"training.networks"}),
        ("Flag('vis-latents', 'vis.latents')", set()),
        ("'config.json'", set()),
        ("'a sentence about vis.sampler'", set()),
        ("import numpy", set()),
    ],
)
def test_how_imports_are_found(code, names):
    assert {_module_of(name) for name in _imported(ast.parse(code))} - {None} == names


def test_how_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}
    assert _cycles(edges) == [["a", "b", "c"]]
    assert _cycles({**edges, "c": {"d"}}) == []
