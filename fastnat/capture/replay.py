"""Running a capture through a node, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6
from ..dtypes import CtInfo, Reason, Verdict
from ..engine import Engine
from ..engine.engine import Answer, link_of
from ..errors import InputError
from .fragments import Reassembler, Whole, split
from .pcap import Batch, Captured, Writer
from .reassembly import DELIVERED, ENTERING, NO_FRAME, SENT

IPV4_HEADER, SCTP = 20, 132
VERDICTS = [v.name.lower() for v in Verdict]
CTINFO = {int(c): c.name for c in CtInfo}
REASONS = {int(r): r.name.lower() for r in Reason}
BATCH = 4096


class Line(NamedTuple):
    """What became of one packet: a line of --verdicts. n counts from 0, t is the capture's time [s]."""

    n: int
    t: float
    iface: str
    verdict: str
    out: str
    ctinfo: str
    reason: str
    src: str
    dst: str
    sport: int
    dport: int

    def json(self) -> str:
        """Return the line, with its end."""
        # none of the other words can hold what JSON would escape
        return (
            f'{{"n": {self.n}, "t": {self.t!r}, "in": {quoted(self.iface)}, "verdict": "{self.verdict}", '
            f'"out": {quoted(self.out)}, "ctinfo": "{self.ctinfo}", "reason": "{self.reason}", '
            f'"src": "{self.src}", "dst": "{self.dst}", "sport": {self.sport}, "dport": {self.dport}}}\n'
        )


@lru_cache(maxsize=1 << 10)
def quoted(name: str) -> str:
    """Return the name of an interface as JSON has it."""
    return json.dumps(name)


class Replayed(NamedTuple):
    """What became of one packet; `packets` are those that leave in its place, `copy` what the node receives as well."""

    line: Line
    packets: list[bytes]
    copy: bytes | None = None


class OneByOne:
    """The answers to a batch that contains a fragment or an IPv6 packet."""

    def __init__(self, replayed: list[Replayed]) -> None:
        self.replayed = replayed

    def counts(self) -> list[int]:
        """Return how many packets had each Verdict."""
        said = [r.line.verdict for r in self.replayed]
        return [said.count(v) for v in VERDICTS]

    def lines(self) -> Iterator[Line]:
        """Yield a Line for each packet."""
        return (r.line for r in self.replayed)

    def write(self, writer: Writer) -> None:
        """Append what leaves to a capture."""
        writer.write_all(self.emitted())

    def emitted(self) -> Iterator[tuple[float, str, bytes]]:
        """Yield time, egress interface and bytes of what leaves."""
        for r in self.replayed:
            for data in r.packets:
                yield r.line.t, r.line.out, data
            if r.copy is not None:
                yield r.line.t, "local", r.copy


