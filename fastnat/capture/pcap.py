"""pcap and pcapng in, pcapng out; Ethernet, Linux cooked and raw IP link types.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; tcpdump.org/linktypes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..util.files import open_file, other_form
from ..util.text import shown
from .frames import blocks, gather, scan

ETHERNET, RAW, RAW_BSD, RAW_OPENBSD, COOKED, COOKED2, IPV4 = 1, 101, 12, 14, 113, 276, 228
# bytes of both link-layer addresses of a frame
ADDRESSES = 12
# packets of a batch, and the bytes from which it is full with fewer
BATCH, BATCH_BYTES = 4096, 1 << 24
# bytes read at a time
CHUNK = 1 << 20
# MAXIMUM_SNAPLEN of libpcap; blocks beside packets hold names, secrets, statistics
MAX_PACKET, MAX_BLOCK = 262_144, 1 << 24
MAX_INTERFACES = 65_536
SECTION, SECTION_MAGICS = b"\x0a\x0d\x0d\x0a", {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
# bytes of a block of a packet beside its own, at the most
BLOCK = 35
# bytes of an option of pcapng; nanoseconds of a time stamp
MAX_OPTION, MAX_STAMP = 0xFFFF, 2**64 - 1
MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}


class Captured(NamedTuple):
    """One packet: time [s], interface name or "" (classic pcap has none), the IP datagram."""

    time: float
    iface: str
    data: bytes
    # the link-layer addresses of receiver and sender, b"" unknown
    link: bytes = b""


def ip_of(link: int, data: bytes) -> bytes:
    """Return the IP datagram in a frame; empty when it carries something else."""
    if link in (RAW, RAW_BSD, RAW_OPENBSD, IPV4):
        return data
    if link == ETHERNET:
        at, kind = 14, data[12:14]
        while kind in (b"\x81\x00", b"\x88\xa8"):
            kind = data[at + 2 : at + 4]
            at += 4
    elif link == COOKED:
        at, kind = 16, data[14:16]
    else:
        at, kind = 20, data[0:2]
    return data[at:] if kind in (b"\x08\x00", b"\x86\xdd") else b""


def link_of(link: int, data: bytes) -> bytes:
    """Return the addresses of receiver and sender in front of a frame; empty when it has none, or not both."""
    return data[:ADDRESSES] if link == ETHERNET and len(data) >= ADDRESSES else b""


@dataclass
class Batch:
    """Packets in order: times [s], interface names or "" (classic pcap has none), IP datagrams."""

    times: list[float] = field(default_factory=list)
    ifaces: list[str] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    # the link-layer addresses of receiver and sender, b"" unknown; []: of none
    links: list[bytes] = field(default_factory=list)

    def gathered(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return a copy of the datagrams, one behind the other, and where they begin, with the end of the last."""
        offsets = np.cumsum([0, *map(len, self.data)], dtype=np.int64)
        return np.frombuffer(bytearray(b"".join(self.data)), np.uint8), offsets


