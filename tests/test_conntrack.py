"""The view of the table, and its text."""

import pytest
from nodes import flows, make_node

import fastnat


@pytest.fixture
def nat():
    engine = fastnat.Engine(make_node())
    engine.process(flows(engine, 3))
    return engine


def test_text_is_that_of_the_tools(nat):
    first = nat.conntrack.find("udp", "10.244.2.2", 40000, "203.0.113.10", 53)
    text = (
        "udp      17 30 src=10.244.2.2 dst=203.0.113.10 sport=40000 dport=53 [UNREPLIED] "
        "src=203.0.113.10 dst=198.51.100.10 sport=53 dport=40000 mark=0"
    )
    assert str(first) == text + " use=1"
    assert f"ipv4     2 {text} use=1" in nat.conntrack.format("extended")
    assert f"ipv4     2 {text} zone=0 use=2" in nat.conntrack.format("proc")
    with pytest.raises(ValueError, match="known are conntrack, extended, proc"):
        nat.conntrack.format("xml")


def test_delete_and_flush(nat):
    first = next(iter(nat.conntrack))
    nat.conntrack.delete(first)
    assert len(nat.conntrack) == 2
    with pytest.raises(IndexError):
        nat.conntrack.delete(first)
    with pytest.raises(IndexError):
        nat.conntrack.delete(10**6)
    assert nat.conntrack.flush() == 2
    assert nat.conntrack.find("udp", "10.244.2.2", 40000, "203.0.113.10", 53) is None
    nat._core.check_invariants()


def test_records_are_arrays(nat):
    rows = nat.conntrack.to_numpy()
    assert rows["tuples"]["sport"][:, 0].tolist() == [40000] * 3
    assert nat.ports("198.51.100.10", "udp", "203.0.113.10", 53) == {"used": 3, "free": 64509, "total": 64512}
