"""The rule model to the arrays that core/rules/match reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family
from ..core.datapath import Datapath
from ..core.layout import (
    FN_ANY_IFACE,
    FN_NONE,
    FN_RECENT_STAMPS,
    FN_WIDE,
    TARGET_FORMS,
    HashlimitBit,
    Hook,
    MatchKind,
    RuleTable,
    RuleTests,
    TargetKind,
    TimeBit,
)
from ..dtypes import DISPATCH, DISPATCH_SLOT, HZ, MATCH, records_of
from ..errors import RuleError
from ..iptables import Chain, Match, Rule, Rules, Table
from ..iptables.context import TimeMatch
from ..iptables.matches import L4_MATCHES
from ..iptables.nesting import jump_depth
from ..iptables.stateful import MAX_CREDIT, HashlimitMatch, RecentMatch, SetMatch, credits
from ..iptables.targets import PASSING
from ..node.ipset import IpSet
from ..util.memory import aligned, no_garbage
from ..util.slots import Slots
from .alike import SourceRun, set_apart
from .forms import NO_MATCH, Row, match_row, row_of, second_row, view_of, with_need
from .runs import (
    BY_CT_SRC,
    BY_DPORT,
    BY_DST,
    BY_IN,
    BY_MARK,
    BY_SRC,
    Run,
    address_cuts,
    find_runs,
    is_prefix,
    port_starts,
)

# limit of different -i and -o patterns, as each is compared with each interface
MAX_PATTERNS = 16_384
TABLES = {t.name.lower(): int(t) for t in RuleTable}
HOOKS = {h.name: int(h) for h in Hook}
# targets that do the same as another one, or nothing that this engine shows
SAME_TARGETS = {
    "REJECT": TargetKind.REJECT,
    "NFQUEUE": TargetKind.ACCEPT,
    "CT": TargetKind.CT_ZONE,
    "DSCP": TargetKind.TOS,
    "HL": TargetKind.TTL,
}
TARGET_CODES = {
    **{t.name: int(t) for t in TargetKind}, **{name: int(t) for name, t in SAME_TARGETS.items()},
    **dict.fromkeys(("", "LOG", *PASSING), int(TargetKind.NONE)),
}  # fmt: skip
NO_RULE = FN_NONE
# matches by the parser's names: tcp-flags for TCP_FLAGS, but ctaddr for CT_ADDR
MATCH_CODES = {m.name.lower().replace("ct_", "ct").replace("_", "-"): m for m in MatchKind}
# a dispatch with this many slots has its rules, and those to which they lead, fetched ahead
WIDE_RUN = 512
# matches that a rule can hold itself, because save() need not keep anything that they remember
STATELESS = {
    "sport", "dport", "tcp-flags", "icmp-type", "mark", "addrtype-src", "addrtype-dst", "ctstate", "ctproto", "random",
    "length", "const", "ttl", "tos", "owner",
}  # fmt: skip
# xt_limit: credit of a jiffy at HZ 250, and the unit of its rates a second
# xt_hashlimit: credits of a microsecond, a jiffy being 2**39
HASHLIMIT_SCALE = 1_000_000
HASHLIMIT_CREDITS = HZ * 2**39 // HASHLIMIT_SCALE
MAX_64 = 2**64 - 1
ANY_COUNT = (0, MAX_64)
# an engine keeps a list for each
MAX_CONNLIMITS = 1024
# the longest window of -m recent that jiffies can compare
MAX_SECONDS = 2**31 // HZ - 1
# bytes of l4 header without which the kernel's match drops the packet
HEADER_NEED = {6: 20, 17: 8, 132: 12, 136: 8, 1: 8, 58: 8}
MULTIPORT_NEED = 4
# members of an enumeration are slow numbers
ADDRESSES, PROTO = int(RuleTests.ADDRESSES), int(RuleTests.PROTO)
HELD, LISTED = int(RuleTests.MATCH), int(RuleTests.MATCHES)
# matches of lists and tables that rules share
SHARED = (RecentMatch, HashlimitMatch)
TRACKING_TARGETS = {"SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP", "CONNMARK", "CT", "CONNSECMARK"}
TRACKING_MATCHES = {
    "ctstate", "ctproto", "connmark", "ctaddr", "ctport", "ctstatus", "ctdir", "ctexpire", "helper", "connlimit",
    "connbytes",
}  # fmt: skip


@dataclass(frozen=True)
class HashlimitTable:
    """A table of -m hashlimit: HASHLIMIT_* of its key, prefix lengths of both masks, credits, jiffies."""

    mode: int
    masks: tuple[int, int]
    cost: int
    full: int
    expiry: int
    window: int


@dataclass
class Ruleset:
    """Compiled rules.

    Attributes
    ----------
    rules : RULE[n]            chains one after the other, each closed by its policy or end
    matches, targets : MATCH[], TARGET[]
    port_slots : uint16[2 m]   min, max pairs of multiport
    dispatches : DISPATCH[], dispatch_slots : DISPATCH_SLOT[]   see core/types.h
    address_cuts, sport_starts, dport_starts   where the answer of a rule may change with address or port
    repeatable : bool          these cuts cover all that rules test of addresses (no mask with holes)
    iface_match : uint8[sets * n_ifaces]
    hook_entry, hook_policy : dict of (table, hook) to the index of the first rule, and of the policy
    wide : list of int         dispatches of addresses and marks with at least WIDE_RUN slots, the greatest ones
    apart : list of int        dispatches of sources that are no classes of addresses, see alike.py
    tracking, nat_hooks : bool    whether the kernel registers those hooks for these rules
    jump_depth : int           how deep chains nest at most
    recent_rings : dict of list of -m recent to the stamps it keeps of an address
    recent_masks : dict of list of -m recent to the mask of its addresses
    hashlimit_tables : dict of table of -m hashlimit to what its first rule says
    connlimit_lists : int      lists of -m connlimit, one for each rule
    helpers : bool             some rule gives connections a helper
    origin : list of (table, Chain, Rule or None)   the source of each compiled rule
    parsed, sets : the rules and the sets that were compiled
    """

    rules: NDArray[np.void]
    matches: NDArray[np.void]
    targets: NDArray[np.void]
    port_slots: NDArray[Any]
    dispatches: NDArray[np.void]
    dispatch_slots: NDArray[np.void]
    address_cuts: set[int]
    sport_starts: NDArray[Any]
    dport_starts: NDArray[Any]
    repeatable: bool
    iface_match: NDArray[Any]
    hook_entry: dict[tuple[int, int], int]
    hook_policy: dict[tuple[int, int], int]
    wide: list[int]
    apart: list[int]
    tracking: bool
    nat_hooks: bool
    jump_depth: int
    recent_rings: dict[str, int]
    recent_masks: dict[str, int]
    hashlimit_tables: dict[str, HashlimitTable]
    connlimit_lists: int
    helpers: bool
    origin: list[tuple[str, Chain, Rule | None]]
    parsed: Rules
    sets: Mapping[str, IpSet]

    def targets_of(self, *names: str) -> NDArray[np.uint32]:
        """Return the places in `targets` of the rules with these targets, "SNAT" and so on."""
        codes = [TARGET_CODES[n] for n in names]
        places: NDArray[np.uint32] = self.rules["target_arg"][np.isin(self.rules["target"], codes)]
        return places


@dataclass
class Compiler:
    """Collects arrays while it walks the chains."""

    iface_names: list[str]
    sets: dict[str, int]
    foreign_sets: set[str]
    source: str
    family: Family
    recent_rings: dict[str, int] = field(default_factory=dict)
    recent_masks: dict[str, int] = field(default_factory=dict)
    masks_before: dict[str, int] = field(default_factory=dict)
    # places among those two, by name
    recent_numbers: dict[str, int] = field(default_factory=dict)
    hashlimit_numbers: dict[str, int] = field(default_factory=dict)
    hashlimit_tables: dict[str, HashlimitTable] = field(default_factory=dict)
    # lists and tables that are there already, from rules before
    rings_before: Mapping[str, int] = field(default_factory=dict)
    hashlimits_before: Mapping[str, HashlimitTable] = field(default_factory=dict)
    rules: list[tuple[Any, ...]] = field(default_factory=list)
    matches: list[Row] = field(default_factory=list)
    targets: list[tuple[Any, ...]] = field(default_factory=list)
    # of -m hashlimit: which target holds a rate, its cost, its full bucket, the window of a rate match
    rates: list[tuple[int, int, int, int]] = field(default_factory=list)
    # of -m connbytes: which target holds its limits, and these
    counts: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    # of -m time: which target holds a period, its dates and its times of day
    periods: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    connlimit_lists: int = 0
    slots: list[int] = field(default_factory=list)
    dispatches: list[tuple[int, ...]] = field(default_factory=list)
    dispatch_slots: list[tuple[int, int]] = field(default_factory=list)
    # slots of a dispatch of addresses, and which it is
    wide: list[tuple[int, int]] = field(default_factory=list)
    source_runs: list[SourceRun] = field(default_factory=list)
    # what rules may not name, and why
    unsupported_sets: Mapping[str, str] = field(default_factory=dict)
    # list:sets that count for themselves
    counted_lists: Collection[str] = ()
    # whether the engine has a date
    dated: bool = True
    # see Rules
    lenient: bool = False
    warnings: list[str] = field(default_factory=list)
    iface_sets: dict[tuple[str, bool], int] = field(default_factory=dict)
    origin: list[tuple[str, Chain, Rule | None]] = field(default_factory=list)
    hook_entry: dict[tuple[int, int], int] = field(default_factory=dict)
    hook_policy: dict[tuple[int, int], int] = field(default_factory=dict)
    # by the id of a list of matches and its rules' protocol: the row that they hold, or the rows that they list
    held: dict[tuple[int, int, bool], Row] = field(default_factory=dict)
    listed: dict[tuple[int, int, bool], list[Row]] = field(default_factory=dict)

    def iface_set(self, pattern: str, invert: bool) -> int:
        """Return the row of an interface pattern."""
        if not pattern or (pattern == "+" and not invert):
            return FN_ANY_IFACE
        if len(self.iface_sets) >= MAX_PATTERNS:
            raise RuleError(f"{self.source}: more than {MAX_PATTERNS:,} different interface patterns")
        return self.iface_sets.setdefault((pattern, invert), len(self.iface_sets))

    def iface_table(self) -> NDArray[np.uint8]:
        """Return the match table: a row per pattern, a column per interface; column 0 is "no interface"."""
        rows = [
            [_iface_fits(pattern, "" if n == 0 else name) != invert for n, name in enumerate(self.iface_names)]
            for pattern, invert in self.iface_sets
        ]
        return np.array(rows, np.uint8).reshape(-1)

    def match(self, m: Match) -> None:
        """Append one match."""
        kind, v, invert = MATCH_CODES.get(m.kind), m.values, int(m.invert)
        if m.kind == "multiport":
            kind, first = MatchKind(MatchKind.MULTIPORT_SRC + v[0]), len(self.slots) // 2
            self.matches.append(match_row(kind, invert, n_ports=len(v) // 2, first=first))
            self.slots += v[1:]
        elif kind is MatchKind.NTH:
            self.matches.append(match_row(kind, invert, last=v[0] - 1, count=v[0] - 1 - v[1]))
        elif kind in (MatchKind.IPRANGE_SRC, MatchKind.IPRANGE_DST):
            self.matches.append(match_row(kind, invert, at=self.addresses(*v)))
        elif kind is MatchKind.CT_ADDR:
            with_state, address, mask, end = v
            at = self.addresses(address, mask)
            self.matches.append(match_row(kind, invert, with_state=with_state, at=at, end=end))
        elif kind is MatchKind.SET:
            self.set_match(m)
        elif isinstance(m, RecentMatch):
            self.recent(m)
        elif isinstance(m, HashlimitMatch):
            self.hashlimit(m)
        elif kind is MatchKind.LIMIT:
            self.limit(m)
        elif kind is MatchKind.QUOTA:
            self.matches.append(match_row(kind, invert, low=v[0] & 0xFFFFFFFF, high=v[0] >> 32))
        elif kind is MatchKind.CONNLIMIT:
            self.connlimit(m)
        elif kind is MatchKind.CONNBYTES:
            at = self.addresses(0, 0)
            self.counts.append((at, (v[0], v[1])))
            self.matches.append(match_row(kind, invert, at=at, part=v[2], ways=v[3]))
        elif isinstance(m, TimeMatch):
            self.time(m)
        else:
            self.matches.append(row_of(MATCH_CODES[m.kind], invert, v))

    def never(self, error: RuleError) -> None:
        """Append a match that never holds in place of one that cannot be answered; raise unless rules are lenient."""
        if not self.lenient:
            raise error
        said = f"never matches: {self.source}: {error}"
        if said not in self.warnings:
            self.warnings.append(said)
        self.match(Match("const", False, (0,)))

    def set_match(self, m: Match) -> None:
        """Add -m set; in lenient rules a set that is not there never matches."""
        try:
            number = self.set_number(m.name)
            self.refuse_counters_of_lists(m)
        except RuleError as error:
            self.never(error)
            return
        _, sources, n_dims = m.values
        bits = m.bits if isinstance(m, SetMatch) else 0
        row = match_row(MatchKind.SET, m.invert, bits=bits, index=number, sources=sources, n_dims=n_dims)
        self.matches.append(row)
        if isinstance(m, SetMatch) and m.limits:
            at = [self.addresses(0, 0) for _ in range(2)]
            self.counts += [(at[0], m.limits.get("packets", ANY_COUNT)), (at[1], m.limits.get("bytes", ANY_COUNT))]
            self.matches.append(second_row("set_more", at=at[0]))

    def set_number(self, name: str) -> int:
        """Return the number of an ipset; RuleError when it does not exist or is of the other family."""
        if name in self.unsupported_sets:
            raise RuleError(f"set {name!r}: {self.unsupported_sets[name]}")
        if name not in self.sets:
            known = ", ".join(self.sets) or "none: the node has no ipset.save"
            raise RuleError(f"set {name!r} doesn't exist; there are {known}")
        if name in self.foreign_sets:
            raise RuleError(f"The protocol family of set {name} is not IPv{self.family.version}: not applicable")
        return self.sets[name]

    def refuse_counters_of_lists(self, m: Match) -> None:
        """Raise RuleError where a rule asks a list:set what its members have counted together (list_set_ktest)."""
        if m.name in self.counted_lists and isinstance(m, SetMatch) and m.limits:
            raise RuleError(
                f"--packets-* and --bytes-* of {m.name}, a list:set with counters, are not supported: "
                "match its members, or create the list without counters"
            )

    def limit(self, m: Match) -> None:
        """Append -m limit: two slots, and a full bucket."""
        cost, most = credits(m.values[0]), credits(m.values[0] * m.values[1] & MAX_CREDIT)
        if m.values[1] == 0 or most < cost:
            raise RuleError("--limit with this --limit-burst: Numerical result out of range, as the kernel says")
        self.matches.append(match_row(MatchKind.LIMIT, int(m.invert), cost=cost, most=most))
        self.matches.append(second_row("limit_more", credit=most, last=0))

    def shared(self, table: Table) -> None:
        """Make the lists and tables that rules of a table share, in the order in which the kernel is given its chains.

        Those of the user stand behind the others, by their names (libiptc).
        """
        lists = match_lists(r for chain in table.chains.values() for r in chain.rules)
        if not any(isinstance(m, SHARED) for matches in lists for m in matches):
            return
        names = list(table.chains)
        own = sorted(name for name in names if name not in HOOKS)
        for name in [*(hook for hook in HOOKS if hook in names), *own]:
            for m in (m for rule in table.chains[name].rules for m in rule.matches):
                if isinstance(m, RecentMatch):
                    self.mask_of_list(m)
                elif isinstance(m, HashlimitMatch):
                    self.table_of(m)

    def mask_of_list(self, m: RecentMatch) -> int:
        """Return the mask of a list of -m recent, made by the rule if it is the first that names it."""
        mine = self.family.full if m.address_mask is None else m.address_mask
        return self.recent_masks.setdefault(m.name, self.masks_before.get(m.name, mine))

    def table_of(self, m: HashlimitMatch) -> HashlimitTable:
        """Return the table of -m hashlimit, made by the rule if it is the first that names it."""
        cost, full = rate_of(m)
        mine = HashlimitTable(
            m.mode & ~HashlimitBit.ABOVE,
            m.masks or (self.family.bits,) * 2,
            cost,
            full,
            min(m.lifetime * HZ // 1000, 2**31),
            # of a byte rate the unit is none
            min((m.interval or (1 if m.in_bytes else m.unit)) * HZ, 2**31),
        )
        return self.hashlimit_tables.setdefault(m.name, self.hashlimits_before.get(m.name, mine))

    def recent(self, m: RecentMatch) -> None:
        """Append -m recent: two slots, and its list, whose ring is a power of two that holds the largest hit count.

        The mask is that of the first rule that names the list.
        """
        there = self.recent_rings.get(m.name, self.rings_before.get(m.name, 0))
        ring = max(ring_of(m.hits), there)
        self.recent_rings[m.name] = ring
        number = self.recent_numbers.setdefault(m.name, len(self.recent_numbers))
        window, bits = min(m.seconds, MAX_SECONDS) * HZ, m.operation | m.bits
        self.matches.append(
            match_row(MatchKind.RECENT, int(m.invert), bits=bits, list=number, window=window, hits=m.hits)
        )
        self.matches.append(second_row("recent_more", at=self.addresses(self.mask_of_list(m), 0)))

    def hashlimit(self, m: HashlimitMatch) -> None:
        """Append -m hashlimit. Key, masks and rate are those of the first rule that names the table."""
        table = self.table_of(m)
        at = self.addresses(*map(self.family.mask_of, table.masks))
        self.rates.append((at, table.cost, table.full, table.window))
        number = self.hashlimit_numbers.setdefault(m.name, len(self.hashlimit_numbers))
        bits = table.mode | m.mode & HashlimitBit.ABOVE
        self.matches.append(
            match_row(MatchKind.HASHLIMIT, int(m.invert), bits=bits, list=number, at=at, expiry=table.expiry)
        )

    def connlimit(self, m: Match) -> None:
        """Append -m connlimit: each rule has a list of its own."""
        limit, bits, mask = m.values
        at, number = self.addresses(mask, 0), self.connlimit_lists
        self.connlimit_lists += 1
        if self.connlimit_lists > MAX_CONNLIMITS:
            raise RuleError(f"more than {MAX_CONNLIMITS:,} rules with -m connlimit")
        self.matches.append(match_row(MatchKind.CONNLIMIT, int(m.invert), bits=bits, list=number, at=at, limit=limit))

    def time(self, m: TimeMatch) -> None:
        """Append -m time: its days; its period goes into the targets."""
        if not self.dated:
            self.never(RuleError("match 'time' needs a date: give Engine(epoch=...), or the option --epoch"))
            return
        at = self.addresses(0, 0)
        self.periods.append((at, (*m.dates, *m.hours)))
        bits = m.weekdays | TimeBit.CONTIGUOUS * m.contiguous
        self.matches.append(match_row(MatchKind.TIME, 0, bits=bits, at=at, monthdays=m.monthdays))

    def addresses(self, first: int, second: int) -> int:
        """Append two addresses that a match needs; return where they are."""
        self.targets.append((self.family.pack(first), self.family.pack(second), *[0] * 8))
        return len(self.targets) - 1

    def table(self, table: Table) -> None:
        """Append a table's chains: their rules, with a dispatch before each run, and their end or policy."""
        # ports are looked up by hash only in nat, where conntrack has already rejected cut headers
        kinds = (BY_DST, BY_SRC, BY_MARK, BY_IN, BY_CT_SRC, *([BY_DPORT] if table.name == "nat" else []))
        ifaces = {name: n for n, name in enumerate(self.iface_names)}
        runs = {chain.name: find_runs(chain.rules, kinds, self.family.full, ifaces) for chain in table.chains.values()}
        starts: dict[str, int] = {}
        at = len(self.rules)
        for chain in table.chains.values():
            starts[chain.name] = at
            at += len(chain.rules) + len(runs[chain.name]) + 1
        for chain in table.chains.values():
            self.chain(table, chain, runs[chain.name], starts)
            if chain.name not in HOOKS:
                continue
            place = TABLES[table.name], HOOKS[chain.name]
            self.hook_policy[place] = len(self.rules) - 1
            # nobody walks an empty chain that accepts: the core counts its packets, see engine_t.unruled
            if chain.rules or chain.policy == "DROP" or table.name == "nat":
                self.hook_entry[place] = starts[chain.name]

    def chain(self, table: Table, chain: Chain, runs: list[Run], starts: dict[str, int]) -> None:
        """Append one chain."""
        begins = {run.start: run for run in runs}
        followers: Iterator[int] = iter(())
        for n, rule in enumerate(chain.rules):
            if n in begins:
                followers = iter(self.dispatch(table, chain, begins[n]))
            self.rule(table, chain, rule, starts, next(followers, len(self.rules) + 1))
        policies = {"ACCEPT": TargetKind.POLICY_ACCEPT, "DROP": TargetKind.POLICY_DROP}
        policy = policies.get(chain.policy, TargetKind.CHAIN_END)
        self.append((table.name, chain, None), target=policy, packets=chain.packets, count=chain.bytes)

    def dispatch(self, table: Table, chain: Chain, run: Run) -> list[int]:
        """Append the lookup before a run; return for each of its rules where the walk continues."""
        first = len(self.rules) + 1
        behind = first + len(run.keys)
        following = [behind] * len(run.keys)
        heads: dict[int, int] = {}
        for n in reversed(range(len(run.keys))):
            following[n] = heads.get(run.keys[n], behind)
            heads[run.keys[n]] = first + n
        size = 1 << (2 * len(heads)).bit_length()
        slots = [(0, NO_RULE)] * size
        free = Slots(size)
        for key, rule in heads.items():
            slots[free.take((key * 0x9E3779B1 & 0xFFFFFFFF) >> 7)] = (key, rule)
        arg = len(self.dispatches)
        if size >= WIDE_RUN and run.kind in (BY_DST, BY_SRC, BY_CT_SRC, BY_MARK):
            self.wide.append((size, arg))
        if run.kind == BY_SRC:
            self.source_runs.append(SourceRun(arg, first, chain.rules[run.start : run.end], run.keys))
        self.append((table.name, chain, None), target=TargetKind.DISPATCH, arg=arg, following=behind)
        self.dispatches.append((run.kind, run.shift, 0, 0, size - 1, len(self.dispatch_slots), 0))
        self.dispatch_slots += slots
        return following

    def append(
        self, origin: tuple[str, Chain, None], target: int, arg: int = 0, packets: int = 0, count: int = 0,
        following: int | None = None,
    ) -> None:  # fmt: skip
        """Append a RULE that stands in no text, and its origin: a lookup, or the end of a chain."""
        ends = (self.family.pack(0),) * 4
        next_ = len(self.rules) + 1 if following is None else following
        row = (*ends, FN_ANY_IFACE, FN_ANY_IFACE, 0, 0, target, 0, arg, next_, NO_MATCH, packets, count)
        self.rules.append(row)
        self.origin.append(origin)

    def rule_matches(self, r: Rule) -> tuple[Row, int]:
        """Return the MATCH that a rule holds, and which of RuleTests it is.

        A single match without state is held itself. Otherwise all matches are appended, each that needs more l4 header
        than those in front of it after its length, and the rule holds their place. A list that several rules share
        (iptables/shapes.py) is made into rows once, unless these remember something.
        """
        known, first = (id(r.matches), r.proto, r.invert_proto), len(self.matches)
        if known in self.held:
            return self.held[known], HELD
        rows = self.listed.get(known)
        if rows is None:
            try:
                if len(r.matches) == 1 and r.matches[0].kind in STATELESS:
                    self.match(r.matches[0])
                    held = self.held[known] = with_need(self.matches.pop(), header_need(r, r.matches[0]))
                    return held, HELD
                self.list_matches(r)
            except RuleError as error:
                raise RuleError(f"{self.source}:{r.line}: {error}\n  in the rule: {r.text}") from None
            if all(m.kind in STATELESS or m.kind == "l4-header" for m in r.matches):
                self.listed[known] = self.matches[first:]
        else:
            self.matches += rows
        return match_row(MatchKind.LISTED, n_listed=len(self.matches) - first, first=first), LISTED

    def list_matches(self, r: Rule) -> None:
        """Append all matches of a rule, and the lengths of l4 header that they need."""
        seen = 0
        for m in r.matches:
            need = header_need(r, m)
            if need > seen:
                self.matches.append(match_row(MatchKind.L4_HEADER, bytes=need))
                seen = need
            if m.kind != "l4-header":
                self.match(m)

    def rule(self, table: Table, chain: Chain, r: Rule, starts: dict[str, int], following: int) -> None:
        """Append one rule and its matches and target."""
        match, tests = self.rule_matches(r) if r.matches else (NO_MATCH, 0)
        t, pack = r.target, self.family.pack
        if t.name in starts:
            code, arg = int(TargetKind.GOTO if t.goto else TargetKind.JUMP), starts[t.name]
        else:
            code, arg = TARGET_CODES[t.name], len(self.targets)
            ports = (t.min_proto, t.max_proto, t.base_proto)
            pair = (t.min_addr, t.max_addr) if self.family is V4 else (pack(t.min_addr), pack(t.max_addr))
            self.targets.append((*pair, *ports, t.flags, t.value, t.mask, t.mask2, t.op))
        near = far = FN_ANY_IFACE
        if r.in_iface:
            near = self.iface_set(r.in_iface, r.invert_in)
        if r.out_iface:
            far = self.iface_set(r.out_iface, r.invert_out)
        invert = r.invert_src | r.invert_dst << 1 | r.invert_proto << 2 | r.invert_fragment << 3
        ends: tuple[Any, ...] = r.src, r.smask, r.dst, r.dmask
        if r.smask or r.dmask or r.src or r.dst or invert & 3:
            tests |= ADDRESSES
        if r.proto:
            tests |= PROTO
        if r.fragment:
            tests |= RuleTests.FRAGMENT
        if near != FN_ANY_IFACE or far != FN_ANY_IFACE:
            tests |= RuleTests.IN * (near != FN_ANY_IFACE) | RuleTests.OUT * (far != FN_ANY_IFACE)
        if self.family is not V4:
            ends = tuple(map(pack, ends))
        self.rules.append(
            (*ends, near, far, r.proto, invert, code, tests, arg, following, match, r.packets, r.bytes)
        )  # fmt: skip
        self.origin.append((table.name, chain, r))


