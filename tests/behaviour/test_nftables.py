"""What rules of nftables decide: each row a rule set, a packet and what becomes of it, as Linux 6.18 decides.

Outcomes follow nft(8) and nf_tables of Linux 6.18; rows with "recorded" in their name were run through that kernel.
"""

import json
from ipaddress import ip_address

import numpy as np
import pytest
from nodes import make_dual
from scapy.layers.inet import IP, UDP

import fastnat
from fastnat.engine.nft_state import elements
from fastnat.errors import RuleError
from fastnat.nftables.compile import compile_ruleset
from fastnat.nftables.program import STEPS

FORWARD = "type filter hook forward priority filter;"
POST = "type nat hook postrouting priority srcnat;"
EARLY = "type filter hook prerouting priority 0;"
PRE = "type nat hook prerouting priority dstnat;"
OUT = "198.51.100.10"


def engine_of(nft, rules="", **settings):
    return fastnat.Engine(make_dual(rules, native=nft), **settings)


def send(engine, now=0.0, **fields):
    values = {"proto": "udp", "src": "10.244.1.2", "dst": "203.0.113.10", "sport": 4000, "dport": 53, "iface": "cni0"}
    return engine.process(engine.packets(**values | fields), now)[0]


def verdict(result):
    return ("forward", "local", "drop")[int(result["verdict"])]


def text(address):
    value = int(address["low"]) | int(address["high"]) << 64 if address.dtype.names else int(address)
    return fastnat.addresses.V6.to_text(value) if address.dtype.names else fastnat.addresses.V4.to_text(value)


def chain(rules, base=FORWARD, more="", family="ip"):
    return f"table {family} t {{\n{more}\nchain c {{ {base}\n{rules}\n}}\n}}\n"


V6 = {"src": "fd00:1::2", "dst": "2001:db8:7::1"}
TCP = {"proto": "tcp", "dport": 80, "tcp_flags": 2}


@pytest.mark.parametrize(
    ("rules", "fields", "dropped"),
    [
        ("udp dport 53 drop", {}, True),
        ("udp dport 53 drop", {"dport": 54}, False),
        ("tcp dport 53 drop", {}, False),
        ("th dport 53 drop", {}, True),
        ("th dport 53 drop", {**TCP, "dport": 53}, True),
        ("udp dport != 53 drop", {"dport": 54}, True),
        ("udp dport > 53 drop", {}, False),
        ("udp dport >= 53 drop", {}, True),
        ("udp dport 50-60 drop", {}, True),
        ("udp dport != 50-60 drop", {}, False),
        ("udp dport { 1, 50-60, 99 } drop", {}, True),
        ("udp dport != { 1, 50-60, 99 } drop", {}, False),
        ("udp dport != { 1, 99 } drop", {}, True),
        ("ip saddr 10.244.0.0/16 drop", {}, True),
        ("ip saddr != 10.244.0.0/16 drop", {}, False),
        ("ip saddr & 0.0.0.255 == 0.0.0.2 drop", {}, True),
        ("ip saddr & 0.0.0.255 == 0.0.0.3 drop", {}, False),
        ("ip saddr . udp dport { 10.244.1.2 . 53 } drop", {}, True),
        ("ip saddr . udp dport { 10.244.1.2 . 54 } drop", {}, False),
        ("ip saddr . udp dport { 10.244.1.0/24 . 50-60, 10.0.0.1 . 1 } drop", {}, True),
        ("ip saddr . udp dport { 10.244.1.0/24 . 54-60, 10.0.0.1 . 1 } drop", {}, False),
        ("ip protocol udp drop", {}, True),
        ("ip protocol { tcp, icmp } drop", {}, False),
        ("ip ttl 64 drop", {}, True),
        ("ip ttl 63 drop", {}, False),
        ("ip length 100 drop", {"length": 100}, True),
        ("ip version 4 drop", {}, True),
        ("ip hdrlength 5 drop", {}, True),
        ("meta l4proto udp drop", {}, True),
        ("meta nfproto ipv6 drop", {}, False),
        ("meta length 90-110 drop", {"length": 100}, True),
        ("meta mark 5 drop", {"mark": 5}, True),
        ("meta mark & 0xf0 == 0x10 drop", {"mark": 0x1F}, True),
        ("meta mark | 1 == 5 drop", {"mark": 4}, True),
        ("meta mark ^ 1 == 5 drop", {"mark": 4}, True),
        ("meta mark << 4 == 0x40 drop", {"mark": 4}, True),
        ("meta mark set meta mark | 0x10 meta mark 0x14 drop", {"mark": 4}, True),
        ("meta mark set udp dport map { 53 : 7, 54 : 8 } meta mark 7 drop", {}, True),
        ("ct mark set 9 meta mark set ct mark or 2 meta mark 11 drop", {}, True),
        ("iifname \"cni*\" drop", {}, True),
        ("iifname { \"eth0\", \"cni*\" } drop", {}, True),
        ("oifname != \"eth0\" drop", {}, False),
        ("iif cni0 oif eth0 drop", {}, True),
        ("iifname . oifname { \"cni0\" . \"eth0\" } drop", {}, True),
        ("ct state new drop", {}, True),
        ("ct state established,related drop", {}, False),
        ("ct state vmap { established : accept, new : drop }", {}, True),
        ("ct status snat drop", {}, False),
        ("ct status ! snat drop", {}, True),
        ("ct direction original drop", {}, True),
        ("ct original ip saddr 10.244.1.2 drop", {}, True),
        ("ct original proto-dst 53 drop", {}, True),
        ("ct reply ip saddr 203.0.113.10 drop", {}, True),
        ("ct protocol udp ct l3proto ipv4 drop", {}, True),
        ("fib saddr type unicast drop", {}, True),
        ("fib daddr type { local, broadcast } drop", {}, False),
        ("fib saddr . iif oif missing drop", {}, False),
        ("fib saddr . iif oif missing drop", {"src": "203.0.113.77"}, True),
        ("fib saddr oif eth0 drop", {"src": "203.0.113.77"}, True),
        ("fib daddr oifname \"eth0\" drop", {}, True),
        ("rt ip nexthop 198.51.100.1 drop", {}, True),
        ("tcp flags syn drop", TCP, True),
        ("tcp flags & (syn | ack) == syn drop", TCP, True),
        ("tcp flags & (syn | ack) == syn drop", {**TCP, "tcp_flags": 0x12}, False),
        ("tcp flags syn / syn,ack,fin drop", TCP, True),
        ("tcp flags != syn drop", TCP, False),
        ("icmp type echo-request drop", {"proto": "icmp", "sport": 1, "dport": 8 << 8}, True),
        ("icmp type . icmp code { echo-request . 0 } drop", {"proto": "icmp", "sport": 1, "dport": 8 << 8}, True),
        ("@nh,96,32 0x0af40102 drop", {}, True),
        ("@th,16,16 53 drop", {}, True),
        ("udp dport vmap { 50-60 : drop, * : accept }", {}, True),
        ("udp dport vmap { 1 : accept, * : drop }", {}, True),
        ("udp dport 53 continue; udp dport 53 drop", {}, True),
        ("udp dport 53 accept; drop", {}, False),
        ("udp dport 53 return; drop", {}, False),
        ("reject", {}, True),
        ("tcp dport 80 reject with tcp reset", TCP, True),
        ("ip ttl 64 reject with tcp reset", TCP, True),
        ("ip ttl 64 reject with tcp reset", {}, False),
        ("meta l4proto tcp reject with tcp reset", {}, False),
        ("counter meta l4proto tcp reject with tcp reset", {}, False),
        ("log prefix \"x\" counter drop", {}, True),
        ("quota over 1 mbytes drop", {}, False),
        ("ct count over 5 drop", {}, False),
        ("meta pkttype multicast drop", {}, False),
        ("jhash ip saddr mod 1 seed 1 == 0 drop", {}, True),
        ("numgen inc mod 2 == 0 drop", {}, True),
        ("numgen inc mod 2 offset 7 == 7 drop", {}, True),
        ("numgen random mod 4 < 4 drop", {}, True),
        ("symhash mod 1 == 0 drop", {}, True),
        ("meta cpu 0 drop", {}, True),
        ("meta cpu 1-3 drop", {}, False),
        ("meta mark ^ 3 != 1 drop", {"mark": 2}, False),
    ],
)  # fmt: skip
def test_a_rule_and_a_packet(rules, fields, dropped):
    result = send(engine_of(chain(rules)), **fields)
    assert verdict(result) == ("drop" if dropped else "forward")


