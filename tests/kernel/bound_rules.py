"""Rules of iptables and nftables with packets at the bounds of what they ask, for bounds.py."""

# ruff: noqa: E501  one line is one kind of rule
import itertools
import random
import struct
import subprocess

import fastnat
from kernel import corners, random_streams, test_nftables
from kernel.bound_streams import ENDS, OPTIONS, Ends
from kernel.handmade import chunk, csum, dccp, icmp, ip4, ip6, sctp, tcp, udp, udplite
from kernel.walks import node_of, one_source


# ---------------------------------------------------------------- matches of iptables
def datagram(family, proto, l4, *, ends=(0, 1), hops=64, tos=0, options=b"", extensions=()):
    """Return a datagram from one of ENDS to another; ends may be addresses, extensions are those of handmade.ip6."""
    src, dst = (ENDS[family][end] if isinstance(end, int) else end for end in ends)
    if family == 4:
        return ip4(src, dst, 1 if proto == "icmp" else proto, l4, hops, tos, opts=options)
    return ip6(src, dst, 58 if proto == "icmp" else proto, l4, hops, tos, ext=extensions)


def udp_of(family, sport, dport, data=b"", **other):
    """Return a UDP datagram of datagram()."""
    ends = [ENDS[family][end] if isinstance(end, int) else end for end in other.get("ends", (0, 1))]
    return datagram(family, 17, udp(*ends, sport, dport, data), **other)


def tcp_of(family, sport, dport, flags="S", **given):
    """Return a TCP segment of datagram(); opts, data, seq and win are the segment's."""
    inner = {name: given.pop(name) for name in ("opts", "data", "seq", "ack", "win") if name in given}
    ends = [ENDS[family][end] if isinstance(end, int) else end for end in given.get("ends", (0, 1))]
    return datagram(family, 6, tcp(*ends, sport, dport, flags, **inner), **given)


def icmp_of(family, kind, code, **other):
    """Return an ICMP message."""
    ends = [ENDS[family][end] for end in other.get("ends", (0, 1))]
    made = icmp(kind, code, bytes(4), b"abcdefgh", v6=ends if family == 6 else None)
    return datagram(family, "icmp", made, **other)


TCP_LISTS = [
    *OPTIONS, *(b"\2\4" + struct.pack(">H", mss) for mss in (0, 1, 499, 500, 501, 999, 1000, 1001, 65535)),
    b"\1\2\4\2\x08", b"\1\1\1\2\4\2\x08", b"\2\3\7", b"\2\4\2", b"\2\0\2\4\2\x08", b"\5\0\2\4\2\x08", b"\2\5\2\x08\0\1\1\1",
    b"\0\2\4\2\x08\0", b"\3\3\2\2\4\2\x08\1", b"\1" * 36 + b"\2\4\2\x08", b"\1" * 40, b"\1" * 37 + b"\2\4\2",
    b"\x1e\x28" + b"\1" * 38, b"\x1e\x27" + b"\1" * 37 + b"\2", b"\4\1\2\4\2\x08", b"\4\2\4\2\5\2", b"\1\1\1\5", b"\5\x0a" + bytes(8),
]  # fmt: skip


def header_packets(family):
    """Yield datagrams whose ports, lengths, TTL, TOS, flags, options and types lie at the bounds of RULES."""
    for sport, dport in itertools.product((999, 1000, 1001, 1999, 2000, 2001, 65535, 0), (53, 999, 1000, 2000, 2001)):
        yield udp_of(family, sport, dport)
    for sport, dport in itertools.product((999, 1000, 2000, 2001), (999, 1000, 2000, 2001)):
        yield tcp_of(family, sport, dport, "S")
        yield datagram(family, 132, sctp(sport, dport, 0, chunk(1, 0, bytes(16))))
        ends = ENDS[family][:2]
        yield datagram(family, 136, udplite(*ends, sport, dport, b"x"))
        yield datagram(family, 33, dccp(*ends, sport, dport, 0))
    for size in (0, 1, 2, 70, 71, 72, 73, 471, 472, 473):
        yield udp_of(family, 4000, 53, bytes(size))
    for hops in (1, 2, 31, 32, 33, 63, 64, 65, 254, 255):
        yield udp_of(family, 4000, 53, hops=hops)
    for tos in (0, 1, 2, 3, 4, 0x10, 0x28, 0x29, 0x2A, 0x2B, 0x2C, 0xB8, 0xBB, 0xFC, 0xFF):
        yield udp_of(family, 4000, 53, tos=tos)
        yield tcp_of(family, 4000, 80, "SEC" if tos & 4 else "S", tos=tos)
    for bits in range(256):
        yield tcp_of(family, 4000, 80, "".join(name for name, bit in random_streams.FLAGS.items() if bits & bit))
    for opts in TCP_LISTS:
        yield tcp_of(family, 4000, 80, "S", opts=opts)
        yield tcp_of(family, 4000, 80, "SA", opts=opts, data=b"abc")
    for kind, code in itertools.product((0, 1, 2, 3, 4, 5, 8, 11, 128, 129, 254, 255), (0, 1, 3, 4, 5, 15, 16, 255)):
        yield icmp_of(family, kind, code)
    for proto in (0, 1, 2, 41, 47, 50, 51, 59, 89, 103, 132, 255):
        yield datagram(family, proto, b"\0\1\0\2\0\3\0\4" * 3)
    # headers that are cut, and lie about their length
    whole = tcp_of(family, 1000, 2000, "S", opts=b"\2\4\2\x08\1\1\1\5")
    begin = 20 if family == 4 else 40
    for size in range(begin, begin + 30):
        yield with_length(family, whole[:size])
    for offset in range(16):
        made = bytearray(whole)
        made[begin + 12] = offset << 4
        yield bytes(made)
    for proto in (17, 6, 132, 136, "icmp", 33, 50, 51):
        for size in (0, 1, 3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 24):
            yield datagram(family, proto, bytes([3, 0xE8, 7, 0xD0]) * 6 if size > 23 else (b"\3\xe8\7\xd0" * 6)[:size])
    for near in range(-2, 3):
        src = f"10.244.1.{100 + near}" if family == 4 else f"fd01::{0x100 + near:x}"
        for far in range(-2, 3):
            dst = f"203.0.113.{128 + far}" if family == 4 else f"fd03::1:{far % 0x10000:x}"
            yield udp_of(family, 4000, 53, ends=(src, dst))


