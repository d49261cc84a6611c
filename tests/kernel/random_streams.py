"""Random conversations of TCP and SCTP, seeded, behind rules that write into every packet what conntrack makes of it.

The traffic class says the state (4 new, 8 established, 12 invalid), 32 more that the connection is assured; the TTL is
100 more than the place of the timeout in TIMEOUTS, all of which differ. No address is translated.
"""

import struct

from kernel.handmade import chunk, ip4, ip6, put, sctp

ENDS = {4: ("10.244.1.{}", "203.0.113.{}"), 6: ("fd01::{:x}", "fd03::{:x}")}
# in seconds; those that others are cut down to lie among them
TIMEOUTS = {
    "tcp": {
        "syn_sent": 1000, "syn_recv": 2000, "established": 10_000, "fin_wait": 4000, "close_wait": 5000,
        "last_ack": 6000, "time_wait": 7000, "close": 3000, "max_retrans": 4500, "unacknowledged": 5500,
    },
    "sctp": {
        "closed": 1000, "cookie_wait": 2000, "cookie_echoed": 3000, "established": 10_000, "shutdown_sent": 4000,
        "shutdown_recd": 5000, "shutdown_ack_sent": 6000, "heartbeat_sent": 7000,
    },
}  # fmt: skip
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}


def rules(kind, family):
    """Return the rules that write the state into packets."""
    hops = "-j TTL --ttl-set" if family == 4 else "-j HL --hl-set"
    lines = ["*mangle"]
    for n, state in enumerate(("NEW", "ESTABLISHED", "INVALID"), 1):
        lines.append(f"-A FORWARD -m conntrack --ctstate {state} -j TOS --set-tos {4 * n}/0xfc")
    lines.append("-A FORWARD -m conntrack --ctstatus ASSURED -j TOS --or-tos 32")
    seconds = [*TIMEOUTS[kind].values(), 120]
    for n, left in enumerate(seconds):
        # of others the kernel says what depends on when the machine was started
        lines.append(f"-A FORWARD -m conntrack --ctstatus CONFIRMED --ctexpire {left - 20}:{left} {hops} {100 + n}")
    return "\n".join([*lines, "COMMIT", ""])


def sysctls(kind, rng):
    """Return timeouts, and how strict the tracker is."""
    front = "net.netfilter.nf_conntrack_"
    found = {f"{front}{kind}_timeout_{name}": left for name, left in TIMEOUTS[kind].items()}
    if kind == "tcp":
        for name, chance, values in (
            ("be_liberal", 0.15, (1,)), ("loose", 0.3, (0,)), ("ignore_invalid_rst", 0.3, (1,)),
            ("max_retrans", 0.6, (1, 2, 4)),
        ):  # fmt: skip
            if rng.random() < chance:
                found[f"{front}tcp_{name}"] = rng.choice(values)
    return found


def traffic(kind, family, rng, conversations):
    """Yield (interface, datagram) of so many conversations, one after the other."""
    for n in range(conversations):
        ends = [model.format(rng.randrange(2, 20)) for model in ENDS[family]]
        ports = 20_000 + n, rng.choice([80, 443, 5001])
        talk = (tcp_talk if kind == "tcp" else sctp_talk)(rng, ends, ports)
        for way, made in talk:
            src, dst = ends if way == 0 else ends[::-1]
            proto = 6 if kind == "tcp" else 132
            data = ip4(src, dst, proto, made) if family == 4 else ip6(src, dst, proto, made)
            yield ("cni0", "eth0")[way], data


# ---------------------------------------------------------------- TCP
def syn_options(rng):
    """Return options of a SYN, some of them broken."""
    known = [
        b"", b"\2\4\5\xb4", b"\4\2", b"\3\3" + bytes([rng.choice([0, 1, 2, 7, 13, 14, 15, 200])]),
        b"\x08\x0a" + bytes(8), b"\1", b"\1\1",
    ]  # fmt: skip
    broken = [b"\4\3\0", b"\3\4\7\0", b"\3\2", b"\4\1", b"\3\1\7", b"\0", b"\x1e\x40", b"\2", b"\3"]
    made = b"".join(rng.choice(known) for _ in range(rng.randrange(6)))
    if rng.random() < 0.1:
        made += rng.choice(broken) + rng.choice(known)
    return made[:40]


