"""Fragments: put together before the hooks, cut again behind them, as nf_defrag and the IP output do.

Sources: RFC 791, RFC 8200 4.5, RFC 5722; nf_ct_ipv4_gather_frags, nf_ct_frag6_gather, ip_do_fragment (Linux 6.18).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
V6_HEADER, V6_FRAGMENT = 40, 44
# extension headers that every fragment repeats, with the unit of their length field
V6_REPEATED = {0: 8, 43: 8, 60: 8}
# datagrams under way before those whose time is over are looked for
QUEUES = 1024
# ipfrag_time and ip6frag_time, seconds
LIFETIME = {4: 30.0, 6: 60.0}


@dataclass(frozen=True)
class Fragment:
    """A part of a datagram: `header` is what stands in front of it, without the fragment header of IPv6."""

    key: tuple[int, bytes]
    header: bytes
    offset: int
    more: bool
    payload: bytes
    next_header: int = 0

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + len(self.payload)


@dataclass
class Queue:
    """The parts of one datagram that are there."""

    deadline: float
    parts: list[Fragment] = field(default_factory=list)
    broken: bool = False


@dataclass(frozen=True)
class Whole:
    """A datagram put together, the offsets at which it was cut, the size of its largest part (0: it came whole)."""

    data: bytes
    cuts: tuple[int, ...] = ()
    largest: int = 0
    key: tuple[int, bytes] = (4, b"")


def parse(data: bytes) -> Fragment | None:
    """Return the fragment that a datagram is; None for a whole one, or one whose header is unsound."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return _parse_v4(data)
    if len(data) >= V6_HEADER and data[0] >> 4 == 6:
        return _parse_v6(data)
    return None


def _parse_v4(data: bytes) -> Fragment | None:
    size, (total,) = (data[0] & 15) * 4, struct.unpack_from(">H", data, 2)
    (bits,) = struct.unpack_from(">H", data, 6)
    sound = 20 <= size <= total <= len(data) and checksum(data[:size]) == 0
    if not sound or not bits & (MORE_FRAGMENTS | OFFSET):
        return None
    more = bool(bits & MORE_FRAGMENTS)
    return Fragment((4, data[12:20] + data[4:6] + data[9:10]), data[:size], (bits & OFFSET) * 8, more, data[size:total])


def _parse_v6(data: bytes) -> Fragment | None:
    at, kind_at, end = V6_HEADER, 6, V6_HEADER + struct.unpack_from(">H", data, 4)[0]
    while data[kind_at] in V6_REPEATED and at + 8 <= end <= len(data):
        kind_at, at = at, at + (data[at + 1] + 1) * V6_REPEATED[data[kind_at]]
    if at + 8 > end or end > len(data) or data[kind_at] != V6_FRAGMENT:
        return None
    next_header, bits, number = struct.unpack_from(">BxHI", data, at)
    header = bytearray(data[:at])
    header[kind_at] = next_header
    key = (6, data[8:40] + number.to_bytes(4, "big"))
    return Fragment(key, bytes(header), bits & 0xFFF8, bool(bits & 1), data[at + 8 : end], next_header)


class Reassembler:
    """Collects fragments until their datagram is whole."""

    def __init__(self) -> None:
        self._queues: dict[tuple[int, bytes], Queue] = {}

    def add(self, data: bytes, now: float) -> Whole | None:
        """Return the datagram that is whole with this packet, which most are by themselves; None while parts miss.

        Overlapping parts break a datagram for good, as in Linux (RFC 5722); a part that came before is ignored.
        """
        part = parse(data)
        if part is None:
            return Whole(data)
        if len(self._queues) > QUEUES:
            self._queues = {key: q for key, q in self._queues.items() if now <= q.deadline}
        queue = self._queues.get(part.key)
        if queue is None or now > queue.deadline:
            queue = self._queues[part.key] = Queue(now + LIFETIME[part.key[0]])
        if (part.more and (len(part.payload) % 8 or not part.payload)) or part.end > 0xFFFF:
            queue.broken = True
        if queue.broken or any((q.offset, q.end) == (part.offset, part.end) for q in queue.parts):
            return None
        if any(part.offset < q.end and q.offset < part.end for q in queue.parts):
            queue.broken = True
            return None
        queue.parts.append(part)
        return self._whole(part.key, queue)

    def _whole(self, key: tuple[int, bytes], queue: Queue) -> Whole | None:
        parts = sorted(queue.parts, key=lambda q: q.offset)
        starts = [q.offset for q in parts]
        if starts != [0, *(q.end for q in parts[:-1])] or parts[-1].more or not all(q.more for q in parts[:-1]):
            return None
        del self._queues[key]
        payload = b"".join(q.payload for q in parts)
        header = bytearray(parts[0].header)
        if len(header) + len(payload) > 0xFFFF + (V6_HEADER if key[0] == 6 else 0):
            return None
        if key[0] == 4:
            struct.pack_into(">HHH", header, 2, len(header) + len(payload), int.from_bytes(header[4:6], "big"), 0)
            _sign(header)
        else:
            struct.pack_into(">H", header, 4, len(header) - V6_HEADER + len(payload))
        largest = max(len(q.header) + len(q.payload) for q in parts) + (8 if key[0] == 6 else 0)
        return Whole(bytes(header) + payload, tuple(starts[1:]), largest, key)


def split(whole: Whole, data: bytes, mtu: int) -> list[bytes]:
    """Return a datagram that leaves as the packets that go out.

    One that came in parts is cut where it was cut; an IPv4 one with parts larger than `mtu` bytes, or that is larger
    itself and may be cut, by that.
    """
    cuts = whole.cuts if whole.largest <= mtu else ()
    if data[0] >> 4 == 6:
        return _split_v6(whole, data) if whole.cuts else [data]
    size = (data[0] & 15) * 4
    if not cuts and len(data) > mtu and not struct.unpack_from(">H", data, 6)[0] & DONT_FRAGMENT:
        cuts = tuple(range((mtu - size) // 8 * 8, len(data) - size, (mtu - size) // 8 * 8))
    if not cuts:
        return [data]
    packets = []
    for start, end in zip((0, *cuts), (*cuts, len(data) - size), strict=True):
        header = bytearray(data[:size])
        struct.pack_into(">H", header, 2, size + end - start)
        struct.pack_into(">H", header, 6, start // 8 | (MORE_FRAGMENTS if size + end < len(data) else 0))
        _sign(header)
        packets.append(bytes(header) + data[size + start : size + end])
    return packets


def _split_v6(whole: Whole, data: bytes) -> list[bytes]:
    at, kind_at = V6_HEADER, 6
    while data[kind_at] in V6_REPEATED:
        kind_at, at = at, at + (data[at + 1] + 1) * V6_REPEATED[data[kind_at]]
    packets = []
    for start, end in zip((0, *whole.cuts), (*whole.cuts, len(data) - at), strict=True):
        header = bytearray(data[:at])
        header[kind_at] = V6_FRAGMENT
        more = int(at + end < len(data))
        header += struct.pack(">BxH", data[kind_at], start | more) + whole.key[1][-4:]
        struct.pack_into(">H", header, 4, len(header) - V6_HEADER + end - start)
        packets.append(bytes(header) + data[at + start : at + end])
    return packets


def checksum(data: bytes | bytearray) -> int:
    """Return the Internet checksum (RFC 1071); 0 over a header that holds a right one."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _sign(header: bytearray) -> None:
    struct.pack_into(">H", header, 10, 0)
    struct.pack_into(">H", header, 10, checksum(header))
