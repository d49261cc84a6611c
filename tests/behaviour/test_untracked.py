"""Packets without a connection: the short way gives what the long one gives.

Nodes whose rules ask for no connection, and NOTRACK for a part of the packets, as header batches of odd addresses among
others. Packets, tables, counters of the engine and of the rules, and events are compared.
"""

import ipaddress

import numpy as np
import pytest
from nodes import EVENTS, make_dual, taken_events

import fastnat
from fastnat.node.parts import Hop, Route

# of what a chain may hold; of IPv6 the addresses are others
RULES = {
    ("raw", "PREROUTING"): [
        "-j CT --notrack", "-i cni0 -j CT --notrack", "-p udp -m udp --dport 53 -j CT --notrack",
        "-s 10.244.2.4/30 -j CT --notrack", "-d 203.0.113.2 -j CT --notrack", "-m mark --mark 3 -j CT --notrack",
        "-p icmp -j CT --notrack", "-p tcp --tcp-flags SYN SYN -j CT --notrack", "-j MARK --set-mark 1",
        "-s 10.244.2.6 -j DROP", "-m limit --limit 5/s --limit-burst 20 -j CT --notrack", "-p udp -j CT --zone 7",
        "-p udp -m udp --sport 1031 -j ACCEPT", "-m conntrack --ctstate UNTRACKED -j LOG",
    ],
    ("mangle", "PREROUTING"): ["-j MARK --or-mark 2", "-p udp", "-d 203.0.113.3 -j DROP", "-j CONNMARK --save-mark"],
    ("mangle", "FORWARD"): ["-i eth0", "-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", "-m mark --mark 2/2 -j LOG"],
    ("filter", "FORWARD"): [
        "-p tcp -m tcp --dport 443 -j ACCEPT", "-s 10.244.2.5 -j DROP", "-m statistic --mode nth --every 3 -j ACCEPT",
        "-m conntrack --ctstate UNTRACKED -j ACCEPT", "-m conntrack --ctstate NEW,ESTABLISHED", "-o cni0 -j ACCEPT",
    ],
    ("mangle", "POSTROUTING"): ["-o eth0", "-p icmp -j MARK --set-mark 9"],
}  # fmt: skip
NAT = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
SIX = {
    "10.244.2.4/30": "fd00:1::2:4/126", "10.244.2.": "fd00:1::2:", "203.0.113.": "2001:db8:9::",
    "-p icmp": "-p ipv6-icmp",
}  # fmt: skip
# what nobody should have, or should not everywhere
ODD = {
    4: ["0.0.0.0", "127.0.0.1", "224.0.0.1", "224.0.0.251", "255.255.255.255", "10.244.255.255", "10.244.1.1",
        "198.51.100.10", "169.254.1.1", "240.0.0.1", "192.0.2.9"],
    6: ["::", "::1", "ff02::1", "ff05::2", "fe80::5", "fd00:1::1", "2001:db8::10", "::ffff:1.2.3.4", "2001:db8:7::9"],
}  # fmt: skip
SEEDS = [*range(24), *(pytest.param(n, marks=pytest.mark.slow) for n in range(24, 400))]


def drawn_rules(rng):
    """Return rules: none, some of any table that ask for no connection, or with NOTRACK and NAT."""
    kind = rng.integers(4)
    if kind == 0:
        return ""
    texts = {}
    for (table, chain), pool in RULES.items():
        if rng.random() < 0.4 and not (kind > 1 and table == "raw"):
            continue
        if kind == 1:
            pool = [rule for rule in pool if "CT" not in rule and "conntrack" not in rule and "CONNMARK" not in rule]
        chosen = sorted(rng.permutation(len(pool))[: rng.integers(1, 4)].tolist())
        texts.setdefault(table, []).extend(f"-A {chain} {pool[k]}" for k in chosen)
    text = "".join(f"*{table}\n" + "\n".join(lines) + "\nCOMMIT\n" for table, lines in texts.items())
    return text + NAT * int(kind == 3)


def add_hops(node, family):
    """Give a part of the servers two next hops, of which each flow has its own."""
    node.add_interface("eth1", ["198.18.0.1/24", "2001:db8:5::1/64"])
    net, *gateways = {
        4: ("203.0.113.4", "198.51.100.2", "198.18.0.2"), 6: ("2001:db8:9::4", "2001:db8::2", "2001:db8:5::2"),
    }[family]  # fmt: skip
    devices = ("eth0", "eth1")
    hops = tuple(Hop(d, int(ipaddress.ip_address(g))) for d, g in zip(devices, gateways, strict=True))
    route = Route(int(ipaddress.ip_address(net)), 30 if family == 4 else 126, "eth0", hops[0].gateway, hops=hops)
    (node.routes if family == 4 else node.routes6).append(route)
    node.sysctls["net.ipv4.fib_multipath_hash_seed"] = "7"


