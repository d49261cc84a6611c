"""Lives of connections that want one another's ports: the short way takes and loses them as the long way does."""

import random
import struct

import numpy as np
import pytest
from behaviour.test_opening import crowding, node, node6
from nodes import EVENTS, taken_events

import fastnat
from fastnat.dtypes import RECORDS6

SYN, SYN_ACK, ACK, FIN_ACK, RST = 2, 0x12, 0x10, 0x11, 4
# which end speaks next, 1 the server, and with which flags; none goes further than some of its packets
LIVES = (
    ((1, SYN_ACK), (0, ACK), (0, FIN_ACK), (1, FIN_ACK), (0, ACK)),
    ((1, SYN_ACK), (0, ACK), (1, FIN_ACK), (0, ACK), (0, FIN_ACK), (1, ACK)),
    ((1, SYN_ACK), (0, ACK), (0, RST)),
    ((1, SYN_ACK), (0, ACK)),
    ((1, RST),),
)


ENDING = [
    f"net.netfilter.nf_conntrack_{state}"
    for state in ("tcp_timeout_close", "tcp_timeout_established", "tcp_timeout_time_wait", "udp_timeout")
]


def openers(draw, n, version, clients):
    """Return first packets of few clients with few source ports towards two servers."""
    batch = np.zeros(n, fastnat.dtypes.PACKET if version == 4 else fastnat.dtypes.PACKET6)
    batch["proto"] = draw.choice([17, 6, 6, 6], n)
    batch["sport"] = draw.choice([1024, 1040, 2001, 50_000], n)
    batch["dport"] = draw.choice([53, 53, 80], n)
    batch["iface"], batch["length"], batch["isn"] = 1, 60, draw.integers(0, 65_536, n)
    batch["tcp_flags"] = np.where(batch["proto"] == 6, SYN, 0)
    for name, values in (
        ("src", 0x0AF40102 + draw.integers(0, clients, n)),
        ("dst", 0xCB007101 + draw.integers(0, 2, n)),
    ):
        ends = values
        if version == 6:
            ends = np.zeros(n, RECORDS6.ADDR)
            ends["low"], ends["high"] = values, 0x20010DB800000000
        batch[name] = ends
    return batch


def answers(batch, out):
    """Return the answers to packets that were forwarded, as the servers send them."""
    back = batch.copy()
    for end, other in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
        back[end] = out[other]
    back["iface"] = 2
    return back


def sum_of(data):
    """Return the Internet checksum of bytes (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(header, seq=0, ack=0):
    """Return the bytes of a header, without payload."""
    wide = header["src"].dtype.names is not None
    src, dst = (
        int(header[end]["high"] if wide else 0).to_bytes(8)
        + int(header[end]["low"] if wide else header[end]).to_bytes(8)
        for end in ("src", "dst")
    )
    ports, proto = (int(header["sport"]), int(header["dport"])), int(header["proto"])
    if proto == 6:
        l4 = struct.pack("!HHIIBBHHH", *ports, seq % 2**32, ack % 2**32, 0x50, int(header["tcp_flags"]), 60_000, 0, 0)
        at = 16
    else:
        l4, at = struct.pack("!HHHH", *ports, 8, 0), 6
    if not wide:
        src, dst = src[12:], dst[12:]
    check = sum_of(src + dst + struct.pack("!II", len(l4), proto) + l4)
    l4 = l4[:at] + struct.pack("!H", check) + l4[at + 2 :]
    if wide:
        return struct.pack("!IHBB", 0x60000000, len(l4), proto, 64) + src + dst + l4
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4), 0, 0, 64, proto, 0) + src + dst
    return head[:10] + struct.pack("!H", sum_of(head)) + head[12:] + l4


def numbers(header, flags):
    """Return the numbers with which an end sends these flags, if both have sent no more than SYN and FIN."""
    isn, server = int(header["isn"]) << 16, header["iface"] == 2
    mine, other = (7000, isn) if server else (isn, 7000)
    if flags & 2:
        return mine, other + 1 if flags & 16 else 0
    # the last one to speak has seen the other's FIN or not: either number is in the window
    return mine + 1, other + 1


class Talks:
    """Connections on their way: a row each with both directions' headers, which life it lives, and how far it is."""

    def __init__(self, draw):
        self.draw, self.rows = draw, []

    def open(self, batch, out):
        """Take what the engine forwarded first as connections."""
        opened = np.flatnonzero((out["verdict"] == fastnat.Verdict.FORWARD) & (batch["proto"] == 6))
        back = answers(batch, out)
        for i in opened:
            self.rows.append([(batch[i], back[i]), LIVES[self.draw.integers(len(LIVES))], 0])

    def next(self, n):
        """Return the next packets of some connections."""
        packets = []
        for i in self.draw.permutation(len(self.rows))[:n]:
            ends, life, at = self.rows[i]
            if at < len(life):
                packet = ends[life[at][0]].copy()
                packet["tcp_flags"] = life[at][1]
                packets.append(packet)
                self.rows[i][2] += 1
        self.rows = [row for row in self.rows if row[2] < len(row[1])]
        return packets


