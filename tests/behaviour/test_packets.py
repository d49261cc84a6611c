"""Real bytes, judged by scapy."""

import ipaddress
import warnings

import pytest
from nodes import make_dual, make_node

import fastnat
from fastnat import Verdict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

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


def csum(data):
    total = sum(int.from_bytes(data[n : n + 2].ljust(2, b"\0"), "big") for n in range(0, len(data), 2))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def test_a_header_is_as_long_as_it_says_and_no_longer_than_the_packet():
    """ip_rcv_core: version 4, at least five words, all of them there, and a checksum over those that it says."""
    nat = fastnat.Engine(make_node())
    ends = bytes([10, 244, 1, 2, 203, 0, 113, 10])
    for first in range(256):
        if first >> 4 == 6:
            continue
        for have in range(1, 72):
            words = first & 15
            # what follows the addresses is an option of one byte, again and again
            data = bytearray(bytes([first, 0, 0, have, 0, 1, 0, 0, 64, 17, 0, 0]) + ends + bytes([1]) * 52)[:have]
            if have >= 12:
                data[10:12] = csum(data[: 4 * words]).to_bytes(2, "big")
            sound = first >> 4 == 4 and words >= 5 and 4 * words <= have
            verdict, _ = nat.process_packet(bytes(data), iface="cni0")
            assert (verdict == Verdict.FORWARD) == sound, (first, have)


def test_a_payload_of_ipv6_is_as_long_as_the_header_says():
    """ip6_rcv_core: what the header says has to be there; what is there besides is padding."""
    nat = fastnat.Engine(make_dual(rules6="*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"))
    ends = bytes.fromhex("fd000001000000000000000000000002 20010db8000000010000000000000005")
    for have in range(1, 72):
        for said in range(1, 36):
            data = (bytes([0x60, 0, 0, 0, 0, said, 59, 64]) + ends + bytes(32))[:have]
            verdict, out = nat.process_packet(data, iface="cni0")
            assert (verdict == Verdict.FORWARD) == (have >= 40 + said), (have, said)
            assert out is None or len(out) == 40 + said


def test_bad_checksum_leaves_untranslated_and_is_counted():
    nat = fastnat.Engine(make_node())
    data = bytearray(bytes(IP(src="10.244.1.2", dst="203.0.113.10") / UDP(sport=1, dport=2) / b"x"))
    data[-1] ^= 1
    verdict, out = nat.process_packet(bytes(data), iface="cni0")
    assert verdict == Verdict.FORWARD
    assert IP(out).src == "10.244.1.2"
    assert nat.stats["invalid"] == 1


def test_sctp_checksum_is_crc32c_and_follows_the_translation():
    """The check value of CRC32c over "123456789" is 0xe3069283; scapy computes it independently."""
    from scapy.layers.sctp import SCTP, SCTPChunkCookieAck, SCTPChunkCookieEcho, SCTPChunkInit, SCTPChunkInitAck

    nat = fastnat.Engine(make_node())
    ports = {"sport": 5000, "dport": 38412}
    back = {"sport": 38412, "dport": 5000}
    steps = [
        ("cni0", SCTP(**ports, tag=0) / SCTPChunkInit(init_tag=7), "CLOSED"),
        ("eth0", SCTP(**back, tag=7) / SCTPChunkInitAck(init_tag=9), "COOKIE_WAIT"),
        ("cni0", SCTP(**ports, tag=9) / SCTPChunkCookieEcho(cookie=b"1234"), "COOKIE_ECHOED"),
        ("eth0", SCTP(**back, tag=7) / SCTPChunkCookieAck(), "ESTABLISHED"),
    ]
    for iface, layer, state in steps:
        out_src, out_dst = ("198.51.100.10", "203.0.113.10") if iface == "cni0" else ("203.0.113.10", "10.244.1.2")
        src, dst = ("10.244.1.2", "203.0.113.10") if iface == "cni0" else ("203.0.113.10", "198.51.100.10")
        verdict, data = nat.process_packet(bytes(IP(src=src, dst=dst) / layer), iface=iface)
        assert verdict == Verdict.FORWARD
        assert data == bytes(IP(src=out_src, dst=out_dst, ttl=63) / layer)
        assert f" {state} " in nat.conntrack.format()
    wrong_tag = IP(src="10.244.1.2", dst="203.0.113.10") / SCTP(**ports, tag=1) / SCTPChunkCookieAck()
    assert IP(nat.process_packet(bytes(wrong_tag), iface="cni0")[1]).src == "10.244.1.2"
    assert nat.stats["invalid"] == 1


ENDS = {4: ("10.244.1.2", "203.0.113.10", "198.51.100.10"), 6: ("fd00:1::2", "2001:db8:1::5", "2001:db8::10")}


@pytest.mark.parametrize(("proto", "at", "zero"), [(17, 6, b"\xff\xff"), (136, 6, b"\xff\xff"), (6, 16, b"\0\0")])
@pytest.mark.parametrize("family", [4, 6])
def test_a_checksum_that_becomes_zero(family, proto, at, zero):
    """RFC 768: of UDP, and of UDP-Lite, zero says that there is none; of TCP it is a sum as others."""
    rule = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    node = make_dual(rule, rule)
    src, dst, own = ENDS[family]

    # udplite_error checks UDP-Lite by the pseudo header of UDP
    pseudo = 17 if proto == 136 else proto

    def packet(source, tail):
        ip = IP(src=source, dst=dst, proto=proto) if family == 4 else IPv6(src=source, dst=dst, nh=proto)
        ports, n = bytes([15, 160, 0, 53]), 12 if proto != 6 else 24
        l4 = bytearray(
            ports + {17: bytes([0, n, 0, 0]), 136: bytes([0, n, 0, 0]), 6: bytes(8) + b"\x50\x02" + bytes(6)}[proto]
        )
        l4 += tail
        ends = b"".join(ipaddress.ip_address(one).packed for one in (source, dst))
        l4[at : at + 2] = csum(ends + bytes([0, pseudo, 0, n]) + l4).to_bytes(2, "big")
        return bytes(ip / bytes(l4)), l4[at : at + 2]

    # with its own sum behind it a translated segment sums up to zero
    _, sum_there = packet(own, bytes(4))
    data, _ = packet(src, bytes(sum_there) + bytes(2))
    out = fastnat.Engine(node).process_packet(data, "cni0")[1]
    start = 20 if family == 4 else 40
    assert out[start + at : start + at + 2] == zero