def rate_of(m: HashlimitMatch) -> tuple[int, int]:
    """Return what a packet, or 16 bytes, cost and what a full bucket holds, or bursts; of a rate match rate and burst.

    Raises RuleError where the kernel does (user2credits, user2credits_byte, rateinfo_init).
    """
    if m.mode & HashlimitBit.RATE_MATCH:
        if m.in_bytes:
            return m.bytes_a_second, max(m.bursts, 1) * m.bytes_a_second
        rate = HASHLIMIT_SCALE // (m.cost // m.unit)
        return rate, rate + m.bursts
    if m.in_bytes:
        return m.cost * HZ >> 8, m.bursts
    # 64 bits wide, whatever the product
    cost, full = m.cost * HASHLIMIT_CREDITS & MAX_64, m.cost * m.bursts * HASHLIMIT_CREDITS & MAX_64
    if m.bursts == 0 or full < cost:
        raise RuleError(f"-m hashlimit {m.name}: this rate with this burst is out of range")
    return cost, full


def header_need(r: Rule, m: Match) -> int:
    """Return the bytes of l4 header without which the kernel's match drops the packet."""
    if m.kind not in L4_MATCHES or r.invert_proto:
        return 0
    return MULTIPORT_NEED if m.kind == "multiport" else HEADER_NEED.get(r.proto, 0)


