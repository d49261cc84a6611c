"""Figures of the engine on a node: counters that are the same in every run, and times of this run."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng

from .._version import __version__
from ..dtypes import NO_CONN, RESULT
from ..engine import Engine
from ..exhaustion import Workload, client_addresses, run
from ..node import Node
from .document import FORMAT

BATCH, ROUNDS = 256, 2000
SIZES = {"100k": 100_000, "1m": 1_000_000, "16m": 16_000_000}
OCCUPANCIES = (10, 50, 90, 99)
SEED = 1
# the flows of the reference curve: more than there are ports
CURVE = Workload((("203.0.113.10", 53),), flows=72_000)


@dataclass(frozen=True)
class Timed:
    """A time [ns]: its median in this run, and the limits of the median's 95 % interval."""

    ns: float
    low: float
    high: float


def timed(calls: list[Callable[[], object]], each: int, after: Callable[[], object] | None = None) -> Timed:
    """Time calls one by one; `each`: operations a call; `after` is called untimed after each."""
    spent = []
    for call in calls:
        start = time.perf_counter_ns()
        call()
        spent.append((time.perf_counter_ns() - start) / each)
        if after:
            after()
    spent.sort()
    # the ranks between which the median lies with 95 % probability (binomial, as a normal distribution)
    half = 0.98 * len(spent) ** 0.5
    middle = len(spent) / 2
    low, high = spent[max(int(middle - half), 0)], spent[min(int(middle + half), len(spent) - 1)]
    return Timed(statistics.median(spent), low, high)


