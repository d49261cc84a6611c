"""What-if: the same workload under changed rules, sysctls, kernels and loads, on paired seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from ..addresses import V4
from ..engine import Engine
from ..errors import InputError
from ..iptables.model import MAP_IPS, PROTO_SPECIFIED, RANDOM_FULLY
from ..node import Node
from .factors import SYSCTLS, Value, read, text_of
from .outcome import Outcome
from .simulation import Run, Stopped, run
from .workload import Workload

# combinations of one run, runs of each
MAX_VARIANTS, MAX_SEEDS = 10_000, 10_000
# factors that change the workload
OF_WORKLOAD = ("rate", "clients", "hold", "cpus", "sport")
# a smaller part is no difference that anybody would act on
LEAST = 0.005
# two-sided 95 % points of Student's t for 1..10 degrees of freedom
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True)
class Variant:
    """One combination of factors; the label names those that differ from the first combination."""

    factors: tuple[tuple[str, Value], ...] = ()
    label: str = "as it is"


def parse(text: str) -> list[Variant]:
    """Return every combination of "random-fully,addresses=1:4,tcp-time-wait=120:30"; the first is the baseline.

    A factor without values is a flag: without it, and with it. InputError names a factor that is not known.
    """
    given: list[tuple[str, list[object]]] = []
    for word in filter(None, (w.strip() for w in text.split(","))):
        name, equals, values = word.partition("=")
        # "profile=linux-5.4:linux-6.18", "ports=1024-65535:20000-65535": values are told apart by colons
        given.append((name, list(values.split(":") if equals else ("off", "on"))))
    try:
        return combinations(given)
    except InputError as error:
        raise InputError(f"--vary {error}") from None


def combinations(given: list[tuple[str, list[object]]]) -> list[Variant]:
    """Return every combination of the values of factors; InputError for what is none, or too many."""
    columns: list[list[tuple[str, Value]]] = []
    count = 1
    for name, values in given:
        if not values:
            raise InputError(f"{name}: there is no value")
        columns.append([(name, read(name, value)) for value in values])
        if any(name == column[0][0] for column in columns[:-1]):
            raise InputError(f"{name}: given twice; write its values as {name}=A:B")
        count *= len(values)
        if count > MAX_VARIANTS:
            raise InputError(f"{name}: {count:,} combinations and more; at most {MAX_VARIANTS:,} are supported")
    first = [column[0] for column in columns]
    return [Variant(c, label_of(c, first)) for c in product(*columns)]


def label_of(factors: tuple[tuple[str, Value], ...], first: list[tuple[str, Value]]) -> str:
    """Return what a combination changes, in words."""
    changed = [(name, value) for name, value in factors if (name, value) not in first]
    return " ".join(name if value is True else f"{name}={text_of(value)}" for name, value in changed) or "as it is"


def apply(variant: Variant, node: Node, work: Workload, profile: str) -> tuple[Node, Workload, str]:
    """Return node, workload and profile with the changes of a variant; what was given stays as it is."""
    changed = copy.deepcopy(node)
    settings = dict(variant.factors)
    for name, value in variant.factors:
        if name in SYSCTLS:
            changed.sysctls[SYSCTLS[name]] = str(value)
    loads: dict[str, Any] = {name: settings[name] for name in OF_WORKLOAD if name in settings}
    work = replace(work, **loads)
    profile = str(settings.get("profile", profile))
    addresses, ports = settings.get("addresses", 1), settings.get("ports")
    assert isinstance(addresses, int)
    assert ports is None or isinstance(ports, tuple)
    if settings.get("random-fully") or addresses > 1 or ports:
        base = translated_address(node, work, profile) if addresses > 1 else 0
        change_rules(changed, settings.get("random-fully") is True, ports, addresses, base)
    return changed, work, profile


def translated_address(node: Node, work: Workload, profile: str) -> int:
    """Return the address that the first flow of a workload gets; InputError when it is not translated."""
    first = Run(Engine(node, profile, max_connections=16), replace(work, flows=1, hold=None, stages=()))
    first.first_packets(0, 1)
    if not first.seen:
        raise InputError("addresses=N: the flow is not translated, so there is no SNAT address to add to")
    return int(first.out["src"][0])


def change_rules(
    node: Node, random_fully: bool, ports: tuple[int, int] | None, addresses: int, base: int
) -> None:  # fmt: skip
    """Change every SNAT and MASQUERADE rule of a node: the flag, the ports, `addresses` addresses from base on."""
    if node.rules is None:
        return
    for table in node.rules.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                t = rule.target
                if t.name not in ("SNAT", "MASQUERADE"):
                    continue
                if random_fully:
                    t.flags |= RANDOM_FULLY
                if ports and rule.proto in (0, 6, 17):
                    t.min_proto, t.max_proto = ports
                    t.flags |= PROTO_SPECIFIED
                if addresses > 1:
                    low = t.min_addr if t.name == "SNAT" else base
                    if low + addresses - 1 > V4.full:
                        raise InputError(f"addresses={addresses}: there are not so many behind {V4.to_text(low)}")
                    t.name, t.min_addr, t.max_addr = "SNAT", low, low + addresses - 1
                    t.flags |= MAP_IPS


@dataclass(frozen=True)
class Compared:
    """What the seeds of one variant gave: the outcomes, and the figure that variants are compared by."""

    variant: Variant
    outcomes: list[Outcome]

    def firsts(self) -> list[float]:
        """Return of each seed the flow that failed first; the number of flows plus one where none did."""
        return [float(o.first_failure or o.opened + o.failed + 1) for o in self.outcomes]

    def mean(self, of: Callable[[Outcome], float]) -> float:
        """Return the mean of a figure over the seeds."""
        return float(np.mean([of(o) for o in self.outcomes]))


class StoppedBetween(KeyboardInterrupt):
    """Ctrl-C during compare(): `results` holds what was finished, or of the first run what it had come to.

    done: runs that were finished; asked: how many there are.
    """

    def __init__(self, results: list[Compared], done: int, asked: int) -> None:
        super().__init__()
        self.results, self.done, self.asked = results, done, asked


def compare(
    node: Node,
    work: Workload,
    variants: list[Variant],
    profile: str = "linux-6.18",
    seeds: int = 3,
    first_seed: int = 0,
    progress: Callable[[int], None] | None = None,
    prepare: Callable[[Engine], None] | None = None,
) -> list[Compared]:
    """Run every variant with the same seeds; `prepare` may load connections into each engine first.

    Raises StoppedBetween when Ctrl-C comes: what is finished is kept.
    """
    results: list[Compared] = []
    try:
        for variant in variants:
            changed, load, kernel = apply(variant, node, work, profile)
            results.append(Compared(variant, []))
            # rules are compiled once; each seed has a fork of what has seen no packet
            compiled = Engine(changed, kernel, first_seed)
            for seed in range(first_seed, first_seed + seeds):
                engine = compiled.fork(seed)
                if prepare:
                    prepare(engine)
                results[-1].outcomes.append(run(engine, load, progress))
    except KeyboardInterrupt as stop:
        done = sum(len(r.outcomes) for r in results)
        # rows of a run that was cut are compared with nothing: they are kept where there is nothing else
        if not done and isinstance(stop, Stopped):
            results[-1].outcomes.append(stop.outcome)
        raise StoppedBetween([r for r in results if r.outcomes], done, len(variants) * seeds) from None
    return results


def half_width(differences: list[float]) -> float:
    """Return half of the 95 % confidence interval of the mean of paired differences; infinite for one seed."""
    n = len(differences)
    if n < 2:
        return math.inf
    student = STUDENT[n - 2] if n - 2 < len(STUDENT) else 1.96
    return student * float(np.std(differences, ddof=1)) / math.sqrt(n)


def ranked(results: list[Compared]) -> list[Compared]:
    """Return the baseline, then the others, the best change first: fewest failures, then the latest first failure."""
    best = sorted(results[1:], key=lambda r: (r.mean(lambda o: o.failed / (o.opened + o.failed)), -np.mean(r.firsts())))
    return [results[0], *best]


def words(results: list[Compared]) -> list[str]:
    """Return a sentence for each variant but the baseline, the best change first."""
    baseline, *others = ranked(results)
    said = []
    for r in others:
        # where Ctrl-C came the last variant has fewer seeds than the baseline
        differences = [b - a for a, b in zip(baseline.firsts(), r.firsts(), strict=False)]
        width = half_width(differences)
        before, after = np.mean(baseline.firsts()), np.mean(r.firsts())
        share = [c.mean(lambda o: o.failed / (o.opened + o.failed)) for c in (baseline, r)]
        none = [all(o.first_failure is None for o in c.outcomes) for c in (baseline, r)]
        sure = "" if math.isinf(width) else f" (+-{width:,.0f}, 95 %, {len(differences)} paired seeds)"
        if all(none):
            said.append(f"{r.variant.label}: nothing fails, as without it.")
        elif none[1]:
            said.append(f"{r.variant.label}: nothing fails any more; without it {share[0]:.2%} of the flows.")
        elif min(share) < max(share) / 2:
            said.append(f"{r.variant.label}: {share[1]:.2%} of the flows fail instead of {share[0]:.2%}.")
        elif not any(differences):
            said.append(
                f"{r.variant.label}: the first failure is the same flow with every seed; "
                f"{share[1]:.2%} fail instead of {share[0]:.2%}."
            )
        elif abs(after - before) <= max(width if len(differences) > 1 else 0, LEAST * before):
            said.append(
                f"{r.variant.label}: no difference in the first failure that these seeds could show{sure}; "
                f"{share[1]:.2%} fail instead of {share[0]:.2%}."
            )
        else:
            where = "never" if none[0] else f"flow {before:,.0f}"
            said.append(
                f"{r.variant.label}: moves the first failure from {where} to flow {after:,.0f}{sure}; "
                f"{share[1]:.2%} fail instead of {share[0]:.2%}."
            )
    return said
