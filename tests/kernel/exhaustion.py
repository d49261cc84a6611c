"""Exhaustion at a small scale in the running kernel: a range of ports, short timeouts, flows at their times.

`PYTHONPATH=tests python -m kernel.exhaustion` (root) writes tests/data/exhaustion-small-6.18.json.
"""

import json
import random
import time
from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP

from fastnat.exhaustion import Workload
from kernel import cases, recorder

DATA = Path(__file__).parents[1] / "data" / "exhaustion-small-6.18.json"
SERVER, NODE = "203.0.113.10", "198.51.100.10"
INTERFACES = {"cni0": ["10.244.1.1/16"], "eth0": ["198.51.100.10/24"]}
RATE, FLOWS = 100.0, 800
# name: protocol, ports, seconds that a flow is open
CASES = {
    "udp-100": ("udp", 100, None), "udp-300": ("udp", 300, None), "tcp-100": ("tcp", 100, 0.2),
    "tcp-100-long": ("tcp", 100, 0.9), "tcp-300-long": ("tcp", 300, 2.8),
}  # fmt: skip
TIMEOUTS = {"udp_timeout": 4, "tcp_timeout_time_wait": 4}


def rules(ports):
    each = "".join(
        f"-A POSTROUTING -s 10.244.0.0/16 -o eth0 -p {p} -j MASQUERADE --to-ports 2000-{1999 + ports}\n"
        for p in ("udp", "tcp")
    )
    return f"*nat\n{each}COMMIT\n"


def case_of(name):
    return cases.Case(rules(CASES[name][1]), INTERFACES, cases.ROUTES, None)


def workload(name):
    return Workload(((SERVER, 80),), CASES[name][0], FLOWS, rate=RATE, hold=CASES[name][2])


def node_of(name):
    node = case_of(name).node()
    node.sysctls.update({f"net.netfilter.nf_conntrack_{k}": str(v) for k, v in TIMEOUTS.items()})
    return node


class Flow:
    """One flow: its packets out of the client and back from the server, as the node's port lets them find home."""

    def __init__(self, kernel, proto, number, rng):
        self.kernel, self.proto, self.port = kernel, proto, 0
        self.there = IP(src=f"10.244.{2 + number // 250}.{number % 250 + 2}", dst=SERVER)
        self.isn = rng.randrange(1 << 32)

    def open(self):
        l4 = TCP(sport=40000, dport=80, flags="S", seq=self.isn) if self.proto == "tcp" else UDP(sport=40000, dport=80)
        came = self.kernel.pass_packet("cni0", bytes(self.there / l4), wait=0.003)
        if came is None:
            return False
        self.port = IP(came[1]).sport
        if self.proto == "tcp":
            self.back("SA", 1000, 1)
            self.out("A", 1, 1001)
        return True

    def close(self):
        self.out("FA", 1, 1001)
        self.back("FA", 1001, 2)
        self.out("A", 2, 1002)

    def out(self, flags, seq, ack):
        tcp = TCP(sport=40000, dport=80, flags=flags, seq=self.isn + seq & 0xFFFFFFFF, ack=ack)
        self.kernel.pass_packet("cni0", bytes(self.there / tcp), wait=0.003)

    def back(self, flags, seq, ack):
        tcp = TCP(sport=80, dport=self.port, flags=flags, seq=seq, ack=self.isn + ack & 0xFFFFFFFF)
        self.kernel.pass_packet("eth0", bytes(IP(src=SERVER, dst=NODE) / tcp), wait=0.003)


def measure(name, seed=0):
    """Open the flows of a case in the kernel at their times; return time of the first failure [s], and which failed."""
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
            flow = Flow(kernel, CASES[name][0], number, rng)
            if not flow.open():
                failed.append(number)
                first = first or time.monotonic() - begin
            elif CASES[name][0] == "tcp":
                waiting.append((due + CASES[name][2], flow))
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
