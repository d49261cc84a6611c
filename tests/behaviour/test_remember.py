"""What is remembered about rules, hooks and routes changes no answer, and no counter."""

import ipaddress
import json
import lzma

import numpy as np
import pytest
from kernel import bound_ways, bounds

import fastnat
from fastnat.core.layout import DispatchKey, TargetKind

SERVICES = "".join(
    f"-A SERVICES -d 10.96.0.{k % 40}/32 -p udp -m udp --dport {53 + k % 3} -j SVC{k % 5}\n" for k in range(120)
)
NODEPORTS = "".join(
    f"-A NODEPORTS -p udp -m udp --dport {30000 + k % 25} -j MARK --set-xmark {k + 1}\n" for k in range(60)
)
SUBSCRIBERS = "".join(
    f"-A POSTROUTING -s 10.244.1.{2 + k % 15}/32 -p {('udp', 'tcp')[k % 2]} -d 203.0.113.{k * 4}/30 -j SNAT "
    f"--to-source 198.51.100.{60 + k}\n"
    for k in range(30)
)
BACKENDS = "".join(f"-A SVC{k} -p udp -j DNAT --to-destination 10.244.1.{5 + k}:53\n" for k in range(5))
RULES = f"""*nat
:PREROUTING ACCEPT [3:4]
:POSTROUTING ACCEPT
:SERVICES - [0:0]
:NODEPORTS - [0:0]
:SVC0 - [0:0]
:SVC1 - [0:0]
:SVC2 - [0:0]
:SVC3 - [0:0]
:SVC4 - [0:0]
-A PREROUTING -j SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j NODEPORTS
-A PREROUTING -p udp -m multiport --dports 1000:1010,2000 -j MARK --set-mark 9
-A PREROUTING -p icmp -m icmp --icmp-type 8 -j MARK --set-mark 8
{SERVICES}{NODEPORTS}{BACKENDS}-A POSTROUTING -m mark --mark 0x9 -j SNAT --to-source 198.51.100.20-198.51.100.25
-A POSTROUTING -p udp -m iprange --dst-range 203.0.113.64-203.0.113.127 -j SNAT --to-source 198.51.100.30:7000-7009
-A POSTROUTING -p udp -m statistic --mode nth --every 7 --packet 0 -j SNAT --to-source 198.51.100.40
{SUBSCRIBERS}-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -o eth0 -m length --length 0:1000 -j MASQUERADE
-A POSTROUTING ! -s 10.244.0.0/16 -p tcp --syn -j MASQUERADE --to-ports 5000-5999
COMMIT
"""
MANGLE = "*mangle\n-A FORWARD -p udp -m udp --dport 54 -j MARK --set-mark 9\nCOMMIT\n"


def node(rules):
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/24"])
    made.add_interface("eth0", ["198.51.100.10/24"])
    made.add_route("default", via="198.51.100.1", dev="eth0")
    made.load_rules(rules)
    return made


def traffic(nat, n, seed):
    rng = np.random.default_rng(seed)
    inside = rng.random(n) < 0.8
    near = rng.choice([0x0A600000, 0x0AF40100, 0xC6336400, 0xCB007100], n) + rng.integers(0, 130, n)
    far = rng.choice([0xE0000001, 0xE0000009, 0x7F000001, 0xFFFFFFFF, 0xC633640A, 0x0AF40105], n)
    return nat.packets(
        proto=rng.choice([1, 6, 17, 17, 17, 50], n),
        src=np.where(inside, 0x0AF40102 + rng.integers(0, 20, n), 0xCB007100 + rng.integers(0, 20, n)),
        dst=np.where(rng.random(n) < 0.95, near, far),
        sport=rng.integers(1000, 1020, n),
        dport=rng.choice([53, 54, 55, 80, 1005, 2000, 2048, 30000, 30007, 30024], n),
        tcp_flags=rng.choice([2, 16, 4], n),
        length=rng.choice([60, 1400], n),
        iface=np.where(inside, nat.node.iface_number("cni0"), nat.node.iface_number("eth0")),
    )


