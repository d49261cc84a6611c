"""`conntrack -E` of the running kernel beside the engine's events."""

import re
import subprocess
import time

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


def plain(lines):
    """Return event lines without who deleted, and with remaining seconds that may be one less."""
    shown = (re.sub(r" \[USERSPACE\].*", "", line.rstrip()) for line in lines)
    return [re.sub(r"(\[DESTROY\] \S+ +\d+) \d+", r"\1 left", line) for line in shown if line.strip()]


def test_the_same_events():
    case = cases.Case(
        "*mangle\n-A FORWARD -p udp -m udp --dport 9 -j CONNMARK --set-mark 7\nCOMMIT\n*nat\n"
        "-A POSTROUTING -s 10.244.1.0/24 -j MASQUERADE\nCOMMIT\n",
        cases.INTERFACES, cases.ROUTES, None,
    )  # fmt: skip
    nat = Engine(case.node(), events=100)
    kernel = recorder.Namespace(case)
    try:
        listening = ["ip", "netns", "exec", kernel.name, "conntrack", "-E"]
        watcher = subprocess.Popen(listening, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        time.sleep(0.3)
        for n, (iface, packet) in enumerate(talk()):
            kernel.pass_packet(iface, bytes(packet))
            nat.process_packet(bytes(packet), iface, now=n * 0.01)
        kernel.run("conntrack", "-D", "-p", "tcp")
        time.sleep(0.2)
        watcher.terminate()
        theirs = plain(watcher.communicate()[0].splitlines())
    finally:
        kernel.close()
    for connection in nat.conntrack:
        if connection.proto == 6:
            nat.conntrack.delete(connection)
    assert plain(format_event(e) for e in nat.events()) == theirs
