"""Rows of docs/behaviour.md that have no worked example: what the kernel does, in numbers of its own."""

import itertools

import numpy as np
import pytest
from behaviour.router import M, Router, build
from nodes import make_node
from scapy.layers.inet import IP, TCP

import fastnat
from fastnat import Reason, Status
from fastnat.addresses import V4, V6
from fastnat.core import _steps
from fastnat.node.timeouts import timeouts_of

BOTH = ("linux-5.4", "linux-6.18")
NO, SS, SR, ES, FW, CW, LA, TW, CL, S2, IV, IG = range(12)
# rows: syn, synack, fin, ack, rst, none; columns: NO SS SR ES FW CW LA TW CL S2
TCP_NEXT = (
    (
        (SS, SS, IG, IG, IG, IG, IG, SS, SS, S2),
        (IV, IV, SR, IV, IV, IV, IV, IV, IV, SR),
        (IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),
        (ES, IV, ES, ES, CW, CW, TW, TW, CL, IV),
        (IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),
        (IV,) * 10,
    ),
    (
        (IV, S2, IV, IV, IV, IV, IV, SS, IV, S2),
        (IV, SR, IG, IG, IG, IG, IG, IG, IG, SR),
        (IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),
        (IV, IG, SR, ES, CW, CW, TW, TW, CL, IG),
        (IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),
        (IV,) * 10,
    ),
)
# seconds under linux-5.4 and linux-6.18, by the name of the sysctl behind nf_conntrack_
DEFAULT_TIMEOUTS = {
    "generic": 600, "icmp": 30, "udp": 30, "udp_stream": 120, "gre": 30, "gre_stream": 180, "tcp_syn_sent": 120,
    "tcp_syn_recv": 60, "tcp_established": 432000, "tcp_fin_wait": 120, "tcp_close_wait": 60, "tcp_last_ack": 30,
    "tcp_time_wait": 120, "tcp_close": 10, "tcp_max_retrans": 300, "tcp_unacknowledged": 300,
}  # fmt: skip
PLACES = {
    "generic": 15, "icmp": 14, "udp": 12, "udp_stream": 13, "gre": 16, "gre_stream": 17, "tcp_syn_sent": 1,
    "tcp_syn_recv": 2, "tcp_established": 3, "tcp_fin_wait": 4, "tcp_close_wait": 5, "tcp_last_ack": 6,
    "tcp_time_wait": 7, "tcp_close": 8, "tcp_max_retrans": 10, "tcp_unacknowledged": 11,
}  # fmt: skip
SCTP_TIMEOUTS = {"linux-5.4": (10, 3, 3, 432000, 0.3, 0.3, 3, 30, 210), "linux-6.18": (10, 3, 3, 210, 3, 3, 3, 30, 210)}


def test_every_cell_of_the_tcp_table():
    for direction, class_, state in itertools.product(range(2), range(6), range(10)):
        assert _steps.tcp_next(direction, class_, state) == TCP_NEXT[direction][class_][state]


def test_every_combination_of_tcp_flags():
    """PSH, ECE and CWR are ignored; RST goes before SYN, SYN before FIN."""
    valid = {0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30}
    for flags in range(256):
        ok, class_ = _steps.tcp_flags(flags)
        assert ok == (flags & 0x37 in valid)
        syn = 1 if flags & 0x10 else 0
        expected = 4 if flags & 4 else syn if flags & 2 else 2 if flags & 1 else 3 if flags & 16 else 5
        assert class_ == expected


@pytest.mark.parametrize("profile", BOTH)
def test_default_timeouts(profile):
    timeouts = timeouts_of(fastnat.Node(), profile)
    assert {name: timeouts[PLACES[name]] / 250 for name in PLACES} == DEFAULT_TIMEOUTS
    assert timeouts[9] / 250 == 120
    assert tuple(timeouts[n] / 250 for n in range(21, 30)) == SCTP_TIMEOUTS[profile]


