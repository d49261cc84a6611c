"""Texts of FTP and messages of PPTP at the bounds of what their helpers read, for bounds.py."""

import itertools
import struct

from kernel import random_calls
from kernel.bound_rules import datagram
from kernel.bound_streams import ENDS, Ends
from kernel.handmade import ip4, udp
from kernel.walks import node_of, one_source


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
            one_source(node)
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


# ---------------------------------------------------------------- TFTP
def transfers(family, nat):
    """Requests of every opcode and length, from either end, once or twice, and who answers from which port."""
    talks = []
    whole = b"\0\1boot\0octet\0"
    said = [whole[:size] for size in range(4)] + [
        whole,
        *(struct.pack(">H", op) + b"x\0y\0" for op in range(8)),
        b"\1\1x\0",
        b"\2\0x\0",
    ]
    for text, times, way in itertools.product(said, (1, 2), (0, 1)):

        def talk(n, text=text, times=times, way=way):
            client, server = ENDS[family][0], other_end(family, 1, n)
            seen = ENDS[family][2] if nat else client
            there, back = (client, server, 20_000 + n, 69), (server, seen, 69, 20_000 + n)
            if way:
                yield "cni0", datagram(family, 17, udp(*there, b"\0\4\0\0"), ends=there[:2])
            for _ in range(times):
                ends = back if way else there
                yield ("eth0" if way else "cni0"), datagram(family, 17, udp(*ends, text), ends=ends[:2])
            for other, sport in (
                (server, 69),
                (other_end(family, 1, n + 1), 1024),
                (server, 1024),
                (server, 1025),
                (server, 1024),
            ):
                ends = other, seen, sport, 20_000 + n
                yield "eth0", datagram(family, 17, udp(*ends, b"\0\3\0\1"), ends=ends[:2])
            ends = client, server, 20_000 + n, 1024
            yield "cni0", datagram(family, 17, udp(*ends, b"\0\4\0\1"), ends=ends[:2])

        talks.append(talk)
    return talks


def calls_of_tftp():
    """Requests of TFTP and the transfers that they announce."""
    for family, nat in itertools.product((4, 6), (True, False)):
        node = node_of(family, **{f"rules{family}": random_calls.rules(family, nat)})
        one_source(node)
        packets = [list(talk(n)) for n, talk in enumerate(transfers(family, nat))]
        yield f"{'NAT' if nat else 'no NAT'}, IPv{family}", node, packets
