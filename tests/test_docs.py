"""What the documents say about the project is true."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastnat.cli import group

ROOT = Path(__file__).parents[1]
NAMED = [
    (doc.name, test)
    for doc in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
    for test in sorted(set(re.findall(r"tests/[\w/]+\.py(?:::\w+)?", doc.read_text())))
]


@pytest.mark.parametrize(("doc", "test"), NAMED)
def test_named_tests_exist(doc, test):
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert not name or name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, f"{doc} names {test}"


def test_readme_shows_what_the_demo_prints():
    """Each line of the README's demo output is one of the command's own."""
    shown = CliRunner().invoke(group, ["exhaust"]).output
    printed = " ".join(shown.split())
    text = (ROOT / "README.md").read_text()
    example = re.search(r"`make demo` ends with.*?```\n(.*?)```", text, re.DOTALL)[1]
    rows = [line for line in example.splitlines() if line.startswith("│")]
    words = " ".join(line for line in example.splitlines() if not line.startswith("│"))
    assert len(rows) == 3
    assert all(row in shown for row in rows)
    assert " ".join(words.split()) in printed


def test_readme_shows_what_trace_prints():
    shown = CliRunner().invoke(group, ["trace"]).output
    example = re.search(r"`fastnat trace` tells.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert all(line in shown for line in example.splitlines())


def test_readme_api_example_runs(capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "src=203.0.113.11 dst=198.51.100.10" in shown
    assert "{'used': 1, 'free': 64511, 'total': 64512} 0" in shown
