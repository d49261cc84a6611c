"""What a packet of each kind costs, as a table.

    PYTHONPATH=benchmarks python benchmarks/rows.py [--live 1000000] [ROW ...]

A row is an engine with connections that live, and calls, each timed by itself: the median, divided by the packets of
one call. R, by which machines compare, stands above the table (docs/vocabulary.md).
"""

import argparse
import gc
import itertools
import os
import statistics
import time
from dataclasses import replace
from functools import partial

import numpy as np
from workloads import (
    BATCH,
    DNAT,
    FEW,
    FRAMES,
    IPV6,
    IPV6_TCP,
    TCP,
    Kind,
    Services,
    datagrams,
    dual_stack_node,
    services,
)
from yardstick import yardstick

import fastnat
from fastnat.bench.measure import cpu

ROUNDS = 6 if FEW else 300
SYN, SYN_ACK, ACK, FIN_ACK = 0x02, 0x12, 0x10, 0x11
UDP, ECHO = Kind(), Kind(proto="icmp", dport=8 << 8)
# where answers go
NODE = "198.51.100.10"
NOTRACK = "*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n"


def batches(of, first, n=ROUNDS):
    """Return what `of` makes of the numbers of each of n batches."""
    return [of(np.arange(first + k * BATCH, first + (k + 1) * BATCH)) for k in range(n)]


def processed(nat, parts):
    """Return calls that process the parts, with the packets of each."""
    return ((partial(nat.process, part), len(part)) for part in parts)


def forwarded(nat, part):
    """Process a part, of which no packet may be dropped."""
    out = nat.process(part)
    if (out["verdict"] == fastnat.Verdict.DROP).any():
        raise RuntimeError("a packet of the benchmark was dropped")
    return out


def answers(nat, sent, part, flags=0, iface="eth0"):
    """Return the packets that answer what `sent`, results of a part, says was forwarded."""
    proto = int(part["proto"][0])
    echo = {"sport": sent["sport"], "dport": 0} if proto == 1 else {"sport": sent["dport"], "dport": sent["sport"]}
    return nat.packets(proto=proto, src=sent["dst"], dst=sent["src"], iface=iface, tcp_flags=flags, **echo)


def first(kind, live, rounds=ROUNDS, **options):
    """First packets of connections beside those that live."""
    nat = kind.live(live, room=ROUNDS * BATCH, **options)
    return processed(nat, batches(partial(kind.packets, nat), live, rounds))


def to_one_server(kind):
    """First packets to one server behind DNAT and MASQUERADE, towards which the node has but 64,512 ports."""
    return lambda live: first(kind, min(live, 40_000), rounds=min(ROUNDS, 60))


