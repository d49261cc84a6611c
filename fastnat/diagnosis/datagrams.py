"""Packets of a comparison with all their bytes, and what a node has rewritten in them beside addresses and ports.

Sources: RFC 791, 8200, 768, 9293 (MSS: 3.7.1), 792, 4443.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family
from ..dtypes import PROTOCOLS
from ..engine import Engine
from .wanted import Fields

TCP, UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]
SYN = 2
# what a datagram has before its node: one more than any node sets by itself, and larger than the MSS of any Ethernet
TTL, MSS = 64, 8960
MSS_OPTION = struct.pack("!BBH", 2, 4, MSS)
DATA = bytes(range(12))
WINDOW = 0xFFFF


def is_built(f: Fields, family: Family) -> bool:
    """Tell whether a datagram is made of a packet: of UDP, TCP or an echo, that no mark has come in with."""
    echoes = (8,) if family.version == 4 else (128,)
    return f.proto in (TCP, UDP) or (f.proto == family.icmp and f.dport >> 8 in echoes)


def datagram_of(f: Fields, family: Family) -> bytes:
    """Return a packet with all its bytes; a SYN has an MSS."""
    size = family.bits // 8
    src, dst = f.src.to_bytes(size, "big"), f.dst.to_bytes(size, "big")
    if f.proto == TCP:
        options = MSS_OPTION if f.flags & SYN else b""
        offset = (20 + len(options)) // 4 << 4
        head, at = struct.pack("!HHIIBBHHH", f.sport, f.dport, 0, 0, offset, f.flags, WINDOW, 0, 0) + options, 16
    elif f.proto == UDP:
        head, at = struct.pack("!HHHH", f.sport, f.dport, 8 + len(DATA), 0), 6
    else:
        head, at = struct.pack("!BBHHH", f.dport >> 8, f.dport & 0xFF, 0, f.sport, 1), 2
    l4 = head + DATA
    # ICMP of IPv4 has no pseudo header
    pseudo = src + dst + struct.pack("!II", len(l4), f.proto) if f.proto in (TCP, UDP) or size == 16 else b""
    l4 = l4[:at] + _checksum(pseudo + l4) + l4[at + 2 :]
    if size == 16:
        return struct.pack("!IHBB", 6 << 28, len(l4), f.proto, TTL) + src + dst + l4
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4), 1, 0x4000, TTL, f.proto, 0) + src + dst
    return head[:10] + _checksum(head) + head[12:] + l4


def _checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071); of two zeros the one that UDP does not take for none."""
    # the sum of all words is what is left of the number that they are, by 2**16 - 1
    left = int.from_bytes(data, "big") % 0xFFFF
    return (0xFFFF - left if left else 0xFFFF).to_bytes(2, "big")


def process_datagrams(
    engine: Engine, fields: Sequence[Fields], ifaces: NDArray[np.uint16], now: float, family: Family
) -> tuple[NDArray[Any], list[str]]:
    """Send datagrams through an engine; return RESULT[n], and what was rewritten in each beside addresses and ports."""
    made = [datagram_of(f, family) for f in fields]
    offsets = np.cumsum([0, *map(len, made)])
    buffer = np.frombuffer(b"".join(made), np.uint8).copy()
    out = engine.process_frames(buffer, offsets, ifaces, now, version=family.version)
    left = buffer.tobytes()
    after = [left[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    return out, [_rewritten(a, b, family) for a, b in zip(made, after, strict=True)]


def _rewritten(before: bytes, after: bytes, family: Family) -> str:
    """Return what differs beside addresses, ports and checksums, in words."""
    said = []
    header = 20 if family.version == 4 else 40
    ttl = after[8 if family.version == 4 else 7]
    tos = after[1] if family.version == 4 else int.from_bytes(after[:2], "big") >> 4 & 0xFF
    said.append(f"TTL {ttl}")
    if tos:
        said.append(f"TOS {tos:#x}")
    mss = header + 20
    if before[mss : mss + 4] == MSS_OPTION and after[mss : mss + 4] != MSS_OPTION:
        said.append(f"MSS {int.from_bytes(after[mss + 2 : mss + 4], 'big')}")
    if _rest(before, header) != (rest := _rest(after, header)):
        said.append(f"other bytes {rest.hex()}")
    return ", ".join(said)


def _rest(data: bytes, header: int) -> bytes:
    """Return the bytes that nothing but a rule changes and that _rewritten has no words for."""
    proto = data[9 if header == 20 else 6]
    l4 = data[header:]
    if proto == TCP:
        # without ports, checksum, and an MSS
        l4 = l4[4:16] + l4[18:] if l4[12] >> 4 == 5 else l4[4:16] + l4[18:22] + l4[24:]
    elif proto == UDP:
        l4 = l4[4:6] + l4[8:]
    else:
        l4 = l4[:2] + l4[6:]
    return (data[2:8] if header == 20 else data[2:7]) + l4
