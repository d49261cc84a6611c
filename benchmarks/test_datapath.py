"""New connections, established packets and the port search, each beside a random-cache-line yardstick of the same run.

extra_info carries ns per packet and the ratio to R, the cost of one independent prefetched random cache line in 256 MB.
"""

import statistics
import time

import numpy as np
import pytest

import fastnat
from fastnat.core import _steps
from fastnat.memory import reserve

BATCH = 256
ROUNDS = 400


def build(live, occupancy=0.0):
    node = fastnat.Node.example()
    nat = fastnat.Engine(node, max_connections=max(2 * live, 262_144))
    for start in range(0, live, 100_000):
        nat.process(batch_of(nat, start, min(100_000, live - start)))
    return nat


def batch_of(nat, start, n):
    k = np.arange(start, start + n, dtype=np.uint64)
    return nat.packets(
        proto="udp", src=(0x0AF40300 + k % 60_000).astype(np.uint32), sport=1024 + k // 60_000 % 60_000, iface="cni0",
        dst=(0xCB007100 + k % 60_000).astype(np.uint32), dport=53,
    )  # fmt: skip


@pytest.fixture(scope="session")
def yardstick():
    buffer = reserve(1 << 25, np.dtype(np.uint64))
    buffer[:] = 1

    def measure():
        start = time.perf_counter_ns()
        assert _steps.random_lines(buffer, 1_000_000, 7) == 1_000_000
        return (time.perf_counter_ns() - start) / 1_000_000

    return measure


def timed(calls, yardstick):
    """Return medians of ns per packet and of the ratio to R measured in between."""
    per, ratio = [], []
    for i, call in enumerate(calls):
        if i % 50 == 0:
            r = yardstick()
        start = time.perf_counter_ns()
        call()
        per.append((time.perf_counter_ns() - start) / BATCH)
        ratio.append(per[-1] / r)
    return statistics.median(per), statistics.median(ratio)


@pytest.mark.parametrize("live", [10_000, 1_000_000])
@pytest.mark.parametrize("kind", ["new", "established"])
def test_packets(benchmark, yardstick, live, kind):
    nat = build(live)
    whole = batch_of(nat, 0, live) if kind == "established" else batch_of(nat, live, ROUNDS * BATCH)
    if kind == "established":
        whole = whole[np.random.default_rng(1).integers(0, live, ROUNDS * BATCH)]
    if kind == "established":
        whole = np.resize(whole[nat.process(whole)["verdict"] == fastnat.Verdict.FORWARD], ROUNDS * BATCH)
    out = np.empty(BATCH, fastnat.RESULT)
    before = len(nat.conntrack)
    parts = [whole[i * BATCH : (i + 1) * BATCH] for i in range(ROUNDS)]
    ns, ratio = benchmark.pedantic(
        timed, args=([lambda p=p: nat.process(p, 0.0, out) for p in parts], yardstick), rounds=1
    )
    assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
    assert len(nat.conntrack) - before == (ROUNDS * BATCH if kind == "new" else 0)
    benchmark.extra_info.update(ns=ns, ratio_to_r=ratio, bytes_per_connection=nat.nbytes / len(nat.conntrack))
    print(f"\n{kind} at {live}: {ns:.1f} ns, {ratio:.1f} R, {nat.nbytes / len(nat.conntrack):.0f} bytes a connection")


@pytest.mark.parametrize("occupancy", [10, 50, 90, 99])
def test_port_search(benchmark, yardstick, occupancy):
    """A new connection towards one crowded destination; the table is otherwise small."""
    nat = build(10_000)
    ports = np.random.default_rng(2).permutation(np.arange(1024, 65536))[: 64512 * occupancy // 100]
    nat.process(nat.packets(proto="udp", src="10.244.9.9", sport=ports, dst="192.0.2.1", dport=53, iface="cni0"))
    k = np.arange(ROUNDS * BATCH // 100)
    taken = nat.packets(
        proto="udp",
        src=0x0AF40A00 + k.astype(np.uint32),
        sport=int(ports[0]),
        dst="192.0.2.1",
        dport=53,
        iface="cni0",
    )
    parts = [taken[i * BATCH : (i + 1) * BATCH] for i in range(len(taken) // BATCH)]
    ns, ratio = benchmark.pedantic(timed, args=([lambda p=p: nat.process(p) for p in parts], yardstick), rounds=1)
    assert nat.stats["port_searches"] >= len(parts) * BATCH
    benchmark.extra_info.update(ns=ns, ratio_to_r=ratio, failed=nat.stats["port_search_failures"])
    print(f"\nport search at {occupancy} %: {ns:.1f} ns, {ratio:.1f} R")


def test_single_packet(benchmark):
    nat = build(10)
    data = bytes.fromhex("45000024000140004011f2c70af40102cb00710a0fa000350010c61678787878")
    data += bytes(36 - len(data))
    verdict, _ = benchmark(nat.process_packet, data, "cni0", 0.0)
    assert verdict == fastnat.Verdict.FORWARD


def test_dict_nat(benchmark):
    """The peer: the same masquerading in a plain Python dict, without timeouts or rules."""
    table, used = {}, set()

    def new(n):
        for k in range(n):
            key = (17, 0x0AF40300 + k, 40000, 0xCB007100, 53)
            port = 1024 + len(used)
            used.add((17, 0xCB007100, 53, port))
            table[key] = port

    benchmark.pedantic(new, args=(10_000,), rounds=3)
    assert len(table) == 10_000
