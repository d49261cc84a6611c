"""Real bytes, judged by scapy."""

import warnings

import pytest
from nodes import make_node

import fastnat
from fastnat import Verdict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP

LAYERS = {"udp": UDP(sport=4000, dport=53), "tcp": TCP(sport=4000, dport=80, flags="S"), "icmp": ICMP(id=77)}


@pytest.mark.parametrize("name", LAYERS)
def test_rewritten_packet_equals_scapys(name):
    nat = fastnat.Engine(make_node())
    layer = LAYERS[name] / b"payload"
    verdict, data = nat.process_packet(bytes(IP(src="10.244.1.2", dst="203.0.113.10") / layer), iface="cni0")
    assert verdict == Verdict.FORWARD
    assert data == bytes(IP(src="198.51.100.10", dst="203.0.113.10", ttl=63) / layer)


@pytest.mark.parametrize("name", LAYERS)
def test_cut_anywhere_never_crashes(name):
    whole = bytes(IP(src="10.244.1.2", dst="203.0.113.10") / LAYERS[name] / b"payload")
    nat = fastnat.Engine(make_node())
    for n in range(len(whole)):
        assert nat.process_packet(whole[:n], iface="cni0")[0] == Verdict.DROP
    assert len(nat.conntrack) == 0


def test_bad_checksum_leaves_untranslated_and_is_counted():
    nat = fastnat.Engine(make_node())
    data = bytearray(bytes(IP(src="10.244.1.2", dst="203.0.113.10") / UDP(sport=1, dport=2) / b"x"))
    data[-1] ^= 1
    verdict, out = nat.process_packet(bytes(data), iface="cni0")
    assert verdict == Verdict.FORWARD
    assert IP(out).src == "10.244.1.2"
    assert nat.stats["invalid"] == 1
