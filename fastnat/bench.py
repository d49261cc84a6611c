"""Measuring the engine on a node: counters that are exactly reproducible, and times as ratios to a yardstick.

The yardstick is R as docs/vocabulary.md defines it, measured beside every figure; on another, or a busier, machine a
ratio to R says more than nanoseconds do.
"""

from __future__ import annotations

import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .core import _steps
from .dtypes import NO_CONN, RESULT
from .engine import Engine
from .errors import InputError
from .exhaustion import Workload, client_addresses, run
from .node import Node
from .util.files import read_text
from .util.memory import reserve

FORMAT = 1
BATCH, ROUNDS, LINES = 256, 2000, 200_000
# calls between two measurements of R. A busy machine changes often; but measuring R empties the caches, those of the
# page tables included, and with 16 million connections these take 100 calls to fill again
EVERY = 500
SIZES = {"100k": 100_000, "1m": 1_000_000, "16m": 16_000_000}
OCCUPANCIES = (10, 50, 90, 99)
SEED = 1
# the flows of the reference curve: more than there are ports
CURVE = Workload((("203.0.113.10", 53),), flows=72_000)
NOISE = 1.03
FAIL_ON = re.compile(r"(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*(%)?$")


@dataclass(frozen=True)
class Timed:
    """A time: its median as a ratio to R with the limits of its 95 % interval, and in nanoseconds."""

    ratio: float
    low: float
    high: float
    ns: float


def yardstick() -> Callable[[], float]:
    """Return a function that measures R [ns]."""
    buffer = reserve(1 << 25, np.dtype(np.uint64))
    buffer[:] = 1
    # other lines every time, because the last ones are in the cache
    seeds = count(1)

    def measure() -> float:
        start = time.perf_counter_ns()
        _steps.random_lines(buffer, LINES, next(seeds))
        return (time.perf_counter_ns() - start) / LINES

    return measure


def timed(
    calls: list[Callable[[], object]], each: int, r: Callable[[], float], after: Callable[[], object] | None = None
) -> Timed:
    """Time calls one by one, with R in between; `each`: operations a call; `after` is called untimed after each."""
    ratios, spent, unit = [], [], r()
    for n, call in enumerate(calls):
        if n % EVERY == EVERY - 1:
            unit = r()
        start = time.perf_counter_ns()
        call()
        ns = (time.perf_counter_ns() - start) / each
        spent.append(ns)
        ratios.append(ns / unit)
        if after:
            after()
    ratios.sort()
    # the ranks between which the median lies with 95 % probability (binomial, as a normal distribution)
    half = 0.98 * len(ratios) ** 0.5
    middle = len(ratios) / 2
    low, high = ratios[max(int(middle - half), 0)], ratios[min(int(middle + half), len(ratios) - 1)]
    return Timed(statistics.median(ratios), low, high, statistics.median(spent))


