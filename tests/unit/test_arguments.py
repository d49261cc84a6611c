"""What callers give: every argument of the wrong kind or size is one FastnatError, and changes nothing."""

import contextlib
import ipaddress
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes import examples, make_node

import fastnat
from fastnat import ArgumentError, ClockError, EngineGroup, FastnatError, InputError, capture

NODE = make_node()
ENDS = ("udp", "10.244.0.2", 40_000, "203.0.113.10", 53)
FIELDS = ("proto", "src", "dst", "sport", "dport", "iface", "tcp_flags", "length", "mark", "isn")
SETTINGS = ("profile", "seed", "max_connections", "key", "bitmap_bytes")
# what people give by mistake, and what nobody does
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.integers(-(2**70), 2**70),
    st.sampled_from([65_535, 65_536, 70_000, 10**400]),
    st.floats(), st.text(max_size=8), st.binary(max_size=4), st.lists(st.integers(-1, 70_000), max_size=3),
    st.sampled_from(["foo", "udp", "tcp", "::1", "10.244.0.2", "cni0", "10.0.0.1/8"]),
    st.sampled_from([[[1], [1, 2]], {}, (), [None], object()]),
    st.lists(st.integers(-(2**40), 2**40), max_size=3).map(np.array), st.lists(st.floats(), max_size=3).map(np.array),
    st.just(np.array(5.0)), st.just(np.zeros((2, 2))), st.just(np.zeros(2, "O")),
)  # fmt: skip


def engine():
    return fastnat.Engine(NODE, max_connections=16)


def batch(nat, **more):
    return nat.packets(**{"proto": "udp", "src": "10.244.0.2", "dst": "203.0.113.10", "iface": "cni0", **more})


def with_odd(arguments, at, odd):
    return [*arguments[:at], odd, *arguments[at + 1 :]]


CALLS = {
    "process": lambda nat, odd, at: nat.process(odd),
    "now": lambda nat, odd, at: nat.process(batch(nat), odd),
    "out": lambda nat, odd, at: nat.process(batch(nat), 0.0, odd),
    "cpus": lambda nat, odd, at: nat.process(batch(nat), cpus=odd),
    "trace": lambda nat, odd, at: nat.trace(odd),
    "datagram": lambda nat, odd, at: nat.process_packet(odd),
    "datagram now": lambda nat, odd, at: nat.process_packet(b"\x45", "cni0", odd),
    "datagram iface": lambda nat, odd, at: nat.process_packet(b"\x45", odd),
    "packets": lambda nat, odd, at: batch(nat, **{FIELDS[at % len(FIELDS)]: odd}),
    "connect": lambda nat, odd, at: nat.connect(*with_odd(ENDS, at % 5, odd), 0.0),
    "connect now": lambda nat, odd, at: nat.connect(*ENDS, odd),
    "find": lambda nat, odd, at: nat.conntrack.find(*with_odd(ENDS, at % 5, odd)),
    "ports": lambda nat, odd, at: nat.ports(*with_odd(("198.51.100.10", "udp", "203.0.113.10", 53), at % 4, odd)),
    "close": lambda nat, odd, at: nat.close(odd, 0.0),
    "version": lambda nat, odd, at: (nat.services, nat.events, nat.save_rules)[at % 3](odd),
    "advance": lambda nat, odd, at: nat.advance(odd),
    "link_down": lambda nat, odd, at: nat.link_down(odd),
    "fork": lambda nat, odd, at: nat.fork(odd),
    "engine": lambda nat, odd, at: fastnat.Engine(NODE, **{"max_connections": 16, SETTINGS[at % 5]: small(odd)}),
    "node": lambda nat, odd, at: (fastnat.Engine(odd), EngineGroup(odd, ["cni0"])),
    "group": lambda nat, odd, at: EngineGroup(
        NODE, **{"inside": ["cni0"], "max_connections": 64, ("inside", "shards", "profile", "seed")[at % 4]: small(odd)}
    ).close(),
}  # fmt: skip


def small(odd):
    """Leave out what is right but takes a lot of memory."""
    return 3 if isinstance(odd, int) and 3 < odd < 1 << 48 else odd


