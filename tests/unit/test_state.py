"""Engine.save and restore: the same answers from there on, and no file can do harm."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes import examples
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.sctp import SCTP, SCTPChunkInit

import fastnat
from fastnat.errors import InputError

RULES = """*mangle
-A PREROUTING -p udp -m limit --limit 5/second --limit-burst 20 -j MARK --set-mark 3
-A PREROUTING -p udp -m recent --name seen --set
-A FORWARD -p tcp -j CONNMARK --set-mark 9
COMMIT
*nat
-A PREROUTING -d 10.96.0.1/32 -p udp -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination 10.244.2.5:53
-A PREROUTING -d 10.96.0.1/32 -p udp -j DNAT --to-destination 10.244.2.6:53
-A POSTROUTING -m recent --name seen --rcheck --seconds 3 --hitcount 4 -j SNAT --to-source 198.51.100.30-198.51.100.40
-A POSTROUTING -m hashlimit --hashlimit-upto 9/second --hashlimit-mode srcip --hashlimit-name h -j MASQUERADE --random
-A POSTROUTING -o eth0 -j MASQUERADE --random-fully
COMMIT
"""


def node():
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/24", "fd00:1::1/64"])
    made.add_interface("eth0", ["198.51.100.10/24", "2001:db8::10/64"])
    made.add_interface("ipvs0", ["10.96.0.9/32"])
    made.add_route("10.244.0.0/16", dev="cni0")
    made.add_route("default", via="198.51.100.1")
    made.add_route("default", via="2001:db8::1")
    made.load_rules(RULES)
    made.load_rules6("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    made.load_services("-A -u 10.96.0.9:53 -s lc -p 60\n-a -u 10.96.0.9:53 -r 10.244.2.7:53 -m\n"
                       "-a -u 10.96.0.9:53 -r 10.244.2.8:53 -m\n")  # fmt: skip
    return made


def traffic(nat, seed, begin):
    """Some thousand packets over ten seconds, of both families, many to few destinations."""
    rng = np.random.default_rng(seed)
    n = 3000
    dst = rng.choice([0xCB007109, 0xCB00710A, 0x0A600001, 0x0A600009], n).astype(np.uint32)
    proto = rng.choice([6, 17, 17], n)
    four = nat.packets(
        proto=proto, src=0x0AF40100 + rng.integers(2, 30, n).astype(np.uint32), sport=rng.integers(1024, 1060, n),
        dst=dst, dport=53, iface="cni0", tcp_flags=np.where(proto == 6, rng.choice([2, 16, 17], n), 0),
        isn=rng.integers(0, 65536, n),
    )  # fmt: skip
    six = nat.packets(proto="udp", src="fd00:1::9", sport=rng.integers(1024, 1100, 200), dst="2001:db8:1::5", dport=53,
                      iface="cni0")  # fmt: skip
    return four, np.sort(rng.uniform(begin, begin + 10, n)), six


def answers(nat, seed, begin):
    four, times, six = traffic(nat, seed, begin)
    first, second = nat.process(four, times), nat.process(six, begin + 10)
    first["conn"] = second["conn"] = 0
    return first.tobytes() + second.tobytes()


def everything(nat):
    lines = sorted(nat.conntrack.format("extended").splitlines())
    return lines, nat.stats, nat.save_rules(), nat.save_rules(6), nat.services(), nat.now


def test_it_goes_on_with_the_same_answers(tmp_path):
    nat = fastnat.Engine(node(), seed=4)
    answers(nat, 1, 0.0)
    nat.save(tmp_path / "state")
    other = fastnat.Engine.restore(tmp_path / "state")
    assert everything(other) == everything(nat)
    for k in (2, 3, 4):
        assert answers(other, k, 11.0 * k) == answers(nat, k, 11.0 * k)
        assert everything(other) == everything(nat)
    for core in (stack.core for stack in other.stacks.values()):
        core.check_invariants()
    nat.advance(1e6)
    other.advance(1e6)
    assert len(nat.conntrack) == len(other.conntrack) == 0


def test_bysource_lists_keep_their_order(tmp_path):
    """The newest mapping of a source is asked first."""
    plain = fastnat.Node.example()
    nat = fastnat.Engine(plain)
    nat.process(nat.packets(proto="udp", src="10.244.1.9", sport=7, dst=[0xCB007101 + n for n in range(50)], dport=9,
                            iface="cni0"))  # fmt: skip
    nat.save(tmp_path / "state")
    other = fastnat.Engine.restore(tmp_path / "state")
    late = [
        e.process(e.packets(proto="udp", src="10.244.1.9", sport=7, dst="203.0.113.99", dport=9, iface="cni0"))
        for e in (nat, other)
    ]
    assert late[0]["sport"][0] == late[1]["sport"][0] == 7
    other.stacks[4].core.check_invariants()


def test_random_fully_stays_on(tmp_path):
    nat = fastnat.Engine(fastnat.Node.example())
    nat.set_random_fully()
    nat.save(tmp_path / "state")
    other = fastnat.Engine.restore(tmp_path / "state")
    out = other.process(other.packets(proto="udp", src="10.244.1.9", sport=7, dst="203.0.113.9", dport=9, iface="cni0"))
    assert out["sport"][0] != 7


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x93NUMPY", b"hello"])
def test_what_is_no_state_is_named(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(InputError, match="state: "):
        fastnat.Engine.restore(tmp_path / "state")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        fastnat.Engine.restore(tmp_path / "nothing")


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The arrays of a saved engine, as bytes."""
    path = tmp_path_factory.mktemp("state") / "state"
    nat = fastnat.Engine(node(), seed=4, max_connections=4000)
    answers(nat, 1, 0.0)
    nat.save(path)
    with zipfile.ZipFile(path) as file:
        return path, {name: file.read(name) for name in file.namelist()}


