"""pcap and pcapng in, pcapng out; Ethernet, Linux cooked and raw IP link types.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; tcpdump.org/linktypes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .errors import InputError

ETHERNET, RAW, RAW_BSD, RAW_OPENBSD, COOKED, COOKED2, IPV4 = 1, 101, 12, 14, 113, 276, 228
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


def read(path: str | Path) -> Iterator[Captured]:
    """Yield the packets of a capture file; InputError names file and byte where it is broken."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if raw[:4] in MAGICS:
        yield from _read_pcap(raw, str(path))
    elif raw[:4] == b"\x0a\x0d\x0d\x0a":
        yield from _read_pcapng(raw, str(path))
    else:
        raise InputError(f"{path}: neither pcap nor pcapng (it starts with {raw[:4].hex() or 'nothing'})")


def _check_link(link: int, where: str) -> None:
    if link not in (ETHERNET, RAW, RAW_BSD, RAW_OPENBSD, COOKED, COOKED2, IPV4):
        raise InputError(f"{where}: link type {link} is not supported; Ethernet, Linux cooked and raw IP are")


def _read_pcap(raw: bytes, path: str) -> Iterator[Captured]:
    order, unit = MAGICS[raw[:4]]
    if len(raw) < 24:
        raise InputError(f"{path}: cut within the file header")
    link = struct.unpack_from(order + "I", raw, 20)[0] & 0xFFFF
    _check_link(link, path)
    at = 24
    while at < len(raw):
        if at + 16 > len(raw):
            raise InputError(f"{path}: byte {at}: cut within a packet header")
        seconds, part, kept, _ = struct.unpack_from(order + "IIII", raw, at)
        if at + 16 + kept > len(raw):
            raise InputError(f"{path}: byte {at}: a packet of {kept} bytes is cut after {len(raw) - at - 16}")
        yield Captured(seconds + part * unit, "", ip_of(link, raw[at + 16 : at + 16 + kept]))
        at += 16 + kept


def _read_pcapng(raw: bytes, path: str) -> Iterator[Captured]:
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
        if iface not in self.names:
            self.names[iface] = len(self.names)
            name = iface.encode()
            options = struct.pack("<HH", 2, len(name)) + name + b"\0" * (-len(name) % 4)
            self._block(1, struct.pack("<HHI", RAW, 0, 0) + options + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0))
        stamp = round(time * 1e9)
        head = struct.pack("<IIIII", self.names[iface], stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data))
        self._block(6, head + data)
