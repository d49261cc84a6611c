"""Which rules of nftables packets reach: each gets a counter behind its comparisons, in a copy of the node."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import takewhile

from ..engine import Engine
from ..nftables.listing import rule_text
from ..nftables.tree import Counter, Match
from ..node import Node

# family, table, chain, number of the rule, number of the statement, as Program.places has them
Key = tuple[str, str, str, int, int]


@dataclass
class Watched:
    """A node whose rules of nftables count; texts: each rule as it is listed; reached: those that packets have met.

    Rules that no engine runs are not among them: those that iptables made, and whose table it says, too.
    """

    node: Node
    texts: dict[Key, str] = field(default_factory=dict)
    run: set[Key] = field(default_factory=set)
    reached: set[Key] = field(default_factory=set)

    @classmethod
    def of(cls, node: Node) -> Watched:
        """Return a copy of a node in which each rule counts."""
        watched = cls(copy.copy(node))
        watched.node.nft = copy.deepcopy(node.nft)
        for name, table in watched.node.nft.tables.items():
            for chain in table.chains.values():
                for number, rule in enumerate(chain.rules):
                    at = len(list(takewhile(lambda s: isinstance(s, Match), rule.statements)))
                    text = f"nft {' '.join(name)} {chain.name}: {rule_text(table, rule)}"
                    watched.texts[*name, chain.name, number, at] = text
                    rule.statements = (*rule.statements[:at], Counter(), *rule.statements[at:])
                    rule.places = ()
        return watched

    def note(self, engine: Engine) -> None:
        """Note what the rules of an engine of the node have met; in each of its families."""
        for stack in engine.stacks.values():
            met = stack.core.arrays["nft_states"]["packets"]
            for key in self.texts:
                place = stack.program.places.get(key)
                if place is not None:
                    self.run.add(key)
                    if met[place]:
                        self.reached.add(key)

    @property
    def unreached(self) -> list[str]:
        """Rules that no packet has met, as they are listed."""
        return [text for key, text in self.texts.items() if key in self.run - self.reached]
