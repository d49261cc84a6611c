"""Packets right at the bounds of what the kernel compares, and one to either side: the running kernel's word on each.

    python tests/kernel/bounds.py [KIND...]     as root, writes bounds/KIND.json.xz anew: recordings of gateway.py

The engine goes first; where it differs from the kernel nothing is written. tests/behaviour/test_bounds.py goes them on
every machine. Conversations of TCP and SCTP run behind the rules of random_streams.py, which write into each packet
what conntrack makes of it.
"""

import itertools
import json
import lzma
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kernel import gateway, random_calls, random_streams
from kernel.handmade import chunk, ip4, ip6, sctp, tcp
from kernel.walks import node_of

FOLDER = Path(__file__).with_name("bounds")
ENDS = {4: ("10.244.1.5", "203.0.113.9", "198.51.100.10"), 6: ("fd01::5", "fd03::9", "fd02::1")}
NEAR = (-1, 0, 1, 2)


class Ends:
    """A client and a server that keep their numbers; port: the client's, of a connection of its own."""

    def __init__(self, family, port, dport=80, first=(2**32 - 2000, 10_000), nat=False, client=None, server=None):
        self.family, self.ports = family, (port, dport)
        usual = ENDS[family]
        self.client, self.server = client or usual[0], server or usual[1]
        self.seen = usual[2] if nat else self.client
        self.first, self.next = first, list(first)

    def segment(self, way, flags, seq=None, ack=None, options=b"", data=b"", window=None):
        """Return (interface, segment); numbers that are given do not move the end's own. Each end has one window."""
        mine = self.next[way] if seq is None else seq
        if ack is None:
            ack = self.next[1 - way] if "A" in flags else 0
        if seq is None:
            self.next[way] += len(data) + ("S" in flags) + ("F" in flags)
        ends = (self.client, self.server) if way == 0 else (self.server, self.seen)
        ports = self.ports if way == 0 else self.ports[::-1]
        window = (5000, 3000)[way] if window is None else window
        made = tcp(*ends, *ports, flags, mine, ack, window, data, options)
        return ("cni0", "eth0")[way], ip4(*ends, 6, made) if self.family == 4 else ip6(*ends, 6, made)

    def open(self, mine=b"", theirs=b""):
        """Return the handshake; options of both ends."""
        return [
            self.segment(0, "S", options=mine),
            self.segment(1, "SA", options=theirs),
            self.segment(0, "A"),
        ]


def streams(kind, family, talks, **sysctls):
    """Return a node behind the rules of random_streams, and conversations; talks: functions of a port."""
    front = "net.netfilter.nf_conntrack_"
    settings = {f"{front}{kind}_timeout_{name}": left for name, left in random_streams.TIMEOUTS[kind].items()}
    settings |= {f"{front}{name}": value for name, value in sysctls.items()}
    node = node_of(family, settings, **{f"rules{family}": random_streams.rules(kind, family)})
    return node, [list(talk(20_000 + n)) for n, talk in enumerate(talks)]


# ---------------------------------------------------------------- TCP: windows
def probe(family, way, options, make):
    """Return a conversation: a handshake, one segment that make(ends, way) gives, and what both ends say then."""

    def talk(port):
        ends = Ends(family, port)
        yield from ends.open(*options)
        said = list(make(ends, way))
        yield from said
        for end in (1 - way, way, 1 - way):
            yield ends.segment(end, "A")
        # whatever was learnt of the end shows in how far it may send
        yield ends.segment(way, "PA", data=b"x" * 7)
        yield ends.segment(1 - way, "A")

    return talk


def windows(family):
    """Each of the four bounds of tcp_in_window, for either end, with and without SACK and scaling."""
    own = (5000, 3000)
    none, scaled = (b"", b""), (b"\3\3\2\4\2", b"\3\3\1\4\2")
    talks = []
    for way, options in itertools.product((0, 1), (none, scaled)):
        # what the other end takes: the SYN's window is not scaled, the ACK's is
        shift = (0, 0) if options is none else (2, 1)
        takes = own[1 - way] << (shift[1 - way] if way == 1 else 0)
        for near in NEAR:
            for back in (takes, 0, -takes):

                def beyond(ends, way, near=near, back=back):
                    yield ends.segment(way, "A", seq=ends.next[way] + back + near)
                    yield ends.segment(1 - way, "A", ack=ends.next[way] + back + near)

                def beyond_with_data(ends, way, near=near, back=back):
                    yield ends.segment(way, "PA", seq=ends.next[way] + back + near, data=b"abc")
                    yield ends.segment(1 - way, "A", ack=ends.next[way] + back + near + 3)

                talks += [probe(family, way, options, make) for make in (beyond, beyond_with_data)]

            def twice(ends, way, near=near, takes=takes):
                yield ends.segment(way, "PA", seq=ends.next[way] + 2 * takes - 2 + near, data=b"a")
                yield ends.segment(1 - way, "A", ack=ends.next[way] + 2 * takes - 1 + near)

            def acks(ends, way, near=near):
                yield ends.segment(way, "A", ack=ends.next[1 - way] + near)
                yield ends.segment(1 - way, "PA", data=b"abc")

            def old_acks(ends, way, near=near):
                yield ends.segment(way, "A", ack=ends.next[1 - way] - 66_000 + near)

            def selective(ends, way, near=near):
                yield ends.segment(1 - way, "PA", data=b"x" * 900)
                low = ends.next[1 - way] - 400
                edges = b"\1\1\5\x0a" + struct.pack(">II", low, ends.next[1 - way] + near)
                yield ends.segment(way, "A", ack=low - 500, options=edges)
                yield ends.segment(1 - way, "PA", seq=ends.next[1 - way] + own[way] + near, data=b"y")

            def grows(ends, way, near=near):
                yield ends.segment(1 - way, "A", window=40_000)
                yield ends.segment(way, "PA", seq=ends.next[way] + 40_000 + near, data=b"y")
                yield ends.segment(1 - way, "A", ack=ends.next[way] + 40_001 + near, window=9)

            def closed(ends, way, near=near, takes=takes):
                yield ends.segment(1 - way, "A", window=0)
                yield ends.segment(way, "PA", seq=ends.next[way] + takes + near, data=b"y")

            talks += [probe(family, way, options, make) for make in (twice, acks, old_acks, selective, grows, closed)]
    return talks


