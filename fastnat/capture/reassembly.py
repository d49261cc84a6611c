"""Reassembly: fragments collected before the hooks, as nf_defrag does it.

Sources: RFC 791, RFC 8200 4.5, RFC 5722, RFC 3168; ip_frag_queue, ip_frag_reasm, nf_ct_frag6_queue, nf_ct_frag6_reasm,
inet_frag_queue_insert (Linux 6.18).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..errors import InputError

DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
V6_HEADER, V6_FRAGMENT, V6_AUTH, V6_LINK_LOCAL = 40, 44, 51, 0xFE80
# headers that may stand in front of that of fragments
V6_EXTENSIONS = (0, 43, V6_AUTH, 60)
V6_NO_NEXT = 59
# bytes of the protocol's header that a first fragment has to hold: of TCP, UDP and ICMPv6; of others one
V6_NEEDED = {6: 20, 17: 8, 58: 8}
# sysctls of each family, and their defaults: seconds, and bytes of fragments above which all further ones are lost
LIFETIME = {4: ("net.ipv4.ipfrag_time", 30), 6: ("net.netfilter.nf_conntrack_frag6_timeout", 60)}
HIGH_THRESH = {
    4: ("net.ipv4.ipfrag_high_thresh", 4 << 20),
    6: ("net.netfilter.nf_conntrack_frag6_high_thresh", 4 << 20),
}
# fragments of one IPv4 source between two of a datagram, above which its parts are given up
MAX_DIST = ("net.ipv4.ipfrag_max_dist", 64)
# protocols of whose header the kernel reads so many bytes in one piece as a packet enters, where these sysctls are on:
# it looks for a socket (tcp_v4_early_demux), or adds up the checksum (sctp_error)
READ: dict[int, tuple[int, tuple[str, ...]]] = {
    6: (20, ("net.ipv4.ip_early_demux", "net.ipv4.tcp_early_demux")),
    132: (12, ("net.netfilter.nf_conntrack_checksum",)),
}
# what the kernel counts for a queue and a fragment beside its bytes: struct ipq; sk_buff and skb_shared_info
QUEUE_BYTES, PART_BYTES = 208, 576
# inet_peer_threshold: sources whose fragments are counted
PEERS = 65_664
# IPFRAG_ECN_*: a bit for each value of the ECN field; CE stands beside ECT, and nothing beside NOT_ECT
NOT_ECT, CE = 1, 8
CE_BESIDE_ECT = (0b1100, 0b1010, 0b1110)
# who collects: conntrack of packets that enter, of those that the node sends, and the node itself on the way to INPUT
ENTERING, SENT, DELIVERED = range(3)
# the link-layer addresses of a frame of which nobody has said them
NO_FRAME = (0, 0)

Key = tuple[int, int, int, bytes]


@dataclass(frozen=True)
class Fragment:
    """A part of a datagram; `header` is the header before it, without the fragment header of IPv6.

    size: what counts as its size where the datagram is cut again [bytes]. is_truncated: the first fragment of an IPv6
    datagram, but not all of its headers (RFC 8200 4.5).
    """

    family: int
    ends: bytes
    header: bytes
    offset: int
    more: bool
    payload: bytes
    size: int
    is_df: bool = False
    is_truncated: bool = False

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + len(self.payload)

    @property
    def ecn(self) -> int:
        """The bit of its ECN field."""
        return 1 << ((self.header[1] if self.family == 4 else self.header[1] >> 4) & 3)


class Fate(Enum):
    """What becomes of a fragment and its queue."""

    TAKEN = 0
    # it is lost, the others wait on
    LOST = 1
    # it is lost with all others
    GIVEN_UP = 2
    # it goes its way alone, the others are lost
    ALONE = 3


@dataclass
class Queue:
    """The received parts of one datagram (inet_frag_queue); rid: fragments of its source when the last one came."""

    deadline: float
    rid: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)
    # runs of parts that came one behind the other, which count as one: where they begin, and where they end
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    header: bytes | None = None
    # known so far, or once the last part is here
    length: int = 0
    has_last: bool = False
    meat: int = 0
    ecn: int = 0
    # sizes of the largest part, and of the largest one with DF
    largest: int = 0
    largest_df: int = 0
    octets: int = 0
    # of the first part
    frame: tuple[int, int] = NO_FRAME

    @property
    def held(self) -> int:
        """Bytes that the kernel would count for it."""
        return QUEUE_BYTES + len(self.parts) * PART_BYTES + self.octets

    def begin_anew(self, deadline: float) -> None:
        """Forget all parts, but not how large they were (ip_frag_reinit)."""
        fresh = Queue(deadline, self.rid, largest=self.largest, largest_df=self.largest_df)
        self.__dict__.update(fresh.__dict__)

    def put(self, part: Fragment) -> Fate:
        """Add a part; see Fate."""
        end = part.end
        if part.more and end % 8:
            if part.family == 6:
                return Fate.ALONE
            end -= end % 8
        if not self._takes_end(part, end):
            return Fate.LOST if part.family == 6 else Fate.GIVEN_UP
        if end == part.offset:
            return Fate.LOST if part.family == 6 else Fate.GIVEN_UP
        fate = self._insert(part.offset, end)
        if fate is Fate.TAKEN:
            self._note(part, end)
        return fate

    def _takes_end(self, part: Fragment, end: int) -> bool:
        """Note how long the datagram is; False if that contradicts what came before."""
        if not part.more:
            if end < self.length or (self.has_last and end != self.length):
                return False
            self.has_last, self.length = True, end
        elif end > self.length:
            if self.has_last:
                return False
            self.length = end
        return True

    def _insert(self, start: int, end: int) -> Fate:
        """Find the place of a part among the runs."""
        if not self.ends or start >= self.ends[-1]:
            if self.ends and start == self.ends[-1]:
                self.ends[-1] = end
            else:
                self.starts.append(start)
                self.ends.append(end)
            return Fate.TAKEN
        at = bisect_left(self.ends, start + 1)
        if self.starts[at] < end:
            # a part within a run came before, a part that overlaps others never did (RFC 5722)
            is_repeated = self.starts[at] <= start and end <= self.ends[at]
            return Fate.LOST if is_repeated else Fate.GIVEN_UP
        self.starts.insert(at, start)
        self.ends.insert(at, end)
        return Fate.TAKEN

    def _note(self, part: Fragment, end: int) -> None:
        size = end - part.offset
        self.parts[part.offset] = part.payload[:size]
        self.meat += size
        self.ecn |= part.ecn
        self.octets += len(part.header) + size
        largest = part.size if part.family == 6 else len(part.header) + size
        self.largest = max(self.largest, largest)
        if part.is_df:
            self.largest_df = max(self.largest_df, largest)
        if part.offset == 0:
            self.header = part.header

    @property
    def is_whole(self) -> bool:
        """Whether the parts, none of which overlap, reach from 0 to the end of the last one."""
        return self.header is not None and self.has_last and self.meat == self.length


@dataclass(frozen=True)
class Whole:
    """A whole datagram, and the offsets at which it was cut.

    largest: size of its largest part [bytes], 0: it came whole. key: the family, and what its parts have in common.
    header: bytes of header in front of offset 0. pmtu: the largest part had DF, which the datagram then has, and parts
    of it.
    read: bytes of l4 header that the kernel has read in one piece, by protocol. alone: no datagram, but a fragment that
    waits for no other. frame: the link-layer addresses of its first part.
    """

    data: bytes
    cuts: tuple[int, ...] = ()
    largest: int = 0
    key: tuple[int, bytes] = (4, b"")
    header: int = 20
    pmtu: bool = False
    read: Mapping[int, int] = field(default_factory=dict)
    alone: bool = False
    frame: tuple[int, int] = NO_FRAME


def parse(data: bytes) -> Fragment | None:
    """Return a datagram with a sound header as a fragment; None for a whole one."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return _parse_v4(data)
    if len(data) >= V6_HEADER and data[0] >> 4 == 6:
        return _parse_v6(data)
    return None


