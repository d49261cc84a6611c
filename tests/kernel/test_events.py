"""`conntrack -E` of the running kernel beside the engine's events."""

import re
import subprocess
import time
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

from fastnat import Engine
from fastnat.conntrack import format_event
from kernel import cases, recorder
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel
CLIENT, SERVER, NODE = "10.244.1.2", "203.0.113.9", "198.51.100.10"


def talk():
    there, back = IP(src=CLIENT, dst=SERVER), IP(src=SERVER, dst=NODE)
    yield "cni0", there / UDP(sport=5000, dport=53)
    yield "eth0", back / UDP(sport=53, dport=5000)
    yield "cni0", there / ICMP(id=9)
    yield "cni0", there / TCP(sport=4000, dport=80, flags="S", seq=100)
    yield "eth0", back / TCP(sport=80, dport=4000, flags="SA", seq=500, ack=101)
    yield "cni0", there / TCP(sport=4000, dport=80, flags="A", seq=101, ack=501)
    yield "cni0", there / TCP(sport=4000, dport=80, flags="FA", seq=101, ack=501)
    yield "eth0", back / TCP(sport=80, dport=4000, flags="FA", seq=501, ack=102)
    yield "cni0", there / TCP(sport=4000, dport=80, flags="A", seq=102, ack=502)
    yield "cni0", there / TCP(sport=4001, dport=80, flags="S", seq=100)
    yield "eth0", back / TCP(sport=80, dport=4001, flags="RA", seq=0, ack=101)
    yield "cni0", there / UDP(sport=5000, dport=9)


LAST = IP(src=CLIENT, dst=SERVER) / UDP(sport=9999, dport=9)


def plain(lines):
    """Return event lines without who deleted and without remaining seconds, and these seconds."""
    shown = [re.sub(r" \[USERSPACE\].*", "", line.rstrip()) for line in lines if line.strip()]
    found = [re.search(r"\] \S+ +\d+ (\d+) ", line) for line in shown]
    seconds = [int(m[1]) if m and "[DESTROY]" not in m.string else None for m in found]
    return [re.sub(r"(\] \S+ +\d+) \d+ ", r"\1 left ", line) for line in shown], seconds


def is_listening(pid):
    """Tell whether a process has joined groups of netfilter's netlink, number 12."""
    rows = [row.split() for row in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]]
    return any(row[1] == "12" and int(row[3], 16) for row in rows)


@pytest.mark.parametrize("accounting", [0, 1])
def test_the_same_events(accounting):
    case = cases.Case(
        "*mangle\n-A FORWARD -p udp -m udp --dport 9 -j CONNMARK --set-mark 7\nCOMMIT\n*nat\n"
        "-A POSTROUTING -s 10.244.1.0/24 -j MASQUERADE\nCOMMIT\n",
        cases.INTERFACES, cases.ROUTES, None, sysctls={"net.netfilter.nf_conntrack_acct": accounting},
    )  # fmt: skip
    nat = Engine(case.node(), events=100)
    kernel = recorder.Namespace(case)
    try:
        listening = ["ip", "netns", "exec", kernel.name, "conntrack", "-E"]
        watcher = subprocess.Popen(listening, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while not is_listening(watcher.pid):
            time.sleep(0.01)
        for n, (iface, packet) in enumerate(talk()):
            kernel.pass_packet(iface, bytes(packet))
            nat.process_packet(bytes(packet), iface, now=n * 0.01)
        kernel.run("conntrack", "-D", "-p", "tcp")
        # events come in order: behind this packet's there is none
        kernel.pass_packet("cni0", bytes(LAST))
        lines = []
        while not any("sport=9999" in line for line in lines):
            lines.append(watcher.stdout.readline())
            assert lines[-1], "conntrack ended"
        watcher.terminate()
        watcher.communicate()
    finally:
        kernel.close()
    for connection in nat.conntrack:
        if connection.proto == 6:
            nat.conntrack.delete(connection)
    nat.process_packet(bytes(LAST), "cni0", now=nat.now)
    (ours, left), (theirs, their_left) = plain(format_event(e) for e in nat.events()), plain(lines)
    assert ours == theirs
    # a jiffy of real time may pass before the kernel writes the seconds
    assert all(a == b or a - b == 1 for a, b in zip(left, their_left, strict=True))