@pytest.mark.drawn
@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=examples(30), deadline=None)
@given(odd=ODD, at=st.integers(0, 19))
def test_odd_arguments_are_taken_or_refused(name, odd, at):
    nat = engine()
    with contextlib.suppress(FastnatError):
        CALLS[name](nat, odd, at)
    nat.check()


@pytest.mark.drawn
@settings(max_examples=examples(60), deadline=None)
@given(odd=ODD, at=st.integers(0, 3))
def test_odd_arguments_of_a_group(odd, at):
    group = EngineGroup(NODE, ["cni0"], max_connections=64)
    calls = (group.process, group.shard_of, lambda odd: group.process(batch(group), odd), group.advance)
    with contextlib.suppress(FastnatError):
        calls[at](odd)
    group.close()
    for nat in group.engines:
        nat.check()


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda nat: nat.process([1]), ArgumentError, "expected a numpy array of packet headers, got list; see"),
        (lambda nat: nat.process(None), ArgumentError, "got NoneType"),
        (lambda nat: nat.process(batch(nat), "soon"), ClockError, "'soon' is not a time in seconds"),
        (lambda nat: batch(nat, proto="foo"), InputError, "proto 'foo': expected one of icmp, tcp, udp"),
        (lambda nat: batch(nat, sport=70_000), InputError, "sport 70000 is not a whole number in 0..65535"),
        # these wrapped around without a word
        (lambda nat: batch(nat, sport=np.array([1, 70_000])), InputError, "sport 70000 is not"),
        (lambda nat: batch(nat, dport=[53.5]), InputError, "dport 53.5 is not"),
        (lambda nat: batch(nat, dport="53"), ArgumentError, "dport: '53' is neither a number"),
        (lambda nat: batch(nat, port=53), ArgumentError, "unknown packet field 'port'; expected one of dport, dst"),
        (lambda nat: batch(nat, sport=[1, 2], dport=[1, 2, 3]), InputError, "do not broadcast against each other"),
        (lambda nat: batch(nat, src=None), ArgumentError, "src: None is not an address"),
        (lambda nat: batch(nat, src="10.0.0.256"), InputError, "src: '10.0.0.256' is not an IPv4 address"),
        (lambda nat: nat.connect("foo", *ENDS[1:], 0.0), InputError, "proto 'foo'"),
        (lambda nat: nat.connect("udp", "10.244.0.2", 1, "203.0.113.10", 70_000, 0.0), InputError, "dport 70000"),
        (lambda nat: nat.conntrack.find("foo", *ENDS[1:]), InputError, "proto 'foo'"),
        # it was found at port 4464
        (lambda nat: nat.conntrack.find("udp", "10.244.0.2", 70_000, "203.0.113.10", 53), InputError, "sport 70000"),
        (lambda nat: nat.ports("198.51.100.10", "foo", "203.0.113.10", 53), InputError, "proto 'foo'"),
        (lambda nat: nat.ports("198.51.100.10", "udp", "203.0.113.10", 1 << 40), InputError, "dport 1099511627776"),
        (lambda nat: nat.close("all", 0.0), ArgumentError, "expected a Connection or an array of numbers, got str"),
        (lambda nat: nat.close(np.array([0.5]), 0.0), ArgumentError, "expected numbers of connections, got"),
        (lambda nat: nat.connect("udp", "10.244.0.2", [1, 70_000], "203.0.113.10", 53, 0.0), InputError, "sport 70000"),
        (lambda nat: nat.packets_from(batch(nat), batch(nat), "cni0"), ArgumentError, "the RESULT"),
        (lambda nat: nat.packets_from(batch(nat), np.zeros(2, fastnat.RESULT), "cni0"), ArgumentError, "packets"),
        (lambda nat: fastnat.Engine.restore("/nowhere/state"), InputError, "/nowhere/state"),
        (lambda nat: fastnat.Engine.restore("/"), InputError, "/: "),
        (lambda nat: nat.conntrack.to_numpy(6), InputError, "no connections of IPv6"),
        (lambda nat: EngineGroup(NODE, ["cni0"], "2"), InputError, "shards '2' is not a whole number in 1..64"),
        (lambda nat: EngineGroup(NODE, ["cni0"], 1.5), InputError, "shards 1.5 is not a whole number in 1..64"),
        (lambda nat: EngineGroup(NODE, ["cni0"], 10**30), InputError, "is not a whole number in 1..64"),
        (lambda nat: EngineGroup(NODE, ["cni9"]), InputError, "no interface 'cni9'"),
        (lambda nat: EngineGroup(NODE, "cni0"), ArgumentError, "expected a list of names of interfaces, got 'cni0'"),
        (lambda nat: EngineGroup(NODE, ["cni0"], seed=-1), InputError, "seed -1 is not a whole number"),
        (lambda nat: fastnat.Engine("node/"), ArgumentError, "expected a Node, got str"),
        (lambda nat: fastnat.Engine(NODE, key=-1), InputError, "key -1 is not a whole number"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, kind, says):
    nat = engine()
    with pytest.raises(kind, match=re.escape(says)):
        call(nat)
    assert len(nat.conntrack) == 0


