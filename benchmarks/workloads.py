"""Nodes and packets of the benchmarks: seeded and append-only, so that figures stay comparable."""

import numpy as np

import fastnat

BATCH = 256


def masqueraded(nat, numbers):
    """Headers of the flows with these numbers: every source and destination pair its own, all to be masqueraded."""
    k = np.asarray(numbers, np.uint64)
    return nat.packets(
        proto="udp", src=(0x0AF40300 + k % 60_000).astype(np.uint32), sport=1024 + k // 60_000 % 60_000, iface="cni0",
        dst=(0xCB007100 + k % 60_000).astype(np.uint32), dport=53,
    )  # fmt: skip


def live(connections, room=0, random_fully=False, **options):
    """An engine on the example node that tracks this many connections, with room for more."""
    nat = fastnat.Engine(fastnat.Node.example(), max_connections=max(connections + room, 262_144), **options)
    if random_fully:
        nat.set_random_fully()
    for start in range(0, connections, 100_000):
        nat.process(masqueraded(nat, np.arange(start, min(start + 100_000, connections))))
    return nat


def crowded(occupancy):
    """An engine whose SNAT ports towards 192.0.2.1:53 are occupied to this share, and the ports in use."""
    nat = live(10_000, room=200_000)
    ports = np.random.default_rng(2).permutation(np.arange(1024, 65536))[: int(64_512 * occupancy)]
    nat.process(nat.packets(proto="udp", src="10.244.9.9", sport=ports, dst="192.0.2.1", dport=53, iface="cni0"))
    return nat, ports


def services(n, endpoints=3):
    """iptables-save text as kube-proxy writes it for n services of up to three endpoints each."""
    chains, rules = [], []
    for k in range(n):
        vip = f"10.{96 + (k >> 16)}.{k >> 8 & 255}.{k & 255}"
        chains.append(f":SVC-{k} - [0:0]")
        rules.append(f"-A KUBE-SERVICES -d {vip}/32 -p tcp -m comment --comment svc-{k} -m tcp --dport 80 -j SVC-{k}")
        for i, probability in enumerate(("0.33333333349", "0.50000000000", None)[-endpoints:]):
            chains.append(f":SEP-{k}-{i} - [0:0]")
            chance = f"-m statistic --mode random --probability {probability} " if probability else ""
            backend = f"10.244.{(3 * k + i) % 250}.{k % 250 + 2}"
            rules += [
                f"-A SVC-{k} {chance}-j SEP-{k}-{i}",
                f"-A SEP-{k}-{i} -s {backend}/32 -j KUBE-MARK-MASQ",
                f"-A SEP-{k}-{i} -p tcp -m tcp -j DNAT --to-destination {backend}:8080",
            ]
    head = [":KUBE-SERVICES - [0:0]", ":KUBE-MARK-MASQ - [0:0]", ":KUBE-POSTROUTING - [0:0]", *chains]
    tail = [
        "-A PREROUTING -j KUBE-SERVICES",
        "-A POSTROUTING -j KUBE-POSTROUTING",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    ]
    return "\n".join(["*nat", *head, *tail, *rules, "COMMIT", ""])
