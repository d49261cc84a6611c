"""One thing in many forms: lists of TCP options, headers that rules write into and that are cut, flows of every protocol
over several next hops, what comes back by lo in another zone, records of the node's own addresses.

For bounds.py; each yields names, nodes and conversations, all of them drawn at random.
"""

# ruff: noqa: E501  one line is one kind of rule, or of packet
import contextlib
import itertools
import random
import struct
import subprocess

import fastnat
from kernel import random_calls
from kernel.bound_calls import other_end
from kernel.bound_rest import LATE
from kernel.bound_rules import datagram, tcp_of, udp_of
from kernel.bound_streams import ENDS, TAGS, Association, Ends, streams
from kernel.handmade import chunk, dccp, icmp, ip4, packed, sctp, tcp, udp, udplite
from kernel.handmade import text as shown_address
from kernel.walks import node_of, one_source


# ---------------------------------------------------------------- options of TCP
def pieces(rng, most):
    """Return some options of any kind, most of them whole."""
    made = b""
    while len(made) < most and rng.random() < 0.7:
        kind = rng.choice((1, 1, 2, 3, 4, 8, 28, 30, 253))
        size = {1: 1, 2: 4, 3: 3, 4: 2, 8: 10}.get(kind, rng.choice((2, 2, 3, 5)))
        if kind == 1:
            made += b"\1"
            continue
        body = rng.randbytes(size - 2) if kind != 3 else bytes([rng.choice((0, 1, 2, 7, 14, 15))])
        said = size if rng.random() < 0.96 else rng.choice((0, 1, 2, 3, 40))
        made += bytes([kind, said]) + body
    return made[:most]


def option_walks():
    """Window scales of either SYN, and SACK blocks, behind whatever other options stand in front of them."""
    for family in (4, 6):
        rng = random.Random(f"option walks {family}")
        talks = []
        for _ in range(90):
            mine, theirs = (
                pieces(rng, 34) + rng.choice((b"\4\2", b"\4\2", b"\3\3\1\4\2", b"\4\2\3\3\2", b"")) for _ in range(2)
            )
            edges = [10_001 + rng.choice((0, 50, 100, 200, 300, 301, 2**32 - 20_000)) for _ in range(4)]
            blocks = b"".join(struct.pack(">II", *(edge % 2**32 for edge in edges[n : n + 2])) for n in (0, 2))
            blocks = blocks[: rng.choice((8, 16, 16))]
            front = pieces(rng, 38 - len(blocks) - 2)
            sack = front + bytes([5, len(blocks) + 2 if rng.random() < 0.9 else rng.choice((2, 9, 40))]) + blocks

            def talk(port, family=family, mine=mine, theirs=theirs, sack=sack):
                ends = Ends(family, port)
                yield from ends.open(mine, theirs)
                yield ends.segment(1, "PA", data=b"x" * 300)
                yield ends.segment(0, "A", ack=10_001, options=sack, window=100)
                for reached in (4999, 5001, 5051, 5101, 5201, 5301):
                    for near in (-1, 0, 1):
                        yield ends.segment(1, "A", seq=10_001 + reached + near)
                # how far the client may send says what the server's SYN scales
                for shift in (0, 1, 2, 7, 14):
                    yield ends.segment(0, "A", seq=ends.next[0] + (3000 << shift) + 1)

            talks.append(talk)
        yield f"IPv{family}", *streams("tcp", family, talks)


# ---------------------------------------------------------------- what rules write into cut headers
def transports(family, n):
    """Return protocols with the header and some data of each, from port 1000 + n on."""
    src, dst = ENDS[family][:2]
    found = [
        (6, tcp(src, dst, 1000 + n, 53, "SA"[n % 2], data=b"data")), (17, udp(src, dst, 1000 + n, 53, b"data")),
        (17, udp(src, dst, 1000 + n, 53, b"data", zero=True)), (136, udplite(src, dst, 1000 + n, 53, b"data")),
        (132, sctp(1000 + n, 53, 7, chunk(0, body=bytes(12)))), (33, dccp(src, dst, 1000 + n, 53, 0)),
    ]  # fmt: skip
    return [*found, ("icmp", icmp(*((8, 0) if family == 4 else (128, 0)), struct.pack(">HH", n, 1), b"data",
                                  v6=(src, dst) if family == 6 else None))]  # fmt: skip


