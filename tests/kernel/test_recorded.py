"""What the kernel answered once, for machines that cannot ask it: recorded with `python tests/kernel/record.py`."""

import json
from pathlib import Path

import pytest

from kernel import cases

RECORDED = sorted(Path(__file__).with_name("recorded").glob("*.json"))


def test_every_rule_set_is_recorded():
    assert {p.stem.replace("_", " ") for p in RECORDED} == set(cases.RULES)


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_same_packets_as_recorded(path):
    case = json.loads(path.read_text())
    engine = cases.EngineNode(case["rules"])
    for n, (iface, data, expected) in enumerate(case["packets"]):
        out = engine.pass_packet(iface, bytes.fromhex(data))
        assert out == (bytes.fromhex(expected) if expected else None), f"packet {n}"
