"""Which elements a set takes beside those that it has, and which declaration of a set says the same once more.

Source: nf_tables_api.c, nft_set_rbtree.c and nft_set_pipapo.c (Linux 6.18), segtree.c of nftables 1.0.6: intervals of
one value may not overlap; of several values side by side, an element is refused if its lowest or its highest key lies
in one that is there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .canonical import bounds
from .kinds import Kinds, has_wide_data, kinds_of
from .tree import Any, Concat, CtCount, Element, Expression, Limit, Prefix, Range, Set, Statement, Table

# beyond so many elements of several values side by side nobody looks which overlap: each is compared with all others
MAX_COMPARED = 4096
# up to so many intervals are put in their places one by one
FEW = 16


def is_map(named: Set) -> bool:
    """Tell whether elements have data."""
    return bool(named.data) or named.data_typeof is not None


def alike(table: Table, a: Set, b: Set) -> bool:
    """Tell whether a declaration says of a set what it is already: size, times and policy may differ."""

    def form(s: Set) -> tuple[object, ...]:
        flags = {*s.flags} | ({"timeout"} if s.timeout is not None else set())
        wide = s.intervals or has_wide_data(s.elements)
        return kinds_of(table, s), is_map(s), flags, wide, [carried(x) for x in s.statements]

    return form(a) == form(b)


def declare_again(there: Set, again: Set) -> None:
    """Give a set the times and the size of a later declaration; what it holds keeps its times (nf_tables_commit)."""
    if again.timeout != there.timeout:
        own = there.timeout or 0.0
        for n, e in enumerate(there.elements):
            if not e.timeless:
                timeout = own if e.timeout is None else e.timeout
                there.elements[n] = replace(e, timeout=None if timeout == again.timeout else timeout)
    there.timeout, there.gc_interval = again.timeout, again.gc_interval
    there.size = there.size if again.size is None else again.size


def carried(s: Statement) -> tuple[type, str]:
    """Return of which kind a statement of elements is."""
    return type(s), s.unit if isinstance(s, Limit) else ""


def no_count(named: Set, said: Sequence[Statement]) -> str:
    """Return why elements cannot carry statements; "" if they can: those with a time do not count connections."""
    timed = "timeout" in named.flags or named.timeout is not None
    if timed and any(isinstance(s, CtCount) for s in said):
        return f"set {named.name} has `flags timeout`, so the kernel refuses elements that carry ct count"
    return ""


def refused(named: Set, key: Kinds, fresh: Sequence[Element]) -> str:
    """Return why an empty set does not take elements; "" if it does. All of them are canonical."""
    return Held(named, key, ()).refused(fresh)


class Held:
    """What a set holds: each command that adds to it looks at what it adds, and at what lies next to that."""

    def __init__(self, named: Set, key: Kinds, there: Sequence[Element]) -> None:
        self.named, self.key = named, key
        self.there = list(there)
        self.places = {e.key: n for n, e in enumerate(self.there)}
        self.apart = "interval" in named.flags and not named.auto_merge
        # intervals of one value, in order
        self.spans = sorted(self.spans_of(there))

    def spans_of(self, elements: Sequence[Element]) -> set[tuple[int, int]]:
        """Return the ends of elements of one value, where those may not overlap."""
        if not self.apart or len(self.key) != 1:
            return set()
        return {b for e in elements if (b := bounds(e.key, self.key[0])) is not None}

    def refused(self, fresh: Sequence[Element]) -> str:
        """Return why the set does not take more elements; "": it holds them from now on."""
        named, key = self.named, self.key
        if any((e.data is not None) != is_map(named) for e in fresh):
            no = "an element of it has no data" if is_map(named) else "it is not a map, so its elements have no data"
            return f"{named.name}: {no}"
        for part in (part for e in fresh for part in getattr(e.key, "items", (e.key,))):
            if isinstance(part, Range | Prefix) and "interval" not in named.flags:
                return f"{named.name} has no `flags interval`, so it holds no ranges and no prefixes"
            ends = bounds(part, key[0]) if len(key) == 1 and isinstance(part, Range) else None
            if ends is not None and ends[1] < ends[0]:
                return f"{named.name}: a range has its end before its beginning"
        before = len(self.there)
        for e in fresh:
            at = self.places.setdefault(e.key, len(self.there))
            if at == len(self.there):
                self.there.append(e)
            elif self.there[at].data != e.data:
                return f"{named.name} says something else of one of these keys already"
        if not named.auto_merge and named.size is not None and len(self.there) > named.size:
            return f"{named.name} has room for {named.size} elements"
        if self.overlap(fresh):
            return f"{named.name}: two of its elements overlap; write auto-merge, or one of them"
        compared = self.apart and len(key) > 1 and len(self.there) <= MAX_COMPARED
        if compared and in_another(self.there[:before], fresh, key):
            return f"{named.name}: an element begins or ends within another one"
        return ""

    def overlap(self, fresh: Sequence[Element]) -> bool:
        """Tell whether two intervals overlap that are not the same; fresh ones are held from now on."""
        more = self.spans_of(fresh)
        if len(more) > FEW:
            self.spans = sorted({*self.spans, *more})
            return any(b[0] <= a[1] for a, b in pairwise(self.spans))
        for span in more:
            at = bisect_left(self.spans, span)
            if self.spans[at : at + 1] == [span]:
                continue
            self.spans.insert(at, span)
            if any(b[0] <= a[1] for a, b in pairwise(self.spans[max(at - 1, 0) : at + 2])):
                return True
        return False


def in_another(there: Sequence[Element], fresh: Sequence[Element], key: Kinds) -> bool:
    """Tell whether a fresh element has its lowest or highest key in one before it that is not the same."""
    ends: dict[tuple[tuple[int, ...], tuple[int, ...]], None] = {}
    for e in (*there, *fresh):
        found = corners(e.key, key)
        if found is not None:
            ends[found] = None
    low, high = (np.array([corner[n] for corner in ends], np.object_).reshape(-1, len(key)) for n in (0, 1))
    for n in range(1, len(low)):
        for corner in (low[n], high[n]):
            if ((low[:n] <= corner) & (corner <= high[:n])).all(axis=1).any():
                return True
    return False


def corners(x: Expression, key: Kinds) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the lowest and the highest key of an element of several values; None for the catch-all."""
    if isinstance(x, Any) or not isinstance(x, Concat) or len(x.items) != len(key):
        return None
    ends = [bounds(part, kind) for part, kind in zip(x.items, key, strict=True)]
    known = [end for end in ends if end is not None]
    return (tuple(low for low, _ in known), tuple(high for _, high in known)) if len(known) == len(key) else None
