"""Rules to arrays: runs with exact keys, classes, limits of what is remembered."""

from nodes import make_node

import fastnat
from fastnat import iptables
from fastnat.core.layout import TargetKind
from fastnat.rules import compiler as ruleset


def compiled(*rules):
    text = "*nat\n:X - [0:0]\n" + "".join(f"-A {r}\n" for r in rules) + "COMMIT\n"
    return ruleset.compile_rules(iptables.parse(text), ["", "lo", "eth0"])


def test_a_run_of_exact_destinations_is_looked_up_and_keeps_its_order():
    rules = [f"X -d 10.0.0.{k % 3}/32 -p udp --dport {k} -j ACCEPT" for k in range(12)]
    r = compiled("X -j RETURN", *rules, "X -j ACCEPT")
    assert len(r.dispatches) == 1
    start = next(i for i, (_, chain, _) in enumerate(r.origin) if chain.name == "X")
    assert r.rules["target"][start + 1] == TargetKind.DISPATCH
    first, behind = start + 2, start + 14
    assert r.rules["next"][first : first + 9].tolist() == [first + k + 3 for k in range(9)]
    assert r.rules["next"][behind - 3 : behind].tolist() == [behind] * 3
    heads = {int(s["key"]): int(s["rule"]) for s in r.dispatch_slots if s["rule"] != ruleset.NO_RULE}
    assert heads == {0x0A000000 + k: first + k for k in range(3)}


def test_a_run_of_exact_sources_is_looked_up_in_every_table():
    rules = "".join(f"-A POSTROUTING -s 10.0.{k // 256}.{k % 256}/32 -j MARK --set-mark {k}\n" for k in range(400))
    r = ruleset.compile_rules(iptables.parse(f"*mangle\n{rules}COMMIT\n"), ["", "lo", "eth0"])
    assert len(r.dispatches) == 1
    heads = {int(s["key"]) for s in r.dispatch_slots if s["rule"] != ruleset.NO_RULE}
    assert heads == {0x0A000000 + k for k in range(400)}


def test_subscribers_cost_no_walk():
    """A new connection meets as many rules with 5,000 subscribers as with 50."""
    walked = []
    for n in (50, 5000):
        hosts = [f"10.244.{2 + k // 250}.{k % 250 + 2}" for k in range(n)]
        rules = "".join(f"-A POSTROUTING -s {host}/32 -o eth0 -j SNAT --to-source 198.51.100.{k % 200 + 20}\n"
                        for k, host in enumerate(hosts))  # fmt: skip
        nat = fastnat.Engine(make_node(f"*nat\n{rules}-A POSTROUTING -j MASQUERADE\nCOMMIT\n"))
        out = nat.process(nat.packets(proto="udp", src=hosts, sport=7, dst="203.0.113.9", dport=53, iface="cni0"))
        assert [int(a) & 0xFF for a in out["src"]] == [k % 200 + 20 for k in range(n)]
        walked.append(nat.stats["rules_walked"] / n)
    assert walked[1] <= walked[0] + 0.1


def test_short_runs_and_open_rules_are_walked():
    assert len(compiled(*[f"X -d 10.0.0.{k}/32 -j ACCEPT" for k in range(7)]).dispatches) == 0
    assert len(compiled(*[f"X ! -d 10.0.0.{k}/32 -j ACCEPT" for k in range(20)]).dispatches) == 0
    assert len(compiled(*[f"X -p udp ! --dport {k} -j ACCEPT" for k in range(20)]).dispatches) == 0


def test_addresses_and_ports_are_cut_where_rules_name_them():
    r = compiled(
        "X -s 10.0.0.0/8 -m iprange --dst-range 1.1.1.1-1.1.1.9 -j ACCEPT",
        "X -p tcp -m multiport --sports 5,7:9 -j ACCEPT",
        "X -p icmp --icmp-type 3/4 -j ACCEPT",
    )
    assert {10 << 24, 11 << 24, 0x01010101, 0x0101010A} <= r.address_cuts
    assert r.sport_starts.tolist() == [0, 5, 6, 7, 10]
    assert r.dport_starts.tolist() == [0, 0x304, 0x305]
    assert r.repeatable


def test_masks_with_holes_are_never_remembered():
    assert not compiled("X -s 10.0.0.1/255.0.0.255 -j ACCEPT").repeatable
