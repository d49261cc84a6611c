"""Crowds behind few ports, who come, close, are evicted, deleted and expire: bitmaps answer as single probes do.

An engine with a bitmap from the second probe on, with little memory for them, is compared with one that has none.
"""

import ipaddress
import random

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES, SERVER, clients, router

import fastnat
from fastnat import Verdict

SYN, ACK, FIN, RST = 2, 16, 1, 4
CALLS, MOST = 50, 90


def rules(rng, family):
    """Return rules that leave few ports: ranges within a page of a bitmap, across two, and of two addresses."""
    low = rng.choice((2000, 2040, 65500, 1))
    high = min(low + rng.choice((7, 30, 63, 200)), 65535)
    own = rng.choice(("10.2.0.1", "10.2.0.1-10.2.0.2") if family == 4 else ("fd02::1", "fd02::1-fd02::2"))
    to = f"{own}:{low}-{high}" if family == 4 else f"{'-'.join(f'[{a}]' for a in own.split('-'))}:{low}-{high}"
    more = rng.choice(("", "", " --random-fully", " --random"))
    nat = "".join(f"-A POSTROUTING -o r1 -p {p} -j SNAT --to-source {to}{more}\n" for p in ("tcp", "udp", "sctp"))
    # two zones of one direction may have one tuple
    zone = rng.choice(("", "", "-A PREROUTING -i r0 -m mark --mark 1 -j CT --zone-orig 3\n"))
    return f"*raw\n{zone}COMMIT\n*nat\n{nat}COMMIT\n"


def calls(seed, family):
    """Yield what is done: "send" with fields of packets, "answer" and "close" which of those sent, "delete", "wait"."""
    rng = random.Random(seed)
    everybody = [str(c) for c in clients(family, 40)]
    first = ipaddress.ip_address(SERVER[family])
    peers = [str(first + k) for k in range(6 if seed % 4 == 1 else 1)]
    for _ in range(CALLS):
        n = rng.randrange(1, MOST)
        kind = rng.choice(("send", "send", "send", "answer", "close", "close", "delete", "wait"))
        if kind == "send":
            proto = rng.choice(("tcp", "tcp", "udp", "sctp"))
            yield kind, {
                "proto": proto, "src": rng.choices(everybody, k=n), "dst": rng.choices(peers, k=n),
                "sport": [rng.choice((2000, 2041, 9)) + k % 3 for k in range(n)],
                "dport": rng.choices((53, 54, 80), (8, 1, 1), k=n), "iface": "r0", "mark": rng.choices((0, 1), k=n),
                "tcp_flags": SYN if proto == "tcp" else 0, "isn": [rng.randrange(65536) for _ in range(n)],
            }  # fmt: skip
        elif kind == "wait":
            yield kind, rng.choice((0.0, 0.004, 0.5, 11.0, 125.0))
        else:
            yield kind, [rng.random() for _ in range(n)]


def back(out, batch):
    """Return answers to packets that have left."""
    made = batch.copy()
    for name, other in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
        made[name] = out[other]
    made["iface"], made["tcp_flags"] = 2, np.where(batch["tcp_flags"] == 0, 0, SYN | ACK)
    made["mark"] = 0
    return made


def told(seed, family, profile, room):
    """Run the calls; return what they have said, and the engine."""
    nat = fastnat.Engine(
        router(family, rules(random.Random(-seed - 1), family)), profile, seed, bitmap_bytes=room, max_connections=2000
    )
    sent, said, now = [], [], 0.0
    for kind, what in calls(seed, family):
        if kind == "wait":
            now += what
            nat.advance(now)
        elif kind == "delete":
            listed = list(nat.conntrack)
            for k in what[: len(listed) // 2]:
                left = list(nat.conntrack)
                nat.conntrack.delete(left[int(k * len(left))])
                break
        elif kind == "send":
            batch = nat.packets(**what)
            out = nat.process(batch, now)
            good = out["verdict"] == Verdict.FORWARD
            said.append(out.tobytes())
            sent += zip(batch[good], out[good], strict=True)
        elif sent:
            some = [sent[int(k * len(sent))] for k in what]
            batch, out = (np.array([s[n] for s in some]) for n in (0, 1))
            if kind == "answer":
                said.append(nat.process(back(out, batch), now).tobytes())
            else:
                for flags in (ACK, FIN | ACK, RST)[len(some) % 3 :]:
                    batch["tcp_flags"] = np.where(batch["tcp_flags"] == 0, 0, flags)
                    said.append(nat.process(batch, now).tobytes())
        nat.check()
        said.append(nat.conntrack.to_numpy(family).tobytes())
    return said, nat


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 120))])
def test_bitmaps_and_single_probes(family, seed, monkeypatch):
    profile = "linux-5.4" if seed % 4 == 2 else "linux-6.18"
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1 + seed % 3)
    # room for many bitmaps, for a few of them, for a page
    quick, one = told(seed, family, profile, (1 << 22, 40_000, 8_000)[seed % 3])
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1 << 30)
    slow, other = told(seed, family, profile, 1 << 22)
    assert quick == slow
    assert one.stats == other.stats
    made, none = (nat.stacks[family].core.tables["bitmaps"] for nat in (one, other))
    assert made > 0 or not one.stats["port_search_failures"]
    assert none == 0
