"""Random walks that the running kernel has gone before: kernel/walks.py."""

import json
import lzma

import pytest
from kernel import gateway, walks

RECORDED = {path.name.split(".")[0]: json.loads(lzma.decompress(path.read_bytes())) for path in walks.FOLDER.iterdir()}


# of each kind a third in make test
EVERY = [
    pytest.param(kind, n, marks=pytest.mark.slow if n % 3 else [])
    for kind, found in RECORDED.items()
    for n in range(len(found))
]


@pytest.mark.parametrize(("kind", "n"), EVERY)
def test_same_as_the_kernel(kind, n, tmp_path):
    gateway.check(RECORDED[kind][n], tmp_path)
