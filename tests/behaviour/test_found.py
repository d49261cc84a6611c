"""Differences that the random comparison once found, shrunk: the kernel's answers, for every machine."""

import json
from pathlib import Path

import pytest
from kernel import cases

FOUND = sorted((Path(__file__).parents[1] / "kernel" / "found").glob("*.json"))


@pytest.mark.parametrize("path", FOUND, ids=lambda p: p.stem)
def test_same_packets_as_the_kernel(path):
    said = json.loads(path.read_text())
    ours = (cases.INTERFACES, cases.ROUTES) if said["family"] == 4 else (cases.INTERFACES6, cases.ROUTES6)
    engine = cases.EngineNode(cases.Case(said["rules"], *ours, None, said["sets"], said["family"]).node())
    for n, (iface, data, expected) in enumerate(said["packets"]):
        out = engine.pass_packet(iface, bytes.fromhex(data))
        assert out == (bytes.fromhex(expected) if expected else None), f"packet {n}"
