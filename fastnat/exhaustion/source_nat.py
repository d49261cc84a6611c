"""The SNAT and MASQUERADE rules of a node, of iptables and of nftables: which ports they give, and what-if changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..addresses import Family
from ..dtypes import PROTOCOLS
from ..errors import FastnatError, InputError
from ..iptables.model import MAP_IPS, PROTO_SPECIFIED, RANDOM_FULLY, Target
from ..nftables import listing
from ..nftables.tree import Expression, Match, Meta, Nat, Payload, Prefix, Range, Rule, Statement, Table, Value
from ..node import Node

# tables of nftables that a family's packets pass
TABLES = {4: ("ip", "inet"), 6: ("ip6", "inet")}
NFT_RANDOM_FULLY = "fully-random"
# the port search gives a client's port of 1024 and more one of these (nf_nat_l4proto_unique_tuple)
ANY = (1024, 65535)


@dataclass(frozen=True)
class Change:
    """What every SNAT and MASQUERADE rule of a family gets: the flag, ports, or so many addresses.

    base: the address that MASQUERADE translates to; the others follow it.
    """

    family: Family
    random_fully: bool = False
    ports: tuple[int, int] | None = None
    addresses: int = 1
    base: int = 0

    def apply(self, node: Node) -> None:
        """Change a node's rules. InputError if it has none of them, or addresses that a map says cannot be changed."""
        if self.of_iptables(node) + self.of_nftables(node) == 0:
            raise InputError("the node has no rule of SNAT or MASQUERADE that random-fully, addresses or ports change")

    def of_iptables(self, node: Node) -> int:
        """Change rules of iptables; return how many."""
        rules = node.rules_of(self.family)
        targets = [
            (rule.target, rule.proto)
            for table in (rules.tables.values() if rules else ())
            for chain in table.chains.values()
            for rule in chain.rules
            if rule.target.name in ("SNAT", "MASQUERADE")
        ]
        for target, proto in targets:
            self.change_target(target, proto)
        return len(targets)

    def change_target(self, t: Target, proto: int) -> None:
        """Change one target; proto: the protocol that its rule asks for, 0 for any."""
        if self.random_fully:
            t.flags |= RANDOM_FULLY
        if self.ports and proto in (0, 6, 17):
            t.min_proto, t.max_proto = self.ports
            t.flags |= PROTO_SPECIFIED
        if self.addresses > 1:
            t.min_addr, t.max_addr = self.from_on(t.min_addr if t.name == "SNAT" else self.base)
            t.name = "SNAT"
            t.flags |= MAP_IPS

    def from_on(self, low: int) -> tuple[int, int]:
        """Return the first and the last of so many addresses; InputError if there are fewer."""
        if low + self.addresses - 1 > self.family.full:
            text = self.family.to_text(low)
            raise InputError(f"addresses={self.addresses}: there are not so many behind {text}")
        return low, low + self.addresses - 1

    def of_nftables(self, node: Node) -> int:
        """Change rules of nftables; return how many statements."""
        changed = 0
        for table in node.nft.tables.values():
            if table.family not in TABLES[self.family.version]:
                continue
            for chain in table.chains.values():
                for rule in chain.rules:
                    statements = tuple(self.statement(s, table) for s in rule.statements)
                    changed += sum(map(self.concerns, rule.statements))
                    rule.statements = statements
        if changed:
            node.nft_text = listing(node.nft)
        return changed

    def concerns(self, s: Statement) -> bool:
        """Tell whether a statement translates the sources of the family's packets."""
        family = {4: "ip", 6: "ip6"}[self.family.version]
        return isinstance(s, Nat) and s.kind in ("snat", "masquerade") and s.family in ("", family)

    def statement(self, s: Statement, table: Table) -> Statement:
        """Return a statement, changed if it is one of those."""
        if not isinstance(s, Nat) or not self.concerns(s):
            return s
        if self.random_fully and NFT_RANDOM_FULLY not in s.flags:
            s = replace(s, flags=(*(f for f in s.flags if f != "random"), NFT_RANDOM_FULLY))
        if self.ports:
            s = replace(s, port=Range(*(Value(str(port)) for port in self.ports)))
        if self.addresses > 1:
            low, high = self.from_on(self.base if s.kind == "masquerade" else self.first(s.address))
            family = {4: "ip", 6: "ip6"}[self.family.version] if table.family == "inet" else ""
            ends = (Value(self.family.to_text(a)) for a in (low, high))
            s = Nat("snat", family, Range(*ends), s.port, s.flags)
        return s

    def first(self, address: Expression | None) -> int:
        """Return the first address of a snat statement; InputError if a map or the packet says it."""
        while isinstance(address, Range | Prefix):
            address = address.low if isinstance(address, Range) else address.address
        try:
            if isinstance(address, Value):
                return self.family.to_int(address.text)
        except (FastnatError, ValueError):
            pass
        raise InputError("addresses=N: a snat statement of nftables takes its addresses from a map; change it there")


def port_windows(node: Node, family: Family, proto: str) -> set[tuple[int, int]]:
    """Return the first and last ports that rules name for a protocol; `ANY` for those that name none, or by a map."""
    found = set()
    rules = node.rules_of(family)
    for table in rules.tables.values() if rules else ():
        for chain in table.chains.values():
            for rule in chain.rules:
                t = rule.target
                if t.name in ("SNAT", "MASQUERADE") and rule.proto in (0, PROTOCOLS[proto]):
                    low, high = sorted((t.min_proto, t.max_proto))
                    found.add((low, high) if t.flags & PROTO_SPECIFIED else ANY)
    change = Change(family)
    for native in node.nft.tables.values():
        for nft_rule in (r for c in native.chains.values() for r in c.rules if native.family in TABLES[family.version]):
            if asked_of(nft_rule) in ("", proto):
                found.update(window_of(s) for s in nft_rule.statements if isinstance(s, Nat) and change.concerns(s))
    return found


def asked_of(rule: Rule) -> str:
    """Return the protocol that a rule of nftables asks for, "" if none or several."""
    for s in rule.statements:
        if isinstance(s, Match) and isinstance(s.left, Payload) and s.left.protocol in PROTOCOLS:
            return s.left.protocol
        if isinstance(s, Match) and s.left == Meta("l4proto") and s.op == "==" and isinstance(s.right, Value):
            return s.right.text
    return ""


def window_of(s: Nat) -> tuple[int, int]:
    """Return the ports that a statement names."""
    ends = (s.port.low, s.port.high) if isinstance(s.port, Range) else (s.port, s.port)
    numbers = [int(e.text) for e in ends if isinstance(e, Value) and e.text.isdecimal()]
    return (min(numbers), max(numbers)) if len(numbers) == len(ends) else ANY
