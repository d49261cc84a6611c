"""Whole nodes as the running kernel was recorded as them: kernel/gateway.py.

Each recording is a difference that random nodes beside the kernel once had, made small: `about` says of what kind.
"""

import json
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


def test_replay_in_batches_says_the_same(tmp_path):
    """All packets of a recording in one batch leave as they do one by one."""
    for path in RECORDED:
        said = json.loads(path.read_text())
        if any(p[0] in (gateway.RELOAD, gateway.PAUSE) for p in said["packets"]):
            continue
        for name, text in said["files"].items():
            (tmp_path / name).write_text(text)
        node = fastnat.Node.load(tmp_path)
        for name in said["files"]:
            (tmp_path / name).unlink()
        ifaces, data = [p[0] for p in said["packets"]], [bytes.fromhex(p[1]) for p in said["packets"]]
        times = [said["epoch"]] * len(ifaces)
        one = list(replay(fastnat.Engine(node, epoch=0.0), map(Captured, times, ifaces, data)))
        run = Replay(fastnat.Engine(node, epoch=0.0))
        together = [line for answers in run.run([Batch(times, ifaces, data)]) for line in answers.lines()]
        assert together == [a.line for a in one], path.stem
