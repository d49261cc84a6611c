"""Which of the failures that look alike it is: of each yes, no, or what is missing to tell.

Sources: which counter each failure raises is recorded (docs/behaviour.md). A full table counts `drop` alone, a flow
lost at confirm `insert_failed` and `drop`, whether ports ran out or another CPU was faster.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import numpy as np

from ..addresses import end_text
from ..conntrack.dump import Dump, read
from ..conntrack.port_spaces import MOST_LOOKED_AT, PAIN, PORTS, PortSpace, each_space, narrowed
from ..dtypes import PROTOCOLS
from ..node.nat_addresses import NatAddresses
from .counters import Counters
from .recognise import COMMANDS, TOOL, Evidence

FULL = re.compile(r"nf_conntrack: table full, dropping packet")
SUPPRESSED = re.compile(r"net_ratelimit: (\d+) callbacks suppressed")
# share of new connections that fail, above which ports are running out; of the table in use, above which the collector
# and early drop set in; of the connections, above which invalid packets are more than the usual few
FAILS, NEARLY_FULL, ROOMY, INVALID = 0.001, 0.95, 0.9, 0.01
FEW_INVALID = 100
# ports in use that say something of how many there are
SMALL = 50
# a dump that shows fewer entries than the tool or the kernel counted is cut
WHOLE = 0.98
NO_LIMIT = "nf_conntrack_max is 0: the table has no limit"
NAMES = {
    "ports": "SNAT ports to one destination ran out", "table": "the conntrack table is full",
    "early_drop": "early drop ends connections that were not answered",
    "race": "insert races: two CPUs chose one tuple at the same time", "invalid": "packets are invalid",
    "stale": "entries go on as earlier rules began them",
}  # fmt: skip


@dataclass
class Finding:
    """One failure: answer "yes", "no" or "unknown"; because: the figures; needs: what would tell, if unknown."""

    cause: str
    answer: str
    because: str
    needs: str = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Facts:
    """What the files say together."""

    evidence: Evidence
    dump: Dump | None = None
    entries: int | None = None
    whole: bool = True
    spaces: list[Fullness] = field(default_factory=list)
    windows_known: bool = False
    counted: Counters | None = None
    # the counters are those of the time between two texts, not of all since the node's start
    between: bool = False
    limit: int | None = None
    full_lines: int = 0

    @property
    def worst(self) -> Fullness | None:
        """The port space in which most new connections fail, the fullest of such."""
        return max(self.spaces, key=lambda s: (s.fails, s.share), default=None)


def facts_of(evidence: Evidence, profile: str) -> Facts:
    """Return the figures that the files hold, and say which are not used and why."""
    facts = Facts(evidence, limit=evidence.sysctl("max"))
    if evidence.dumps:
        _read_dump(facts, profile)
    if facts.entries is None:
        facts.entries = evidence.sysctl("count")
    _read_counters(facts)
    for name, text in evidence.logs:
        lines = len(FULL.findall(text))
        facts.full_lines += lines
        evidence.said.append(f"{name}: {lines:,} lines say that the table was full")
    return facts


def _read_dump(facts: Facts, profile: str) -> None:
    evidence = facts.evidence
    name, text = evidence.dumps[-1]
    for other, _ in evidence.dumps[:-1]:
        evidence.said.append(f"{other}: left out, {name} is taken as the later dump")
    lines = [line for line in text.splitlines(keepends=True) if not TOOL.match(line)]
    facts.dump = read(io.BytesIO("".join(lines).encode(errors="replace")), name)
    facts.entries = facts.dump.connections
    told = [int(n) for n in TOOL.findall(text)] + [n for n in [evidence.sysctl("count")] if n is not None]
    if facts.dump.cut or any(facts.dump.connections < WHOLE * n - 10 for n in told):
        facts.whole = False
        facts.entries = max([*told, facts.entries])
        there = f"{facts.dump.connections:,} of {facts.entries:,} entries are in it"
        if facts.entries == facts.dump.connections:
            there = f"its last line is, behind {facts.entries:,} entries"
        evidence.said.append(f"{name}: cut, {there}")
    own, ours, first = NatAddresses(evidence.node) if evidence.node else None, False, ""
    # in a space with fewer connections no search for a port fails, and nothing tells how many ports it has
    least = min([high - low + 1 for low, high in evidence.windows] + [SMALL])
    # but where rules name ports the fullest one may be any of them
    at_least = MOST_LOOKED_AT if evidence.windows else 1
    for space in each_space(facts.dump, profile=profile, by_connections=True):
        first = first or space.address
        ours = ours or own is None or space.address in own
        if space.connections >= least or len(facts.spaces) < at_least:
            facts.spaces.append(within(space, evidence.windows_of(space.address, space.proto)))
        elif ours:
            break
    facts.windows_known = evidence.has_rules
    if facts.spaces and not ours:
        evidence.said.append(
            f"{name}: none of its NAT addresses ({first}, ...) is one of this node's: it is taken to be of another "
            "machine, and left out"
        )
        facts.dump, facts.entries, facts.spaces = None, evidence.sysctl("count"), []
        evidence.dumps.clear()


@dataclass(frozen=True)
class Fullness:
    """Ports in use, of those that rules allow; fails: the share of new connections that find none."""

    space: PortSpace
    used: int
    ports: int
    fails: float

    @property
    def share(self) -> float:
        """Share of the ports in use."""
        return self.used / self.ports


def within(space: PortSpace, windows: set[tuple[int, int]]) -> Fullness:
    """Return how full a port space is.

    Where a rule names ports, and most of those in use are among them, it has only those.
    """
    if PROTOCOLS.get(space.proto) in (6, 17):
        space = narrowed(space, windows)
    return Fullness(space, space.used, space.ports, space.fails)


def _read_counters(facts: Facts) -> None:
    evidence = facts.evidence
    if not evidence.stats:
        return
    # a later text of one node counts more; files may be given in any order
    stats = sorted(evidence.stats, key=lambda s: sum(s[1].values.values()))
    (name, facts.counted), *_ = stats[::-1]
    if len(stats) < 2:
        return
    grown = facts.counted.since(stats[-2][1])
    if grown is None:
        evidence.said.append(
            f"{stats[-2][0]} and {name}: not two readings of one node since its start: only {name} is used"
        )
        return
    facts.counted, facts.between = grown, True
    evidence.said.append(f"{name}: counted since {stats[-2][0]}")


def findings(facts: Facts) -> list[Finding]:
    """Return an answer for each failure but stale entries, which another look finds."""
    return [_ports(facts), _table(facts), _early_drop(facts), _race(facts), _invalid(facts)]


def _when(facts: Facts) -> str:
    return "between the two readings of the counters" if facts.between else "since the node's start"


def _crowded(facts: Facts) -> bool:
    """Tell whether some port space is so full that its search begins to fail."""
    return any(s.fails >= FAILS or s.used >= PAIN * s.ports for s in facts.spaces)


def _ports(facts: Facts) -> Finding:
    counted, worst = facts.counted, facts.worst
    lost = counted["insert_failed"] if counted else None
    if worst and worst.fails >= FAILS:
        space = worst.space
        zone = f" in zone {space.zone}" if space.zone else ""
        where = f"{space.address} to {space.proto} {end_text(space.dst, space.dport)}{zone}"
        said = (
            f"{worst.used:,} of the {worst.ports:,} ports of {where} are in use, {space.time_wait:,} of them in "
            f"TIME_WAIT; of new connections there {worst.fails:.1%} fail now"
        )
        figures = {"used": float(worst.used), "ports": float(worst.ports), "fails": worst.fails}
        if lost is not None:
            said += f"; {lost:,} flows were lost at confirm (insert_failed) {_when(facts)}"
        return Finding("ports", "yes", said, figures=figures)
    if lost == 0:
        return Finding("ports", "no", f"no flow was lost at confirm (insert_failed 0) {_when(facts)}")
    fullest = f"; the fullest port space has {worst.share:.1%} of its ports in use" if worst else ""
    if facts.dump is None:
        why = (
            f"{lost:,} flows were lost at confirm (insert_failed): by ports or by a race" if lost else "nothing says so"
        )
        return Finding("ports", "unknown", why, COMMANDS["connections"])
    if not facts.whole:
        return Finding("ports", "unknown", f"the dump is cut{fullest}", "a whole " + COMMANDS["connections"])
    if not facts.windows_known and lost != 0 and _some_small(facts):
        return Finding("ports", "unknown", f"rules may allow fewer ports than 64,512{fullest}", COMMANDS["rules"])
    if lost and not facts.between:
        why = f"{lost:,} flows were lost at confirm (insert_failed) {_when(facts)}, but ports are free now{fullest}"
        return Finding("ports", "unknown", why, f"{COMMANDS['counters']} a second time, some seconds later")
    return Finding("ports", "no", f"ports are free{fullest}" if fullest else "nothing is translated to a NAT address")


def _some_small(facts: Facts) -> bool:
    """Tell whether the ports in use of some space lie so close together that a rule may limit them."""
    for fullness in facts.spaces:
        taken = np.flatnonzero(fullness.space.taken)
        if len(taken) >= SMALL and len(taken) >= 0.5 * (taken[-1] - taken[0] + 1) and taken[-1] - taken[0] < PORTS // 2:
            return True
    return False


def _table(facts: Facts) -> Finding:
    counted, entries, limit = facts.counted, facts.entries, facts.limit
    full = entries is not None and limit is not None and entries >= limit > 0
    share = entries / limit if entries is not None and limit else None
    there = f"{entries:,} entries of nf_conntrack_max {limit:,} ({share:.0%})" if share is not None else ""
    figures = {"entries": float(entries), "max": float(limit)} if entries is not None and limit else {}
    if counted and counted.table_drops:
        said = f"{counted.table_drops:,} packets found no place in the table (drop above insert_failed) {_when(facts)}"
        return Finding(
            "table", "yes", f"{said}; {there}".rstrip("; "), figures=figures | {"dropped": float(counted.table_drops)}
        )
    if facts.full_lines and not counted:
        return Finding(
            "table", "yes", f"the kernel says so in {facts.full_lines:,} lines; {there}".rstrip("; "), figures=figures
        )
    if counted and facts.full_lines and not facts.between:
        said = f"the kernel says so in {facts.full_lines:,} lines, the counters do not: they are of different times"
        return Finding("table", "unknown", said, f"{COMMANDS['counters']} a second time", figures)
    if counted and full and not facts.between:
        return Finding(
            "table", "unknown", f"{there}, but no packet was dropped", f"{COMMANDS['counters']} a second time", figures
        )
    if counted:
        said = f"no packet was dropped for it (drop equals insert_failed) {_when(facts)}"
        if facts.full_lines and facts.between:
            said += f"; the {facts.full_lines:,} lines of the kernel are older"
        return Finding("table", "no", f"{said}; {there}".rstrip("; "), figures=figures)
    if limit == 0:
        return Finding("table", "no", NO_LIMIT)
    if share is not None and share < ROOMY:
        return Finding("table", "no", there, figures=figures)
    if full:
        there += ": new connections are dropped, or others early for them"
    needs = COMMANDS["counters"] if share is not None else f"{COMMANDS['sysctls']} and {COMMANDS['counters']}"
    return Finding("table", "unknown", there or _half(entries, limit), needs)


def _half(entries: int | None, limit: int | None) -> str:
    """Say which half of the table's fullness is known."""
    if entries is not None:
        return f"{entries:,} entries; nothing says how many there may be (nf_conntrack_max)"
    if limit is not None:
        return f"nf_conntrack_max is {limit:,}; nothing says how many entries there are"
    return "nothing says how many entries there are, or may be"


