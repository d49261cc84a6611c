"""The inverse question: how many SNAT addresses, ports or table entries a load needs.

Sources: Little's law; A. K. Erlang's loss formula for NATs that hand out ports without searching; for Linux the
simulation itself, because its search gives up before the ports are gone.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from ..engine import Engine
from ..errors import InputError
from ..node import Node
from .outcome import PORTS, Outcome
from .simulation import run
from .variants import Variant, apply
from .workload import Workload, lifetime

# how many lifetimes a simulation runs to be steady in its last quarter
LIFETIMES = 2.5
TURNOVERS = 3
# nf_conntrack_max leaves room for this much beyond the connections expected, and buckets are a quarter of it
HEADROOM = 1.25
MAX_ADDRESSES = 64
MAX_FLOWS = 4_000_000
NO_MEAN = "hold time: this distribution has no finite mean, so no number of ports is enough"
# beyond these a cloud's NAT is not what is asked for: ports of an instance, addresses
MOST_EACH, MOST_ADDRESSES = 16 * PORTS, 1000


@dataclass(frozen=True)
class Plan:
    """What a load needs on Linux: lifetime [s] of a flow's entry, live entries, addresses and table."""

    lifetime: float
    live: float
    busiest: float
    addresses: int
    fails: float
    by_arithmetic: int
    max_connections: int
    buckets: int
    outcome: Outcome | None


@dataclass(frozen=True)
class Cloud:
    """A cloud's NAT: ports an address or instance has towards one destination, and when a port comes back."""

    name: str
    title: str
    source: str
    says: str
    reuse_after: float
    ports_per_address: int = 0
    ports_per_instance: int = 0
    max_addresses: int = 0
    step: int = 1


def clouds() -> dict[str, Cloud]:
    """Return the models of clouds.toml by name."""
    text = (resources.files("fastnat.exhaustion") / "clouds.toml").read_text()
    return {name: Cloud(name, **values) for name, values in tomllib.loads(text).items()}


def erlang_b(load: float, servers: int) -> float:
    """Return the share of calls that are blocked: load in erlangs, that many servers (Erlang's loss formula)."""
    inverse = 1.0
    for n in range(1, servers + 1):
        inverse = 1.0 + inverse * n / load if load else math.inf
        if inverse > 1e300:
            return 0.0
    return 1.0 / inverse


def servers_for(load: float, share: float) -> int:
    """Return the smallest number of servers that block at most this share of the calls."""
    blocked, n = 1.0, 0
    while blocked > share:
        n += 1
        blocked = load * blocked / (n + load * blocked)
    return n


def steady(
    node: Node, work: Workload, profile: str, seed: int, progress: Callable[[int], None] | None = None,
    addresses: int = 1,
) -> Outcome:  # fmt: skip
    """Run a workload for LIFETIMES of its flows' entries, or until its port spaces were filled several times over."""
    ports = PORTS * len(work.destinations) * addresses
    flows = max(min(int(work.rate * lifetime(node, work, profile) * LIFETIMES), TURNOVERS * ports), 1000)
    if flows > MAX_FLOWS:
        raise InputError(f"{flows:,} flows would have to be simulated; at most {MAX_FLOWS:,}: take a lower rate")
    engine = Engine(node, profile, seed, max_connections=max(2 * min(flows, ports), 262_144))
    return run(engine, replace(work, flows=flows, poisson=True), progress)


def sustainable_rate(
    node: Node, work: Workload, profile: str = "linux-6.18", share: float = 0.001, seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> float:  # fmt: skip
    """Return the rate [flows/s] up to which at most this share of the flows fails, within 3 %.

    Found by bisection around ports / lifetime. InputError when the flows are not translated at all.
    """
    per_flow = lifetime(node, work, profile)
    if not math.isfinite(per_flow):
        raise InputError(NO_MEAN)
    low, high = 0.0, 2.0 * PORTS * len(work.destinations) / per_flow
    probe = steady(node, replace(work, rate=high), profile, seed, progress)
    if not probe.translated:
        raise InputError("the flows are not translated, so no SNAT port limits their rate")
    while probe.steady_fail <= share and high < 1e7:
        low, high = high, high * 2
        probe = steady(node, replace(work, rate=high), profile, seed, progress)
    low = max(low, high / 8)
    while high > low * 1.03:
        middle = (low + high) / 2
        if steady(node, replace(work, rate=middle), profile, seed, progress).steady_fail <= share:
            low = middle
        else:
            high = middle
    return low


def plan(
    node: Node, work: Workload, profile: str = "linux-6.18", share: float = 0.001, seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Plan:  # fmt: skip
    """Return how many SNAT addresses let at most this share of the flows fail, and the table that they need.

    The number that arithmetic gives is raised until the simulation agrees. Raises InputError for a workload without
    rate, or when more than 64 addresses would be needed.
    """
    if not work.rate:
        raise InputError("a plan needs a rate: flows per second")
    lasts = lifetime(node, work, profile)
    live = work.rate * lasts
    if not math.isfinite(live):
        raise InputError(NO_MEAN)
    weights = work.weights or (1.0,) * len(work.destinations)
    busiest = live * max(weights) / sum(weights)
    by_arithmetic = max(math.ceil(busiest / PORTS), 1)
    table = 1 << math.ceil(math.log2(max(live * HEADROOM, 1024)))
    for addresses in range(by_arithmetic, MAX_ADDRESSES + 1):
        changed, load, kernel = apply(Variant((("addresses", addresses),)), node, work, profile)
        outcome = steady(changed, load, kernel, seed, progress, addresses)
        if outcome.steady_fail <= share:
            found = (addresses, outcome.steady_fail, by_arithmetic, table, table // 4, outcome)
            return Plan(lasts, live, busiest, *found)
    raise InputError(f"more than {MAX_ADDRESSES} SNAT addresses are needed: spread the load over more destinations")


def cloud_plan(cloud: Cloud, rate: float, hold: float, share: float, instances: int = 1) -> dict[str, Any]:
    """Return what a load to one destination needs in a cloud: addresses, or ports of an instance.

    rate: flows/s of all instances together; hold: mean seconds; share: of flows that may fail. By Erlang's loss
    formula, as these NATs fail when, and only when, all ports to a destination are taken.
    """
    live = rate * (hold + cloud.reuse_after)
    if not math.isfinite(live):
        raise InputError(NO_MEAN)
    if cloud.ports_per_instance:
        each = live / instances
        if each > MOST_EACH:
            raise InputError(f"{each:,.0f} ports at a time of each instance: take more instances, or a lower rate")
        ports = max(math.ceil(servers_for(each, share) / cloud.step) * cloud.step, cloud.ports_per_instance)
        return {"live": live, "ports_per_instance": ports, "default": cloud.ports_per_instance,
                "fails": erlang_b(each, ports), "fails_by_default": erlang_b(each, cloud.ports_per_instance),
                "possible": ports <= PORTS}  # fmt: skip
    # of a load beyond its servers at least the difference is blocked
    addresses = max(math.ceil(live * (1 - share) / cloud.ports_per_address), 1)
    if addresses > MOST_ADDRESSES:
        raise InputError(f"{live:,.0f} ports at a time: more than {MOST_ADDRESSES} addresses; take a lower rate")
    while erlang_b(live / addresses, cloud.ports_per_address) > share and addresses < MOST_ADDRESSES:
        addresses += 1
    return {"live": live, "addresses": addresses, "fails": erlang_b(live / addresses, cloud.ports_per_address),
            "max_addresses": cloud.max_addresses, "possible": addresses <= cloud.max_addresses}  # fmt: skip
