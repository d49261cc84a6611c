"""What-if: the same workload under changed rules, sysctls, kernels and loads, on paired seeds."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from ..engine import Engine
from ..errors import InputError
from ..node import Node
from ..node.model import LOCAL
from ..node.timeouts import PREFIX, SCTP_TIMEOUTS, TIMEOUTS
from .drawing import PART
from .factors import SYSCTLS, Value, read, text_of
from .lifetimes import cut_short
from .outcome import Outcome, listed, remedy, words_of
from .simulation import Run, Stopped, run
from .source_nat import Change
from .workload import Workload

# flows that show to which address rules translate
FIRST_FLOWS = 1000
# combinations of one run, runs of each
MAX_VARIANTS, MAX_SEEDS = 10_000, 10_000
# runs at a time: what they do in Python they do in turns, and each has an engine
MOST_AT_ONCE = 8
# factors that change the workload
OF_WORKLOAD = ("rate", "clients", "hold", "cpus", "sport")
# a smaller part is no difference that anybody would act on
LEAST = 0.005
AS_IT_IS = "as it is"
# values that change no node
NEUTRAL: dict[str, Value | None] = {"random-fully": False, "addresses": 1}
SYSCTL_NAMES = {sysctl: name for name, sysctl in SYSCTLS.items()}
Factors = tuple[tuple[str, Value], ...]
# two-sided 95 % points of Student's t for 1..10 degrees of freedom
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True)
class Variant:
    """One combination of factors; the label names those that change something, "as it is" where none does."""

    factors: Factors = ()
    label: str = AS_IT_IS


def parse(text: str) -> list[Variant]:
    """Return every combination of "random-fully,addresses=1:4,tcp-time-wait=120:30"; the first is the baseline.

    Labels name every value but those that change no node; see `named`. A factor without values is a flag: without it,
    and with it. InputError names a factor that is not known.
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
    return [Variant(c, label_of(c, NEUTRAL)) for c in product(*columns)]


def with_rate_of(variants: list[Variant], work: Workload) -> Workload:
    """Return a workload without a rate, or with stages, with the rate of the first variant, where rates are varied."""
    rate = dict(variants[0].factors).get("rate") if variants else None
    if isinstance(rate, float) and (not work.rate or work.stages):
        return replace(work, rate=rate, stages=())
    return work


def with_rates_divided(variants: list[Variant], by: float) -> list[Variant]:
    """Return variants whose rates are divided by a number: requests that share a connection."""

    def divided(factors: Factors) -> Factors:
        return tuple((n, v / by if n == "rate" and isinstance(v, float) else v) for n, v in factors)

    made = [divided(v.factors) for v in variants]
    return [Variant(factors, label_of(factors, NEUTRAL)) for factors in made]


def label_of(factors: Factors, as_it_is: Mapping[str, Value | None]) -> str:
    """Return what a combination changes, in words; as_it_is: the values that change nothing."""
    changed = [(name, value) for name, value in factors if as_it_is.get(name) != value]
    said = [name if value is True else f"{name}={text_of(value)}" for name, value in changed]
    return " ".join(said) or AS_IT_IS


def named(variants: list[Variant], node: Node, work: Workload, profile: str) -> list[Variant]:
    """Return variants whose labels name what differs from this node under this load and kernel."""
    there: dict[str, Value | None] = {name: getattr(work, name) for name in OF_WORKLOAD}
    there |= {**NEUTRAL, "profile": profile}
    if work.stages:
        # no constant rate is as it is
        there["rate"] = None
    names = {name for v in variants for name, _ in v.factors}
    for name in names & SYSCTLS.keys():
        there[name] = present(node, name, profile)
    return [replace(v, label=label_of(v.factors, there)) for v in variants]


def present(node: Node, name: str, profile: str) -> int | None:
    """Return what a node has a sysctl set to, its default where it names none; None where that is not a number."""
    defaults: dict[str, float] = {SYSCTL_NAMES[PREFIX + key]: seconds for key, (_, seconds) in TIMEOUTS.items()}
    defaults |= {f"sctp-{key.replace('_', '-')}": pair[profile == "linux-6.18"] for key, *pair in SCTP_TIMEOUTS}
    defaults |= {"max": 262_144, "tcp-loose": 1}
    given = node.sysctls.get(SYSCTLS[name], defaults.get(name))
    try:
        return int(given) if given is not None else None
    except ValueError:
        return None


def apply(variant: Variant, node: Node, work: Workload, profile: str) -> tuple[Node, Workload, str]:
    """Return node, workload and profile with the changes of a variant; what was given stays as it is."""
    changed, work, profile = set_up(variant, node, work, profile)
    settings = dict(variant.factors)
    addresses, ports = settings.get("addresses", 1), settings.get("ports")
    assert isinstance(addresses, int)
    assert ports is None or isinstance(ports, tuple)
    if settings.get("random-fully") or addresses > 1 or ports:
        base = translated_address(node, work, profile) if addresses > 1 else 0
        changed = Change(work.family, settings.get("random-fully") is True, ports, addresses, base).apply(changed)
    return changed, work, profile


