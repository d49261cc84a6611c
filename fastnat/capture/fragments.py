"""Fragments: reassembled before the hooks and cut again after them, as nf_defrag and the IP output do.

Sources: RFC 791, RFC 8200 4.5, RFC 5722; nf_ct_ipv4_gather_frags, nf_ct_frag6_gather, ip_do_fragment (Linux 6.18).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from ..node.parts import MIN_MTU

DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
V6_HEADER, V6_FRAGMENT, V6_OPTION = 40, 44, 2
# extension headers that every fragment repeats, with the unit of their length field
V6_REPEATED = {0: 8, 43: 8, 60: 8}
_offset = attrgetter("offset")
# ipfrag_time and ip6frag_time, seconds
LIFETIME = {4: 30.0, 6: 60.0}
# ipfrag_high_thresh and its IPv6 counterpart: bytes of a family's fragments above which no new datagram begins
HIGH_THRESH = 4 << 20
# what the kernel counts for a queue and a fragment beside its bytes: struct ipq; sk_buff and skb_shared_info
QUEUE_BYTES, PART_BYTES = 208, 576
# ipfrag_max_dist: fragments of one IPv4 source between two of a datagram, above which its parts are given up
MAX_DIST = 64
# inet_peer_threshold: sources whose fragments are counted
PEERS = 65_664


@dataclass(frozen=True)
class Fragment:
    """A part of a datagram; `header` is the header before it, without the fragment header of IPv6."""

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
    """The received parts of one datagram, by offset; rid: fragments of its source when the last part came."""

    deadline: float
    rid: int = 0
    parts: list[Fragment] = field(default_factory=list)
    ranges: set[tuple[int, int]] = field(default_factory=set)
    size: int = 0
    octets: int = 0
    n_last: int = 0
    broken: bool = False

    @property
    def held(self) -> int:
        """Bytes that the kernel would count for it."""
        return QUEUE_BYTES + len(self.parts) * PART_BYTES + self.octets

    def clear(self) -> None:
        """Forget all parts."""
        self.parts.clear()
        self.ranges.clear()
        self.size = self.octets = self.n_last = 0

    def put(self, part: Fragment) -> bool:
        """Add a part; False if it overlaps another one."""
        at = bisect_right(self.parts, part.offset, key=_offset)
        # of two parts that begin at one offset, one is empty: two neighbours on each side are enough
        if any(part.offset < q.end and q.offset < part.end for q in self.parts[max(at - 2, 0) : at + 2]):
            return False
        self.parts.insert(at, part)
        self.ranges.add((part.offset, part.end))
        self.size += len(part.payload)
        self.octets += len(part.header) + len(part.payload)
        self.n_last += not part.more
        return True

    @property
    def is_whole(self) -> bool:
        """Whether the parts, none of which overlap, reach from 0 to the end of the last one."""
        last = self.parts[-1]
        return self.n_last == 1 and not last.more and self.size == last.end


@dataclass(frozen=True)
class Whole:
    """A whole datagram, the offsets at which it was cut, the size of its largest part (0: it came whole)."""

    data: bytes
    cuts: tuple[int, ...] = ()
    largest: int = 0
    key: tuple[int, bytes] = (4, b"")


def parse(data: bytes) -> Fragment | None:
    """Return a datagram as a fragment; None for a whole datagram, or one with an unsound header."""
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
        # of each family: incomplete datagrams, the one that expires first in front, and the bytes held
        self._due: dict[int, OrderedDict[tuple[int, bytes], None]] = {4: OrderedDict(), 6: OrderedDict()}
        self._held = {4: 0, 6: 0}
        # fragments of each IPv4 source so far
        self._peers: OrderedDict[bytes, int] = OrderedDict()

    def add(self, data: bytes, now: float) -> Whole | None:
        """Return the datagram that this packet completes, as most packets do alone; None while parts are missing.

        Overlapping parts break a datagram for good, as in Linux (RFC 5722); a repeated part is ignored. The kernel's
        limits bound the number of incomplete datagrams: beyond them, a part of a further one is lost.
        """
        part = parse(data)
        if part is None:
            return Whole(data)
        family = part.key[0]
        self._expire(family, now)
        rid = self._count(part)
        queue = self._queues.get(part.key)
        if queue is None:
            if self._held[family] > HIGH_THRESH:
                return None
            queue = self._queues[part.key] = Queue(now + LIFETIME[family], rid)
            self._due[family][part.key] = None
            self._held[family] += queue.held
        before = queue.held
        if family == 4 and queue.parts and rid - queue.rid > MAX_DIST:
            queue.clear()
            queue.deadline = now + LIFETIME[family]
            self._due[family].move_to_end(part.key)
        queue.rid = rid
        if (part.more and (len(part.payload) % 8 or not part.payload)) or part.end > 0xFFFF:
            queue.broken = True
        if not queue.broken and (part.offset, part.end) not in queue.ranges:
            queue.broken = not queue.put(part)
        if queue.broken:
            queue.clear()
        self._held[family] += queue.held - before
        return self._whole(part.key, queue) if queue.parts else None

    def _expire(self, family: int, now: float) -> None:
        """Forget the datagrams whose time is over."""
        due = self._due[family]
        while due:
            key = next(iter(due))
            if now <= self._queues[key].deadline:
                return
            self._forget(key)

    def _forget(self, key: tuple[int, bytes]) -> None:
        self._held[key[0]] -= self._queues.pop(key).held
        del self._due[key[0]][key]

    def _count(self, part: Fragment) -> int:
        """Count a fragment of an IPv4 source; return how many there were."""
        if part.key[0] != 4:
            return 0
        source = part.key[1][:4]
        rid = self._peers[source] = self._peers.pop(source, 0) + 1
        if len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        return rid

    def _whole(self, key: tuple[int, bytes], queue: Queue) -> Whole | None:
        if not queue.is_whole:
            return None
        parts = queue.parts
        starts = [q.offset for q in parts]
        self._forget(key)
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
    """Return the packets in which a datagram leaves.

    A datagram that came in parts is cut at the same places. An IPv4 datagram is cut by `mtu` bytes if its parts were
    larger, or if it is larger itself and may be cut.
    """
    # a device with less has no IPv4 in the kernel, and no room for a part
    mtu = max(mtu, MIN_MTU)
    cuts = whole.cuts if whole.largest <= mtu else ()
    if data[0] >> 4 == 6:
        return _split_v6(whole, data) if whole.cuts else [data]
    size = (data[0] & 15) * 4
    if not cuts and len(data) > mtu and not struct.unpack_from(">H", data, 6)[0] & DONT_FRAGMENT:
        cuts = tuple(range((mtu - size) // 8 * 8, len(data) - size, (mtu - size) // 8 * 8))
    if not cuts:
        return [data]
    packets = []
    for start, end in _pieces(cuts, len(data) - size):
        header = bytearray(data[:size])
        struct.pack_into(">H", header, 2, size + end - start)
        struct.pack_into(">H", header, 6, start // 8 | (MORE_FRAGMENTS if size + end < len(data) else 0))
        _sign(header)
        packets.append(bytes(header) + data[size + start : size + end])
    return packets


def _pieces(cuts: tuple[int, ...], size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each part; cuts may lie behind the end of a datagram that a helper has shortened."""
    there = [c for c in cuts if c < size]
    return zip((0, *there), (*there, size), strict=True)


def _split_v6(whole: Whole, data: bytes) -> list[bytes]:
    at, kind_at = V6_HEADER, 6
    while data[kind_at] in V6_REPEATED:
        # ip6_find_1stfragopt: what has no place for a fragment header is dropped
        if at + V6_OPTION > len(data):
            return []
        kind_at, at = at, at + (data[at + 1] + 1) * V6_REPEATED[data[kind_at]]
        if at > len(data):
            return []
    packets = []
    for start, end in _pieces(whole.cuts, len(data) - at):
        if at + 8 - V6_HEADER + end - start > 0xFFFF:
            return []
        header = bytearray(data[:at])
        header[kind_at] = V6_FRAGMENT
        more = int(at + end < len(data))
        header += struct.pack(">BxH", data[kind_at], start | more) + whole.key[1][-4:]
        struct.pack_into(">H", header, 4, len(header) - V6_HEADER + end - start)
        packets.append(bytes(header) + data[at + start : at + end])
    return packets


def checksum(data: bytes | bytearray) -> int:
    """Return the Internet checksum (RFC 1071); 0 for a header that contains its correct checksum."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _sign(header: bytearray) -> None:
    struct.pack_into(">H", header, 10, 0)
    struct.pack_into(">H", header, 10, checksum(header))