WRITTEN = [
    *(f"{proto} {field} set {n}" for proto in ("tcp", "udp", "udplite", "sctp", "dccp", "th") for field, n in (("sport", 77), ("dport", 99))),
    "{ip} saddr set {own}", "{ip} daddr set {other}", "tcp window set 9", "tcp checksum set 9", "udp checksum set 9", "udp length set 9",
    "icmp id set 9", "icmpv6 id set 9", "sctp vtag set 9", "ip dscp set 9", "ip ttl set 9", "ip6 hoplimit set 9", "ip6 dscp set 9",
    "@th,0,16 set 5", "@th,16,16 set 6", "@th,48,16 set 6", "@th,64,8 set 6", "@nh,64,8 set 9",
]  # fmt: skip


def nft_takes(own, rule):
    """Return whether nft and the engine take a rule in a table of a family, by its name."""
    chain = LATE.format(name="w", hook="forward", priority=0, rules=f"{rule} counter")
    words, text = ["unshare", "-n", "nft", "-c", "-f", "-"], f"table {own} w {{\n{chain}}}\n"
    if subprocess.run(words, input=text, text=True, errors="replace", check=False, capture_output=True).returncode:
        return False
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/24", "fd01::1/64"])
    node.load_nft(text)
    with contextlib.suppress(fastnat.FastnatError):
        fastnat.Engine(node)
        return True
    return False


def cut_stores():
    """Rules of nftables that write fields, one to a node, and transport headers cut behind each of their bytes."""
    for family in (4, 6):
        own, other = ("198.51.100.77", "203.0.113.77") if family == 4 else ("fd02::77", "fd03::77")
        words = {"ip": "ip" if family == 4 else "ip6", "own": own, "other": other}
        some = [rule for rule in (said.format(**words) for said in WRITTEN) if nft_takes(words["ip"], rule)]
        for number, rule in enumerate(some):
            rng = random.Random(f"cut stores {number}")
            hook, priority = rng.choice(
                (("forward", 0), ("prerouting", -150), ("prerouting", -350), ("postrouting", 50))
            )
            chain = LATE.format(name="w", hook=hook, priority=priority, rules=f"{rule} counter")
            # some behind conntrack, which looks at less than a whole header as well
            track = (
                LATE.format(name="t", hook="forward", priority=9, rules="ct state invalid counter")
                if number % 3
                else ""
            )
            node = node_of(family, nft=f"table {words['ip']} w {{\n{chain}{track}}}\n")
            talk = []
            for proto, l4 in transports(family, number):
                sizes = sorted({*range(min(len(l4), 22)), len(l4)})
                talk += [("cni0", datagram(family, proto, l4[:size], ends=ENDS[family][:2])) for size in sizes]
            yield f"{number}, IPv{family}", node, [[one] for one in talk]


CUT = [
    "-p tcp -m ecn --ecn-tcp-cwr", "-p tcp -m ecn ! --ecn-tcp-ece", "-p tcp -m ecn --ecn-ip-ect 0", "-p tcp -m tcp --sport 1:65535",
    "-p tcp -m tcp --tcp-flags SYN SYN", "-p tcp -m tcp ! --tcp-flags FIN FIN", "-p tcp -m tcp --tcp-option 2", "-p tcp -m tcp ! --tcp-option 3",
    "-p tcp -m tcpmss --mss 0:65535", "-p tcp -m tcpmss ! --mss 500", "-p tcp -m multiport --dports 53,54", "-p udp -m multiport ! --sports 1:9",
    "-p udp -m udp --dport 53", "-p udp -m udp ! --sport 53", "-p udplite -m multiport --ports 53", "-p sctp -m sctp --dport 53",
    "-p sctp -m sctp --chunk-types any DATA", "-p sctp -m sctp ! --chunk-types all DATA", "-p sctp -m sctp --chunk-types only DATA",
    "-p dccp -m dccp --dport 53", "-p dccp -m dccp --dccp-types REQUEST", "-p dccp -m dccp ! --dccp-types DATA", "-p dccp -m dccp --dccp-option 1",
    "-p icmp -m icmp --icmp-type 8/0", "-p icmp -m icmp ! --icmp-type 0", "-p icmp -m icmp --icmp-type any", "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
    "-p ipv6-icmp -m icmp6 ! --icmpv6-type 129", "-m length --length 0:40", "-p udp -j TOS --set-tos 4", "-p tcp -j TCPMSS --set-mss 900",
    "-p tcp -j ECN --ecn-tcp-remove", "-p udp -m hashlimit --hashlimit-above 9/hour --hashlimit-mode srcport,dstport --hashlimit-name cut",
    "-p tcp -j TTL --ttl-set 3", "-p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --clamp-mss-to-pmtu",
]  # fmt: skip


