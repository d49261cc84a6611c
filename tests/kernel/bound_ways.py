"""Routes, addresses and their checks, with packets for and from the bounds of networks, for bounds.py."""

# ruff: noqa: E501  one line is one kind of rule
import ipaddress
import itertools
import random
import struct

from kernel.handmade import icmp, ip4, ip6, packed, tcp, udp

# ---------------------------------------------------------------- nodes
# as large where a way may have several hops: of the way back TCPMSS of the engine asks the first alone
DEVICES = {"lan0": 1400, "wan0": 1400, "wan1": 1400, "bare0": 1300}
ADDRESSES = {
    4: {
        "lan0": ["10.1.0.1/24", "10.1.0.2/24", "10.1.1.1/26", "10.1.0.3/24"],
        "wan0": ["198.51.100.10/28", "192.0.2.5/31", "198.51.100.33/32", "198.51.100.20/28 scope link"],
        "wan1": ["203.0.113.2/30", "203.0.113.77 peer 203.0.113.78/32", "203.0.113.65/29 scope host"],
        "lo": ["10.96.0.1/32", "10.97.0.1/24"],
    },
    # of every scope and label that RFC 6724 knows
    6: {
        "lan0": ["fd00:1::1/64 nodad", "fe80::1/64 nodad", "2001:db8:1::1/64 nodad", "fec0:0:0:1::1/64 nodad"],
        "wan0": ["2001:db8:a::10/64 nodad", "2001:db8:a::8010/64 nodad", "fe80::2/64 nodad", "2002:c633:640a::1/48 nodad",
                 "2001::4136:e378:8000:63bf/64 nodad", "fd00:a::1/64 nodad"],
        "wan1": ["2001:db8:b::2/126 nodad", "2001:db8:b:1::1/64 nodad preferred_lft 0", "fe80::3/64 nodad",
                 "2001:10::1/64 nodad", "::c633:640a/96 nodad", "2001:db8:b:2::1/64 home nodad"],
        "lo": ["2001:db8:ff::1/128 nodad"],
    },
}  # fmt: skip
GATEWAYS = {
    4: {"lan0": "10.1.0.9", "wan0": "198.51.100.1", "wan1": "203.0.113.1"},
    6: {"lan0": "fd00:1::9", "wan0": "2001:db8:a::1", "wan1": "2001:db8:b::1"},
}
# whatever addresses the device has
ONLINK = " onlink"
# networks within networks, and what is at their ends
NETWORKS = {
    4: ["45.0.0.0/8", "45.7.0.0/16", "45.7.7.0/25", "45.7.7.7/32", "100.64.0.0/10", "8.8.8.8/31", "224.0.0.0/4"],
    6: ["2600::/12", "2600:7::/32", "2600:7:7::/49", "2600:7:7::7/128", "2002:100::/24", "fd50::/48", "64:ff9b::/96"],
}
KINDS = ("blackhole", "unreachable", "prohibit", "throw")
SWITCHES = {
    "rp_filter": (0, 1, 2), "accept_local": (0, 1), "route_localnet": (0, 1), "bc_forwarding": (0, 1),
    "send_redirects": (0, 1), "src_valid_mark": (0, 1), "forwarding": (0, 1, 1, 1), "accept_source_route": (0, 1, 1),
}  # fmt: skip


def hop(rng, family, device):
    """Return a way to a network."""
    gateway = GATEWAYS[family].get(device)
    return f"via {gateway} dev {device}{ONLINK}" if gateway and rng.random() < 0.7 else f"dev {device}"


def hops(rng, family):
    """Return two or three ways, of one weight or of several."""
    there = rng.sample(sorted(GATEWAYS[family]), rng.choice([2, 2, 3]))
    return " ".join(
        f"nexthop via {GATEWAYS[family][d]} dev {d} weight {rng.choice([1, 1, 2, 5])}{ONLINK}" for d in there
    )


