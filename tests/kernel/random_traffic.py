"""Random traffic, seeded: flows of all protocols that live, answer, break and are complained about.

Every flow has a source port, id or address of its own, so that the kernel never has a port to draw.
"""

import contextlib
import random
import struct
from dataclasses import dataclass, field

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6TimeExceeded, IPv6
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkShutdown,
)

FLAGS = ["S", "SA", "A", "A", "A", "PA", "PA", "FA", "R", "RA", "F", "", "FPU", "SU", "AU"]
CHUNKS = [
    SCTPChunkInit(init_tag=7), SCTPChunkInitAck(init_tag=9), SCTPChunkCookieEcho(cookie=b"1234"), SCTPChunkCookieAck(),
    SCTPChunkData(data=b"abc"), SCTPChunkHeartbeatReq(), SCTPChunkShutdown(),
]  # fmt: skip
ADDRESSES = {
    4: ("10.244.1.{}", ["10.244.1.{}", "203.0.113.{}", "203.0.113.{}", "10.96.0.{}"], "192.0.2.1"),
    6: ("fd01::{:x}", ["fd01::{:x}", "fd03::{:x}", "fd03::1:{:x}", "fd66::{:x}"], "fd02::ffff"),
}


# record route with and without room, source route, router alert, no operation, and what is broken
OPTIONS = [
    b"\x07\x07\4\0\0\0\0\0", b"\x07\x07\x08\0\0\0\0\0", b"\x83\x07\4\xcb\0\x71\x14\0", b"\x94\4\0\0", b"\1\1\1\1",
    b"\1\1\1\0",    b"\x07\x07\3\0\0\0\0\0", b"\0\0\0\1", b"\x99\x09\0\0",
]  # fmt: skip