def iptables_takes(family, rule):
    """Return whether iptables and the engine take a rule."""
    tool = {4: "iptables-legacy-restore", 6: "ip6tables-legacy-restore"}[family]
    words, text = ["unshare", "-n", tool], f"*mangle\n-A FORWARD {rule}\nCOMMIT\n"
    if subprocess.run(words, input=text, text=True, errors="replace", check=False, capture_output=True).returncode:
        return False
    node = fastnat.Node()
    with contextlib.suppress(fastnat.FastnatError):
        (node.load_rules if family == 4 else node.load_rules6)(text)
        return True
    return False


def cut_matches():
    """Rules of iptables that read transport headers, one to a node, and headers cut behind each of their bytes."""
    for family in (4, 6):
        some = [rule for rule in CUT if iptables_takes(family, rule)]
        for number, rule in enumerate(some):
            chain = ("FORWARD", "PREROUTING", "POSTROUTING")[number % 3 if "-j" not in rule else 0]
            track = "-A FORWARD -m conntrack --ctstate INVALID\n" if number % 2 else ""
            node = node_of(family, **{f"rules{family}": f"*mangle\n{track}-A {chain} {rule}\n-A {chain}\nCOMMIT\n"})
            talk = []
            for proto, l4 in transports(family, number):
                sizes = sorted({*range(min(len(l4), 22)), len(l4)})
                talk += [("cni0", datagram(family, proto, l4[:size], ends=ENDS[family][:2])) for size in sizes]
            yield f"{number}, IPv{family}", node, [[one] for one in talk]


# ---------------------------------------------------------------- several next hops
def flow_of(rng, family, proto, n):
    """Return packets of one connection: what its tuple does not hold may be another in each of them."""
    src, dst = ENDS[family][0], f"{'203.0.113.' if family == 4 else 'fd03::'}{10 + n % 60}"
    sport, made = 1000 + n, []
    for k in range(6):
        varies = rng.randbytes(4) if rng.random() < 0.6 else struct.pack(">I", n)
        if proto == 17:
            l4 = udp(src, dst, sport, 53, b"q")
        elif proto == 6:
            l4 = tcp(src, dst, sport, 80, "S" if k == 0 else "A", seq=1 + (k > 0), ack=(k > 0))
        elif proto == 136:
            l4 = udplite(src, dst, sport, 53, b"q")
        elif proto == 132:
            l4 = sctp(sport, 53, 0, chunk(1, body=struct.pack(">I", 7) + bytes(12)))
        elif proto == 33:
            l4 = dccp(src, dst, sport if k < 3 else sport + k, 53, 0)
        elif proto == "icmp":
            ends = (src, dst) if family == 6 else None
            l4 = icmp(*((8, 0) if family == 4 else (128, 0)), struct.pack(">HH", sport, k), b"e", v6=ends)
        elif proto == 51:
            # next header, length, reserved, SPI, number
            l4 = bytes([17, 4, 0, 0]) + varies + struct.pack(">I", k) + bytes(12) + udp(src, dst, sport, 53, b"q")
        else:
            l4 = varies + struct.pack(">I", k) + b"e" * 16
        label = {"tos": rng.choice((0, 0, 4))}
        made.append(("cni0", datagram(family, proto, l4, ends=(src, dst), **label)))
    return made