def drawn_node(rng, family):
    rules = drawn_rules(rng)
    six = rules
    for old, new in SIX.items():
        six = six.replace(old, new)
    node = make_dual(rules, six)
    if rng.random() < 0.3:
        node.sysctls["net.ipv4.conf.all.rp_filter"] = str(rng.integers(1, 3))
    if rng.random() < 0.2:
        node.sysctls["net.ipv4.conf.cni0.accept_local"] = "1"
    if rng.random() < 0.3:
        net, via = (("192.0.2.0/24", "10.244.2.2"), ("2001:db8:7::/64", "fd00:1::2:2"))[family == 6]
        node.add_route(net, via=via, dev="cni0")
    if rng.random() < 0.3:
        add_hops(node, family)
    return node


def traffic(nat, rng, family, n):
    """Packets of few ends, so that kinds come again; some of odd ends, interfaces and marks."""
    near, far = {4: ("10.244.2.{}", "203.0.113.{}"), 6: ("fd00:1::2:{}", "2001:db8:9::{}")}[family]
    back = rng.random(n) < 0.3

    def ends(net):
        return [
            rng.choice(ODD[family]) if odd else net.format(k)
            for odd, k in zip(rng.random(n) < 0.06, rng.integers(1, 9, n), strict=True)
        ]

    inner, outer = ends(near), ends(far)
    proto = rng.choice([17, 17, 6, 6, 58 if family == 6 else 1, 132], n)
    batch = nat.packets(
        proto=proto,
        src=[o if b else i for i, o, b in zip(inner, outer, back, strict=True)],
        dst=[i if b else o for i, o, b in zip(inner, outer, back, strict=True)],
        sport=rng.integers(1030, 1034, n),
        dport=np.where(
            (proto == 1) | (proto == 58), rng.choice([0x800, 0x8000, 0x8700, 0, 0x300], n), rng.choice([53, 443], n)
        ),
        tcp_flags=rng.choice([2, 16, 0, 18], n),
        length=rng.integers(40, 1500, n),
        iface=np.where(back, nat.node.iface_number("eth0"), nat.node.iface_number("cni0")),
    )
    batch["mark"] = rng.choice([0, 0, 0, 3, 7], n)
    some = rng.random(n) < 0.03
    batch["iface"][some] = rng.choice([0, 1, 2, 3, 4, 999], int(some.sum()))
    # of one kind, one after the other
    if rng.random() < 0.5:
        batch = np.repeat(batch, rng.choice([1, 1, 5, 90], n))
    return batch


@pytest.mark.one_of(3)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_both_ways_lead_to_the_same(seed, family):
    rng = np.random.default_rng([seed, family])
    node = drawn_node(rng, family)
    profile, events = rng.choice(["linux-6.18", "linux-6.18", "linux-5.4"]), int(rng.choice(EVENTS))
    ways = [fastnat.Engine(node, profile, seed, remember=remember, events=events) for remember in (True, False)]
    now = 0.0
    for _ in range(12):
        batch = traffic(ways[0], rng, family, int(rng.integers(1, 80)))
        times = now + np.cumsum(rng.choice([0, 0, 0.001, 0.3], len(batch)))
        now = times[-1] + rng.choice([0.0, 1.0, 31.0])
        out, other = (nat.process(batch, times) for nat in ways)
        np.testing.assert_array_equal(out, other)
        assert taken_events(ways[0], family) == taken_events(ways[1], family)
        if rng.random() < 0.3:
            assert ways[0].save_rules(family) == ways[1].save_rules(family)
    told = [{**nat.stats, "rules_walked": 0} for nat in ways]
    assert told[0] == told[1]
    assert ways[0].save_rules(family) == ways[1].save_rules(family)
    assert ways[0].conntrack.format("proc") == ways[1].conntrack.format("proc")
    for nat in ways:
        nat.check()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("rules", ["", "*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n"])
def test_packets_go_shortly(rules, family):
    """The comparison above would hold where nothing is remembered, too."""
    nat = fastnat.Engine(make_dual(rules, rules))
    src, dst = {4: ("10.244.2.2", "203.0.113.9"), 6: ("fd00:1::2:2", "2001:db8:9::9")}[family]
    batch = nat.packets(proto="udp", src=src, dst=dst, sport=1024 + np.arange(600), dport=53, iface="cni0")
    for _ in range(3):
        out = nat.process(batch)
        assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
        assert (out["conn"] == 0xFFFFFFFF).all()
    assert nat.core_of(family).arrays["memos"]["packets"].sum() > 1000
    assert nat.stats["packets"] == 1800
    if rules:
        assert "[1800:" in nat.save_rules(family)