OPTIONS = [
    b"", b"\1\1\1\1", b"\4\2", b"\3\3\0", b"\3\3\1", b"\3\3\x0d", b"\3\3\x0e", b"\3\3\x0f", b"\3\3\xff", b"\1\3\3\3",
    b"\3\3\3\1\4\2", b"\0\3\3\3", b"\1\0\4\2", b"\4\3\0\3\3\5", b"\3\4\7\0\3\3\2", b"\3\2\3\3\4", b"\4\1\3\3\4",
    b"\3\1\7", b"\3\0\3\3\4", b"\3\3\4\3\3\5", b"\2\4\5\xb4\3\3\3", b"\x1e\6\1\2\3\4\3\3\2", b"\x1e\x40\3\3\2",
    b"\3\3\2\1\3", b"\3\3\2\1\1\1\1\4", b"\4\2\3\3\2\3\4\1", b"\5\2\3\3\3",
]  # fmt: skip


def syn_options(family):
    """Options of either SYN, as tcp_options reads them: how far an end may send afterwards tells which scale holds."""
    talks = []
    for way, options in itertools.product((0, 1), OPTIONS):

        def talk(port, way=way, options=options):
            ends = Ends(family, port)
            plain = b"\3\3\3\4\2"
            yield from ends.open(*((options, plain) if way == 0 else (plain, options)))
            for end in (0, 1):
                yield ends.segment(end, "A", window=100)
                for scale in (0, 1, 2, 3, 4, 5, 7, 13, 14):
                    yield ends.segment(1 - end, "A", seq=ends.next[1 - end] + (100 << scale) - 1)
                    yield ends.segment(1 - end, "A", seq=ends.next[1 - end] + (100 << scale) + 1)

        talks.append(talk)
    return talks


def sack_options(family):
    """Options of an ACK, as tcp_sack reads them: what an edge acknowledges moves the window of the other end."""
    block = struct.pack(">II", 10_101, 10_301)
    first = struct.pack(">II", 10_101, 10_201)
    lists = [
        b"\5\x0a" + block, b"\1\1\5\x0a" + block, b"\5\x12" + first + block, b"\5\x12" + block + first, b"\5\2" + block,
        b"\5\x09" + block[:7], b"\5\x0b" + block + b"\0", b"\5\x0a" + block[:6], b"\0\5\x0a" + block, b"\1\5",
        b"\x08\x0a" + bytes(8) + b"\5\x0a" + block, b"\x1e\3\0\5\x0a" + block, b"\5\1" + block, b"\5\0" + block,
        b"\5\x1a" + first + block + first, b"\5\x0a" + struct.pack(">II", 10_001, 9_000), b"\5\x18" + block,
        b"\5\x0c" + block + b"\0\0", b"\x1e\x30\5\x0a" + block, b"\5\x0a" + first + b"\5\x0a" + block,
    ]  # fmt: skip
    talks = []
    for options, perm in itertools.product(lists, (b"\4\2", b"")):

        def talk(port, options=options, perm=perm):
            ends = Ends(family, port)
            yield from ends.open(perm, perm)
            yield ends.segment(1, "PA", data=b"x" * 300)
            yield ends.segment(0, "A", ack=10_001, options=options, window=100)
            # the server may send up to 100 beyond what is acknowledged, or beyond its first window
            for near in (-1, 0, 1):
                for reached in (4999, 5000, 5001, 5200, 5300):
                    yield ends.segment(1, "A", seq=10_001 + reached + near)

        talks.append(talk)
    return talks


# ---------------------------------------------------------------- TCP: states
def way_to(ends, state):
    """Return segments after which a connection is in a state."""
    one = ends.segment
    yield one(0, "S")
    if state == "SYN_SENT":
        return
    if state == "SYN_SENT2":
        yield one(1, "S")
        return
    yield one(1, "SA")
    if state == "SYN_RECV":
        return
    yield one(0, "A")
    if state == "CLOSE":
        yield one(1, "R")
    if state in ("ESTABLISHED", "CLOSE"):
        return
    yield one(0, "FA")
    if state == "FIN_WAIT":
        return
    if state == "CLOSE_WAIT":
        yield one(1, "A")
        return
    yield one(1, "FA")
    if state == "TIME_WAIT":
        yield one(0, "A")


STATES = (
    "SYN_SENT", "SYN_SENT2", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
)  # fmt: skip
SEGMENTS = ("S", "SA", "FA", "A", "R", "RA", "F")


def transitions(family):
    """Every segment from either end in every state (tcp_conntracks), then another that tells where it led."""
    talks = []
    for state, way, flags, after in itertools.product(
        STATES, (0, 1), SEGMENTS, ((0, "A"), (1, "A"), (0, "S"), (1, "SA"))
    ):

        def talk(port, state=state, way=way, flags=flags, after=after):
            ends = Ends(family, port)
            yield from way_to(ends, state)
            yield ends.segment(way, flags)
            yield ends.segment(*after)
            yield ends.segment(0, "A")

        talks.append(talk)
    return talks