def _early_drop(facts: Facts) -> Finding:
    counted, entries, limit = facts.counted, facts.entries, facts.limit
    if counted:
        n = counted["early_drop"]
        said = f"{n:,} connections were ended early (early_drop) {_when(facts)}"
        return Finding("early_drop", "yes" if n else "no", said, figures={"early_drop": float(n)})
    if entries is not None and limit and entries < ROOMY * limit:
        return Finding("early_drop", "no", f"{entries:,} entries of {limit:,}: there is room")
    if limit == 0:
        return Finding("early_drop", "no", NO_LIMIT)
    return Finding("early_drop", "unknown", "no counter says so", COMMANDS["counters"])


def _race(facts: Facts) -> Finding:
    counted = facts.counted
    if not counted:
        return Finding("race", "unknown", "only a counter shows it", COMMANDS["counters"])
    lost, resolved = counted["insert_failed"], counted["clash_resolve"]
    if not lost:
        said = f"no flow was lost at confirm (insert_failed 0) {_when(facts)}"
        if resolved:
            said += f"; {resolved:,} packets that met another one's connection were attached to it (clash_resolve)"
        return Finding("race", "no", said)
    said = f"{lost:,} flows were lost at confirm (insert_failed) {_when(facts)}"
    if facts.dump is None:
        return Finding("race", "unknown", f"{said}: by ports or by a race", COMMANDS["connections"])
    if _crowded(facts):
        return Finding("race", "unknown", f"{said}, which the lack of ports explains", "the same once ports are free")
    if not facts.whole:
        return Finding("race", "unknown", f"{said}; the dump is cut", "a whole " + COMMANDS["connections"])
    if not facts.windows_known and _some_small(facts):
        return Finding("race", "unknown", f"{said}; rules may allow fewer ports", COMMANDS["rules"])
    if not facts.between:
        return Finding("race", "unknown", f"{said}; ports are free now", f"{COMMANDS['counters']} a second time")
    return Finding("race", "yes", f"{said} although ports are free", figures={"insert_failed": float(lost)})


def _invalid(facts: Facts) -> Finding:
    counted = facts.counted
    if not counted:
        return Finding("invalid", "unknown", "only a counter shows it", COMMANDS["counters"])
    n = counted["invalid"]
    among = facts.entries or 0
    said = f"{n:,} packets belonged to no connection or broke one's rules (invalid) {_when(facts)}"
    many = n > max(FEW_INVALID, INVALID * among)
    if n and not many:
        said += "; a few are normal"
    return Finding("invalid", "yes" if many else "no", said, figures={"invalid": float(n)})