def _parse_v4(data: bytes) -> Fragment | None:
    size, (total, bits) = (data[0] & 15) * 4, struct.unpack_from(">HxxH", data, 2)
    sound = 20 <= size <= total <= len(data) and checksum(data[:size]) == 0
    if not sound or not bits & (MORE_FRAGMENTS | OFFSET):
        return None
    ends = data[12:20] + data[4:6] + data[9:10]
    more, offset = bool(bits & MORE_FRAGMENTS), (bits & OFFSET) * 8
    return Fragment(4, ends, data[:size], offset, more, data[size:total], total, bool(bits & DONT_FRAGMENT))


def _parse_v6(data: bytes) -> Fragment | None:
    at, kind_at, end = V6_HEADER, 6, V6_HEADER + struct.unpack_from(">H", data, 4)[0]
    while data[kind_at] in V6_EXTENSIONS and at + 2 <= end <= len(data):
        units = (data[at + 1] + 2) * 4 if data[kind_at] == V6_AUTH else (data[at + 1] + 1) * 8
        kind_at, at = at, at + units
        if kind_at >= end:
            return None
    if at + 4 > end or end > len(data) or data[kind_at] != V6_FRAGMENT:
        return None
    next_header, bits = struct.unpack_from(">BxH", data, at)
    header = bytearray(data[:at])
    header[kind_at] = next_header
    ends = data[8:40] + data[at + 4 : at + 8]
    is_truncated = not bits & 0xFFF8 and _lacks_headers(data[:end], at + 8, next_header)
    # the kernel asks for the rest of the fragment header last (nf_ct_frag6_gather)
    if at + 8 > end and not is_truncated:
        return None
    payload = data[at + 8 : end]
    return Fragment(6, ends, bytes(header), bits & 0xFFF8, bool(bits & 1), payload, end, is_truncated=is_truncated)