def flags(family):
    """Every combination of flags in the middle of a connection (tcp_valid_flags), and as its first segment."""

    def middle(port):
        ends = Ends(family, port)
        yield from ends.open()
        for bits in range(256):
            named = "".join(name for name, bit in random_streams.FLAGS.items() if bits & bit)
            if not set(named) & set("FSR"):
                yield ends.segment(bits & 1, named, seq=ends.next[bits & 1])

    def alone(named):
        def talk(port):
            ends = Ends(family, port)
            yield ends.segment(0, named)
            yield ends.segment(1, "A")

        return talk

    every = ["".join(name for name, bit in random_streams.FLAGS.items() if bits & bit) for bits in range(64)]
    return [middle, *map(alone, every), *map(alone, ("SEC", "SC", "SAE", "AEC", "E"))]


def resets(family):
    """A RST at each number that the kernel compares it with (RFC 5961, nf_conntrack_tcp_packet), from either end."""
    begun = ("SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE")
    before = {
        "nothing": lambda ends, way: (),
        "an ACK": lambda ends, way: [ends.segment(way, "A")],
        "its ACK": lambda ends, way: [ends.segment(1 - way, "A")],
        "a SYN": lambda ends, way: [ends.segment(way, "S", seq=77)],
        "its SYN": lambda ends, way: [ends.segment(1 - way, "S", seq=77)],
        "an old ACK": lambda ends, way: [ends.segment(1, "A", seq=5, ack=555_000)],
        "data": lambda ends, way: [ends.segment(way, "PA", data=b"abc")],
    }
    talks = []
    for state, said, way in itertools.product(begun, before.values(), (0, 1)):
        for named, near, ack in (
            ("R", -1, None), ("R", 0, None), ("R", 1, None), ("R", None, None), ("R", 555_000, None),
            ("RA", None, 78), ("RA", None, 79), ("RA", None, None), ("RA", 0, None), ("R", 3001, None),
        ):  # fmt: skip

            def talk(port, state=state, said=said, way=way, named=named, near=near, ack=ack):
                ends = Ends(family, port)
                yield from way_to(ends, state)
                yield from said(ends, way)
                seq = 0 if near is None else near if near == 555_000 else ends.next[way] + near
                yield ends.segment(way, named, seq=seq, ack=ack)
                yield ends.segment(1 - way, "A")

            talks.append(talk)
    return talks


def repeats(family):
    """ACKs that come again, up to and beyond nf_conntrack_tcp_max_retrans, each field of which may differ once."""
    talks = []
    for times, change in itertools.product((1, 2, 3, 4), (None, "seq", "ack", "window", "way", "data")):

        def talk(port, times=times, change=change):
            ends = Ends(family, port)
            yield from ends.open()
            yield ends.segment(0, "PA", data=b"abc")
            for _ in range(times):
                yield ends.segment(1, "A")
            if change == "seq":
                yield ends.segment(1, "A", seq=ends.next[1] - 1)
            elif change == "ack":
                yield ends.segment(1, "A", ack=ends.next[0] - 1)
            elif change == "window":
                yield ends.segment(1, "A", window=3001)
            elif change == "way":
                yield ends.segment(0, "A")
            elif change == "data":
                yield ends.segment(1, "PA", data=b"a")
            yield ends.segment(1, "A")
            yield ends.segment(1, "A", window=0)
            yield ends.segment(0, "FA")

        talks.append(talk)
    return talks


def anew(family):
    """A SYN within a connection, and what either end may answer: SYN/ACK, challenge, RST, or its own SYN."""
    talks = []
    for state, way, near in itertools.product(STATES, (0, 1), (-1, 0, 1)):
        for answer in ("SA", "A", "RA", "S"):

            def talk(port, state=state, way=way, near=near, answer=answer):
                ends = Ends(family, port)
                yield from way_to(ends, state)
                yield ends.segment(way, "S", seq=900_000, options=b"\3\3\1\4\2", window=0)
                number = 70_000 if answer in ("SA", "S") else ends.next[1 - way]
                yield ends.segment(
                    1 - way, answer, seq=number, ack=900_001 + near, options=b"\3\3\2" if answer == "SA" else b""
                )
                for more in (0, 1, 2):
                    yield ends.segment(way, "A", seq=900_001 + more, ack=70_001)
                yield ends.segment(1 - way, "A", seq=70_001, ack=900_001, window=1)
                yield ends.segment(way, "PA", seq=900_001, ack=70_001, data=b"a")

            talks.append(talk)
    return talks


TCP = {
    "windows": (windows, {}), "windows, liberal": (windows, {"tcp_be_liberal": 1}), "syn options": (syn_options, {}),
    "sack options": (sack_options, {}), "transitions": (transitions, {}), "flags": (flags, {}), "resets": (resets, {}),
    "resets, invalid ones ignored": (resets, {"tcp_ignore_invalid_rst": 1}),
    "repeats": (repeats, {"tcp_max_retrans": 3}), "anew": (anew, {}), "flags, strict": (flags, {"tcp_loose": 0}),
}  # fmt: skip


def segments():
    """TCP, in both families."""
    for (name, (talks, sysctls)), family in itertools.product(TCP.items(), (4, 6)):
        yield f"{name}, IPv{family}", *streams("tcp", family, talks(family), **sysctls)


# ---------------------------------------------------------------- SCTP
TAGS = (0x11111111, 0x22222222)


