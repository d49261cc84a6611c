"""The rule sets of behaviour/vendors.py in the running kernel: connections go where they go in the engine."""

import re
import shutil

import pytest
from behaviour.test_nftables_vendors import SPORT, check
from behaviour.vendors import SCENARIOS, kube_proxy

from kernel.cases import IP, TCP, UDP, Case
from kernel.test_live import missing
from kernel.test_nftables import Kernel

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

# this kernel has no flow tables, which are no matter of a first packet; and the hour is another
ELSEWHERE = re.compile(r"flowtable ft \{.*?\n\t\}|[^\n]*flow offload @ft;|[^\n]*meta hour[^\n]*", re.DOTALL)


def datagram(packet, sport):
    src, proto, dst, dport = packet.came
    inner = TCP(sport=sport, dport=dport, flags="S") if proto == "tcp" else UDP(sport=sport, dport=dport)
    return bytes(IP(src=src, dst=dst) / inner)


@pytest.mark.parametrize("scenario", [*SCENARIOS, kube_proxy(10)], ids=lambda s: s.name)
def test_where_connections_go_in_the_kernel(scenario):
    case = Case("", scenario.interfaces, scenario.routes, lambda: iter(()), commands=("link set lo up",))
    kernel = Kernel(case, ELSEWHERE.sub("", scenario.nft))
    try:
        sport = SPORT
        for packet in scenario.packets:
            ends = set()
            for _ in range(packet.times):
                sport += 1
                if packet.iface is None:
                    kernel.send(datagram(packet, sport))
                    out = kernel.came(0.2)
                else:
                    wait = 0.05 if packet.out in ("", "node") else 0.5
                    out = kernel.pass_packet(packet.iface, datagram(packet, sport), wait=wait)
                if out is None:
                    assert packet.out in ("", "node"), packet.what
                    continue
                left = IP(out[1])
                found = out[0], left.src, left.payload.sport, left.dst, left.payload.dport
                try:
                    check(packet, sport, found)
                except AssertionError as error:
                    raise AssertionError(f"{packet.what}: {found}") from error
                ends.add(found[3:])
            assert len(ends) < 2 or not packet.one
    finally:
        kernel.close()
