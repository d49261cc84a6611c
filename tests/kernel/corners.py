"""Cases of what few packets are: fragments, options, broken headers, bundles of chunks, quotations that are off.

Each is a list of packets, with all that comes of it: every packet that leaves, the table, `conntrack -S`, the counters
of the rules. `python tests/kernel/corners.py [NAME...]` (as root) records in corners/ what the running kernel does.
"""

import json
import platform
import random
import re
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkHeartbeatAck,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkSACK,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)

from fastnat import Engine
from fastnat.capture.pcap import Batch
from fastnat.capture.replay import Replay
from kernel import cases, recorder
from kernel.differential import COUNTERS, rule_counters
from kernel.random_fragments import Fragments
from kernel.random_traffic import internet_checksum, with_option

FOLDER = Path(__file__).with_name("corners")
MASQUERADE = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
# these need no conntrack
PLAIN = (
    "*mangle\n-A PREROUTING\nCOMMIT\n*filter\n-A FORWARD -f\n-A FORWARD ! -f\n-A FORWARD -p udp -m udp --dport 53\n"
    "-A FORWARD -p tcp -m tcp --dport 80\n-A FORWARD -p tcp -m multiport --dports 80\n-A FORWARD -p 50\nCOMMIT\n"
)
PLAIN6 = (
    "*mangle\n-A PREROUTING\nCOMMIT\n*filter\n-A FORWARD -o cni0 -p tcp\n-A FORWARD -p udp -m udp --dport 53\n"
    "-A FORWARD -p 59\n-A FORWARD ! -p 17\n-A FORWARD -p 50\nCOMMIT\n"
)
HEADERS = (
    "*filter\n-A FORWARD -m conntrack --ctstate NEW -p udp -m udp --dport 53\n-A FORWARD -p tcp -f -m tcp --dport 80\n"
    "-A FORWARD -p udp -m udp\n-A FORWARD -p tcp -m tcp\n-A FORWARD -p sctp -m sctp\nCOMMIT\n"
)
ENDS = {4: ("10.244.1.5", "203.0.113.9"), 6: ("fd01::5", "fd03::9")}
NODE = {4: "198.51.100.10", 6: "fd02::aaaa"}


def v4(proto, l4, options=b"", ends=ENDS[4]):
    """Return an IPv4 datagram; options are padded with zeros."""
    options += bytes(-len(options) % 4)
    made = bytes(IP(src=ends[0], dst=ends[1], proto=proto, ttl=64, len=20 + len(l4)))
    return with_option(made, options) + l4


def v6(kind, body, ends=ENDS[6], hops=64):
    """Return an IPv6 datagram."""
    made = bytearray(bytes(IPv6(src=ends[0], dst=ends[1], nh=kind, hlim=hops))[:40])
    made[4:6] = len(body).to_bytes(2, "big")
    return bytes(made) + body


def layer(made, family=4, ends=None):
    """Return the bytes of an l4 layer with its checksum."""
    src, dst = ends or ENDS[family]
    return bytes(IP(src=src, dst=dst) / made)[20:] if family == 4 else bytes(IPv6(src=src, dst=dst) / made)[40:]