def internet_checksum(data):
    """Return the checksum of RFC 1071 over data, the odd last byte padded."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_option(data, option):
    """Return an IPv4 packet with an option of whole words in front of the others."""
    made = bytearray(data[:20] + option + data[20 : (data[0] & 15) * 4])
    if len(made) > 60:
        return data
    made[0] = 0x40 | len(made) // 4
    made[2:4] = (int.from_bytes(data[2:4], "big") + len(option)).to_bytes(2, "big")
    made[10:12] = b"\0\0"
    made[10:12] = internet_checksum(bytes(made)).to_bytes(2, "big")
    return bytes(made) + data[(data[0] & 15) * 4 :]


@dataclass
class Flow:
    """Both ends as the client sees them, and the last packet that the node let out in each direction."""

    kind: str
    src: str
    dst: str
    sport: int
    dport: int
    out: list = field(default_factory=lambda: [None, None])
    seq: list = field(default_factory=lambda: [0, 0])


class Traffic:
    """A generator for cases.conversation: `yield` gives what the kernel let out."""

    def __init__(self, rng, family, n):
        self.rng, self.family, self.n = rng, family, n
        self.flows = []
        self.ports = 10_000
        self.ip = IP if family == 4 else IPv6
        self.clients, self.servers, self.router = ADDRESSES[family]

    def __iter__(self):
        rng = self.rng
        for _ in range(self.n):
            if not self.flows or rng.random() < 0.3:
                self.flows = [*self.flows[-60:], self.new_flow()]
            flow = rng.choice(self.flows)
            deed = rng.random()
            if deed < 0.08 and any(flow.out):
                packet, iface = self.complaint(flow)
            else:
                packet, iface = self.step(flow)
            data = bytes(packet)
            if self.family == 4 and rng.random() < 0.05:
                data = with_option(data, rng.choice(OPTIONS))
            if rng.random() < 0.05:
                data = self.damaged(data)
            answer = yield iface, data
            way = int(iface == "eth0")
            if answer is not None and deed >= 0.08:
                if flow.out[way] is None or self.ends(answer) == self.ends(flow.out[way]):
                    flow.out[way] = answer
                elif way == 0:
                    # it passed untranslated, or began anew: an answer to either could collide with the other
                    self.flows.remove(flow)

    def ends(self, data):
        """Return addresses and ports of a packet."""
        packet = self.ip(data)
        return (
            packet.src,
            packet.dst,
            bytes(packet.payload)[:4] if packet.payload.name in ("UDP", "TCP", "SCTP") else b"",
        )

    def new_flow(self):
        rng = self.rng
        self.ports += 1
        kinds = ["udp", "udp", "tcp", "tcp", "tcp", "icmp", "esp", "gre", "sctp", "udplite"]
        dst = rng.choice(self.servers).format(rng.randrange(2, 200))
        dport = rng.choice([53, 55, 80, 443, 8050, rng.randrange(1, 65536)])
        src = self.clients.format(rng.randrange(2, 20))
        return Flow(rng.choice(kinds), src, dst, self.ports, dport, seq=[rng.randrange(2**32), rng.randrange(2**32)])

    def step(self, flow):
        """The client sends, or the server answers what came out of the node first."""
        sent = flow.out[0]
        if sent is None or self.rng.random() < 0.55:
            return self.packet(flow.src, flow.dst, self.layer(flow, 0, flow.sport, flow.dport)), "cni0"
        outer = self.ip(sent)
        near, far = struct.unpack_from(">HH", bytes(outer.payload)[:4].ljust(4, b"\0"))
        return self.packet(outer.dst, outer.src, self.layer(flow, 1, far, near, outer)), "eth0"

    def packet(self, src, dst, layer):
        hops = self.rng.choice([1, 2, 64, 64, 64, 64])
        if self.family == 4:
            return IP(src=src, dst=dst, ttl=hops, proto=layer[0]) / layer[1]
        return IPv6(src=src, dst=dst, hlim=hops, nh=layer[0]) / layer[1]

    def layer(self, flow, way, sport, dport, sent=None):
        """Return (protocol, layer) of a flow's packet: way 0 from the client, 1 back."""
        rng = self.rng
        data = bytes(rng.randrange(30))
        if flow.kind == "udp":
            return 17, UDP(sport=sport, dport=dport) / data
        if flow.kind == "udplite":
            return 136, self.lite(flow, way, sport, dport, data, sent)
        if flow.kind == "tcp":
            return 6, self.segment(flow, way, sport, dport)
        if flow.kind == "sctp":
            bundle = SCTP(sport=sport, dport=dport, tag=rng.choice([0, 7, 9]))
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                bundle /= rng.choice(CHUNKS)
            return 132, bundle
        if flow.kind == "esp":
            return 50, struct.pack(">II", flow.sport, 1) + data
        if flow.kind == "gre":
            return 47, b"\0\0\x08\0" + data
        ident = flow.sport if sent is None else int.from_bytes(bytes(sent.payload)[4:6], "big")
        if self.family == 6:
            return 58, (ICMPv6EchoReply if way else ICMPv6EchoRequest)(id=ident, data=data)
        kind = rng.choice([0, 0, 14]) if way else rng.choice([8, 8, 13])
        # scapy would put the time of day there
        stamps = {"ts_ori": 1, "ts_rx": 2, "ts_tx": 3} if kind in (13, 14) else {}
        return 1, ICMP(type=kind, id=ident, **stamps) / data

    def lite(self, flow, way, sport, dport, data, sent):
        """Return UDP-Lite that covers its header or all, summed up as Linux does (17) or as RFC 3828 says."""
        rng = self.rng
        ends = (sent.dst, sent.src) if way else (flow.src, flow.dst)
        outer = bytes(self.ip(src=ends[0], dst=ends[1]))
        pseudo = outer[12:20] if self.family == 4 else outer[8:40]
        covered = rng.choice([0, 8, 8 + len(data)])
        header = struct.pack(">HHH", sport, dport, covered)
        body = (header + bytes(2) + data)[: covered or None]
        words = pseudo + struct.pack(">HH", rng.choice([17, 17, 136]), 8 + len(data)) + body
        return header + internet_checksum(words).to_bytes(2, "big") + data

    def segment(self, flow, way, sport, dport):
        rng = self.rng
        there, back = flow.seq[way], flow.seq[1 - way]
        wanted = {(False, 0): "S", (True, 1): "SA"}.get((flow.out[way] is not None or way == 1, way), "A")
        flags = wanted if rng.random() < 0.5 else rng.choice(FLAGS)
        shift = rng.choice([0, 0, 0, 0, 0, 0, -1, 1, 700, -700, 70_000, -70_000])
        data = bytes(rng.choice([0, 0, 0, 5, 400]))
        window = rng.choice([0, 500, 65535, 65535, 65535])
        options = (
            [("MSS", 1460), ("WScale", rng.randrange(9)), ("SAckOK", b"")]
            if "S" in flags and rng.random() < 0.5
            else []
        )
        made = TCP(
            sport=sport, dport=dport, flags=flags or 0, seq=(there + shift) % 2**32, window=window, options=options,
            ack=(back + rng.choice([0, 0, 0, 0, 1, -400, 90_000])) % 2**32 if "A" in flags else 0,
        )  # fmt: skip
        if shift == 0:
            flow.seq[way] = (there + len(data) + ("S" in flags) + ("F" in flags)) % 2**32
        return made / data

    def complaint(self, flow):
        """An error about a packet that left, from its receiver or a router on the way."""
        rng = self.rng
        way = rng.choice([w for w in (0, 1) if flow.out[w] is not None])
        quoted = flow.out[way][: rng.choice([None, None, 28, 48, 60, 24])]
        sent = self.ip(flow.out[way])
        src = rng.choice([sent.dst, self.router]) if way == 0 else sent.dst
        if self.family == 6:
            kind = rng.choice([ICMPv6DestUnreach(code=rng.randrange(5)), ICMPv6TimeExceeded()])
            return IPv6(src=src, dst=sent.src) / kind / quoted, "eth0" if way == 0 else "cni0"
        kind = ICMP(type=rng.choice([3, 3, 3, 11, 12, 4, 5]), code=rng.randrange(4))
        return IP(src=src, dst=sent.src) / kind / quoted, "eth0" if way == 0 else "cni0"

    def damaged(self, data):
        """Flip a bit behind the addresses, or cut the end off; the IPv4 header stays sound."""
        rng = self.rng
        start = 20 if self.family == 4 else 40
        if len(data) <= start + 1:
            return data
        if rng.random() < 0.5:
            changed = bytearray(data)
            at = rng.randrange(start, len(data))
            changed[at] ^= 1 << rng.randrange(8)
            return bytes(changed)
        size = rng.randrange(start, len(data))
        if self.family == 6:
            return data[:4] + struct.pack(">H", size - 40) + data[6:size]
        packet = IP(data[:20])
        packet.len, packet.chksum = size, None
        return bytes(packet)[:20] + data[20:size]


def traffic(seed, family, n):
    return iter(Traffic(random.Random(seed), family, n))


def changed(talk, change):
    """Yield the datagrams of a talk, changed; send it the answers."""
    with contextlib.suppress(StopIteration):
        iface, data = next(talk)
        while True:
            answer = yield iface, change(data)
            iface, data = talk.send(answer)
