"""Connections of TCP that begin anew in whatever state, options of IPv4 whose pointers lie where they may or beside it, checksums
of UDP and options of TCP that rules take away, parts of datagrams that rules write into, errors of ICMP with wrong sums, what
has been announced, what the node sends by lo and to all, IPv6 that ends in a routing header, `ct protocol` and errors,
connections that end while they are counted.

For bounds.py; each yields names, nodes and conversations, drawn at random.
"""

# ruff: noqa: E501  one line is one kind of packet
import itertools
import random
import struct

from kernel.bound_calls import other_end
from kernel.bound_forms import nft_takes, pieces, transports
from kernel.bound_rest import LATE, children
from kernel.bound_rules import datagram, tcp_of, udp_of
from kernel.bound_streams import ENDS, STATES, Ends, streams, way_to
from kernel.handmade import chunk, frags4, frags6, icmp, ip4, ip6, sctp, tcp, udp
from kernel.walks import node_of


# ---------------------------------------------------------------- TCP: a SYN in the middle, and who believes it
def offered(rng):
    """Return options of a SYN: scaling and SACK, each or neither."""
    return rng.choice((b"", bytes([3, 3, rng.choice((0, 1, 3, 7)), 1]))) + rng.choice((b"", b"\4\2\1\1"))


def again(family, rng):
    """Return a conversation: a state, SYNs of either end, answers that know the old or the new numbers, and then data."""
    state, tries = rng.choice(STATES), rng.choice((1, 1, 2))
    drawn = [
        (
            rng.random(),
            rng.choice((0, 0, 0, 1)),
            rng.choice((7, 50_000, 2**31 - 9, 2**31 + 9, -1, -70_000)),
            offered(rng),
        )
        for _ in range(tries)
    ]
    answers = [rng.choice(("SA", "SA", "SA", "old SA", "A", "old A", "R", "RA", "")) for _ in range(tries)]
    more, near = offered(rng), [rng.choice((-1, 0, 1)) for _ in range(6)]
    closes = rng.choice((None, 0, 1))

    def talk(port):
        ends = Ends(family, port)
        yield from way_to(ends, state)
        for (_, way, far, options), said in zip(drawn, answers, strict=True):
            old, seq = list(ends.next), (ends.next[way] + far) % 2**32
            yield ends.segment(way, "S", seq=seq, options=options)
            other, believed = 1 - way, "old" not in said and "SA" in said
            if said == "":
                continue
            if believed:
                # the other end has no connection, and takes the SYN for a new one
                ends.next[way], ends.next[other] = seq + 1, (ends.next[other] + 90_000) % 2**32
                yield ends.segment(other, "SA", options=more)
                yield ends.segment(way, "A")
            elif "A" in said:
                ack = old[way] if "old" in said or said == "A" else seq + 1
                yield ends.segment(other, said.split()[-1], seq=old[other], ack=ack)
                # who asked resets what the answer belongs to (a challenge ACK, RFC 5961)
                yield ends.segment(way, "R", seq=ack)
            else:
                yield ends.segment(other, said, seq=old[other], ack=seq + 1)
        for way in (0, 1):
            yield ends.segment(way, "A")
        # how far either end may send says whose window was scaled, and by how much
        for (way, shift), beside in zip(((1, 0), (0, 0), (1, 1), (0, 1), (1, 3), (0, 3)), near, strict=True):
            takes = (5000, 3000)[1 - way] << shift
            yield ends.segment(way, "A", seq=(ends.next[way] + takes + beside) % 2**32)
        if closes is not None:
            yield ends.segment(closes, "FA")
            yield ends.segment(1 - closes, "A")
            yield ends.segment(1 - closes, "FA")
            yield ends.segment(0, "S", seq=(ends.next[0] + 9) % 2**32, options=more)
            yield ends.segment(1, "A", seq=ends.next[1])
            yield ends.segment(0, "R", seq=ends.next[0])

    return talk


def restarts():
    """SYNs in every state, of either end, older and newer; what their options say counts only once they are answered."""
    for family in (4, 6):
        for seed, sysctls in ((1, {}), (2, {"tcp_be_liberal": 1}), (3, {"tcp_loose": 0, "tcp_ignore_invalid_rst": 1})):
            rng = random.Random(f"restarts {family} {seed}")
            talks = [again(family, rng) for _ in range(150 if seed == 1 else 40)]
            yield f"{seed}, IPv{family}", *streams("tcp", family, talks, **sysctls)


