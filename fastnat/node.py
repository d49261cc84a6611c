"""The node: interfaces, addresses, routes, sysctls and rule text; load and save of a node directory.

Sources: ip-address(8), ip-route(8) JSON output; devinet.c (order of a device's address list), fib_semantics.c
(local and broadcast routes of an address).
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .addresses import V4, V6, AddressLike, Family, family_of
from .dtypes import RECORDS4, RECORDS6
from .errors import InputError
from .files import read_json, read_sysctls, read_text

if TYPE_CHECKING:
    from .ipset import IpSet
    from .iptables import Rules

SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
KINDS = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7,
    "prohibit": 8, "throw": 9,
}  # fmt: skip
LOCAL = "local"
# ADDRESS_* of core/types.h, and how `ip -j addr` names those of IPv6
SECONDARY = 1
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


class Node:
    """What a host's NAT depends on: interfaces, addresses, routes, sysctls and rules.

    Build one by hand with add_interface, add_route and load_rules, or from files with Node.load.

    Attributes
    ----------
    interfaces : dict of name to Interface, in device order; "lo" is always first
    routes, routes6 : list of Route, main table
    sysctls : dict of name to text
    rules_text, rules6_text : str     iptables-save and ip6tables-save text
    rules, rules6 : fastnat.iptables.Rules or None    what they say; read-only
    sets : dict of name to IpSet
    conntrack_text : str   `conntrack -L` text of the connections with which engines start
    """

    def __init__(self) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.routes: list[Route] = []
        self.sysctls: dict[str, str] = {}
        self.rules_text = ""
        self.rules: Rules | None = None
        self.rules6: Rules | None = None
        self.routes6: list[Route] = []
        self.rules6_text = ""
        self.sets: dict[str, IpSet] = {}
        self.sets_text = ""
        self.conntrack_text = ""
        self.add_interface("lo", ["127.0.0.1/8"])
        self.interfaces["lo"].loopback = True
        self.interfaces["lo"].addresses[0].scope = SCOPES["host"]

    def add_interface(self, name: str, addresses: list[str] | tuple[str, ...] = (), mtu: int = 1500) -> None:
        """Add an interface with addresses as "a.b.c.d/len" or "a::b/len" and their connected routes.

        Raises InputError when the name is taken or reserved, or an address is not of that form.
        """
        if name in self.interfaces or name == LOCAL:
            raise InputError(f"interface {name!r} exists already or is reserved")
        iface = Interface(name, len(self.interfaces) + 1, mtu)
        self.interfaces[name] = iface
        for text in addresses:
            address, _, prefix = text.partition("/")
            family = family_of(address)
            try:
                local, length = family.to_int(address), int(prefix or family.bits)
                if not 0 <= length <= family.bits:
                    raise ValueError(f"prefix length {length} is not in 0..{family.bits}")
            except ValueError as error:
                raise InputError(f"interface {name!r}: address {text!r}: {error}; write it as 192.0.2.1/24") from None
            if family is V4:
                iface.addresses.append(Address(local, length))
            else:
                iface.addresses6.insert(0, Address(local, length))
            if length < family.bits and name != "lo":
                self._routes(family).append(Route(local & family.mask_of(length), length, name))

    def add_route(
        self, dst: str, via: AddressLike | None = None, dev: str | None = None, kind: str = "unicast"
    ) -> None:
        """Add a route: dst "default" or "a.b.c.d/len"; via a gateway, out of an interface.

        Raises InputError when the interface is unknown, or missing and not found from the gateway.
        """
        family = family_of(via) if via is not None else family_of(dst)
        address, _, length = (("::/0" if family is V6 else "0.0.0.0/0") if dst == "default" else dst).partition("/")
        try:
            prefix = int(length or family.bits)
            network = family.to_int(address)
            gateway = family.to_int(via) if via is not None else 0
        except ValueError as error:
            raise InputError(f"route {dst!r}: {error}") from None
        if kind not in KINDS or not 0 <= prefix <= family.bits:
            raise InputError(
                f"route {dst!r}: kind {kind!r}, length {prefix}: expected one of {', '.join(KINDS)}, 0..{family.bits}"
            )
        if kind == "unicast" and dev is None:
            near = (
                r.iface for r in self._sorted(family) if r.iface and (gateway ^ r.dst) & family.mask_of(r.prefix) == 0
            )
            dev = next(near, None)
        if kind == "unicast" and dev not in self.interfaces:
            raise InputError(f"route {dst!r}: no interface {dev!r}; the node has {', '.join(self.interfaces)}")
        self._routes(family).append(Route(network & family.mask_of(prefix), prefix, dev or "", gateway, kind))

    def _routes(self, family: Family) -> list[Route]:
        return self.routes if family is V4 else self.routes6

    @property
    def has_ipv6(self) -> bool:
        """Whether anything about this node is IPv6."""
        return bool(self.rules6_text or any(i.addresses6 for i in self.interfaces.values()))

    def load_rules(self, text: str, source: str = "<rules>", lenient: bool = False) -> list[str]:
        """Take iptables-save text as the node's IPv4 rules; it is checked here, see fastnat.iptables.

        With `lenient` rules that are not understood are kept as never matching. Returns what a reader should know:
        such rules, and chains that were not declared. Raises RuleError naming line, rule and option; the node keeps its
        old rules then.
        """
        from . import iptables

        self.rules = iptables.parse(text, source, lenient)
        self.rules_text = text
        return self.rules.warnings

    def load_rules6(self, text: str, source: str = "<rules6>", lenient: bool = False) -> list[str]:
        """Take ip6tables-save text as the node's IPv6 rules, as load_rules does for IPv4."""
        from . import iptables

        self.rules6 = iptables.parse(text, source, lenient, V6)
        self.rules6_text = text
        return self.rules6.warnings

    def load_sets(self, text: str, source: str = "<ipset>") -> None:
        """Take `ipset save` text as the node's sets. Raises InputError naming the line; the old sets stay then."""
        from . import ipset

        self.sets, self.sets_text = ipset.parse(text, source), text

    @classmethod
    def example(cls, name: str = "k8s-worker") -> Node:
        """Return one of the packaged nodes; InputError names those there are."""
        root = resources.files("fastnat") / "examples"
        there = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("_"))
        if name not in there:
            raise InputError(f"no example {name!r}; there are {', '.join(there)}")
        with resources.as_file(root / name) as path:
            return cls.load(path)

    @classmethod
    def load(cls, directory: str | Path, lenient: bool = False, with_conntrack: bool = False) -> Node:
        """Load a node directory: addr.json, and if they are there route.json, rules.v4, ipset.save, sysctl.conf.

        `with_conntrack` also takes conntrack.txt, with which the node's engines then start.

        Raises InputError naming the file and what is wrong with it.
        """
        path = Path(directory)
        if not path.is_dir():
            raise InputError(f"{path}: no such directory; a node directory holds addr.json, route.json and rules.v4")
        node = cls()
        node._load_addresses(path / "addr.json")
        if (path / "route.json").exists():
            node.routes = node._load_routes(path / "route.json", V4)
        if (path / "route6.json").exists():
            node.routes6 = node._load_routes(path / "route6.json", V6)
        if (path / "sysctl.conf").exists():
            node.sysctls = read_sysctls(path / "sysctl.conf")
        if (path / "rules.v4").exists():
            node.load_rules(read_text(path / "rules.v4"), str(path / "rules.v4"), lenient)
        if (path / "rules.v6").exists():
            node.load_rules6(read_text(path / "rules.v6"), str(path / "rules.v6"), lenient)
        if (path / "ipset.save").exists():
            node.load_sets(read_text(path / "ipset.save"), str(path / "ipset.save"))
        if (path / "conntrack.txt").exists() and with_conntrack:
            node.conntrack_text = read_text(path / "conntrack.txt")
        return node

    def save(self, directory: str | Path) -> None:
        """Write the node as a directory that load() takes."""
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        (path / "addr.json").write_text(json.dumps([_addr_json(i) for i in self.interfaces.values()]) + "\n")
        (path / "route.json").write_text(json.dumps([_route_json(r, V4) for r in self.routes]) + "\n")
        (path / "route6.json").write_text(json.dumps([_route_json(r, V6) for r in self.routes6]) + "\n")
        (path / "sysctl.conf").write_text("".join(f"{k} = {v}\n" for k, v in self.sysctls.items()))
        (path / "rules.v4").write_text(self.rules_text)
        if self.rules6_text:
            (path / "rules.v6").write_text(self.rules6_text)
        if self.sets_text:
            (path / "ipset.save").write_text(self.sets_text)

    def _load_addresses(self, path: Path) -> None:
        for link in read_json(path):
            try:
                self._add_link(link)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                shown = json.dumps(link)[:120]
                raise InputError(f"{path}: {shown}: {error!r}; expected the output of `ip -j addr`") from None

    def _add_link(self, link: dict[str, Any]) -> None:
        name = str(link["ifname"])
        iface = Interface(name, int(link["ifindex"]), int(link.get("mtu", 1500)))
        iface.loopback = "LOOPBACK" in link.get("flags", [])
        if name != "lo" and name in self.interfaces:
            raise ValueError(f"interface {name!r} stands there twice")
        for info in link.get("addr_info", []):
            family = {"inet": V4, "inet6": V6}.get(info["family"])
            if family is None:
                continue
            scope = SCOPES.get(str(info.get("scope", "global")), 0)
            peer = family.to_int(info["address"]) if "address" in info else None
            prefix = int(info["prefixlen"])
            if not 0 <= prefix <= family.bits:
                raise ValueError(f"prefix length {prefix}")
            address = Address(family.to_int(info["local"]), prefix, scope, peer)
            if family is V4:
                iface.addresses.append(address)
            else:
                address.flags = sum(bit for key, bit in FLAGS6.items() if info.get(key))
                iface.addresses6.append(address)
        self.interfaces[name] = iface

    def _load_routes(self, path: Path, family: Family) -> list[Route]:
        routes = []
        for r in read_json(path):
            try:
                everything = "::/0" if family is V6 else "0.0.0.0/0"
                dst, _, length = (everything if r["dst"] == "default" else str(r["dst"])).partition("/")
                hops = r.get("nexthops") or [r]
                gateway = family.to_int(hops[0]["gateway"]) if "gateway" in hops[0] else 0
                iface = str(hops[0].get("dev", ""))
                kind = str(r.get("type", "unicast"))
                prefix = int(length or family.bits)
                if kind not in KINDS or not 0 <= prefix <= family.bits:
                    raise ValueError(f"kind {kind!r}, length {prefix}")
                if kind == "unicast" and iface not in self.interfaces:
                    raise ValueError(f"interface {iface!r} is not in addr.json")
                route = Route(family.to_int(dst), prefix, iface, gateway, kind, int(r.get("metric", 0)))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                shown = json.dumps(r)[:120]
                raise InputError(f"{path}: {shown}: {error!r}; expected the output of `ip -j route`") from None
            routes.append(route)
        return routes

    def _sorted(self, family: Family = V4) -> list[Route]:
        return sorted(self._routes(family), key=lambda r: (-r.prefix, r.metric))

    def iface_number(self, name: str) -> int:
        """Return the number by which packets name an interface: 0 for "local", the node itself.

        Raises InputError for a name that the node does not have.
        """
        if name in ("", LOCAL):
            return 0
        for number, known in enumerate(self.interfaces, 1):
            if known == name:
                return number
        raise InputError(f"no interface {name!r}; the node has {', '.join(self.interfaces)} and {LOCAL!r}")

    @property
    def iface_names(self) -> list[str]:
        """Names by number; number 0 is the node itself."""
        return [LOCAL, *self.interfaces]

    def sysctl(self, name: str, default: int) -> int:
        """Return a sysctl as a number; InputError if it is not one."""
        text = self.sysctls.get(name)
        if text is None:
            return default
        try:
            return int(text, 0)
        except ValueError:
            raise InputError(f"sysctl {name} = {text!r} is not a number") from None

    def address_array(self, family: Family = V4) -> NDArray[Any]:
        """Return all addresses as ADDRESS[n], devices in order, each in the kernel's list order."""
        rows = []
        for number, iface in enumerate(self.interfaces.values(), 1):
            for a in _kernel_order(iface.addresses) if family is V4 else iface.addresses6:
                peer = a.local if a.peer is None else a.peer
                row = (family.pack(a.local), family.pack(family.mask_of(a.prefix)), family.pack(peer), number)
                rows.append((*row, a.scope, a.flags, *_filler(family)))
        return np.array(rows, RECORDS4.ADDRESS if family is V4 else RECORDS6.ADDRESS)

    def _local_routes(self, family: Family) -> list[tuple[int, int, int, int, int, int]]:
        """Return the local table: (dst, mask, gateway, interface, kind, scope), the longest prefix first."""
        local = []
        for number, iface in enumerate(self.interfaces.values(), 1):
            for a in iface.addresses if family is V4 else iface.addresses6:
                mask = family.mask_of(a.prefix)
                local.append((a.local, family.full, 0, number, KINDS["local"], 254))
                if family is V6:
                    continue
                if iface.loopback and a.local >> 24 == 127:
                    local.append((a.local & mask, mask, 0, number, KINDS["local"], 254))
                if a.prefix < 31 and a.peer is None:
                    local.append((a.local | ~mask & family.full, family.full, 0, number, KINDS["broadcast"], 253))
        return sorted(local, key=lambda r: -r[1])

    def _route_rows(self, family: Family) -> list[tuple[int, int, int, int, int, int]]:
        numbers = {name: n for n, name in enumerate(self.interfaces, 1)}
        return self._local_routes(family) + [
            (
                r.dst & family.mask_of(r.prefix), family.mask_of(r.prefix), r.gateway, numbers.get(r.iface, 0),
                KINDS[r.kind], 0,
            )
            for r in self._sorted(family)
        ]  # fmt: skip

    def route_array(self, family: Family = V4) -> NDArray[Any]:
        """Return the routes as ROUTE[n] in the order in which the first hit is the kernel's answer."""
        rows = [(*map(family.pack, r[:3]), *r[3:], *_filler(family)) for r in self._route_rows(family)]
        return np.array(rows, RECORDS4.ROUTE if family is V4 else RECORDS6.ROUTE)

    def address_classes(
        self, cuts: Iterable[int] = (), family: Family = V4
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the address space cut into classes: at `cuts`, and wherever the answer of the routes changes.

        Returns
        -------
        addresses[n], uint16[n], uint32[257]
            first address of each class, ascending from 0; index in route_array() + 1 of its route, 0 if none; the class
            of the first address of each first octet, and the last class
        """
        routes = self._route_rows(family)
        if len(routes) >= 0xFFFF:
            raise InputError(f"{len(routes)} routes; at most 65534 are supported")
        wanted = set(cuts)
        ends = {r[0] for r in routes} | {(r[0] | ~r[1] & family.full) + 1 for r in routes}
        starts = sorted(a for a in {0} | ends | wanted if a <= family.full)
        answer = np.zeros(len(starts), np.uint16)
        for n in reversed(range(len(routes))):
            dst, mask, _, _, kind, _ = routes[n]
            if kind != KINDS["throw"]:
                answer[bisect_left(starts, dst) : bisect_right(starts, dst | ~mask & family.full)] = n + 1
        keep = [n for n, a in enumerate(starts) if n == 0 or answer[n] != answer[n - 1] or a in wanted]
        kept = [starts[n] for n in keep]
        octets = [bisect_right(kept, k << family.bits - 8) - 1 for k in range(256)]
        dtype = (RECORDS4 if family is V4 else RECORDS6).ADDR
        return (
            np.array([family.pack(a) for a in kept], dtype), answer[keep], np.array([*octets, len(kept) - 1], np.uint32)
        )  # fmt: skip

    def iface_flags(self) -> NDArray[Any]:
        """Return uint32[n_ifaces + 1]: reverse-path filter and local-source flags, MTU in the high 16 bits."""
        flags = np.zeros(len(self.interfaces) + 1, np.uint32)
        flags[0] = 0xFFFF << 16
        for number, (name, iface) in enumerate(self.interfaces.items(), 1):
            rp = max(self.sysctl(f"net.ipv4.conf.{w}.rp_filter", 0) for w in ("all", name))
            value = 1 if rp == 1 else 2 if rp == 2 else 0
            for bit, key in ((4, "accept_local"), (16, "route_localnet")):
                if any(self.sysctl(f"net.ipv4.conf.{w}.{key}", 0) for w in ("all", name)):
                    value |= bit
            value |= 8 * iface.loopback
            flags[number] = value | min(iface.mtu, 0xFFFF) << 16
        return flags


def _filler(family: Family) -> tuple[bytes, ...]:
    return () if family is V4 else (b"",)


def _kernel_order(addresses: list[Address]) -> list[Address]:
    """Order a device's IPv4 addresses as the kernel's list does: primaries by falling scope, then secondaries."""
    primaries: list[Address] = []
    secondaries: list[Address] = []
    for a in addresses:
        mask = V4.mask_of(a.prefix)
        own = a.local if a.peer is None else a.peer
        clash = any(
            p.prefix == a.prefix and ((p.local if p.peer is None else p.peer) ^ own) & mask == 0 for p in primaries
        )
        (secondaries if clash else primaries).append(replace(a, flags=SECONDARY if clash else 0))
    return sorted(primaries, key=lambda a: -a.scope) + secondaries


def _addr_json(iface: Interface) -> dict[str, Any]:
    names = {v: k for k, v in SCOPES.items() if k != "universe"}
    infos = []
    for family, addresses in ((V4, iface.addresses), (V6, iface.addresses6)):
        for a in addresses:
            info: dict[str, Any] = {"family": family.name, "local": family.to_text(a.local)}
            info |= {"prefixlen": a.prefix, "scope": names[a.scope]}
            info |= {key: True for key, bit in FLAGS6.items() if family is V6 and a.flags & bit}
            if a.peer is not None:
                info["address"] = family.to_text(a.peer)
            infos.append(info)
    flags = ["LOOPBACK", "UP"] if iface.loopback else ["UP"]
    return {"ifindex": iface.index, "ifname": iface.name, "flags": flags, "mtu": iface.mtu, "addr_info": infos}


def _route_json(r: Route, family: Family) -> dict[str, Any]:
    out: dict[str, Any] = {"dst": "default" if r.prefix == 0 else f"{family.to_text(r.dst)}/{r.prefix}"}
    if r.kind != "unicast":
        out["type"] = r.kind
    if r.gateway:
        out["gateway"] = family.to_text(r.gateway)
    if r.iface:
        out["dev"] = r.iface
    if r.metric:
        out["metric"] = r.metric
    return out
