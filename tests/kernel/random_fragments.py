"""Random fragments, seeded: datagrams of all protocols cut at random places, in random order, damaged in every way."""

import random
import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.sctp import SCTP, SCTPChunkInit

from kernel.random_traffic import with_option

CLIENT = {4: "10.244.1.{}", 6: "fd01::{:x}"}
SERVER = {4: "203.0.113.{}", 6: "fd03::{:x}"}
OPTIONS = [
    b"",
    b"",
    b"",
    b"\x94\x04\0\0",
    b"\x01\x01\x01\x01",
    b"\x82\x0b" + bytes(9) + b"\0",
    b"\x5e\x04\1\2\xde\x04\3\4",
]
# in front of the fragment header, and behind it: next header and bytes of an extension header
EXTENSIONS = [(0, b"\0\1\4\0\0\0\0"), (60, b"\0\1\4\0\0\0\0"), (60, b"\1\1\x0c" + bytes(12)), (43, b"\0\0\0\0\0\0\0")]


class Fragments:
    """An iterator over (interface, bytes)."""

    def __init__(self, seed, family, n):
        self.rng, self.family, self.n, self.flow = random.Random(seed), family, n, 0

    def __iter__(self):
        waiting = []
        for _ in range(self.n):
            waiting.append(self.datagram())
            # parts of up to three datagrams come between each other
            while len(waiting) > 2 or (waiting and self.rng.random() < 0.6):
                of = self.rng.choice(waiting)
                yield "cni0", of.pop(0)
                waiting = [w for w in waiting if w]
        for parts in waiting:
            yield from (("cni0", part) for part in parts)

    def datagram(self):
        """Return the parts of one datagram in the order in which they come."""
        rng = self.rng
        self.flow += 1
        proto, payload = self.payload()
        ident = rng.randrange(1, 5)
        extensions = [rng.choice(EXTENSIONS) for _ in range(rng.choice([0, 0, 0, 1, 2]))] if self.family == 6 else []
        inside = [rng.choice(EXTENSIONS[1:]) for _ in range(rng.choice([0, 0, 0, 1]))] if self.family == 6 else []
        for kind, body in reversed(inside):
            payload = bytes([proto]) + body + payload
            proto = kind
        head = rng.choice(OPTIONS) if self.family == 4 else extensions
        cuts = sorted({0, *(8 * rng.randrange(1, max(len(payload) // 8, 2)) for _ in range(rng.randrange(1, 4)))})
        cuts = [c for c in cuts if c < len(payload)] or [0]
        spans = list(zip(cuts, [*cuts[1:], len(payload)], strict=True))
        ecns = rng.choice([[0], [0], [0], [2], [1, 2], [2, 3], [3], [0, 2], [0, 3]])
        df = rng.choice([[0], [0], [1], [0, 1]])
        parts = []
        for start, end in self.disturbed(spans, len(payload)):
            more = end < len(payload) if rng.random() < 0.97 else not end < len(payload)
            data = (payload + bytes(64))[start:end]
            made = self.part(proto, head, ident, start, more, data, rng.choice(ecns), rng.choice(df))
            parts.append(made)
        if rng.random() < 0.4:
            rng.shuffle(parts)
        return parts or [self.part(proto, head, ident, 0, True, payload[:8], 0, 0)]

    def disturbed(self, spans, size):
        """Return the spans of a datagram's parts, some of them twice, moved, cut or gone."""
        rng, found = self.rng, []
        for start, end in spans:
            deed = rng.random()
            if deed < 0.05:
                continue
            found.append((start, end))
            if deed < 0.12:
                found.append((start, end))
            elif deed < 0.17:
                found.append((start, max(end - 8, start)))
            elif deed < 0.21:
                found.append((max(start - 8, 0), end))
            elif deed < 0.25:
                found[-1] = (start, end - rng.randrange(1, 8)) if end - start > 8 else (start, end)
            elif deed < 0.28:
                found.append((end // 8 * 8, end // 8 * 8))
            elif deed < 0.31:
                found.append((start, min(end + rng.randrange(1, 24), size + 16)))
            elif deed < 0.34:
                found.append((spans[0][0], end))
        return found

    def payload(self):
        """Return (protocol, l4 bytes) of a datagram of a flow of its own."""
        rng, port = self.rng, 20_000 + self.flow
        data = bytes(rng.randrange(256) for _ in range(rng.choice([3, 20, 40, 100, 300])))
        kind = rng.choice(["udp", "udp", "tcp", "icmp", "esp", "sctp", "udplite"])
        src, dst = CLIENT[self.family].format(5), SERVER[self.family].format(9)
        ip = IP(src=src, dst=dst) if self.family == 4 else IPv6(src=src, dst=dst)
        layer = {
            "udp": UDP(sport=port, dport=53) / data,
            "tcp": TCP(sport=port, dport=80, flags="S", options=[("MSS", 1460)]) / data,
            "icmp": (ICMP(id=port) if self.family == 4 else ICMPv6EchoRequest(id=port)) / data,
            "esp": struct.pack(">II", port, 1) + data,
            "sctp": SCTP(sport=port, dport=80) / SCTPChunkInit(init_tag=7) / data,
            "udplite": struct.pack(">HHHH", port, 9, 8, 0x1234) + data,
        }[kind]
        proto = {"udp": 17, "tcp": 6, "icmp": 1 if self.family == 4 else 58, "esp": 50, "sctp": 132, "udplite": 136}[
            kind
        ]
        if self.family == 4:
            return proto, bytes(IP(bytes(IP(src=src, dst=dst, proto=proto) / layer)))[20:]
        return proto, bytes(ip.__class__(src=src, dst=dst, nh=proto) / layer)[40:]

    def part(self, proto, head, ident, start, more, data, ecn, df):
        """Return one fragment; head: options, or extension headers."""
        src, dst = CLIENT[self.family].format(5), SERVER[self.family].format(9)
        ttl = self.rng.choice([64, 64, 63])
        if self.family == 4:
            bits = start // 8 | 0x2000 * more | 0x4000 * df
            made = IP(src=src, dst=dst, proto=proto, id=ident, ttl=ttl, tos=ecn, len=20 + len(data), frag=bits & 0x1FFF)
            made.flags = bits >> 13
            return with_option(bytes(made), head) + data
        body = struct.pack(">BBHI", proto, 0, start | more, ident) + data
        kind = 44
        for header, rest in sorted(head, key=lambda e: e[0] == 0):
            body = bytes([kind]) + rest + body
            kind = header
        return bytes(IPv6(src=src, dst=dst, hlim=ttl, tc=ecn, nh=kind) / body)
