"""Packets that pass set-up before the first of them confirms: the engine's `cpus` and the kernel's queue."""

import re

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

import fastnat
from fastnat.addresses import V4
from kernel import cases, recorder
from kernel.queue import Queue
from kernel.test_live import pytestmark as needs_kernel

MASQUERADE = "-A POSTROUTING -s 10.244.1.0/24 -j MASQUERADE"
EVERY_OTHER = "-m statistic --mode nth --every 2 --packet 0"
BALANCED = f"""-A PREROUTING -d 10.96.0.1/32 {EVERY_OTHER} -j DNAT --to-destination 203.0.113.2
-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 203.0.113.3"""
OTHERS = "-A POSTROUTING -p tcp -j MASQUERADE"
CLIENT, SERVER = "10.244.1.2", "203.0.113.9"
QUERY = ("cni0", IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=53))
# name: rules, packets under way at once, what may be drawn at random
RACES = {
    "a UDP packet twice": (MASQUERADE, [QUERY, QUERY]),
    "a UDP packet three times": (MASQUERADE, [QUERY, QUERY, QUERY]),
    "a SYN twice": (MASQUERADE, 2 * [("cni0", IP(src=CLIENT, dst=SERVER) / TCP(sport=5000, dport=80, flags="S"))]),
    "an echo twice": (MASQUERADE, 2 * [("cni0", IP(src=CLIENT, dst=SERVER) / ICMP(id=7))]),
    "ESP twice": (MASQUERADE, 2 * [("cni0", IP(src=CLIENT, dst=SERVER, proto=50) / b"12345678")]),
    "GRE twice": (MASQUERADE, 2 * [("cni0", IP(src=CLIENT, dst=SERVER, proto=47) / bytes(8))]),
    "a query to two backends": (BALANCED, 2 * [("cni0", IP(src=CLIENT, dst="10.96.0.1") / UDP(sport=5000, dport=53))]),
    "a SYN to two backends": (
        BALANCED, 2 * [("cni0", IP(src=CLIENT, dst="10.96.0.1") / TCP(sport=5000, dport=53, flags="S"))],
    ),
    "both ends speak first": (
        OTHERS, [QUERY, ("eth0", IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=5000))],
    ),
}  # fmt: skip
FIELDS = ("src", "dst", "sport", "dport")
COUNTERS = ("invalid", "insert_failed", "drop", "clash_resolve", "error")


def header(nat, iface, packet):
    ports = {
        "sport": getattr(packet.payload, "sport", getattr(packet.payload, "id", 0) or 0) if packet.proto != 47 else 0,
        "dport": getattr(packet.payload, "dport", 0x0800 if packet.proto == 1 else 0),
    }
    flags = int(packet[TCP].flags) if TCP in packet else 0
    return nat.packets(
        proto=packet.proto, src=packet.src, dst=packet.dst, iface=iface, tcp_flags=flags, length=len(packet), **ports
    )


def shown(lines):
    """Return table lines without what depends on the clock."""
    return sorted(re.sub(r"^(\S+ +\d+ \S+ +\d+) \d+", r"\1", line) for line in lines)


@needs_kernel[0]
@needs_kernel[1]
@pytest.mark.parametrize("name", RACES)
def test_the_same_packets_survive(name):
    rules, packets = RACES[name]
    case = cases.Case(f"*nat\n{rules}\nCOMMIT\n", cases.INTERFACES, cases.ROUTES, None)
    kernel = recorder.Namespace(case)
    try:
        kernel.run("iptables-legacy", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", "0")
        with kernel.inside():
            queue = Queue()
        for iface, packet in packets:
            kernel.inject(iface, bytes(packet))
        queue.wait_for(len(packets))
        queue.release()
        theirs = sorted((IP(data).src, IP(data).dst) for _, data in kernel.drain(0.1))
        counters, table = kernel.stats(), kernel.table()
        queue.close()
    finally:
        kernel.close()
    nat = fastnat.Engine(case.node())
    batch = np.concatenate([header(nat, *packet) for packet in packets])
    out = nat.process(batch, cpus=len(packets))
    gone = out[out["verdict"] == fastnat.Verdict.FORWARD]
    assert sorted((V4.to_text(r["src"]), V4.to_text(r["dst"])) for r in gone) == theirs
    assert {c: nat.stats[c] for c in COUNTERS} == {c: counters[c] for c in COUNTERS}
    assert shown(nat.conntrack.format("extended").splitlines()) == shown(table)
    nat.stacks[4].core.check_invariants()
