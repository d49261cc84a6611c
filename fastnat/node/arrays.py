"""A node as arrays for the core: addresses, routes, classes of addresses and flags of interfaces.

Sources: devinet.c (order of a device's address list), fib_semantics.c (local and broadcast routes of an address),
fib_trie.c (the longest prefix first).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family
from ..core.layout import AddressFlag, IfaceFlag, RouteKind
from ..dtypes import records_of
from ..errors import InputError
from ..util.text import whole
from .parts import MAX_INTERFACES

if TYPE_CHECKING:
    from .model import Node
    from .parts import Address, Route

ROUTE_KINDS = {k.name.lower(): int(k) for k in RouteKind}
SECONDARY = int(AddressFlag.SECONDARY)


def sorted_routes(node: Node, family: Family = V4) -> list[Route]:
    """Return the main table, ordered so that the first hit is the kernel's answer."""
    return sorted(node.routes_of(family), key=lambda r: (-r.prefix, r.metric))


def address_array(node: Node, family: Family = V4) -> NDArray[Any]:
    """Return all addresses as ADDRESS[n], devices in order, each in the kernel's list order."""
    rows = []
    for number, iface in enumerate(node.interfaces.values(), 1):
        for a in _kernel_order(iface.addresses) if family is V4 else iface.addresses6:
            peer = a.local if a.peer is None else a.peer
            row = (family.pack(a.local), family.pack(family.mask_of(a.prefix)), family.pack(peer), number)
            rows.append((*row, a.scope, a.flags, *_filler(family)))
    return np.array(rows, records_of(family).ADDRESS)


def _local_routes(node: Node, family: Family) -> list[tuple[int, int, int, int, int, int]]:
    """Return the local table: (dst, mask, gateway, interface, kind, scope), the longest prefix first."""
    local = []
    for number, iface in enumerate(node.interfaces.values(), 1):
        for a in iface.addresses_of(family):
            mask = family.mask_of(a.prefix)
            local.append((a.local, family.full, 0, number, ROUTE_KINDS["local"], 254))
            if family is V6:
                continue
            if iface.loopback and a.local >> 24 == 127:
                local.append((a.local & mask, mask, 0, number, ROUTE_KINDS["local"], 254))
            if a.prefix < 31 and a.peer is None:
                local.append((a.local | ~mask & family.full, family.full, 0, number, ROUTE_KINDS["broadcast"], 253))
    return sorted(local, key=lambda r: -r[1])


def _route_rows(node: Node, family: Family) -> list[tuple[int, int, int, int, int, int]]:
    numbers = {name: n for n, name in enumerate(node.interfaces, 1)}
    return _local_routes(node, family) + [
        (
            r.dst & family.mask_of(r.prefix), family.mask_of(r.prefix), r.gateway, numbers.get(r.iface, 0),
            ROUTE_KINDS[r.kind], 0,
        )
        for r in sorted_routes(node, family)
    ]  # fmt: skip


def route_array(node: Node, family: Family = V4) -> NDArray[Any]:
    """Return the routes as ROUTE[n], ordered so that the first hit is the kernel's answer."""
    rows = [(*map(family.pack, r[:3]), *r[3:], *_filler(family)) for r in _route_rows(node, family)]
    return np.array(rows, records_of(family).ROUTE)


def address_classes(
    node: Node, cuts: Iterable[int] = (), family: Family = V4
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the classes of addresses, cut at `cuts` and wherever the answer of the routes changes.

    Returns
    -------
    addresses[n], uint16[n], uint32[257]
        first address of each class, ascending from 0; index in route_array() + 1 of its route, 0 if none; the class
        of the first address of each first octet, and the last class
    """
    routes = _route_rows(node, family)
    if len(routes) >= 0xFFFF:
        raise InputError(f"{len(routes)} routes; at most 65534 are supported")
    wanted = set(cuts)
    ends = {r[0] for r in routes} | {(r[0] | ~r[1] & family.full) + 1 for r in routes}
    starts = sorted(a for a in {0} | ends | wanted if a <= family.full)
    answer = np.zeros(len(starts), np.uint16)
    for n in reversed(range(len(routes))):
        dst, mask, _, _, kind, _ = routes[n]
        if kind != ROUTE_KINDS["throw"]:
            answer[bisect_left(starts, dst) : bisect_right(starts, dst | ~mask & family.full)] = n + 1
    keep = [n for n, a in enumerate(starts) if n == 0 or answer[n] != answer[n - 1] or a in wanted]
    kept = [starts[n] for n in keep]
    octets = [bisect_right(kept, k << family.bits - 8) - 1 for k in range(256)]
    dtype = records_of(family).ADDR
    return (
        np.array([family.pack(a) for a in kept], dtype), answer[keep], np.array([*octets, len(kept) - 1], np.uint32)
    )  # fmt: skip


def iface_flags(node: Node) -> NDArray[Any]:
    """Return uint32[n_ifaces + 1]: reverse-path filter and local-source flags, MTU in the high 16 bits."""
    whole("interfaces:", len(node.interfaces), 0, MAX_INTERFACES)
    flags = np.zeros(len(node.interfaces) + 1, np.uint32)
    flags[0] = 0xFFFF << 16
    for number, (name, iface) in enumerate(node.interfaces.items(), 1):
        rp = max(node.sysctl(f"net.ipv4.conf.{w}.rp_filter", 0) for w in ("all", name))
        value = int({1: IfaceFlag.RP_STRICT, 2: IfaceFlag.RP_LOOSE}.get(rp, 0))
        for bit, key in ((IfaceFlag.ACCEPT_LOCAL, "accept_local"), (IfaceFlag.ROUTE_LOCALNET, "route_localnet")):
            if any(node.sysctl(f"net.ipv4.conf.{w}.{key}", 0) for w in ("all", name)):
                value |= bit
        value |= IfaceFlag.LOOPBACK * iface.loopback
        flags[number] = value | min(whole(f"mtu of {name}:", iface.mtu, 0, 2**32 - 1), 0xFFFF) << 16
    return flags


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
