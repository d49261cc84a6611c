"""fastnat trace and Engine.trace: the same answers as the engine, and the rules that led there."""

import json

import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, OWN, SERVER, router
from click.testing import CliRunner
from nodes import flows, make_node

import fastnat
from fastnat.addresses import end_text
from fastnat.cli import group
from fastnat.util.text import end_of

RULES = """*raw
-A PREROUTING -p tcp -j ACCEPT
COMMIT
*nat
:INNER - [0:0]
:AWAY - [0:0]
-A PREROUTING -p tcp -j ACCEPT
-A PREROUTING -p udp -m udp --dport 99 -j DNAT --to-destination 203.0.113.77:53
-A POSTROUTING -s 10.0.0.0/8 -j INNER
-A POSTROUTING -g AWAY
-A POSTROUTING -j SNAT --to-source 9.9.9.9
-A INNER -p tcp -j RETURN
-A INNER -m mark --mark 0x7 -j ACCEPT
-A AWAY -p tcp -j ACCEPT
-A AWAY -o eth0 -j MASQUERADE
COMMIT
*filter
-A FORWARD -d 203.0.113.66/32 -j DROP
COMMIT
"""


def walked(told):
    return [f"{s.table}:{s.chain}:{s.kind}:{s.number}" for s in told.steps]


def test_jumps_gotos_ends_and_policies():
    nat = fastnat.Engine(make_node(RULES))
    told = nat.trace(flows(nat, 1))
    assert walked(told) == [
        "raw:PREROUTING:policy:2", "nat:PREROUTING:policy:3", "filter:FORWARD:policy:2", "nat:POSTROUTING:rule:1",
        "nat:INNER:return:3", "nat:POSTROUTING:rule:2", "nat:AWAY:rule:2",
    ]  # fmt: skip
    assert told.after == ("198.51.100.10", 40000, "203.0.113.10", 53)
    assert told.lines()[-1].startswith("TRACE: nat:AWAY:rule:2 SRC=10.244.2.2 DST=203.0.113.10 PROTO=UDP SPT=40000")
    assert told.mapping.startswith("address changed, port kept")
    marked = nat.trace(flows(nat, 1, mark=7))
    assert walked(marked)[-1] == "nat:INNER:rule:2"
    assert marked.mapping.startswith("nothing to translate")


def test_what_decides_each_time():
    nat = fastnat.Engine(make_node())
    batch = flows(nat, 3)
    nat.process(batch[:1])
    assert nat.trace(batch[:1]).mapping.startswith("an established connection")
    assert nat.trace(batch[:1]).steps == []
    searched = nat.trace(batch[1:2])
    assert searched.mapping.startswith("port search")
    assert searched.probes >= 2
    nat.process(batch[1:2])
    elsewhere = nat.packets(proto="udp", src=batch["src"][1], dst="203.0.113.99", sport=40000, dport=53, iface="cni0")
    assert "find_appropriate_src" in nat.trace(elsewhere).mapping


def test_dropped_dnated_and_local():
    nat = fastnat.Engine(make_node(RULES))
    dropped = nat.trace(flows(nat, 1, dst="203.0.113.66"))
    assert (dropped.verdict, dropped.reason, walked(dropped)[-1]) == ("drop", "rule_drop", "filter:FORWARD:rule:1")
    assert nat.trace(flows(nat, 1, dport=99)).after[2:] == ("203.0.113.77", 53)
    local = nat.trace(flows(nat, 1, dst="10.244.1.1"))
    assert (local.verdict, local.out_iface) == ("local", "")


MARKS = """*mangle
-A PREROUTING -p udp -m udp --dport 99 -j MARK --set-xmark 0x5/0xffffffff
-A FORWARD -m mark --mark 0x5 -j MARK --set-xmark 0x6/0xffffffff
COMMIT
*nat
-A PREROUTING -p udp -m udp --dport 99 -j DNAT --to-destination 203.0.113.77:53
-A OUTPUT -d 203.0.113.9/32 -j DNAT --to-destination 10.244.7.7
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
-A FORWARD -d 203.0.113.66/32 -j DROP
COMMIT
"""


def places(told):
    return [(w.place, *w.ends[:2], *w.ends[2:], w.mark) for w in told.waypoints]


