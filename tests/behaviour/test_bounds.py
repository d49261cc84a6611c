"""Packets at the bounds of what the kernel compares, as it answered them: kernel/bounds.py."""

import json
import lzma

import pytest
from kernel import bounds, gateway

FILES = sorted(bounds.FOLDER.iterdir())
RECORDED = {path.name.split(".")[0]: json.loads(lzma.decompress(path.read_bytes())) for path in FILES}


@pytest.mark.parametrize(
    ("kind", "about"), [(kind, said["about"]) for kind, found in RECORDED.items() for said in found]
)
def test_same_as_the_kernel(kind, about, tmp_path):
    said = next(one for one in RECORDED[kind] if one["about"] == about)
    # what counts connections looks at them once a jiffy
    gateway.check(said, tmp_path, at_once=1 if gateway.pace_of(said["files"]) else 1000)