@pytest.mark.parametrize(
    ("rules", "fields", "dropped"),
    [
        ("udp dport 53 drop", V6, True),
        ("ip saddr 10.244.1.2 drop", V6, False),
        ("ip6 saddr fd00:1::/64 drop", V6, True),
        ("ip6 saddr & ::ffff == ::2 drop", V6, True),
        ("ip6 daddr { 2001:db8:7::-2001:db8:7::ffff } drop", V6, True),
        ("ip6 saddr . udp dport { fd00:1::/64 . 53, fd00:2::1-fd00:2::9 . 1 } drop", V6, True),
        ("ip6 saddr . udp dport { fd00:1::3-fd00:1::9 . 53 } drop", V6, False),
        ("ip6 hoplimit 64 drop", V6, True),
        ("ip6 nexthdr udp drop", V6, True),
        ("ip protocol udp drop", V6, False),
        ("meta nfproto ipv6 drop", V6, True),
        ("meta protocol ip6 drop", V6, True),
        ("icmpv6 type echo-request drop", {**V6, "proto": "icmpv6", "sport": 1, "dport": 128 << 8}, True),
        ("icmp type echo-request drop", {**V6, "proto": "icmpv6", "sport": 1, "dport": 8 << 8}, False),
        ("fib daddr type unicast drop", V6, True),
        ("meta nfproto ipv4 drop", V6, False),
        ("meta nfproto ipv4 drop", {}, True),
        ("ip6 saddr ::1 drop", {}, False),
        ("reject with icmpv6 type no-route", {}, False),
        ("reject with icmpv6 type no-route", V6, True),
        ("reject with icmp type host-unreachable", V6, False),
        ("udp dport 53 counter reject with icmp type host-unreachable", {}, True),
        ("reject with icmpx type no-route", V6, True),
        ("meta priority set udp dport map { 80 : 1:1 } drop", {}, False),
        ("meta priority set udp dport map { 53 : 1:1 } drop", {}, True),
    ],
)  # fmt: skip
def test_one_table_for_both_families(rules, fields, dropped):
    result = send(engine_of(chain(rules, family="inet")), **fields)
    assert verdict(result) == ("drop" if dropped else "forward")


@pytest.mark.parametrize(
    ("rules", "source"),
    [
        ("masquerade", OUT),
        ("oifname eth0 masquerade random", OUT),
        ("snat to 198.51.100.44", "198.51.100.44"),
        ("ip daddr 203.0.113.10 snat to 198.51.100.44; snat to 198.51.100.45", "198.51.100.44"),
        ("snat ip to ip saddr map { 10.244.1.2 : 198.51.100.20, 10.244.1.3 : 198.51.100.21 }", "198.51.100.20"),
        ("snat to ip saddr map { 10.244.1.2 : 198.51.100.30-198.51.100.30 }", "198.51.100.30"),
        ("snat ip prefix to 198.51.100.0/24", "198.51.100.2"),
        ("accept; masquerade", "10.244.1.2"),
        ("return; masquerade", "10.244.1.2"),
        ("udp dport 54 masquerade", "10.244.1.2"),
    ],
)  # fmt: skip
def test_where_the_source_goes(rules, source):
    assert text(send(engine_of(chain(rules, POST)))["src"]) == source


def test_a_range_of_ports_and_their_flags():
    engine = engine_of(chain("udp dport 53 masquerade to :2000-2003", POST))
    ports = {int(send(engine, sport=4000 + n, src=f"10.244.1.{n + 2}")["sport"]) for n in range(4)}
    assert ports == {2000, 2001, 2002, 2003}
    assert verdict(send(engine, sport=5000, src="10.244.1.9")) == "drop"


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ("udp dport 53 dnat to 10.244.1.9:5353", ("10.244.1.9", 5353)),
        ("dnat to udp dport map { 53 : 10.244.1.8 . 5300 }", ("10.244.1.8", 5300)),
        ("dnat to numgen inc mod 2 map { 0 : 10.244.1.7, 1 : 10.244.1.8 }", ("10.244.1.7", 53)),
        ("dnat to 10.244.1.9-10.244.1.9", ("10.244.1.9", 53)),
        ("udp dport 50-60 dnat to :99", ("203.0.113.10", 99)),
        ("udp dport vmap { 53 : goto g }", ("10.244.1.5", 53)),
        ("fib daddr type local dnat to 10.244.1.9", ("203.0.113.10", 53)),
    ],
)  # fmt: skip
def test_where_the_destination_goes(rules, where):
    engine = engine_of(chain(rules, PRE, "chain g { dnat to 10.244.1.5; }"))
    result = send(engine, iface="eth0", src="203.0.113.77")
    assert (text(result["dst"]), int(result["dport"])) == where


def test_redirect_goes_to_the_interface_that_the_packet_came_in_by():
    result = send(engine_of(chain("udp dport 53 redirect to :5353", PRE)))
    assert (verdict(result), text(result["dst"]), int(result["dport"])) == ("local", "10.244.1.1", 5353)


def test_nat_of_the_other_family_says_nothing_and_the_rule_goes_on():
    rules = "dnat ip to 10.244.1.9 dnat ip6 to fd00:1::9"
    engine = engine_of(chain(rules, PRE, family="inet"))
    assert text(send(engine, **V6)["dst"]) == "fd00:1::9"
    assert text(send(engine)["dst"]) == "10.244.1.9"


def test_a_forwarded_packet_has_the_priority_of_the_tos_with_which_it_enters_forward():
    """ip_forward, rt_tos2priority: what rules made of it before says nothing, nor does the TOS that they write then."""
    rules = {
        "early": ("filter hook prerouting priority 0", "meta priority set 1:1\nip daddr 203.0.113.9 ip dscp set 2"),
        "there": ("filter hook forward priority 0", "ip dscp set cs4\nmeta priority 0:2 meta priority set 2:2"),
        "late": ("filter hook postrouting priority 0", "meta priority { 2:2, 0:4 } drop\nip dscp != cs4 drop"),
    }  # fmt: skip
    chains = "\n".join(f"chain {name} {{ type {base};\n{said}\n}}" for name, (base, said) in rules.items())
    nat = engine_of(f"table ip t {{\n{chains}\n}}\n")
    for tos, dst, passes in ((0, "203.0.113.10", True), (8, "203.0.113.10", False), (0x10, "203.0.113.10", True),
                             (0x18, "203.0.113.10", False), (0, "203.0.113.9", False)):  # fmt: skip
        packet = IP(src="10.244.1.2", dst=dst, tos=tos) / UDP(sport=4000 + tos, dport=53)
        assert (nat.process_packet(bytes(packet), "cni0")[0] == fastnat.Verdict.FORWARD) == passes, (tos, dst)


@pytest.mark.parametrize("family", ["ip", "inet"])
def test_a_reject_asks_for_its_protocol_in_front_of_the_counter(family):
    engine = engine_of(chain("counter reject with tcp reset", family=family))
    seen = [verdict(send(engine, **fields)) for fields in ({}, TCP)]
    assert seen == ["forward", "drop"]
    assert "meta l4proto tcp counter packets 1 bytes" in engine.list_nft()


def test_a_nat_chain_sees_first_packets_alone():
    engine = engine_of(chain("counter masquerade", POST))
    for _ in range(5):
        send(engine)
    assert engine.core_of(4).arrays["nft_states"]["packets"].tolist() == [1]