def with_length(family, data):
    """Return a datagram that is cut, with its header right again."""
    made = bytearray(data)
    if family == 6:
        made[4:6] = struct.pack(">H", len(made) - 40)
        return bytes(made)
    made[2:4] = struct.pack(">H", len(made))
    made[10:12] = bytes(2)
    made[10:12] = struct.pack(">H", csum(bytes(made[:20])))
    return bytes(made)


MATCHES = [
    *(f"-p {proto} -m {proto} {inverse}--{which} {ports}" for proto in ("udp", "tcp", "sctp")
      for which in ("sport", "dport") for inverse in ("", "! ") for ports in ("1000:2000", "1000", "2001:", ":999")),
    *(f"-p {proto} -m multiport {inverse}--{which} {ports}" for proto in ("udp", "tcp", "udplite", "sctp", "dccp")
      for which in ("sports", "dports", "ports") for inverse in ("", "! ") for ports in ("1000", "53,1000:1999,65535")),
    *(f"-m length {inverse}--length {said}" for inverse in ("", "! ") for said in ("100", "28:100", "101:", ":500")),
    *(f"-m dscp {inverse}--dscp {said}" for inverse in ("", "! ") for said in ("0x0a", "0x2e", "0", "0x3f")),
    *(f"-m tos {inverse}--tos {said}" for inverse in ("", "! ") for said in ("0x28/0xfc", "0x03/0x03", "0x10/0xff", "0/0")),
    *(f"-m ecn {inverse}--ecn-ip-ect {n}" for inverse in ("", "! ") for n in range(4)),
    *(f"-p tcp -m ecn {inverse}--ecn-tcp-{flag}" for inverse in ("", "! ") for flag in ("ece", "cwr")),
    *(f"-p tcp -m tcp {inverse}--tcp-flags {said}" for inverse in ("", "! ")
      for said in ("SYN,ACK SYN", "ALL NONE", "ALL FIN,URG,PSH", "FIN,SYN,RST,ACK SYN", "RST RST", "URG,PSH PSH")),
    "-p tcp -m tcp --syn", "-p tcp -m tcp ! --syn",
    *(f"-p tcp -m tcp {inverse}--tcp-option {n}" for inverse in ("", "! ") for n in (1, 2, 3, 4, 5, 8, 30, 255)),
    *(f"-p tcp -m tcpmss {inverse}--mss {said}" for inverse in ("", "! ") for said in ("500", "500:1000", "0:520", "1000:65535")),
    *(f"-m statistic --mode nth {inverse}--every {every} --packet {packet}" for inverse in ("", "! ")
      for every, packet in ((1, 0), (2, 0), (2, 1), (3, 2), (7, 3))),
    *(f"-m quota {inverse}--quota {said}" for inverse in ("", "! ") for said in (0, 1, 28, 1000, 20_000)),
    "-m limit --limit 1/hour --limit-burst 1", "-m limit --limit 1/hour --limit-burst 5", "-m limit --limit 1/hour --limit-burst 100",
    *(f"-m hashlimit --hashlimit-{which} {rate} --hashlimit-burst {burst} {mode} --hashlimit-name H{n}" for n, (which, rate, burst, mode) in
      enumerate(itertools.product(("upto", "above"), ("1/hour", "2/day"), (1, 3), (
          "", "--hashlimit-mode srcip", "--hashlimit-mode srcip,dstip --hashlimit-srcmask 25", "--hashlimit-mode dstport",
          "--hashlimit-mode srcport,dstport", "--hashlimit-mode srcip,srcport,dstip,dstport --hashlimit-dstmask 31")))),
    *(f"-m recent --name R{n} --set {which}" for n, which in enumerate(("--rsource", "--rdest"))),
    *(f"-m recent --name R{n} {inverse}--{op} {which} {more}" for n, which in enumerate(("--rsource", "--rdest"))
      for inverse in ("", "! ") for op in ("rcheck",) for more in ("", "--hitcount 1", "--hitcount 5", "--hitcount 20",
      "--rttl", "--seconds 1000 --hitcount 3", "--seconds 1000 --rttl --hitcount 2")),
    *(f"-m recent --name U{n} {inverse}--update {which} {more}" for n, (inverse, which, more) in
      enumerate(itertools.product(("", "! "), ("--rsource", "--rdest"), ("", "--hitcount 2", "--rttl")))),
    *(f"-m recent --name V{n} {op} --rsource" for n in range(2) for op in ("--set", "--remove", "--rcheck", "--set")),
]  # fmt: skip
OF_FAMILY = {
    4: [
        *(f"-p icmp -m icmp {inverse}--icmp-type {said}" for inverse in ("", "! ")
          for said in ("3", "3/4", "8", "8/1", "11/1", "any", "5/3", "255/255")),
        *(f"-m ttl {said}" for said in ("--ttl-eq 64", "! --ttl-eq 64", "--ttl-lt 32", "--ttl-gt 64")),
        *(f"-m iprange {inverse}--{which}" for inverse in ("", "! ") for which in (
            "src-range 10.244.1.99-10.244.1.101", "dst-range 203.0.113.127-203.0.113.129", "src-range 10.244.1.100-10.244.1.100")),
        *(f"{inverse}-{way}" for inverse in ("", "! ") for way in (
            "s 10.244.1.100/31", "s 10.244.1.100", "d 203.0.113.128/25", "d 0.0.0.0/0", "d 203.0.113.127", "s 10.244.0.0/255.255.0.3")),
        "-p icmp", "! -p icmp", "-p 0", "-p 51", "-f", "! -f",
    ],
    6: [
        *(f"-p ipv6-icmp -m icmp6 {inverse}--icmpv6-type {said}" for inverse in ("", "! ")
          for said in ("1", "1/4", "128", "128/1", "3/1", "255/255", "4/0")),
        *(f"-m hl {said}" for said in ("--hl-eq 64", "! --hl-eq 64", "--hl-lt 32", "--hl-gt 64")),
        *(f"-m iprange {inverse}--{which}" for inverse in ("", "! ") for which in (
            "src-range fd01::ff-fd01::101", "dst-range fd03::1:0-fd03::1:1", "src-range fd01::100-fd01::100")),
        *(f"{inverse}-{way}" for inverse in ("", "! ") for way in (
            "s fd01::100/127", "s fd01::100", "d fd03::1:0/112", "d ::/0", "d fd03::ffff", "s fd01::/ffff::3")),
        "-p ipv6-icmp", "! -p ipv6-icmp", "-p 50", "-p 59",
        *(f"-m rt {inverse}--rt-type {n}" for inverse in ("", "! ") for n in (0, 2, 4)),
        *(f"-m rt --rt-type {kind} {said}" for kind, said in ((0, "--rt-len 24"), (0, "! --rt-len 24"), (0, "--rt-0-res"))),
        *(f"-m rt {inverse}--rt-segsleft {said}" for inverse in ("", "! ") for said in ("0", "1:2", "255")),
    ],
}  # fmt: skip
# what a rule asks of a connection, in front of which others mark both
OF_CONNECTIONS = [
    *(f"-m conntrack {inverse}--ctstate {said}" for inverse in ("", "! ")
      for said in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "NEW,INVALID", "SNAT", "DNAT")),
    *(f"-m conntrack {inverse}--ctstatus {said}" for inverse in ("", "! ") for said in ("NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED")),
    *(f"-m conntrack {inverse}--{which} {said}" for inverse in ("", "! ") for which in ("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")
      for said in ("1000:2000", "53", "1000")),
    *(f"-m conntrack {inverse}--ctproto {said}" for inverse in ("", "! ") for said in ("udp", "6", "47")),
    *(f"-m conntrack --ctdir {said}" for said in ("ORIGINAL", "REPLY")),
    *(f"-m conntrack --ctstatus CONFIRMED {inverse}--ctexpire {said}" for inverse in ("", "! ") for said in ("0", "1:", "20:40", "100:140", "3:100")),
    *(f"-m mark {inverse}--mark {said}" for inverse in ("", "! ") for said in ("0", "0x5", "0x4/0x6", "0x1/0x1")),
    *(f"-m connmark {inverse}--mark {said}" for inverse in ("", "! ") for said in ("0", "0x3/0x3", "0x53", "0x13/0x1f")),
    *(f"-m connbytes {inverse}--connbytes {said} --connbytes-dir {way} --connbytes-mode {mode}" for inverse in ("", "! ")
      for way in ("original", "reply", "both") for mode, said in (
          ("packets", "1"), ("packets", "2:3"), ("packets", ":2"), ("bytes", "100:200"), ("bytes", "61:"), ("avgpkt", "40:50"), ("avgpkt", "1:28"))),
    *(f"-m addrtype {inverse}--{which}-type {said}" for inverse in ("", "! ") for which in ("src", "dst")
      for said in ("LOCAL", "UNICAST", "MULTICAST", "UNICAST,LOCAL")),
    *(f"-m pkttype {inverse}--pkt-type {said}" for inverse in ("", "! ") for said in ("unicast", "multicast", "broadcast")),
    *(f"{inverse}-{way} {said}" for inverse in ("", "! ") for way, said in (("i", "cni0"), ("o", "eth0"), ("i", "cni+"), ("o", "eth1"), ("i", "+"))),
]  # fmt: skip
MARKS = (
    "-A PREROUTING -p udp -m udp --sport 1000 -j MARK --set-xmark 0x5/0x7",
    "-A PREROUTING -p udp -m udp --dport 2000 -j MARK --set-xmark 0x2/0xffffffff",
    "-A PREROUTING -p tcp -m tcp --dport 1000 -j MARK --set-mark 0x1/0x3",
    "-A PREROUTING -p udp -m udp --sport 1000:2000 -j CONNMARK --set-xmark 0x13/0x1f",
    "-A PREROUTING -p udp -m udp --dport 53 -j CONNMARK --save-mark --nfmask 0x6 --ctmask 0x7",
    "-A PREROUTING -p tcp -j CONNMARK --set-xmark 0x53/0x0f",
    "-A PREROUTING -m mark --mark 0x1/0x1 -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0",
    "-A PREROUTING -p tcp -m tcp --sport 2000 -j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0xf1",
)
CHANGES = [
    "-A FORWARD -p tcp -m tcp --dport 1000 --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 500", "-A FORWARD -p tcp -m tcp --dport 2000 --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    "-A FORWARD -p tcp -m tcp --sport 1000 --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000", "-A FORWARD -p tcp -m tcp --sport 2000 --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 5",
    "-A FORWARD -p udp -m udp --dport 1000 -j TOS --set-tos 0x28/0xfc", "-A FORWARD -p udp -m udp --dport 53 -j TOS --xor-tos 0x03",
    "-A FORWARD -p udp -m udp --sport 2000 -j TOS --and-tos 0xf0", "-A FORWARD -p udp -m udp --sport 1999 -j DSCP --set-dscp 0x3f",
]  # fmt: skip


