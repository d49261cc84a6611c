"""Interfaces and routes as `ip -j addr` and `ip -j route` print them.

Sources: ip-address(8), ip-route(8).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..addresses import FAMILIES, V4, V6, Family, family_of, mac_number, mac_text
from ..dtypes import DSCP_CLASSES, PROTOCOL_NUMBERS
from ..errors import InputError
from ..util.files import read_json
from ..util.text import decimal, excerpt, shown
from .arrays import ROUTE_KINDS
from .parts import (
    DEFAULT_RULES,
    FLAGS6,
    SCOPES,
    TABLES,
    Address,
    Hop,
    Interface,
    Neighbour,
    PolicyRule,
    Route,
    check_interface,
)

# actions of a policy rule that end the look-up, and those that do nothing; what no packet here can be asked for
REFUSING, NO_ACTION = ("unreachable", "blackhole", "prohibit"), ("nop",)
NEVER = ("l3mdev", "uid_start", "tun_id")
# what a rule may say and is modelled
SAID = {
    "priority", "src", "srclen", "dst", "dstlen", "iif", "iif_detached", "fwmark", "fwmask", "table", "action", "not",
    "suppress_prefixlen", "suppress_prefixlength", "ipproto", "sport", "sport_start", "sport_end", "dport",
    "dport_start", "dport_end", "protocol", "flags", "tos", "dscp", "oif", "oif_detached",
}  # fmt: skip
# what `ip -d` says of a link, and `ip` does not
DETAILS = frozenset(("linkinfo", "promiscuity", "min_mtu"))
# the bits of the octet with which `tos` of a rule is compared: of IPv4 IPTOS_RT_MASK, else the DSCP
RULE_TOS, RULE_DSCP = 0x1C, 0xFC
# raised by an object of another form
BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def _why(error: Exception) -> str:
    """Return what is wrong with an object, from what its reader raised."""
    return f"it has no {error.args[0]!r}" if isinstance(error, KeyError) and error.args else shown(error)


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
            raise InputError(f"{path}: {where}: {_why(error)}; expected the output of `ip -j addr`") from None
    return list(interfaces.values())


def _link(link: dict[str, Any]) -> Interface:
    name, mtu = _text(link["ifname"], "ifname"), _whole(link.get("mtu", 1500), "mtu", 0, 2**32 - 1)
    iface = Interface(name, _whole(link["ifindex"], "ifindex", 0, 2**31 - 1), mtu)
    iface.loopback = "LOOPBACK" in link.get("flags", [])
    iface.arp = "NOARP" not in link.get("flags", [])
    iface.up = "UP" in link.get("flags", []) or link.get("operstate") != "DOWN"
    iface.group = str(link.get("group", "default"))
    iface.link_type = str(link.get("link_type", "loopback" if iface.loopback else iface.link_type))
    iface.mac = mac_number(_text(link.get("address", ""), "address")) if iface.link_layer else None
    # what `ip -d` says of each
    if not DETAILS.isdisjoint(link):
        iface.kind = _text(link.get("linkinfo", {}).get("info_kind", ""), "info_kind")
    for info in link.get("addr_info", []):
        family = {"inet": V4, "inet6": V6}.get(info["family"])
        if family is None:
            continue
        scope = SCOPES.get(str(info.get("scope", "global")), 0)
        peer = family.to_int(_text(info["address"], "address")) if "address" in info else None
        prefix = _whole(info["prefixlen"], "prefix length", 0, family.bits)
        address = Address(family.to_int(_text(info["local"], "local address")), prefix, scope, peer)
        if family is V4:
            address.broadcast = V4.to_int(_text(info["broadcast"], "broadcast")) if "broadcast" in info else None
            iface.addresses.append(address)
        else:
            address.flags = sum(bit for key, bit in FLAGS6.items() if info.get(key))
            iface.addresses6.append(address)
    check_interface(iface)
    return iface


def load_neighbours(path: Path, interfaces: Collection[str]) -> dict[Neighbour, int]:
    """Return the link-layer addresses of `ip -j neigh`, by interface, version and address; InputError as above."""
    found: dict[Neighbour, int] = {}
    for entry in read_json(path):
        # of one that does not answer none is known; of another host's proxy there is none
        if not entry or "lladdr" not in entry:
            continue
        try:
            address, dev = _text(entry["dst"], "dst"), _text(entry["dev"], "dev")
            mac = mac_number(_text(entry["lladdr"], "lladdr"))
            if dev not in interfaces:
                raise ValueError(f"no interface {shown(dev)} in addr.json")
            family = family_of(address)
            # of a tunnel it is an address of IP
            if mac is not None:
                found[dev, family.version, family.to_int(address)] = mac
        except BROKEN as error:
            where = json.dumps(entry)[:120]
            raise InputError(f"{path}: {where}: {_why(error)}; expected the output of `ip -j neigh`") from None
    return found


def neighbour_json(neighbours: dict[Neighbour, int]) -> list[dict[str, Any]]:
    """Return link-layer addresses as `ip -j neigh` prints them."""
    return [
        {"dst": FAMILIES[version].to_text(address), "dev": dev, "lladdr": mac_text(mac), "state": ["PERMANENT"]}
        for (dev, version, address), mac in neighbours.items()
    ]


def load_routes(path: Path, family: Family, interfaces: Collection[str], notes: list[str]) -> list[Route]:
    """Return the routes of `ip -j route`, those of all tables that it shows; InputError as above.

    Appends to `notes` what is not modelled.
    """
    routes = []
    for r in read_json(path):
        # groups are known without a route; `show table all` shows both families, and `pref` of IPv6 alone
        if not r or r.get("type") == "multicast" or (family is V4 and "pref" in r):
            continue
        try:
            # no packet asks for it but one with just that TOS
            if "tos" in r:
                notes.append(f"{path}: a route is ignored, as tos is not modelled: {excerpt(json.dumps(r))}")
                continue
            routes.append(_route(r, family, interfaces))
        except BROKEN as error:
            where = json.dumps(r)[:120]
            raise InputError(f"{path}: {where}: {_why(error)}; expected the output of `ip -j route`") from None
    return routes


def _network(text: str, family: Family) -> tuple[int, int]:
    """Return "default", an address or a network as address and prefix length."""
    if text in ("default", "all"):
        return 0, 0
    address, _, length = text.partition("/")
    return family.to_int(address), decimal(length, 0, family.bits, "prefix length") if length else family.bits


def _route(r: dict[str, Any], family: Family, interfaces: Collection[str]) -> Route:
    dst, prefix = _network(str(r["dst"]), family)
    kind = str(r.get("type", "unicast"))
    if kind not in ROUTE_KINDS:
        raise ValueError(f"kind {shown(kind)}")
    said = r.get("nexthops") or [r]
    # fib_rebalance: those of a device that is down, or has no address any more, are not chosen; packets from there
    # still come the right way (fib_info_nh_uses_dev)
    dead = [h for h in said if "dead" in h.get("flags", [])]
    live = [h for h in said if h not in dead]
    hops = tuple(_hop(h, family) for h in live or said)
    if live and family is V4:
        hops += tuple(replace(_hop(h, family), weight=0) for h in dead)
    if kind == "unicast":
        for hop in hops:
            if hop.iface not in interfaces:
                raise ValueError(f"interface {shown(hop.iface)} is not in addr.json")
    metric = _whole(r.get("metric", 0), "metric", 0, 2**32 - 1)
    table = _table(r.get("table", "main"))
    source = family.to_int(_text(r["prefsrc"], "prefsrc")) if "prefsrc" in r else 0
    return Route(
        dst, prefix, hops[0].iface, hops[0].gateway, kind, metric, table, hops if len(hops) > 1 else (), source,
        r.get("protocol") == "kernel",
    )  # fmt: skip


def _hop(h: dict[str, Any], family: Family) -> Hop:
    gateway = family.to_int(_text(h["gateway"], "gateway")) if "gateway" in h else 0
    return Hop(str(h.get("dev", "")), gateway, _whole(h.get("weight", 1), "weight", 1, 256))


def _table(name: object) -> str:
    return TABLES.get(str(name), str(name))


def load_policy(path: Path, family: Family, notes: list[str]) -> list[PolicyRule]:
    """Return the rules of `ip -j rule`, none where they are those of every node; InputError for anything else.

    Appends to `notes` what is not modelled.
    """
    found = []
    for r in read_json(path):
        if not r:
            continue
        unknown = ", ".join(sorted(r.keys() - SAID)) if isinstance(r, dict) else ""
        try:
            rule = None if unknown else _policy_rule(r, family)
        except BROKEN as error:
            where = json.dumps(r)[:200]
            raise InputError(f"{path}: {where}: {_why(error)}; expected the output of `ip -j rule`") from None
        if rule is not None:
            found.append(rule)
        elif unknown and not any(key in r for key in NEVER):
            notes.append(f"{path}: a rule is ignored, as {unknown} is not modelled: {excerpt(json.dumps(r))}")
    found.sort(key=lambda rule: rule.priority)
    every = [rule for rule in DEFAULT_RULES if family is V4 or rule.table != "default"]
    return [] if found == every else found


def _policy_rule(r: dict[str, Any], family: Family) -> PolicyRule | None:
    """Return a rule; None for one that does nothing."""
    action = str(r.get("action", "to_tbl"))
    if action in NO_ACTION:
        return None
    if action not in ("to_tbl", "lookup", *REFUSING):
        raise ValueError(f"action {shown(action)} is not supported")
    src, src_prefix = _network(str(r.get("src", "all")), family)
    dst, dst_prefix = _network(str(r.get("dst", "all")), family)
    suppressed = r.get("suppress_prefixlen", r.get("suppress_prefixlength"))
    return PolicyRule(
        _whole(r.get("priority", 0), "priority", 0, 2**32 - 1),
        _table(r.get("table", "main")),
        src,
        _whole(r.get("srclen", src_prefix), "srclen", 0, family.bits),
        dst,
        _whole(r.get("dstlen", dst_prefix), "dstlen", 0, family.bits),
        _text(r.get("iif", ""), "iif"),
        _mark(r.get("fwmark", 0)),
        _mark(r.get("fwmask", 0xFFFFFFFF if "fwmark" in r else 0)),
        _protocol(r.get("ipproto", 0)),
        _ports(r, "sport"),
        _ports(r, "dport"),
        "not" in r,
        action in REFUSING,
        None if suppressed is None else _whole(suppressed, "suppress_prefixlength", 0, family.bits),
        *_tos(r, family),
        _text(r.get("oif", ""), "oif"),
    )


def _mark(value: object) -> int:
    return _whole(int(value, 0) if isinstance(value, str) else value, "mark", 0, 2**32 - 1)


def _tos(r: dict[str, Any], family: Family) -> tuple[int, int]:
    """Return the TOS or traffic class that a rule asks for, and its bits that count."""
    if "dscp" in r:
        return _whole(_field(r["dscp"], 0), "dscp", 0, 63) << 2, RULE_DSCP
    value = _whole(_field(r.get("tos", 0), 2), "tos", 0, 255)
    return value, (RULE_TOS if family is V4 else RULE_DSCP) if value else 0


def _field(value: object, shift: int) -> object:
    """Return what `ip` prints of a DSCP, or by `shift` bits higher of a TOS: a number, or a name of rt_dsfield."""
    if not isinstance(value, str):
        return value
    return DSCP_CLASSES[value] << shift if value in DSCP_CLASSES else int(value, 0)


def _protocol(value: object) -> int:
    if isinstance(value, str) and not value.isdecimal():
        # of one that /etc/protocols does not name, `ip` prints the number behind a word
        number = value.removeprefix("ipproto-")
        return PROTOCOL_NUMBERS[value] if number == value else _whole(int(number), "ipproto", 0, 255)
    return _whole(int(value) if isinstance(value, str) else value, "ipproto", 0, 255)


def _ports(r: dict[str, Any], name: str) -> tuple[int, int]:
    low = r.get(name, r.get(f"{name}_start", 0))
    high = r.get(name, r.get(f"{name}_end", 65535))
    return _whole(low, name, 0, 65535), _whole(high, name, 0, 65535)


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
            if a.broadcast is not None:
                info["broadcast"] = family.to_text(a.broadcast)
            infos.append(info)
    flags = [*(["LOOPBACK"] if iface.loopback else []), *([] if iface.arp else ["NOARP"])]
    flags += ["UP"] if iface.up else []
    link = "loopback" if iface.loopback else iface.link_type
    head = {"ifindex": iface.index, "ifname": iface.name, "flags": flags, "mtu": iface.mtu, "link_type": link}
    head |= {"group": iface.group} if iface.group != "default" else {}
    head |= {"address": mac_text(iface.mac)} if iface.mac is not None else {}
    head |= {} if iface.up else {"operstate": "DOWN"}
    if iface.kind is not None:
        head["linkinfo"] = {"info_kind": iface.kind} if iface.kind else {}
    return head | {"addr_info": infos}


def route_json(r: Route, family: Family) -> dict[str, Any]:
    """Return a route as `ip -j route` prints it."""
    out: dict[str, Any] = {"dst": "default" if r.prefix == 0 else f"{family.to_text(r.dst)}/{r.prefix}"}
    if r.kind != "unicast":
        out["type"] = r.kind
    if r.gateway:
        out["gateway"] = family.to_text(r.gateway)
    if r.iface:
        out["dev"] = r.iface
    if r.source:
        out["prefsrc"] = family.to_text(r.source)
    if r.metric:
        out["metric"] = r.metric
    if r.table != "main":
        out["table"] = r.table
    if r.kernel:
        out["protocol"] = "kernel"
    if r.hops:
        out = {key: value for key, value in out.items() if key not in ("gateway", "dev")}
        out["nexthops"] = [
            ({"gateway": family.to_text(h.gateway)} if h.gateway else {})
            | {"dev": h.iface, "weight": max(h.weight, 1)}
            | ({} if h.weight else {"flags": ["dead"]})
            for h in r.hops
        ]
    return out


def policy_json(r: PolicyRule, family: Family) -> dict[str, Any]:
    """Return a rule as `ip -j rule` prints it."""
    out: dict[str, Any] = {"priority": r.priority, "src": family.to_text(r.src) if r.src_prefix else "all"}
    if r.src_prefix:
        out["srclen"] = r.src_prefix
    if r.dst_prefix:
        out |= {"dst": family.to_text(r.dst), "dstlen": r.dst_prefix}
    if r.iface:
        out["iif"] = r.iface
    if r.mask:
        out |= {"fwmark": hex(r.mark), "fwmask": hex(r.mask)}
    if r.proto:
        out["ipproto"] = str(r.proto)
    for name, (low, high) in (("sport", r.sports), ("dport", r.dports)):
        if (low, high) != (0, 65535):
            out |= {f"{name}_start": low, f"{name}_end": high}
    if r.out:
        out["oif"] = r.out
    if r.tos_mask:
        out["tos"] = hex(r.tos)
    if r.invert:
        out["not"] = None
    if r.suppressed is not None:
        out["suppress_prefixlen"] = r.suppressed
    return out | ({"action": "unreachable"} if r.refuses else {"table": r.table})