def offer(rng):
    """Return options of a SYN: none at all, which takes back nothing; others; a scale, permission of SACK, or both."""
    scale = bytes([3, 3, rng.choice((0, 1, 3, 7)), 1])
    return rng.choice((b"", b"", b"\1\1\1\1", scale, b"\4\2\1\1", scale + b"\4\2\1\1", b"\4\2\1\1" + scale))


def offering(family, rng):
    """Return a conversation: SYNs of either end before an answer, each with options or without, and then how far either may send."""
    syns = [
        (rng.choice((0, 0, 0, 1)), rng.choice((-1, 0, 0, 1, 9, 70_000)), offer(rng))
        for _ in range(rng.choice((1, 2, 2, 3)))
    ]
    first, answer, both = offer(rng), offer(rng), rng.random() < 0.2
    near = [rng.choice((-1, 0, 1)) for _ in range(8)]

    def talk(port):
        ends = Ends(family, port)
        yield ends.segment(0, "S", options=first)
        for way, far, options in syns:
            seq = (ends.next[way] + far) % 2**32
            ends.next[way] = (seq + 1) % 2**32
            yield ends.segment(way, "S", seq=seq, options=options)
        if both:
            yield ends.segment(0, "SA", options=first)
        yield ends.segment(1, "SA", options=answer)
        yield ends.segment(0, "A")
        for end, shift in ((0, 0), (0, 1), (0, 3), (0, 7), (1, 0), (1, 1), (1, 3), (1, 7)):
            beside = near[end * 4 + (0, 1, 3, 7).index(shift)]
            yield ends.segment(end, "A", window=100)
            yield ends.segment(1 - end, "A", seq=(ends.next[1 - end] + (100 << shift) + beside) % 2**32)
        for way in (0, 1):
            # what a block acknowledges counts where SACK is permitted
            yield ends.segment(1 - way, "PA", data=b"x" * 300)
            low = ends.next[1 - way] - 200
            edges = b"\1\1\5\x0a" + struct.pack(">II", low % 2**32, (low + 150 + near[way]) % 2**32)
            yield ends.segment(way, "A", ack=(low - 50) % 2**32, options=edges, window=100)
            for more in (99, 100, 101, 249, 250, 251):
                yield ends.segment(1 - way, "A", seq=(low + more) % 2**32)

    return talk


def offers():
    """What a SYN offers, and whether one without options takes it back (tcp_options)."""
    for family in (4, 6):
        for seed, sysctls in ((1, {}), (2, {}), (3, {"tcp_be_liberal": 1})):
            rng = random.Random(f"offers {family} {seed}")
            talks = [offering(family, rng) for _ in range(120 if seed < 3 else 30)]
            yield f"{seed}, IPv{family}", *streams("tcp", family, talks, **sysctls)


# ---------------------------------------------------------------- options of IPv4 with a pointer
# what is asked of each: that it is there, and a field
ASKED = [
    *(f"ip option {name} {said}" for name in ("rr", "lsrr", "ssrr") for said in ("exists", "missing", "length 7", "ptr 4", "ptr > 4")),
    *(f"ip option ra {said}" for said in ("exists", "missing", "length 4", "length > 4", "value 0")),
]  # fmt: skip


def pointed():
    """Record route, source routes, time stamps and router alerts of every length and pointer, alone and with another one."""
    rng = random.Random("pointed")
    made = []
    for kind, least in ((7, 4), (131, 4), (137, 4), (68, 5)):
        for size in (2, 3, 4, 5, 6, 7, 8, 11, 12, 15):
            pointers = {
                0,
                least - 1,
                least,
                least + 1,
                size - 7,
                size - 6,
                size - 4,
                size - 3,
                size - 2,
                size,
                size + 1,
                255,
            }
            for pointer in sorted(p for p in pointers if 0 <= p < 256):
                # of a time stamp how many hops had no room, and what it holds: times, addresses too, those that are given
                flags = rng.choice((0x00, 0x01, 0x03, 0xE0, 0xF0, 0xF1, 0xE3)) if kind == 68 else 1
                made.append((bytes([kind, size, pointer, flags]) + bytes(11))[:size])
    alert = [bytes([148, size, 0, value]) + bytes(size - 4) for size in (4, 5, 8) for value in (0, 1)]
    alert += [bytes([148, size, 0][:size]) for size in (2, 3)]
    whole = [b"\7\7\4" + bytes(4), b"\x94\4\0\0", b"\x83\7\4" + bytes(4), b"\x44\x08\5\0" + bytes(4), b"\x94\5\0\0\0"]
    packets = []
    for one in [*made, *alert * 4]:
        both = rng.choice(((one,), (one, rng.choice(whole)), (rng.choice(whole), one)))
        said = b"\1" * rng.choice((0, 0, 1)) + b"".join(both)
        packets.append(("cni0", udp_of(4, 1000 + len(packets), 53, b"q", options=said + bytes(-len(said) % 4))))
    # in front of what the kernel itself thinks of them; see options() of bound_rules
    asked = "\n".join([*(f"{line} counter" for line in ASKED), "drop"])
    chain = LATE.format(name="asked", hook="prerouting", priority=-400, rules=asked)
    yield "asked", node_of(4, nft=f"table ip t {{\n{chain}}}\n"), [[one] for one in packets]
    yield (
        "forwarded",
        node_of(4, rules4="*filter\n-A FORWARD -p udp\nCOMMIT\n"),
        [[one] for one in packets if b"\x44" not in one[1][20:]],
    )


