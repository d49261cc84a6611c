"""Mutated datagrams of both families: a verdict for each, sound tables afterwards; `make asan` watches memory."""

import random
import struct
import warnings

import pytest

import fastnat
from fastnat import Verdict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
    from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit

RULES = (
    "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\n"
    "-A PREROUTING -p udp --dport 69 -j CT --helper tftp\n"
)
PPTP = "-A PREROUTING -p tcp --dport 1723 -j CT --helper pptp\n"
GRE_DATA = bytes.fromhex("3001880b00030007 00000001 707070")
OPTIONS = [("WScale", 3), ("SAckOK", b"")]
OUT4, OUT6 = {"src": "10.244.1.2", "dst": "203.0.113.9"}, {"src": "fd01::2", "dst": "fd03::9"}
SEEDS = [
    bytes(packet)
    for packet in (
        IP(**OUT4) / UDP(sport=1, dport=53) / b"abc",
        IP(**OUT4) / TCP(sport=5, flags="S", options=OPTIONS),
        IP(src="203.0.113.9", dst="198.51.100.10") / ICMP(type=3) / IP(**OUT4) / UDP(sport=1, dport=53),
        IP(**OUT4) / SCTP(sport=1, dport=2) / SCTPChunkInit(init_tag=1),
        IP(**OUT4) / SCTP(sport=1, dport=2) / SCTPChunkData(data=b"123"),
        IP(**OUT4, proto=47) / bytes.fromhex("3001880b00080001"),
        IPv6(**OUT6) / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2) / b"abc",
        IPv6(**OUT6) / TCP(sport=5, flags="S", options=OPTIONS),
        IPv6(src="fd03::9", dst="fd02::1") / ICMPv6DestUnreach() / IPv6(**OUT6) / UDP(sport=2, dport=1),
        IPv6(**OUT6) / ICMPv6EchoRequest(id=4),
    )
]


def mutate(rng):
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(data))
        data[at] = rng.choice([0, 1, 255, rng.randrange(256), data[at] ^ 1 << rng.randrange(8)])
    if rng.random() < 0.4:
        data = data[: rng.randrange(len(data) + 1)]
    if rng.random() < 0.8:
        repair(data)
    return bytes(data)


def repair(data):
    """Make length and header checksum right again, so that the damage gets past the first checks."""
    if len(data) >= 40 and data[0] >> 4 == 6:
        data[4:6] = (len(data) - 40).to_bytes(2, "big")
    header = (data[0] & 15) * 4 if data else 0
    if data and data[0] >> 4 == 4 and 20 <= header <= len(data):
        data[2:4] = len(data).to_bytes(2, "big")
        data[10:12] = b"\0\0"
        total = sum(struct.unpack(f"!{header // 2}H", bytes(data[:header])))
        total = (total >> 16) + (total & 0xFFFF)
        data[10:12] = (~((total >> 16) + total) & 0xFFFF).to_bytes(2, "big")


def node_with_helpers():
    """A router of both families whose rules assign helpers."""
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/24", "fd01::1/64"])
    node.add_interface("eth0", ["198.51.100.10/24", "fd02::1/64"])
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.add_route("default", via="fd02::ffff", dev="eth0")
    node.load_rules(RULES + PPTP + "COMMIT\n")
    node.load_rules6(RULES + "COMMIT\n")
    return node


@pytest.mark.parametrize("seed", range(4))
def test_every_datagram_has_a_verdict(seed):
    node = node_with_helpers()
    node.sysctls["net.netfilter.nf_conntrack_checksum"] = "0"
    nat = fastnat.Engine(node, seed=seed)
    rng = random.Random(seed)
    now, seen = 0.0, set()
    for _ in range(5000):
        now += rng.choice([0, 0, 0.001, 5])
        verdict, out = nat.process_packet(mutate(rng), rng.choice(["cni0", "eth0", "local"]), now)
        assert (out is None) == (verdict == Verdict.DROP)
        seen.add(verdict)
    assert seen == set(Verdict)
    assert nat.stats["new"] > 500
    for core in (stack.core for stack in nat.stacks.values()):
        core.check_invariants()


