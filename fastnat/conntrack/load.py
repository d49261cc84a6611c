"""Loading the connections of a dump: impossible lines are named, the others enter the tables together."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family
from ..core.datapath import Datapath
from ..dtypes import ACCT, CONN_COUNTED, HELP, HELPERS, HZ, PROTOCOLS, Status, TcpState, records_of
from ..errors import InputError
from ..node.timeouts import MAX_TIMEOUT
from ..util.interrupts import uninterrupted
from ..util.memory import no_garbage
from ..util.text import excerpt
from .text import Connection, parse_line

# states in which a SYN that is short of ports may take the tuple over (nf_nat_used_tuple_harder)
CLOSED = (TcpState.TIME_WAIT, TcpState.CLOSE, TcpState.SYN_SENT2)
ADDRESS, PORT, STATES = r"((?:[0-9]{1,3}\.){3}[0-9]{1,3})", "([0-9]{1,5})", "|".join(TcpState.__members__)
TUPLE = rf"src={ADDRESS} dst={ADDRESS} sport={PORT} dport={PORT} "
# the lines that a large dump is made of; all others are read by parse_line, and so is what is wrong with one of these
COUNTS = "(?:packets=([0-9]{1,19}) bytes=([0-9]{1,19}) )?"
PLAIN = re.compile(
    rf"(?:ipv4 +2 )?(?:udp +17 ([0-9]{{1,9}}) |tcp +6 ([0-9]{{1,9}}) ({STATES}) )"
    rf"{TUPLE}{COUNTS}(\[UNREPLIED\] )?{TUPLE}{COUNTS}(\[ASSURED\] )?mark=([0-9]{{1,9}}) (?:use=[0-9]+)?\s*"
)


@dataclass
class Lines:
    """The lines of one family: their numbers, CONN[n] as insert_many takes them, marks, ACCT[n], helpers by place."""

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
        self.texts: list[str] = []
        self.done: list[tuple[Datapath, NDArray[np.uint32]]] = []
        self.broken: list[tuple[int, str]] = []

    def load(self, text: str) -> int:
        """Load the connections; return how many."""
        self.texts = text.splitlines()
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
        """Return the parsed lines, by 4 and 6; note the ones that cannot be parsed."""
        found = [PLAIN.fullmatch(text) for text in self.texts]
        plain = [n for n, match in enumerate(found) if match]
        try:
            fast = plain_lines(plain, [match.groups() for match in found if match])
        except (OSError, ValueError):
            # some address or port is invalid: looking at the lines one by one finds which
            plain, fast = [], plain_lines([], [])
        there = set(plain)
        others: dict[int, list[tuple[int, Connection]]] = {4: [], 6: []}
        for n, text in enumerate(self.texts):
            if n in there or not text.strip() or text.startswith("conntrack v"):
                continue
            try:
                c = parse_line(text)
            except InputError as error:
                self.broken.append((n, str(error)))
                continue
            if c.family.version in self.cores:
                others[c.family.version].append((n, c))
            else:
                self.broken.append((n, "this node has no IPv6"))
        return {4: merged(fast, parsed_lines(V4, others[4])), 6: parsed_lines(V6, others[6])}

    def tell(self) -> None:
        """Raise InputError for the first impossible line, or describe all of them in left_out."""
        for n, why in sorted(self.broken):
            said = f"{self.source}:{n + 1}: {excerpt(why, 1000)}"
            if self.left_out is None:
                raise InputError(f"{said}\n  in the line: {excerpt(self.texts[n])}")
            self.left_out.append(f"{said}; in the line: {excerpt(self.texts[n])}")

    def look_for_room(self, families: list[tuple[int, Lines]]) -> None:
        """Raise InputError for the first line that does not fit, before any is loaded."""
        room = self.max_connections - sum(int(core.count) for core in self.cores.values())
        for version, lines in families:
            core, tuples = self.cores[version], np.ascontiguousarray(lines.records["tuples"])
            _, first = np.unique(tuples.view((np.void, tuples.itemsize)).reshape(-1), return_index=True)
            seen = np.ones(2 * len(tuples), np.bool_)
            seen[first] = False
            taken = np.flatnonzero(seen.reshape(-1, 2).any(1)).tolist()
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
        core.insert_many(lines.records, lines.marks, numbers, codes)
        inserted = before + np.cumsum(codes == 0)
        for k in np.flatnonzero(codes).tolist():
            why = core.why_not_created(int(codes[k]), int(inserted[k]))
            self.broken.append((int(lines.numbers[k]), why))
        there = np.flatnonzero(codes == 0)
        self.done.append((core, numbers[there]))
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


def plain_lines(numbers: list[int], groups: list[tuple[str | None, ...]]) -> Lines:
    """Return the lines that PLAIN matched, a column at a time; OSError, ValueError if one of them is impossible."""
    records = np.zeros(len(groups), records_of(V4).CONN)
    columns: list[tuple[str, ...]] = list(zip(*groups, strict=True)) or [()] * PLAIN.groups
    udp, tcp, states, src, dst, sport, dport, *counts, unreplied, rsrc, rdst, rsport, rdport = columns[:14]
    assured, marks = columns[16:]
    near, far = records["tuples"][:, 0], records["tuples"][:, 1]
    for t, column in ((near, (src, dst, sport, dport)), (far, (rsrc, rdst, rsport, rdport))):
        t["src"], t["dst"] = quads(column[0]), quads(column[1])
        for name, texts in (("sport", column[2]), ("dport", column[3])):
            ports = np.array(list(map(int, texts)), np.int64)
            if (ports > 0xFFFF).any():
                raise ValueError("a port of more than 16 bits")
            t[name] = ports
        t["proto"] = np.where([state is None for state in states], PROTOCOLS["udp"], PROTOCOLS["tcp"])
    status = np.where([word is None for word in unreplied], int(Status.SEEN_REPLY), 0)
    status |= np.where([word is None for word in assured], 0, int(Status.ASSURED))
    is_snat = (far["dst"] != near["src"]) | (far["dport"] != near["sport"])
    is_dnat = (far["src"] != near["dst"]) | (far["sport"] != near["dport"])
    status |= np.where(is_snat, int(Status.SRC_NAT), 0) | np.where(is_dnat, int(Status.DST_NAT), 0)
    known: dict[str | None, int] = {None: 0, **{name: int(state) for name, state in TcpState.__members__.items()}}
    seconds = [int(a or b) for a, b in zip(udp, tcp, strict=True)]
    records["status"], records["state"] = status, [known[state] for state in states]
    records["timeout"] = ticks(np.array(seconds, np.float64))
    acct = np.zeros(len(groups), ACCT)
    for direction, (packets, octets) in enumerate((counts, columns[14:16])):
        acct["packets"][:, direction] = [int(text or 0) for text in packets]
        acct["bytes"][:, direction] = [int(text or 0) for text in octets]
    return Lines(np.array(numbers, np.int64), records, np.array(list(map(int, marks)), np.uint32), acct)


def quads(texts: tuple[str, ...]) -> NDArray[np.uint32]:
    """Return IPv4 addresses as numbers; OSError for anything else."""
    known = {text: socket.inet_pton(socket.AF_INET, text) for text in set(texts)}
    packed = b"".join(map(known.__getitem__, texts))
    return np.frombuffer(packed, ">u4").astype(np.uint32)


def parsed_lines(family: Family, found: list[tuple[int, Connection]]) -> Lines:
    """Return the lines that parse_line understood."""
    records = np.zeros(len(found), records_of(family).CONN)
    for k, (_, c) in enumerate(found):
        row = records[k]
        for direction, (src, dst, sport, dport) in enumerate((c.original, c.reply)):
            zone = c.zone if c.zone_dir >> direction & 1 else 0
            row["tuples"][direction] = (family.pack(src), family.pack(dst), sport, dport, c.proto, 0, zone)
        row["status"], row["state"], row["zone"] = c.status, c.state, c.zone
    records["timeout"] = ticks(np.array([c.timeout for _, c in found], np.float64))
    helpers = {k: c.helper for k, (_, c) in enumerate(found) if c.helper}
    marks = np.array([c.mark for _, c in found], np.uint32)
    acct = np.zeros(len(found), ACCT)
    for k, (_, c) in enumerate(found):
        if c.counts is not None:
            acct["packets"][k], acct["bytes"][k] = zip(*c.counts, strict=True)
    return Lines(np.array([n for n, _ in found], np.int64), records, marks, acct, helpers)


def ticks(seconds: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the jiffies left; an entry that is due at once lives for one jiffy."""
    left: NDArray[np.uint32] = np.maximum(np.minimum(seconds, MAX_TIMEOUT) * HZ, 1).astype(np.uint32)
    return left


def merged(a: Lines, b: Lines) -> Lines:
    """Return the lines of both in the order of the dump, since the first of two lines with one tuple is loaded."""
    numbers = np.concatenate([a.numbers, b.numbers])
    order = np.argsort(numbers, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    helpers = {int(place[len(a.numbers) + k]): helper for k, helper in b.helpers.items()}
    records, marks = np.concatenate([a.records, b.records]), np.concatenate([a.marks, b.marks])
    acct = np.concatenate([a.acct, b.acct])
    return Lines(numbers[order], records[order], marks[order], acct[order], helpers)


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