# ---------------------------------------------------------------- checksums of UDP that rules take away
def zeroed():
    """`udp checksum set 0` in front of other rules that write, and headers that are cut behind each byte."""
    for number, (family, more) in enumerate(
        itertools.product((4, 6), ("", "udp dport set 99", "{ip} daddr set {other}"))
    ):
        own, other = {4: ("ip", "203.0.113.77"), 6: ("ip6", "fd03::77")}[family]
        rules = "\n".join(
            f"{rule} counter" for rule in ("udp checksum set 0", more.format(ip=own, other=other)) if rule
        )
        hook, priority = (("forward", 0), ("prerouting", -350), ("postrouting", 50))[number % 3]
        chain = LATE.format(name="w", hook=hook, priority=priority, rules=rules)
        track = LATE.format(name="t", hook="forward", priority=9, rules="ct state invalid counter")
        talk = []
        for proto, l4 in transports(family, number):
            sizes = sorted({*range(min(len(l4), 12)), len(l4)})
            talk += [("cni0", datagram(family, proto, l4[:size], ends=ENDS[family][:2])) for size in sizes]
        yield (
            f"{number}, IPv{family}",
            node_of(family, nft=f"table {own} w {{\n{chain}{track}}}\n"),
            [[one] for one in talk],
        )


# ---------------------------------------------------------------- parts of datagrams that rules write into
STORES = {
    "ports": ("udp dport set 99", "tcp sport set 77", "sctp dport set 99", "dccp sport set 77", "udplite dport set 99"),
    "th": ("th sport set 77", "icmp id set 9", "icmpv6 id set 9", "tcp window set 9"),
    "source": ("{ip} saddr set {own}",), "destination": ("{ip} daddr set {other}",), "none": ("udp checksum set 0",),
    "options": ("tcp option maxseg size set 500", "reset tcp option sack-perm"), "both": ("@th,0,16 set 5", "@th,48,16 set 6"),
}  # fmt: skip


def stored_parts():
    """Nobody puts the parts of a datagram together: only the first one has a header, and only that is written."""
    for (name, rules), family in itertools.product(STORES.items(), (4, 6)):
        own, other = ("198.51.100.77", "203.0.113.77") if family == 4 else ("fd02::77", "fd03::77")
        words = {"ip": "ip" if family == 4 else "ip6", "own": own, "other": other}
        some = [rule for rule in (said.format(**words) for said in rules) if nft_takes(words["ip"], rule)]
        if not some:
            continue
        chain = LATE.format(
            name="w", hook="prerouting", priority=-350, rules="\n".join(f"{rule} counter" for rule in some)
        )
        talk = []
        for proto, l4 in transports(family, 1):
            whole = datagram(family, proto, l4 + bytes(range(64)), ends=ENDS[family][:2])
            talk += frags4(whole, [16, 32]) if family == 4 else frags6(whole, [16, 32], 7)
            # as it is; of TCP without options, with some, and with a header that is longer than what there is
            talk.append(whole)
        for options in (b"\2\4\5\xb4", b"\4\2\1\1", b"\1\1\4\2\2\4\0\1"):
            made = tcp_of(family, 1000, 53, "S", opts=options, ends=ENDS[family][:2])
            talk += [made, made[: len(made) - 1]]
        yield (
            f"{name}, IPv{family}",
            node_of(family, nft=f"table {words['ip']} w {{\n{chain}}}\n"),
            [[("cni0", one)] for one in talk],
        )


