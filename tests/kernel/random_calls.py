"""Random control connections of PPTP with its tunnel, and transfers of TFTP, seeded; FTP: behaviour/talks.py."""

import random
import struct

from kernel.handmade import ip4, ip6, tcp, text, udp

ENDS = {4: ("10.244.1.2", "203.0.113.9", "198.51.100.10"), 6: ("fd01::2", "fd03::9", "fd02::1")}
RULES = (
    "*raw\n-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\n{}"
    "-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp\nCOMMIT\n"
    "*mangle\n-A FORWARD -m conntrack --ctstate INVALID -j TOS --set-tos 0x04/0xfc\n"
    "-A FORWARD -m conntrack --ctstate RELATED -j TOS --set-tos 0x08/0xfc\n"
    "-A FORWARD -m conntrack --ctstate NEW -j TOS --set-tos 0x0c/0xfc\nCOMMIT\n"
)
PPTP = "-A PREROUTING -p tcp -m tcp --dport 1723 -j CT --helper pptp\n"
NAT = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
# bytes that each message of RFC 2637 has behind its header
SIZES = (0, 144, 144, 4, 4, 4, 8, 156, 20, 208, 12, 16, 4, 136, 28, 12)
CALLS = (1, 0x1111, 0x2222, 4000)


def rules(family, nat):
    """Return rules that give connections their helpers; those of the kernel for PPTP know IPv4 alone."""
    return RULES.format(PPTP if family == 4 else "") + (NAT if nat else "")


def with_sack(rng, data, family):
    """Return a segment; one without data, that acknowledges, gets blocks of SACK in front and behind, and a stamp."""
    at = 20 if family == 4 else 40
    if data[at + 13] != 0x10 or len(data) != at + 20 or rng.random() < 0.3:
        return data
    ack = int.from_bytes(data[at + 8 : at + 12], "big")
    edges = [(ack + rng.choice([-30, -9, 0, 5, 40])) % 2**32 for _ in range(2)]
    sack = bytes([5, 10]) + struct.pack(">II", edges[0], (edges[1] + 3) % 2**32)
    options = rng.choice([b"\1\1" + sack, b"\x08\x0a" + bytes(8) + b"\1\1" + sack, sack + b"\1\1"])
    ends = (text(data[12:16]), text(data[16:20])) if family == 4 else (text(data[8:24]), text(data[24:40]))
    sport, dport, seq = struct.unpack_from(">HHI", data, at)
    made = tcp(*ends, sport, dport, "A", seq, ack, opts=options)
    return ip4(*ends, 6, made) if family == 4 else ip6(*ends, 6, made)


def message(rng, kind, *words):
    """Return a message of PPTP; now and then it is cut, or none."""
    body = b"".join(words)
    body += bytes(max(SIZES[kind] - len(body), 0)) if kind < 16 else b""
    head = struct.pack(">HHIHH", 12 + len(body), 1, 0x1A2B3C4D, kind, 0)
    if rng.random() < 0.04:
        head = rng.choice([head[:3] + b"\2" + head[4:], head[:4] + b"\0" + head[5:]])
    made = head + body
    return made[: rng.randrange(len(made))] if rng.random() < 0.04 else made


