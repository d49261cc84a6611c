"""Counters of rules, written back as iptables-save -c prints them."""

import pytest
from nodes import flows, make_node

import fastnat
from fastnat import iptables
from fastnat.iptables.model import BUILT_IN

RULES = """*nat
:PREROUTING ACCEPT [5:300]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MINE - [0:0]
[7:420] -A POSTROUTING -s 10.244.0.0/16 -j MINE
[0:0] -A MINE -p tcp -m comment --comment "a b" -j RETURN
[0:0] -A MINE -o eth0 -j MASQUERADE --random-fully
COMMIT
"""


def test_counters_go_on_from_those_that_were_read():
    nat = fastnat.Engine(make_node(RULES))
    batch = flows(nat, 10)
    nat.process(batch)
    nat.process(batch)
    nat.process(flows(nat, 1, src="10.9.9.9"))
    saved = nat.save_rules()
    expected = RULES.replace("[5:300]", "[16:960]").replace("[7:420]", "[17:1020]")
    expected = expected.replace("POSTROUTING ACCEPT [0:0]", "POSTROUTING ACCEPT [1:60]")
    expected = expected.replace("[0:0] -A MINE -o", "[10:600] -A MINE -o")
    assert saved == expected
    again = fastnat.Engine(make_node(saved))
    assert again.save_rules() == saved


def test_long_runs_that_are_looked_up_keep_their_rules():
    lines = "".join(f"[0:0] -A PREROUTING -d 10.96.0.{n}/32 -j ACCEPT\n" for n in range(1, 40))
    nat = fastnat.Engine(make_node(f"*nat\n:PREROUTING ACCEPT [0:0]\n{lines}-A POSTROUTING -j MASQUERADE\nCOMMIT\n"))
    nat.process(flows(nat, 3, dst="10.96.0.7"))
    saved = nat.save_rules()
    assert "[3:180] -A PREROUTING -d 10.96.0.7/32 -j ACCEPT\n" in saved
    assert saved.count("-A PREROUTING") == 39
    assert len(iptables.parse(saved).tables["nat"].chains["PREROUTING"].rules) == 39


@pytest.mark.parametrize("remember", [True, False])
def test_policies_of_chains_without_rules_count(remember):
    node = fastnat.Node()
    node.add_interface("in", ["10.0.0.1/24"])
    node.add_interface("out", ["192.0.2.1/24"])
    empty = "".join(
        f"*{table}\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains) + "COMMIT\n"
        for table, chains in BUILT_IN.items()
        if table != "nat"
    )
    node.load_rules(empty + "*nat\n:POSTROUTING ACCEPT [7:70]\n-A POSTROUTING -o out -j MASQUERADE\nCOMMIT\n")
    nat = fastnat.Engine(node, remember=remember)
    batch = nat.packets(
        iface="in", src="10.0.0.2", dst="192.0.2.9", sport=[1, 1, 2, 3], dport=53, proto="udp", length=100
    )
    nat.process(batch)
    nat.process(nat.packets(iface="in", src="10.0.0.2", dst="10.0.0.1", sport=1, dport=53, proto="udp", length=30))
    text = nat.save_rules()
    # four were forwarded, one was delivered
    for chain, counted in (
        ("PREROUTING", "[5:430]"),
        ("INPUT", "[1:30]"),
        ("FORWARD", "[4:400]"),
        ("POSTROUTING", "[4:400]"),
    ):
        assert text.split("*mangle")[1].split("COMMIT")[0].count(f":{chain} ACCEPT {counted}\n") == 1
    assert "*raw\n:PREROUTING ACCEPT [5:430]\n:OUTPUT ACCEPT [0:0]\n" in text
    assert text == nat.save_rules()
