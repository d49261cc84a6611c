"""What the others say in one family or never: every type of ICMP, lists that count ends, headers that are cut, own broadcasts.

For bounds.py; each yields names, nodes and conversations.
"""

# ruff: noqa: E501  one line is one kind of rule, or of packet
import itertools
import random
import struct

from kernel import bound_ways
from kernel.bound_calls import other_end
from kernel.bound_rest import LATE, extension
from kernel.bound_rules import datagram, tcp_of, udp_of
from kernel.bound_streams import ENDS, Ends
from kernel.gateway import PAUSE
from kernel.handmade import frags4, frags6, icmp, ip4, ip6, udp
from kernel.walks import node_of

STATES = ("INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED")


def icmp_types():
    """Every type of ICMP with some codes, and what conntrack calls it."""
    for family in (4, 6):
        rules = "".join(
            f"-A FORWARD -m conntrack --ctstate {s} -j TOS --set-tos {4 * n}/0xfc\n" for n, s in enumerate(STATES, 1)
        )
        node = node_of(family, **{f"rules{family}": f"*mangle\n{rules}COMMIT\n"})
        client, server, _ = ENDS[family]
        quoted = udp_of(family, 53, 4000, b"quoted", ends=(server, client))
        talk = []
        for kind, code in itertools.product(range(256), (0, 1, 4, 255)):
            made = icmp(
                kind, code, struct.pack(">HH", kind, code), quoted, v6=(client, server) if family == 6 else None
            )
            talk.append(("cni0", datagram(family, "icmp", made, ends=(client, server))))
        yield f"IPv{family}", node, [[one] for one in talk]


# ---------------------------------------------------------------- rules that remember ends
def limits(family, rng):
    """Return rules with lists of ends, and buckets too slow to gain anything meanwhile."""
    masks = (0, 8, 24, 30, 32) if family == 4 else (0, 48, 64, 126, 128)
    length = 32 if family == 4 else 128
    net = f"{'255.255.255.252' if family == 4 else 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc'}"
    recent = [f"-m recent --name {rng.choice('ab')} {rng.choice(('', f'--mask {net} ', ''))}{rng.choice(('--rsource', '--rsource', '--rdest'))}"
              for _ in range(8)]  # fmt: skip
    yield "-p tcp -m tcp --dport 99 " + recent[0] + " --remove"
    yield "-p udp -m udp --dport 99 " + recent[0] + " --set"
    for said in recent[1:5]:
        what = rng.choice(("--rcheck", "--update", "--update", "! --update", "! --rcheck"))
        hits = rng.choice(("", "", " --hitcount 2", " --hitcount 4"))
        # the TTL is compared only by who asks for both
        front, back = ("! ", what[2:]) if what.startswith("!") else ("", what)
        yield (
            said.replace("-m recent ", f"-m recent {front}{back} ")
            + hits
            + rng.choice(("", "", " --rttl" if "check" in back else ""))
        )
    yield recent[6].replace("-m recent ", "-m recent --set ")
    for _ in range(6):
        yield (f"-m connlimit --connlimit-{rng.choice(('above', 'upto'))} {rng.randrange(5)} --connlimit-mask {rng.choice(masks)} "
               f"--connlimit-{rng.choice(('s', 'd'))}addr")  # fmt: skip
    for n in range(4):
        mode = rng.choice(("srcip", "dstip", "srcip,dstport", "dstip,srcport", "srcip,dstip"))
        more = "".join(
            f" --hashlimit-{way}mask {rng.choice(masks)}"
            for way in ("src", "dst")
            if way in mode and rng.random() < 0.5
        )
        kind = rng.choice(("above", "upto"))
        yield f"-m hashlimit --hashlimit-{kind} 10/hour --hashlimit-burst {rng.randrange(1, 6)} --hashlimit-mode {mode} --hashlimit-name h{n}v{length}{more}"
    yield f"-m quota --quota {rng.randrange(200, 3000)}"


