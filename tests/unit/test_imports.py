"""No circle of imports: neither among the modules, those within functions included, nor among the steps of the core."""

import ast
import functools
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastnat

ROOT = Path(fastnat.__file__).parent


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path, known):
    """Return the modules of ours that one imports when it runs; what only type checkers see is left out."""
    tree = ast.parse(path.read_text())
    hidden = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            hidden |= {id(inner) for inner in ast.walk(node)}
    package = name_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in hidden:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                found |= {next((m for m in (f"{module}.{alias.name}", module) if m in known), "")}
    return found - {"", name_of(path)}


def steps():
    """Return which steps of the core each step imports, as "nat.setup" or "hooks"."""
    found = {}
    for path in STEPS:
        folder = path.parent.relative_to(ROOT / "core").parts
        named = re.findall(r"^from (\.+)([\w.]+) cimport", path.read_text(), re.MULTILINE)
        found[".".join([*folder, path.stem])] = {
            ".".join([*folder, name] if dots == "." else [name]) for dots, name in named
        }
    return found


@functools.cache
def modules():
    """Return which modules of ours each of them imports."""
    paths = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
    return {name: imported(path, paths) for name, path in paths.items()}


def code(path):
    """Return a step without its comments."""
    return re.sub(r"#[^\n]*", "", path.read_text())


CIMPORT = re.compile(r"^from \S+ cimport (\([^)]*\)|[^\n]*)", re.MULTILINE)
STEPS = sorted(p for kind in ("*.pxd", "*.pyx") for p in (ROOT / "core").rglob(kind) if p.stem != "__init__")


@pytest.mark.parametrize("path", STEPS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_name_that_a_step_imports_is_used(path):
    rest = CIMPORT.sub("", code(path))
    names = {name for listed in CIMPORT.findall(code(path)) for name in re.findall(r"\w+", listed)}
    assert not [name for name in names if not re.search(rf"\b{name}\b", rest)]


def test_every_function_of_a_step_is_called():
    text = {path: code(path) for path in STEPS}
    used = Counter(re.findall(r"\w+", CIMPORT.sub("", "".join(text.values()))))
    for path, body in text.items():
        for name in re.findall(r"^cdef inline .*?\b(\w+)\(", body, re.MULTILINE):
            assert used[name] > 1, f"{path.name}: {name}"


@pytest.mark.parametrize("graph", [modules, steps])
def test_no_circle(graph):
    imports = graph()
    assert sum(map(len, imports.values())) > 100
    TopologicalSorter(imports).prepare()


# what may import what: only parts that stand before it
PARTS = [
    "_version", "_command", "core", "errors", "addresses", "dtypes", "util", "iptables", "nftables", "node", "rules",
    "conntrack", "engine", "capture", "exhaustion", "diagnosis", "bench", "cli",
]  # fmt: skip


def part(module):
    return [*module.split("."), ""][1]


def test_a_part_imports_only_parts_before_it():
    for module, imports in modules().items():
        # the package itself, and the names of before that will go
        if part(module) not in ("", "__main__", "fragments", "replay"):
            for one in imports - {"fastnat"}:
                assert PARTS.index(part(one)) <= PARTS.index(part(module)), f"{module}: {one}"


def test_a_step_imports_only_steps_above_it():
    listed = re.findall(r"^\d+\. (.*)", (ROOT / "core/README.md").read_text(), re.MULTILINE)
    level = {name.replace("/", "."): n for n, line in enumerate(listed) for name in re.findall(r"`([^`]+)`", line)}
    graph = steps()
    assert level.keys() == graph.keys()
    for step, imports in graph.items():
        for one in imports:
            assert level[one] < level[step], f"{step}: {one}"


def test_a_circle_is_seen():
    imports = steps()
    imports["types"] = {"hooks"}
    with pytest.raises(CycleError):
        TopologicalSorter(imports).prepare()
