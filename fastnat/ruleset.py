"""The rule model to the arrays that core/rule_match reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dtypes import MATCH, RULE, TARGET
from .iptables import Chain, Match, Rule, Rules, Table

ANY_IFACE = 0xFFFF
TABLES = {"raw": 0, "mangle": 1, "nat": 2, "filter": 3}
HOOKS = {"PREROUTING": 0, "INPUT": 1, "FORWARD": 2, "OUTPUT": 3, "POSTROUTING": 4}
TARGET_CODES = {
    "": 0, "ACCEPT": 1, "DROP": 2, "REJECT": 2, "RETURN": 3, "SNAT": 9, "DNAT": 10, "MASQUERADE": 11, "REDIRECT": 12,
    "NETMAP": 13, "MARK": 14, "CONNMARK": 15, "NOTRACK": 16, "CT": 17, "LOG": 0,
}  # fmt: skip
JUMP, GOTO, POLICY_ACCEPT, POLICY_DROP, CHAIN_END = 4, 5, 6, 7, 8
MATCH_CODES = {
    "sport": 1, "dport": 2, "tcp-flags": 3, "icmp-type": 4, "mark": 8, "connmark": 9, "addrtype-src": 10,
    "addrtype-dst": 11, "iprange-src": 12, "iprange-dst": 13, "ctstate": 14, "ctproto": 15, "nth": 16, "random": 17,
    "length": 18,
}  # fmt: skip
MULTIPORT, L4_HEADER = 5, 20
# bytes of l4 header without which the kernel's match drops the packet
HEADER_NEED = {6: 20, 17: 8, 132: 12, 136: 8, 1: 4}
TRACKING_TARGETS = {"SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP", "CONNMARK", "CT", "NOTRACK"}
TRACKING_MATCHES = {"ctstate", "ctproto", "connmark"}


@dataclass
class Ruleset:
    """Compiled rules.

    Attributes
    ----------
    rules : RULE[n]            chains one after the other, each closed by its policy or end
    matches, targets : MATCH[], TARGET[]
    port_slots : uint16[2 m]   min, max pairs of multiport
    iface_match : uint8[sets * n_ifaces]
    hook_entry : dict of (table, hook) to the first rule's index
    tracking, nat_hooks : bool    whether the kernel registers those hooks for these rules
    origin : list of (table, Chain, Rule or None)   what each compiled rule came from
    """

    rules: NDArray[Any]
    matches: NDArray[Any]
    targets: NDArray[Any]
    port_slots: NDArray[Any]
    iface_match: NDArray[Any]
    hook_entry: dict[tuple[int, int], int]
    tracking: bool
    nat_hooks: bool
    origin: list[tuple[str, Chain, Rule | None]]


@dataclass
class Compiler:
    """Collects arrays while it walks the chains."""

    iface_names: list[str]
    rules: list[tuple[int, ...]] = field(default_factory=list)
    matches: list[tuple[int, ...]] = field(default_factory=list)
    targets: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    iface_sets: dict[tuple[str, bool], int] = field(default_factory=dict)
    origin: list[tuple[str, Chain, Rule | None]] = field(default_factory=list)
    hook_entry: dict[tuple[int, int], int] = field(default_factory=dict)

    def iface_set(self, pattern: str, invert: bool) -> int:
        """Return the row of an interface pattern."""
        if not pattern or (pattern == "+" and not invert):
            return ANY_IFACE
        return self.iface_sets.setdefault((pattern, invert), len(self.iface_sets))

    def iface_table(self) -> NDArray[Any]:
        """Return the match table: a row per pattern, a column per interface; column 0 is "no interface"."""
        rows = [
            [_iface_fits(pattern, "" if n == 0 else name) != invert for n, name in enumerate(self.iface_names)]
            for pattern, invert in self.iface_sets
        ]
        return np.array(rows, np.uint8).reshape(-1)

    def match(self, m: Match) -> None:
        """Append one match."""
        v = (*m.values, 0, 0, 0)
        if m.kind == "multiport":
            self.matches.append((MULTIPORT + v[0], m.invert, len(m.values) // 2, len(self.slots) // 2, 0, 0))
            self.slots += m.values[1:]
        elif m.kind == "nth":
            self.matches.append((MATCH_CODES["nth"], m.invert, 0, v[0] - 1, 0, v[0] - 1 - v[1]))
        else:
            self.matches.append((MATCH_CODES[m.kind], m.invert, 0, *v[:3]))

    def table(self, table: Table) -> None:
        """Append a table's chains that hold or may reach anything."""
        starts: dict[str, int] = {}
        at = len(self.rules)
        for chain in table.chains.values():
            starts[chain.name] = at
            at += len(chain.rules) + 1
        for chain in table.chains.values():
            for rule in chain.rules:
                self.rule(table, chain, rule, starts)
            policy = {"ACCEPT": POLICY_ACCEPT, "DROP": POLICY_DROP}.get(chain.policy, CHAIN_END)
            self.rules.append(
                (0, 0, 0, 0, ANY_IFACE, ANY_IFACE, 0, 0, 0, 0, 0, policy, 0, 0, 0, chain.packets, chain.bytes, 0)
            )
            self.origin.append((table.name, chain, None))
            # an empty chain that accepts still counts for nat, whose policy counters users read
            if chain.name in HOOKS and (chain.rules or policy == POLICY_DROP or table.name == "nat"):
                self.hook_entry[TABLES[table.name], HOOKS[chain.name]] = starts[chain.name]

    def rule(self, table: Table, chain: Chain, r: Rule, starts: dict[str, int]) -> None:
        """Append one rule and its matches and target."""
        first = len(self.matches)
        need = HEADER_NEED.get(r.proto, 0)
        if (
            need
            and not r.invert_proto
            and any(m.kind in ("sport", "dport", "multiport", "tcp-flags", "icmp-type") for m in r.matches)
        ):
            self.matches.append((L4_HEADER, 0, 0, need, 0, 0))
        for m in r.matches:
            self.match(m)
        t = r.target
        if t.name in starts:
            code, arg = (GOTO if t.goto else JUMP), starts[t.name]
        else:
            code, arg = TARGET_CODES[t.name], len(self.targets)
            self.targets.append(
                (
                    t.min_addr,
                    t.max_addr,
                    t.min_proto,
                    t.max_proto,
                    t.base_proto,
                    t.flags,
                    t.value,
                    t.mask,
                    t.mask2,
                    t.op,
                )
            )
        invert = r.invert_src | r.invert_dst << 1 | r.invert_proto << 2
        to_policy = len(chain.rules) if r is chain.rules[0] else 0
        self.rules.append(
            (r.src, r.smask, r.dst, r.dmask,
             self.iface_set(r.in_iface, r.invert_in), self.iface_set(r.out_iface, r.invert_out),
             r.proto, invert, len(self.matches) - first, first, arg, code, 0, 0, r.line, r.packets, r.bytes, to_policy)
        )  # fmt: skip
        self.origin.append((table.name, chain, r))


def _iface_fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def compile_rules(parsed: Rules, iface_names: list[str]) -> Ruleset:
    """Compile parsed rules for a node with these interfaces; number 0 stands for "no interface"."""
    c = Compiler(iface_names)
    every = []
    for name in TABLES:
        if name in parsed.tables:
            c.table(parsed.tables[name])
            every += [r for chain in parsed.tables[name].chains.values() for r in chain.rules]
    tracking = any(
        r.target.name in TRACKING_TARGETS or any(m.kind in TRACKING_MATCHES for m in r.matches) for r in every
    )
    return Ruleset(
        np.array(c.rules, RULE),
        np.array(c.matches, MATCH),
        np.array(c.targets, TARGET),
        np.array(c.slots, np.uint16),
        c.iface_table(),
        c.hook_entry,
        tracking,
        "nat" in parsed.tables,
        c.origin,
    )
