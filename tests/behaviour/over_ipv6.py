"""Everything that a test of IPv4 says and hears, over IPv6: 10.0.0.9 is fd00::a00:9, in rules, packets and results.

`Patched(monkeypatch)` puts itself between a test and fastnat: nodes get rules, sets and routes of IPv6, packets become
IPv6 on their way in and IPv4 again on their way out. What IPv6 has not (options, fragments of IPv4) it refuses.
"""

import ipaddress
import re
import struct

import numpy as np
from kernel.handmade import csum, fold

import fastnat
from fastnat import dtypes
from fastnat.conntrack.view import Conntrack

FRONT = 0xFD00 << 112
QUAD = r"(?<![\w.:])(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?![\w.])"
# destination unreachable by its code, time exceeded, queries
ICMP = {(8, 0): (128, 0), (0, 0): (129, 0), (3, 1): (1, 3), (3, 3): (1, 4), (3, 0): (1, 0), (11, 0): (3, 0)}
NFT = [
    (r"\bip (saddr|daddr|dscp|ecn|length|version)\b", r"ip6 \1"), (r"\bip ttl\b", "ip6 hoplimit"),
    (r"\bip protocol\b", "ip6 nexthdr"), (r"\btable ip\b", "table ip6"), (r"\bipv4_addr\b", "ipv6_addr"),
    (r"\bl3proto ip\b", "l3proto ip6"), (r"\b(snat|dnat)( prefix)? ip\b", r"\1\2 ip6"), (r"\bicmp\b", "icmpv6"),
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


def quads(text):
    """Return a listing with addresses of IPv4 again."""
    return re.sub(r"\[?fd00::([0-9a-f]+):([0-9a-f]+)\]?", lambda m: _quad(int(m[1], 16) << 16 | int(m[2], 16)), text)


def _quad(number):
    return str(ipaddress.IPv4Address(number))


def nftables(text):
    """Return rules of nftables for IPv6."""
    text = worded(text)
    for old, new in NFT:
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
    if len(data) < 20 or data[0] != 0x45 or data[6] & 0x3F or data[7]:
        raise ValueError("IPv6 has no such packet")
    src, dst = (FRONT.to_bytes(16, "big")[:12] + data[at : at + 4] for at in (12, 16))
    proto, body = data[9], data[20:]
    if proto == 1:
        proto, body = 58, _icmp(body, src + dst)
    else:
        body = _resummed(proto, body, data[12:20], src + dst)
    length = int.from_bytes(data[2:4], "big") - 20
    head = struct.pack(">IHBB", 6 << 28 | data[1] << 20, length, proto, data[8])
    return head + src + dst + body


def _resummed(proto, body, old, new):
    at = {6: 16, 17: 6, 136: 6}.get(proto)
    if at is None or len(body) < at + 2 or (proto == 17 and body[6:8] == b"\0\0"):
        return body
    there = moved(int.from_bytes(body[at : at + 2], "big"), old, new)
    return body[:at] + (there or 0xFFFF * (proto == 17)).to_bytes(2, "big") + body[at + 2 :]


def _icmp(body, ends):
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
    length = int.from_bytes(data[4:6], "big") + 20
    head = struct.pack(">BBHHHBBH", 0x45, (data[0] & 15) << 4 | data[1] >> 4, length, 1, 0, data[7], proto, 0)
    head = head + src + dst
    return head[:10] + csum(head).to_bytes(2, "big") + head[12:] + body


# ---------------------------------------------------------------- calls
def one(value):
    """Return what stands for an address, or for several, in a call."""
    if isinstance(value, str):
        return worded(value)
    if isinstance(value, np.ndarray):
        return [one(int(v)) for v in value.ravel()]
    if isinstance(value, list | tuple | range):
        return [one(v) for v in value]
    return ipaddress.IPv6Address(FRONT | int(value))


def results(out):
    """Return results of IPv4 for those of IPv6."""
    made = np.zeros(out.shape, dtypes.RESULT)
    for name in dtypes.RESULT.names:
        made[name] = out[name]["low"] & 0xFFFFFFFF if name in ("src", "dst") else out[name]
    return made


class Patched:
    """Stands between a test and fastnat until the test ends."""

    def __init__(self, patch):
        self.patch = patch
        node, engine = fastnat.Node, fastnat.Engine
        add_interface, add_address, add_route = node.add_interface, node.add_address, node.add_route
        load_sets, load_nft, load_services = node.load_sets, node.load_nft, node.load_services
        load6, packets, process = node.load_rules6, engine.packets, engine.process
        process_packet, save_rules, ports, services = (
            engine.process_packet, engine.save_rules, engine.ports, engine.services,
        )  # fmt: skip

        def route(self, to, via=None, **more):
            given = {name: worded(v) if name == "src" else v for name, v in more.items()}
            add_route(self, "::/0" if to == "default" else worded(to), via=via and worded(via), **given)

        def run(self, batch, now=0.0, *more, **named):
            out = process(self, batch, now, *more, **named)
            return results(out) if out.dtype == dtypes.RESULT6 else out

        def pass_packet(self, data, iface="local", now=0.0):
            verdict, out = process_packet(self, six(bytes(data)), iface, now)
            return verdict, four(out) if out else out

        def given(self, **fields):
            return packets(self, **{n: one(v) if n in ("src", "dst") else v for n, v in fields.items()})

        def interface(self, name, addresses=(), mtu=1500):
            add_interface(self, name, addresses if name == "lo" else list(map(worded, addresses)), mtu)

        patch.setattr(node, "add_interface", interface)
        patch.setattr(
            node, "add_address", lambda s, n, a, *m: add_address(s, n, a if a.startswith("127.") else worded(a), *m)
        )
        patch.setattr(node, "add_route", route)
        patch.setattr(node, "load_rules", lambda s, text, *m, **k: load6(s, rules(text), *m, **k))
        patch.setattr(node, "load_sets", lambda s, text, *m, **k: load_sets(s, sets(text), *m, **k))
        patch.setattr(node, "load_nft", lambda s, text, *m, **k: load_nft(s, nftables(text), *m, **k))
        patch.setattr(node, "load_services", lambda s, text, *m, **k: load_services(s, worded(text), *m, **k))
        patch.setattr(engine, "packets", given)
        patch.setattr(engine, "process", run)
        patch.setattr(engine, "process_packet", pass_packet)
        patch.setattr(engine, "save_rules", lambda s, version=6: save_rules(s, 6))
        patch.setattr(engine, "services", lambda s, version=6: quads(services(s, 6)))
        form = Conntrack.format
        patch.setattr(Conntrack, "format", lambda s, style="conntrack": quads(form(s, style)))
        patch.setattr(engine, "ports", lambda s, a, p, d, n: ports(s, one(a), p, one(d), n))
