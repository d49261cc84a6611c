"""Datagrams cut as they leave: where they were cut before, or by what the device takes.

Sources: ip_fragment, ip_do_fragment, ip_options_fragment, ip6_finish_output, ip6_fragment, ip6_find_1stfragopt (Linux
6.18); RFC 791, RFC 8200 4.5. The kernel keeps the parts of a datagram side by side; it lets them out as they are if
they fit, and cuts all of it anew if they do not, or if somebody has joined some of their bytes to look at a header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..node.parts import MIN_MTU, MIN_MTU6
from .reassembly import DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET, V6_FRAGMENT, V6_HEADER, Whole, sign

V6_HOPS, V6_ROUTING, V6_OPTIONS, V6_FRAGMENT_HEADER = 0, 43, 60, 8
OPTION_END, OPTION_NOP, OPTION_COPIED = 0, 1, 0x80
# bytes of l4 header that NAT writes to in one piece, by protocol; what has less is written up to its eighth byte
WRITTEN = {6: 20, 132: 12}
WRITTEN_AT_LEAST = 8
# headers of the error and of the packet that it quotes, which NAT looks at in one piece
ICMP_WRITTEN = {1: 8 + 20, 58: 8 + 40}


def split(whole: Whole, data: bytes, mtu: int) -> list[bytes]:
    """Return the packets in which a datagram leaves; `data`: what the hooks made of it. [] if it is dropped."""
    # a device with less has no IPv4 in the kernel, and no room for a part
    mtu = max(mtu, MIN_MTU)
    if data[0] >> 4 == 6:
        return _split_v6(whole, data, mtu)
    if len(data) <= mtu and not whole.largest and not whole.cuts:
        return [data]
    return _split_v4(whole, data, mtu)


def _split_v4(whole: Whole, data: bytes, mtu: int) -> list[bytes]:
    size = (data[0] & 15) * 4
    (bits,) = struct.unpack_from(">H", data, 6)
    if bits & DONT_FRAGMENT and not 0 < whole.largest <= mtu:
        return []
    room = (min(mtu, whole.largest) if whole.largest else mtu) - size
    kept = _kept_cuts(whole, data, size, room)
    pieces = list(_pieces(_every(room, len(data) - size) if kept is None else kept, len(data) - size))
    # a datagram that is cut anew keeps DF if its largest part had it
    bits_of_all = DONT_FRAGMENT if whole.pmtu and kept is None else 0
    header = data[:size]
    later = header if bits & OFFSET else _without_options(header)
    packets = []
    for start, end in pieces:
        made = bytearray(later if start else header)
        more = bits & MORE_FRAGMENTS if size + end == len(data) else MORE_FRAGMENTS
        struct.pack_into(">H", made, 2, size + end - start)
        struct.pack_into(">H", made, 6, ((bits & OFFSET) + start // 8) | more | bits_of_all)
        sign(made)
        packets.append(bytes(made) + data[size + start : size + end])
    return packets


def _without_options(header: bytes) -> bytes:
    """Return a header whose options that only the first part has are no operations (ip_options_fragment)."""
    made, at = bytearray(header), 20
    while at < len(made) and made[at] != OPTION_END:
        if made[at] == OPTION_NOP:
            at += 1
            continue
        length = made[at + 1] if at + 1 < len(made) else 0
        if length < 2 or at + length > len(made):
            break
        if not made[at] & OPTION_COPIED:
            made[at : at + length] = bytes([OPTION_NOP]) * length
        at += length
    return bytes(made)


def _kept_cuts(whole: Whole, data: bytes, header: int, room: int) -> tuple[int, ...] | None:
    """Return where the parts of a datagram begin, counted behind the header that each repeats; None: cut it anew.

    header: its size; room: for payload in a packet [bytes].
    """
    if not whole.cuts or len(data) != len(whole.data) or _is_joined(whole, data):
        return None
    cuts = tuple(cut + whole.header - header for cut in whole.cuts)
    sizes = [b - a for a, b in zip((0, *cuts), (*cuts, len(data) - header), strict=True)]
    # of IPv6 nothing may be left of a first part whose extension headers every part repeats
    fits = min(sizes) >= 0 and max(sizes) <= room and not any(size % 8 for size in sizes[:-1])
    return cuts if fits else None


def _is_joined(whole: Whole, data: bytes) -> bool:
    """Tell whether a header reaches behind the first part that the kernel has read, or NAT written, in one piece."""
    ends = slice(12, 20) if data[0] >> 4 == 4 else slice(8, 40)
    at, proto = ((data[0] & 15) * 4, data[9]) if data[0] >> 4 == 4 else _l4(data)
    first = whole.header + whole.cuts[0]
    if first < at + whole.read.get(proto, 0) <= len(data):
        return True
    if data[ends] == whole.data[ends] and data[at : at + 8] == whole.data[at : at + 8]:
        return False
    need = WRITTEN.get(proto, WRITTEN_AT_LEAST)
    is_error = proto in ICMP_WRITTEN and (data[at] < 128 if proto == 58 else data[at] in (3, 4, 5, 11, 12))
    if is_error:
        need = ICMP_WRITTEN[proto]
    elif len(data) < at + need:
        need = WRITTEN_AT_LEAST
    return at + need > first


def _l4(data: bytes) -> tuple[int, int]:
    """Return where the header behind the extension headers of IPv6 begins, and its protocol."""
    at, kind = V6_HEADER, data[6]
    while kind in (V6_HOPS, V6_ROUTING, V6_OPTIONS, V6_FRAGMENT) and at + 4 <= len(data):
        # a part whose l4 header is elsewhere (ipv6_skip_exthdr)
        if kind == V6_FRAGMENT and (data[at + 2] or data[at + 3] & 0xF8):
            break
        kind, at = data[at], at + (V6_FRAGMENT_HEADER if kind == V6_FRAGMENT else (data[at + 1] + 1) * 8)
    return at, kind


def _every(room: int, size: int) -> tuple[int, ...]:
    """Return the cuts of so many bytes by what fits; the last part may be as long as there is room."""
    step, at, cuts = room // 8 * 8, 0, []
    while size - at > room:
        at += step
        cuts.append(at)
    return tuple(cuts)


def _pieces(cuts: tuple[int, ...], size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each part."""
    return zip((0, *cuts), (*cuts, size), strict=True)


