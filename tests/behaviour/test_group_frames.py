"""Datagrams through an EngineGroup: what opens a connection, its answers and the errors about it meet in one shard."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from behaviour.router import M, Router, of_ipv6
from nodes import make_node
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.sctp import SCTP, SCTPChunkInit

import fastnat
from fastnat import EngineGroup
from fastnat.errors import ClockError, InputError

FAMILIES = pytest.mark.parametrize("family", [4, 6])
CLIENTS, SERVERS, OWN = [f"10.1.0.{k}" for k in range(2, 60)], [f"10.2.0.{k}" for k in range(2, 40)], "10.2.0.1"
RULES = f"{M} -s 10.1.0.0/24"
LOCAL, R0, R1 = map(Router().node.iface_number, ("local", "r0", "r1"))


def named(family, name):
    return of_ipv6(name) if family == 6 else name


def header(family, src, dst, odd=False):
    """An IP header; odd: with an option, or an extension header, behind which the ports stand elsewhere."""
    src, dst = named(family, src), named(family, dst)
    if family == 4:
        return IP(src=src, dst=dst, options=b"\x01\x01\x01\x00" if odd else [])
    return IPv6(src=src, dst=dst) / IPv6ExtHdrDestOpt() if odd else IPv6(src=src, dst=dst)


def opens(rng, family, n):
    """First packets: of clients to servers, and to the router; of the router; of servers to the router."""
    frames, ifaces = [], []
    # an identifier of an echo of the router itself, a port of each of the others: nobody else's tuple
    ports = rng.permutation(np.arange(1024, 60_000))
    for port in map(int, ports[:n]):
        who = rng.integers(6)
        src, dst = str(rng.choice(CLIENTS)), str(rng.choice(SERVERS))
        if who == 0:
            src = OWN
        elif who == 1:
            src, dst = dst, OWN
        elif who == 2:
            dst = "10.1.0.1" if rng.integers(2) else OWN
        elif who == 3 and rng.integers(2):
            src, dst = OWN, src
        kind = str(rng.choice(["udp", "tcp", "sctp", "echo", "esp", "odd"]))
        ip = header(family, src, dst, kind == "odd")
        there = int(rng.integers(1, 65_536))
        echo = ICMPv6EchoRequest if family == 6 else ICMP
        l4 = {
            "tcp": TCP(sport=port, dport=there, flags="S"), "sctp": SCTP(sport=port, dport=there) / SCTPChunkInit(),
            "echo": echo(id=port), "esp": struct.pack(">II", port, 1),
        }.get(kind, UDP(sport=port, dport=there) / b"ask")  # fmt: skip
        if kind == "esp":
            setattr(ip, "proto" if family == 4 else "nh", 50)
        frames.append(bytes(ip / l4))
        ifaces.append(LOCAL if src == OWN else R0 if src.startswith("10.1.0.") else R1)
    return frames, ifaces


def layers(family, data):
    return (IP if family == 4 else IPv6)(data)


def turned(family, data):
    """The answer to a datagram."""
    asked = layers(family, data)
    src, dst = asked.dst, asked.src
    ip = IP(src=src, dst=dst) if family == 4 else IPv6(src=src, dst=dst)
    for l4 in (TCP, UDP, SCTP):
        if l4 in asked:
            more = {"flags": "SA", "ack": 1} if l4 is TCP else {}
            rest = SCTPChunkInit(type=2) if l4 is SCTP else b""
            if l4 is SCTP:
                more = {"tag": 0}
            return bytes(ip / l4(sport=asked[l4].dport, dport=asked[l4].sport, **more) / rest)
    if ICMP in asked or ICMPv6EchoRequest in asked:
        answer = ICMP(type=0, id=asked[ICMP].id) if family == 4 else ICMPv6EchoReply(id=asked[ICMPv6EchoRequest].id)
        return bytes(ip / answer)
    setattr(ip, "proto" if family == 4 else "nh", 50)
    return bytes(ip / struct.pack(">II", 7, 1))


def quoted(family, data):
    """An error about a datagram, of a router on its way behind this one."""
    asked = layers(family, data)
    size = 28 if family == 4 else 200
    if family == 4:
        return bytes(IP(src=asked.dst, dst=asked.src) / ICMP(type=3, code=1) / data[: max(size, asked.ihl * 4 + 8)])
    return bytes(IPv6(src=asked.dst, dst=asked.src) / ICMPv6DestUnreach(code=0) / data[:size])


def run(nat, family, frames, ifaces, now):
    """Return the results and the datagrams as they are then."""
    offsets = np.cumsum([0, *map(len, frames)])
    buffer = np.frombuffer(b"".join(frames), np.uint8).copy()
    out = nat.process_frames(buffer, offsets, np.array(ifaces, np.uint16), now, version=family)
    return out, [buffer[a:b].tobytes() for a, b in pairwise(offsets)]


def heading(result):
    """Where an answer enters: by where the packet left, from the router itself if it was for that."""
    return [int(r["out_iface"]) if r["verdict"] == fastnat.Verdict.FORWARD else LOCAL for r in result]


def outcome(out):
    return out["verdict"].tolist(), out["ctinfo"].tolist(), out["reason"].tolist()


@pytest.mark.one_of(4)
@FAMILIES
@pytest.mark.parametrize("shards", [pytest.param(1, marks=pytest.mark.slow), 2, 5])
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
def test_a_group_knows_what_one_engine_knows(family, shards, seed):
    """First packets of all kinds, the answers to what came of them, errors that quote it, and the first ones again.

    Ports and identifiers are those of the slices; all else is that of one engine.
    """
    rng = np.random.default_rng([seed, shards])
    node = Router(RULES, family=family).node
    group, alone = EngineGroup(node, ["r0"], shards, seed=seed), fastnat.Engine(node, seed=seed)
    frames, ifaces = opens(rng, family, 200)
    got = {}
    for name, nat in (("group", group), ("alone", alone)):
        first, left = run(nat, family, frames, ifaces, 1.0)
        back = heading(first)
        answers, home = run(nat, family, [turned(family, data) for data in left], back, 2.0)
        wrong, _ = run(nat, family, [quoted(family, data) for data in left], back, 3.0)
        again, _ = run(nat, family, frames, ifaces, 4.0)
        got[name] = [outcome(out) for out in (first, answers, wrong, again)]
        got[name].append([data[12:20] if family == 4 else data[8:40] for data in home])
    assert got["group"] == got["alone"]
    assert set(got["alone"][1][1]) >= {fastnat.CtInfo.ESTABLISHED_REPLY}
    assert set(got["alone"][2][1]) >= {fastnat.CtInfo.RELATED_REPLY}
    for engine in group.engines:
        engine.check()
    group.close()


def queries(n):
    """Frames of 64 bytes of UDP without a checksum, of many clients."""
    k = np.arange(0x300, 0x300 + n)
    frames = np.zeros((n, 64), np.uint8)
    head = IP(src="10.244.0.0", dst="203.0.113.10", len=64, proto=17) / UDP(sport=40_000, dport=53, len=44, chksum=0)
    frames[:, :28] = np.frombuffer(bytes(head)[:28], np.uint8)
    frames[:, 14], frames[:, 15] = k >> 8 & 0xFF, k & 0xFF
    frames[:, 10:12] = 0
    total = frames[:, :20].reshape(n, 10, 2).astype(np.uint32) @ np.array([256, 1], np.uint32)
    total = total.sum(axis=1)
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    frames[:, 10], frames[:, 11] = total >> 8, total & 0xFF
    return frames.reshape(-1), np.arange(n + 1) * 64


@pytest.mark.parametrize("timed", [False, True])
def test_each_shard_runs_its_frames_as_an_engine_alone(timed):
    """With threads, as there are many: results, bytes and clocks are those of its frames alone, in their order."""
    n, shards = 6000, 3
    group, twins = (EngineGroup(make_node(), ["cni0"], shards, seed=3) for _ in range(2))
    data, offsets = queries(n)
    given = data.copy()
    now = np.linspace(1.0, 2.0, n) if timed else 1.0
    out = group.process_frames(data, offsets, "cni0", now)
    assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
    source = given.reshape(n, 64)[:, 12:16].astype(np.uint32) @ np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint32)
    shard = group.shard_of(group.packets(proto="udp", src=source, dst="203.0.113.10", dport=53, iface="cni0"))
    assert np.bincount(shard, minlength=shards).min() > n / shards * 0.8
    for k in range(shards):
        mine = shard == k
        own = given.reshape(n, 64)[mine].reshape(-1).copy()
        alone = twins.engines[k].process_frames(
            own, np.arange(mine.sum() + 1) * 64, "cni0", now[mine] if timed else now
        )
        np.testing.assert_array_equal(alone, out[mine])
        np.testing.assert_array_equal(own, data.reshape(n, 64)[mine].reshape(-1))
    assert [e.now for e in group.engines] == [2.0 if timed else 1.0] * shards
    assert group.processed == [n] * shards
    group.close()
    twins.close()


@pytest.mark.one_of(2)
@FAMILIES
def test_any_bytes_are_somebodys(family):
    """Cut, odd and random datagrams: each is decided, by one shard, as one engine decides it, ports apart."""
    rng = np.random.default_rng(family)
    node = Router(RULES, family=family).node
    group, alone = EngineGroup(node, ["r0"], 4, seed=1), fastnat.Engine(node, seed=1)
    frames, ifaces = opens(rng, family, 200)
    for data in frames[:]:
        frames.append(quoted(family, data))
        receiver = layers(family, data).dst
        own = receiver in {named(family, OWN), named(family, "10.1.0.1")}
        ifaces.append(LOCAL if own else R0 if receiver.startswith(named(family, "10.1.0.2")[:5]) else R1)
    for n, data in enumerate(frames):
        at, size = rng.integers(0, len(data), 2)
        frames[n] = data[:size] if n % 3 else data[:at] + rng.bytes(2) + data[at + 2 :]
    out, _ = run(group, family, frames, ifaces, 1.0)
    other, _ = run(alone, family, frames, ifaces, 1.0)
    assert outcome(out) == outcome(other)
    assert group.stats["packets"] == len(frames)
    group.close()


def test_wrong_arguments_are_refused_before_anything_happens():
    group = EngineGroup(make_node(), ["cni0"], 2)
    data, offsets = queries(3000)
    given = data.copy()
    for wrong, word in (
        ((data, offsets + 1, "cni0"), "do not lie in the buffer"),
        ((data, offsets, np.zeros(7, np.uint16)), "7 interfaces for 3000 frames"),
        ((data, offsets[:0], "cni0"), "one element more"),
        ((data, offsets, "cni0", np.zeros(5)), "5 times for 3000 packets"),
    ):
        with pytest.raises(InputError, match=word):
            group.process_frames(*wrong)
    with pytest.raises(InputError, match="IPv6"):
        group.process_frames(data, offsets, "cni0", version=6)
    assert group.stats["packets"] == 0 and (data == given).all()
    # one that an interruption has left behind
    group.engines[1].advance(5.0)
    with pytest.raises(ClockError, match="goes back from 5"):
        group.process_frames(data, offsets, "cni0", 4.0)
    assert group.stats["packets"] == 0 and (data == given).all()
    assert len(group.process_frames(data[:0], offsets[:1], "cni0", 5.0)) == 0
    group.close()