def further(kind, live, back=False, seen=True, **options):
    """Packets of connections that live, in random order. back: of those that answer; the first ones, unless `seen`."""
    nat = fastnat.Engine(dual_stack_node(kind.beside), max_connections=live + BATCH, **options)
    parts = []
    for part in batches(partial(kind.packets, nat), 0, live // BATCH):
        sent = forwarded(nat, part)
        reply = answers(nat, sent, part, SYN_ACK if kind.proto == "tcp" else 0)
        if seen:
            forwarded(nat, reply)
            reply["tcp_flags"] = part["tcp_flags"] = ACK if kind.proto == "tcp" else 0
            forwarded(nat, part)
            # each direction has been seen twice, so that a stream is one
            forwarded(nat, reply)
        parts.append(reply if back else part)
    mixed = np.random.default_rng(1).permutation(np.concatenate(parts))[: ROUNDS * BATCH]
    return processed(nat, mixed.reshape(-1, BATCH)) if seen else processed(nat, parts[:ROUNDS])


def whole_lives(live):
    """TCP connections of seven packets, from SYN to the last ACK; a call is all of 256 connections."""
    nat = TCP.live(live, room=ROUNDS * BATCH)
    for there in batches(partial(TCP.packets, nat), live, ROUNDS // 3):
        back = nat.packets(
            proto="tcp", src=there["dst"], dst=NODE, sport=there["dport"], dport=there["sport"], iface="eth0"
        )
        steps = []
        # SYN, SYN-ACK, ACK, data, FIN of either end, and the last ACK
        for packets, flags in zip(
            (there, back, there, there, there, back, there),
            (SYN, SYN_ACK, ACK, ACK, FIN_ACK, FIN_ACK, ACK),
            strict=True,
        ):
            step = packets.copy()
            step["tcp_flags"] = flags
            steps.append(step)
        yield partial(_all, nat, steps), BATCH


def _all(nat, steps):
    for part in steps:
        nat.process(part)


def to_services(n, live):
    """First packets to one of n services of kube-proxy."""
    kind = Services(services, n)
    nat = kind.live(live)
    return processed(nat, batches(partial(kind.packets, nat), 0))


def frames(kind, live, opening):
    """Datagrams of 64 bytes: first ones of connections, or further ones in random order."""
    nat = kind.live(live, room=ROUNDS * BATCH)
    numbers = np.arange(live, live + ROUNDS * BATCH)
    if not opening:
        numbers = np.random.default_rng(1).integers(0, live, ROUNDS * BATCH)
    for part in numbers.reshape(-1, BATCH):
        sent = datagrams(kind.packets(nat, part, opening=opening))
        yield partial(nat.process_frames, *sent, iface=kind.iface), BATCH


def one_by_one(live):
    """Datagrams of 64 bytes of connections that live, each in a call of its own."""
    nat = FRAMES.live(live)
    data, offsets = datagrams(FRAMES.packets(nat, np.random.default_rng(1).integers(0, live, ROUNDS * 8)))
    for at in offsets[:-1]:
        yield partial(nat.process_packet, data[at : at + 64].tobytes(), FRAMES.iface), 1


def untracked(rules, live):
    """Packets of which no connection is kept."""
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.0.1/16"])
    node.add_interface("eth0", ["198.51.100.10/24"])
    node.add_route("default", via="198.51.100.1", dev="eth0")
    node.load_rules(rules)
    nat = fastnat.Engine(node, max_connections=BATCH)
    return processed(nat, batches(partial(UDP.packets, nat), 0))


# calls until the bitmap of a server knows nearly all of its ports: each of them is looked up once
LEARNING = 1500


def crowd(proto, share, live, state="established"):
    """First packets that want one port towards a server, towards which a share of all ports is taken.

    state: of the connections that have them, for TCP. What opens is deleted, so that the share stays; not what took
    over the port of a closed connection, which nobody would have then.
    """
    nat = UDP.live(live, room=200_000)
    server = {"proto": proto, "dst": "192.0.2.1", "dport": 53, "iface": "cni0"}
    ports = np.random.default_rng(2).permutation(np.arange(1024, 65536))[: int(64_512 * share)]
    flags = 0 if proto == "udp" else SYN
    taken = nat.packets(src="10.244.9.9", sport=ports, tcp_flags=flags, isn=1, **server)
    for start in range(0, len(taken), BATCH):
        part = taken[start : start + BATCH]
        back = answers(nat, forwarded(nat, part), part)
        lives = {"udp": (), "established": (SYN_ACK, ACK), "closed": (SYN_ACK, ACK, FIN_ACK, FIN_ACK, ACK)}
        for flags, packets in zip(lives["udp" if proto == "udp" else state], itertools.cycle((back, part))):
            packets = packets.copy()
            packets["tcp_flags"] = flags
            forwarded(nat, packets)
    sources = 0x0AF40A00 + np.arange((ROUNDS + LEARNING) * 32, dtype=np.uint32)
    # with higher numbers than connections in TIME_WAIT, whose ports they may take over
    flags = SYN if proto == "tcp" else 0
    wanted = nat.packets(src=sources, sport=int(ports[0]), tcp_flags=flags, isn=20_000, **server)
    opened = []
    for n, part in enumerate(wanted.reshape(-1, 32)):
        for conn in opened.pop() if opened else ():
            if conn != 0xFFFFFFFF and state != "closed":
                nat.conntrack.delete(int(conn))
        call = partial(_note, nat, part, opened)
        if n < LEARNING:
            call()
        else:
            yield call, 32


def _note(nat, part, opened):
    opened.append(nat.process(part)["conn"])


def expiring(live):
    """All connections fall due at once."""
    nat = UDP.live(live)
    yield partial(nat.advance, 40.0), live


ROWS = {
    "new UDP, MASQUERADE": partial(first, UDP),
    "established UDP": partial(further, UDP),
    "established UDP, an answer": partial(further, UDP, back=True),
    "first answer of UDP": partial(further, UDP, back=True, seen=False),
    "new TCP (SYN), MASQUERADE": partial(first, TCP),
    "established TCP": partial(further, TCP),
    "established TCP, an answer": partial(further, TCP, back=True),
    "a TCP connection of seven packets": whole_lives,
    "new through a service, UDP": to_one_server(DNAT),
    "new through a service, TCP": to_one_server(replace(DNAT, proto="tcp")),
    "new TCP, one of 10 services": partial(to_services, 10),
    "new TCP, one of 10,000 services": partial(to_services, 10_000),
    "new ICMP echo": partial(first, ECHO),
    "established ICMP echo": partial(further, ECHO),
    "established ICMP echo, an answer": partial(further, ECHO, back=True),
    "new UDP over IPv6": partial(first, IPV6),
    "established UDP over IPv6": partial(further, IPV6),
    "new TCP over IPv6": partial(first, IPV6_TCP),
    "established TCP over IPv6": partial(further, IPV6_TCP),
    "frames of 64 bytes, established UDP": partial(frames, UDP, opening=False),
    "frames of 64 bytes, new UDP": partial(frames, UDP, opening=True),
    "frames of 64 bytes, new TCP": partial(frames, TCP, opening=True),
    "process_packet, established UDP": one_by_one,
    "events on, new UDP": partial(first, UDP, events=2 * ROUNDS * BATCH),
    "events on, established UDP": partial(further, UDP, events=2 * ROUNDS * BATCH),
    "NOTRACK": partial(untracked, NOTRACK),
    "no rule at all": partial(untracked, ""),
    "port search, UDP, 90 %": partial(crowd, "udp", 0.9),
    "port search, UDP, 99 %": partial(crowd, "udp", 0.99),
    "port search, UDP, 100 %": partial(crowd, "udp", 1),
    "port search, TCP, 99 % established": partial(crowd, "tcp", 0.99),
    "port search, TCP, 100 % established": partial(crowd, "tcp", 1),
    "port search, TCP, 100 % in TIME_WAIT": partial(crowd, "tcp", 1, state="closed"),
    "a connection expires": expiring,
}


def measure(row, live):
    """Return nanoseconds a packet."""
    gc.collect()
    spent = []
    for call, each in ROWS[row](live):
        start = time.perf_counter_ns()
        call()
        spent.append((time.perf_counter_ns() - start) / each)
    return statistics.median(spent)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="words of its name; without any: all")
    parser.add_argument("--live", type=int, default=1_000_000, help="connections that live")
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{cpu()}, R {yardstick()():.1f} ns, {given.live:,} live")
    for row in ROWS:
        if not given.rows or any(words in row for words in given.rows):
            print(f"| {row} | {measure(row, given.live):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