def _lacks_headers(data: bytes, at: int, kind: int) -> bool:
    """Tell whether a first fragment ends before the header of its protocol does (ipv6frag_thdr_truncated)."""
    while kind in (*V6_EXTENSIONS, V6_FRAGMENT):
        if at + (4 if kind == V6_FRAGMENT else 2) > len(data):
            return False
        if kind == V6_FRAGMENT and struct.unpack_from(">H", data, at + 2)[0] & 0xFFF8:
            return False
        units = 8 if kind == V6_FRAGMENT else (data[at + 1] + 2) * 4 if kind == V6_AUTH else (data[at + 1] + 1) * 8
        kind, at = data[at], at + units
    return kind != V6_NO_NEXT and at + V6_NEEDED.get(kind, 1) > len(data)


class Reassembler:
    """Collects fragments until their datagram is whole. sysctl: returns the node's value of a sysctl, or a default."""

    def __init__(self, sysctl: Callable[[str, int], int] = lambda _, default: default) -> None:
        self._queues: dict[Key, Queue] = {}
        # of each family: incomplete datagrams, the oldest in front, and the bytes held
        self._due: dict[int, OrderedDict[Key, None]] = {4: OrderedDict(), 6: OrderedDict()}
        self._held = {4: 0, 6: 0}
        # fragments of each IPv4 source so far
        self._peers: OrderedDict[bytes, int] = OrderedDict()
        self._lifetime: dict[int, int] = {}
        # no datagram is due before an older one
        self._even = True
        self.settle(sysctl)

    def settle(self, sysctl: Callable[[str, int], int]) -> None:
        """Go on with other sysctls; what waits already has its time. Raises InputError for a negative one."""

        def number(said: tuple[str, int]) -> int:
            value = sysctl(*said)
            if value < 0:
                raise InputError(f"sysctl {said[0]} = {value}: it must not be negative")
            return value

        lifetime, high_thresh = ({family: number(s) for family, s in said.items()} for said in (LIFETIME, HIGH_THRESH))
        self._max_dist = number(MAX_DIST)
        self._even = not self._queues or (self._even and lifetime == self._lifetime)
        self._lifetime, self._high_thresh = lifetime, high_thresh
        self._read = {proto: size for proto, (size, names) in READ.items() if all(sysctl(name, 1) for name in names)}

    def add(
        self, data: bytes, now: float, user: int = ENTERING, iface: int = 0, frame: tuple[int, int] = NO_FRAME
    ) -> Whole | None:
        """Return the datagram that this packet completes, as most packets do alone; None if others are missing.

        user: who collects; iface: number of the interface by which it came; frame: the link-layer addresses of
        receiver and sender, as Datapath.process_packet() has them. A part that came before is ignored, parts
        that overlap are given up together; the next one begins anew. Whole.alone: IPv6 fragments whose length cannot
        be, and first ones without all headers, are not collected.
        """
        part = parse(data)
        if part is None or part.is_truncated:
            return Whole(data, alone=part is not None, frame=frame)
        family = part.family
        self._expire(family, now)
        # without a limit there is no room
        if not self._high_thresh[family] or self._held[family] > self._high_thresh[family]:
            return None
        key = (family, user, _scope(part, iface), part.ends)
        queue = self._queues.get(key) or self._begin(key, now)
        before = queue.held
        fate = self._put(key, queue, part, now)
        if fate is Fate.TAKEN and part.offset == 0:
            queue.frame = frame
        self._held[family] += queue.held - before
        if fate in (Fate.GIVEN_UP, Fate.ALONE):
            self._forget(key)
        if fate is Fate.ALONE:
            return Whole(data, alone=True, frame=frame)
        if fate is Fate.TAKEN and queue.is_whole:
            self._forget(key)
            return _whole(part, queue, self._read if user == ENTERING else {})
        return None

    def _begin(self, key: Key, now: float) -> Queue:
        queue = self._queues[key] = Queue(now + self._lifetime[key[0]])
        self._due[key[0]][key] = None
        self._held[key[0]] += queue.held
        return queue

    def _put(self, key: Key, queue: Queue, part: Fragment, now: float) -> Fate:
        if part.family == 6:
            # no part of IPv6 may end behind the longest payload
            return queue.put(part) if part.end <= 0xFFFF else Fate.LOST
        before, queue.rid = queue.rid, self._count(part.ends[:4])
        if queue.parts and self._max_dist and queue.rid - before > self._max_dist:
            queue.begin_anew(now + self._lifetime[4])
            self._due[4].move_to_end(key)
        return queue.put(part)

    def _expire(self, family: int, now: float) -> None:
        """Forget the datagrams whose time is over."""
        due = self._due[family]
        while due and now > self._queues[next(iter(due))].deadline:
            self._forget(next(iter(due)))
        if not self._even:
            for key in [key for key in due if now > self._queues[key].deadline]:
                self._forget(key)

    def _forget(self, key: Key) -> None:
        self._held[key[0]] -= self._queues.pop(key).held
        del self._due[key[0]][key]

    def _count(self, source: bytes) -> int:
        """Count a fragment of an IPv4 source; return how many there were."""
        rid = self._peers[source] = self._peers.pop(source, 0) + 1
        if len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        return rid