OPTIONS = [
    # record route: room, full, a pointer that is off, cut, twice
    b"\x07\x07\4" + bytes(4),
    b"\x07\x0b\x08" + bytes(8),
    b"\x07\x07\x08" + bytes(4),
    b"\x07\x07\5" + bytes(4),
    b"\x07\x07\3" + bytes(4),
    b"\x07\2",
    b"\x07\3\4",
    b"\x07\3\5",
    (b"\x07\x07\4" + bytes(4)) * 2,
    b"\x07\x27\4" + bytes(36),
    # time stamps that are full, overflow, or are another node's
    b"\x44\x0c\x0d\0" + bytes(8),
    b"\x44\x0c\x0d\xf0" + bytes(8),
    b"\x44\x0c\x0d\xf3" + bytes(8),
    b"\x44\x0c\x0d\xe1" + bytes(8),
    b"\x44\x0c\5\3\xcb\0\x71\x14" + bytes(4),
    b"\x44\x0c\5\2" + bytes(8),
    b"\x44\x08\5\1" + bytes(4),
    b"\x44\3\5",
    b"\x44\4\4\0",
    b"\x44\4\5\0",
    b"\1\1\1\x44",
    # source routes
    b"\x83\x07\4\xcb\0\x71\x14",
    b"\x89\x07\4\xcb\0\x71\x14",
    b"\x83\3\4",
    b"\x83\x07\x08" + bytes(4),
    b"\x83\x07\3" + bytes(4),
    # router alert, security, CIPSO, unknown ones, what is behind the end
    b"\x94\4\0\0",
    b"\x94\2",
    b"\x94\3\0",
    b"\x94\4\0\1",
    b"\x82\x0b" + bytes(9),
    b"\x88\4\0\1",
    b"\x86\6\0\0\0\1",
    b"\0\0\0\1",
    b"\0\1\2\3",
    b"\1\1\1\x07",
    b"\x99\1\0\0",
    b"\x99\x09\0\0",
    b"\x99\3\0\0",
    b"\0\x07\x07\4",
    b"\1\1\1\0",
]
HOPS = [
    b"\1\4\0\0\0\0",
    b"\1\4\0\0\0\1",
    b"\5\2\0\0\1\0",
    b"\5\1\0\1\1\0",
    b"\5\3\0\0\0\0",
    b"\xc2\4\0\0\0\1",
    b"\x1e\4\0\0\0\0",
    b"\x5e\4\0\0\0\0",
    b"\x9e\4\0\0\0\0",
    b"\xde\4\0\0\0\0",
    bytes(6),
    bytes(14),
    b"\1\6" + bytes(12),
    b"\1\5" + bytes(12),
    b"\1\5\0\0\0\0\0\5\2\0\0\1\1\0",
    b"\x1e\0" * 7,
    b"\x1e\0" * 11,
    b"\x1e\0" * 8 + b"\1\4\0\0\0\0",
    b"\x07\x08" + bytes(8) + b"\1\2\0\0",
    b"\x31\2\0\0\1\0",
    b"\1\0\x31\2\0\0",
    b"\x1e\xff\0\0\0\0",
    b"\x63\4\0\0\0\0",
]


def options():
    """One UDP flow for each option."""
    for n, option in enumerate(OPTIONS):
        yield "cni0", v4(17, layer(UDP(sport=4000 + n, dport=53) / b"x"), option)


def fragmented_options():
    """Datagrams with options that are larger than the next device takes."""
    for n, option in enumerate((b"\x94\4\0\0", b"\x5e\4\1\2\xde\4\3\4", b"\1\1\x5e\4\1\2\0", b"\x82\x0b" + bytes(9))):
        yield "cni0", v4(17, layer(UDP(sport=4000 + n, dport=53) / bytes(1200)), option)