def chain_of(matches, chain="FORWARD"):
    """Return rules that only count."""
    return "".join(f"-A {chain} {match}\n" for match in matches)


def matches():
    """What matches of iptables ask of headers and connections: each rule counts, whatever becomes of the packet."""
    for family in (4, 6):
        hops = "TTL --ttl" if family == 4 else "HL --hl"
        changes = [*CHANGES, *(f"-A FORWARD -p udp -m udp --sport {999 + n} -j {hops}-{said}" for n, said in
                               enumerate(("set 200", "inc 250", "dec 60", "inc 3")))]  # fmt: skip
        rules = f"*filter\n{chain_of([*MATCHES, *OF_FAMILY[family]])}COMMIT\n"
        packets = [("cni0", data) for data in header_packets(family)]
        yield f"headers, IPv{family}", node_of(family, **{f"rules{family}": rules}), [packets]
        tracked = f"{rules}*mangle\n-A FORWARD -m conntrack --ctstate INVALID\nCOMMIT\n"
        yield f"headers, tracked, IPv{family}", node_of(family, **{f"rules{family}": tracked}), [packets]
        segments_ = [("cni0", tcp_of(family, sport, dport, flags_, opts=opts, data=data)) for opts in TCP_LISTS
                     for sport, dport in ((1000, 7), (2000, 7), (7, 1000), (7, 2000))
                     for flags_, data in (("S", b""), ("SA", b"x"))]  # fmt: skip
        text = "\n".join(["*mangle", *changes, "COMMIT", ""])
        yield f"changes, IPv{family}", node_of(family, **{f"rules{family}": text}), [packets + segments_]
        about = (f"*mangle\n{chr(10).join(MARKS)}\nCOMMIT\n*filter\n{chain_of(OF_CONNECTIONS)}"
                 f"COMMIT\n*nat\n-A POSTROUTING -p udp -m udp --dport 2000 -j MASQUERADE\nCOMMIT\n")  # fmt: skip
        node = node_of(family, {"net.netfilter.nf_conntrack_acct": 1}, **{f"rules{family}": about})
        one_source(node)
        yield f"connections, IPv{family}", node, [list(connections(family))]


