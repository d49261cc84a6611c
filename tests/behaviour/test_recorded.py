"""What the kernel answered once, for machines that cannot ask it: recorded with `python tests/kernel/record.py`."""

import json
from pathlib import Path

import pytest
from kernel import cases

RECORDED = sorted((Path(__file__).parents[1] / "kernel" / "recorded").glob("*.json"))


def test_every_case_is_recorded():
    assert {p.stem.replace("_", " ") for p in RECORDED} == set(cases.CASES)


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_same_packets_as_recorded(path):
    record = json.loads(path.read_text())
    case = cases.CASES[path.stem.replace("_", " ")]
    assert record["rules"] == case.rules, "record it again: the case has changed"
    engine = cases.EngineNode(case.node())
    for n, (iface, data, expected) in enumerate(record["packets"]):
        out = engine.pass_packet(iface, bytes.fromhex(data))
        assert out == (bytes.fromhex(expected) if expected else None), f"packet {n}"
