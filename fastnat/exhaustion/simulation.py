"""Opening the flows of a workload and closing them again, in virtual time.

Time goes in slices. Flows are opened at their very times; what follows comes between two slices, so that a slice is
three batches: the SYNs, the answers, and FIN or RST of the flows that end in the half slice before or behind. Slices in
which nothing happens are left out: a run takes as long as its packets, not as its virtual time. Flows are drawn part by
part and forgotten when they are closed: memory follows those of a part and those that are open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from ..dtypes import NO_CONN, Reason, Verdict, records_of
from ..engine import Engine
from ..errors import InputError
from ..node.model import LOCAL
from ..util.mixing import ends_of
from .calendar import Calendar
from .drawing import SYN, Drawing
from .lifetimes import lifetime, lingers
from .outcome import Outcome, Row, quantile
from .pool import Pool, Side
from .spaces import Spaces
from .workload import DRAWS, KEEPALIVE, Workload, holds, mean_hold, span

ROW = 1000
FIN, RST, ACK = 1, 4, 16
# a slice is this part of the mean hold time, within limits [s]; slices are counted up to here
SLICE_PART, SHORTEST_SLICE, LONGEST_SLICE, LAST_SLICE = 40, 0.01, 0.5, 1 << 50
# slices in which UDP flows are kept, and packets that keep them: some minutes
MAX_KEEPING, MAX_KEPT = 500_000, 1_000_000_000
MAX_PROBES = 1024
# an entry of what keeps flows: a slot, and in the bits above it which of the slot's flows is meant
SLOT_BITS, SLOT = 32, (1 << 32) - 1
# how often connections are counted by destination, and of how many at most; how often the ports in use
SAMPLES, MOST_DESTINATIONS, COUNTS = 60, 256, 120


class Stopped(KeyboardInterrupt):
    """Ctrl-C during a run: `outcome` is that of the flows up to the last whole row."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Grid:
    """Slices of virtual time: where slice k ends, and which one is the first to reach a time.

    The ends are those of numpy.arange, whose steps are the difference of its first two values.
    """

    def __init__(self, start: float, mean: float) -> None:
        self.start = start
        self.length = min(max(mean / SLICE_PART, SHORTEST_SLICE), LONGEST_SLICE)
        self.step = (start + self.length) - start
        # the first slice that is still to come
        self.next = 0

    def end(self, k: int) -> float:
        """Return where slice k ends [s]; of slice -1 the beginning."""
        return self.start + k * self.step + self.length if k >= 0 else self.start

    def first(self, t: float) -> int:
        """Return the first slice that is still to come and ends at t or later."""
        # rounded down, and two slices before that: the rest is compared as the run compares it
        k = max(int((t - self.start) / self.step) - 3, self.next)
        while self.end(k) < t:
            k += 1
        return k

    def ends_at(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each time the first slice that ends then or later."""
        k = np.maximum(np.minimum((times - self.start) / self.step, LAST_SLICE).astype(np.int64) - 2, 0)
        for _ in range(4):
            k += self.start + k * self.step + self.length < times
        return k

    def closes(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each time the first slice whose threshold is not before it."""
        return self.ends_at(times - self.step / 2)


@dataclass
class Tally:
    """What has become of the flows so far."""

    opened: int = 0
    failed: int = 0
    first_failure: int | None = None
    first_failure_time: float | None = None
    translated: int = 0
    untracked: int = 0
    reasons: dict[int, int] = field(default_factory=dict)
    lost: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def copy(self) -> Tally:
        """Return what these counts are now."""
        return replace(self, reasons=dict(self.reasons), lost=dict(self.lost))


class Run:
    """One run: its flows, those of them that are open, and what has been noted."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        work.check()
        self.engine, self.work, self.family = engine, work, work.family
        self.records = records_of(self.family)
        self.drawing = Drawing(engine, work)
        self.tally, self.of_rows = Tally(), Tally()
        self.pool = Pool(self.records)
        self.closing, self.keeping = Calendar(), Calendar()
        # the part that is being opened, the next flow in it, and the first one that is not noted; how many were opened
        self.part, self.at, self.noted, self.sent = self.drawing.next(), 0, 0, 0
        self.grid = Grid(float(self.part.times[0]), mean_hold(work.hold or 0.0))
        self.begin_part()
        if work.proto == "udp" and work.hold is not None:
            self.check_keeping()
        self.rows: list[Row] = []
        self.by_destination: list[tuple[float, list[int]]] = []
        self.every, self.each = max(work.flows // ROW // SAMPLES, 1), max(-(-work.flows // ROW // COUNTS), 1)
        self.probes, self.of_row = np.zeros((2, MAX_PROBES), np.int64)
        self.spaces = Spaces(engine, work.proto, self.family)
        self.occupancy = 0.0
        self.spent = self.bad = self.row_probes = 0

    @property
    def next_time(self) -> float:
        """When the next flow is opened [s]; infinite behind the last one."""
        if self.at == len(self.part.times):
            if self.drawing.drawn < self.work.flows:
                self.note()
                self.part, self.at, self.noted = self.drawing.next(), 0, 0
                self.begin_part()
            else:
                return math.inf
        return float(self.part.times[self.at])

    def slices(self) -> Iterator[tuple[int, float, float]]:
        """Yield (its number, begin [s], end [s]) of each slice in which something happens."""
        grid, last = self.grid, LAST_SLICE
        while grid.next <= last:
            k = min((c for c in (self.closing.next(), self.keeping.next()) if c is not None), default=last)
            opens = self.next_time
            if opens < math.inf:
                k = min(k, grid.first(opens))
            else:
                end = float(self.part.times[-1]) + grid.length
                last = math.ceil((end - grid.start) / grid.length) - 1
                k = min(k, last)
            if k < grid.next:
                return
            grid.next = k + 1
            yield k, grid.end(k - 1), grid.end(k)

    def check_keeping(self) -> None:
        """Raise InputError when the packets that keep UDP flows are too many; from a sample of hold times."""
        lasts, lengths = span(self.work), holds(self.work.hold or 0.0, DRAWS, default_rng(0))
        # what is opened later has less time to the end of the run
        left = np.linspace(lasts, 0, DRAWS)
        kept = float((np.minimum(lengths, left) // KEEPALIVE).mean()) * self.work.flows
        if kept > MAX_KEPT or min(kept, lasts / self.grid.length) > MAX_KEEPING:
            raise InputError(
                f"UDP flows that are held send a packet every {KEEPALIVE:g} s, here {kept:,.0f} "
                f"in {lasts:,.0f} s; at most {MAX_KEPT:,} of them, in {MAX_KEEPING:,} steps of "
                f"{self.grid.length:g} s, are simulated: raise the rate, or take fewer flows or a shorter hold time"
            )

    def begin_part(self) -> None:
        """Make room for the results of a part's first packets; enter when its flows, if they are held, are over."""
        part = self.part
        self.out = np.zeros(len(part.batch), self.records.RESULT)
        self.slots = np.zeros(0, np.int64)
        if part.ends is not None:
            self.slots = self.pool.take(part.batch, part.times, part.ends)
            # not before the slice that opens it
            over = np.maximum(self.grid.closes(part.ends), self.grid.ends_at(part.times))
            self.closing.put(over, self.slots)

    def first_packets(self, n: int) -> NDArray[np.int64]:
        """Send the first packets of the next n flows of this part; return the slots of those that are open."""
        a, b = self.at, self.at + n
        self.at, self.sent = b, self.sent + n
        batch, out = self.part.batch[a:b], self.out[a:b]
        # of this thread alone: other runs may take turns with it
        before = time.thread_time_ns()
        self.engine.process(batch, self.part.times[a:b], out, cpus=self.work.cpus)
        self.spent += time.thread_time_ns() - before
        slots = self.slots[a:b]
        return self.pool.opened(slots, batch, out) if len(slots) else slots

    def note(self) -> None:
        """Note what became of the first packets since the last call, all of one part."""
        here = slice(self.noted, self.at)
        self.noted = self.at
        out, batch = self.out[here], self.part.batch[here]
        if not len(out):
            return
        tally, n = self.tally, len(out)
        # what is delivered locally is answered as well: by the node itself
        good = out["verdict"] != Verdict.DROP
        changed = out["src"] != batch["src"]
        if self.work.iface == LOCAL:
            # the node's own address is in use whether it is translated or not
            changed = good
        bad = n - int(good.sum())
        if bad:
            dropped = out[~good]
            if tally.first_failure is None:
                first = int(np.argmin(good))
                tally.first_failure = tally.opened + first + 1
                tally.first_failure_time = float(self.part.times[here][first])
            codes, counts = np.unique(dropped["reason"], return_counts=True)
            for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
                tally.reasons[code] = tally.reasons.get(code, 0) + count
            self.spaces.note_lost(dropped, tally.lost)
        tally.opened += n
        tally.failed += bad
        tally.translated += int((changed & good).sum())
        tally.untracked += int((good & (out["conn"] == NO_CONN)).sum())
        self.bad += bad
        self.row_probes += int(out["probes"].sum())
        self.of_row += np.bincount(np.minimum(out["probes"], MAX_PROBES - 1), minlength=MAX_PROBES)
        self.spaces.note(out, changed, batch["src"])

    def end_row(self) -> None:
        """Note the flows since the last row as one."""
        self.note()
        moment = float(self.part.times[self.at - 1])
        n = self.tally.opened - self.of_rows.opened
        count = len(self.engine.conntrack)
        # a count reads the whole table: in long runs not every row has one of its own
        if len(self.rows) % self.each == 0 or self.tally.opened == self.work.flows:
            self.occupancy = self.spaces.count()
        times = (self.row_probes / n, self.spent / n, moment)
        probes = (quantile(self.of_row, 0.5), quantile(self.of_row, 0.99))
        row = Row(self.tally.opened, count, self.occupancy, self.bad / n, *times, *probes)
        self.probes += self.of_row
        self.of_row[:] = 0
        if (len(self.rows) + 1) % self.every == 0 and 1 < len(self.work.destinations) <= MOST_DESTINATIONS:
            self.by_destination.append((moment, self.live_by_destination()))
        # behind all else: a run that is interrupted ends with its last row
        self.of_rows = self.tally.copy()
        self.rows.append(row)
        self.spent = self.bad = self.row_probes = 0

    def cut(self) -> None:
        """Forget the flows behind the last row."""
        self.tally = self.of_rows
        self.work = replace(self.work, flows=self.tally.opened)

    def live_by_destination(self) -> list[int]:
        """Return the live connections of each destination."""
        core = self.engine.core_of(self.family.version)
        conns = core.arrays["conns"][: core.high_water]
        original = conns["tuples"][conns["flags"] != 0, 0]
        keys, counts = np.unique(ends_of(original["dst"], original["dport"]), return_counts=True)
        found = dict(zip(keys.tolist(), counts.tolist(), strict=True))
        return [found.get(key, 0) for key in ends_of(self.drawing.ends, self.drawing.ports).tolist()]

    def send(self, *sides: Side) -> NDArray[np.bool_]:
        """Send packets at the engine's time, in this order; return of the last side whether conntrack knew them."""
        batch = self.pool.made(sides)
        if not len(batch):
            return np.zeros(0, np.bool_)
        out = self.engine.process(batch, self.engine.now)
        known: NDArray[np.bool_] = out["reason"][len(batch) - len(sides[-1][1]) :] == Reason.NONE
        return known

    def shake_hands(self, slots: NDArray[Any]) -> None:
        """Answer the flows that a slice has opened."""
        if self.work.proto == "tcp":
            self.send(self.pool.back(slots, SYN | ACK), self.pool.there(slots, ACK))
        elif self.work.replies:
            self.send(self.pool.back(slots, 0))

    def keep(self, k: int, opened: NDArray[Any]) -> None:
        """Send the packets that keep UDP flows, those due in slice k, which has opened some."""
        due = self.keeping.take(k)
        slots, numbers = due & SLOT, due >> SLOT_BITS
        # a slot may have been given to another flow since
        lasts = (self.pool.serial[slots] == numbers) & self.pool.open[slots]
        slots = slots[lasts & (self.pool.ends[slots] > self.grid.end(k))]
        n = self.pool.kept[slots]
        # the flows opened last go first
        order = np.lexsort((self.pool.number[slots], n))
        slots, n = slots[order], n[order]
        for part in np.split(slots, np.flatnonzero(np.diff(n)) + 1):
            self.send(self.pool.there(part, 0))
            if self.work.replies:
                self.send(self.pool.back(part, 0))
        slots = np.concatenate((slots, opened))
        self.pool.kept[slots] += 1
        following = self.grid.ends_at(self.pool.times[slots] + self.pool.kept[slots] * KEEPALIVE)
        self.keeping.put(np.maximum(following, k + 1), self.pool.serial[slots] << SLOT_BITS | slots)

    def close(self, k: int) -> None:
        """Close the flows that are over by slice k."""
        pool, close = self.pool, self.work.close
        due = self.closing.take(k)
        slots = due[pool.open[due]]
        if self.work.proto == "udp":
            # a flow lasts from its first packet to its last one
            self.send(pool.there(slots, 0))
            if self.work.replies:
                self.send(pool.back(slots, 0))
        elif close == "rst":
            self.send(pool.there(slots, RST))
        elif close == "server":
            self.send(pool.back(slots, FIN | ACK), pool.there(slots, ACK))
        elif close != "none":
            # of two flows that were given one tuple the second finds it closed: an ACK of it would begin a connection
            # without an end (nf_conntrack_tcp_loose), which no client does
            known = slots[self.send(pool.there(slots, FIN | ACK))]
            if close == "client":
                self.send(pool.back(known, ACK))
            else:
                self.send(pool.back(known, FIN | ACK), pool.there(known, ACK))
        pool.give(due)


def run(engine: Engine, work: Workload, progress: Callable[[int], None] | None = None) -> Outcome:
    """Open the workload's flows; rows of 1000 flows are noted. `progress` is told how many more were opened.

    Raises InputError when the interface does not exist, no client address is left, or the workload makes no sense;
    Stopped when Ctrl-C comes behind the first row.
    """
    r = Run(engine, work)
    before = engine.stats
    try:
        open_all(r, progress)
    except KeyboardInterrupt:
        if not r.rows:
            raise
        r.cut()
        raise Stopped(outcome_of(r, before)) from None
    return outcome_of(r, before)


def open_until(r: Run, end: float, progress: Callable[[int], None] | None) -> NDArray[np.int64]:
    """Open the flows up to a time [s]; return the slots of those that are open."""
    slots = [np.zeros(0, np.int64)]
    while r.next_time < math.inf and r.next_time <= end:
        n = int(np.searchsorted(r.part.times[r.at :], end, "right"))
        n = min(n, ROW - r.sent % ROW)
        slots.append(r.first_packets(n))
        if r.sent % ROW == 0 or r.sent == r.work.flows:
            r.end_row()
        if progress:
            progress(n)
    return np.concatenate(slots)


def open_all(r: Run, progress: Callable[[int], None] | None = None) -> None:
    """Open the flows of a run, and close those that are over."""
    if r.work.hold is None:
        open_until(r, math.inf, progress)
        return
    for k, _, end in r.slices():
        slots = open_until(r, end, progress)
        r.engine.advance(end)
        r.shake_hands(slots)
        if r.work.proto == "udp":
            r.keep(k, slots)
        r.close(k)


def outcome_of(r: Run, before: dict[str, int]) -> Outcome:
    """Return what a run found; before: the engine's counters at its beginning."""
    tally = r.tally
    reasons = {Reason(code).name.lower(): n for code, n in sorted(tally.reasons.items())}
    stats = {name: n - before[name] for name, n in r.engine.stats.items()}
    races = max(reasons.get("clash", 0) - stats["port_search_failures"], 0) if r.work.cpus > 1 else 0
    pain = next((row.sent for row in r.rows if row.fail >= 0.001), None)
    addresses = max(len(r.spaces.addresses), 1)
    return Outcome(
        rows=r.rows,
        opened=tally.opened - tally.failed,
        failed=tally.failed,
        first_failure=tally.first_failure,
        one_in_thousand=pain,
        reasons=reasons,
        translated=tally.translated,
        untracked=tally.untracked,
        first_failure_time=tally.first_failure_time,
        races=races,
        addresses=len(r.spaces.addresses),
        probes=np.trim_zeros(r.probes, "b").tolist(),
        stats=stats,
        max_connections=r.engine.max_connections,
        bound=(r.spaces.ports or r.spaces.size * addresses) * len(r.work.destinations),
        expected=expected_of(r),
        by_destination=r.by_destination,
        window=r.spaces.size,
        spaces=len(r.spaces.most),
        fullest=r.spaces.fullest(),
        ran_out=r.spaces.ran_out(tally.lost),
        demand=r.spaces.demanded(r.work, expected_of(r)),
        lingers=lingers(r.engine.node, r.work, r.engine.profile),
    )


def expected_of(r: Run) -> float:
    """Return the connections at a time by arithmetic, no more than there are flows; 0 where none is held."""
    if r.work.hold is None:
        return 0.0
    return min(r.work.rate * lifetime(r.engine.node, r.work, r.engine.profile), float(r.work.flows))
