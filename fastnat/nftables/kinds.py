"""Of which types an expression is.

Source: nft(8); evaluate.c and netlink_linearize.c of nftables 1.0.6: a number takes the type of its other side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import fields
from .datatypes import BOOLEAN, TYPES, VERDICT, Datatype, integer
from .tree import (
    Concat,
    Ct,
    Element,
    Elements,
    Expression,
    Fib,
    Hash,
    Lookup,
    Meta,
    Named,
    Numgen,
    Operation,
    Option,
    Payload,
    Prefix,
    Range,
    Raw,
    Route,
    Set,
    Socket,
    Table,
    Verdict,
)

# one a part of a concatenation; empty: a value that takes the type of its other side
Kinds = tuple[Datatype, ...]
OBJECTS = ("counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "synproxy", "secmark")


def kinds_of(table: Table, x: Expression | Set) -> tuple[Kinds, Kinds]:
    """Return the types of an expression; of a set those of its keys and of its data."""
    if isinstance(x, Set):
        key = types_of(table, x.typeof) if x.typeof is not None else tuple(TYPES[t] for t in x.key)
        if x.data_typeof is not None:
            return key, types_of(table, x.data_typeof)
        return key, tuple(TYPES["string"] if t in OBJECTS else TYPES[t] for t in x.data)
    return types_of(table, x), ()


def types_of(table: Table, x: Expression) -> Kinds:
    """Return the types of an expression."""
    reader = READERS.get(type(x))
    return () if reader is None else reader(table, x)


def _payload(_: Table, x: Payload) -> Kinds:
    return PAYLOADS[x.protocol, x.field]


def _meta(_: Table, x: Meta) -> Kinds:
    return METAS[x.key]


def _concat(table: Table, x: Concat) -> Kinds:
    return tuple(k for item in x.items for k in types_of(table, item))


def _operation(table: Table, x: Operation) -> Kinds:
    return types_of(table, x.left) or types_of(table, x.right)


def _lookup(table: Table, x: Lookup) -> Kinds:
    if isinstance(x.table, Named) and x.table.name in table.sets:
        return kinds_of(table, table.sets[x.table.name])[1]
    return ()


def _address(table: Table, x: Ct | Route) -> Datatype:
    return TYPES["ipv6_addr" if (x.family or table.family) == "ip6" else "ipv4_addr"]


def _socket(_: Table, x: Socket) -> Kinds:
    known = {"mark": TYPES["mark"], "transparent": integer(1), "wildcard": integer(1)}
    return (known.get(x.words[1], TYPES["string"]),)


def option_kind(x: Option) -> Datatype:
    """Return the type of the field of an option, or of whether it is there."""
    if not x.field:
        return BOOLEAN
    if x.field == "nexthdr":
        return TYPES["inet_proto"]
    known = fields.OPTIONS[x.kind].get(x.name, (0, {}))[1]
    if x.field in known:
        return TYPES["ipv4_addr"] if x.field == "addr" else integer(known[x.field][1])
    return integer(int(x.name.split(",")[-1]) if x.field == "raw" else 32)


def elements_kinds(x: Elements) -> int:
    """Return the number of parts of the keys of an anonymous set."""
    first = x.items[0].key if x.items else None
    return len(first.items) if isinstance(first, Concat) else 1


def has_wide_data(elements: Iterable[Element]) -> bool:
    """Tell whether some data of a map are ranges or prefixes."""
    parts = (part for e in elements for part in (e.data.items if isinstance(e.data, Concat) else (e.data,)))
    return any(isinstance(part, (Range, Prefix)) for part in parts)


PAYLOADS = {(protocol, name): (f.type,) for protocol, known in fields.HEADERS.items() for name, f in known.items()}
METAS = {key: (kind,) for key, kind in fields.META.items()}
NUMBER = (integer(32),)
READERS: dict[type, Callable[[Table, Any], Kinds]] = {
    Payload: _payload, Meta: _meta, Concat: _concat, Operation: _operation, Lookup: _lookup, Socket: _socket,
    Ct: lambda table, x: (fields.CT[x.key] or _address(table, x),),
    Route: lambda table, x: (fields.RT[x.key] or _address(table, x),),
    Fib: lambda _, x: (fields.FIB.get(x.result, BOOLEAN),),
    Raw: lambda _, x: (integer(x.length, "short hex"),),
    Option: lambda _, x: (option_kind(x),),
    Numgen: lambda _, x: NUMBER, Hash: lambda _, x: NUMBER, Verdict: lambda _, x: (VERDICT,),
}  # fmt: skip
