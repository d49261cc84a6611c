"""Packets by hand, byte by byte: headers, checksums, options, fragments; of both families."""

import socket
import struct


def fold(s):
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return s


def csum(b):
    if len(b) & 1:
        b += b"\0"
    return ~fold(sum(struct.unpack(f">{len(b) // 2}H", b))) & 0xFFFF


def packed(x):
    return socket.inet_pton(socket.AF_INET6 if ":" in x else socket.AF_INET, x)


def text(b):
    return socket.inet_ntop(socket.AF_INET6 if len(b) == 16 else socket.AF_INET, bytes(b))


CRC = []
for n in range(256):
    c = n
    for _ in range(8):
        c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    CRC.append(c)


def crc32c(b):
    c = 0xFFFFFFFF
    for x in b:
        c = (c >> 8) ^ CRC[(c ^ x) & 255]
    return c ^ 0xFFFFFFFF


def pseudo(src, dst, proto, n):
    return (
        packed(src)
        + packed(dst)
        + (struct.pack(">BBH", 0, proto, n) if ":" not in src else struct.pack(">II", n, proto))
    )


def put(seg, at, src, dst, proto, n=None):
    c = csum(pseudo(src, dst, proto, len(seg) if n is None else n) + seg)
    return seg[:at] + struct.pack(">H", c or (0xFFFF if proto in (17, 136) else 0)) + seg[at + 2 :]


def ip4(src, dst, proto, pl, ttl=64, tos=0, ident=1, off=0, opts=b""):
    ihl = 5 + len(opts) // 4
    h = (
        struct.pack(">BBHHHBBH", 0x40 | ihl, tos, min(ihl * 4 + len(pl), 65535), ident, off, ttl, proto, 0)
        + packed(src)
        + packed(dst)
        + opts
    )
    return h[:10] + struct.pack(">H", csum(h)) + h[12:] + pl


def ip6(src, dst, nh, pl, hl=64, tc=0, flow=0, ext=()):
    """ext: [(kind, body without next header)]"""
    kinds = [k for k, _ in ext] + [nh]
    body = b""
    for follows, (_, rest) in zip(kinds[1:], ext, strict=True):
        body += bytes([follows]) + rest
    body += pl
    return (
        struct.pack(">IHBB", 6 << 28 | tc << 20 | flow, min(len(body), 65535), kinds[0], hl)
        + packed(src)
        + packed(dst)
        + body
    )


def udp(src, dst, sp, dp, data=b"", zero=False, length=None):
    s = struct.pack(">HHHH", sp, dp, 8 + len(data) if length is None else length, 0) + data
    return s if zero else put(s, 6, src, dst, 17)


def udplite(src, dst, sp, dp, data=b"", cov=0):
    s = struct.pack(">HHHH", sp, dp, cov, 0) + data
    part = s[:cov] if cov else s
    c = csum(pseudo(src, dst, 136, len(s)) + part) or 0xFFFF
    return s[:6] + struct.pack(">H", c) + s[8:]


FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}


def tcp(src, dst, sp, dp, fl, seq=0, ack=0, win=65535, data=b"", opts=b""):
    opts += b"\0" * (-len(opts) % 4)
    s = (
        struct.pack(
            ">HHIIBBHHH",
            sp,
            dp,
            seq & 0xFFFFFFFF,
            ack & 0xFFFFFFFF,
            (5 + len(opts) // 4) << 4,
            sum(FLAGS[f] for f in fl),
            win,
            0,
            0,
        )
        + opts
        + data
    )
    return put(s, 16, src, dst, 6)


def icmp(typ, code, rest, data=b"", v6=None):
    s = struct.pack(">BBH", typ, code, 0) + rest + data
    if v6:
        return put(s, 2, v6[0], v6[1], 58)
    return s[:2] + struct.pack(">H", csum(s)) + s[4:]


def sctp(sp, dp, tag, chunks):
    s = struct.pack(">HHII", sp, dp, tag, 0) + chunks
    return s[:8] + struct.pack("<I", crc32c(s)) + s[12:]


def chunk(typ, flags=0, body=b"", n=None):
    c = struct.pack(">BBH", typ, flags, 4 + len(body) if n is None else n) + body
    return c + b"\0" * (-len(c) % 4)


def dccp(src, dst, sp, dp, typ, seq=1):
    s = struct.pack(">HHBBHBBHI", sp, dp, 4, 0, 0, typ << 1 | 1, 0, seq >> 32, seq & 0xFFFFFFFF)
    if typ in (0,):
        s += b"\0\0\0\1"
    elif typ not in (2,):
        s += bytes(8)
    return put(s, 6, src, dst, 33)


def cuts(length, sizes):
    """Return begin and end of each piece of so many bytes; the rest is the last one."""
    found, at = [], 0
    for size in sizes:
        if at + size < length:
            found.append((at, at + size))
            at += size
    return [*found, (at, length)]


def frags4(pkt, sizes):
    """Cut an IPv4 packet after these numbers of payload bytes."""
    hl = (pkt[0] & 15) * 4
    pl, h = pkt[hl:], pkt[:hl]
    out = []
    for lo, hi in cuts(len(pl), sizes):
        x = bytearray(h)
        o = (int.from_bytes(h[6:8], "big") & 0x5FFF) | lo // 8 | (0x2000 if hi < len(pl) else 0)
        x[2:4] = struct.pack(">H", hl + hi - lo)
        x[6:8] = struct.pack(">H", o)
        x[10:12] = b"\0\0"
        x[10:12] = struct.pack(">H", csum(bytes(x)))
        out.append(bytes(x) + pl[lo:hi])
    return out


def frags6(pkt, sizes, ident):
    """Cut behind the fixed header, or hop-by-hop/routing in front."""
    at, kat = 40, 6
    while pkt[kat] in (0, 43, 60) and pkt[kat] != 60:
        kat, at = at, at + (pkt[at + 1] + 1) * 8
    nh, pl, h = pkt[kat], pkt[at:], bytearray(pkt[:at])
    h[kat] = 44
    out = []
    for lo, hi in cuts(len(pl), sizes):
        body = struct.pack(">BBHI", nh, 0, lo | (hi < len(pl)), ident) + pl[lo:hi]
        x = bytearray(h)
        x[4:6] = struct.pack(">H", at - 40 + len(body))
        out.append(bytes(x) + body)
    return out
