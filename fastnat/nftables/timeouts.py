"""Timeout policies: `ct timeout` objects, which rules give to connections.

Source: timeout_protocol of rule.c and ct_timeout_evaluate of evaluate.c, nftables 1.0.6; nft_ct_timeout_obj_init of
nft_ct.c and *_timeout_nlattr_to_obj of nf_conntrack_proto_*.c, Linux 6.18.
Invariants: an object says all timeouts of its protocol. Those that its text leaves out are nft's own, whatever the
sysctls of the node say.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ..core.layout import FN_TIMEOUTS, IpProtocol, TcpState, TimeoutIndex
from ..dtypes import HZ
from .datatypes import seconds
from .tree import Object

KIND = "ct timeout"
# what a connection keeps of its policy is a byte
MAX_POLICIES = 255
# by protocol and state, in the order in which they are listed: index in engine_t.timeouts, seconds if nothing is said
STATES: dict[str, dict[str, tuple[int, int]]] = {
    "tcp": {
        "syn_sent": (TcpState.SYN_SENT, 120), "syn_recv": (TcpState.SYN_RECV, 60),
        "established": (TcpState.ESTABLISHED, 432_000), "fin_wait": (TcpState.FIN_WAIT, 120),
        "close_wait": (TcpState.CLOSE_WAIT, 60), "last_ack": (TcpState.LAST_ACK, 30),
        "time_wait": (TcpState.TIME_WAIT, 120), "close": (TcpState.CLOSE, 10),
        "syn_sent2": (TcpState.SYN_SENT2, 120), "retrans": (TimeoutIndex.TCP_MAX_RETRANS, 300),
        "unack": (TimeoutIndex.TCP_UNACK, 300),
    },
    "udp": {"unreplied": (TimeoutIndex.UDP, 30), "replied": (TimeoutIndex.UDP_STREAM, 120)},
}  # fmt: skip
PAIR = re.compile(r"\s*(\w+)\s*:\s*(\w+)\s*")


def times_of(made: Object) -> dict[str, int]:
    """Return the jiffies that an object says, by state; ValueError for what nft refuses."""
    words = dict(made.words)
    states = STATES.get(words.get("protocol", ""))
    if states is None:
        said = f"protocol {words['protocol']}" if "protocol" in words else "no protocol"
        raise ValueError(f"{KIND} {made.name}: {said}, but nft knows policies of tcp and udp alone")
    found: dict[str, int] = {}
    for part in filter(str.strip, words.get("policy", "").split(",")):
        pair = PAIR.fullmatch(part)
        if pair is None:
            raise ValueError(f"{KIND} {made.name}: policy: expected a state and its time, found {part.strip()!r}")
        state, time = pair.groups()
        if state not in states:
            known = ", ".join(states)
            raise ValueError(f"{KIND} {made.name}: {words['protocol']} has no state {state!r}; there are {known}")
        try:
            number = int(seconds(time))
        except ValueError as error:
            raise ValueError(f"{KIND} {made.name}: {error}") from None
        # nft takes the lower 32 bits, and the kernel multiplies in as many
        found[state] = number * HZ & 0xFFFFFFFF
    return found


def policy_text(made: Object) -> str:
    """Return the policy of an object as nft lists it: without what it says anyway; as written if nft refuses it."""
    words = dict(made.words)
    try:
        times = times_of(made)
    except ValueError:
        return words.get("policy", "")
    states = STATES[words["protocol"]]
    said = ((state, times[state] // HZ) for state in states if state in times)
    return ", ".join(f"{state} : {time}" for state, time in said if time != states[state][1])


def protocol_of(made: Object) -> int:
    """Return the number of the protocol whose connections may get a policy."""
    return int(IpProtocol[dict(made.words)["protocol"].upper()])


def timeouts_in(made: Object) -> NDArray[np.uint32]:
    """Return an object's timeouts as engine_t.timeouts has them [jiffies]; ValueError as times_of."""
    times = times_of(made)
    # not 0, which says more than that nobody reads those of other protocols
    row = np.ones(FN_TIMEOUTS, np.uint32)
    for state, (index, default) in STATES[dict(made.words)["protocol"]].items():
        lasts = times.get(state, default * HZ)
        # of more than half the range of jiffies the kernel cannot tell the future from the past: it is over at once
        row[index] = lasts if lasts < 1 << 31 else 0
    # a TCP connection has not come to any state yet: tcp_timeout_nlattr_to_obj
    row[TcpState.NONE] = row[TcpState.SYN_SENT]
    return row
