"""Packets at the bounds of what the kernel compares, as it answered them: kernel/bounds.py."""

import json
import lzma

import pytest
from kernel import bounds, gateway

FILES = sorted(bounds.FOLDER.iterdir())
RECORDED = {path.name.split(".")[0]: json.loads(lzma.decompress(path.read_bytes())) for path in FILES}


# of kinds with many a third in make test: of each three another one, so that IPv4 and IPv6 have their turns
EVERY = [
    pytest.param(kind, said["about"], marks=pytest.mark.again if len(found) > 6 and n % 3 != n // 3 % 3 else [])
    for kind, found in RECORDED.items()
    for n, said in enumerate(found)
]


@pytest.mark.parametrize(("kind", "about"), EVERY)
def test_same_as_the_kernel(kind, about, tmp_path):
    said = next(one for one in RECORDED[kind] if one["about"] == about)
    # what counts connections looks at them once a jiffy
    gateway.check(said, tmp_path, at_once=1 if gateway.pace_of(said["files"]) else 1000)
