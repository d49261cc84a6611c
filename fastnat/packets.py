"""Building packet headers out of columns that broadcast against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .addresses import V6, family_of, to_array, to_array6
from .dtypes import PACKET6, PROTOCOLS, RECORDS4, RECORDS6

if TYPE_CHECKING:
    from .node import Node


def packets(*, node: Node | None = None, **fields: Any) -> NDArray[Any]:
    """Build packet headers; all fields broadcast against each other.

    Parameters
    ----------
    proto : str, int or array      "udp", "tcp", "icmp" or a number
    src, dst : str, ipaddress, int or array
    sport, dport : int or array    for ICMP: id, and type << 8 | code
    iface : int, array, or name    a name needs `node` (or use Engine.packets)
    tcp_flags, length, mark : int or array
    isn : int or array             of a TCP SYN: the upper 16 bits of its sequence number; a newer one lets linux-6.18
                                   evict a connection in TIME_WAIT when ports run short (nf_nat_used_tuple_harder)

    Returns
    -------
    PACKET[n], or PACKET6[n] when the addresses are IPv6
    """
    unknown = set(fields) - {"proto", "src", "dst", "sport", "dport", "iface", "tcp_flags", "length", "mark",
                           "isn"}
    if unknown:
        raise TypeError(f"unknown packet field {sorted(unknown)[0]!r}")
    values: dict[str, Any] = {"length": 60, **fields}
    if isinstance(values.get("proto"), str):
        values["proto"] = PROTOCOLS[values["proto"]]
    if isinstance(values.get("iface"), str):
        if node is None:
            raise TypeError("an interface name needs node=; or pass its number, Node.iface_number(name)")
        values["iface"] = node.iface_number(values["iface"])
    is_v6 = any(_is_v6(values.get(name)) for name in ("src", "dst"))
    for name in ("src", "dst"):
        if name in values:
            values[name] = to_array6(values[name], RECORDS6.ADDR) if is_v6 else to_array(values[name])
    shape = np.broadcast_shapes(*(np.shape(v) for v in values.values()), (1,))
    batch = np.zeros(shape, PACKET6 if is_v6 else RECORDS4.PACKET)
    for name, value in values.items():
        batch[name] = value
    return batch.reshape(-1)


def _is_v6(addresses: Any) -> bool:
    if isinstance(addresses, np.ndarray):
        return bool(addresses.dtype == RECORDS6.ADDR)
    if isinstance(addresses, (list, tuple)):
        return bool(addresses) and family_of(addresses[0]) is V6
    return addresses is not None and family_of(addresses) is V6
