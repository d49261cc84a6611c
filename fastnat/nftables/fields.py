"""The fields that expressions name: where each stands in a header, and of which type it is.

Source: nft(8), PAYLOAD EXPRESSIONS, META EXPRESSIONS, CONNTRACK EXPRESSIONS; proto.c, meta.c, ct.c of nftables 1.0.6.
"""

from __future__ import annotations

from typing import NamedTuple

from .datatypes import BOOLEAN, IFNAME, MARK, TEXT, TYPES, Datatype, integer


class Field(NamedTuple):
    """A field of a header: offset and length in bits."""

    offset: int
    bits: int
    type: Datatype


def _fields(**said: tuple[int, int] | tuple[int, int, str]) -> dict[str, Field]:
    return {
        name.replace("_", "-"): Field(s[0], s[1], TYPES[s[2]] if len(s) == 3 else integer(s[1]))
        for name, s in said.items()
    }


PORTS = {"sport": (0, 16, "inet_service"), "dport": (16, 16, "inet_service")}
HEADERS: dict[str, dict[str, Field]] = {
    "ether": _fields(daddr=(0, 48, "ether_addr"), saddr=(48, 48, "ether_addr"), type=(96, 16, "ether_type")),
    "vlan": _fields(pcp=(0, 3), dei=(3, 1), cfi=(3, 1), id=(4, 12), type=(16, 16, "ether_type")),
    "arp": _fields(
        htype=(0, 16), ptype=(16, 16, "ether_type"), hlen=(32, 8), plen=(40, 8), operation=(48, 16, "arp_op"),
    ) | {
        "saddr ether": Field(64, 48, TYPES["ether_addr"]), "saddr ip": Field(112, 32, TYPES["ipv4_addr"]),
        "daddr ether": Field(144, 48, TYPES["ether_addr"]), "daddr ip": Field(192, 32, TYPES["ipv4_addr"]),
    },
    "ip": _fields(
        version=(0, 4), hdrlength=(4, 4), dscp=(8, 6, "dscp"), ecn=(14, 2, "ecn"), length=(16, 16), id=(32, 16),
        frag_off=(48, 16), ttl=(64, 8), protocol=(72, 8, "inet_proto"), checksum=(80, 16), saddr=(96, 32, "ipv4_addr"),
        daddr=(128, 32, "ipv4_addr"),
    ),
    "ip6": _fields(
        version=(0, 4), dscp=(4, 6, "dscp"), ecn=(10, 2, "ecn"), flowlabel=(12, 20), length=(32, 16),
        nexthdr=(48, 8, "inet_proto"), hoplimit=(56, 8), saddr=(64, 128, "ipv6_addr"), daddr=(192, 128, "ipv6_addr"),
    ),
    "icmp": _fields(
        type=(0, 8, "icmp_type"), code=(8, 8, "icmp_code"), checksum=(16, 16), id=(32, 16), sequence=(48, 16),
        gateway=(32, 32), mtu=(48, 16),
    ),
    "icmpv6": _fields(
        type=(0, 8, "icmpv6_type"), code=(8, 8, "icmpv6_code"), checksum=(16, 16), parameter_problem=(32, 32),
        packet_too_big=(32, 32), id=(32, 16), sequence=(48, 16), max_delay=(32, 16),
        mtu=(32, 32),
    ),
    "igmp": _fields(type=(0, 8, "igmp_type"), mrt=(8, 8), checksum=(16, 16), group=(32, 32, "ipv4_addr")),
    "tcp": _fields(
        **PORTS, sequence=(32, 32), ackseq=(64, 32), doff=(96, 4), reserved=(100, 4), flags=(104, 8, "tcp_flag"),
        window=(112, 16), checksum=(128, 16), urgptr=(144, 16),
    ),
    "udp": _fields(**PORTS, length=(32, 16), checksum=(48, 16)),
    "udplite": _fields(**PORTS, csumcov=(32, 16), checksum=(48, 16)),
    "sctp": _fields(**PORTS, vtag=(32, 32), checksum=(64, 32)),
    "dccp": _fields(**PORTS, type=(67, 4, "dccp_pkttype")),
    "th": _fields(**PORTS),
    "ah": _fields(nexthdr=(0, 8, "inet_proto"), hdrlength=(8, 8), reserved=(16, 16), spi=(32, 32), sequence=(64, 32)),
    "esp": _fields(spi=(0, 32), sequence=(32, 32)),
    "comp": _fields(nexthdr=(0, 8, "inet_proto"), flags=(8, 8), cpi=(16, 16)),
}  # fmt: skip
# the protocol that a field of a header asks for; None: of the transport header, whichever it is
L4_PROTOCOLS = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "esp": 50, "ah": 51, "icmpv6": 58, "comp": 108, "sctp": 132,
    "udplite": 136,
}  # fmt: skip
L4_NAMES = {number: name for name, number in L4_PROTOCOLS.items()}
LINK, NETWORK = ("ether", "vlan", "arp"), ("ip", "ip6", "arp")
META = {
    "length": integer(32), "protocol": TYPES["ether_type"], "priority": TYPES["classid"], "random": integer(32),
    "mark": MARK, "iif": TYPES["iface_index"], "iifname": IFNAME, "iiftype": TYPES["iface_type"],
    "oif": TYPES["iface_index"], "oifname": IFNAME, "oiftype": TYPES["iface_type"], "skuid": TYPES["uid"],
    "skgid": TYPES["gid"], "nftrace": integer(1), "rtclassid": TYPES["realm"], "ibrname": IFNAME, "obrname": IFNAME,
    "ibriport": IFNAME, "obriport": IFNAME, "pkttype": TYPES["pkt_type"], "cpu": integer(32),
    "iifgroup": TYPES["devgroup"], "oifgroup": TYPES["devgroup"], "cgroup": integer(32), "nfproto": TYPES["nf_proto"],
    "l4proto": TYPES["inet_proto"], "secpath": BOOLEAN, "ipsec": BOOLEAN, "iifkind": IFNAME, "oifkind": IFNAME,
    "time": TYPES["date"], "day": TYPES["day"], "hour": TYPES["hour"], "secmark": integer(32),
    "sdif": TYPES["iface_index"],
    "sdifname": IFNAME, "broute": integer(1),
}  # fmt: skip
# listed without `meta`; and written without it, as well
BARE_META = frozenset(("iif", "iifname", "oif", "oifname", "iifgroup", "oifgroup", "ibrname", "obrname"))
SHORT_META = BARE_META | frozenset(
    (
        "mark",
        "nftrace",
        "iiftype",
        "oiftype",
        "skuid",
        "skgid",
        "rtclassid",
        "ibriport",
        "obriport",
        "cgroup",
        "pkttype",
        "cpu",
        "day",
        "hour",
        "time",
    )
)
CT = {
    "state": TYPES["ct_state"], "direction": TYPES["ct_dir"], "status": TYPES["ct_status"], "mark": MARK,
    "secmark": integer(32), "expiration": TYPES["time"], "helper": TEXT, "l3proto": TYPES["nf_proto"],
    "protocol": TYPES["inet_proto"], "saddr": None, "daddr": None, "proto-src": TYPES["inet_service"],
    "proto-dst": TYPES["inet_service"], "label": TYPES["ct_label"], "event": integer(32), "bytes": integer(64),
    "packets": integer(64), "avgpkt": integer(64), "zone": integer(16), "count": integer(32), "id": integer(32),
}  # fmt: skip
# keys of `ct` that stand behind a direction
CT_OF_DIRECTION = (
    "saddr", "daddr", "proto-src", "proto-dst", "l3proto", "protocol", "bytes", "packets", "avgpkt", "zone", "id",
)  # fmt: skip
RT = {"classid": TYPES["realm"], "nexthop": None, "mtu": integer(16), "ipsec": BOOLEAN}
FIB = {"type": TYPES["fib_addrtype"], "oif": TYPES["iface_index"], "oifname": IFNAME}
FIB_FLAGS = ("saddr", "daddr", "mark", "iif", "oif")
# TCP options: kind, and their fields: offset in the option and length, in bits
TCP_OPTIONS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    "eol": (0, {"kind": (0, 8)}),
    "nop": (1, {"kind": (0, 8)}),
    "maxseg": (2, {"kind": (0, 8), "length": (8, 8), "size": (16, 16)}),
    "window": (3, {"kind": (0, 8), "length": (8, 8), "count": (16, 8)}),
    "sack-perm": (4, {"kind": (0, 8), "length": (8, 8)}),
    "sack": (5, {"kind": (0, 8), "length": (8, 8), "left": (16, 32), "right": (48, 32)}),
    "timestamp": (8, {"kind": (0, 8), "length": (8, 8), "tsval": (16, 32), "tsecr": (48, 32)}),
    "fastopen": (34, {"kind": (0, 8), "length": (8, 8)}),
    "md5sig": (19, {"kind": (0, 8), "length": (8, 8)}),
    "mptcp": (30, {"kind": (0, 8), "length": (8, 8), "subtype": (16, 4)}),
    # the blocks of a SACK behind its first
    **{f"sack{n}": (5, {"left": (16 + 64 * n, 32), "right": (48 + 64 * n, 32)}) for n in (1, 2, 3)},
}
TCP_OPTION_NAMES = {
    "mss": "maxseg", "wscale": "window", "sack-permitted": "sack-perm", "permitted": "sack-perm", "sack0": "sack",
}  # fmt: skip