def _split_v6(whole: Whole, data: bytes, mtu: int) -> list[bytes]:
    if len(data) <= mtu and (not whole.cuts or len(data) <= whole.largest):
        return [data]
    kind_at, at = _repeated(data, whole.header + whole.cuts[0] if whole.cuts else len(data))
    if not at or not 0 < whole.largest <= mtu:
        return []
    # parts are as large as the largest that came, or as every link takes
    room = max(whole.largest, MIN_MTU6) - at - V6_FRAGMENT_HEADER
    if room < 8:
        return []
    cuts = _kept_cuts(whole, data, at, room)
    packets = []
    for start, end in _pieces(_every(room, len(data) - at) if cuts is None else cuts, len(data) - at):
        header = bytearray(data[:at])
        header[kind_at] = V6_FRAGMENT
        more = int(at + end < len(data))
        header += struct.pack(">BxH", data[kind_at], start | more) + whole.key[1][-4:]
        struct.pack_into(">H", header, 4, len(header) - V6_HEADER + end - start)
        packets.append(bytes(header) + data[at + start : at + end])
    return packets


def _repeated(data: bytes, first: int) -> tuple[int, int]:
    """Return where the last next-header field stands that every part repeats, and where those headers end; 0: nowhere.

    first: bytes of the first part, in which the kernel looks.
    """
    at, kind_at, has_routing = V6_HEADER, 6, False
    while at <= first:
        if data[kind_at] == V6_ROUTING:
            has_routing = True
        elif data[kind_at] != V6_HOPS and (data[kind_at] != V6_OPTIONS or has_routing):
            return kind_at, at
        if at + 2 > first:
            break
        kind_at, at = at, at + (data[at + 1] + 1) * 8
    return kind_at, 0
