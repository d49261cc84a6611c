"""Packets by the million through the running kernel and the engine, from every generator, with fresh seeds.

    python tests/kernel/million.py [KIND...] [--packets N] [--first SEED]      as root; make kernel-million

It counts nodes, rule sets and packets of each kind, goes on after a difference, and prints every one of them and the
tally at the end. What differs lies in build/million/ as JSON: the node and its packets.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fastnat.errors import FastnatError
from kernel import corners, gateway, random_case, test_headers, walks
from kernel.gateway import PAUSE, RELOAD
from kernel.random_changes import changing_gateway
from kernel.random_expressions import node_of as expressions
from kernel.random_gateway import random_gateway
from kernel.random_moves import moving_gateway
from kernel.random_turns import turning_gateway

TRY = "".join(f"ip tuntap add {name} mode tun; " for name in walks.DEVICES) + "nft -f -"
KEPT = Path(__file__).parents[2] / "build" / "million"


def gateways(seed):
    """Nodes with rules of every kind, and whatever packets."""
    node, traffic = random_gateway(seed)
    return node, walks.Reactive(traffic, 1000)


def of_case(case):
    """Return a case of cases.py in the form of gateway.py."""
    rules = {f"rules{case.family}": case.rules, "sets": case.sets}
    node = walks.node_of(case.family, case.sysctls, **rules)
    return node | {"devices": walks.DEVICES | case.mtus}, walks.Walk(case.traffic())


def fragments(seed):
    """Fragments; every fourth seed has no conntrack."""
    family = 6 if seed % 2 else 4
    plain = corners.PLAIN if family == 4 else corners.PLAIN6
    rules = corners.MASQUERADE if seed % 4 > 1 else plain
    return of_case(corners.fragments(seed, family, rules, (1500, 300, 120)[seed % 3]))


def nftables(seed):
    """Rules of nftables that nft takes, for it refuses some combinations of statements."""
    for n in range(100):
        node, traffic = walks.rules_of_nftables(f"{seed}.{n}", 6 if seed % 2 else 4, 500)
        words = ["unshare", "-n", "sh", "-c", TRY]
        if not subprocess.run(
            words, input=node["nft"], text=True, errors="replace", check=False, capture_output=True
        ).returncode:
            return node, traffic
    raise RuntimeError("nft takes no such rules")


# makes the node and the traffic of a seed; how much of all packets is of the kind
KINDS = {
    "gateways": (gateways, 300),
    "rules": (lambda seed: changing_gateway(seed, 700), 100),
    "time": (lambda seed: changing_gateway(seed, 200, (PAUSE, RELOAD)), 20),
    "moves": (lambda seed: moving_gateway(seed, 500), 50),
    "turns": (lambda seed: turning_gateway(seed, 500), 40),
    "turns-in-time": (lambda seed: turning_gateway(seed, 150, True), 10),
    "nftables": (nftables, 120),
    "expressions": (lambda seed: expressions(seed, 6 if seed % 2 else 4, 400), 60),
    "cases": (lambda seed: of_case(random_case.random_case(seed, 500)), 120),
    "segments": (lambda seed: walks.streams(seed, "tcp", 120), 80),
    "chunks": (lambda seed: walks.streams(seed, "sctp", 120), 40),
    "calls": (walks.calls, 20),
    "fragments": (fragments, 50),
    "bundles": (lambda seed: of_case(corners.bundled(seed)), 20),
    "headers": (None, 40),
}


def digest(said):
    """Return a short name of what is said."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def rules_in(parts):
    """Return the rules of a node, or of a change."""
    return [parts.get(name) for name in ("rules4", "rules6", "nft", "commands", "sets")]


@dataclass
class Tally:
    """What was run of a kind."""

    seeds: int = 0
    packets: int = 0
    nodes: set = field(default_factory=set)
    rules: set = field(default_factory=set)
    # the kernel takes no such rules
    refused: int = 0
    by_chance: list = field(default_factory=list)
    differences: list = field(default_factory=list)
    seconds: float = 0.0

    def meet(self, parts):
        """Count a node, or a change of it."""
        if {"ip", "sysctls"} & parts.keys():
            self.nodes.add(digest([parts.get(name) for name in ("devices", "ip", "sysctls")]))
        if any(rules_in(parts)):
            self.rules.add(digest(rules_in(parts)))

    def row(self, name):
        """Return a line of the tally."""
        counts = len(self.nodes), len(self.rules), self.packets, len(self.by_chance), len(self.differences)
        return f"{name:14}" + "".join(f"{n:10,}" for n in (self.seeds, *counts))


