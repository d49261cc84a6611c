"""Texts of nft: one tree for what people write, what `nft list ruleset` prints and its JSON, and back to the listing.

The files of tests/data/nftables were made with nft 1.0.6 in an empty network namespace: `nft -f written.nft`, then
`nft list ruleset > listed.nft` and `nft -j list ruleset > listed.json`; forms.nft and forms.json,
of every form, likewise.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastnat import nftables
from fastnat.errors import RuleError
from fastnat.nftables.canonical import canonical
from fastnat.nftables.kinds import kinds_of
from fastnat.nftables.parser import parse

DATA = Path(__file__).parents[1] / "data" / "nftables"


def read(name):
    return nftables.load((DATA / name).read_text(), name)


def as_in_json(ruleset):
    """Leave out what nft 1.0.6 leaves out of its JSON."""
    for table in ruleset.tables.values():
        for named in table.sets.values():
            key, data = kinds_of(table, named)
            named.key, named.data = tuple(k.name for k in key), tuple(k.name for k in data)
            named.typeof = named.data_typeof = None
            named.auto_merge, named.flags = False, tuple(f for f in named.flags if f != "dynamic")
        table.comment = ""
        for chain in table.chains.values():
            chain.comment = ""
    return in_seconds(ruleset)


def in_seconds(ruleset):
    """Leave out the milliseconds of the time that elements have left, as JSON does."""
    for named in (s for table in ruleset.tables.values() for s in table.sets.values()):
        named.elements[:] = [replace(e, expires=None if e.expires is None else int(e.expires)) for e in named.elements]
    return ruleset


def test_what_people_write_and_what_nft_lists_of_it_are_one_tree():
    assert read("written.nft") == read("listed.nft")


@pytest.mark.parametrize("name", ["listed", "forms"])
def test_the_json_and_the_text_of_a_listing_are_one_tree(name):
    assert as_in_json(read(f"{name}.nft")) == as_in_json(read(f"{name}.json"))


@pytest.mark.parametrize("name", ["written.nft", "listed.nft", "forms.nft"])
def test_a_tree_is_listed_as_nft_lists_it(name):
    assert nftables.listing(read(name)) == (DATA / name.replace("written", "listed")).read_text()


# what nft 1.0.6 leaves out of its JSON or has no module for in that kernel
MORE = """
table ip more {
    comment "of a table"
    flags dormant
    set s { typeof ip saddr . tcp dport; flags dynamic; size 5; }
    set t { type ipv4_addr; flags dynamic; }
    map m { type ipv4_addr : ipv4_addr . inet_service; flags dynamic, timeout; }
    chain c { comment "of a chain"
        update @m { ip saddr timeout 5m : ip daddr . tcp dport }
        add @t { ip saddr }
        queue
        queue num 1-3 fanout,bypass
        queue flags bypass to symhash mod 4
        dup to 192.0.2.1 device eth0
        dup to ip saddr map { 192.0.2.1 : 192.0.2.2 }
        meta l4proto tcp tproxy to :80 accept
        synproxy mss 1460 wscale 7 timestamp sack-perm
        synproxy name "x"
        flow add @f
        reset tcp option sack-perm
        log prefix "1: " flags tcp sequence,options flags ip options
        socket cgroupv2 level 2 "a/b" accept
        osf ttl skip name "Linux" drop
    }
}
table netdev dev {
    flowtable f { hook ingress priority 5; devices = { eth0, eth1 }; flags offload; counter; }
    chain one { type filter hook ingress device eth0 priority 0; fwd to eth1; }
    chain two { type filter hook egress devices = { eth0, eth1 } priority 5;
        dup to eth1; fwd ip to 192.0.2.1 device eth0
    }
}
"""


@pytest.mark.parametrize(
    "text", [*((DATA / f"{name}.nft").read_text() for name in ("written", "listed", "forms")), MORE]
)
def test_text_and_json_are_read_as_one_tree(text):
    tree = nftables.load(text)
    said = nftables.json_listing(tree)
    assert nftables.load(said) == in_seconds(nftables.load(text))
    assert nftables.json_listing(nftables.load(said)) == said


def test_json_is_what_nft_prints():
    objects = [
        json.loads(text)["nftables"]
        for text in (nftables.json_listing(read("forms.nft")), (DATA / "forms.json").read_text())
    ]
    ours, theirs = ([item["rule"]["expr"] for item in items if "rule" in item] for items in objects)
    # that nft prints changes of maps as text
    assert [rule for rule in ours if "map" not in rule[0]] == [rule for rule in theirs if not isinstance(rule[0], str)]


def test_a_chain_at_a_device_that_the_json_leaves_out_is_refused():
    base = {"family": "netdev", "table": "t", "name": "c", "type": "filter", "hook": "ingress", "prio": 0}
    text = json.dumps({"nftables": [{"table": {"family": "netdev", "name": "t"}}, {"chain": base}]})
    with pytest.raises(RuleError, match="object 1: chain c: nft leaves its device out of this JSON"):
        nftables.load(text)


def listed(text, folder=None):
    return nftables.listing(nftables.load(text, "rules.nft", folder))


def rules(text, head="table ip t {\n", base=""):
    """Return the rules of one chain as they are listed."""
    lines = listed(f"{head}chain c {{\n{base}{text}\n}}\n}}\n").splitlines()
    start = next(n for n, line in enumerate(lines) if "chain c" in line)
    return [line.strip() for line in lines[start + 1 :] if line.startswith("\t\t")]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("tcp dport {ssh, 80,8000-8100} accept", "tcp dport { 22, 80, 8000-8100 } accept"),
        ("ip saddr {10.0.0.0/24,10.0.1.0/24} drop", "ip saddr { 10.0.0.0/23 } drop"),
        ('xt match "comment" counter xt target "DNAT"', "xt match comment counter packets 0 bytes 0 xt target DNAT"),
        ("tcp flags & 0x12 == 0x2", "tcp flags syn / syn,ack"),
        ("tcp flags & 0x12 != 0x12", "tcp flags != syn,ack / syn,ack"),
        ("tcp flags == 0x2 / 0x2,ecn", "tcp flags syn / syn,ecn"),
        ("tcp flags syn,urg / 18,0x2", "tcp flags syn,urg / syn,ack"),
        ("tcp flags & 0x12 == 0", "tcp flags ! syn,ack"),
        ("tcp flags & 0xff == 0x2", "tcp flags == syn"),
        ("tcp flags 0x12", "tcp flags syn,ack"),
        ("tcp flags != (syn|ack)", "tcp flags != 0x12"),
        ("ct state & (new|established) == new", "ct state new / established,new"),
        ("ct state new / established,new", "ct state new / established,new"),
        ("ct status & 0x30 == 0x20", "ct status dnat / snat,dnat"),
        ("ct status & dnat == dnat", "ct status & dnat == dnat"),
        ("ip dscp 0-2 ip ecn { 0-1, 3 }", "ip dscp 0x00-0x02 ip ecn { 0x0-0x1, ce }"),
        ("ether type 0x800-0x88cc meta iiftype 1-2", "ether type 0x0800-0x88cc meta iiftype 1-2"),
        ("meta pkttype { other, host, 3, 0 }", "meta pkttype { host, other }"),
        ('iifname vmap { "b" : drop, "a" : accept, "b" : drop }', 'iifname vmap { "a" : accept, "b" : drop }'),
        ("ct original protocol 108 ct reply l3proto 2", "ct protocol ipcomp ct l3proto ipv4"),
        ("rt nexthop 10.0.0.1", "rt ip nexthop 10.0.0.1"),
        ("ct expiration { 1500ms, 1d }", "ct expiration { 1s500ms, 1d }"),
        ("add @s { ip saddr timeout 0s }", "add @s { ip saddr }"),
        ("update @s { ip saddr timeout 60s limit rate 5/minute counter }",
         "update @s { ip saddr timeout 1m limit rate 5/minute counter }"),
        ("update @m { ip saddr timeout 60s counter : tcp dport }",
         "update @m { ip saddr timeout 1m counter : tcp dport }"),
        ("ip option rr vmap { 1 : drop } ip option ra value 3",
         "ip option rr vmap { exists : drop } ip option ra value 3"),
        ("meta l4proto tcp th dport 53 accept", "tcp dport 53 accept"),
        ("meta l4proto udp counter th sport 53", "meta l4proto udp counter packets 0 bytes 0 udp sport 53"),
        ("ip protocol tcp th dport vmap { 53 : drop }", "tcp dport vmap { 53 : drop }"),
        ("meta l4proto { tcp, udp } th dport 53", "meta l4proto { tcp, udp } th dport 53"),
        ("meta mark & 0xff000000 == 0x1000000", "meta mark 0x01000000/8"),
        ("ct mark and 0x80000000 != 0", "ct mark != 0x00000000/1"),
        ("meta mark & 0xff == 1", "meta mark & 0x000000ff == 0x00000001"),
        ("meta l4proto tcp tproxy ip to 127.0.0.1:80 meta mark set 1",
         "meta l4proto tcp tproxy to 127.0.0.1:80 meta mark set 0x00000001"),
        ("snat to ip saddr map { 10.0.0.0/24 : 192.0.2.1-192.0.2.9, 10.0.1.0/24 : 192.0.2.20/32 }",
         "snat ip to ip saddr map { 10.0.0.0/24 : 192.0.2.1-192.0.2.9, 10.0.1.0/24 : 192.0.2.20/32 }"),
        ("ip saddr { 10.0.0.1/32, 10.0.0.2 } drop", "ip saddr { 10.0.0.1-10.0.0.2 } drop"),
        ("ip saddr { 10.0.0.1, 10.0.0.2 } drop", "ip saddr { 10.0.0.1, 10.0.0.2 } drop"),
        ("ct state related,established accept", "ct state established,related accept"),
        ("mark and 0x4000 == 0 return", "meta mark & 0x00004000 == 0x00000000 return"),
        ("meta l4proto udp udp dport 53 counter", "udp dport 53 counter packets 0 bytes 0"),
        ("iif lo accept; oifname eth* drop", "iif \"lo\" accept"),
        ("dnat 10.0.0.1:80", "dnat to 10.0.0.1:80"),
        ("masquerade to :1024-65535 persistent,random", "masquerade to :1024-65535 random,persistent"),
        ("ip dscp set 46", "ip dscp set ef"),
        ("ip protocol { 80 } sctp dport 5", "ip protocol 80 sctp dport 5"),
        ("oifname { lo, \"eth*\", eth0, \"et*\" } drop", "oifname { \"et*\", \"lo\" } drop"),
        ("update @s { ip saddr timeout 90s }", "update @s { ip saddr timeout 1m30s }"),
        ("tcp flags & (fin|syn|rst|ack) == syn drop", "tcp flags syn / fin,syn,rst,ack drop"),
        ("limit rate over 400/minute burst 5 packets drop", "limit rate over 400/minute drop"),
        ("reject with icmp type port-unreachable", "reject"),
        ("counter comment \"a; b # c\"", "counter packets 0 bytes 0 comment \"a; b # c\""),
    ],
)  # fmt: skip
def test_a_statement_as_it_is_written_and_as_it_is_listed(written, shown):
    head = "table ip t {\nset s { type ipv4_addr; flags dynamic,timeout; }\n"
    head += "map m { type ipv4_addr : inet_service; flags dynamic,timeout; }\n"
    assert rules(written, head)[0] == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("ip saddr 10.0.0.1 reject", "ip saddr 10.0.0.1 reject with icmp port-unreachable"),
        ("icmpv6 type echo-request counter reject", "icmpv6 type echo-request counter packets 0 bytes 0 reject with "
         "icmpv6 port-unreachable"),
        ("meta nfproto ipv6 iifname x tcp dport 53 reject", 'iifname "x" tcp dport 53 reject with icmpv6 '
         "port-unreachable"),
        ("meta nfproto ipv6 log reject", "meta nfproto ipv6 log reject with icmpv6 port-unreachable"),
        ("meta nfproto ipv6 reject with icmpx type no-route", "meta nfproto ipv6 reject with icmpx no-route"),
        ("meta nfproto != ipv6 reject", "meta nfproto != ipv6 reject"),
        ("ct original ip saddr 10.0.0.1 reject", "ct original ip saddr 10.0.0.1 reject"),
        ("update @s { ip saddr } reject", "update @s { ip saddr } reject with icmp port-unreachable"),
        ("meter m { ip saddr timeout 10s limit rate over 5/second } drop", "meter m size 65535 { ip saddr timeout 10s "
         "limit rate over 5/second } drop"),
        ("meter m size 9 { ip saddr . tcp dport counter }", "meter m size 9 { ip saddr . tcp dport counter }"),
        ("meta priority set 0x10060 accept", "meta priority set 1:60 accept"),
        ("meta priority set ab:cd", "meta priority set ab:cd"),
        ("meta priority set tcp dport map { 80 : 1:1, 443 : none }", "meta priority set tcp dport map { 80 : 1:1, "
         "443 : none }"),
        ("meta priority { 1:1, root } accept", "meta priority { 1:1, root } accept"),
        ("dnat ip prefix to ip daddr map { 10.0.0.1 : 10.1.0.1/32 }", "dnat ip prefix to ip daddr map { 10.0.0.1 : "
         "10.1.0.1/32 }"),
    ],
)  # fmt: skip
def test_a_statement_of_both_families_as_it_is_listed(written, shown):
    """As nft 1.0.6 lists it; `rules` are in a table of inet."""
    head = "table inet t {\nset s { type ipv4_addr; flags dynamic,timeout; }\n"
    found = rules(written, head)
    assert found[0] == shown
    assert rules(found[0], head) == found


@pytest.mark.parametrize(
    ("written", "flags"),
    [
        ("timeout 1h;", None),
        ("flags timeout; timeout 1h;", None),
        ("flags timeout;", "flags timeout"),
        ("flags interval, timeout; timeout 1h;", "flags interval,timeout"),
        ("flags dynamic; timeout 1h;", "flags dynamic,timeout"),
    ],
)
def test_a_time_of_all_elements_says_that_they_have_one(written, flags):
    shown = listed(f"table ip t {{ set s {{ type ipv4_addr; {written} }}\n}}")
    assert [line.strip() for line in shown.splitlines() if "flags" in line] == ([flags] if flags else [])


def test_options_by_their_number_in_json():
    """As nft 1.0.6 prints them: whether there is one is said of its first byte."""
    option = {"base": 42, "offset": 0, "len": 8}
    said = [
        {"match": {"op": "==", "left": {"tcp option": option}, "right": True}},
        {"match": {"op": "==", "left": {"tcp option": option}, "right": 5}},
        {"reset": {"tcp option": option | {"len": 0}}},
    ]
    shown = ["tcp option 42 exists", "tcp option @42,0,8 5", "reset tcp option 42"]
    place = {"family": "ip", "table": "t", "chain": "c"}
    objects = [{"table": {"family": "ip", "name": "t"}}, {"chain": {"family": "ip", "table": "t", "name": "c"}}]
    objects += [{"rule": {**place, "expr": [part]}} for part in said]
    tree = nftables.load(json.dumps({"nftables": objects}))
    assert [line.strip() for line in nftables.listing(tree).splitlines() if "42" in line] == shown
    assert [part["rule"]["expr"][0] for part in map(dict, as_objects(tree)) if "rule" in part] == said


def test_what_iptables_nft_made_is_one_tree_in_text_and_json():
    """As nft 1.0.6 prints it; newer versions put the name into quotation marks."""
    text = "table ip filter {\n\tchain INPUT {\n\t\txt match comment xt target LOG\n\t}\n}\n"
    tree = nftables.load(text)
    assert nftables.listing(tree) == text
    (rule,) = (part["rule"] for part in as_objects(tree) if "rule" in part)
    assert rule["expr"] == [{"xt": {"type": "match", "name": "comment"}}, {"xt": {"type": "target", "name": "LOG"}}]
    assert nftables.load(nftables.json_listing(tree)) == tree


def as_objects(tree):
    """Return what the JSON of a tree holds."""
    return json.loads(nftables.json_listing(tree))["nftables"]


def test_numbers_of_json_that_nft_prints_as_negative():
    hashed = {"jhash": {"mod": 5, "seed": -2, "expr": {"payload": {"protocol": "ip", "field": "saddr"}}}}
    for left, shown in (
        ({"numgen": {"mode": "inc", "mod": 8, "offset": -1062705976}}, "numgen inc mod 8 offset 3232261320 5"),
        (hashed, "jhash ip saddr mod 5 seed 0xfffffffe 5"),
    ):
        rule = {"family": "ip", "table": "t", "chain": "c", "expr": [{"match": {"op": "==", "left": left, "right": 5}}]}
        place = {"family": "ip", "table": "t", "name": "c"}
        objects = [{"table": {"family": "ip", "name": "t"}}, {"chain": place}, {"rule": rule}]
        assert shown in listed(json.dumps({"nftables": objects}))
        left[next(iter(left))]["mod"] = 2**40
        with pytest.raises(RuleError, match="1099511627776 is no number of 32 bits"):
            listed(json.dumps({"nftables": objects}))


INLINE = """table ip t {
	chain other {
		accept
	}

	chain c {
		type filter hook forward priority filter; policy accept;
		ct state invalid jump {
			limit rate 10/second log prefix "strict "
			drop
		} comment "why"
		goto {
			accept
		}
	}
}
"""


def test_a_chain_that_stands_in_a_rule():
    """The text is what nft 1.0.6 lists, the JSON of such a statement what it prints."""
    written = INLINE.replace("accept\n\t\t}", "accept; }").replace("\n\t\t\t", " ; ").replace("{ ;", "{")
    assert written != INLINE
    assert listed(written) == listed(INLINE) == INLINE
    tree = nftables.load(INLINE)
    said = json.loads(nftables.json_listing(tree))["nftables"]
    assert [item["chain"]["name"] for item in said if "chain" in item] == ["other", "c"]
    (first, second) = [item["rule"]["expr"][-1] for item in said if item.get("rule", {}).get("chain") == "c"]
    assert first == 'jump {\n\t\t\tlimit rate 10/second log prefix "strict "\n\t\t\tdrop\n\t\t}'
    assert second == "goto {\n\t\t\taccept\n\t\t}"
    assert nftables.load(json.dumps({"nftables": said})) == tree


def test_a_chain_that_stands_in_a_rule_goes_with_it():
    tree = nftables.change(
        nftables.load(INLINE), "insert rule ip t c tcp dport 1 jump { drop; }\ndelete rule ip t c index 1"
    )
    assert "invalid" not in nftables.listing(tree)
    assert [c.inline for c in tree.tables["ip", "t"].chains.values()] == [False, False, True, True]
    with pytest.raises(RuleError, match="no chain __chain0 in table ip t; there are: other, c"):
        nftables.change(tree, "flush chain ip t __chain0")
    with pytest.raises(RuleError, match="1:49: expected what to compare with"):
        nftables.load("table ip t { chain c { jump { accept; udp dport } } }")


ARP = """table bridge t {
	chain c {
		type filter hook forward priority 0; policy accept;
		arp operation request arp daddr ip 10.0.0.1 accept
		arp operation reply arp saddr ether aa:bb:cc:dd:ee:ff accept
		arp saddr ip { 10.0.0.1, 10.0.0.2 } arp daddr ether != ff:ff:ff:ff:ff:ff accept
		arp operation { request, reply, rrequest, nak, 17 } accept
		vlan id 5 arp operation inreply accept
		ether type 8021q vlan type arp drop
		ether type { ip, arp, 8021q, 0x88cc } accept
	}
}
table arp a {
	chain c {
		type filter hook input priority filter; policy accept;
		arp operation request drop
		arp daddr ip 192.168.0.1 counter packets 0 bytes 0
	}
}
"""


def test_rules_of_arp_and_of_vlans_are_listed_as_nft_lists_them():
    assert listed(ARP) == listed(ARP.replace("inreply", "9").replace("8021q v", "vlan v")) == ARP
    tree = nftables.load(ARP)
    assert nftables.load(nftables.json_listing(tree)) == tree
    with pytest.raises(RuleError, match="arp saddr mac: expected ether or ip"):
        listed("table arp a { chain c { arp saddr mac 1; } }")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("ip saddr 1.2.3.4 ct original saddr 10.0.0.1", "ip saddr 1.2.3.4 ct original ip saddr 10.0.0.1"),
        ("icmpv6 type 128 ct reply daddr ::1", "icmpv6 type echo-request ct reply ip6 daddr ::1"),
        ("ip saddr != 1.2.3.4 ct reply saddr != 10.0.0.0/8", "ip saddr != 1.2.3.4 ct reply ip saddr != 10.0.0.0/8"),
        ("tcp dport 5 ct state new tcp sport 6 accept", "ct state new tcp sport 6 tcp dport 5 accept"),
        (
            "ip6 nexthdr icmpv6 icmpv6 type { 133, 134 } ip6 hoplimit 255 accept",
            "ip6 nexthdr ipv6-icmp ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-router-advert } accept",
        ),
        ("ip protocol tcp tcp dport 1 ip ttl 4", "ip ttl 4 ip protocol tcp tcp dport 1"),
        ("ip protocol 6 ip ttl 5 ip frag-off 1", "ip frag-off 1 ip ttl 5 ip protocol tcp"),
        ("ip frag-off 3 ip id 2 ip length 100", "ip frag-off 3 ip length 100 ip id 2"),
        ("tcp urgptr 1 tcp checksum 3 tcp window 5", "tcp urgptr 1 tcp window 5 tcp checksum 3"),
        ("udp checksum 5 udp length 6 udp dport 2 udp sport 1", "udp length 6 udp checksum 5 udp sport 1 udp dport 2"),
        ("tcp dport 5 ip ttl 4 tcp sport 6 ip protocol 6", "tcp sport 6 tcp dport 5 ip ttl 4 ip protocol tcp"),
        ("ip daddr 2.3.4.5 ip saddr 1.2.3.4", "ip daddr 2.3.4.5 ip saddr 1.2.3.4"),
        ("tcp dport 5 tcp sport != 6", "tcp dport 5 tcp sport != 6"),
        ("ct mark xor 0x23 == 0x11", "ct mark 0x00000032"),
        ("meta mark ^ 3 != 1 drop", "meta mark != 0x00000002 drop"),
        ("ip saddr & 0xff == 1", "ip saddr & 0.0.0.255 == 0.0.0.1"),
        ("ip saddr & 0xffff0000 == 0x0a010000", "ip saddr 10.1.0.0/16"),
        ("ip6 saddr & ffff:: != 2001::", "ip6 saddr != 2001::/16"),
        (
            'iif . oif vmap { "lo" . "lo" : drop, "a" . "b" : accept }',
            'iif . oif vmap { "lo" . "lo" : drop, "a" . "b" : accept }',
        ),
        ("dccp type { request, 1, reset }", "dccp type { request, response, reset }"),
        ("log flags tcp sequence,options flags ip options flags skuid flags ether", "log flags all"),
        ('counter name tcp dport map { 80 : "a" }', 'counter name tcp dport map { 80 : "a" }'),
        ("ip saddr { 1.1.1.0/25, 1.1.1.128/25 } drop", "ip saddr { 1.1.1.0/24 } drop"),
        ("tcp dport { 1-5, 6 } drop", "tcp dport { 1-6 } drop"),
        ("tcp dport { 1-5 } drop", "tcp dport 1-5 drop"),
    ],
)
def test_what_follows_from_the_rest_of_a_rule(written, shown):
    """As nft 1.0.6 lists it; and a listing of a listing is the same."""
    assert rules(written, "table inet t {\ncounter a { }\n")[0] == shown
    tree = nftables.load(f"table inet t {{ counter a {{ }}\nchain c {{ {written}; }} }}")
    assert shown in nftables.listing(canonical(tree))


def test_commands_change_what_stands_there():
    text = """
        add table ip t
        add chain ip t c { type filter hook forward priority filter - 5; policy drop; }
        add rule t c tcp dport 1 accept
        insert rule t c tcp dport 2 accept
        add rule t c index 0 tcp dport 3 accept
        create set ip t s { type ipv4_addr; }
        add element t s { 10.0.0.1, 10.0.0.2 }
        delete element t s { 10.0.0.1 }
        table ip u { chain x { accept; } }
        delete table ip u
        destroy table ip u
    """
    assert listed(text).splitlines() == [
        "table ip t {", "\tset s {", "\t\ttype ipv4_addr", "\t\telements = { 10.0.0.2 }", "\t}", "", "\tchain c {",
        "\t\ttype filter hook forward priority filter - 5; policy drop;", "\t\ttcp dport 2 accept",
        "\t\ttcp dport 3 accept", "\t\ttcp dport 1 accept", "\t}", "}",
    ]  # fmt: skip


def test_flush_ruleset_leaves_nothing():
    assert listed("table ip t { chain c { accept; } }\nflush ruleset") == ""


def test_variables_stand_for_words_and_may_be_sets():
    rule = "iifname $wan tcp dport { $port, \\\n443 } drop"
    text = f'define wan = {{ "eth0", eth1 }}\ndefine port = 80\ntable ip t {{ chain c {{ {rule}; }} }}'
    assert 'iifname { "eth0", "eth1" } tcp dport { 80, 443 } drop' in listed(text)


def test_the_name_of_a_variable_is_as_long_as_nft_reads_it():
    text = """
        define lan/net = 10.0.0.0/8
        define web-ports = { 80, 443 }
        define a.b_c = 53
        table ip t { chain c {
            ip saddr $lan/net tcp dport $web-ports accept
            udp dport $a.b_c accept
        }
        }
    """
    assert "ip saddr 10.0.0.0/8 tcp dport { 80, 443 } accept" in listed(text)
    with pytest.raises(RuleError, match=r"unknown variable \$lan/; defined before it: \$lan"):
        listed("define lan = 10.0.0.0\ntable ip t { chain c { ip saddr $lan/ accept; } }")


def test_files_beside_are_included(tmp_path):
    (tmp_path / "a.nft").write_text("define net = 10.0.0.0/8\n")
    (tmp_path / "b.nft").write_text("table ip t { chain c { ip saddr $net drop; } }\n")
    assert "ip saddr 10.0.0.0/8 drop" in listed('include "./*.nft"\n', tmp_path)
    with pytest.raises(RuleError, match=r"rules.nft:1:9: include: .*/c.nft: no such file"):
        listed('include "c.nft"', tmp_path)
    with pytest.raises(RuleError, match="only files beside the rules are read"):
        listed('include "../*.nft"', tmp_path)
    assert "ip saddr" in listed('include "[ab].nft"\ninclude "./none[.]nft"\n', tmp_path)
    # a path of the node's own: its end is looked for, the longest first
    assert "ip saddr" in listed('include "/etc/nft/a.nft"\ninclude "/etc/nft/b.*"\n', tmp_path)
    (tmp_path / "nft").mkdir()
    (tmp_path / "nft" / "b.nft").write_text("table ip t { chain c { ip daddr $net drop; } }\n")
    assert "ip daddr" in listed('include "/etc/nft/a.nft"\ninclude "/etc/nft/b.*"\n', tmp_path)
    (tmp_path.parent / "beside.nft").write_text("table ip t { }\n")
    with pytest.raises(
        RuleError, match=r"/etc/nft/beside.nft has to lie beside the rules, as beside.nft or with the end"
    ):
        listed('include "/etc/nft/beside.nft"', tmp_path)
    # a pattern that fits nothing includes nothing, and that is said
    ruleset = nftables.load('include "/etc/nft/none*"\n', "rules.nft", tmp_path)
    assert ruleset.warnings == [
        "rules.nft:1:9: no file beside the rules fits /etc/nft/none*: it includes nothing, as on a node that has none"
    ]
    (tmp_path / "a.nft").write_text('include "a.nft"\n')
    with pytest.raises(RuleError, match="more than 16 files deep"):
        listed('include "a.nft"', tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("table ip t { chain c { tcp dprt 80 accept; } }", "1:24: 'tcp' begins no statement here; tcp has the fields"),
        ("table ip t { chain c { ip saddr $x drop; } }", r"1:33: unknown variable \$x; defined before it: none"),
        ('table ip t { chain c { log prefix "a } }', "1:35: this quotation has no end"),
        ("add rule ip t c accept", "1:10: no table ip t; there are: none yet"),
        ("table ip t { }\nadd rule ip t c accept", "2:15: no chain c in table ip t"),
        ("table ip t { chain c { type nat hook forward priority 0; } }", "a chain of type nat cannot be in forward"),
        ("table ip t { chain c { type filter hook input priority nonsense; } }", "priority 'nonsense' is not known"),
        ("table ip t { set s { flags interval; } }", "1:18: set s: its type is missing"),
        ("table ip t { chain c { limit rate 5/fortnight; } }", "'fortnight' is none of second"),
        ("table ip t { chain c { reject with tcp what; } }", "reject with tcp: expected 'reset', found 'what'"),
        ("table ip t { chain c { numgen inc mod 0 == 1; } }", "numgen: mod 0"),
        ("table ip t {\nchain c {\naccept\n", "expected"),
        ("table ip t { chain c { ipsec in reqid 1; } }", "ipsec is not supported: no packet here goes through"),
        ("table ip t { chain c { vxlan vni 10; } }", "packets within tunnels are not looked at"),
        ("nonsense", "1:1: expected a command"),
        ('{"nftables": [{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": []}}]}', "object 0: no table"),
        ("{", "this is no JSON"),
        ("{}", 'no list "nftables"'),
    ],
)  # fmt: skip
def test_an_error_names_line_column_and_what_was_expected(text, why):
    with pytest.raises(RuleError, match=why) as error:
        nftables.load(text, "rules.nft")
    assert str(error.value).startswith("rules.nft:")


def test_priorities_are_listed_by_the_names_that_a_hook_has():
    for hook, number, text in (
        ("prerouting", -110, "dstnat - 10"), ("output", -100, "-100"), ("postrouting", 100, "srcnat"),
        ("input", 1, "filter + 1"), ("forward", -150, "mangle"), ("input", 100, "100"),
    ):  # fmt: skip
        assert f"hook {hook} priority {text};" in listed(
            f"table ip t {{ chain c {{ type filter hook {hook} priority {number}; }} }}"
        )


def test_thousands_of_services_are_read():
    chains = [
        f"add chain ip k svc-{n}\nadd rule ip k svc-{n} dnat to 10.{n >> 8}.{n & 255}.1:8080\n" for n in range(2000)
    ]
    elements = ", ".join(f"10.96.{n >> 8}.{n & 255} . tcp . 80 : goto svc-{n}" for n in range(2000))
    head = "table ip k { map services { type ipv4_addr . inet_proto . inet_service : verdict; } }\n"
    table = canonical(parse(head + "".join(chains) + f"add element ip k services {{ {elements} }}")).tables["ip", "k"]
    assert len(table.chains) == 2000
    assert len(table.sets["services"].elements) == 2000


@pytest.mark.parametrize(
    ("written", "listed_as"),
    [
        ("tcp flags != syn / fin,syn", "tcp flags != syn / fin,syn"),
        ("tcp flags == syn / syn,ack", "tcp flags syn / syn,ack"),
        ("tcp flags & (fin|syn) < fin", "tcp flags & (fin | syn) < fin"),
        ('meta time < "2024-5-5 7:3"', 'meta time < "2024-05-05 07:03:00"'),
        # strptime leaves the rest out
        ('meta time "2024-05-05 19:30-21:00"', 'meta time "2024-05-05 19:30:00"'),
        ("ether saddr 0:1:2:3:4:5 ether daddr a:b:c:d:e:f",
         "ether daddr 0a:0b:0c:0d:0e:0f ether saddr 00:01:02:03:04:05"),
        ("flow table m { ip saddr counter }", "meter m size 65535 { ip saddr counter }"),
    ],
)  # fmt: skip
def test_rules_of_real_nodes_are_listed_as_nft_lists_them(written, listed_as):
    text = f"table inet t {{ chain c {{ {written} drop; }} }}"
    assert f"\t\t{listed_as} drop\n" in listed(text)
    assert f"\t\t{listed_as} drop\n" in listed(listed(text))