@pytest.mark.parametrize("name", PLACES)
def test_every_timeout_has_its_sysctl(name):
    node = fastnat.Node()
    proto, _, state = name.partition("_")
    key = f"{proto}_timeout_{state}" if state else f"{proto}_timeout"
    node.sysctls[f"net.netfilter.nf_conntrack_{key}"] = "77"
    assert timeouts_of(node, "linux-6.18")[PLACES[name]] == 77 * 250


@pytest.mark.parametrize("name", ["icmp", "icmpv6"])
def test_each_family_has_its_icmp_timeout(name):
    node = fastnat.Node()
    node.sysctls[f"net.netfilter.nf_conntrack_{name}_timeout"] = "77"
    for family, own in ((V4, "icmp"), (V6, "icmpv6")):
        assert timeouts_of(node, "linux-6.18", family)[PLACES["icmp"]] == (77 if name == own else 30) * 250


@pytest.mark.parametrize("profile", BOTH)
def test_udplite_lives_as_long_as_udp(profile):
    node = make_node("*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n")
    node.sysctls |= {
        "net.netfilter.nf_conntrack_udp_timeout": "77",
        "net.netfilter.nf_conntrack_udp_timeout_stream": "99",
    }
    nat = fastnat.Engine(node, profile)
    ends = {"proto": "udplite", "src": "10.244.2.2", "sport": 9, "dst": "203.0.113.9", "dport": 53}
    nat.process(nat.packets(**ends, iface="cni0"))
    assert next(iter(nat.conntrack)).timeout == 77
    back = {"proto": "udplite", "src": "203.0.113.9", "sport": 53, "dst": "198.51.100.10", "dport": 9}
    nat.process(nat.packets(**back, iface="eth0"))
    # the first reply finds it unreplied still
    assert next(iter(nat.conntrack)).timeout == 77
    nat.process(nat.packets(**ends, iface="cni0"))
    assert next(iter(nat.conntrack)).timeout == 99


def test_windows_are_learnt_anew_when_the_hooks_come_back():
    """Without any rule that asks conntrack packets pass it by; established TCP must not fail the window check later."""
    router = Router(M)
    router.check("tcp A:4000>B:80 S seq=1000 -> N:4000>B:80\ntcp B:80>N:4000 SA seq=5000 ack=1001 -> B:80>A:4000")
    router.check("tcp A:4000>B:80 A seq=1001 ack=5001 -> N:4000>B:80")
    router.node.load_rules("*nat\nCOMMIT\n")
    router.nat.reload()
    router.check("tcp A:4000>B:80 A seq=901001 ack=5001 -> A:4000>B:80")
    router.node.load_rules(f"*nat\n{M}\nCOMMIT\n")
    router.nat.reload()
    router.check("tcp A:4000>B:80 A seq=901001 ack=5001 -> N:4000>B:80")
    assert "invalid" not in router.counted


def test_a_connection_from_before_the_nat_table_is_never_translated():
    """Its rules are walked, and count, as long as it is NEW; but it is confirmed already."""
    track = "*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
    router = Router(track)
    router.check("udp A:1>B:2 -> A:1>B:2")
    router.node.load_rules(track + f"*nat\n{M}\nCOMMIT\n")
    router.nat.reload()
    router.check("udp A:1>B:2 -> A:1>B:2\nudp A:1>B:2 -> A:1>B:2")
    assert "[2:56] -A POSTROUTING -o r1 -j MASQUERADE" in router.nat.save_rules()


def test_the_source_address_zero_is_not_masqueraded():
    router = Router("-A POSTROUTING -j MASQUERADE")
    router.check("local udp 0.0.0.0:68>10.2.0.9:67 -> 0.0.0.0:68>10.2.0.9:67")


def test_a_preferred_source_is_no_matter_to_masquerade():
    router = Router(M, addresses=[("10.2.0.100/24", "global")])
    router.check("udp A:1>9.9.9.9:2 -> N:1>9.9.9.9:2")


