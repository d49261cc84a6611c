"""The SNAT and MASQUERADE rules of a node, of iptables and of nftables: which ports they give, and what-if changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..addresses import V4, Family
from ..dtypes import PROTOCOLS
from ..errors import FastnatError, InputError
from ..iptables.model import MAP_IPS, PROTO_SPECIFIED, RANDOM_FULLY, Target
from ..iptables.model import Rule as IptablesRule
from ..nftables import text_of
from ..nftables.tree import (
    Concat,
    Element,
    Elements,
    Expression,
    Lookup,
    Match,
    Meta,
    Named,
    Nat,
    Payload,
    Prefix,
    Range,
    Rule,
    Statement,
    Table,
    Value,
)
from ..node import Node

# tables of nftables that a family's packets pass
TABLES = {4: ("ip", "inet"), 6: ("ip6", "inet")}
SOURCE_NAT = ("SNAT", "MASQUERADE")
NFT_RANDOM_FULLY = "fully-random"
# the port search gives a client's port of 1024 and more one of these (nf_nat_l4proto_unique_tuple)
Window = tuple[int, int]
ANY: Window = (1024, 65535)


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

    def apply(self, node: Node) -> Node:
        """Return a node with these changes; what they do not concern it shares with the other.

        InputError if it has no such rules, or addresses that a map says, which cannot be changed.
        """
        changed = copy.copy(node)
        if self.of_iptables(changed) + self.of_nftables(changed) == 0:
            raise InputError("the node has no rule of SNAT or MASQUERADE that random-fully, addresses or ports change")
        return changed

    def of_iptables(self, node: Node) -> int:
        """Give a node changed rules of iptables; return how many were changed."""
        rules, changed = node.rules_of(self.family), 0
        if rules is None:
            return 0
        tables = dict(rules.tables)
        for name, table in rules.tables.items():
            chains = {
                chain.name: replace(chain, rules=[self.rule(rule) for rule in chain.rules])
                for chain in table.chains.values() if any(rule.target.name in SOURCE_NAT for rule in chain.rules)
            }  # fmt: skip
            tables[name] = replace(table, chains=table.chains | chains)
            changed += sum(rule.target.name in SOURCE_NAT for name in chains for rule in table.chains[name].rules)
        if self.family is V4:
            node.rules = replace(rules, tables=tables)
        else:
            node.rules6 = replace(rules, tables=tables)
        return changed

    def rule(self, rule: IptablesRule) -> IptablesRule:
        """Return a rule of iptables, changed if it is one of those."""
        if rule.target.name not in SOURCE_NAT:
            return rule
        target = replace(rule.target)
        self.change_target(target, rule.proto)
        return replace(rule, target=target)

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
        """Give a node changed rules of nftables; return how many statements were changed."""
        tables, changed = dict(node.nft.tables), 0
        for key, table in node.nft.tables.items():
            if table.family not in TABLES[self.family.version]:
                continue
            chains = dict(table.chains)
            for chain in table.chains.values():
                concerned = sum(self.concerns(s) for rule in chain.rules for s in rule.statements)
                if concerned:
                    said = [tuple(self.statement(s, table) for s in rule.statements) for rule in chain.rules]
                    rules = [replace(r, statements=mine) for r, mine in zip(chain.rules, said, strict=True)]
                    chains[chain.name] = replace(chain, rules=rules)
                    changed += concerned
            tables[key] = replace(table, chains=chains)
        if changed:
            node.nft = replace(node.nft, tables=tables)
            node.nft_text = text_of(node.nft)
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


class PortWindows:
    """The ports that the rules of a node give: each question is answered once."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._given: dict[tuple[int, str], list[tuple[int, int, Window]]] = {}
        self._found: dict[tuple[int, str, int | None], set[Window]] = {}

    def of(self, family: Family, proto: str, address: int | None = None) -> set[Window]:
        """Return the first and last ports that rules name for a protocol; `ANY` for those that name none.

        address: only of rules that translate to it.
        """
        key = (family.version, proto)
        if (*key, address) not in self._found:
            if key not in self._given:
                self._given[key] = list(_given(self.node, family, proto))
            given = self._given[key]
            self._found[*key, address] = {w for low, high, w in given if address is None or low <= address <= high}
        return self._found[*key, address]


def _given(node: Node, family: Family, proto: str) -> Iterator[tuple[int, int, Window]]:
    """Yield the first and last address, and the ports, that each SNAT or MASQUERADE rule gives."""
    own = [a.local for name, i in node.interfaces.items() if name != "lo" for a in i.addresses_of(family)]
    # of rules alone nobody knows to what MASQUERADE translates
    masquerade = [(a, a) for a in own] or [(0, family.full)]
    rules = node.rules_of(family)
    for table in rules.tables.values() if rules else ():
        for rule in (rule for chain in table.chains.values() for rule in chain.rules):
            t = rule.target
            if t.name in SOURCE_NAT and rule.proto in (0, PROTOCOLS[proto]):
                low, high = sorted((t.min_proto, t.max_proto))
                window = (low, high) if t.flags & PROTO_SPECIFIED else ANY
                first, last = sorted((t.min_addr, t.max_addr))
                # SNAT of ports alone keeps the address, whichever that is
                given = (first, last) if t.flags & MAP_IPS else (0, family.full)
                for ends in [given] if t.name == "SNAT" else masquerade:
                    yield (*ends, window)
    change = Change(family)
    for native in node.nft.tables.values():
        for nft_rule in (r for c in native.chains.values() for r in c.rules if native.family in TABLES[family.version]):
            if asked_of(nft_rule) in ("", proto):
                for s in (s for s in nft_rule.statements if isinstance(s, Nat) and change.concerns(s)):
                    for addresses, window in said_by(s, native):
                        known = _ends_of(addresses, family)
                        for ends in masquerade if s.kind == "masquerade" else [known or (0, family.full)]:
                            yield (*ends, window)