# ---------------------------------------------------------------- routing headers that are not all there
BEHIND_ROUTING = (6, 17, 58, 50, 47, 132, 136, 59, 200)
WHO_ASKS = ("", "-p tcp", "! -p tcp", "-p udp -m udp --dport 53", "-p ipv6-icmp", "! -p ipv6-icmp -m conntrack --ctstate INVALID",
            "-m conntrack --ctstate INVALID", "-m conntrack --ctstate NEW", "-p esp", "! -p esp -s fd00::/8")  # fmt: skip


def cut_routing():
    """IPv6 datagrams that end within a routing header: conntrack reads two of its bytes, rules all four of its fields."""
    src, dst = ENDS[6][:2]
    for number in range(6):
        rng = random.Random(f"cut routing {number}")
        tables = {"raw": "PREROUTING", "mangle": "PREROUTING", "filter": "FORWARD"}
        rules = "".join(
            f"*{table}\n"
            + "".join(f"-A {chain} {said}\n" for said in rng.sample(WHO_ASKS, rng.randrange(3)))
            + "COMMIT\n"
            for table, chain in tables.items()
        )
        asked = "meta l4proto tcp counter\nmeta l4proto ipv6-icmp counter\nct state invalid counter\ncounter"
        nft = f"table ip6 cut {{\n{LATE.format(name='c', hook='forward', priority=10, rules=asked)}}}\n"
        talk = []
        for proto, have, front in itertools.product(BEHIND_ROUTING, (1, 2, 3, 4, 5, 8), (0, 1)):
            routing = bytes([proto, rng.choice((0, 0, 2, 30)), rng.choice((2, 3)), 0, 0, 0, 0, 0])
            chain = bytes([43, 0, 1, 4, 0, 0, 0, 0]) * front + routing[:have]
            made = bytearray(datagram(6, 60 if front else 43, chain, ends=(src, dst)))
            talk.append([("cni0", bytes(made))])
        # in front of rules of iptables, or without any
        yield f"{number}", node_of(6, **({"rules6": rules} if number else {}), nft=nft), talk


# ---------------------------------------------------------------- whose socket a copy has
ASKS_OWNER = (
    "--socket-exists",
    "! --socket-exists",
    "--uid-owner 0",
    "! --uid-owner 0",
    "--gid-owner 3-9",
    "! --gid-owner 3-9 --socket-exists",
)
SENT_TO = {
    4: ("255.255.255.255", "198.51.100.255", "224.0.0.1", "224.0.1.7", "239.1.1.1", "203.0.113.9"),
    6: ("ff02::1", "ff02::9", "ff01::1", "ff05::1", "ff0e::1", "fd03::9"),
}


def socket_owners():
    """What the node sends to all, to groups and to one: copies of the first two pass POSTROUTING, without a socket."""
    for family, seed in itertools.product((4, 6), range(4)):
        rng = random.Random(f"socket owners {family} {seed}")
        node = node_of(family) | {"devices": {"eth0": 1500}}
        node["ip"] = [words for words in node["ip"] if "cni0" not in words]
        own = [w.removeprefix("-6 ").split()[2].split("/")[0] for w in node["ip"] if "addr add" in w]

        def chain(name, rng=rng):
            asked = [rng.choice(ASKS_OWNER) for _ in range(rng.randrange(4))]
            return "".join(f"-A {name} -m owner {said}{rng.choice(('', '', ' -j ACCEPT'))}\n" for said in asked)

        tables = [
            ("raw", ("OUTPUT",)),
            ("mangle", ("OUTPUT", "POSTROUTING")),
            ("filter", ("OUTPUT",)),
            ("nat", ("POSTROUTING",)),
        ]
        node[f"rules{family}"] = "".join(f"*{table}\n{''.join(map(chain, names))}COMMIT\n" for table, names in tables)
        rules = "meta skuid 0 counter\nmeta skgid != 5 counter\nmeta skuid 7 counter\ncounter"
        hooks = (("p", "postrouting"), ("o", "output"))
        late = "".join(LATE.format(name=name, hook=hook, priority=310, rules=rules) for name, hook in hooks)
        node["nft"] = f"table {'ip' if family == 4 else 'ip6'} t {{\n{late}}}\n"
        talk = []
        for n in range(60):
            # some of them again: what was remembered of the first must hold for these
            src, dst, sport = rng.choice(own), rng.choice(SENT_TO[family]), rng.choice((1000, 1000 + n))
            l4 = udp(src, dst, sport, 53, b"q")
            talk.append(("local", ip4(src, dst, 17, l4) if family == 4 else ip6(src, dst, 17, l4)))
        yield f"{seed}, IPv{family}", node, [[one] for one in talk]