def test_the_first_binding_ends_and_accept_does_not():
    nft = chain("accept", POST) + "table ip u { chain d { type nat hook postrouting priority 101; masquerade; } }"
    assert text(send(engine_of(nft))["src"]) == OUT
    nft = (
        chain("snat to 198.51.100.44", POST)
        + "table ip u { chain d { type nat hook postrouting priority 101; masquerade; } }"
    )
    assert text(send(engine_of(nft))["src"]) == "198.51.100.44"


def test_accept_ends_a_chain_and_drop_ends_all():
    later = "table ip u { chain d { type filter hook forward priority 10; udp dport 53 drop; } }"
    assert verdict(send(engine_of(chain("accept") + later))) == "drop"
    earlier = "table ip u { chain d { type filter hook forward priority -10; drop; } }"
    assert verdict(send(engine_of(chain("accept") + earlier))) == "drop"


def test_policies_and_gotos():
    more = "chain a { udp dport 53 return; }\nchain b { goto a; }"
    assert verdict(send(engine_of(chain("jump b", f"{FORWARD} policy drop;", more)))) == "drop"
    assert verdict(send(engine_of(chain("jump b; accept", f"{FORWARD} policy drop;", more)))) == "forward"
    # what a goto leads to returns to the last jump: there is none, and the policy decides
    assert verdict(send(engine_of(chain("goto b; accept", f"{FORWARD} policy drop;", more)))) == "drop"


def test_chains_around_every_step_see_the_packet_in_the_order_of_their_priorities():
    seen = []
    for hook, steps in STEPS.items():
        if hook in ("input", "output"):
            continue
        priorities = [-400, -250, -190, -120, -50, 60, 150] if len(steps) == 3 else [-160, -140, -1, 1, 200]
        seen += [(hook, priority) for priority in priorities]
    chains = "".join(
        f"chain {hook}{n} {{ type filter hook {hook} priority {p}; meta mark set meta mark << 1 | 1; }}\n"
        for n, (hook, p) in enumerate(reversed(seen))
    )
    last = f"type filter hook postrouting priority 300; meta mark {hex(2 ** len(seen) - 1)} drop"
    engine = engine_of(f"table ip t {{ {chains} chain last {{ {last}; }} }}")
    assert verdict(send(engine)) == "drop"


def test_iptables_and_nftables_run_together_and_the_later_one_first_at_equal_priority():
    nft = chain("ip saddr 10.244.1.3 drop; meta mark set 1")
    rules = "*filter\n-A FORWARD -m mark --mark 1 -j DROP\n-A FORWARD -s 10.244.1.5 -j DROP\nCOMMIT\n"
    engine = engine_of(nft, rules)
    assert [verdict(send(engine, src=f"10.244.1.{n}")) for n in (2, 3, 5)] == ["forward", "drop", "drop"]
    nat = "*nat\n-A POSTROUTING -s 10.244.1.4 -j SNAT --to-source 198.51.100.55\nCOMMIT\n"
    engine = engine_of(chain("snat to 198.51.100.44", POST), nat)
    assert [text(send(engine, src=f"10.244.1.{n}")["src"]) for n in (4, 6)] == ["198.51.100.55", "198.51.100.44"]


def test_a_node_may_say_that_nftables_was_loaded_later(tmp_path):
    rules = "*nat\n-A POSTROUTING -s 10.244.1.4 -j SNAT --to-source 198.51.100.55\nCOMMIT\n"
    node = engine_of(chain("snat to 198.51.100.44", POST), rules).node
    assert text(send(fastnat.Engine(node), src="10.244.1.4")["src"]) == "198.51.100.55"
    node.nft_last = True
    engine = fastnat.Engine(node)
    assert text(send(engine, src="10.244.1.4")["src"]) == "198.51.100.44"
    node.save(tmp_path / "node")
    engine.save(tmp_path / "state")
    for other in (fastnat.Engine(fastnat.Node.load(tmp_path / "node")), fastnat.Engine.restore(tmp_path / "state")):
        assert text(send(other, src="10.244.1.4", sport=7)["src"]) == "198.51.100.44"


def test_a_chain_in_postrouting_is_told_where_the_packet_came_in():
    nft = chain('iifname "cni0" snat to 198.51.100.44', POST)
    assert text(send(engine_of(nft))["src"]) == "198.51.100.44"
    assert text(send(engine_of(nft, profile="linux-5.4"))["src"]) == "10.244.1.2"


def test_notrack_and_its_state():
    nft = chain("udp dport 53 notrack", "type filter hook prerouting priority raw;")
    nft += "table ip u { chain d { type filter hook forward priority 0; ct state untracked drop; } }"
    engine = engine_of(nft)
    assert (verdict(send(engine)), verdict(send(engine, dport=54))) == ("drop", "forward")


def test_a_set_that_rules_fill_and_its_timeout():
    more = "set seen { type ipv4_addr; flags dynamic,timeout; timeout 10s; }"
    engine = engine_of(chain("udp dport 53 update @seen { ip saddr } accept; ip saddr @seen drop", more=more))
    assert [verdict(send(engine, now=t, dport=p)) for t, p in ((0, 54), (1, 53), (2, 54), (10.9, 54))] == [
        "forward", "forward", "drop", "drop",
    ]  # fmt: skip
    assert verdict(send(engine, now=11.1, dport=54)) == "forward"
    # update, not add, begins the time anew
    send(engine, now=20, dport=53)
    send(engine, now=28, dport=53)
    assert verdict(send(engine, now=35, dport=54)) == "drop"


def test_add_keeps_the_time_and_delete_takes_out():
    more = "set seen { type ipv4_addr; flags dynamic,timeout; timeout 10s; }"
    rules = (
        "udp dport 53 add @seen { ip saddr } accept; udp dport 99 delete @seen { ip saddr } accept; ip saddr @seen drop"
    )
    engine = engine_of(chain(rules, more=more))
    for now in (0, 8):
        send(engine, now=now, dport=53)
    assert verdict(send(engine, now=11, dport=54)) == "forward"
    send(engine, now=12, dport=53)
    assert verdict(send(engine, now=13, dport=54)) == "drop"
    send(engine, now=14, dport=99)
    # there is nothing to take out, and the rule goes on
    assert verdict(send(engine_of(chain("delete @seen { ip saddr } drop", more=more)))) == "drop"
    assert verdict(send(engine, now=15, dport=54)) == "forward"


def test_a_full_set_takes_no_more():
    more = "set seen { type ipv4_addr; flags dynamic; size 2; }"
    engine = engine_of(chain("add @seen { ip saddr } accept; drop", more=more))
    assert [verdict(send(engine, src=f"10.244.1.{n}")) for n in (2, 3, 4, 2)] == [
        "forward",
        "forward",
        "drop",
        "forward",
    ]


def test_a_map_that_rules_fill():
    nft = (
        "table ip t { map ports { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; }\n"
        f"chain pre {{ {PRE} iifname eth0 meta l4proto udp dnat to udp dport map @ports; }}\n"
        f"chain post {{ {POST} oifname eth0 meta l4proto udp update @ports {{ udp sport : ip saddr . udp sport }}\n"
        "oifname eth0 masquerade; } }"
    )
    engine = engine_of(nft)
    send(engine, sport=7000)
    result = send(engine, iface="eth0", src="192.0.2.1", dst=OUT, sport=1, dport=7000)
    assert (verdict(result), text(result["dst"]), int(result["dport"])) == ("forward", "10.244.1.2", 7000)


@pytest.mark.parametrize("rate", ["3/second burst 3 packets", '3/second burst 3 packets comment "x"'])
def test_a_limit_is_a_bucket(rate):
    engine = engine_of(chain(f"limit rate {rate} accept; drop".replace(' comment "x" accept', ' accept comment "x"')))
    assert [verdict(send(engine)) for _ in range(4)] == ["forward"] * 3 + ["drop"]
    assert [verdict(send(engine, now=0.4)) for _ in range(2)] == ["forward", "drop"]


