"""NumPy dtypes that mirror the records of core/types.h, and the enumerations of the field.

Integers are in host byte order. A test compares every size and offset with what the compiler says.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

# jiffies per second of the kernels reproduced
HZ = 250
CONN_LIVE, CONN_MARKED, CONN_HELPED = 1, 2, 16
# the helpers that there are, as core/types.pxd numbers them, and what they watch
HELPERS = {"ftp": (1, 6), "tftp": (2, 17), "pptp": (3, 6)}
# every byte has a field, as NumPy copies fields only
TCP = np.dtype([("window", np.void, 56), ("help", np.uint32), ("mark", np.uint32)])
HELP = np.dtype(
    [
        ("first", np.uint32),
        ("kind", np.uint8),
        ("master_kind", np.uint8),
        ("n_ends", np.uint8, 2),
        ("line_ends", np.uint32, (2, 2)),
        ("pos", np.uint32, 2),
        ("before", np.uint32, 2),
        ("after", np.uint32, 2),
        ("calls", np.uint16, 4),
        ("session", np.uint8),
        ("call", np.uint8),
        ("pad", np.uint16),
        ("master", np.uint32),
        ("serial", np.uint32),
        ("master_serial", np.uint32),
        ("server", np.uint32),
        ("pad2", np.uint32),
    ]
)
BUCKET = np.dtype((np.void, 64))
CHUNK = np.dtype((np.void, 64))
PATH = np.dtype((np.void, 128))
SET = np.dtype(
    [
        ("prefixes", np.uint64, 3),
        ("mask", np.uint32),
        ("first_slot", np.uint32),
        ("first_member", np.uint32),
        ("n_members", np.uint32),
        ("dims", np.uint8, 3),
        ("n_dims", np.uint8),
        ("pad", np.uint32),
    ]
)
MATCH = np.dtype(
    [("kind", np.uint8), ("invert", np.uint8), ("n", np.uint16), ("a", np.uint32), ("b", np.uint32), ("c", np.uint32)]
)
DISPATCH = np.dtype([("kind", np.uint32), ("mask", np.uint32), ("first_slot", np.uint32), ("pad", np.uint32)])
DISPATCH_SLOT = np.dtype([("key", np.uint32), ("rule", np.uint32)])


class Records:
    """The records of one family: equal but for the width of addresses; types.h says what each field is."""

    def __init__(self, addr: np.dtype[Any], filler: int, sizes: tuple[int, int, int]) -> None:
        pad = [("filler", np.void, filler)] if filler else []
        self.ADDR = addr
        self.TUPLE = np.dtype(
            [
                ("src", addr),
                ("dst", addr),
                ("sport", np.uint16),
                ("dport", np.uint16),
                ("proto", np.uint8),
                ("pad", np.uint8),
                ("zone", np.uint16),
            ]
        )
        self.CONN = np.dtype(
            [
                ("tuples", self.TUPLE, 2),
                ("timeout", np.uint32),
                ("wheel_pos", np.uint32),
                ("bysource_next", np.uint32),
                ("bysource_prev", np.uint32),
                ("stream_ts", np.uint32),
                ("routes", np.uint16, 2),
                ("masq_iface", np.uint16),
                ("zone", np.uint16),
                ("status", np.uint16),
                ("state", np.uint8),
                ("flags", np.uint8),
            ]
        )
        self.RULE = np.dtype(
            [
                ("src", addr),
                ("smask", addr),
                ("dst", addr),
                ("dmask", addr),
                ("in_set", np.uint16),
                ("out_set", np.uint16),
                ("proto", np.uint8),
                ("invert", np.uint8),
                ("target", np.uint8),
                ("tests", np.uint8),
                ("target_arg", np.uint32),
                ("next", np.uint32),
                ("match", MATCH),
                ("packets", np.uint64),
                ("bytes", np.uint64),
            ]
        )
        self.TARGET = np.dtype(
            [
                ("min_addr", addr),
                ("max_addr", addr),
                ("min_proto", np.uint16),
                ("max_proto", np.uint16),
                ("base_proto", np.uint16),
                ("flags", np.uint16),
                ("value", np.uint32),
                ("mask", np.uint32),
                ("mask2", np.uint32),
                ("op", np.uint32),
            ]
        )
        route = [("dst", addr), ("mask", addr), ("gateway", addr), ("iface", np.uint16), ("kind", np.uint8)]
        self.ROUTE = np.dtype([*route, ("scope", np.uint8), *pad])
        address = [("local", addr), ("mask", addr), ("peer", addr), ("iface", np.uint16), ("scope", np.uint8)]
        self.ADDRESS = np.dtype([*address, ("flags", np.uint8), *pad])
        self.PACKET = np.dtype(
            [
                ("src", addr),
                ("dst", addr),
                ("sport", np.uint16),
                ("dport", np.uint16),
                ("iface", np.uint16),
                ("length", np.uint16),
                ("proto", np.uint8),
                ("tcp_flags", np.uint8),
                ("isn", np.uint16),
                ("mark", np.uint32),
            ]
        )
        self.RESULT = np.dtype(
            [("verdict", np.uint8), ("ctinfo", np.uint8), ("reason", np.uint8), ("pad", np.uint8)]
            + pad
            + [
                ("src", addr),
                ("dst", addr),
                ("sport", np.uint16),
                ("dport", np.uint16),
                ("out_iface", np.uint16),
                ("probes", np.uint16),
                ("conn", np.uint32),
            ]
            + [("end", *rest) for _, *rest in pad]
        )
        self.ELEMENT = np.dtype(
            [
                ("addrs", addr, 2),
                ("port", np.uint32),
                ("prefix", np.uint8),
                ("used", np.uint8),
                ("nomatch", np.uint8),
                ("pad", np.uint8),
            ]
        )
        self.EVENT = np.dtype(
            [
                ("tuples", self.TUPLE, 2),
                ("tick", np.uint64),
                ("timeout", np.int32),
                ("mark", np.uint32),
                ("conn", np.uint32),
                ("zone", np.uint16),
                ("status", np.uint16),
                ("kind", np.uint8),
                ("what", np.uint8),
                ("state", np.uint8),
                ("pad", np.uint8),
                ("pad2", np.uint32),
            ]
        )
        self.EXPECT = np.dtype(
            [
                ("t", self.TUPLE),
                ("master", np.uint32),
                ("next", np.uint32),
                ("sibling", np.uint32),
                ("expires", np.uint32),
                ("saved_port", np.uint16),
                ("kind", np.uint8),
                ("dir", np.uint8),
                ("any_sport", np.uint8),
                ("pad", np.void, 3),
            ]
        )
        self.SERVICE = np.dtype(
            [
                ("addr", addr),
                ("client_mask", addr),
                ("fwmark", np.uint32),
                ("port", np.uint16),
                ("proto", np.uint8),
                ("scheduler", np.uint8),
                ("first", np.uint32),
                ("n", np.uint32),
                ("at", np.uint32),
                ("weight", np.int32),
                ("max_weight", np.int32),
                ("step", np.int32),
                ("persist", np.uint32),
                ("hash_ports", np.uint32),
            ]
        )
        self.SERVER = np.dtype(
            [
                ("addr", addr),
                ("weight", np.uint32),
                ("active", np.uint32),
                ("inactive", np.uint32),
                ("port", np.uint16),
                ("pad", np.uint16),
            ]
        )
        self.PERSIST = np.dtype((np.void, addr.itemsize + 16))
        bitmap_key, memo, recent = sizes
        self.HASHLIMIT = np.dtype((np.void, 2 * addr.itemsize + 24))
        self.BITMAP_KEY = np.dtype((np.void, bitmap_key))
        self.MEMO = np.dtype((np.void, memo))
        self.RECENT = np.dtype((np.void, recent))


ADDR6 = np.dtype([("low", np.uint64), ("high", np.uint64)])
RECORDS4 = Records(np.dtype(np.uint32), 0, (160, 192, 1040))
RECORDS6 = Records(ADDR6, 4, (184, 200, 1056))
TUPLE, CONN, RULE, TARGET = RECORDS4.TUPLE, RECORDS4.CONN, RECORDS4.RULE, RECORDS4.TARGET
ELEMENT = RECORDS4.ELEMENT
ROUTE, ADDRESS, PACKET, RESULT = RECORDS4.ROUTE, RECORDS4.ADDRESS, RECORDS4.PACKET, RECORDS4.RESULT
HASHLIMIT = RECORDS4.HASHLIMIT
BITMAP_KEY, MEMO, RECENT = RECORDS4.BITMAP_KEY, RECORDS4.MEMO, RECORDS4.RECENT
PACKET6, RESULT6 = RECORDS6.PACKET, RECORDS6.RESULT

NO_CONN = 0xFFFFFFFF

STATS = (
    "found", "invalid", "ignore", "insert", "insert_failed", "drop", "early_drop", "error", "search_restart",
    "clash_resolve", "chaintoolong", "new", "delete", "port_search_probes", "port_searches", "port_search_failures",
    "packets", "expired", "rules_walked", "evicted", "bysource_reuse", "random_draws",
    "expect_new", "expect_create", "expect_delete",
)  # fmt: skip


class Verdict(IntEnum):
    """What became of a packet."""

    FORWARD = 0
    LOCAL = 1
    DROP = 2


class CtInfo(IntEnum):
    """enum ip_conntrack_info; INVALID: the packet has no connection."""

    ESTABLISHED = 0
    RELATED = 1
    NEW = 2
    ESTABLISHED_REPLY = 3
    RELATED_REPLY = 4
    UNTRACKED = 7
    INVALID = 8


class Reason(IntEnum):
    """Why a packet was dropped, or passed untranslated (INVALID, UNTRACKED)."""

    NONE = 0
    INVALID = 1
    CLASH = 2
    TABLE_FULL = 3
    NO_ADDRESS = 4
    NO_ROUTE = 5
    TTL = 6
    MARTIAN = 7
    IP_HEADER = 8
    RULE_DROP = 9
    OUT_DEVICE = 10
    NOT_FORWARDING = 11
    ICMP_TRANSLATION = 12
    TRUNCATED = 13
    FRAGMENT = 14
    UNTRACKED = 15
    INTERFACE = 16
    HANDLER_DROP = 17
    TOO_BIG = 18
    CHAIN_TOO_LONG = 19
    NO_SERVER = 20
    HELPER = 21
    NO_ROOM = 22
    TOO_MANY_RULES = 23


class Status(IntEnum):
    """enum ip_conntrack_status."""

    EXPECTED = 0x1
    SEEN_REPLY = 0x2
    ASSURED = 0x4
    CONFIRMED = 0x8
    SRC_NAT = 0x10
    DST_NAT = 0x20
    SEQ_ADJUST = 0x40
    SRC_NAT_DONE = 0x80
    DST_NAT_DONE = 0x100
    DYING = 0x200
    FIXED_TIMEOUT = 0x400
    NAT_CLASH = 0x1000
    HELPER = 0x2000


class Event(IntEnum):
    """What an event says: nf_conntrack_events as conntrack -E names them."""

    NEW = 1
    UPDATE = 2
    DESTROY = 3


# bits of an UPDATE's `what` (enum ip_conntrack_events)
EVENT_REPLY, EVENT_ASSURED, EVENT_PROTOINFO, EVENT_MARK = 1, 2, 4, 8
SCTP_STATES = (
    "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", "HEARTBEAT_ACKED",
)  # fmt: skip
TCP_STATES = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
    "SYN_SENT2",
)  # fmt: skip
PROTOCOLS = {
    "icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "sctp": 132, "udplite": 136, "ipip": 4, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58,
}  # fmt: skip
PROTOCOL_NAMES = {1: "icmp", 58: "icmpv6", 6: "tcp", 17: "udp", 47: "gre", 132: "sctp", 136: "udplite"}