# ---------------------------------------------------------------- the protocol of a connection, and fields of its header
OF_PROTOCOL = {
    "tcp": ("tcp dport 53", "tcp sport > 1100", "tcp flags syn", "tcp sequence > 5000", "tcp sport set 77", "tcp dport set tcp sport",
            "tcp option maxseg exists", "th dport 53", "@th,16,16 53", "tcp option maxseg size set 900"),
    "udp": ("udp dport 53", "udp sport != 1000-1100", "udp length > 11", "udp checksum 0", "udp sport set udp dport", "udp dport set 99",
            "udp checksum set 0", "th sport 1000-2000"),
    "sctp": ("sctp dport 53", "sctp vtag 7", "sctp sport set 77", "sctp chunk data exists"),
    "icmp": ("icmp type echo-request", "icmp code 3", "icmp type destination-unreachable icmp code 1"),
    "ipv6-icmp": ("icmpv6 type echo-request", "icmpv6 code 4"),
    "esp": ("esp spi 4",),
    "47": ("@th,0,16 0",),
}  # fmt: skip
# with what a table of both families knows which IP a packet is of, and with what it does not
BEFORE = (
    "",
    "",
    "ct l3proto {ip} ",
    "meta nfproto {ip} ",
    "{own} saddr != {other} ",
    "meta l4proto != 99 ",
    "ct direction original ",
)


def talk_of(family, rng, n):
    """Return some packets of one connection: what opens it, answers, and errors about it of either end."""
    ends = ENDS[family][:2]
    sport, dport = 1000 + n, rng.choice((53, 80))
    proto = rng.choice((6, 17, 132, "icmp"))

    def made(src, dst, sp, dp, back):
        data = bytes(rng.randrange(6))
        if proto == 6:
            l4 = tcp(
                src,
                dst,
                sp,
                dp,
                "SA" if back else "S",
                seq=rng.choice((1, 9000)),
                ack=2 if back else 0,
                opts=b"\2\4\5\xb4",
            )
        elif proto == 17:
            l4 = udp(src, dst, sp, dp, data, zero=rng.random() < 0.2 and family == 4)
        elif proto == 132:
            l4 = sctp(sp, dp, 0 if not back else 7, chunk(2 if back else 1, body=bytes(16)))
        else:
            kind = ((8, 0), (128, 129))[family == 6][back]
            l4 = icmp(kind, 0, struct.pack(">HH", n, 1), data, v6=(src, dst) if family == 6 else None)
        return datagram(family, proto, l4, ends=(src, dst))

    asked, answer = made(*ends, sport, dport, 0), made(*ends[::-1], dport, sport, 1)

    def error(src, dst, about):
        kind = rng.choice(((3, 1), (3, 3), (11, 0)) if family == 4 else ((1, 0), (1, 4), (3, 0)))
        rest = rng.choice((bytes(4), b"\1\2\3\4"))
        return datagram(
            family, "icmp", icmp(*kind, rest, about, v6=(src, dst) if family == 6 else None), ends=(src, dst)
        )

    near, far = ("cni0", asked), ("eth0", answer)
    wrong = [("eth0", error(ends[1], ends[0], asked)), ("cni0", error(*ends, answer))]
    return [near, *rng.sample([far, *wrong, near], rng.randrange(1, 5))]


def by_protocol():
    """nft takes `ct protocol` for the packet's protocol: of an ICMP error its own bytes are read and written as if it were UDP."""
    for family, table, seed in itertools.product((4, 6), ("own", "inet"), range(3)):
        rng = random.Random(f"by protocol {family} {table} {seed}")
        words = {"own": "ip" if family == 4 else "ip6", "ip": f"ipv{family}", "other": ENDS[family][2]}
        name = words["own"] if table == "own" else table
        chains = ""
        for hook, priority in (("prerouting", -150), ("forward", 0), ("postrouting", 10)):
            said = []
            while len(said) < 7:
                proto = rng.choice(list(OF_PROTOCOL))
                rule = rng.choice(BEFORE).format(**words) + f"ct protocol {proto} " + rng.choice(OF_PROTOCOL[proto])
                if nft_takes(name, rule):
                    said.append(f"{rule} counter")
            chains += LATE.format(name=hook, hook=hook, priority=priority, rules="\n".join(said))
        nft = f"table {name} t {{\n{chains}}}\n"
        yield f"{name} {seed}, IPv{family}", node_of(family, nft=nft), [talk_of(family, rng, n) for n in range(40)]


