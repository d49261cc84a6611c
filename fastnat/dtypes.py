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
# by every name that /etc/protocols has for it
PROTOCOL_NUMBERS = {
    "ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "ip-encap": 4, "st": 5, "tcp": 6,
    "egp": 8, "igp": 9, "pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33,
    "xtp": 36, "ddp": 37, "idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46,
    "gre": 47, "esp": 50, "ipsec-esp": 50, "ipv6-crypt": 50, "ah": 51, "ipsec-ah": 51, "ipv6-auth": 51, "skip": 57,
    "icmpv6": 58, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88, "ospf": 89,
    "ospfigp": 89, "ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "vrrp": 112,
    "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133, "mh": 135, "ipv6-mh": 135, "mobility-header": 135,
    "udplite": 136, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142,
    "ethernet": 143,
}  # fmt: skip
DSCP_CLASSES = {
    "BE": 0, "CS0": 0, "EF": 46, **{f"CS{n}": 8 * n for n in range(1, 8)},
    **{f"AF{c}{d}": 8 * c + 2 * d for c in range(1, 5) for d in range(1, 4)},
}  # fmt: skip
PROTOCOL_NAMES = {
    1: "icmp", 58: "icmpv6", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 132: "sctp", 136: "udplite",
}  # fmt: skip
