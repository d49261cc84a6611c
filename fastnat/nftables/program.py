"""What the core runs of a rule set: its arrays, and where in them each counter and element lies.

core/types.h describes the records (nft_expr_t and those behind it), core/codes.h the words of each kind of expression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family
from ..core.layout import FN_NONE, FN_WIDE, BaseKind, Hook, NftExprKind, NftLookup, NftSetKind, RuleTable, TargetKind
from ..dtypes import RECORDS4, records_of
from ..util.memory import reserve
from .state import COLUMNS
from .tree import Chain, Expression, Rule, Ruleset, Table

Words = tuple[int, ...]
# so many parts of a key of Program.places name a rule, all of an object's key; the rest a statement of the rule
KEY_PARTS = 4
# above every priority, those of chains at a device moved behind all others included
END = 2**33
# by how much a chain at a device is called before, or after, all chains of IP
BESIDE = 2**32
# the step of iptables at which, or behind which, a base chain of nftables is called: its priority up to and including
STEPS: dict[str, tuple[tuple[int, RuleTable], ...]] = {
    "prerouting": ((-200, RuleTable.RAW), (-100, RuleTable.MANGLE), (END, RuleTable.LAST)),
    "input": ((-76, RuleTable.MANGLE), (100, RuleTable.FILTER), (END, RuleTable.LAST)),
    "forward": ((-76, RuleTable.MANGLE), (END, RuleTable.FILTER)),
    "output": ((-200, RuleTable.RAW), (-100, RuleTable.MANGLE), (END, RuleTable.FILTER)),
    "postrouting": ((100, RuleTable.MANGLE), (END, RuleTable.LAST)),
}
# priorities of the tables of iptables in these steps
TABLE_PRIORITIES = {RuleTable.RAW: -300, RuleTable.MANGLE: -150, RuleTable.FILTER: 0, RuleTable.LAST: 2**31}
# a verdict map with this many elements has what it leads to fetched ahead
WIDE_MAP = 256
# connections that all `ct count` of a rule set may count together
MAX_COUNTED = 1 << 20


@dataclass(slots=True)
class Origin:
    """Where a rule of the core comes from; rule None: the end of its chain."""

    table: Table
    chain: Chain
    rule: Rule | None
    # it only asks whether the packet came in by, or leaves by, a device of the chain
    guard: bool = False


@dataclass
class Program:
    """The rules of one family, compiled. `places` says which state holds a counter, quota or limit of the tree.

    Attributes
    ----------
    arrays : dict of name to array     as engine_t names them
    bases : dict of (table, hook) to (first, count) in arrays["bases"]
    origin : list of Origin            of each rule of the core
    places : dict of (table, chain, rule, statement), or (table, kind, name), to a state
    sets : dict of (family, table, set) to the place in arrays["nft_sets"]
    dynamic : set of int               the places of sets that rules change
    tracking, nat : bool               whether the kernel registers those hooks for these rules
    helpers : bool                     some rule gives connections a helper
    policies : dict of (family, table, name) to a row of arrays["policies"]   of timeouts
    writes : bool                      some rule writes addresses or ports into packets
    wide : list of int                 rules that look up verdict maps of at least WIDE_MAP elements, the greatest first
    """

    ruleset: Ruleset
    arrays: dict[str, NDArray[np.void]]
    bases: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    origin: list[Origin] = field(default_factory=list)
    places: dict[tuple[object, ...], int] = field(default_factory=dict)
    sets: dict[tuple[str, str, str], int] = field(default_factory=dict)
    dynamic: set[int] = field(default_factory=set)
    tracking: bool = False
    nat: bool = False
    helpers: bool = False
    policies: dict[tuple[str, str, str], int] = field(default_factory=dict)
    writes: bool = False
    wide: list[int] = field(default_factory=list)
    # by the place of a set: of one of intervals the keys of its elements; what commands have done to elements
    keys: dict[int, list[Expression]] = field(default_factory=dict)
    fresh: dict[int, dict[int, bool]] = field(default_factory=dict)
    # first and last of the addresses that snat gives; None: nobody can tell
    snat: list[tuple[int, int]] | None = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def begin(self, now: int) -> None:
        """Let the times of elements count from now on [jiffies]."""
        sets, elements = self.arrays["nft_sets"], self.arrays["nft_elements"]
        for s in sets[sets["timed"] != 0]:
            last = () if s["any"] == FN_NONE else (int(s["any"]),)
            here = np.array([*range(int(s["first"]), int(s["first"]) + int(s["used"])), *last], np.intp)
            elements["expires"][here] += np.uint32(now & 0xFFFFFFFF) * (elements["timeout"][here] != 0)


ARRAYS = {
    "bases": "BASE", "nft_rules": "NFT_RULE", "nft_exprs": "NFT_EXPR", "nft_sets": "NFT_SET",
    "nft_elements": "NFT_ELEMENT", "nft_states": "NFT_STATE",
}  # fmt: skip
# words that all sets together may have: their places are numbers of 32 bits
MAX_WORDS = 1 << 31
# of a set that is not filled yet, as a power of two
MAX_HEADS = 20
PLAIN = ("nft_slots", "nft_words", "nft_log", "policies")


def empty_arrays(family: Family) -> dict[str, NDArray[np.void]]:
    """Return the arrays of a node without rules of nftables."""
    found = {name: np.zeros(0, getattr(RECORDS4, record)) for name, record in ARRAYS.items()}
    found |= {name: np.zeros(0, np.uint32) for name in PLAIN}
    return found | {"nft_conns": np.zeros(0, records_of(family).NFT_CONN)}


@dataclass
class Made:
    """A set on its way to the arrays: its record, its elements in order, the catch-all last, and their hashes."""

    kind: int
    key_words: int
    data_words: int
    stride: int
    room: int
    n: int
    has_any: bool
    exact: int
    timeout: int
    states: list[tuple[int, ...]]
    state_exprs: int
    words: list[Words]
    elements: list[tuple[int, int, int]]
    carried: list[list[tuple[int, ...]]]
    hashes: list[int]
    dynamic: bool
    keys: list[Expression]
    fresh: dict[int, bool]

    @property
    def timed(self) -> bool:
        """Whether elements may have a timeout."""
        return self.dynamic or any(timeout for _, timeout, _ in self.elements)


class Pool:
    """Collects the records of a program."""

    def __init__(self, iface_names: list[str]) -> None:
        self.exprs: list[tuple[int, ...]] = []
        self.rules: list[tuple[int, int]] = []
        self.words: list[int] = []
        self.states: list[tuple[int, ...]] = []
        self.policies: list[NDArray[np.uint32]] = []
        self.sets: list[Made] = []
        self.dynamic: set[int] = set()
        self.counts = False
        self._constants: dict[Words, int] = {}
        for number, name in enumerate(iface_names):
            self.words += words_of(int.from_bytes(name.encode()[:15].ljust(16, b"\0"), "big") if number else 0, 4)

    def constant(self, words: Words) -> int:
        """Return the place of words, which those of all rules that say the same share."""
        place = self._constants.setdefault(words, len(self.words))
        if place == len(self.words):
            self.words += words
        return place

    def state(self, **said: int) -> int:
        """Append what an expression remembers; return its place."""
        self.states.append(tuple(said.get(name, 0) for name in COLUMNS))
        return len(self.states) - 1

    def add(self, made: Made) -> int:
        """Append a set; return its place."""
        self.sets.append(made)
        if made.dynamic:
            self.dynamic.add(len(self.sets) - 1)
        return len(self.sets) - 1

    def arrays(self, family: Family, bases: list[tuple[int, int, int, int]]) -> dict[str, NDArray[np.void]]:
        """Return the arrays."""
        rows = {"bases": bases, "nft_rules": self.rules, "nft_exprs": self.exprs}
        found = {name: np.array(row, getattr(RECORDS4, ARRAYS[name])) for name, row in rows.items()}
        found |= Placement(self).arrays()
        found["nft_log"] = np.zeros(0, np.uint32)
        found["policies"] = np.concatenate([found["nft_log"], *self.policies])
        found["nft_conns"] = reserve(MAX_COUNTED if self.counts else 0, records_of(family).NFT_CONN)
        return found


class Placement:
    """Gives each set its place: those that rules change lie behind the others, in pages that nobody has touched yet."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.order = sorted(range(len(pool.sets)), key=lambda n: n in pool.dynamic)
        changing = [pool.sets[n] for n in pool.dynamic]
        width = sum(max(made.stride, 2 * len(made.states) * len(COLUMNS), 4) for made in changing)
        # the room of each where all of them have more than places can tell
        self.most = MAX_WORDS // max(width, 1)

    def arrays(self) -> dict[str, NDArray[np.void]]:
        """Return the arrays of sets, with the elements that they begin with."""
        pool = self.pool
        rooms = {n: self.room(pool.sets[n]) for n in self.order}
        heads = {n: self.heads(pool.sets[n], rooms[n]) for n in self.order}
        sizes = {
            "nft_elements": sum(rooms[n] + pool.sets[n].has_any for n in self.order),
            "nft_words": len(pool.words) + sum((rooms[n] + 1) * pool.sets[n].stride for n in self.order),
            "nft_states": len(pool.states) + sum((rooms[n] + 1) * len(pool.sets[n].states) for n in self.order),
            "nft_slots": sum(heads.values()),
        }
        types = {"nft_elements": RECORDS4.NFT_ELEMENT, "nft_states": RECORDS4.NFT_STATE}
        found: dict[str, NDArray[np.void]] = {
            name: reserve(size, types.get(name, np.dtype(np.uint32)), sparse=True) for name, size in sizes.items()
        }
        found["nft_words"][: len(pool.words)] = pool.words
        found["nft_states"][: len(pool.states)] = np.array(pool.states, RECORDS4.NFT_STATE)
        rows: dict[int, tuple[int, ...]] = {}
        first, words, states, slot = 0, len(pool.words), len(pool.states), 0
        for n in self.order:
            made, room = pool.sets[n], rooms[n]
            rows[n] = (
                made.kind, made.key_words, made.data_words, made.stride, first, made.n, room, made.n, 0, words, slot,
                max(heads[n], 1) - 1, made.exact, made.timeout, first + room if made.has_any else FN_NONE, states,
                len(made.states), made.state_exprs, int(made.timed),
            )  # fmt: skip
            self.fill(made, room, (first, words, states, slot, heads[n]), found)
            first, words = first + room + made.has_any, words + (room + 1) * made.stride
            states, slot = states + (room + 1) * len(made.states), slot + heads[n]
        found["nft_sets"] = np.array([rows[n] for n in range(len(rows))], RECORDS4.NFT_SET)
        return found

    def room(self, made: Made) -> int:
        """Return how many elements a set has room for."""
        return max(min(made.room, self.most), made.n) if made.dynamic else made.n

    def heads(self, made: Made, room: int) -> int:
        """Return how many heads of chains a set is looked up by: two for an element; of empty room up to a limit."""
        if made.kind == NftSetKind.INTERVALS:
            return 0
        return 1 << min(max(room, 1).bit_length(), max(MAX_HEADS, made.n.bit_length()))

    def fill(
        self, made: Made, room: int, place: tuple[int, int, int, int, int], found: dict[str, NDArray[np.void]]
    ) -> None:
        """Write the elements that a set begins with, and the states of a new one behind all others.

        place: its first element, word, state and head, and how many heads it has.
        """
        first, words, states, slot, heads = place
        n = made.n
        places = [*range(n), *([room] if made.has_any else [])]
        records = found["nft_elements"][first : first + room + made.has_any]
        if places:
            for name, column in zip(("expires", "timeout", "used"), np.array(made.elements, np.uint32).T, strict=True):
                records[name][places] = column
            rows = found["nft_words"][words : words + (room + 1) * made.stride].reshape(room + 1, made.stride)
            if made.stride:
                rows[places] = np.array(made.words, np.uint32)
        if made.states:
            mine = found["nft_states"][states : states + (room + 1) * len(made.states)]
            mine = mine.reshape(room + 1, len(made.states))
            mine[room] = np.array(made.states, RECORDS4.NFT_STATE)
            for place, carried in zip(places, made.carried, strict=True):
                mine[place] = np.array(carried, RECORDS4.NFT_STATE)
        if made.hashes:
            link(np.array(made.hashes, np.uint32), first, records, found["nft_slots"][slot : slot + heads])


