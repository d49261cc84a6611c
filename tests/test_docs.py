"""What the documents say about the project is true."""

import ast
import re
from pathlib import Path

import pytest

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
