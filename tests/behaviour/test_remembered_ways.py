"""Policy rules, several tables and next hops, drawn at random in both families: what is remembered changes no way."""

import random
from dataclasses import replace

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES
from nodes import MASQUERADE

import fastnat
from fastnat.addresses import V4, V6
from fastnat.node.parts import PolicyRule

KIND = {4: V4, 6: V6}
NETS = {
    4: {"r0": "10.1.0.1/24", "r1": "10.2.0.1/24", "r2": "10.3.0.1/24"},
    6: {"r0": "fd01::1/64", "r1": "fd02::1/64", "r2": "fd03::1/64"},
}
NEXT = {
    4: {"r0": "10.1.0.9", "r1": "10.2.0.9", "r2": "10.3.0.9"},
    6: {"r0": "fd01::9", "r1": "fd02::9", "r2": "fd03::9"},
}
FAR = {
    4: ["203.0.113.0/24", "192.0.2.0/24", "198.18.0.0/15"],
    6: ["2001:db8:a::/48", "2001:db8:b::/48", "2001:db8:c::/48"],
}
WITHIN = {4: ["203.0.113.{}", "192.0.2.{}", "198.18.0.{}"], 6: ["2001:db8:a::{}", "2001:db8:b::{}", "2001:db8:c::{}"]}
NEAR = {4: "10.1.0.{}", 6: "fd01::{}"}


# what a connection's packets have in common, in either direction, and what each packet has of its own
ENDS, OF_CONNECTIONS, EVERY = (
    ("src", "dst"),
    ("src", "dst", "proto", "ports"),
    ("src", "dst", "proto", "ports", "iface", "out", "mark"),
)


def policy(rng, family, number, names):
    """Return a policy rule that asks for a thing or two of a packet."""
    kind = KIND[family]
    asked = {}
    for name in rng.sample(names, rng.choice([0, 1, 1, 2])):
        if name in ("iface", "out"):
            asked[name] = rng.choice(["r0", "r1", "r2"])
        elif name in ("src", "dst"):
            own = {4: "10.1.0.0/24", 6: "fd01::/64"}[family]
            address, prefix = (own if rng.random() < 0.5 else rng.choice(FAR[family])).split("/")
            asked[name], asked[f"{name}_prefix"] = kind.to_int(address), int(prefix)
        elif name == "mark":
            asked |= {"mark": 1, "mask": 1}
        elif name == "proto":
            asked["proto"] = 17
        else:
            asked |= {"proto": 17, rng.choice(["sports", "dports"]): (53, rng.choice([53, 60]))}
    return PolicyRule(number, rng.choice(["7", "8", "main"]), **asked)


