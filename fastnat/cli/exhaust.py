"""fastnat exhaust: open flows until SNAT ports run out, and compare what changes it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from ..addresses import end_text
from ..engine import Engine
from ..engine.settings import PROFILES
from ..errors import InputError
from ..exhaustion import Workload, scenario, steady
from ..exhaustion.document import Document
from ..exhaustion.drawing import few_clients
from ..exhaustion.factors import sport_of
from ..exhaustion.html import rates_page
from ..exhaustion.outcome import words_of
from ..exhaustion.plots import draw, open_plot
from ..exhaustion.question import hold_in_words, now, question
from ..exhaustion.report import MAX_FAIL
from ..exhaustion.steady import MAX_FLOWS, Steady, estimate, sustainable_rate
from ..exhaustion.times import hold_of
from ..exhaustion.variants import (
    AS_IT_IS,
    Compared,
    StoppedBetween,
    Variant,
    apply,
    compare,
    cut_shorts,
    idle,
    named,
    parse,
    with_rate_of,
)
from ..exhaustion.workload import CLOSES
from ..node import Node
from ..node.model import LOCAL
from ..util.escapes import json_text
from ..util.files import read_text
from ..util.output import Output, Outputs
from .completion import complete_factors
from .forms import COMMON, Answer, csv_text, forms, spoken, tell
from .options import PACKAGED, complete_profiles, order_option
from .runs import run_answer, run_rows
from .terminal import (
    Bar,
    Count,
    Date,
    Interrupted,
    Rate,
    Share,
    Terminal,
    Whole,
    answer_no,
    given,
    ignore_interrupts,
    load_node,
    take_over,
    warn,
    warn_of_senders,
)

# what `fastnat exhaust` compares when it is asked nothing
DEMO = [
    Variant((), "none"),
    Variant((("random-fully", True),), "--random-fully"),
    Variant((("addresses", 2),), "two addresses"),
]
RATES = ("variant", "rate", "too_high", "fails", "width", "flows", "seconds", "cause")
EXAMPLES = (
    ("exhaust", "the packaged node: what changes with --random-fully, or with a second address"),
    ("exhaust node/ --proto tcp --dst 203.0.113.10:443 --max-fail 5%", "exit status 1 where more fail"),
    ("exhaust node/ --proto tcp --hold exp:5 --clients 200 --sport random", "which rate is too much"),
    ("exhaust node/ --rate 3k/s --hold 30s --vary addresses=1:2 -o html >run.html", "a page for others"),
    ("exhaust node/ --json run.json", "keeps the run, for `fastnat report`"),
)
OTHER_CLIENTS = (
    "The clients are those of the first SNAT rule that names a network; --network NET opens flows of others."
)
NEXT = """Your own node:
  fastnat snapshot node/                                           collects it (on the node, as root)
  fastnat exhaust node/ --dst 203.0.113.10:443 --proto tcp         asks it the same question"""


@dataclass(frozen=True)
class Rates:
    """A question for rates; prepare loads what is there already."""

    node: Node
    work: Workload
    kernel: str
    variants: list[Variant]
    seed: int
    prepare: Callable[[Engine], None]
    name: str


@click.command()
@click.argument("node", required=False)
@click.option("--scenario", "scenario_path", metavar="FILE", help="The question as TOML; options given here go first.")
@click.option("--dst", multiple=True, metavar="IP:PORT", help="[IPv6]:PORT and NET/LEN:PORT, too; repeatable.")
@click.option("--proto", type=click.Choice(["udp", "tcp"]), help="udp by default.")
@click.option("--flows", type=Count(1), help="How many flows (72000, 72k); 72000 by default.")
@click.option("--clients", type=Count(0), help="Client addresses; 0, the default: one for each flow.")
@click.option("--sport", help="Source port of every flow (40000), random, sequential or any.")
@click.option("--rate", type=Rate(0), help="Flows a second (3000, 3k/s, 180k/min); 0, the default: all at once.")
@click.option("--poisson", is_flag=True, default=None, help="Arrivals at random instead of evenly spaced.")
@click.option("--hold", metavar="TIME", help="How long a flow lasts: 30, 5m, exp:30, ... Without --rate: which rate?")
@click.option("--replies", is_flag=True, default=None, help="UDP flows are answered.")
@click.option("--close", type=click.Choice(CLOSES), help="How TCP flows end; fin by default; client, server: one side.")
@click.option("--cpus", type=Whole(1, 256), help="Packets that race between set-up and confirm.")
@click.option("--iface", help="Interface on which the flows enter; cni0 by default; local: the node opens them.")
@click.option("--network", metavar="NET", help="Addresses of the clients; by default of the first SNAT rule.")
@click.option("--random-fully", is_flag=True, help="As if every MASQUERADE and SNAT rule had the flag.")
@click.option(
    "--profile", metavar="A[,B]", help="The kernel: linux-6.18 (default), linux-5.4, or both.",
    shell_complete=complete_profiles,
)  # fmt: skip
@click.option(
    "--vary", metavar="FACTORS", help="What is compared: random-fully,addresses=1:2,tcp-time-wait=2m:30s.",
    shell_complete=complete_factors,
)  # fmt: skip
@click.option("--seeds", type=Whole(1, 100), help="Runs of each variant; 3 by default with --vary.")
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text of the connections that are there already.")
@click.option(
    "--epoch", type=Date(), help="When it begins, for rules with -m time: seconds since 1970, or a date, UTC."
)
@order_option()
@click.option("--lenient", is_flag=True, help="Take rules that are not supported as never matching.")
@click.option("--seed", type=Whole(0), help="What random numbers begin with; 0 by default.")
@click.option("--max-fail", type=Share(), help="Exit with 1 when a greater share of the flows fails.")
@click.option("--csv", "csv_path", metavar="FILE", help="One row per 1000 flows.")
@click.option("--json", "json_path", metavar="FILE", help="The whole run, for `fastnat report`; -: -o json.")
@click.option("--plot", metavar="PNG", help="Failures, occupancy and probes (needs fastnat[report]).")
@forms("html", "junit", "prometheus")
def exhaust(
    node: str | None,
    scenario_path: str | None,
    dst: tuple[str, ...],
    random_fully: bool,
    profile: str | None,
    vary: str | None,
    seeds: int | None,
    start_from: str | None,
    epoch: float | None,
    lenient: bool,
    seed: int | None,
    max_fail: float | None,
    csv_path: str | None,
    json_path: str | None,
    plot: str | None,
    form: str,
    **options: Any,
) -> None:
    """Open flows through NODE (default: the packaged k8s-worker) until its SNAT ports run out."""
    if json_path == "-":
        if form not in ("text", "json"):
            raise click.UsageError(f"--json - and -o {form} exclude each other")
        form, json_path = "json", None
    files = {"--csv": csv_path, "--json": json_path}
    with Outputs() as outputs:
        written = {option: outputs.open(option, path) for option, path in files.items()}
        written["--plot"] = open_plot(outputs, plot)
        asked = scenario.load(Path(scenario_path)) if scenario_path is not None else None
        where = node if node is not None else str(asked.node) if asked and asked.node else None
        loaded = load_node(where, lenient, epoch if epoch is not None else asked.epoch if asked else None)
        work = workload(asked.work if asked else Workload((("203.0.113.10", 53),)), dst, options)
        warn_of_senders(loaded, work.iface)
        kernel, variants = variants_of(asked, random_fully, profile, vary)
        demo = not (where is not None or asked or vary or random_fully or profile)
        # two kernels are of the same rank: both are named
        variants = DEMO if demo else named(variants, loaded, work, "" if profile and "," in profile else kernel)
        # only now: a rate that is varied is named in each label
        work = with_rate_of(variants, work)
        text = read_text(given(start_from)) if start_from is not None else ""
        told: list[bool] = []

        def prepare(engine: Engine) -> None:
            if start_from is not None:
                take_over(engine, text, start_from, quiet=bool(told))
                told.append(True)

        name = where if where is not None else PACKAGED
        first_seed = seed if seed is not None else asked.seed if asked else 0
        if work.hold is not None and not work.rate and not work.stages:
            variants = variants if not demo else [Variant()]
            none = {
                **files,
                f"-o {form}": None if form in (*COMMON, "html") else form,
                "--plot": plot,
                "--max-fail": max_fail,
                "--seeds": seeds,
            }
            refuse_without_run(none)
            rates_of(Rates(loaded, work, kernel, variants, first_seed, prepare, name), form)
            return
        n_seeds = seeds or (asked.seeds if asked else 1 if demo or not vary else 3)
        stopped: StoppedBetween | None = None
        with Progress(console=Terminal(stderr=True), transient=True, disable=not Terminal().is_terminal) as bar:
            task = bar.add_task("opening flows", total=work.flows * len(variants) * n_seeds)
            try:
                results = compare(
                    loaded, work, variants, kernel, n_seeds, first_seed, lambda n: bar.advance(task, n), prepare
                )
            except StoppedBetween as stop:
                if not stop.results:
                    raise Interrupted from None
                stopped, results = stop, stop.results
                ignore_interrupts()
        few = few_clients(Engine(loaded, kernel, max_connections=1), work) if work.clients > 1 else ""
        notes = (*([few] if few else []), *idle(variants, work), *cut_shorts(variants, loaded, work, kernel))
        if results[0].outcomes[0].kind == "untranslated" and work.network is None and work.iface != LOCAL:
            notes = (*notes, OTHER_CLIENTS)
        doc = Document(
            name, kernel, work, results, left_out(stopped) if stopped else "", notes=notes, date=now(), seed=first_seed
        )
        first = results[0].outcomes[0]
        no = max_fail is not None and first.failed > max_fail * (first.failed + first.opened)
        if no:
            answer_no()
        write(written, doc, results[:1] if demo else results, draw_it=not stopped)
    may_fail = MAX_FAIL if max_fail is None else max_fail
    tell(form, run_answer(doc, results[:1] if demo else results, may_fail))
    if demo and form == "text":
        Terminal().print(NEXT, soft_wrap=True)
    if stopped:
        sys.stdout.flush()
        raise Interrupted(kept(stopped, written))
    if no:
        sys.exit(1)


def left_out(stopped: StoppedBetween) -> str:
    """Return in a sentence that a run is not the whole of what was asked for."""
    what = f"{stopped.done:,} of {stopped.asked:,} runs are finished"
    if not stopped.done:
        first = stopped.results[0].outcomes[0]
        what = f"no run is finished, this one came to {first.opened + first.failed:,} flows"
    return f"Incomplete: Ctrl-C came; {what}."


def kept(stopped: StoppedBetween, written: dict[str, Output | None]) -> str:
    """Return what Ctrl-C has left."""
    files = " and ".join(o.path for option, o in written.items() if o and option != "--plot")
    plot = written["--plot"]
    not_drawn = f"; {plot.path} is not drawn" if plot else ""
    return f"{left_out(stopped).removeprefix('Incomplete: Ctrl-C came; ')[:-1]}, which {files or 'the output'} " + (
        f"{'hold' if ' and ' in files else 'holds'}{not_drawn}"
    )


def write(written: dict[str, Output | None], doc: Document, results: list[Compared], draw_it: bool) -> None:
    """Write the files that were asked for."""
    for option, output in written.items():
        if output is None:
            continue
        if option == "--csv":
            output.write_text(csv_text(*run_rows(results)))
        elif option == "--json":
            output.write_text(json_text(doc.to_json()) + "\n")
        elif draw_it:
            draw(doc, output)
        else:
            # a drawing takes seconds, Ctrl-C less than one
            output.discard()


def workload(work: Workload, dst: tuple[str, ...], options: dict[str, Any]) -> Workload:
    """Return a workload with the options that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    if dst:
        given.update(destinations=tuple(end for d in dst for end in scenario.endpoints(d)), weights=())
    if "rate" in given:
        given["stages"] = ()
    if "sport" in given:
        given["sport"] = sport_of(given["sport"])
    if "hold" in given:
        try:
            given["hold"] = hold_of(given["hold"])
        except ValueError as error:
            raise InputError(f"--hold: {error}") from None
    return replace(work, **given)


