"""Counters of rules, written back as iptables-save -c prints them."""

from nodes import flows, make_node

import fastnat
from fastnat import iptables

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