def random_node(rng, family):
    node = fastnat.Node()
    for name, net in NETS[family].items():
        node.add_interface(name, [net])
    for table in ("main", "7", "8"):
        for network in [*rng.sample(FAR[family], rng.choice([1, 2])), "default" if family == 4 else "::/0"]:
            device = rng.choice(["r1", "r2", "r2", "r0"])
            if table != "main" or rng.random() < 0.9:
                node.add_route(network, via=NEXT[family][device], dev=device)
                routes = node.routes_of(KIND[family])
                routes[-1] = replace(routes[-1], table=table)
    names = rng.choice([ENDS, OF_CONNECTIONS, EVERY])
    drawn = [policy(rng, family, n + 1, names) for n in range(rng.choice([0, 1, 2, 4]))]
    node.policy_of(KIND[family])[:] = [PolicyRule(0, "local"), *drawn, PolicyRule(32766, "main")]
    text = rng.choice(
        [
            MASQUERADE.replace("eth0", "r1").replace("COMMIT", "-A POSTROUTING -o r2 -j MASQUERADE\nCOMMIT"),
            "*mangle\n-A PREROUTING -p udp -m udp --dport 60 -j MARK --set-mark 1\nCOMMIT\n"
            "*nat\n-A POSTROUTING -o r1 -j MASQUERADE\nCOMMIT\n",
            "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n",
        ]
    )
    (node.load_rules if family == 4 else node.load_rules6)(text)
    if family == 4 and rng.random() < 0.4:
        node.sysctls["net.ipv4.conf.all.rp_filter"] = rng.choice(["1", "2"])
    return node


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 60))])
def test_every_packet_takes_the_way_of_its_own(family, seed):
    rng = random.Random(f"{family} {seed}")
    node = random_node(rng, family)
    engines = [fastnat.Engine(node, seed=1, remember=remember) for remember in (True, False)]
    draw = np.random.default_rng(seed)
    n, now = 300, 1.0
    answers = None
    for step in range(4):
        there = [
            WITHIN[family][a].format(b) for a, b in zip(draw.integers(0, 3, n), draw.integers(1, 5, n), strict=True)
        ]
        here = [NEAR[family].format(b) for b in draw.integers(20, 26, n)]
        ports = {"sport": draw.integers(50, 64, n), "dport": draw.choice([53, 60, 61], n)}
        proto = draw.choice([17, 17, 6], n)
        outwards = draw.random(n) < 0.85
        iface = np.where(outwards, 1, draw.integers(1, 4, n))
        src = [a if o else b for a, b, o in zip(here, there, outwards, strict=True)]
        dst = [b if o else a for a, b, o in zip(here, there, outwards, strict=True)]
        batch = engines[0].packets(
            proto=proto,
            src=src,
            dst=dst,
            iface=iface,
            mark=draw.integers(0, 2, n),
            tcp_flags=np.where(proto == 6, 2, 0),
            **ports,
        )
        out = [e.process(batch, now) for e in engines]
        np.testing.assert_array_equal(*out, str(step))
        # what the others say to that, from where it went or from elsewhere
        answers = batch.copy()
        for name, of in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
            answers[name] = out[0][of]
        answers["iface"] = np.where(draw.random(n) < 0.8, out[0]["out_iface"], draw.integers(1, 4, n))
        answers["mark"] = draw.integers(0, 2, n)
        answers["tcp_flags"] = np.where(proto == 6, 0x12, 0)
        for again in range(2):
            said = [e.process(answers[out[0]["verdict"] != 0], now) for e in engines]
            np.testing.assert_array_equal(*said, f"{step} {again}")
        assert engines[0].conntrack.format() == engines[1].conntrack.format()
        now += float(draw.choice([0, 0.1, 20, 31]))
        if step == 2:
            for engine in engines:
                engine.node.policy_of(KIND[family]).insert(1, policy(random.Random(seed), family, 1, OF_CONNECTIONS))
                engine.reload()
    for engine in engines:
        engine.check()


