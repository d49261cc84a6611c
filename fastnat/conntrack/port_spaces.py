"""How full the port spaces of a real node are, out of its `conntrack -L` text.

A port space is the set of ports that one NAT address offers towards one destination: (NAT address, protocol,
destination, port). The reply tuple of a connection names it, as destination, protocol, source and source port; its
destination port is the port in use.

Source: the search of nf_nat_l4proto_unique_tuple: windows of 128, 64, 32, 16 and 8 ports, each from a random port on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dump import Dump

FIRST, PORTS = 1024, 64512
WINDOWS = (128, 64, 32, 16, 8)
# NF_NAT_HARDER_THRESH: the last probes of a window, in which a SYN may take over a closed connection's port
HARDER = 32
# share of the ports in use above which the kernel's search begins to fail, measured
PAIN = 0.84


@dataclass
class PortSpace:
    """One port space: its connections, ports of 1024..65535 in use, connections in TIME_WAIT, and who has most of them.

    translated: connections that came from another address; zone: of their replies.

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
    translated: int = 0
    zone: int = 0
    # of taken, those that a SYN may take over; None where none can be
    closing: NDArray[np.bool_] | None = None

    @property
    def name(self) -> Name:
        """The fields that identify it."""
        return Name(self.address, self.proto, self.dst, self.dport, self.zone)

    @property
    def free(self) -> int:
        """Ports of 1024..65535 not in use."""
        return PORTS - self.used

    @property
    def occupancy(self) -> float:
        """Share of the ports in use."""
        return self.used / PORTS


def spaces_of(dump: Dump, rows: int = 20, every: bool = False, profile: str = "linux-6.18") -> list[PortSpace]:
    """Return the port spaces with most connections, the fullest first; `fails` holds for one kernel.

    An address to which no connection is translated is no NAT address: its port spaces are left out unless `every`.
    """
    if dump.connections == dump.others:
        return []
    space, source = np.concatenate(dump.space), np.concatenate(dump.source)
    port, waits = np.concatenate(dump.port), np.concatenate(dump.waits)
    translated, closed = np.concatenate(dump.translated), np.concatenate(dump.closed)
    # connections of one space stand together
    order = np.argsort(space, kind="stable")
    together = space[order]
    begins = np.flatnonzero(np.concatenate([[True], together[1:] != together[:-1]]))
    names = together[begins]
    counts = np.add.reduceat(translated[order].astype(np.int64), begins)
    begins = np.append(begins, len(space))
    nat = None if every else {_text(dump, name).split(" ", 3)[2] for name in names[counts > 0]}
    found: list[PortSpace] = []
    for n in np.argsort(-np.diff(begins), kind="stable"):
        name = name_of(_text(dump, names[n]))
        if len(found) == rows:
            break
        if nat is not None and f"dst={name.address}" not in nat:
            continue
        here = order[begins[n] : begins[n + 1]]
        holders, held = np.unique(source[here], return_counts=True)
        most = [(dump.sources[int(holders[k])], int(held[k])) for k in np.argsort(-held, kind="stable")[:3]]
        taken = ports_of(port[here])
        used, waiting = int(taken.sum()), int(waits[here].sum())
        yields = name.proto == "tcp" and profile != "linux-5.4"
        closing = ports_of(port[here[closed[here] & translated[here]]]) if yields else None
        fails = used / PORTS * search_fails(taken, closing)
        figures = (len(here), used, waiting, fails, most, taken, int(counts[n]))
        found.append(PortSpace(name.address, name.proto, name.dst, name.dport, *figures, name.zone, closing))
    return found


def _text(dump: Dump, space: np.uint64) -> str:
    return dump.spaces[int(space)]


class Name(NamedTuple):
    """The fields that identify a port space."""

    address: str
    proto: str
    dst: str
    dport: int
    zone: int


def name_of(text: str) -> Name:
    """Return a port space as Dump.spaces names it: "proto X dst=Y sport=P zone=N"."""
    proto, far, *named = text.split(" ")
    near, far_port, zone = (word.partition("=")[2] for word in named)
    return Name(near, proto, far, int(far_port), int(zone))


def ports_of(numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return bool[64512], which of the ports 1024..65535 are among these."""
    there = np.zeros(PORTS, np.bool_)
    there[numbers[numbers >= FIRST].astype(np.int64) - FIRST] = True
    return there


def search_fails(taken: NDArray[np.bool_], closing: NDArray[np.bool_] | None = None) -> float:
    """Return the probability that the kernel's port search finds nothing.

    taken: bool[n], which of the ports that the search may give are in use, 64,512 where no rule names fewer. Each
    window begins at a random 16-bit offset modulo n, so the first ports are somewhat likelier than the others. closing:
    ports that a SYN may take over from a closed connection (linux-6.18), in the last 32 probes of each window, and only
    if its sequence number is newer than the old one. A dump does not show sequence numbers; they are independent, so
    half of the SYNs are newer.
    """
    size = len(taken)
    weights = np.full(size, 65536 // size, np.float64)
    weights[: 65536 % size] += 1
    weights /= 65536
    # windows as long as all ports, or shorter than 16, are the last ones
    windows = [size] if size <= WINDOWS[0] else list(WINDOWS)

    def around(ports: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(np.concatenate([ports, ports[: windows[0]]]).astype(np.int64))])

    sums = around(taken)
    yielding = None if closing is None else around(closing)
    chance = 1.0
    for window in windows:
        fails = (sums[window : window + size] - sums[:size] == window).astype(np.float64)
        if yielding is not None:
            hard = min(window, HARDER)
            fails *= 0.5 ** (yielding[window : window + size] - yielding[window - hard : window - hard + size])
        chance *= float((weights * fails).sum())
    return chance


def seconds_left(used: int, growth: float) -> float | None:
    """Return the seconds until all ports are in use at this growth [ports/s]; None if it does not grow."""
    return (PORTS - used) / growth if growth > 0 else None
