"""Batches of any kind: what a group makes of odd ones, and the time at which both families are behind them."""

import numpy as np
import pytest
from nodes import MASQUERADE, examples, make_dual, make_node

import fastnat
from fastnat import EngineGroup


def said_of(call):
    """Return what a call gives: shape and records; None for an error, of which a call may have several."""
    try:
        out = call()
    except fastnat.FastnatError:
        return None
    return out.shape, out.dtype


@pytest.mark.parametrize("make", [make_node, make_dual])
def test_odd_batches_are_to_a_group_what_they_are_to_an_engine(make):
    """Empty ones let time pass, too; whatever is refused changes nothing."""
    both = fastnat.Engine(make()), EngineGroup(make(), ["cni0"], shards=2)
    whole = both[0].packets(proto="udp", src="10.244.1.2", dst="203.0.113.10", sport=range(1000, 1003), iface="cni0")
    buffer, none = np.zeros(60, np.uint8), np.zeros(0, np.int64)
    batches = [whole, whole[:0], whole[::2], none, None, "x"]
    if make is make_dual:
        batches.append(both[0].packets(src="fd00::2", dst="2001:db8::1", proto="udp", iface="cni0")[:0])
    times = [2.0, 5, np.nan, np.zeros(0), np.full(3, 7.0), 6.0, [7.0], 9.0, 8.0]
    outs = [None, np.zeros(3, fastnat.RESULT), "abc", np.zeros(0, fastnat.RESULT)]
    offsets = [np.zeros(1, np.int64), none, None, [0, 5], np.array([0, 20, 60]), np.array([0, 70])]
    draw = np.random.default_rng(5)
    for _ in range(400):
        batch, now = batches[draw.integers(len(batches))], times[draw.integers(len(times))]
        if draw.random() < 0.7:
            out = outs[draw.integers(len(outs))]
            calls = [lambda e=e, b=batch, t=now, o=out: e.process(b, t, o) for e in both]
        else:
            at, version = offsets[draw.integers(len(offsets))], (4, 5, 6)[draw.integers(3)]
            calls = [
                lambda e=e, a=at, t=now, v=version: e.process_frames(buffer, a, "cni0", t, version=v) for e in both
            ]
        assert said_of(calls[0]) == said_of(calls[1])
        assert both[0].now == both[1].now
        assert len(both[0].conntrack) == len(both[1])
    both[1].close()


def drawn_batches(engine, seed):
    """Yield batches of either family, with times that rise within each."""
    draw, t = np.random.default_rng(seed), 0.0
    for _ in range(12):
        n, six = int(draw.integers(1, 30)), draw.random() < 0.5
        own, far = ("fd00:10:244::{:x}", "2001:db8:f::{:x}") if six else ("10.244.1.{}", "203.0.113.{}")
        batch = engine.packets(
            proto=draw.choice([6, 17, 58 if six else 1], n), src=[own.format(k) for k in draw.integers(2, 9, n)],
            dst=[far.format(k) for k in draw.integers(1, 4, n)], sport=draw.integers(1, 50_000, n),
            dport=draw.choice([53, 0x8000 if six else 0x800], n), tcp_flags=draw.choice([2, 16, 4], n), iface="cni0",
        )  # fmt: skip
        times = t + np.sort(draw.random(n)) * draw.choice([0, 1, 40])
        t = float(times[-1]) + draw.choice([0, 1, 31, 121])
        yield batch, times


@pytest.mark.parametrize("seed", range(examples(20)))
def test_both_families_are_at_the_time_at_which_a_batch_ends(seed):
    """However batches are split: what is listed, how long it lasts, and what has happened is the same in both."""
    rules = MASQUERADE + "*filter\n-A FORWARD -m limit --limit 5/s -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n"
    whole, parts = (fastnat.Engine(make_dual(rules, rules), seed=seed, events=10_000) for _ in range(2))
    group = fastnat.EngineGroup(make_dual(MASQUERADE, MASQUERADE), ["cni0"], shards=2, seed=seed)
    draw = np.random.default_rng(seed)
    for batch, times in drawn_batches(whole, seed):
        out, at = whole.process(batch, times), 0
        group.process(batch, times)
        while at < len(batch):
            end = at + int(draw.choice([1, 2, 7, 30]))
            np.testing.assert_array_equal(parts.process(batch[at:end], times[at:end]), out[at:end])
            at = end
            if draw.random() < 0.2:
                parts = parts.fork()
        assert whole.conntrack.format() == parts.conntrack.format()
        assert [e.tobytes() for e in whole.all_events()] == [e.tobytes() for e in parts.all_events()]
        assert whole.stats == parts.stats
        for engine in (whole, parts, *group.engines):
            assert {stack.core.now for stack in engine.stacks.values()} == {whole.now}
        whole.check()
    group.close()


@pytest.mark.parametrize("shards", [1, 2])
def test_a_group_that_is_interrupted_has_one_time(shards, monkeypatch):
    """Both families of each shard are at the time at which its part of the batch ended."""
    nat = EngineGroup(make_dual(MASQUERADE, MASQUERADE), ["cni0"], shards=shards)
    own = nat.engines[0]
    batch = own.packets(proto="udp", src="10.244.1.2", dst="203.0.113.10", sport=range(1000, 1050), iface="cni0")
    run = nat._run

    def interrupted(*given):
        run(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(nat, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nat.process(batch, np.linspace(1, 400, len(batch)))
    for engine in nat.engines:
        assert len({stack.core.now for stack in engine.stacks.values()}) == 1
    nat.close()
