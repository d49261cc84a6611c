"""Whole nodes as the running kernel was recorded as them: kernel/gateway.py.

Each recording is a difference that random nodes beside the kernel once had, made small: `about` says of what kind.
"""

import json
from itertools import takewhile
from pathlib import Path

import pytest
from kernel import gateway

import fastnat
from fastnat.capture import Captured
from fastnat.capture.pcap import Batch
from fastnat.capture.replay import Replay, replay

RECORDED = sorted(Path(gateway.__file__).with_name("gateways").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_same_as_recorded(path, tmp_path):
    gateway.check(json.loads(path.read_text()), tmp_path)


@pytest.mark.one_of(4)
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_replay_in_batches_says_the_same(path, tmp_path):
    """All packets of a recording in one batch leave as they do one by one; up to where its rules change, if they do."""
    said = json.loads(path.read_text())
    for name, text in said["files"].items():
        (tmp_path / name).write_text(text)
    node = fastnat.Node.load(tmp_path)
    packets = [*takewhile(lambda p: p[0] not in (gateway.RELOAD, gateway.PAUSE), said["packets"])]
    ifaces, data = [p[0] for p in packets], [bytes.fromhex(p[1]) for p in packets]
    times = [said["epoch"]] * len(ifaces)
    one = list(replay(fastnat.Engine(node, epoch=0.0), map(Captured, times, ifaces, data)))
    run = Replay(fastnat.Engine(node, epoch=0.0))
    together = [line for answers in run.run([Batch(times, ifaces, data)]) for line in answers.lines()]
    assert together == [a.line for a in one]
