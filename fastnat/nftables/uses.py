"""Who in a table uses a chain, a set or an object: what is in use cannot be deleted, and what is used has to be there.

Source: nf_tables_api.c (Linux 6.18): nft_use_inc, nf_tables_delchain, nf_tables_delset, nf_tables_delobj.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .tree import Chain, Dynamic, Element, Named, Reference, Rule, Table, Value, Verdict, nodes

Test = Callable[[object], bool]


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