class Association:
    """A client and a server of SCTP that have asked for a tag each."""

    def __init__(self, family, port):
        self.family, self.ports = family, (port, 5001)

    def packet(self, way, *chunks, tag=None):
        """Return (interface, packet); a chunk is its type, or bytes. tag: by default what the other end asked for."""
        made = b"".join(said if isinstance(said, bytes) else self.chunk(way, said) for said in chunks)
        if tag is None:
            tag = 0 if made[:1] == b"\1" else TAGS[1 - way]
        ends = ENDS[self.family][:2] if way == 0 else ENDS[self.family][1::-1]
        l4 = sctp(*(self.ports if way == 0 else self.ports[::-1]), tag, made)
        return ("cni0", "eth0")[way], ip4(*ends, 132, l4) if self.family == 4 else ip6(*ends, 132, l4)

    def chunk(self, way, kind, flag=0, size=None, length=None, tag=None):
        """Return a chunk with its usual body, or `size` bytes of that; length: what it says."""
        body = {0: bytes(13), 3: bytes(12), 4: b"\0\1\0\x08abcd", 7: bytes(4), 10: bytes(8)}.get(kind, b"")
        if kind in (random_streams.INIT, random_streams.INIT_ACK):
            body = struct.pack(">IIHHI", TAGS[way] if tag is None else tag, 5000, 2, 2, 1)
        return chunk(kind, flag, body if size is None else body[:size], length)


def way_of_chunks(ends, state):
    """Return packets after which an association is in a state."""
    one = ends.packet
    steps = {
        "COOKIE_WAIT": [(0, 1)], "COOKIE_WAIT, answered": [(0, 1), (1, 2)], "COOKIE_ECHOED": [(0, 1), (1, 2), (0, 10)],
        "ESTABLISHED": [(0, 1), (1, 2), (0, 10), (1, 11)],
        "SHUTDOWN_SENT": [(0, 1), (1, 2), (0, 10), (1, 11), (0, 7)],
        "SHUTDOWN_RECD": [(0, 1), (1, 2), (0, 10), (1, 11), (1, 7)],
        "SHUTDOWN_ACK_SENT": [(0, 1), (1, 2), (0, 10), (1, 11), (0, 7), (1, 8)],
        "HEARTBEAT_SENT": [(0, 4)], "HEARTBEAT_ACKED": [(0, 4), (1, 5)], "CLOSED": [(0, 1), (1, 6)],
        "both": [(0, 1), (1, 1)], "both, answered": [(0, 1), (1, 1), (0, 2)],
    }  # fmt: skip
    for way, kind in steps[state]:
        yield one(way, kind)


ASSOCIATED = (
    "COOKIE_WAIT", "COOKIE_WAIT, answered", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", "HEARTBEAT_ACKED", "CLOSED", "both", "both, answered",
)  # fmt: skip


def steps_of_chunks(family):
    """Every chunk from either end in every state, with either tag and a wrong one, and what comes behind."""
    talks = []
    for state, way, kind in itertools.product(ASSOCIATED, (0, 1), (*range(16), 64)):
        for tag, flag in itertools.product((None, TAGS[way], 7), (0, 1) if kind in (6, 14) else (0,)):

            def talk(port, state=state, way=way, kind=kind, tag=tag, flag=flag):
                ends = Association(family, port)
                yield from way_of_chunks(ends, state)
                yield ends.packet(way, ends.chunk(way, kind, flag), tag=tag)
                for end, follows in ((1 - way, 0), (way, 0)):
                    yield ends.packet(end, follows)

            talks.append(talk)
    return talks


def heartbeats(family):
    """A path's end that begins anew with another tag: what HEARTBEATs and their answers teach, in any order."""
    talks = []
    for state in ("ESTABLISHED", "HEARTBEAT_ACKED"):
        for ends_, kinds, tags in itertools.product(
            itertools.product((0, 1), repeat=2),
            itertools.product((4, 5), repeat=2),
            ((7, 7), (7, 9), (None, 7), (7, None)),
        ):
            for third in ((0, 4, 9), (1, 5, 9), (0, 0, None)):

                def talk(port, state=state, ends_=ends_, kinds=kinds, tags=tags, third=third):
                    ends = Association(family, port)
                    yield from way_of_chunks(ends, state)
                    for way, kind, tag in zip(ends_, kinds, tags, strict=True):
                        yield ends.packet(way, kind, tag=tag)
                    yield ends.packet(third[0], third[1], tag=third[2])
                    yield ends.packet(1, 4, 0, tag=7)
                    for way, tag in ((0, 7), (1, 7), (0, None), (1, None)):
                        yield ends.packet(way, 0, tag=tag)

                talks.append(talk)
    return talks


def bundles(family):
    """Two chunks in one packet, each with each; what must stand alone, or first."""
    talks = []
    for state, one, other in itertools.product(("COOKIE_ECHOED", "ESTABLISHED"), range(16), range(16)):

        def talk(port, state=state, one=one, other=other):
            ends = Association(family, port)
            yield from way_of_chunks(ends, state)
            yield ends.packet(1, one, other)
            yield ends.packet(0, 0)

        talks.append(talk)
    return talks


def lengths(family):
    """Chunks that are cut, or say so, at each byte; INITs with other tags that repeat, cross, and are answered."""
    talks = []
    for kind, size in itertools.product((0, 1, 2, 4, 6, 10), (*range(5), 11, 12, 15, 16)):

        def cut(port, kind=kind, size=size):
            ends = Association(family, port)
            yield from way_of_chunks(ends, "ESTABLISHED" if kind not in (1, 2) else "COOKIE_WAIT")
            yield ends.packet(1, ends.chunk(1, kind)[: size + 4])
            yield ends.packet(1, ends.chunk(1, kind)[:4][:size])
            yield ends.packet(0, 0)

        def first(port, kind=kind, size=size):
            ends = Association(family, port)
            yield ends.packet(0, ends.chunk(0, kind)[: size + 4], tag=0)
            yield ends.packet(1, 2)

        def says(port, kind=kind, size=size):
            ends = Association(family, port)
            yield from way_of_chunks(ends, "ESTABLISHED")
            yield ends.packet(1, ends.chunk(1, kind, length=size), ends.chunk(1, 6))
            yield ends.packet(0, 0)

        talks += [cut, first, says]
    for (first_tag, second), way, answers in itertools.product(
        itertools.product((None, 7), repeat=2), (0, 1), itertools.product((None, 7), (0, 1))
    ):

        def crossed(port, first_tag=first_tag, second=second, way=way, answers=answers):
            ends = Association(family, port)
            yield ends.packet(0, 1)
            yield ends.packet(way, ends.chunk(way, 1, tag=first_tag))
            yield ends.packet(1 - way, ends.chunk(1 - way, 1, tag=second))
            yield ends.packet(answers[1], ends.chunk(answers[1], 2, tag=answers[0]))
            yield ends.packet(1 - answers[1], ends.chunk(1 - answers[1], 2, tag=answers[0]))
            for end in (0, 1, 0):
                yield ends.packet(end, 10)
                yield ends.packet(1 - end, 11)
            yield ends.packet(0, 1)
            yield ends.packet(0, 0)

        talks.append(crossed)
    return talks