@dataclass
class Together:
    """The answers to a batch of whole IPv4 datagrams: RESULT[n], and the datagrams as they leave."""

    first: int
    batch: Batch
    ifaces: list[str]
    results: NDArray[np.void]
    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    names: list[str]
    mtus: NDArray[np.int64]

    def counts(self) -> list[int]:
        """Return how many packets had each Verdict."""
        counted: list[int] = np.bincount(self.results["verdict"], minlength=len(VERDICTS)).tolist()
        return counted

    def egress(self) -> list[str]:
        """Return the interface on which each packet leaves: "local", or "" where it does not."""
        forward, local = int(Verdict.FORWARD), int(Verdict.LOCAL)
        ends = zip(self.results["verdict"].tolist(), self.results["out_iface"].tolist(), strict=True)
        return [self.names[out] if v == forward else "local" if v == local else "" for v, out in ends]

    def lines(self) -> Iterator[Line]:
        """Yield a Line for each packet."""
        r = self.results
        verdicts = [VERDICTS[v] for v in r["verdict"].tolist()]
        return map(
            Line, range(self.first, self.first + len(r)), self.batch.times, self.ifaces, verdicts, self.egress(),
            [CTINFO[c] for c in r["ctinfo"].tolist()], [REASONS[c] for c in r["reason"].tolist()], _texts(r["src"]),
            _texts(r["dst"]), r["sport"].tolist(), r["dport"].tolist(),
        )  # fmt: skip

    def leaving(self) -> Leaving:
        """Return which packets leave."""
        leaves = np.flatnonzero(self.results["verdict"] != Verdict.DROP)
        starts = self.starts[leaves]
        # a capture may hold bytes behind the datagram (padding of Ethernet): its own length says where it ends
        lengths = self.buffer[starts + 2].astype(np.int64) << 8 | self.buffer[starts + 3]
        forwarded = self.results["verdict"][leaves] == Verdict.FORWARD
        out = np.where(forwarded, self.results["out_iface"][leaves], 0)
        too_large = forwarded & (lengths > self.mtus[out])
        # a slice ends where the buffer does
        ends = np.minimum(starts + lengths, len(self.buffer))
        return Leaving(leaves, starts, ends, forwarded, out, too_large)

    def write(self, writer: Writer) -> None:
        """Append what leaves to a capture."""
        left = self.leaving()
        # interfaces are declared in front of their first packets
        names = {int(n): self.names[n] for n in np.unique(left.out[left.forwarded])}
        if not left.forwarded.all():
            names[0] = "local"
        known = all(name in writer.names for name in names.values())
        if known and not left.too_large.any() and not self.results["copied"][left.packets].any():
            numbers = np.zeros(len(self.names), np.uint32)
            for n, name in names.items():
                numbers[n] = writer.names[name]
            times = np.array(self.batch.times)[left.packets]
            if writer.write_frames(times, numbers[left.out], self.buffer, left.starts, left.ends):
                return
        writer.write_all(self.emitted())

    def emitted(self) -> Iterator[tuple[float, str, bytes]]:
        """Yield time, egress interface and bytes of what leaves."""
        left = self.leaving()
        whole = self.buffer.tobytes()
        names = self.egress()
        for n, a, b, large in zip(
            left.packets.tolist(), left.starts.tolist(), left.ends.tolist(), left.too_large.tolist(), strict=True
        ):
            data = whole[a:b]
            mtu = int(self.mtus[self.results["out_iface"][n]])
            for part in split(Whole(data), data, mtu) if large else [data]:
                yield self.batch.times[n], names[n], part
            if self.results["copied"][n]:
                yield self.batch.times[n], "local", data


class Leaving(NamedTuple):
    """Packets of a batch that leave: which, where they begin and end, whether and where they are forwarded."""

    packets: NDArray[np.intp]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    forwarded: NDArray[np.bool_]
    # 0 where the node itself receives them
    out: NDArray[np.uint16]
    too_large: NDArray[np.bool_]


def _texts(addresses: NDArray[np.uint32]) -> list[str]:
    """Return addresses as text; each different one is converted once."""
    unique, where = np.unique(addresses, return_inverse=True)
    texts = [V4.to_text(a) for a in unique.tolist()]
    return [texts[n] for n in where.tolist()]


