"""Opening the flows of a workload and closing them again, in virtual time.

Time goes in slices. Flows are opened at their very times; what follows comes between two slices, so that a slice is
one batch: SYN-ACK and ACK, packets that keep a flow, and FIN or RST of the flows that end in the half slice before or
behind. Slices in which nothing happens are left out: a run takes as long as its packets, not as its virtual time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import to_array, to_int
from ..dtypes import PACKET, PROTOCOLS, RESULT, Reason, Verdict
from ..engine import Engine, packets
from ..errors import InputError
from .outcome import Outcome, Row, quantile
from .spaces import Spaces
from .workload import (
    Workload,
    arrival_times,
    busiest_share,
    client_addresses,
    destination_of,
    holds,
    initial_sequence,
    lifetime,
    lingers,
    mean_hold,
    source_ports,
)

ROW = 1000
FIN, SYN, RST, ACK = 1, 2, 4, 16
# seconds between two packets of a UDP flow that is held: within nf_conntrack_udp_timeout, 30
KEEPALIVE = 20.0
# a slice is this part of the mean hold time, within limits [s]
SLICE_PART, SHORTEST_SLICE, LONGEST_SLICE = 40, 0.01, 0.5
# slices in which UDP flows are kept, and packets that keep them: some minutes
MAX_KEEPING, MAX_KEPT = 500_000, 1_000_000_000
MAX_PROBES = 1024
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

    def threshold(self, k: int) -> float:
        """Return up to when flows end that are closed behind slice k [s]."""
        return self.end(k) + (self.end(k) - self.end(k - 1)) / 2

    def first(self, t: float, reached: Callable[[int], float]) -> int:
        """Return the first slice that is still to come and whose `reached` is not before t."""
        # rounded down, and two slices before that: the rest is compared as the run compares it
        k = max(int((t - self.start) / self.step) - 3, self.next)
        while reached(k) < t:
            k += 1
        return k


@dataclass
class Kept:
    """Flows whose n-th packet is due, all within two slices."""

    flows: NDArray[Any]
    n: NDArray[Any]
    earliest: float


class Run:
    """One run: every flow that will be opened, drawn before the first packet."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        work.check()
        self.engine, self.work = engine, work
        rng = np.random.default_rng(engine.seed)
        sources = client_addresses(engine, work.network)[: work.clients or work.flows]
        dst = to_array([d for d, _ in work.destinations])
        dport = np.array([p for _, p in work.destinations], np.uint16)
        where = destination_of(work, rng)
        self.times = arrival_times(work, rng) + engine.now
        self.batch = packets(
            proto=work.proto, src=sources[np.arange(work.flows) % len(sources)], dst=dst[where],
            sport=source_ports(work, len(sources), rng), dport=dport[where], iface=engine.node.iface_number(work.iface),
            tcp_flags=SYN if work.proto == "tcp" else 0,
        )  # fmt: skip
        if work.proto == "tcp":
            self.batch["isn"] = initial_sequence(self.batch, self.times)
        self.out = np.zeros(work.flows, RESULT)
        self.open = np.zeros(work.flows, np.bool_)
        if work.hold is not None:
            self.ends = self.times + holds(work.hold, work.flows, rng)
            self.closing = np.argsort(self.ends, kind="stable")
            self.over = self.ends[self.closing]
            self.closed, self.late = 0, self.closing[:0]
            self.kept: deque[Kept] = deque()
        self.rows: list[Row] = []
        self.by_destination: list[tuple[float, list[int]]] = []
        self.every, self.each = max(work.flows // ROW // SAMPLES, 1), max(-(-work.flows // ROW // COUNTS), 1)
        self.probes, self.of_row = np.zeros((2, MAX_PROBES), np.int64)
        self.spaces = Spaces(engine, work.proto)
        self.occupancy = 0.0
        self.spent = self.bad = self.row_probes = 0

    def slices(self) -> Iterator[tuple[int, int, float, float]]:
        """Yield (first flow, flow behind the last, begin [s], end [s]) of each slice in which something happens."""
        if self.work.hold is None:
            for a in range(0, self.work.flows, ROW):
                b = min(a + ROW, self.work.flows)
                yield a, b, float(self.times[a]), float(self.times[b - 1])
            return
        grid = Grid(float(self.times[0]), mean_hold(self.work.hold))
        if self.work.proto == "udp":
            self.check_keeping(grid)
        end = float(self.times[-1]) + grid.length
        last = math.ceil((end - grid.start) / grid.length) - 1
        opened = 0
        while grid.next <= last:
            k = last
            if opened < self.work.flows:
                k = min(k, grid.first(float(self.times[opened]), grid.end))
            if self.closed < self.work.flows:
                k = min(k, grid.first(float(self.over[self.closed]), grid.threshold))
            if self.kept:
                k = min(k, grid.first(self.kept[0].earliest, grid.end))
            first, opened = opened, int(np.searchsorted(self.times, grid.end(k), "right"))
            grid.next = k + 1
            yield first, opened, grid.end(k - 1), grid.end(k)

    def check_keeping(self, grid: Grid) -> None:
        """Raise InputError when the packets that keep UDP flows are too many."""
        last = float(self.times[-1])
        packets = float(((np.minimum(self.ends, last) - self.times) // KEEPALIVE).sum())
        if packets > MAX_KEPT or min(packets, (last - grid.start) / grid.length) > MAX_KEEPING:
            raise InputError(
                f"UDP flows that are held send a packet every {KEEPALIVE:g} s, here {packets:,.0f} "
                f"in {last - grid.start:,.0f} s; at most {MAX_KEPT:,} of them, in {MAX_KEEPING:,} steps of "
                f"{grid.length:g} s, are simulated: raise the rate, or take fewer flows or a shorter hold time"
            )

    def first_packets(self, a: int, b: int) -> None:
        """Send the first packets of flows a..b-1 at their own times, and note what became of them."""
        before = time.perf_counter_ns()
        self.engine.process(self.batch[a:b], self.times[a:b], self.out[a:b], cpus=self.work.cpus)
        self.spent += time.perf_counter_ns() - before
        out = self.out[a:b]
        # what is delivered locally is answered as well: by the node itself
        good = out["verdict"] != Verdict.DROP
        self.open[a:b] = good
        self.bad += b - a - int(good.sum())
        self.row_probes += int(out["probes"].sum())
        self.of_row += np.bincount(np.minimum(out["probes"], MAX_PROBES - 1), minlength=MAX_PROBES)
        self.spaces.note(out, out["src"] != self.batch["src"][a:b])

    def end_row(self, b: int, first: int) -> None:
        """Note the flows first..b-1 as a row."""
        n = b - first
        count = len(self.engine.conntrack)
        # a count reads the whole table: in long runs not every row has one of its own
        if len(self.rows) % self.each == 0 or b == self.work.flows:
            self.occupancy = self.spaces.count() / self.spaces.size
        times = (self.row_probes / n, self.spent / n, float(self.times[b - 1]))
        probes = (quantile(self.of_row, 0.5), quantile(self.of_row, 0.99))
        row = Row(b, count, self.occupancy, self.bad / n, *times, *probes)
        self.probes += self.of_row
        self.of_row[:] = 0
        if (len(self.rows) + 1) % self.every == 0 and 1 < len(self.work.destinations) <= MOST_DESTINATIONS:
            self.by_destination.append((float(self.times[b - 1]), self.live_by_destination()))
        # behind all else: a run that is interrupted ends with its last row
        self.rows.append(row)
        self.spent = self.bad = self.row_probes = 0

    def cut(self, flows: int) -> None:
        """Forget the flows behind these."""
        self.work = replace(self.work, flows=flows)
        self.out, self.batch, self.times = self.out[:flows], self.batch[:flows], self.times[:flows]

    def live_by_destination(self) -> list[int]:
        """Return the live connections of each destination."""
        core = self.engine.core_of(4)
        conns = core.arrays["conns"][: core.high_water]
        original = conns["tuples"][conns["flags"] != 0, 0]
        there = original["dst"].astype(np.uint64) << np.uint64(16) | original["dport"]
        wanted = [to_int(address) << 16 | port for address, port in self.work.destinations]
        keys, counts = np.unique(there, return_counts=True)
        found = dict(zip(keys.tolist(), counts.tolist(), strict=True))
        return [found.get(key, 0) for key in wanted]

    def send(self, flows: NDArray[Any], flags: int) -> NDArray[Any]:
        """Send another packet of these flows, from the clients; return the flows of which conntrack knew."""
        if not len(flows):
            return flows
        batch = self.batch[flows]
        batch["tcp_flags"] = flags
        known: NDArray[Any] = flows[self.engine.process(batch, self.engine.now)["reason"] == Reason.NONE]
        return known

    def answer(self, flows: NDArray[Any], flags: int) -> None:
        """Send a packet of these flows from their destinations, to the address that they came from."""
        if len(flows):
            out = self.out[flows]
            back = np.zeros(len(out), PACKET)
            for here, there in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
                back[here] = out[there]
            back["iface"], back["proto"], back["tcp_flags"] = out["out_iface"], PROTOCOLS[self.work.proto], flags
            self.engine.process(back, self.engine.now)

    def shake_hands(self, a: int, b: int) -> None:
        """Answer the flows that a slice has opened."""
        flows = a + np.flatnonzero(self.open[a:b])
        if self.work.proto == "tcp":
            self.answer(flows, SYN | ACK)
            self.send(flows, ACK)
        elif self.work.replies:
            self.answer(flows, 0)

    def keep(self, a: int, b: int, end: float) -> None:
        """Send the packets that keep UDP flows, those due by the end of a slice that has opened the flows a..b-1."""
        flows, n = self.due(end)
        # the flows opened last go first
        order = np.lexsort((flows, n))
        flows, n = flows[order], n[order]
        for part in np.split(flows, np.flatnonzero(np.diff(n)) + 1):
            self.send(part, 0)
            if self.work.replies:
                self.answer(part, 0)
        opened = a + np.flatnonzero(self.open[a:b])
        self.remember(np.concatenate((flows, opened)), np.concatenate((n + 1, np.ones(len(opened), np.int64))))

    def due(self, end: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the flows whose packet is due by then, and the packets' numbers; what has ended is forgotten."""
        flows, numbers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        rest = []
        while self.kept and self.kept[0].earliest <= end:
            kept = self.kept.popleft()
            lasts = self.open[kept.flows] & (self.ends[kept.flows] > end)
            now = self.times[kept.flows] <= end - kept.n * KEEPALIVE
            flows.append(kept.flows[now & lasts])
            numbers.append(kept.n[now & lasts])
            rest.append((kept.flows[~now & lasts], kept.n[~now & lasts]))
        for left, n in reversed(rest):
            self.remember(left, n, first=True)
        return np.concatenate(flows), np.concatenate(numbers)

    def remember(self, flows: NDArray[Any], n: NDArray[Any], first: bool = False) -> None:
        """Note that the n-th packets of these flows are to come."""
        if len(flows):
            # a slice too early does no harm, and sums are rounded
            kept = Kept(flows, n, float((self.times[flows] + n * KEEPALIVE).min()) - 1e-6)
            if first:
                self.kept.appendleft(kept)
            else:
                self.kept.append(kept)

    def close(self, end: float, opened: int) -> None:
        """Close the flows that are over by then; so many have been opened."""
        behind = int(np.searchsorted(self.over, end, "right"))
        flows = np.concatenate((self.late, self.closing[self.closed : behind]))
        # shorter than half a slice, and opened only by the next one: it closes them
        self.late = flows[flows >= opened]
        flows = np.sort(flows[self.open[flows]])
        self.closed = behind
        self.open[flows] = False
        if self.work.proto == "udp":
            # a flow lasts from its first packet to its last one
            self.send(flows, 0)
            if self.work.replies:
                self.answer(flows, 0)
            return
        if self.work.close == "none":
            return
        if self.work.close == "rst":
            self.send(flows, RST)
            return
        # of two flows that were given one tuple the second finds it closed: an ACK of it would begin a connection
        # without an end (nf_conntrack_tcp_loose), which no client does
        flows = self.send(flows, FIN | ACK)
        self.answer(flows, FIN | ACK)
        self.send(flows, ACK)


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
        r.cut(r.rows[-1].sent)
        raise Stopped(outcome_of(r, before)) from None
    return outcome_of(r, before)


def open_all(r: Run, progress: Callable[[int], None] | None = None) -> None:
    """Open the flows of a run, and close those that are over."""
    engine, work = r.engine, r.work
    row_first = 0
    for first, behind, begin, end in r.slices():
        at = first
        while at < behind:
            b = min(behind, row_first + ROW)
            r.first_packets(at, b)
            if b == row_first + ROW or b == work.flows:
                r.end_row(b, row_first)
                row_first = b
            at = b
        if work.hold is not None:
            engine.advance(end)
            r.shake_hands(first, behind)
            if work.proto == "udp":
                r.keep(first, behind, end)
            r.close(end + (end - begin) / 2, behind)
        if progress and behind > first:
            progress(behind - first)


def outcome_of(r: Run, before: dict[str, int]) -> Outcome:
    """Return what a run found; before: the engine's counters at its beginning."""
    bad = r.out["verdict"] == Verdict.DROP
    failed = int(bad.sum())
    first = int(np.argmax(bad)) if failed else None
    codes, counts = np.unique(r.out["reason"][bad], return_counts=True)
    reasons = {Reason(int(c)).name.lower(): int(n) for c, n in zip(codes, counts, strict=True)}
    stats = {name: n - before[name] for name, n in r.engine.stats.items()}
    races = max(reasons.get("clash", 0) - stats["port_search_failures"], 0) if r.work.cpus > 1 else 0
    pain = next((row.sent for row in r.rows if row.fail >= 0.001), None)
    addresses = max(len(r.spaces.addresses), 1)
    return Outcome(
        rows=r.rows,
        opened=r.work.flows - failed,
        failed=failed,
        first_failure=None if first is None else first + 1,
        one_in_thousand=pain,
        reasons=reasons,
        translated=int(((r.out["src"] != r.batch["src"]) & ~bad).sum()),
        first_failure_time=None if first is None else float(r.times[first]),
        races=races,
        addresses=len(r.spaces.addresses),
        probes=np.trim_zeros(r.probes, "b").tolist(),
        stats=stats,
        max_connections=r.engine.max_connections,
        bound=r.spaces.size * addresses * len(r.work.destinations),
        expected=expected_of(r),
        by_destination=r.by_destination,
        window=r.spaces.size,
        spaces=len(r.spaces.most),
        fullest=r.spaces.fullest(),
        ran_out=r.spaces.ran_out(r.out[bad]),
        demand=expected_of(r) * busiest_share(r.work) / addresses / r.spaces.size,
        lingers=lingers(r.work),
    )


def expected_of(r: Run) -> float:
    """Return the connections at a time by arithmetic, no more than there are flows; 0 where none is held."""
    if r.work.hold is None:
        return 0.0
    return min(r.work.rate * lifetime(r.engine.node, r.work, r.engine.profile), float(r.work.flows))