def test_a_source_that_kept_its_address_is_a_mapping_too():
    """A null binding enters bysource: of the same source and port the newest mapping in the range is used again."""
    rules = "-A POSTROUTING -d 10.2.0.9/32 -p udp -j SNAT --to-source 10.1.0.2-10.1.0.200:5000-6000\n"
    router = Router(rules)
    router.check("udp A:400>B:53 -> A:400>B:53\nudp A:5555>B:53 -> A:5555>B:53")
    # one whose port is outside of the range has no use for its own binding
    out = router.check("udp A:400>10.2.0.9:53 -> ")
    assert 5000 <= out.sport <= 6000
    router.check("udp A:5555>10.2.0.9:53 -> A:5555>10.2.0.9:53")


def test_the_lowest_thousand_ports_are_drawn_twice_as_often():
    """16 random bits modulo 64,512: offsets 0 to 1,023 have two chances of 65,536, all others one."""
    node = fastnat.Node()
    node.add_interface("r0", ["10.0.0.1/8"])
    node.add_interface("r1", ["198.51.100.10/24"])
    node.add_route("default", via="198.51.100.1", dev="r1")
    node.load_rules("*nat\n-A POSTROUTING -o r1 -j MASQUERADE --random-fully\nCOMMIT\n")
    nat = fastnat.Engine(node)
    n = 200_000
    out = nat.process(nat.packets(proto="udp", src=0x0A010000 + np.arange(n), sport=5000, dst=0xCB000000 + np.arange(n),
                                  dport=53, iface="r0"))  # fmt: skip
    low = ((out["sport"] >= 1024) & (out["sport"] < 2048)).mean()
    assert 0.0300 < low < 0.0325, "1/32, against 1/63 if all were drawn alike"
    assert out["sport"].min() == 1024


def test_a_window_of_a_hundred_ports_may_miss_some():
    """The offset wraps at 65,536 within a round: a free port can be overlooked, and one of the taken ones dies."""
    router = Router("-A POSTROUTING -p udp -j SNAT --to-source 10.2.0.50:7000-7099")
    nat = router.nat
    fields = {"proto": "udp", "dst": "10.2.0.2", "dport": 53, "iface": "r0"}
    taken = nat.process(nat.packets(src="10.1.0.2", sport=np.arange(7000, 7099), **fields))
    assert (taken["verdict"] == fastnat.Verdict.FORWARD).all()
    packet = nat.packets(src="10.1.0.3", sport=9000, **fields)
    failures, tries = 0, 20_000
    for _ in range(tries):
        out = nat.process(packet)[0]
        if out["verdict"] == fastnat.Verdict.DROP:
            failures += 1
        else:
            assert out["sport"] == 7099
            nat.conntrack.delete(int(out["conn"]))
    # the last 36 offsets before 65,536 wrap to a multiple of the window and miss its last port: 11 of 20,000,
    # give or take 3.3
    assert abs(failures - tries * 36 / 65_536) < 3 * 3.3


MARKS = [
    ("--set-mark 0x12/0xf0", 0xFFFFFF1D & ~0xF2 ^ 0x12), ("--set-xmark 0x12/0xf0", (0xFFFFFF1D & ~0xF0) ^ 0x12),
    ("--and-mark 0xff", 0x1D), ("--or-mark 0xe0", 0xFFFFFFFD), ("--xor-mark 0xff", 0xFFFFFFE2),
]  # fmt: skip


@pytest.mark.parametrize(("option", "result"), MARKS)
def test_arithmetic_of_marks(option, result):
    rules = (
        f"-A PREROUTING -j MARK --set-mark 0xffffff1d\n-A PREROUTING -j MARK {option}\n"
        f"-A POSTROUTING -m mark --mark {result & 0xFFFFFFFF:#x} -j SNAT --to-source 9.9.9.9"
    )
    Router(rules).check("udp A:1>B:2 -> 9.9.9.9:1>B:2")