def first_chunks(family):
    """Every chunk, and two of them, as the first packet of an association, with a tag and without."""
    talks = []
    for kinds, tag in itertools.product([(k,) for k in (*range(16), 64)] + [(4, k) for k in range(16)], (0, TAGS[1])):

        def talk(port, kinds=kinds, tag=tag):
            ends = Association(family, port)
            yield ends.packet(0, *kinds, tag=tag)
            for way, follows, said in ((1, 0, None), (1, 0, TAGS[1]), (0, 0, None), (1, 2, None), (1, 5, 7), (1, 0, 7)):
                yield ends.packet(way, follows, tag=said)

        talks.append(talk)
    return talks


def chunks():
    """SCTP, in both families."""
    for (name, talks), family in itertools.product({
        "steps": steps_of_chunks, "heartbeats": heartbeats, "bundles": bundles, "lengths": lengths,
        "first chunks": first_chunks,
    }.items(), (4, 6)):  # fmt: skip
        yield f"{name}, IPv{family}", *streams("sctp", family, talks(family))


# ---------------------------------------------------------------- FTP
def of(text, *places):
    """Return a text with each of these in the place of its {}."""
    return [text.format(place) for place in places]


PORTS4 = [
    *of("PORT 10,244,1,5,{}\r\n", "0,0", "0,1", "0,255", "255,255", "1,0", "256,7", "7,256", "255,256", "7,7,7", "7",
        "7,", "0007,1", ",7,1", "7,1 ", "7, 1", "7.1", "7/1", "7:1", "-7,1", "7;1"),
    *of("PORT {},7,1\r\n", "10,244,1,6", "10,244,1,261", "266,244,1,5", "10,500,1,5", "10,243,257,5", "10,244,1",
        "10.244.1.5", " 10,244,1,5", "(10,244,1,5", "010,244,1,5", "9,500,1,5", "10,244,0,261"),
    *of("PORT 10,244,1,5,7,1{}", "\r", "\n", "\r\n", "", " \r\n", ")\r\n", "\0\n", ".\r\n", ",\r\n", "/\r\n", ":\r\n"),
    *of("{} 10,244,1,5,7,1\r\n", "port", "PoRt", "POR", "PORTX", "XPORT", "PORT ", "0ORT", "@ORT", "{ORT", "PORU",
        "QORT", "P/RT", "POQT", "\x10ORT", "\x50OR\x14", "pORt\t", "ORT"),
    "PORT\r\n", "PORT", "POR", "P", "PORT ", "PORT 1", "PORTT", "NOOP\r\n", "PASV\r\n", "PORT10,244,1,5,7,1\r\n",
    *of("EPRT |1|{}|1793|\r\n", "10.244.1.5", "10.244.1.6", "10.244.1", "10.244.1.5.6", "10,244,1,5", "10.244.1.261",
        "266.244.1.5", "", "10.244.1.5 ", "fd01::5"),
    *of("EPRT |1|10.244.1.5|{}|\r\n", "0", "1", "65535", "65536", "65537", "67329", "", "1a", "1 ", "-1", "99999999",
        "12/", "12:"),
    *of("EPRT {}\r\n", "|2|10.244.1.5|7|", "|0|10.244.1.5|7|", "|1|10.244.1.5|7", "||10.244.1.5|7|", "|1", "|1|",
        "1|1|", "|11|10.244.1.5|7|", "|1!10.244.1.5|7|", "|1|10.244.1.5!7|", "|1|10.244.1.5|7!", "a1a10.244.1.5a7a",
        "!1!10.244.1.5!7!", "~1~10.244.1.5~7~", "\x7f1\x7f10.244.1.5\x7f7\x7f", " 1 10.244.1.5 7 ", "/1/10.244.1.5/7/",
        ":1:10.244.1.5:7:", "919.10.244.1.5979", '"1"10.244.1.5"7"', "01010.244.1.5070", ".1.10.244.1.5.7."),
    *of("EPRT{}", "", " ", " |", " |1|10.244.1.5|7|", "  |1|10.244.1.5|7|\r\n", "\r\n"),
]  # fmt: skip
PORTS6 = [
    *of("EPRT |2|{}|1793|\r\n", "fd01::5", "FD01::5", "fd01::6", "fd01:0:0:0:0:0:0:5",
        "fd01:0000:0000:0000:0000:0000:0000:0005", "fd01::0:5", "fd01:0::5", "fd01:0:0::0:0:0:5", "fd01:0:0:0::0:0:5",
        "fd01:0:0:0:0:0::5", "fd01::0:0:0:0:0:0:5", "fd01:0:0:0:0:0:0:0:5", "fd01:::5", "fd01::0::5", ":fd01::5",
        "fd01::5:", "::5", "::", "fd01::", "fd01", "fd01:5", "0fd01::5", "fd01::00005", "fd01::005", "fd01::g",
        "fd01::f", "fd01::/", "fd01::@", "fd01::`", "fd01::F", "fd01::0.0.0.5", "fd01:0:0:0:0:0:0.0.0.5",
        "fd01:0:0:0:0:0:0:0.0.0.5", "fd01:0:0:0:0:0.0.0.5", "fd01::0.0.0", "fd01::0.0.0.256", "fd01::0.0.0.255",
        "fd01::0.0.255.5", "fd01::1.2.3.4", "fd01::0.0.0.5:5", "fd01::0.0.0.5.6", "fd01::0.0.0.0005", "fd01::0:0.0.0.5",
        "fd01::256.0.0.5", "fd01::0.256.0.5", "fd01::0.0.256.5", "::fd01:0:0:0:0:0:0:5", "::0:0:0:0:0:0:5",
        "fd01:0:0:0:0:0:0:5::", "fd01:0:0:0:0:0:5::", "", ":", "10.244.1.5", "::10.244.1.5", "1.2.3.4:5", "fffff::5",
        "fd01 ::5"),
    *of("EPRT |2|fd01::5|{}|\r\n", "0", "1", "65535", "65536", "65537", "", "1a", "1 "),
    *of("EPRT {}\r\n", "|1|fd01::5|7|", "|3|fd01::5|7|", "|2|fd01::5|7", "|2", "|2|", "|2|fd01::5", "|2|fd01::5|",
        "!2!fd01::5!7!", "a2afd01::5a7a", ":2:fd01::5:7:", "|2|fd01::", "|2|fd01:", "|2|f", "|2|fd01::0.0.0.5",
        "|2|fd01::5\0007|", "|2|fd01::0.0.0.5\0007|", "|2|fd01\0:5|7|", "f2ffd01::5f7f", ".2.fd01::5.7.",
        ".2.fd01::0.0.0.5.7.", ":2:::5:7:", "52fd01::5575", "|2|fd01::5|7\0"),
    "PORT 10,244,1,5,7,1\r\n", "PORT 0,0,0,5,7,1\r\n", "NOOP\r\n",
]  # fmt: skip
ANSWERS4 = [
    *of("227 {}\r\n", "Entering Passive Mode (203,0,113,9,7,1).", "=203,0,113,9,7,1", "203,0,113,9,7,1",
        "(203,0,113,9,7,1", "x203,0,113,9,7,1x", "203,0,113,9,7", "203,0,113,9,7,1,2", "203,0,113,10,7,1",
        "203,0,113,9,0,0", "203,0,113,9,0,1", "203,0,113,9,256,1", "none", "1 203,0,113,9,7,1", "203,0,113,9,7,1/",
        "203,0,113,9,7,1:", "/203,0,113,9,7,1", ":203,0,113,9,7,1", "(203,0,113,9,255,255)"),
    "227 203,0,113,9,7,1", "227 203,0,113,9,7,1\n", "227 ", "227", "22", "227\r\n", "227-203,0,113,9,7,1\r\n",
    "228 203,0,113,9,7,1\r\n", "127 203,0,113,9,7,1\r\n", "217 203,0,113,9,7,1\r\n", "220 ok\r\n",
]  # fmt: skip
ANSWERS = [
    *of("229 Entering Extended Passive Mode ({})\r\n", "|||1793|", "!!!1793!", "|||0|", "|||1|", "|||65535|",
        "|||65536|", "||||", "|||1793", "||1793|", "||!1793|", "|!|1793|", "1111793|", "aaa1793a", "|||17x|",
        "|||1793| x", '"""7"', "~~~7~", "\x7f\x7f\x7f7\x7f", "   7 "),
    "229 (|||1793|)", "229 (|||1793|", "229 (|||1793", "229 (|||", "229 (||", "229 (", "229 ", "229",
    "229 |||1793|\r\n", "229 ()\r\n", "230 (|||1793|)\r\n", "229-(|||1793|)\r\n",
]  # fmt: skip