def _scope(part: Fragment, iface: int) -> int:
    """Return the interface where it tells datagrams apart: for IPv6 destinations that are not unique without it."""
    if part.family == 4:
        return 0
    top = int.from_bytes(part.ends[16:18], "big")
    return iface if top >> 8 == 0xFF or top & 0xFFC0 == V6_LINK_LOCAL else 0


def _whole(part: Fragment, queue: Queue, read: Mapping[int, int]) -> Whole | None:
    """Put a datagram together; None if it would be too long, or if its parts cannot have had one ECN field."""
    if queue.ecn & NOT_ECT and queue.ecn != NOT_ECT:
        return None
    offsets = sorted(queue.parts)
    payload = b"".join(queue.parts[offset] for offset in offsets)
    header = bytearray(queue.header or b"")
    ecn = 3 if queue.ecn in CE_BESIDE_ECT else 0
    said = len(header) + len(payload) - (0 if part.family == 4 else V6_HEADER)
    if said > 0xFFFF:
        return None
    cuts, size = tuple(offsets[1:]), len(header)
    if part.family == 6:
        struct.pack_into(">H", header, 4, said)
        header[1] |= ecn << 4
        ends = 6, part.ends
        return Whole(bytes(header) + payload, cuts, queue.largest, ends, size, read=read, frame=queue.frame)
    pmtu = queue.largest_df == queue.largest
    header[1] |= ecn
    struct.pack_into(">H", header, 2, said)
    struct.pack_into(">H", header, 6, DONT_FRAGMENT if pmtu else 0)
    sign(header)
    ends = 4, part.ends
    return Whole(bytes(header) + payload, cuts, queue.largest, ends, size, pmtu, read, frame=queue.frame)


def checksum(data: bytes | bytearray) -> int:
    """Return the Internet checksum (RFC 1071); 0 for a header that contains its correct checksum."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sign(header: bytearray) -> None:
    """Write the checksum of an IPv4 header."""
    struct.pack_into(">H", header, 10, 0)
    struct.pack_into(">H", header, 10, checksum(header))