# ---------------------------------------------------------------- ICMP errors of either end, and of the node itself
def errors_of(family, rng, nat):
    """Return a conversation: a flow through the node, and errors about it from anybody, whose sums are right or not."""
    client, server, own = ENDS[family]
    kinds = ((3, 0), (3, 3), (3, 4), (11, 0), (12, 0)) if family == 4 else ((1, 4), (2, 0), (3, 0), (4, 1))
    asked = own if nat == "dnat" else server
    seen = own if nat == "snat" else client
    drawn = [(rng.random(), rng.choice(kinds), rng.randrange(6), rng.choice((0, 0, 1, 0x100))) for _ in range(5)]

    def talk(port):
        def of(src, dst, ports, text=b"q"):
            return datagram(family, 17, udp(src, dst, *ports, text), ends=(src, dst))

        # from the client's side in dnat: a stranger asks the node, which has the client answer
        there, back = (client, asked if nat != "dnat" else server), (port, 53)
        if nat == "dnat":
            there = server, own
        yield ("eth0" if nat == "dnat" else "cni0"), of(*there, back)
        answer = (client, server) if nat == "dnat" else (server, seen)
        if drawn[0][0] < 0.8:
            yield ("cni0" if nat == "dnat" else "eth0"), of(*answer, back[::-1], b"a")
        # what either end has received, as it knows it
        received = (server, client) if nat == "dnat" else (seen, server)
        for _, (kind, code), who, wrong in drawn:
            device, sender, quoted, ports = {
                0: ("local", own, received, back),
                1: ("local", own, (there[1], there[0]), back[::-1]),
                2: ("eth0", ENDS[family][1], received, back),
                3: ("cni0", ENDS[family][0], received, back),
                4: ("local", own, answer, back[::-1]),
                5: ("local", own, there, back),
            }[who]
            said = quoted[0]
            made = icmp(kind, code, b"\0\0\0\0", of(*quoted, ports), v6=None if family == 4 else (sender, said))
            if wrong:
                made = made[:2] + ((int.from_bytes(made[2:4], "big") ^ wrong) & 0xFFFF).to_bytes(2, "big") + made[4:]
            yield device, datagram(family, "icmp", made, ends=(sender, said))

    return talk


def errors():
    """Errors with wrong sums: which of them conntrack attaches, which NAT drops, and which are left as they are."""
    for family, nat in itertools.product((4, 6), ("snat", "dnat", "none")):
        rng = random.Random(f"errors {family} {nat}")
        own, client = ENDS[family][2], ENDS[family][0]
        proto = "icmp" if family == 4 else "ipv6-icmp"
        rules = {
            "snat": f"-A POSTROUTING -o eth0 -p udp -j SNAT --to-source {own}\n",
            "dnat": f"-A PREROUTING -i eth0 -p udp -j DNAT --to-destination {client}\n",
            "none": "-A POSTROUTING -p udp -m udp --dport 9\n",
        }[nat]
        counting = "".join(
            f"-A {chain} -p {proto} -m conntrack --ctstate {state}\n"
            for chain in ("INPUT", "FORWARD", "OUTPUT")
            for state in ("RELATED", "INVALID")
        )
        for checked in (1, 0):
            node = node_of(
                family,
                {"net.netfilter.nf_conntrack_checksum": checked},
                **{f"rules{family}": f"*nat\n{rules}COMMIT\n*filter\n{counting}COMMIT\n"},
            )
            talks = [list(errors_of(family, rng, nat)(2000 + n)) for n in range(70)]
            yield f"{nat}, {'checked' if checked else 'not checked'}, IPv{family}", node, talks


