"""Everything that a test of IPv4 says and hears, over IPv6: 10.0.0.9 is fd00::a00:9, in rules, packets and results.

`Patched(monkeypatch)` puts itself between a test and fastnat: nodes get rules, sets and routes of IPv6, packets become
IPv6 on their way in and IPv4 again on their way out. What IPv6 has not (options, fragments of IPv4) it refuses.
"""

import ipaddress
import re
import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
from kernel.handmade import csum, fold

import fastnat
from fastnat import dtypes
from fastnat.addresses import V4, V6
from fastnat.conntrack.columns import dtype_of
from fastnat.conntrack.text import Connection
from fastnat.conntrack.view import Conntrack

FRONT = 0xFD00 << 112
QUAD = r"(?<![\w.:])(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?![\w.])"
# destination unreachable by its code, time exceeded, queries
ICMP = {(8, 0): (128, 0), (0, 0): (129, 0), (3, 1): (1, 3), (3, 3): (1, 4), (3, 0): (1, 0), (11, 0): (3, 0)}
NFT = [
    (r"\bip (saddr|daddr|dscp|ecn|length|version)\b", r"ip6 \1"), (r"\bip ttl\b", "ip6 hoplimit"),
    (r"\bip protocol\b", "ip6 nexthdr"),
    (r"\bether type ip\b", "ether type ip6"), (r"\btable ip\b", "table ip6"), (r"\bipv4_addr\b", "ipv6_addr"),
    (r"\bl3proto ip\b", "l3proto ip6"), (r"\b(snat|dnat)( prefix)? ip\b", r"\1\2 ip6"), (r"\bicmp\b", "icmpv6"),
    (r"\b(rule|chain|set|map|element|counter|quota) ip ", r"\1 ip6 "),
]  # fmt: skip
FROM_NFT = [
    (r"\bip6 nexthdr\b", "ip protocol"), (r"\bip6 hoplimit\b", "ip ttl"), (r"\bip6\b", "ip"),
    (r"\bipv6_addr\b", "ipv4_addr"), (r"\bicmpv6\b", "icmp"),
]  # fmt: skip


def address(text):
    """Return an address of IPv6 for one of IPv4."""
    return str(ipaddress.IPv6Address(FRONT | int(ipaddress.IPv4Address(text))))


def worded(text):
    """Return text of rules, sets or services with addresses of IPv6."""
    text = re.sub(r"\b0\.0\.0\.0/0", "::/0", text)
    text = re.sub(rf"{QUAD}/(\d+)\b(?!\.)", lambda m: f"{address(m[1])}/{96 + int(m[2])}", text)
    text = re.sub(r"(--to-\w+ )([\d.]+)(?:-([\d.]+))?:(\S+)", _ports, text)
    text = re.sub(rf"{QUAD}:(?=\d)", lambda m: f"[{address(m[1])}]:", text)
    return re.sub(QUAD, lambda m: address(m[1]), text)


def _ports(m):
    return f"{m[1]}[{address(m[2])}]{f'-[{address(m[3])}]' if m[3] else ''}:{m[4]}"


def rules(text):
    """Return rules of ip6tables for those of iptables."""
    text = re.sub(r"-p icmp\b", "-p ipv6-icmp", worded(text))
    text = re.sub(r"-m icmp --icmp-type 8\b", "-m icmp6 --icmpv6-type 128", text)
    text = re.sub(r"-j TTL --ttl-", "-j HL --hl-", text)
    return re.sub(r"-m ttl ((?:! )?)--ttl-", r"-m hl \1--hl-", text)


def sets(text):
    """Return sets of addresses of IPv6."""
    found = []
    for line in worded(text).splitlines():
        if line.startswith("create") and " hash:" in line:
            line = re.sub(" family inet6?( |$)", r"\1", line) + " family inet6"
        found.append(line)
    return "\n".join([*found, ""])


def services(text):
    """Return services of IPv6; those of a mark have no address that says so."""
    return re.sub(r"(?m)^-[Aa] -f \d+", r"\g<0> -6", worded(text))


def quads(text):
    """Return a listing with addresses of IPv4 again."""
    return re.sub(r"\[?fd00::([0-9a-f]+):([0-9a-f]+)\]?(?:/(\d+))?", _quad, text)


def _quad(m):
    length = f"/{int(m[3]) - 96}" if m[3] else ""
    return str(ipaddress.IPv4Address(int(m[1], 16) << 16 | int(m[2], 16))) + length


def nftables(text):
    """Return rules of nftables for IPv6."""
    text = worded(text)
    for old, new in NFT:
        text = re.sub(old, new, text)
    return text


