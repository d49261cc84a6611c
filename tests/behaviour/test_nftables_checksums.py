"""Checksums behind what rules of nftables write into packets (nft_csum_replace), beside those that scapy computes."""

import pytest
from nodes import make_dual
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

import fastnat

ENDS = {4: (IP, "10.244.1.2", "203.0.113.9", "203.0.113.77"), 6: (IPv6, "fd00:1::2", "2001:db8:7::1", "2001:db8::77")}
CHAIN = "table {} t {{\nchain c {{\ntype filter hook prerouting priority 0;\n{} counter\n}}\n}}\n"


def ran(family, statement, packet):
    """Return an engine with a rule, and the packet that left it."""
    ip = "ip" if family == 4 else "ip6"
    engine = fastnat.Engine(make_dual("", native=CHAIN.format(ip, statement)))
    verdict, data = engine.process_packet(bytes(packet), "cni0")
    assert verdict == fastnat.Verdict.FORWARD
    return engine, ENDS[family][0](data)


def anew(packet):
    """Return a packet with the checksums that it ought to have."""
    copy = packet.copy()
    for layer in (copy, copy.payload):
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                delattr(layer, name)
    return type(copy)(bytes(copy))


@pytest.mark.parametrize(("family", "layer"), [
    (4, UDP(sport=7, dport=53)), (6, UDP(sport=7, dport=53)), (4, TCP(sport=7, dport=53)), (6, TCP(sport=7, dport=53)),
    (6, ICMPv6EchoRequest(id=7)),
])  # fmt: skip
@pytest.mark.parametrize("data", [b"", b"odd", None])
def test_an_address_that_a_rule_writes(family, layer, data):
    """data None: what makes the sum 0, of which UDP writes the complement."""
    ip, src, dst, new = ENDS[family]
    if data is None:
        left = ip(bytes(ip(src=new, dst=dst) / layer.copy() / b"\0\0")).payload
        data = (left.cksum if isinstance(left, ICMPv6EchoRequest) else left.chksum).to_bytes(2, "big")
    name = "ip" if family == 4 else "ip6"
    _, left = ran(family, f"{name} saddr set {new}", ip(src=src, dst=dst) / layer.copy() / data)
    assert left.src == new
    right = anew(left)
    if type(layer) is not UDP and left.payload.fields.get("chksum", left.payload.fields.get("cksum")) == 0xFFFF:
        # the other way to write a sum of 0
        assert right.payload.fields.get("chksum", right.payload.fields.get("cksum")) == 0
    else:
        assert bytes(left) == bytes(right)


@pytest.mark.parametrize("layer", [UDP(sport=7, dport=53), TCP(sport=7, dport=53)])
def test_a_port_that_a_rule_writes(layer):
    _, left = ran(
        4, f"{type(layer).__name__.lower()} dport set 99", IP(src="10.244.1.2", dst="203.0.113.9") / layer / b"x"
    )
    assert left.dport == 99
    assert bytes(left) == bytes(anew(left))


def test_udp_without_a_checksum_has_none():
    _, left = ran(
        4, "ip saddr set 203.0.113.77", IP(src="10.244.1.2", dst="203.0.113.9") / UDP(sport=7, dport=5, chksum=0)
    )
    assert (left.src, left[UDP].chksum) == ("203.0.113.77", 0)


@pytest.mark.parametrize(("statement", "layer", "cut", "counted"), [
    ("ip saddr set 203.0.113.77", TCP(), 14, 0), ("udp dport set 99", UDP(), 5, 0), ("tcp dport set 99", TCP(), 10, 0),
    ("ip saddr set 203.0.113.77", UDP(), 6, 1), ("ip saddr set 203.0.113.77", UDP(), 8, 1),
])  # fmt: skip
def test_a_rule_ends_that_would_write_behind_a_packet(statement, layer, cut, counted):
    packet = IP(bytes(IP(src="10.244.1.2", dst="203.0.113.9") / layer)[: 20 + cut])
    packet.len = 20 + cut
    del packet.chksum
    engine, _ = ran(4, statement, packet)
    assert f"counter packets {counted} bytes" in engine.list_nft()
