"""Interfaces and routes as `ip -j addr` and `ip -j route` print them.

Sources: ip-address(8), ip-route(8).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..addresses import FAMILIES, V4, V6, Family
from ..errors import InputError
from ..util.files import read_json
from ..util.text import decimal, shown
from .arrays import ROUTE_KINDS
from .parts import FLAGS6, SCOPES, Address, Interface, Route, check_interface

# the table main by name and number; the tables of the rules that every node has
MAIN, LOOKED_UP = ("main", "254"), ("local", "main", "default", "253", "254", "255")
# raised by an object of another form
BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def _whole(value: object, what: str, low: int, high: int) -> int:
    """Return an integer of a JSON object; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{what} {shown(value, 60)} is not a whole number in {low}..{high}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} {shown(value, 60)} is not text")
    return value


def load_addresses(path: Path) -> list[Interface]:
    """Return the interfaces of `ip -j addr`; InputError names the file and the object of another form."""
    interfaces: dict[str, Interface] = {}
    for link in read_json(path):
        # some versions of ip print an empty object for each entry that was not asked for
        if not link:
            continue
        try:
            iface = _link(link)
            if iface.name in interfaces:
                raise ValueError(f"interface {iface.name!r} occurs twice")
            interfaces[iface.name] = iface
        except BROKEN as error:
            where = json.dumps(link)[:120]
            raise InputError(f"{path}: {where}: {shown(error)}; expected the output of `ip -j addr`") from None
    return list(interfaces.values())


def _link(link: dict[str, Any]) -> Interface:
    name, mtu = _text(link["ifname"], "ifname"), _whole(link.get("mtu", 1500), "mtu", 0, 2**32 - 1)
    iface = Interface(name, _whole(link["ifindex"], "ifindex", 0, 2**31 - 1), mtu)
    iface.loopback = "LOOPBACK" in link.get("flags", [])
    for info in link.get("addr_info", []):
        family = {"inet": V4, "inet6": V6}.get(info["family"])
        if family is None:
            continue
        scope = SCOPES.get(str(info.get("scope", "global")), 0)
        peer = family.to_int(_text(info["address"], "address")) if "address" in info else None
        prefix = _whole(info["prefixlen"], "prefix length", 0, family.bits)
        address = Address(family.to_int(_text(info["local"], "local address")), prefix, scope, peer)
        if family is V4:
            iface.addresses.append(address)
        else:
            address.flags = sum(bit for key, bit in FLAGS6.items() if info.get(key))
            iface.addresses6.append(address)
    check_interface(iface)
    return iface


def load_routes(path: Path, family: Family, interfaces: Collection[str], notes: list[str]) -> list[Route]:
    """Return the routes of `ip -j route`; InputError as above. Appends to `notes` what is not modelled."""
    routes = []
    others = multipath = 0
    for r in read_json(path):
        if not r:
            continue
        if str(r.get("table", "main")) not in MAIN:
            others += 1
            continue
        try:
            multipath += len(r.get("nexthops") or ()) > 1
            everything = "::/0" if family is V6 else "0.0.0.0/0"
            dst, _, length = (everything if r["dst"] == "default" else str(r["dst"])).partition("/")
            hops = r.get("nexthops") or [r]
            gateway = family.to_int(_text(hops[0]["gateway"], "gateway")) if "gateway" in hops[0] else 0
            iface = str(hops[0].get("dev", ""))
            kind = str(r.get("type", "unicast"))
            prefix = decimal(length, 0, family.bits, "prefix length") if length else family.bits
            if kind not in ROUTE_KINDS:
                raise ValueError(f"kind {shown(kind)}")
            if kind == "unicast" and iface not in interfaces:
                raise ValueError(f"interface {shown(iface)} is not in addr.json")
            metric = _whole(r.get("metric", 0), "metric", 0, 2**32 - 1)
            route = Route(family.to_int(dst), prefix, iface, gateway, kind, metric)
        except BROKEN as error:
            where = json.dumps(r)[:120]
            raise InputError(f"{path}: {where}: {shown(error)}; expected the output of `ip -j route`") from None
        routes.append(route)
    if others:
        notes.append(f"{path}: {others} routes of tables other than main are ignored")
    if multipath:
        notes.append(f"{path}: of {multipath} multipath routes only the first next hop is used")
    return routes


def policy_rules(path: Path) -> list[str]:
    """Return the rules of `ip -j rule` other than those that every node has; InputError for anything else."""
    found = []
    for r in read_json(path):
        try:
            if r and (str(r["table"]) not in LOOKED_UP or r.keys() - {"priority", "src", "table", "protocol"}):
                found.append(json.dumps(r))
        except BROKEN as error:
            where = json.dumps(r)[:120]
            raise InputError(f"{path}: {where}: {shown(error)}; expected the output of `ip -j rule`") from None
    return found


def connected_routes(interfaces: Iterable[Interface], family: Family) -> list[Route]:
    """Return the routes that the kernel adds for the networks of addresses (fib_add_ifaddr, addrconf_prefix_route)."""
    found: dict[tuple[int, int], Route] = {}
    for iface in interfaces:
        for a in iface.addresses_of(family) if not iface.loopback else ():
            if 0 < a.prefix < family.bits:
                dst = (a.local if a.peer is None else a.peer) & family.mask_of(a.prefix)
                found.setdefault((dst, a.prefix), Route(dst, a.prefix, iface.name))
    return list(found.values())


def address_json(iface: Interface) -> dict[str, Any]:
    """Return an interface as `ip -j addr` prints it."""
    names = {v: k for k, v in SCOPES.items() if k != "universe"}
    infos = []
    for family, addresses in ((f, iface.addresses_of(f)) for f in FAMILIES.values()):
        for a in addresses:
            info: dict[str, Any] = {"family": family.name, "local": family.to_text(a.local)}
            info |= {"prefixlen": a.prefix, "scope": names[a.scope]}
            info |= {key: True for key, bit in FLAGS6.items() if family is V6 and a.flags & bit}
            if a.peer is not None:
                info["address"] = family.to_text(a.peer)
            infos.append(info)
    flags = ["LOOPBACK", "UP"] if iface.loopback else ["UP"]
    return {"ifindex": iface.index, "ifname": iface.name, "flags": flags, "mtu": iface.mtu, "addr_info": infos}


def route_json(r: Route, family: Family) -> dict[str, Any]:
    """Return a route as `ip -j route` prints it."""
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