def test_packet_and_mark_behind_every_hook():
    nat = fastnat.Engine(make_node(MARKS))
    packet = flows(nat, 1, dport=99)
    asked, sent = ("10.244.2.2", 40000, "203.0.113.10", 99), ("10.244.2.2", 40000, "203.0.113.77", 53)
    told = nat.trace(packet)
    assert places(told) == [
        ("conntrack", *asked, 0), ("PREROUTING", *sent, 5), ("routing", *sent, 5), ("FORWARD", *sent, 6),
        ("POSTROUTING", "198.51.100.10", *sent[1:], 6),
    ]  # fmt: skip
    said = {w.place: w.says for w in told.waypoints}
    assert said["conntrack"].startswith("NEW")
    assert said["routing"] == "default via 198.51.100.1 dev eth0"
    nat.process(packet)
    assert nat.trace(packet).waypoints[0].says.startswith("NEW: a connection has its tuple")
    nat.process(nat.packets(proto="udp", src="203.0.113.77", dst="198.51.100.10", sport=53, dport=40000, iface="eth0"))
    assert nat.trace(packet).waypoints[0].says.startswith("ESTABLISHED")
    refused = nat.trace(flows(nat, 1, dst="203.0.113.66")).waypoints[-1]
    assert (refused.place, refused.says) == ("FORWARD", "dropped: rule_drop")
    own = nat.trace(flows(nat, 1, src="198.51.100.10", dst="203.0.113.9", iface="local"))
    assert [w.place for w in own.waypoints] == ["routing", "conntrack", "routing", "OUTPUT", "POSTROUTING"]
    assert [w.says for w in own.waypoints if w.place == "routing"] == [
        "default via 198.51.100.1 dev eth0", "10.244.0.0/16 dev cni0",
    ]  # fmt: skip
    received = nat.trace(flows(nat, 1, dst="10.244.1.1")).waypoints
    assert [w.place for w in received] == ["conntrack", "PREROUTING", "routing", "INPUT"]
    assert received[2].says == "local 10.244.1.1/32 dev cni0"


def test_who_holds_the_tuple_in_the_way():
    nat = fastnat.Engine(make_node())
    batch = flows(nat, 3)
    first = nat.trace(batch[:1])
    assert first.holder is None
    nat.process(batch[:1])
    told = nat.trace(batch[1:2])
    assert told.mapping.startswith("port search")
    assert told.holder == next(iter(nat.conntrack))
    # what a comment says is no flag of a rule
    said = make_node('*nat\n-A POSTROUTING -o eth0 -m comment --comment "no random" -j MASQUERADE\nCOMMIT\n')
    again = fastnat.Engine(said)
    again.process(batch[:1])
    assert again.trace(batch[1:2]).holder == next(iter(again.conntrack))
    # nobody has the port that a rule gives up by itself
    drawn = fastnat.Engine(make_node("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE --random-fully\nCOMMIT\n"))
    drawn.process(drawn.packets(proto="udp", src="10.244.2.2", dst="203.0.113.10", sport=40000, dport=53, iface="cni0"))
    assert drawn.trace(flows(drawn, 3)[1:2]).holder is None


