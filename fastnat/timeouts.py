"""Timeouts of conntrack: their sysctls and defaults, as the core numbers them.

Source: nf_conntrack_standalone.c, nf_conntrack_proto_*.c (Linux 6.18, 5.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dtypes import HZ
from .errors import InputError

if TYPE_CHECKING:
    from .node import Node

PREFIX = "net.netfilter.nf_conntrack_"
TIMEOUTS = {  # sysctl net.netfilter.nf_conntrack_*: index in engine_t.timeouts, default seconds
    "tcp_timeout_syn_sent": (1, 120), "tcp_timeout_syn_recv": (2, 60), "tcp_timeout_established": (3, 432000),
    "tcp_timeout_fin_wait": (4, 120), "tcp_timeout_close_wait": (5, 60), "tcp_timeout_last_ack": (6, 30),
    "tcp_timeout_time_wait": (7, 120), "tcp_timeout_close": (8, 10), "tcp_timeout_max_retrans": (10, 300),
    "tcp_timeout_unacknowledged": (11, 300), "udp_timeout": (12, 30), "udp_timeout_stream": (13, 120),
    "icmp_timeout": (14, 30), "generic_timeout": (15, 600), "gre_timeout": (16, 30), "gre_timeout_stream": (17, 180),
}  # fmt: skip
SCTP_TIMEOUTS = (  # states 1 to 9: sysctl sctp_timeout_*, default seconds of linux-5.4 and linux-6.18
    ("closed", 10, 10), ("cookie_wait", 3, 3), ("cookie_echoed", 3, 3), ("established", 432000, 210),
    ("shutdown_sent", 0.3, 3), ("shutdown_recd", 0.3, 3), ("shutdown_ack_sent", 3, 3), ("heartbeat_sent", 30, 30),
    ("heartbeat_acked", 210, 210),
)  # fmt: skip
MAX_TIMEOUT = 2**31 // HZ - 1


def timeouts_of(node: Node, profile: str) -> dict[int, int]:
    """Return {index in engine_t.timeouts: jiffies}; InputError for a sysctl that is negative or no number."""
    timeouts = {}
    for name, (index, default) in TIMEOUTS.items():
        timeouts[index] = min(_seconds(node, PREFIX + name, default), MAX_TIMEOUT) * HZ
    # SYN_SENT2 and no state at all, UDP-Lite: without sysctls
    timeouts[0], timeouts[9] = 120 * HZ, 120 * HZ
    timeouts[18], timeouts[19] = 30 * HZ, 120 * HZ
    # the tunnel of PPTP
    timeouts[30], timeouts[31] = 600 * HZ, 5 * 3600 * HZ
    for n, (name, *defaults) in enumerate(SCTP_TIMEOUTS, 21):
        lasts = _seconds(node, f"{PREFIX}sctp_timeout_{name}", 0) or defaults[profile == "linux-6.18"]
        timeouts[n] = round(min(lasts, MAX_TIMEOUT) * HZ)
    return timeouts


def _seconds(node: Node, name: str, default: int) -> int:
    seconds = node.sysctl(name, default)
    if seconds < 0:
        raise InputError(f"sysctl {name} = {seconds}: a timeout is not negative")
    return seconds