def lists():
    """Few ends that open and close connections of TCP and UDP, and rules that count them."""
    for number in range(12):
        family = 6 if number % 2 else 4
        rng = random.Random(f"lists {number}")
        rules = "".join(f"-A FORWARD {rule}\n" for rule in limits(family, rng))
        node = node_of(family, **{f"rules{family}": f"*mangle\n{rules}COMMIT\n"})
        talk, open_ = [], []
        for n in range(120):
            client, server = other_end(family, 0, rng.choice((0, 1, 2, 3, 70))), other_end(family, 1, rng.randrange(3))
            what = rng.random()
            if what < 0.4:
                talk.append(
                    (
                        "cni0",
                        udp_of(
                            family, 4000 + n % 9, rng.choice((53, 99)), bytes(rng.randrange(40)), ends=(client, server)
                        ),
                    )
                )
            elif what < 0.7 or not open_:
                ends = Ends(family, 5000 + n, rng.choice((80, 99)), client=client, server=server)
                talk += ends.open()
                talk += [ends.segment(0, "PA", data=b"a")] * (rng.random() < 0.5)
                open_.append(ends)
            elif what < 0.85:
                ends = rng.choice(open_)
                talk.append(ends.segment(0, "PA", data=b"more"))
            else:
                ends = open_.pop(rng.randrange(len(open_)))
                talk += [ends.segment(0, "FA"), ends.segment(1, "FA"), ends.segment(0, "A")][
                    : rng.choice((1, 2, 3, 3, 3))
                ]
                talk += [ends.segment(0, "RA")] * (rng.random() < 0.3)
        yield f"{number}, IPv{family}", node, [[one] for one in talk]


def over_at_once():
    """Lists of ct count whose connections are over all at once: how many of them one packet takes out."""
    for family, n in itertools.product((4, 6), (60, 64, 65, 66, 140, 200)):
        own = "ip" if family == 4 else "ip6"
        most = sorted(
            {
                *range(1, 4),
                *(n - k for k in (63, 64, 65, 66, 67)),
                *(n - k for k in (128, 129, 130, 131, 132)),
                n,
                n + 1,
            }
        )
        rules = "\n".join(f"tcp flags == syn ct count over {k} counter" for k in most if k > 0)
        text = f"table {own} over {{\n{LATE.format(name='c', hook='forward', priority=0, rules=rules)}}}\n"
        ends = [Ends(family, 5000 + k, 80) for k in range(n)]
        talk = [[one.segment(0, "S")] for one in ends]
        # a reset in answer to a SYN takes the entry away
        talk += [[one.segment(1, "RA")] for one in ends]
        talk += [[Ends(family, 9000 + k, 80).segment(0, "S")] for k in range(4)]
        yield f"{n}, IPv{family}", node_of(family, nft=text), talk
        if n in (60, 66, 140):
            yield (
                f"{n} of an element, IPv{family}",
                node_of(family, nft=of_elements(own, most)),
                [*talk[:-4], [(PAUSE, 2.2)], *talk[-4:]],
            )


def of_elements(own, most):
    """Return rules whose lists are those of elements, which the kernel looks through each second."""
    sets = "\n".join(
        f"set s{k} {{\ntype {'ipv4' if own == 'ip' else 'ipv6'}_addr\nsize 9\nflags dynamic\n}}" for k in most if k > 0
    )
    rules = "\n".join(f"tcp flags == syn add @s{k} {{ {own} daddr ct count over {k} }} counter" for k in most if k > 0)
    return f"table {own} over {{\n{sets}\n{LATE.format(name='c', hook='forward', priority=0, rules=rules)}}}\n"


def byte_bursts():
    """A few packets at once, and buckets of bytes whose credit is just what a packet costs, with some bursts behind it."""
    for family in (4, 6):
        rules = "".join(
            f"-A FORWARD -m hashlimit --hashlimit-{kind} {rate}b/s --hashlimit-burst {burst}b --hashlimit-mode {mode} --hashlimit-name b{n}v{family}\n"
            for n, (kind, rate, burst, mode) in enumerate(
                itertools.product(("above", "upto"), (16, 32), (32, 64, 96, 160), ("srcip", "dstport"))
            )
        )
        node = node_of(family, **{f"rules{family}": f"*mangle\n{rules}COMMIT\n"})
        packets = [("cni0", udp_of(family, 1000 + n, 53 + n % 3, bytes(n))) for n in range(24)]
        yield f"IPv{family}", node, [packets]


