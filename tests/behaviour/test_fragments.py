"""Reassembly by itself; for the kernel's answers see kernel/test_fragments."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

from fastnat.capture.fragments import Reassembler, Whole, checksum, parse, split

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


@pytest.mark.parametrize("size", [0, 4])
def test_part_of_no_multiple_of_eight_bytes_breaks_the_datagram(size):
    first, second = split(Whole(DATAGRAM, (800,)), DATAGRAM, 1500)
    odd = bytearray(first[: 20 + size])
    odd[2:4] = len(odd).to_bytes(2, "big")
    odd[10:12] = b"\0\0"
    odd[10:12] = checksum(odd[:20]).to_bytes(2, "big")
    box = Reassembler()
    assert [box.add(p, 0.0) for p in (bytes(odd), first, second)] == [None, None, None]