def test_a_limit_of_bytes():
    engine = engine_of(chain("limit rate over 1000 bytes/second burst 500 bytes drop"))
    assert [verdict(send(engine, length=500)) for _ in range(4)] == ["forward"] * 3 + ["drop"]


def test_each_element_has_its_own_limit():
    more = "set lim { type ipv4_addr; flags dynamic; }"
    engine = engine_of(chain("add @lim { ip saddr limit rate over 1/hour burst 2 packets } drop", more=more))
    sources = ("10.244.1.2", "10.244.1.3")
    assert [verdict(send(engine, src=s)) for s in sources * 3] == ["forward"] * 4 + ["drop"] * 2


def test_named_counters_quotas_and_maps_of_them():
    more = 'counter a { }\ncounter b { }\nmap m { type inet_service : counter; elements = { 53 : "a", 54 : "b" } }'
    engine = engine_of(chain('counter name udp dport map @m; counter name "a"', more=more))
    for port in (53, 54, 54, 55):
        send(engine, dport=port)
    assert sorted(engine.core_of(4).arrays["nft_states"]["packets"].tolist()) == [2, 5]


def test_connections_are_counted_while_they_last():
    """Recorded: behind the packet's own connection no other is looked at, so that the third is still counted."""
    more = "set cc { type ipv4_addr; flags dynamic; }"
    engine = engine_of(chain("udp dport 53 add @cc { ip saddr ct count over 2 } drop", more=more))
    assert [verdict(send(engine, sport=n)) for n in (1, 2, 3, 1)] == ["forward", "forward", "drop", "drop"]
    assert verdict(send(engine, sport=4, src="10.244.1.9")) == "forward"
    # a packet without a connection counts beside them
    assert (
        verdict(send(engine_of(chain("ct count over 0 drop", "type filter hook prerouting priority raw;")))) == "drop"
    )
    # both are over
    assert verdict(send(engine, now=200, sport=5)) == "forward"


def test_a_map_says_which_helper_a_new_connection_has():
    more = 'ct helper f { type "ftp" protocol tcp; }\nct helper s { type "sip" protocol tcp; }'
    rule = 'ct helper set tcp dport map { 21 : "f", 2121 : "f", 5060 : "s" } counter'
    engine = engine_of(chain(rule, "type filter hook prerouting priority filter;", more))
    assert engine.has_helpers
    for port in (21, 2121, 5060, 80):
        send(engine, **TCP | {"dport": port})
    entries = engine.conntrack.format("extended").splitlines()
    helped = {line.split("dport=")[1].split()[0] for line in entries if "helper=ftp" in line}
    assert helped == {"21", "2121"}
    assert f"{rule} packets 3 bytes" in engine.list_nft()
    assert any("there is no helper 'sip' here" in note for s in engine.stacks.values() for note in s.program.warnings)


def test_a_chain_in_a_rule_decides_as_one_with_a_name():
    inline = "udp dport 53 jump { ip saddr 10.244.1.2 drop; counter; }\nudp dport 54 goto { return; }\ndrop"
    engine = engine_of(chain(inline))
    found = [verdict(send(engine, dport=port, src=f"10.244.1.{n}")) for n in (2, 3) for port in (53, 54, 55)]
    assert found == ["drop", "forward", "drop", "drop", "forward", "drop"]
    assert "\t\t\tcounter packets 1 bytes" in engine.list_nft()


def test_helpers_are_given_to_new_connections_of_their_protocol():
    more = 'ct helper h { type "ftp" protocol tcp; }'
    engine = engine_of(chain('tcp dport 21 ct helper set "h"', "type filter hook prerouting priority filter;", more))
    assert engine.has_helpers
    send(engine, **{**TCP, "dport": 21})
    assert engine.core_of(4).tables["helps"] == 1


@pytest.mark.parametrize(
    ("nft", "why"),
    [
        (chain("meta sdif lo drop"), "meta sdif is not supported: packets here do not have it"),
        (chain("meta skuid nobody drop"), "the names of the node's users and groups are not known"),
        (chain("queue num 1"), "queue is not supported: a program decides, unless it says bypass"),
        (chain("queue flags fanout to 1-3"), "queue is not supported: a program decides, unless it says bypass"),
        (chain("socket wildcard 1 drop", EARLY), "socket wildcard is not supported but behind"),
        (chain("socket mark 1 drop", EARLY), "which sockets the node has is not known"),
        (chain("socket transparent 1 drop"), "socket transparent is reached from a chain of type and hook filter forw"),
        (chain("meta l4proto tcp tproxy to :80"), "tproxy is reached from a chain of type and hook filter forward"),
        (chain("arp operation request drop"), "arp operation: packets here are those of IP"),
        (chain("@ll,96,32 5 drop"), "@ll: bits 96 to 128 reach behind the type of a frame"),
        (chain("ether saddr 00:11:22 drop"), "'00:11:22' is no link-layer address"),
        (chain("ct label 5 drop"), "ct label is not supported: connections carry no labels here"),
        (chain("ip6 flowlabel set 5", family="ip6"), "ip6 flowlabel set is not supported"),
        (chain("exthdr frag exists drop"), "no packet of a table of family ip has it"),
        (chain("xt match string drop"), "give iptables-save of the same moment as rules.v4"),
        (chain('xt match "comment" drop'), "give iptables-save of the same moment as rules.v4"),
        ("table netdev t { chain c { type filter hook ingress device \"x0\" priority 0; } }", "'x0' does not exist"),
        ("table bridge t { chain c { type filter hook input priority 0; ip saddr 1.2.3.4 drop; } }", "bridges are not"),
        ("table bridge t { chain c { type filter hook input priority 0; policy drop; } }", "its policy is drop"),
        (chain("ip6 saddr ::1 drop"), "conflicting protocols specified"),
        (chain("dnat ip6 to 10.0.0.1", PRE, family="inet"), "dnat ip6 to 10.0.0.1: the address is of the other family"),
        (chain("snat ip to ::1-::9", POST, family="inet"), "snat ip to ::1: the address is of the other family"),
        (chain("tcp dport 5 udp sport 6 drop"), "conflicting protocols specified: tcp vs. udp"),
        (chain("ip protocol icmp tcp dport 6 drop"), "conflicting protocols specified: icmp vs. tcp"),
        (chain("masquerade"), "masquerade is reached from a chain of type and hook filter forward"),
        (chain("snat to 192.0.2.1", PRE), "snat is reached from a chain of type and hook nat prerouting"),
        (chain("jump nowhere"), "no chain nowhere in table ip t"),
        (chain("jump c"), "chain c is a base chain, to which no rule can jump or go"),
        (chain("ip saddr @nothing drop"), "no set or map nothing in table ip t"),
        (chain("udp dport @s drop", more="set s { type ipv4_addr; }"), "datatype mismatch: inet_service is looked up"),
        (chain("udp dport 70000 drop"), "70000 is not in 0..65535"),
        (chain("ip saddr 1.2.3.400 drop"), "'1.2.3.400'|1.2.3"),
        (chain("iif nothere drop"), "Interface 'nothere' does not exist"),
        (
            chain("udp dport @s drop", more="set s { type inet_service; flags interval; elements = { 1-5, 4-9 } }"),
            "two of its elements overlap",
        ),
        (chain("udp dport 60-50 drop"), "Range negative size"),
        (chain("counter name \"x\""), "no counter x in table ip t; there are: none"),
        (chain("th sport set 5"), "th sport set is not supported"),
        (chain("tcp window set 5"), "tcp window set is not supported"),
        (chain('meta iifkind "veth" drop'), "addr.json does not say of which kind interfaces are"),
        (chain("add @s { ip saddr }", more="set s { type ipv4_addr; flags interval; }"), "so no rule can change it"),
        (chain("meta time > \"2020-01-01\" drop"), "meta time asks for a date; give Engine\\(epoch"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_refused_with_its_place(nft, why):
    with pytest.raises(RuleError, match=why) as error:
        engine_of(nft)
    assert str(error.value).startswith("<rules.nft>:")


MARKS = "chain y { type filter hook prerouting priority 0; meta mark set 1\n}"
DROPS = "chain x { type filter hook prerouting priority 0; meta mark 1 drop\n}"
# whether rules of chain x, which stand in front in the listing, run behind those of y
ORDERS = [
    (f"table inet a {{ {DROPS} }}\ntable inet b {{ {MARKS} }}", "", True),
    (f"table inet a {{ }}\ntable inet b {{ {MARKS} }}\ntable inet a {{ {DROPS} }}", "", False),
    (f"table inet a {{ }}\ntable inet b {{ {MARKS} }}", f"table inet a {{ {DROPS} }}", False),
    (
        f"table inet a {{ {DROPS} }}\ntable inet b {{ {MARKS} }}",
        f"delete chain inet a x\ntable inet a {{ {DROPS} }}",
        False,
    ),
    (f"table inet a {{ }}\ntable inet a {{ {DROPS} }}", f"table inet b {{ {MARKS} }}", True),
]


@pytest.mark.parametrize(("nft", "commands", "drops"), ORDERS)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "JSON"])
def test_of_one_priority_the_chain_made_last_runs_first(nft, commands, drops, as_json):
    engine = engine_of(nft)
    if as_json and commands:
        # a listing has the order of its tables, as that of nft
        engine = engine_of(engine.list_nft(as_json=True))
    if commands:
        engine.change_nft(commands)
    assert verdict(send(engine)) == ("drop" if drops else "forward")


def test_ten_thousand_services_cost_as_many_rules_as_ten():
    walked = []
    for n in (10, 10_000):
        services = ", ".join(f"10.96.{i >> 8}.{i & 255} . udp . 53 : goto s{i % 7}" for i in range(n))
        chains = "".join(f"chain s{i} {{ dnat to 10.244.1.{i + 2}; }}\n" for i in range(7))
        nft = (
            "table ip t { map m { type ipv4_addr . inet_proto . inet_service : verdict;\n"
            f"elements = {{ {services} }}; }}\n"
            f"{chains} chain c {{ {PRE} ip daddr . meta l4proto . th dport vmap @m; }} }}"
        )
        engine = engine_of(nft)
        assert text(send(engine, dst="10.96.0.7")["dst"]) == "10.244.1.2"
        walked.append(engine.stats["rules_walked"])
    assert walked[0] == walked[1]


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ("0 : goto a, 1 : goto b, 2 : goto c2", "abc-"),
        ("2 : goto c2, 0 : goto a, 1 : goto b", "abc-"),
        ("1 : goto a, 2 : goto b, 3 : goto c2", "-abc"),
        ("0 : goto a, 1 : drop, 2 : continue, 3 : jump b", "a!-b"),
        ("0 : goto a, 2 : goto c2, * : goto b", "abcb"),
        ("0-1 : goto a, 2 : goto b", "aab-"),
    ],
)
def test_verdicts_by_number_are_those_of_the_map(said, goes):
    marks = "".join(f"chain {name} {{ meta mark set {n}; }}\n" for n, name in enumerate(("a", "b", "c2"), 1))
    rules = f"numgen inc mod 4 offset 0 vmap {{ {said} }}\nmeta mark 0 udp dport set 9"
    post = f"chain last {{ {POST}\nmeta mark 1 snat to :1; meta mark 2 snat to :2; meta mark 3 snat to :3 }}"
    engine = engine_of(chain(rules, more=marks + post))
    out = [send(engine, dst=f"203.0.113.{n}") for n in range(4)]
    told = ["!" if verdict(o) == "drop" else "-" if o["dport"] == 9 else " abc"[int(o["sport"])] for o in out]
    assert "".join(told) == goes