def connections(family):
    """Yield packets of both ways of connections, some of them translated; and an error about each."""
    for n, (sport, dport) in enumerate(itertools.product((999, 1000, 2000, 2001), (53, 1000, 2000))):
        back = 2 if dport == 2000 else 0
        for size in (0, 1, 12, 60):
            yield "cni0", udp_of(family, sport, dport, bytes(size))
            yield "eth0", udp_of(family, dport, sport, bytes(size), ends=(1, back))
        ends = Ends(family, sport, dport)
        yield from ends.open()
        yield ends.segment(1, "PA", data=b"abc")
        yield ends.segment(0, "FA")
        yield ends.segment(1, "R")
        sent = udp_of(family, sport, dport, b"", ends=(back, 1))
        about = [ENDS[family][1], ENDS[family][back]]
        made = icmp(*((3, 1) if family == 4 else (1, 4)), bytes(4), sent, v6=about if family == 6 else None)
        yield "eth0", datagram(family, "icmp", made, ends=(1, back))
        yield "cni0", icmp_of(family, 8 if family == 4 else 128, 0)
        if n % 3 == 0:
            yield "eth0", icmp_of(family, 0 if family == 4 else 129, 0, ends=(1, 0))


# ---------------------------------------------------------------- nftables
FORMS = ("{}", "!= {}", "< {}", "<= {}", "> {}", ">= {}", "{}-{}", "!= {}-{}", "{{ {}, {}-{} }}", "!= {{ {}, {}-{} }}")
# what is compared, with two bounds and one above
COMPARED = [
    ("th sport", 1000, 2000, 3000), ("th dport", 1000, 2000, 2001), ("udp sport", 1000, 1999, 65535),
    ("tcp dport", 1000, 2000, 2001), ("udp length", 79, 80, 480), ("meta length", 28, 100, 501),
    ("ip ttl", 32, 64, 254), ("ip dscp", 10, 11, 46), ("ip saddr", "10.244.1.99", "10.244.1.101", "10.244.1.102"),
    ("ip daddr", "203.0.113.127", "203.0.113.129", "203.0.113.130"), ("tcp option maxseg size", 500, 1000, 1001),
    ("tcp window", 65535, 65535, 65535), ("tcp doff", 5, 6, 15), ("icmp type", 3, 11, 128), ("icmp code", 1, 4, 255),
    ("meta l4proto", 6, 17, 132), ("ip protocol", 6, 17, 132), ("sctp sport", 1000, 2000, 2001), ("icmp id", 0, 1, 2),
    ("@th,0,16", 1000, 2000, 2001), ("@th,16,8", 3, 7, 8), ("@nh,64,8", 17, 64, 65), ("@nh,0,4", 4, 6, 7),
    ("tcp sequence", 0, 1, 2), ("@th,100,4", 2, 5, 9), ("udplite checksum", 0, 1, 65535), ("dccp dport", 53, 1000, 2000),
]  # fmt: skip
ASKED = [
    *(f"tcp option {name} {said}" for name in ("eol", "nop", "maxseg", "window", "sack-perm", "sack", "timestamp", "30")
      for said in ("exists", "missing")),
    *(f"tcp option {field}" for field in ("window count > 3", "window count 0", "sack left > 0", "sack length 10",
      "timestamp tsval 0", "maxseg kind 2", "maxseg length 4", "sack0 left 0", "sack1 left > 0", "sack3 right 0")),
    *(f"tcp flags {said}" for said in ("syn", "!= syn", "syn / syn,ack", "! syn", "& (fin | syn | rst | ack) == syn", "fin,psh")),
    "meta mark & 0x7 == 0x5", "meta mark != 0", "meta mark 0x1-0x5", "meta mark { 1, 5 }", "meta mark << 1 == 10", "meta mark >> 1 == 2",
    *(f"limit rate {over}1/{per} burst {n} packets" for over in ("", "over ") for per in ("hour", "day") for n in (1, 2, 50)),
    *(f"limit rate {over}{n} bytes/day burst {burst} bytes" for over in ("", "over ") for n, burst in ((1, 100), (10, 1000), (1, 28))),
    *(f"quota {over}{n} bytes" for over in ("", "over ") for n in (1, 28, 29, 56, 1000, 20000)),
    *(f"numgen inc mod {n} offset {k} == {k + m}" for n, k, m in ((1, 0, 0), (2, 0, 1), (3, 5, 2), (7, 0, 6))),
    *(f"jhash {fields} mod {n} seed {seed} {{ 0-{n // 2} }}" for fields in ("ip saddr", "ip saddr . ip daddr", "ip saddr . th dport",
      "ip saddr . ip daddr . th sport . th dport", "th sport", "ip saddr . th sport . th dport", "ip daddr . ip saddr . th dport . ip daddr") for n, seed in ((2, 1), (7, 0x12345), (1000, 0))),
    *(f"ct {said}" for said in ("state new", "state established", "state ! new", "state { new, related }", "status seen-reply", "status ! assured",
      "status snat", "direction reply", "direction original", "mark 0x53", "mark != 0x13", "mark & 0x1f == 0x13", "zone 0", "protocol udp",
      "original ip saddr 10.244.1.5", "reply ip daddr 10.244.1.5", "original proto-src 1000", "reply proto-dst 1000-2000", "original proto-dst != 53",
      "packets 2", "packets > 1", "original packets < 3", "reply packets 0", "bytes 100-200", "original bytes > 61", "reply bytes <= 40",
      "avgpkt > 40", "original avgpkt 28", "expiration > 25s", "expiration < 200s", "state invalid", "state untracked")),
    *(f"fib {said}" for said in ("saddr type local", "daddr type != unicast", "saddr . iif oif exists", "saddr oif cni0", "daddr oif eth0",
      "daddr oifname \"eth*\"", "saddr . iif oif missing", "daddr type { local, broadcast, multicast }", "saddr . mark oif exists")),
    'iifname "cni0"', 'oifname != "eth0"', "meta iif cni0", "meta oif eth0", "meta pkttype host", "meta pkttype != multicast",
    "meta nfproto ipv4", "meta protocol ip", "rt nexthop 198.51.100.1", "rt nexthop != 203.0.113.9", "tcp option maxseg size rt mtu",
]  # fmt: skip
OF_IP = {
    4: [
        *(f"ip option {name} {said}" for name in ("lsrr", "ssrr", "rr", "ra") for said in ("exists", "missing", "type 7", "length > 4")),
        "ip option rr ptr 4", "ip option rr addr 0.0.0.0", "ip option ra value 0", "ip option lsrr ptr 4-8", "ip option ssrr addr 203.0.113.20",
        "ip version 4", "ip hdrlength 5", "ip hdrlength > 6", "ip frag-off & 0x1fff == 0", "ip id 1", "ip checksum != 0", "ip length 28-100",
        "ip dscp cs1 ip ecn 1", "ip ecn ce", "rt ip nexthop 198.51.100.1", "ct l3proto ipv4",
    ],
    6: [
        *(f"exthdr {name} {said}" for name in ("hbh", "frag", "rt", "dst") for said in ("exists", "missing")),
        "hbh nexthdr 17", "hbh hdrlength 0", "dst nexthdr tcp", "dst hdrlength > 0", "rt type 0", "rt seg-left 1-2", "rt nexthdr 17", "rt0 addr[1] ::",
        "frag nexthdr 17", "frag id 1", "frag frag-off 0", "frag more-fragments 1", "frag reserved2 0", "mh type 1", "ip6 version 6",
        "ip6 flowlabel 0", "ip6 length 20-60", "ip6 nexthdr { 0, 43, 60 }", "ip6 dscp cs1 ip6 ecn 1", "ct l3proto ipv6", "srh flags 0",
    ],
}  # fmt: skip
KEPT = """
set few { type ipv4_addr; flags dynamic; size 3; }
set timed { type ipv4_addr; flags dynamic,timeout; timeout 1h; size 4; }
set ports { type inet_service; flags dynamic; size 4; counter; }
set limited { type inet_service; flags dynamic; }
set slowed { type inet_service; flags dynamic; }
set quotas { type inet_service; flags dynamic; }
set pairs { type ipv4_addr . inet_service; flags dynamic; }
set intervals { type inet_service; flags interval; elements = { 53, 1000-1999, 65535 } }
set nets { type ipv4_addr; flags interval; elements = { 10.244.1.100/31, 203.0.113.128/25 } }
set both { type inet_service . inet_service; flags interval; elements = { 999-1000 . 53, 2000-2001 . 1000-2000 } }
map marks { type inet_service : mark; elements = { 53 : 1, 1000 : 2, 2000 : 3 } }
map spans { type inet_service : mark; flags interval; elements = { 53-999 : 4, 1000-1001 : 5 } }
map verdicts { type inet_service : verdict; flags interval; elements = { 53 : jump counted, 1000-1999 : goto counted, 2000 : return } }
map kept { type ipv4_addr : mark; flags dynamic; size 3; }
"""
STATEFUL = [
    "ip saddr @few", "add @few { ip saddr }", "ip saddr @few", "ip daddr @timed", "update @timed { ip daddr timeout 2h }", "ip daddr @timed",
    "delete @few { ip daddr }", "th dport @ports", "add @ports { th dport }", "update @ports { th sport }", "th sport @ports",
    "add @limited { th dport limit rate over 1/hour burst 2 packets }", "update @slowed { th sport limit rate 1/hour burst 3 packets }",
    "add @quotas { th sport quota over 100 bytes }", "add @pairs { ip saddr . th dport }", "ip saddr . th dport @pairs", "ip saddr . th sport != @pairs",
    "th sport @intervals", "th dport != @intervals", "ip saddr @nets", "ip daddr != @nets", "th sport . th dport @both", "th dport . th sport != @both",
    "add @kept { ip saddr : 7 }", "update @kept { ip daddr : 9 }", "ip saddr map @kept 7", "th dport vmap @verdicts", "th sport vmap @verdicts",
    "th dport vmap { 53 : continue, 1000 : jump counted }", "ip saddr . th dport vmap { 10.244.1.5 . 53 : jump counted }",
]  # fmt: skip
WRITES = [
    "meta mark set th dport map @marks", "meta mark set th sport map @spans", "meta mark set meta mark and 0x5", "meta mark set meta mark or 0x8",
    "meta mark set meta mark xor 0xff", "meta mark set numgen inc mod 5", "meta mark set jhash ip saddr . th sport mod 9 seed 4 offset 2",
    "udp sport 999 ip dscp set 0x3f", "udp sport 1000 ip ecn set 3", "udp sport 1001 ip ttl set 1", "udp sport 1999 ip dscp set ip dscp",
    "udp sport 2000 ip ttl set 255", "udp dport 1000 udp dport set 1001", "udp dport 2000 udp sport set 7", "tcp dport 2000 tcp sport set tcp dport",
    "sctp dport 2000 sctp dport set 9", "udplite dport 2000 udplite dport set 9", "udp dport 2001 udp checksum set 0",
    "tcp sport 1000 tcp option maxseg size set 500", "tcp sport 2000 tcp option maxseg size set 65535", "tcp dport 1000 reset tcp option sack-perm",
    "tcp dport 1000 reset tcp option window", "tcp dport 7 reset tcp option timestamp", "tcp dport 7 reset tcp option sack",
    "tcp dport 7 reset tcp option maxseg", "tcp dport 7 reset tcp option 30", "ct mark set meta mark", "meta mark set ct mark",
    "udp dport 999 ip daddr set 203.0.113.77", "udp sport 65535 ip saddr set 10.244.1.77", "udp sport 0 ip daddr set ip daddr & 255.255.255.0 | 0.0.0.9",
]  # fmt: skip


