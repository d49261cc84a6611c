"""Flows without packets: connect and close."""

import random
from contextlib import suppress

import numpy as np
import pytest
from nodes import MASQUERADE, make_node

import fastnat
from fastnat.addresses import FAMILIES, V4
from fastnat.dtypes import records_of
from fastnat.engine.flows import interface_of, known_interfaces_of

TWO_PORTS = MASQUERADE.replace("-j MASQUERADE\n", "-p udp -j MASQUERADE --to-ports 6000-6001\n")


def test_connect_gives_the_mapping():
    nat = fastnat.Engine(make_node())
    c = nat.connect("udp", "10.244.2.2", 40000, "203.0.113.10", 53, now=1.0)
    assert (V4.to_text(c.reply[1]), c.reply[3]) == ("198.51.100.10", 40000)
    again = nat.connect("udp", "10.244.2.2", 40000, "203.0.113.10", 53, now=2.0)
    assert again.index == c.index
    assert len(nat.conntrack) == 1


def test_connect_of_the_node_itself_and_of_nowhere():
    nat = fastnat.Engine(make_node())
    assert nat.connect("udp", "198.51.100.10", 5000, "203.0.113.10", 53, now=0.0).reply[3] == 5000
    node = fastnat.Node()
    node.add_interface("eth0", ["198.51.100.10/24"])
    with pytest.raises(fastnat.InputError, match=r"no interface leads to 10\.9\.9\.9"):
        fastnat.Engine(node).connect("udp", "10.9.9.9", 1, "198.51.100.11", 2, now=0.0)


def test_none_when_the_ports_are_gone():
    nat = fastnat.Engine(make_node(TWO_PORTS))
    got = [nat.connect("udp", "10.244.2.2", port, "203.0.113.10", 53, now=0.0) for port in range(1, 5)]
    assert [c is not None for c in got] == [True, True, False, False]
    assert nat.stats["insert_failed"] == 2
    nat.close(got[0], now=1.0)
    nat.close(got[0], now=1.0)
    assert nat.connect("udp", "10.244.2.2", 9, "203.0.113.10", 53, now=1.0) is not None


def test_close_of_tcp_waits():
    nat = fastnat.Engine(make_node())
    c = nat.connect("tcp", "10.244.2.2", 40000, "203.0.113.10", 80, now=0.0)
    nat.close(c, now=5.0)
    assert str(next(iter(nat.conntrack))).startswith("tcp      6 120 TIME_WAIT src=10.244.2.2")
    nat.advance(125.0)
    assert len(nat.conntrack) == 0


def dual_stack():
    node = make_node()
    node.add_address("cni0", "2001:db8:a::1/64")
    node.add_address("eth0", "2001:db8:b::1/64")
    node.add_route("::/0", via="2001:db8:b::fe", dev="eth0")
    node.load_rules6(MASQUERADE)
    return node


@pytest.mark.parametrize("proto", ["udp", "tcp", "icmp"])
@pytest.mark.parametrize(
    ("version", "src", "dst"), [(4, "10.244.2.{}", "203.0.113.9"), (6, "2001:db8:a::{}", "2001:db8:c::9")]
)
def test_many_flows_open_and_close_as_they_would_one_by_one(proto, version, src, dst):
    one, many = (fastnat.Engine(dual_stack()) for _ in range(2))
    proto = "icmpv6" if (proto, version) == ("icmp", 6) else proto
    ask = 53 if not proto.startswith("icmp") else (8 if version == 4 else 128) << 8
    sources = [src.format(n) for n in range(2, 30)]
    opened = [one.connect(proto, source, 4000, dst, ask, 1.0) for source in sources]
    numbers = many.connect(proto, sources, 4000, dst, ask, 1.0)
    assert numbers.tolist() == [c.index for c in opened]
    assert many.conntrack.format() == one.conntrack.format()
    for c in opened[::2]:
        one.close(c, 2.0)
    many.close(np.append(numbers[::2], [10**6, 2**32 - 1]), 2.0, version)
    assert sorted(many.conntrack.format().splitlines()) == sorted(one.conntrack.format().splitlines())
    many.close(numbers[::2], 200.0, version)
    many.check()