def flows():
    """Connections of every protocol by a route with several next hops, with SPIs and ports that conntrack does not see."""
    for number in range(12):
        family, policy = (6 if number % 2 else 4), number // 2 % 3
        rng = random.Random(f"flows {number}")
        front = "-6 " if family == 6 else ""
        gateways = [f"198.51.100.{k}" if family == 4 else f"fd02::9{k}" for k in (1, 2, 3)]
        ways = "".join(f" nexthop via {one} dev {device} weight {rng.choice((1, 1, 3))}" for one, device in
                       zip(gateways, ("eth0", "eth1", "eth2"), strict=True))  # fmt: skip
        sysctls = {
            "net.ipv4.fib_multipath_hash_seed": rng.randrange(1, 2**31),
            f"net.ipv{family}.fib_multipath_hash_policy": policy,
        }
        nat = f"*nat\n-A POSTROUTING -o eth0 -j SNAT --to-source {ENDS[family][2]}\nCOMMIT\n" if number % 4 > 1 else ""
        rules = f"{nat}*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED\nCOMMIT\n"
        node = node_of(family, sysctls, **{f"rules{family}": rules})
        node["devices"] = node["devices"] | {"eth1": 1500, "eth2": 1500}
        more = "/32" if family == 4 else "/128"
        for k, device in ((1, "eth1"), (2, "eth2")):
            net = f"192.0.2.{64 * k}/26" if family == 4 else f"fd0{3 + k}::1/64"
            node["ip"].append(f"{front}addr add {net.replace('.64/', '.65/').replace('.128/', '.129/')} dev {device}")
            node["ip"].append(f"{front}route add {gateways[k]}{more} dev {device}")
        node["ip"].append(f"{front}route replace {'203.0.113.0/24' if family == 4 else 'fd03::/64'}{ways}")
        protocols = (17, 6, 136, 132, 33, "icmp", 50, 51, 51, 50, 47, 253)
        yield f"{number}, IPv{family}", node, [flow_of(rng, family, rng.choice(protocols), n) for n in range(70)]


# ---------------------------------------------------------------- by lo
def lo_zones():
    """What the node sends to itself, with zones and notrack by protocol and direction, and what conntrack refuses of it."""
    for number in range(16):
        family = 6 if number % 2 else 4
        rng = random.Random(f"lo zones {number}")
        own = ENDS[family][2]
        other = "10.244.1.1" if family == 4 else "fd01::1"
        icmp_ = "icmp" if family == 4 else "ipv6-icmp"
        asks = (
            "-p udp",
            "-p tcp",
            f"-p {icmp_}",
            f"-p {icmp_}",
            "-p udp -m udp --dport 1001",
            "-p tcp -m tcp --sport 1002",
            "",
        )
        gives = (
            "--zone 1",
            "--zone-orig 1",
            "--zone-reply 1",
            "--zone 2",
            "--notrack",
            "--zone-orig 2",
            "--helper tftp",
        )
        raw, near = "", number % 4 > 1
        if near:
            # one direction alone has a zone where it leaves, and none where it comes back
            raw = f"-A OUTPUT -p tcp -m tcp --sport 1000 -j CT {rng.choice(('--zone 1', '--zone-reply 1', '--zone-orig 1'))}\n"
        for _ in range(0 if near else rng.randrange(2, 5)):
            give = rng.choice(gives)
            ask = "-p udp" if "helper" in give else rng.choice(asks)
            raw += f"-A {rng.choice(('OUTPUT', 'OUTPUT', 'PREROUTING -i lo'))} {ask} -j CT {give}\n"
        states = "".join(
            f"-A {chain} -m conntrack --ctstate {s}\n" for chain in ("OUTPUT", "PREROUTING", "INPUT")
            for s in ("INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED"))  # fmt: skip
        sysctls = {"net.netfilter.nf_conntrack_tcp_loose": 0 if near else rng.randrange(2)}
        node = node_of(family, sysctls, **{f"rules{family}": f"*raw\n{raw}COMMIT\n*mangle\n{states}COMMIT\n"})
        talk = []
        for _ in range(110):
            ends = (own, own) if near else rng.choice(((own, own), (own, own), (own, other), (other, own)))
            one, two = (rng.randrange(1000, 1002 if near else 1004) for _ in range(2))
            kind = 0.5 if near else rng.random()
            if kind < 0.35:
                made = udp_of(family, one, two, b"z", ends=ends)
            elif kind < 0.65:
                made = tcp_of(
                    family,
                    one,
                    two,
                    rng.choice(("S", "SA", "A", "A", "FA", "R", "SF", "SR", "")),
                    ends=ends,
                    seq=5,
                    ack=6,
                )
            else:
                v6 = ends if family == 6 else None
                inner = udp_of(family, two, one, b"z", ends=rng.choice((ends, ends[::-1], (own, own))))
                error, echo = ((3, 1), (8, 0)) if family == 4 else ((1, 4), (128, 0))
                back = (0, 0) if family == 4 else (129, 0)
                what = rng.random()
                if what < 0.6:
                    l4 = icmp(*error, bytes(4), inner, v6=v6)
                else:
                    l4 = icmp(*(echo if what < 0.8 else back), struct.pack(">HH", one, 1), b"e", v6=v6)
                made = datagram(family, "icmp", l4, ends=ends)
            talk.append(("local", made))
        yield f"{number}, IPv{family}", node, [[one] for one in talk]