def of_ipv4(text):
    """Return a listing of nftables with tables of IPv4."""
    text = quads(text)
    for old, new in FROM_NFT:
        text = re.sub(old, new, text)
    return text


# ---------------------------------------------------------------- packets
def moved(sum_there, old, new):
    """Return a checksum behind which a pseudo header has changed."""
    return ~fold((~sum_there & 0xFFFF) + _sum(new) + (~_sum(old) & 0xFFFF)) & 0xFFFF


def _sum(data):
    return ~csum(data) & 0xFFFF


def six(data):
    """Return an IPv6 packet that says what one of IPv4 says."""
    # of a header that is cut off there is as large a part
    if len(data) < 20:
        return six(data.ljust(20, b"\0"))[: 2 * len(data)] if data[:1] == b"\x45" else data
    if data[0] != 0x45 or data[6] & 0x3F or data[7]:
        raise ValueError("IPv6 has no such packet")
    src, dst = (FRONT.to_bytes(16, "big")[:12] + data[at : at + 4] for at in (12, 16))
    proto, body = data[9], data[20:]
    if proto == 1:
        proto, body = 58, _icmp(body, src + dst)
    else:
        body = _resummed(proto, body, data[12:20], src + dst)
    # a header that an error quotes is longer; a length that is too short is too long there
    length = (int.from_bytes(data[2:4], "big") - 20 + len(body) - len(data[20:])) & 0xFFFF
    head = struct.pack(">IHBB", 6 << 28 | data[1] << 20, length, proto, data[8])
    return head + src + dst + body


def _resummed(proto, body, old, new):
    at = {6: 16, 17: 6, 136: 6}.get(proto)
    if at is None or len(body) < at + 2 or (proto == 17 and body[6:8] == b"\0\0"):
        return body
    there = moved(int.from_bytes(body[at : at + 2], "big"), old, new)
    return body[:at] + (there or 0xFFFF * (proto == 17)).to_bytes(2, "big") + body[at + 2 :]


def _icmp(body, ends):
    if len(body) < 8:
        return _icmp(body.ljust(8, b"\0"), ends)[: len(body)]
    kind = ICMP[body[0], body[1]]
    rest = body[4:8] + (six(body[8:]) if kind[0] < 128 else body[8:])
    made = bytes([*kind, 0, 0]) + rest
    there = csum(ends + struct.pack(">II", len(made), 58) + made)
    return made[:2] + there.to_bytes(2, "big") + rest


def four(data):
    """Return the IPv4 packet that six() makes this one of."""
    if data[0] >> 4 != 6 or not (data[8:20] == data[24:36] == FRONT.to_bytes(16, "big")[:12]):
        raise ValueError("that is no packet of this kind")
    src, dst, proto, body = data[20:24], data[36:40], data[6], data[40:]
    if proto == 58:
        kind = {v: k for k, v in ICMP.items()}[body[0], body[1]]
        rest = body[4:8] + (four(body[8:]) if body[0] < 128 else body[8:])
        made = bytes([*kind, 0, 0]) + rest
        proto, body = 1, made[:2] + csum(made).to_bytes(2, "big") + rest
    else:
        body = _resummed(proto, body, data[8:40], src + dst)
    length = int.from_bytes(data[4:6], "big") + 20 + len(body) - len(data[40:])
    head = struct.pack(">BBHHHBBH", 0x45, (data[0] & 15) << 4 | data[1] >> 4, length, 1, 0, data[7], proto, 0)
    head = head + src + dst
    return head[:10] + csum(head).to_bytes(2, "big") + head[12:] + body


# ---------------------------------------------------------------- arrays
def one(value):
    """Return what stands for an address, or for several, in a call."""
    if isinstance(value, str):
        return worded(value)
    if isinstance(value, np.ndarray):
        return [one(int(v)) for v in value.ravel()]
    if isinstance(value, list | tuple | range):
        return [one(v) for v in value]
    return ipaddress.IPv6Address(FRONT | int(value))


def is_of_ipv4(batch):
    return isinstance(batch, np.ndarray) and batch.dtype == dtypes.PACKET


def headers(batch):
    """Return headers of IPv6 for those of IPv4."""
    made = widened(batch, dtypes.PACKET6)
    icmp = batch["proto"] == 1
    made["proto"][icmp] = 58
    for (kind, code), (kind6, code6) in ICMP.items():
        made["dport"][icmp & (batch["dport"] == kind << 8 | code)] = kind6 << 8 | code6
    return made


def widened(records, dtype):
    """Return records of IPv6 that say what those of IPv4 say."""
    made = np.zeros(records.shape, dtype)
    for name in records.dtype.names:
        if name in ("src", "dst"):
            made[name]["low"], made[name]["high"] = records[name], FRONT >> 64
        elif name in made.dtype.names:
            made[name] = records[name]
    return made