# chunks of SCTP and their fields, named so that they can be refused by name
_CHUNK: dict[str, tuple[int, int]] = {"type": (0, 8), "flags": (8, 8), "length": (16, 16)}
_INIT = _CHUNK | {"init-tag": (32, 32), "a-rwnd": (64, 32), "num-outbound-streams": (96, 16),
                  "num-inbound-streams": (112, 16), "initial-tsn": (128, 32)}  # fmt: skip
SCTP_CHUNKS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    "data": (0, _CHUNK | {"tsn": (32, 32), "stream": (64, 16), "ssn": (80, 16), "ppid": (96, 32)}),
    "init": (1, _INIT), "init-ack": (2, _INIT),
    "sack": (3, _CHUNK | {"cum-tsn-ack": (32, 32), "a-rwnd": (64, 32), "num-gap-ack-blocks": (96, 16),
                          "num-dup-tsns": (112, 16)}),
    "heartbeat": (4, _CHUNK), "heartbeat-ack": (5, _CHUNK), "abort": (6, _CHUNK),
    "shutdown": (7, _CHUNK | {"cum-tsn-ack": (32, 32)}), "shutdown-ack": (8, _CHUNK), "error": (9, _CHUNK),
    "cookie-echo": (10, _CHUNK), "cookie-ack": (11, _CHUNK), "ecne": (12, _CHUNK | {"lowest-tsn": (32, 32)}),
    "cwr": (13, _CHUNK | {"lowest-tsn": (32, 32)}), "shutdown-complete": (14, _CHUNK),
    "asconf-ack": (128, _CHUNK | {"seqno": (32, 32)}), "forward-tsn": (192, _CHUNK | {"new-cum-tsn": (32, 32)}),
    "asconf": (193, _CHUNK | {"seqno": (32, 32)}),
}  # fmt: skip


