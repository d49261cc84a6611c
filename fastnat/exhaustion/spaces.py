"""The port spaces that a run fills: one for each NAT address and destination, and how many of its ports are in use.

Of a connection its space stands in the reply tuple: NAT address, protocol, destination, zone; the port in use is the
reply's destination port. Spaces are those of the run's own flows; whatever else the table holds in them counts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family, end_text
from ..dtypes import PROTOCOLS, Reason, records_of
from ..engine import Engine
from ..util.mixing import ends_of, folded, scrambled
from .source_nat import ANY, port_windows
from .workload import Workload, shares_of

# spaces that ran out, of which an outcome keeps the worst
MOST_NAMED = 8
Key = tuple[int, int, int, int]
# (NAT address, destination, its port)
Ends = tuple[int, int, int]


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


def window_of(engine: Engine, proto: str, family: Family) -> tuple[int, int]:
    """Return the first and last port that SNAT gives: those of the rules where all of them name the same ones."""
    windows = port_windows(engine.node, family, proto)
    return windows.pop() if len(windows) == 1 else ANY


class Spaces:
    """The port spaces of one run."""

    def __init__(self, engine: Engine, proto: str, family: Family) -> None:
        self.engine, self.proto, self.family = engine, proto, family
        self.first, self.last = window_of(engine, proto, family)
        self.addresses: set[int] = set()
        self.ends: set[int] = set()
        # (NAT address, destination, its port, zone): the most ports in use
        self.most: dict[Key, int] = {}
        # spaces of the table as one number each: all that were looked at, and those of this run
        self.looked_at = np.zeros(0, np.uint64)
        self.own: dict[int, Key] = {}

    @property
    def size(self) -> int:
        """The ports of a space."""
        return self.last - self.first + 1

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
        if share is None:
            # of each address and destination what it had at the most
            share, addresses = max(self.most.values(), default=0) / max(sum(self.most.values()), 1), 1
        return expected * share / addresses / self.size

    def note(self, out: NDArray[Any], translated: NDArray[np.bool_]) -> None:
        """Remember the spaces of first packets: RESULT[n], and which of them got another source."""
        before = len(self.addresses), len(self.ends)
        self.addresses.update(map(self.family.unpack, np.unique(out["src"][translated])))
        self.ends.update(np.unique(ends_of(out["dst"][translated], out["dport"][translated])).tolist())
        if before != (len(self.addresses), len(self.ends)):
            self.looked_at = self.looked_at[:0]

    def count(self) -> int:
        """Count the ports in use now; return those of the fullest space."""
        if not self.addresses:
            return 0
        core = self.engine.core_of(self.family.version)
        conns = core.arrays["conns"][: core.high_water]
        reply = conns["tuples"][:, 1]
        there = (conns["flags"] != 0) & (reply["dport"] >= self.first) & (reply["dport"] <= self.last)
        there &= reply["proto"] == PROTOCOLS[self.proto]
        # of all records, as NumPy is slow to pick some
        ends = ends_of(reply["src"], reply["sport"])
        keys = scrambled(folded(reply["dst"]) << np.uint64(16) | reply["zone"]) ^ ends
        keys = keys[there]
        found, used = np.unique(keys, return_counts=True)
        if not np.isin(found, self.looked_at).all():
            self.look_at(keys, reply[there], ends[there])
        mine = np.isin(found, np.array(list(self.own), np.uint64))
        for number, n in zip(found[mine].tolist(), used[mine].tolist(), strict=True):
            key = self.own[number]
            self.most[key] = max(self.most.get(key, 0), n)
        return int(used[mine].max(initial=0))

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
        if not self.most:
            return None
        key = max(self.most, key=lambda k: self.most[k])
        return self.space(key, 0)

    def space(self, key: Key, failed: int) -> Space:
        """Return a space by its key."""
        address, dst, dport, zone = key
        used, text = self.most.get(key, 0), self.family.to_text
        return Space(text(address), self.proto, text(dst), dport, zone, used, failed)

    def ran_out(self, lost: dict[Ends, int]) -> list[Space]:
        """Return the spaces in which most flows found no port; at most MOST_NAMED."""
        found = []
        for ends in sorted(lost, key=lambda k: (-lost[k], k))[:MOST_NAMED]:
            # of an address and destination in several zones the fullest: a lost packet does not say its zone
            zones = [key for key in self.most if key[:3] == ends]
            key = max(zones, key=lambda k: self.most[k], default=(*ends, 0))
            found.append(self.space((key[0], key[1], key[2], key[3]), lost[ends]))
        return found