def process(engines, batch, times, version, form):
    """Send the packets to both engines in one form; assert that they say the same, and return what they say."""
    if form == "headers":
        results = [nat.process(batch, times) for nat in engines]
    else:
        data = [datagram(header, *numbers(header, int(header["tcp_flags"]))) for header in batch]
        sizes = [len(one) for one in data]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        buffers = [np.frombuffer(b"".join(data), np.uint8).copy() for _ in engines]
        results = [
            nat.process_frames(buffer, offsets, np.ascontiguousarray(batch["iface"]), now=times, version=version)
            for nat, buffer in zip(engines, buffers, strict=True)
        ]
        np.testing.assert_array_equal(*buffers)
    np.testing.assert_array_equal(*results)
    assert taken_events(engines[0], version) == taken_events(engines[1], version)
    return results[0]


@pytest.mark.one_of(3)
@pytest.mark.parametrize("form", ["headers", "frames"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 40))])
def test_lives_among_taken_ports(seed, profile, version, form, monkeypatch):
    """SYNs that take over ports of closed connections, that find none, and that find one nobody has looked at."""
    draw = np.random.default_rng(seed)
    chosen = random.Random(f"{seed} {profile} {version}")
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", chosen.choice((1, 1, 8)))
    # room for all, or so little that early drop is asked
    room, events = chosen.choice((100_000, 100_000, 400)), chosen.choice(EVENTS)
    # entries that are over in the jiffy in which they begin
    ending = dict.fromkeys(chosen.sample(ENDING, 1) if chosen.random() < 0.2 else [], "0")
    engines = []
    for remember in (True, False):
        made = node(crowding(seed)) if version == 4 else node6(crowding(seed))
        made.sysctls["net.netfilter.nf_conntrack_tcp_timeout_time_wait"] = "20"
        made.sysctls.update(ending)
        engines.append(fastnat.Engine(made, profile, seed, room, remember=remember, events=events))
    clients, now, talks = chosen.choice((30, 80, 200)), 0.0, Talks(draw)
    for _ in range(60):
        first = openers(draw, int(draw.integers(1, 90)), version, clients)
        batch = np.concatenate([first, np.array(talks.next(int(draw.integers(0, 120))), first.dtype)])
        batch = batch[draw.permutation(len(batch))]
        now += float(draw.choice([0, 0.01, 0.3, 2]))
        times = now if draw.random() < 0.5 else now + np.arange(len(batch)) * 1e-3
        out = process(engines, batch, times, version, form)
        # IP_CT_NEW
        new = (out["ctinfo"] == 2) & (batch["tcp_flags"] == SYN)
        talks.open(batch[new], out[new])
        now = float(engines[0].now)
    quick, slow = engines
    for nat in engines:
        nat.check()
    assert quick.stats == slow.stats
    assert quick.conntrack.format() == slow.conntrack.format()
    assert quick.save_rules(version) == slow.save_rules(version)
    assert quick.core_of(version).tables["tuple_groups"] == slow.core_of(version).tables["tuple_groups"]
    assert quick.stats["port_searches"] > 100
