"""Stale entries where rules draw: what comes up for a class of packets is what comes up for each packet alone."""

import random

import numpy as np
import pytest

import fastnat
from fastnat.addresses import FAMILIES
from fastnat.diagnosis.asked_sources import AskedSources
from fastnat.diagnosis.outcomes import classes_of, decide_by_class
from fastnat.diagnosis.stale import Judge
from fastnat.dtypes import records_of
from fastnat.util.text import each_line

# services, backends, sources as rules name them, clients, destinations, SNAT
ENDS = {
    4: {
        "service": "10.96.0.{}", "backend": "10.244.8.{}", "client": "10.244.1.{}",
        "far": ["203.0.113.9", "198.18.0.7"],
        "near": ["10.244.1.0/25", "10.244.1.16/28", "10.244.1.7"], "range": "10.244.1.9-10.244.1.77", "prefix": "/30",
        "snat": ["198.51.100.10", "198.51.100.20"],
    },
    6: {
        "service": "fd00:96::{}", "backend": "[fd01::8:{}]", "client": "fd01::{}",
        "far": ["fd03::9", "2001:db8:7::7"],
        "near": ["fd01::/121", "fd01::10/124", "fd01::7"], "range": "fd01::9-fd01::4d", "prefix": "/126",
        "snat": ["fd02::10", "fd02::20"],
    },
}  # fmt: skip
SERVICES = range(1, 6)


def in_chains(draw, ends, k):
    """Return rules of a service that stand in a chain, some of which ask who the client is and lead to another one."""
    there = f"{draw.choice(['', '', '! '])}-d {ends['service'].format(k)}{draw.choice(['', '', ends['prefix']])}"
    lines = [f"-A PREROUTING {there} -p udp -m udp --dport 53 -j SVC-{k}"]
    for _ in range(draw.randrange(1, 4)):
        source = draw.choice(
            ["", f"-s {draw.choice(ends['near'])}", f"-s {ends['client'].format(draw.randrange(2, 99))}"]
        )
        chance = draw.choice(["", "-m statistic --mode random --probability 0.5"])
        to = draw.choice(["SHARED", "RETURN", f"DNAT --to-destination {ends['backend'].format(draw.randrange(1, 8))}"])
        again = draw.choice(["", "", f"-d {ends['service'].format(draw.choice(SERVICES))}"])
        lines.append(f"-A SVC-{k} {again} {source} {chance} -j {to}")
    backend = ends["backend"].format(draw.randrange(1, 8))
    return [*lines, f"-A SHARED -s {draw.choice(ends['near'])} -p udp -j DNAT --to-destination {backend}"]


def random_rules(draw, ends):
    """Return rules in which chance, sources and source ports choose."""

    def condition():
        return draw.choice([
            "", "", f"-s {draw.choice(ends['near'])}", f"! -s {draw.choice(ends['near'])}",
            f"-m iprange --src-range {ends['range']}", "--sport 1024:30000",
            "-m multiport --sports 1:2000,4005,5000:60000",
        ])  # fmt: skip

    lines = ["*raw"]
    if draw.random() < 0.3:
        lines.append(
            f"-A PREROUTING -s {draw.choice(ends['near'])} -m statistic --mode random --probability 0.5 -j CT --notrack"
        )
    lines += ["COMMIT", "*nat", *(f":SVC-{k} - [0:0]" for k in SERVICES), ":SHARED - [0:0]"]
    for k in SERVICES:
        if draw.random() < 0.5:
            # chains of its own, for one service, a network of them or all others, as kube-proxy has them
            lines += in_chains(draw, ends, k)
            continue
        for _ in range(draw.randrange(4)):
            chance = draw.choice(["", "-m statistic --mode random --probability 0.5"])
            to = ends["backend"].format(draw.randrange(1, 8)) + draw.choice(["", ":53", ":5353"])
            there = f"-d {ends['service'].format(k)} -p udp -m udp --dport 53"
            lines.append(f"-A PREROUTING {there} {condition()} {chance} -j DNAT --to-destination {to}")
    for _ in range(draw.randrange(1, 4)):
        to = draw.choice(
            ["-j MASQUERADE --random-fully", "-j ACCEPT", f"-j SNAT --to-source {draw.choice(ends['snat'])}"]
        )
        lines.append(f"-A POSTROUTING -o eth0 -p udp -m udp {condition()} {to}")
    lines += ["COMMIT", "*filter"]
    if draw.random() < 0.3:
        lines.append(f"-A FORWARD -d {ends['far'][0]} -m statistic --mode random --probability 0.5 -j DROP")
    return "\n".join([*lines, "COMMIT", ""])


