"""Runs to steady state: which share of the flows fails there, and how sure that is; up to which rate few enough do.

A port that a closed flow keeps is part of the state: what fails in the first seconds says little about a node whose
flows wait in TIME_WAIT for two minutes. A run goes over 2.5 lifetimes of a flow's entry, and the last one is counted: a
whole one, because what was opened at one time also ends at one time, a lifetime later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..conntrack.port_spaces import PORTS
from ..engine import Engine
from ..errors import InputError
from ..util.mixing import ends_of
from .lifetimes import lifetime
from .outcome import Outcome, Row
from .simulation import ROW, Run, open_all, outcome_of
from .workload import Workload, mean_hold, shares_of

# lifetimes of a run, and those of its end that are counted
LIFETIMES, COUNTED = 2.5, 1.0
MAX_FLOWS = 4_000_000
# a probe of the search for a rate: until the port spaces were filled several times over, and so many hold times
TURNOVERS, HOLDS, SHORTEST = 3, 8, 1000
# parts of the flows counted, Student's t for the mean of so many, and that of many
PARTS, STUDENT_9, NORMAL = 10, 2.26, 1.96
# a run that fails so many times as often as it may ends before its steady state
HOPELESS = 3
# ranges of ports of which the first flows show all
MOST_RANGES = SHORTEST // 10
# standard deviations beyond which nothing is by chance
SURE = 3
# how near the rate is found; the highest one that is tried
NEAR, MOST_RATE = 1.03, 1e6
# of what arithmetic allows
FIRST_TRY = 0.83
# a rate so many times below what arithmetic allows is no answer
HOPELESSLY_LOW = 100
NO_MEAN = "hold time: this distribution has no finite mean, so no number of ports is enough"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Steady:
    """What a run to steady state found.

    fails: share of the flows counted that failed, +- width (95 %, from the parts of the run); flows: how many were
    counted; seconds, lifetimes: how long the whole run was; hopeless: it ended early, as far too many failed.
    """

    fails: float
    width: float
    flows: int
    seconds: float
    lifetimes: float
    outcome: Outcome
    hopeless: bool = False

    def allows(self, share: float) -> bool:
        """Tell whether at most this share fails."""
        return not self.hopeless and self.fails <= share

    def __str__(self) -> str:
        """Say what failed and how sure it is, as the end of a sentence."""
        over = f"the last {self.flows:,} flows of a run over {self.lifetimes:.1f} lifetimes ({self.seconds:,.0f} s)"
        if not self.fails:
            return f"none of {over} fails: with 95 % confidence fewer than {min(3 / self.flows, 1):.4%}"
        return f"{self.fails:.3%} +- {self.width:.3%} (95 %) of {over} fail"


class Hopeless(Exception):
    """Too many flows have failed for the rest of the run to matter."""


class Watch:
    """Counts what fails while a run opens its flows.

    Raises Hopeless when far more than `share` of all of them, or of those behind a number, have failed.
    """

    def __init__(self, run: Run, share: float, behind: float, progress: Progress | None) -> None:
        self.run, self.behind, self.progress = run, behind, progress
        flows = run.work.flows
        self.most, self.most_behind = (HOPELESS * share * n + 30 for n in (flows, flows - behind))
        self.rows = 0
        self.failed = self.failed_behind = 0.0
        self.hopeless = False

    def __call__(self, opened: int) -> None:
        """Count the rows that have come."""
        if self.progress:
            self.progress(opened, self.run.work.flows)
        for row in self.run.rows[self.rows :]:
            self.failed += row.fail * ROW
            self.failed_behind += row.fail * ROW * (row.sent > self.behind)
        self.rows = len(self.run.rows)
        if self.failed > self.most or self.failed_behind > self.most_behind:
            raise Hopeless


def steady(
    base: Engine, work: Workload, share: float, flows: int = MAX_FLOWS, progress: Progress | None = None,
    from_the_first: bool = False,
) -> Steady:  # fmt: skip
    """Run a workload to steady state in a fork of an engine, or over so many flows if those are fewer.

    share: of flows that may fail; a run of which far more do ends early. from_the_first: count all flows, as the
    connections that are there at the beginning matter most then.
    """
    lasts = lifetime(base.node, work, base.profile)
    if not math.isfinite(lasts):
        raise InputError(NO_MEAN)
    flows = max(min(int(work.rate * lasts * LIFETIMES), flows, MAX_FLOWS), SHORTEST)
    run = Run(base.fork(base.seed), replace(work, flows=flows))
    # occupancy is not what is asked for
    run.each = max(flows // ROW // 8, 1)
    before = run.engine.stats
    behind = 0 if from_the_first else flows - max(flows * COUNTED / LIFETIMES, min(work.rate * lasts, flows))

    watch = Watch(run, share, behind, progress)
    try:
        open_all(run, watch)
    except Hopeless:
        run.cut()
        watch.hopeless = True
    outcome = outcome_of(run, before)
    rows = [r for r in outcome.rows if r.sent > behind] or outcome.rows[-1:]
    fails, width = mean_fail(rows)
    seconds = outcome.rows[-1].time - base.now
    counted = rows[-1].sent - (outcome.rows[-len(rows) - 1].sent if len(outcome.rows) > len(rows) else 0)
    return Steady(fails, width, counted, seconds, seconds / lasts if lasts else LIFETIMES, outcome, watch.hopeless)


def mean_fail(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the mean share that fails and half its 95 % interval.

    Failures come in bursts, so that single flows are not independent; parts of a run that follow each other nearly are.
    Where there are too few rows for parts, flows are taken as independent.
    """
    fails = np.array([r.fail for r in rows])
    mean = float(fails.mean())
    alone = NORMAL * math.sqrt(mean * (1 - mean) / (len(rows) * ROW))
    if len(fails) < PARTS:
        return mean, alone
    means = [float(part.mean()) for part in np.array_split(fails, PARTS)]
    return mean, max(STUDENT_9 * float(np.std(means, ddof=1)) / math.sqrt(PARTS), alone)