class Bench:
    """The measurements on one node; flows enter on `iface` from the clients of its first SNAT rule."""

    def __init__(self, node: Node, iface: str = "cni0", profile: str = "linux-6.18") -> None:
        self.node, self.iface, self.profile = node, iface, profile
        self.sources = client_addresses(self.engine(16), None)
        self.r = yardstick()

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
        found: dict[str, float] = {
            "probes_mean": round(outcome.probes_mean, 6), "probes_p99": outcome.probes_p99,
            "probes_max": outcome.probes_max, "failures": outcome.failed,
            "first_failure": outcome.first_failure or 0, "one_in_thousand": outcome.one_in_thousand or 0,
        }  # fmt: skip
        nat = self.live(100_000)
        stats = nat.stats
        found["rules_per_new"] = round(stats["rules_walked"] / max(stats["new"], 1), 6)
        found["bytes_per_entry"] = round(nat.nbytes / max(len(nat.conntrack), 1), 3)
        found["bucket_overflow"] = sum(int(stack.core.tables["tuple_overflows"]) for stack in nat.stacks.values())
        found["random_draws"] = stats["random_draws"]
        return found

    def connections(self, name: str, size: int) -> dict[str, Timed]:
        """Return the time of a new connection and of an established packet with this many live connections."""
        nat = self.live(size)
        out = np.empty(BATCH, RESULT)
        numbers = np.random.default_rng(SEED).integers(0, size, (ROUNDS, BATCH))
        known = [self.flows(nat, row) for row in numbers]
        fresh = self.flows(nat, np.arange(size, size + ROUNDS * BATCH)).reshape(ROUNDS, BATCH)
        established = timed([partial(nat.process, p, 0.0, out) for p in known], BATCH, self.r)
        new = timed([partial(nat.process, p, 0.0, out) for p in fresh], BATCH, self.r)
        return {f"new_{name}": new, f"established_{name}": established}

    def search(self, occupancy: int) -> Timed:
        """Return the time of a new connection that must search, with this percentage of the ports in use."""
        nat = self.engine(262_144)
        ports = np.random.default_rng(2).permutation(np.arange(1024, 65536))[: 64_512 * occupancy // 100]
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
        return timed([partial(again, part) for part in parts[100:]], each, self.r, forget)

    def call(self) -> Timed:
        """Return the time of one process_packet call."""
        nat = self.engine(0)
        header = bytes.fromhex("450000200001000040110000") + int(self.sources[0]).to_bytes(4, "big")
        data = header + bytes.fromhex("cb00710a9c400035000c000061626364")
        return timed([lambda: nat.process_packet(data, self.iface, 0.0)] * 5_000, 1, self.r)

    def load(self) -> Timed:
        """Return the time of parsing and compiling the node's rules."""

        def again() -> None:
            made = Node()
            made.interfaces, made.routes, made.sets = self.node.interfaces, self.node.routes, self.node.sets
            made.load_rules(self.node.rules_text, lenient=True)
            Engine(made, self.profile, max_connections=16)

        return timed([again] * 7, 1, self.r)


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
        "format": FORMAT, "fastnat": __version__, "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or platform.machine(), "r_ns": b.r(), "counters": counters,
        "times": {name: vars(t) for name, t in times.items()},
    }  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """Read what --json wrote; InputError when it is something else."""
    text = read_text(path)
    try:
        doc: Any = json.loads(text)
        sound = doc["format"] == FORMAT and _number(doc["r_ns"]) and isinstance(doc["date"], str)
        # the date names a file of --history
        sound = sound and not set(doc["date"]) & set("/\0") and all(map(_number, doc["counters"].values()))
        sound = sound and all(_number(t[key]) for t in doc["times"].values() for key in ("ratio", "low", "high", "ns"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise InputError(f"{path}: not what `fastnat bench --json` of this version wrote")
    found: dict[str, Any] = doc
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


@dataclass(frozen=True)
class Change:
    """One figure then and now; `sure`: a counter differs, or the intervals of a time do not overlap."""

    name: str
    before: float
    after: float
    sure: bool

    @property
    def percent(self) -> float:
        """Change in percent of what it was."""
        if not self.before:
            return 0.0 if not self.after else float("inf")
        return (self.after - self.before) / abs(self.before) * 100


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return how every figure of both documents changed, counters first."""
    found = [
        Change(name, before["counters"][name], value, before["counters"][name] != value)
        for name, value in after["counters"].items()
        if name in before["counters"]
    ]
    for name, t in after["times"].items():
        if name in before["times"]:
            old = before["times"][name]
            # medians of one run lie closer together than those of two runs on a shared machine
            apart = t["low"] > old["high"] * NOISE or t["high"] * NOISE < old["low"]
            found.append(Change(name, old["ratio"], t["ratio"], apart))
    return found


def parsed(expression: str) -> tuple[str, str, str, str | None]:
    """Return name, operator, number and "%" or None of an expression of --fail-on; InputError for anything else."""
    said = FAIL_ON.match(expression.strip())
    if not said:
        raise InputError(f"--fail-on {expression!r}: expected NAME>+N, NAME>+N%, NAME<-N% or NAME>N")
    name, operator, number, percent = said.groups()
    if percent and number[0] not in "+-":
        raise InputError(f"--fail-on {expression!r}: a percentage is a change, write +{number}% or -{number}%")
    return name, operator, number, percent


def failing(expression: str, found: list[Change]) -> bool:
    """Tell whether "probes_p99>+0", "new_1m>+5%" or "search_99>40" holds.

    With a sign, the expression is about the change, with % in percent of the old figure; a change of a time counts only
    if it is sure. Without a sign, it is about the figure itself. InputError for an expression or name that is not
    known.
    """
    name, operator, number, percent = parsed(expression)
    change = next((c for c in found if c.name == name), None)
    if change is None:
        raise InputError(f"--fail-on {expression!r}: no figure {name!r}; there are {', '.join(c.name for c in found)}")
    relative = number[0] in "+-"
    value = change.percent if percent else change.after - change.before if relative else change.after
    if relative and not change.sure:
        return False
    return value > float(number) if operator == ">" else value < float(number)