def some_routes(rng, family):
    """Return words of `ip` for routes of all kinds in three tables, and for rules that choose among them."""
    found = [f"route add default {hops(rng, family) if rng.random() < 0.4 else hop(rng, family, 'wan0')}"]
    for net in NETWORKS[family]:
        kind = rng.random()
        # IPv6 has its own routes to groups
        if kind < 0.25:
            found.append(f"route add {net} {hops(rng, family)}")
        elif kind < 0.65:
            found.append(f"route add {net} {hop(rng, family, rng.choice(list(DEVICES)))}")
        elif kind < 0.85:
            found.append(f"route add {rng.choice(KINDS)} {net}")
    if rng.random() < 0.3:
        found.append(f"route add {NETWORKS[family][3]} {hop(rng, family, 'wan1')} metric 5")
    if rng.random() < 0.4:
        return found
    for table in (7, 8):
        if rng.random() < 0.7:
            found.append(f"route add default {hop(rng, family, rng.choice(list(DEVICES)))} table {table}")
        for net in rng.sample(NETWORKS[family], 2):
            kind = rng.choice([*KINDS, None, None])
            found.append(f"route add {kind} {net} table {table}" if kind else
                         f"route add {net} {hop(rng, family, rng.choice(list(DEVICES)))} table {table}")  # fmt: skip
    inside = "10.1.0.0/30" if family == 4 else "fd00:1::/126"
    what = [
        f"from {inside}", f"not from {inside}", f"to {NETWORKS[family][1]}", "fwmark 2/0x3", "fwmark 1", "iif lan0", "iif lo", "not iif wan0",
        "ipproto udp", "ipproto tcp dport 80", "ipproto udp sport 1000-2000", "dport 53-99", "tos 0x10", "oif wan0", "not fwmark 1/0x1",
    ]  # fmt: skip
    then = ["lookup 7", "lookup 8", "lookup 7", "lookup main suppress_prefixlength 0", "lookup 8 suppress_prefixlength 16",
            "blackhole", "unreachable", "prohibit"]  # fmt: skip
    some = range(100, 100 + rng.randrange(1, 5))
    return [*found, *(f"rule add pref {place} {rng.choice(what)} {rng.choice(then)}" for place in some)]


def some_sysctls(rng, family):
    """Return the sysctls of routing, each at random for each device."""
    said = {"net.ipv4.fib_multipath_hash_seed": rng.randrange(1, 2**31)}
    said[f"net.ipv{family}.fib_multipath_hash_policy"] = rng.choice([0, 1])
    if family == 6:
        return said
    for name, values in SWITCHES.items():
        if rng.random() < 0.6:
            for device in (*DEVICES, "lo") if name != "rp_filter" else (*DEVICES, "all"):
                if device not in ("all", "lo") or rng.random() < 0.3:
                    said[f"net.ipv4.conf.{device}.{name}"] = rng.choice(values)
    return said


TYPES = {
    4: ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "MULTICAST", "UNREACHABLE"),
    6: ("UNSPEC", "UNICAST", "LOCAL", "ANYCAST", "MULTICAST", "UNREACHABLE", "UNICAST,LOCAL"),
}
FLAGS = (
    "",
    "--loose",
    "--validmark",
    "--accept-local",
    "--invert",
    "--loose --accept-local",
    "--loose --validmark --invert",
)


def rules(rng, family):
    """Return rules that mark by port, count by the types of addresses and by the way back, and masquerade."""
    counted = [
        f"-m addrtype {inverse}--{end}-type {kind}"
        for inverse in ("", "! ")
        for end in ("src", "dst")
        for kind in TYPES[family]
    ]
    asked = "".join(f"-A PREROUTING {match}\n" for match in [
        *counted, *(f"{match} --limit-iface-in" for match in counted[:: 2]), *(f"-m rpfilter {flags}" for flags in FLAGS),
    ])  # fmt: skip
    late = "".join(f"-A FORWARD {match} --limit-iface-out\n-A FORWARD {match}\n" for match in counted[::2])
    late += "".join(f"-A {chain} {match}\n" for chain in ("INPUT", "FORWARD") for match in counted[1::2])
    late += "".join(f"-A POSTROUTING -o {device}\n" for device in DEVICES)
    late += "-A FORWARD -p tcp -m tcp --dport 80 --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n"
    marks = "".join(f"-A PREROUTING -p udp -m udp --dport {53 + n} -j MARK --set-mark {n}\n" for n in range(1, 4))
    nat = "".join(f"-A POSTROUTING -o {device} -p udp -j MASQUERADE\n" for device in DEVICES)
    nat += f"-A PREROUTING -i {rng.choice(list(DEVICES))} -p tcp -m tcp --dport 81 -j REDIRECT\n"
    # what nobody tracks is routed packet by packet
    track = "" if rng.random() < 0.7 else "-A PREROUTING -m statistic --mode nth --every 2 --packet 0 -j NOTRACK\n"
    return f"*raw\n{track}{asked}COMMIT\n*mangle\n{marks}{late}COMMIT\n*nat\n{nat}COMMIT\n"