class Counted:
    """Traffic whose changes are counted."""

    def __init__(self, traffic, tally):
        self.traffic, self.tally, self.tell = traffic, tally, traffic.tell

    def step(self):
        said = self.traffic.step()
        if said and said[0] == RELOAD:
            self.tally.meet(said[1])
        return said

    def refused(self, step):
        self.traffic.refused(step)


def of_headers(seed, tally):
    """Run batches of headers."""
    with tempfile.TemporaryDirectory() as folder:
        tally.packets += test_headers.run(seed, 400, Path(folder), tally.meet)


def of_packets(make, seed, tally):
    """Run packets; a difference is repeated twice."""
    node, traffic = make(seed)
    tally.meet(node)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            tally.packets += gateway.compare(node, Counted(traffic, tally), folder)
        except gateway.Difference as difference:
            tally.packets += len(difference.packets)
            again = all(gateway.differs(node, difference.packets, folder, difference.kind) for _ in range(2))
            if not again:
                tally.by_chance.append(f"{seed}: {difference}")
                return
            raise


def one(name, seed, tally):
    """Run one seed of a kind, and keep what differs."""
    make, begin = KINDS[name][0], time.monotonic()
    tally.seeds += 1
    try:
        if make is None:
            of_headers(seed, tally)
        else:
            of_packets(make, seed, tally)
    except gateway.Difference as difference:
        found(tally, name, seed, str(difference))
        if make is not None:
            packets = [(iface, what.hex() if isinstance(what, bytes) else what) for iface, what in difference.packets]
            path = KEPT / f"{name}-{seed}.json"
            path.write_text(json.dumps({"node": make(seed)[0], "kind": difference.kind, "packets": packets}))
    except (AssertionError, FastnatError) as error:
        found(tally, name, seed, f"{type(error).__name__}: {error}")
    except RuntimeError as error:
        print(name, seed, str(error)[:400])
        # nft and iptables do not take all that is drawn
        tally.refused += 1
        if tally.refused > 10 + tally.seeds // 2:
            raise
    except Exception:
        found(tally, name, seed, traceback.format_exc())
    tally.seconds += time.monotonic() - begin


def found(tally, name, seed, said):
    """Note a difference, and print it."""
    tally.differences.append(f"{seed}: {said}")
    print(f"{name} {seed}: {said[:2000]}\n", flush=True)


def table(tallies):
    """Return the tally of all kinds."""
    lines = [f"{'kind':14}" + "".join(f"{w:>10}" for w in ("seeds", "nodes", "rules", "packets", "chance", "differ"))]
    lines += [tally.row(name) for name, tally in tallies.items()]
    every = Tally()
    for t in tallies.values():
        every.seeds, every.packets = every.seeds + t.seeds, every.packets + t.packets
        every.nodes, every.rules = every.nodes | t.nodes, every.rules | t.rules
        every.by_chance, every.differences = every.by_chance + t.by_chance, every.differences + t.differences
    return "\n".join([*lines, every.row("all")]), every


def main():
    """Run kinds in turn, each with its share, up to so many packets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=int(time.time()) // 60 * 1000, help="the first seed")
    words = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    tallies, begin, said = {name: Tally() for name in words.kinds or KINDS}, time.monotonic(), 0
    print(f"seeds from {words.first} on", flush=True)
    while (done := sum(t.packets for t in tallies.values())) < words.packets:
        name = min(tallies, key=lambda n: tallies[n].packets / KINDS[n][1])
        one(name, words.first + tallies[name].seeds, tallies[name])
        if done * 5 // words.packets > said:
            said = done * 5 // words.packets
            print(f"{done:,} packets, {time.monotonic() - begin:.0f} s\n{table(tallies)[0]}\n", flush=True)
    text, every = table(tallies)
    for name, tally in tallies.items():
        lines = [
            *(f"{name} {d[:300]}" for d in tally.differences),
            *(f"by chance: {name} {d[:200]}" for d in tally.by_chance),
        ]
        print("\n".join(lines))
        print(f"{name}: {tally.seconds:.0f} s, {tally.refused} rule sets that the kernel does not take")
    print(text)
    sys.exit(bool(every.differences))


if __name__ == "__main__":
    main()
