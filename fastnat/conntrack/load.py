"""Loading the connections of a dump: impossible lines are named, the others enter the tables together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..addresses import FAMILIES, V4, V6
from ..core.datapath import Datapath
from ..dtypes import ACCT, CONN_COUNTED, HELP, HELPERS, HZ, PROTOCOLS, Status, TcpState, records_of
from ..errors import InputError
from ..node.timeouts import MAX_TIMEOUT
from ..util.interrupts import uninterrupted
from ..util.memory import no_garbage
from ..util.text import excerpt
from .lines import FLAGS
from .rows import CUT, Rows, decoded, encoded, is_cut, last_line, read_rows

# states in which a SYN that is short of ports may take the tuple over (nf_nat_used_tuple_harder)
CLOSED = (TcpState.TIME_WAIT, TcpState.CLOSE, TcpState.SYN_SENT2)


@dataclass
class Lines:
    """The lines of one family: numbers from 1 on, CONN[n] for insert_many, marks, ACCT[n], helpers by place."""

    numbers: NDArray[np.int64]
    records: NDArray[np.void]
    marks: NDArray[np.uint32]
    acct: NDArray[np.void]
    helpers: dict[int, str] = field(default_factory=dict)


class Loader:
    """Loads the lines of one dump into the tables of an engine.

    left_out: if None, the first impossible line raises InputError, and nothing is loaded; if a list, such lines are
    described there, and the others are loaded.
    """

    def __init__(
        self, cores: dict[int, Datapath], max_connections: int, seed: int, source: str, left_out: list[str] | None
    ) -> None:
        self.cores, self.max_connections, self.source, self.left_out = cores, max_connections, source, left_out
        # the first use loads extension modules, which take Ctrl-C as a module that is missing
        with uninterrupted():
            self.rng = np.random.default_rng(seed)
        self.text = b""
        self.done: list[tuple[Datapath, NDArray[np.uint32]]] = []
        self.broken: list[tuple[int, str]] = []

    def load(self, text: str) -> int:
        """Load the connections; return how many."""
        self.text = encoded(text)
        with no_garbage():
            families = [(version, lines) for version, lines in self.read().items() if len(lines.numbers)]
        if self.left_out is None:
            self.tell()
            self.look_for_room(families)
        # no node was ever in the state that half a dump describes
        with uninterrupted():
            for version, lines in families:
                self.insert(version, lines)
            if self.broken and self.left_out is None:
                for core, numbers in reversed(self.done):
                    for number in numbers[::-1].tolist():
                        core.delete(number)
        self.tell()
        return sum(len(numbers) for _, numbers in self.done)

    def read(self) -> dict[int, Lines]:
        """Return the lines that can be parsed, by 4 and 6; note those that cannot."""
        found, whole = read_rows(self.text), self.text.rfind(b"\n") + 1
        last = found.ends + 1
        if is_cut(self.text[whole:], last_line(self.text[:whole])) and last not in dict(found.broken):
            found = read_rows(self.text[:whole])
            found.broken.append((last, CUT))
        self.broken += found.broken
        versions = found.rows["version"]
        for version in {4, 6} - self.cores.keys():
            away = found.rows["number"][versions == version].tolist()
            self.broken += [(number, f"this node has no IPv{version}") for number in away]
        return {version: lines_of(found, np.flatnonzero(versions == version), version) for version in self.cores}

    def tell(self) -> None:
        """Raise InputError for the first impossible line, or describe all of them in left_out."""
        lines = self.text.split(b"\n") if self.broken else []
        for n, why in sorted(self.broken):
            said, line = f"{self.source}:{n}: {excerpt(why, 1000)}", excerpt(decoded(lines[n - 1]))
            if self.left_out is None:
                raise InputError(f"{said}\n  in the line: {line}")
            self.left_out.append(f"{said}; in the line: {line}")

    def look_for_room(self, families: list[tuple[int, Lines]]) -> None:
        """Raise InputError for the first line that does not fit, before any is loaded."""
        room = self.max_connections - sum(int(core.count) for core in self.cores.values())
        for version, lines in families:
            core, tuples = self.cores[version], np.ascontiguousarray(lines.records["tuples"])
            _, first = np.unique(tuples.view((np.void, tuples.itemsize)).reshape(-1), return_index=True)
            seen = np.ones(2 * len(tuples), np.bool_)
            seen[first] = False
            # who talks to itself from one port has one tuple in both directions
            both = seen.reshape(-1, 2)
            both[tuples[:, 0] == tuples[:, 1], 1] = False
            taken = np.flatnonzero(both.any(1)).tolist()
            if core.count:
                taken += [k for k in range(len(tuples)) if is_there(core, lines.records[k : k + 1])]
            for k in taken:
                self.broken.append((int(lines.numbers[k]), "a connection with this tuple exists"))
            if len(tuples) > room:
                why = f"the table holds {self.max_connections} connections, its maximum"
                self.broken.append((int(lines.numbers[max(room, 0)]), why))
            room -= len(tuples)
        self.tell()

    def insert(self, version: int, lines: Lines) -> None:
        """Insert the lines of one family that fit into its tables."""
        core = self.cores[version]
        others = sum(int(c.count) for v, c in self.cores.items() if v != version)
        core.leave_room(others)
        before = int(core.count) + others
        numbers, codes = np.zeros(len(lines.numbers), np.uint32), np.zeros(len(lines.numbers), np.uint8)
        served = core.told_of_ipvs(lines.records)
        lines.records["status"][served] &= ~np.uint16(Status.DST_NAT)
        core.insert_many(lines.records, lines.marks, numbers, codes)
        inserted = before + np.cumsum(codes == 0)
        for k in np.flatnonzero(codes).tolist():
            why = core.why_not_created(int(codes[k]), int(inserted[k]))
            self.broken.append((int(lines.numbers[k]), why))
        there = np.flatnonzero(codes == 0)
        self.done.append((core, numbers[there]))
        core.serve_entries(numbers[(codes == 0) & served])
        self.draw_sequences(core, lines.records[there], numbers[there])
        counted = core.arrays["conns"]["flags"][numbers[there]] & CONN_COUNTED != 0
        core.writable("acct")[numbers[there][counted]] = lines.acct[there][counted]
        for k, helper in lines.helpers.items():
            if not codes[k]:
                give_helper(core, helper, lines.records[k], int(numbers[k]))

    def draw_sequences(self, core: Datapath, records: NDArray[np.void], numbers: NDArray[np.uint32]) -> None:
        """Draw the last sequence numbers of closed connections, because a dump does not contain them.

        On a node they are independent 32-bit numbers, so half of them count as older than a SYN.
        """
        closed = (records["tuples"]["proto"][:, 0] == PROTOCOLS["tcp"]) & np.isin(records["state"], CLOSED)
        if closed.any():
            ends = self.rng.integers(0, 2**32, (int(closed.sum()), 2), np.uint32)
            core.writable("tcp")["td_end"][numbers[closed]] = ends


def lines_of(found: Rows, here: NDArray[np.intp], version: int) -> Lines:
    """Return those of the rows, all of one family, as the tables of the core take them."""
    rows = found.rows[here]
    records = np.zeros(len(rows), records_of(FAMILIES[version]).CONN)
    near, far = records["tuples"][:, 0], records["tuples"][:, 1]
    for direction, t in enumerate((near, far)):
        for k, name in enumerate(("src", "dst")):
            high, low = rows["ends"][:, 2 * direction + k].T
            if version == 4:
                t[name] = low
            else:
                t[name]["high"], t[name]["low"] = high, low
        t["sport"], t["dport"] = rows["ports"][:, 2 * direction : 2 * direction + 2].T
        t["proto"] = rows["proto"]
        t["zone"] = np.where(rows["zone_dir"] >> direction & 1, rows["zone"], 0)
    # of ICMP the id is the port of both ends
    has_id = rows["proto"] == FAMILIES[version].icmp
    is_snat = (far["dst"] != near["src"]) | (np.where(has_id, far["sport"], far["dport"]) != near["sport"])
    is_dnat = (far["src"] != near["dst"]) | (~has_id & (far["sport"] != near["dport"]))
    records["status"] = (
        np.where(rows["flags"] & FLAGS["UNREPLIED"], 0, int(Status.SEEN_REPLY))
        | np.where(rows["flags"] & FLAGS["ASSURED"], int(Status.ASSURED), 0)
        | np.where(is_snat, int(Status.SRC_NAT), 0)
        | np.where(is_dnat, int(Status.DST_NAT), 0)
    )
    records["state"], records["zone"] = rows["state"], rows["zone"]
    records["timeout"] = ticks(rows["timeout"].astype(np.float64))
    acct = np.zeros(len(rows), ACCT)
    acct["packets"], acct["bytes"] = rows["packets"], rows["bytes"]
    place = dict(zip(here.tolist(), range(len(here)), strict=True)) if found.helpers else {}
    helpers = {place[k]: helper for k, helper in found.helpers.items() if k in place}
    return Lines(rows["number"].astype(np.int64), records, rows["mark"].copy(), acct, helpers)


def ticks(seconds: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the jiffies left; an entry that is due at once lives for one jiffy."""
    left: NDArray[np.uint32] = np.maximum(np.minimum(seconds, MAX_TIMEOUT) * HZ, 1).astype(np.uint32)
    return left


def is_there(core: Datapath, record: NDArray[np.void]) -> bool:
    """Tell whether a tuple of CONN[1] is taken."""
    tuples = record["tuples"][0]
    family = V6 if tuples.dtype["src"].names else V4
    for t in tuples:
        ends = (family.unpack(t["src"]), family.unpack(t["dst"]), int(t["sport"]), int(t["dport"]))
        if core.find(*ends, int(t["proto"]), int(t["zone"])):
            # linux-5.4 counts the attempt to take it
            core.insert_many(record, np.zeros(1, np.uint32), np.zeros(1, np.uint32), np.zeros(1, np.uint8))
            return True
    return False


def give_helper(core: Datapath, name: str, record: np.void, index: int) -> None:
    """Give a connection the helper of that name, if one exists for its protocol."""
    kind, proto = HELPERS.get(name, (0, 0))
    if kind and record["tuples"][0]["proto"] == proto:
        helps = np.zeros(1, HELP)
        helps["kind"] = kind
        core.adopt_help(helps, np.array([index], np.uint32), np.zeros(1, np.uint32))