def narrowed(records, dtype):
    """Return records of IPv4 that say what those of IPv6 say."""
    made = np.zeros(records.shape, dtype)
    for name in made.dtype.names:
        if records.dtype[name].names and "low" in records.dtype[name].names:
            made[name] = records[name]["low"] & 0xFFFFFFFF
        elif made.dtype[name].base.names:
            made[name] = narrowed(records[name], made.dtype[name].base)
        else:
            made[name] = records[name]
    return made


def results(out, batch):
    """Return results of IPv4 for those of IPv6."""
    made = narrowed(out, dtypes.RESULT)
    icmp = batch["proto"][: len(out)] == 1
    for (kind, code), (kind6, code6) in ICMP.items():
        made["dport"][icmp & (out["dport"] == kind6 << 8 | code6)] = kind << 8 | code
    return made


def in_ipv4(c):
    """Return a connection of IPv4 for one of IPv6 that translates one."""
    if c is None or c.original[0] >> 32 != FRONT >> 32:
        return c
    return replace(c, family=V4, original=_ends(c, c.original), reply=_ends(c, c.reply), proto=_proto(c))


def _ends(c, ends):
    src, dst, sport, dport = ends
    if c.proto == 58:
        kind, code = {v: k for k, v in ICMP.items()}[dport >> 8, dport & 255]
        dport = kind << 8 | code
    return src & 0xFFFFFFFF, dst & 0xFFFFFFFF, sport, dport


def _proto(c):
    return 1 if c.proto == 58 else c.proto


def in_ipv6(c):
    """Return the connection that in_ipv4() gave this one for: what deletes it asks for its place alone."""
    return replace(c, family=V6) if isinstance(c, Connection) else c


def rows(found):
    """Return rows of a table of IPv4 for those of IPv6."""
    made = np.zeros(found.shape, dtype_of(V4))
    for name in made.dtype.names:
        made[name] = found[name] if name in found.dtype.names else found[f"{name}_low"] & 0xFFFFFFFF
    return made


def dump(text):
    """Return a dump of connections of IPv6."""
    text = re.sub(r"\bipv4 +2 ", "ipv6     10 ", worded(text))
    text = re.sub(r"\bicmp +1 ", "icmpv6   58 ", text)
    return re.sub(r"\btype=8 code=0", "type=128 code=0", re.sub(r"\btype=0 code=0", "type=129 code=0", text))


