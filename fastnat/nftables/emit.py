"""The rule that is being compiled: its expressions, its registers, and values as numbers.

Source: netlink_linearize.c of nftables 1.0.6.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..addresses import V4, Family
from ..core.layout import (
    FN_NFT_REGISTERS,
    NftExprKind,
)
from ..dtypes import HELPERS
from .datatypes import IFACE, INDEX, TYPES, Datatype, ascending
from .kinds import Kinds, kinds_of
from .program import Pool, Words, words_of
from .tree import (
    Concat,
    Ct,
    Dynamic,
    Expression,
    Listed,
    Operation,
    Prefix,
    Range,
    Route,
    Set,
    Statement,
    Table,
    Value,
)

# an interface or helper that is not there: no packet has it
NOBODY = 0xFFFFFFFF
# of an interface: its group, the type of its link layer, its kind, None: not known
Device = tuple[str, str, str | None]
MOST_NAME = 15


class Unsupported(Exception):
    """What nft takes and this engine does not decide."""


@dataclass(frozen=True)
class Alike:
    """Comparisons of one field with one value: the code but for that value, and what the rule has asked then."""

    kind: Datatype
    code: list[tuple[int, ...]]
    # the last expression, in front of the value and behind it
    compares: tuple[int, ...]
    how: tuple[int, ...]
    known: dict[str, str]


class Emitter:
    """Appends expressions to a rule of one family."""

    table: Table
    port_kind = TYPES["inet_service"]

    def __init__(self, pool: Pool, iface_names: list[str], indexes: dict[int, int], family: Family) -> None:
        self.pool, self.family, self.indexes = pool, family, indexes
        self.dated, self.draws = True, random.Random(0)
        # ids of users and groups by name
        self.owners: dict[str, Mapping[str, int]] = {}
        self.devices: Mapping[str, Device] = {}
        self.ifaces = {name: n for n, name in enumerate(iface_names) if n}
        self.address_kind = TYPES["ipv4_addr" if family is V4 else "ipv6_addr"]
        self.rule_key: tuple[object, ...] = ()
        self.statement_number = 0
        self.places: dict[tuple[object, ...], int] = {}
        # see Program.snat
        self.snat: list[tuple[int, int]] | None = []
        self.writes = False
        self.reached: set[str] = set()
        self.known: dict[str, str] = {}
        self.code: list[tuple[int, ...]] = []
        # by the left side of a comparison, its operator, and what the rule has asked before
        self.alike: dict[tuple[object, ...], Alike] = {}
        self.next_register = 0
        self.named: dict[str, int] = {}
        self.interval_maps: set[int] = set()
        # the sets that rules of the table change, and what the elements carry that they add
        self.changed_by_rules: set[str] = set()
        self.carried: dict[str, tuple[Statement, ...]] = {}
        self.warnings: list[str] = []

    def note(self, name: str, why: str) -> None:
        """Say once for what something is taken."""
        said = f"{name}: {why}"
        if said not in self.warnings:
            self.warnings.append(said)

    def enter(self, table: Table, verdict_words: Callable[[Expression | None], tuple[int, int]]) -> None:
        """Begin with a table."""
        self.table, self.say_verdict = table, verdict_words
        self.named, self.alike = {}, {}
        self.carried = {}
        changes = [s for c in table.chains.values() for r in c.rules for s in r.statements if isinstance(s, Dynamic)]
        self.changed_by_rules = {s.table for s in changes}
        for s in changes:
            if s.element.statements:
                self.carried.setdefault(s.table, s.element.statements)

    def begin_rule(self, key: tuple[object, ...], reached: set[str]) -> None:
        """Begin with a rule: nothing is known of the packet yet."""
        self.rule_key, self.reached, self.known, self.code = key, reached, {}, []

    def only_in(self, said: str, *hooks: str) -> None:
        """Refuse what stands elsewhere than in these hooks, as the kernel does; those of netdev begin with its name."""
        family = self.table.family
        for way in sorted(self.reached):
            hook = way.split()[1]
            here = f"{family} {hook}" if family == "netdev" else hook
            if here not in hooks:
                raise ValueError(f"{said} is reached from a chain of type and hook {way}, where the kernel refuses it")

    def needs_conntrack(self, said: str) -> None:
        """Refuse what asks for connections in a table of netdev, which has none (nf_ct_netns_get)."""
        if self.table.family == "netdev":
            raise ValueError(f"{said}: a table of netdev has no connections, so the kernel refuses it")

    def begin_statement(self, number: int) -> None:
        """Begin with a statement: all registers are free."""
        self.statement_number, self.next_register = number, 0

    def emit(
        self, kind: NftExprKind, words: int = 1, dreg: int = 0, sreg: int = 0, a: int = 0, b: int = 0, c: int = 0
    ) -> None:
        """Append an expression to the rule at hand."""
        self.code.append((int(kind), words, dreg, sreg, int(a), int(b), int(c)))

    def allocate(self, words: int) -> int:
        """Return the first of some free registers."""
        self.next_register += words
        if self.next_register > FN_NFT_REGISTERS:
            raise Unsupported(f"a statement that needs more than {FN_NFT_REGISTERS} registers")
        return self.next_register - words

    def never(self) -> bool:
        """Append what no packet of this family fulfils; the statements behind it are not met."""
        register = self.immediate(0, TYPES["mark"])
        self.emit(NftExprKind.CMP, sreg=register, a=1)
        return False

    def immediate(self, number: int, kind: Datatype) -> int:
        """Load a number; return its register."""
        register = self.allocate(kind.words)
        a = number if kind.words == 1 else self.pool.constant(words_of(number, kind.words))
        self.emit(NftExprKind.IMMEDIATE, kind.words, dreg=register, a=a)
        return register

    def kinds(self, x: Expression) -> Kinds:
        """Return the types of an expression, addresses those of this family."""
        found = kinds_of(self.table, x)[0]
        if isinstance(x, (Ct, Route)) and found[0].name in ("ipv4_addr", "ipv6_addr"):
            return (self.address_kind,)
        return found

    def kinds_of_set(self, named: Set) -> tuple[Kinds, Kinds]:
        """Return the types of the keys and the data of a named set."""
        return kinds_of(self.table, named)

    def bounds(self, x: Expression, kind: Datatype) -> tuple[int, int]:
        """Return the first and last number of a value, range or prefix; ValueError for what is none."""
        if isinstance(x, Value):
            return self.value_bounds(x.text, kind)
        if kind == IFACE and isinstance(x, (Range, Prefix)):
            raise Unsupported("ranges of interfaces in a named set or map are not supported; give each interface")
        if isinstance(x, Range):
            return self.bounds(x.low, kind)[0], self.bounds(x.high, kind)[1]
        if isinstance(x, Prefix):
            if x.length > kind.bits:
                raise ValueError(f"a prefix of {x.length} bits is longer than the {kind.bits} bits of its type")
            low = self.bounds(x.address, kind)[0]
            rest = (1 << max(kind.bits - x.length, 0)) - 1
            return low & ~rest, low | rest
        if isinstance(x, Listed) or (isinstance(x, Operation) and x.op == "|"):
            parts = x.items if isinstance(x, Listed) else (x.left, x.right)
            bits = 0
            for part in parts:
                bits |= self.bounds(part, kind)[0]
            return bits, bits
        raise ValueError(f"expected a value of type {kind.name}")

    def value_bounds(self, text: str, kind: Datatype) -> tuple[int, int]:
        """Return the first and last number of a value: names of interfaces may end in *."""
        if kind.form == "address":
            return (number := kind.number(text)), number
        if kind == IFACE:
            return (number := self.iface_number(text)), number
        if kind == INDEX and not text.isdecimal():
            place = self.iface_number(text)
            return (index := next(i for i, number in self.indexes.items() if number == place)), index
        if kind.form == "name":
            name = text.removesuffix("*").encode()
            if len(name) > MOST_NAME:
                raise ValueError(f"the name of an interface has at most {MOST_NAME} bytes: {text!r}")
            low = int.from_bytes(name.ljust(16, b"\0"), "big")
            return low, low | (1 << 8 * (16 - len(name))) - 1 if text.endswith("*") else low
        if kind.name == "string":
            return (code := self.helper_code(text) or NOBODY), code
        owner = self.owners.get(kind.name, {}).get(text)
        number = kind.number(text) if owner is None else owner
        return number, number

    def iface_number(self, text: str) -> int:
        """Return the number of an interface by its name, or by its index."""
        if text in self.ifaces:
            return self.ifaces[text]
        if text.isdecimal():
            return 0 if text == "0" else self.indexes.get(int(text), NOBODY)
        raise ValueError(
            f"Interface {text!r} does not exist, as nft says; the node has {', '.join(self.ifaces)}; iifname and "
            "oifname ask for names that need not exist"
        )

    @staticmethod
    def helper_code(name: str) -> int:
        """Return the code of a helper, 0 if this engine has none of the name."""
        return HELPERS.get(name, (0, 0))[0]

    def both_ends(self, x: Expression, kinds: Kinds) -> tuple[Words, Words]:
        """Return the words of the low and the high end of a value."""
        parts = x.items if isinstance(x, Concat) else (x,)
        if len(parts) != len(kinds):
            raise ValueError(f"{len(parts)} values are compared with {len(kinds)}")
        low: Words = ()
        high: Words = ()
        for part, kind in zip(parts, kinds, strict=True):
            first, last = self.bounds(part, kind)
            ascending(first, last, kind)
            low, high = low + words_of(first, kind.words), high + words_of(last, kind.words)
        return low, high
