"""Rules: a new connection to a service among ten and among ten thousand, and loading them."""

import numpy as np
import pytest
from workloads import BATCH, FEW, services

import fastnat

ROUNDS = 10 if FEW else 200
MANY = 100 if FEW else 10_000


def node(n):
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/24"])
    made.add_interface("eth0", ["198.51.100.10/24"])
    made.add_route("default", via="198.51.100.1", dev="eth0")
    made.load_rules(services(n))
    return made


@pytest.mark.parametrize("n", [10, MANY])
def test_services(n, timed):
    nat = fastnat.Engine(node(n), max_connections=1_000_000)
    k = np.arange(ROUNDS * BATCH, dtype=np.uint32)
    vip = 0x0A600000 + np.random.default_rng(1).integers(0, n, len(k)).astype(np.uint32)
    batch = nat.packets(
        proto="tcp", tcp_flags=2, src=0x0AF40A00 + k % 10_000, sport=1024 + k // 10_000, dst=vip, dport=80, iface="cni0"
    )
    parts = batch.reshape(ROUNDS, BATCH)
    out = np.empty(BATCH, fastnat.RESULT)
    calls = [lambda p=p: nat.process(p, 0.0, out) for p in parts]
    timed(f"new connection to one of {n:,} services", calls, BATCH)
    assert (out["dport"] == 8080).all()
    assert nat.stats["rules_walked"] / len(k) < 20


@pytest.mark.parametrize("endpoints", [2, 3])
def test_load_services(endpoints, timed):
    text = services(MANY, endpoints)
    made = node(1)

    def load():
        made.load_rules(text)
        fastnat.Engine(made)

    timed(f"loading {MANY:,} services of {endpoints} endpoints: {text.count('-A '):,} rules", [load] * 3, 1)
    assert made.rules_text is text