def services_of(n, family):
    """A table that sends n services, by a verdict map and numgen, to two backends each; some by more chains."""
    vip, to = ("10.96.{}.{}", "10.244.{}.{}:80") if family == "ip" else ("fd00:5::{:x}:{:x}", "[fd00:1::{:x}:{:x}]:80")
    parts, elements = [], []
    for k in range(n):
        address = vip.format(k >> 8, k & 255)
        said = ("goto", "jump", "drop", "goto")[k % 4]
        elements.append(f"{address} . udp . 53 : {said if said == 'drop' else f'{said} first{k}'}")
        parts.append(f"chain first{k} {{ {'meta mark set 1; goto s' if k % 3 else 'goto s'}{k}; }}")
        parts.append(
            f"chain s{k} {{ {family} daddr {address} {family} saddr != {address} meta mark set 1\n"
            f"numgen {('random', 'inc')[k % 5 == 0]} mod 2 vmap {{ 0 : goto a{k}, 1 : goto b{k} }}; }}"
        )
        for name, at in (("a", 64), ("b", 128)):
            parts.append(f"chain {name}{k} {{ meta l4proto udp dnat to {to.format(at | k >> 8, k & 255)}; }}")
    key = f"type {'ipv4_addr' if family == 'ip' else 'ipv6_addr'} . inet_proto . inet_service : verdict"
    rules = f"{family} daddr . meta l4proto . th dport vmap @m"
    more = f"map m {{ {key}; elements = {{ {', '.join(elements)} }}; }}\n" + "\n".join(parts)
    return chain(rules, PRE, more, family)


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_fetching_services_ahead_changes_no_answer(family, monkeypatch):
    found = []
    for wide in (256, 1_000_000):
        monkeypatch.setattr("fastnat.nftables.program.WIDE_MAP", wide)
        nat = fastnat.Engine(make_dual(native=services_of(600, family)), seed=3)
        k = np.arange(2000)
        source, vip = ("10.244.{}.{}", "10.96.{}.{}") if family == "ip" else ("fd00:1::{:x}:{:x}", "fd00:5::{:x}:{:x}")
        packets = nat.packets(
            # every seventh is of a service that is not there
            proto=np.where(k % 11, 17, 1 if family == "ip" else 58), sport=1024, dport=53, iface="cni0",
            src=[source.format(i % 200, 2 + i // 200) for i in k], dst=[vip.format(i % 7 * 37 % 3, i % 251) for i in k],
        )  # fmt: skip
        out = nat.process(packets)
        found.append((out.tobytes(), nat.stats))
        assert len({text(a) for a in out["dst"][out["dport"] == 80]}) > 300
    assert found[0] == found[1]


def test_a_dormant_table_and_other_families_are_left_out():
    assert verdict(send(engine_of(f"table ip t {{ flags dormant; chain c {{ {FORWARD} drop; }} }}"))) == "forward"
    node = make_dual(native="table bridge b { chain c { type filter hook forward priority 0; drop; } }")
    program = compile_ruleset(node.nft, node.iface_names, {}, fastnat.addresses.V4)
    assert program.warnings == ["table bridge b is left out: packets here begin behind the rules of that family"]


def test_a_fork_keeps_what_rules_remember():
    more = "set seen { type ipv4_addr; flags dynamic; }"
    engine = engine_of(chain("udp dport 53 add @seen { ip saddr } accept; ip saddr @seen drop", more=more))
    send(engine)
    assert verdict(send(engine.fork(), dport=54)) == "drop"


def test_the_listing_after_packets_has_counters_quotas_and_elements():
    more = "counter a { packets 3 bytes 4; }\nset seen { type ipv4_addr . inet_service; flags dynamic; timeout 10s; }"
    rules = "counter packets 5 bytes 6; counter name a\nquota over 1000 bytes\n"
    rules += "update @seen { ip saddr . udp sport timeout 1m }"
    engine = engine_of(chain(rules, more=more))
    for n in range(2):
        send(engine, now=n, sport=4000 + n, length=100)
    listed = engine.list_nft()
    for line in (
        "counter packets 7 bytes 206", "packets 5 bytes 204", "quota over 1000 bytes used 200 bytes",
        "elements = { 10.244.1.2 . 4000 timeout 1m expires 59s,", "10.244.1.2 . 4001 timeout 1m expires 1m }",
    ):  # fmt: skip
        assert line in listed
    # and it is taken again
    assert verdict(send(engine_of(listed))) == "forward"


def test_a_trace_shows_rules_of_both_languages_in_the_order_of_the_hooks():
    nft = chain("jump sub; accept", f"{FORWARD} policy drop;", "chain sub { udp dport 54 drop; meta mark set 1; }")
    engine = engine_of(nft, "*filter\n-A FORWARD -s 10.244.1.2 -j ACCEPT\nCOMMIT\n")
    told = engine.trace(
        engine.packets(proto="udp", src="10.244.1.2", dst="203.0.113.10", sport=1, dport=53, iface="cni0")
    )
    assert [(s.table, s.chain, s.kind, s.text, s.skipped) for s in told.steps] == [
        ("filter", "FORWARD", "rule", "-A FORWARD -s 10.244.1.2 -j ACCEPT", 0),
        ("ip t", "c", "rule", "jump sub", 0),
        ("ip t", "sub", "rule", "meta mark set 0x00000001", 1),
        ("ip t", "sub", "return", "end of the chain", 0),
        ("ip t", "c", "rule", "accept", 0),
    ]
    assert told.lines()[1:3] == [
        "trace id 00000001 ip t c rule jump sub (verdict jump)",
        "trace id 00000001 ip t sub rule meta mark set 0x00000001 (verdict continue)",
    ]


def test_what_connections_have_counted_turns_accounting_on():
    engine = engine_of(chain("ct packets > 1 ct original bytes >= 56 ct reply packets 0 ct avgpkt < 100 drop"))
    assert [verdict(send(engine, length=28)) for _ in range(3)] == ["forward", "drop", "drop"]


def test_passwd_and_group_name_owners():
    node = make_dual(
        native=chain('meta skuid "proxy" meta skgid { www, 7 } drop', "type filter hook output priority 0;")
    )
    node.users, node.groups = {"proxy": 13}, {"www": 33}
    engine = fastnat.Engine(node)
    engine.uid, engine.gid = 13, 33
    assert verdict(send(engine, src=OUT, iface="local")) == "drop"
    engine.uid = 14
    assert verdict(send(engine, src=OUT, iface="local")) == "forward"


def test_owners_are_those_of_local_packets_alone():
    base = "type filter hook postrouting priority filter;"
    engine = engine_of(chain("meta skuid 1000-1999 meta skgid != 5 drop", base))
    engine.uid, engine.gid = 1500, 6
    assert verdict(send(engine)) == "forward"
    assert verdict(send(engine, src=OUT, iface="local")) == "drop"
    engine.gid = 5
    assert verdict(send(engine, src=OUT, iface="local", sport=4001)) == "forward"


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        # Thursday 26 November 2026, 11:00
        ('meta day "Thursday" drop', True),
        ('meta day { "Friday", "Sunday" } drop', False),
        ('meta day "Monday"-"Friday" drop', True),
        ('meta hour "10:30"-"11:00:00" drop', True),
        ('meta hour "22:00"-"06:00" drop', False),
        ('meta hour "10:00"-"06:00" drop', True),
        ('meta hour >= "11:00:01" drop', False),
        ('meta time "2026-11-26"-"2026-11-27" drop', True),
        ('meta time < "2026-11-26 11:00:00" drop', False),
        ("meta time 1795690800 drop", True),
    ],
)
def test_the_date_is_that_of_the_epoch(rule, dropped):
    assert (verdict(send(engine_of(chain(rule), epoch=1795690800.0))) == "drop") == dropped


