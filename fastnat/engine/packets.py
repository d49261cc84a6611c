"""Building packet headers from columns that broadcast against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V6, family_of, to_array, to_array6
from ..dtypes import PACKET6, RECORDS4, RECORDS6, Verdict
from ..errors import ArgumentError, InputError
from ..util.arguments import addresses, column, protocol
from ..util.text import shown

if TYPE_CHECKING:
    from ..node import Node

FIELDS = {"proto", "src", "dst", "sport", "dport", "iface", "tcp_flags", "length", "mark", "isn"}


def packets(*, node: Node | None = None, **fields: Any) -> NDArray[np.void]:
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

    Raises
    ------
    ArgumentError   a field that does not exist, or is neither a number nor an array of numbers
    InputError      a value that does not fit into its field, a protocol or interface that is not known
    """
    unknown = set(fields) - FIELDS
    if unknown:
        known = ", ".join(sorted(FIELDS))
        raise ArgumentError(f"unknown packet field {shown(min(unknown), 60)}; expected one of {known}")
    values: dict[str, Any] = {"length": 60, **fields}
    if isinstance(values.get("proto"), str):
        values["proto"] = protocol(values["proto"])
    if isinstance(values.get("iface"), str):
        if node is None:
            raise ArgumentError("an interface name needs node=; give node=, or the number Node.iface_number(name)")
        values["iface"] = node.iface_number(values["iface"])
    is_v6 = any(_is_v6(values.get(name)) for name in ("src", "dst"))
    record = PACKET6 if is_v6 else RECORDS4.PACKET
    for name, value in values.items():
        if name in ("src", "dst"):
            values[name] = addresses(name, value, _to_array6 if is_v6 else to_array)
        else:
            values[name] = column(name, value, record[name])
    try:
        shape = np.broadcast_shapes(*(np.shape(v) for v in values.values()), (1,))
    except ValueError:
        shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in values.items())
        raise InputError(f"these fields do not broadcast against each other: {shown(shapes)}") from None
    batch = np.zeros(shape, record)
    for name, value in values.items():
        batch[name] = value
    return batch.reshape(-1)


def packets_from(
    batch: NDArray[np.void], results: NDArray[np.void], iface: int, out_iface: int | None = None
) -> NDArray[np.void]:
    """Return the headers of the packets that a node forwarded, as they reach the next one.

    Parameters
    ----------
    batch : PACKET[n]            what the node was given
    results : RESULT[n]          what it made of them
    iface : int                  on which they enter the next node
    out_iface : int, optional    only those that left by this interface

    Returns
    -------
    PACKET[m]    addresses and ports as translated, everything else as in the batch, but without mark: that stays there

    Raises
    ------
    ArgumentError   batch is no PACKET, or results is not its RESULT
    """
    pair = next((r for r in (RECORDS4, RECORDS6) if getattr(batch, "dtype", None) == r.PACKET), None)
    if pair is None or getattr(results, "dtype", None) != pair.RESULT:
        raise ArgumentError("expected a batch of packet headers, PACKET[n], and the RESULT[n] of process()")
    if batch.shape != results.shape:
        raise ArgumentError(f"{shown(batch.shape, 60)} packets, but {shown(results.shape, 60)} results")
    passed = results["verdict"] == Verdict.FORWARD
    if out_iface is not None:
        passed &= results["out_iface"] == out_iface
    made: NDArray[np.void] = batch[passed]
    for name in ("src", "dst", "sport", "dport"):
        made[name] = results[name][passed]
    made["iface"], made["mark"] = iface, 0
    return made


def _to_array6(value: Any) -> Any:
    return to_array6(value, RECORDS6.ADDR)


def _is_v6(addresses: Any) -> bool:
    if isinstance(addresses, np.ndarray) and addresses.dtype.kind not in "OU":
        return bool(addresses.dtype == RECORDS6.ADDR)
    if isinstance(addresses, (list, tuple, np.ndarray)):
        first = next(iter(addresses.flat if isinstance(addresses, np.ndarray) else addresses), None)
        return first is not None and family_of(first) is V6
    return addresses is not None and family_of(addresses) is V6
