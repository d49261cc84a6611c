"""fastnat bench: measure the engine on a node, and compare with earlier measurements, another build or another node."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..bench import (
    SIZES,
    Bench,
    Change,
    Pair,
    changes,
    conditions,
    differing,
    failing,
    load,
    measure,
    paired,
    time_changes,
)
from ..bench.paired import instructions, sides
from ..exhaustion.plots import draw_history, open_plot
from ..exhaustion.report import attribute
from ..node import Node
from ..util.escapes import json_text, markdown
from ..util.output import Outputs, make_folder
from .forms import Answer, Paper, forms, tell
from .options import profile_option
from .terminal import Terminal, answer_no

HEADER = ("figure", "unit", "value", "low", "high", "change_percent")
EXAMPLES = (
    ("bench", "what rules, lookups and the port search of the packaged node take"),
    ("bench node/ --size 1m --json figures.json", "of your node, kept"),
    ("bench node/ --compare figures.json --fail-on 'probes_p99>+0'", "exit status 1 where a count has grown"),
)

# counts that are the kernel's as much as the engine's
KERNELS = (
    "rules_per_new", "probes_mean", "probes_p99", "probes_max", "failures", "first_failure", "one_in_thousand",
)  # fmt: skip


@click.command()
@click.argument("node", required=False)
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(SIZES)), help="Live connections; 100k and 1m.")
@click.option("--iface", default="cni0", show_default=True, help="Interface on which the flows enter.")
@profile_option()
@click.option("--instructions", "count", is_flag=True, help="Count the instructions of an operation, too (valgrind).")
@click.option("--json", "json_path", metavar="FILE", help="Save the figures.")
@click.option("--compare", metavar="OLD.json", help="Show which counts changed since then.")
@click.option(
    "--against",
    metavar="OTHER",
    help="Measure times in turns with another build (its python) or another node directory.",
)
@click.option(
    "--fail-on", multiple=True, metavar="EXPR",
    help="Exit with 1 if one of these holds: probes_p99>+0, new>+5%. Counts need --compare, times --against.",
)  # fmt: skip
@click.option("--from-json", metavar="FILE", help="Take these figures instead of measuring.")
@click.option("--history", metavar="DIR", help="Keep the figures there, one file a run.")
@click.option("--plot", metavar="PNG", help="With --history: draw every run (needs fastnat[report]).")
@forms("junit", "github", "bencher")
def bench(
    node: str | None, sizes: tuple[str, ...], iface: str, profile: str, count: bool, json_path: str | None,
    compare: str | None, against: str | None, fail_on: tuple[str, ...], from_json: str | None,
    history: str | None, plot: str | None, form: str,
) -> None:  # fmt: skip
    """Measure NAT set-up, lookups, port search, rules and memory on NODE (default: the packaged k8s-worker)."""
    wanted = conditions(fail_on)
    if any(c.relative for c in wanted) and compare is None and against is None:
        raise click.UsageError("--fail-on a change needs --compare or --against")
    if plot is not None and history is None:
        raise click.UsageError("--plot needs --history")
    if against is not None:
        sides(node or "", against)
    before = load(Path(compare)) if compare is not None else None
    with Outputs() as outputs:
        figures, drawing = outputs.open("--json", json_path), open_plot(outputs, plot)
        kept = make_folder(history, "--history") if history is not None else None
        earlier = [load(p) for p in sorted(kept.glob("*.json"))] if kept else []
        with ExitStack() as shown:
            status = shown.enter_context(Terminal(stderr=True).status("measuring"))

            def say(what: str) -> None:
                status.update(f"measuring: {what}")

            if from_json is not None:
                doc = load(Path(from_json))
            else:
                doc = measure(loaded(node), iface, sizes or ("100k", "1m"), profile, say)
                if count:
                    say("instructions")
                    doc["instructions"] = instructions(node or "", flows(node, iface, profile))
            pairs = paired(node or "", against, flows(node, iface, profile), say) if against is not None else []
        if figures:
            figures.write_text(json.dumps(doc, indent=1) + "\n")
        if kept:
            run = outputs.open("--history", str(kept / f"{doc['date'].replace(':', '')}.json"))
            if run:
                run.write_text(json.dumps(doc) + "\n")
            if drawing:
                draw_history(sorted([*(e for e in earlier if e["date"] != doc["date"]), doc], key=by_date), drawing)
        found = [*(changes(before, doc) if before else []), *time_changes(pairs)]
        there = figures_of(doc) | {p.name: p.ns for p in pairs}
        broken = [c.text for c in wanted if failing(c, found, there)]
    if broken:
        answer_no()
    tell(form, answer(Told(doc, found, broken, pairs, before)))
    if broken:
        sys.exit(1)


def loaded(node: str | None) -> Node:
    """Return the node to be measured."""
    return Node.load(node, lenient=True) if node is not None else Node.example()


def flows(node: str | None, iface: str, profile: str) -> tuple[str, str, int, int]:
    """Return what a worker is told: interface, profile, the first client and how many there are."""
    clients = Bench(loaded(node), iface, profile).sources
    return iface, profile, int(clients[0]), min(len(clients), 60_000)


@dataclass(frozen=True)
class Told:
    """What a run is told about: its document, what changed, which conditions hold, and times measured in turns."""

    doc: dict[str, Any]
    found: list[Change]
    broken: list[str]
    pairs: list[Pair]
    before: dict[str, Any] | None

    def notes(self) -> list[str]:
        """Return what is to be known about the comparisons."""
        said = []
        if self.before is not None:
            differ = differing(self.before, self.doc)
            why = f"the environment differs: {'; '.join(differ)}" if differ else "--against compares them in turns"
            said.append(f"times of two runs are not compared ({why})")
            if any(d.startswith(("node", "profile")) for d in differ):
                said.append("the counts are those of different nodes or profiles")
        return said


def figures_of(doc: dict[str, Any]) -> dict[str, float]:
    """Return every figure of a document by its name; of times nanoseconds."""
    return {**doc["counters"], **doc["instructions"], **{name: t["ns"] for name, t in doc["times"].items()}}


def by_date(doc: dict[str, Any]) -> str:
    """Return the date of a run, as a key for sorting."""
    return str(doc["date"])


def rows_of(told: Told, names: Callable[[str], bool] = lambda _: True) -> list[list[str]]:
    """Return a row for each figure: name, value, its interval, and what changed."""
    by_name = {c.name: c for c in told.found}
    rows = []
    for part in ("counters", "instructions"):
        for name, value in told.doc[part].items():
            rows.append([name, f"{value:,}", "exact" if part == "counters" else "callgrind", _said(by_name.get(name))])
    for name, t in told.doc["times"].items():
        rows.append([name, f"{t['ns']:,.1f} ns", f"{t['low']:,.1f} to {t['high']:,.1f}", ""])
    for p in told.pairs:
        spread = f"{p.low:+.1f} to {p.high:+.1f} % of {p.against_ns:,.1f} ns"
        rows.append([p.name, f"{p.ns:,.1f} ns", spread, f"{p.percent:+.1f} %" if by_name[p.name].sure else "same"])
    return [row for row in rows if names(row[0])]


def _said(change: Change | None) -> str:
    if change is None:
        return ""
    return f"{change.percent:+.1f} % from {change.before:,.6g}" if change.sure else "same"


def bare_rows(told: Told) -> list[list[Any]]:
    """Return the figures as bare numbers: name, unit, value, interval, and the change [%] where one was measured."""
    changed = {c.name: c.percent for c in told.found}
    rows: list[list[Any]] = []
    for part, unit in (("counters", "count"), ("instructions", "instructions")):
        rows += [[name, unit, value, None, None, changed.get(name)] for name, value in told.doc[part].items()]
    rows += [[name, "ns", t["ns"], t["low"], t["high"], None] for name, t in told.doc["times"].items()]
    return rows + [[p.name, "ns", p.ns, None, None, p.percent] for p in told.pairs]


def show(console: Paper, told: Told) -> None:
    """Write tables: what the kernel pays for these rules, too, then what only the engine does."""
    header = ("figure", "value", "95 % of the median", "change")
    console.table(
        header, rows_of(told, KERNELS.__contains__), left=4,
        title="What these rules cost the kernel, too: rules walked and ports probed for a new connection",
    )  # fmt: skip
    console.say("")
    console.table(header, rows_of(told, lambda name: name not in KERNELS), left=4, title="What the engine takes")
    for line in [*told.notes(), *(f"FAILED {e}" for e in told.broken)]:
        console.say(line)


def document(told: Told) -> dict[str, Any]:
    """Return the figures and changes for JSON."""
    listed = [{**vars(c), "percent": c.percent, "sure": c.sure} for c in told.found]
    return {**told.doc, "changes": listed, "notes": told.notes(), "failed": told.broken}


def to_markdown(told: Told) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | value | 95 % of the median | change |", "| --- | ---: | --- | --- |"]
    lines += [f"| {' | '.join([markdown(name), *rest])} |" for name, *rest in rows_of(told)]
    ends = [*map(markdown, told.notes()), *(f"**failed: {markdown(e)}**" for e in told.broken)]
    return "\n".join([*lines, "", *ends]).rstrip() + "\n"


def to_junit(told: Told) -> str:
    """Return a test case for each figure; one that a condition names fails."""
    cases = []
    for name, value, _, change in rows_of(told):
        said = next((e for e in told.broken if e.startswith(name)), None)
        body = f"><failure message={attribute(f'{said}: {value} {change}')}/></testcase>" if said else "/>"
        cases.append(f'  <testcase classname="fastnat.bench" name={attribute(name)}{body}')
    head = f'<testsuite name="fastnat bench" tests="{len(cases)}" failures="{len(told.broken)}">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>"]) + "\n"


def to_github(told: Told) -> str:
    """Return the input of github-action-benchmark, tool customSmallerIsBetter."""
    said = [{"name": n, "unit": "count", "value": v} for n, v in told.doc["counters"].items()]
    said += [{"name": n, "unit": "instructions", "value": v} for n, v in told.doc["instructions"].items()]
    said += [
        {"name": n, "unit": "ns", "value": t["ns"], "range": f"{t['low']:.1f} to {t['high']:.1f}"}
        for n, t in told.doc["times"].items()
    ]
    return json_text(said, indent=1) + "\n"


def to_bencher(told: Told) -> str:
    """Return the Bencher Metric Format: measures count, instructions and latency."""
    said = {n: {"count": {"value": v}} for n, v in told.doc["counters"].items()}
    said |= {n: {"instructions": {"value": v}} for n, v in told.doc["instructions"].items()}
    said |= {
        n: {"latency": {"value": t["ns"], "lower_value": t["low"], "upper_value": t["high"]}}
        for n, t in told.doc["times"].items()
    }
    return json_text(said, indent=1) + "\n"


def answer(told: Told) -> Answer:
    """Return a run's figures in every form."""
    own = {"md": to_markdown, "junit": to_junit, "github": to_github, "bencher": to_bencher}
    more = {name: functools.partial(made, told) for name, made in own.items()}
    return Answer(lambda paper: show(paper, told), lambda: document(told), HEADER, lambda: bare_rows(told), more)
