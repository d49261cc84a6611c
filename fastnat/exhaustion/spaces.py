"""The port spaces that a run fills: one for each NAT address and destination, and how many of its ports are in use.

Where rules give clients different ports of one address, as a carrier does for its subscribers, each of these ranges is
a space of its own. Of a connection its space stands in the reply tuple: NAT address, protocol, destination, zone; the
port in use is the reply's destination port. Spaces are those of the run's own flows; whatever else the table holds in
them counts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family, end_text
from ..conntrack.port_spaces import in_windows, ports_of
from ..dtypes import PROTOCOLS, Reason, records_of
from ..engine import Engine
from ..util.mixing import ends_of, folded, scrambled
from .source_nat import ANY, PortWindows, Window
from .workload import Workload, shares_of

# spaces that ran out, of which an outcome keeps the worst
MOST_NAMED = 8
# (NAT address, destination, its port, zone) as the table names a space, and with the first and the last port
Place = tuple[int, int, int, int]
Key = tuple[int, int, int, int, int, int]
# (NAT address, destination, its port)
Ends = tuple[int, int, int]
# (NAT address, first port, last port)
Range = tuple[int, int, int]
# ranges that are told apart, and clients of whom it is remembered which they have
MOST_RANGES, MOST_CLIENTS = 1000, 1_000_000


@dataclass(frozen=True)
class Space:
    """A port space: `used` ports at the most; `failed` flows found none in it."""

    address: str
    proto: str
    dst: str
    dport: int
    zone: int = 0
    used: int = 0
    failed: int = 0

    @property
    def name(self) -> str:
        """Who has its ports, and towards where."""
        zone = f" in zone {self.zone}" if self.zone else ""
        return f"{self.address} to {self.proto} {end_text(self.dst, self.dport)}{zone}"


class Spaces:
    """The port spaces of one run."""

    def __init__(self, engine: Engine, proto: str, family: Family) -> None:
        self.engine, self.proto, self.family = engine, proto, family
        self.windows = PortWindows(engine.node)
        self.addresses: set[int] = set()
        self.ends: set[int] = set()
        # the most ports in use
        self.most: dict[Key, int] = {}
        # spaces of the table as one number each: all that were looked at, and those of this run
        self.looked_at = np.zeros(0, np.uint64)
        self.own: dict[int, Place] = {}
        # where rules give several ranges of ports: whose flows want which
        self.wanted = Wanted(self)

    @property
    def window(self) -> Window | None:
        """The first and last port of every space of this run; None where rules give some other ones than others."""
        addresses: list[int | None] = [*self.addresses] or [None]
        found = {window for address in addresses for window in self.windows_of(address)}
        return found.pop() if len(found) == 1 else None

    def windows_of(self, address: int | None) -> set[Window]:
        """Return the first and last ports that rules give an address; None: any address."""
        return self.windows.of(self.family, self.proto, address) or {ANY}

    @property
    def ports(self) -> int:
        """The ports of all NAT addresses of this run towards one destination, as far as it has used them."""
        if window := self.window:
            return len(self.addresses) * _size(*window)
        spaces = {(address, first, last) for address, _, _, _, first, last in self.most}
        return sum(_size(first, last) for _, first, last in spaces)

    @property
    def size(self) -> int:
        """The ports of a space, of several the fullest."""
        fullest = self.fullest_key()
        return _size(*(fullest[4:] if fullest else self.window or ANY))

    def of_these(self, out: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which RESULT[n] have a NAT address of this run as their source."""
        own = np.array([self.family.pack(a) for a in self.addresses], out.dtype["src"])
        return np.isin(folded(out["src"]), folded(own))

    def busiest_named(self, work: Workload) -> float | None:
        """Return the share of the flows that go to the busiest destination that is translated towards.

        None where rules have given flows another destination than the workload names: then a run has to show it.
        """
        shares = shares_of(work)
        ends = np.array([self.family.pack(a) for a, _ in shares], records_of(self.family).ADDR)
        named = ends_of(ends, np.array([port for _, port in shares], np.uint16)).tolist()
        there = [share for end, share in zip(named, shares.values(), strict=True) if end in self.ends]
        return max(there) if len(there) == len(self.ends) and there else None

    def demanded(self, work: Workload, expected: float) -> float:
        """Return what is expected of the busiest destination, as a share of its port spaces."""
        share, addresses = self.busiest_named(work), max(len(self.addresses), 1)
        if len({key[4:] for key in self.most}) > 1:
            fullest = self.fullest_key()
            part = self.wanted.share_of((fullest[0], *fullest[4:])) if fullest else None
            # which of the ranges flows want whose client never had a port is not known
            return expected * part * share / self.size if part is not None and share is not None else 0.0
        if share is None:
            # of each address and destination what it had at the most
            share, addresses = max(self.most.values(), default=0) / max(sum(self.most.values()), 1), 1
        return expected * share / addresses / self.size

    def note(self, out: NDArray[Any], translated: NDArray[np.bool_], clients: NDArray[Any]) -> None:
        """Remember the spaces of first packets: RESULT[n], which of them got another source, and whose they are."""
        before = len(self.addresses), len(self.ends)
        self.addresses.update(map(self.family.unpack, np.unique(out["src"][translated])))
        self.ends.update(np.unique(ends_of(out["dst"][translated], out["dport"][translated])).tolist())
        if before != (len(self.addresses), len(self.ends)):
            self.looked_at = self.looked_at[:0]
        self.wanted.note(out, translated, clients)

    def count(self) -> float:
        """Count the ports in use now; return the share of the fullest space."""
        if not self.addresses:
            return 0.0
        core, window = self.engine.core_of(self.family.version), self.window
        first, last = window or (0, ANY[1])
        conns = core.arrays["conns"][: core.high_water]
        reply = conns["tuples"][:, 1]
        there = (conns["flags"] != 0) & (reply["dport"] >= first) & (reply["dport"] <= last)
        there &= reply["proto"] == PROTOCOLS[self.proto]
        # of all records, as NumPy is slow to pick some
        ends = ends_of(reply["src"], reply["sport"])
        keys = scrambled(folded(reply["dst"]) << np.uint64(16) | reply["zone"]) ^ ends
        keys = keys[there]
        found, used = np.unique(keys, return_counts=True)
        if not np.isin(found, self.looked_at).all():
            self.look_at(keys, reply[there], ends[there])
        mine = np.isin(found, np.array(list(self.own), np.uint64))
        most, ports, behind = 0.0, reply["dport"][there], np.cumsum(used)
        # those of one space together
        order = np.argsort(keys, kind="stable") if window is None else np.zeros(0, np.int64)
        for k in np.flatnonzero(mine).tolist():
            place, n = self.own[int(found[k])], int(used[k])
            here = ports[order[behind[k] - n : behind[k]]]
            for (low, high), taken in [(window, n)] if window else self.in_use(place[0], here):
                key = (*place, low, high)
                self.most[key] = max(self.most.get(key, 0), taken)
                most = max(most, taken / _size(low, high))
        return most

    def in_use(self, address: int, ports: NDArray[np.uint16]) -> list[tuple[Window, int]]:
        """Return where ports of an address that are in use lie, by what rules give, and how many they are."""
        every = ports_of(ports)
        return in_windows(every, self.windows_of(address)) or [(ANY, int(every[ANY[0] :].sum()))]

    def look_at(self, keys: NDArray[np.uint64], reply: NDArray[Any], ends: NDArray[np.uint64]) -> None:
        """Find out which of the spaces of a table are those of this run."""
        self.looked_at, first = np.unique(keys, return_index=True)
        reply, ends = reply[first], ends[first]
        own = np.array([self.family.pack(a) for a in self.addresses], reply.dtype["dst"])
        mine = np.isin(folded(reply["dst"]), folded(own)) & np.isin(ends, np.array(sorted(self.ends), np.uint64))
        self.own = {
            key: (self.family.unpack(t["dst"]), self.family.unpack(t["src"]), int(t["sport"]), int(t["zone"]))
            for key, t in zip(self.looked_at[mine].tolist(), reply[mine], strict=True)
        }

    def note_lost(self, out: NDArray[Any], counted: dict[Ends, int]) -> None:
        """Count flows that found no port, out of the RESULT[n] of dropped ones."""
        lost = out[out["reason"] == Reason.CLASH]
        if not len(lost):
            return
        keys = scrambled(folded(lost["src"])) ^ ends_of(lost["dst"], lost["dport"])
        _, at, failed = np.unique(keys, return_index=True, return_counts=True)
        for k, n in zip(at.tolist(), failed.tolist(), strict=True):
            ends = (self.family.unpack(lost["src"][k]), self.family.unpack(lost["dst"][k]), int(lost["dport"][k]))
            counted[ends] = counted.get(ends, 0) + n

    def fullest(self) -> Space | None:
        """Return the space that was fullest at any count."""
        key = self.fullest_key()
        return self.space(key, 0) if key else None

    def fullest_key(self) -> Key | None:
        """Return the key of the space that was fullest at any count, of several the one with most ports in use."""
        return max(self.most, key=lambda key: (self.share_of(key), self.most[key]), default=None)

    def share_of(self, key: Key) -> float:
        """Return the share of a space's ports that was in use at the most."""
        return self.most[key] / _size(*key[4:])

    def space(self, key: Key, failed: int) -> Space:
        """Return a space by its key."""
        address, dst, dport, zone, *_ = key
        used, text = self.most.get(key, 0), self.family.to_text
        return Space(text(address), self.proto, text(dst), dport, zone, used, failed)

    def ran_out(self, lost: dict[Ends, int]) -> list[Space]:
        """Return the spaces in which most flows found no port; at most MOST_NAMED."""
        found = []
        for ends in sorted(lost, key=lambda k: (-lost[k], k))[:MOST_NAMED]:
            # of an address and destination in several zones the fullest: a lost packet does not say its zone
            spaces = [key for key in self.most if key[:3] == ends]
            key = max(spaces, key=self.share_of, default=(*ends, 0, *ANY))
            found.append(self.space(key, lost[ends]))
        return found


