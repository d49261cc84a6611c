"""What a run found, and the answer in words: which of the look-alike failures it is, and where it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..engine.reasons import REASONS
from .spaces import Space

PORTS = 64512
COLUMNS = ("sent", "count", "occupancy", "fail", "probes_per_conn", "ns_per_conn")


def quantile(counted: Sequence[int] | NDArray[np.int64], share: float) -> int:
    """Return the number that this share stays within: counted[n] had n. 0 where nothing was counted."""
    counts = np.cumsum(counted)
    return int(np.searchsorted(counts, share * counts[-1])) if len(counts) else 0


@dataclass(frozen=True)
class Row:
    """A thousand flows: `fail` is a share; occupancy is the share of the ports in use in the fullest port space.

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
    expected : float                connections at a time by arithmetic: rate times lifetime, at most all flows; 0
                                    where none is held
    by_destination : list           where there are several: (time, live connections of each), some sixty times
    window : int                    ports of a port space: those of the rules, or 64,512
    spaces : int                    port spaces in use: NAT addresses times destinations, as far as they were met
    fullest : Space or None         the port space that was fullest
    ran_out : list of Space         those in which flows found no port, the worst first; at most eight
    demand : float                  what is expected of the busiest destination, as a share of its port spaces
    untracked : int                 flows without an entry in the table, because nothing tracks them
    lingers : str                   what says how long a flow keeps its port behind its end: a sysctl, or a state of a
                                    timeout policy, "" none
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
    window: int = PORTS
    spaces: int = 0
    fullest: Space | None = None
    ran_out: list[Space] = field(default_factory=list)
    demand: float = 0.0
    lingers: str = ""
    untracked: int = 0

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
    def causes(self) -> dict[str, int]:
        """Failed flows by what happened to them, the most frequent first: "ports", "table", "race", or a reason."""
        clash = self.reasons.get("clash", 0) - self.races
        found = {name: n for name, n in self.reasons.items() if name not in ("clash", "table_full")}
        found |= {"ports": clash, "table": self.reasons.get("table_full", 0), "race": self.races}
        return {name: found[name] for name in sorted(found, key=lambda name: -found[name]) if found[name] > 0}

    @property
    def kind(self) -> str:
        """What happened: "fine", "untranslated", "untracked", "early_drop" of others, or the cause of most failures."""
        if self.failed:
            return next(iter(self.causes))
        if self.stats.get("early_drop", 0):
            return "early_drop"
        if self.translated:
            return "fine"
        return "untracked" if self.untracked == self.opened else "untranslated"


WORDS = {
    "ports": "SNAT ports to one destination ran out: the port search gave up and the flow was lost at confirm "
    "(insert_failed, drop)",
    "table": "The conntrack table is full (nf_conntrack_max): packets are dropped before NAT is asked",
    "race": "Flows raced between CPUs: two chose one port between set-up and confirm, and the later one was lost "
    "(insert_failed, drop), although ports were free",
}
# a cause in a cell of a table
CELLS = {"ports": "ports", "table": "table full", "race": "race", "fine": "-", "untranslated": "-", "untracked": "-"}
TABLE = "A larger nf_conntrack_max (and nf_conntrack_buckets)"
REMEDIES = {
    "race": "--random-fully makes races of different clients rare; two packets of one socket are not helped by it.",
    "no_address": "The interface needs an address of global scope; it is not ports that are missing.",
    "no_route": "The node needs a route; it is not ports that are missing.",
}
TIME_WAIT = "nf_conntrack_tcp_timeout_time_wait"


def words_of(kind: str) -> str:
    """Return a cause as a cell of a table, or within a sentence."""
    return CELLS.get(kind, kind.replace("_", " "))


def listed(names: Sequence[str], most: int = 2) -> str:
    """Return names as a sentence has them, at most so many."""
    more = len(names) - most
    return f"{', '.join(names[:most])} and {more:,} more" if more > 0 else ", ".join(names)


def verdict(o: Outcome) -> str:
    """Return the answer in words: which of the look-alike failures it is, and where it starts."""
    kind = o.kind
    if kind == "untranslated":
        return "No flow was translated: these rules do not SNAT this traffic, so no SNAT port can run out."
    if kind == "untracked":
        return (
            "No flow is tracked: it has no entry in the conntrack table and is not translated, so neither SNAT ports "
            "nor the table can run out."
        )
    passed = "found a port" if o.translated else "passed"
    if kind == "fine":
        return f"All {o.opened:,} flows {passed}."
    if kind == "early_drop":
        return (
            f"All {o.opened:,} flows {passed}, but the conntrack table was full (nf_conntrack_max): "
            f"{o.stats['early_drop']:,} earlier connections without an answer were dropped for them (early_drop)."
        )
    what = WORDS.get(kind) or f"Flows were dropped: {REASONS.get(kind, kind.replace('_', ' '))}"
    if kind == "ports" and o.ran_out:
        what = what.replace(":", f" ({listed([space.name for space in o.ran_out])}):", 1)
    others = "".join(f", {n:,} of them by {words_of(name)}" for name, n in list(o.causes.items())[1:])
    return f"{what}. First failure at flow {o.first_failure:,}; {o.failed:,} of {o.opened + o.failed:,} failed{others}."


def remedy(o: Outcome) -> str:
    """Return what helps against this kind of failure, "" where nothing need help."""
    kind, waits = o.kind, o.lingers == TIME_WAIT or o.lingers.startswith("time_wait of ")
    shorter = "TIME_WAIT" if o.lingers == TIME_WAIT else o.lingers
    if kind in ("table", "early_drop"):
        helps = f"{TABLE} or a shorter {shorter} help" if shorter else f"{TABLE} helps"
        return f"{helps}; more addresses do not."
    if kind != "ports":
        return REMEDIES.get(kind, "")
    if shorter and not (waits and o.stats.get("evicted", 0)):
        return f"More SNAT addresses, destinations or a shorter {shorter} help; a larger nf_conntrack_max does not."
    taken = " Ports in TIME_WAIT are taken over already (linux-6.18)." if shorter else ""
    return f"More SNAT addresses or destinations help; a larger nf_conntrack_max does not.{taken}"
