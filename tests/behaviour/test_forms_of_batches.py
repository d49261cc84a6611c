"""Random rules and traffic of both families: every form of batch, and every way through the engine, gives the same.

Headers whole, split and one at a time, with what is remembered and without; frames in one buffer and datagrams one at a
time. Packets, tables, counters of the engine and of the rules, and events are compared.
"""

import random

import numpy as np
import pytest
from fuzz import programs
from kernel.random_case import random_case

import fastnat

# every third case is IPv6
SEEDS = [*range(9), *(pytest.param(n, marks=pytest.mark.slow) for n in range(9, 90))]
N = 1500


def engine(case, seed, remember):
    nat = fastnat.Engine(case.node(), seed=seed, remember=remember, events=1_000_000)
    nat.advance(5.0)
    return nat


def headers(case, seed):
    """Packets of few ends, so that they meet: from clients and back, TCP with flags, many times alike."""
    rng = np.random.default_rng(seed)
    batch = programs.batch(rng, N, case.family == 6, len(case.interfaces) + 1)
    # some of them again: established packets
    again = rng.integers(0, N, N // 2)
    batch[N // 2 :] = batch[again[: N - N // 2]]
    return batch, 5.0 + np.cumsum(rng.choice([0, 0, 0.001, 0.05], N))


def seen(nat):
    """Return all that can be seen of an engine but what it costs."""
    events = [e.tobytes() for e in nat.all_events()]
    return nat.conntrack.format("proc"), nat.stats, [nat.save_rules(v) for v in nat.stacks], events


def in_parts(nat, batch, times, sizes):
    out, at = [], 0
    while at < len(batch):
        n = next(sizes)
        out.append(nat.process(batch[at : at + n], times[at : at + n]))
        at += n
    return np.concatenate(out)


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_headers(seed):
    case = random_case(seed)
    batch, times = headers(case, seed)
    rng = random.Random(seed)
    ways = {
        "whole": (True, iter(lambda: N, 0)), "split": (True, iter(lambda: rng.randrange(1, 70), 0)),
        "one by one": (True, iter(lambda: 1, 0)), "nothing remembered": (False, iter(lambda: N, 0)),
        "one by one, nothing remembered": (False, iter(lambda: 1, 0)),
    }  # fmt: skip
    found = {}
    for name, (remember, sizes) in ways.items():
        nat = engine(case, seed, remember)
        found[name] = in_parts(nat, batch, times, sizes), seen(nat)
        nat.check()
    first, state = found.pop("whole")
    assert state[1]["new"] > 5
    for name, (out, other) in found.items():
        np.testing.assert_array_equal(out, first, name)
        assert other == state, name


def without_rest(data):
    """Return a datagram without what lies in its frame behind the length of its header, which stays there."""
    return data[: 40 + int.from_bytes(data[4:6])] if data[:1] >= b"\x60" else data


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_bytes(seed):
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    batch, times = headers(case, seed)
    buffer, offsets = programs.raw_of(rng, batch)
    names = fastnat.Engine(case.node()).iface_names
    ifaces = batch["iface"] % np.uint16(len(names))
    found, results = {}, {}
    for remember in (True, False):
        nat = engine(case, seed, remember)
        whole = buffer.copy()
        # Engine.process_frames is of IPv4 alone
        out = nat.stacks[case.family].core.process_frames(whole, offsets, ifaces, times)
        results[remember] = out
        found["frames", remember] = (
            [
                (v, without_rest(whole[a:b].tobytes()) if v != fastnat.Verdict.DROP else b"")
                for v, a, b in zip(out["verdict"].tolist(), offsets[:-1], offsets[1:], strict=True)
            ],
            seen(nat),
        )
        nat = engine(case, seed, remember)
        answers = []
        for iface, now, a, b in zip(ifaces.tolist(), times.tolist(), offsets[:-1], offsets[1:], strict=True):
            data = buffer[a:b].tobytes()
            # one whose version is damaged belongs to the other family, to which a buffer of frames does not give it
            if (data[:1] >= b"\x60") == (case.family == 6):
                verdict, left = nat.process_packet(data, names[iface], now)
            else:
                verdict, left, *_ = nat.stacks[case.family].core.process_packet(data, iface, now)
            answers.append((int(verdict), without_rest(left or b"")))
        found["datagrams", remember] = answers, seen(nat)
    np.testing.assert_array_equal(results[True], results[False])
    first, state = found.pop(("frames", True))
    assert state[1]["new"] > 5
    for name, (answers, other) in found.items():
        assert answers == first, name
        assert other == state, name