def test_numbers_of_flows_that_found_no_port():
    nat = fastnat.Engine(make_node(TWO_PORTS))
    got = nat.connect("udp", "10.244.2.2", np.arange(1, 5), "203.0.113.10", 53, now=0.0)
    assert (got == fastnat.dtypes.NO_CONN).tolist() == [False, False, True, True]


def test_what_a_node_forwards_enters_the_next_one():
    """A client behind two NATs: the second sees the address of the first, and nothing that the first dropped."""
    first = fastnat.Engine(make_node("*filter\n-A FORWARD -p udp --dport 9 -j DROP\nCOMMIT\n" + MASQUERADE))
    carrier = fastnat.Node()
    carrier.add_interface("lan", ["198.51.100.1/24"])
    carrier.add_interface("wan", ["192.0.2.1/24"])
    carrier.add_route("default", via="192.0.2.254", dev="wan")
    carrier.load_rules("*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n")
    second = fastnat.Engine(carrier)
    batch = first.packets(proto="udp", src="10.244.2.2", sport=[1, 2, 3], dst="203.0.113.10", dport=[53, 9, 53],
                          iface="cni0", length=[60, 70, 80], mark=5)  # fmt: skip
    there = second.packets_from(batch, first.process(batch), "lan")
    assert there["sport"].tolist() == [1, 3] and there["length"].tolist() == [60, 80] and not there["mark"].any()
    assert {fastnat.addresses.to_text(int(a)) for a in there["src"]} == {"198.51.100.10"}
    out = second.process(there)
    assert {fastnat.addresses.to_text(int(a)) for a in out["src"]} == {"192.0.2.1"}
    assert len(second.packets_from(batch, first.process(batch), "lan", out_iface=first.node.iface_number("cni0"))) == 0


def test_help_tells_what_there_is(capsys):
    help(fastnat.Engine)
    text = capsys.readouterr().out
    assert all(word in text for word in ("conntrack", "to_numpy()", "sport, dport", "tcp_flags", "isn"))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_interfaces_of_many_sources_are_those_of_each(version, seed):
    """Routes within routes, of other tables and to nowhere, the node's own addresses, and the ends of all of them."""
    draw, family = random.Random(seed), FAMILIES[version]
    node = fastnat.Node()
    near = [family.to_int("10.0.0.0" if version == 4 else "fd00::") + draw.randrange(2**20) for _ in range(12)]
    for name in ("a", "b", "c"):
        node.add_interface(name, [f"{family.to_text(near.pop())}/{family.bits - draw.randrange(10)}"])
    for address in near:
        prefix = family.bits - draw.choice([0, 1, 4, 9, 20])
        where = {"dev": draw.choice("abc")} if draw.random() < 0.8 else {"kind": "unreachable"}
        network = f"{family.to_text(address & family.mask_of(prefix))}/{prefix}"
        with suppress(fastnat.InputError):
            node.add_route(network, **where)
            node.routes_of(family)[-1].metric = draw.randrange(3)
    ends = [a + step for a in (*near, near[0] & ~0xFFF, near[1] | 0xFFF) for step in (-1, 0, 1)]
    sources = np.array([family.pack(a) for a in [0, family.full, *ends] * 2], records_of(family).ADDR)
    numbers, known = known_interfaces_of(node, sources, family)
    for source, number, is_known in zip(sources, numbers.tolist(), known.tolist(), strict=True):
        try:
            alone = node.iface_number(interface_of(node, family.to_text(family.unpack(source))))
        except fastnat.InputError:
            alone = None
        assert (number if is_known else None) == alone
    assert known.any()