def test_chains_at_a_device_see_its_packets_before_and_behind_all_others():
    nft = """table netdev n {
        chain in { type filter hook ingress devices = { cni0 } priority -500; udp dport 53 counter drop; }
        chain out { type filter hook egress device "eth0" priority 0; ip daddr 203.0.113.10 udp dport 77 drop; }
    }
    """ + chain("counter", "type filter hook prerouting priority -400;")
    engine = engine_of(nft)
    assert [verdict(send(engine, dport=port)) for port in (53, 54, 77)] == ["drop", "forward", "drop"]
    assert verdict(send(engine, src="203.0.113.10", dst="10.244.1.2", iface="eth0")) == "forward"
    assert "counter packets 3 bytes" in engine.list_nft()


def test_rules_that_iptables_made_run_once():
    nft = """table ip filter { chain FORWARD { type filter hook forward priority filter; policy accept;
    xt match "comment" xt match string counter packets 0 bytes 0
    udp dport 53 drop
    } }
    table ip mine { chain c { type filter hook forward priority 5; counter; } }
    """
    rules = (
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m ttl --ttl-eq 1\n-A FORWARD -p udp --dport 53 -j DROP\nCOMMIT\n"
    )
    engine = engine_of(nft, rules)
    assert verdict(send(engine)) == "drop"
    assert "is that of iptables-nft: its rules run once" in engine.stack_of(4).program.warnings[0]
    with pytest.raises(RuleError, match="give iptables-save of the same moment"):
        engine_of(nft, rules.replace("COMMIT", "-A FORWARD -j ACCEPT\nCOMMIT"))


def test_a_rule_that_is_not_supported_never_matches_leniently():
    node = make_dual(native=chain(""))
    node.load_nft(chain("what is this { 1,\n2 }\nsocket mark 1 drop\nudp dport 53 drop"), lenient=True)
    assert verdict(send(fastnat.Engine(node))) == "drop"
    assert [said.split(": ")[0] for said in node.nft.warnings] == ["never matches"] * 2
    assert "what is this { 1, 2 }" in " ".join(node.nft_text.split())


def test_maps_say_ranges_of_addresses_and_ports():
    kind, said = "ipv4_addr : interval ipv4_addr . inet_service", "10.244.1.2 : 192.0.2.1 . 5000-5003"
    pools = f"map pools {{ type {kind}; elements = {{ {said} }} }}"
    engine = engine_of(chain("meta l4proto udp snat ip to ip saddr map @pools", POST, pools))
    ports = [int(send(engine, dst=f"203.0.113.{n}", dport=53)["sport"]) for n in range(1, 9)]
    assert set(ports) <= set(range(5000, 5004))
    assert text(send(engine, dst="203.0.113.99")["src"]) == "192.0.2.1"


def test_a_field_of_some_types_of_icmp_asks_for_the_type():
    engine = engine_of(chain("icmp id 7 drop"))
    answers = [verdict(send(engine, proto="icmp", sport=7, dport=kind << 8)) for kind in (8, 13)]
    assert answers == ["drop", "forward"]


@pytest.mark.parametrize(("profile", "dropped"), [("linux-6.18", "forward"), ("linux-5.4", "drop")])
def test_the_last_byte_of_a_quota_is_within_it(profile, dropped):
    """Recorded with Linux 6.18."""
    engine = engine_of(chain("quota over 100 bytes drop"), profile=profile)
    assert [verdict(send(engine, length=50)) for _ in range(3)] == ["forward", dropped, "drop"]


@pytest.mark.parametrize("native", [True, False])
def test_the_packet_that_ends_its_connection_is_still_counted(native):
    """Recorded: nf_ct_kill_acct. A RST in place of an answer deletes the connection; rules see what it has counted."""
    match = "-m connbytes --connbytes 2 --connbytes-dir both --connbytes-mode packets"
    rules = f"*filter\n-A FORWARD {match} -j DROP\nCOMMIT\n"
    engine = engine_of(chain("ct packets > 1 drop") if native else "", "" if native else rules)
    assert verdict(send(engine, **TCP)) == "forward"
    answer = {"src": "203.0.113.10", "dst": "10.244.1.2", "sport": 80, "dport": 4000, "iface": "eth0"}
    assert verdict(send(engine, **{**TCP, **answer, "tcp_flags": 4})) == "drop"


