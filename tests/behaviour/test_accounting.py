"""nf_conntrack_acct = 1: what connections count, and where it shows and is kept; for the kernel: kernel/test_live."""

import numpy as np
import pytest
from nodes import make_node

import fastnat
from fastnat.conntrack import format_event, parse_line

ACCT = "net.netfilter.nf_conntrack_acct"
THERE = {"src": "10.244.1.2", "dst": "203.0.113.9", "iface": "cni0"}
BACK = {"src": "203.0.113.9", "dst": "198.51.100.10", "iface": "eth0"}
UDP, UDP_BACK = {"proto": "udp", "sport": 4000, "dport": 53}, {"proto": "udp", "sport": 53, "dport": 4000}


def engine(on=1, **options):
    node = make_node()
    node.sysctls[ACCT] = str(on)
    return fastnat.Engine(node, **options)


def counts(nat):
    return [c.counts for c in nat.conntrack]


def exchange(nat):
    for packet in (
        {**THERE, **UDP, "length": 60},
        {**BACK, **UDP_BACK, "length": 1000},
        {**THERE, **UDP, "length": 40},
    ):
        nat.process(nat.packets(**packet), nat.now)


def test_both_directions_count_and_every_text_shows_it():
    nat = engine()
    exchange(nat)
    assert counts(nat) == [((2, 100), (1, 1000))]
    shown = (
        "src=10.244.1.2 dst=203.0.113.9 sport=4000 dport=53 packets=2 bytes=100 "
        "src=203.0.113.9 dst=198.51.100.10 sport=53 dport=4000 packets=1 bytes=1000 mark=0 "
    )
    assert all(shown in nat.conntrack.format(style) for style in ("conntrack", "extended", "proc"))


def test_an_ignored_syn_and_an_invalid_packet_do_not_count():
    nat = engine()
    syn = {**THERE, "proto": "tcp", "sport": 4000, "dport": 80, "length": 40}
    nat.process(nat.packets(**syn, tcp_flags=2))
    assert counts(nat) == [((1, 40), (0, 0))]
    # a SYN sent again does not renew the timeout, and is not counted
    nat.process(nat.packets(**syn, tcp_flags=2))
    nat.process(nat.packets(**syn, tcp_flags=3))
    assert counts(nat) == [((1, 40), (0, 0))]


def test_a_connection_counts_as_it_began():
    """Turning accounting on or off changes connections that begin afterwards (nf_ct_acct_ext_add)."""
    nat = engine(0)
    exchange(nat)
    nat.node.sysctls[ACCT] = "1"
    nat.reload()
    nat.process(nat.packets(**THERE, **{**UDP, "sport": 4001}, length=30))
    nat.node.sysctls[ACCT] = "0"
    nat.reload()
    exchange(nat)
    nat.process(nat.packets(**THERE, **{**UDP, "sport": 4001}, length=30))
    assert counts(nat) == [None, ((2, 60), (0, 0))]


@pytest.mark.parametrize("way", ["save", "fork", "dump"])
def test_counts_are_kept(way, tmp_path):
    nat = engine()
    exchange(nat)
    if way == "save":
        nat.save(tmp_path / "state.npz")
        other = fastnat.Engine.restore(tmp_path / "state.npz")
    elif way == "fork":
        other = nat.fork()
    else:
        other = engine()
        other.conntrack.load(nat.conntrack.format("extended"))
    exchange(other)
    assert counts(other) == [((4, 200), (2, 2000))]
    assert counts(nat) == [((2, 100), (1, 1000))]


@pytest.mark.parametrize(
    "line", ["packets=1 bytes=2", "packets=1 bytes=2 bytes=3", "packets=1 bytes=99999999999999999999"]
)
def test_half_an_account_is_refused(line):
    text = (
        f"icmp 1 29 src=10.1.0.2 dst=10.2.0.2 type=8 code=0 id=1 {line} src=10.2.0.2 dst=10.1.0.2 type=0 code=0 id=1 "
    )
    with pytest.raises(fastnat.InputError, match=r"packets= and bytes=|a count"):
        parse_line(text + ("packets=0 bytes=0" if "999" in line else ""))


def test_the_event_of_its_end_says_what_it_had():
    nat = engine(events=10)
    exchange(nat)
    nat.conntrack.flush()
    said = [format_event(e) for e in nat.events()]
    assert [" packets=" in line for line in said] == [False, False, True]
    assert "dport=53 packets=2 bytes=100 src" in said[-1]
    assert said[-1].endswith("packets=1 bytes=1000")


def test_the_winner_of_a_race_counts_the_losers_packet():
    nat = engine()
    nat.process(np.concatenate([nat.packets(**THERE, **UDP, length=60)] * 3), cpus=3)
    assert nat.stats["clash_resolve"] == 2
    assert counts(nat) == [((3, 180), (0, 0))]


def test_short_ways_and_long_ones_count_alike():
    rng = np.random.default_rng(5)
    answers = []
    for remember in (True, False):
        nat = engine(remember=remember)
        for n in range(20):
            flows = nat.packets(**THERE, proto="udp", sport=rng.integers(4000, 4050, 200), dport=53, length=100 + n)
            nat.process(flows, n)
        answers.append((nat.conntrack.format("proc"), sum(c[0][0] for c in counts(nat))))
        rng = np.random.default_rng(5)
    assert answers[0] == answers[1]
    assert answers[0][1] == 4000


@pytest.mark.parametrize("how", ["iptables", "nftables"])
def test_accounting_that_rules_turn_on_stays_on(how):
    """xt_connbytes and nft_ct set nf_conntrack_acct; nothing sets it back but sysctl."""
    nat = engine(0)
    before = nat.save_rules()
    exchange(nat)
    if how == "iptables":
        asked = "-m connbytes --connbytes 9 --connbytes-dir both --connbytes-mode bytes"
        nat.node.load_rules(f"{before}*filter\n-A FORWARD {asked}\nCOMMIT\n")
    else:
        nat.node.load_nft("table ip t {\nchain c {\ntype filter hook forward priority 0; ct bytes > 9 accept;\n}\n}")
    nat.reload()
    nat.node.load_rules(before)
    nat.node.load_nft("table ip t { }\n")
    for _ in range(2):
        nat.reload()
    assert nat.node.sysctls[ACCT] == "1"
    nat.process(nat.packets(**THERE, **{**UDP, "sport": 4001}, length=30))
    nat.node.sysctls[ACCT] = "0"
    nat.reload()
    nat.process(nat.packets(**THERE, **{**UDP, "sport": 4002}, length=30))
    assert counts(nat) == [None, ((1, 30), (0, 0)), None]
