"""How full the port spaces of a real node are, out of its `conntrack -L` text.

A port space is what one NAT address can offer towards one destination: (NAT address, protocol, destination, port). Of a
connection they stand in its reply tuple, as destination, protocol, source and source port; its destination port is the
one that is taken.

Source: the search of nf_nat_l4proto_unique_tuple: windows of 128, 64, 32, 16 and 8 ports, each begun anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dump import Dump

FIRST, PORTS = 1024, 64512
WINDOWS = (128, 64, 32, 16, 8)
# share of the ports in use from which the kernel's search begins to fail, measured (see the README)
PAIN = 0.84


@dataclass
class PortSpace:
    """One port space: its connections, ports of 1024..65535 in use, connections in TIME_WAIT, and who has most of them.

    fails: the probability that a new connection whose own source port is random finds none; taken: bool[64512], which
    ports are in use.
    """

    address: str
    proto: str
    dst: str
    dport: int
    connections: int
    used: int
    time_wait: int
    fails: float
    sources: list[tuple[str, int]]
    taken: NDArray[np.bool_]

    @property
    def free(self) -> int:
        """Ports of 1024..65535 not in use."""
        return PORTS - self.used

    @property
    def occupancy(self) -> float:
        """Share of the ports in use."""
        return self.used / PORTS


def spaces_of(dump: Dump, rows: int = 20) -> list[PortSpace]:
    """Return the port spaces with most connections, the fullest first."""
    if dump.connections == dump.others:
        return []
    space, source = np.concatenate(dump.space), np.concatenate(dump.source)
    port, waits = np.concatenate(dump.port), np.concatenate(dump.waits)
    # connections of one space stand together
    order = np.argsort(space, kind="stable")
    together = space[order]
    begins = np.flatnonzero(np.concatenate([[True], together[1:] != together[:-1]]))
    names = together[begins]
    begins = np.append(begins, len(space))
    fullest = np.argsort(-np.diff(begins), kind="stable")[:rows]
    found = []
    for n in fullest:
        here = order[begins[n] : begins[n + 1]]
        holders, held = np.unique(source[here], return_counts=True)
        most = [(dump.sources[int(holders[k])], int(held[k])) for k in np.argsort(-held, kind="stable")[:3]]
        found.append(_space(dump.spaces[int(names[n])], port[here], int(waits[here].sum()), most))
    return found


def _space(name: str, ports: NDArray[np.uint16], time_wait: int, most: list[tuple[str, int]]) -> PortSpace:
    proto, far, *named = name.split(" ")
    near, far_port = (word.partition("=")[2] for word in named)
    taken = np.zeros(PORTS, np.bool_)
    taken[ports[ports >= FIRST].astype(np.int64) - FIRST] = True
    used = int(taken.sum())
    fails = used / PORTS * search_fails(taken)
    return PortSpace(near, proto, far, int(far_port), len(ports), used, time_wait, fails, most, taken)


def search_fails(taken: NDArray[np.bool_]) -> float:
    """Return the probability that the kernel's port search finds nothing.

    taken: bool[64512], which of the ports 1024..65535 are in use. Each window begins at a random 16-bit offset modulo
    64512, so the first 1024 ports are twice as likely as the others.
    """
    weights = np.ones(PORTS)
    weights[: 65536 - PORTS] = 2
    weights /= 65536
    around = np.concatenate([taken, taken[: WINDOWS[0]]]).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(around)])
    chance = 1.0
    for window in WINDOWS:
        full = sums[window : window + PORTS] - sums[:PORTS] == window
        chance *= float(weights[full].sum())
    return chance


def seconds_left(used: int, before: int, apart: float) -> float | None:
    """Return after how many seconds PAIN is reached if the ports in use go on growing as between two dumps."""
    growth = (used - before) / apart
    return max(PAIN * PORTS - used, 0) / growth if growth > 0 else None
