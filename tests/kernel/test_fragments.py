"""Fragments through the running kernel and through a replay: which datagrams pass, and how they are cut again."""

import random

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

from fastnat import Engine
from fastnat.capture import Captured
from fastnat.capture.replay import replay
from kernel import cases, recorder
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel


def cut(datagram, *sizes):
    """Cut an IPv4 datagram into parts of so many bytes of payload."""
    whole, at, parts = bytes(datagram.payload), 0, []
    for size in (*sizes, len(whole) - sum(sizes)):
        part = IP(bytes(datagram)[:20]) / whole[at : at + size]
        part.frag, part.flags, part.len, part.chksum = at // 8, "MF" if at + size < len(whole) else 0, None, None
        part.proto = 17
        parts.append(part)
        at += size
    return parts


def datagrams():
    rng = random.Random(7)
    for n, sizes in enumerate([(800,), (8,), (1208, 800), (800, 1208), (16, 16, 1000), (504, 504, 504)]):
        for order in ("forward", "backward", "shuffled"):
            whole = IP(src=f"10.244.1.{n + 2}", dst="203.0.113.9", id=100 + n) / UDP(sport=4000, dport=n + 1)
            whole /= bytes(2500)
            parts = cut(IP(bytes(whole)), *sizes)
            if order == "shuffled":
                rng.shuffle(parts)
            yield f"{sizes} {order}", parts[::-1] if order == "backward" else parts
    one = cut(IP(bytes(IP(src="10.244.1.20", dst="203.0.113.9", id=7) / UDP(sport=1, dport=1) / bytes(900))), 400, 200)
    yield "a part twice", [one[0], one[0], one[1], one[2]]
    two = cut(IP(bytes(IP(src="10.244.1.21", dst="203.0.113.9", id=7) / UDP(sport=1, dport=1) / bytes(900))), 400, 200)
    overlap = two[1].copy()
    overlap.frag -= 1
    del overlap.chksum
    yield "overlapping parts", [two[0], overlap, two[1], two[2]]
    yield "a part missing", one[:2]
    big = IP(src="10.244.1.22", dst="203.0.113.10") / UDP(sport=1, dport=1) / bytes(4000)
    yield "larger than the device takes", [big]


def outcome(captured, engine):
    return [(r.line.out, p) for r in replay(engine, iter(captured)) if r.line.verdict != "drop" for p in r.packets]


def test_the_same_packets_come_out():
    case = cases.CASES["masquerade"]
    kernel = recorder.Namespace(case)
    try:
        kernel.run("ip", "link", "set", "cni0", "mtu", "9000")
        for name, parts in datagrams():
            engine = Engine(case.node())
            for part in parts:
                kernel.inject("cni0", bytes(part))
            theirs = kernel.drain(0.05)
            mine = outcome([Captured(0.0, "cni0", bytes(p)) for p in parts], engine)
            assert mine == theirs, name
    finally:
        kernel.close()


def test_ipv6_parts_leave_where_they_were_cut():
    """The kernel draws a new identification for them, so that is not compared."""
    case = cases.CASES["v6 masquerade"]
    kernel = recorder.Namespace(case)
    try:
        whole = IPv6(src="fd01::2", dst="fd03::9") / IPv6ExtHdrFragment(id=5) / UDP(sport=4000, dport=53) / bytes(3000)
        parts = fragment6(whole, 1300)
        for part in parts[::-1]:
            kernel.inject("cni0", bytes(part))
        theirs = kernel.drain(0.05)
        mine = outcome([Captured(0.0, "cni0", bytes(p)) for p in parts[::-1]], Engine(case.node()))
        without = [(iface, data[:44] + data[48:]) for iface, data in theirs]
        assert [(iface, data[:44] + data[48:]) for iface, data in mine] == without
        assert len(theirs) == len(parts) == 3
    finally:
        kernel.close()
