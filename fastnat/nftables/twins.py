"""Tables of nftables that iptables-nft made, and that iptables-save shows as well: each rule runs once.

Source: iptables-nft of iptables 1.8.9: it keeps the tables of iptables as tables of nftables of the same name, whose
base chains have the names and priorities of iptables; matches that nft has no words for are listed as `xt match NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..iptables.model import TABLES
from ..iptables.model import Table as IptablesTable
from .tree import Ruleset, Table

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")


def twins(ruleset: Ruleset, family: str, tables: Mapping[str, IptablesTable]) -> set[tuple[str, str]]:
    """Return the tables of a family, ip or ip6, that are those of iptables-save text: that one says more."""
    return {
        key
        for key, table in ruleset.tables.items()
        if key[0] == family and key[1] in tables and key[1] in TABLES and is_twin(table, tables[key[1]])
    }


def is_twin(table: Table, other: IptablesTable) -> bool:
    """Tell whether a table has the chains of one of iptables, each with as many rules; empty ones may be missing."""
    bases = [c for c in table.chains.values() if c.base is not None]
    if any(c.name not in HOOKS or c.base is None or c.base.hook != c.name.lower() for c in bases):
        return False
    mine = {c.name: len(c.rules) for c in table.chains.values() if c.rules}
    return mine == {c.name: len(c.rules) for c in other.chains.values() if c.rules}
