"""What few packets of the others meet: children of marked masters, routes by ports, source routes, headers cut short.

For bounds.py; each yields names, nodes and conversations.
"""

# ruff: noqa: E501  one line is one kind of rule, or of header
import itertools
import random
import struct

from kernel import bound_ways, random_calls
from kernel.bound_calls import ANSWERS4, PORTS4, announced, other_end
from kernel.bound_rules import tcp_of, udp_of
from kernel.bound_streams import ENDS, Ends
from kernel.handmade import frags4, frags6, ip4, ip6, packed, udp
from kernel.walks import node_of, one_source

# ---------------------------------------------------------------- connections
MARKED = """*raw
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp
COMMIT
*mangle
-A PREROUTING -p tcp -m tcp --dport 21 --sport 4000:4003 -j CONNMARK --set-mark 7
-A PREROUTING -p tcp -m tcp --dport 21 --sport 4004:4007 -j CONNMARK --set-mark 0x80000001
-A PREROUTING -p udp -m udp --dport 69 --sport 4000:4005 -j CONNMARK --set-mark 9
-A FORWARD -m connmark --mark 7 -j TOS --set-tos 0x04/0xff
-A FORWARD -m connmark --mark 9 -j TOS --set-tos 0x08/0xff
-A FORWARD -m connmark --mark 0x80000001 -j TOS --set-tos 0x10/0xff
-A FORWARD -m connmark --mark 0 -m conntrack --ctstate RELATED -j TOS --set-tos 0x20/0xff
-A FORWARD -m conntrack --ctstate RELATED
-A FORWARD -m helper --helper ftp
-A FORWARD -m helper --helper tftp
-A FORWARD -m helper ! --helper ftp
-A FORWARD -m helper --helper ""
COMMIT
"""


def children():
    """Connections that FTP and TFTP have announced, of masters with a mark and without one, that go on and end."""
    for family, nat in itertools.product((4, 6), (False, True)):
        talks, (_, server, own) = [], ENDS[family]
        for n in range(10):
            client, here = other_end(family, 0, n), 1793 + n
            ends = Ends(family, 4000 + n, 21, nat=nat, client=client)
            said = f"EPRT |{1 if family == 4 else 2}|{client}|{here}|\r\n"
            data = Ends(family, here, 20_000 + n, nat=nat, client=client)
            talks.append([
                *ends.open(), ends.segment(1, "PA", data=b"220 ready\r\n"),
                ends.segment(0, "PA", data=b"USER x\r\n"), ends.segment(0, "PA", data=said.encode()),
                data.segment(1, "S"), data.segment(0, "SA"), data.segment(1, "A"), data.segment(1, "PA", data=b"x"),
                # once more: nobody expects it now
                Ends(family, here, 21_000 + n, nat=nat, client=client).segment(1, "S"),
            ])  # fmt: skip
            asked = udp_of(family, 4000 + n, 69, b"\0\1x\0octet\0", ends=(client, server))
            answer = [udp_of(family, sport, 4000 + n, b"\0\3", ends=(server, own if nat else client))
                      for sport in (5000 + n, 5000 + n, 6000 + n)]  # fmt: skip
            talks.append([("cni0", asked), *(("eth0", data) for data in answer)])
        rules = MARKED + (random_calls.NAT if nat else "")
        yield f"nat {nat}, IPv{family}", one_source(node_of(family, **{f"rules{family}": rules})), talks


def repeats():
    """Equal segments without data, so many that a byte could not count them: the timeouts say what was counted."""
    for family in (4, 6):
        talks = []
        for n in (2, 3, 4, 254, 255, 256, 257, 258, 259, 300):
            ends = Ends(family, 5000 + n, 80)
            talks.append([*ends.open(), ends.segment(0, "PA", data=b"abc"), ends.segment(1, "A")])
            talks[-1] += [ends.segment(0, "A")] * n
        yield (
            f"IPv{family}",
            node_of(family, **{f"rules{family}": "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n"}),
            talks,
        )


