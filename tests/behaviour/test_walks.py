"""Random walks that the running kernel has gone before: kernel/walks.py."""

import json
import lzma
import os
from pathlib import Path

import pytest
from kernel import gateway, walks

# other recordings, of kernel/fresh.py: tests/mutants.py asks for them
OTHERS = Path(os.environ["FASTNAT_WALKS"]) if "FASTNAT_WALKS" in os.environ else None
RECORDED = {
    f"{prefix}{path.name.split('.')[0]}": json.loads(lzma.decompress(path.read_bytes()))
    for prefix, folder in (("", walks.FOLDER), ("fresh-walks-", OTHERS))
    for path in (sorted(folder.iterdir()) if folder else ())
}


# of each kind a third in make test
EVERY = [
    pytest.param(kind, n, marks=pytest.mark.slow if n % 3 and not kind.startswith("fresh") else [])
    for kind, found in RECORDED.items()
    for n in range(len(found))
]


@pytest.mark.one_of(2)
@pytest.mark.parametrize(("kind", "n"), EVERY)
def test_same_as_the_kernel(kind, n, tmp_path):
    gateway.check(RECORDED[kind][n], tmp_path)