class Bench:
    """The measurements on one node; flows enter on `iface` from the clients of its first SNAT rule."""

    def __init__(self, node: Node, iface: str = "cni0", profile: str = "linux-6.18") -> None:
        self.node, self.iface, self.profile = node, iface, profile
        self.sources = client_addresses(self.engine(16), None)

    def engine(self, connections: int) -> Engine:
        """Return an engine with room for this many connections."""
        return Engine(self.node, self.profile, SEED, max_connections=max(connections, 262_144))

    def flows(self, nat: Engine, numbers: Any) -> Any:
        """Return the headers of the flows with these numbers, each with a source and destination of its own."""
        k = np.asarray(numbers, np.int64)
        n = len(self.sources)
        return nat.packets(
            proto="udp", src=self.sources[k % n], sport=1024 + k // n % 60_000,
            dst=(0xCB007100 + k % 60_000).astype(np.uint32), dport=53, iface=self.iface,
        )  # fmt: skip

    def live(self, connections: int) -> Engine:
        """Return an engine that tracks this many connections."""
        nat = self.engine(connections + 2 * ROUNDS * BATCH)
        for start in range(0, connections, 100_000):
            nat.process(self.flows(nat, np.arange(start, min(start + 100_000, connections))))
        return nat

    def counters(self) -> dict[str, float]:
        """Return the figures that are the same in every run: of the port search, the rules and the memory."""
        outcome = run(self.engine(0), replace(CURVE, iface=self.iface))
        nat = self.live(100_000)
        # first what the kernel itself does for these rules
        found: dict[str, float] = {
            "rules_per_new": round(nat.stats["rules_walked"] / max(nat.stats["new"], 1), 6),
            "probes_mean": round(outcome.probes_mean, 6), "probes_p99": outcome.probes_p99,
            "probes_max": outcome.probes_max, "failures": outcome.failed,
            "first_failure": outcome.first_failure or 0, "one_in_thousand": outcome.one_in_thousand or 0,
        }  # fmt: skip
        found["bytes_per_entry"] = round(nat.nbytes / max(len(nat.conntrack), 1), 3)
        found["bucket_overflow"] = sum(int(stack.core.tables["tuple_overflows"]) for stack in nat.stacks.values())
        found["random_draws"] = nat.stats["random_draws"]
        return found

    def connections(self, name: str, size: int) -> dict[str, Timed]:
        """Return the time of a new connection and of an established packet with this many live connections."""
        nat = self.live(size)
        out = np.empty(BATCH, RESULT)
        numbers = default_rng(SEED).integers(0, size, (ROUNDS, BATCH))
        known = [self.flows(nat, row) for row in numbers]
        fresh = self.flows(nat, np.arange(size, size + ROUNDS * BATCH)).reshape(ROUNDS, BATCH)
        established = timed([partial(nat.process, p, 0.0, out) for p in known], BATCH)
        new = timed([partial(nat.process, p, 0.0, out) for p in fresh], BATCH)
        return {f"new_{name}": new, f"established_{name}": established}

    def search(self, occupancy: int) -> Timed:
        """Return the time of a new connection that must search, with this percentage of the ports in use."""
        nat = self.engine(262_144)
        ports = default_rng(2).permutation(np.arange(1024, 65536))[: 64_512 * occupancy // 100]
        holder = int(self.sources[-1])
        fields = {"proto": "udp", "dst": "192.0.2.1", "dport": 53, "iface": self.iface}
        nat.process(nat.packets(src=holder, sport=ports, **fields))
        each = 32
        flows = self.sources[np.arange(300 * each) % (len(self.sources) - 1)].reshape(-1, each)
        parts = [nat.packets(src=row, sport=int(ports[0]), **fields) for row in flows]
        opened: list[Any] = []

        def again(part: Any) -> None:
            opened.append(nat.process(part)["conn"])

        def forget() -> None:
            for conn in opened.pop():
                if conn != NO_CONN:
                    nat.conntrack.delete(int(conn))

        for part in parts[:100]:
            again(part)
            forget()
        return timed([partial(again, part) for part in parts[100:]], each, forget)

    def call(self) -> Timed:
        """Return the time of one process_packet call."""
        nat = self.engine(0)
        header = bytes.fromhex("450000200001000040110000") + int(self.sources[0]).to_bytes(4, "big")
        data = header + bytes.fromhex("cb00710a9c400035000c000061626364")
        return timed([lambda: nat.process_packet(data, self.iface, 0.0)] * 5_000, 1)

    def load(self) -> Timed:
        """Return the time of parsing and compiling the node's rules."""

        def again() -> None:
            made = Node()
            made.interfaces, made.routes, made.sets = self.node.interfaces, self.node.routes, self.node.sets
            made.load_rules(self.node.rules_text, lenient=True)
            Engine(made, self.profile, max_connections=16)

        return timed([again] * 7, 1)


def measure(
    node: Node, iface: str = "cni0", sizes: tuple[str, ...] = ("100k", "1m"), profile: str = "linux-6.18",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return everything measured as the document that `fastnat bench --json` writes.

    sizes: of SIZES; iface: where flows enter. Raises InputError when the node cannot be used.
    """
    b = Bench(node, iface, profile)
    say = progress or (lambda _: None)
    say("counters")
    counters = b.counters()
    times: dict[str, Timed] = {}
    for name in sizes:
        say(f"{name} live connections")
        times |= b.connections(name, SIZES[name])
    for occupancy in OCCUPANCIES:
        say(f"port search at {occupancy} %")
        times[f"search_{occupancy}"] = b.search(occupancy)
    say("calls and rules")
    times["process_packet"] = b.call()
    times["load_rules"] = b.load()
    return {
        "format": FORMAT, "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(node, profile), "counters": counters, "instructions": {},
        "times": {name: vars(t) for name, t in times.items()},
    }  # fmt: skip


def environment(node: Node, profile: str) -> dict[str, str]:
    """Return what the figures depend on; the node as a digest of its files."""
    digest = hashlib.sha256(json.dumps(node.texts(), sort_keys=True).encode()).hexdigest()[:16]
    return {
        "node": digest, "profile": profile, "cpu": cpu(), "fastnat": __version__,
        "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def cpu() -> str:
    """Return the model of the CPU and how many there are."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        named = None
    return f"{named[1] if named else platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"
