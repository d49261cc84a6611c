"""The flows of a workload, drawn as they are opened: when, by which client, to where, for how long.

Memory does not grow with the number of flows: a part of them is drawn when the one before it has been opened.
Sources: ip-sysctl (ip_local_port_range); RFC 6528 for initial sequence numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ..addresses import V6, Family
from ..dtypes import PROTOCOLS, records_of
from ..engine import Engine
from ..engine.flows import interface_of
from ..errors import InputError
from ..node.arrays import route_array
from ..node.model import LOCAL
from ..util.mixing import folded, scrambled
from .source_nat import nft_sources
from .workload import ANY_CLIENTS, Workload, check_duration, holds, network_of, stage_points

LOW_EPHEMERAL, HIGH_EPHEMERAL = 32768, 60999
# initial sequence numbers grow by one every 64 ns, as Linux's do
ISN_NS = 64
# flows drawn at a time: a multiple of what is sent in one batch
PART = 128_000
SYN = 2
# clients of a network that are told apart
MOST_CLIENTS = 1 << 32


@dataclass(frozen=True)
class Drawn:
    """A part of the flows: times [s] at which each is opened, its first packet, ends [s] if it is held."""

    times: NDArray[np.float64]
    batch: NDArray[Any]
    ends: NDArray[np.float64] | None


class Clients:
    """The addresses that open flows: those of a network, without the node's own."""

    def __init__(self, family: Family, first: int, size: int, own: list[int]) -> None:
        self.family, self.first, self.size = family, first, size
        # as offsets from the first one
        self.own = sorted(a - first for a in set(own) if 0 <= a - first < size)
        self.count = size - len(self.own)

    def __getitem__(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Return the addresses with these numbers, each below `count`, as the core holds them."""
        offsets = numbers.astype(np.uint64)
        for own in self.own:
            offsets += offsets >= np.uint64(own)
        if self.family is not V6:
            return (np.uint64(self.first) + offsets).astype(np.uint32)
        made = np.empty(offsets.shape, records_of(V6).ADDR)
        low = np.uint64(self.first & 2**64 - 1)
        # at most MOST_CLIENTS behind an address whose lower bits are 0: no carry
        made["low"], made["high"] = low + offsets, self.first >> 64
        return made


def clients_of(engine: Engine, work: Workload) -> Clients:
    """Return who opens the flows; InputError when nobody can."""
    family = work.family
    if work.iface == LOCAL:
        return Clients(family, own_address(engine, work), 1, [])
    base, length = ANY_CLIENTS[family.version]
    if work.network is not None:
        base, length = network_of(work.network, family)
    else:
        for _, _, rule in engine.stack_of(family.version).ruleset.origin:
            if rule and rule.target.name in ("SNAT", "MASQUERADE") and rule.smask and not rule.invert_src:
                base, length = rule.src, rule.smask.bit_count()
                break
        else:
            base, length = nft_sources(engine.node, family) or (base, length)
    length = max(length, 8)
    network = base & family.mask_of(length)
    lowest = 2 if family.bits - length > 1 else 0
    routes = route_array(engine.node, family)
    own = [family.unpack(a) for a in routes["dst"][np.isin(routes["kind"], (2, 3))]]
    size = min((1 << family.bits - length) - lowest, MOST_CLIENTS)
    made = Clients(family, network + lowest, size, own)
    if not made.count:
        raise InputError(f"no client address left in {family.to_text(network)}/{length}: all are the node's own")
    return made


def few_clients(engine: Engine, work: Workload) -> str:
    """Return a sentence where fewer clients than asked for have an address of their own, "" otherwise."""
    there = clients_of(engine, work).count if work.iface != LOCAL and work.clients > 1 else work.clients
    if there >= work.clients:
        return ""
    whose = f"{work.network} has no more" if work.network else "the first SNAT rule that names a network names no more"
    have = "has an address" if there == 1 else "have addresses"
    return f"Of the {work.clients:,} clients asked for only {there:,} {have}: {whose}."


def own_address(engine: Engine, work: Workload) -> int:
    """Return the node's address towards a workload's first destination: of the interface by which it is reached."""
    family, (destination, _) = work.family, work.destinations[0]
    name = interface_of(engine.node, destination)
    if name == LOCAL:
        return family.to_int(destination)
    found = engine.node.interfaces[name].addresses_of(family) if name in engine.node.interfaces else []
    if not found:
        raise InputError(f"the node has no address of its own on {name}, towards {destination}")
    # those of global scope first, in the order of the device
    return min(found, key=lambda a: a.scope).local


def client_addresses(engine: Engine, network: str | None) -> NDArray[Any]:
    """Return the IPv4 addresses that may open flows, uint32[n]; InputError when there is none."""
    clients = clients_of(engine, Workload((("203.0.113.10", 53),), network=network))
    return clients[np.arange(clients.count)]


class Arrivals:
    """When flows are opened, in seconds from the beginning, rising."""

    def __init__(self, work: Workload, rng: Generator) -> None:
        self.work, self.rng, self.count = work, rng, 0.0
        self.points = stage_points(work.stages) if work.stages else None

    def next(self, n: int) -> NDArray[np.float64]:
        """Return the times of the next n flows."""
        if not self.work.rate and self.points is None:
            return np.zeros(n)
        if self.work.poisson:
            steps = self.rng.exponential(1.0, n)
            steps[0] += self.count
            counts = np.cumsum(steps)
        else:
            counts = np.arange(self.count + 1, self.count + n + 1)
        self.count = float(counts[-1])
        if self.points is None:
            with np.errstate(over="ignore"):
                return counts / self.work.rate
        seconds, arrived = self.points
        times = np.interp(counts, arrived, seconds)
        beyond = counts > arrived[-1]
        last = self.work.stages[-1][2]
        if beyond.any() and not last:
            raise InputError(
                f"the stages open {int(arrived[-1]):,} flows, not {self.work.flows:,}, and end with a rate of 0"
            )
        with np.errstate(over="ignore"):
            times[beyond] = seconds[-1] + (counts[beyond] - arrived[-1]) / (last or 1)
        return times


def arrival_times(work: Workload, rng: Generator) -> NDArray[np.float64]:
    """Return when each flow of a workload is opened, in seconds from the beginning, rising."""
    return Arrivals(work, rng).next(work.flows)


def source_ports(work: Workload, k: NDArray[np.int64], n_clients: int, rng: Generator) -> NDArray[Any]:
    """Return the source ports of the flows with these numbers; flow k is opened by client k modulo n_clients."""
    size = HIGH_EPHEMERAL + 1 - LOW_EPHEMERAL
    if work.sport == "any":
        return rng.integers(1024, 65536, len(k))
    if work.sport is None or work.sport == "random":
        return rng.integers(LOW_EPHEMERAL, HIGH_EPHEMERAL + 1, len(k))
    if work.sport == "sequential":
        return LOW_EPHEMERAL + k // n_clients % size
    return 1 + (int(work.sport) - 1 + k // n_clients) % 65535


def destination_of(work: Workload, k: NDArray[np.int64], rng: Generator) -> NDArray[Any]:
    """Return the number of the destination of the flows with these numbers."""
    if not work.weights:
        return k % len(work.destinations)
    shares = np.array(work.weights) / sum(work.weights)
    return rng.choice(len(work.destinations), len(k), p=shares)


class Drawing:
    """The flows of one run, part by part."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        check_duration(work)
        # when the first flow can be opened: the engine's clock moves on
        self.work, self.start = work, engine.now
        self.rng = default_rng(engine.seed)
        family = work.family
        self.clients = clients_of(engine, work)
        self.n_clients = min(self.clients.count, work.clients or work.flows)
        self.ends = np.array([family.pack(family.to_int(d)) for d, _ in work.destinations], records_of(family).ADDR)
        self.ports = np.array([p for _, p in work.destinations], np.uint16)
        self.iface = engine.node.iface_number(work.iface)
        self.arrivals = Arrivals(work, self.rng)
        self.drawn = 0

    def next(self) -> Drawn:
        """Return the next part; the one behind the last is empty."""
        work = self.work
        n = min(PART, work.flows - self.drawn)
        k = np.arange(self.drawn, self.drawn + n)
        self.drawn += n
        batch = np.zeros(n, records_of(work.family).PACKET)
        if not n:
            return Drawn(np.zeros(0), batch, np.zeros(0))
        where = destination_of(work, k, self.rng)
        times = self.arrivals.next(n) + self.start
        batch["src"], batch["dst"], batch["dport"] = (
            self.clients[k % self.n_clients],
            self.ends[where],
            self.ports[where],
        )
        batch["sport"] = source_ports(work, k, self.n_clients, self.rng)
        batch["proto"], batch["iface"], batch["length"] = PROTOCOLS[work.proto], self.iface, 60
        if work.proto == "tcp":
            batch["tcp_flags"] = SYN
            batch["isn"] = initial_sequence(batch, times)
        ends = None if work.hold is None else times + holds(work.hold, n, self.rng)
        return Drawn(times, batch, ends)


def initial_sequence(batch: NDArray[Any], seconds: NDArray[np.float64]) -> NDArray[Any]:
    """Return the upper halves of the initial sequence numbers: a hash of the addresses and ports, plus a clock.

    As independent of each other as a keyed hash's (RFC 6528), also where addresses and ports count up: the port search
    compares a SYN with neighbours, and must not find all of them newer.
    """
    if batch.dtype["src"].names:
        ends = scrambled(folded(batch["src"]) + folded(batch["dst"]))
    else:
        ends = scrambled(batch["src"].astype(np.uint64) << np.uint64(32) | batch["dst"])
    ends = scrambled(ends + (batch["sport"].astype(np.uint64) << np.uint64(16) | batch["dport"])) >> np.uint64(32)
    clock = (seconds * (1e9 / ISN_NS)).astype(np.uint64)
    upper: NDArray[Any] = (ends + clock & np.uint64(0xFFFFFFFF)) >> np.uint64(16)
    return upper
