"""What a node is made of: interfaces with their addresses, and routes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..addresses import V4, Family
from ..core.layout import AddressFlag
from ..util.text import shown, whole

# link types whose frames have an address of the receiver; a device of which nothing is said is the first of them
LINK_LAYERS = ("ether", "infiniband", "ieee802", "ieee802.11", "fddi")
SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
# as `ip -j addr` names the flags of IPv6
FLAGS6 = {f.name.lower(): int(f) for f in (AddressFlag.DEPRECATED, AddressFlag.TENTATIVE, AddressFlag.TEMPORARY)}


@dataclass
class Address:
    """One address of an interface; `peer` is the other end of a point-to-point link, else the address.

    IPv6 addresses are in the kernel's order, newest first; `flags` are those of AddressFlag. `broadcast` is that of the
    network, where it was given another one.
    """

    local: int
    prefix: int
    scope: int = 0
    peer: int | None = None
    flags: int = 0
    broadcast: int | None = None


@dataclass
class Interface:
    """A network interface; addresses are in the order in which they were added."""

    name: str
    index: int
    mtu: int = 1500
    addresses: list[Address] = field(default_factory=list)
    addresses6: list[Address] = field(default_factory=list)
    loopback: bool = False
    # whether it asks for link-layer addresses
    arp: bool = True
    # its group, by number or name; the type of its link layer; of which kind it is, None: nobody has said, "": a device
    # that no driver of links has made
    group: str = "default"
    link_type: str = LINK_LAYERS[0]
    kind: str | None = None
    # its link-layer address, None: it has none, or nobody has said
    mac: int | None = None
    # while it is down nobody is asked on it with all others; its addresses of IPv4 stay the node's
    up: bool = True

    @property
    def link_layer(self) -> bool:
        """Whether its link layer addresses packets to all, groups and one."""
        return not self.loopback and self.link_type in LINK_LAYERS

    def addresses_of(self, family: Family) -> list[Address]:
        """Return the addresses of one family, to be read or changed."""
        return self.addresses if family is V4 else self.addresses6


# an interface, 4 or 6, and an address: who is there has a link-layer address
Neighbour = tuple[str, int, int]


@dataclass(frozen=True)
class Hop:
    """One of several next hops of a route; weight 0: it is dead, and not chosen. Dead ones stand behind the others."""

    iface: str
    gateway: int = 0
    weight: int = 1


# the tables of the rules that every node has, by their numbers
TABLES = {"255": "local", "254": "main", "253": "default"}


@dataclass
class Route:
    """One route, of a table by number or name; with several next hops `iface` and `gateway` are the first's."""

    dst: int
    prefix: int
    iface: str = ""
    gateway: int = 0
    kind: str = "unicast"
    metric: int = 0
    table: str = "main"
    hops: tuple[Hop, ...] = ()
    # the address that the route prefers, 0 none
    source: int = 0
    # it follows from an address: nobody added it
    kernel: bool = False


@dataclass(frozen=True)
class PolicyRule:
    """One rule of `ip rule`: which packets it is for, and the table in which they are looked up.

    Addresses and masks are in host byte order; `iface` "" is any device, "lo" the node itself; `refuses` stands for
    the actions unreachable, blackhole and prohibit; `suppressed` is the prefix length up to which routes do not count;
    `tos` under `tos_mask` is the TOS or traffic class; `out` is the device that somebody insists on.
    """

    priority: int
    table: str = "main"
    src: int = 0
    src_prefix: int = 0
    dst: int = 0
    dst_prefix: int = 0
    iface: str = ""
    mark: int = 0
    mask: int = 0
    proto: int = 0
    sports: tuple[int, int] = (0, 65535)
    dports: tuple[int, int] = (0, 65535)
    invert: bool = False
    refuses: bool = False
    suppressed: int | None = None
    tos: int = 0
    tos_mask: int = 0
    out: str = ""


# what every node has (fib_default_rules_init)
DEFAULT_RULES = (PolicyRule(0, "local"), PolicyRule(32766, "main"), PolicyRule(32767, "default"))


# iptables-save of iptables-nft prints this for a table whose chains are not its own
NATIVE = re.compile(r"^# Table [`'\"]?([^\s`'\"]+)['\"]? (?:contains incompatible|is incompatible)", re.MULTILINE)
# bytes of an interface's name: the kernel has 15, other systems' captures more
MAX_NAME = 255
# packets name interfaces by 16 bits, and 0 is the node itself
MAX_INTERFACES = 0xFFFE
# IPV4_MIN_MTU, IPV6_MIN_MTU: the kernel removes the addresses of a device with less
MIN_MTU, MIN_MTU6 = 68, 1280


def check_interface(iface: Interface) -> None:
    """Raise ValueError for an impossible interface."""
    name = iface.name
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= MAX_NAME:
        raise ValueError(f"interface name {shown(name, 60)} is not text of 1 to {MAX_NAME} bytes")
    if name == "local" or not name.isprintable() or " " in name:
        raise ValueError(f"interface name {shown(name, 60)} is reserved, or holds characters that no name may have")
    mtu = whole(f"mtu of {name}:", iface.mtu, 0, 2**32 - 1)
    for addresses, least in ((iface.addresses, MIN_MTU), (iface.addresses6, MIN_MTU6)):
        if addresses and mtu < least:
            raise ValueError(f"mtu {mtu} of {name}: with less than {least} an interface has no address of this family")
