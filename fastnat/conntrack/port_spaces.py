"""How full the port spaces of a real node are, out of its `conntrack -L` text.

A port space is the set of ports that one NAT address offers towards one destination: (NAT address, protocol,
destination, port). The reply tuple of a connection names it, as destination, protocol, source and source port; its
destination port is the port in use.

Source: the search of nf_nat_l4proto_unique_tuple: windows of 128, 64, 32, 16 and 8 ports, each from a random port on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .dump import Dump, Entries, Name

FIRST, PORTS = 1024, 64512
WINDOWS = (128, 64, 32, 16, 8)
# NF_NAT_HARDER_THRESH: the last probes of a window, in which a SYN may take over a closed connection's port
HARDER = 32
# share of the ports in use above which the kernel's search begins to fail, measured
PAIN = 0.84
# port spaces among which those of few ports are looked for
MOST_LOOKED_AT = 1000
# what is not worth working out
UNLIKELY = 1e-6


@dataclass
class PortSpace:
    """One port space, its connections, and those of them that came from another address; zone: of their replies.

    All else is worked out when it is asked for: a dump may have a port space for each of its lines. here: which entries
    are its own; yields: whether a SYN may take over the port of a closed connection. window: the first and the last of
    its ports, those of the rules where they name fewer than 1024..65535.
    """

    address: str
    proto: str
    dst: str
    dport: int
    zone: int
    connections: int
    translated: int
    entries: Entries = field(repr=False)
    here: NDArray[np.int64] = field(repr=False)
    yields: bool = False
    window: tuple[int, int] = (FIRST, FIRST + PORTS - 1)

    @property
    def name(self) -> Name:
        """The fields that identify it."""
        return Name(self.address, self.proto, self.dst, self.dport, self.zone)

    @property
    def taken(self) -> NDArray[np.bool_]:
        """bool[ports], which of its ports are in use: bool[64512] of 1024..65535 where no rule names fewer."""
        return self.within(self.every_port())

    @property
    def closing(self) -> NDArray[np.bool_] | None:
        """Of `taken`, those that a SYN may take over; None where none can be."""
        closing = self.every_closing()
        return None if closing is None else self.within(closing)

    def within(self, every: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return what of bool[65536] stands for its ports."""
        return every[self.window[0] : self.window[1] + 1]

    @property
    def ports(self) -> int:
        """How many ports it has."""
        return self.window[1] - self.window[0] + 1

    def every_port(self) -> NDArray[np.bool_]:
        """Return bool[65536], which ports are in use: rules may name those below 1024, too."""
        return ports_of(self.entries.records["port"][self.here])

    def every_closing(self) -> NDArray[np.bool_] | None:
        """Return which of every_port() a SYN may take over; None where none can be."""
        if not self.yields:
            return None
        closed = self.entries.records["closed"][self.here] & self.entries.records["translated"][self.here]
        return ports_of(self.entries.records["port"][self.here[closed]])

    @cached_property
    def used(self) -> int:
        """Its ports in use."""
        ports = self.entries.records["port"][self.here]
        return len(np.unique(ports[(ports >= self.window[0]) & (ports <= self.window[1])]))

    @property
    def time_wait(self) -> int:
        """Connections in TIME_WAIT."""
        return int(self.entries.records["waits"][self.here].sum())

    @cached_property
    def fails(self) -> float:
        """The probability that a new connection whose own source port is random finds none; 0 if below a millionth."""
        if self.ports != PORTS:
            # the client's own port is hardly among them
            return search_fails(self.taken, self.closing)
        # however they lie
        if at_most(self.used) < UNLIKELY:
            return 0.0
        return self.used / PORTS * search_fails(self.taken, self.closing)

    @cached_property
    def sources(self) -> list[tuple[str, int]]:
        """The three addresses with most connections, and how many each has."""
        holders, held = np.unique(self.entries.records["source"][self.here], return_counts=True)
        most = np.argsort(-held, kind="stable")[:3]
        return [(self.entries.address(int(holders[k])), int(held[k])) for k in most]

    @property
    def free(self) -> int:
        """Its ports not in use."""
        return self.ports - self.used

    @property
    def occupancy(self) -> float:
        """Share of the ports in use."""
        return self.used / self.ports


