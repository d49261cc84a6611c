"""A rule set as `nft list ruleset` prints it after packets: with counters, quotas and the elements that rules added.

Source: `nft list ruleset` of nftables 1.0.6.
Invariants: the rule set that was compiled stays as it is; what both families have counted in an inet table is added up.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4
from ..core.layout import FN_NFT_BARE, FN_NFT_TIMELESS, FN_NONE
from ..dtypes import HZ
from .canonical import canonical
from .datatypes import Datatype
from .kinds import Kinds, kinds_of
from .program import KEY_PARTS, Program
from .tree import (
    Concat,
    Counter,
    CtCount,
    Dynamic,
    Element,
    Expression,
    Last,
    Limit,
    Quota,
    Ruleset,
    Set,
    Statement,
    Value,
    Verdict,
)

STATEFUL = (Counter, Limit, Quota, CtCount, Last)


@dataclass(frozen=True)
class Half:
    """What one family has counted: its program, the arrays of its datapath, and its jiffies."""

    program: Program
    arrays: Mapping[str, NDArray[np.void]]
    now: int
    iface_names: list[str]
    version: int


def counted(ruleset: Ruleset, halves: list[Half]) -> Ruleset:
    """Return a copy of a canonical rule set with what it has counted, and the elements that its sets have now."""
    found = with_elements(ruleset, halves)
    for key, table in found.tables.items():
        for chain in table.chains.values():
            for number, rule in enumerate(chain.rules):
                at = (*key, chain.name, number)
                rule.statements = tuple(now(s, states(halves, (*at, n))) for n, s in enumerate(rule.statements))
        for made in table.objects.values():
            if made.says is not None:
                made.says = now(made.says, states(halves, (*key, made.kind, made.name)))
    return canonical(found)


def with_elements(ruleset: Ruleset, halves: list[Half]) -> Ruleset:
    """Return a copy of a rule set with the elements that its sets have now."""
    found = copy.deepcopy(ruleset)
    for key, table in found.tables.items():
        for named in table.sets.values():
            both = False
            for half in halves:
                place = half.program.sets.get((*key, named.name))
                kinds = kinds_of(table, named)
                if place is not None and not of_other_family(half, kinds[0]) and changes(half, place):
                    known = {e.key: e for e in named.elements} if both else {}
                    both = True
                    here = {e.key: e for e in elements(half, place, named, kinds)}
                    named.elements[:] = (known | here).values()
    return found


def keep_unreached(ruleset: Ruleset, had: Ruleset, programs: list[Program]) -> None:
    """Write what rules have counted into a rule set where no chain leads to them any more; had: with all counters."""
    run = {key[:KEY_PARTS] for program in programs for key in program.places}
    for key, table in ruleset.tables.items():
        was = had.tables.get(key)
        if was is None or was.handle != table.handle:
            continue
        known = {rule.handle: rule for chain in was.chains.values() for rule in chain.rules}
        for chain in table.chains.values():
            for number, rule in enumerate(chain.rules):
                if rule.handle in known and (*key, chain.name, number) not in run:
                    # where a verdict leads may have another name by now
                    both = zip(rule.statements, known[rule.handle].statements, strict=True)
                    rule.statements = tuple(old if isinstance(old, STATEFUL) else new for new, old in both)


def of_other_family(half: Half, key: Kinds) -> bool:
    """Tell whether no packet of this family has such a key."""
    return any(kind.name == ("ipv6_addr" if half.version == V4.version else "ipv4_addr") for kind in key)


def states(halves: list[Half], key: tuple[object, ...]) -> list[tuple[NDArray[np.void], int]]:
    """Return the states of a statement in the families that have it, each with the jiffies of that family."""
    places = ((half, half.program.places.get(key)) for half in halves)
    return [(half.arrays["nft_states"][place], half.now) for half, place in places if place is not None]


def now(s: Statement, found: list[tuple[NDArray[np.void], int]]) -> Statement:
    """Return a statement with what it has counted beyond what it began with."""
    if not found:
        return s
    if isinstance(s, Counter):
        packets, size = (sum(int(state[name]) for state, _ in found) for name in ("packets", "bytes"))
        more = len(found) - 1
        return Counter(packets - more * s.packets, size - more * s.bytes)
    if isinstance(s, Quota):
        used = sum(int(state["bytes"]) for state, _ in found) - (len(found) - 1) * s.used
        return replace(s, used=min(used, s.bytes))
    if isinstance(s, Last):
        ages = [jiffies - int(state["last"]) + 1 for state, jiffies in found if state["last"]]
        return Last(min(ages) * 1000 // HZ if ages else None)
    return s


def changes(half: Half, place: int) -> bool:
    """Tell whether the elements of a set change: rules add some, they carry something, or their time runs out."""
    named = half.arrays["nft_sets"][place]
    elements = half.arrays["nft_elements"][int(named["first"]) : int(named["first"]) + int(named["used"])]
    return bool(place in half.program.dynamic or named["n_states"] or elements["timeout"].any())


def elements(half: Half, place: int, named: Set, kinds: tuple[Kinds, Kinds]) -> Iterator[Element]:
    """Yield the elements that a set has now. Those of intervals stand as they were written."""
    s = half.arrays["nft_sets"][place]
    if s["kind"]:
        yield from elements_of_ranges(half, place, named)
        return
    written = {e.key: e for e in named.elements}
    carried = named.statements or carried_by(half, named)
    n_key = int(s["key_words"])
    for n in range(int(s["used"])):
        element = half.arrays["nft_elements"][int(s["first"]) + n]
        left = (int(element["expires"]) - half.now) & 0xFFFFFFFF
        if not element["used"] or (element["timeout"] and (left == 0 or left >> 31)):
            continue
        words = half.arrays["nft_words"][int(s["words"]) + n * int(s["stride"]) :][: int(s["stride"])].tolist()
        key = said(words[:n_key], kinds[0], half.iface_names)
        old = written.get(key, Element(key, grown=True))
        data = old.data
        if kinds[1] and place in half.program.dynamic and not isinstance(data, Verdict):
            # a rule may have put it there again
            data = said(words[n_key:], kinds[1], half.iface_names)
        state = int(s["states"]) + n * int(s["n_states"])
        rows = half.arrays["nft_states"][state : state + int(s["n_states"])]
        statements = tuple(now(c, [(row, half.now)]) for c, row in zip(carried, rows, strict=False))
        statements = () if element["used"] & FN_NFT_BARE else statements
        yield replace(
            old, data=data, timeout=timeout_of(element, s), statements=statements,
            expires=left / HZ if element["timeout"] else None,
            timeless=bool(element["used"] & FN_NFT_TIMELESS),
        )  # fmt: skip
    if s["any"] != FN_NONE:
        yield named.elements[-1]


def elements_of_ranges(half: Half, place: int, named: Set) -> Iterator[Element]:
    """Yield the elements of a set of intervals that are not due, as they were written, with what they have counted.

    One that the core holds in pieces has counted in each of them.
    """
    s = half.arrays["nft_sets"][place]
    n_states, carried = int(s["n_states"]), named.statements
    rows: dict[Expression, list[int]] = {}
    for row, key in enumerate(half.program.keys[place]):
        rows.setdefault(key, []).append(row)
    if s["any"] != FN_NONE:
        rows[named.elements[-1].key] = [int(s["size"])]
    for e in named.elements:
        if e.key not in rows:
            # the other family's
            continue
        records = half.arrays["nft_elements"][[int(s["first"]) + row for row in rows[e.key]]]
        left = (int(records["expires"][0]) - half.now) & 0xFFFFFFFF
        timed = bool(records["timeout"][0])
        if timed and (left == 0 or left >> 31):
            continue
        firsts = [int(s["states"]) + row * n_states for row in rows[e.key]]
        statements = tuple(
            now(c, [(half.arrays["nft_states"][first + n], half.now) for first in firsts])
            for n, c in enumerate(carried[:n_states])
        )
        yield replace(e, expires=left / HZ if timed else None, statements=statements or e.statements)


def carried_by(half: Half, named: Set) -> tuple[Statement, ...]:
    """Return what the elements carry that rules add to a set."""
    for origin in half.program.origin:
        for s in origin.rule.statements if origin.rule is not None else ():
            if isinstance(s, Dynamic) and s.table == named.name and s.element.statements:
                return tuple(Counter() if isinstance(x, Counter) else x for x in s.element.statements)
    # of a rule that is gone
    return next((e.statements for e in named.elements if e.statements), ())


def timeout_of(element: NDArray[np.void], s: NDArray[np.void]) -> float | None:
    """Return the time that an element has of its own, None if it is the set's, 0 if it stays for ever."""
    if element["timeout"] == s["timeout"] or element["used"] & FN_NFT_TIMELESS:
        return None
    return int(element["timeout"]) / HZ


def said(words: list[int], kinds: Kinds, iface_names: list[str]) -> Expression:
    """Return words as the values that they stand for."""
    values: list[Expression] = []
    at = 0
    for kind in kinds:
        number = 0
        for word in words[at : at + kind.words]:
            number = number << 32 | word
        at += kind.words
        values.append(Value(text_of(number, kind, iface_names)))
    return values[0] if len(values) == 1 else Concat(tuple(values))


def text_of(number: int, kind: Datatype, iface_names: list[str]) -> str:
    """Return the text of a number of a type."""
    if kind.name == "iface_index":
        return iface_names[number] if number < len(iface_names) else str(number)
    if kind.form == "name":
        return number.to_bytes(16, "big").rstrip(b"\0").decode(errors="replace")
    return kind.text(number)