def with_arrays_of(ruleset: Ruleset, core: Datapath) -> Ruleset:
    """Return a ruleset whose arrays are a datapath's own, read-only, because the core trusts their contents."""
    own = core.arrays
    return replace(
        ruleset, rules=own["rules"], matches=own["matches"], targets=own["targets"], port_slots=own["port_slots"],
        dispatches=own["dispatches"], dispatch_slots=own["dispatch_slots"], iface_match=own["iface_match"],
    )  # fmt: skip


def _iface_fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def named(table: Table) -> set[tuple[str, str]]:
    """Return what rules of a table share by name: lists of -m recent and tables of -m hashlimit, as (kind, name)."""
    every = (m for chain in table.chains.values() for r in chain.rules for m in r.matches)
    return {(m.kind, m.name) for m in every if isinstance(m, (RecentMatch, HashlimitMatch))}


def lasting(before: Rules, after: Rules) -> set[tuple[str, str]]:
    """Return which lists and tables stay when iptables-restore loads other rules.

    It exchanges one table after the other, in the order of the text, and what no rule names in between is gone.
    """
    used = {name: named(table) for name, table in before.tables.items()}
    lasts = set().union(*used.values())
    for name in (*after.tables, *(before.tables.keys() - after.tables.keys())):
        # the new rules are there before the old ones go
        used[name] = named(after.tables[name]) if name in after.tables else set()
        lasts &= set().union(*used.values())
    return lasts


