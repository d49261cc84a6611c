"""NumPy dtypes of the records, and the codes of the field.

core/codes.h and core/types.h declare and describe them; core/layout.py is made from those. Integers are in host byte
order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .addresses import V4, Family
from .core.layout import (
    FN_HZ,
    FN_NONE,
    RECORDS,
    ConnFlag,
    CtInfo,
    Event,
    EventWhat,
    Helper,
    IpProtocol,
    Reason,
    StatIndex,
    Status,
    TcpState,
    Verdict,
)  # fmt: skip

__all__ = ["CtInfo", "Event", "EventWhat", "Reason", "Records", "Status", "TcpState", "Verdict", "records_of"]


class Records:
    """The records of one family as dtypes, by their names in core/layout.py: equal but for the width of addresses."""

    def __init__(self, addr: np.dtype[Any], records: dict[str, list[tuple[str, str, tuple[int, ...], int]]] = RECORDS):
        self._made = {"ADDR": addr, "addr": addr}
        family = 6 if addr.names else 4
        for name, members in records.items():
            fields = [(n, self._made.get(kind, kind), shape) for n, kind, shape, only in members if only in (0, family)]
            self._made[name] = np.dtype(fields)

    def __getattr__(self, name: str) -> np.dtype[Any]:
        try:
            return self.__dict__["_made"][name]  # type: ignore[no-any-return]  # __dict__ has no types
        except KeyError:
            raise AttributeError(f"no record {name!r}") from None


# jiffies per second of the kernels reproduced
HZ = FN_HZ
CONN_LIVE, CONN_MARKED, CONN_HELPED = int(ConnFlag.LIVE), int(ConnFlag.MARKED), int(ConnFlag.HELPED)
CONN_COUNTED = int(ConnFlag.COUNTED)
# the helpers that there are, their codes, and the protocol that they watch
HELPERS = {
    "ftp": (int(Helper.FTP), int(IpProtocol.TCP)), "tftp": (int(Helper.TFTP), int(IpProtocol.UDP)),
    "pptp": (int(Helper.PPTP), int(IpProtocol.TCP)),
}  # fmt: skip

ADDR6 = np.dtype([("low", np.uint64), ("high", np.uint64)])
RECORDS4, RECORDS6 = Records(np.dtype(np.uint32)), Records(ADDR6)


def records_of(family: Family) -> Records:
    """Return the records of a family."""
    return RECORDS4 if family is V4 else RECORDS6


# those without an address are the same in both
TCP, ACCT, HELP, BUCKET, CHUNK, TABLE_MEMO, PASS_MEMO = (
    RECORDS4.TCP, RECORDS4.ACCT, RECORDS4.HELP, RECORDS4.BUCKET, RECORDS4.CHUNK,
    RECORDS4.TABLE_MEMO, RECORDS4.PASS_MEMO,
)  # fmt: skip
SET, MATCH, DISPATCH, DISPATCH_SLOT = RECORDS4.SET, RECORDS4.MATCH, RECORDS4.DISPATCH, RECORDS4.DISPATCH_SLOT
CONN, PACKET, RESULT, PACKET6, RESULT6 = (
    RECORDS4.CONN, RECORDS4.PACKET, RECORDS4.RESULT, RECORDS6.PACKET, RECORDS6.RESULT,
)  # fmt: skip

NO_CONN = FN_NONE

STATS = tuple(name.lower() for name in StatIndex.__members__)

# bits of an UPDATE's `what`
EVENT_REPLY, EVENT_ASSURED = int(EventWhat.REPLY), int(EventWhat.ASSURED)
EVENT_PROTOINFO, EVENT_MARK = int(EventWhat.PROTOINFO), int(EventWhat.MARK)
SCTP_STATES = (
    "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", "HEARTBEAT_ACKED",
)  # fmt: skip
TCP_STATES = tuple(TcpState.__members__)
PROTOCOLS = {
    "icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "sctp": 132, "udplite": 136, "ipip": 4, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58,
}  # fmt: skip
PROTOCOL_NAMES = {
    1: "icmp", 58: "icmpv6", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 132: "sctp", 136: "udplite",
}  # fmt: skip
