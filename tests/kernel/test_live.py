"""The running kernel and the engine side by side, packet by packet."""

import importlib.util
import os
import platform
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import fastnat

spec = importlib.util.spec_from_file_location("recorder", Path(__file__).with_name("recorder.py"))
recorder = importlib.util.module_from_spec(spec)
sys.modules["recorder"] = recorder
spec.loader.exec_module(recorder)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP

INTERFACES = {"cni0": "10.244.1.1/24", "eth0": "198.51.100.10/24"}
ROUTES = ["default via 198.51.100.1 dev eth0"]


def missing():
    """Return why the kernel cannot be asked here, or an empty string."""
    if os.geteuid():
        return "needs root"
    if tuple(int(x) for x in platform.release().split("-")[0].split(".")[:2]) < (6, 12):
        return f"kernel {platform.release()} is not of the linux-6.18 profile"
    tools = [t for t in ("ip", "iptables-legacy-restore", "sysctl") if not shutil.which(t)]
    return f"needs {', '.join(tools)}" if tools else "" if Path("/dev/net/tun").exists() else "needs /dev/net/tun"


pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]

RULES = {
    "masquerade": "-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
    "address range": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90",
    "persistent": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90 --persistent",
    "one port": "-A POSTROUTING -p udp -j SNAT --to-source 198.51.100.20:7000",
    "dnat": "-A PREROUTING -d 198.51.100.10/32 -p udp -j DNAT --to-destination 10.244.1.5:5000-5010",
}


def traffic():
    """Deterministic in the kernel: no two flows ever want one tuple."""
    for k in range(12):
        src, dst = f"10.244.1.{k + 2}", f"203.0.113.{k + 10}"
        yield "cni0", IP(src=src, dst=dst) / UDP(sport=4000 + k, dport=53) / b"q"
        yield "cni0", IP(src=src, dst=dst) / TCP(sport=5000 + k, dport=80, flags="S", seq=k)
        yield "cni0", IP(src=src, dst=dst) / ICMP(id=k)
        yield "cni0", IP(src=src, dst="10.244.1.99") / UDP(sport=4000 + k, dport=53)
        yield "eth0", IP(src=dst, dst="198.51.100.10") / UDP(sport=53, dport=4000 + k) / b"a"
        yield "eth0", IP(src=dst, dst="198.51.100.10") / TCP(sport=80, dport=5000 + k, flags="SA", ack=k + 1)
        yield "cni0", IP(src=src, dst=dst, ttl=1) / UDP(sport=6000, dport=1)


@pytest.mark.parametrize("name", RULES)
def test_same_packets_come_out(name):
    rules = f"*nat\n{RULES[name]}\nCOMMIT\n"
    node = fastnat.Node()
    for iface, address in INTERFACES.items():
        node.add_interface(iface, [address])
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.load_rules(rules)
    nat = fastnat.Engine(node)
    kernel = recorder.Namespace(INTERFACES, ROUTES, rules)
    try:
        for n, (iface, packet) in enumerate(traffic()):
            data = bytes(packet)
            verdict, mine = nat.process_packet(data, iface, now=n * 0.001)
            theirs = kernel.pass_packet(iface, data)
            mine = mine if verdict == fastnat.Verdict.FORWARD else None
            assert mine == (theirs and theirs[1]), f"packet {n}: {packet.summary()}"
    finally:
        kernel.close()
