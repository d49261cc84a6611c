"""Connections that rules count, over IPv4 and IPv6 side by side: who is counted, who is over, what the lists hold."""

import random
import re

import numpy as np
import pytest
from behaviour.test_corner_steps import nft_chain, router

import fastnat

SYN, ACK, FIN, RST = 2, 16, 1, 4
CLIENTS = {4: "10.1.{}.{}", 6: "fd01::{}:{}"}
SERVERS = {4: "203.0.113.{}", 6: "fd03::{}"}


def rules(family, rng):
    """Return rules of either family that count by clients, by networks and by servers, and what nft counts."""
    masks = {4: (32, 24, 0), 6: (128, 112, 0)}[family]
    lines = "".join(
        f"-A FORWARD{rng.choice(('', ' -p tcp', ' -p udp'))} -m connlimit --connlimit-above {rng.randrange(6)} "
        f"--connlimit-mask {masks[rng.randrange(3)]} --connlimit-{rng.choice('sd')}addr"
        f"{rng.choice(('', '', '', '', ' -j DROP'))}\n"
        for _ in range(5)
    )
    kind = {4: "ip", 6: "ip6"}[family]
    count = f"ct count over {rng.randrange(1, 7)} counter"
    more = f"add @few {{ {kind} saddr ct count over {rng.randrange(1, 4)} }} counter"
    few = f"table {kind} t {{\nset few {{\ntype ipv{family}_addr; size 60; flags dynamic;\n}}\n"
    native = nft_chain(family, f"{count}\nudp dport 53 ct count {rng.randrange(1, 7)} counter\n{more}", priority=5)
    return f"*filter\n{lines}COMMIT\n", native.replace(f"table {kind} t {{\n", few)


def told(family, seed, profile):
    """Return the verdicts of a random traffic, and what is counted at its end."""
    rng = random.Random(seed)
    text, native = rules(family, rng)
    node = router(family, text, native)
    for name in ("tcp_timeout_established", "tcp_timeout_time_wait", "udp_timeout_stream"):
        node.sysctls[f"net.netfilter.nf_conntrack_{name}"] = "30"
    nat, now, said, there = fastnat.Engine(node, profile, seed), 0.0, [], []
    for _ in range(250):
        now += rng.choice((0.0, 0.0, 0.004, 0.3, 3.0, 20.0))
        flow = (
            rng.choice(("tcp", "tcp", "udp")),
            rng.randrange(3),
            rng.randrange(3),
            1000 + rng.randrange(40),
            rng.randrange(2),
        )
        kind = rng.choice(("new", "new", "go on", "go on", "answer", "answer", "close"))
        if kind != "new" and there:
            flow = rng.choice(there)
        proto, net, host, sport, server = flow
        client, peer = CLIENTS[family].format(net + 1, host + 2), SERVERS[family].format(server + 9)
        ends = {"src": client, "dst": peer, "sport": sport, "dport": 53, "iface": "r0"}
        flags = {
            "new": SYN,
            "go on": ACK,
            "answer": rng.choice((SYN | ACK, ACK)),
            "close": rng.choice((RST, FIN | ACK)),
        }[kind]
        if kind == "answer" or (kind == "close" and rng.random() < 0.5):
            ends = {"src": ends["dst"], "dst": ends["src"], "sport": 53, "dport": sport, "iface": "r1"}
        (out,) = nat.process(nat.packets(proto=proto, tcp_flags=flags if proto == "tcp" else 0, **ends), now)
        there.append(flow)
        said.append((int(out["verdict"]), int(out["ctinfo"])))
    nat.check()
    counters = re.findall(r"\[\d+:\d+\]", nat.save_rules(family)), re.findall(r"counter packets \d+", nat.list_nft())
    tables = nat.core_of(family).tables
    return (
        said,
        [n.split(":")[0] for n in counters[0]],
        counters[1],
        {k: tables[k] for k in ("connlimits", "nft_conns")},
    )


@pytest.mark.one_of(2)
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8, 40))])
def test_both_families_count_alike(seed, profile):
    """nf_conncount_count and nft_connlimit_do_eval know no family."""
    four, six = (told(family, seed, profile) for family in (4, 6))
    assert four == six
    assert len(set(np.array(four[0])[:, 1].tolist())) > 1