def variants_of(
    asked: scenario.Scenario | None, random_fully: bool, profile: str | None, vary: str | None
) -> tuple[str, list[Variant]]:
    """Return the kernel, and the variants of the options or of the scenario."""
    kernels = profile.split(",") if profile else [asked.profile if asked else "linux-6.18"]
    for kernel in kernels:
        if kernel not in PROFILES:
            raise InputError(f"profile {kernel!r}: known are {', '.join(PROFILES)}")
    words = [vary] if vary else []
    if random_fully:
        words.append("random-fully=on")
    if len(kernels) > 1:
        words.append(f"profile={':'.join(kernels)}")
    return kernels[0], parse(",".join(words)) if words or not asked else asked.variants


def rates_of(asked: Rates, form: str) -> None:
    """Print up to which rate each variant carries held flows."""
    found: list[steady.Rate] = []
    stopped = False
    work, variants = asked.work, asked.variants
    with Bar("looking for the rate") as bar:
        try:
            for variant in variants:
                bar.update(bar.task, description=f"looking for the rate: {variant.label}")
                changed, load, profile = apply(variant, asked.node, work, asked.kernel)
                engine = Engine(changed, profile, asked.seed)
                asked.prepare(engine)
                if not found:
                    first = estimate(engine, load)
                    warn(
                        f"fastnat: a first estimate, by arithmetic: {first:,.0f} flows/s; looking closer takes a while"
                    )
                found.append(sustainable_rate(engine, load, progress=bar.opened, loaded=len(engine.conntrack) > 0))
        except KeyboardInterrupt:
            if not found:
                raise
            stopped = True
    told = list(zip(variants, found, strict=not stopped))
    said = words_of_rates(asked, found, stopped)

    def page() -> str:
        asked_of = question(work, asked.name, asked.kernel, now(), counted=False)
        rows = [
            [v.label, f"{r.rate:,.0f}", f"{r.too_high:,.0f}", f"{r.found.fails:.3%}", words_of(r.found.outcome.kind)]
            for v, r in told
        ]
        return rates_page(asked_of, said, as_figures(found[0]), rows)

    tell(form, Answer(spoken(said), lambda: {
        "node": asked.name, "profile": asked.kernel, "workload": asdict(work), "incomplete": stopped,
        "rates": [{"variant": v.label, **as_figures(r)} for v, r in told],
    }, RATES, lambda: [[v.label, *as_figures(r).values()] for v, r in told], {"html": page}))  # fmt: skip
    if stopped:
        sys.stdout.flush()
        raise Interrupted(f"the rates of {len(found)} of {len(variants)} variants were found, and are shown above")


