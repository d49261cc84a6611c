"""Rules as `iptables-save -c` prints them, with the counters that a run produced.

Source: iptables-save(8) of iptables 1.8.9.
"""

from __future__ import annotations

import re
from typing import Any

from .model import Chain, Rule


def save(origin: list[tuple[str, Chain, Rule | None]], counters: Any) -> str:
    """Return tables, chains and rules in the order in which they were read.

    origin, counters: of each compiled rule the table, chain and rule it came from, and its `packets` and `bytes`; the
    rule None is the end of its chain, which counts for the policy.
    """
    tables: dict[str, dict[str, tuple[Chain, list[str]]]] = {}
    policies: dict[tuple[str, str], tuple[int, int]] = {}
    for (table, chain, rule), row in zip(origin, counters, strict=True):
        _, lines = tables.setdefault(table, {}).setdefault(chain.name, (chain, []))
        counted = int(row["packets"]), int(row["bytes"])
        if rule is not None:
            lines.append(f"[{counted[0]}:{counted[1]}] -A {chain.name}{_rest(rule)}")
        else:
            # a lookup before a run of rules counts nothing, and the end of the chain comes last
            policies[table, chain.name] = counted
    text = ""
    for table, chains in tables.items():
        text += f"*{table}\n"
        for name, (chain, _) in chains.items():
            packets, count = policies[table, name] if chain.policy != "-" else (0, 0)
            text += f":{name} {chain.policy} [{packets}:{count}]\n"
        text += "".join(line + "\n" for _, lines in chains.values() for line in lines) + "COMMIT\n"
    return text


def _rest(rule: Rule) -> str:
    """Return a rule without its command, chain and, of -I, number."""
    return re.sub(r"^\S+\s+\S+(?:\s+\d+(?=\s|$))?", "", rule.text)
