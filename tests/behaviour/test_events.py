"""Events as arrays and as `conntrack -E` prints them, counters as `conntrack -S` does."""

import re

import pytest
from nodes import flows, make_node

import fastnat
from fastnat.conntrack import format_event, format_proc_stats, format_stats
from fastnat.dtypes import Event

SYN, SYNACK, ACK, FIN = 0x02, 0x12, 0x10, 0x11
CLIENT, SERVER, NODE = "10.244.2.2", "203.0.113.10", "198.51.100.10"


def handshake(nat):
    """One TCP connection from SYN to TIME_WAIT, a second a packet."""
    there = {"proto": "tcp", "src": CLIENT, "dst": SERVER, "sport": 4000, "dport": 80, "iface": "cni0"}
    back = {"proto": "tcp", "src": SERVER, "dst": NODE, "sport": 80, "dport": 4000, "iface": "eth0"}
    talk = [(there, SYN), (back, SYNACK), (there, ACK), (there, FIN), (back, FIN), (there, ACK)]
    for n, (way, flags) in enumerate(talk):
        nat.process(nat.packets(**way, tcp_flags=flags), now=float(n))


def told(nat):
    lines = (format_event(e, nat.profile) for e in nat.events())
    return [re.sub(r" src=.*dport=\d+ \[UNREPLIED\].*| src=[^[]*", "", line) for line in lines]


@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
def test_a_connection_from_syn_to_time_wait(node, profile):
    nat = fastnat.Engine(node, profile, events=100)
    handshake(nat)
    assert told(nat) == [
        "    [NEW] tcp      6 120 SYN_SENT",
        " [UPDATE] tcp      6 60 SYN_RECV",
        " [UPDATE] tcp      6 432000 ESTABLISHED[ASSURED]",
        " [UPDATE] tcp      6 120 FIN_WAIT[ASSURED]",
        " [UPDATE] tcp      6 30 LAST_ACK[ASSURED]",
        " [UPDATE] tcp      6 120 TIME_WAIT[ASSURED]",
    ]
    nat.conntrack.flush()
    left = {"linux-6.18": " 120 TIME_WAIT", "linux-5.4": ""}[profile]
    assert told(nat) == [f"[DESTROY] tcp      6{left}[ASSURED]"]
    assert told(nat) == []


def test_lines_are_those_of_conntrack(node):
    nat = fastnat.Engine(node, events=10)
    nat.process(flows(nat, 1))
    nat.advance(31)
    assert [format_event(e) for e in nat.events()] == [
        "    [NEW] udp      17 30 src=10.244.2.2 dst=203.0.113.10 sport=40000 dport=53 [UNREPLIED] "
        "src=203.0.113.10 dst=198.51.100.10 sport=53 dport=40000",
        "[DESTROY] udp      17 src=10.244.2.2 dst=203.0.113.10 sport=40000 dport=53 [UNREPLIED] "
        "src=203.0.113.10 dst=198.51.100.10 sport=53 dport=40000",
    ]


def test_marks_and_replies_are_updates():
    nat = fastnat.Engine(make_node("*mangle\n-A FORWARD -i eth0 -j CONNMARK --set-mark 7\nCOMMIT\n"), events=10)
    nat.process(flows(nat, 1))
    reply = nat.packets(proto="udp", src=SERVER, dst=CLIENT, sport=53, dport=40000, iface="eth0")
    nat.process(reply)
    nat.process(reply)
    new, update = nat.events()
    assert (new["kind"], update["kind"]) == (Event.NEW, Event.UPDATE)
    assert format_event(update).endswith("mark=7")


def test_events_that_do_not_fit_are_named(node):
    nat = fastnat.Engine(node, events=5)
    nat.process(flows(nat, 8))
    with pytest.raises(fastnat.InputError, match="3 events did not fit into events=5"):
        nat.events()


def test_one_event_is_kept_where_one_has_room(node):
    nat = fastnat.Engine(node, events=1)
    nat.process(flows(nat, 1))
    assert [Event(int(e["kind"])) for e in nat.events()] == [Event.NEW]
    # and the next one after it was taken
    nat.process(flows(nat, 1, sport=9))
    assert len(nat.events()) == 1


def test_nothing_is_kept_unless_asked_for(node):
    nat = fastnat.Engine(node)
    nat.process(flows(nat, 8))
    assert len(nat.events()) == 0


def test_stats_line(node):
    nat = fastnat.Engine(node)
    nat.process(flows(nat, 2))
    assert format_stats(nat.stats) == (
        "cpu=0   \tfound=1 invalid=0 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0 "
        "clash_resolve=0 chaintoolong=0 \n"
    )
    assert " ignore=0 insert=0 " in format_stats(nat.stats, "linux-5.4")


def test_the_file_of_proc(node):
    nat = fastnat.Engine(node)
    nat.process(flows(nat, 2))
    head, numbers = format_proc_stats(len(nat.conntrack), nat.stats).splitlines()
    assert head == (
        "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop "
        "icmp_error  expect_new expect_create expect_delete search_restart"
    )
    assert numbers == "00000002  00000000 00000001" + 10 * " 00000000" + "  " + " ".join(4 * ["00000000"])
    old, _ = format_proc_stats(0, nat.stats, "linux-5.4").splitlines()
    assert old.startswith("entries  searched found new invalid ignore delete delete_list insert ")