def match_lists(rules: Iterable[Rule]) -> list[list[Match]]:
    """Return the lists of matches that rules have, each once however many rules share it."""
    return list({id(r.matches): r.matches for r in rules}.values())


def recent_of(rules: Rules) -> Iterator[RecentMatch]:
    """Yield the matches of -m recent in the order of the text."""
    for table in rules.tables.values():
        for chain in table.chains.values():
            yield from (m for r in chain.rules for m in r.matches if isinstance(m, RecentMatch))


def shared_lists(rules4: Rules | None, rules6: Rules | None) -> tuple[dict[str, int], dict[str, int]]:
    """Return what the families share of lists that both name: stamps of an address, and masks of IPv6.

    The list is made by the first rule, and rules of IPv4 are loaded first: their mask is that of the upper 32 bits.
    """
    if rules4 is None or rules6 is None:
        return {}, {}
    both = {m.name for m in recent_of(rules4)} & {m.name for m in recent_of(rules6)}
    rings: dict[str, int] = {}
    masks: dict[str, int] = {}
    for m in (*recent_of(rules4), *recent_of(rules6)):
        if m.name in both:
            rings[m.name] = max(rings.get(m.name, 0), ring_of(m.hits))
            masks.setdefault(m.name, V6.full if m.address_mask is None else m.address_mask << 96)
    return rings, masks


