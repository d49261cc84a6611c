"""Who in a table uses a chain, a set or an object: what is in use cannot be deleted, and what is used has to be there.

Source: nf_tables_api.c (Linux 6.18): nft_use_inc, nf_tables_delchain, nf_tables_delset, nf_tables_delobj.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .tree import (
    Chain,
    Dynamic,
    Element,
    Elements,
    Named,
    Reference,
    Rule,
    Statement,
    Table,
    Value,
    Verdict,
    VerdictMap,
    nodes,
)

Test = Callable[[object], bool]
# sets of these kinds are changed by no rule
UNCHANGED = ("constant", "interval")


def wrong(table: Table, kind: str, name: str) -> str:
    """Return why a rule or an element cannot name a thing; "" if it can.

    kind: "chain" to which it leads, "set", "map" or "vmap" into which it looks, "filled" a set that it changes, "meter"
    one that it makes, else that of an object.
    """
    where = f"in table {table.family} {table.name}"
    if kind == "chain":
        if name not in table.chains:
            return f"no chain {name} {where}"
        base = table.chains[name].base is not None
        return f"chain {name} is a base chain, to which no rule can jump or go" if base else ""
    if kind not in ("set", "map", "vmap", "filled", "meter"):
        there = ", ".join(n for k, n in table.objects if k == kind) or "none"
        return "" if (kind, name) in table.objects else f"no {kind} {name} {where}; there are: {there}"
    if kind == "meter":
        return f"there is a set {name} already {where}" if name in table.sets else ""
    if name not in table.sets:
        return f"no set or map {name} {where}; there are: {', '.join(list(table.sets)[:20]) or 'none'}"
    named = table.sets[name]
    if kind == "filled":
        flag = next((flag for flag in UNCHANGED if flag in named.flags), "")
        return f"{name} has the flag {flag}, so no rule can change it" if flag else ""
    if kind in ("map", "vmap") and not named.data and named.data_typeof is None:
        return f"{name} is a set, not a map"
    verdicts = named.data == ("verdict",)
    return (
        f"{name} says {'no ' * (kind == 'vmap')}verdicts"
        if kind in ("map", "vmap") and verdicts != (kind == "vmap")
        else ""
    )


def rename(table: Table, chain: Chain, name: str) -> None:
    """Give a chain another name, also where rules and maps lead to it."""

    def element(e: Element) -> Element:
        return replace(e, data=replace(e.data, chain=name)) if test(e.data) and isinstance(e.data, Verdict) else e

    def statement(s: Statement) -> Statement:
        if isinstance(s, Verdict):
            return replace(s, chain=name) if test(s) else s
        if isinstance(s, VerdictMap) and isinstance(s.table, Elements):
            return replace(s, table=replace(s.table, items=tuple(map(element, s.table.items))))
        return s

    test = of_chain(chain.name)
    for other in table.chains.values():
        for rule in other.rules:
            rule.statements = tuple(map(statement, rule.statements))
    for named in table.sets.values():
        named.elements[:] = map(element, named.elements)
    # the order of chains stays
    table.chains = {name if c is chain else n: c for n, c in table.chains.items()}
    chain.name = name


def user(table: Table, test: Test, without: Chain | None = None) -> str:
    """Return which chain, or which map, has a part of which the test holds; "" if none has."""
    for chain in table.chains.values():
        if chain is not without and any(test(part) for rule in chain.rules for part in nodes(rule.statements)):
            return f"chain {chain.name}"
    for named in table.sets.values():
        if any(test(e.data) for e in named.elements if e.data is not None):
            return f"map {named.name}"
    return ""


def of_set(name: str) -> Test:
    """Return a test for the use of a set."""
    return lambda part: part == Named(name) or (isinstance(part, Dynamic) and part.table == name)


def of_chain(name: str) -> Test:
    """Return a test for the use of a chain."""
    return lambda part: isinstance(part, Verdict) and part.chain == name


def of_object(table: Table, kind: str, name: str) -> Test:
    """Return a test for the use of an object, also by the element of a map."""
    maps = {s.name for s in table.sets.values() if s.data == (kind,) and any(e.data == Value(name) for e in s.elements)}

    def test(part: object) -> bool:
        if isinstance(part, Reference) and part.kind == kind:
            inner = list(nodes(part.name))
            named = any(isinstance(p, Named) and p.name in maps for p in inner)
            return (
                part.name == Value(name)
                or named
                or any(isinstance(p, Element) and p.data == Value(name) for p in inner)
            )
        return False

    return test


def missing(table: Table, rule: Rule) -> Iterator[str]:
    """Yield what a rule names and the table does not have, which the kernel refuses wherever the rule stands."""
    for part in nodes(rule.statements):
        if isinstance(part, Named) and part.name not in table.sets:
            yield f"no set or map {part.name} in table {table.family} {table.name}"
        elif isinstance(part, Dynamic) and part.op != "meter" and part.table not in table.sets:
            yield f"no set or map {part.table} in table {table.family} {table.name}"
        elif isinstance(part, Verdict) and part.chain and part.chain not in table.chains:
            yield f"no chain {part.chain} in table {table.family} {table.name}"
        elif isinstance(part, Reference) and not named_object(table, part):
            yield f"no such {part.kind} in table {table.family} {table.name}: {getattr(part.name, 'text', '')}"


def named_object(table: Table, part: Reference) -> bool:
    """Tell whether an object that a rule names is there; one out of a map is."""
    return not isinstance(part.name, Value) or (part.kind, part.name.text) in table.objects
