"""The engine against the slow model of model.py, driven by hypothesis."""

import hypothesis.strategies as st
import numpy as np
import pytest
from behaviour.model import HZ, ICMP, UDP, Generator, Model, Range, jhash2
from behaviour.over_ipv6 import FRONT, Patched
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from nodes import examples, make_node

import fastnat
from fastnat import Status, Verdict
from fastnat.engine.stack import SALT

NAT = 0xC6336414  # 198.51.100.20
TARGETS = {
    "one address": ("--to-source 198.51.100.20", Range(NAT, NAT)),
    "random": ("--to-source 198.51.100.20 --random", Range(NAT, NAT, random=True)),
    "addresses": ("--to-source 198.51.100.20-198.51.100.29", Range(NAT, NAT + 9)),
    "persistent": ("--to-source 198.51.100.20-198.51.100.29 --persistent", Range(NAT, NAT + 9, persistent=True)),
    "one port": ("--to-source 198.51.100.20:7000", Range(NAT, NAT, (7000, 7000))),
    "four ports": ("--to-source 198.51.100.20:7000-7003", Range(NAT, NAT, (7000, 7003))),
    "300 ports": ("--to-source 198.51.100.20:7000-7299", Range(NAT, NAT, (7000, 7299))),
    "its own ports": ("--to-source 198.51.100.20-198.51.100.21:3900-4099", Range(NAT, NAT + 1, (3900, 4099))),
}
clients = st.integers(0x0AF40202, 0x0AF40205)
servers = st.integers(0xCB007101, 0xCB007102)
ports = st.sampled_from([80, 511, 512, 1023, 1024, 4000, 4001, 65535])


@pytest.mark.parametrize(
    ("words", "iv", "value"),
    [
        ([0, 0, 0, 0], 0, 0xBAF9078C),
        ([1, 2, 3, 4], 5, 0x73558C35),
        ([1, 2, 3], 0, 0xA46158F5),
        ([1], 0, 0x72A82A9B),
        ([0x0200010A, 0, 0, 0], 0x0200020A, 0x67C23673),
    ],
)
def test_the_model_hashes_as_the_kernel(words, iv, value):
    assert jhash2(words, iv) == value


class EngineAndModel(RuleBasedStateMachine):
    """The same packets through both; after every step both must hold the same."""

    front, salt = (), SALT[4]

    @initialize(
        allowed=st.sampled_from(sorted(TARGETS)),
        seed=st.integers(0, 2**64 - 1),
        profile=st.sampled_from(["linux-5.4", "linux-6.18"]),
    )
    def start(self, allowed, seed, profile):
        text, range_ = TARGETS[allowed]
        # ip6tables takes no ports for ICMPv6
        self.echoes = not (self.front and range_.ports)
        protocols = ("udp", "icmp") if self.echoes else ("udp",)
        node = make_node("*nat\n" + "".join(f"-A POSTROUTING -p {p} -j SNAT {text}\n" for p in protocols) + "COMMIT\n")
        self.nat = fastnat.Engine(node, seed=seed, profile=profile)
        self.model = Model(range_, Generator(seed ^ self.salt), profile, self.front)
        self.time = 0.0

    def send(self, tuples, iface):
        src, dst, sport, dport, proto = (np.array(column) for column in zip(*tuples, strict=True))
        batch = self.nat.packets(src=src, dst=dst, sport=sport, dport=dport, proto=proto, iface=iface)
        out = self.nat.process(batch, self.time)
        for t, mine in zip(tuples, out, strict=True):
            expected = self.model.packet(t)
            if expected is None:
                assert mine["verdict"] == Verdict.DROP, t
            else:
                assert mine["verdict"] == Verdict.FORWARD, t
                assert tuple(int(mine[f]) for f in ("src", "dst", "sport", "dport")) == expected[:4], t

    @rule(src=clients, dst=servers, sport=ports, dport=st.sampled_from([53, 54]))
    def udp(self, src, dst, sport, dport):
        self.send([(src, dst, sport, dport, UDP)], "cni0")

    @precondition(lambda self: self.echoes)
    @rule(src=clients, dst=servers, id_=st.sampled_from([0, 7, 7000, 65535]))
    def echo(self, src, dst, id_):
        self.send([(src, dst, id_, 8 << 8, ICMP)], "cni0")

    @rule(first=st.integers(0x0AF40302, 0x0AF40400), n=st.integers(1, 200), dst=servers, sport=ports)
    def crowd(self, first, n, dst, sport):
        """Many clients with one source port: clashes, full searches, port bitmaps."""
        self.send([(first + k, dst, sport, 53, UDP) for k in range(n)], "cni0")

    @precondition(lambda self: self.model.table)
    @rule(data=st.data())
    def reply(self, data):
        conn = data.draw(st.sampled_from(list(self.model.table.values())))
        self.send([conn.reply], "eth0")

    @precondition(lambda self: self.model.table)
    @rule(data=st.data())
    def delete(self, data):
        conn = data.draw(st.sampled_from(list(self.model.table.values())))
        (mine,) = (c for c in self.nat.conntrack if (*c.original, c.proto) == conn.orig)
        self.nat.conntrack.delete(mine)
        self.model.delete(conn)

    @rule(jiffies=st.sampled_from([1, 2 * HZ, 2 * HZ + 1, 29 * HZ, 30 * HZ, 121 * HZ]))
    def wait(self, jiffies):
        self.time = (self.model.now + jiffies) / HZ
        self.nat.advance(self.time)
        self.model.advance(self.model.now + jiffies)

    @invariant()
    def same(self):
        stats = self.nat.stats
        assert len(self.nat.conntrack) == len(self.model.table) // 2
        assert stats["found"] == self.model.found
        assert stats["port_search_probes"] == self.model.probes
        assert stats["drop"] == stats["insert_failed"] == self.model.dropped
        for c in self.nat.conntrack:
            conn = self.model.table[(*c.original, c.proto)]
            assert (*c.reply, c.proto) == conn.reply
            assert c.timeout == (conn.deadline - self.model.now) / HZ
            assert bool(c.status & Status.SEEN_REPLY) == conn.seen_reply
            assert bool(c.status & Status.ASSURED) == conn.assured
            assert bool(c.status & Status.SRC_NAT) == conn.translated
        self.nat.core_of(4).check_invariants()


class OverIPv6(EngineAndModel):
    """The same over IPv6: over_ipv6.py stands between the engine and what the model says of IPv4."""

    front, salt = tuple(FRONT >> shift & 0xFFFFFFFF for shift in (96, 64, 32)), SALT[6]

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        Patched(self.patch)

    def teardown(self):
        self.patch.undo()


EngineAndModel.TestCase.settings = OverIPv6.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=30, deadline=None
)
test_engine_equals_model = pytest.mark.drawn(EngineAndModel.TestCase)
test_engine_equals_model_over_ipv6 = pytest.mark.drawn(OverIPv6.TestCase)
