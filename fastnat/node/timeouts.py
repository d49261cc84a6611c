"""Timeouts of conntrack: their sysctls, defaults, and numbers in the core.

Source: nf_conntrack_standalone.c, nf_conntrack_proto_*.c (Linux 6.18, 5.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..addresses import V4, Family
from ..core.layout import TcpState, TimeoutIndex
from ..dtypes import HZ
from ..errors import InputError

if TYPE_CHECKING:
    from .model import Node

PREFIX = "net.netfilter.nf_conntrack_"
# sysctl net.netfilter.nf_conntrack_*: index in engine_t.timeouts, default seconds
TIMEOUTS: dict[str, tuple[int, int]] = {
    "tcp_timeout_syn_sent": (TcpState.SYN_SENT, 120), "tcp_timeout_syn_recv": (TcpState.SYN_RECV, 60),
    "tcp_timeout_established": (TcpState.ESTABLISHED, 432000), "tcp_timeout_fin_wait": (TcpState.FIN_WAIT, 120),
    "tcp_timeout_close_wait": (TcpState.CLOSE_WAIT, 60), "tcp_timeout_last_ack": (TcpState.LAST_ACK, 30),
    "tcp_timeout_time_wait": (TcpState.TIME_WAIT, 120), "tcp_timeout_close": (TcpState.CLOSE, 10),
    "tcp_timeout_max_retrans": (TimeoutIndex.TCP_MAX_RETRANS, 300),
    "tcp_timeout_unacknowledged": (TimeoutIndex.TCP_UNACK, 300), "udp_timeout": (TimeoutIndex.UDP, 30),
    "udp_timeout_stream": (TimeoutIndex.UDP_STREAM, 120), "icmp_timeout": (TimeoutIndex.ICMP, 30),
    "icmpv6_timeout": (TimeoutIndex.ICMP, 30), "generic_timeout": (TimeoutIndex.GENERIC, 600),
    "gre_timeout": (TimeoutIndex.GRE, 30), "gre_timeout_stream": (TimeoutIndex.GRE_STREAM, 180),
}  # fmt: skip
# the one of these that is not of a family
OF_THE_OTHER = {4: "icmpv6_timeout", 6: "icmp_timeout"}
# in seconds: SYN_SENT2 and no state at all
WITHOUT_SYSCTL: dict[int, int] = {TcpState.NONE: 120, TcpState.SYN_SENT2: 120}
SCTP_TIMEOUTS = (  # states 1 to 9: sysctl sctp_timeout_*, default seconds of linux-5.4 and linux-6.18
    ("closed", 10, 10), ("cookie_wait", 3, 3), ("cookie_echoed", 3, 3), ("established", 432000, 210),
    ("shutdown_sent", 0.3, 3), ("shutdown_recd", 0.3, 3), ("shutdown_ack_sent", 3, 3), ("heartbeat_sent", 30, 30),
    ("heartbeat_acked", 210, 210),
)  # fmt: skip
MAX_TIMEOUT = 2**31 // HZ - 1


def timeouts_of(node: Node, profile: str, family: Family = V4) -> dict[int, int]:
    """Return {index in engine_t.timeouts: jiffies}; InputError for a sysctl that is negative or no number."""
    timeouts = {int(index): seconds * HZ for index, seconds in WITHOUT_SYSCTL.items()}
    for name, (index, default) in TIMEOUTS.items():
        jiffies = min(_seconds(node, PREFIX + name, default), MAX_TIMEOUT) * HZ
        if name != OF_THE_OTHER[family.version]:
            timeouts[int(index)] = jiffies
    for n, (name, *defaults) in enumerate(SCTP_TIMEOUTS, TimeoutIndex.SCTP + 1):
        lasts = _seconds(node, f"{PREFIX}sctp_timeout_{name}", 0) or defaults[profile == "linux-6.18"]
        timeouts[n] = round(min(lasts, MAX_TIMEOUT) * HZ)
    return timeouts


def _seconds(node: Node, name: str, default: int) -> int:
    seconds = node.sysctl(name, default)
    if seconds < 0:
        raise InputError(f"sysctl {name} = {seconds}: a timeout must not be negative")
    return seconds
