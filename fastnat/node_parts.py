"""What a node is made of: interfaces with their addresses, and routes."""

from __future__ import annotations

from dataclasses import dataclass, field

SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
# ADDRESS_* of core/types.h as `ip -j addr` names those of IPv6
FLAGS6 = {"deprecated": 2, "tentative": 4, "temporary": 8}


@dataclass
class Address:
    """One address of an interface; `peer` is the other end of a point-to-point link, else the address.

    IPv6 addresses stand in the kernel's order, newest first; `flags` are ADDRESS_* of core/types.h.
    """

    local: int
    prefix: int
    scope: int = 0
    peer: int | None = None
    flags: int = 0


@dataclass
class Interface:
    """A network interface; addresses stand in the order in which they were added."""

    name: str
    index: int
    mtu: int = 1500
    addresses: list[Address] = field(default_factory=list)
    addresses6: list[Address] = field(default_factory=list)
    loopback: bool = False


@dataclass
class Route:
    """One route of the main table."""

    dst: int
    prefix: int
    iface: str = ""
    gateway: int = 0
    kind: str = "unicast"
    metric: int = 0
