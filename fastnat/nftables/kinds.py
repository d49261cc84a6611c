"""Of which types an expression is.

Source: nft(8); evaluate.c and netlink_linearize.c of nftables 1.0.6: a number takes the type of its other side.
"""

from __future__ import annotations

from collections.abc import Iterable

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
        key = _typeof(table, x.typeof) if x.typeof is not None else tuple(TYPES[t] for t in x.key)
        if x.data_typeof is not None:
            return key, _typeof(table, x.data_typeof)
        return key, tuple(TYPES["string"] if t in OBJECTS else TYPES[t] for t in x.data)
    return _typeof(table, x), ()


def _typeof(table: Table, x: Expression) -> Kinds:
    if isinstance(x, Concat):
        return tuple(k for item in x.items for k in _typeof(table, item))
    if isinstance(x, Operation):
        return _typeof(table, x.left) or _typeof(table, x.right)
    if isinstance(x, Lookup):
        if isinstance(x.table, Named) and x.table.name in table.sets:
            return kinds_of(table, table.sets[x.table.name])[1]
        return ()
    kind = _simple(table, x)
    return () if kind is None else (kind,)


def _simple(table: Table, x: Expression) -> Datatype | None:
    if isinstance(x, Payload):
        return fields.HEADERS[x.protocol][x.field].type
    if isinstance(x, Meta):
        return fields.META[x.key]
    if isinstance(x, Ct):
        return _ct(table, x)
    if isinstance(x, Fib):
        return fields.FIB.get(x.result, BOOLEAN)
    if isinstance(x, Route):
        return fields.RT[x.key] or TYPES["ipv6_addr" if (x.family or table.family) == "ip6" else "ipv4_addr"]
    if isinstance(x, Raw):
        return integer(x.length, "short hex")
    if isinstance(x, Option):
        return option_kind(x)
    if isinstance(x, (Numgen, Hash)):
        return integer(32)
    if isinstance(x, Socket):
        return {"mark": TYPES["mark"], "transparent": integer(1), "wildcard": integer(1)}.get(
            x.words[1], TYPES["string"]
        )
    return VERDICT if isinstance(x, Verdict) else None


def _ct(table: Table, x: Ct) -> Datatype | None:
    kind = fields.CT[x.key]
    if kind is not None:
        return kind
    return TYPES["ipv6_addr" if (x.family or table.family) == "ip6" else "ipv4_addr"]


def option_kind(x: Option) -> Datatype:
    """Return the type of the field of an option, or of whether it is there."""
    if not x.field:
        return BOOLEAN
    if x.kind == "tcp" and x.name in fields.TCP_OPTIONS:
        return integer(fields.TCP_OPTIONS[x.name][1][x.field][1])
    if x.field == "nexthdr":
        return TYPES["inet_proto"]
    options = {"exthdr": fields.EXTENSIONS, "ip": fields.IP_OPTIONS, "sctp": fields.SCTP_CHUNKS}
    known = options.get(x.kind, {}).get(x.name)
    if known is not None and x.field in known[1]:
        return TYPES["ipv4_addr"] if x.field == "addr" else integer(known[1][x.field][1])
    return integer(int(x.name.split(",")[-1]) if x.field == "raw" else 32)


def elements_kinds(x: Elements) -> int:
    """Return the number of parts of the keys of an anonymous set."""
    first = x.items[0].key if x.items else None
    return len(first.items) if isinstance(first, Concat) else 1


def has_wide_data(elements: Iterable[Element]) -> bool:
    """Tell whether some data of a map are ranges or prefixes."""
    parts = (part for e in elements for part in (e.data.items if isinstance(e.data, Concat) else (e.data,)))
    return any(isinstance(part, (Range, Prefix)) for part in parts)