def said_by(s: Nat, table: Table) -> Iterator[tuple[Expression | None, Window]]:
    """Yield addresses and ports of a statement of nftables, of a map those of each element."""
    where = s.address.table if isinstance(s.address, Lookup) else None
    if isinstance(where, Named) and where.name in table.sets:
        found: Sequence[Element] = table.sets[where.name].elements
    else:
        found = where.items if isinstance(where, Elements) else ()
    if not found:
        yield s.address, window_of(s.port)
    for element in found:
        data = element.data
        if isinstance(data, Concat) and len(data.items) == 2:
            yield data.items[0], window_of(data.items[1])
        else:
            yield data, window_of(s.port)


def _ends_of(address: Expression | None, family: Family) -> tuple[int, int] | None:
    """Return the first and the last of the addresses that a statement names; None where it names none."""
    try:
        if isinstance(address, Prefix) and isinstance(address.address, Value):
            low = family.to_int(address.address.text) & family.mask_of(address.length)
            return low, low | family.full & ~family.mask_of(address.length)
        ends = (address.low, address.high) if isinstance(address, Range) else (address, address)
        low, high = (family.to_int(end.text) for end in ends if isinstance(end, Value))
    except (FastnatError, ValueError):
        return None
    return low, high


def nft_sources(node: Node, family: Family) -> tuple[int, int] | None:
    """Return address and prefix length of the first network that a SNAT or MASQUERADE rule of nftables names."""
    change, asked = Change(family), Payload({4: "ip", 6: "ip6"}[family.version], "saddr")
    for native in node.nft.tables.values():
        for rule in (r for c in native.chains.values() for r in c.rules if native.family in TABLES[family.version]):
            if any(change.concerns(s) for s in rule.statements if isinstance(s, Nat)):
                named = (s.right for s in rule.statements if isinstance(s, Match) and (s.op, s.left) == ("==", asked))
                for right in named:
                    of = [e.key for e in right.items] if isinstance(right, Elements) else [right]
                    for network in of:
                        found = first_network(network, family)
                        if found:
                            return found
    return None


def first_network(named: Expression, family: Family) -> tuple[int, int] | None:
    """Return address and prefix length of an address, network or range: of a range the first network within it."""
    if isinstance(named, Prefix) and isinstance(named.address, Value):
        return family.to_int(named.address.text), named.length
    ends = (named.low, named.high) if isinstance(named, Range) else (named, named)
    if not isinstance(ends[0], Value) or not isinstance(ends[1], Value):
        return None
    low, high = family.to_int(ends[0].text), family.to_int(ends[1].text)
    length = family.bits
    # twice as large while it begins there and ends within
    while length and low & ~family.mask_of(length - 1) == 0 and low | ~family.mask_of(length - 1) & family.full <= high:
        length -= 1
    return low, length


def pool_of(node: Node, family: Family, address: int) -> tuple[int, int]:
    """Return the first and last of the addresses among which the rules choose that give this one."""
    found, rules, change = [(address, address)], node.rules_of(family), Change(family)
    for table in rules.tables.values() if rules else ():
        targets = (rule.target for chain in table.chains.values() for rule in chain.rules)
        found += [(t.min_addr, t.max_addr) for t in targets if t.name == "SNAT"]
    for native in node.nft.tables.values():
        for nft_rule in (r for c in native.chains.values() for r in c.rules if native.family in TABLES[family.version]):
            named = (s.address for s in nft_rule.statements if isinstance(s, Nat) and change.concerns(s))
            for ends in ((a.low, a.high) for a in named if isinstance(a, Range)):
                if isinstance(ends[0], Value) and isinstance(ends[1], Value):
                    found.append((family.to_int(ends[0].text), family.to_int(ends[1].text)))
    pools = ((min(ends), max(ends)) for ends in found)
    return max((p for p in pools if p[0] <= address <= p[1]), key=lambda p: p[1] - p[0])


def asked_of(rule: Rule) -> str:
    """Return the protocol that a rule of nftables asks for, "" if none or several."""
    for s in rule.statements:
        if isinstance(s, Match) and isinstance(s.left, Payload) and s.left.protocol in PROTOCOLS:
            return s.left.protocol
        if isinstance(s, Match) and s.left == Meta("l4proto") and s.op == "==" and isinstance(s.right, Value):
            return s.right.text
    return ""


def window_of(port: Expression | None) -> Window:
    """Return the ports that a statement names."""
    ends = (port.low, port.high) if isinstance(port, Range) else (port, port)
    numbers = [int(e.text) for e in ends if isinstance(e, Value) and e.text.isdecimal()]
    return (min(numbers), max(numbers)) if len(numbers) == len(ends) else ANY