def directed():
    """Zones for one direction or both of whatever comes, by one device or all, and answers to each packet, errors too."""
    for number, (zone, way, device) in enumerate(
        itertools.product((1, 2, 65535), ("zone", "zone-orig", "zone-reply"), ("", "-i cni0 ", "-i eth0 "))
    ):
        for family in (4, 6):
            rng = random.Random(f"directed {number}")
            client, server, _ = ENDS[family]
            states = "".join(
                f"-A FORWARD -i {d} -m conntrack --ctstate {s}\n"
                for d in ("cni0", "eth0")
                for s in ("NEW", "ESTABLISHED", "RELATED", "INVALID")
            )
            raw = f"*raw\n-A PREROUTING {device}-j CT --{way} {zone}\nCOMMIT\n"
            node = node_of(family, **{f"rules{family}": f"{raw}*mangle\n{states}COMMIT\n"})
            talk = []
            for _ in range(30):
                one, two = rng.randrange(1000, 1004), rng.randrange(1000, 1004)
                there = udp_of(family, one, two, b"z", ends=(client, server))
                back = udp_of(family, two, one, b"z", ends=(server, client))
                error = icmp(
                    *((3, 3) if family == 4 else (1, 4)), bytes(4), there, v6=(server, client) if family == 6 else None
                )
                talk += rng.sample(
                    [("cni0", there), ("eth0", back), ("eth0", datagram(family, "icmp", error, ends=(server, client)))],
                    2,
                )
            yield f"{zone} {way} {device or 'all'}, IPv{family}", node, [[one] for one in talk]


