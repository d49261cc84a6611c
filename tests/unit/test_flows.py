"""Flows without packets: connect and close."""

import pytest
from nodes import MASQUERADE, make_node

import fastnat
from fastnat.addresses import V4

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