def ring_of(hits: int) -> int:
    """Return how many stamps a list keeps of an address: a power of two that holds a hit count."""
    return max(1 << max(hits - 1, 0).bit_length(), FN_RECENT_STAMPS)


def compile_rules(
    parsed: Rules,
    iface_names: list[str],
    sets: Mapping[str, IpSet] | None = None,
    family: Family = V4,
    unsupported_sets: Mapping[str, str] | None = None,
    dated: bool = True,
    before: Ruleset | None = None,
    shared: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {}),
) -> Ruleset:
    """Compile parsed rules for a node with these interfaces (number 0 stands for "no interface") and ipsets.

    dated: whether the engine knows the date; before: the rules that these take the place of, whose lists of -m recent
    are not made smaller, and whose tables of -m hashlimit stay as they are; shared: see shared_lists. Raises RuleError
    for a rule that names a missing set, or one of the other family, and for one that asks for the date of an engine
    without.
    """
    sets = sets or {}
    foreign = {name for name, s in sets.items() if not s.is_of(family)}
    c = Compiler(iface_names, {name: n for n, name in enumerate(sets)}, foreign, parsed.source, family)
    c.unsupported_sets, c.lenient, c.warnings = unsupported_sets or {}, parsed.lenient, parsed.warnings
    c.counted_lists = {name for name, s in sets.items() if s.kind == "list:set" and s.counters}
    c.dated = dated
    c.rings_before, c.masks_before = dict(shared[0]), dict(shared[1]) if family is V6 else {}
    if before is not None:
        kept = lasting(before.parsed, parsed)
        for name in (name for name in before.recent_rings if ("recent", name) in kept):
            c.rings_before[name] = max(before.recent_rings[name], shared[0].get(name, 0))
            c.masks_before[name] = before.recent_masks[name]
        tables = before.hashlimit_tables
        c.hashlimits_before = {name: table for name, table in tables.items() if ("hashlimit", name) in kept}
    records = records_of(family)
    every = []
    with no_garbage():
        # in the order of the text, in which iptables-restore makes lists and tables that rules share
        for name in parsed.tables:
            if name in TABLES:
                c.shared(parsed.tables[name])
                c.table(parsed.tables[name])
                every += [r for chain in parsed.tables[name].chains.values() for r in chain.rules]
        depth = max((jump_depth(t) for t in parsed.tables.values()), default=0)
        rules = aligned(c.rules, records.RULE)
    tests = [m for matches in match_lists(every) for m in matches]
    tracking = any(m.kind in TRACKING_MATCHES for m in tests) or any(r.target.name in TRACKING_TARGETS for r in every)
    targets = np.array(c.targets, records.TARGET)
    forms = TARGET_FORMS[family.version]
    for at, cost, full, window in c.rates:
        view_of(targets, forms["rate"])[at] = cost, full
        view_of(targets, forms["window"])[at] = window
    for at, limits in c.counts:
        view_of(targets, forms["counts"])[at] = limits
    for at, period in c.periods:
        view_of(targets, forms["period"])[at] = period
    matches = np.array(c.matches, MATCH)
    dispatches = np.array(c.dispatches, DISPATCH)
    apart, no_classes = set_apart(c.source_runs, rules, matches, targets, dispatches)
    return Ruleset(
        rules,
        matches,
        targets,
        np.array(c.slots, np.uint16),
        dispatches,
        np.array(c.dispatch_slots, DISPATCH_SLOT),
        address_cuts(every, tests, family, no_classes),
        port_starts(tests, "sport"),
        port_starts(tests, "dport"),
        all(is_prefix(mask, family.full) for mask in {r.smask for r in every} | {r.dmask for r in every}),
        c.iface_table(),
        c.hook_entry,
        c.hook_policy,
        # those by mark last, as others set it
        sorted((arg for _, arg in sorted(c.wide, reverse=True)[:FN_WIDE]), key=lambda a: c.dispatches[a][0] == BY_MARK),
        apart,
        tracking,
        "nat" in parsed.tables,
        depth,
        c.recent_rings,
        c.recent_masks,
        c.hashlimit_tables,
        c.connlimit_lists,
        any(r.target.name == "CT" and r.target.mask2 for r in every),
        c.origin,
        parsed,
        sets,
    )
