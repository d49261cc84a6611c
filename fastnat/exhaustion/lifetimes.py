"""How long the entry of a flow lasts: its hold time, and the timeout behind it, of the node or of a policy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import default_rng

from ..core.layout import FN_TIMEOUTS, TcpState, TimeoutIndex
from ..dtypes import HZ, NO_CONN
from ..engine import Engine
from ..nftables.timeouts import KIND as POLICY
from ..nftables.timeouts import STATES
from ..node import Node
from ..node.timeouts import timeouts_of
from .drawing import Drawing
from .workload import DRAWS, KEEPALIVE, Workload, holds, mean_hold

TAILS = {
    "fin": TcpState.TIME_WAIT, "rst": TcpState.CLOSE, "none": TcpState.ESTABLISHED, "client": TcpState.CLOSE_WAIT,
    "server": TcpState.CLOSE_WAIT,
}  # fmt: skip
# UDP flows answered for longer than this are streams
STREAM_AFTER = 2.0
# flows that show which policies rules give to a workload
SAMPLE = 512
# sysctls that lingers() names, and what it says of a policy
LINGERS = (
    "", "nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream", "nf_conntrack_tcp_timeout_time_wait",
    "nf_conntrack_tcp_timeout_close", "nf_conntrack_tcp_timeout_close_wait",
)  # fmt: skip
OF_POLICY = re.compile(rf"(\w+) of {POLICY} (.+)")
SYSCTLS: dict[int, str] = {
    TimeoutIndex.UDP: "nf_conntrack_udp_timeout", TimeoutIndex.UDP_STREAM: "nf_conntrack_udp_timeout_stream",
    **{state: f"nf_conntrack_tcp_timeout_{state.name.lower()}" for state in TcpState},
}  # fmt: skip


@dataclass(frozen=True)
class Times:
    """The timeouts of a share of the flows [jiffies], by index in engine_t.timeouts; policy: "" those of the node."""

    share: float
    jiffies: Mapping[int, int]
    policy: str = ""

    def seconds(self, index: int) -> float:
        """Return a timeout [s]."""
        return self.jiffies[index] / HZ

    def name(self, index: int) -> str:
        """Return what says a timeout: a sysctl, or a state of a policy."""
        if not self.policy:
            return SYSCTLS[index]
        states = (state for said in STATES.values() for state, (number, _) in said.items() if number == index)
        return f"{next(states)} of {POLICY} {self.policy}"


def times_of(node: Node, work: Workload, profile: str) -> list[Times]:
    """Return the timeouts that flows of a workload get, those of most flows first."""
    own = timeouts_of(node, profile, work.family)
    if not any(kind == POLICY for table in node.nft.tables.values() for kind, _ in table.objects):
        return [Times(1.0, own)]
    engine = Engine(node, profile)
    first = Drawing(engine, replace(work, flows=SAMPLE, hold=None, rate=0.0, stages=(), poisson=False)).next()
    numbers = engine.process(first.batch, engine.now)["conn"]
    stack = engine.stack_of(work.family.version)
    rows = stack.core.arrays["policies"].reshape(-1, FN_TIMEOUTS)
    names = {row + 1: name for (_, _, name), row in stack.program.policies.items()}
    given, counts = np.unique(stack.core.arrays["tcp"]["policy"][numbers[numbers != NO_CONN]], return_counts=True)
    found = [
        Times(float(n / counts.sum()), dict(enumerate(rows[k - 1].tolist())) if k else own, names.get(k, ""))
        for k, n in zip(given.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda times: -times.share) or [Times(1.0, own)]


def lifetime(node: Node, work: Workload, profile: str = "linux-6.18") -> float:
    """Return how long a flow has an entry in the table on average [s]: its hold time and what follows it.

    Where a timeout is shorter than the time between two packets of a flow, the entry is gone in between.
    """
    return sum(times.share * lifetime_with(times, work) for times in times_of(node, work, profile))


def lifetime_with(times: Times, work: Workload) -> float:
    """Return the same of flows with these timeouts."""
    if work.proto == "udp":
        return lifetime_of_udp(work, times.seconds(TimeoutIndex.UDP), times.seconds(TimeoutIndex.UDP_STREAM))
    if work.hold is None:
        return times.seconds(TcpState.SYN_SENT)
    tail, silent = times.seconds(TAILS[work.close]), times.seconds(TcpState.ESTABLISHED)
    if work.close == "none":
        return tail
    if not math.isfinite(mean_hold(work.hold)):
        return math.inf
    lengths = holds(work.hold, DRAWS, default_rng(0))
    if (lengths <= silent).all():
        return mean_hold(work.hold) + tail
    return float(np.where(lengths <= silent, lengths + tail, silent).mean())


def lifetime_of_udp(work: Workload, timeout: float, stream: float) -> float:
    """Return the same of UDP flows, with these timeouts [s]."""
    if work.hold is None:
        return timeout
    streams = share_of_streams(work)
    gaps = [timeout, stream] if streams else [timeout]
    if min(gaps) >= KEEPALIVE or not math.isfinite(mean_hold(work.hold)):
        return mean_hold(work.hold) + streams * stream + (1 - streams) * timeout
    gaps_of, rest = np.divmod(holds(work.hold, DRAWS, default_rng(0)), KEEPALIVE)
    # an entry that is gone begins anew with the next packet, and is not a stream then; behind a whole gap it is one
    first, second = timeout, timeout if timeout < KEEPALIVE else stream
    now = np.where(gaps_of % 2, second, first)
    there = np.ceil(gaps_of / 2) * min(first, KEEPALIVE) + gaps_of // 2 * min(second, KEEPALIVE)
    last = np.where((rest > now) | (timeout < KEEPALIVE), timeout, min(gaps))
    return float((there + np.minimum(rest, now) + last).mean())


def cut_short(node: Node, work: Workload, profile: str) -> str:
    """Return in a sentence that entries end before their flows do, "" where they do not."""
    if work.hold is None or (work.proto == "tcp" and work.close == "none"):
        return ""
    times = times_of(node, work, profile)[0]
    lengths = holds(work.hold, DRAWS, default_rng(0))
    if work.proto == "udp":
        indices = [TimeoutIndex.UDP, *([TimeoutIndex.UDP_STREAM] if share_of_streams(work) > 0 else [])]
        name, seconds = min(((times.name(k), times.seconds(k)) for k in indices), key=lambda pair: pair[1])
        silent = min(float(lengths.max()), KEEPALIVE)
        why = f"flows are silent for up to {silent:,g} s"
        share = 1.0 if seconds < silent else 0.0
    else:
        name, seconds = times.name(TcpState.ESTABLISHED), times.seconds(TcpState.ESTABLISHED)
        share = float((lengths > seconds).mean())
        who = "all" if share == 1 else f"{share:.0%} of the" if share >= 0.01 else "some"
        why = f"{who} flows are silent for longer"
    if not share:
        return ""
    return (
        f"Entries end before their flows do: {name} is {seconds:,g} s, and {why}; what such a flow sends then is "
        "invalid, or begins a new entry."
    )


def share_of_streams(work: Workload) -> float:
    """Return the share of UDP flows that are answered for so long that conntrack takes them for streams."""
    if not work.replies or work.hold is None:
        return 0.0
    return float((holds(work.hold, DRAWS, default_rng(0)) > STREAM_AFTER).mean())


def lingers(node: Node, work: Workload, profile: str) -> str:
    """Return what says how long a flow keeps its port behind its end: a sysctl, or a state of a policy.

    "" where no time passes, or nothing does. Without --hold no TCP flow is ever closed.
    """
    if not work.rate and not work.stages:
        return ""
    times = times_of(node, work, profile)[0]
    if work.proto == "udp":
        return times.name(TimeoutIndex.UDP_STREAM if share_of_streams(work) > 0.5 else TimeoutIndex.UDP)
    if work.hold is None or work.close == "none":
        return ""
    return times.name(TAILS[work.close])


def is_linger(value: Any) -> bool:
    """Tell whether lingers() may have said this."""
    return value in LINGERS or (isinstance(value, str) and OF_POLICY.fullmatch(value) is not None)
