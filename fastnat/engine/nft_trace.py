"""The rules of nftables that a packet met, out of what the core has noted of them.

Source: `nft monitor trace` of nftables 1.0.6; nf_tables_trace.c (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.layout import TargetKind
from ..nftables.listing import rule_text
from ..nftables.program import Program

# rules that one packet may meet; a trace shows the first of them
MOST = 65_536
VERDICTS = {
    TargetKind.NONE: "continue", TargetKind.ACCEPT: "accept", TargetKind.DROP: "drop", TargetKind.RETURN: "return",
    TargetKind.JUMP: "jump", TargetKind.GOTO: "goto", TargetKind.REJECT: "drop",
}  # fmt: skip
LEADS_ON = ("jump", "goto")


@dataclass(frozen=True)
class Met:
    """A rule whose expressions all held, or the end of a chain; hook and priority of the base chain that led to it."""

    hook: str
    priority: int
    table: str
    chain: str
    kind: str
    number: int
    text: str
    skipped: int
    verdict: str


def met(program: Program, log: NDArray[np.uint32]) -> list[Met]:
    """Return what a packet met, in order. log: rule and what it said, one behind the other, as nft_log has them."""
    found: list[Met] = []
    base = ("", 0, "accept")
    last: dict[str, int] = {}
    for rule, said in pairs(log):
        origin = program.origin[rule]
        if origin.guard:
            continue
        chain, number = origin.chain, number_of(program, rule)
        if chain.base is not None:
            base = chain.base.hook.upper(), chain.base.priority, chain.base.policy
        before = last.get(chain.name, 0)
        if number <= before or (found and found[-1].verdict in LEADS_ON):
            before = 0
        last[chain.name] = number
        verdict = VERDICTS.get(TargetKind(said), "accept")
        if origin.rule is not None:
            kind, text = "return" if verdict == "return" else "rule", rule_text(origin.table, origin.rule)
        elif chain.base is not None:
            kind, text, verdict = "policy", f"policy {base[2]}", base[2]
        else:
            kind, text, verdict = "return", "end of the chain", "return"
        table = f"{origin.table.family} {origin.table.name}"
        found.append(Met(base[0], base[1], table, chain.name, kind, number, text, number - before - 1, verdict))
    return found


def pairs(log: NDArray[np.uint32]) -> Iterator[tuple[int, int]]:
    """Yield rule and what it said."""
    words = log.tolist()
    yield from zip(words[::2], words[1::2], strict=False)


def number_of(program: Program, rule: int) -> int:
    """Return the number of a rule in its chain, from 1."""
    first = rule
    chain = program.origin[rule].chain
    while first and program.origin[first - 1].chain is chain:
        first -= 1
    return rule - first + 1
