"""Flows without packets: opened as their first packet would, closed as both ends would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..addresses import AddressLike, family_of
from ..conntrack import Connection
from ..dtypes import PROTOCOLS
from ..errors import ArgumentError, InputError
from ..node.arrays import sorted_routes
from ..util.arguments import address, port, protocol

if TYPE_CHECKING:
    from ..node import Node
    from .engine import Engine

SYN, SYN_ACK, ACK, FIN_ACK = 0x02, 0x12, 0x10, 0x11
# the segments of both ends from the SYN to TIME_WAIT: direction, flags
ENDING = ((1, SYN_ACK), (0, ACK), (0, FIN_ACK), (1, FIN_ACK), (0, ACK))


def connect(
    engine: Engine,
    proto: str,
    ends: tuple[AddressLike, int, AddressLike, int],
    now: float,
    iface: str | None = None,
) -> Connection | None:
    """See Engine.connect; ends are source address and port, destination address and port."""
    src, sport, dst, dport = ends
    family = address("src", src)[0]
    address("dst", dst, family)
    proto_number, sport, dport = protocol(proto), port("sport", sport), port("dport", dport)
    core = engine.core_of(family.version)
    packet = engine.packets(
        proto=proto_number, src=src, sport=sport, dst=dst, dport=dport, iface=iface or interface_of(engine.node, src),
        tcp_flags=SYN if proto_number == PROTOCOLS["tcp"] else 0,
    )  # fmt: skip
    number = int(engine.process(packet, now)["conn"][0])
    if number >= core.high_water:
        return None
    return engine.conntrack.at(family.version, number)


def close(engine: Engine, connection: Connection, now: float) -> None:
    """See Engine.close."""
    if not isinstance(connection, Connection):
        raise ArgumentError(f"expected a Connection, got {type(connection).__name__}")
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
