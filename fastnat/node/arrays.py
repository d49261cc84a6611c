"""A node as arrays for the core: addresses, routes, classes of addresses and flags of interfaces.

Sources: devinet.c (order of a device's address list), fib_semantics.c (local and broadcast routes of an address),
fib_trie.c (the longest prefix first).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family
from ..core.layout import FN_ANY_IFACE, FN_BY_LO, FN_MAC_BITS, AddressFlag, IfaceFlag, RouteKind
from ..dtypes import records_of
from ..errors import InputError
from ..util.text import whole
from .parts import MAX_INTERFACES, Hop

if TYPE_CHECKING:
    from .model import Node
    from .parts import Address, Interface, Route

ROUTE_KINDS = {k.name.lower(): int(k) for k in RouteKind}
SECONDARY = int(AddressFlag.SECONDARY)


def sorted_routes(node: Node, family: Family = V4, table: str = "main") -> list[Route]:
    """Return one table, ordered so that the first hit is the kernel's answer."""
    return sorted((r for r in node.routes_of(family) if r.table == table), key=lambda r: (-r.prefix, r.metric))


def address_array(node: Node, family: Family = V4) -> NDArray[Any]:
    """Return all addresses as ADDRESS[n], devices in order, each in the kernel's list order."""
    rows = []
    for number, a in _addresses(node, family):
        peer = a.local if a.peer is None else a.peer
        row = (family.pack(a.local), family.pack(family.mask_of(a.prefix)), family.pack(peer), number)
        rows.append((*row, a.scope, a.flags, *_filler(family)))
    return np.array(rows, records_of(family).ADDRESS)


def _addresses(node: Node, family: Family) -> Iterator[tuple[int, Address]]:
    """Yield all addresses in the order of address_array(), each with the number of its device."""
    for number, iface in enumerate(node.interfaces.values(), 1):
        for a in _kernel_order(iface.addresses) if family is V4 else iface.addresses6:
            yield number, a


# (dst, mask, gateway, bound, hops, interface, kind, scope), as ROUTE has it, and its preferred source
Row = tuple[int, int, int, int, int, int, int, int, int]


def _row(dst: int, mask: int, iface: int, kind: str, scope: int, src: int) -> Row:
    return dst, mask, 0, 0, 1, iface, ROUTE_KINDS[kind], scope, src


def _local_routes(node: Node, family: Family) -> list[Row]:
    """Return the local table: what follows from the addresses, and what it holds beside that; longest prefix first."""
    local = []
    for number, iface in enumerate(node.interfaces.values(), 1):
        addresses = _kernel_order(iface.addresses) if family is V4 else iface.addresses6
        for a in addresses:
            source = _primary(a, addresses).local if family is V4 else a.local
            local.append(_row(a.local, family.full, number, "local", 254, source))
            more = _prefix_routes(a, iface.loopback) if family is V4 else _anycast_routes(node, a, iface)
            # fib_disable_ip takes the routes by which it is asked with all others
            there = (r for r in more if iface.up or r[2] != "broadcast")
            local += [_row(dst, mask, number, kind, scope, source) for dst, mask, kind, scope in there]
    numbers = {name: n for n, name in enumerate(node.interfaces, 1)}
    for r in sorted_routes(node, family, "local"):
        local += _hops(r, family, node, numbers)
    return sorted(local, key=lambda r: -r[1])


def _primary(a: Address, addresses: Iterable[Address]) -> Address:
    """Return whose address the routes of an IPv4 address prefer: a secondary one's is the first of its network."""
    if not a.flags & SECONDARY:
        return a
    mask = V4.mask_of(a.prefix)
    there = (a.local if a.peer is None else a.peer) & mask
    same = (b for b in addresses if b.prefix == a.prefix and (b.local if b.peer is None else b.peer) & mask == there)
    return next(same, a)


def _prefix_routes(a: Address, loopback: bool) -> Iterator[tuple[int, int, str, int]]:
    """Yield what an IPv4 address adds to the local table beside itself (fib_add_ifaddr)."""
    mask = V4.mask_of(a.prefix)
    network = (a.local if a.peer is None else a.peer) & mask
    if a.broadcast not in (None, V4.full):
        yield a.broadcast or 0, V4.full, "broadcast", 253
    if network >> 24 == 0 or a.flags & SECONDARY or (network == a.local and a.prefix == 32):
        return
    if loopback:
        yield network, mask, "local", 254
    if a.prefix < 31:
        yield network | ~mask & V4.full, V4.full, "broadcast", 253


