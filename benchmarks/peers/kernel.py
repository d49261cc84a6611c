"""The Linux kernel: a namespace of its own, packets through TUN devices, cost above plain forwarding. Needs root."""

import contextlib
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from workloads import BATCH

from . import NAT, NAT6, SERVER, flow, rules

MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
INTERFACES = {
    4: {"cni0": ["10.244.1.1/16"], "eth0": ["198.51.100.10/24"]},
    6: {"cni0": ["2001:db8:a::1/64"], "eth0": ["2001:db8:b::1/64"]},
}
ROUTES = {4: ["default via 198.51.100.1 dev eth0"], 6: ["default via 2001:db8:b::fe dev eth0"]}
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10


def octets(values, size):
    """Return numbers in network order, a row of so many octets for each."""
    return np.ascontiguousarray(values).astype(f">u{size}").view(np.uint8).reshape(-1, size)


def complement(*parts):
    """Return the octets of the checksum over rows of octets, as many of them as are even."""
    total = sum(part.view(">u2").astype(np.uint32).sum(axis=1) for part in map(np.ascontiguousarray, parts))
    for _ in range(2):
        total = (total >> 16) + (total & 0xFFFF)
    return octets(~total & 0xFFFF, 2)


def datagrams(src, dst, sport, dport, segment=None):
    """Return datagrams of UDP with an octet and no checksum, or of TCP; one for each element, as bytes.

    src, dst: addresses as rows of four or of 16 octets. segment: flags, sequence number, acknowledgement of TCP.
    """
    n, four = len(src), src.shape[1] == 4
    at, size = (20 if four else 40), (20 if segment else 9)
    raw = np.zeros((n, at + size), np.uint8)
    if four:
        raw[:, 0], raw[:, 3], raw[:, 8], raw[:, 9] = 0x45, at + size, 64, 6 if segment else 17
    else:
        raw[:, 0], raw[:, 5], raw[:, 6], raw[:, 7] = 0x60, size, 6 if segment else 17, 64
    ends = raw[:, at - 2 * src.shape[1] : at]
    ends[:] = np.hstack([src, dst])
    raw[:, at : at + 2], raw[:, at + 2 : at + 4] = octets(sport, 2), octets(np.full(n, dport), 2)
    if segment:
        flags, seq, ack = segment
        raw[:, at + 4 : at + 8], raw[:, at + 8 : at + 12] = octets([seq], 4), octets([ack], 4)
        raw[:, at + 12], raw[:, at + 13], raw[:, at + 14 : at + 16] = 0x50, flags, 255
        pseudo = np.full((n, 2), (0, 6 + size), np.uint8)
        raw[:, at + 16 : at + 18] = complement(ends, raw[:, at:], pseudo)
    else:
        raw[:, at + 5] = size
    if four:
        raw[:, 10:12] = complement(raw[:, :20])
    return [row.tobytes() for row in raw]


def addresses(first, numbers):
    """Return addresses from the first one on as rows of octets; of IPv6 the lower half counts."""
    if first < 2**32:
        return octets(first + numbers, 4)
    return np.hstack([octets(np.full(len(numbers), first >> 64), 8), octets((first & 2**64 - 1) + numbers, 8)])


def packets(kind, numbers, segment=None):
    """Return a packet of each of the flows with these numbers."""
    k = np.asarray(numbers)
    client = k % 60_000
    _, _, sport = flow(k, replace(kind, src=0, dst=0))
    return datagrams(addresses(kind.src, client), addresses(kind.dst, client * kind.spread), sport, kind.dport, segment)


class Kernel:
    """A router between cni0 and eth0; what leaves is thrown away."""

    def __init__(self, kind, text):
        from kernel import cases, recorder

        self.kind, family = kind, 6 if kind.src > 2**32 else 4
        tables = "iptables-legacy" if family == 4 else "ip6tables-legacy"
        case = cases.Case("*filter\nCOMMIT\n", INTERFACES[family], ROUTES[family], list, family=family)
        self.space = recorder.Namespace(case)
        self.space.run(tables, "-t", "raw", "-F")
        if text:
            self.space.run(f"{tables}-restore", text=text)
        # nobody reads the devices: a short queue drops at once
        for iface in INTERFACES[family]:
            subprocess.run(["ip", "-n", self.space.name, "link", "set", iface, "txqueuelen", "1"], check=True)

    def send(self, packets, iface=None):
        """Return ns a packet, the median of batches, as of the other peers: others who use the machine count less."""
        fd, write, spent = self.space.fds[iface or self.kind.iface], os.write, []
        for at in range(0, len(packets), BATCH):
            batch = packets[at : at + BATCH]
            start = time.perf_counter_ns()
            for data in batch:
                write(fd, data)
            spent.append((time.perf_counter_ns() - start) / len(batch))
        return float(np.median(spent))

    def open(self, numbers):
        """Open the flows with these numbers; return ns of a first packet."""
        if self.kind.proto == "udp":
            return self.send(packets(self.kind, numbers))
        # all keep their ports, as each has a destination of its own
        k = np.asarray(numbers)
        nat = NAT6 if self.kind.src > 2**32 else NAT
        answer = datagrams(
            addresses(self.kind.dst, k % 60_000), addresses(nat, 0 * k),
            np.full(len(k), self.kind.dport), flow(k)[2], (SYN_ACK, 5000, 1001),
        )  # fmt: skip
        ns = self.send(packets(self.kind, k, (SYN, 1000, 0)))
        self.send(answer, "eth0")
        self.send(packets(self.kind, k, (ACK, 1001, 5001)))
        return ns

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
    k = np.arange(first, first + n)
    return datagrams(addresses(0x0AF40300, k), addresses(0xC0000201, 0 * k), np.full(n, 40_000), 53)


def figures(kind, live, each, crowd):
    """Return ns above forwarding: new connection, established packet, with a crowd a new one without free ports."""
    with room_for(live + each + 2 * crowd + 1024):
        return _figures(kind, live, each, crowd)


def _figures(kind, live, each, crowd):
    rng = np.random.default_rng(1)
    segment = (ACK, 1001, 5001) if kind.proto == "tcp" else None
    # what is not translated would be the node's own
    forwarded = replace(kind, dst=SERVER) if kind.dst == NAT else kind
    plain = Kernel(kind, "")
    try:
        base = min(plain.send(packets(forwarded, np.arange(n * each, (n + 1) * each), segment)) for n in range(3))
    finally:
        plain.close()
    nat = Kernel(kind, rules(kind))
    try:
        for start in range(0, live, each):
            nat.open(np.arange(start, min(start + each, live)))
        first = packets(kind, np.arange(live, live + each), (SYN, 1000, 0) if segment else None)
        found = [nat.send(first) - base]
        assert nat.count() > 0.9 * live, f"the kernel holds {nat.count()} connections: raise nf_conntrack_max"
        assert not nat.space.stats()["invalid"], "packets of the benchmark are invalid"
        found.append(nat.send(packets(kind, rng.integers(0, live, each), segment)) - base)
        if crowd:
            nat.send(one_destination(0, crowd))
            found.append(nat.send(one_destination(crowd, 1024)) - base)
    finally:
        nat.close()
    return tuple(found)