class Wanted:
    """How many flows want each range of ports of an address, where rules give several: a client keeps its own."""

    def __init__(self, spaces: Spaces) -> None:
        self.spaces = spaces
        given = sorted(spaces.windows.of(spaces.family, spaces.proto) - {ANY})
        apart = all(low[1] < high[0] for low, high in pairwise(given))
        self.windows = given if apart and 1 < len(given) <= MOST_RANGES else []
        self.first, self.last = (np.array(ends, np.int64) for ends in zip(*self.windows or [ANY], strict=True))
        self.flows = self.unknown = 0
        self.of_range: dict[Range, int] = {}
        # of each client by its address, and the other way round: (NAT address, range)
        self.had: dict[int, Range] = {}

    def note(self, out: NDArray[Any], translated: NDArray[np.bool_], clients: NDArray[Any]) -> None:
        """Count first packets: RESULT[n], which of them got another source, and whose they are."""
        if not self.windows:
            return
        self.flows += len(out)
        lost = out["reason"] == Reason.CLASH
        ports = out["sport"].astype(np.int64)
        at = np.clip(np.searchsorted(self.first, ports, "right") - 1, 0, None)
        within = translated & ~lost & (ports >= self.first[at]) & (ports <= self.last[at])
        keys, pack = folded(clients), self.spaces.family.unpack
        found, first, counts = np.unique(
            np.stack((keys[within], folded(out["src"][within]), at[within].astype(np.uint64))),
            axis=1, return_index=True, return_counts=True,
        )  # fmt: skip
        sources = out["src"][within]
        for k, n in zip(range(found.shape[1]), counts.tolist(), strict=True):
            wants = (pack(sources[first[k]]), *self.windows[int(found[2, k])])
            self.of_range[wants] = self.of_range.get(wants, 0) + n
            if len(self.had) < MOST_CLIENTS:
                self.had[int(found[0, k])] = wants
        for client, n in zip(*(a.tolist() for a in np.unique(keys[lost], return_counts=True)), strict=True):
            if client in self.had:
                self.of_range[self.had[client]] += n
            else:
                self.unknown += n

    def share_of(self, wants: Range) -> float | None:
        """Return the share of all flows that want a range of ports of an address; None if that is not known."""
        return self.of_range[wants] / self.flows if wants in self.of_range and not self.unknown else None


def _size(first: int, last: int) -> int:
    return last - first + 1