# ---------------------------------------------------------------- calls
class Patched:
    """Stands between a test and fastnat until the test ends."""

    def __init__(self, patch):
        self.patch = patch
        self.nodes(fastnat.Node)
        self.packets(fastnat.Engine)
        self.bytes(fastnat.Engine)
        self.group(fastnat.EngineGroup)
        self.texts(fastnat.Engine)
        self.connections(Conntrack)

    def over(self, owner, name, made):
        """Let made(the function as it was) stand in a function's place."""
        self.patch.setattr(owner, name, made(getattr(owner, name)))

    def nodes(self, node):
        def interface(before):
            return lambda s, name, addresses=(), mtu=1500: before(
                s, name, addresses if name == "lo" else list(map(worded, addresses)), mtu
            )

        def route(before):
            def add(self, to, via=None, **more):
                given = {name: worded(v) if name == "src" else v for name, v in more.items()}
                before(self, "::/0" if to == "default" else worded(to), via=via and worded(via), **given)

            return add

        self.over(node, "add_interface", interface)
        self.over(node, "add_route", route)
        self.over(node, "add_address", lambda f: lambda s, n, a, *m: f(s, n, a if a[:4] == "127." else worded(a), *m))
        self.over(node, "add_neighbour", lambda f: lambda s, n, a, mac: f(s, n, worded(a), mac))
        self.over(node, "remove_address", lambda f: lambda s, n, a: f(s, n, worded(a)))
        self.over(
            node, "remove_route", lambda f: lambda s, to, d=None: f(s, {"default": "::/0"}.get(to, worded(to)), d)
        )
        load6 = node.load_rules6
        self.over(node, "load_rules", lambda f: lambda s, text, *m, **k: load6(s, rules(text), *m, **k))
        for name, translate in (("load_sets", sets), ("load_nft", nftables), ("load_services", services)):
            self.over(node, name, self.of_text(translate))

    @staticmethod
    def of_text(translate):
        return lambda before: lambda self, text, *more, **named: before(self, translate(text), *more, **named)

    def packets(self, engine):
        def process(before):
            def run(self, batch, now=0.0, out=None, **named):
                if not is_of_ipv4(batch) or not batch.flags.c_contiguous:
                    return before(self, batch, now, out, **named)
                found = results(before(self, headers(batch), now, **named), batch)
                if out is None:
                    return found
                out[: len(found)] = found
                return out

            return run

        def in_quads(ends):
            return tuple(quads(str(v)) if n in (0, 2) else v for n, v in enumerate(ends))

        def trace(before):
            def run(self, batch, now=None):
                told = before(self, headers(batch) if is_of_ipv4(batch) else batch, now)
                steps = [replace(s, table=of_ipv4(s.table), text=of_ipv4(s.text)) for s in told.steps]
                ends = {name: in_quads(getattr(told, name)) for name in ("before", "after")}
                waypoints = [replace(w, says=quads(w.says), ends=in_quads(w.ends)) for w in told.waypoints]
                return replace(told, steps=steps, waypoints=waypoints, **ends)

            return run

        self.over(engine, "process", process)
        self.over(engine, "trace", trace)
        self.over(engine, "connect", lambda f: lambda s, proto, src, sport, dst, *m, **k: in_ipv4(
            f(s, proto, one(src), sport, one(dst), *m, **k)
        ))  # fmt: skip
        self.over(engine, "close", lambda f: lambda s, c, now, version=6: f(s, c, now, version))
        for name in ("core_of", "stack_of"):
            self.over(engine, name, lambda f: lambda s, version: f(s, 6))
        for name in ("save_rules", "is_tracking"):
            self.over(engine, name, lambda f: lambda s, version=6: f(s, 6))
        self.over(engine, "events", lambda f: lambda s, version=6: narrowed(f(s, 6), dtypes.RECORDS4.EVENT))
        self.over(engine, "ports", lambda f: lambda s, addr, proto, dst, dport: f(
            s, one(addr), proto, one(dst), dport
        ))  # fmt: skip

    def bytes(self, engine):
        def packet(before):
            def run(self, data, iface="local", now=0.0):
                verdict, out = before(self, six(bytes(data)), iface, now)
                return verdict, four(out) if out else out

            return run

        def frames(before):
            def run(self, buffer, offsets, iface="local", now=0.0):
                if (np.diff(offsets) < 0).any() or offsets[0] < 0 or offsets[-1] > len(buffer):
                    return before(self, buffer, offsets, iface, now)
                ends = offsets.tolist()
                wholes = [six(bytes(buffer[a:b])) for a, b in pairwise(ends)]
                there = np.frombuffer(bytearray(b"".join(wholes)), np.uint8)
                where = np.cumsum([0, *map(len, wholes)])
                number = self.node.iface_number(iface) if isinstance(iface, str) else 0
                numbers = np.full(len(wholes), number, np.uint16) if isinstance(iface, str) else iface
                out = self.stacks[6].core.process_frames(there, where, numbers, now)
                for (a, b), (c, d) in zip(pairwise(ends), pairwise(where), strict=True):
                    buffer[a:b] = np.frombuffer(four(bytes(there[c:d])), np.uint8)
                return narrowed(out, dtypes.RESULT)

            return run

        self.over(engine, "process_packet", packet)
        self.over(engine, "process_frames", frames)

    def group(self, group):
        def process(before):
            def run(self, batch, now=0.0, out=None):
                if not is_of_ipv4(batch):
                    return before(self, batch, now, out)
                room = None if out is None else np.empty(len(out), dtypes.RESULT6)
                found = results(before(self, headers(batch), now, room), batch)
                if out is None:
                    return found
                out[: len(found)] = found
                return out

            return run

        self.over(group, "process", process)
        self.over(group, "shard_of", lambda f: lambda s, batch: f(s, headers(batch) if is_of_ipv4(batch) else batch))

    def texts(self, engine):
        for name in ("services", "service_connections"):
            self.over(engine, name, lambda f: lambda s, version=6: quads(f(s, 6)))
        self.over(engine, "change_nft", self.of_text(nftables))
        self.over(engine, "list_nft", lambda f: lambda s, *m, **k: of_ipv4(f(s, *m, **k)))

    def connections(self, view):
        self.over(view, "_connection", lambda f: lambda s, *m: in_ipv4(f(s, *m)))
        self.over(view, "delete", lambda f: lambda s, c: f(s, in_ipv6(s.at(6, c) if isinstance(c, int) else c)))
        self.over(view, "load", self.of_text(dump))
        self.over(view, "find", lambda f: lambda s, proto, src, sport, dst, dport: f(
            s, proto, one(src), sport, one(dst), dport
        ))  # fmt: skip
        self.over(view, "to_numpy", lambda f: lambda s, version=6: rows(f(s, 6)))
