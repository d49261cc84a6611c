"""One side of a paired measurement: runs in an interpreter of its own, perhaps with another fastnat.

    python worker.py NODE IFACE PROFILE FIRST CLIENTS                then names of BLOCKS, answered with nanoseconds
    python worker.py NODE IFACE PROFILE FIRST CLIENTS NAME ROUNDS    runs so many rounds of one, for callgrind

It uses only what every fastnat has: Node, Engine, packets, process, process_packet. The node "" is the packaged one.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from numpy.random import default_rng

import fastnat

# small enough that no batch pauses by the clock
BATCH, ROUNDS, LIVE = 256, 32, 100_000
SEED = 1


class Side:
    """The engines of one side, and the flows that open and use their connections."""

    def __init__(self, node: str, iface: str, profile: str, first: int, clients: int) -> None:
        self.node = fastnat.Node.load(node, lenient=True) if node else fastnat.Node.example()
        self.iface, self.profile, self.first, self.clients = iface, profile, first, clients
        self.nat = fastnat.Engine(self.node, profile, SEED, max_connections=1 << 20)
        self.opened = 0
        while self.opened < LIVE:
            self.nat.process(self.fresh())
        self.rng = default_rng(SEED)
        self.crowded: Any = None
        self.taken = self.port = 0

    def flows(self, numbers: Any) -> Any:
        """Return the headers of flows, each with a source and destination of its own."""
        k = np.asarray(numbers, np.int64)
        src, dst = self.first + k % self.clients, 0xCB007100 + k % 60_000
        return self.nat.packets(
            proto="udp", src=src.astype(np.uint32), dst=dst.astype(np.uint32), sport=1024 + k // self.clients % 60_000,
            dport=53, iface=self.iface,
        )  # fmt: skip

    def fresh(self) -> Any:
        """Return a batch of flows that no one has opened."""
        self.opened += BATCH
        return self.flows(np.arange(self.opened - BATCH, self.opened))

    def known(self) -> Any:
        """Return a batch of flows that are open."""
        return self.flows(self.rng.integers(0, LIVE, BATCH))

    def new(self, rounds: int) -> int:
        """Open connections."""
        return self.spent(self.nat, [self.fresh() for _ in range(rounds)])

    def established(self, rounds: int) -> int:
        """Send packets of open connections."""
        return self.spent(self.nat, [self.known() for _ in range(rounds)])

    def search(self, rounds: int) -> int:
        """Open connections towards a destination where 99 % of the ports are taken by one client."""
        fields = {"proto": "udp", "dst": "192.0.2.1", "dport": 53, "iface": self.iface}
        if self.crowded is None:
            self.crowded = fastnat.Engine(self.node, self.profile, SEED, max_connections=1 << 18)
            ports = default_rng(2).permutation(np.arange(1024, 65536))[: 64_512 * 99 // 100]
            for part in np.array_split(ports, 300):
                self.crowded.process(self.crowded.packets(src=self.first, sport=part, **fields))
            self.port = int(ports[0])
        wanted = [1 + (self.taken + n) % (self.clients - 1) for n in range(rounds)]
        self.taken += rounds
        return self.spent(
            self.crowded, [self.crowded.packets(src=self.first + n, sport=self.port, **fields) for n in wanted]
        )

    def spent(self, nat: Any, batches: list[Any]) -> int:
        """Return the nanoseconds that batches take."""
        start = time.perf_counter_ns()
        for batch in batches:
            nat.process(batch)
        return time.perf_counter_ns() - start


# operations of a round
BLOCKS = {"new": BATCH, "established": BATCH, "search": 1}


def main() -> None:
    """Answer until the input ends."""
    node, iface, profile, first, clients, *rest = sys.argv[1:]
    side = Side(node, iface, profile, int(first), int(clients))
    if rest:
        getattr(side, rest[0])(int(rest[1]))
        return
    print("ready", fastnat.__version__, flush=True)
    for line in sys.stdin:
        name = line.strip()
        print(getattr(side, name)(ROUNDS) / (ROUNDS * BLOCKS[name]), flush=True)


if __name__ == "__main__":
    main()