# ---------------------------------------------------------------- who has announced a connection
def named():
    """`ct helper` of what FTP and TFTP announce, of masters and of strangers, in every hook, alone and among other things."""
    hooks = (("prerouting", -150), ("input", 0), ("forward", 0), ("postrouting", -150), ("prerouting", -290))
    for number, (name, node, talks) in enumerate(children()):
        rng = random.Random(f"named {number}")
        rules = []
        for place, (hook, priority) in enumerate(hooks):
            lines = []
            for _ in range(7):
                helper = rng.choice(("ftp", "ftp", "tftp", "pptp", "ftp-x", "f"))
                asks = f'ct helper {rng.choice(("", "", "!= "))}"{helper}"'
                also = rng.choice(
                    (
                        "",
                        "",
                        "ct state related",
                        "ct state established",
                        "ct direction reply",
                        "ct mark 0",
                        "udp dport 69",
                    )
                )
                lines.append(" ".join(filter(None, rng.choice(((asks, also), (also, asks))))) + " counter")
            rules.append(
                f"chain c{place} {{\ntype filter hook {hook} priority {priority};\n" + "\n".join(lines) + "\n}\n"
            )
        family = 6 if "IPv6" in name else 4
        kind = rng.choice(("inet", "ip" if family == 4 else "ip6"))
        yield name, node | {"nft": f"table {kind} named {{\n{''.join(rules)}}}\n"}, talks


# ---------------------------------------------------------------- what the node sends, and what comes back by lo
def by_lo():
    """The node's own packets over IPv6, to itself, to groups and to others, which rules in OUTPUT send elsewhere or back by lo."""
    nets = ["fd01::1/64", "fd01::7/64", "fd02::1/64", "fd02::77/128", "fd09::1/126", "fd0a::1/112"]
    for number in range(10):
        rng = random.Random(f"by lo {number}")
        rng.shuffle(nets)
        places = [(net, rng.choice(("cni0", "eth0", "lo"))) for net in nets]
        own = [net.split("/")[0] for net in nets]
        others = ["fd03::9", "fd45::7", "fd46::8", "fd0b::1", "fd01::99", "fd02::99", "::1", "fd0a::99"]
        to = rng.sample([*own, *others, "::1"], 4)
        nat = "".join(
            f"-A {chain} -d {rng.choice(own + others)}/{rng.choice((128, 128, 112))} -p udp -j DNAT --to-destination {end}\n"
            for chain, end in zip(("OUTPUT", "OUTPUT", "PREROUTING", "OUTPUT"), to, strict=True)
        )
        nat += f"-A POSTROUTING -o {rng.choice(('lo', 'eth0'))} -p udp -m udp --dport 54 -j SNAT --to-source {rng.choice(own)}\n"
        nat += f"-A INPUT -p udp -m udp --dport 55 -j SNAT --to-source {rng.choice(own)}\n"
        counted = "".join(f"-A {chain} {way} {name}\n" for chain, ways in (("INPUT", "i"), ("FORWARD", "io"), ("OUTPUT", "o"))
                          for way in (f"-{w}" for w in ways) for name in ("lo", "cni0", "eth0"))  # fmt: skip
        mangle = f"-A OUTPUT -p udp -m udp --dport 56 -j MARK --set-mark {rng.choice((1, 7))}\n-A POSTROUTING -o lo -m mark --mark 1\n"
        rules = (
            f"*raw\n-A PREROUTING -i lo\nCOMMIT\n*mangle\n{mangle}COMMIT\n*nat\n{nat}COMMIT\n*filter\n{counted}COMMIT\n"
        )
        node = node_of(6, rules6=rules)
        node["ip"] = [f"-6 addr add {net} dev {device}" for net, device in places]
        ways = (
            "local {} dev lo",
            "local {} dev eth0",
            "blackhole {}",
            "unreachable {}",
            "{} dev lo",
            "{} dev eth0",
            "anycast {} dev lo",
        )
        node["ip"] += [f"-6 route add {rng.choice(ways).format(net)}" for net in ("fd45::/64", "fd46::8", "fd0b::/64")]
        node["ip"].append("-6 route add default dev eth0")
        if number % 2:
            node["ip"] += ["-6 rule add pref 50 fwmark 1 lookup 7", "-6 rule add pref 51 fwmark 7 lookup 8",
                           "-6 route add local fd03::/64 dev lo table 7", "-6 route add default dev cni0 table 8"]  # fmt: skip
        talks = []
        for n in range(150):
            src, dst = rng.choice([*own, "::1"]), rng.choice([*own, *others])
            data = datagram(6, 17, udp(src, dst, 1000 + n, rng.choice((53, 54, 55, 56)), b"q"), ends=(src, dst))
            talks.append([("local", data)] * rng.choice((1, 1, 2)))
        yield f"{number}", node, talks