def as_figures(r: steady.Rate) -> dict[str, Any]:
    """Return a rate [flows/s] and what confirmed it as figures."""
    figures = {"rate": r.rate, "too_high": r.too_high, "fails": r.found.fails, "width": r.found.width}
    return {**figures, "flows": r.found.flows, "seconds": r.found.seconds, "cause": r.found.outcome.kind}


def words_of_rates(asked: Rates, found: list[steady.Rate], stopped: bool) -> list[str]:
    """Return up to which rate the first variant carries the flows, and what the others change."""
    work, variants = asked.work, asked.variants
    where = " ".join(end_text(*end) for end in work.destinations[:3])
    name = "" if variants[0].label == AS_IT_IS else f"{variants[0].label}: up"
    first = found[0].found
    said = [
        f"{name or 'Up'} to {found[0].rate:,.0f} flows/s of {work.proto} to {where}, {hold_in_words(work.hold or 0)}, "
        "at most 1 in 1000 fails.",
        f"At that rate {first}; {found[0].too_high:,.0f} flows/s were too many{by(first)}.",
    ]
    if first.lifetimes < 1:
        said.append(f"A longer run takes more than {MAX_FLOWS:,} flows: beyond a lifetime nothing is known.")
    others = zip(variants[1:], found[1:], strict=not stopped)
    for variant, other in sorted(others, key=lambda pair: -pair[1].rate):
        said.append(f"{variant.label}: from {found[0].rate:,.0f} to {other.rate:,.0f} flows/s; {other.found}.")
    said += idle(variants, replace(work, rate=found[0].rate))
    return [*said, *cut_shorts(variants, asked.node, work, asked.kernel)]


def by(found: Steady) -> str:
    """Return what fails first in words, where something does."""
    return f" (by {words_of(found.outcome.kind)})" if found.outcome.failed else ""


def refuse_without_run(given: dict[str, Any]) -> None:
    """Raise InputError for what has no meaning where a rate is looked for."""
    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option}: looking for a rate has no run; give --rate")
