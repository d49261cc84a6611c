"""Packets of known connections, as bytes and as headers: the short ways give what the long one gives."""

import random

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES, MASQUERADE, SERVER, clients, router
from nodes import EVENTS, taken_events
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt

import fastnat
from fastnat import Verdict
from fastnat.dtypes import CONN_LIVE

NFT = "table inet t {{ chain c {{ type nat hook postrouting priority 100; oifname r1 {} }} }}"
NAT = MASQUERADE.format("")
RULES = {
    "masquerade": {"rules": NAT},
    "random ports": {"rules": MASQUERADE.format("--random-fully")},
    "one port for two": {
        "rules": "*nat\n-A POSTROUTING -o r1 -p udp -j MASQUERADE --to-ports 2000-2005\n"
        "-A POSTROUTING -o r1 -j MASQUERADE\nCOMMIT\n"
    },
    "no translation": {"rules": "*nat\nCOMMIT\n"},
    "rules of other tables": {
        "rules": f"{NAT}*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        "-A FORWARD -m ttl --ttl-lt 9 -j DROP\nCOMMIT\n"
    },
    "a helper": {"rules": f"{NAT}*raw\n-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n"},
    "nftables": {"nft": NFT.format("masquerade")},
    "filter": {
        "rules": f"{NAT}*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n-A FORWARD -i r0 -j ACCEPT\n"
        "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j ACCEPT\n-A FORWARD -j ACCEPT\nCOMMIT\n"
        "*mangle\n-A PREROUTING -i r0 -j MARK --set-mark 7\nCOMMIT\n"
    },
    "a service": {
        "rules": "*nat\n-A PREROUTING -d {server} -p tcp -j DNAT --to {to}\n"
        "-A PREROUTING -d {server} -p udp -j DNAT --to {to}\n" + NAT.removeprefix("*nat\n")
    },
    "marks": {"rules": f"{NAT}*mangle\n-A PREROUTING -i r0 -j CONNMARK --set-mark 5\nCOMMIT\n"},
}
SEEDS = [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))]
# by their places in the node
IFACES = {"r0": 2, "r1": 3}


def node_of(name, family, rng):
    to = "192.0.2.77:8080" if family == 4 else "[fd02::77]:8080"
    rules = {k: v.replace("{server}", SERVER[family]).replace("{to}", to) for k, v in RULES[name].items()}
    if family == 6 and "rules" in rules:
        rules["rules"] = rules["rules"].replace("-m ttl --ttl-lt", "-m hl --hl-lt")
    node = router(family, **rules)
    for iface in ("r0", "r1"):
        node.interfaces[iface].mtu = rng.choice([1500, 1500, 1300])
    if rng.random() < 0.3:
        node.sysctls["net.ipv4.conf.all.rp_filter"] = rng.choice(["1", "2"])
    if rng.random() < 0.2:
        node.sysctls["net.netfilter.nf_conntrack_checksum"] = "0"
    return node


