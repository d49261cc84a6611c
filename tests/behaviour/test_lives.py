"""Whole lives of connections, both directions, as header batches: the short ways give what the long one gives.

TCP opens, talks, closes and begins anew, with segments that do not fit now and then; UDP is answered and becomes a
stream; echoes of many hosts have few ids. Results, tables, the state of TCP, counters of the engine and of the rules,
and events, which lack room now and then, are compared after every batch.
"""

import ipaddress
import random

import numpy as np
import pytest
from nodes import EVENTS, make_dual, taken_events

import fastnat

SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04
# what a client and a server send one after the other, and what stands in for a segment sometimes
LIFE = [
    (0, SYN),
    (1, SYN | ACK),
    (0, ACK),
    (0, ACK | 8),
    (1, ACK),
    (1, ACK | 8),
    (0, ACK),
    (0, FIN | ACK),
    (1, FIN | ACK),
    (0, ACK),
]
ODD = [
    SYN,
    SYN | 0xC0,
    SYN | ACK,
    ACK,
    ACK | 0x20,
    FIN | ACK,
    FIN | ACK | 0x20,
    RST,
    RST | ACK,
    0,
    FIN,
    SYN | FIN,
    0x3F,
    ACK | 0xC8,
]
RULES = {
    "masquerade": ("-A POSTROUTING -o eth0 -j MASQUERADE",) * 2,
    "few ports": (
        "-A POSTROUTING -o eth0 -p tcp -j SNAT --to-source 198.51.100.20:2000-2040\n"
        "-A POSTROUTING -o eth0 -p udp -j SNAT --to-source 198.51.100.20:2000-2040",
        "-A POSTROUTING -o eth0 -p tcp -j SNAT --to-source [2001:db8::20]:2000-2040\n"
        "-A POSTROUTING -o eth0 -p udp -j SNAT --to-source [2001:db8::20]:2000-2040",
    ),
    "random": (
        "-A POSTROUTING -o eth0 -j SNAT --to-source 198.51.100.20 --random-fully",
        "-A POSTROUTING -o eth0 -j SNAT --to-source 2001:db8::20 --random-fully",
    ),
    "by flags": (
        "-A POSTROUTING -o eth0 -p tcp --syn -j SNAT --to-source 198.51.100.20-198.51.100.22\n"
        "-A POSTROUTING -j MASQUERADE",
        "-A POSTROUTING -o eth0 -p tcp --syn -j SNAT --to-source 2001:db8::20-2001:db8::22\n"
        "-A POSTROUTING -j MASQUERADE",
    ),
}  # fmt: skip
FLOWS, BATCHES = 60, 120


def address(value, family):
    if family == 4:
        return ipaddress.IPv4Address(int(value))
    return ipaddress.IPv6Address(int(value["high"]) << 64 | int(value["low"]))


class Talk:
    """Flows of one family: how far each has come, and how its packets leave."""

    def __init__(self, seed, family):
        self.rng = np.random.default_rng(seed)
        self.family = family
        self.step = np.zeros(FLOWS, np.int64)
        self.proto = self.rng.choice(["tcp", "udp", "icmp"], FLOWS, p=[0.7, 0.15, 0.15]).tolist()
        # types of an echo and its answer, where others have a port
        self.echo = {4: (0x800, 0), 6: (0x8000, 0x8100)}[family]
        net = {4: ("10.244.2.{}", "203.0.113.{}"), 6: ("fd00:1::2:{}", "2001:db8:9::{}")}[family]
        self.src, self.dst = (
            [name.format(1 + k % most) for k in range(FLOWS)] for name, most in zip(net, (11, 7), strict=True)
        )
        self.sport = self.rng.integers(1030, 1034, FLOWS)
        # of the last packet of each flow that left towards its server
        self.left = {}

    def batch(self, nat):
        """Return the next packets, and which flow each belongs to, -1 where it is an answer."""
        parts, flows = [], []
        for k in self.rng.integers(0, FLOWS, self.rng.integers(1, 90)).tolist():
            back, flags = LIFE[self.step[k] % len(LIFE)]
            proto = self.proto[k]
            if proto == "tcp" and self.rng.random() < 0.07:
                back, flags = int(self.rng.integers(2)), int(self.rng.choice(ODD))
            else:
                self.step[k] += 1
            back = back and k in self.left
            there = 443 if proto != "icmp" else self.echo[0]
            ends = {"src": self.src[k], "dst": self.dst[k], "sport": self.sport[k], "dport": there, "iface": "cni0"}
            if back:
                src, dst, sport, dport = self.left[k]
                if proto == "icmp":
                    sport, dport = self.echo[1], sport
                ends = {"src": dst, "dst": src, "sport": dport, "dport": sport, "iface": "eth0"}
            parts.append(nat.packets(
                proto="icmpv6" if proto == "icmp" and self.family == 6 else proto, length=60,
                tcp_flags=flags if proto == "tcp" else 0, isn=int(self.rng.integers(65536)), **ends,
            ))  # fmt: skip
            flows.append(-1 if back else k)
        return np.concatenate(parts), flows

    def note(self, out, flows):
        for result, k in zip(out, flows, strict=True):
            if k >= 0 and result["verdict"] == fastnat.Verdict.FORWARD:
                ends = [address(result[end], self.family) for end in ("src", "dst")]
                self.left[k] = *ends, int(result["sport"]), int(result["dport"])


def state(nat, family):
    """Return what the tables and counters of a family hold."""
    stack = nat.stacks[family]
    records = nat.conntrack.to_numpy(family)
    tcp = stack.core.arrays["tcp"][: stack.core.high_water]
    live = stack.core.arrays["conns"][: stack.core.high_water]
    of_tcp = (live["flags"] & 1 != 0) & (live["tuples"]["proto"][:, 0] == 6)
    return records.tobytes(), tcp[of_tcp].tobytes(), nat.stats, nat.save_rules(family)


@pytest.mark.one_of(4)
@pytest.mark.parametrize("profile", ["linux-6.18", pytest.param("linux-5.4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 12))])
def test_lives(rules, family, profile, seed):
    node = make_dual(*(f"*nat\n{text}\nCOMMIT\n" for text in RULES[rules]))
    events = random.Random(f"{rules} {family} {profile} {seed}").choice(EVENTS)
    ways = [fastnat.Engine(node, profile, seed, remember=remember, events=events) for remember in (True, False)]
    talk, now = Talk(seed, family), 0.0
    for _ in range(BATCHES):
        batch, flows = talk.batch(ways[0])
        times = now + np.cumsum(talk.rng.choice([0, 0, 0.001, 0.2], len(batch)))
        now = times[-1] + talk.rng.choice([0, 1, 20, 130], p=[0.5, 0.3, 0.15, 0.05])
        out, other = (nat.process(batch, times) for nat in ways)
        np.testing.assert_array_equal(out, other)
        assert state(ways[0], family) == state(ways[1], family)
        # not always, so that room for them ends in the middle of a batch
        if talk.rng.random() < 0.5:
            assert taken_events(ways[0], family) == taken_events(ways[1], family)
        talk.note(out, flows)
    assert taken_events(ways[0], family) == taken_events(ways[1], family)
    for nat in ways:
        nat.check()
    assert ways[0].stats["new"] > 100