class Pptp:
    """A client, behind NAT or not, and a server, as both see each other's calls."""

    def __init__(self, rng, nat):
        self.rng = rng
        self.client, self.server, outside = ENDS[4]
        self.seen = outside if nat else self.client
        self.next = [100, 7000]
        # the calls that each end last named, as the other was told
        self.told = [1, 1]

    def segment(self, way, flags, data=b""):
        ends = (self.client, self.server) if way == 0 else (self.server, self.seen)
        ports = (4000, 1723) if way == 0 else (1723, 4000)
        made = tcp(*ends, *ports, flags, self.next[way], self.next[1 - way] if "A" in flags else 0, data=data)
        self.next[way] += len(data) + ("S" in flags)
        return ("cni0", "eth0")[way], ip4(*ends, 6, made)

    def tunnel(self, way, call):
        """Return a packet of the tunnel: enhanced GRE, or another kind of it."""
        kind = b"\x30\x01\x88\x0b" if self.rng.random() < 0.9 else self.rng.choice([b"\0\0\x08\0", b"\x30\x81\x88\x0b"])
        ends = (self.client, self.server) if way == 0 else (self.server, self.seen)
        return ("cni0", "eth0")[way], ip4(*ends, 47, kind + struct.pack(">HHI", 3, call, 1) + b"ppp")

    def say(self, way, kind):
        """Return a message of an end, with calls that fit for the most part."""
        rng = self.rng
        mine, theirs = rng.choice(CALLS), self.told[1 - way] if rng.random() < 0.9 else rng.choice(CALLS)
        result = bytes([rng.choice([1, 1, 1, 2])])
        words = {
            1: (b"\1\0",), 2: (b"\1\0", result), 4: (result,), 7: (struct.pack(">HH", mine, 1),),
            8: (struct.pack(">HH", mine, theirs), result), 9: (struct.pack(">HH", mine, 1),),
            10: (struct.pack(">HH", mine, theirs), result), 11: (struct.pack(">H", theirs),),
            12: (struct.pack(">H", self.told[way]),), 13: (struct.pack(">H", mine),),
            14: (struct.pack(">H", theirs),), 15: (struct.pack(">H", theirs),),
        }.get(kind, ())  # fmt: skip
        if kind in (7, 8, 9, 10):
            self.told[way] = mine
        return self.segment(way, "PA", message(rng, kind, *words))

    def talk(self):
        """Yield (interface, datagram); it is sent what left."""
        rng = self.rng
        yield self.segment(0, "S")
        yield self.segment(1, "SA")
        yield self.segment(0, "A")
        plans = [
            [(0, 1), (1, 2), (0, 7), (1, 8), (0, 15), (1, 15)],
            [(0, 1), (1, 2), (1, 9), (0, 10), (1, 11), (1, 15)],
        ]
        plan = list(rng.choice(plans))
        for _ in range(rng.randrange(4)):
            plan.insert(rng.randrange(len(plan) + 1), (rng.randrange(2), rng.randrange(18)))
        plan += [rng.choice([*plans[0], *plans[1], (0, 12), (1, 13), (0, 3), (1, 4)]) for _ in range(rng.randrange(5))]
        for way, kind in plan:
            out = yield self.say(way, min(kind, 15) if kind < 17 else 15)
            if out and way == 0 and kind in (7, 10) and len(out) >= 54:
                # as NAT has named it
                self.told[0] = int.from_bytes(out[52:54], "big")
            if rng.random() < 0.5:
                end = rng.randrange(2)
                yield self.tunnel(end, self.told[1 - end] if rng.random() < 0.8 else rng.choice(CALLS))
        for end in (0, 1, 0):
            yield self.tunnel(end, self.told[1 - end])


def tftp_talk(rng, family, nat):
    """Yield transfers: a request, blocks from another port, acknowledgements, and what is none."""
    client, server, outside = ENDS[family]
    seen = outside if nat else client

    def packet(way, sport, dport, data):
        ends = (client, server) if way == 0 else (server, seen)
        made = udp(*ends, sport, dport, data)
        return ("cni0", "eth0")[way], ip4(*ends, 17, made) if family == 4 else ip6(*ends, 17, made)

    for n in range(8):
        port, theirs = 5000 + n, 6000 + n
        kind = rng.choice([1, 1, 2, 3, 4, 5, 0, 257])
        data = struct.pack(">H", kind) + b"file\0octet\0"
        yield packet(0, port, 69, data if rng.random() < 0.9 else data[: rng.randrange(3)])
        for _ in range(rng.randrange(4)):
            step = rng.randrange(4)
            if step <= 1:
                yield packet(1, theirs, port, b"\0\3\0\1data")
                yield packet(0, port, theirs, b"\0\4\0\1")
            elif step == 2:
                yield packet(1, 69, port, rng.choice([b"\0\5\0\1no\0", b"\0\3\0\1x", b"\0\1a\0b\0"]))
            else:
                yield packet(1, theirs + 100, port + rng.choice([0, 1]), b"\0\3\0\1data")


def talk(seed):
    """Return the family, whether there is NAT, and the generator of a seed."""
    rng = random.Random(f"calls {seed}")
    family, nat = (6 if seed % 4 == 3 else 4), rng.random() < 0.7
    return family, nat, (Pptp(rng, nat).talk() if seed % 4 < 2 else tftp_talk(rng, family, nat))