def datagram(rng, family, src, dst, proto, sport, dport, back):
    """Return bytes of one packet; a few are odd: sizes, hops, options, checksums."""
    hops = rng.choice([64, 64, 64, 64, 2, 1, 0])
    size = rng.choice([0, 8, 8, 9, 33, 1200, 1272, 1273, 1300, 1473])
    layer = (
        IP(src=src, dst=dst, ttl=hops, flags=rng.choice(["", "DF"]))
        if family == 4
        else IPv6(src=src, dst=dst, hlim=hops)
    )
    if family == 4 and rng.random() < 0.05:
        layer.options = [IPOption_NOP()] * 4
    if family == 6 and rng.random() < 0.05:
        layer /= IPv6ExtHdrDestOpt()
    if proto == "udp":
        layer /= UDP(sport=sport, dport=dport)
        if rng.random() < 0.2:
            layer[UDP].chksum = 0
        if rng.random() < 0.1:
            layer[UDP].len = rng.choice([8, 7, 8 + size, 8 + size // 2, 9 + size])
    elif proto == "tcp":
        layer /= TCP(sport=sport, dport=dport, flags=rng.choice("SAAAFR"), seq=rng.choice([5, 6, 7]), ack=1)
    elif family == 4:
        layer /= ICMP(type=0 if back else 8, id=sport)
    else:
        layer /= (ICMPv6EchoReply if back else ICMPv6EchoRequest)(id=sport)
    data = bytearray(bytes(layer / rng.randbytes(size)))
    if rng.random() < 0.1:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data) + rng.choice([b"", b"", b"", b"padding"])


def talk(rng, family):
    """Yield packets of few connections, and answers to what was forwarded: (interface, bytes)."""
    known = []
    while True:
        proto = rng.choice(["udp", "udp", "udp", "tcp", "icmp"])
        client, sport = str(rng.choice(clients(family, 3))), rng.choice([4000, 4001])
        iface, ends, back = "r0", (client, SERVER[family]), False
        ports = (sport, rng.choice([53, 53, 69]))
        if known and rng.random() < 0.5:
            proto, there, ports = rng.choice(known)
            iface, ends, back = rng.choice(["r1", "r1", "r1", "r0"]), there, True
        data = datagram(rng, family, *ends, proto, *ports, back)
        said = yield iface, data
        if said is not None and iface == "r0" and not back:
            answer = (IP if family == 4 else IPv6)(said)
            if proto == "icmp":
                known.append(
                    (proto, (answer.dst, answer.src), (int.from_bytes(said[24:26] if family == 4 else said[44:46]), 0))
                )
            elif answer.haslayer(UDP if proto == "udp" else TCP):
                known.append((proto, (answer.dst, answer.src), (answer.payload.dport, answer.payload.sport)))


def windows(nat):
    """Return what the engine knows of the TCP connections that live, beside their states: numbers, windows, options."""
    found = []
    for stack in nat.stacks.values():
        conns, tcp = stack.core.arrays["conns"], stack.core.arrays["tcp"]
        found += [tcp[k].tobytes() for k in np.flatnonzero((conns["flags"] & CONN_LIVE != 0) & (conns["state"] != 0))]
    return found


def seen(nat):
    events = [taken_events(nat, v) for v in nat.stacks]
    return windows(nat), nat.conntrack.format("proc"), nat.stats, [nat.save_rules(v) for v in nat.stacks], events


def frames(nat, parts, ifaces, now):
    buffer = np.frombuffer(b"".join(parts), np.uint8).copy()
    offsets = np.cumsum([0, *map(len, parts)])
    numbers = np.array([IFACES[i] for i in ifaces], np.uint16)
    out = nat.process_frames(buffer, offsets, numbers, now)
    return out.tobytes(), buffer.tobytes()


def drawn(test):
    """Return a test of both families, all rules and some seeds; it is given what draws, a node and the seed."""

    @pytest.mark.one_of(3)
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("name", RULES)
    @FAMILIES
    def run(family, name, seed):
        rng = random.Random(f"{test.__name__} {family} {name} {seed}")
        test(family, rng, node_of(name, family, rng), seed)

    return run


@drawn
def test_bytes_take_the_short_way_as_they_take_the_long(family, rng, node, seed):
    profile = rng.choice(["linux-6.18", "linux-6.18", "linux-5.4"])
    room = rng.choice(EVENTS)
    short, long, one, other = (
        fastnat.Engine(node, profile, seed, remember=r, events=room) for r in (True, False, True, False)
    )
    packets, now, waiting = talk(rng, family), 0.0, []
    iface, data = next(packets)
    for _ in range(250):
        answers = [nat.process_packet(data, iface, now) for nat in (one, other)]
        assert answers[0] == answers[1]
        waiting.append((iface, data))
        verdict, said = answers[0][:2]
        iface, data = packets.send(said if verdict == Verdict.FORWARD else None)
        if rng.random() < 0.05:
            parts, ifaces = [d for _, d in waiting], [i for i, _ in waiting]
            assert frames(short, parts, ifaces, now) == frames(long, parts, ifaces, now)
            waiting = []
            now += rng.choice([0.0, 0.004, 1.0, 5.0, 40.0])
            for nat in (short, long, one, other):
                nat.advance(now)
            for quick, slow in ((short, long), (one, other)):
                assert taken_events(quick, family) == taken_events(slow, family)
    assert seen(short) == seen(long)
    assert seen(one) == seen(other)
    for nat in (short, one):
        nat.check()


def segment(rng, family, conn, back):
    """Return one segment of a connection in which both ends count; a few are odd."""
    (src, dst), (sport, dport) = (c[::-1] for c in conn["out"]) if back else conn["sent"]
    flags = rng.choice(["A", "A", "PA", "PA", "FA"]) if conn["answered"] else "SA" if back else "S"
    conn["answered"] |= back
    if rng.random() < 0.05:
        flags = rng.choice(["S", "SA", "R", "RA", "F", "", "SF"])
    mine, other = conn["seq"][back], conn["seq"][not back]
    off = rng.choice([0] * 12 + [1, -1, 70_000, -70_000, 1 << 31])
    options = (
        [("MSS", 1460), ("WScale", rng.choice([0, 7, 15])), ("SAckOK", b"")]
        if "S" in flags
        else [("Timestamp", (1, 2))]
    )
    layer = TCP(
        sport=sport, dport=dport, flags=flags, seq=(mine + off) % 2**32, ack=other if "A" in flags else 0,
        window=rng.choice([0, 1, 500, 64_000, 65_535]), options=options[: rng.randrange(len(options) + 1)],
    )  # fmt: skip
    size = rng.choice([0, 0, 1, 60, 1200]) if "S" not in flags or rng.random() < 0.1 else 0
    data = bytearray(bytes((IP if family == 4 else IPv6)(src=src, dst=dst) / layer / rng.randbytes(size)))
    if rng.random() < 0.03:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if not off:
        conn["seq"][back] = (mine + size + ("S" in flags) + ("F" in flags)) % 2**32
    return bytes(data)


@drawn
def test_connections_with_windows(family, rng, node, seed):
    limits = {"net.netfilter.nf_conntrack_tcp_timeout_max_retrans": rng.choice(["300", "300", "60", "119"])}
    node.sysctls.update(limits)
    profile, room = rng.choice(["linux-6.18", "linux-6.18", "linux-5.4"]), rng.choice(EVENTS)
    ways = [fastnat.Engine(node, profile, seed, remember=r, events=room) for r in (True, False, True, False)]
    conns, now, parts, ifaces = [], 0.0, [], []
    for _ in range(200):
        conn = rng.choice(conns) if conns and rng.random() < 0.9 else None
        if conn is None:
            sent = (str(rng.choice(clients(family, 5))), SERVER[family]), (rng.randrange(4000, 4040), 443)
            conn = {"sent": sent, "out": None, "seq": [rng.choice([5, 2**32 - 3]), 7], "answered": False}
            conns = [*conns[-12:], conn]
        back = conn["out"] is not None and rng.random() < 0.5
        data = segment(rng, family, conn, back)
        iface = "r1" if back else "r0"
        answers = [nat.process_packet(data, iface, now) for nat in ways[2:]]
        assert answers[0] == answers[1]
        if answers[0][0] == Verdict.FORWARD and not back:
            left = (IP if family == 4 else IPv6)(answers[0][1])
            if left.haslayer(TCP):
                conn["out"] = (left.src, left.dst), (left[TCP].sport, left[TCP].dport)
        parts.append(data)
        ifaces.append(iface)
        if rng.random() < 0.03:
            assert frames(ways[0], parts, ifaces, now) == frames(ways[1], parts, ifaces, now)
            parts, ifaces = [], []
            now += rng.choice([0.0, 0.004, 1.0, 59.0, 118.0])
            for nat in ways:
                nat.advance(now)
    assert seen(ways[0]) == seen(ways[1])
    assert seen(ways[2]) == seen(ways[3])
    for nat in ways:
        nat.check()


@drawn
def test_headers_of_answers_and_echos(family, rng, node, seed):
    room = rng.choice(EVENTS)
    short, long = (fastnat.Engine(node, seed=seed, remember=r, events=room) for r in (True, False))
    now = 0.0
    for _ in range(30):
        n = rng.randrange(1, 90)
        proto = rng.choice(["udp", "tcp", "icmp" if family == 4 else "icmpv6"])
        ask, answer = ((8 << 8, 0) if family == 4 else (128 << 8, 129 << 8)) if "icmp" in proto else (53, 0)
        fields = {
            "proto": proto, "src": [rng.choice(clients(family, 9)) for _ in range(n)],
            "sport": [rng.randrange(4000, 4004) for _ in range(n)], "dst": SERVER[family], "dport": ask, "iface": "r0",
        }  # fmt: skip
        sent = short.packets(**fields, tcp_flags=rng.choice([2, 16]))
        out = short.process(sent, now)
        np.testing.assert_array_equal(long.process(sent, now), out)
        back = sent.copy()
        for end, of in (("src", "dst"), ("dst", "src")):
            back[end] = out[of]
        back["sport"] = out["sport"] if "icmp" in proto else out["dport"]
        back["dport"] = answer if "icmp" in proto else out["sport"]
        back["iface"] = [IFACES[rng.choice(["r1", "r1", "r1", "r0"])] for _ in range(n)]
        back["tcp_flags"] = rng.choice([18, 16, 4])
        # some never, some twice
        back = back[[k for k in range(n) for _ in range(rng.choice([0, 1, 1, 2]))]]
        now += rng.choice([0.0, 0.004, 2.5, 31.0])
        np.testing.assert_array_equal(long.process(back, now), short.process(back, now))
        if rng.random() < 0.3:
            assert taken_events(short, family) == taken_events(long, family)
    assert seen(short) == seen(long)
    short.check()
