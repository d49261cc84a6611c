"""pcap and pcapng in, pcapng out; Ethernet, Linux cooked and raw IP link types.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; tcpdump.org/linktypes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .errors import InputError

ETHERNET, RAW, RAW_BSD, RAW_OPENBSD, COOKED, COOKED2, IPV4 = 1, 101, 12, 14, 113, 276, 228
BATCH = 4096
# batches between two looks at how much of the file is kept in memory
FORGET = 16
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


@dataclass
class Batch:
    """Packets in order: times [s], interface names or "" (classic pcap has none), IP datagrams."""

    times: list[float] = field(default_factory=list)
    ifaces: list[str] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)


def read(path: str | Path) -> Iterator[Captured]:
    """Yield the packets of a capture file; InputError names file and byte where it is broken."""
    for batch in read_batches(path):
        yield from map(Captured._make, zip(batch.times, batch.ifaces, batch.data, strict=True))


def read_batches(path: str | Path) -> Iterator[Batch]:
    """Yield the packets of a capture file, at most BATCH at a time; of a file of any size little is kept in memory.

    What stands in front of a broken place is yielded; then InputError names file and byte.
    """
    with _open(path) as file:
        head = file.read(4)
        if head not in MAGICS and head != b"\x0a\x0d\x0d\x0a":
            raise InputError(f"{path}: neither pcap nor pcapng (it starts with {head.hex() or 'nothing'})")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            batches = _read_pcap(raw, str(path)) if head in MAGICS else _read_pcapng(raw, str(path))
            for n, batch in enumerate(batches):
                yield batch
                if n % FORGET == 0:
                    raw.madvise(mmap.MADV_DONTNEED)


def _open(path: str | Path) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _check_link(link: int, where: str) -> None:
    if link not in (ETHERNET, RAW, RAW_BSD, RAW_OPENBSD, COOKED, COOKED2, IPV4):
        raise InputError(f"{where}: link type {link} is not supported; Ethernet, Linux cooked and raw IP are")


def _read_pcap(raw: mmap.mmap, path: str) -> Iterator[Batch]:
    order, unit = MAGICS[raw[:4]]
    end = len(raw)
    if end < 24:
        raise InputError(f"{path}: cut within the file header")
    link = struct.unpack_from(order + "I", raw, 20)[0] & 0xFFFF
    _check_link(link, path)
    header = struct.Struct(order + "IIII").unpack_from
    raw_ip = link in (RAW, RAW_BSD, RAW_OPENBSD, IPV4)
    at, broken = 24, ""
    while at < end and not broken:
        batch = Batch()
        times, data = batch.times, batch.data
        while at < end and len(times) < BATCH:
            if at + 16 > end:
                broken = f"byte {at}: cut within a packet header"
                break
            seconds, part, kept, _ = header(raw, at)
            behind = at + 16 + kept
            if behind > end:
                broken = f"byte {at}: a packet of {kept} bytes is cut after {end - at - 16}"
                break
            times.append(seconds + part * unit)
            data.append(raw[at + 16 : behind])
            at = behind
        if not raw_ip:
            batch.data = [ip_of(link, frame) for frame in data]
        batch.ifaces = [""] * len(times)
        if times:
            yield batch
    if broken:
        raise InputError(f"{path}: {broken}")


def _read_pcapng(raw: mmap.mmap, path: str) -> Iterator[Batch]:
    batch = Batch()
    try:
        for packet in _packets_of_pcapng(raw, path):
            batch.times.append(packet.time)
            batch.ifaces.append(packet.iface)
            batch.data.append(packet.data)
            if len(batch.times) == BATCH:
                yield batch
                batch = Batch()
    except InputError:
        if batch.times:
            yield batch
        raise
    if batch.times:
        yield batch


def _packets_of_pcapng(raw: mmap.mmap, path: str) -> Iterator[Captured]:
    at, order = 0, "<"
    interfaces: list[tuple[str, float, int]] = []
    while at < len(raw):
        where = f"{path}: byte {at}"
        if at + 12 > len(raw):
            raise InputError(f"{where}: cut within a block header")
        if raw[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if raw[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(order + "II", raw, at)
        if size < 12 or size % 4 or at + size > len(raw):
            raise InputError(f"{where}: a block of {size} bytes does not fit in the file")
        body = raw[at + 8 : at + size - 4]
        try:
            if kind == 1:
                interfaces.append(_interface(body, order, len(interfaces), where))
            elif kind == 6:
                number, high, low, kept, _ = struct.unpack_from(order + "IIIII", body)
                if 20 + kept > len(body):
                    raise InputError(f"{where}: a packet of {kept} bytes in a block of {len(body)}")
                name, unit, link = interfaces[number]
                yield Captured((high << 32 | low) * unit, name, ip_of(link, body[20 : 20 + kept]))
        except (struct.error, IndexError):
            raise InputError(f"{where}: broken block of kind {kind}") from None
        at += size


def _interface(body: bytes, order: str, number: int, where: str) -> tuple[str, float, int]:
    link = struct.unpack_from(order + "H", body)[0]
    _check_link(link, where)
    name, unit, at = f"if{number}", 1e-6, 8
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
    return name, unit, link


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
            stamp, size = round(time * 1e9), len(data)
            padding = -size % 4
            block = size + padding + 32
            parts += (
                head(6, block, number, stamp >> 32, stamp & 0xFFFFFFFF, size, size), data, bytes(padding), tail(block),
            )  # fmt: skip
        self.file.write(b"".join(parts))

    def _declare(self, iface: str) -> int:
        self.names[iface] = number = len(self.names)
        name = iface.encode()
        options = struct.pack("<HH", 2, len(name)) + name + b"\0" * (-len(name) % 4)
        self._block(1, struct.pack("<HHI", RAW, 0, 0) + options + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0))
        return number