@pytest.mark.drawn
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_damaged_records_are_refused_or_harmless(members, data):
    """Any bytes in any array: an error that says so, or an engine whose tables are sound."""
    path, arrays = members
    name = data.draw(st.sampled_from(sorted(arrays)))
    damaged = bytearray(arrays[name])
    for _ in range(data.draw(st.integers(1, 20))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for other, content in arrays.items():
            out.writestr(other, bytes(damaged) if other == name else content)
    where = path.with_name("damaged")
    where.write_bytes(file.getvalue())
    try:
        nat = fastnat.Engine.restore(where)
    except InputError:
        return
    for core in (stack.core for stack in nat.stacks.values()):
        core.check_invariants()
    answers(nat, 5, nat.now + 1)
    nat.advance(nat.now + 1e5)
    for core in (stack.core for stack in nat.stacks.values()):
        core.check_invariants()


def test_tcp_windows_survive_forking_and_saving(tmp_path):
    """A segment far outside of the window is invalid; a copy of the engine must know that, too."""
    nat = fastnat.Engine(fastnat.Node.example())
    there, back = IP(src="10.244.1.2", dst="203.0.113.9"), IP(src="203.0.113.9", dst="198.51.100.10")
    for iface, packet in (
        ("cni0", there / TCP(sport=4000, dport=80, flags="S", seq=1000, window=1000)),
        ("eth0", back / TCP(sport=80, dport=4000, flags="SA", seq=5000, ack=1001, window=1000)),
        ("cni0", there / TCP(sport=4000, dport=80, flags="A", seq=1001, ack=5001, window=1000)),
    ):
        nat.process_packet(bytes(packet), iface, 1.0)
    nat.save(tmp_path / "state")
    for copy in (nat, nat.fork(), fastnat.Engine.restore(tmp_path / "state")):
        before = copy.stats["invalid"]
        copy.process_packet(bytes(there / TCP(sport=4000, dport=80, flags="A", seq=900_000, ack=5001)), "cni0", 2.0)
        assert copy.stats["invalid"] == before + 1


def test_sets_count_and_forget(tmp_path):
    node = fastnat.Node()
    node.add_interface("in", ["10.0.0.1/24"])
    node.add_interface("out", ["192.0.2.1/24"])
    node.load_sets(
        "create T hash:ip family inet timeout 5 counters\n"
        "add T 192.0.2.9 packets 7 bytes 70\nadd T 192.0.2.8 timeout 0\n"
        "create M hash:ip,mark family inet\nadd M 192.0.2.7,0x9\n"
    )
    node.load_rules(
        "*filter\n-A FORWARD -m set --match-set T dst --packets-gt 9 -j DROP\n"
        "-A FORWARD -m set --match-set M dst,dst -j DROP\n"
        "-A FORWARD -d 192.0.2.8 -m set ! --match-set T dst -j DROP\nCOMMIT\n"
    )
    nat = fastnat.Engine(node)

    def passes(engine, last, now, **more):
        packet = engine.packets(
            iface="in", src="10.0.0.2", dst=f"192.0.2.{last}", sport=1, dport=53, proto="udp", **more
        )
        return engine.process(packet, now)["verdict"][0] == fastnat.Verdict.FORWARD

    assert [passes(nat, 9, 1.0) for _ in range(2)] == [True, True]
    nat.save(tmp_path / "state")
    again = fastnat.Engine.restore(tmp_path / "state")
    for engine in (nat, again):
        # the tenth packet; then its time is over, that of the other never
        assert [passes(engine, 9, 5.0), passes(engine, 9, 5.1)] == [False, True]
        assert passes(engine, 8, 1e6)
        assert not passes(engine, 7, 1e6, mark=9) and passes(engine, 7, 1e6, mark=8)


HELPED = "*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\nCOMMIT\n"
# of an array: a field, the largest number that it may have, and the protocol of its connection
LIMITS = [
    ("helps", "kind", 3, 6), ("helps", "master_kind", 3, 6),
    ("helps", ("n_ends", 0), 2, 6), ("helps", ("n_ends", 1), 2, 6),
    ("expects", "dir", 1, 6), ("expects", "any_sport", 1, 6),
    ("tcp", ("scale", 0), 14, 6), ("tcp", ("scale", 1), 14, 6),
    ("tcp", "last_dir", 1, 6), ("tcp", "last_index", 5, 6), ("tcp", "last_wscale", 14, 6),
    # in the place of a field of TCP: sctp_t.last_dir
    ("tcp", ("td_maxend", 0, 2), 1, 132),
]  # fmt: skip


@pytest.fixture(scope="module", params=[4, 6])
def talked(request, tmp_path_factory):
    """The arrays of an engine with a helped connection of TCP, which announces another, and one of SCTP."""
    family = request.param
    node = fastnat.Node()
    node.add_interface("in", ["10.0.0.1/24", "fd01::1/64"])
    node.add_interface("out", ["192.0.2.1/24", "fd02::1/64"])
    (node.load_rules if family == 4 else node.load_rules6)(HELPED)
    ip, ends = (IP, ("10.0.0.2", "192.0.2.9")) if family == 4 else (IPv6, ("fd01::2", "fd02::9"))
    there, back = ip(src=ends[0], dst=ends[1]), ip(src=ends[1], dst=ends[0])
    port = b"PORT 10,0,0,2,7,1\r\n" if family == 4 else b"EPRT |2|fd01::2|1793|\r\n"
    nat = fastnat.Engine(node)
    for iface, packet in (
        ("in", there / TCP(sport=4000, dport=21, flags="S", seq=100)),
        ("out", back / TCP(sport=21, dport=4000, flags="SA", seq=200, ack=101)),
        ("in", there / TCP(sport=4000, dport=21, flags="A", seq=101, ack=201)),
        ("in", there / TCP(sport=4000, dport=21, flags="PA", seq=101, ack=201) / b"USER\r\n"),
        ("in", there / TCP(sport=4000, dport=21, flags="PA", seq=107, ack=201) / port),
        ("in", there / SCTP(sport=5, dport=6, tag=0) / SCTPChunkInit(init_tag=9)),
    ):
        assert nat.process_packet(bytes(packet), iface, 1.0)[0] == fastnat.Verdict.FORWARD
    path = tmp_path_factory.mktemp("limits") / "state"
    nat.save(path)
    with zipfile.ZipFile(path) as file:
        return family, path, {name: file.read(name) for name in file.namelist()}


@pytest.mark.one_of(3)
@pytest.mark.parametrize(("member", "field", "most", "proto"), LIMITS)
def test_numbers_at_their_limits_are_taken_and_beyond_refused(talked, member, field, most, proto):
    family, path, arrays = talked
    conns = np.load(io.BytesIO(arrays[f"conns{family}.npy"]))
    row = 0 if member in ("helps", "expects") else int(np.flatnonzero(conns["tuples"]["proto"][:, 0] == proto)[0])
    for value in (most, most + 1):
        array = np.load(io.BytesIO(arrays[f"{member}{family}.npy"]))
        name, *at = field if isinstance(field, tuple) else (field,)
        there = array[name][row : row + 1]
        if len(at) == 2:
            there[:, at[0] : at[0] + 1].view(np.uint8)[0, at[1]] = value
        elif at:
            there[0, at[0]] = value
        else:
            there[0] = value
        if field == "kind" and value in (2, 3):
            # helpers of other protocols, or families
            continue
        buffer, where = io.BytesIO(), path.with_name("changed")
        np.save(buffer, array)
        with zipfile.ZipFile(where, "w") as out:
            for other, content in arrays.items():
                out.writestr(other, buffer.getvalue() if other == f"{member}{family}.npy" else content)
        if value <= most:
            fastnat.Engine.restore(where).check()
        else:
            with pytest.raises(InputError):
                fastnat.Engine.restore(where)