def link(hashes: NDArray[np.uint32], first: int, records: NDArray[np.void], slots: NDArray[Any]) -> None:
    """Put elements into the chains of their hash, in order; all chains are empty. Links are places plus one."""
    bucket = hashes & np.uint32(len(slots) - 1)
    order = np.argsort(bucket, kind="stable")
    same = bucket[order[1:]] == bucket[order[:-1]]
    records["next"][order[:-1][same]] = first + order[1:][same] + 1
    begins = order[np.concatenate([[True], ~same])]
    slots[bucket[begins]] = first + begins + 1


def words_of(number: int, words: int) -> Words:
    """Return a number as words of 32 bits, the most significant one first."""
    return tuple(number >> 32 * (words - 1 - i) & 0xFFFFFFFF for i in range(words))


@dataclass(frozen=True)
class BaseChain:
    """A base chain; made: the kernel registers them in the order in which they were made."""

    hook: str
    type: str
    priority: int
    policy: str
    entry: int
    made: int


def base_rows(
    chains: list[BaseChain], iptables: set[tuple[int, int]], iptables_first: bool
) -> tuple[list[tuple[int, int, int, int]], dict[tuple[int, int], tuple[int, int]]]:
    """Return the rows of `bases`, and what is called at each (table, hook).

    iptables: the (table, hook) that rules of iptables have; iptables_first: they were loaded before nftables, so that
    at equal priority they are called behind it.
    """
    wanted: dict[tuple[int, int], list[tuple[int, int, tuple[int, int, int, int]]]] = {}
    ours = -1 if iptables_first else len(chains)
    for at in iptables:
        table = RuleTable(at[0])
        priority = {RuleTable.NAT: -100 if at[1] in (Hook.PREROUTING, Hook.OUTPUT) else 100}.get(
            table
        ) or TABLE_PRIORITIES[table]
        reroutes = int(at == (RuleTable.MANGLE, Hook.OUTPUT))
        wanted.setdefault(at, []).append((priority, -ours, (int(BaseKind.IPTABLES), FN_NONE, 0, reroutes)))
    for order, chain in enumerate(sorted(chains, key=lambda c: c.made)):
        # see rule_table of core/codes.h
        hook = int(Hook.FORWARD if chain.hook == "egress" else Hook[chain.hook.upper()])
        steps = STEPS.get(chain.hook, ((END, RuleTable.LAST),))
        table = RuleTable.NAT if chain.type == "nat" else next(t for most, t in steps if chain.priority <= most)
        policy = int(TargetKind.DROP if chain.policy == "drop" else TargetKind.ACCEPT)
        row = (int(BaseKind.NFTABLES), chain.entry, policy, int(chain.type == "route"))
        wanted.setdefault((int(table), hook), []).append((chain.priority, -order, row))
    rows: list[tuple[int, int, int, int]] = []
    places = {}
    for at, calls in wanted.items():
        places[at] = len(rows), len(calls)
        rows += [row for _, _, row in sorted(calls, key=lambda c: c[:2])]
    return rows, places