def conversation(proto, ip, ends):
    """A control connection that says every word, as (interface, datagram): what mutations start from."""
    client, server, seen = ends
    port = {"ftp": 21, "pptp": 1723}[proto]
    ftp = [
        (1, b"220 .\r\n"), (0, b"USER\r\n"), (1, b"230 .\r\n"), (0, b"PORT 10,244,1,2,1,2\r\n"),
        (0, b"EPRT |1|10.244.1.2|99|\r\n"), (0, b"EPRT |2|fd01::2|99|\r\n"), (1, b"227 (203,0,113,9,3,4)\r\n"),
        (1, b"229 (|||5|)\r\n"),
    ]  # fmt: skip
    head, body = bytes.fromhex("00000001 1a2b3c4d"), bytes([0, 7, 1, 0x35, 1]) + bytes(210)
    words = ((0, 1), (1, 2), (0, 7), (1, 8), (1, 9), (0, 10), (1, 11), (0, 12), (0, 15), (1, 13), (1, 14))
    pptp = [(who, head + bytes([0, n, 0, 0]) + body) for who, n in words]
    numbers = [101, 201]
    yield "cni0", ip(src=client, dst=server) / TCP(sport=309, dport=port, seq=100)
    yield "eth0", ip(src=server, dst=seen) / TCP(sport=port, dport=309, flags="SA", seq=200, ack=101)
    yield "cni0", ip(src=client, dst=server) / TCP(sport=309, dport=port, flags="A", seq=101, ack=201)
    for who, text in ftp if proto == "ftp" else pptp:
        src, dst, ports = ((client, server, (309, port)), (server, seen, (port, 309)))[who]
        tcp = TCP(sport=ports[0], dport=ports[1], flags="PA", seq=numbers[who], ack=numbers[1 - who])
        yield ("cni0", "eth0")[who], ip(src=src, dst=dst) / tcp / text
        numbers[who] += len(text)


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
@pytest.mark.parametrize("proto", ["ftp", "ftp6", "pptp"])
def test_every_word_of_a_helper(proto, seed):
    """Payloads of control connections, damaged: helpers read and write inside the datagram only."""
    node = node_with_helpers()
    for key in ("checksum", "tcp_be_liberal"):
        node.sysctls[f"net.netfilter.nf_conntrack_{key}"] = str(int(key != "checksum"))
    six = proto == "ftp6"
    ends = ("fd01::2", "fd03::9", "fd02::1") if six else ("10.244.1.2", "203.0.113.9", "198.51.100.10")
    clean = [(iface, bytes(p)) for iface, p in conversation(proto.rstrip("6"), IPv6 if six else IP, ends)]
    rng = random.Random(seed)
    expected = 0
    for _ in range(60):
        nat = fastnat.Engine(node, seed=seed)
        for n, (iface, data) in enumerate(clean):
            damaged = bytearray(data)
            head = 60 if six else 40
            for _ in range(rng.randrange(3) if n > 4 else 0):
                damaged[rng.randrange(head, len(damaged))] = rng.choice([48, 44, 124, 58, 10, 255, rng.randrange(256)])
            if n > 4 and rng.random() < 0.2:
                damaged = damaged[: rng.randrange(head, len(damaged) + 1)]
                repair(damaged)
            nat.process_packet(bytes(damaged), iface, 0.0)
        if not six:
            nat.process_packet(bytes(IP(src=ends[0], dst=ends[1], proto=47) / GRE_DATA), "cni0", 1.0)
        expected += nat.stats["expect_create"]
        for core in (stack.core for stack in nat.stacks.values()):
            core.check_invariants()
        nat.conntrack.flush()
    assert expected > 10