class Found(Batch):
    """Packets of a classic pcap as they lie in memory; text: bytes of the file, places: the rows of frames.scan."""

    def __init__(self, text: bytes, places: NDArray[np.int64], link: int, unit: float) -> None:
        self.text, self.places, self.link = text, places, link
        self.times = (places[:, 0] + places[:, 1] * unit).tolist()
        self.ifaces = [""] * len(places)

    @cached_property
    def data(self) -> list[bytes]:  # type: ignore[override]  # made when somebody asks
        """The IP datagrams."""
        return [self.text[begin:end] for end, begin in self.places[:, 3:].tolist()]

    @cached_property
    def links(self) -> list[bytes]:  # type: ignore[override]  # made when somebody asks
        """The link-layer addresses in front of them."""
        if self.link != ETHERNET:
            return [b""] * len(self.places) if self.link in (COOKED, COOKED2) else []
        return [link_of(self.link, self.text[begin:end]) for begin, end in self.places[:, 2:4].tolist()]

    def gathered(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """See Batch."""
        ends, begins = np.ascontiguousarray(self.places[:, 3]), np.ascontiguousarray(self.places[:, 4])
        offsets = np.zeros(len(ends) + 1, np.int64)
        np.cumsum(ends - begins, out=offsets[1:])
        buffer = np.empty(int(offsets[-1]), np.uint8)
        gather(self.text, begins, ends, buffer)
        return buffer, offsets


def read(path: str | Path) -> Iterator[Captured]:
    """Yield the packets of a capture file; InputError names file and byte where it is broken."""
    for batch in read_batches(path):
        links = batch.links or repeat(b"", len(batch.times))
        yield from map(Captured._make, zip(batch.times, batch.ifaces, batch.data, links, strict=True))


def read_batches(path: str | Path) -> Iterator[Batch]:
    """Yield the packets of a capture file, at most BATCH at a time, with little memory whatever the size of the file.

    Packets before a broken place are yielded; then InputError names file and byte.
    """
    with open_file(path) as file:
        data = Front(file, str(path))
        data.need(4)
        head = data.bytes[:4]
        if head in MAGICS:
            yield from _read_pcap(data, str(path))
        elif head == SECTION:
            yield from _read_pcapng(data, str(path))
        else:
            data.need(6)
            other = other_form(data.bytes[:6]) or f"neither pcap nor pcapng (it starts with {head.hex() or 'nothing'})"
            raise InputError(f"{path}: {other}")


class Front:
    """A file or pipe, read once, front to back: `bytes` from `at` on is read but not used; `offset` is its place."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path
        self.bytes = b""
        self.at = self.offset = 0

    def need(self, n: int) -> bool:
        """Read until n bytes from `at` on are in memory; False if the file ends before."""
        pieces, there = [], len(self.bytes) - self.at
        try:
            while there < n and (piece := self._read()):
                pieces.append(piece)
                there += len(piece)
        except OSError as error:
            raise InputError(f"{self.path}: byte {self.offset + self.at + there}: {error.strerror or error}") from None
        if pieces:
            self.offset += self.at
            self.bytes, self.at = b"".join((self.bytes[self.at :], *pieces)), 0
        return there >= n

    def _read(self) -> bytes:
        # from a pipe, take what is there, not a whole chunk
        read1 = getattr(self.file, "read1", None)
        piece: bytes = read1(CHUNK) if read1 else self.file.read(CHUNK)
        return piece

    @property
    def left(self) -> int:
        """Bytes in memory."""
        return len(self.bytes) - self.at

    @property
    def place(self) -> int:
        """Where `at` is in the file."""
        return self.offset + self.at


def _check_link(link: int, where: str) -> None:
    if link not in (ETHERNET, RAW, RAW_BSD, RAW_OPENBSD, COOKED, COOKED2, IPV4):
        raise InputError(f"{where}: link type {link} is not supported; Ethernet, Linux cooked and raw IP are")


def _read_pcap(source: Front, path: str) -> Iterator[Batch]:
    order, unit = MAGICS[source.bytes[:4]]
    if not source.need(24):
        raise InputError(f"{path}: cut within the file header")
    link = struct.unpack_from(order + "I", source.bytes, 20)[0] & 0xFFFF
    _check_link(link, path)
    header = struct.Struct(order + "IIII").unpack_from
    source.at, broken, more = 24, "", True
    while more and not broken:
        # what is in memory; at least a packet
        places = np.empty((BATCH, 5), np.int64)
        n, end = scan(source.bytes, source.at, order == ">", link, MAX_PACKET, BATCH_BYTES, places)
        if n:
            text, source.at = source.bytes, end
            yield Found(text, places[:n], link, unit)
            continue
        if not source.need(16):
            more = False
            if source.left:
                broken = f"byte {source.place}: cut within a packet header"
            continue
        kept = header(source.bytes, source.at)[2]
        if kept > MAX_PACKET:
            broken = f"byte {source.place}: a packet of {kept:,} bytes; at most {MAX_PACKET:,} are supported"
        elif not source.need(16 + kept):
            broken = f"byte {source.place}: a packet of {kept} bytes is cut after {source.left - 16}"
    if broken:
        raise InputError(f"{path}: {broken}")


def _read_pcapng(source: Front, path: str) -> Iterator[Batch]:
    batch, size = Batch(), 0
    try:
        for packet in _packets_of_pcapng(source, path):
            batch.times.append(packet.time)
            batch.ifaces.append(packet.iface)
            batch.data.append(packet.data)
            batch.links.append(packet.link)
            size += len(packet.data)
            if len(batch.times) == BATCH or size >= BATCH_BYTES:
                yield batch
                batch, size = Batch(), 0
    except InputError:
        if batch.times:
            yield batch
        raise
    if batch.times:
        yield batch


def _packets_of_pcapng(source: Front, path: str) -> Iterator[Captured]:
    order = "<"
    interfaces: list[Link] = []
    while source.need(12):
        raw, at = source.bytes, source.at
        where = f"{path}: byte {source.place}"
        if raw[at : at + 4] == SECTION:
            if raw[at + 8 : at + 12] not in SECTION_MAGICS:
                raise InputError(f"{where}: a section without the byte-order magic of pcapng")
            order = SECTION_MAGICS[raw[at + 8 : at + 12]]
            interfaces = []
        kind, size = struct.unpack_from(order + "II", raw, at)
        if size > MAX_BLOCK:
            raise InputError(f"{where}: a block of {size:,} bytes; at most {MAX_BLOCK:,} are supported")
        if size < 12 or size % 4 or not source.need(size):
            raise InputError(f"{where}: a block of {size} bytes does not fit in the file")
        raw, at = source.bytes, source.at
        body = raw[at + 8 : at + size - 4]
        source.at += size
        try:
            if kind == 1:
                if len(interfaces) == MAX_INTERFACES:
                    raise InputError(f"{where}: more than {MAX_INTERFACES:,} interfaces in a section")
                interfaces.append(_interface(body, order, len(interfaces), where))
            elif kind == 6:
                number, high, low, kept, _ = struct.unpack_from(order + "IIIII", body)
                if 20 + kept > len(body) or kept > MAX_PACKET:
                    raise InputError(f"{where}: a packet of {kept} bytes in a block of {len(body)}")
                link = interfaces[number]
                time = (high << 32 | low) * link.unit + link.begin
                frame = body[20 : 20 + kept]
                yield Captured(time, link.name, ip_of(link.kind, frame), link_of(link.kind, frame))
        except (struct.error, IndexError):
            raise InputError(f"{where}: broken block of kind {kind}") from None
    if source.left:
        raise InputError(f"{path}: byte {source.place}: cut within a block header")


class Link(NamedTuple):
    """An interface of a section: its name, the unit of its time stamps [s], where they begin, its link type."""

    name: str
    unit: float
    begin: int
    kind: int


def _interface(body: bytes, order: str, number: int, where: str) -> Link:
    link = struct.unpack_from(order + "H", body)[0]
    _check_link(link, where)
    name, unit, begin, at = f"if{number}", 1e-6, 0, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
        if code == 0:
            break
        if code == 2:
            name = value.decode(errors="replace")
        elif code == 9 and value:
            unit = 2.0 ** -(value[0] & 127) if value[0] & 128 else 10.0 ** -value[0]
        elif code == 14:
            # if_tsoffset: seconds to add
            (begin,) = struct.unpack(order + "q", value)
    return Link(name, unit, begin, link)


class Writer:
    """Writes a pcapng file of raw IP packets, one interface block per name."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.names: dict[str, int] = {}
        self._block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))

    def _block(self, kind: int, body: bytes) -> None:
        body += b"\0" * (-len(body) % 4)
        size = len(body) + 12
        self.file.write(struct.pack("<II", kind, size) + body + struct.pack("<I", size))

    def write(self, time: float, iface: str, data: bytes) -> None:
        """Append one packet that left on an interface at a time [s]."""
        self.write_all([(time, iface, data)])

    def write_all(self, packets: Iterable[tuple[float, str, bytes]]) -> None:
        """Append packets: time [s], the interface on which each left, its bytes."""
        head, tail = struct.Struct("<IIIIIII").pack, struct.Struct("<I").pack
        parts: list[bytes] = []
        for time, iface, data in packets:
            number = self.names.get(iface)
            if number is None:
                self.file.write(b"".join(parts))
                parts.clear()
                number = self._declare(iface)
            try:
                stamp, size = round(time * 1e9), len(data)
            except (ValueError, OverflowError):
                stamp = -1
            if not 0 <= stamp <= MAX_STAMP:
                self.file.write(b"".join(parts))
                raise InputError(
                    f"a packet at {shown(time)} s cannot be written: the time stamps of a capture are nanoseconds in "
                    "64 bits, 0 to 18,446,744,073 s"
                )
            padding = -size % 4
            block = size + padding + 32
            parts += (
                head(6, block, number, stamp >> 32, stamp & 0xFFFFFFFF, size, size), data, bytes(padding), tail(block),
            )  # fmt: skip
        self.file.write(b"".join(parts))

    def write_frames(
        self, times: NDArray[np.float64], numbers: NDArray[np.uint32], text: NDArray[np.uint8],
        begins: NDArray[np.int64], ends: NDArray[np.int64],
    ) -> bool:  # fmt: skip
        """Append packets that lie in one buffer, leaving on interfaces of these numbers; False: write_all has to."""
        stamps = np.rint(times * 1e9)
        if not ((stamps >= 0) & (stamps < 2.0**64)).all():
            return False
        out = np.empty(int((ends - begins).sum()) + len(begins) * BLOCK, np.uint8)
        size = blocks(text, begins, ends, stamps.astype(np.uint64), numbers, out)
        self.file.write(out[:size].tobytes())
        return True

    def _declare(self, iface: str) -> int:
        name = iface.encode(errors="replace")
        if len(name) > MAX_OPTION:
            raise InputError(f"an interface name of {len(name):,} bytes; a capture has room for {MAX_OPTION:,}")
        self.names[iface] = number = len(self.names)
        options = struct.pack("<HH", 2, len(name)) + name + b"\0" * (-len(name) % 4)
        self._block(1, struct.pack("<HHI", RAW, 0, 0) + options + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0))
        return number