def set_up(variant: Variant, node: Node, work: Workload, profile: str) -> tuple[Node, Workload, str]:
    """Return the same with all changes but those of rules, which the node that is returned shares with the other."""
    settings = dict(variant.factors)
    changed = copy.copy(node)
    changed.sysctls = {**node.sysctls, **{SYSCTLS[k]: str(v) for k, v in settings.items() if k in SYSCTLS}}
    loads: dict[str, Any] = {name: settings[name] for name in OF_WORKLOAD if name in settings}
    if "rate" in loads:
        # as --rate does: stages would go before it
        loads["stages"] = ()
    return changed, replace(work, **loads), str(settings.get("profile", profile))


def cut_shorts(variants: list[Variant], node: Node, work: Workload, profile: str) -> list[str]:
    """Return a sentence for each variant in which entries end before their flows do; the first one has no name."""
    said: dict[str, str] = {}
    for n, variant in enumerate(variants):
        found = cut_short(*set_up(variant, node, work, profile))
        if found and found not in said:
            said[found] = f"{variant.label}: {found}" if n else found
    return list(said.values())


def translated_address(node: Node, work: Workload, profile: str) -> int:
    """Return the address that the first flow to be translated gets; InputError when none of a workload's first is."""
    flows = min(max(FIRST_FLOWS, len(work.destinations)), PART)
    first = Run(
        Engine(node, profile, max_connections=2 * flows),
        replace(work, flows=flows, hold=None, rate=0.0, stages=()),
    )
    first.first_packets(flows)
    first.note()
    out = first.out
    if not first.spaces.addresses:
        raise InputError("addresses=N: no flow is translated, so there is no SNAT address to add to")
    return work.family.unpack(out["src"][first.spaces.of_these(out)][0])


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
    """Run every variant with the same seeds, a run on each CPU.

    progress: may be called by several threads at once. prepare: may load connections into each engine first; called in
    the order of the variants and seeds, by this thread alone.

    Raises StoppedBetween when Ctrl-C comes: what is finished is kept.
    """
    stop = threading.Event()

    def heard(opened: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        if progress:
            progress(opened)

    def engines() -> Iterator[tuple[Engine, Workload]]:
        for variant in variants:
            changed, load, kernel = apply(variant, node, work, profile)
            # rules are compiled once; each seed has a fork of what has seen no packet
            compiled = Engine(changed, kernel, first_seed)
            for seed in range(first_seed, first_seed + seeds):
                engine = compiled.fork(seed)
                if prepare:
                    prepare(engine)
                yield engine, load

    runs: list[Future[Outcome]] = []
    running: set[Future[Outcome]] = set()
    # most of a run is spent in the core, which lets other threads run meanwhile
    with ThreadPoolExecutor(cpus := min(len(os.sched_getaffinity(0)), MOST_AT_ONCE)) as pool:
        try:
            # no engine before there is a CPU for it: each may hold millions of connections
            for engine, load in engines():
                runs.append(pool.submit(run, engine, load, heard))
                del engine
                running = _leave_running({*running, runs[-1]}, cpus - 1)
            _leave_running(running, 0)
        except BaseException as error:
            stop.set()
            wait(runs)
            if isinstance(error, KeyboardInterrupt):
                raise _stopped(runs, variants, seeds) from None
            # what an earlier run has raised is said, as if one came after the other
            for r in runs:
                if isinstance(earlier := r.exception(), Exception):
                    raise earlier from None
            raise
    return [Compared(variant, [r.result() for r in runs[n * seeds :][:seeds]]) for n, variant in enumerate(variants)]


def _leave_running(running: set[Future[Outcome]], most: int) -> set[Future[Outcome]]:
    """Wait until no more than so many runs are under way, and return them; raise what one of them has raised."""
    while len(running) > most:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for r in done:
            r.result()
    return running


def _stopped(runs: list[Future[Outcome]], variants: list[Variant], seeds: int) -> StoppedBetween:
    """Return what Ctrl-C leaves: of each variant the seeds before the first one that is not finished."""
    results = []
    for n, variant in enumerate(variants):
        found = Compared(variant, [])
        for r in runs[n * seeds :][:seeds]:
            if r.exception() is not None:
                break
            found.outcomes.append(r.result())
        if found.outcomes:
            results.append(found)
    # with the first variant all others are compared
    if results and results[0].variant is not variants[0]:
        results = []
    done = sum(len(r.outcomes) for r in results)
    # rows of a run that was cut are compared with nothing: they are kept where there is nothing else
    cut = runs[0].exception() if runs else None
    if not done and isinstance(cut, Stopped):
        results = [Compared(variants[0], [cut.outcome])]
    return StoppedBetween(results, done, len(variants) * seeds)


def half_width(differences: list[float]) -> float:
    """Return half of the 95 % confidence interval of the mean of paired differences; infinite for one seed."""
    n = len(differences)
    if n < 2:
        return math.inf
    student = STUDENT[n - 2] if n - 2 < len(STUDENT) else 1.96
    return student * float(np.std(differences, ddof=1)) / math.sqrt(n)


def ranked(results: list[Compared]) -> list[Compared]:
    """Return the baseline, then the others, the best change first: fewest failures, then the latest first failure.

    A connection that early drop ends is lost as well.
    """

    def lost(o: Outcome) -> float:
        return (o.failed + o.stats.get("early_drop", 0)) / (o.opened + o.failed)

    return [results[0], *sorted(results[1:], key=lambda r: (r.mean(lost), -np.mean(r.firsts())))]


def words(results: list[Compared]) -> list[str]:
    """Return a sentence for each variant but the baseline, the best change first."""
    baseline, *others = ranked(results)
    return [f"{r.variant.label}: {compared(baseline, r)}{cause_of(baseline, r)}." for r in others]


def cause_of(baseline: Compared, r: Compared) -> str:
    """Return in words what fails in a variant, where it is something else than in the baseline."""
    before, after = baseline.outcomes[0], r.outcomes[0]
    if after.kind == "early_drop":
        return f", but early drop ended {after.stats['early_drop']:,} connections: the table was full"
    if not after.failed:
        return ", and early drop ends no connection any more" if before.kind == "early_drop" else ""
    if after.kind == before.kind:
        return ""
    return f", {'now ' if before.failed else ''}by {words_of(after.kind)}"


def compared(baseline: Compared, r: Compared) -> str:
    """Return what a variant changes in the failures."""
    # where Ctrl-C came the last variant has fewer seeds than the baseline
    differences = [b - a for a, b in zip(baseline.firsts(), r.firsts(), strict=False)]
    width = half_width(differences)
    before, after = np.mean(baseline.firsts()), np.mean(r.firsts())
    share = [c.mean(lambda o: o.failed / (o.opened + o.failed)) for c in (baseline, r)]
    none = [all(o.first_failure is None for o in c.outcomes) for c in (baseline, r)]
    sure = "" if math.isinf(width) else f" (+-{width:,.0f}, 95 %, {len(differences)} paired seeds)"
    instead = f"{share[1]:.2%} fail instead of {share[0]:.2%}"
    if all(none):
        return "nothing fails, as without it"
    if none[1]:
        return f"nothing fails any more; without it {share[0]:.2%} of the flows"
    if min(share) < max(share) / 2:
        return f"{share[1]:.2%} of the flows fail instead of {share[0]:.2%}"
    if not any(differences):
        return f"the first failure is the same flow with every seed; {instead}"
    if abs(after - before) <= max(width if len(differences) > 1 else 0, LEAST * before):
        return f"no difference in the first failure that these seeds could show{sure}; {instead}"
    where = "never" if none[0] else f"flow {before:,.0f}"
    return f"moves the first failure from {where} to flow {after:,.0f}{sure}; {instead}"


def remedies(results: list[Compared]) -> list[str]:
    """Return what helps the variants that fail by something else than the baseline, a sentence for each cause."""
    first = results[0].outcomes[0]
    found: dict[str, list[Compared]] = {}
    for r in results[1:]:
        if r.outcomes[0].kind != first.kind and remedy(r.outcomes[0]):
            found.setdefault(r.outcomes[0].kind, []).append(r)
    return [
        f"{listed([r.variant.label for r in same])} ({words_of(kind)}): {remedy(same[0].outcomes[0])}"
        for kind, same in found.items()
    ]


def idle(variants: list[Variant], work: Workload) -> list[str]:
    """Return a sentence for each factor that can change nothing for these flows, with the reason."""
    names = list(dict.fromkeys(name for v in variants for name, _ in v.factors))
    found = [(name, why_idle(name, variants, work)) for name in names]
    return [f"{name} can change nothing here: {why}." for name, why in found if why]


def why_idle(name: str, variants: list[Variant], work: Workload) -> str:
    """Return why a factor can change nothing, "" where it may."""
    if name == "clients" and work.iface == LOCAL:
        return "the node itself opens the flows"
    if name not in SYSCTLS or name in ("max", "buckets"):
        return ""
    varied = {n for v in variants for n, _ in v.factors}
    proto = name.partition("-")[0]
    if proto != work.proto:
        return f"all flows are {work.proto.upper()}"
    if name == "tcp-loose":
        return "every flow begins with a SYN"
    if not work.rate and not work.stages and "rate" not in varied:
        return "all flows come at once, so that no time passes; give --rate"
    if proto == "udp":
        return "" if name == "udp" or work.replies else "the flows are not answered (--replies)"
    if work.hold is None and "hold" not in varied:
        return "" if name == "tcp-syn-sent" else "the flows are their first packets; give --hold"
    ends = {"tcp-time-wait": "fin", "tcp-close": "rst"}.get(name, work.close)
    return "" if ends == work.close else f"the flows do not end that way (--close {work.close})"