def node_of(rules, version):
    node = fastnat.Node()
    node.add_interface("eth0", ["198.51.100.10/24", "fd02::10/64"])
    node.add_interface("cni0", ["10.244.1.1/16", "fd01::1/64"])
    for gateway in ("198.51.100.1", "fd02::fe"):
        node.add_route("default", gateway, "eth0")
    (node.load_rules if version == 4 else node.load_rules6)(rules)
    node.sysctls.update({"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"})
    return node


def judge_of(before, after, version, draw, n=400):
    """Return a judge, under one set of rules, of what was opened under another."""
    engine, ends = fastnat.Engine(node_of(before, version)), ENDS[version]
    services = [ends["service"].format(k) for k in SERVICES]
    engine.process(engine.packets(
        proto="udp", iface="cni0", dport=53, src=[ends["client"].format(draw.randrange(2, 99)) for _ in range(n)],
        dst=[draw.choice(services * 2 + ends["far"]) for _ in range(n)],
        sport=[draw.choice([draw.randrange(1024, 65536), 4005, 30000]) for _ in range(n)],
    ))  # fmt: skip
    core = engine.core_of(version)
    records = core.arrays["conns"][: core.high_water]
    fresh = fastnat.Engine(node_of(after, version), seed=1, epoch=0.0)
    return Judge(fresh, FAMILIES[version], records[records["flags"] & 1 != 0].copy(), None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_class_is_judged_as_each_of_its_packets_is(seed):
    draw = random.Random(seed)
    version = 6 if seed % 2 else 4
    before, after = (random_rules(draw, ENDS[version]) for _ in range(2))
    by_class = judge_of(before, after, version, random.Random(seed))
    alone = judge_of(before, after, version, random.Random(seed))
    assert by_class.by_class
    alone.by_class = False
    by_class.run()
    alone.run()
    assert (by_class.known == alone.known).all()
    assert (by_class.same == alone.same).all()
    assert by_class.known.any()


POOL = {4: "198.51.100.30-198.51.100.33", 6: "fd02::30-fd02::33"}
# rules under which the sender's own address decides, or something that is not in its class
MORE_THAN_CLASSES = {
    "a pool": "*nat\n-A POSTROUTING -p udp -j SNAT --to-source {pool}\nCOMMIT\n",
    "a pool of backends": "*nat\n-A PREROUTING -p udp -j DNAT --to-destination {pool}\nCOMMIT\n",
    "ports": "*nat\n-A PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5000-5003\nCOMMIT\n",
    "netmap": "*nat\n-A POSTROUTING -j NETMAP --to {near}\nCOMMIT\n",
    "turns": "*nat\n-A PREROUTING -p udp -m statistic --mode nth --every 2 --packet 0 -j REDIRECT\nCOMMIT\n",
    "the original source": "*raw\n-A PREROUTING -m conntrack --ctorigsrc {near} -j ACCEPT\nCOMMIT\n",
    "recent": "*filter\n-A FORWARD -m recent --name a --rcheck -j DROP\nCOMMIT\n",
}  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
def test_only_rules_that_ask_for_classes_are_judged_by_them(version):
    ends = {"pool": POOL[version], "near": ENDS[version]["near"][0]}
    for what, rules in MORE_THAN_CLASSES.items():
        node = node_of(rules.format(**ends), version)
        assert not decide_by_class(fastnat.Engine(node, epoch=0.0), FAMILIES[version]), what
    plain = random_rules(random.Random(1), ENDS[version])
    assert decide_by_class(fastnat.Engine(node_of(plain, version)), FAMILIES[version])


def test_a_set_of_sources_is_more_than_classes():
    node = node_of("*filter\n-A FORWARD -m mark --mark 1 -j DROP\nCOMMIT\n", 4)
    assert decide_by_class(fastnat.Engine(node), FAMILIES[4])
    node.load_sets("create a hash:ip\nadd a 10.244.1.7\n")
    node.load_rules("*filter\n-A FORWARD -m set --match-set a src -j DROP\nCOMMIT\n")
    assert not decide_by_class(fastnat.Engine(node), FAMILIES[4])


def test_nftables_is_more_than_classes():
    node = node_of("*nat\nCOMMIT\n", 4)
    node.load_nft("table ip t { chain c { type nat hook prerouting priority 0; ip saddr 10.0.0.1 dnat to 10.0.0.2; } }")
    assert not decide_by_class(fastnat.Engine(node), FAMILIES[4])


@pytest.mark.parametrize("version", [4, 6])
def test_classes_of_addresses_are_those_between_their_starts(version):
    family, draw = FAMILIES[version], random.Random(version)
    numbers = [0, *(draw.getrandbits(family.bits) >> draw.choice([0, 60, 90]) for _ in range(40))]
    asked = [*numbers, *(n + 1 for n in numbers), *(max(n - 1, 0) for n in numbers)]
    starts = sorted(set(numbers))
    packed = [np.array([family.pack(n) for n in each], records_of(family).ADDR) for each in (starts, asked)]
    assert classes_of(*packed).tolist() == [sum(s <= n for s in starts) for n in asked]


def test_lines_come_one_by_one():
    draw = random.Random(3)
    for _ in range(300):
        text = "".join(draw.choice("ab\n\r\n\x0b\u2028\x1c") for _ in range(draw.randrange(12)))
        assert list(each_line(text)) == text.splitlines()


ON_THE_WAY = """*nat
:A - [0:0]
:B - [0:0]
:C - [0:0]
-A PREROUTING -d 10.96.0.1/32 -j A
-A PREROUTING ! -d 10.96.0.0/24 -j C
-A PREROUTING -s 10.0.0.1/32 -j B
-A OUTPUT -d 10.96.0.2/32 -j C
-A A -s 10.0.0.2/32 -j RETURN
-A A -d 10.96.0.1/32 -s 10.0.0.3/32 -j C
-A A -d 10.96.0.2/32 -s 10.0.0.4/32 -j ACCEPT
-A B -d 10.96.0.0/31 -m iprange --src-range 10.0.0.5-10.0.0.6 -j ACCEPT
-A C -s 10.0.1.0/24 -j ACCEPT
-A POSTROUTING -d 192.0.2.1/32 -s 10.0.2.0/24 -j MASQUERADE
COMMIT
"""


@pytest.mark.parametrize(("dst", "asked"), [
    ("10.96.0.1", ["10.0.0.2", "10.0.0.3", "10.0.0.5-10.0.0.6", "10.0.1.0-10.0.1.255"]),
    ("10.96.0.0", ["10.0.0.5-10.0.0.6"]),
    ("10.96.0.2", ["10.0.1.0-10.0.1.255"]),
    ("10.96.0.3", []),
    ("192.0.2.1", ["10.0.1.0-10.0.1.255"]),
])  # fmt: skip
def test_sources_that_rules_ask_for_on_the_way_to_one_destination(dst, asked):
    """Chains that a rule for another destination leads to are not met; behind the translation any may be."""
    node, family = node_of(ON_THE_WAY, 4), FAMILIES[4]
    sources = AskedSources(node.rules, family)
    spans = [(family.to_text(a), family.to_text(b)) for a, b in sources.towards(family.to_int(dst))]
    assert [a if a == b else f"{a}-{b}" for a, b in spans] == asked
    assert sources.everywhere == {(family.to_int(a), family.to_int(b)) for a, b in (
        ("10.0.0.1", "10.0.0.1"), ("10.0.2.0", "10.0.2.255"),
    )}  # fmt: skip
    assert sources.told
    node.load_rules("*nat\n-A PREROUTING -s 10.0.0.1/255.0.255.0 -j ACCEPT\nCOMMIT\n")
    assert not AskedSources(node.rules, family).told