@pytest.mark.one_of(4)
@pytest.mark.parametrize("rules", [RULES, RULES + MANGLE], ids=["nat", "nat and mangle"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wide", [1, 10**6], ids=["rules fetched ahead", "not"])
def test_remembering_shows_in_nothing(monkeypatch, rules, seed, wide):
    monkeypatch.setattr("fastnat.rules.compiler.WIDE_RUN", wide)
    quick = fastnat.Engine(node(rules), seed=seed)
    monkeypatch.setattr("fastnat.rules.runs.MIN_RUN", 10**6)
    plain = fastnat.Engine(node(rules), seed=seed, remember=False)
    kinds = quick.stack_of(4).ruleset.dispatches["kind"].tolist()
    assert sorted(kinds) == [DispatchKey.DST, DispatchKey.DPORT, DispatchKey.SRC]
    assert len(plain.stack_of(4).ruleset.dispatches) == 0
    assert (not quick.stack_of(4).ruleset.wide) == (wide > 1)
    batch = traffic(quick, 20_000, seed)
    now = np.sort(np.random.default_rng(seed).random(len(batch)) * 60)
    one, other = quick.process(batch, now), plain.process(batch, now)
    assert one.tobytes() == other.tobytes()
    assert quick.conntrack.to_numpy().tobytes() == plain.conntrack.to_numpy().tobytes()
    different = {k for k in quick.stats if quick.stats[k] != plain.stats[k]}
    assert different <= {"rules_walked"}
    assert counters(quick) == counters(plain)
    assert len(set(one["reason"])) > 1
    quick.core_of(4).check_invariants()


def counters(nat):
    rules = nat.core_of(4).rule_counters()
    return [
        (int(r["packets"]), int(r["bytes"]))
        for r, (_, _, rule) in zip(rules, nat.stack_of(4).ruleset.origin, strict=True)
        if rule is not None or r["target"] != TargetKind.DISPATCH
    ]


def test_remembering_is_used():
    """The comparison above would hold for an engine that remembers nothing, too."""
    nat = fastnat.Engine(node(RULES), seed=1)
    nat.process(traffic(nat, 20_000, 1))
    assert nat.core_of(4).tables["table_memos"] > 50
    assert nat.core_of(4).tables["memos"] > 20


WAYS = json.loads(lzma.decompress((bounds.FOLDER / "ways.json.xz").read_bytes()))
# rules of nftables are met by each packet: nothing is remembered beside them
PLAIN = [n for n, said in enumerate(WAYS) if "rules.nft" not in said["files"]]


@pytest.mark.one_of(2)
@pytest.mark.parametrize("n", [pytest.param(n, marks=pytest.mark.slow if k > 3 else []) for k, n in enumerate(PLAIN)])
def test_addresses_beside_each_other(n, tmp_path):
    """At the ends of networks and of what addrtype, rpfilter and routes ask for: no class holds two answers."""
    family = 6 if "rules.v6" in WAYS[n]["files"] else 4
    for name, text in WAYS[n]["files"].items():
        (tmp_path / name).write_text(text)
    node = fastnat.Node.load(tmp_path)
    every = sorted(map(ipaddress.ip_address, bound_ways.addresses(family)))
    beside = [a + k for a in every for k in (-1, 0, 1) if 0 <= int(a) + k < 2**a.max_prefixlen]
    said = []
    for remember in (True, False):
        nat, rng, out = fastnat.Engine(node, seed=1, remember=remember), np.random.default_rng(n), []
        for turn in range(8):
            # who is alike but for one end may meet what was remembered of another
            one, many = [beside[rng.integers(0, len(beside))]] * len(beside), rng.permutation(beside).tolist()
            src, dst = (one, many) if turn % 2 else (many, one)
            batch = nat.packets(proto="udp", src=src, dst=dst, sport=1000, dport=54, iface=int(rng.integers(1, 5)))
            out.append(nat.process(batch).tobytes())
        nat.check()
        said.append((out, nat.save_rules(family), nat.conntrack.format("proc")))
    for one, other in zip(*said, strict=True):
        assert one == other
