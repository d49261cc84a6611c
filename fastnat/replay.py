"""Running a capture through a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .addresses import V4, V6
from .capture import Captured
from .dtypes import CtInfo, Reason, Verdict
from .engine import Engine
from .errors import InputError
from .fragments import Reassembler, Whole, split


class Replayed(NamedTuple):
    """What became of one packet; `packets` are those that leave in its place."""

    verdict: dict[str, object]
    out: str
    packets: list[bytes]


def replay(engine: Engine, captured: Iterator[Captured], iface: str | None = None) -> Iterator[Replayed]:
    """Run captured packets in order; each enters on its own interface, or on `iface` where the file has none.

    Raises InputError when a packet's interface is not one of the node's. Time starts at the first packet and
    never goes back: a packet stamped earlier than its predecessor is taken as simultaneous. Fragments are put together
    first; those that wait have the reason FRAGMENT, and the one that completes the datagram has its verdict.
    """
    reassembler = Reassembler()
    mtus = [0xFFFF, *(iface.mtu for iface in engine.node.interfaces.values())]
    start: float | None = None
    now = 0.0
    for n, packet in enumerate(captured):
        name = iface if iface is not None else packet.iface
        if not name:
            raise InputError("this capture names no interfaces: say with --iface on which its packets enter")
        number = engine.node.iface_number(name)
        start = packet.time if start is None else start
        now = max(now, packet.time - start)
        whole = reassembler.add(packet.data, now) or Whole(packet.data)
        verdict, data, out, ctinfo, reason, src, dst, sport, dport = engine._run(
            whole.data, number, now, whole.largest
        )
        family = V6 if packet.data[:1] >= b"\x60" and engine.node.has_ipv6 else V4
        egress = "local" if verdict == Verdict.LOCAL else engine.iface_names[out] if verdict == Verdict.FORWARD else ""
        record = {
            "n": n, "t": packet.time, "in": name, "verdict": Verdict(verdict).name.lower(), "out": egress,
            "ctinfo": CtInfo(ctinfo).name, "reason": Reason(reason).name.lower(), "src": family.to_text(src),
            "dst": family.to_text(dst), "sport": sport, "dport": dport,
        }  # fmt: skip
        packets = [] if data is None else [data] if verdict == Verdict.LOCAL else split(whole, data, mtus[out])
        yield Replayed(record, egress, packets)
