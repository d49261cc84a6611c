"""Records of another engine: what cannot be is refused with its reason, and the tables stay sound."""

import random
from contextlib import suppress

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP

import fastnat
from fastnat.dtypes import HELP

SERVICES = """-A -t 10.96.0.9:80 -s rr -p 60
-a -t 10.96.0.9:80 -r 10.244.2.7:8080 -m
-A -u 10.96.0.9:53 -s rr
-a -u 10.96.0.9:53 -r 10.244.2.7:53 -m
"""


def node():
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/24"])
    made.add_interface("eth0", ["198.51.100.10/24"])
    made.add_interface("ipvs0", ["10.96.0.9/32"])
    made.add_route("10.244.0.0/16", dev="cni0")
    made.add_route("default", via="198.51.100.1")
    made.load_rules("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    made.load_services(SERVICES)
    return made


def donor():
    """Return an engine with a connection of each kind: TCP, UDP, SCTP, ICMP, and two of services."""
    nat = fastnat.Engine(node())
    for proto, dst, dport in (
        ("tcp", "203.0.113.9", 443), ("udp", "203.0.113.9", 53), ("sctp", "203.0.113.9", 5), ("icmp", "203.0.113.9", 0),
        ("tcp", "10.96.0.9", 80), ("udp", "10.96.0.9", 53),
    ):  # fmt: skip
        batch = nat.packets(
            proto=proto, src="10.244.1.2", sport=4000, dst=dst, iface="cni0",
            dport=0x0800 if proto == "icmp" else dport, tcp_flags=2 if proto == "tcp" else 0,
        )  # fmt: skip
        nat.process(batch, 1.0)
    assert len(nat.conntrack) == 6
    return nat


def taken(nat):
    """Return copies of CONN[n], TCP[n] and ACCT[n] of an engine, by protocol in `order`."""
    arrays, n = nat.core_of(4).arrays, nat.core_of(4).high_water
    return [arrays[name][:n].copy() for name in ("conns", "tcp", "acct")]


TCP_, UDP_, SCTP_ = 0, 1, 2
WRONG = [
    (TCP_, "conns", "status", 0, "its tuples or status"),
    (UDP_, "conns", "state", 200, "its state, status or interface"),
    (UDP_, "conns", "masq_iface", 9999, "its state, status or interface"),
    (UDP_, "conns", "status", 0x8008, "its state, status or interface"),
    (TCP_, "tcp", "scale", [15, 0], "its TCP record"),
    (TCP_, "tcp", "last_dir", 2, "its TCP record"),
    (TCP_, "tcp", "last_index", 6, "its TCP record"),
    (UDP_, "conns", "status", 0x48, "only TCP has numbers"),
    (UDP_, "conns", "timeout", 1, "it is due already"),
]


@pytest.mark.parametrize(("which", "array", "field", "value", "why"), WRONG)
def test_a_connection_that_cannot_be_is_refused(which, array, field, value, why):
    nat, conns, tcp, acct = fastnat.Engine(node()), *taken(donor())
    nat.advance(2.0)
    {"conns": conns, "tcp": tcp}[array][field][which] = value
    with pytest.raises(ValueError, match=f"connection 0: {why}"):
        nat.core_of(4).adopt(conns[which : which + 1], tcp[which : which + 1], acct[which : which + 1])
    assert len(nat.conntrack) == 0
    nat.check()


def test_one_that_is_there_or_one_too_many_is_refused():
    _, conns, tcp, acct = donor(), *taken(donor())
    nat = fastnat.Engine(node(), max_connections=4)
    with pytest.raises(ValueError, match="connection 4: the table holds 4 connections, its maximum"):
        nat.core_of(4).adopt(conns, tcp, acct)
    assert len(nat.conntrack) == 4
    nat = fastnat.Engine(node())
    nat.core_of(4).adopt(conns, tcp, acct)
    with pytest.raises(ValueError, match="connection 0: another one has its tuple"):
        nat.core_of(4).adopt(conns[:1], tcp[:1], acct[:1])
    sctp = tcp.copy()
    # last_dir of SCTP lies in the bytes of TCP's second td_end
    sctp.view(np.uint8).reshape(len(sctp), -1)[SCTP_, 10] = 2
    with pytest.raises(ValueError, match="its SCTP record"):
        fastnat.Engine(node()).core_of(4).adopt(conns[2:3], sctp[2:3], acct[2:3])
    nat.check()


@pytest.mark.parametrize(
    ("proto", "change", "why"),
    [
        ("udp", {"kind": 1}, "not of its protocol|its numbers"), ("tcp", {"kind": 250}, "its numbers"),
        ("tcp", {"kind": 1, "n_ends": [9, 0]}, "its numbers"),
    ],
)  # fmt: skip
def test_a_helper_that_cannot_be_is_refused(proto, change, why):
    nat, conns, tcp, acct = fastnat.Engine(node()), *taken(donor())
    core = nat.core_of(4)
    numbers = core.adopt(conns, tcp, acct)
    helps = np.zeros(1, HELP)
    for name, value in change.items():
        helps[name] = value
    of = numbers[[TCP_ if proto == "tcp" else UDP_]]
    with pytest.raises(ValueError, match=f"helper 0: ({why})"):
        core.adopt_help(helps, of, np.full(1, 2**32 - 1, np.uint32))
    with pytest.raises(ValueError, match="no connection 77"):
        core.adopt_help(np.zeros(1, HELP), np.array([77], np.uint32), np.zeros(1, np.uint32))
    helps = np.zeros(1, HELP)
    helps["master_kind"] = 1
    with pytest.raises(ValueError, match="no connection 78"):
        core.adopt_help(helps, of, np.array([78], np.uint32))
    nat.check()


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 200))])
def test_any_bytes_are_taken_or_refused(seed):
    """Connections, those of IPVS and helpers with random bytes: all tables are sound afterwards, and time goes on."""
    draw = random.Random(seed)
    giver = donor()
    ours = giver.core_of(4)
    made = node()
    if draw.random() < 0.3:
        made.load_services("")
    nat = fastnat.Engine(made)
    core = nat.core_of(4)
    conns, tcp, acct = taken(giver)
    ipvs = ours.ipvs_connections()
    for records in (conns, tcp, ipvs):
        raw = records.view(np.uint8)
        for _ in range(draw.choice([0, 1, 3, 20])):
            raw[draw.randrange(len(raw))] = draw.choice([0, 1, 2, 4, 127, 255, draw.randrange(256)])
    for adopt in (lambda: core.adopt(conns, tcp, acct), lambda: core.adopt_ipvs(ipvs), lambda: core.adopt_ipvs(ipvs)):
        with suppress(ValueError):
            adopt()
        nat.check()
    packets = [
        IP(src="10.244.1.2", dst=dst) / layer
        for dst in ("10.96.0.9", "203.0.113.9")
        for layer in (TCP(sport=4000, dport=80, flags="A"), UDP(sport=4000, dport=53))
    ]
    now = 1.0
    for packet in packets * 3:
        now += draw.choice([0.004, 30.0, 400.0])
        nat.process_packet(bytes(packet), "cni0", now)
        nat.check()
    again = nat.fork()
    nat.advance(now + 10_000.0)
    nat.check()
    again.node.load_services(SERVICES.replace("10.244.2.7", "10.244.2.8"))
    again.reload()
    again.check()


def test_a_dump_that_does_not_fit_is_loaded_as_far_as_it_does():
    nat, left_out = fastnat.Engine(node(), max_connections=2), []
    assert nat.conntrack.load(donor().conntrack.format(), left_out=left_out) == 2
    assert len(left_out) == 4
    assert all("the table holds 2 connections, its maximum" in said for said in left_out)
    nat.check()


def test_a_message_without_an_answer_opens_nothing():
    nat, conns, *_ = fastnat.Engine(node()), *taken(donor())
    core = nat.core_of(4)
    icmp = conns[3:4].copy()
    # unreachable: an error, not a query
    icmp["tuples"]["dport"][0, 0] = 0x0300
    numbers, codes = np.zeros(1, np.uint32), np.zeros(1, np.uint8)
    core.insert_many(icmp, np.zeros(1, np.uint32), numbers, codes)
    assert core.why_not_created(int(codes[0]), 0) == "no reply can belong to such a tuple"
    assert len(nat.conntrack) == 0
    nat.check()
