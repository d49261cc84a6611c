"""What one call costs from Python."""

import numpy as np
from workloads import FEW

import fastnat

CALLS = 20 if FEW else 20_000

# 10.244.1.2:4000 > 203.0.113.10:53, UDP, 8 bytes, checksums right
DATA = bytes.fromhex("45000024000140004011f2c70af40102cb00710a0fa00035001000006162636465666768")


def test_process_packet(timed):
    """One datagram of an established connection as bytes, rewritten."""
    nat = fastnat.Engine(fastnat.Node.example())
    process = nat.process_packet
    assert process(DATA, "cni0", 0.0)[0] == fastnat.Verdict.FORWARD
    timed("process_packet", [lambda: process(DATA, "cni0", 0.0)] * CALLS, 1)
    assert len(nat.conntrack) == 1


def test_call_of_one_header(timed):
    """process() of a single header: the fixed cost of a batch."""
    nat = fastnat.Engine(fastnat.Node.example())
    batch = nat.packets(proto="udp", src="10.244.1.9", sport=1, dst="203.0.113.9", dport=53, iface="cni0")
    out = np.empty(1, fastnat.RESULT)
    timed("process() of one header", [lambda: nat.process(batch, 0.0, out)] * CALLS, 1)
    assert len(nat.conntrack) == 1
