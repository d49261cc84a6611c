"""The tree of a rule set: what text and JSON of nft say, in one form.

Source: nft(8) of nftables 1.0.6, libnftables-json(5). Values stand as text in the form in which nft lists them, see
canonical.py; what a value means depends on the type of what it is compared with, see datatypes.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TypeAlias, TypeVar, Union, dataclass_transform

# line and column in the text, counted from 1; 0 where there is none
Place = tuple[int, int]
NOWHERE: Place = (0, 0)
# the name of a statement that could not be read
UNREAD = ""
# what the kernel calls chains that stand in a rule, with a number behind it
INLINE = "__chain"
Part = TypeVar("Part")


@dataclass_transform(frozen_default=True)
def record(cls: type[Part]) -> type[Part]:
    """Make a class of parts of the tree: they are equal by what they say, and nobody changes them.

    mypy sees to that: a frozen dataclass, of which a large rule set has a million, takes three times as long to make.
    """
    return dataclass(unsafe_hash=True, slots=True)(cls)


@record
class Value:
    """A number, an address or a name."""

    text: str


@record
class Payload:
    """A field of a header, as `ip saddr`; protocol th: of TCP, UDP and those like them."""

    protocol: str
    field: str


@record
class Raw:
    """Bits of the packet by their place: `@nh,8,16`."""

    base: str
    offset: int
    length: int


@record
class Meta:
    """What the packet carries beside its bytes, as `meta mark`."""

    key: str


@record
class Ct:
    """What conntrack knows, as `ct original ip saddr`."""

    key: str
    direction: str = ""
    family: str = ""


@record
class Fib:
    """A question to the routing table: `fib daddr . iif type`."""

    flags: tuple[str, ...]
    result: str


@record
class Route:
    """What the packet's route says: `rt mtu`."""

    key: str
    family: str = ""


@record
class Option:
    """An option of TCP, IP or SCTP, or an extension header of IPv6; without a field: whether it is there."""

    kind: str
    name: str
    field: str = ""


@record
class Numgen:
    """A number in turn or at random."""

    mode: str
    modulus: int
    offset: int = 0


@record
class Hash:
    """jhash or symhash, of an expression or of the flow."""

    kind: str
    modulus: int
    of: Expression | None = None
    seed: int | None = None
    offset: int = 0


@record
class Socket:
    """What the socket of a packet says, or `osf`: named in the tree so that it can be refused by name."""

    words: tuple[str, ...]


@record
class Operation:
    """One of & | ^ << >>."""

    op: str
    left: Expression
    right: Expression


@record
class Concat:
    """Values side by side: `ip saddr . tcp dport`."""

    items: tuple[Expression, ...]


@record
class Range:
    """Both ends included."""

    low: Expression
    high: Expression


@record
class Prefix:
    """An address and the number of its first bits that count."""

    address: Expression
    length: int


@record
class Listed:
    """Flags side by side: `established,related`."""

    items: tuple[Expression, ...]


@record
class Element:
    """An element of a set or map. Seconds are floats: what nft prints has milliseconds."""

    key: Expression
    data: Expression | None = None
    timeout: float | None = None
    expires: float | None = None
    comment: str = ""
    statements: tuple[Statement, ...] = ()
    # a rule added it without a time, so that commands give it none
    timeless: bool = field(default=False, compare=False)
    # a rule added it
    grown: bool = field(default=False, compare=False)


@record
class Elements:
    """An anonymous set or map. joined: the one interval that is left of several, which nft leaves in its braces."""

    items: tuple[Element, ...]
    joined: bool = field(default=False, compare=False)


@record
class Named:
    """A set or map of the table by its name."""

    name: str


@record
class Any:
    """The catch-all `*`."""


@record
class Lookup:
    """`key map { ... }`: what a map says of a key."""

    key: Expression
    table: Elements | Named


@record
class Verdict:
    """accept, drop, continue, return, jump or goto; also a value of a verdict map."""

    kind: str
    chain: str = ""


