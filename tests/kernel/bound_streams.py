"""Segments of TCP and chunks of SCTP at the bounds of what conntrack compares, for bounds.py."""

import itertools
import struct

from kernel import random_streams
from kernel.handmade import chunk, ip4, ip6, sctp, tcp
from kernel.walks import node_of

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
