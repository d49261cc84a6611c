"""Random walks that the running kernel has gone before: kernel/walks.py."""

import json
import lzma

import pytest
from kernel import gateway, walks

RECORDED = {path.name.split(".")[0]: json.loads(lzma.decompress(path.read_bytes())) for path in walks.FOLDER.iterdir()}


@pytest.mark.parametrize(("kind", "n"), [(kind, n) for kind, found in RECORDED.items() for n in range(len(found))])
def test_same_as_the_kernel(kind, n, tmp_path):
    gateway.check(RECORDED[kind][n], tmp_path)