def keeps_for(work: Workload, lasts: float, profile: str) -> float:
    """Return for how long a flow keeps its port against all others [s]; lasts: the lifetime of its entry.

    linux-6.18 takes ports of closed TCP connections over: only a connection that lives keeps its port.
    """
    yields = work.proto == "tcp" and profile != "linux-5.4" and work.hold is not None and work.close != "none"
    return min(mean_hold(work.hold or 0.0), lasts) if yields else lasts


@dataclass(frozen=True)
class Reach:
    """Where the first flows of a workload get their ports, behind all rules.

    tracked: some have an entry in the table, or are lost; ports: of all NAT addresses together, 0: none is translated;
    size: of one of them; destinations: how many; busiest: the share of the flows that the busiest of them has,
    at_least: and surely has.
    """

    tracked: bool
    ports: int
    size: int
    destinations: int
    busiest: float
    at_least: float


def reach_of(base: Engine, work: Workload) -> Reach:
    """Open a workload's first flows, all at once, and return where they get their ports.

    Rules may give them other destinations than the workload names: a virtual service has several.
    """
    first = Run(base.fork(base.seed), replace(work, flows=SHORTEST, hold=None, rate=0.0, stages=()))
    first.first_packets(SHORTEST)
    first.note()
    out = first.out
    spaces, tracked = first.spaces, first.tally.untracked < SHORTEST
    if not spaces.addresses:
        shares = shares_of(work)
        return Reach(tracked, 0, spaces.size, len(shares), max(shares.values()), max(shares.values()))
    if spaces.window is None:
        spaces.count()
    ports, named = spaces.ports, spaces.busiest_named(work)
    if len(spaces.most) > MOST_RANGES:
        # the first flows cannot have shown all of them
        ports = len(spaces.addresses) * PORTS
    size = max(-(-ports // len(spaces.addresses)), 1)
    if named is not None:
        return Reach(tracked, ports, size, max(len(shares_of(work)), 1), named, named)
    mine = out[spaces.of_these(out)]
    _, counts = np.unique(ends_of(mine["dst"], mine["dport"]), return_counts=True)
    busiest = float(counts.max()) / SHORTEST
    # of those that share the flows evenly one has the most of these by chance
    spread = SURE * math.sqrt(busiest * (1 - busiest) / SHORTEST)
    surely = max(busiest - spread, float(counts.sum()) / SHORTEST / len(counts))
    return Reach(tracked, ports, size, len(counts), busiest, surely)


@dataclass(frozen=True)
class Rate:
    """The highest rate [flows/s] at which few enough flows fail, what confirmed it, and the next one that was tried."""

    rate: float
    found: Steady
    too_high: float


def sustainable_rate(
    base: Engine, work: Workload, share: float = 0.001, progress: Progress | None = None, loaded: bool = False
) -> Rate:
    """Return the rate up to which at most this share of the flows fails.

    Found by short runs within 3 %, then confirmed by one to steady state; where that refutes it a lower rate is tried.
    loaded: connections are there from the beginning. InputError when nothing limits the rate.
    """
    if not math.isfinite(lifetime(base.node, work, base.profile)):
        raise InputError(NO_MEAN)
    reach = reach_of(base, work)
    most, ports = ceiling(base, work, reach), reach.ports

    def fits(rate: float, flows: int = MAX_FLOWS) -> Steady | None:
        found = steady(base, replace(work, rate=rate), share, flows, progress, loaded)
        return found if found.allows(share) else None

    def fits_soon(rate: float) -> bool:
        turnovers = TURNOVERS * max(ports * reach.destinations, SHORTEST)
        held = HOLDS * rate * mean_hold(work.hold or 0.0)
        return fits(rate, int(max(turnovers, held)) if ports else MAX_FLOWS) is not None

    low, high = bracket(most, fits_soon)
    if not ports and low * NEAR >= MOST_RATE:
        raise InputError("the flows are not translated, so no SNAT port limits their rate")
    step = NEAR
    while low > most / HOPELESSLY_LOW:
        found = fits(low)
        if found and found.fails + found.width <= share:
            return Rate(low, found, high)
        low, high, step = low / step, low, min(step * step, 2.0)
    already = ", as connections are there already" if loaded else ""
    raise InputError(f"at no rate do so few flows fail{already}: give --rate, and see how they fail")


def estimate(base: Engine, work: Workload) -> float:
    """Return about which rate few enough flows fail at, by arithmetic alone; InputError for hold times without a mean.

    The port search finds nothing, now and then, from some five sixths of the ports in use on.
    """
    if not math.isfinite(lifetime(base.node, work, base.profile)):
        raise InputError(NO_MEAN)
    return FIRST_TRY * ceiling(base, work, reach_of(base, work))


def ceiling(base: Engine, work: Workload, reach: Reach) -> float:
    """Return a rate beyond which more ports or table entries are needed than there are, whatever the search finds.

    Raises InputError where nothing tracks the flows.
    """
    if not reach.tracked:
        raise InputError("the flows are not tracked, so neither SNAT ports nor the table limit their rate")
    lasts = lifetime(base.node, work, base.profile)
    shares = [MOST_RATE]
    if reach.ports:
        shares.append(reach.ports / reach.at_least / max(keeps_for(work, lasts, base.profile), 1e-3))
    if not reach.ports or reach.ports * reach.destinations >= base.max_connections:
        # the table gives no room to a new connection because an old one waits for its end
        shares.append(base.max_connections / max(lasts, 1e-3))
    return 1.02 * min(shares)


def bracket(high: float, fits: Callable[[float], bool]) -> tuple[float, float]:
    """Return two rates near each other, of which the first one fits and the second one does not, by short runs."""
    # the port search gives up somewhat before the ports are gone
    low, middle, least = 0.0, FIRST_TRY * high, high / HOPELESSLY_LOW
    while middle > least and high > low * NEAR:
        if fits(middle):
            low = middle
        else:
            high = middle
        middle = (low + high) / 2 if low else 0.8 * middle
    return low, high