def test_a_holder_is_of_the_zone_and_of_the_ports_that_the_packet_may_have():
    zones = "".join(f"-A PREROUTING -s 10.244.2.{k}/32 -j CT --zone 6\n" for k in (3, 4))
    nat = fastnat.Engine(make_node(f"*raw\n{zones}COMMIT\n*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"))
    batch = flows(nat, 3)
    nat.process(batch[:1])
    assert nat.trace(batch[2:]).holder is None
    nat.process(batch[1:2])
    assert nat.trace(batch[2:]).holder.zone == 6
    rules = (
        "*nat\n-A POSTROUTING -s 10.244.2.3/32 -p udp -j MASQUERADE --to-ports 1024-2047\n"
        "-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    )
    nat = fastnat.Engine(make_node(rules))
    nat.process(batch[:1])
    assert nat.trace(batch[1:2]).holder is None
    # an echo that has another one's id, and a port that is the only one
    echo = {"proto": "icmp", "sport": 9, "dport": 8 << 8}
    nat.process(flows(nat, 1, **echo))
    told = nat.trace(flows(nat, 3, **echo)[2:])
    assert told.after[1] != 9
    assert told.holder.proto == 1
    one = fastnat.Engine(make_node("*nat\n-A POSTROUTING -p udp -j SNAT --to-source 9.9.9.9:40000\nCOMMIT\n"))
    one.process(batch[:1])
    told = one.trace(batch[1:2])
    assert (told.reason, told.holder) == ("clash", next(iter(one.conntrack)))


def test_where_a_packet_is_dropped_that_no_hook_drops():
    nat = fastnat.Engine(make_node(MARKS))
    martian = nat.trace(flows(nat, 1, dst="127.0.0.9")).waypoints
    assert [(w.place, w.says) for w in martian[-2:]] == [("PREROUTING", ""), ("routing", "dropped: martian")]
    node = make_node(MARKS)
    node.remove_route("default")
    lost = fastnat.Engine(node)
    for iface, source in (("cni0", "10.244.2.2"), ("local", "198.51.100.10")):
        told = lost.trace(flows(lost, 1, src=source, iface=iface))
        assert (told.reason, told.waypoints[-1].says) == ("no_route", "dropped: no_route")
    node = make_node(MARKS)
    node.sysctls["net.ipv4.ip_forward"] = "0"
    stays = fastnat.Engine(node)
    assert stays.trace(flows(stays, 1)).waypoints[-1].says == "dropped: not_forwarding"


def test_conntrack_is_not_named_where_it_is_not_active():
    nat = fastnat.Engine(make_node("*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n"))
    assert [w.place for w in nat.trace(flows(nat, 1)).waypoints] == ["PREROUTING", "routing", "FORWARD", "POSTROUTING"]


def test_who_has_the_last_port():
    rules = "*nat\n-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 40000-40001\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules))
    batch = flows(nat, 3)
    nat.process(batch[:2])
    told = nat.trace(batch[2:])
    assert (told.verdict, told.reason, told.holder) == ("drop", "clash", next(iter(nat.conntrack)))
    assert told.waypoints[-1].says == "dropped: clash"


def test_the_engine_does_not_change_and_answers_the_same():
    nat, twin = fastnat.Engine(make_node(RULES), seed=3), fastnat.Engine(make_node(RULES), seed=3)
    for k in range(40):
        batch = flows(nat, 1, sport=1000 + k % 7)
        told = nat.trace(batch)
        out = nat.process(batch)[0]
        assert (told.verdict, told.after[1]) == (fastnat.Verdict(out["verdict"]).name.lower(), out["sport"])
        assert told.waypoints[-1].ends == told.after
        twin.process(batch)
    assert nat.stats == twin.stats
    assert nat.conntrack.format() == twin.conntrack.format()


def test_command():
    shown = CliRunner().invoke(group, ["trace", "--dst", "203.0.113.10"]).output
    assert "-j MASQUERADE" in shown
    assert "out     udp 198.51.100.10:40000 > 203.0.113.10:53 on eth0 (NEW)" in shown
    told = json.loads(CliRunner().invoke(group, ["trace", "-p", "tcp", "--json"]).output)
    assert told["steps"][-1]["chain"] == "FLANNEL-POSTRTG"
    assert told["connection"].startswith("tcp      6 120 SYN_SENT")
    kernel = CliRunner().invoke(group, ["trace", "--kernel"]).output.splitlines()
    assert kernel[0].startswith("TRACE: nat:PREROUTING:rule:1 SRC=10.244.1.2")


@pytest.mark.parametrize(
    ("options", "packet"),
    [
        (["-s", "10.244.1.7:1234", "-d", "203.0.113.9:443"], "10.244.1.7:1234 > 203.0.113.9:443"),
        (["-s", "10.244.1.7:1234", "--sport", "1234"], "10.244.1.7:1234 > 203.0.113.10:53"),
    ],
)
def test_ends_have_ports_as_everywhere(options, packet):
    said = CliRunner().invoke(group, ["trace", "--json", *options]).output
    ends = json.loads(said)["before"]
    assert f"{end_text(*ends[:2])} > {end_text(*ends[2:])}" == packet


@pytest.mark.parametrize(("text", "end"), [
    ("[fd00:1::2]:7", ("fd00:1::2", 7)), ("[fd00:1::2]", ("fd00:1::2", None)), ("fd00:1::2", ("fd00:1::2", None)),
    ("10.0.0.1", ("10.0.0.1", None)), ("10.0.0.1:0", ("10.0.0.1", 0)), ("", ("", None)), ("[a", ("[a", None)),
])  # fmt: skip
def test_an_end_is_an_address_and_maybe_a_port(text, end):
    assert end_of(text) == end


@pytest.mark.parametrize(("option", "says"), [
    ("--flags=X", "letters of FSRPAU"), ("--src=nowhere", "no such packet"), ("--src=10.0.0.1:x", "port 'x' is not"),
    ("--dst=10.0.0.1:65536", "port '65536' is not"), ("--dst=10.0.0.1:", "port '' is not"),
    ("--dst=10.0.0.1:80 --dport=81", "10.0.0.1:80 and --dport 81 are two ports"), ("--dst=[::1", "two families"),
])  # fmt: skip
def test_bad_input_is_one_message(option, says):
    result = CliRunner().invoke(group, ["trace", *option.split()])
    assert isinstance(result.exception, fastnat.InputError)
    assert says in str(result.exception)


def test_a_node_that_has_changed_shows_only_after_reload():
    """fork and trace go by what the engine was made of."""
    node = make_node(RULES)
    nat = fastnat.Engine(node)
    batch = flows(nat, 1)
    before = walked(nat.trace(batch))
    node.load_rules("*nat\n-A POSTROUTING -j SNAT --to-source 9.9.9.9\nCOMMIT\n")
    node.remove_route("default")
    assert walked(nat.trace(batch)) == before
    assert nat.fork().process(batch)["src"][0] == nat.process(batch)["src"][0]
    node.add_route("default", via="198.51.100.1", dev="eth0")
    nat.reload()
    assert walked(nat.trace(flows(nat, 1, sport=5))) == ["nat:PREROUTING:policy:1", "nat:POSTROUTING:rule:1"]


@FAMILIES
@pytest.mark.parametrize("taken", [False, True])
def test_a_holder_is_of_the_source_and_not_of_the_destination(family, taken):
    """DNAT among ports of which the first is taken goes on to the next one: that stands in nobody's way."""
    inside, own = {4: ("10.1.0.7", "10.2.0.1"), 6: ("[fd01::7]", "[fd02::1]")}[family]
    nat_rules = f"-A PREROUTING -i r1 -j DNAT -p udp --to-destination {inside}:1000-1001\n"
    if taken:
        nat_rules += f"-A POSTROUTING -o r0 -p udp -j SNAT --to-source {own}:7\n"
    nat = fastnat.Engine(router(family, f"*nat\n{nat_rules}COMMIT\n"))
    stranger = {"proto": "udp", "src": SERVER[family], "dst": OWN[family], "iface": "r1"}
    # of one source, so that both would have one reply tuple
    nat.process(nat.packets(**stranger, sport=4000, dport=53))
    first = next(iter(nat.conntrack))
    told = nat.trace(nat.packets(**stranger, sport=4000, dport=54))
    if taken:
        # SNAT gives both one source: DNAT has seen them apart, and leaves the port
        assert (told.after[3], told.reason, told.holder) == (1000, "clash", first)
    else:
        assert (told.after[3], told.reason, told.holder) == (1001, "none", None)


@FAMILIES
@pytest.mark.parametrize(
    ("table", "chain", "place"),
    [
        ("raw", "PREROUTING", "conntrack"),
        ("mangle", "PREROUTING", "PREROUTING"),
        ("filter", "FORWARD", "FORWARD"),
        ("mangle", "POSTROUTING", "POSTROUTING"),
    ],
)
def test_where_a_packet_ends_is_told_once(family, table, chain, place):
    """Dropped in its first hook, or in a later one."""
    nat = fastnat.Engine(router(family, f"*{table}\n-A {chain} -j DROP\nCOMMIT\n"))
    told = nat.trace(nat.packets(proto="udp", src=CLIENT[family], dst=SERVER[family], sport=7, dport=9, iface="r0"))
    assert told.waypoints[-1].place == place
    assert [w.place for w in told.waypoints if w.says.startswith("dropped")] == [place]