def in_windows(every: NDArray[np.bool_], windows: set[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
    """Return the windows of rules in which some ports are in use, and how many; none if most ports lie elsewhere.

    every: bool[65536], which ports are in use. The fullest stands first, and any ports, 1024..65535, are no window: who
    may have any has few of them in the windows of others.
    """
    named = np.array(sorted(windows - {(FIRST, FIRST + PORTS - 1)}), np.int64).reshape(-1, 2)
    if not len(named):
        return []
    first, behind = named[:, 0], named[:, 1] + 1
    sums, depth = np.append(0, np.cumsum(every)), np.zeros(FIRST + PORTS + 1, np.int64)
    np.add.at(depth, first, 1)
    np.add.at(depth, behind, -1)
    inside = int((every & (np.cumsum(depth)[:-1] > 0)).sum())
    used = sums[behind] - sums[first]
    if 2 * inside < sums[-1]:
        return []
    fullest = np.lexsort((first, -used / (behind - first)))
    return [((int(first[k]), int(behind[k]) - 1), int(used[k])) for k in fullest if used[k]]


def narrowed(space: PortSpace, windows: set[tuple[int, int]]) -> PortSpace:
    """Return a port space with the ports that a rule names, if most of those in use are such ones.

    windows: the first and last ports that rules name. Of several the fullest is taken, with the connections that have
    its ports.
    """
    found = in_windows(space.every_port(), windows)
    if not found:
        return space
    (first, last), _ = found[0]
    ports = space.entries.records["port"][space.here]
    here = space.here[(ports >= first) & (ports <= last)]
    translated = int(space.entries.records["translated"][here].sum())
    return replace(space, window=(first, last), here=here, connections=len(here), translated=translated)


def spaces_of(dump: Dump, rows: int = 20, every: bool = False, profile: str = "linux-6.18") -> list[PortSpace]:
    """Return the port spaces with most ports in use, the fullest first; `fails` holds for one kernel.

    An address to which no connection is translated is no NAT address: its port spaces are left out unless `every`.
    """
    return list(islice(each_space(dump, every, profile), rows))


def each_space(
    dump: Dump, every: bool = False, profile: str = "linux-6.18", by_connections: bool = False
) -> Iterator[PortSpace]:
    """Yield what spaces_of returns, one at a time: those with most ports in use first, or with most connections."""
    if dump.connections == dump.others:
        return
    entries = dump.entries()
    # connections of one space stand together, and in it those of one port
    keys = entries.records["space"].astype(np.int64) << 16 | entries.records["port"]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    together, first = keys >> 16, np.concatenate([[True], keys[1:] != keys[:-1]]) & ((keys & 0xFFFF) >= FIRST)
    begins = np.flatnonzero(np.concatenate([[True], together[1:] != together[:-1]]))
    spaces, near = together[begins], entries.nat_addresses()
    counts = np.add.reduceat(entries.records["translated"][order].astype(np.int64), begins)
    shown = np.ones(len(spaces), np.bool_)
    if not every:
        shown = np.isin(near[spaces], near[spaces[counts > 0]])
    used = np.add.reduceat(first.astype(np.int64), begins)
    begins = np.append(begins, len(order))
    sizes = np.diff(begins)
    for n in np.lexsort((-sizes,) if by_connections else (-sizes, -used)).tolist():
        if not shown[n]:
            continue
        name = entries.name_of(int(spaces[n]))
        here = order[begins[n] : begins[n + 1]]
        yields = name.proto == "tcp" and profile != "linux-5.4"
        yield PortSpace(*name, len(here), int(counts[n]), entries, here, yields)


def ports_of(numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return bool[65536], which ports are among these."""
    there = np.zeros(FIRST + PORTS, np.bool_)
    there[numbers] = True
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


def at_most(used: int) -> float:
    """Return what `fails` is at most for this number of ports in use, however they lie.

    A window of n ports is full at no more than used - n + 1 of its 64,512 beginnings; each is one or two of 65,536.
    """
    chance = used / PORTS
    for window in WINDOWS:
        chance *= min(2 * max(used - window + 1, 0) / 65536, 1)
    return chance


def seconds_left(free: int, growth: float) -> float | None:
    """Return the seconds until no port is free at this growth [ports/s]; None if it does not grow."""
    return free / growth if growth > 0 else None
