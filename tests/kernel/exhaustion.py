"""Exhaustion at a small scale in the running kernel: a range of ports, short timeouts, flows at their times.

`PYTHONPATH=tests python -m kernel.exhaustion` (root) writes tests/data/exhaustion-small-6.18.json.
"""

import contextlib
import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from fastnat.exhaustion import Workload
from kernel import cases, recorder

DATA = Path(__file__).parents[1] / "data" / "exhaustion-small-6.18.json"
SERVER = {4: "203.0.113.10", 6: "2001:db8:f::10"}
NODE = {4: "198.51.100.10", 6: "2001:db8:1::10"}
INTERFACES = {
    4: {"cni0": ["10.244.1.1/16"], "eth0": [f"{NODE[4]}/24"]}, 6: {"cni0": ["fd01::1/64"], "eth0": [f"{NODE[6]}/64"]},
}  # fmt: skip
ROUTES = {4: cases.ROUTES, 6: ["default via 2001:db8:1::1 dev eth0"]}
RATE, FLOWS = 100.0, 800
# seconds; runs that the machine was too busy for are made again so many times
LATE, TRIES = 0.1, 5


@dataclass(frozen=True)
class Small:
    """Flows from a range of ports: seconds that one is open, who closes it, where it enters."""

    proto: str
    ports: int
    hold: float | None = None
    family: int = 4
    close: str = "fin"
    iface: str = "cni0"


CASES = {
    "udp-100": Small("udp", 100), "udp-300": Small("udp", 300), "tcp-100": Small("tcp", 100, 0.2),
    "tcp-100-long": Small("tcp", 100, 0.9), "tcp-300-long": Small("tcp", 300, 2.8),
    "udp6-300": Small("udp", 300, family=6), "tcp6-100-long": Small("tcp", 100, 0.9, family=6),
    "tcp-300-client": Small("tcp", 300, 0.2, close="client"), "tcp-300-server": Small("tcp", 300, 0.2, close="server"),
    "tcp6-300-client": Small("tcp", 300, 0.2, 6, "client"), "udp-300-own": Small("udp", 300, iface="local"),
    "tcp-100-own-long": Small("tcp", 100, 0.9, iface="local"),
    "udp6-300-own": Small("udp", 300, family=6, iface="local"),
}  # fmt: skip
TIMEOUTS = {"udp_timeout": 4, "tcp_timeout_time_wait": 4, "tcp_timeout_close_wait": 4}


def rules(small):
    # flows of the node itself are its only ones here
    return f"""*nat
-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 2000-{1999 + small.ports}
-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 2000-{1999 + small.ports}
COMMIT
"""


def case_of(name):
    small = CASES[name]
    return cases.Case(rules(small), INTERFACES[small.family], ROUTES[small.family], None, family=small.family)


def workload(name):
    small = CASES[name]
    end = (SERVER[small.family], 80)
    return Workload((end,), small.proto, FLOWS, rate=RATE, hold=small.hold, close=small.close, iface=small.iface)


def node_of(name):
    node = case_of(name).node()
    node.sysctls.update({f"net.netfilter.nf_conntrack_{k}": str(v) for k, v in TIMEOUTS.items()})
    return node


class BusyMachineError(Exception):
    """Flows were opened so late that the run says nothing."""


class Flow:
    """One flow: its packets out of the client and back from the server, as the node's port lets them find home."""

    def __init__(self, kernel, small, number, rng):
        self.kernel, self.small, self.port = kernel, small, 0
        self.version = {4: IP, 6: IPv6}[small.family]
        client = {4: f"10.244.{2 + number // 250}.{number % 250 + 2}", 6: f"fd01::{number + 2:x}"}[small.family]
        self.sport = 40000
        if small.iface == "local":
            # no two sockets of a node share a port to one destination
            client, self.sport = NODE[small.family], 32768 + number * 7919 % 28232
        self.there = self.version(src=client, dst=SERVER[small.family])
        self.isn = rng.randrange(1 << 32)

    def pass_packet(self, iface, packet):
        """Send a packet, from the node itself where the flows are its own; return what leaves, None if nothing does."""
        if iface == "local":
            self.kernel.send(bytes(packet))
        else:
            self.kernel.inject(iface, bytes(packet))
            if self.small.iface == "local":
                # it ends here
                return None
        return self.kernel.came(0.003)

    def open(self):
        l4 = UDP(sport=self.sport, dport=80)
        if self.small.proto == "tcp":
            l4 = TCP(sport=self.sport, dport=80, flags="S", seq=self.isn)
        came = self.pass_packet(self.small.iface, self.there / l4)
        if came is None:
            return False
        self.port = self.version(came[1]).sport
        if self.small.proto == "tcp":
            self.back("SA", 1000, 1)
            self.out("A", 1, 1001)
        return True

    def close(self):
        if self.small.close == "server":
            self.back("FA", 1001, 1)
            self.out("A", 1, 1002)
            return
        self.out("FA", 1, 1001)
        if self.small.close == "client":
            self.back("A", 1001, 2)
            return
        self.back("FA", 1001, 2)
        self.out("A", 2, 1002)

    def out(self, flags, seq, ack):
        tcp = TCP(sport=self.sport, dport=80, flags=flags, seq=self.isn + seq & 0xFFFFFFFF, ack=ack)
        self.pass_packet(self.small.iface, self.there / tcp)

    def back(self, flags, seq, ack):
        tcp = TCP(sport=80, dport=self.port, flags=flags, seq=seq, ack=self.isn + ack & 0xFFFFFFFF)
        ends = {"src": SERVER[self.small.family], "dst": NODE[self.small.family]}
        self.pass_packet("eth0", self.version(**ends) / tcp)


def measure(name):
    """Open the flows of a case in the kernel at their times; return time of the first failure [s], and which failed."""
    for attempt in range(TRIES - 1):
        with contextlib.suppress(BusyMachineError):
            return measure_once(name, attempt)
    return measure_once(name, TRIES)


@contextlib.contextmanager
def preferred():
    """Let other programs of a busy machine wait; where that is not allowed, go on as they do."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


@preferred()
def measure_once(name, seed):
    rng = random.Random(seed)
    kernel = recorder.Namespace(case_of(name))
    failed, first, waiting = [], None, []
    try:
        for key, seconds in TIMEOUTS.items():
            kernel.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{key}={seconds}")
        begin = time.monotonic()
        for number in range(FLOWS):
            due = begin + (number + 1) / RATE
            while waiting and waiting[0][0] <= due:
                at, flow = waiting.pop(0)
                time.sleep(max(at - time.monotonic(), 0))
                flow.close()
            time.sleep(max(due - time.monotonic(), 0))
            if time.monotonic() > due + LATE:
                raise BusyMachineError(f"flow {number} was {time.monotonic() - due:.2f} s late")
            flow = Flow(kernel, CASES[name], number, rng)
            if not flow.open():
                failed.append(number)
                first = first or time.monotonic() - begin
            elif CASES[name].proto == "tcp":
                waiting.append((due + CASES[name].hold, flow))
    finally:
        kernel.close()
    return first, failed


if __name__ == "__main__":
    made = {"made by": "PYTHONPATH=tests python -m kernel.exhaustion, Linux 6.18"}
    for name in CASES:
        first, failed = measure(name)
        made[name] = {"first_failure_time": first, "failed": len(failed), "flows": FLOWS}
        print(name, made[name])
    DATA.write_text(json.dumps(made, indent=1) + "\n")