class Replay:
    """A run of a capture through an engine.

    Time starts at the first packet, whose stamp becomes the engine's epoch if that has one, and never goes back: a
    packet stamped earlier than its predecessor counts as simultaneous. Where conntrack is at work fragments are
    reassembled first: a waiting fragment has the reason FRAGMENT, and the fragment that completes the datagram has the
    datagram's verdict.
    """

    def __init__(self, engine: Engine, iface: str | None = None) -> None:
        self.engine, self.iface = engine, iface
        self.reassembler = Reassembler()
        self._follow()
        self.start: float | None = None
        self.now = 0.0
        self.n = 0
        self.numbers: dict[str, int] = {}

    def _follow(self) -> None:
        """Go by the node that the engine has now."""
        node = self.engine.node
        self.files = self.engine.node_files
        self.mtus = np.array([0xFFFF, *(i.mtu for i in node.interfaces.values())], np.int64)
        self.reassembler.settle(node.sysctl)

    def run(self, batches: Iterable[Batch]) -> Iterator[OneByOne | Together]:
        """Yield the answers to each batch; InputError when a packet's interface is not one of the node's."""
        for batch in batches:
            # reload() gives it another one
            if self.files is not self.engine.node_files:
                self._follow()
            ifaces = [self.iface] * len(batch.times) if self.iface is not None else batch.ifaces
            for name in set(ifaces) - self.numbers.keys():
                if not name:
                    raise InputError("this capture names no interfaces: give --iface, on which its packets enter")
                self.numbers[name] = self.engine.node.iface_number(name)
            buffer, offsets = batch.gathered()
            links = batch.links if self.engine.asks_frames and any(batch.links) else []
            if links or self.engine.lengthens_packets or not _plain(buffer, offsets):
                links = links or [b""] * len(batch.times)
                packets = zip(batch.times, ifaces, batch.data, links, strict=True)
                yield OneByOne([self.one(*packet) for packet in packets])
            else:
                yield self.together(batch, ifaces, buffer, offsets)

    def clock(self, times: list[float]) -> NDArray[np.float64]:
        """Return the engine's time of each packet [s]."""
        if self.start is None:
            self.start = times[0]
            if self.engine.epoch is not None:
                self.engine.epoch = max(self.start, 0.0)
        stamps = np.array(times) - self.start
        stamps[0] = max(stamps[0], self.now)
        virtual = np.maximum.accumulate(stamps)
        self.now = float(virtual[-1])
        return virtual

    def together(
        self, batch: Batch, ifaces: list[str], buffer: NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> Together:
        """Run whole IPv4 datagrams in one call."""
        now = self.clock(batch.times)
        if len(set(ifaces)) == 1:
            numbers = np.full(len(ifaces), self.numbers[ifaces[0]], np.uint16)
        else:
            numbers = np.array([self.numbers[name] for name in ifaces], np.uint16)
        results = self.engine.process_frames(buffer, offsets, numbers, now)
        first, self.n = self.n, self.n + len(now)
        return Together(first, batch, ifaces, results, buffer, offsets[:-1], self.engine.iface_names, self.mtus)

    def one(self, time: float, name: str, data: bytes, link: bytes = b"") -> Replayed:
        """Run one packet; link: the addresses of its frame, as far as rules ask for them."""
        now = float(self.clock([time])[0])
        frame = link_of(link) if link else NO_FRAME
        whole, answer = Whole(data), self.engine.run(data, self.numbers[name], now, 0, 0, frame)
        if answer[4] == Reason.FRAGMENT:
            whole, answer = self.collect(data, self.numbers[name], now, answer, frame)
        verdict, left, out, ctinfo, reason, src, dst, sport, dport, copied = answer
        family = V6 if data[:1] >= b"\x60" and 6 in self.engine.stacks else V4
        names = self.engine.iface_names
        egress = "local" if verdict == Verdict.LOCAL else names[out] if verdict == Verdict.FORWARD else ""
        line = Line(
            self.n, time, name, VERDICTS[verdict], egress, CTINFO[ctinfo], REASONS[reason], family.to_text(src),
            family.to_text(dst), sport, dport,
        )  # fmt: skip
        self.n += 1
        if left is None:
            return Replayed(line, [])
        if reason == Reason.UNTRACKED and whole.read:
            # it is conntrack that reads a header of SCTP in one piece
            whole = replace(whole, read={proto: size for proto, size in whole.read.items() if proto != SCTP})
        parts = [left] if verdict == Verdict.LOCAL else split(whole, left, int(self.mtus[out]))
        return Replayed(line, parts, left if copied else None)

    def collect(
        self, data: bytes, iface: int, now: float, answer: Answer, frame: tuple[int, int]
    ) -> tuple[Whole, Answer]:
        """Return the datagram that a fragment completes, and what becomes of it; `answer`: of the fragment."""
        user = SENT if iface == 0 else ENTERING
        # without conntrack the node collects what is for itself, behind PREROUTING
        entry = 1
        if not self.engine.is_tracking(6 if data[:1] >= b"\x60" else 4):
            user, entry = DELIVERED, 2
        whole = self.reassembler.add(data, now, user, iface, frame)
        # what was not collected ends within its fragment header
        if whole is None or not (whole.largest or whole.alone):
            return Whole(data), answer
        return whole, self.engine.run(whole.data, iface, now, whole.largest, entry, whole.frame)


def _plain(buffer: NDArray[np.uint8], offsets: NDArray[np.int64]) -> bool:
    """Tell whether all are IPv4 datagrams with a whole header, and none is a fragment."""
    starts = offsets[:-1]
    if not len(starts) or np.diff(offsets).min() < IPV4_HEADER:
        return False
    if (buffer[starts] >> 4 != 4).any():
        return False
    # the reserved and the DF bit apart, these are 0 in a datagram that is whole
    return not ((buffer[starts + 6] & 0x3F) | buffer[starts + 7]).any()


def replay(engine: Engine, captured: Iterable[Captured], iface: str | None = None) -> Iterator[Replayed]:
    """Run captured packets in order, one at a time; see Replay."""
    run = Replay(engine, iface)
    for packet in captured:
        answers = run.run([Batch([packet.time], [packet.iface], [packet.data], [packet.link])])
        yield from chain.from_iterable(_each(a) for a in answers)


def _each(answers: OneByOne | Together) -> list[Replayed]:
    if isinstance(answers, OneByOne):
        return answers.replayed
    packets = [data for _, _, data in answers.emitted()]
    return [Replayed(line, packets) for line in answers.lines()]
