"""Reassembly by itself; for the kernel's answers see kernel/test_fragments."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodes import make_dual, make_node
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

from fastnat import Engine, InputError
from fastnat.capture import Captured
from fastnat.capture.fragments import Reassembler, Whole, checksum, parse, split
from fastnat.capture.pcap import Batch
from fastnat.capture.reassembly import DELIVERED
from fastnat.capture.replay import Replay, replay

DATAGRAM = bytes(IP(src="10.0.0.1", dst="10.0.0.2", id=9) / UDP(sport=1, dport=2) / bytes(range(256)) / bytes(1200))


@given(cuts=st.lists(st.integers(1, 180), unique=True, max_size=8).map(sorted), seed=st.integers(0, 99))
def test_parts_in_any_order_give_the_datagram_and_its_parts_again(cuts, seed):
    parts = split(Whole(DATAGRAM, tuple(8 * c for c in cuts)), DATAGRAM, 1500)
    assert len(parts) == len(cuts) + 1
    assert all(checksum(p[:20]) == 0 for p in parts)
    shuffled = random.Random(seed).sample(parts, len(parts))
    box = Reassembler()
    wholes = [w for w in (box.add(p, 0.0) for p in shuffled) if w]
    assert [w.data for w in wholes] == [DATAGRAM]
    assert split(wholes[0], DATAGRAM, 1500) == parts
    assert not box._queues


def test_ipv6_keeps_headers_and_identification():
    whole = IPv6(src="fd01::1", dst="fd01::2") / IPv6ExtHdrFragment(id=77) / UDP(sport=1, dport=2) / bytes(3000)
    parts = [bytes(p) for p in fragment6(whole, 1300)]
    box = Reassembler()
    made = [box.add(p, 0.0) for p in parts]
    assert made[:-1] == [None, None]
    assert made[-1].data[6] == 17
    assert len(made[-1].data) == 40 + 8 + 3000
    assert split(made[-1], made[-1].data, 1500) == parts


def test_what_waits_too_long_is_forgotten():
    first, second = split(Whole(DATAGRAM, (800,)), DATAGRAM, 1500)
    box = Reassembler()
    assert box.add(first, 0.0) is None
    assert box.add(second, 30.1) is None
    assert box.add(first, 30.2).data == DATAGRAM


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x45\x00\x00\x40", b"\x60\x00\x00\x00\x00\x20\x2c\x40"]))
def test_no_bytes_break_it(data, head):
    parse(head + data)
    Reassembler().add(head + data, 0.0)


def parts_of(*cuts, data=DATAGRAM):
    return split(Whole(data, cuts), data, 1500)


@pytest.mark.parametrize("size", [0, 4])
def test_a_part_without_a_whole_word_ends_the_datagram_and_the_next_begins_anew(size):
    first, second = parts_of(800)
    odd = bytearray(first[: 20 + size])
    odd[2:4] = len(odd).to_bytes(2, "big")
    odd[10:12] = b"\0\0"
    odd[10:12] = checksum(odd[:20]).to_bytes(2, "big")
    box = Reassembler()
    made = [box.add(p, 0.0) for p in (second, bytes(odd), first, second)]
    assert made[:3] == [None, None, None]
    assert made[3].data == DATAGRAM


@pytest.mark.parametrize(
    ("ecns", "whole"), [((0, 0), 0), ((3, 2), 3), ((1, 3), 3), ((1, 2), 1), ((2, 1), 2), ((0, 2), None), ((3, 0), None)]
)
def test_ecn_of_the_parts(ecns, whole):
    """RFC 3168 5.3: the whole tells of congestion that one part has met; not all of ECT, or none, is no datagram."""
    parts = []
    for part, ecn in zip(parts_of(800), ecns, strict=True):
        made = bytearray(part)
        made[1], made[10:12] = ecn, b"\0\0"
        made[10:12] = checksum(made[:20]).to_bytes(2, "big")
        parts.append(bytes(made))
    box = Reassembler()
    made = [box.add(p, 0.0) for p in parts]
    assert (made[1].data[1] if made[1] else None) == whole
    assert not box._queues


@pytest.mark.parametrize(
    ("name", "family"), [("net.ipv4.ipfrag_time", 4), ("net.netfilter.nf_conntrack_frag6_timeout", 6)]
)
def test_how_long_parts_wait_is_the_sysctls(name, family):
    v6 = IPv6(src="fd01::1", dst="fd01::2") / IPv6ExtHdrFragment(id=77) / UDP(sport=1, dport=2) / bytes(3000)
    parts = parts_of(800) if family == 4 else [bytes(p) for p in fragment6(v6, 1600)]
    for later, is_whole in ((6.9, True), (7.1, False)):
        box = Reassembler(lambda said, default: 7 if said == name else default)
        assert box.add(parts[0], 0.0) is None
        assert (box.add(parts[1], later) is not None) == is_whole


def test_above_the_limit_of_bytes_every_part_is_lost():
    box = Reassembler(lambda said, default: 2000 if said == "net.ipv4.ipfrag_high_thresh" else default)
    first, second, third = parts_of(480, 960)
    assert [box.add(p, 0.0) for p in (first, second, third)] == [None, None, None]
    assert box.add(third, 31.0) is None


def test_far_apart_in_the_source_parts_are_given_up():
    """ipfrag_max_dist: 64 fragments of one source between two of a datagram."""
    first, second = parts_of(800)
    others = [parts_of(800, data=DATAGRAM[:4] + n.to_bytes(2, "big") + DATAGRAM[6:])[0] for n in range(1000, 1070)]
    for distance, is_whole in ((60, True), (70, False)):
        box = Reassembler()
        box.add(first, 0.0)
        for other in others[:distance]:
            box.add(other, 0.0)
        assert (box.add(second, 0.0) is not None) == is_whole


def test_who_collects_keeps_apart():
    box = Reassembler()
    first, second = parts_of(800)
    assert box.add(first, 0.0) is None
    assert box.add(second, 0.0, DELIVERED) is None
    assert box.add(first, 0.0, DELIVERED).data == DATAGRAM


def test_a_negative_limit_is_refused():
    with pytest.raises(InputError, match=r"net.ipv4.ipfrag_time = -1: it must not be negative"):
        Reassembler(lambda said, default: -1 if said == "net.ipv4.ipfrag_time" else default)


def test_without_conntrack_the_node_puts_together_what_is_its_own():
    """PREROUTING sees each part, INPUT the datagram (ip_local_deliver)."""
    node = make_node("*mangle\n-A PREROUTING\nCOMMIT\n*filter\n-A INPUT -p udp -m udp --dport 2\nCOMMIT\n")
    nat = Engine(node)
    whole = bytes(IP(src="203.0.113.9", dst="198.51.100.10", id=9) / UDP(sport=1, dport=2) / bytes(900))
    made = list(replay(nat, [Captured(0.0, "eth0", p) for p in parts_of(400, data=whole)]))
    assert [(r.line.verdict, r.line.reason) for r in made] == [("drop", "fragment"), ("local", "none")]
    assert made[1].packets == [whole]
    assert "[2:948] -A PREROUTING" in nat.save_rules()
    assert "[1:928] -A INPUT" in nat.save_rules()


def test_other_sysctls_leave_what_waits_its_time():
    """A shorter one for those that come from now on, which are then due before older ones."""
    first, second = split(Whole(DATAGRAM, (800,)), DATAGRAM, 1500)
    younger = [IP(part) for part in (first, second)]
    for part in younger:
        part.id = 10
        del part.chksum
    box = Reassembler()
    assert box.add(first, 0.0) is None
    box.settle(lambda name, default: 5 if name.endswith("ipfrag_time") else default)
    assert box.add(bytes(younger[0]), 1.0) is None
    assert box.add(bytes(younger[1]), 6.5) is None
    assert box.add(second, 29.9).data == DATAGRAM


def test_a_replay_goes_by_the_node_that_was_loaded_last():
    """The MTU of its devices and the sysctls of fragments, once the engine has them."""
    node = make_node("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    engine = Engine(node)
    run = Replay(engine)
    packet = bytes(IP(src="10.244.1.2", dst="203.0.113.10") / UDP(sport=4000, dport=53) / bytes(1300))

    def sizes():
        (answers,) = run.run([Batch([1.0], ["cni0"], [packet])])
        return [len(data) for _, _, data in answers.emitted()]

    assert sizes() == [1328]
    node.interfaces["eth0"].mtu = 1280
    assert sizes() == [1328]
    engine.reload()
    assert sizes() == [1276, 72]
    node.sysctls["net.ipv4.ipfrag_high_thresh"] = "0"
    engine.reload()
    parts = split(Whole(packet, (800,)), packet, 1500)
    batches = run.run([Batch([2.0, 2.0], ["cni0", "cni0"], parts)])
    assert [len(list(answers.emitted())) for answers in batches] == [0]


def test_an_atomic_fragment_is_a_datagram_and_59_ends_one():
    """As recorded: alone it leaves without its header; what says that nothing follows is not tracked, but passes."""
    node = make_dual("")
    node.load_rules6("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    engine = Engine(node)
    ends = IPv6(src="fd00:1::2", dst="2001:db8:7::1")
    atomic = ends / IPv6ExtHdrFragment(id=7) / UDP(sport=4, dport=5) / b"xy"
    nothing = IPv6(src=ends.src, dst=ends.dst, nh=59) / b"abcd"
    (answers,) = Replay(engine).run([Batch([1.0, 2.0], ["cni0", "cni0"], [bytes(atomic), bytes(nothing)])])
    first, second = (IPv6(data) for _, _, data in answers.emitted())
    assert (first.nh, first.src, len(first)) == (17, "2001:db8::10", 50)
    assert (second.nh, second.src, bytes(second.payload)) == (59, ends.src, b"abcd")
    assert len(engine.conntrack) == 1


@pytest.mark.parametrize(("said", "passes"), [
    ("3a0000", False), ("3a000000", True), ("3a000000000000", True), ("1100000100", True), ("1100000800", False),
    ("0600000000", True), ("3200000000", True), ("3b00000000", False), ("3c00000000", False), ("2b00000000", False),
])  # fmt: skip
def test_a_fragment_header_that_is_cut(said, passes):
    """Recorded: a first part without its protocol's header passes, even if it ends within the fragment header."""
    node = make_dual("")
    node.load_rules6("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    packet = bytes(IPv6(src="fd00:1::2", dst="2001:db8:7::1", nh=44) / bytes.fromhex(said))
    (answers,) = Replay(Engine(node)).run([Batch([1.0], ["cni0"], [packet])])
    assert len(list(answers.emitted())) == passes
