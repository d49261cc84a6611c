"""The Linux kernel: a namespace of its own, packets through TUN devices, cost above plain forwarding. Needs root."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from . import flow

MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
RULES = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"


def datagrams(src, dst, sport, dport=53):
    """Return UDP datagrams of 29 bytes, one for each element, with right IP checksums and none for UDP."""
    n = len(src)
    raw = np.zeros((n, 29), np.uint8)
    raw[:, 0], raw[:, 3], raw[:, 8], raw[:, 9], raw[:, 25] = 0x45, 29, 64, 17, 9
    for at, value, size in ((12, src, 4), (16, dst, 4), (20, sport, 2), (22, np.full(n, dport), 2)):
        for k in range(size):
            raw[:, at + k] = np.asarray(value, np.uint64) >> np.uint64(8 * (size - 1 - k)) & np.uint64(255)
    words = raw[:, :20].astype(np.uint32)
    total = (words[:, ::2] << 8 | words[:, 1::2]).sum(axis=1)
    total = (total >> 16) + (total & 0xFFFF)
    check = ~((total >> 16) + total) & 0xFFFF
    raw[:, 10], raw[:, 11] = check >> 8, check & 255
    return [row.tobytes() for row in raw]


class Kernel:
    """A router cni0 -> eth0; what leaves is thrown away."""

    def __init__(self, rules):
        from kernel import cases, recorder

        case = cases.Case("*filter\nCOMMIT\n", {"cni0": ["10.244.1.1/16"], "eth0": ["198.51.100.10/24"]},
                          ["default via 198.51.100.1 dev eth0"], list)  # fmt: skip
        self.space = recorder.Namespace(case)
        self.space.run("iptables-legacy", "-t", "raw", "-F")
        if rules:
            self.space.run("iptables-legacy-restore", text=rules)
        # nobody reads the device: a short queue drops at once
        subprocess.run(["ip", "-n", self.space.name, "link", "set", "eth0", "txqueuelen", "1"], check=True)

    def send(self, packets):
        """Return ns a packet."""
        fd, write = self.space.fds["cni0"], os.write
        start = time.perf_counter_ns()
        for data in packets:
            write(fd, data)
        return (time.perf_counter_ns() - start) / len(packets)

    def count(self):
        return int(self.space.run("conntrack", "-C"))

    def close(self):
        self.space.close()


@contextlib.contextmanager
def room_for(connections):
    """Raise nf_conntrack_max, which all namespaces share, for a while."""
    before = MAX.read_text()
    try:
        MAX.write_text(str(max(int(before), connections)))
        yield
    finally:
        MAX.write_text(before)


def one_destination(first, n):
    """Return datagrams of n clients with one source port to 192.0.2.1:53."""
    return datagrams(0x0AF40300 + first + np.arange(n), np.full(n, 0xC0000201), np.full(n, 40_000))


def figures(live, each, crowd):
    """Return ns above forwarding: new connection, established packet, new one where the ports are exhausted."""
    with room_for(live + each + 2 * crowd):
        return _figures(live, each, crowd)


def _figures(live, each, crowd):
    rng = np.random.default_rng(1)

    def some(numbers):
        src, dst, sport = flow(np.asarray(numbers))
        return datagrams(src, dst, sport)

    plain = Kernel("")
    try:
        base = min(plain.send(some(np.arange(n * each, (n + 1) * each))) for n in range(3))
    finally:
        plain.close()
    nat = Kernel(RULES)
    try:
        for start in range(0, live, each):
            nat.send(some(np.arange(start, start + each)))
        new = nat.send(some(np.arange(live, live + each))) - base
        assert nat.count() > 0.9 * live, f"the kernel holds {nat.count()} connections: raise nf_conntrack_max"
        old = nat.send(some(rng.integers(0, live, each))) - base
        nat.send(one_destination(0, crowd))
        full = nat.send(one_destination(crowd, 1024)) - base
    finally:
        nat.close()
    return new, old, full
