"""How chains call each other: no loops, how deep they nest, and how many rules a packet may meet.

Source: mark_source_chains (ip_tables.c) refuses loops and takes any depth, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..core.layout import FN_WALK_RULES
from .model import Table

# rules a packet may meet from which a rule file deserves a word
MANY_RULES = 1_000_000


def callees(table: Table) -> dict[str, list[tuple[str, bool]]]:
    """Return for each chain the chains that its rules lead to, and whether by a goto, which needs no way back."""
    return {
        chain.name: [(r.target.name, r.target.goto) for r in chain.rules if r.target.name in table.chains]
        for chain in table.chains.values()
    }


def callees_first(calls: Mapping[str, Sequence[tuple[str, bool]]]) -> list[str]:
    """Return the chains so that each stands behind those that it calls; ValueError names a loop."""
    order: list[str] = []
    done: dict[str, bool] = {}
    for start in calls:
        if start in done:
            continue
        done[start] = False
        path: list[tuple[str, Iterator[tuple[str, bool]]]] = [(start, iter(calls[start]))]
        while path:
            name, rest = path[-1]
            callee = next((c for c, _ in rest if not done.get(c, False)), None)
            if callee is None:
                done[name] = True
                order.append(name)
                path.pop()
            elif callee in done:
                names = [n for n, _ in path]
                raise ValueError(f"chains loop: {' -> '.join([*names[names.index(callee) :], callee])}")
            else:
                done[callee] = False
                path.append((callee, iter(calls[callee])))
    return order


def jump_depth(table: Table) -> int:
    """Return the most jumps that a walk may have to come back from: the longest way over all callers."""
    calls = callees(table)
    depth: dict[str, int] = {}
    for name in callees_first(calls):
        depth[name] = max((depth[c] + (not goto) for c, goto in calls[name]), default=0)
    return max(depth.values(), default=0)


def rules_met(table: Table) -> dict[str, int]:
    """Return for each chain how many rules a packet may meet at most from its beginning on."""
    calls = callees(table)
    met: dict[str, int] = {}
    for name in callees_first(calls):
        # beyond the limit the sum says nothing more, and it doubles with every level
        met[name] = min(len(table.chains[name].rules) + 1 + sum(met[c] for c, _ in calls[name]), FN_WALK_RULES)
    return met


def warning(table: Table, source: str) -> str:
    """Return a warning about chains that multiply, "" if a packet meets few rules."""
    met = rules_met(table)
    # the outermost of them: callers stand behind whom they call
    worst = max(reversed(met), key=lambda name: met[name], default="")
    if not worst or met[worst] < MANY_RULES:
        return ""
    many = "at least " if met[worst] == FN_WALK_RULES else ""
    return (
        f"{source}: table {table.name}: one packet may meet {many}{met[worst]:,} rules in chain {worst}, because "
        f"chains are called repeatedly; the kernel accepts such rules and slows down; fastnat drops a packet after "
        f"{FN_WALK_RULES:,} (reason TOO_MANY_RULES)"
    )
