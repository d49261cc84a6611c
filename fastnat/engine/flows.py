"""Flows without packets: opened as their first packet would, closed as both ends would."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, AddressLike, Family, family_of
from ..conntrack import Connection
from ..dtypes import CONN_LIVE, NO_CONN, PACKET6, PROTOCOLS, records_of
from ..errors import ArgumentError, InputError
from ..node.arrays import sorted_routes
from ..util.arguments import address, port, protocol
from ..util.mixing import classes_of
from ..util.text import shown

if TYPE_CHECKING:
    from ..node import Node
    from .engine import Engine

SYN, SYN_ACK, ACK, FIN_ACK = 0x02, 0x12, 0x10, 0x11
# the segments of both ends from the SYN to TIME_WAIT: direction, flags
ENDING = ((1, SYN_ACK), (0, ACK), (0, FIN_ACK), (1, FIN_ACK), (0, ACK))


def connect(
    engine: Engine, proto: str, ends: tuple[Any, Any, Any, Any], now: float, iface: str | None = None
) -> Connection | NDArray[np.uint32] | None:
    """See Engine.connect; ends are source address and port, destination address and port."""
    if any(isinstance(end, (list, tuple, np.ndarray)) for end in ends):
        return connect_many(engine, proto, ends, now, iface)
    src, sport, dst, dport = ends
    family = address("src", src)[0]
    address("dst", dst, family)
    sport, dport = port("sport", sport), port("dport", dport)
    packet = first_packets(engine, proto, (src, sport, dst, dport), iface or interface_of(engine.node, src))
    number = int(engine.process(packet, now)["conn"][0])
    if number >= engine.core_of(family.version).high_water:
        return None
    return engine.conntrack.at(family.version, number)


def first_packets(engine: Engine, proto: str, ends: tuple[Any, Any, Any, Any], iface: Any) -> NDArray[np.void]:
    """Return the packets with which flows begin."""
    number, (src, sport, dst, dport) = protocol(proto), ends
    flags = SYN if number == PROTOCOLS["tcp"] else 0
    return engine.packets(proto=number, src=src, sport=sport, dst=dst, dport=dport, iface=iface, tcp_flags=flags)


def connect_many(
    engine: Engine, proto: str, ends: tuple[Any, Any, Any, Any], now: float, iface: str | None
) -> NDArray[np.uint32]:
    """Open many flows; return the numbers of their connections."""
    batch = first_packets(engine, proto, ends, iface or 0)
    family = V6 if batch.dtype == PACKET6 else V4
    if iface is None:
        batch["iface"] = interfaces_of(engine, batch["src"], family)
    numbers: NDArray[np.uint32] = engine.process(batch, now)["conn"].copy()
    numbers[numbers >= engine.core_of(family.version).high_water] = NO_CONN
    return numbers


def interfaces_of(engine: Engine, sources: NDArray[Any], family: Family) -> NDArray[np.uint16]:
    """Return the number of the interface behind which each source lies; InputError where none leads to one."""
    found, known = known_interfaces_of(engine.node, sources, family)
    if not known.all():
        # says which one
        interface_of(engine.node, family.to_text(family.unpack(sources[np.argmin(known)])))
    return found


def known_interfaces_of(
    node: Node, sources: NDArray[Any], family: Family
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Return the number of the interface behind which each source lies, and for which of them there is one."""
    own = [a.local for interface in node.interfaces.values() for a in interface.addresses_of(family)]
    cuts = {0, *own, *(a + 1 for a in own)}
    for route in node.routes_of(family):
        mask = family.mask_of(route.prefix)
        cuts |= {route.dst & mask, (route.dst | ~mask & family.full) + 1}
    starts = sorted(cut for cut in cuts if cut <= family.full)
    # between two starts no address is told from another
    place = classes_of(np.array([family.pack(start) for start in starts], records_of(family).ADDR), sources) - 1
    numbers, known = np.zeros(len(starts), np.uint16), np.zeros(len(starts), np.bool_)
    for k in np.unique(place).tolist():
        with suppress(InputError):
            numbers[k] = node.iface_number(interface_of(node, family.to_text(starts[k])))
            known[k] = True
    return numbers[place], known[place]


def close(engine: Engine, connection: Any, now: float, version: int = 4) -> None:
    """See Engine.close."""
    if isinstance(connection, np.ndarray):
        close_many(engine, connection, now, engine.stack_of(version).family)
        return
    if not isinstance(connection, Connection):
        raise ArgumentError(f"expected a Connection or an array of numbers, got {type(connection).__name__}")
    engine.advance(now)
    src, dst, sport, dport = connection.original
    here = engine.conntrack.find(connection.proto, src, sport, dst, dport)
    if here is None:
        return
    if connection.proto != PROTOCOLS["tcp"]:
        engine.conntrack.delete(here)
        return
    ways = [header(engine, here, t) for t in (here.original, here.reply)]
    for way, flags in ENDING:
        ways[way]["tcp_flags"] = flags
        engine.process(ways[way], now)


def close_many(engine: Engine, numbers: NDArray[Any], now: float, family: Family) -> None:
    """Close the connections of these numbers; those that are over are passed over."""
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise ArgumentError(f"expected numbers of connections, got {shown(numbers.dtype)}{list(numbers.shape)}")
    engine.advance(now)
    core = engine.core_of(family.version)
    known = np.unique(numbers[(numbers >= 0) & (numbers < core.high_water)]).astype(np.intp)
    records = core.arrays["conns"][known]
    live = records["flags"] & CONN_LIVE != 0
    known, records = known[live], records[live]
    is_tcp = records["tuples"]["proto"][:, 0] == PROTOCOLS["tcp"]
    for number in known[~is_tcp].tolist():
        # one that a helper announced goes with its master
        with suppress(IndexError):
            core.delete(number)
    ways = [ending(engine, records["tuples"][is_tcp, way], family) for way in (0, 1)]
    for way, flags in ENDING:
        ways[way]["tcp_flags"] = flags
        engine.process(ways[way], now)


def ending(engine: Engine, tuples: NDArray[np.void], family: Family) -> NDArray[np.void]:
    """Return a packet for each of these tuples."""
    batch = np.zeros(len(tuples), records_of(family).PACKET)
    for name in ("src", "dst", "sport", "dport", "proto"):
        batch[name] = tuples[name]
    batch["length"] = 60
    batch["iface"] = interfaces_of(engine, batch["src"], family)
    return batch


def header(engine: Engine, c: Connection, t: tuple[int, int, int, int]) -> NDArray[np.void]:
    """Return a packet of a connection in the direction of one of its tuples."""
    src, dst, sport, dport = (*map(c.family.to_text, t[:2]), *t[2:])
    iface = interface_of(engine.node, src)
    return engine.packets(proto=c.proto, src=src, dst=dst, sport=sport, dport=dport, iface=iface)


def interface_of(node: Node, address: AddressLike) -> str:
    """Return the interface behind which an address lies: "local", or the one of its most specific route."""
    family = family_of(address)
    wanted = family.to_int(address)
    for interface in node.interfaces.values():
        there = interface.addresses_of(family)
        if any(a.local == wanted for a in there):
            return "local"
    for route in sorted_routes(node, family):
        if route.iface and (wanted ^ route.dst) & family.mask_of(route.prefix) == 0:
            return route.iface
    raise InputError(f"no interface leads to {address}: give iface=")
