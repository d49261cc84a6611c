"""Nodes whose raw, mangle and filter have rules, as most have: the short ways give what the long one gives."""

import numpy as np
import pytest
from behaviour.test_lives import BATCHES, Talk, state
from nodes import EVENTS, make_dual, taken_events

import fastnat

NAT = ("-A POSTROUTING -o eth0 -j MASQUERADE", "-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --random-fully", "")
# of what a chain may hold; the first ones ask for no address and no port
RULES = {
    ("raw", "PREROUTING"): [
        "-i eth0 -j LOG", "-i cni0 -p udp", "-m mark --mark 3", "-j MARK --set-mark 4", "-p udp --dport 443 -j LOG",
        "-p udp --sport 1031 -j CT --notrack", "-i cni0 -p tcp --sport 1032 -j CT --zone 7",
    ],
    ("mangle", "PREROUTING"): [
        "-m conntrack --ctstate NEW -j MARK --set-mark 1", "-p udp -j MARK --or-mark 2", "-i eth0 -j RETURN",
        "-p tcp --tcp-flags FIN FIN -j MARK --set-mark 5", "-j CONNMARK --restore-mark", "-m length --length 0:70",
    ],
    ("mangle", "FORWARD"): [
        "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", "-o eth0 -j LOG", "-i eth0",
        "-m conntrack --ctstate SNAT -j MARK --or-mark 8", "-p tcp --dport 443", "-m ttl --ttl-gt 3",
    ],
    ("filter", "FORWARD"): [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-m conntrack --ctstate INVALID -j DROP",
        "-i cni0 -o eth0 -j ACCEPT", "-m mark --mark 1/1 -j ACCEPT", "-p tcp --tcp-flags RST RST -j DROP", "-j MORE",
        "-m conntrack ! --ctstate NEW -j ACCEPT", "-p udp -m conntrack --ctstate NEW -g MORE",
        "-p tcp --sport 1030 -j DROP", "-m limit --limit 5/s --limit-burst 20 -j ACCEPT",
        "-m conntrack --ctdir REPLY -j ACCEPT", "-m connmark --mark 0",
    ],
    ("filter", "MORE"): ["-i eth0 -j RETURN", "-p tcp -j ACCEPT", "-m conntrack --ctstate NEW -j ACCEPT", "-j LOG"],
    ("mangle", "POSTROUTING"): [
        "-o eth0 -j MARK --set-mark 9", "-m mark --mark 9 -j CONNMARK --save-mark", "-p udp", "-o cni0 -p tcp --syn",
    ],
}  # fmt: skip


def drawn(rng):
    """Return rules of all tables; half of them do with rules that ask for no address."""
    tables = {"raw": [], "mangle": [], "filter": [":MORE - [0:0]"]}
    plain = rng.random() < 0.5
    for (table, chain), pool in RULES.items():
        if rng.random() < 0.25:
            continue
        pool = pool[: len(pool) // 2 + 1] if plain else pool
        chosen = rng.permutation(len(pool))[: rng.integers(1, 4)].tolist()
        if chain != "MORE" and rng.random() < 0.2:
            tables[table].insert(0, f":{chain} {rng.choice(['ACCEPT', 'DROP'] if table == 'filter' else ['ACCEPT'])}")
        tables[table] += [f"-A {chain} {pool[k]}" for k in sorted(chosen)]
    texts = [f"*{table}\n" + "\n".join(lines) + "\nCOMMIT\n" for table, lines in tables.items()]
    return "".join(texts) + f"*nat\n{rng.choice(NAT)}\nCOMMIT\n"


@pytest.mark.one_of(4)
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 200))])
def test_rules_beside_nat(seed):
    rng = np.random.default_rng(seed)
    rules, family = drawn(rng), (4, 6)[seed % 2]
    node = make_dual(rules, rules)
    events = rng.choice(EVENTS)
    ways = [fastnat.Engine(node, seed=seed, remember=remember, events=events) for remember in (True, False)]
    talk, now = Talk(seed, family), 0.0
    for n in range(BATCHES):
        batch, flows = talk.batch(ways[0])
        batch["mark"] = rng.choice([0, 0, 0, 0, 3], len(batch))
        times = now + np.cumsum(rng.choice([0, 0, 0.001, 0.2], len(batch)))
        now = times[-1] + rng.choice([0, 1, 20, 130], p=[0.5, 0.3, 0.15, 0.05])
        out, other = (nat.process(batch, times) for nat in ways)
        np.testing.assert_array_equal(out, other)
        talk.note(out, flows)
        # not always: to read counters is to hand them over
        if n % 7 == 0 or n == BATCHES - 1:
            told = [state(nat, family) for nat in ways]
            # a run of rules that is looked up walks fewer of them
            assert told[0][:2] == told[1][:2]
            assert told[0][3] == told[1][3]
            assert {**told[0][2], "rules_walked": 0} == {**told[1][2], "rules_walked": 0}
            assert taken_events(ways[0], family) == taken_events(ways[1], family)
    for nat in ways:
        nat.check()


GATEWAY = """*filter
:FORWARD DROP [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i cni0 -j ACCEPT
COMMIT
*mangle
-A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
*nat
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""


def counted_by_memos(nat, family):
    memos = nat.stacks[family].core.arrays
    return {name: int(memos[name]["packets"].sum()) for name in ("memos", "pass_memos")}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_gateway_goes_shortly(family, proto):
    """The comparison above would hold where nothing is remembered, too."""
    nat = fastnat.Engine(make_dual(GATEWAY, GATEWAY))
    host, server = {4: ("10.244.2.{}", "203.0.113.9"), 6: ("fd00:1::2:{}", "2001:db8:9::9")}[family]
    flags = 2 * (proto == "tcp")
    ends = {"src": [host.format(2 + k % 200) for k in range(600)], "dst": server, "dport": 443, "iface": "cni0"}
    ends |= {"sport": 1024 + np.arange(600), "proto": proto}
    first = nat.packets(tcp_flags=flags, **ends)
    out = nat.process(first)
    assert set(out["verdict"].tolist()) == {fastnat.Verdict.FORWARD}
    before = counted_by_memos(nat, family)
    assert before["memos"] > 300
    back = nat.packets(
        proto=proto, src=server, sport=443, dport=out["sport"], tcp_flags=flags and 0x12, iface="eth0",
        dst={4: "198.51.100.10", 6: "2001:db8::10"}[family],
    )  # fmt: skip
    for again in (back, nat.packets(tcp_flags=flags and 0x10, **ends)):
        assert set(nat.process(again)["verdict"].tolist()) == {fastnat.Verdict.FORWARD}
        assert set(nat.process(again)["verdict"].tolist()) == {fastnat.Verdict.FORWARD}
    assert counted_by_memos(nat, family)["pass_memos"] > 1000
    counts = {line.split("] ")[1]: line for line in nat.save_rules(family).splitlines() if line.startswith("[")}
    assert counts["-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"].startswith("[2400:")
    assert counts["-A FORWARD -i cni0 -j ACCEPT"].startswith("[600:")