def sack_options(rng, ack):
    """Return options of an ACK: SACK blocks above or below what it acknowledges, stamps, broken ones."""

    def edges():
        low = ack + rng.choice([10, 100, 1000, 3000, -200])
        return struct.pack(">II", low % 2**32, (low + rng.choice([1, 40, 900, 70_000])) % 2**32)

    blocks = b"".join(edges() for _ in range(rng.choice([1, 1, 2, 3])))
    sack = bytes([5, 2 + len(blocks)]) + blocks
    stamps = b"\1\1\x08\x0a" + struct.pack(">II", rng.randrange(9), 3)
    return rng.choice([
        b"\1\1" + sack, sack, stamps, stamps, sack[:10], bytes([5, 9]) + sack[2:9], bytes([5, 11]) + sack[2:10] + b"\0",
        b"\0" + sack, b"\1" * 3 + b"\5", bytes([5, 30]) + blocks[:8], b"\5\2" + blocks[:8], b"\x1e\3\0" + sack,
    ])[:40]  # fmt: skip


class TcpTalk:
    """Both ends as each believes the other to be, with what a stranger would send now and then."""

    def __init__(self, rng, ends, ports):
        self.rng, self.ends, self.ports = rng, ends, ports
        self.next = [rng.choice([rng.randrange(2**32), 2**32 - 3, 0]) for _ in range(2)]
        self.first = list(self.next)
        self.last = None

    def segment(self, way, flags, seq=None, ack=None, options=b"", size=0, window=None):
        """Return a segment; what is not given is as it should be."""
        rng = self.rng
        given = seq is not None
        seq = self.next[way] if seq is None else seq
        ack = (self.next[1 - way] if ack is None else ack) if "A" in flags else rng.choice([0, 0, 0, 7])
        window = rng.choice([0, 1, 500, 3000, 65535, 65535]) if window is None else window
        options += bytes(-len(options) % 4)
        src, dst = self.ends if way == 0 else self.ends[::-1]
        sport, dport = self.ports if way == 0 else self.ports[::-1]
        made = struct.pack(
            ">HHIIBBHHH", sport, dport, seq % 2**32, ack % 2**32, (5 + len(options) // 4) << 4,
            sum(FLAGS[f] for f in flags), window, 0, 0,
        ) + options + bytes(size)  # fmt: skip
        if not given:
            self.next[way] += size + ("S" in flags) + ("F" in flags)
        self.last = way, put(made, 16, src, dst, 6)
        return self.last

    def opening(self):
        """Yield how it begins."""
        rng, one = self.rng, self.segment

        def syn(way=0, **other):
            return one(way, "S" if rng.random() < 0.8 else "SEC", options=syn_options(rng), **other)

        kind = rng.random()
        if kind < 0.5:
            yield syn()
            if rng.random() < 0.2:
                yield syn(seq=self.first[0] + rng.choice([0, 0, 1, 500, -500]))
            yield one(1, "SA", options=syn_options(rng))
            if rng.random() < 0.2:
                yield one(1, "SA", seq=self.first[1] + rng.choice([0, 0, 9]), options=syn_options(rng))
            yield one(0, "A")
        elif kind < 0.62:
            # both at once
            yield syn()
            yield syn(1)
            for way in rng.choice([(1, 0), (0, 1), (1,), (0,)]):
                yield one(way, rng.choice(["SA", "SA", "A"]), seq=self.first[way] + rng.choice([0, 1]))
        elif kind < 0.74:
            # the server has an old connection: an ACK in place of a SYN/ACK, and a RST for it
            yield syn()
            old = rng.randrange(2**32)
            yield one(1, "A", seq=rng.randrange(2**32), ack=old)
            yield one(rng.choice([0, 0, 1]), "R", seq=rng.choice([old, old, old + 1, 0]))
            if rng.random() < 0.5:
                yield syn(seq=self.first[0])
                yield one(1, "SA")
        elif kind < 0.86:
            yield syn()
            yield one(1, rng.choice(["RA", "R", "RA"]), seq=rng.choice([0, 0, 5]))
            if rng.random() < 0.5:
                yield syn()
        else:
            # in the middle
            yield one(rng.choice([0, 0, 1]), rng.choice(["A", "PA", "A", "FA", "SA", "R"]), size=rng.choice([0, 60]))
            yield one(1, "A")

    def deed(self):
        """Yield what may come next."""
        rng, one = self.rng, self.segment
        way = rng.randrange(2)
        mine, theirs = self.next[way], self.next[1 - way]
        kind = rng.randrange(17)
        if kind <= 1:
            yield one(way, "PA", size=rng.choice([1, 100, 1000]))
            if rng.random() < 0.6:
                yield one(1 - way, "A")
        elif kind == 2:
            same = one(way, "A", window=rng.choice([0, 700]))
            for _ in range(rng.randrange(1, 6)):
                yield same
        elif kind == 3:
            # beyond a window, or before it
            shift = rng.choice([1, 499, 501, 3000, 65535, 65536, 70_000, 200_000, -1, -900, -66_000, -70_000])
            yield one(way, "A", seq=mine + shift, size=rng.choice([0, 1, 600]))
        elif kind == 4:
            yield one(way, "A", ack=theirs + rng.choice([1, 2, 5000, -1, -1000, -65_999, -66_001, -70_000]))
        elif kind == 5:
            yield one(way, "A", options=sack_options(rng, theirs))
            # a hole in what the other end has sent
            yield one(1 - way, "PA", size=1400)
            edges = struct.pack(">II", (theirs + 700) % 2**32, (theirs + rng.choice([1100, 1400, 1401])) % 2**32)
            yield one(way, "A", ack=theirs, options=rng.choice([b"\1\1\5\x0a", b"\5\x0a\1\1"]) + edges)
        elif kind == 6:
            yield one(way, rng.choice(["FA", "FA", "FPA", "F"]))
            if rng.random() < 0.7:
                yield one(1 - way, "A")
        elif kind == 7:
            yield one(way, "FA")
            yield one(1 - way, "A")
            yield one(1 - way, "FA")
            yield one(way, "A")
            if rng.random() < 0.6:
                yield one(rng.randrange(2), "S", seq=rng.choice([mine + 9, rng.randrange(2**32)]),
                          options=syn_options(rng))  # fmt: skip
        elif kind == 8:
            yield one(way, "R", seq=mine + rng.choice([0, 0, 0, 1, -1, 400, -400, 90_000]))
        elif kind == 9:
            yield one(way, "RA", seq=rng.choice([0, mine, mine]), ack=theirs + rng.choice([0, 0, 1, 9000]))
        elif kind == 10:
            # it asks to begin anew; the other end answers that it knows the connection, or begins anew as well
            seq = rng.choice([mine, rng.randrange(2**32), mine - 1])
            yield one(way, "S", seq=seq, options=syn_options(rng))
            answer = rng.random()
            if answer < 0.4:
                self.next[way] = seq + 1
                self.next[1 - way] = rng.randrange(2**32)
                yield one(1 - way, "SA", options=syn_options(rng))
                yield one(way, "A")
            elif answer < 0.7:
                yield one(1 - way, "A")
                yield one(way, "R", seq=theirs if rng.random() < 0.2 else mine)
            elif answer < 0.85:
                yield one(1 - way, "RA", ack=seq + 1)
        elif kind == 11:
            yield one(way, "SA", seq=mine + rng.choice([0, -1]), ack=theirs + rng.choice([0, 1]))
        elif kind == 12:
            yield one(way, rng.choice(["", "U", "FPU", "SF", "SR", "SU", "AU", "PAU", "SAE", "RF", "AF", "P", "SP"]))
        elif kind == 13:
            if self.last:
                yield self.last
        elif kind == 14:
            # a RST that comes again, behind an ACK that says how far the end is
            yield one(way, "A")
            yield one(way, "R", seq=self.next[way] + rng.choice([0, 0, 1]))
            yield one(1 - way, "R", seq=self.next[1 - way] + rng.choice([0, 1]))
        elif kind == 15:
            for far in (way, 1 - way):
                yield one(far, rng.choice(["FA", "R"]), seq=self.next[far] + rng.choice([0, 900_000]))
        else:
            way, made = one(way, "PA", size=20)
            made = bytearray(made)
            damage = rng.randrange(3)
            if damage == 0:
                made[12] = rng.choice([0x40, 0xF0, 0xA0])
            elif damage == 1:
                made[16] ^= 1
            else:
                made = made[: rng.choice([8, 19])]
            yield way, bytes(made)


def tcp_talk(rng, ends, ports):
    """Yield (way, segment) of a connection: way 0 is the client's."""
    talk = TcpTalk(rng, ends, ports)
    yield from talk.opening()
    for _ in range(rng.randrange(6)):
        yield from talk.deed()


# ---------------------------------------------------------------- SCTP
DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = range(7)
SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK, ECNE, CWR, SHUTDOWN_COMPLETE = range(7, 15)


class SctpTalk:
    """Both ends, with the tags that each has asked for."""

    def __init__(self, rng, ports):
        self.rng, self.ports = rng, ports
        # what packets to an end carry
        self.tag = [rng.randrange(1, 2**32) for _ in range(2)]

    def piece(self, way, kind):
        """Return a chunk; an INIT names its sender's tag."""
        rng = self.rng
        flags = rng.choice([0, 0, 1]) if kind in (ABORT, SHUTDOWN_COMPLETE) else 0
        if kind in (INIT, INIT_ACK):
            tag = self.tag[way] if rng.random() < 0.9 else rng.randrange(2**32)
            body = struct.pack(">IIHHI", tag, 5000, 2, 2, 1)
            return chunk(kind, flags, body if rng.random() < 0.95 else body[:12])
        body = {DATA: bytes(13), SACK: bytes(12), SHUTDOWN: bytes(4), COOKIE_ECHO: bytes(8)}.get(kind, b"")
        if kind == HEARTBEAT:
            body = b"\0\1\0\x08abcd"
        length = None if rng.random() < 0.96 else rng.choice([0, 3, 4, 200])
        return chunk(kind, flags, body, length)

    def bundle(self, way, *kinds, tag=None):
        """Return a packet of chunks."""
        rng = self.rng
        if tag is None:
            tag = 0 if kinds[0] == INIT else self.tag[1 - way]
            if kinds[0] in (ABORT, SHUTDOWN_COMPLETE) and rng.random() < 0.4:
                tag = self.tag[way]
            if rng.random() < 0.08:
                tag = rng.choice([0, 7, self.tag[way]])
        sport, dport = self.ports if way == 0 else self.ports[::-1]
        made = sctp(sport, dport, tag, b"".join(self.piece(way, kind) for kind in kinds))
        if rng.random() < 0.03:
            made = bytearray(made)
            made[8] ^= 1
            made = bytes(made)
        return way, made

    def opening(self):
        """Yield how it begins."""
        rng, one = self.rng, self.bundle
        kind = rng.random()
        if kind < 0.6:
            steps = [one(0, INIT), one(1, INIT_ACK), one(0, COOKIE_ECHO), one(1, COOKIE_ACK)]
            if rng.random() < 0.25:
                steps.insert(rng.randrange(1, 5), one(1, INIT))
            if rng.random() < 0.15:
                steps.pop(rng.randrange(4))
            if rng.random() < 0.15:
                steps.insert(rng.randrange(4), one(0, INIT))
            if rng.random() < 0.2:
                steps[2:3] = [one(0, COOKIE_ECHO, DATA)]
            yield from steps
        elif kind < 0.75:
            # both at once
            yield one(0, INIT)
            yield one(1, INIT)
            yield one(0, INIT_ACK)
            yield one(1, INIT_ACK)
            yield one(rng.randrange(2), COOKIE_ECHO)
            yield one(rng.randrange(2), COOKIE_ACK)
        elif kind < 0.9:
            # the second path of an association
            yield one(0, HEARTBEAT)
            yield one(1, HEARTBEAT_ACK)
        else:
            yield one(
                0, rng.choice([DATA, ABORT, SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK, INIT_ACK, 15, 64])
            )

    def deed(self):
        """Yield what may come next."""
        rng, one = self.rng, self.bundle
        way, kind = rng.randrange(2), rng.randrange(9)
        if kind <= 1:
            yield one(way, rng.choice([DATA, SACK, ERROR, ECNE, CWR, 15, 64, 192]), *rng.choices([DATA, SACK], k=1))
        elif kind == 2:
            yield one(way, HEARTBEAT)
            yield one(1 - way, HEARTBEAT_ACK)
        elif kind == 3:
            # the end has begun anew: another tag
            tag = rng.randrange(2**32)
            yield one(way, HEARTBEAT, tag=tag)
            yield one(rng.choice([way, 1 - way]), rng.choice([HEARTBEAT_ACK, HEARTBEAT]), tag=rng.choice([tag, tag, 3]))
        elif kind == 4:
            yield one(way, SHUTDOWN)
            yield one(1 - way, SHUTDOWN_ACK)
            if rng.random() < 0.8:
                yield one(way, SHUTDOWN_COMPLETE)
        elif kind == 5:
            yield one(way, ABORT)
        elif kind == 6:
            yield one(way, INIT)
            if rng.random() < 0.6:
                yield one(1 - way, INIT_ACK)
                yield one(way, COOKIE_ECHO)
                yield one(1 - way, COOKIE_ACK)
        elif kind == 7:
            yield one(way, *rng.choices(range(15), k=rng.choice([2, 3])))
        else:
            yield one(way, rng.randrange(15))


def sctp_talk(rng, _, ports):
    """Yield (way, packet) of an association: way 0 is the client's."""
    talk = SctpTalk(rng, ports)
    yield from talk.opening()
    for _ in range(rng.randrange(5)):
        yield from talk.deed()
