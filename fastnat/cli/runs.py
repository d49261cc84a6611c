"""A run of the laboratory in every form, for the commands that have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exhaustion import COLUMNS, report
from ..exhaustion.document import Document
from ..exhaustion.html import to_html
from ..exhaustion.outcome import Outcome, remedy, verdict
from ..exhaustion.variants import Compared
from .forms import Answer, Paper


def run_answer(
    doc: Document, curves: list[Compared], max_fail: float = report.MAX_FAIL, text: Callable[[], str] | None = None
) -> Answer:
    """Return a run in every form; curves: whose rows csv holds; text: another form for people than `show`."""
    more = {
        "md": lambda: report.to_markdown(doc), "html": lambda: to_html(doc),
        "junit": lambda: report.to_junit(doc, max_fail), "prometheus": lambda: report.to_prometheus(doc),
    }  # fmt: skip
    header, rows = run_rows(curves)
    if text:
        more["text"] = text
    return Answer(lambda paper: show(paper, doc), doc.to_json, header, lambda: rows, more)


def run_rows(results: list[Compared]) -> tuple[list[str], list[list[Any]]]:
    """Return header and a row per 1000 flows; several variants are told apart by a last column."""
    several = len(results) > 1
    rows: list[list[Any]] = []
    for result in results:
        name = [result.variant.label] if several else []
        for r in result.outcomes[0].rows:
            # bare numbers, but with as many digits as mean something
            shares = (f"{r.occupancy:.5f}", f"{r.fail:.5f}", f"{r.probes_per_conn:.2f}", f"{r.ns_per_conn:.1f}")
            rows.append([r.sent, r.count, *shares, *name])
    return [*COLUMNS, *(["variant"] if several else [])], rows


def show(console: Paper, doc: Document) -> None:
    """Write the curve of a single run, or the comparison of several, and the answer."""
    baseline = doc.baseline
    if len(doc.results) == 1:
        show_curve(console, baseline)
    if doc.incomplete:
        console.say(doc.incomplete)
    console.say(verdict(baseline))
    if baseline.one_in_thousand:
        console.say(f"Pain (1 flow in 1000 fails) starts within the first {baseline.one_in_thousand:,} flows.")
    if remedy(baseline):
        console.say(remedy(baseline))
    if len(doc.results) > 1:
        header, rows = report.table(doc)
        console.table(header, rows)
    console.say(report.occupancy_line(doc.firsts[0][1]))
    for line in doc.comparison:
        console.say(line)


def show_curve(console: Paper, outcome: Outcome) -> None:
    """Write the rows where something happens."""
    rows = []
    last = len(outcome.rows) - 1
    step = max(last // 24, 1) if last > 100 else 10
    for i, r in enumerate(outcome.rows):
        if i == last or (i + 1) % step == 0 or (last <= 100 and 0 < r.fail < 1):
            rows.append([
                f"{r.sent:,}", f"{r.count:,}", f"{r.occupancy:.1%}", f"{r.fail:.1%}", f"{r.probes_per_conn:.1f}"
            ])  # fmt: skip
    console.table(("flows", "connections", "occupancy", "failed", "probes"), rows, left=0)
