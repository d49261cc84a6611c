"""Fragments, options, broken headers and the like as the kernel answered them once; see kernel/corners."""

import json

import pytest
from kernel.corners import CORNERS, FOLDER, check


def test_every_corner_is_recorded():
    assert {path.stem.replace("_", " ") for path in FOLDER.glob("*.json")} == set(CORNERS)


@pytest.mark.parametrize("name", CORNERS)
def test_same_as_recorded(name):
    record = json.loads((FOLDER / f"{name.replace(' ', '_')}.json").read_text())
    assert record["rules"] == CORNERS[name].rules, "record it again: the case has changed"
    check(CORNERS[name], record)
