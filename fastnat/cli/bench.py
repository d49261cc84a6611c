"""fastnat bench: measure the engine on a node, and compare with earlier measurements."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import click

from ..bench import SIZES, Change, changes, failing, load, measure, parsed
from ..exhaustion.plots import draw_history, open_plot
from ..exhaustion.report import attribute
from ..node import Node
from ..util.escapes import json_text, markdown, plain
from ..util.output import Outputs, make_folder
from .terminal import Terminal, answer_no


@click.command()
@click.argument("node", required=False)
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(SIZES)), help="Live connections; 100k and 1m.")
@click.option("--iface", default="cni0", show_default=True, help="Interface on which the flows enter.")
@click.option("--profile", default="linux-6.18", show_default=True)
@click.option("--json", "json_path", metavar="FILE", help="Save the figures.")
@click.option("--compare", metavar="OLD.json", help="Show what changed since then.")
@click.option("--fail-on", multiple=True, metavar="EXPR", help="Exit with 1 if this holds: probes_p99>+0, new_1m>+5%.")
@click.option("--from-json", metavar="FILE", help="Take these figures instead of measuring.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "md", "junit"]), default="text", show_default=True)
@click.option("--history", metavar="DIR", help="Keep the figures there, one file a run.")
@click.option("--plot", metavar="PNG", help="With --history: draw every run (needs fastnat[report]).")
def bench(
    node: str | None, sizes: tuple[str, ...], iface: str, profile: str, json_path: str | None, compare: str | None,
    fail_on: tuple[str, ...], from_json: str | None, output: str, history: str | None, plot: str | None,
) -> None:  # fmt: skip
    """Measure NAT set-up, lookups, port search, rules and memory on NODE (default: the packaged k8s-worker)."""
    if fail_on and compare is None:
        raise click.UsageError("--fail-on needs --compare")
    if plot is not None and history is None:
        raise click.UsageError("--plot needs --history")
    for expression in fail_on:
        parsed(expression)
    before = load(Path(compare)) if compare is not None else None
    with Outputs() as outputs:
        figures, drawing = outputs.open("--json", json_path), open_plot(outputs, plot)
        kept = make_folder(history, "--history") if history is not None else None
        earlier = [load(p) for p in sorted(kept.glob("*.json"))] if kept else []
        if from_json is not None:
            doc = load(Path(from_json))
        else:
            loaded = Node.load(node, lenient=True) if node is not None else Node.example()
            with Terminal(stderr=True).status("measuring") as status:
                wanted = sizes or ("100k", "1m")
                doc = measure(loaded, iface, wanted, profile, lambda what: status.update(f"measuring: {what}"))
        if figures:
            figures.write_text(json.dumps(doc, indent=1) + "\n")
        if kept:
            run = outputs.open("--history", str(kept / f"{doc['date'].replace(':', '')}.json"))
            if run:
                run.write_text(json.dumps(doc) + "\n")
            if drawing:
                draw_history(sorted([*(e for e in earlier if e["date"] != doc["date"]), doc], key=by_date), drawing)
        found = changes(before, doc) if before else []
        broken = [e for e in fail_on if failing(e, found)]
    if broken:
        answer_no()
    click.echo(FORMS[output](doc, found, broken), nl=False)
    if broken:
        sys.exit(1)


def by_date(doc: dict[str, Any]) -> str:
    """Return the date of a run, as a key for sorting."""
    return str(doc["date"])


def rows_of(doc: dict[str, Any], found: list[Change]) -> list[list[str]]:
    """Return a row for each figure: name, value, its interval or ns, and what changed."""
    by_name = {c.name: c for c in found}
    rows = []
    for name, value in doc["counters"].items():
        rows.append([name, f"{value:,}", "exact", _said(by_name.get(name))])
    for name, t in doc["times"].items():
        spread = f"{t['low']:.1f} to {t['high']:.1f} R, {t['ns']:,.0f} ns"
        rows.append([name, f"{t['ratio']:.1f} R", spread, _said(by_name.get(name))])
    return rows


def _said(change: Change | None) -> str:
    if change is None:
        return ""
    if not change.sure:
        return "same" if change.before == change.after else f"{change.percent:+.1f} % (within noise)"
    return f"{change.percent:+.1f} % from {change.before:,.6g}"


def to_text(doc: dict[str, Any], found: list[Change], broken: list[str]) -> str:
    """Return a table; R is named below it."""
    file = StringIO()
    Terminal(file=file).table(("figure", "value", "95 % of the median", "change"), rows_of(doc, found), left=4)
    text = file.getvalue() + f"R = {doc['r_ns']:.1f} ns: one random cache line, 32 prefetched at a time.\n"
    return text + "".join(f"FAILED {plain(e)}\n" for e in broken)


def to_json(doc: dict[str, Any], found: list[Change], broken: list[str]) -> str:
    """Return the figures and changes as JSON."""
    listed = [{**vars(c), "percent": c.percent} for c in found]
    return json_text({**doc, "changes": listed, "failed": broken}, indent=1) + "\n"


def to_markdown(doc: dict[str, Any], found: list[Change], broken: list[str]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | value | 95 % of the median | change |", "| --- | ---: | --- | --- |"]
    lines += [f"| {' | '.join([markdown(name), *rest])} |" for name, *rest in rows_of(doc, found)]
    return "\n".join([*lines, "", *(f"**failed: {markdown(e)}**" for e in broken)]).rstrip() + "\n"


def to_junit(doc: dict[str, Any], found: list[Change], broken: list[str]) -> str:
    """Return a test case for each figure; one that an expression names fails."""
    cases = []
    for name, value, _, change in rows_of(doc, found):
        said = next((e for e in broken if e.startswith(name)), None)
        body = f"><failure message={attribute(f'{said}: {value} {change}')}/></testcase>" if said else "/>"
        cases.append(f'  <testcase classname="fastnat.bench" name={attribute(name)}{body}')
    head = f'<testsuite name="fastnat bench" tests="{len(cases)}" failures="{len(broken)}">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>"]) + "\n"


FORMS = {"text": to_text, "json": to_json, "md": to_markdown, "junit": to_junit}
