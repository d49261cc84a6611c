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
from ..engine.settings import MAX_CONNECTIONS
from ..errors import InputError
from ..node import Node
from ..node.model import LOCAL
from ..util.text import number_of
from .drawing import clients_of, few_clients
from .lifetimes import cut_short, lifetime
from .outcome import PORTS, remedy, verdict
from .steady import MAX_FLOWS, NO_MEAN, SHORTEST, Progress, Steady, keeps_for, reach_of, steady
from .variants import Variant, apply
from .workload import Workload

# arithmetic rules out what is less than this part of what it needs
CERTAIN = 0.95
# seeds that decide what one cannot; lifetimes that a run must reach
SEEDS, SHORTEST_RUN = 3, 1.2
# nf_conntrack_max leaves room for this much beyond the connections expected, and buckets are a quarter of it
HEADROOM = 1.25
MAX_ADDRESSES = 64
# failures that more addresses, or a larger table, may end
BY_NUMBERS = ("ports", "table", "early_drop", "race")
# beyond these a cloud's NAT is not what is asked for: ports of an instance, addresses
MOST_EACH, MOST_ADDRESSES = 16 * PORTS, 1000


@dataclass(frozen=True)
class Plan:
    """What a load needs on Linux: lifetime [s] of a flow's entry, live entries, addresses and table.

    addresses, by_arithmetic: 0 where the rules do not translate the flows; lifetime, live, busiest, max_connections,
    buckets: 0 where nothing tracks them. of_the_rules: the rules give so many addresses as they are.

    found: the run that showed it; fewer: the one with an address less, None where arithmetic rules that out; size: the
    ports of an address towards one destination; cut_short: a sentence where entries end before their flows,
    few_clients: where fewer of them than asked for have addresses.
    """

    lifetime: float
    live: float
    busiest: float
    addresses: int
    fails: float
    by_arithmetic: int
    max_connections: int
    buckets: int
    found: Steady
    fewer: Steady | None = None
    size: int = PORTS
    of_the_rules: bool = False
    cut_short: str = ""
    few_clients: str = ""


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


def plan(
    node: Node, work: Workload, profile: str = "linux-6.18", share: float = 0.001, seed: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> Plan:  # fmt: skip
    """Return how many SNAT addresses let at most this share of the flows fail, and the table that they need.

    Numbers are simulated to steady state, from the smallest that arithmetic does not rule out on, in growing steps up
    to one that is enough, then between it and the last one that is not; progress is told the number, the flows opened
    by the last step, and how many there will be. Raises InputError for a workload without
    rate, when more than 64 addresses would be needed, and when flows fail for which addresses are no help.
    """
    if not work.rate:
        raise InputError("a plan needs a rate: flows per second")
    lasts = lifetime(node, work, profile)
    live = work.rate * lasts
    if not math.isfinite(live):
        raise InputError(NO_MEAN)
    base = Engine(node, profile, seed)
    reach, few = reach_of(base, work), few_clients(base, work)
    size = reach.size
    if not reach.tracked:
        found = steady(base, work, share, SHORTEST)
        return Plan(0.0, 0.0, 0.0, 0, found.fails, 0, 0, 0, found, size=size)
    busiest = live * reach.busiest
    table = 1 << math.ceil(math.log2(max(live * HEADROOM, 1024)))
    # with fewer the share that fails is no less than what finds no port at all; a lifetime is only a mean
    kept = keeps_for(work, lasts, profile) / lasts if lasts else 0.0
    addresses = max(math.ceil(CERTAIN * live * reach.at_least * kept * (1 - share) / size), 1)
    enough: tuple[int, Steady] | None = None
    fewer: tuple[int, Steady] | None = None
    step = 1
    while addresses <= MAX_ADDRESSES:
        trial = Trial(node, work, profile, share, seed, lambda *n, k=addresses: progress(k, *n) if progress else None)
        found, table = trial.run(addresses, table)
        # the rules of the node itself may give more than one address, or none
        there = max(found.outcome.addresses, addresses)
        if found.allows(share):
            if found.outcome.kind == "untranslated":
                enough = (0, found)
                break
            enough = (addresses, found)
        elif found.outcome.kind not in BY_NUMBERS:
            helps = remedy(found.outcome) or "It is not ports that are missing."
            raise InputError(f"no number of SNAT addresses is enough. {verdict(found.outcome)} {helps}")
        else:
            fewer = (there, found)
        if enough and (not fewer or enough[0] - fewer[0] <= 1):
            break
        if enough and fewer:
            addresses = (enough[0] + fewer[0]) // 2
        elif addresses == MAX_ADDRESSES:
            break
        else:
            addresses, step = max(min(there + step, MAX_ADDRESSES), addresses + 1), 2 * step
    if not enough and fewer and fewer[1].outcome.addresses <= pairs_of(base, work) < MAX_ADDRESSES:
        # Linux chooses by a hash of both (find_best_ips_proto)
        used = number_of(fewer[1].outcome.addresses, "SNAT address", "es")
        raise InputError(
            f"no number of SNAT addresses is enough: {used} of {fewer[0]} would be used, as all flows of one client to "
            f"one destination get the same; spread the load over more clients or destinations. {few}".rstrip()
        )
    if not enough:
        raise InputError(f"more than {MAX_ADDRESSES} SNAT addresses are needed: spread the load over more destinations")
    tried, found = enough
    there = max(found.outcome.addresses, tried) if tried else 0
    return Plan(
        lasts, live, busiest, there, found.fails, max(math.ceil(busiest / size), 1) if tried else 0, table, table // 4,
        found, fewer[1] if fewer else None, size, there > tried, cut_short(node, work, profile), few,
    )  # fmt: skip


def pairs_of(base: Engine, work: Workload) -> int:
    """Return how many pairs of a client and a destination a workload has; MAX_ADDRESSES where each flow has its own."""
    clients = 1 if work.iface == LOCAL else min(work.clients or MAX_ADDRESSES, clients_of(base, work).count)
    return clients * len(set(work.destinations))


@dataclass(frozen=True)
class Trial:
    """Whether a number of addresses is enough for a load."""

    node: Node
    work: Workload
    profile: str
    share: float
    seed: int
    progress: Progress

    def run(self, addresses: int, table: int) -> tuple[Steady, int]:
        """Return what a run with so many addresses found, and the table in which the ports decided, not the table."""
        while True:
            found = self.steady(addresses, table, self.seed)
            short = found.outcome.kind in ("table", "early_drop") and table < MAX_CONNECTIONS
            if not short:
                break
            table *= 2
        if not found.hopeless and abs(found.fails - self.share) <= found.width:
            # too near to say: more seeds decide, of which each is as good as the first
            more = [self.steady(addresses, table, self.seed + n) for n in range(1, SEEDS)]
            fails = sum(s.fails for s in (found, *more)) / SEEDS
            found = replace(found, fails=fails, hopeless=any(s.hopeless for s in more))
        return found, table

    def steady(self, addresses: int, table: int, seed: int) -> Steady:
        """Run one seed; InputError where it would take too many flows."""
        variant = Variant((("addresses", addresses), ("max", min(table, MAX_CONNECTIONS))))
        changed, load, kernel = apply(variant, self.node, self.work, self.profile)
        flows = int(load.rate * lifetime(changed, load, kernel) * SHORTEST_RUN)
        if flows > MAX_FLOWS:
            raise InputError(f"{flows:,} flows would have to be simulated; at most {MAX_FLOWS:,}: take a lower rate")
        return steady(Engine(changed, kernel, seed), load, self.share, MAX_FLOWS, self.progress)


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
