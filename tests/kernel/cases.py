"""The nodes, rules and packets with which the kernel is compared, live and recorded."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import fastnat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6PacketTooBig,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrRouting,
    )
    from scapy.layers.sctp import (
        SCTP,
        SCTPChunkAbort,
        SCTPChunkCookieAck,
        SCTPChunkCookieEcho,
        SCTPChunkData,
        SCTPChunkError,
        SCTPChunkHeartbeatAck,
        SCTPChunkHeartbeatReq,
        SCTPChunkInit,
        SCTPChunkInitAck,
        SCTPChunkSACK,
        SCTPChunkShutdown,
        SCTPChunkShutdownAck,
    )

INTERFACES = {"cni0": ["10.244.1.1/24"], "eth0": ["198.51.100.10/24"]}
ROUTES = ["default via 198.51.100.1 dev eth0"]

SETS = """create CLIENTS hash:ip family inet hashsize 1024 maxelem 65536
add CLIENTS 10.244.1.3
create SERVERS hash:net,port family inet hashsize 1024 maxelem 65536
add SERVERS 203.0.113.16/30,udp:53
add SERVERS 203.0.113.17,udp:53 nomatch
create PORTS bitmap:port range 0-65535
add PORTS 80
create LOOP hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add LOOP 203.0.113.20,icmp:echo-request,10.244.1.12
create BOTH list:set size 8
add BOTH CLIENTS
add BOTH PORTS
"""
RULES = {
    "masquerade": "-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
    "address range": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90",
    "persistent": "-A POSTROUTING -s 10.244.0.0/16 -j SNAT --to-source 198.51.100.20-198.51.100.90 --persistent",
    "one port": "-A POSTROUTING -p udp -j SNAT --to-source 198.51.100.20:7000",
    "sets": "-A POSTROUTING -m set --match-set LOOP dst,dst,src -j SNAT --to-source 198.51.100.41\n"
    "-A POSTROUTING -m set --match-set SERVERS dst,dst -j SNAT --to-source 198.51.100.42\n"
    "-A POSTROUTING -m set --match-set BOTH src -j SNAT --to-source 198.51.100.43\n"
    "-A POSTROUTING -m set ! --match-set LOOP dst,dst -j SNAT --to-source 198.51.100.44",
    "recent": "-A PREROUTING -d 10.96.0.1/32 -m recent --name S --rcheck --seconds 100 --hitcount 2 --rsource "
    "-j DNAT --to-destination 10.244.1.7\n"
    "-A PREROUTING -d 10.96.0.1/32 -m recent --name S --set --rsource -j DNAT --to-destination 10.244.1.8\n"
    "-A POSTROUTING -o eth0 -m recent --name D --update --rdest --rttl -j SNAT --to-source 198.51.100.45\n"
    "-A POSTROUTING -o eth0 -m recent --name D --set --rdest -j SNAT --to-source 198.51.100.46",
    "limit": "-A POSTROUTING -p udp -m limit --limit 3/hour --limit-burst 4 -j SNAT --to-source 198.51.100.47\n"
    "-A POSTROUTING -m ttl --ttl-lt 64 -m dscp ! --dscp 0x0a -m limit --limit 9/day --limit-burst 2 "
    "-j SNAT --to-source 198.51.100.48\n"
    "-A POSTROUTING -m physdev ! --physdev-is-bridged -m policy --dir out --pol none "
    "-m addrtype ! --src-type LOCAL --limit-iface-out -j SNAT --to-source 198.51.100.49",
    "header targets": "COMMIT\n*mangle\n-A PREROUTING -p udp -j TTL --ttl-inc 3\n"
    "-A PREROUTING -p tcp -j TTL --ttl-set 2\n"
    "-A PREROUTING -p icmp -j TTL --ttl-dec 200\n-A FORWARD -p udp -m udp --dport 53 -j DSCP --set-dscp 0x2e\n"
    "-A FORWARD -p udp -m udp --dport 7 -j TOS --set-tos 0x10/0x3f\n-A POSTROUTING -p tcp -j TOS --xor-tos 0x0c\n"
    "-A POSTROUTING -m dscp --dscp 0x2e -j MARK --set-xmark 0x5/0xf\nCOMMIT\n*nat\n"
    "-A POSTROUTING -m mark --mark 5 -j SNAT --to-source 198.51.100.33\n-A POSTROUTING -o eth0 -j MASQUERADE",
    "hashlimit": "-A POSTROUTING -m hashlimit --hashlimit-upto 2/hour --hashlimit-burst 3 --hashlimit-mode srcip "
    "--hashlimit-name A -j SNAT --to-source 198.51.100.61\n"
    "-A POSTROUTING -p udp -m hashlimit --hashlimit-above 4/day --hashlimit-burst 2 --hashlimit-mode dstip,dstport "
    "--hashlimit-dstmask 28 --hashlimit-name B -j SNAT --to-source 198.51.100.62\n"
    "-A POSTROUTING -m hashlimit ! --hashlimit-upto 9/minute --hashlimit-mode srcport --hashlimit-name C "
    "-j SNAT --to-source 198.51.100.63\n-A POSTROUTING -j SNAT --to-source 198.51.100.64",
    "reverse path": "COMMIT\n*raw\n-A PREROUTING -s 10.244.1.4/32 -m rpfilter --invert -j DROP\n"
    "-A PREROUTING -s 203.0.113.14/32 -m rpfilter -j DROP\n-A PREROUTING -s 10.244.1.5/32 -m rpfilter --loose -j DROP\n"
    "COMMIT\n*nat\n-A POSTROUTING -m pkttype --pkt-type unicast -m cpu ! --cpu 99 -o eth0 -j MASQUERADE",
    "owner": "".join(
        f"-A POSTROUTING -s 10.244.1.{n}/32 -m owner {said} -j SNAT --to-source 198.51.100.{70 + n}\n"
        for n, said in enumerate(
            (
                "--uid-owner 0",
                "! --uid-owner 0",
                "! --uid-owner 0 --gid-owner 5",
                "! --uid-owner 3-9 ! --gid-owner 5",
                "--socket-exists",
                "! --socket-exists",
                "! --socket-exists --uid-owner 0",
            ),
            2,
        )
    )
    + "-A POSTROUTING -j SNAT --to-source 198.51.100.70",
    "quota": "-A POSTROUTING -p udp -m quota --quota 200 -j SNAT --to-source 198.51.100.71\n"
    "-A POSTROUTING -p udp -m quota ! --quota 4294967400 -j SNAT --to-source 198.51.100.72\n"
    "-A POSTROUTING -p tcp -m quota ! --quota 100 -j SNAT --to-source 198.51.100.73\n"
    "-A POSTROUTING -j SNAT --to-source 198.51.100.74",
    "byte rates": "-A POSTROUTING -p udp -m hashlimit --hashlimit-upto 16b/s --hashlimit-burst 400b --hashlimit-name A "
    "-j SNAT --to-source 198.51.100.71\n"
    "-A POSTROUTING -p tcp -m hashlimit --hashlimit-above 1kb/s --hashlimit-mode srcip --hashlimit-name B "
    "-j SNAT --to-source 198.51.100.72\n"
    "-A POSTROUTING -p icmp -m hashlimit --hashlimit-upto 5/minute --hashlimit-burst 3 --hashlimit-rate-match "
    "--hashlimit-name C -j SNAT --to-source 198.51.100.73\n"
    "-A POSTROUTING -m hashlimit --hashlimit-above 96b/s --hashlimit-burst 300b --hashlimit-rate-match "
    "--hashlimit-rate-interval 3600 --hashlimit-htable-expire 3600000 --hashlimit-name D "
    "-j SNAT --to-source 198.51.100.74\n-A POSTROUTING -j SNAT --to-source 198.51.100.75",
    "connbytes": "COMMIT\n*mangle\n"
    + "".join(
        f"-A FORWARD -m connbytes {said} -j TOS --or-tos {4 << n}\n"
        for n, said in enumerate(
            (
                "--connbytes 2:3 --connbytes-dir original --connbytes-mode packets",
                "! --connbytes 60: --connbytes-dir both --connbytes-mode bytes",
                "--connbytes 1 --connbytes-dir reply --connbytes-mode packets",
                "--connbytes 29:41 --connbytes-dir both --connbytes-mode avgpkt",
                "! --connbytes 3:3 --connbytes-dir both --connbytes-mode packets",
            )
        )
    )
    + "COMMIT\n*nat\n-A POSTROUTING -o eth0 -j MASQUERADE",
    "dnat": "-A PREROUTING -d 198.51.100.10/32 -p udp -j DNAT --to-destination 10.244.1.5:5000-5010",
}


def traffic():
    """Deterministic in the kernel: no two flows ever want one tuple."""
    for k in range(12):
        src, dst = f"10.244.1.{k + 2}", f"203.0.113.{k + 10}"
        yield "cni0", IP(src=src, dst=dst) / UDP(sport=4000 + k, dport=53) / b"q"
        yield "cni0", IP(src=src, dst=dst) / TCP(sport=5000 + k, dport=80, flags="S", seq=k)
        yield "cni0", IP(src=src, dst=dst) / ICMP(id=k)
        yield "cni0", IP(src=src, dst="10.244.1.99") / UDP(sport=4000 + k, dport=53)
        yield "eth0", IP(src=dst, dst="198.51.100.10") / UDP(sport=53, dport=4000 + k) / b"a"
        yield "eth0", IP(src=dst, dst="198.51.100.10") / TCP(sport=80, dport=5000 + k, flags="SA", ack=k + 1)
        for n in range(3):
            yield "cni0", IP(src=src, dst="10.96.0.1") / UDP(sport=7000 + 10 * k + n, dport=53)
        yield "cni0", IP(src=src, dst=f"203.0.113.{k + 100 - k % 2}", tos=40) / UDP(sport=9000 + k, dport=7)
        yield "cni0", IP(src=src, dst=dst, ttl=1) / UDP(sport=6000, dport=1)


def traffic_sctp():
    """What may open an association, and what may not."""
    chunks = [
        SCTPChunkData(data=b"123"), SCTPChunkHeartbeatReq() / SCTPChunkData(data=b"1234"), SCTPChunkHeartbeatReq(),
        SCTPChunkSACK(), SCTPChunkShutdownAck(), SCTPChunkCookieEcho(cookie=b"1234"), SCTPChunkError(),
        SCTPChunkShutdown(), SCTPChunkHeartbeatAck(), SCTPChunkInitAck(init_tag=1), SCTPChunkInit(init_tag=3),
        SCTPChunkCookieEcho(cookie=b"1234") / SCTPChunkData(data=b"1234"), SCTPChunkAbort(), SCTPChunkCookieAck(),
    ]  # fmt: skip
    for n, chunk in enumerate(chunks):
        for tag in (0, 5):
            ports = {"sport": 1000 + 2 * n + bool(tag), "dport": 9}
            yield "cni0", IP(src="10.244.1.2", dst="203.0.113.9") / SCTP(**ports, tag=tag) / chunk
            back = {"sport": 9, "dport": ports["sport"]}
            yield "eth0", IP(src="203.0.113.9", dst="198.51.100.10") / SCTP(**back, tag=tag) / SCTPChunkHeartbeatAck()


def traffic_sctp_crossing():
    """INITs that cross, and whose INIT ACKs are believed then."""
    first, second = SCTPChunkInit(init_tag=7), SCTPChunkInit(init_tag=8)
    ends = [
        [(8, SCTPChunkInitAck(init_tag=7))], [(8, SCTPChunkInitAck(init_tag=9))], [(0, second)],
        [(0, first), (0, second)],
        [(8, SCTPChunkInitAck(init_tag=7)), (7, SCTPChunkInitAck(init_tag=8))],
        [(8, SCTPChunkInitAck(init_tag=7)), (7, SCTPChunkInitAck(init_tag=9))],
    ]  # fmt: skip
    there, back = IP(src="10.244.1.2", dst="203.0.113.9"), IP(src="203.0.113.9", dst="198.51.100.10")
    for n, end in enumerate(ends):
        ports, other = {"sport": 2000 + n, "dport": 9}, {"sport": 9, "dport": 2000 + n}
        yield "cni0", there / SCTP(**ports, tag=0) / first
        yield "eth0", back / SCTP(**other, tag=0) / second
        for k, (tag, chunk) in enumerate(end):
            yield (
                ("eth0", back / SCTP(**other, tag=tag) / chunk)
                if k
                else ("cni0", there / SCTP(**ports, tag=tag) / chunk)
            )


def traffic_resets():
    """RSTs at and around what was acknowledged, answering SYNs of either side."""
    there, back = IP(src="10.244.1.2", dst="203.0.113.9"), IP(src="203.0.113.9", dst="198.51.100.10")
    n = 0
    for before in ("c", "cs", "csc", "css", "csC"):
        for end in "cs":
            for seq in (0, 1, 2, 500, 70_000):
                n += 1
                ports, other = {"sport": 3000 + n, "dport": 80}, {"sport": 80, "dport": 3000 + n}
                for who in before:
                    syn = {"flags": "SA", "ack": 5001} if who == "C" else {"flags": "S"}
                    if who in "cC":
                        yield "cni0", there / TCP(**ports, seq=1000, **syn)
                    else:
                        yield "eth0", back / TCP(**other, seq=5000, **syn)
                rst = {"flags": "R", "seq": seq and (1000 if end == "c" else 5000) + seq}
                yield ("cni0", there / TCP(**ports, **rst)) if end == "c" else ("eth0", back / TCP(**other, **rst))
                yield "cni0", there / TCP(**ports, flags="S", seq=20_000)
                yield "eth0", back / TCP(**other, flags="SA", seq=60_000, ack=20_001)


def traffic_cut():
    """Packets that end within their l4 header, and GRE of every version."""
    for proto in (1, 6, 17, 47, 50, 132, 136):
        for size in (0, 1, 3, 4, 7, 8, 11, 12, 19, 20):
            yield (
                "cni0",
                IP(src="10.244.1.2", dst="203.0.113.9", proto=proto) / bytes([0x1F, size, 0, 50] + [0] * 16)[:size],
            )
    for version in range(8):
        gre = bytes([0, version, 0x88, 0x0B, 0, 0, 0, version]) + b"data"
        yield "cni0", IP(src="10.244.1.3", dst="203.0.113.9", proto=47) / gre
        yield "eth0", IP(src="203.0.113.9", dst="198.51.100.10", proto=47) / gre
        yield "cni0", IP(src="10.244.1.3", dst="10.244.1.3", proto=47) / gre


CORNERS = {
    "recent counted": "*filter\n-A FORWARD -p udp -m recent --name R --rcheck --hitcount 3 --rsource -j DROP\n"
    "-A FORWARD -p tcp -m recent --name R --rcheck --hitcount 40 --rsource -j DROP\n"
    "-A FORWARD -m recent --name R --set --rsource\n",
    "hashlimit shared": "*filter\n-A FORWARD -m hashlimit --hashlimit-above 1/day --hashlimit-burst 9 "
    "--hashlimit-mode srcip,dstport --hashlimit-srcmask 31 --hashlimit-name H -j DROP\n"
    "-A FORWARD -m hashlimit --hashlimit-upto 500/second --hashlimit-burst 1 --hashlimit-mode dstip "
    "--hashlimit-name H -j ACCEPT\n-A FORWARD -j DROP\n",
    "hashlimit ports": "*filter\n-A FORWARD -m hashlimit --hashlimit-above 3/hour --hashlimit-burst 4 "
    "--hashlimit-mode srcport,dstport --hashlimit-name P -j DROP\n",
    "no connection": "*raw\n-A PREROUTING -p udp -m conntrack --ctstate INVALID --ctproto 6 -m udp --dport 1 -j DROP\n"
    "-A PREROUTING -p udp -m conntrack --ctproto 17 -j DROP\n-A PREROUTING -p icmp -j NOTRACK\nCOMMIT\n"
    "*filter\n-A FORWARD -m conntrack --ctstate UNTRACKED --ctdir REPLY --ctstatus ASSURED -j DROP\n"
    "-A FORWARD -p tcp -m conntrack --ctstatus NONE -j DROP\n"
    "-A FORWARD -p tcp -m conntrack ! --ctstatus NONE -j ACCEPT\n",
    "templates": "*raw\n-A PREROUTING -p udp -m udp --dport 53 -j CT --zone 0\n"
    "-A PREROUTING -p udp -j NOTRACK\n-A PREROUTING -p tcp -m tcp --dport 80 -j CT --zone-orig 3\n"
    "-A PREROUTING -s 10.244.1.7/32 -m conntrack --ctstate NEW -j DROP\n"
    "-A PREROUTING -s 10.244.1.8/32 -m conntrack --ctproto 0 --ctorigsrc 0.0.0.0 --ctdir ORIGINAL -j DROP\n"
    "-A PREROUTING -s 10.244.1.9/32 -m conntrack --ctstatus CONFIRMED -j DROP\n"
    "-A PREROUTING -s 10.244.1.10/32 -m connmark --mark 0 -j DROP\n"
    "-A PREROUTING -s 10.244.1.11/32 -m conntrack --ctproto 6 -j DROP\n",
    "segment sizes": "*mangle\n-A FORWARD -p tcp -m tcp --dport 80 --tcp-flags SYN SYN -j TCPMSS --set-mss 1000\n"
    "-A POSTROUTING -p tcp -m tcp --sport 80 --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n",
    "address types": "*mangle\n"
    "-A FORWARD -p udp -m addrtype --src-type UNICAST --dst-type LOCAL --limit-iface-in -j DROP\n"
    "-A FORWARD -p tcp -m addrtype ! --src-type LOCAL ! --dst-type LOCAL --limit-iface-out -j DROP\n"
    "-A FORWARD -p icmp -m addrtype --dst-type UNICAST,BROADCAST -m pkttype --pkt-type unicast -j DROP\n",
}


CORNER_SETS = """create MASKED hash:ip family inet hashsize 1024 maxelem 65536 netmask 30
add MASKED 203.0.113.12
create NETS hash:net family inet hashsize 1024 maxelem 65536 counters
add NETS 203.0.113.0/24 packets 5 bytes 500
add NETS 203.0.113.16/30 nomatch
add NETS 203.0.113.20/32
create WAYS hash:net,iface family inet hashsize 1024 maxelem 65536
add WAYS 203.0.113.0/28,eth0
add WAYS 203.0.113.8/29,eth0 nomatch
add WAYS 203.0.113.16/29,cni0
create TCPUDP bitmap:port range 0-10000
add TCPUDP 53
add TCPUDP 80
create OLD hash:ip family inet hashsize 1024 maxelem 65536 timeout 3000 counters comment
add OLD 203.0.113.14 timeout 100 packets 1 bytes 1 comment "nomatch of old"
add OLD 203.0.113.15 timeout 0 packets 0 bytes 0
create LIST list:set size 8 counters
add LIST OLD packets 0 bytes 0
"""
SET_RULES = {
    "set masks": "-A FORWARD -m set --match-set MASKED dst -j DROP\n",
    "set exceptions": "-A FORWARD -p udp -m set --match-set NETS dst --return-nomatch -j DROP\n"
    "-A FORWARD -p tcp -m set ! --match-set NETS dst -j DROP\n"
    "-A FORWARD -p icmp -m set ! --match-set NETS dst --return-nomatch -j DROP\n",
    "set counters": "-A FORWARD -p udp -m set --match-set NETS dst --packets-gt 20 -j DROP\n"
    "-A FORWARD -p tcp -m set --match-set NETS dst ! --update-counters --bytes-lt 3000 -j DROP\n"
    "-A FORWARD -p icmp -m set --match-set OLD dst ! --packets-eq 3 -j DROP\n"
    "-A FORWARD -m set --match-set LIST dst ! --update-subcounters\n",
    "set devices": "-A FORWARD -p udp -m set --match-set WAYS dst,dst -j DROP\n"
    "-A FORWARD -p tcp -m set --match-set WAYS dst,src -j DROP\n"
    "-A FORWARD -p icmp -m set --match-set TCPUDP dst -j DROP\n"
    "-A FORWARD -m set --match-set TCPUDP dst,src -j DROP\n",
}


def traffic_segments():
    """SYNs with, without and with broken options, and with data behind them."""
    for k, options in enumerate(
        (
            [("MSS", 1460)],
            [("MSS", 500)],
            [("NOP", None), ("MSS", 1460), ("WScale", 7)],
            [],
            [("Timestamp", (1, 2))] * 4,
        )
    ):
        for payload in (b"", b"data"):
            there = IP(src="10.244.1.2", dst="203.0.113.9")
            ports = {"sport": 4000 + 2 * k + bool(payload), "dport": 80}
            yield "cni0", there / TCP(**ports, flags="S", seq=9, options=options) / payload
            back = {"sport": 80, "dport": ports["sport"]}
            reply = TCP(**back, flags="SA", seq=1, ack=10, options=options)
            yield "eth0", IP(src="203.0.113.9", dst="198.51.100.10") / reply


def traffic_errors():
    """The usual packets, and errors that quote what came out."""
    packets = traffic()
    for iface, packet in packets:
        out = yield iface, packet
        if out is not None and iface == "cni0":
            yield "eth0", IP(src="203.0.113.250", dst=IP(out).src) / ICMP(type=3, code=1) / bytes(out)[:28]


CONNLIMITS = (
    "*filter\n"
    "-A FORWARD -i cni0 -p tcp -m connlimit --connlimit-above 2 --connlimit-mask 32 --connlimit-saddr -j DROP\n"
    "-A FORWARD -i cni0 -p udp -m connlimit --connlimit-upto 3 --connlimit-mask 24 --connlimit-daddr -j ACCEPT\n"
    "-A FORWARD -i cni0 -p udp -j DROP\n"
    "-A FORWARD -p icmp -m connlimit ! --connlimit-above 1 --connlimit-mask 0 -j ACCEPT\n-A FORWARD -p icmp -j DROP\n"
    "COMMIT\n"
)


def traffic_connlimit():
    """Connections that come, are established, close and are refused, each step in a jiffy of its own."""
    there, back = IP(src="10.244.1.2", dst="203.0.113.9"), IP(src="203.0.113.9", dst="198.51.100.10")

    def tcp(n, flags, way=0):
        ports = {"sport": 3000 + n, "dport": 80} if way == 0 else {"sport": 80, "dport": 3000 + n}
        said = {"S": (100, 0), "SA": (500, 101), "A": (101, 501), "FA": (101, 501) if way == 0 else (501, 102)}
        seq, ack = (102, 502) if flags == "a" else said[flags]
        time.sleep(0.01)
        return ("eth0" if way else "cni0"), (back if way else there) / TCP(
            **ports, flags=flags.upper(), seq=seq, ack=ack
        )

    for n in range(3):
        yield tcp(n, "S")
    for n in (0, 0, 1):
        yield tcp(n, "S")
    yield tcp(0, "SA", 1)
    for n, flags in ((0, "A"), (1, "S"), (3, "S"), (0, "A")):
        yield tcp(n, flags)
    for n, flags, way in ((0, "FA", 0), (0, "FA", 1), (0, "a", 0), (4, "S", 0), (5, "S", 0), (0, "a", 0), (4, "S", 0)):
        yield tcp(n, flags, way)
    for n in range(6):
        for dst in ("203.0.113.9", "203.0.113.10", "203.0.114.9"):
            yield "cni0", IP(src=f"10.244.1.{n + 2}", dst=dst) / UDP(sport=4000 + n, dport=9) / b"q"
    for n in range(4):
        yield "cni0", IP(src=f"10.244.1.{n + 2}", dst="203.0.113.9") / ICMP(id=n)


HEADERS = (
    "*mangle\n-A FORWARD -p tcp -m tcpmss --mss 1000:1400 -j MARK --or-mark 0x1\n"
    "-A FORWARD -p tcp -m tcpmss ! --mss 536 -j MARK --or-mark 0x2\n"
    "-A FORWARD -p tcp -m ecn --ecn-tcp-ece -j MARK --or-mark 0x4\n"
    "-A FORWARD -p tcp -m ecn ! --ecn-tcp-cwr --ecn-ip-ect 2 -j MARK --or-mark 0x8\n"
    "-A FORWARD -m ecn ! --ecn-ip-ect 0 -j MARK --or-mark 0x10\n"
    "-A FORWARD -j TOS --and-tos 0\n"
    + "".join(f"-A FORWARD -m mark --mark {1 << n}/{1 << n} -j TOS --or-tos {4 << n}\n" for n in range(5))
    + "COMMIT\n"
)


def traffic_headers():
    """Segments with options of every kind, whole and cut, with and without ECN."""
    options = [
        [], [("MSS", 1000)], [("MSS", 1460)], [("NOP", None), ("MSS", 1400)], [("WScale", 7), ("MSS", 536)],
        [("Timestamp", (1, 2))], [("MSS", 900), ("MSS", 1200)], [(2, b"\x05")], [(2, b"\x05\x06\x07")], [("EOL", None)],
    ]  # fmt: skip
    for n, given in enumerate(options):
        for m, flags in enumerate(("S", "SE", "SC", "SEC")):
            packet = IP(src="10.244.1.2", dst="203.0.113.9", tos=(n + m) % 4)
            yield "cni0", packet / TCP(sport=2000 + 10 * n + m, dport=80, flags=flags, options=given)
    made = bytes(
        IP(src="10.244.1.2", dst="203.0.113.9", proto=6) / bytes(TCP(sport=2900, flags="S", options=[("MSS", 1200)]))
    )
    for size in range(20, 44):
        yield "cni0", IP(src="10.244.1.2", dst="203.0.113.9", proto=6, tos=1) / made[20:size]


INTERFACES6 = {"cni0": ["fd01::1/64"], "eth0": ["fd02::1/64", "2001:db8::1/64", "fd02::aaaa/64"]}
ROUTES6 = ["default via fd02::ffff dev eth0"]
RULES6 = {
    "v6 masquerade": "-A POSTROUTING -s fd01::/64 -o eth0 -j MASQUERADE",
    "v6 address range": "-A POSTROUTING -s fd01::/64 -j SNAT --to-source 2001:db8:77::10-2001:db8:79::ff",
    "v6 persistent": "-A POSTROUTING -j SNAT --to-source fd77::-fd77::ffff:ffff --persistent",
    "v6 dnat and redirect": "-A PREROUTING -d fd02::/64 -p udp -j DNAT --to-destination [fd01::5-fd01::9]:5000-5010\n"
    "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\n"
    "-A POSTROUTING -p ipv6-icmp -m icmp6 --icmpv6-type echo-request -j MASQUERADE",
    "v6 header targets": "COMMIT\n*mangle\n-A PREROUTING -p udp -j HL --hl-inc 3\n"
    "-A PREROUTING -p tcp -j HL --hl-set 2\n"
    "-A FORWARD -p udp -m udp --dport 53 -j DSCP --set-dscp-class AF21\n-A FORWARD -p tcp -j TOS --set-tos 0x3c/0xff\n"
    "COMMIT\n*nat\n-A POSTROUTING -m dscp --dscp-class af21 -j SNAT --to-source fd02::33",
    "v6 sets and ranges": "-A PREROUTING -m set --match-set NETS6 dst -p udp -j DNAT --to-destination fd01::77\n"
    "-A PREROUTING -p tcp -m recent --name T --update --mask ffff:ffff:ffff:ffff:: --rdest "
    "-j DNAT --to-destination fd01::78\n"
    "-A PREROUTING -p tcp -m recent --name T --set --mask ffff:ffff:ffff:ffff:: --rdest\n"
    "-A POSTROUTING -m set --match-set LOOP6 dst,dst,src -j SNAT --to-source fd02::41\n"
    "-A POSTROUTING -m set --match-set CLIENTS6 src -m conntrack --ctorigdst fd05::/32 -j SNAT --to-source fd02::42\n"
    "-A POSTROUTING -m iprange --src-range fd01::5-fd01::7 -j SNAT --to-source fd02::43\n"
    "-A POSTROUTING -m set --match-set PORTS6 dst -j SNAT --to-source fd02::45",
    "v6 netmap and matches": "-A PREROUTING -d fd66::/64 -j NETMAP --to fd01::/64\n"
    "-A POSTROUTING -m addrtype --dst-type UNICAST -m conntrack --ctstate DNAT -j ACCEPT\n"
    "-A POSTROUTING -p udp -m udp --sport 4000:4005 -m hl --hl-gt 10 -j SNAT --to-source [fd02::1]:4000-4999",
}


SETS6 = """create CLIENTS6 hash:ip family inet6 hashsize 1024 maxelem 65536
add CLIENTS6 fd01::3
add CLIENTS6 fd01::4
create NETS6 hash:net family inet6 hashsize 1024 maxelem 65536
add NETS6 fd04::/16
add NETS6 fd04:1::/64 nomatch
create LOOP6 hash:ip,port,ip family inet6 hashsize 1024 maxelem 65536
add LOOP6 fd03::,icmpv6:echo-request,fd01::2
add LOOP6 fd05:2::9,tcp:443,fd01::4
create SERVERS6 hash:net,port family inet6 hashsize 1024 maxelem 65536
add SERVERS6 fd03::/121,udp:53
add SERVERS6 fd03::11,udp:53 nomatch
create PORTS6 bitmap:port range 0-65535
add PORTS6 53
"""


def traffic6():
    """Replies and errors answer what the kernel let out: `yield` gives that packet, or None."""
    for k in range(8):
        src, dst = f"fd01::{k + 2:x}", f"fd0{3 + k % 3}:{k:x}::9"
        for layer in (UDP(sport=4000 + k, dport=53) / b"q", TCP(sport=5000 + k, dport=443, flags="S", seq=k)):
            out = yield "cni0", IPv6(src=src, dst=dst) / layer
            if out is None:
                continue
            sent = IPv6(out)
            back = layer.copy()
            back.sport, back.dport = sent.payload.dport, sent.payload.sport
            if isinstance(back, TCP):
                back.flags, back.ack = "SA", k + 1
            yield "eth0", IPv6(src=sent.dst, dst=sent.src) / back
            yield "eth0", IPv6(src="fd02::ffff", dst=sent.src) / ICMPv6DestUnreach(code=k % 5) / sent
            yield "eth0", IPv6(src=sent.dst, dst=sent.src) / ICMPv6PacketTooBig(mtu=1280) / bytes(sent)[: 48 + k]
        out = yield "cni0", IPv6(src=src, dst=dst) / ICMPv6EchoRequest(id=k, data=b"e" * k)
        if out is not None:
            echo = ICMPv6EchoReply(id=IPv6(out)[ICMPv6EchoRequest].id, data=b"e" * k)
            yield "eth0", IPv6(src=dst, dst=IPv6(out).src) / echo
        yield "cni0", IPv6(src=src, dst=dst) / IPv6ExtHdrDestOpt() / UDP(sport=7000 + k, dport=7)
        yield "eth0", IPv6(src=dst, dst="fd02::1") / UDP(sport=53, dport=9000 + k)
        yield "eth0", IPv6(src=dst, dst="fd01::7") / TCP(sport=6000 + k, dport=80, flags="S")
        yield "eth0", IPv6(src=dst, dst=f"fd66::{k + 2:x}") / UDP(sport=6000 + k, dport=9)
        yield "cni0", IPv6(src=src, dst=dst, hlim=1) / UDP(sport=6000, dport=1)
        yield "cni0", IPv6(src="fe80::5", dst=dst) / UDP(sport=6100 + k, dport=1)
        yield "cni0", IPv6(src="::1", dst=dst) / UDP(sport=6200, dport=1)
        yield "cni0", IPv6(src=src, dst=dst) / UDP(sport=6300, dport=1, chksum=0x1234)


ROUTING6 = (
    "*mangle\n"
    + "".join(
        f"-A FORWARD -m rt {said} -j TOS --or-tos {4 << n}\n"
        for n, said in enumerate((
            "--rt-type 0", "! --rt-type 0", "--rt-segsleft 1:2", "! --rt-segsleft 0 --rt-len 24",
            "--rt-type 0 --rt-0-res", "",
        ))
    )
    + "COMMIT\n"
)  # fmt: skip


def traffic_routing6():
    """Routing headers of several types, alone and among other headers, and cut ones."""
    ends = {"src": "fd01::2", "dst": "fd03::9"}
    for n, (kind, left, count, reserved) in enumerate(
        ((0, 0, 0, 0), (0, 1, 1, 0), (0, 2, 2, 7), (2, 1, 1, 0), (4, 0, 1, 0), (255, 3, 1, 0), (0, 9, 1, 0))
    ):
        routing = IPv6ExtHdrRouting(
            type=kind, segleft=left, addresses=[f"fd04::{k}" for k in range(count)], reserved=reserved
        )
        yield "cni0", IPv6(**ends) / routing / UDP(sport=5000 + n, dport=9) / b"r"
        yield "cni0", IPv6(**ends) / IPv6ExtHdrDestOpt() / routing / UDP(sport=5100 + n, dport=9) / b"r"
    yield "cni0", IPv6(**ends) / UDP(sport=5200, dport=9)
    for size in (1, 4, 8, 12):
        yield "cni0", IPv6(**ends, nh=43) / bytes([17, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])[:size]


@dataclass(frozen=True)
class Case:
    """A node, its rules, and the packets that enter it."""

    rules: str
    interfaces: dict
    routes: list
    traffic: Callable
    sets: str = ""
    family: int = 4
    sysctls: dict = field(default_factory=dict)
    # arguments of further calls of `ip`
    commands: tuple = ()
    mtus: dict = field(default_factory=dict)

    def node(self):
        made = fastnat.Node()
        made.sysctls |= {name: str(value) for name, value in self.sysctls.items()}
        for iface, addresses in self.interfaces.items():
            made.add_interface(iface, addresses, mtu=self.mtus.get(iface, 1500))
        for route in self.routes:
            dst, _, via, _, dev = route.split()
            made.add_route(dst, via=via, dev=dev)
        made.load_sets(self.sets)
        (made.load_rules if self.family == 4 else made.load_rules6)(self.rules)
        return made


CASES = {name: Case(f"*nat\n{r}\nCOMMIT\n", INTERFACES, ROUTES, traffic, SETS) for name, r in RULES.items()}
CASES["sctp"] = Case(CASES["masquerade"].rules, INTERFACES, ROUTES, traffic_sctp)
CASES["sctp crossing"] = Case(CASES["masquerade"].rules, INTERFACES, ROUTES, traffic_sctp_crossing)
CASES["resets"] = Case(CASES["masquerade"].rules, INTERFACES, ROUTES, traffic_resets)
FILTERED = (
    "*filter\n-A FORWARD -p tcp -m multiport --dports 50 -j ACCEPT\n"
    "-A FORWARD -p icmp -m icmp --icmp-type 8 -j ACCEPT\nCOMMIT\n"
)
CASES |= {
    name: Case(f"{r}COMMIT\n{CASES['masquerade'].rules}", INTERFACES, ROUTES, traffic_errors)
    for name, r in CORNERS.items()
}
CASES |= {
    name: Case(f"*mangle\n{r}COMMIT\n{CASES['masquerade'].rules}", INTERFACES, ROUTES, traffic, CORNER_SETS)
    for name, r in SET_RULES.items()
}
CASES["segment sizes"] = Case(CASES["segment sizes"].rules, INTERFACES, ROUTES, traffic_segments)
CASES["cut"] = Case(FILTERED + CASES["masquerade"].rules, INTERFACES, ROUTES, traffic_cut)
CASES["connlimit"] = Case(CONNLIMITS + CASES["masquerade"].rules, INTERFACES, ROUTES, traffic_connlimit)
CASES["tcp options and ecn"] = Case(HEADERS + CASES["masquerade"].rules, INTERFACES, ROUTES, traffic_headers)
CASES["v6 routing header"] = Case(ROUTING6, INTERFACES6, ROUTES6, traffic_routing6, family=6)
CASES |= {name: Case(f"*nat\n{r}\nCOMMIT\n", INTERFACES6, ROUTES6, traffic6, SETS6, 6) for name, r in RULES6.items()}


class EngineNode:
    """The engine in the place of the kernel: a packet in, what comes out."""

    def __init__(self, node):
        self.nat, self.n = fastnat.Engine(node), 0

    def pass_packet(self, iface, data):
        verdict, out = self.nat.process_packet(data, iface, now=self.n * 0.001)
        self.n += 1
        return out if verdict == fastnat.Verdict.FORWARD else None


def conversation(case, kernel):
    """Yield (packet, interface, bytes, what came out of the kernel) of a whole case."""
    packets = case.traffic()
    answer = None
    while True:
        try:
            iface, packet = packets.send(answer)
        except StopIteration:
            return
        data = bytes(packet)
        out = kernel.pass_packet(iface, data)
        answer = out[1] if out else None
        yield packet, iface, data, answer