# ---------------------------------------------------------------- FTP
def near_addresses():
    """Clients that announce their own address, or one of which few bits differ: only the own one opens anything."""
    clients = {
        4: ("10.244.1.5", "10.244.255.254"),
        6: ("fd01::5", "fd01:0:8000::5", "fd01:ffff:ffff:ffff:ffff:ffff:ffff:fffe"),
    }
    for family, nat in itertools.product((4, 6), (False, True)):
        rng = random.Random(f"near addresses {family} {nat}")
        node = node_of(
            family,
            {"net.netfilter.nf_conntrack_tcp_be_liberal": 1},
            **{f"rules{family}": random_calls.rules(family, nat)},
        )
        one_source(node)
        bits, talks = 32 if family == 4 else 128, []
        for n in range(70):
            client = rng.choice(clients[family])
            said = bytearray(packed(client))
            for bit in rng.sample(range(32 if rng.random() < 0.5 else bits), rng.choice((0, 0, 1, 1, 2, 5))):
                said[bit // 8] ^= 1 << bit % 8
            if rng.random() < 0.2:
                end = rng.randrange(4)
                said[end:] = bytes(len(said) - end)
            numbers = ",".join(map(str, said[:4]))
            form = f"|{1 if family == 4 else 2}|{shown_address(said)}|1793|"
            line = rng.choice((f"PORT {numbers},7,1\r\n", f"EPRT {form}\r\n"))
            ends = Ends(family, 20_000 + n, 21, nat=nat, client=client, server=other_end(family, 1, n))
            talk = [
                *ends.open(),
                ends.segment(1, "PA", data=b"220 ready\r\n"),
                ends.segment(0, "PA", data=b"USER x\r\n"),
            ]
            talk += [ends.segment(0, "PA", data=line.encode()), ends.segment(1, "A")]
            data = Ends(family, 1793, 20, nat=nat, client=client, server=other_end(family, 1, n))
            talks.append([*talk, data.segment(1, "S")])
        yield f"IPv{family}, nat {nat}", node, talks


# ---------------------------------------------------------------- SCTP
def crossings():
    """INITs of both ends that cross, come again and are answered, with few tags: which of them an INIT ACK belongs to."""
    for family in (4, 6):
        rng = random.Random(f"crossings {family}")
        talks = []
        for _ in range(250):
            steps = [
                (rng.choice((0, 0, 1)), rng.choice((1, 1, 1, 2, 2, 10, 11, 0)), rng.randrange(3), rng.randrange(3))
                for _ in range(9)
            ]

            def talk(port, family=family, steps=steps):
                ends = Association(family, port)
                yield ends.packet(0, 1)
                for way, kind, named, carried in steps:
                    said = TAGS[way] + named // 2
                    tag = 0 if kind == 1 else TAGS[1 - way] + carried // 2
                    made = ends.chunk(way, kind, tag=said) if kind in (1, 2) else ends.chunk(way, kind)
                    yield ends.packet(way, made, tag=tag)

            talks.append(talk)
        yield f"IPv{family}", *streams("sctp", family, talks)


# ---------------------------------------------------------------- records of the route
def own_records():
    """Records of the route and time stamps in what comes to the node: which of its addresses it writes into them."""
    nets = [
        "10.244.1.1/24",
        "10.244.1.7/24",
        "10.99.0.1/16",
        "10.99.3.3/24",
        "198.51.100.10/24",
        "198.51.100.11/32",
        "192.0.2.1/30",
    ]
    for number in range(10):
        rng = random.Random(f"own records {number}")
        node = node_of(4, {f"net.ipv4.conf.{name}.rp_filter": rng.choice((0, 0, 2)) for name in ("cni0", "eth0")})
        rng.shuffle(nets)
        node["ip"] = [
            f"addr add {net} {rng.choice(('', 'brd + '))}dev {rng.choice(('cni0', 'eth0', 'eth0', 'lo'))}"
            for net in nets
        ]
        node["ip"] += [f"route add {kind} {net} dev {device}{rng.choice(('', ' scope link')) if not kind else ''}" for kind, net, device in rng.sample((
            ("local", "45.7.7.0/24", "lo"), ("local", "203.0.113.9", "eth0"), ("broadcast", "10.50.0.255", "cni0"),
            ("local", "45.8.8.8", "lo"), ("broadcast", "203.0.113.255", "eth0"), ("", "100.64.0.0/10", "cni0")), 4)]  # fmt: skip
        node["ip"].append("route add default dev eth0")
        every = [net.split("/")[0] for net in nets] + ["45.7.7.7", "203.0.113.9", "45.8.8.8"]
        asked = "\n".join(f"ip option rr addr {int.from_bytes(packed(one))} counter" for one in every)
        chains = "".join(LATE.format(name=hook, hook=hook, priority=0, rules=asked) for hook in ("input", "forward"))
        node["nft"] = f"table ip own {{\n{chains}}}\n"
        to = [*every, "10.50.0.255", "203.0.113.255", "255.255.255.255", "10.244.1.255", "198.51.100.255", "224.0.0.1", "10.99.255.255",
              "100.64.9.9", "8.8.8.8"]  # fmt: skip
        sources = ["10.244.1.5", "10.99.0.9", "10.99.3.9", "198.51.100.1", "192.0.2.2", "8.8.8.8", "100.64.1.1", "0.0.0.0", "0.1.2.3"]  # fmt: skip
        talk = []
        for n in range(160):
            src, dst = rng.choice(sources), rng.choice(to)
            record = b"\7\x0b\4" + bytes(8) if rng.random() < 0.8 else b"\7\7\4" + bytes(4)
            stamp = b"\x44\x0c\5\1" + bytes(8)
            said = ((stamp if rng.random() < 0.4 else b"") + record).ljust(24, b"\0")
            talk.append((rng.choice(("cni0", "eth0")), ip4(src, dst, 17, udp(src, dst, 1000 + n, 53, b"q"), opts=said)))
        yield f"{number}", node, [[one] for one in talk]


def nested():
    """Networks within networks, in the local table and the main one: without policy rules IPv4 asks for the longest of both."""
    nets = {4: ["45.0.0.0/8", "45.7.0.0/16", "45.7.7.0/24", "45.7.7.0/28", "45.7.7.8/30", "45.7.7.9/32"],
            6: ["fd45::/16", "fd45:7::/32", "fd45:7:7::/48", "fd45:7:7::/60", "fd45:7:7:8::/64", "fd45:7:7:8::9/128"]}  # fmt: skip
    inside = {4: ["45.1.1.1", "45.7.1.1", "45.7.7.77", "45.7.7.1", "45.7.7.8", "45.7.7.9", "45.7.7.10"],
              6: ["fd45:1::1", "fd45:7:1::1", "fd45:7:7:77::1", "fd45:7:7:1::1", "fd45:7:7:8::", "fd45:7:7:8::9", "fd45:7:7:8::a"]}  # fmt: skip
    kinds = ("unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit")
    for number in range(24):
        family = 6 if number % 2 else 4
        rng = random.Random(f"nested {number}")
        front, own = ("-6 ", "ip6") if family == 6 else ("", "ip")
        sysctls = (
            {f"net.ipv4.conf.{name}.rp_filter": rng.choice((0, 0, 1, 2)) for name in ("cni0", "eth0")}
            if family == 4
            else {}
        )
        sysctls |= (
            {f"net.ipv4.conf.{name}.accept_local": rng.choice((0, 0, 1)) for name in ("cni0", "eth0")}
            if family == 4
            else {}
        )
        gateway = "198.51.100.1" if family == 4 else "fd02::9"
        ways = ["local {} dev lo", "local {} dev eth0", "{} dev cni0", "{} dev lo", "blackhole {}"]
        ways += [f"{{}} via {gateway} dev eth0"] * 3 + ["throw {}"]
        lines = [f"-m addrtype --{end}-type {kind}{device}" for end in ("src", "dst") for device in ("", " --limit-iface-in")
                 for kind in ("LOCAL", "UNICAST", "UNREACHABLE", "ANYCAST")]  # fmt: skip
        lines += [f"-m rpfilter{words}" for words in ("", " --loose", " --accept-local", " --loose --accept-local")]
        rules = (
            "".join(f"-A PREROUTING {line}\n" for line in lines) + "-A INPUT\n-A FORWARD -o eth0\n-A FORWARD -o cni0\n"
        )
        asked = "\n".join(
            f"fib {end}{more} type {kind} counter"
            for end in ("saddr", "daddr")
            for more in ("", " . iif")
            for kind in kinds
        )
        asked += "\nfib saddr . iif oif exists counter\nfib daddr oif eth0 counter"
        chain = LATE.format(name="asked", hook="prerouting", priority=-160, rules=asked)
        node = node_of(
            family,
            sysctls,
            nft=f"table {own} nested {{\n{chain}}}\n",
            **{f"rules{family}": f"*mangle\n{rules}COMMIT\n"},
        )
        for net in nets[family]:
            metrics = rng.sample((5, 6), rng.choice((0, 1, 1, 2)))
            for metric in metrics:
                # docs/differences.md: behind a throw IPv6 finds another route to the network by the device that it asks for
                way = rng.choice(ways[:-1] if family == 6 and len(metrics) > 1 else ways).format(net)
                table = " table main" if rng.random() < 0.15 and way.startswith("local") else ""
                node["ip"].append(f"{front}route add {way}{table} metric {metric}")
        if rng.random() < 0.5:
            address = f"{inside[family][rng.randrange(7)]}/{rng.choice((12, 20, 29) if family == 4 else (24, 40, 62))}"
            node["ip"].append(f"{front}addr add {address} dev {rng.choice(('lo', 'lo', 'eth0'))}")
        if number % 3 == 2:
            node["ip"] += [
                f"{front}rule add pref 7 fwmark 99 lookup main",
                f"{front}rule add pref 8 ipproto 99 lookup 7",
                f"{front}rule add pref 9 ipproto esp lookup 7",
            ]
            node["ip"].append(f"-6 rule add pref 10 tos {hex(rng.choice((0x20, 0x28, 0xB8, 0x64)))} lookup 7")
        every = [*inside[family], *ENDS[family], "8.8.8.8" if family == 4 else "2003::8"]
        talk = []
        for n in range(150):
            ends = rng.choice(every), rng.choice(every)
            talk.append((rng.choice(("cni0", "eth0")), udp_of(family, 1000 + n, 53, b"q", ends=ends)))
        yield f"{number}, IPv{family}", node, [[one] for one in talk]


def sources_by_lo():
    """The node's own packets to itself by lo, from each of its addresses, where rp_filter looks at the way back."""
    nets = ["10.244.1.1/24", "10.244.1.7/24", "198.51.100.10/24", "198.51.100.11/32", "192.0.2.1/30", "10.99.0.1/16"]
    for number in range(8):
        rng = random.Random(f"sources by lo {number}")
        sysctls = {
            f"net.ipv4.conf.{name}.rp_filter": rng.choice((0, 1, 1, 2)) for name in ("lo", "cni0", "eth0", "all")
        }
        sysctls |= {f"net.ipv4.conf.{name}.accept_local": rng.randrange(2) for name in ("lo", "cni0", "eth0")}
        sysctls["net.ipv4.conf.lo.route_localnet"] = rng.randrange(2)
        node = node_of(4, sysctls, rules4="*filter\n-A INPUT -i lo\n-A INPUT -i cni0\n-A FORWARD -i lo\nCOMMIT\n")
        rng.shuffle(nets)
        node["ip"] = [f"addr add {net} dev {rng.choice(('cni0', 'eth0', 'lo'))}" for net in nets]
        ways = ("local {} dev lo", "local {} dev eth0", "blackhole {}", "{} dev lo", "{} dev eth0")
        node["ip"] += [
            f"route add {rng.choice(ways).format(net)}" for net in ("45.7.7.0/24", "45.8.8.8", "203.0.113.0/24")
        ]
        node["ip"].append("route add default dev eth0")
        if number % 2:
            node["ip"] += [
                "rule add pref 50 from 45.7.7.0/24 lookup 7",
                "route add local 10.77.0.0/16 dev lo table 7",
                "route add default dev cni0 table 7",
            ]
        every = [
            net.split("/")[0] for net in nets
        ] + ["45.7.7.7", "45.8.8.8", "203.0.113.9", "127.0.0.1", "127.0.0.9", "8.8.8.8"]  # fmt: skip
        talk = []
        for n in range(150):
            src, dst = rng.choice(every), rng.choice(every)
            # the route of a raw socket's packet is chosen without its source address: see docs/differences.md
            device = rng.choice(("cni0", "eth0") if number % 2 else ("local", "local", "cni0", "eth0"))
            talk.append((device, ip4(src, dst, 17, udp(src, dst, 1000 + n, 53, b"q"))))
        yield f"{number}", node, [[one] for one in talk]
