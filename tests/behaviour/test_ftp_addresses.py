"""How FTP over IPv6 may write an address: in6_pton's many spellings of one, and what it takes for none.

What is dropped here is recorded in kernel/test_helpers.py and kernel/bound_calls.py.
"""

import ipaddress

import pytest
from behaviour import talks
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6

import fastnat
from fastnat import Reason, Verdict

SERVER = talks.ENDS[6][1]
OWN = "fd01::102:304"


def spoken(said, client=OWN):
    """Return an engine and what leaves of a client's command; None: it is dropped."""
    engine = fastnat.Engine(talks.node(six=True))
    nat = talks.ENDS[6][2]
    for iface, src, dst, tcp, data in (
        ("cni0", client, SERVER, TCP(sport=4000, dport=21, flags="S", seq=1), b""),
        ("eth0", SERVER, nat, TCP(sport=21, dport=4000, flags="SA", seq=9, ack=2), b""),
        ("cni0", client, SERVER, TCP(sport=4000, dport=21, flags="A", seq=2, ack=10), b""),
        ("cni0", client, SERVER, TCP(sport=4000, dport=21, flags="PA", seq=2, ack=10), b"USER a\r\n"),
    ):
        assert engine.process_packet(bytes(IPv6(src=src, dst=dst) / tcp / data), iface, 0.0)[0] == Verdict.FORWARD
    last = IPv6(src=client, dst=SERVER) / TCP(sport=4000, dport=21, flags="PA", seq=10, ack=10) / said
    verdict, data = engine.process_packet(bytes(last), "cni0", 0.0)
    return engine, bytes(IPv6(data)[TCP].payload) if verdict == Verdict.FORWARD else None


def told(address, client=OWN):
    """Return what becomes of a client's EPRT: "told anew", "as it was" or the reason why it is dropped."""
    said = f"EPRT |2|{address}|1793|\r\n".encode()
    engine, passed = spoken(said, client)
    if passed is None:
        assert engine.stats["expect_create"] == 0
        return Reason.HELPER
    assert engine.stats["expect_create"] == (passed != said)
    if passed == said:
        return "as it was"
    nat = talks.ENDS[6][2]
    assert passed == b"EPRT |2|" + ipaddress.ip_address(nat).exploded.encode() + b"|1793|\r\n"
    return "told anew"


@st.composite
def spelled(draw, address):
    """Draw a way to write an address: where zeros are left out, how many lead, which case, an IPv4 tail."""
    groups = ipaddress.ip_address(address).exploded.split(":")
    words = [draw(st.sampled_from([f"{int(g, 16):x}", f"{int(g, 16):04X}", g.zfill(6)])) for g in groups]
    if draw(st.booleans()):
        low = ipaddress.ip_address(int("".join(groups[6:]), 16))
        words[6:] = [".".join(n.zfill(draw(st.integers(1, 4))) for n in str(low).split("."))]
    zero = [k for k, g in enumerate(groups[: len(words)]) if g == "0000" and "." not in words[k]]
    runs = [(a, b) for a in zero for b in zero if a <= b and set(range(a, b + 1)) <= set(zero)]
    # a gap may also stand for no word at all, but not behind eight of them
    if runs and draw(st.booleans()):
        a, b = draw(st.sampled_from(runs))
        return ":".join(words[:a]) + "::" + ":".join(words[b + 1 :])
    return ":".join(words)


@given(spelled(OWN))
def test_every_spelling_of_the_own_address_is_read(text):
    assert told(text) == "told anew"


@given(st.integers(0, 2**128 - 1).flatmap(lambda n: spelled(str(ipaddress.IPv6Address(n)))))
def test_another_address_opens_nothing(text):
    """Unless loose=1, which is not modelled, it passes as it was said."""
    assert told(text) == "as it was"


@pytest.mark.parametrize("text", [
    "", ":", "fd01", "fd01:", "fd01:::102:304", "fd01::102:304:", "fd01::12345:304", "fd01::102::304", "fd01::g:304",
    "fd01:0:0:0:0:0:102", "fd01:0:0:0:0:0:0:102:304", "fd01::1.2.3", "fd01::1.2.3.4.5", "fd01::1.2.3.256",
    "fd01::1..3.4", "fd01::1.2.3.4x", "fd01::.2.3.4", "fd01:0:0:0:0:0:0:1.2.3.4", "fd01:0:0:0:0:0:102:304::",
    "1.2.3.4", "fd01::102:304%2", "-1::", "fd01::1.2.3.:", "fd01::999.2.3.4",
])  # fmt: skip
def test_what_is_no_address_drops_the_segment(text):
    assert told(text) == Reason.HELPER


def test_a_colon_ends_an_ipv4_tail():
    """As recorded: what follows it is then read as the port, here none."""
    assert told("fd01::1.2.3.4:") == Reason.HELPER


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**96 - 1), st.integers(0, 32), st.integers(1, 65535))
def test_port_names_the_first_four_bytes(front, rest, flipped, port):
    """PORT in a control connection of IPv6: four numbers that the client's address begins with are its own."""
    client = ipaddress.IPv6Address((0x20 << 120 | front << 96 | rest) & ~(0xDF << 120))
    named = list(client.packed[:4])
    if flipped < 32:
        named[flipped // 8] ^= 1 << flipped % 8
    end = f"{port >> 8},{port & 255}\r\n".encode()
    said = b"PORT " + ",".join(map(str, named)).encode() + b"," + end
    engine, passed = spoken(said, str(client))
    own = flipped == 32
    assert engine.stats["expect_create"] == own
    begin = ",".join(map(str, ipaddress.IPv6Address(talks.ENDS[6][2]).packed[:4]))
    assert passed == (f"PORT {begin},".encode() + end if own else said)