def test_a_mark_with_bits_outside_its_mask_never_matches():
    rules = "-A PREROUTING -j MARK --set-mark 0x12\n-A POSTROUTING -m mark --mark 0x12/0x10 -j SNAT --to-source 9.9.9.9"
    Router(rules).check("udp A:1>B:2 -> A:1>B:2")


def test_arithmetic_of_connection_marks():
    """set, save with both masks, restore with both masks (xt_connmark.c)."""
    rules = (
        "*mangle\n-A PREROUTING -j MARK --set-mark 0xabcd\n-A PREROUTING -j CONNMARK --set-xmark 0x1200/0xffff\n"
        "-A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0\n"
        "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffff --ctmask 0xfff\nCOMMIT\n"
        "*nat\n-A POSTROUTING -m mark --mark 0x2cd -j SNAT --to-source 9.9.9.9\nCOMMIT\n"
    )
    router = Router(rules)
    router.check("udp A:1>B:2 -> 9.9.9.9:1>B:2")
    (connection,) = router.nat.conntrack
    # 0x1200 & ~0xf0 ^ 0xcd; restored: 0xabcd & ~0xffff ^ 0x12cd & 0xfff
    assert connection.mark == 0x12CD


def test_without_a_connection_its_mark_matches_neither_way():
    for sign in ("", "! "):
        rules = (
            "*raw\n-A PREROUTING -j NOTRACK\nCOMMIT\n"
            f"*filter\n-A FORWARD -m connmark {sign}--mark 0x1 -j DROP\nCOMMIT\n"
        )
        Router(rules).check("udp A:1>B:2 -> A:1>B:2")


def test_a_state_of_nothing_is_invalid_or_untracked():
    rules = (
        "*raw\n-A PREROUTING -p udp -j NOTRACK\nCOMMIT\n*filter\n"
        "-A FORWARD -m conntrack --ctstate UNTRACKED -j DROP\n"
        "-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
    )
    router = Router(rules)
    router.check("udp A:1>B:2 -> drop\ntcp A:1>B:2 R -> drop\ntcp A:1>B:2 S -> A:1>B:2")
    assert "[1:28] -A FORWARD -m conntrack --ctstate UNTRACKED" in router.nat.save_rules()


def test_ports_in_lists_and_ranges():
    rules = "-A POSTROUTING -p udp -m multiport {} --dports 53,80:82,443 -j SNAT --to-source 9.9.9.9"
    for port, listed in ((53, True), (54, False), (80, True), (81, True), (82, True), (83, False), (443, True)):
        Router(rules.format("")).check(f"udp A:1>B:{port} -> {'9.9.9.9' if listed else 'A'}:1>B:{port}")
        Router(rules.format("!")).check(f"udp A:1>B:{port} -> {'A' if listed else '9.9.9.9'}:1>B:{port}")


def test_half_of_all_packets_by_chance():
    """--probability is a number of 31 bits, compared with 31 random ones."""
    router = Router("-A POSTROUTING -m statistic --mode random --probability 0.25 -j SNAT --to-source 9.9.9.9")
    nat = router.nat
    batch = nat.packets(proto="udp", src="10.1.0.2", sport=np.arange(1024, 41024), dst="10.2.0.2", dport=5, iface="r0")
    assert 0.24 < (nat.process(batch)["src"] == 0x09090909).mean() < 0.26


def test_the_policy_counts_what_reaches_it():
    router = Router("-A POSTROUTING -p tcp -j ACCEPT\n-A POSTROUTING -p icmp -j MASQUERADE")
    router.check("tcp A:1>B:2 S -> A:1>B:2\nudp A:1>B:2 -> A:1>B:2\nudp A:1>B:2 -> A:1>B:2")
    lines = router.nat.save_rules().splitlines()
    assert "[1:40] -A POSTROUTING -p tcp -j ACCEPT" in lines
    # one flow, its second packet asks nobody
    assert ":POSTROUTING ACCEPT [1:28]" in lines