@pytest.mark.parametrize(
    ("option", "there"), [("07070400000000", True), ("07070300000000", False), ("94040000", False)]
)
def test_a_broken_option_is_missing(option, there):
    """Recorded with ip option rr: a pointer in front of the first address breaks all options of the header."""
    data = bytes.fromhex(option).ljust(8, b"\0")
    head = bytearray(bytes.fromhex("470000240001000040110000 0af40102 cb00710a".replace(" ", "")) + data)
    words = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, len(head), 2))
    head[10:12] = (0xFFFF - (words % 0xFFFF or 0xFFFF)).to_bytes(2, "big")
    engine = engine_of(chain("ip option rr exists counter", "type filter hook prerouting priority mangle;"))
    engine.process_packet(bytes(head) + bytes.fromhex("0fa0003500080000"), "cni0")
    assert f"exists counter packets {int(there)} bytes" in engine.list_nft()


@pytest.mark.parametrize(
    ("rule", "counted"),
    [
        ("counter exthdr frag exists", 0), ("counter rt type 0", 0), ("counter ip option rr missing", 1),
        ("counter tcp option maxseg missing", 1), ("counter ip saddr 10.0.0.0/8 ip option rr missing", 1),
        ("counter meta nfproto ipv6 rt type 0", 1), ("counter rt type vmap { 0 : drop, * : accept }", 0),
        ("counter udp dport . rt type { 53 . 0 }", 0), ("counter meta mark set rt type map { 0 : 1 }", 0),
        ("counter meta mark set 1", 1), ("counter ip option rr length vmap { 7 : drop }", 1),
    ],
)  # fmt: skip
def test_an_extension_header_asks_for_its_family_in_front_of_the_rule(rule, counted):
    """As nft says with --debug=netlink; recorded with a quota in front of `rt type 0`."""
    engine = engine_of(chain(rule, family="inet"))
    engine.process(engine.packets(proto="udp", src="10.244.1.2", dst="203.0.113.9", iface="cni0"))
    assert f"counter packets {counted} bytes" in engine.list_nft()


@pytest.mark.parametrize(("chains", "leaves"), [
    ("chain c { type filter hook output priority -150; meta mark set 1; }", "eth0"),
    ("chain c { type route hook output priority 0; meta mark set 1; }", "eth1"),
    ("chain c { type route hook output priority -300; ip dscp set 4; }", "eth2"),
    ("chain a { type route hook output priority -150; meta mark set 1; };"
     " chain b { type filter hook output priority -149; ip dscp set 4; }", "eth1"),
])  # fmt: skip
def test_only_chains_of_type_route_route_own_packets_anew(tmp_path, chains, leaves):
    """As recorded of the 6.18 kernel (kernel/test_reroute.py)."""
    node = fastnat.Node()
    for n, name in enumerate(("eth0", "eth1", "eth2")):
        node.add_interface(name, [f"198.51.{100 + n}.10/24"])
    node.save(tmp_path)
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "default", "dev": "eth1", "table": "100"},
              {"dst": "default", "dev": "eth2", "table": "200"}]  # fmt: skip
    rules = [{"priority": 0, "src": "all", "table": "local"},
             {"priority": 10, "src": "all", "tos": "0x10", "table": "200"},
             {"priority": 20, "src": "all", "fwmark": "0x1", "table": "100"},
             {"priority": 32766, "src": "all", "table": "main"}]  # fmt: skip
    (tmp_path / "route-all.json").write_text(json.dumps(routes))
    (tmp_path / "rule.json").write_text(json.dumps(rules))
    (tmp_path / "rules.nft").write_text(f"table ip t {{ {chains}; }}")
    engine = fastnat.Engine(fastnat.Node.load(tmp_path))
    # 198.51.100.10:4000 to 203.0.113.9:53, with its checksum
    frame = np.frombuffer(bytes.fromhex("4500001d0001000040111488c633640acb0071090fa000350009000061"), np.uint8).copy()
    out = engine.process_frames(frame, np.array([0, len(frame)]), "local", 0.0)
    assert engine.iface_names[out["out_iface"][0]] == leaves


def test_the_largest_size_of_a_set_is_taken():
    """Its heads were counted by what was asked for, not by the room that it got."""
    sets = "".join(f"set s{n} {{ type ipv4_addr; flags dynamic; size 4294967295; }};" for n in range(2))
    chain = "chain c { type filter hook forward priority 0; add @s0 { ip saddr }; add @s1 { ip saddr }; }"
    node = fastnat.Node.example()
    node.load_nft(f"table ip t {{ {sets} {chain}; }}")
    engine = fastnat.Engine(node)
    batch = engine.packets(proto="udp", src=["10.244.1.2", "10.244.1.3"], dst="203.0.113.10", dport=53, iface="cni0")
    engine.process(batch, 0.0)
    engine.reload()
    assert [len(elements(engine.core_of(4).arrays, n)[0]) for n in (0, 1)] == [2, 2]


@pytest.mark.parametrize(
    ("rules", "fields", "answer"),
    [
        ("ip daddr set 203.0.113.77", {}, ("10.244.1.2", "203.0.113.77", 4000, 53)),
        ("ip saddr set 198.51.100.77 udp sport set 9 udp dport set 10", {}, ("198.51.100.77", "203.0.113.10", 9, 10)),
        ("ip daddr set ip daddr map { 203.0.113.10 : 203.0.113.11 }", {}, ("10.244.1.2", "203.0.113.11", 4000, 53)),
        ("ip daddr set ip daddr map { 203.0.113.9 : 203.0.113.11 } drop", {}, ("10.244.1.2", "203.0.113.10", 4000, 53)),
        ("tcp dport set 10", {}, ("10.244.1.2", "203.0.113.10", 4000, 53)),
        ("ip saddr set ip daddr", {}, ("203.0.113.10", "203.0.113.10", 4000, 53)),
        ("ip6 daddr set 2001:db8:7::5", V6, ("fd00:1::2", "2001:db8:7::5", 4000, 53)),
        ("udp sport set udp dport", V6, ("fd00:1::2", "2001:db8:7::1", 53, 53)),
    ],
)  # fmt: skip
def test_what_rules_write_into_packets(rules, fields, answer):
    result = send(engine_of(chain(rules, family="inet")), **fields)
    assert (text(result["src"]), text(result["dst"]), result["sport"], result["dport"]) == answer


def test_addresses_without_state_both_ways():
    """Conntrack meets what the rules have written; behind it, the connection stays what it was."""
    nft = """table ip t {
        chain raw { type filter hook prerouting priority raw
            iifname "cni0" ip saddr 10.244.1.2 ip saddr set 198.51.100.2
            iifname "eth0" ip daddr 198.51.100.2 ip daddr set 10.244.1.2
            ct state new counter
        }
    }"""
    engine = engine_of(nft)
    assert text(send(engine)["src"]) == "198.51.100.2"
    back = {"src": "203.0.113.10", "dst": "198.51.100.2", "sport": 53, "dport": 4000, "iface": "eth0"}
    assert text(send(engine, **back)["dst"]) == "10.244.1.2"
    lines = [(c.original, c.reply) for c in engine.conntrack]
    assert len(lines) == 2