# ---------------------------------------------------------------- headers that are cut
OF_EXTENSIONS = ("exthdr hbh exists", "exthdr rt exists", "exthdr frag exists", "exthdr dst exists", "exthdr mh exists",
                 "exthdr hbh missing", "exthdr dst missing", "frag more-fragments 0", "frag id 77", "rt type 0", "rt seg-left >= 0",
                 "hbh hdrlength 0", "dst hdrlength >= 0", "ah spi >= 0", "meta l4proto udp", "meta l4proto 60", "udp dport 53",
                 "@th,0,8 >= 0", "@th,8,24 >= 0")  # fmt: skip


def cut_extensions():
    """Chains of extension headers, cut after each of their bytes, where conntrack is not asked."""
    for number in range(3):
        rng, packets = random.Random(f"cut extensions {number}"), []
        rules = "\n".join(f"{rule} counter" for rule in OF_EXTENSIONS)
        node = node_of(6, nft=f"table ip6 cut {{\n{LATE.format(name='c', hook='forward', priority=0, rules=rules)}}}\n")
        src, dst = ENDS[6][:2]
        for n in range(350):
            kinds = rng.sample((0, 43, 44, 51, 60), rng.randrange(1, 4))
            chain = [extension(rng, kind) for kind in sorted(kinds, key=lambda kind: (kind != 0, rng.random()))]
            whole = bytearray(ip6(src, dst, 17, udp(src, dst, 1000 + n, 53, b"q"), ext=chain))
            if rng.random() < 0.8:
                whole = whole[: rng.randrange(40, len(whole) + 1)]
                whole[4:6] = struct.pack(">H", len(whole) - 40)
            packets.append(("cni0", bytes(whole)))
        yield f"{number}", node, [[one] for one in packets]


def parts_with_options():
    """Later fragments whose bytes look like a header of TCP with options, and rules that ask for these."""
    looks = bytes(12) + b"\x60\x02" + bytes(6) + b"\2\4\5\xb4"
    for family in (4, 6):
        rules = "\n".join(f"{rule} counter" for rule in (
            "tcp option maxseg exists", "tcp option maxseg size 1460", "tcp option maxseg missing", "tcp option sack-perm exists",
            "tcp option maxseg size set 1000", "tcp flags syn", "meta l4proto tcp", "meta l4proto udp",
            "reset tcp option maxseg"))  # fmt: skip
        own = "ip" if family == 4 else "ip6"
        text = f"table {own} parts {{\n{LATE.format(name='c', hook='forward', priority=0, rules=rules)}}}\n"
        talk = []
        for n, proto in enumerate((6, 6, 17, 17)):
            data = bytes(4 if proto == 6 else 16) + looks * 4
            whole = tcp_of(family, 1000 + n, 80, "S", data=data) if proto == 6 else udp_of(family, 1000 + n, 53, data)
            talk += [("cni0", piece) for piece in (frags4(whole, [24]) if family == 4 else frags6(whole, [24], 7))]
            talk.append(("cni0", tcp_of(family, 2000 + n, 80, "S", opts=b"\2\4\5\xb4")))
        yield f"IPv{family}", node_of(family, nft=text), [[one] for one in talk]


