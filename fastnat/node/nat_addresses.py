"""Which addresses a node translates to: its own, and those that its rules name."""

from __future__ import annotations

from ..addresses import FAMILIES, family_of
from .model import Node


class NatAddresses:
    """The NAT addresses of a node. Rules of nftables may take theirs from anywhere: with them any address is one.

    known: whether the addresses can be told.
    """

    def __init__(self, node: Node) -> None:
        families = FAMILIES.values()
        self.ranges = [
            (a.local, a.local) for i in node.interfaces.values() for f in families for a in i.addresses_of(f)
        ]
        for parsed in map(node.rules_of, families):
            for table in parsed.tables.values() if parsed else []:
                targets = (rule.target for chain in table.chains.values() for rule in chain.rules)
                self.ranges += [(t.min_addr, t.max_addr) for t in targets if t.name in ("SNAT", "NETMAP")]
        self.known = bool(self.ranges) and not node.nft_text
        self._found: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """Tell whether the node translates to an address, given as text."""
        if not self.known:
            return True
        if address not in self._found:
            number = family_of(address).to_int(address)
            self._found[address] = any(low <= number <= high for low, high in self.ranges)
        return self._found[address]
