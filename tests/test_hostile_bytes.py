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

RULES = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
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


@pytest.mark.parametrize("seed", range(4))
def test_every_datagram_has_a_verdict(seed):
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/24", "fd01::1/64"])
    node.add_interface("eth0", ["198.51.100.10/24", "fd02::1/64"])
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.add_route("default", via="fd02::ffff", dev="eth0")
    node.load_rules(RULES)
    node.load_rules6(RULES)
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
    for core in nat._cores.values():
        core.check_invariants()