def tcp_option(name: str, field: str = "") -> str:
    """Return the name by which nft lists a TCP option; of sack1 to sack3 the two ends alone are their own."""
    if name in ("sack1", "sack2", "sack3") and field not in ("left", "right"):
        return "sack"
    return TCP_OPTION_NAMES.get(name, name)


# extension headers of IPv6: their number, and their fields as those of TCP options
EXTENSIONS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    "hbh": (0, {"nexthdr": (0, 8), "hdrlength": (8, 8)}),
    "rt": (43, {"nexthdr": (0, 8), "hdrlength": (8, 8), "type": (16, 8), "seg-left": (24, 8)}),
    "rt0": (43, {}),
    "rt2": (43, {}),
    "srh": (43, {"last-entry": (32, 8), "flags": (40, 8), "tag": (48, 16)}),
    "frag": (44, {"nexthdr": (0, 8), "reserved": (8, 8), "frag-off": (16, 13), "reserved2": (29, 2),
                  "more-fragments": (31, 1), "id": (32, 32)}),
    "dst": (60, {"nexthdr": (0, 8), "hdrlength": (8, 8)}),
    "mh": (135, {"nexthdr": (0, 8), "hdrlength": (8, 8), "type": (16, 8), "reserved": (24, 8), "checksum": (32, 16)}),
    "auth": (51, {}),
}  # fmt: skip
# options of IPv4, the same
IP_OPTIONS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    name: (kind, {"type": (0, 8), "length": (8, 8), **more})
    for name, kind, more in (
        ("rr", 7, {"ptr": (16, 8), "addr": (24, 32)}),
        ("lsrr", 131, {"ptr": (16, 8), "addr": (24, 32)}),
        ("ssrr", 137, {"ptr": (16, 8), "addr": (24, 32)}),
        ("ra", 148, {"value": (16, 16)}),
    )
}
# by what options and extension headers belong to: Option.kind
OPTIONS = {"tcp": TCP_OPTIONS, "ip": IP_OPTIONS, "sctp": SCTP_CHUNKS, "exthdr": EXTENSIONS}