def other_end(family, way, n):
    """Return the address of one of many clients, or servers."""
    if family == 6:
        return f"fd0{3 if way else 1}::1:{n + 1:x}"
    return f"203.0.{114 + n // 250}.{n % 250 + 1}" if way else f"10.244.1.{n % 250 + 2}"


def announced(family, nat, way, text):
    """Return a conversation in which an end says a text, with the data connections that may be expected then."""

    def talk(port):
        # nobody else expects the same
        own = {"server" if way == 0 else "client": other_end(family, 1 - way, port - 20_000)}
        ends = Ends(family, port, 21, nat=nat, **own)
        yield from ends.open()
        # the ends of these lines are where commands may begin
        yield ends.segment(1, "PA", data=b"220 ready\r\n")
        yield ends.segment(0, "PA", data=b"USER x\r\n")
        yield ends.segment(way, "PA", data=text.encode("latin1"))
        yield ends.segment(way, "PA", data=b"NOOP\r\n")
        yield ends.segment(1 - way, "A")
        for dport in (1793, 7, 65535) if way == 0 else (1793, 1, 7, 65535):
            data = Ends(family, port - 10_000, dport, nat=nat, **own)
            if way == 0:
                data.ports = (dport, port - 10_000)
            yield data.segment(1 - way, "S")

    return talk


