"""A new connection towards one crowded destination, by the share of its ports in use."""

import numpy as np
import pytest
from workloads import FEW, crowded


@pytest.mark.parametrize("occupancy", [0.1, 0.5, 0.9, 0.99])
def test_port_search(occupancy, timed, capsys):
    """Every flow wants a taken port; what it opens is deleted again, so the occupancy stays."""
    nat, ports = crowded(occupancy)
    each, rounds = 32, 3 if FEW else 300
    k = np.arange((rounds + 100) * each, dtype=np.uint32).reshape(-1, each)
    parts = [
        nat.packets(proto="udp", src=0x0AF40A00 + row, sport=int(ports[0]), dst="192.0.2.1", dport=53, iface="cni0")
        for row in k
    ]
    opened = []

    def call(part):
        opened.append(nat.process(part)["conn"])

    def calls():
        for n, part in enumerate(parts):
            if n >= 100:
                yield lambda part=part: call(part)
            else:
                call(part)
            for conn in opened.pop():
                if conn != 0xFFFFFFFF:
                    nat.conntrack.delete(int(conn))

    before = nat.stats
    timed(f"port search at {occupancy:.0%}", calls(), each)
    searches = nat.stats["port_searches"] - before["port_searches"]
    assert searches == len(parts) * each
    probes = (nat.stats["port_search_probes"] - before["port_search_probes"]) / searches
    with capsys.disabled():
        print(f"probes a search: {probes:.1f}")