# ---------------------------------------------------------------- routes
PORTS = ("sport 53-54", "sport 55", "dport 53-55", "dport 1000-1300", "sport 1000-1300", "ipproto udp sport 53-54",
         "ipproto tcp dport 79-80", "ipproto udp dport 1100-1200", "sport 79-80 dport 1000-1500", "not sport 53-99")  # fmt: skip


def by_rules(name, asks, refuses, more, without="-"):
    """Eight nodes with policy rules, drawn from `asks`, before two tables, and packets from and to every address.

    refuses: the type of a rule that leads nowhere; more: by family, addresses beside those of bound_ways; without: sysctls
    that are not set.
    """
    for number in range(8):
        family = 6 if number % 2 else 4
        rng = random.Random(f"{name} {number}")
        made, front = bound_ways.node(rng, family, number // 2), "-6 " if family == 6 else ""
        # of several next hops fib of nftables has its own word: see docs/differences.md
        made["ip"] = [words for words in made["ip"] if not any(w in words for w in ("rule add", " table ", "nexthop"))]
        made["ip"].append(f"{front}route add default {bound_ways.hop(rng, family, 'wan0')} metric 9999")
        made["sysctls"] = {name: value for name, value in made["sysctls"].items() if without not in name}
        for table in (7, 8):
            way = bound_ways.hop(rng, family, rng.choice(list(bound_ways.DEVICES)))
            made["ip"].append(f"{front}route add default {way} table {table}")
        for place in range(100, 100 + rng.randrange(2, 6)):
            then = rng.choice(("lookup 7", "lookup 8", refuses, "lookup main suppress_prefixlength 0"))
            made["ip"].append(f"{front}rule add pref {place} {rng.choice(asks)} {then}")
        every = [*bound_ways.addresses(family), *more[family]]
        talk = []
        for n in range(500):
            src, dst = rng.choice(every), rng.choice(every)
            talk.append((rng.choice([*bound_ways.DEVICES, "lan0"]), bound_ways.packet(rng, family, src, dst, n)))
        yield f"{number}, IPv{family}", made, [talk[n : n + 20] for n in range(0, len(talk), 20)]


def by_ports():
    """Policy rules that ask for ports, of packets and of the way back to their senders."""
    yield from by_rules("by ports", PORTS, "blackhole", {4: ["0.0.0.1", "0.0.0.2"], 6: []})


def source_routes():
    """Strict and loose source routes over up to three hops: the node's own, neighbours, who is far, and nobody."""
    for number in range(4):
        rng = random.Random(f"source routes {number}")
        made = bound_ways.node(rng, 4, 2 * (number // 2))
        made["ip"] = [words for words in made["ip"] if "rule add" not in words and " table " not in words]
        made["sysctls"] |= {f"net.ipv4.conf.{name}.accept_source_route": 1 for name in (*bound_ways.DEVICES, "all")}
        own = [words.split()[2].split("/")[0] for words in made["ip"] if words.startswith("addr")]
        others = ["45.7.7.9", "100.64.3.3", "8.8.8.8", "8.8.8.9", "198.51.100.1", "10.1.0.77", "10.1.0.255", "224.0.0.1",
                  "239.1.1.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "240.0.0.1", *bound_ways.GATEWAYS[4].values()]  # fmt: skip
        talk = []
        for n in range(400):
            hops = [rng.choice(own if rng.random() < 0.4 else others) for _ in range(rng.randrange(1, 4))]
            pointer = rng.choice((4, 4, 4, 8, 12, 16))
            option = bytes([rng.choice((131, 131, 137)), 3 + 4 * len(hops), pointer]) + b"".join(map(packed, hops))
            more = b"\x07\x07\x04" + bytes(4) if rng.random() < 0.4 else b""
            option = (option + more).ljust(-(-len(option + more) // 4) * 4, b"\0")
            src, dst = rng.choice(others[:6]), rng.choice(own * 2 + others)
            l4 = udp(src, dst, 1000 + n, 53, b"q")
            talk.append((rng.choice(list(bound_ways.DEVICES)), ip4(src, dst, 17, l4, 64, 0, opts=option)))
        yield f"{number}", made, [talk[n : n + 20] for n in range(0, len(talk), 20)]


def behind():
    """What rules behind the translation of a destination say of it: own addresses, groups, all of a network."""
    for number in range(4):
        family = 6 if number % 2 else 4
        rng = random.Random(f"behind {number}")
        made = bound_ways.node(rng, family, 1)
        made["ip"] = [words for words in made["ip"] if "rule add" not in words]
        own = [w.split()[2].split("/")[0] for w in (w.removeprefix("-6 ") for w in made["ip"]) if w.startswith("addr")]
        there = {
            4: ["45.7.7.7", "8.8.8.8", "10.1.0.77", "100.64.9.9"],
            6: ["2600:7:7::7", "fd50::5", "2600:7::9", "2002:100::9"],
        }[family]
        to = [*rng.sample([a for a in own if not a.startswith(("fe80", "127"))], 2), *there]
        nat = "".join(
            f"-A PREROUTING -p udp -m udp --dport {53 + n} -j DNAT --to-destination {address}\n"
            for n, address in enumerate(to)
        )
        # some rules ask before, most do not
        made[f"rules{family}"] = f"*nat\n{nat}COMMIT\n" + (
            "*mangle\n-A PREROUTING -m addrtype --dst-type LOCAL\nCOMMIT\n" if number > 1 else ""
        )
        made["nft"] = bound_ways.nft_rules(family).replace("priority raw + 1", "priority dstnat + 1")
        talk = []
        for n in range(300):
            src, dst = rng.choice(there), rng.choice([*there, *own])
            l4 = udp(src, dst, 1000 + n, 53 + n % (len(to) + 1), b"q")
            data = ip4(src, dst, 17, l4) if family == 4 else ip6(src, dst, 17, l4)
            talk.append((rng.choice(list(bound_ways.DEVICES)), data))
        yield f"{number}, IPv{family}", made, [talk[n : n + 20] for n in range(0, len(talk), 20)]


def groups():
    """What the node sends to groups, from each of its addresses, by its devices and by lo, with a mark and without."""
    for family, marked in itertools.product((4, 6), (False, True)):
        front, every, near = ("", "224.0.0.0/4", "10.99.0.1/32") if family == 4 else ("-6 ", "ff00::/8", "fd99::1/128")
        # each device has a route to all groups of IPv6: which of them is the first depends on when they came up
        node = node_of(family) | {"devices": {"eth0": 1500}}
        node["ip"] = [words for words in node["ip"] if "cni0" not in words]
        node["ip"] += [
            f"{front}addr add {near} dev lo",
            f"{front}route add {every} dev lo table 7",
            f"{front}rule add pref 9 fwmark 1 lookup 7",
        ]
        mark = "-A OUTPUT -p udp -m udp --dport 53:55 -j MARK --set-mark 1\n" if marked else ""
        # what the copy meets stays with it
        mark = f"*mangle\n{mark}-A PREROUTING -p udp -m udp --dport 60 -j TOS --set-tos 0x28/0xfc\nCOMMIT\n"
        where = "".join(
            f"-A {chain} -{way} {device}\n"
            for chain, way in (("INPUT", "i"), ("OUTPUT", "o"))
            for device in ("lo", "eth0")
        )
        node[f"rules{family}"] = f"{mark}*filter\n{where}COMMIT\n"
        own = [w.split()[2].split("/")[0] for w in (w.removeprefix("-6 ") for w in node["ip"]) if w.startswith("addr")]
        # ff01::2 and ff05::2 are of who became a router when the device was there
        to = {4: ("224.0.0.1", "224.0.0.2", "224.0.1.1", "239.1.1.1"),
              6: ("ff01::1", "ff01::9", "ff02::1", "ff02::2", "ff02::1:ff00:1", "ff02::9", "ff05::1", "ff0e::1")}[family]  # fmt: skip
        talk = []
        for n, (src, dst) in enumerate(itertools.product(own, to)):
            for dport in (53, 60):
                l4 = udp(src, dst, 1000 + n, dport, b"q")
                talk.append(("local", ip4(src, dst, 17, l4) if family == 4 else ip6(src, dst, 17, l4)))
        yield f"marked {marked}, IPv{family}", node, [[one] for one in talk]


# ---------------------------------------------------------------- headers
def tlvs(rng, size):
    """Return options for a header of so many bytes; the last of them may end in front of, at or behind its end."""
    made = b""
    while len(made) < size:
        left = size - len(made)
        kind = rng.choice((0, 1, 1, 5, 0x1E, 0x3E))
        length = rng.choice((rng.randrange(4), left - 2, left - 1, left - 3, left, left + 1, left + 3)) % 256
        made += b"\0" if kind == 0 else bytes([kind, length]) + bytes(length)
    return made[:size]


def hops():
    """Hop-by-hop headers whose options end at the header's end and beside it."""
    rng, packets = random.Random("hops"), []
    for n in range(400):
        size = rng.choice((6, 6, 14, 22))
        body = bytes([size // 8]) + tlvs(rng, size)
        src, dst = ENDS[6][:2]
        packets.append(("cni0", ip6(src, dst, 17, udp(src, dst, 1000 + n, 53, b"q"), ext=[(0, body)])))
    yield "IPv6", node_of(6, rules6="*filter\n-A FORWARD -p udp\nCOMMIT\n"), [packets]


def extension(rng, kind):
    """Return (kind, body) of an extension header: hop-by-hop, routing, fragment, authentication, destination."""
    if kind == 44:
        return kind, struct.pack(">BHI", 0, rng.choice((0, 0, 0, 8, 16)), 77)
    if kind == 51:
        size = rng.choice((1, 2, 4))
        return kind, bytes([size]) + bytes(2) + bytes(4 * size + 4)
    size = rng.choice((0, 0, 1, 2))
    rest = (
        bytes([rng.choice((0, 2, 4)), rng.choice((0, 1, 2)), 0, 0, 0, rng.choice((0, 1))])
        if kind == 43
        else b"\1\4" + bytes(4)
    )
    return kind, bytes([size]) + rest + (
        bytes(8 * size) if kind == 43 else b"".join(b"\1\6" + bytes(6) for _ in range(size))
    )


RT = [
    *(f"-m rt {inverse}--rt-type {n}" for inverse in ("", "! ") for n in (0, 2, 4)),
    *(f"-m rt {inverse}--rt-segsleft {said}" for inverse in ("", "! ") for said in ("0", "1:2")),
    *(f"-m rt {inverse}--rt-len {said}" for inverse in ("", "! ") for said in ("8", "16:24")),
    "-m rt --rt-type 0 --rt-0-res",
]


def routing():
    """Chains of extension headers with routing headers behind others, cut after each of their bytes."""
    for number in range(3):
        rng, packets = random.Random(f"routing {number}"), []
        src, dst = ENDS[6][:2]
        for n in range(350):
            kinds = rng.sample((0, 44, 51, 60), rng.randrange(3))
            if 0 in kinds:
                # it has to be the first
                kinds = [0, *(kind for kind in kinds if kind != 0)]
            chain = [extension(rng, kind) for kind in [*kinds, *([43] if rng.random() < 0.9 else [])]]
            chain = chain or [extension(rng, 60)]
            whole = bytearray(ip6(src, dst, 17, udp(src, dst, 1000 + n, 53, b"q"), ext=chain))
            if rng.random() < 0.7:
                whole = whole[: rng.randrange(40, len(whole) + 1)]
                whole[4:6] = struct.pack(">H", len(whole) - 40)
            packets.append(("cni0", bytes(whole)))
        # one rule to a node: a header that is cut short is the packet's end
        rules = "".join(f"-A PREROUTING {rule}\n" for rule in rng.sample(RT, 4))
        yield f"{number}", node_of(6, rules6=f"*mangle\n{rules}COMMIT\n"), [packets]


# ---------------------------------------------------------------- sets
SETS = """create A{v} hash:ip family {family} counters
create B{v} hash:ip family {family} counters
create N{v} hash:net family {family} counters
create L{v} list:set size 8
add A{v} {one}
add A{v} {two}
add B{v} {two}
add B{v} {three}
add N{v} {net}
add N{v} {one} nomatch
add L{v} A{v}
add L{v} B{v}
add L{v} N{v}
"""
ASKED = (
    "",
    "--packets-gt 3",
    "--packets-lt 3",
    "--packets-eq 2",
    "! --packets-eq 2",
    "--bytes-gt 100",
    "! --bytes-eq 74",
)
KEPT = (
    "",
    "! --update-counters",
    "! --update-subcounters",
    "! --update-counters ! --update-subcounters",
    "--return-nomatch",
)


def counted_sets():
    """Sets with counters, alone and in lists without, which rules ask and do not always let count."""
    for number in range(8):
        family = 6 if number % 2 else 4
        rng = random.Random(f"counted sets {number}")
        one, two, three = (other_end(family, 0, n) for n in range(3))
        v = "six" if family == 6 else "four"
        sets = SETS.format(v=v, family="inet6" if family == 6 else "inet", one=one, two=two, three=three,
                           net="fd01::1:0/125" if family == 6 else "10.244.1.0/29")  # fmt: skip
        rules = [f"-A FORWARD -m set {rng.choice(('', '', '! '))}--match-set {rng.choice('ABNLLL')}{v} src {rng.choice(KEPT)} {rng.choice(ASKED)}"
                 for _ in range(12)]  # fmt: skip
        packets = []
        for n in range(60):
            src = other_end(family, 0, rng.randrange(5))
            packets.append(
                ("cni0", udp_of(family, 1000 + n, 53, bytes(rng.choice((1, 46))), ends=(src, ENDS[family][1])))
            )
        node = node_of(family, sets=sets, **{f"rules{family}": "*filter\n" + "\n".join(rules) + "\nCOMMIT\n"})
        yield f"{number}, IPv{family}", node, [packets]


# ---------------------------------------------------------------- devices and hooks
BY_DEVICE = ("oif wan0", "oif wan1", "iif lan0", "iif wan0", "not iif wan1", "oif bare0", "iif lo", "fwmark 1")
# beside those of bound_ways: what begins with zeros and is no address of IPv4
ODD6 = ("0:0:5::9", "0:1::9", "::1:0:0:9", "::fffe:198.51.100.1", "64:ff9b:1::9", "2001:0:1::9")


def by_devices():
    """Policy rules that ask for devices, and rules that ask for the addresses of one device and for ways out of it."""
    # the kernel keeps the source of a route that it chose before the sysctl was set
    yield from by_rules("by devices", BY_DEVICE, "unreachable", {4: [], 6: ODD6 * 4}, without="route_localnet")


LATE = "chain {name} {{\ntype filter hook {hook} priority {priority}; policy accept;\n{rules}\n}}\n"


def late():
    """Chains of nftables behind all others of their hook, which see and drop what nat has translated."""
    for family, drops in itertools.product((4, 6), (False, True)):
        own = "ip" if family == 4 else "ip6"
        client, server, here = ENDS[family]
        verdict = "drop" if drops else "accept"
        counted = [f"{own} daddr {a} counter" for a in ENDS[family]] + [
            f"{own} saddr {a} counter" for a in ENDS[family]
        ]
        chains = ""
        for hook, port in zip(("prerouting", "input", "forward", "output", "postrouting"), range(60, 65), strict=True):
            rules = "\n".join(
                [*counted, "ct state new counter", "ct status dnat counter", f"udp dport {port} counter {verdict}"]
            )
            chains += LATE.format(name=hook, hook=hook, priority=300, rules=rules)
        nat = f"*nat\n-A PREROUTING -p udp -m udp --dport 70:79 -j REDIRECT --to-ports 61\n-A PREROUTING -p udp -m udp --dport 80:89 -j DNAT --to-destination {server}\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
        node = node_of(family, nft=f"table {own} late {{\n{chains}}}\n", **{f"rules{family}": nat})
        talk = []
        for n, dport in enumerate([*range(60, 66), 70, 71, 80, 81] * 3):
            talk.append(("cni0", udp_of(family, 1000 + n, dport, ends=(client, server))))
            talk.append(("cni0", udp_of(family, 1000 + n, dport, ends=(client, here))))
            talk.append(("local", udp_of(family, 1000 + n, dport, ends=(here, server))))
        yield f"drops {drops}, IPv{family}", node, [[one] for one in talk]


def parts():
    """What rules of nftables read of later fragments, where nobody puts them together."""
    for family in (4, 6):
        reads = [(at, size) for at in (0, 8, 16, 24, 32, 40, 48, 64) for size in (8, 16, 24, 32, 40, 64)]
        rules = "\n".join(f"@{base},{at},{size} >= 0 counter" for base in ("th", "nh") for at, size in reads)
        rules += "\nudp dport 53 counter\nudp sport >= 0 counter\ntcp flags syn counter\nmeta l4proto udp counter\nudp length >= 0 counter"
        own = "ip" if family == 4 else "ip6"
        node = node_of(
            family, nft=f"table {own} parts {{\n{LATE.format(name='c', hook='forward', priority=0, rules=rules)}}}\n"
        )
        talk = []
        for n, size in enumerate((8, 16, 24, 40, 64)):
            for proto in (17, 6):
                data = bytes(range(size * 2 - (8 if proto == 17 else 20)))
                whole = (
                    udp_of(family, 1000 + n, 53, data) if proto == 17 else tcp_of(family, 1000 + n, 80, "S", data=data)
                )
                cut = frags4(whole, [size]) if family == 4 else frags6(whole, [size], 7)
                talk += [("cni0", piece) for piece in [*cut, cut[-1][:-1] if family == 4 else cut[-1]]]
        yield f"IPv{family}", node, [[one] for one in talk]


# ---------------------------------------------------------------- more headers
def ip_options():
    """Options of IPv4 whose lengths end at the header's end and beside it, behind no conntrack and behind it."""
    for tracked in (False, True):
        rng, packets = random.Random(f"ip options {tracked}"), []
        for n in range(300):
            size = rng.choice((4, 8, 12, 20, 40))
            made = b""
            while len(made) < size:
                left = size - len(made)
                kind = rng.choice((0, 1, 1, 7, 68, 131, 137, 130, 134, 136, 148, 25, 85, 150))
                length = rng.choice((2, 2, 3, 4, left - 1, left, left + 1)) % 256
                made += (
                    bytes([kind])
                    if kind < 2
                    else bytes([kind, length]) + bytes([rng.choice((0, 4, 5, 8))] * max(length - 2, 0))
                )
            packets.append(("cni0", udp_of(4, 1000 + n, 53, b"q", options=made[:size])))
        rules = (
            "*filter\n-A FORWARD -p udp\n" + ("-A FORWARD -m conntrack --ctstate NEW\n" if tracked else "") + "COMMIT\n"
        )
        yield f"tracked {tracked}", node_of(4, rules4=rules), [packets]


def several():
    """Ways with several next hops, by addresses and by ports, of all protocols and of errors about their packets."""
    for number in range(8):
        family = 6 if number % 2 else 4
        rng = random.Random(f"several {number}")
        made, front = bound_ways.node(rng, family, 0), "-6 " if family == 6 else ""
        made["ip"] = [
            words for words in made["ip"] if not any(w in words for w in ("rule add", " table ", "route add default"))
        ]
        made["ip"].append(f"{front}route add default {bound_ways.hops(rng, family)}")
        made["sysctls"] = {
            "net.ipv4.fib_multipath_hash_seed": rng.randrange(1, 2**31),
            f"net.ipv{family}.fib_multipath_hash_policy": number // 2 % 2,
        }
        # rules that do not ask the way back: see docs/differences.md
        made[f"rules{family}"] = (
            "*filter\n" + "".join(f"-A FORWARD -o {device}\n" for device in bound_ways.DEVICES) + "COMMIT\n"
        )
        if number > 3:
            made["ip"].append(f"{front}rule add pref 100 ipproto tcp dport 79 lookup main")
        ends = [a for a in (bound_ways.NETWORKS[family][0], *bound_ways.ENDS[family]) if "/" not in a] + (
            ["9.9.9.9", "1.1.1.1"] if family == 4 else ["2a00::9", "2a01::9"]
        )
        talk = []
        for n in range(300):
            src, dst = rng.choice(ends), rng.choice(ends)
            talk.append(("lan0", bound_ways.packet(rng, family, src, dst, n)))
        yield f"{number}, IPv{family}", made, [talk[n : n + 20] for n in range(0, len(talk), 20)]


# ---------------------------------------------------------------- FTP, zones
def ftp_of_ipv4():
    """Texts with four numbers in control connections of IPv6: they stand for the first four bytes of an address."""
    for nat in (True, False):
        said = [(0, text) for text in PORTS4] + [(1, text) for text in ANSWERS4]
        # fd01::5 and fd03::9 begin so
        said += [(0, text.replace("10,244,1,5", "253,1,0,0")) for text in PORTS4 if text.upper().startswith("PORT")]
        said += [(1, text.replace("203,0,113,9", "253,3,0,0")) for text in ANSWERS4]
        talks = [announced(6, nat, way, text) for way, text in said]
        node = node_of(6, {"net.netfilter.nf_conntrack_tcp_be_liberal": 1}, rules6=random_calls.rules(6, nat))
        one_source(node)
        yield f"nat {nat}", node, [list(talk(20_000 + n)) for n, talk in enumerate(talks)]


def zones():
    """Zones of one direction or both, by port, among few ends of which many have one tuple; replies go where they can."""
    for number in range(12):
        family = 6 if number % 2 else 4
        rng = random.Random(f"zones {number}")
        client, server, own = ENDS[family]
        raw = "".join(
            f"-A PREROUTING -i {rng.choice(('cni0', 'eth0'))} -p udp -m udp --{rng.choice(('sport', 'dport'))} {rng.randrange(1000, 1004)} "
            f"-j CT --{rng.choice(('zone', 'zone-orig', 'zone-reply'))} {rng.choice((1, 2, 65535))}\n"
            for _ in range(rng.randrange(2, 5))
        )
        nat = (
            f"*nat\n-A POSTROUTING -o eth0 -p udp -m udp --dport 1003 -j SNAT --to-source {own}\nCOMMIT\n"
            if number % 3 == 0
            else ""
        )
        states = "".join(
            f"-A FORWARD -i {d} -m conntrack --ctstate {s}\n" for d in ("cni0", "eth0") for s in ("NEW", "ESTABLISHED")
        )
        node = node_of(
            family,
            **{
                f"rules{family}": f"*raw\n{raw}COMMIT\n{nat}*filter\n{states}-A FORWARD -m conntrack --ctdir REPLY\nCOMMIT\n"
            },
        )
        talk = []
        for _ in range(120):
            one, other = rng.randrange(1000, 1004), rng.randrange(1000, 1004)
            if rng.random() < 0.5:
                talk.append(("cni0", udp_of(family, one, other, b"z", ends=(client, server))))
            else:
                talk.append(
                    ("eth0", udp_of(family, one, other, b"z", ends=(server, rng.choice((client, client, own)))))
                )
        yield f"{number}, IPv{family}", node, [[one] for one in talk]


def device_sets():
    """Sets of networks by device, asked in hooks that have the device, and in those that have none."""
    for number in range(6):
        family = 6 if number % 2 else 4
        rng = random.Random(f"device sets {number}")
        v, nets = ("six", ["fd01::/64", "fd03::/64", "fd02::/120", "fd99::/64"]) if family == 6 else (
            "four", ["10.244.0.0/16", "203.0.113.0/24", "198.51.100.0/24", "10.99.0.0/16"])  # fmt: skip
        sets = f"create D{v} hash:net,iface family {'inet6' if family == 6 else 'inet'}\n"
        for net, device in rng.sample(list(itertools.product(nets, ("cni0", "eth0", "lo"))), 6):
            sets += f"add D{v} {net},{device}{rng.choice(('', '', ' nomatch'))}\n"
        rules = "".join(
            f"-A {chain} -m set {inverse}--match-set D{v} {one},{other}\n"
            for chain in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
            for inverse in ("", "! ")
            for one in ("src", "dst")
            for other in ("src", "dst")
        )
        node = node_of(family, sets=sets, **{f"rules{family}": f"*mangle\n{rules}COMMIT\n"})
        client, server, own = ENDS[family]
        talk = []
        for n in range(30):
            l4 = udp_of(family, 1000 + n, 53, ends=rng.choice(((client, server), (client, own))))
            talk += [("cni0", l4), ("eth0", udp_of(family, 1000 + n, 53, ends=(server, client)))]
            talk.append(("local", udp_of(family, 1000 + n, 53, ends=(own, rng.choice((client, server, own))))))
        yield f"{number}, IPv{family}", node, [[one] for one in talk]


def own_ways():
    """What the node sends, to others and to itself, and what translates it on its way, beside rules by device."""
    for number in range(8):
        family = 6 if number % 2 else 4
        rng = random.Random(f"own ways {number}")
        front = "-6 " if family == 6 else ""
        client, server, own = ENDS[family]
        node = node_of(family)
        for table in (7, 8):
            device, gateway = rng.choice(
                (
                    ("eth0", "198.51.100.1" if family == 4 else "fd02::9"),
                    ("cni0", "10.244.1.9" if family == 4 else "fd01::9"),
                )
            )
            node["ip"].append(f"{front}route add default via {gateway} dev {device} onlink table {table}")
        for place in range(100, 100 + rng.randrange(1, 4)):
            # the route of a raw socket's packet is chosen without its ports: see docs/differences.md
            what = rng.choice(("iif lo", "not iif lo", "iif cni0", "fwmark 1", "oif eth0"))
            node["ip"].append(f"{front}rule add pref {place} {what} lookup {rng.choice((7, 8))}")
        mangle = "*mangle\n-A OUTPUT -p udp -m udp --dport 55 -j MARK --set-mark 1\n-A PREROUTING -i lo -p udp -m udp --dport 56 -j MARK --set-mark 1\nCOMMIT\n"
        nat = f"*nat\n-A OUTPUT -p udp -m udp --dport 57 -j DNAT --to-destination {rng.choice((client, server, own))}\n"
        nat += f"-A PREROUTING -i lo -p udp -m udp --dport 58 -j DNAT --to-destination {rng.choice((client, server))}\nCOMMIT\n"
        where = "".join(
            f"-A {chain} -{way} {device}\n"
            for chain, way in (("INPUT", "i"), ("OUTPUT", "o"), ("FORWARD", "i"), ("FORWARD", "o"))
            for device in ("lo", "cni0", "eth0")
        )
        node[f"rules{family}"] = f"{mangle}{nat}*filter\n{where}COMMIT\n"
        talk = []
        for n in range(80):
            dst = rng.choice((client, server, own, own))
            talk.append(("local", udp_of(family, 1000 + n, rng.randrange(53, 60), ends=(own, dst))))
            if rng.random() < 0.3:
                talk.append(
                    ("cni0", udp_of(family, 1000 + n, rng.randrange(53, 60), ends=(client, rng.choice((server, own)))))
                )
        yield f"{number}, IPv{family}", node, [[one] for one in talk]