# ---------------------------------------------------------------- ways back
def unspecified():
    """Policy rules from 0.0.0.0, from a packet's destination, and the ways back of broadcasts and of options."""
    broadcasts = (
        "255.255.255.255",
        "10.244.255.255",
        "198.51.100.255",
        "224.0.0.1",
        "203.0.113.9",
        "10.244.1.1",
        "198.51.100.10",
    )
    option = (
        b"\x07\x0b\x04" + bytes(8) + b"\0",
        b"\x44\x0c\5\1" + bytes(8),
        b"\x44\x0c\5\1" + bytes(8) + b"\x07\x07\x04" + bytes(4) + b"\0",
    )
    for number, (source, then, strict) in enumerate(itertools.product(
        ("0.0.0.0/32", "0.0.0.1/32", "203.0.113.9", "255.255.255.255"), ("lookup 7", "blackhole"), (0, 1, 2),
    )):  # fmt: skip
        rng = random.Random(f"unspecified {number}")
        node = node_of(4, {f"net.ipv4.conf.{name}.rp_filter": strict for name in ("cni0", "eth0")},
                       rules4="*filter\n-A INPUT -i cni0\n-A INPUT -i eth0\n-A FORWARD -i cni0\nCOMMIT\n")  # fmt: skip
        node["ip"] += [
            "route add default via 198.51.100.1 dev eth0 onlink table 7",
            f"rule add pref 9 from {source} {then}",
        ]
        talk = []
        for n in range(60):
            device = rng.choice(("cni0", "cni0", "eth0"))
            src, dst = rng.choice(("10.244.1.5", "203.0.113.9", "198.51.100.1", "8.8.8.8")), rng.choice(broadcasts)
            l4 = udp(src, dst, 1000 + n, 53, b"q")
            talk.append((device, ip4(src, dst, 17, l4, opts=rng.choice((b"", *option)))))
        yield f"{number}", node, [[one] for one in talk]


def odd_routes():
    """Routes of every type over IPv6, and what addrtype and fib say of addresses in them, the first one among others."""
    nets = {"fd45::/64": "unreachable", "fd46::/64": "prohibit", "fd47::/64": "blackhole", "fd48::/64": "",
            "fd49::/64": "local", "fd4a::/126": "", "fd4b::/127": "", "fd4c::/64": "anycast", "fd4d::/126": "local", "fd4e::/126": "anycast"}  # fmt: skip
    kinds = (
        "LOCAL",
        "UNICAST",
        "MULTICAST",
        "ANYCAST",
        "UNREACHABLE",
        "UNSPEC",
        "UNICAST,LOCAL",
        "UNICAST,ANYCAST",
        "LOCAL,ANYCAST",
    )
    types = "".join(f"-A PREROUTING -m addrtype {inverse}--{way}-type {kind}{device}\n" for kind in kinds for way in ("src", "dst")
                    for inverse in ("", "! ") for device in ("", " --limit-iface-in"))  # fmt: skip
    fib = "\n".join(f"fib {way}{more} type {kind} counter" for way in ("saddr", "daddr") for more in ("", " . iif")
                    for kind in ("local", "unicast", "multicast", "anycast", "unreachable", "prohibit", "blackhole", "unspec"))  # fmt: skip
    for number, (rules6, nft) in enumerate((
        (f"*mangle\n{types}COMMIT\n", None),
        ("*filter\n-A FORWARD -p udp\nCOMMIT\n", f"table ip6 odd {{\n{LATE.format(name='c', hook='prerouting', priority=-150, rules=fib)}}}\n"),
    )):  # fmt: skip
        node = node_of(6, rules6=rules6) | ({"nft": nft} if nft else {})
        for net, kind in nets.items():
            device = " dev lo" if kind == "local" else " dev eth0" if kind in ("", "anycast") else ""
            node["ip"].append(f"-6 route add {kind} {net}{device}")
        node["ip"].append("-6 route add fd4f::/64 via fd02::9 dev eth0")
        node["ip"].append("-6 route add fd51::/64 dev lo")
        every = [f"{net[:4]}::{n}" for net in [*nets, "fd4f::/64", "fd51::/64"] for n in ("", "1", "9")] + [
            "ff0e::9",
            *ENDS[6],
            *bound_ways.ODD[6][:3],
        ]
        talk = []
        for n, (src, dst) in enumerate(itertools.product(every, every)):
            if n % 7 == 0:
                talk.append(("cni0", ip6(src, dst, 17, udp(src, dst, 1000 + n, 53, b"q"))))
        yield f"{number}", node, [talk[n : n + 10] for n in range(0, len(talk), 10)]