def wide_rules(arrays: dict[str, NDArray[np.void]]) -> list[int]:
    """Return the rules by which packets find their way among thousands of services, see core/rules/nft_fetch_ahead."""
    exprs, sets = arrays["nft_exprs"], arrays["nft_sets"]
    looks = np.flatnonzero((exprs["kind"] == NftExprKind.LOOKUP) & (exprs["b"] == NftLookup.VERDICT))
    asked = sets[exprs["a"][looks]]
    wide = (asked["kind"] == NftSetKind.HASH) & (asked["count"] >= WIDE_MAP)
    rules = np.searchsorted(arrays["nft_rules"]["first"], looks[wide], side="right") - 1
    by_size: dict[tuple[int, int], int] = {}
    for at, size, rule in zip(exprs["a"][looks[wide]], asked["count"][wide], rules, strict=True):
        by_size.setdefault((-int(size), int(at)), int(rule))
    return [by_size[key] for key in sorted(by_size)][:FN_WIDE]


def source_nat(exprs: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which expressions are snat or masquerade; their `b` holds the flags of the range."""
    found: NDArray[np.bool_] = (exprs["kind"] == NftExprKind.NAT) & np.isin(
        exprs["a"], (int(TargetKind.SNAT), int(TargetKind.MASQUERADE))
    )
    return found
