"""The node: interfaces, addresses, routes, sysctls and rule text; load and save of a node directory.

Sources: ip-address(8), ip-route(8) JSON output; devinet.c (order of a device's address list), fib_semantics.c
(local and broadcast routes of an address).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .addresses import AddressLike, mask_of, to_int, to_text
from .dtypes import ADDRESS, ROUTE
from .errors import InputError

if TYPE_CHECKING:
    from .ipset import IpSet

SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
KINDS = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7,
    "prohibit": 8, "throw": 9,
}  # fmt: skip
LOCAL = "local"


@dataclass
class Address:
    """One IPv4 address of an interface; `peer` is the other end of a point-to-point link, else the address."""

    local: int
    prefix: int
    scope: int = 0
    peer: int | None = None


@dataclass
class Interface:
    """A network interface; addresses stand in the order in which they were added."""

    name: str
    index: int
    mtu: int = 1500
    addresses: list[Address] = field(default_factory=list)
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
    routes : list of Route, main table
    sysctls : dict of name to text
    rules_text : str      iptables-save text, IPv4
    rules_source : str    the name that rule errors carry
    lenient : bool        rules that are not understood never match, instead of being refused
    sets : dict of name to IpSet
    """

    def __init__(self) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.routes: list[Route] = []
        self.sysctls: dict[str, str] = {}
        self.rules_text = ""
        self.rules_source = "<rules>"
        self.lenient = False
        self.sets: dict[str, IpSet] = {}
        self.sets_text = ""
        self.add_interface("lo", ["127.0.0.1/8"])
        self.interfaces["lo"].loopback = True
        self.interfaces["lo"].addresses[0].scope = SCOPES["host"]

    def add_interface(self, name: str, addresses: list[str] | tuple[str, ...] = (), mtu: int = 1500) -> None:
        """Add an interface with addresses as "a.b.c.d/len" and their connected routes.

        Raises InputError when the name is taken or reserved, or an address is not "a.b.c.d/len".
        """
        if name in self.interfaces or name == LOCAL:
            raise InputError(f"interface {name!r} exists already or is reserved")
        iface = Interface(name, len(self.interfaces) + 1, mtu)
        self.interfaces[name] = iface
        for text in addresses:
            address, _, prefix = text.partition("/")
            try:
                local, length = to_int(address), int(prefix or 32)
                if not 0 <= length <= 32:
                    raise ValueError(f"prefix length {length} is not in 0..32")
            except ValueError as error:
                raise InputError(f"interface {name!r}: address {text!r}: {error}; write it as 192.0.2.1/24") from None
            iface.addresses.append(Address(local, length))
            if length < 32 and name != "lo":
                self.routes.append(Route(local & mask_of(length), length, name))

    def add_route(
        self, dst: str, via: AddressLike | None = None, dev: str | None = None, kind: str = "unicast"
    ) -> None:
        """Add a route: dst "default" or "a.b.c.d/len"; via a gateway, out of an interface.

        Raises InputError when the interface is unknown, or missing and not found from the gateway.
        """
        prefix_text = "0.0.0.0/0" if dst == "default" else dst
        address, _, length = prefix_text.partition("/")
        try:
            prefix = int(length or 32)
            network = to_int(address)
            gateway = to_int(via) if via is not None else 0
        except ValueError as error:
            raise InputError(f"route {dst!r}: {error}") from None
        if kind not in KINDS or not 0 <= prefix <= 32:
            raise InputError(
                f"route {dst!r}: kind {kind!r}, length {prefix}: expected one of {', '.join(KINDS)}, 0..32"
            )
        if kind == "unicast" and dev is None:
            dev = next(
                (r.iface for r in self._sorted() if r.iface and (gateway ^ r.dst) & mask_of(r.prefix) == 0), None
            )
        if kind == "unicast" and dev not in self.interfaces:
            raise InputError(f"route {dst!r}: no interface {dev!r}; the node has {', '.join(self.interfaces)}")
        self.routes.append(Route(network & mask_of(prefix), prefix, dev or "", gateway, kind))

    def load_rules(self, text: str, source: str = "<rules>", lenient: bool = False) -> list[str]:
        """Take iptables-save text as the node's IPv4 rules; it is checked here, see fastnat.iptables.

        With `lenient` rules that are not understood are kept as never matching. Returns what a reader should know:
        such rules, and chains that were not declared. Raises RuleError naming line, rule and option; the node keeps its
        old rules then.
        """
        from . import iptables

        parsed = iptables.parse(text, source, lenient)
        self.rules_text, self.rules_source, self.lenient = text, source, lenient
        return parsed.warnings

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
    def load(cls, directory: str | Path, lenient: bool = False) -> Node:
        """Load a node directory: addr.json, and if they are there route.json, rules.v4, ipset.save, sysctl.conf.

        Raises InputError naming the file and what is wrong with it.
        """
        path = Path(directory)
        if not path.is_dir():
            raise InputError(f"{path}: no such directory; a node directory holds addr.json, route.json and rules.v4")
        node = cls()
        node._load_addresses(path / "addr.json")
        if (path / "route.json").exists():
            node._load_routes(path / "route.json")
        if (path / "sysctl.conf").exists():
            node.sysctls = read_sysctls(path / "sysctl.conf")
        if (path / "rules.v4").exists():
            node.load_rules(read_text(path / "rules.v4"), str(path / "rules.v4"), lenient)
        if (path / "ipset.save").exists():
            node.load_sets(read_text(path / "ipset.save"), str(path / "ipset.save"))
        return node

    def save(self, directory: str | Path) -> None:
        """Write the node as a directory that load() takes."""
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        (path / "addr.json").write_text(json.dumps([_addr_json(i) for i in self.interfaces.values()]) + "\n")
        (path / "route.json").write_text(json.dumps([_route_json(r) for r in self.routes]) + "\n")
        (path / "sysctl.conf").write_text("".join(f"{k} = {v}\n" for k, v in self.sysctls.items()))
        (path / "rules.v4").write_text(self.rules_text)
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
            if info["family"] != "inet":
                continue
            scope = SCOPES.get(str(info.get("scope", "global")), 0)
            peer = to_int(info["address"]) if "address" in info else None
            prefix = int(info["prefixlen"])
            if not 0 <= prefix <= 32:
                raise ValueError(f"prefix length {prefix}")
            iface.addresses.append(Address(to_int(info["local"]), prefix, scope, peer))
        self.interfaces[name] = iface

    def _load_routes(self, path: Path) -> None:
        self.routes = []
        for r in read_json(path):
            try:
                dst, _, length = ("0.0.0.0/0" if r["dst"] == "default" else str(r["dst"])).partition("/")
                hops = r.get("nexthops") or [r]
                gateway = to_int(hops[0]["gateway"]) if "gateway" in hops[0] else 0
                iface = str(hops[0].get("dev", ""))
                kind = str(r.get("type", "unicast"))
                prefix = int(length or 32)
                if kind not in KINDS or not 0 <= prefix <= 32:
                    raise ValueError(f"kind {kind!r}, length {prefix}")
                if kind == "unicast" and iface not in self.interfaces:
                    raise ValueError(f"interface {iface!r} is not in addr.json")
                route = Route(to_int(dst), prefix, iface, gateway, kind, int(r.get("metric", 0)))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                shown = json.dumps(r)[:120]
                raise InputError(f"{path}: {shown}: {error!r}; expected the output of `ip -j route`") from None
            self.routes.append(route)

    def _sorted(self) -> list[Route]:
        return sorted(self.routes, key=lambda r: (-r.prefix, r.metric))

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

    def address_array(self) -> NDArray[Any]:
        """Return all addresses as ADDRESS[n], devices in order, each in the kernel's list order."""
        rows = []
        for number, iface in enumerate(self.interfaces.values(), 1):
            for a, secondary in _kernel_order(iface.addresses):
                peer = a.local if a.peer is None else a.peer
                rows.append((a.local, mask_of(a.prefix), peer, number, a.scope, secondary))
        return np.array(rows, ADDRESS)

    def route_array(self) -> NDArray[Any]:
        """Return the routes as ROUTE[n] in the order in which the first hit is the kernel's answer."""
        numbers = {name: n for n, name in enumerate(self.interfaces, 1)}
        local = []
        for name, iface in self.interfaces.items():
            for a in iface.addresses:
                mask = mask_of(a.prefix)
                local.append((a.local, 0xFFFFFFFF, 0, numbers[name], KINDS["local"], 254))
                if iface.loopback and a.local >> 24 == 127:
                    local.append((a.local & mask, mask, 0, numbers[name], KINDS["local"], 254))
                if a.prefix < 31 and a.peer is None:
                    local.append((a.local | ~mask & 0xFFFFFFFF, 0xFFFFFFFF, 0, numbers[name], KINDS["broadcast"], 253))
        local.sort(key=lambda r: -r[1])
        main = [
            (r.dst & mask_of(r.prefix), mask_of(r.prefix), r.gateway, numbers.get(r.iface, 0), KINDS[r.kind], 0)
            for r in self._sorted()
        ]
        return np.array(local + main, ROUTE)

    def address_classes(self, cuts: Iterable[int] = ()) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the address space cut into classes: at `cuts`, and wherever the answer of the routes changes.

        Returns
        -------
        uint32[n], uint16[n], uint32[257]
            first address of each class, ascending from 0; index in route_array() + 1 of its route, 0 if none; the class
            of the first address of each first octet, and the last class
        """
        routes = self.route_array()
        if len(routes) >= 0xFFFF:
            raise InputError(f"{len(routes)} routes; at most 65534 are supported")
        first = routes["dst"].astype(np.uint64)
        last = first + (~routes["mask"]).astype(np.uint64)
        wanted = np.fromiter(cuts, np.uint64)
        starts = np.unique(np.concatenate([[0], first, last + 1, wanted]).astype(np.uint64))
        starts = starts[starts < 2**32]
        low, high = np.searchsorted(starts, first), np.searchsorted(starts, last, side="right")
        answer = np.zeros(len(starts), np.uint16)
        for n in reversed(range(len(routes))):
            if routes["kind"][n] != KINDS["throw"]:
                answer[low[n] : high[n]] = n + 1
        keep = np.concatenate([[True], answer[1:] != answer[:-1]]) | np.isin(starts, wanted)
        starts, answer = starts[keep], answer[keep]
        octets = np.searchsorted(starts, np.arange(256, dtype=np.uint64) << np.uint64(24), side="right") - 1
        return starts.astype(np.uint32), answer, np.append(octets, len(starts) - 1).astype(np.uint32)

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


def _kernel_order(addresses: list[Address]) -> list[tuple[Address, bool]]:
    """Order a device's addresses as the kernel's list does: primaries by falling scope, then secondaries."""
    primaries: list[Address] = []
    secondaries: list[Address] = []
    for a in addresses:
        mask = mask_of(a.prefix)
        own = a.local if a.peer is None else a.peer
        clash = any(
            p.prefix == a.prefix and ((p.local if p.peer is None else p.peer) ^ own) & mask == 0 for p in primaries
        )
        (secondaries if clash else primaries).append(a)
    primaries.sort(key=lambda a: -a.scope)
    return [(a, False) for a in primaries] + [(a, True) for a in secondaries]


def _addr_json(iface: Interface) -> dict[str, Any]:
    names = {v: k for k, v in SCOPES.items() if k != "universe"}
    infos = []
    for a in iface.addresses:
        info = {"family": "inet", "local": to_text(a.local), "prefixlen": a.prefix, "scope": names[a.scope]}
        if a.peer is not None:
            info["address"] = to_text(a.peer)
        infos.append(info)
    flags = ["LOOPBACK", "UP"] if iface.loopback else ["UP"]
    return {"ifindex": iface.index, "ifname": iface.name, "flags": flags, "mtu": iface.mtu, "addr_info": infos}


def _route_json(r: Route) -> dict[str, Any]:
    out: dict[str, Any] = {"dst": "default" if r.prefix == 0 else f"{to_text(r.dst)}/{r.prefix}"}
    if r.kind != "unicast":
        out["type"] = r.kind
    if r.gateway:
        out["gateway"] = to_text(r.gateway)
    if r.iface:
        out["dev"] = r.iface
    if r.metric:
        out["metric"] = r.metric
    return out


def read_text(path: Path) -> str:
    """Return a file's text; InputError names the file when it cannot be read as UTF-8."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text") from None


def read_json(path: Path) -> list[dict[str, Any]]:
    """Return a JSON file that holds a list of objects; InputError names file, line and column."""
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}:{error.colno}: {error.msg}; expected JSON as `ip -j` prints it"
        ) from None
    if not isinstance(data, list) or not all(isinstance(x, dict) for x in data):
        raise InputError(f"{path}: expected a JSON list of objects, as `ip -j` prints it")
    return data


def read_sysctls(path: Path) -> dict[str, str]:
    """Return the "key = value" lines of a file; InputError names a line that is neither that nor a comment."""
    values = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, eq, value = text.lstrip("-").partition("=")
        if not eq:
            raise InputError(f"{path}:{number}: {text!r}: expected key = value")
        values[key.strip().replace("/", ".")] = value.strip()
    return values