def _anycast_routes(node: Node, a: Address, iface: Interface) -> Iterator[tuple[int, int, str, int]]:
    """Yield the subnet-router anycast address that a router has (addrconf_join_anycast)."""
    network = a.local & V6.mask_of(a.prefix)
    if _is_router(node, iface.name) and not iface.loopback and a.prefix < 127 and network:
        yield network, V6.full, "anycast", 0


def _kind(r: Route, family: Family, node: Node) -> tuple[int, int]:
    """Return what a route leads to, and its scope; by lo one of IPv6 that is not local refuses (fib6_is_reject)."""
    device = node.interfaces.get(r.iface)
    leads = r.kind in ("unicast", "broadcast", "anycast", "multicast") and r.dst != 1
    refuses = family is V6 and leads and device is not None and device.loopback
    return (ROUTE_KINDS["unreachable"], FN_BY_LO) if refuses else (ROUTE_KINDS[r.kind], 0)


def _hops(r: Route, family: Family, node: Node, numbers: dict[str, int]) -> list[Row]:
    """Return a row for each next hop of a route; bound: the upper end of its share of hashes (fib_rebalance)."""
    mask, (kind, scope) = family.mask_of(r.prefix), _kind(r, family, node)
    hops = r.hops or (Hop(r.iface, r.gateway),)
    total, share, rows = sum(h.weight for h in hops), 0, []
    for hop in hops:
        share += hop.weight
        bound = ((share << 31) + total // 2) // total - 1
        rows.append(
            (r.dst & mask, mask, hop.gateway, bound, len(hops), numbers.get(hop.iface, 0), kind, scope, r.source)
        )
    return rows


def tables_of(node: Node, family: Family) -> list[list[str]]:
    """Return the tables that are looked up together: one where the node has no rules of its own, else each alone."""
    policy = node.policy_of(family)
    if not policy:
        return [["local", "main", "default"]]
    return [["local"], *([t] for t in dict.fromkeys(r.table for r in policy if not r.refuses) if t != "local")]


def _table_rows(node: Node, family: Family) -> list[list[Row]]:
    """Return the routes of each of tables_of(), those that are tried first in front."""
    numbers = {name: n for n, name in enumerate(node.interfaces, 1)}
    found = []
    for tables in tables_of(node, family):
        rows = _local_routes(node, family) if tables[0] == "local" else []
        for table in tables:
            if table != "local":
                rows += [row for r in sorted_routes(node, family, table) for row in _hops(r, family, node, numbers)]
            if table == "main" and len(tables) > 1 and family is V4:
                # one trie, until somebody adds a policy rule (fib_trie_unmerge): the longest prefix of both, then local
                rows.sort(key=lambda row: -row[1])
        found.append(rows)
    return found


def route_array(node: Node, family: Family = V4) -> NDArray[Any]:
    """Return the routes as ROUTE[n], table by table, ordered so that the first hit is the kernel's answer."""
    own: dict[int, int] = {}
    for n, address in enumerate(_addresses(node, family) if family is V4 else [], 1):
        own.setdefault(address[1].local, n)
    rows = [
        (*map(family.pack, r[:3]), *r[3:8], own.get(r[8], 0), (0, 0) if family is V4 else 0)
        for rows in _table_rows(node, family) for r in rows
    ]  # fmt: skip
    return np.array(rows, records_of(family).ROUTE)


def policy_array(node: Node, family: Family = V4) -> NDArray[Any]:
    """Return the policy rules as FIB_RULE[n]; none where they are those of every node."""
    numbers = {name: n for n, name in enumerate(node.iface_names)} | {"": FN_ANY_IFACE}
    # what comes from lo comes from the node itself
    sources = numbers | {"lo": 0}
    tables = {tables[0]: n for n, tables in enumerate(tables_of(node, family))}
    ends = np.cumsum([0, *map(len, _table_rows(node, family))]).tolist()
    rows = []
    for r in node.policy_of(family):
        smask, dmask = family.mask_of(r.src_prefix), family.mask_of(r.dst_prefix)
        suppressed = family.mask_of(r.suppressed or 0)
        addresses = (r.src & smask, smask, r.dst & dmask, dmask, suppressed)
        # a device that is not there meets no packet
        iface, out = sources.get(r.iface, len(sources)), numbers.get(r.out, len(numbers))
        table = 0 if r.refuses else tables[r.table]
        rows.append(
            (
                *map(family.pack, addresses), r.mark & r.mask, r.mask, iface, out, 0, table, *r.sports, *r.dports,
                r.proto, r.invert, r.refuses, r.suppressed is not None, r.tos & r.tos_mask, r.tos_mask, (0, 0),
                ends[table], ends[table + 1],
            )
        )  # fmt: skip
    return np.array(rows, records_of(family).FIB_RULE)


def _answers(rows: list[Row], before: int, starts: list[int], family: Family) -> NDArray[np.uint16]:
    """Return for each start the index + 1 of its route among all; `before` stand in front of these."""
    answer = np.zeros(len(starts), np.uint16)
    hops = 0
    firsts = []
    for n, row in enumerate(rows):
        if hops == 0:
            firsts.append(n)
            hops = row[4]
        hops -= 1
    for n in reversed(firsts):
        dst, mask, *_, kind, _, _ = rows[n]
        # behind a throw the look-up goes on with the next rule
        found = 0 if kind == ROUTE_KINDS["throw"] else before + n + 1
        answer[bisect_left(starts, dst) : bisect_right(starts, dst | ~mask & family.full)] = found
    return answer


def address_classes(
    node: Node, cuts: Iterable[int] = (), family: Family = V4
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the classes of addresses, cut at `cuts` and wherever the answer of the routes changes.

    Returns
    -------
    addresses[n], uint16[tables * n], uint32[257]
        first address of each class, ascending from 0; for each of tables_of() index in route_array() + 1 of its route,
        0 if none; the class of the first address of each first octet, and the last class
    """
    tables = _table_rows(node, family)
    routes = [row for rows in tables for row in rows]
    if len(routes) >= 0xFFFF:
        raise InputError(f"{len(routes)} routes; at most 65534 are supported")
    wanted = set(cuts) | _policy_cuts(node, family)
    ends = {r[0] for r in routes} | {(r[0] | ~r[1] & family.full) + 1 for r in routes}
    starts = sorted(a for a in {0} | ends | wanted if a <= family.full)
    befores = np.cumsum([0, *map(len, tables)])
    answers = [_answers(rows, int(n), starts, family) for rows, n in zip(tables, befores, strict=False)]
    keep = [
        n for n, a in enumerate(starts)
        if n == 0 or a in wanted or any(answer[n] != answer[n - 1] for answer in answers)
    ]  # fmt: skip
    kept = [starts[n] for n in keep]
    octets = [bisect_right(kept, k << family.bits - 8) - 1 for k in range(256)]
    return (
        np.array([family.pack(a) for a in kept], records_of(family).ADDR),
        np.concatenate([answer[keep] for answer in answers]),
        np.array([*octets, len(kept) - 1], np.uint32),
    )


def _policy_cuts(node: Node, family: Family) -> set[int]:
    """Return the addresses at which a policy rule may answer otherwise."""
    cuts = set()
    for r in node.policy_of(family):
        for address, prefix in ((r.src, r.src_prefix), (r.dst, r.dst_prefix)):
            first = address & family.mask_of(prefix)
            cuts |= {first, (first | ~family.mask_of(prefix) & family.full) + 1}
    return {a for a in cuts if a <= family.full}


def _forwards6(node: Node, name: str) -> bool:
    """Tell whether an IPv6 packet that enters by a device may be forwarded."""
    forced = node.sysctl(f"net.ipv6.conf.{name}.force_forwarding", 0)
    return bool(node.sysctl("net.ipv6.conf.all.forwarding", 1) or forced)


def _is_router(node: Node, name: str) -> bool:
    """Tell whether the node is a router on an IPv6 device: all routers, and the router of each subnet, listen there."""
    every = node.sysctl("net.ipv6.conf.all.forwarding", 1)
    return bool(node.sysctl(f"net.ipv6.conf.{name}.forwarding", every))


def _flags6(node: Node, name: str) -> int:
    """Return the IFACE_* that the sysctls of a device say for IPv6."""
    return int(IfaceFlag.FORWARD * _forwards6(node, name) | IfaceFlag.ROUTER * _is_router(node, name))


def _flags4(node: Node, name: str, iface: Interface) -> int:
    """Return the IFACE_* that the sysctls of a device say: of `all` and the device either, or both, as each is read."""

    def either(key: str, default: int = 0) -> bool:
        return any(node.sysctl(f"net.ipv4.conf.{w}.{key}", default) for w in ("all", name))

    rp = max(node.sysctl(f"net.ipv4.conf.{w}.rp_filter", 0) for w in ("all", name))
    every = node.sysctl("net.ipv4.ip_forward", node.sysctl("net.ipv4.conf.all.forwarding", 1))
    both = all(node.sysctl(f"net.ipv4.conf.{w}.bc_forwarding", 0) for w in ("all", name))
    value = int({1: IfaceFlag.RP_STRICT, 2: IfaceFlag.RP_LOOSE}.get(rp, 0))
    value |= IfaceFlag.ACCEPT_LOCAL * either("accept_local")
    value |= IfaceFlag.ROUTE_LOCALNET * either("route_localnet")
    value |= IfaceFlag.FORWARD * bool(node.sysctl(f"net.ipv4.conf.{name}.forwarding", every))
    value |= IfaceFlag.BC_FORWARD * both
    value |= IfaceFlag.NO_ADDRESS * (not iface.addresses)
    value |= IfaceFlag.SOURCE_ROUTE * _takes_source_routes(node, name)
    # IN_DEV_TX_REDIRECTS holds for either, and each is on unless somebody turned it off
    value |= IfaceFlag.REDIRECTS * either("send_redirects", 1)
    return int(value | IfaceFlag.SRC_VMARK * either("src_valid_mark"))


def iface_flags(node: Node, family: Family = V4) -> NDArray[Any]:
    """Return uint32[n_ifaces + 1]: IFACE_* of each interface, MTU in the high 16 bits."""
    whole("interfaces:", len(node.interfaces), 0, MAX_INTERFACES)
    flags = np.zeros(len(node.interfaces) + 1, np.uint32)
    flags[0] = 0xFFFF << 16
    for number, (name, iface) in enumerate(node.interfaces.items(), 1):
        value = _flags4(node, name, iface) if family is V4 else _flags6(node, name)
        value |= IfaceFlag.LOOPBACK * iface.loopback | IfaceFlag.LINK_LAYER * iface.link_layer
        value |= IfaceFlag.SOLICITED * iface.arp
        if value & (IfaceFlag.FORWARD | IfaceFlag.RP_STRICT | IfaceFlag.RP_LOOSE) == IfaceFlag.FORWARD:
            value |= IfaceFlag.PLAIN
        flags[number] = value | min(whole(f"mtu of {name}:", iface.mtu, 0, 2**32 - 1), 0xFFFF) << 16
    return flags


def mac_arrays(node: Node, family: Family = V4) -> dict[str, NDArray[Any]]:
    """Return the link-layer addresses of interfaces, and those of neighbours by interface and address."""
    numbers = {name: n for n, name in enumerate(node.interfaces, 1)}
    macs = np.zeros(len(node.interfaces) + 1, np.uint64)
    for name, iface in node.interfaces.items():
        macs[numbers[name]] = known_mac(iface.mac)
    there = sorted((numbers[d], a, m) for (d, v, a), m in node.neighbours.items() if v == family.version)
    rows = [(family.pack(address), number, *_filler(family), known_mac(mac)) for number, address, mac in there]
    return {"macs": macs, "neighbours": np.array(rows, records_of(family).NEIGHBOUR)}


def known_mac(mac: int | None) -> int:
    """Return a link-layer address as the core has it: 0 where it is not known."""
    return 0 if mac is None else mac | 1 << FN_MAC_BITS


def _takes_source_routes(node: Node, name: str) -> bool:
    """Tell whether packets with a source route may enter by a device: `all` has to allow it, too."""
    every = node.sysctl("net.ipv4.conf.all.accept_source_route", 0)
    new = node.sysctl("net.ipv4.conf.default.accept_source_route", 1)
    return bool(every and node.sysctl(f"net.ipv4.conf.{name}.accept_source_route", new))


def _filler(family: Family) -> tuple[int, ...]:
    return () if family is V4 else (0,)


def _kernel_order(addresses: list[Address]) -> list[Address]:
    """Order a device's IPv4 addresses as the kernel's list does: primaries by falling scope, then secondaries."""
    primaries: list[Address] = []
    secondaries: list[Address] = []
    networks: set[tuple[int, int]] = set()
    for a in addresses:
        own = a.local if a.peer is None else a.peer
        network = a.prefix, own & V4.mask_of(a.prefix)
        clash = network in networks
        networks.add(network)
        (secondaries if clash else primaries).append(replace(a, flags=SECONDARY if clash else 0))
    return sorted(primaries, key=lambda a: -a.scope) + secondaries