NFT = """
table {own} ways {{
chain early {{
type filter hook prerouting priority raw + 1; policy accept;
{early}
}}
chain late {{
type filter hook forward priority filter + 1; policy accept;
{late}
}}
chain there {{
type filter hook input priority filter + 1; policy accept;
{input}
}}
}}
"""
FIBS = [
    *(f"fib {end} type {kind}" for end in ("saddr", "daddr") for kind in
      ("local", "unicast", "broadcast", "multicast", "anycast", "unreachable", "blackhole", "prohibit", "unspec")),
    *(f"fib {end}{mark} oif{name} {said}" for end in ("saddr", "daddr") for mark in ("", " . mark") for name, said in
      (("", "wan0"), ("", "lan0"), ("name", '"wan*"'), ("", "exists"), ("", "missing"))),
]  # fmt: skip
FIBS_BY_IIF = [
    f"fib {end} . iif {said}" for end in ("saddr", "daddr") for said in ("type local", "type unicast", "type broadcast")
]
FIBS_BY_OIF = [
    f"fib {end} . oif {said}" for end in ("saddr", "daddr") for said in ("type local", "type unicast", "type multicast")
]
FIBS_BACK = [
    "fib saddr . iif oif exists",
    "fib saddr . iif oif missing",
    "fib saddr . mark . iif oif wan0",
    'fib saddr . iif oifname "lan0"',
]


def nft_rules(family):
    """Return rules of nftables that count by routes."""
    hop_of = [f"rt {'ip' if family == 4 else 'ip6'} nexthop {gateway}" for gateway in GATEWAYS[family].values()]
    lines = {
        "early": [*FIBS, *FIBS_BY_IIF, *FIBS_BACK, "meta pkttype host", "meta pkttype multicast", "meta pkttype broadcast"],
        "late": [*FIBS[:18], *FIBS_BY_OIF, *FIBS_BACK, *hop_of, 'oifname "wan1"', "tcp dport 79 tcp option maxseg size set rt mtu"],
        "input": [*FIBS[:18], *FIBS_BY_IIF, *FIBS_BACK],
    }  # fmt: skip
    # each device has a route to all groups: which of them is the first depends on when they came up
    front = "ip6 daddr != ff00::/8 " if family == 6 else ""
    lines = {chain: "\n".join(f"{front}{rule} counter" for rule in said) for chain, said in lines.items()}
    return NFT.format(own="ip" if family == 4 else "ip6", **lines)


def node(rng, family, number):
    """Return a node in the form of gateway.py."""
    front = "-6 " if family == 6 else ""
    there = []
    for device, words in ADDRESSES[family].items():
        # the kernel's order of addresses counts, and which of them is the first
        some = [w for w in words if rng.random() < 0.8] or words[:1]
        rng.shuffle(some)
        there += [f"addr add {w} dev {device}" for w in some]
    ip = [f"{front}{words}" for words in [*there, *some_routes(rng, family)]]
    made = {
        "devices": DEVICES,
        "ip": ip,
        "sysctls": some_sysctls(rng, family),
        "sets": "",
        "rules4": None,
        "rules6": None,
    }
    made[f"rules{family}"] = rules(rng, family)
    return made | ({"nft": nft_rules(family)} if number % 2 else {})


# ---------------------------------------------------------------- packets
ODD = {
    4: ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.0.0.9", "224.0.0.1", "224.0.0.2", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "10.1.0.255", "10.1.0.0", "10.1.1.63", "198.51.100.15", "203.0.113.3", "192.0.3.77", "10.97.0.7"],
    6: ["::", "::1", "::2", "::c633:6402", "::ffff:198.51.100.1", "fe80::9", "fec0::9", "fec0:0:0:1::9", "ff00::1", "ff01::1",
        "ff02::1", "ff02::2", "ff02::1:ff00:1", "ff02::1:ff00:77", "ff05::3", "ff05::1", "ff0e::1", "2001:db8:a::", "2001:db8:b::",
        "2001::9", "2001:10::9", "2001:1f::9", "2001:20::9", "2002:1::9", "2003::9", "fc00::9", "fbff::9", "fe00::9", "fe7f::9",
        "febf::9", "ff0e::101", "2001:db8:b:1::9", "2001:db8:1::9"],
}  # fmt: skip


def bounds_of(net):
    """Return the first and the last address of a network, and those beside them."""
    net = ipaddress.ip_network(net, strict=False)
    ends = {int(net[0]) - 1, int(net[0]), int(net[0]) + 1, int(net[-1]) - 1, int(net[-1]), int(net[-1]) + 1}
    return [str(net[0].__class__(end)) for end in sorted(ends) if 0 < end < 2**net.max_prefixlen]


