"""How chains call each other: loops, the depth of nesting, what may stand where, and how many rules a packet may meet.

Source: mark_source_chains (ip_tables.c) rejects loops and accepts any depth; xt_check_match, xt_check_target
(x_tables.c), Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..core.layout import FN_WALK_RULES
from .model import BUILT_IN, Chain, Rule, Table

# the hooks to which the kernel binds a target (xt_target.hooks)
TARGET_HOOKS = {
    "MASQUERADE": ("POSTROUTING",), "SNAT": ("POSTROUTING", "INPUT"), "DNAT": ("PREROUTING", "OUTPUT"),
    "REDIRECT": ("PREROUTING", "OUTPUT"), "TPROXY": ("PREROUTING",), "CLASSIFY": ("OUTPUT", "FORWARD", "POSTROUTING"),
}  # fmt: skip
# a file is worth a warning if a packet may meet this many rules
MANY_RULES = 1_000_000


def callees(table: Table) -> dict[str, list[tuple[str, bool]]]:
    """Return for each chain the chains to which its rules lead, and whether by a goto, which needs no return."""
    return {
        chain.name: [(r.target.name, r.target.goto) for r in chain.rules if r.target.name in table.chains]
        for chain in table.chains.values()
    }


def callees_first(calls: Mapping[str, Sequence[tuple[str, bool]]]) -> list[str]:
    """Return the chains, each after those that it calls; ValueError names a loop."""
    order: list[str] = []
    done: dict[str, bool] = {}
    for start in calls:
        if start in done:
            continue
        if not calls[start]:
            done[start] = True
            order.append(start)
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


class Calls:
    """Which chains of a table call which, and an order in which each comes after those that it calls."""

    def __init__(self, table: Table) -> None:
        """Raise ValueError for a loop."""
        self.callees = callees(table)
        self.order = callees_first(self.callees)


def hooks_of(table: Table, calls: Calls) -> dict[str, int]:
    """Return for each chain the built-in ones from which a packet may come to it (ipt_entry.comefrom), a bit each."""
    hooks = dict.fromkeys(calls.callees, 0) | {name: 1 << n for n, name in enumerate(BUILT_IN[table.name])}
    for name in reversed(calls.order):
        mine = hooks[name]
        if mine:
            for callee, _ in calls.callees[name]:
                hooks[callee] |= mine
    return hooks


def misplaced(table: Table, calls: Calls) -> Iterator[tuple[Chain, int, str]]:
    """Yield the rules that the kernel rejects where they stand: chain, place, and why."""
    hooks: dict[str, int] = {}
    built_in = BUILT_IN[table.name]
    # rules may share a list of matches
    bound: dict[int, bool] = {}
    # by where something may stand: the bits of the other built-in chains
    elsewhere: dict[tuple[str, ...], int] = {}
    for chain in table.chains.values():
        for n, rule in enumerate(chain.rules):
            if rule.target.name not in TARGET_HOOKS:
                shared = id(rule.matches)
                if shared not in bound:
                    bound[shared] = any(m.hooks for m in rule.matches)
                if not bound[shared]:
                    continue
            for what, places in _places(rule):
                hooks = hooks or hooks_of(table, calls)
                if places not in elsewhere:
                    elsewhere[places] = sum(1 << k for k, hook in enumerate(built_in) if hook not in places)
                wrong = hooks[chain.name] & elsewhere[places]
                if wrong:
                    names = ", ".join(sorted(hook for k, hook in enumerate(built_in) if wrong >> k & 1))
                    yield chain, n, f"{what} is valid only in {', '.join(places)}, not in {names}"


def _places(rule: Rule) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what a rule has that is bound to some hooks, and these."""
    for m in rule.matches:
        if m.hooks:
            yield f"match {m.kind!r}" if m.kind != "const" else "this match", m.hooks
    if rule.target.name in TARGET_HOOKS:
        yield rule.target.name, TARGET_HOOKS[rule.target.name]


def jump_depth(table: Table) -> int:
    """Return the largest number of jumps from which a walk may have to return: the longest path over all callers."""
    calls = Calls(table)
    depth: dict[str, int] = {}
    for name in calls.order:
        depth[name] = max([depth[c] + (not goto) for c, goto in calls.callees[name]], default=0)
    return max(depth.values(), default=0)


def rules_met(table: Table, calls: Calls) -> dict[str, int]:
    """Return for each chain how many rules a packet may meet at most from its beginning on."""
    met: dict[str, int] = {}
    for name in calls.order:
        # beyond the limit the sum means nothing more, and it doubles with every level
        below = sum([met[c] for c, _ in calls.callees[name]])
        met[name] = min(len(table.chains[name].rules) + 1 + below, FN_WALK_RULES)
    return met


def warning(table: Table, calls: Calls, source: str) -> str:
    """Return a warning about chains that multiply, "" if a packet meets few rules."""
    met = rules_met(table, calls)
    # the outermost of them: a caller comes after the chains that it calls
    worst = max(reversed(met), key=lambda name: met[name], default="")
    if not worst or met[worst] < MANY_RULES:
        return ""
    many = "at least " if met[worst] == FN_WALK_RULES else ""
    return (
        f"{source}: table {table.name}: one packet may meet {many}{met[worst]:,} rules in chain {worst}, because "
        f"chains are called repeatedly; the kernel accepts such rules and slows down; fastnat drops a packet after "
        f"{FN_WALK_RULES:,} (reason TOO_MANY_RULES)"
    )