def test_a_proxy_has_what_rules_give_it_if_the_route_leads_to_the_node(tmp_path):
    node = make_dual(
        native="""table ip t {
        chain pre { type filter hook prerouting priority mangle
            ct state invalid drop
            meta l4proto tcp socket transparent 1 counter meta mark set 1 accept
            tcp dport 80 tproxy to 127.0.0.1:3128 meta mark set 1
            tcp dport 81 tproxy to :3128
            udp dport 53 tproxy to :3128 meta mark set 1
        }
    }"""
    )
    node.save(tmp_path)
    (tmp_path / "rule.json").write_text(
        json.dumps(
            [
                {"priority": 0, "src": "all", "table": "local"},
                {"priority": 5, "src": "all", "fwmark": "0x1", "table": "100"},
                {"priority": 32766, "src": "all", "table": "main"},
            ]
        )
    )
    routes = json.loads((tmp_path / "route.json").read_text())
    (tmp_path / "route-all.json").write_text(
        json.dumps([*routes, {"type": "local", "dst": "default", "dev": "lo", "table": "100", "scope": "host"}])
    )
    engine = fastnat.Engine(fastnat.Node.load(tmp_path))
    assert any("a proxy is taken to listen" in said for said in engine.stack_of(4).program.warnings)
    first = send(engine, **TCP)
    assert (verdict(first), text(first["dst"])) == ("local", "203.0.113.10")
    assert verdict(send(engine, **TCP)) == "local"
    assert "socket transparent 1 counter packets 1 " in engine.list_nft()
    led_on = send(engine, **{**TCP, "dport": 81})
    assert (verdict(led_on), led_on["reason"]) == ("drop", fastnat.Reason.PROXIED)
    assert verdict(send(engine)) == "local"
    assert verdict(send(engine, dport=54)) == "forward"


def test_what_a_proxy_has_does_not_take_the_route_that_its_connection_keeps():
    engine = engine_of("""table ip t {
        chain pre { type filter hook prerouting priority mangle
            ct state new,established counter
            meta length > 100 meta l4proto udp tproxy to :3128
        }
    }""")
    back = {"src": "203.0.113.10", "dst": "10.244.1.2", "sport": 53, "dport": 4000, "iface": "eth0"}
    for _ in range(2):
        assert verdict(send(engine)) == "forward"
        led_on = send(engine, length=200)
        assert (verdict(led_on), led_on["reason"]) == ("drop", fastnat.Reason.PROXIED)
        assert verdict(send(engine, **back)) == "forward"


@pytest.mark.parametrize(
    ("rules", "dropped"),
    [
        ("queue flags bypass to 0; drop", False),
        ("queue num 1-3 bypass,fanout; drop", False),
        ("udp dport 54 queue num 0 bypass; drop", True),
        ("dup to 192.0.2.1 device eth0; udp dport 53 drop", True),
        ("dup to 192.0.2.1; accept", False),
    ],
)
def test_copies_and_queues_that_let_pass(rules, dropped):
    assert verdict(send(engine_of(chain(rules)))) == ("drop" if dropped else "forward")


LINKS = [
    {"ifname": "lo", "ifindex": 1, "flags": ["LOOPBACK"], "link_type": "loopback", "group": "default", "min_mtu": 0},
    {"ifname": "cni0", "ifindex": 2, "link_type": "ether", "group": "default", "linkinfo": {"info_kind": "bridge"},
     "addr_info": [{"family": "inet", "local": "10.244.1.1", "prefixlen": 16}]},
    {"ifname": "wg0", "ifindex": 3, "link_type": "none", "group": "7", "linkinfo": {"info_kind": "wireguard"},
     "addr_info": [{"family": "inet", "local": "198.51.100.10", "prefixlen": 24}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ('meta iifkind "bridge" drop', True),
        ('meta iifkind { "veth", "wireguard" } drop', False),
        ('meta oifkind "wireguard" drop', True),
        ("meta oifgroup 7 drop", True),
        ("oifgroup default drop", False),
        ("iifgroup default drop", True),
        ("meta iiftype ether drop", True),
        ("meta oiftype != ether drop", True),
        ("meta oiftype ppp drop", False),
        ('meta iifkind . meta oifgroup { "bridge" . 7 } drop', True),
    ],
)
def test_groups_kinds_and_types_of_interfaces(tmp_path, rule, dropped):
    (tmp_path / "addr.json").write_text(json.dumps(LINKS))
    (tmp_path / "route.json").write_text(json.dumps([{"dst": "default", "dev": "wg0"}]))
    (tmp_path / "rules.nft").write_text(chain(rule))
    node = fastnat.Node.load(tmp_path)
    assert verdict(send(fastnat.Engine(node))) == ("drop" if dropped else "forward")
    node.save(tmp_path / "again")
    assert verdict(send(fastnat.Engine(fastnat.Node.load(tmp_path / "again")))) == ("drop" if dropped else "forward")


def test_a_packet_without_the_interface_ends_the_rule():
    out = "type filter hook output priority filter;"
    own = {"src": OUT, "iface": "local"}
    assert verdict(send(engine_of(chain("iifgroup != 5 drop", out)), **own)) == "forward"
    assert verdict(send(engine_of(chain("oifgroup != 5 drop", out)), **own)) == "drop"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("proto", ["udp", "tcp", "icmp"])
def test_headers_alone_have_the_bytes_of_their_packet(family, proto):
    """Every byte, and every group of 2, 4 and 16, that a rule may ask of a header; numbers and checksums are zeros."""
    number = {"udp": 17, "tcp": 6, "icmp": 1 if family == 4 else 58}[proto]
    src, dst = ("10.1.0.2", "203.0.113.9") if family == 4 else ("fd01::1234:5678:2", "fd03::9abc:def0:9")
    l4 = {
        "udp": b"\x12\x34\x56\x78" + bytes(4), "tcp": b"\x12\x34\x56\x78" + bytes(8) + b"\x50\x12" + bytes(6),
        "icmp": bytes([8 if family == 4 else 128, 0, 0, 0, 0x12, 0x34, 0, 0]),
    }[proto]  # fmt: skip
    length = 0x123 + (40 if family == 6 else 0)
    packed = ip_address(src).packed + ip_address(dst).packed
    if family == 4:
        ip = bytes([0x45, 0, length >> 8, length & 255, 0, 0, 0, 0, 64, number, 0, 0]) + packed
    else:
        ip = bytes([0x60, 0, 0, 0, (length - 40) >> 8, (length - 40) & 255, number, 64]) + packed
    rules = []
    for base, header in (("nh", ip), ("th", l4)):
        for size in (1, 2, 4, 16):
            places = range(len(header) - size + 1)
            rules += [f"@{base},{8 * at},{8 * size} 0x{header[at : at + size].hex()} counter" for at in places]
    own = "ip" if family == 4 else "ip6"
    node = fastnat.Node()
    node.add_interface("r0", ["10.1.0.1/16", "fd01::1/64"])
    node.add_interface("r1", ["10.2.0.1/24", "fd02::1/64"])
    node.add_route("default", via="10.2.0.254", dev="r1")
    node.add_route("::/0", via="fd02::fe", dev="r1")
    chain = "type filter hook prerouting priority 0;\n" + "\n".join(rules)
    node.load_nft(f"table {own} t {{\nchain c {{\n{chain}\n}}\n}}\n")
    nat = fastnat.Engine(node)
    dport = int.from_bytes(l4[:2], "big") if proto == "icmp" else 0x5678
    fields = {"proto": number, "src": src, "dst": dst, "sport": 0x1234, "dport": dport, "length": length}
    batch = nat.packets(iface="r0", **fields, **({"tcp_flags": 0x12} if proto == "tcp" else {}))
    nat.process(batch)
    missed = [line for line in nat.list_nft().splitlines() if "packets 0" in line]
    assert missed == []


@pytest.mark.parametrize(("said", "listed"), [
    ("sack0 left 5", "sack left 5"), ("sack1 left 5", "sack1 left 5"), ("sack3 right 5", "sack3 right 5"),
    ("sack2 length 10", "sack length 10"), ("sack1 exists", "sack exists"),
])  # fmt: skip
def test_the_blocks_of_a_sack_as_nft_names_them(said, listed):
    """Recorded with nft 1.0.6: the ends of a block alone have its number."""
    engine = engine_of(chain(f"tcp option {said}"))
    assert f"\t\ttcp option {listed}\n" in engine.list_nft()
    assert f"\t\ttcp option {listed}\n" in engine_of(engine.list_nft(as_json=True)).list_nft()