def lines(family, nat):
    """Where a command may begin: right behind one of the two newest ends of a line, of either end."""
    said = b"PORT 10,244,1,5,7,1\r\n" if family == 4 else b"EPRT |2|fd01::5|1793|\r\n"
    talks = []
    for order in itertools.permutations(range(3)):
        for at, near in itertools.product(range(3), (-1, 0, 1)):

            def talk(port, order=order, at=at, near=near):
                ends = Ends(family, port, 21, (2**32 - 18, 10_000), nat, server=other_end(family, 1, port - 20_000))
                yield from ends.open()
                base = ends.next[0]
                for n in order:
                    yield ends.segment(0, "PA", seq=base + 20 * n, data=b"NOOP 890123456789\n\n\n")
                yield ends.segment(0, "PA", seq=base + 20 * (at + 1) + near, data=said)

            talks.append(talk)
    for ending in (b"\n", b"\r", b"\r\n", b"x", b"\n\r", b"\x0b", b"\x09", b""):

        def ended(port, ending=ending):
            ends = Ends(family, port, 21, nat=nat, server=other_end(family, 1, port - 20_000))
            yield from ends.open()
            yield ends.segment(0, "PA", data=b"USER x" + ending)
            yield ends.segment(0, "PA", data=said)
            yield ends.segment(0, "PA", data=said[:9])
            yield ends.segment(0, "PA", data=said[9:])

        talks.append(ended)
    return talks


def lengths_changed(family, nat):
    """Numbers around the places where commands became longer, of either end, in SACK blocks as well."""
    said = b"PORT 10,244,1,5,0,7\r\n" if family == 4 else b"EPRT |2|fd01:0:0:0:0:0:0:5|7|\r\n"
    talks = []
    for place, near in itertools.product(range(3), (-4, -3, -2, -1, 0, 1, 2, 3, 4)):

        def talk(port, place=place, near=near):
            ends = Ends(family, port, 21, nat=nat, server=other_end(family, 1, port - 20_000))
            yield from ends.open(b"\4\2", b"\4\2")
            yield ends.segment(1, "PA", data=b"220 ready\r\n")
            yield ends.segment(0, "PA", data=b"USER x\r\n")
            places = [ends.next[0]]
            for _ in range(2):
                yield ends.segment(0, "PA", data=said)
                places.append(ends.next[0])
            at = places[place] + near
            yield ends.segment(0, "PA", seq=at, data=b"NOOP\r\n")
            yield ends.segment(0, "A", seq=at)
            for shift in (0, 3, 6):
                edges = struct.pack(">II", (at + shift) % 2**32, (at + shift + 1) % 2**32)
                yield ends.segment(1, "A", ack=at + shift)
                yield ends.segment(1, "A", ack=at + shift, options=b"\1\1\5\x0a" + edges)
                yield ends.segment(1, "A", ack=places[0] - 1, options=b"\5\x12" + edges + edges)
                yield ends.segment(1, "A", options=b"\5\x0b" + edges + b"\0\1\5\x0a" + edges)
                yield ends.segment(1, "A", options=b"\0\1\5\x0a" + edges)
                yield ends.segment(1, "A", options=b"\x1e\4\0\0\5\x0a" + edges + b"\1\5")

        talks.append(talk)
    return talks


def calls_of_ftp():
    """Control connections of FTP: texts, where they may stand, and numbers behind them."""
    for family, nat in itertools.product((4, 6), (True, False)):
        rules = {f"rules{family}": random_calls.rules(family, nat)}
        said = [(0, text) for text in (PORTS4 if family == 4 else PORTS6)]
        said += [(1, text) for text in [*(ANSWERS4 if family == 4 else ()), *ANSWERS]]
        texts = [announced(family, nat, way, text) for way, text in said] + lines(family, nat)
        for name, talks, liberal in (("texts", texts, 1), ("numbers", lengths_changed(family, nat), 0)):
            node = node_of(family, {"net.netfilter.nf_conntrack_tcp_be_liberal": liberal}, **rules)
            # the address that masquerading takes is the only one
            node["ip"] = [words for words in node["ip"] if "2001:db8::1" not in words and "fd02::aaaa" not in words]
            packets = [list(talk(20_000 + n)) for n, talk in enumerate(talks)]
            yield f"{name}, {'NAT' if nat else 'no NAT'}, IPv{family}", node, packets


# ---------------------------------------------------------------- PPTP
class Control(Ends):
    """A control connection of PPTP whose calls nobody else has: number n."""

    def __init__(self, n, nat, port=None):
        server = other_end(4, 1, n)
        super().__init__(4, port or 20_000 + n, 1723, nat=nat, server=server)
        # as each end calls its own
        self.calls = 1 + n, 60_000 - n
        # what the server knows of the client's call, and the client of the server's
        self.known = (self.ports[0] if nat else self.calls[0]), self.calls[1]

    def say(self, way, kind, call=0, result=1, cut=None, head=None):
        """Return a message; call: added to the call of the other end that it names, or to its only one."""
        mine, theirs = self.calls[way], (self.known[1 - way] + call) % 65536
        own = (mine + (call if kind in (12, 13) else 0)) % 65536
        words = {
            1: b"\1\0", 2: b"\1\0" + bytes([result]), 4: bytes([result]), 7: struct.pack(">HH", own, 1),
            8: struct.pack(">HHB", own, theirs, result), 9: struct.pack(">HH", own, 1),
            10: struct.pack(">HHB", own, theirs, result), 11: struct.pack(">H", theirs), 12: struct.pack(">H", own),
            13: struct.pack(">H", own), 14: struct.pack(">H", theirs), 15: struct.pack(">H", theirs),
        }.get(kind, b"")  # fmt: skip
        size = random_calls.SIZES[kind] if kind < 16 else 12
        made = struct.pack(">HHIHH", 12 + size, 1, 0x1A2B3C4D, kind, 0) + words.ljust(size, b"\0")
        return self.segment(way, "PA", data=(head or made[:12]) + made[12:][:cut])

    def tunnel(self, way, call=0):
        """Return a packet of the tunnel, to the call of the other end."""
        ends = (self.client, self.server) if way == 0 else (self.server, self.seen)
        key = (self.known[1 - way] + call) % 65536
        made = b"\x30\x01\x88\x0b" + struct.pack(">HHI", 3, key, 1) + b"ppp"
        return ("cni0", "eth0")[way], ip4(*ends, 47, made)