@record
class Match:
    """A comparison. op: == != < > <= >=; of flags also "in", one of them is set, and "!", none of them is."""

    op: str
    left: Expression
    right: Expression


@record
class VerdictMap:
    """`key vmap { ... }`."""

    key: Expression
    table: Elements | Named


@record
class Counter:
    """Packets and bytes so far."""

    packets: int = 0
    bytes: int = 0


@record
class Limit:
    """A token bucket; unit: packets or bytes."""

    rate: int
    per: str
    unit: str = "packets"
    burst: int = 5
    over: bool = False


@record
class Quota:
    """Bytes up to, or beyond which, a rule holds."""

    bytes: int
    used: int = 0
    over: bool = False


@record
class CtCount:
    """Connections that an element, or the rule, may have."""

    count: int
    over: bool = False


@record
class Last:
    """When a packet came last, in milliseconds; None: never."""

    used: int | None = None


@record
class Reference:
    """A named object in a rule: `counter name "c"`, `ct helper set "ftp"`; or which one a map says."""

    kind: str
    name: Expression


@record
class Nat:
    """snat, dnat, masquerade or redirect. family: as written, or "" ."""

    kind: str
    family: str = ""
    address: Expression | None = None
    port: Expression | None = None
    flags: tuple[str, ...] = ()
    prefix: bool = False


@record
class Assign:
    """`meta mark set 1`, `ip dscp set af21`, `tcp option maxseg size set rt mtu`."""

    key: Expression
    value: Expression


@record
class Reject:
    """kind: "tcp reset", icmp, icmpv6 or icmpx; "" where nothing is said."""

    kind: str = ""
    code: str = ""


@record
class Log:
    """Its options with their values, in the order in which nft lists them."""

    options: tuple[tuple[str, str], ...] = ()


@record
class Notrack:
    """No connection for this packet."""


@record
class Dynamic:
    """`update @set { key timeout 1m limit rate 5/second : data }`; op: add, update, delete or meter."""

    op: str
    table: str
    element: Element
    # room of a meter
    size: int | None = None


@record
class Other:
    """A statement that is read and listed, and decided or refused by its name: flow, queue, dup, fwd, synproxy..."""

    name: str
    words: tuple[str, ...] = ()


Expression: TypeAlias = Union[  # noqa: UP007 (forty lines of | read worse)
    Value, Payload, Raw, Meta, Ct, Fib, Route, Option, Numgen, Hash, Socket, Operation, Concat, Range, Prefix, Listed,
    Elements, Named, Any, Lookup, Verdict,
]  # fmt: skip
Statement: TypeAlias = Union[  # noqa: UP007 (see there)
    Match, Verdict, VerdictMap, Counter, Limit, Quota, CtCount, Last, Reference, Nat, Assign, Reject, Log, Notrack,
    Dynamic, Other,
]  # fmt: skip


@dataclass
class Rule:
    """One rule; places: where each of its statements stands."""

    statements: tuple[Statement, ...]
    comment: str = ""
    handle: int = field(default=0, compare=False)
    place: Place = field(default=NOWHERE, compare=False)
    places: tuple[Place, ...] = field(default=(), compare=False)
    text: str = field(default="", compare=False)