def hop_by_hop():
    """A hop-by-hop header of every kind."""
    for n, option in enumerate(HOPS):
        body = layer(UDP(sport=4000 + n, dport=53) / b"x", 6)
        yield "cni0", v6(0, bytes([17, (len(option) + 2) // 8 - 1]) + option + body)
    for cut in (b"\x11\5\1\4\0\0\0\0abcd", b"\x11\0\1", b"\x11"):
        yield "cni0", v6(0, cut)


def addresses6():
    """Addresses for which a packet is thrown away before any rule, and others."""
    odd = ["::1", "ff02::1", "ff01::1", "ff00::1", "::"]
    for address in odd:
        yield "cni0", v6(17, layer(UDP(sport=4000, dport=53), 6), (address, ENDS[6][1]))
        yield "cni0", v6(17, layer(UDP(sport=4001, dport=53), 6), (ENDS[6][0], address))


def chains():
    """Chains of extension headers that are cut, too long, or end in nothing."""
    udp, pad = b"\x0f\xa0\0\x35\0\x08\0\0", b"\1\4\0\0\0\0"
    bodies = [
        (60, b"\x11\5" + pad + udp),
        (60, b"\x32\5\1\4\0\0"),
        (60, b"\x11"),
        (60, b""),
        (43, b"\x11\0"),
        (59, b"abcd"),
        (59, b""),
        (51, b"\x11\1" + bytes(10) + udp),
        (51, b"\x32\x09"),
        (60, b"\x3b\0" + pad),
        (44, b"\x11\0"),
        (44, b"\x11\0\0\x08"),
        (44, b"\x3c\0\0\x08\0\0\0\1"),
        (44, b"\x11\0\0\x08\0\0\0\1abcdefgh"),
        (44, b"\x3b\0\0\x08\0\0\0\1"),
        (17, b"\1\1\1"),
        (44, b"\x11\0\0\0\0\0\0\1" + udp),
        (50, b""),
        (58, b"\x80\0\0"),
    ]
    for kind, body in bodies:
        yield "cni0", v6(kind, body)


def short_headers(family):
    """Every protocol cut after each of its first bytes."""
    make = v4 if family == 4 else v6
    for proto in (17, 6, 132, 136, 33, 51, 58 if family == 6 else 1):
        for size in (0, 3, 4, 7, 8, 11, 12, 19, 20):
            yield "cni0", make(proto, b"\x0f\xa0\0\x35\0\x08\0\0\0\0\0\0\x50\2\0\0\0\0\0\0"[:size])


def lengths_of_udp(family):
    """UDP and UDP-Lite whose length, coverage and checksum are right, and wrong in every way."""
    make, (src, dst) = (v4, ENDS[4]) if family == 4 else (v6, ENDS[6])
    ends = IP(src=src, dst=dst) if family == 4 else IPv6(src=src, dst=dst)
    addresses = bytes(ends)[12:20] if family == 4 else bytes(ends)[8:40]
    port = 4000
    for proto in (17, 136):
        for data, said, summed in (
            (b"xyz", 11, 17),
            (b"xyz\0", 11, 17),
            (b"xyz\0\0\0", 11, 17),
            (b"xyz", 0, 17),
            (b"xyz", 8, 17),
            (b"xyz", 12, 17),
            (b"xyz", 7, 17),
            (b"xyz", 11, 136),
            (b"xyz", 8, 136),
            (b"xyz", 0, 136),
        ):
            port += 1
            l4 = struct.pack(">HHHH", port, 53, said, 0) + data
            total = len(l4) if proto == 136 else said
            covered = l4[: said or len(l4)] if proto == 136 else l4
            words = addresses + struct.pack(">HH", summed, total) + covered
            yield "cni0", make(proto, l4[:6] + internet_checksum(words).to_bytes(2, "big") + l4[8:])


def quotations():
    """Errors about a flow, whose quoted header is off: version, length, offset, end."""
    yield "cni0", v4(17, layer(UDP(sport=4000, dport=53) / b"x"))
    sent = v4(17, layer(UDP(sport=4000, dport=53) / b"x", ends=(NODE[4], ENDS[4][1])), ends=(NODE[4], ENDS[4][1]))
    for at, value in (
        (0, 0x45),
        (0, 0x65),
        (0, 0x05),
        (0, 0x46),
        (0, 0x44),
        (0, 0x40),
        (0, 0x4F),
        (6, 0x20),
        (7, 1),
        (9, 6),
        (9, 50),
    ):
        quoted = bytearray(sent)
        quoted[at] = value
        for size in (None, 28, 24, 20, 19, 8):
            error = layer(ICMP(type=3, code=1) / bytes(quoted[:size]), ends=(ENDS[4][1], NODE[4]))
            yield "eth0", v4(1, error, ends=(ENDS[4][1], NODE[4]))


def redirects6():
    """Redirects of ICMPv6 that are cut, come from afar, or quote nothing."""
    yield "cni0", v6(17, layer(UDP(sport=4000, dport=53) / b"x", 6))
    sent = v6(17, layer(UDP(sport=4000, dport=53) / b"x", 6, (NODE[6], ENDS[6][1])), (NODE[6], ENDS[6][1]))
    whole = b"\x89\0\0\0\0\0\0\0" + bytes(32) + b"\4\1" + bytes(6) + sent
    for source, hops in (("fe80::1", 255), ("fe80::1", 64), ("fd02::1", 255)):
        for change in (None, (1, 1), (40, 1), (41, 0)):
            for size in (None, 90, 60, 48, 42, 41, 40, 39, 8):
                made = bytearray(whole[:size])
                if change and change[0] < len(made):
                    made[change[0]] = change[1]
                words = (
                    bytes(IPv6(src=source, dst=NODE[6]))[8:40]
                    + struct.pack(">II", len(made), 58)
                    + made
                    + bytes(len(made) % 2)
                )
                check = sum(struct.unpack(f">{len(words) // 2}H", words))
                check = (check & 0xFFFF) + (check >> 16)
                made[2:4] = (~((check & 0xFFFF) + (check >> 16)) & 0xFFFF).to_bytes(2, "big")
                yield "eth0", v6(58, bytes(made), (source, NODE[6]), hops)


CHUNKS = [
    SCTPChunkInit(init_tag=7),
    SCTPChunkInitAck(init_tag=9),
    SCTPChunkCookieEcho(cookie=b"1234"),
    SCTPChunkCookieAck(),
    SCTPChunkData(data=b"abc"),
    SCTPChunkHeartbeatReq(),
    SCTPChunkHeartbeatAck(),
    SCTPChunkShutdown(),
    SCTPChunkShutdownAck(),
    SCTPChunkShutdownComplete(),
    SCTPChunkAbort(),
    SCTPChunkSACK(),
    b"\x0e\1\0\4",
    b"\x06\1\0\4",
    b"\x80\0\0\4",
]


def bundles(seed):
    """Associations of SCTP whose packets carry up to four chunks, some of them cut."""
    rng = random.Random(seed)
    for n in range(40):
        port = 4000 + n
        for _ in range(rng.randrange(2, 8)):
            way = rng.random() < 0.4
            ends = ENDS[4][::-1] if way else ENDS[4]
            made = SCTP(sport=80 if way else port, dport=port if way else 80, tag=rng.choice([0, 0, 7, 9]))
            for _ in range(rng.choice([1, 1, 2, 3, 4])):
                made /= rng.choice(CHUNKS)
            data = bytes(made)
            data = data[: rng.randrange(12, len(data) + 1)] if rng.random() < 0.15 else data
            yield "eth0" if way else "cni0", v4(132, data, ends=ends)


def counted():
    """All protocols, so that each shows what it counts and how long it lasts."""
    there, back = ENDS[4], (ENDS[4][1], NODE[4])
    yield "cni0", v4(17, layer(UDP(sport=4000, dport=53) / b"x"))
    yield "eth0", v4(17, layer(UDP(sport=53, dport=4000) / b"xyz", ends=back), ends=back)
    for flags, seq, ack, way in (
        ("S", 5, 0, 0),
        ("S", 5, 0, 0),
        ("SA", 9, 6, 1),
        ("A", 6, 10, 0),
        ("A", 6 << 24, 10, 0),
        ("S", 7 << 24, 0, 0),
    ):
        made = TCP(sport=80 if way else 4000, dport=4000 if way else 80, flags=flags, seq=seq, ack=ack)
        yield ("eth0", v4(6, layer(made, ends=back), ends=back)) if way else ("cni0", v4(6, layer(made, ends=there)))
    yield "cni0", v4(6, layer(TCP(sport=4001, dport=80, flags="S", seq=5)))
    yield "eth0", v4(6, layer(TCP(sport=80, dport=4001, flags="RA", seq=0, ack=6), ends=back), ends=back)
    yield "cni0", v4(1, layer(ICMP(id=7)))
    for proto in (33, 50, 47, 99):
        yield "cni0", v4(proto, b"\0\0\x08\0" + bytes(20))


def counted6():
    """The same of IPv6, from addresses that are written with dots."""
    for n, source in enumerate(("::ffff:1.2.3.4", "::1.2.3.4", "::5", "64:ff9b::1.2.3.4")):
        ends = (source, ENDS[6][1])
        yield "cni0", v6(17, layer(UDP(sport=4000 + n, dport=53 + n), 6, ends), ends)
        yield "cni0", v6(58, layer(ICMPv6EchoRequest(id=n), 6, ends), ends)
    yield "cni0", v6(33, bytes(24))


def corner(traffic, *, rules=MASQUERADE, family=4, mtus=None, **sysctls):
    """Return a case; sysctls: by their names with two underscores for each dot."""
    ours = (cases.INTERFACES, cases.ROUTES) if family == 4 else (cases.INTERFACES6, cases.ROUTES6)
    named = {name.replace("__", "."): value for name, value in sysctls.items()}
    return cases.Case(rules, *ours, traffic, family=family, sysctls=named, mtus=mtus or {})


def fragments(seed, family, rules=MASQUERADE, mtu=1500):
    """Return a case of random fragments."""
    mtus = {"eth0": mtu} if family == 4 else {}
    return corner(lambda: Fragments(seed, family, 25), rules=rules, family=family, mtus=mtus)


def bundled(seed):
    """Return a case of random bundles; without NAT, as both ends of a flow may open it."""
    rules = "*filter\n-A FORWARD -m conntrack --ctstate INVALID\nCOMMIT\n"
    return corner(lambda: bundles(seed), rules=rules, net__netfilter__nf_conntrack_checksum=0)


ROUTED = {"net__ipv4__conf__all__accept_source_route": 1, "net__ipv4__conf__default__accept_source_route": 1}
CORNERS = {
    "options": corner(options),
    "options with source routes": corner(options, **ROUTED),
    "fragmented options": corner(fragmented_options, mtus={"eth0": 600}),
    "hop by hop": corner(hop_by_hop, rules=PLAIN6 + MASQUERADE, family=6),
    "addresses of ipv6": corner(addresses6, rules=PLAIN6 + MASQUERADE, family=6),
    "chains": corner(chains, rules=PLAIN6, family=6),
    "tracked chains": corner(chains, rules=PLAIN6 + MASQUERADE, family=6),
    "short headers": corner(lambda: short_headers(4), rules=HEADERS),
    "short headers of ipv6": corner(lambda: short_headers(6), rules=HEADERS.replace("-f ", ""), family=6),
    "lengths of udp": corner(lambda: lengths_of_udp(4)),
    "lengths of udp over ipv6": corner(lambda: lengths_of_udp(6), family=6),
    "quotations": corner(quotations),
    "redirects of ipv6": corner(redirects6, family=6),
    **{f"bundles {n}": bundled(n) for n in range(3)},
    "counted": corner(counted, net__netfilter__nf_conntrack_acct=1, net__netfilter__nf_conntrack_icmp_timeout=33),
    "counted of ipv6": corner(
        counted6, family=6, net__netfilter__nf_conntrack_acct=1, net__netfilter__nf_conntrack_icmpv6_timeout=77
    ),
    **{f"fragments {n}": fragments(n, 4, mtu=(1500, 300, 120)[n % 3]) for n in range(6)},
    **{f"fragments {n} of ipv6": fragments(n, 6) for n in range(6)},
    "fragments without conntrack": fragments(7, 4, PLAIN, 120),
    "fragments without conntrack of ipv6": fragments(7, 6, PLAIN6),
}


def without_number(data):
    """Return an IPv6 packet without the identification of its fragment header, which the kernel draws anew."""
    at, kind_at = 40, 6
    if data[0] >> 4 != 6:
        return data
    while len(data) >= at + 8 and data[kind_at] in (0, 43, 60):
        kind_at, at = at, at + (data[at + 1] + 1) * 8
    return data[: at + 4] + bytes(4) + data[at + 8 :] if len(data) >= at + 8 and data[kind_at] == 44 else data


def table(text):
    """Return the lines of a table without the seconds left, and these; UNREPLIED GRE has other columns in /proc."""
    found = [re.match(r"(\S+ +\d+ \S+ +\d+) (\d+) (.*)", line) for line in text.splitlines() if line.strip()]
    rows = sorted((f"{m[1]} {m[3]}", int(m[2])) for m in found if m)
    return [[line, seconds] for line, seconds in rows]


def told_by_kernel(case):
    """Return what the running kernel makes of a case."""
    kernel = recorder.Namespace(case)
    try:
        packets, begin = [], time.monotonic()
        for iface, data in case.traffic():
            kernel.inject(iface, data)
            packets.append([iface, data.hex(), [[i, without_number(d).hex()] for i, d in kernel.drain(0.004)]])
        text = "\n".join(kernel.table(case.family))
        proc = "\n".join(line for line in kernel.run("cat", "/proc/net/nf_conntrack").splitlines())
        stats, saved = kernel.stats(), kernel.save_rules(case.family)
        took = time.monotonic() - begin
    finally:
        kernel.close()
    return {
        "kernel": platform.release(),
        "seconds": round(took, 1),
        "rules": case.rules,
        "packets": packets,
        "table": table(text),
        "proc": table(proc),
        "stats": {c: stats[c] for c in COUNTERS},
        "counters": sorted(map(list, rule_counters(saved))),
    }


def told_by_engine(case, record):
    """Return what the engine makes of the packets of a record, in its words."""
    engine = Engine(case.node())
    run, packets = Replay(engine), []
    for n, (iface, data, _) in enumerate(record["packets"]):
        now = record["seconds"] * n / len(record["packets"])
        left = [e for answers in run.run([Batch([now], [iface], [bytes.fromhex(data)])]) for e in answers.emitted()]
        packets.append([iface, data, [[i, without_number(d).hex()] for _, i, d in left if i != "local"]])
    saved = rule_counters(engine.save_rules(case.family))
    return {
        "packets": packets,
        "table": table(engine.conntrack.format("extended")),
        "proc": table(engine.conntrack.format("proc")),
        "stats": {c: engine.stats[c] for c in COUNTERS},
        "counters": sorted(map(list, saved)),
    }


def check(case, record):
    """Assert that the engine makes the same of a case."""
    mine = told_by_engine(case, record)
    for n, (ours, theirs) in enumerate(zip(mine["packets"], record["packets"], strict=True)):
        assert ours == theirs, f"packet {n}"
    for name in ("table", "proc"):
        assert [line for line, _ in mine[name]] == [line for line, _ in record[name]], name
        # what takes a moment here took some there
        late = [(a, b[1]) for a, b in zip(mine[name], record[name], strict=True) if abs(a[1] - b[1]) > 2]
        assert not late, f"{name}: seconds left here and there: {late}"
    assert mine["stats"] == record["stats"]
    assert mine["counters"] == record["counters"]


def main(names):
    FOLDER.mkdir(exist_ok=True)
    for name in names or CORNERS:
        record = told_by_kernel(CORNERS[name])
        (FOLDER / f"{name.replace(' ', '_')}.json").write_text(json.dumps(record, indent=0) + "\n")
        print(f"{name}: {len(record['packets'])} packets")


if __name__ == "__main__":
    main(sys.argv[1:])
