"""What-if: the same workload under changed rules, sysctls, kernels and loads, on paired seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..addresses import V4
from ..engine import Engine
from ..engine.settings import PROFILES
from ..errors import InputError
from ..iptables.model import MAP_IPS, PROTO_SPECIFIED, RANDOM_FULLY
from ..node import Node
from ..node.timeouts import PREFIX, SCTP_TIMEOUTS, TIMEOUTS
from ..util.text import decimal, excerpt
from .outcome import Outcome
from .simulation import Run, Stopped, run
from .workload import MAX_RATE, SPORTS, Workload, hold_spec

SYSCTLS = {
    **{name.removesuffix("_timeout").replace("_timeout_", "-").replace("_", "-"): PREFIX + name for name in TIMEOUTS},
    **{f"sctp-{name.replace('_', '-')}": f"{PREFIX}sctp_timeout_{name}" for name, _, _ in SCTP_TIMEOUTS},
    "max": PREFIX + "max", "buckets": PREFIX + "buckets", "tcp-loose": PREFIX + "tcp_loose",
}  # fmt: skip
# combinations of one run, runs of each, NAT addresses of one rule
MAX_VARIANTS, MAX_SEEDS, MAX_ADDRESSES = 10_000, 10_000, 65_536
# a smaller part is no difference that anybody would act on
LEAST = 0.005
# two-sided 95 % points of Student's t for 1..10 degrees of freedom
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True)
class Variant:
    """One combination of factors, as text; the label names those that differ from the first combination."""

    factors: tuple[tuple[str, str], ...] = ()
    label: str = "as it is"


def known_factors() -> str:
    """Return the names that --vary takes."""
    own = (
        "random-fully", "addresses=N", "ports=FIRST-LAST", "profile=NAME", "rate", "hold", "clients", "cpus", "sport",
    )  # fmt: skip
    return ", ".join((*own, *SYSCTLS))


def parse(text: str) -> list[Variant]:
    """Return every combination of "random-fully,addresses=1:4,tcp-time-wait=120:30"; the first is the baseline.

    A factor without values is a flag: without it, and with it. InputError names a factor that is not known.
    """
    columns: list[list[tuple[str, str]]] = []
    named: set[str] = set()
    count = 1
    for word in filter(None, (w.strip() for w in text.split(","))):
        name, equals, values = word.partition("=")
        # "profile=linux-5.4:linux-6.18", "ports=1024-65535:20000-65535": values are told apart by colons
        choices = values.split(":") if equals else ["off", "on"]
        for value in choices:
            check_factor(name, value)
        if name in named:
            raise InputError(f"--vary {name}: given twice; write its values as {name}=A:B")
        named.add(name)
        count *= len(choices)
        if count > MAX_VARIANTS:
            raise InputError(f"--vary {name}: {count:,} combinations and more; at most {MAX_VARIANTS:,} are supported")
        columns.append([(name, value) for value in choices])
    first = [column[0] for column in columns]
    return [Variant(c, label_of(c, first)) for c in product(*columns)]


def label_of(factors: tuple[tuple[str, str], ...], first: list[tuple[str, str]]) -> str:
    """Return what a combination changes, in words."""
    said = [name if value == "on" else f"{name}={value}" for name, value in factors if (name, value) not in first]
    return " ".join(said) or "as it is"


def check_factor(name: str, value: str) -> None:
    """Raise InputError for a factor or value that no variant can have."""
    whole = {"addresses": (1, MAX_ADDRESSES), "clients": (1, 2**32 - 1), "cpus": (1, 256)}
    try:
        if name in whole:
            decimal(value, *whole[name])
        if name == "rate" and not 0 < float(value) <= MAX_RATE:
            raise ValueError
        if name == "ports":
            low, high = (decimal(p, 1, 65535) for p in value.split("-"))
            if low > high:
                raise ValueError
        if name in SYSCTLS:
            decimal(value, 0, 2**32 - 1)
        if name == "hold":
            hold_spec(value)
        if name == "sport":
            sport_of(value)
    except ValueError:
        raise InputError(f"--vary {excerpt(name, 60)}={excerpt(value, 60)}: not a value that it can have") from None
    if name == "profile" and value not in PROFILES:
        raise InputError(f"--vary profile={excerpt(value, 60)}: known are {', '.join(PROFILES)}")
    if name == "random-fully" and value not in ("on", "off"):
        raise InputError(f"--vary random-fully={excerpt(value, 60)}: it is on or off")
    if name not in (*whole, "rate", "ports", "profile", "random-fully", "hold", "sport", *SYSCTLS):
        raise InputError(f"--vary {excerpt(name, 60)}: unknown; known are {known_factors()}")


def apply(variant: Variant, node: Node, work: Workload, profile: str) -> tuple[Node, Workload, str]:
    """Return node, workload and profile with the changes of a variant; what was given stays as it is."""
    changed = copy.deepcopy(node)
    settings = dict(variant.factors)
    for name, value in variant.factors:
        if name in SYSCTLS:
            changed.sysctls[SYSCTLS[name]] = value
    profile = settings.get("profile", profile)
    work = replace(
        work,
        rate=float(settings.get("rate", work.rate)), clients=int(settings.get("clients", work.clients)),
        hold=settings.get("hold", work.hold), cpus=int(settings.get("cpus", work.cpus)),
        sport=sport_of(settings["sport"]) if "sport" in settings else work.sport,
    )  # fmt: skip
    addresses = int(settings.get("addresses", 1))
    if settings.get("random-fully") == "on" or addresses > 1 or "ports" in settings:
        base = translated_address(node, work, profile) if addresses > 1 else 0
        change_rules(changed, settings, addresses, base)
    return changed, work, profile


def sport_of(text: str) -> int | str:
    """Return a source port or how ports are drawn; InputError for anything else."""
    if text in SPORTS:
        return "random" if text == "ephemeral" else text
    try:
        return decimal(text, 1, 65535)
    except ValueError:
        raise InputError(f"source port {excerpt(text)!r}: expected 1..65535, {', '.join(SPORTS)}") from None


def translated_address(node: Node, work: Workload, profile: str) -> int:
    """Return the address that the first flow of a workload gets; InputError when it is not translated."""
    first = Run(Engine(node, profile, max_connections=16), replace(work, flows=1, hold=None, stages=()))
    first.first_packets(0, 1)
    if not first.seen:
        raise InputError("addresses=N: the flow is not translated, so there is no SNAT address to add to")
    return int(first.out["src"][0])


def change_rules(node: Node, settings: dict[str, str], addresses: int, base: int) -> None:
    """Change every SNAT and MASQUERADE rule of a node: the flag, the ports, `addresses` addresses from base on."""
    if node.rules is None:
        return
    for table in node.rules.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                t = rule.target
                if t.name not in ("SNAT", "MASQUERADE"):
                    continue
                if settings.get("random-fully") == "on":
                    t.flags |= RANDOM_FULLY
                if "ports" in settings and rule.proto in (0, 6, 17):
                    t.min_proto, t.max_proto = (int(p) for p in settings["ports"].split("-"))
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
            for seed in range(first_seed, first_seed + seeds):
                engine = Engine(changed, kernel, seed)
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