# ---------------------------------------------------------------- options of TCP that rules take away
STRIPPED = ("maxseg", "sack-perm", "window", "timestamp", "sack", "30", "253", "nop", "eol", "28")


def stripped():
    """`reset tcp option` of segments without options, of headers that are cut, of lists of any kind, twice in one chain."""
    for family, number in itertools.product((4, 6), (1, 2)):
        rng = random.Random(f"stripped {family} {number}")
        lines = [
            f"tcp dport {9 + n % 5} {rng.choice(('', 'counter '))}reset tcp option {rng.choice(STRIPPED)} counter"
            for n in range(14)
        ]
        rng.shuffle(lines)
        kind = {4: "ip", 6: "ip6"}[family]
        lines = [line for line in lines if nft_takes(kind, line.removesuffix(" counter"))]
        hook = rng.choice(("forward", "prerouting", "postrouting"))
        body = f"type filter hook {hook} priority {rng.choice((-300, 0, 5))};\n" + "\n".join(lines)
        node = node_of(family, nft=f"table {kind} t {{\nchain c {{\n{body}\n}}\n}}\n")
        talks = []
        for n in range(130):
            options = b"" if rng.random() < 0.25 else pieces(rng, 38)
            options += bytes([rng.choice((0, 1))]) * (-len(options) % 4)
            src, dst = ENDS[family][:2]
            made = tcp(
                src, dst, 1000 + n, 9 + rng.randrange(5), "S", 7, 0, data=rng.choice((b"", b"abc")), opts=options
            )
            if rng.random() < 0.15:
                # a header that says more than there is, or less than it has to be
                made = made[:12] + bytes([rng.choice((0x40, 0x50, 0x60, 0xF0))]) + made[13:]
            if rng.random() < 0.15:
                made = made[: rng.randrange(4, len(made) + 1)]
            talks.append([("cni0", datagram(family, 6, made, ends=(src, dst)))])
        yield f"{number}, IPv{family}", node, talks


# ---------------------------------------------------------------- connections that end while they are counted
def counted_ends():
    """Few ends whose connections are reset before an answer or behind it, begin anew from the same ports, or in the middle."""
    for family, number in itertools.product((4, 6), range(4)):
        rng = random.Random(f"counted ends {family} {number}")
        masks = (0, 24, 32) if family == 4 else (0, 64, 128)
        said = [
            f"-m connlimit --connlimit-above {n} --connlimit-mask {mask} --connlimit-{end}addr"
            for n in (1, 2, 3, 4, 6) for mask in masks for end in "sd"
        ]  # fmt: skip
        rules = "".join(
            f"-A FORWARD {rng.choice(('', '-p tcp ', '-i cni0 '))}{rule}\n" for rule in rng.sample(said, 12)
        )
        of_nft = "\n".join(f"ct count over {n} counter" for n in (1, 2, 3, 5))
        text = f"table {'ip' if family == 4 else 'ip6'} over {{\n{LATE.format(name='c', hook='forward', priority=9, rules=of_nft)}}}\n"
        node = node_of(family, nft=text, **{f"rules{family}": f"*mangle\n{rules}COMMIT\n"})
        talk, known = [], []
        for n in range(150):
            if not known or rng.random() < 0.3:
                server = other_end(family, 1, rng.randrange(2))
                known.append(
                    Ends(family, 5000 + n % 7, 80, client=other_end(family, 0, rng.randrange(3)), server=server)
                )
            ends, what = rng.choice(known[-8:]), rng.random()
            if what < 0.35:
                # anew, from ports that may be in use
                ends.next = [rng.randrange(2**32), rng.randrange(2**32)]
                talk.append(ends.segment(0, "S"))
            elif what < 0.5:
                talk += [ends.segment(1, "SA"), ends.segment(0, "A")][: rng.choice((1, 2))]
            elif what < 0.65:
                way = rng.choice((0, 0, 1))
                talk.append(ends.segment(way, rng.choice(("PA", "A")), data=b"x"))
            elif what < 0.85:
                talk.append(ends.segment(rng.choice((0, 1)), rng.choice(("R", "RA"))))
            else:
                talk += [ends.segment(0, "FA"), ends.segment(1, "FA"), ends.segment(0, "A")][: rng.choice((1, 3))]
        yield f"{number}, IPv{family}", node, [[one] for one in talk]
