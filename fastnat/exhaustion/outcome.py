"""What a run found, and the answer in words: which of the look-alike failures it is, and where it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PORTS = 64512
COLUMNS = ("sent", "count", "occupancy", "fail", "probes_per_conn", "ns_per_conn")


def quantile(counted: Sequence[int] | NDArray[np.int64], share: float) -> int:
    """Return the number that this share stays within: counted[n] had n. 0 where nothing was counted."""
    counts = np.cumsum(counted)
    return int(np.searchsorted(counts, share * counts[-1])) if len(counts) else 0


@dataclass(frozen=True)
class Row:
    """A thousand flows: `fail` is a share; occupancy counts live connections a SNAT port and destination.

    time [s] is that of the last of them; probes_p50 and probes_p99 are what half, and 99 of 100, of them stay within.
    """

    sent: int
    count: int
    occupancy: float
    fail: float
    probes_per_conn: float
    ns_per_conn: float
    time: float = 0.0
    probes_p50: int = 0
    probes_p99: int = 0


@dataclass(frozen=True)
class Outcome:
    """A whole run.

    Attributes
    ----------
    rows : list of Row
    opened, failed : int            flows
    first_failure : int or None     number of the first flow that failed; first_failure_time [s]
    one_in_thousand : int or None   end of the first row of which a thousandth failed
    reasons : dict                  failed flows by reason
    races : int                     of the reason clash, those that lost to another CPU, not to a lack of ports
    translated : int                flows whose source was translated; addresses: NAT addresses seen
    probes : list of int            probes[n]: flows that took n probes
    stats : dict                    counters of the engine at the end
    max_connections : int           nf_conntrack_max
    bound : int                     ports by arithmetic: 64,512 a NAT address and destination
    expected : float                connections at a time by arithmetic: rate times lifetime, 0 without a rate
    by_destination : list           where there are several: (time, live connections of each), some sixty times
    """

    rows: list[Row]
    opened: int
    failed: int
    first_failure: int | None
    one_in_thousand: int | None
    reasons: dict[str, int]
    translated: int
    first_failure_time: float | None = None
    races: int = 0
    addresses: int = 1
    probes: list[int] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)
    max_connections: int = 0
    bound: int = PORTS
    expected: float = 0.0
    by_destination: list[tuple[float, list[int]]] = field(default_factory=list)

    @property
    def peak(self) -> int:
        """Most connections in the table."""
        return max((r.count for r in self.rows), default=0)

    @property
    def steady_occupancy(self) -> float:
        """Mean occupancy over the last quarter of the run."""
        last = self.rows[-max(len(self.rows) // 4, 1) :]
        return float(np.mean([r.occupancy for r in last])) if last else 0.0

    @property
    def steady_fail(self) -> float:
        """Share of failed flows over the last quarter of the run."""
        last = self.rows[-max(len(self.rows) // 4, 1) :]
        return float(np.mean([r.fail for r in last])) if last else 0.0

    @property
    def probes_mean(self) -> float:
        """Mean number of probes of a flow."""
        total = sum(self.probes)
        return sum(n * k for n, k in enumerate(self.probes)) / total if total else 0.0

    @property
    def probes_p99(self) -> int:
        """The number of probes that 99 of 100 flows stay within."""
        return quantile(self.probes, 0.99)

    @property
    def probes_max(self) -> int:
        """The greatest number of probes of a flow."""
        return max((n for n, k in enumerate(self.probes) if k), default=0)

    def fail_at(self, sent: int) -> float | None:
        """Return the share that failed of the thousand flows up to this one, None beyond the run."""
        return next((r.fail for r in self.rows if r.sent >= sent), None)

    @property
    def kind(self) -> str:
        """What happened: "fine", "untranslated", "ports", "table", "race", or the reason of most failures."""
        if not self.failed:
            return "fine" if self.translated else "untranslated"
        causes = {**self.reasons, "race": self.races}
        causes["clash"] = causes.get("clash", 0) - self.races
        worst = max(causes, key=lambda k: causes[k])
        return {"clash": "ports", "table_full": "table"}.get(worst, worst)


WORDS = {
    "ports": "SNAT ports to one destination ran out: the port search gave up and the flow was lost at confirm "
    "(insert_failed, drop)",
    "table": "The conntrack table is full (nf_conntrack_max): packets are dropped before NAT is asked",
    "race": "Flows raced between CPUs: two chose one port between set-up and confirm, and the later one was lost "
    "(insert_failed, drop), although ports were free",
}
REMEDIES = {
    "ports": "More SNAT addresses, destinations or a shorter TIME_WAIT help; a larger nf_conntrack_max does not.",
    "table": "A larger nf_conntrack_max (and nf_conntrack_buckets) or shorter timeouts help; more addresses do not.",
    "race": "--random-fully makes races of different clients rare; two packets of one socket are not helped by it.",
}


def verdict(o: Outcome) -> str:
    """Return the answer in words: which of the three look-alike failures it is, and where it starts."""
    kind = o.kind
    if kind == "untranslated":
        return "No flow was translated: these rules do not SNAT this traffic, so no SNAT port can run out."
    if kind == "fine":
        return f"All {o.opened:,} flows found a port."
    what = WORDS.get(kind, f"Flows were dropped: {kind.replace('_', ' ')}")
    return f"{what}. First failure at flow {o.first_failure:,}; {o.failed:,} of {o.opened + o.failed:,} failed."


def remedy(o: Outcome) -> str:
    """Return what helps against this kind of failure, "" where nothing need help."""
    return REMEDIES.get(o.kind, "")