def test_names_of_interfaces_by_prefix_and_none():
    for pattern, fits in (("r1", True), ("r+", True), ("+", True), ("r0", False), ("r11", False), ("r", False)):
        out = "9.9.9.9" if fits else "A"
        Router(f"-A POSTROUTING -o {pattern} -j SNAT --to-source 9.9.9.9").check(f"udp A:1>B:2 -> {out}:1>B:2")


def test_a_reply_or_an_error_alone_confirms_nothing():
    router = Router(M)
    router.check("icmp 0 B>N 7 -> local B>N 7")
    assert len(router.nat.conntrack) == 0


def test_an_expired_entry_is_found_by_nothing():
    router = Router(M, sysctls={"nf_conntrack_udp_timeout": 2})
    router.check("udp A:1>B:2 -> N:1>B:2\n@1.9 udp B:2>N:1 -> B:2>A:1\n@4.1 udp B:2>N:1 -> local B:2>N:1")


def test_what_is_dropped_within_nat_counts_nowhere():
    router = Router(M)
    router.node.remove_address("r1", "10.2.0.1")
    router.node.remove_address("r0", "10.1.0.1")
    router.nat.reload()
    router.check("udp A:1>B:2 -> drop")
    assert not {"drop", "invalid", "insert_failed", "error"} & router.counted.keys()
    batch = router.nat.packets(proto="udp", src="10.1.0.2", dst="10.2.0.2", sport=1, dport=2, iface="r0")
    assert router.nat.process(batch, router.now)["reason"][0] == Reason.NO_ADDRESS


def test_the_newest_ipv6_address_wins_a_tie():
    node = fastnat.Node()
    node.add_interface("r0", ["10.1.0.1/24", "fd01::1/64"])
    node.add_interface("r1", ["10.2.0.1/24", "fd02::1/64", "fd02::aaaa/64"])
    node.load_rules6(f"*nat\n{M}\nCOMMIT\n")
    nat = fastnat.Engine(node)
    out = nat.process(nat.packets(proto="udp", src="fd01::2", dst="fd02::2", sport=5000, dport=53, iface="r0"))
    assert fastnat.addresses.V6.unpack(out["src"][0]) == fastnat.addresses.V6.to_int("fd02::aaaa")


def test_a_fixed_timeout_is_never_refreshed():
    """IPS_FIXED_TIMEOUT: only the hidden entry of a lost race has it; it ends after its second."""
    assert Status.FIXED_TIMEOUT == 0x400
    _, iface, packet = build("udp A:1>B:2")
    router = Router(M)
    router.nat.process_packet(bytes(packet), iface, 0.0)
    router.nat.core_of(4).writable("conns")["status"][0] |= Status.FIXED_TIMEOUT
    router.nat.process_packet(bytes(packet), iface, 29.0)
    router.nat.advance(30.0)
    assert len(router.nat.conntrack) == 0


def test_seconds_left_are_whole_ones():
    rules = (
        f"*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED --ctexpire 28:29 -j DROP\nCOMMIT\n*nat\n{M}\nCOMMIT\n"
    )
    router = Router(rules, sysctls={"nf_conntrack_udp_timeout": 29})
    router.check("udp A:1>B:2 -> N:1>B:2")
    # refreshed before the rules see it: 29 s left, and 28.9 later in the packet's own time
    router.check("@1 udp B:2>N:1 -> drop")
    Router(rules).check("udp A:1>B:2 -> N:1>B:2\n@1 udp B:2>N:1 -> B:2>A:1")


@pytest.mark.parametrize(
    ("options", "found"), [([("WScale", 3)], True), ([("NOP", None), ("MSS", 9)], False), ([], False)]
)
def test_tcp_options(options, found):
    router = Router("-A POSTROUTING -p tcp -m tcp --tcp-option 3 -j SNAT --to-source 9.9.9.9")
    packet = IP(src="10.1.0.2", dst="10.2.0.2") / TCP(sport=1, dport=2, flags="S", options=options)
    _, data = router.nat.process_packet(bytes(packet), "r0", 0.0)
    assert IP(data).src == ("9.9.9.9" if found else "10.1.0.2")