def translations(rng, family):
    """Return rules of nat in all their forms: ports and addresses, one or several, drawn, kept or shifted."""
    one, other = {4: ("10.2.0.50", "10.2.0.53"), 6: ("fd02::50", "fd02::53")}[family]
    in_, last = {4: ("10.3.0.60", "10.3.0.61"), 6: ("fd03::60", "fd03::61")}[family]

    def to(first, last_, ports):
        shown = [f"[{a}]" if family == 6 and ports else a for a in (first, last_)]
        return (shown[0] if first == last_ else "-".join(shown)) + (f":{ports}" if ports else "")

    lines = []
    for way, (low, high) in (("PREROUTING", (in_, last)), ("POSTROUTING", (one, other))) * 3:
        high = rng.choice([low, low, high])
        ports = rng.choice(["", "", "700", "700-701", "1024-9000"])
        flags = rng.choice(["", "", " --random", " --persistent", " --random --persistent", " --random-fully"])
        if way == "PREROUTING":
            kind = rng.choice(
                [
                    f"DNAT --to-destination {to(low, high, ports)}" + flags.replace(" --random-fully", ""),
                    f"REDIRECT --to-ports {ports or '53'}" + flags.split(" --persistent")[0].replace("-fully", ""),
                ]
            )
            match = f"-i r0 -p {rng.choice(['udp', 'tcp'])} --dport {rng.choice([53, 60, 61])}"
        else:
            kind = rng.choice(
                [
                    f"SNAT --to-source {to(low, high, ports)}{flags}",
                    f"MASQUERADE{f' --to-ports {ports}' if ports else ''}" + flags.split(" --persistent")[0],
                ]
            )
            match = f"-o {rng.choice(['r1', 'r2'])} -p {rng.choice(['udp', 'tcp'])}"
        lines.append(f"-A {way} {match} -j {kind}")
    return "*nat\n" + "\n".join(lines) + "\nCOMMIT\n"


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 40))])
def test_every_connection_is_translated_as_by_itself(family, profile, seed):
    """First packets in batches, one by one, without what is remembered, and their answers."""
    rng = random.Random(f"{family} {seed}")
    node = fastnat.Node()
    for name, net in NETS[family].items():
        node.add_interface(name, [net])
    node.add_route("default" if family == 4 else "::/0", via=NEXT[family]["r1"], dev="r1")
    (node.load_rules if family == 4 else node.load_rules6)(translations(rng, family))
    ways = [(True, 1000), (True, 5), (False, 1000)]
    engines = [(fastnat.Engine(node, profile=profile, seed=2, remember=remember), size) for remember, size in ways]
    draw, n, now = np.random.default_rng(seed), 300, 1.0
    for step in range(4):
        proto = draw.choice([17, 17, 6], n)
        batch = engines[0][0].packets(
            proto=proto, src=[NEAR[family].format(b) for b in draw.integers(20, 24, n)],
            dst=[WITHIN[family][a].format(b) for a, b in draw.integers((0, 1), (2, 4), (n, 2))],
            sport=draw.choice([5, 600, 1023, 1024, 4000, 4001, 4002, 65535], n), dport=draw.choice([53, 60, 61], n),
            iface="r0", tcp_flags=np.where(proto == 6, 2, 0),
        )  # fmt: skip
        out = [
            np.concatenate([nat.process(batch[at : at + size], now) for at in range(0, n, size)])
            for nat, size in engines
        ]
        for other in out[1:]:
            np.testing.assert_array_equal(out[0], other, str(step))
        answers = batch.copy()
        for name, of in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
            answers[name] = out[0][of]
        answers["iface"] = out[0]["out_iface"]
        answers["tcp_flags"] = np.where(proto == 6, 0x12, 0)
        answers = answers[out[0]["verdict"] == fastnat.Verdict.FORWARD]
        said = [nat.process(answers, now) for nat, _ in engines]
        for other in said[1:]:
            np.testing.assert_array_equal(said[0], other, str(step))
        now += float(draw.choice([0, 20, 31, 130]))
        tables = [nat.conntrack.format() for nat, _ in engines]
        assert tables[1:] == tables[:1] * 2
        assert all(nat.stats == engines[0][0].stats for nat, _ in engines)
        counts = [nat.save_rules(family) for nat, _ in engines]
        assert counts[1:] == counts[:1] * 2


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize(
    "zone", ["-p udp --dport 53 -j CT --zone 7", "-p udp --dport 53 -j CT --zone-orig 7", "-j MARK --or-mark 2"]
)
def test_a_record_that_is_used_again_has_nothing_of_before(family, zone):
    """Connections with zones, marks and helpers end; those that take their records have none of that."""
    text = (
        f"*raw\n-A PREROUTING -i r0 {zone}\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\nCOMMIT\n"
        "*mangle\n-A FORWARD -p udp --dport 53 -j CONNMARK --set-mark 5\nCOMMIT\n"
        "*nat\n-A POSTROUTING -o r1 -j MASQUERADE\nCOMMIT\n"
    )
    node = fastnat.Node()
    for name, net in NETS[family].items():
        node.add_interface(name, [net])
    node.add_route("default" if family == 4 else "::/0", via=NEXT[family]["r1"], dev="r1")
    (node.load_rules if family == 4 else node.load_rules6)(text)
    engines = [fastnat.Engine(node, seed=1, remember=remember) for remember in (True, False)]
    draw, now, n = np.random.default_rng(family), 1.0, 80
    for step in range(8):
        ports = draw.choice([[53, 53, 21], [60, 61, 80]][step % 2], n)
        proto = np.where((ports == 21) | (ports == 80), 6, 17)
        batch = engines[0].packets(
            proto=proto, src=[NEAR[family].format(b) for b in draw.integers(20, 30, n)],
            dst=WITHIN[family][0].format(9),
            sport=draw.integers(1024, 1060, n), dport=ports, iface="r0", tcp_flags=np.where(proto == 6, 2, 0),
        )  # fmt: skip
        out = [nat.process(batch, now) for nat in engines]
        np.testing.assert_array_equal(*out)
        answers = batch.copy()
        for name, of in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
            answers[name] = out[0][of]
        answers["iface"] = node.iface_number("r1")
        answers["tcp_flags"] = np.where(proto == 6, 0x12, 0)
        said = [nat.process(answers, now) for nat in engines]
        np.testing.assert_array_equal(*said)
        lines = [nat.conntrack.format("proc") for nat in engines]
        assert lines[0] == lines[1]
        if step % 2 and "zone" in zone:
            assert "zone=7" not in lines[0]
        assert ("mark=5" in lines[0]) == (step % 2 == 0)
        now += 500.0
        for nat in engines:
            nat.advance(now)
            assert len(nat.conntrack) == 0
            nat.check()
        now += 1.0