@dataclass
class Base:
    """How the kernel calls a base chain."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"
    devices: tuple[str, ...] = ()


@dataclass
class Chain:
    """A chain; base None: rules jump to it. inline: one that has no name of its own stands in the rule, in braces."""

    name: str
    base: Base | None = None
    rules: list[Rule] = field(default_factory=list)
    comment: str = ""
    inline: bool = False
    handle: int = field(default=0, compare=False)
    place: Place = field(default=NOWHERE, compare=False)
    # in which order all were made: of base chains of one priority the last one runs first, whatever table it is in
    made: int = field(default=0, compare=False)


@dataclass
class Set:
    """A named set, or a map where `data` is not empty: the types of keys and data, each a concatenation.

    typeof: the expressions that a set was declared with; `data` is ("verdict",) of a verdict map, ("counter",) and so
    on of a map of objects.
    """

    name: str
    key: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    typeof: Expression | None = None
    data_typeof: Expression | None = None
    flags: tuple[str, ...] = ()
    timeout: float | None = None
    gc_interval: float | None = None
    size: int | None = None
    policy: str = ""
    auto_merge: bool = False
    # the data of a map are intervals
    intervals: bool = False
    comment: str = ""
    statements: tuple[Statement, ...] = ()
    # a rule makes it by its name, and lists it
    meter: bool = False
    elements: list[Element] = field(default_factory=list)
    handle: int = field(default=0, compare=False)
    place: Place = field(default=NOWHERE, compare=False)
    # keys of the elements that commands have added (True), or given another time (False)
    fresh: dict[Expression, bool] = field(default_factory=dict, compare=False)


@dataclass
class Object:
    """A named counter, quota, limit, ct helper, ct timeout...; what it says is a statement, or words by their names."""

    kind: str
    name: str
    says: Statement | None = None
    words: tuple[tuple[str, str], ...] = ()
    comment: str = ""
    handle: int = field(default=0, compare=False)
    place: Place = field(default=NOWHERE, compare=False)


@dataclass
class Flowtable:
    """A flow table: listed; packets behind it are seen by no rule."""

    name: str
    priority: int = 0
    hook: str = "ingress"
    devices: tuple[str, ...] = ()
    counter: bool = False
    flags: tuple[str, ...] = ()
    handle: int = field(default=0, compare=False)


@dataclass
class Table:
    """A table of one family; flags: dormant, owner, persist."""

    family: str
    name: str
    flags: tuple[str, ...] = ()
    comment: str = ""
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    flowtables: dict[str, Flowtable] = field(default_factory=dict)
    handle: int = field(default=0, compare=False)


@dataclass
class Ruleset:
    """All tables, by family and name, in the order in which they were made.

    warnings: what was left out and why. lenient: a rule that cannot be decided never matches, and is named there.
    """

    tables: dict[tuple[str, str], Table] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    warnings: list[str] = field(default_factory=list, compare=False)
    # why nft does not load it, though its meaning is clear; names that are words of nft's stand in the warnings
    doubts: list[str] = field(default_factory=list, compare=False)
    lenient: bool = field(default=False, compare=False)
    # tables that the text deletes before it makes them; an empty name: all of a family, or all
    emptied: set[tuple[str, str]] = field(default_factory=set, compare=False)
    # some rule asks what connections have counted
    accounted: bool = field(default=False, compare=False)
    chains_made: int = field(default=0, compare=False)

    def begin_chain(self, table: Table, chain: Chain) -> None:
        """Put a new chain into its table."""
        chain.made = self.chains_made = self.chains_made + 1
        table.chains[chain.name] = chain

    def number(self) -> int:
        """Give a handle to all that has none; return the greatest one."""
        parts: list[Table | Chain | Rule | Set | Object | Flowtable] = []
        for table in self.tables.values():
            parts += [table, *table.chains.values(), *table.sets.values(), *table.objects.values()]
            parts += [*table.flowtables.values(), *(rule for c in table.chains.values() for rule in c.rules)]
        last = max((part.handle for part in parts), default=0)
        for part in parts:
            if not part.handle:
                part.handle = last = last + 1
        return last

    def begins_empty(self, family: str, table: str) -> bool:
        """Tell whether the text deletes a table that was there before."""
        return ("", "") in self.emptied or (family, "") in self.emptied or (family, table) in self.emptied


def nodes(tree: object) -> Iterator[object]:
    """Yield all records in lists and records."""
    if isinstance(tree, list | tuple):
        for part in tree:
            yield from nodes(part)
    elif is_dataclass(tree):
        yield tree
        for one in fields(tree):
            yield from nodes(getattr(tree, one.name))