ADDRESSES = {
    4: (["10.244.0.2", "10.244.0.9"], [0x0AF40002, 0x0AF40009], "203.0.113.10"),
    6: (["fd00:10:244::2", "fd00:10:244::9"], None, "2001:db8::9"),
}


@pytest.mark.parametrize("version", ADDRESSES)
def test_every_form_of_addresses_is_the_same(version):
    """Text, objects and numbers; in lists, tuples, arrays and whatever can be gone through."""
    texts, numbers, dst = ADDRESSES[version]
    objects = [ipaddress.ip_address(t) for t in texts]
    forms = [texts, tuple(texts), np.array(texts), np.array(texts, "O"), objects, np.array(objects, "O"), iter(texts)]
    forms += [np.array(numbers, kind) for kind in ("<u4", ">u4", "<i8", ">u8", "<i4")] if numbers else []
    forms += [range(numbers[0], numbers[0] + 8, 7)] if numbers else []
    batches = [fastnat.packets(proto="udp", src=form, dst=dst) for form in forms]
    for made, form in zip(batches, forms, strict=True):
        assert (made == batches[0]).all(), form
    assert len(batches[0]) == 2


@pytest.mark.parametrize("odd", [
    np.array([-1]), np.array([2**32]), np.array([2**40, 5]), np.array([2**64 - 1], np.uint64), np.array([-5], np.int8),
    b"10.0.0.1", bytearray(b"10.0.0.1"), memoryview(b"10.0.0.1"), True, np.bool_(True), [True], np.array([True]),
    np.array("::1"), np.ones(2), [b"10.0.0.1"], {"10.0.0.1": 1, "::1": 2},
])  # fmt: skip
@pytest.mark.parametrize("name", ["src", "dst"])
def test_what_is_no_address_is_refused(name, odd):
    """Neither cut to 32 bits nor taken byte by byte."""
    with pytest.raises(FastnatError):
        fastnat.packets(**{"proto": "udp", "src": "10.244.0.2", "dst": "203.0.113.10", name: odd})


def test_addresses_of_two_families_are_named():
    with pytest.raises(InputError, match=r"src: '10\.0\.0\.1' is not an IPv6 address"):
        fastnat.packets(proto="udp", src="10.0.0.1", dst="::1")


@pytest.mark.parametrize("form", [str, Path, lambda name: str(name).encode(), lambda name: type("S", (str,), {})(name)])
def test_every_form_of_a_path_is_taken(tmp_path, form):
    nat = engine()
    NODE.save(form(tmp_path / "node"))
    assert fastnat.Engine(fastnat.Node.load(form(tmp_path / "node")))
    nat.save(form(tmp_path / "state"))
    assert fastnat.Engine.restore(form(tmp_path / "state")).now == nat.now
    with (tmp_path / "c.pcapng").open("wb") as file:
        capture.Writer(file).write(0.0, "cni0", b"\x45" + bytes(19))
    assert len(list(capture.read(form(tmp_path / "c.pcapng")))) == 1


@pytest.mark.parametrize("odd", [None, 5, 1.5, [], object(), "", b"", "\0", b"a\0b"])
def test_odd_paths_are_refused_and_nothing_is_written(tmp_path, monkeypatch, odd):
    monkeypatch.chdir(tmp_path)
    nat = engine()
    calls = (NODE.save, fastnat.Node.load, nat.save, fastnat.Engine.restore, lambda path: list(capture.read(path)))
    for call in calls:
        with pytest.raises(FastnatError):
            call(odd)
    assert not list(tmp_path.iterdir())
