"""Sets and maps that rules look into: named ones, which are made once, and anonymous ones.

Source: nf_tables_api.c (Linux 6.18) for what must agree between a set and who looks into it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from .datatypes import TYPES
from .emit import Emitter, Unsupported
from .kinds import Kinds, has_wide_data
from .program import Words
from .sets import Layout, add_set, jiffies
from .state import state_columns, stateful
from .tree import (
    Concat,
    Counter,
    CtCount,
    Element,
    Elements,
    Limit,
    Named,
    Quota,
    Set,
    Statement,
)


class Lookups(Emitter, ABC):
    """Makes the sets of a table as rules ask for them."""

    def set_of(self, x: Elements | Named, kinds: Kinds, *, verdicts: bool = False, objects: str = "") -> int:
        """Return the place of a named or anonymous set or verdict map whose keys have these types."""
        if isinstance(x, Named):
            named = self.find_set(x.name)
            key, _ = self.kinds_of_set(named)
            if [k.bits for k in key] != [k.bits for k in kinds]:
                says = (" . ".join(k.name for k in each) for each in (kinds, key))
                raise ValueError(
                    f"datatype mismatch: {next(says)} is looked up in {x.name}, whose keys are {next(says)}"
                )
            return self.named_set(named)
        data: Callable[[Element], Words] = self.verdict_data if verdicts else self.no_data
        if objects:
            data = partial(self.object_data, kind=objects)
        words = 2 if verdicts else 1 if objects else 0
        return self.add(Layout(kinds, words, False, None, 0, [], lambda _: [], 0), list(x.items), data)

    def find_set(self, name: str) -> Set:
        """Return a named set; ValueError where there is none."""
        if name not in self.table.sets:
            known = ", ".join(list(self.table.sets)[:20]) or "none"
            raise ValueError(f"no set or map {name} in table {self.table.family} {self.table.name}; there are: {known}")
        return self.table.sets[name]

    def add(self, layout: Layout, elements: list[Element], data: Callable[[Element], Words]) -> int:
        """Append a set."""
        return add_set(self.pool, layout, elements, data, lambda x, n: self.bounds(x, layout.key[n]))

    def named_set(self, named: Set, carried: tuple[Statement, ...] = ()) -> int:
        """Return the place of a named set, which is made once."""
        if named.name in self.named:
            return self.named[named.name]
        key, data = self.kinds_of_set(named)
        # of a rule that is gone elements keep what it gave them
        left = next((e.statements for e in named.elements if e.statements), ())
        states, exprs = self.states_of(carried or named.statements or self.carried.get(named.name, left))
        dynamic = "dynamic" in named.flags or named.name in self.changed_by_rules
        if "timeout" not in named.flags and any(e.timeout or e.expires for e in named.elements):
            raise ValueError(f"set {named.name}: an element has a timeout, for which the set needs `flags timeout`")
        words, say = self.data_of(named, data)
        wide = bool(data) and words == sum(k.words for k in data) and has_wide_data(named.elements)
        if wide:
            words, say = 2 * words, partial(self.interval_data, kinds=data)
        timeout = jiffies(named.timeout)
        layout = Layout(
            key, words, dynamic, named.size, timeout, states, carried=lambda e: self.states_in(e, states),
            state_exprs=exprs, fresh=named.fresh, bare=partial(self.is_bare, named=named),
        )  # fmt: skip
        try:
            place = self.add(layout, named.elements, say)
        except (ValueError, Unsupported) as error:
            line = named.place[0]
            raise ValueError(f"set {named.name}{f' of line {line}' if line else ''}: {error}") from None
        self.named[named.name] = place
        if wide:
            self.interval_maps.add(place)
        return place

    def states_of(self, statements: tuple[Statement, ...]) -> tuple[list[tuple[int, ...]], int]:
        """Return the states that an element begins with, and the place of their expressions."""
        first = len(self.pool.exprs)
        self.pool.exprs += [(int(kind), 1, 0, 0, 0, b, c) for kind, b, c in map(stateful, statements)]
        self.pool.counts |= any(isinstance(s, CtCount) for s in statements)
        return [state_columns(s) for s in statements], first

    @staticmethod
    def is_bare(element: Element, named: Set) -> bool:
        """Tell whether an element carries nothing, though those do that rules add to its set."""
        return not element.statements and not named.statements

    def states_in(self, element: Element, states: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return what an element of a set carries at the start: its own counters, or those of a new one."""
        said = [s for s in element.statements if isinstance(s, (Counter, Limit, Quota))]
        if len(said) != len(states):
            return states
        return [state_columns(s) for s in said]

    def data_of(self, named: Set, kinds: Kinds) -> tuple[int, Callable[[Element], Words]]:
        """Return how many words the data of a map has, and how they are said."""
        if not named.data and named.data_typeof is None:
            return 0, self.no_data
        if named.data == ("verdict",):
            return 2, self.verdict_data
        if named.data and named.data[0] in ("counter", "quota", "limit"):
            return 1, partial(self.object_data, kind=named.data[0])
        if named.data and named.data[0] not in TYPES:
            raise Unsupported(f"a map of {named.data[0]} is not supported")
        return sum(k.words for k in kinds), partial(self.value_data, kinds=kinds)

    def map_of(self, x: Elements | Named, key: Kinds, data: Kinds, intervals: bool = False) -> tuple[int, Kinds]:
        """Return the place of a map, and the types of its data. intervals: data may be ranges, low end first."""
        if isinstance(x, Named):
            named = self.find_set(x.name)
            return self.set_of(x, key), self.kinds_of_set(named)[1]
        first = next((e.data for e in x.items if e.data is not None), None)
        if isinstance(first, Concat) and len(first.items) == len(data) + 1:
            data = (*data, self.port_kind)
        words = sum(k.words for k in data)
        wide = intervals and has_wide_data(x.items)
        layout = Layout(key, words * (1 + wide), False, None, 0, [], lambda _: [], 0)
        say = partial(self.interval_data if wide else self.value_data, kinds=data)
        place = self.add(layout, list(x.items), say)
        if wide:
            self.interval_maps.add(place)
        return place, data

    def has_intervals(self, place: int) -> bool:
        """Tell whether the data of a map are ranges."""
        return place in self.interval_maps

    @staticmethod
    def no_data(_: Element) -> Words:
        """Return nothing: the element of a set."""
        return ()

    def verdict_data(self, e: Element) -> Words:
        """Return the words of a verdict."""
        return self.say_verdict(e.data)

    def value_data(self, e: Element, kinds: Kinds) -> Words:
        """Return the words of the data of an element."""
        if e.data is None:
            raise ValueError("an element of the map has no data")
        low, high = self.both_ends(e.data, kinds)
        if low != high:
            raise Unsupported("a map whose data are ranges is not supported here")
        return low

    def interval_data(self, e: Element, kinds: Kinds) -> Words:
        """Return the words of both ends of the data of an element."""
        if e.data is None:
            raise ValueError("an element of the map has no data")
        low, high = self.both_ends(e.data, kinds)
        return low + high

    @abstractmethod
    def object_data(self, e: Element, kind: str) -> Words:
        """Return the place of the expression of the object that an element names."""