PLANS = [(0, 1), (1, 2), (0, 7), (1, 8)], [(0, 1), (1, 2), (1, 9), (0, 10), (1, 11)]


def messages(nat):
    """Every message from either end in every step of a call, right and off by one, then the rest of the call."""
    talks, n = [], 0
    for plan, which in ((plan, k) for k, plan in enumerate(PLANS)):
        for done in range(which * 2, len(plan) + 1):
            for way, kind in itertools.product((0, 1), range(17)):
                named = (0, 1) if kind in (8, 10, 11, 12, 13) else (0,)
                for call, result in itertools.product(named, (1, 2) if kind in (2, 4, 8, 10) else (1,)):

                    def talk(n, plan=plan, done=done, way=way, kind=kind, call=call, result=result):
                        ends = Control(n, nat)
                        yield from ends.open()
                        for step in plan[:done]:
                            yield ends.say(*step)
                        yield ends.say(way, kind, call, result)
                        for step in plan[max(done, 2) :]:
                            yield ends.say(*step)
                        yield ends.tunnel(n % 2)
                        yield ends.tunnel(1 - n % 2)

                    talks.append(talk)
                    n += 1
    return talks


def broken_messages(nat):
    """Headers that are off in one field, and messages cut in front of their last byte, each in a call that goes on."""
    talks = []
    right = struct.pack(">HHIHH", 168, 1, 0x1A2B3C4D, 7, 0)
    heads = [right[:at] + bytes([right[at] ^ 1]) + right[at + 1 :] for at in range(12)]
    for head in [*heads, right[:11], right[:2]]:

        def off(n, head=head):
            ends = Control(n, nat)
            yield from ends.open()
            for step in PLANS[0][:2]:
                yield ends.say(*step)
            yield ends.say(0, 7, head=head)
            yield ends.say(1, 8)
            yield ends.tunnel(0)
            yield ends.tunnel(1)

        talks.append(off)
    for plan, at, less in itertools.product(PLANS, range(5), (1, 2)):
        if at == len(plan):
            continue

        def cut(n, plan=plan, at=at, less=less):
            ends = Control(n, nat)
            yield from ends.open()
            for k, (way, kind) in enumerate(plan):
                yield ends.say(way, kind, cut=random_calls.SIZES[kind] - less if k == at else None)
            for kind, way in ((13, 1), (14, 1), (15, 1), (15, 0), (12, 0), (4, 1), (3, 0), (3, 1)):
                yield ends.say(way, kind, cut=random_calls.SIZES[kind] - less)
            yield ends.tunnel(0)
            yield ends.tunnel(1)
            yield ends.say(1, 13)
            yield ends.tunnel(1)

        talks.append(cut)
    return talks


def tunnels(nat):
    """The packets of a tunnel: keys beside those announced, from either end; a second call; what a STOP leaves."""
    talks = []
    for first, call, more in itertools.product((0, 1), (-1, 0, 1), ("", "again", "second", "stop", "clear", "hang up")):

        def talk(n, first=first, call=call, more=more):
            ends = Control(n, nat)
            yield from ends.open()
            for step in PLANS[0]:
                yield ends.say(*step)
            if more == "again":
                yield ends.say(1, 8)
            if more == "second":
                ends.calls = ends.calls[0] + 2000, ends.calls[1] - 2000
                ends.known = (ends.known[0] if nat else ends.calls[0]), ends.calls[1]
                yield ends.say(0, 7)
                yield ends.say(1, 8)
            yield ends.tunnel(first, call)
            yield ends.tunnel(1 - first)
            yield ends.tunnel(first)
            for way, kind in {"stop": [(0, 3), (1, 4), (0, 1)], "clear": [(0, 12)], "hang up": [(0, 12), (1, 13)]}.get(
                more, ()
            ):
                yield ends.say(way, kind)
            yield ends.tunnel(1 - first)
            yield ends.tunnel(first)

        talks.append(talk)
    return talks


def calls_of_pptp():
    """Control connections of PPTP, which the kernel's rules can watch over IPv4 alone."""
    for nat in (True, False):
        for name, make in (("messages", messages), ("broken messages", broken_messages), ("tunnels", tunnels)):
            node = node_of(4, {"net.netfilter.nf_conntrack_tcp_be_liberal": 1}, rules4=random_calls.rules(4, nat))
            packets = [list(talk(n)) for n, talk in enumerate(make(nat))]
            yield f"{name}, {'NAT' if nat else 'no NAT'}", node, packets


KINDS = {"segments": segments, "chunks": chunks, "ftp": calls_of_ftp, "pptp": calls_of_pptp}


def recorded(name, node, talks):
    """Return the recording of conversations but those in which a port is drawn; or raise gateway.Difference."""
    while True:
        packets = [packet for talk in talks for packet in talk]
        with tempfile.TemporaryDirectory() as folder:
            number = gateway.compare(node, gateway.Given(packets), Path(folder))
        if number == len(packets):
            return gateway.recorded(node, packets, name)
        ends = list(itertools.accumulate(map(len, talks)))
        # the one whose packet comes next
        talks.pop(next(n for n, end in enumerate(ends) if end > number))


def main():
    """Record kinds."""
    FOLDER.mkdir(exist_ok=True)
    failed = 0
    for kind in sys.argv[1:] or KINDS:
        found = []
        for name, node, talks in KINDS[kind]():
            try:
                found.append(recorded(name, node, talks))
            except gateway.Difference as difference:
                failed += 1
                print(f"{kind}, {name}: {difference}")
            print(name, len(found and found[-1]["packets"]), flush=True)
        text = json.dumps(found, separators=(",", ":"))
        (FOLDER / f"{kind}.json.xz").write_bytes(lzma.compress(text.encode()))
        print(f"{kind}: {len(found)} recordings, {sum(len(said['packets']) for said in found)} packets")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
