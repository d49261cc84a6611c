"""Which source addresses rules ask for on the way of a first packet to one destination.

The core cuts addresses into classes wherever any rule asks for one: among the services of a cluster, whose clients have
the addresses that rules for other services name, nearly each client is a class of its own. Towards one service only the
rules that a packet to it can meet tell its clients apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family
from ..dtypes import records_of
from ..iptables.model import BUILT_IN, Rule, Rules
from ..node.arrays import address_classes
from ..node.model import Node
from ..rules.runs import FIXED_CUTS

# the first and the last address
Span = tuple[int, int]
# chains that see the destination to which a packet was sent; those behind them may see another one
BEFORE = {(table, chain) for table in ("raw", "mangle", "nat") for chain in ("PREROUTING", "OUTPUT")}


def spans_of(rule: Rule, family: Family) -> list[Span] | None:
    """Return the sources that a rule asks for; None for a mask with holes, which no span describes."""
    asked = []
    if rule.smask:
        first, last = rule.src & rule.smask, rule.src & rule.smask | ~rule.smask & family.full
        # of a mask without holes the rest is a number of ones
        if (~rule.smask & family.full) & (~rule.smask & family.full) + 1:
            return None
        asked.append((first, last))
    asked += [(m.values[0], m.values[1]) for m in rule.matches if m.kind == "iprange-src"]
    return asked


# what a rule asks of the source, and the name of its target, which may be a chain
Said = tuple[list[Span], str]


@dataclass
class Asking:
    """What the rules of a chain ask of sources: those for any destination, for a single one, and the others."""

    always: list[Said] = field(default_factory=list)
    exact: dict[int, list[Said]] = field(default_factory=dict)
    others: list[tuple[Rule, Said]] = field(default_factory=list)

    def note(self, rule: Rule, said: Said, family: Family) -> None:
        """Note one rule."""
        if not rule.dmask:
            self.always.append(said)
        elif rule.dmask == family.full and not rule.invert_dst:
            self.exact.setdefault(rule.dst, []).append(said)
        else:
            self.others.append((rule, said))

    def towards(self, dst: int) -> list[Said]:
        """Return what those rules say that ask for a destination, and for this one."""
        met = [said for rule, said in self.others if (dst & rule.dmask == rule.dst & rule.dmask) != rule.invert_dst]
        return met + self.exact.get(dst, [])

    def all(self) -> list[Said]:
        """Return what all rules say."""
        return self.always + [said for _, said in self.others] + [said for some in self.exact.values() for said in some]


class AskedSources:
    """The sources that rules ask for: wherever a packet goes (`everywhere`), and beside those on the way to one place.

    told: whether spans say it; else a mask has holes.
    """

    def __init__(self, rules: Rules | None, family: Family) -> None:
        self.told, self.everywhere = True, set[Span]()
        self.chains: dict[tuple[str, str], Asking] = {}
        tables = list(rules.tables.values()) if rules else []
        for table in tables:
            for chain in table.chains.values():
                asking = self.chains[table.name, chain.name] = Asking()
                for rule in chain.rules:
                    spans = spans_of(rule, family)
                    self.told &= spans is not None
                    asking.note(rule, (spans or [], rule.target.name), family)
        # chains that packets to anywhere meet in front of any translation, and those of them that ask for destinations
        self.met: set[tuple[str, str]] = set()
        for place in [(table.name, name) for table in tables for name in BUILT_IN.get(table.name, ())]:
            if place not in self.chains:
                continue
            if place in BEFORE:
                self.everywhere |= self._meet(place, self.met, lambda asking: asking.always)
            else:
                self.everywhere |= self._meet(place, set(), Asking.all)
        self.asking = [place for place in self.met if self.chains[place].exact or self.chains[place].others]

    def _meet(self, place: tuple[str, str], met: set[tuple[str, str]], of: Callable[[Asking], list[Said]]) -> set[Span]:
        """Return what is asked by the rules `of` a chain, and of those that they lead to; add these to `met`."""
        found, todo = set[Span](), [place]
        while todo:
            table, name = todo.pop()
            if (table, name) in met or (table, name) not in self.chains:
                continue
            met.add((table, name))
            for spans, target in of(self.chains[table, name]):
                found.update(spans)
                todo.append((table, target))
        return found

    def towards(self, dst: int) -> list[Span]:
        """Return the spans that rules ask for on the way to a destination, beside those of `everywhere`."""
        found, met = set[Span](), set(self.met)
        for table, name in self.asking:
            for spans, target in self.chains[table, name].towards(dst):
                found.update(spans)
                found |= self._meet((table, target), met, lambda asking: asking.always + asking.towards(dst))
        return sorted(found - self.everywhere)


def starts_of(node: Node, spans: set[Span], family: Family) -> NDArray[np.void]:
    """Return where addresses begin that routes, the node itself or spans tell from those before, rising."""
    cuts = {cut for first, last in spans for cut in (first, last + 1)} | FIXED_CUTS[family.version]
    starts: NDArray[np.void] = address_classes(node, [c for c in cuts if c <= family.full], family)[0]
    return starts.astype(records_of(family).ADDR)