def extension_packets(family):
    """Yield datagrams with options of IPv4, or with headers of IPv6, some of them broken; of every kind of corners.py."""
    if family == 4:
        behind_nops = [b"\1" + option for option in (b"\7\7\4" + bytes(4), b"\x94\4\0\0", b"\1\7\7\4" + bytes(4))]
        for n, option in enumerate([*corners.OPTIONS, *behind_nops]):
            yield datagram(4, 17, udp(*ENDS[4][:2], 4000 + n, 53, b"x"), options=option + bytes(-len(option) % 4))
        return
    for way in (corners.hop_by_hop, corners.chains):
        for _, data in way():
            yield data
    for n, body in enumerate(
        (b"\0\0" + bytes(4), b"\0\1" + bytes(4), b"\2\2" + bytes(20), b"\4\xff" + bytes(4), b"\0\2" + bytes(20))
    ):
        for kind in (43, 60):
            header = body if kind == 43 else body[1:2] + b"\1" + bytes(len(body) - 2)
            whole = ip6(
                *ENDS[6][:2],
                17,
                udp(*ENDS[6][:2], 4000 + n, 53, b"xyz"),
                ext=[(kind, bytes([max(len(body) + 2, 8) // 8 - 1]) + header.ljust(6, b"\0")[:22])],
            )
            yield whole
            for size in (41, 42, 43, 44, 47, 48):
                yield with_length(6, whole[:size])
    for n, offset in enumerate((0, 1, 8, 9, 0xFFF8)):
        yield ip6(
            *ENDS[6][:2],
            17,
            udp(*ENDS[6][:2], 4100 + n, 53, b"abcdefgh"),
            ext=[(44, struct.pack(">BHI", 0, offset, 1))],
        )


def table_of(family, text):
    """Return a table of nftables for a family."""
    own, made = ("ip", text) if family == 4 else ("ip6", test_nftables.of_ipv6(text))
    return f"table {own} t {{\n{made}\n}}\n"


def nft_counts(rules):
    """Return lines that count."""
    return "\n".join(f"{rule} counter" for rule in rules)


def nftables():
    """Expressions of nftables at the bounds of what packets hold: each rule counts what is left of it."""
    compared = [f"{name} {form.format(*bounds)}" for name, *bounds in COMPARED for form in FORMS]
    marks = ("udp sport 1000 meta mark set 5", "udp dport 2000 meta mark set 2", "tcp dport 1000 meta mark set 1")
    track = "chain tracked {\ntype filter hook output priority 0; policy accept;\nct state invalid counter\n}"
    sets = "chain counted {\ncounter\nmeta mark set 3\ncounter\n}"
    for family in (4, 6):
        front = (
            "chain marked {\ntype filter hook prerouting priority mangle; policy accept;\n" + "\n".join(marks) + "\n}"
        )
        packets = [("cni0", data) for data in (*header_packets(family), *extension_packets(family))]
        some = [rule for rule in [*compared, *ASKED, *OF_IP[family]] if takes(family, rule)]
        chain = f"chain asked {{\ntype filter hook forward priority 0; policy accept;\n{nft_counts(some)}\n}}"
        yield f"asked, IPv{family}", node_of(family, nft=table_of(family, f"{front}\n{chain}")), [packets]
        both = table_of(family, f"{front}\n{chain}\n{track}")
        node = node_of(family, {"net.netfilter.nf_conntrack_acct": 1}, nft=both)
        one_source(node)
        yield f"asked of connections, IPv{family}", node, [[*connections(family), *packets[:200]]]
        kept = [rule for rule in STATEFUL if takes(family, rule, KEPT + sets)]
        chain = f"chain kept_ {{\ntype filter hook forward priority 0; policy accept;\n{nft_counts(kept)}\n}}"
        yield f"kept, IPv{family}", node_of(family, nft=table_of(family, f"{KEPT}{sets}\n{front}\n{chain}")), [packets]
        segments_ = [("cni0", tcp_of(family, sport, dport, "S", opts=opts)) for opts in TCP_LISTS for sport, dport in
                     ((1000, 7), (2000, 7), (7, 1000), (7, 2000))]  # fmt: skip
        written = "\n".join(f"{rule} counter" for rule in WRITES if takes(family, rule, KEPT + sets))
        chain = f"chain written {{\ntype filter hook forward priority 0; policy accept;\n{written}\n}}"
        yield (
            f"written, IPv{family}",
            node_of(family, nft=table_of(family, f"{KEPT}{sets}\n{chain}")),
            [packets + segments_],
        )


# kinds of options: those that rules name, and one that nobody knows; of IPv4 those are lists of addresses, and times
IP_KINDS, TCP_KINDS = (7, 131, 137, 148, 68, 30), (2, 3, 4, 5, 8, 30)
OF_OPTIONS = {
    "ip": [
        *(f"ip option {name} exists" for name in ("rr", "ra", "lsrr", "ssrr")),
        *(f"ip option {name} ptr {n}" for name in ("rr", "lsrr", "ssrr") for n in (4, 8, 12)),
        *(f"ip option {name} length {n}" for name in ("rr", "lsrr", "ssrr") for n in (3, 7, 11)),
        *(f"ip option {name} addr {said}" for name in ("rr", "lsrr", "ssrr") for said in ("16909060", "> 16909060", "0")),
        "ip option ra value 0", "ip option rr type 7", "ip hdrlength > 9",
    ],
    "tcp": [
        *(f"tcp option {name} exists" for name in ("maxseg", "window", "sack-perm", "sack", "timestamp", "30")),
        *(f"tcp option maxseg size {said}" for said in ("258", "> 258", "< 772")), "tcp option window count 1",
        *(f"tcp option timestamp {name} {said}" for name in ("tsval", "tsecr") for said in ("16909060", "> 16909060")),
        *(f"tcp option sack{n} {end} {said}" for n in range(3) for end in ("left", "right") for said in ("16909060", "> 9")),
        *(f"tcp option {name} length {n}" for name in ("maxseg", "sack", "timestamp") for n in (4, 10, 18)),
    ],
}  # fmt: skip


def option_list(draw, kinds, whole):
    """Return options drawn at random: lengths and pointers as they should be, or a little more or less."""
    made = b""
    while len(made) < 40 and draw.random() < 0.8:
        kind = draw.choice((*kinds, *kinds, 1, 0 if draw.random() < 0.2 else 1))
        if kind < 2:
            made += bytes([kind])
            continue
        size = draw.choice((whole.get(kind, 7),) * 4 + (2, 3, 4, 6, 7, 8, 10, 11, 15, 18)) + draw.choice(
            (0,) * 12 + (-1, 1, 9)
        )
        body = bytearray(draw.choice((b"\1\2\3\4", b"\1\2\3\5", b"\3\4\1\2", bytes(4))) * 6)
        if kind in (7, 131, 137, 68):
            body = bytearray([draw.choice((4,) * 6 + (0, 3, 5, 7, 8, 9, 12))]) + body
        if kind == 68:
            body[1] = draw.choice((0, 1, 3, 0xF0, 0xE1))
        if kind == 148 and draw.random() < 0.7:
            body = bytearray(24)
        made += (bytes([kind, size]) + body)[: max(size, 2) if draw.random() < 0.95 else 2]
    return (made[:40] + bytes(-len(made[:40]) % 4))[:40]


def options():
    """Options of IPv4 and TCP in any order, with lengths and pointers that fit and that do not: who is there, and what it says."""
    for family, layer, seed in ((4, "ip", 1), (4, "ip", 2), (4, "tcp", 1), (6, "tcp", 2)):
        draw = random.Random(f"{layer} {seed}")
        packets = []
        for n in range(400):
            if layer == "ip":
                said = option_list(draw, IP_KINDS, {148: 4})
                packets.append(("cni0", udp_of(4, 4000 + n, 53, b"x", options=said)))
            else:
                said = option_list(draw, TCP_KINDS, {2: 4, 3: 3, 4: 2, 5: 10, 8: 10})
                packets.append(("cni0", tcp_of(family, 4000 + n, 80, "S", opts=said)))
        # what is wrong with the options is looked at behind PREROUTING; on its way the clock would be written into a timestamp
        chain = f"chain asked {{\ntype filter hook prerouting priority -400; policy drop;\n{nft_counts(OF_OPTIONS[layer])}\n}}"
        yield f"options of {layer} {seed}, IPv{family}", node_of(family, nft=table_of(family, chain)), [packets]


def takes(family, rule, sets=""):
    """Return whether nft and the engine take a rule: of some fields there is none in a family."""
    text = table_of(family, f"{sets}\nchain c {{\ntype filter hook forward priority 0;\n{rule} counter\n}}")
    done = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"], input=text, text=True, capture_output=True, check=False
    )
    try:
        node = fastnat.Node()
        node.add_interface("cni0", ["10.244.1.1/24", "fd01::1/64"])
        node.load_nft(text)
        fastnat.Engine(node)
    except fastnat.FastnatError:
        return False
    return not done.returncode