def addresses(family):
    """Return the addresses of a node with their neighbours, those at the ends of NETWORKS, and odd ones."""
    own = [w.split()[0] for words in ADDRESSES[family].values() for w in words]
    near = [str(ipaddress.ip_interface(a).ip + n) for a in own for n in (0, 1)] + [*GATEWAYS[family].values()]
    return [*ODD[family], *near, *itertools.chain(*(bounds_of(net) for net in NETWORKS[family]))]


def quoted(family, src, dst, number):
    """Return an ICMP error about a datagram that went from dst to some other address; hashes of next hops read it."""
    other = ENDS[family][number % 2]
    inner = udp(dst, other, 53, 1000 + number % 60000, b"q")
    inner = ip4(dst, other, 17, inner) if family == 4 else ip6(dst, other, 17, inner, 64, 0, number % 3)
    kind, code = (3, 1) if family == 4 else (1, 0)
    return icmp(kind, code, bytes(4), inner, v6=(src, dst) if family == 6 else None), 1 if family == 4 else 58


ENDS = {4: ("45.7.7.9", "100.64.3.3"), 6: ("2600:7:7::9", "fd50::3")}
# a record of the route, time stamps, routers to go by, an alert
OPTIONS = (b"\x07\x0b\x04" + bytes(8), b"\x44\x0c\x05\0" + bytes(8), b"\x44\x14\x05\1" + bytes(16), b"\x94\x04\0\0")
STRICT, LOOSE = 137, 131


def options(rng, dst):
    """Return the address and the options of a packet of IPv4 that goes to dst: often by another address."""
    if rng.random() < 0.6:
        return dst, rng.choice(OPTIONS).ljust(20, b"\1")
    by = rng.choice([*ODD[4][:12], "10.1.0.1", "198.51.100.10", "45.7.7.9", "198.51.100.1"])
    route = bytes([rng.choice([STRICT, LOOSE]), 7, 4]) + packed(dst) + b"\0"
    return by, route


def packet(rng, family, src, dst, number):
    """Return a datagram whose ports, mark and TOS policy rules ask for; no two are of one flow."""
    sport, kind = 1000 + number % 60000, rng.random()
    tos = rng.choice([0, 0, 0x10, 0x12, 0xFC])
    if kind < 0.65:
        l4, proto = udp(src, dst, sport, rng.choice([53, 54, 55, 56, 99, 100]), b"q"), 17
    elif kind < 0.85:
        l4, proto = tcp(src, dst, sport, rng.choice([79, 80, 81]), "S", opts=b"\2\4\5\xb4"), 6
    elif kind < 0.9:
        echo = (8, 1) if family == 4 else (128, 58)
        l4, proto = (
            icmp(echo[0], 0, struct.pack(">HH", sport, 1), b"e", v6=(src, dst) if family == 6 else None),
            echo[1],
        )
    elif kind < 0.96:
        l4, proto = quoted(family, src, dst, number)
    else:
        l4, proto = struct.pack(">II", number, 1) + b"e" * 16, rng.choice([50, 47])
    if family == 6:
        return ip6(src, dst, proto, l4, 64, tos, rng.choice([0, 0, 7, 0xFFFFF]))
    if rng.random() < 0.1:
        by, said = options(rng, dst)
        return ip4(src, by, 17, udp(src, by, sport, 53, b"q"), 64, tos, opts=said)
    return ip4(src, dst, proto, l4, 64, tos)


def ways():
    """Yield nodes, with packets from and to whatever address by each device."""
    for number in range(16):
        if number == 7:
            # docs/differences.md: of several next hops the kernel begins with the one whose device has the source address
            continue
        family = 6 if number % 4 > 1 else 4
        rng = random.Random(f"ways {number}")
        made = node(rng, family, number)
        every = addresses(family)
        pairs = [(rng.choice(every), dst) for dst in every for _ in range(9)] + [
            (src, rng.choice(every)) for src in every for _ in range(9)
        ]
        rng.shuffle(pairs)
        talk = [(rng.choice([*DEVICES, "lan0"]), packet(rng, family, *pair, n)) for n, pair in enumerate(pairs[:1200])]
        # the route of a raw socket's packet is chosen without its source address: see docs/differences.md
        asks = any("nexthop" in words or "rule add" in words for words in made["ip"])
        own = [w.split()[2].split("/")[0] for w in (w.removeprefix("-6 ") for w in made["ip"]) if w.startswith("addr")]
        for n, dst in enumerate([] if asks else every * 2):
            if not dst.startswith(("ff0", "fe")):
                talk.append(("local", packet(rng, family, rng.choice(own), dst, 2000 + n)))
        # so that one packet in which a port is drawn does not end all of them
        yield f"{number}, IPv{family}", made, [talk[n : n + 20] for n in range(0, len(talk), 20)]
