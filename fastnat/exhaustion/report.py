"""One run, many reports: plain text, Markdown, JUnit XML, Prometheus.

Sources: the metric names of node_exporter's conntrack collector; the JUnit XML that CI servers read; the Prometheus
text exposition format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Callable

from ..util.escapes import label, markdown, markup, plain
from ..util.text import number_of
from .document import Document
from .outcome import PORTS, Outcome, remedy, verdict, words_of

LOADS = (60_000, 63_000, 64_000)
STATS = ("found", "invalid", "insert", "insert_failed", "drop", "early_drop", "search_restart")
# a share of failed flows above which JUnit calls a run failed
MAX_FAIL = 0.001


def attribute(text: str) -> str:
    """Return text as the quoted value of an XML attribute."""
    return f'"{markup(text)}"'


def fail_at(o: Outcome, sent: int) -> str:
    """Return the share of failed flows around a load as text, "-" beyond the run."""
    share = o.fail_at(sent)
    return "-" if share is None else f"{share:.1%}"


def loads_of(o: Outcome) -> tuple[int, ...]:
    """Return at most three loads that say something about a run: around its port limit if it gets there."""
    last = o.rows[-1].sent
    if last >= LOADS[-1] and o.bound <= PORTS:
        return LOADS
    # a run of few flows has one row, or two
    return tuple(dict.fromkeys(max(last * k // 4 // 1000 * 1000, min(last, 1000)) for k in (2, 3, 4)))


def table(doc: Document) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the comparison: one row a variant in the order asked for, first seeds."""
    loads = loads_of(doc.firsts[0][1])
    header = ["variant", "first fails"]
    header += ["occupancy", "failing"] if doc.timed else [f"at {n // 1000}k" if n >= 1000 else f"at {n}" for n in loads]
    header += ["failed", "cause", "probes", "p99", "table"]
    rows = []
    for name, o in doc.firsts:
        first = f"{o.first_failure:,}" if o.first_failure else "never"
        if doc.timed:
            if o.first_failure:
                first += f" ({o.first_failure_time:.1f} s)"
            shares = [f"{o.steady_occupancy:.1%}", f"{o.steady_fail:.2%}"]
        else:
            shares = [fail_at(o, n) for n in loads]
        figures = (f"{o.probes_mean:.1f}", str(o.probes_p99), f"{o.peak:,}")
        rows.append([name, first, *shares, f"{o.failed:,}", words_of(o.kind), *figures])
    return header, rows


def occupancy_line(o: Outcome) -> str:
    """Return how full the fullest port space and the table got, beside what arithmetic gives."""
    table = f"table {o.peak:,} of {o.max_connections:,}; early drops {o.stats.get('early_drop', 0):,}."
    if o.fullest is None:
        return f"Occupancy: {table}"
    ports = number_of(o.window, "port")
    among = f", the fullest of {o.spaces:,} port spaces" if o.spaces > 1 else ""
    expected = f" by arithmetic {o.demand:.0%};" if o.demand else ""
    most = max(r.occupancy for r in o.rows)
    return f"Occupancy: at the most {most:.1%} of the {ports} of {o.fullest.name}{among};{expected} {table}"


def answer(doc: Document) -> list[str]:
    """Return the lines of the answer: that a run is incomplete, what happened, what helps."""
    said = (doc.incomplete, verdict(doc.baseline), remedy(doc.baseline))
    return [plain(text) for text in said if text]


def to_text(doc: Document) -> str:
    """Return a run as plain text: the answer, the comparison, the occupancy."""
    header, rows = table(doc)
    rows = [[plain(c) for c in row] for row in rows]
    widths = [max(len(line[k]) for line in [header, *rows]) for k in range(len(header))]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in [header, *rows]
    ]
    said = [*answer(doc), "", *(line.rstrip() for line in lines), "", plain(occupancy_line(doc.firsts[0][1]))]
    return "\n".join([*said, *map(plain, doc.comparison)]) + "\n"


def to_markdown(doc: Document) -> str:
    """Return a run as Markdown."""
    header, rows = table(doc)
    # names and causes are words of the file; a figure is none
    texts = (0, header.index("cause"))
    escaped = [[markdown(c) if k in texts else c for k, c in enumerate(row)] for row in rows]
    cells = [header, ["---", *["---:"] * (len(header) - 1)], *escaped]
    first, *others = [markdown(line) for line in answer(doc)] or [""]
    said = [f"**{first}**", ""]
    for line in others:
        said += [line, ""]
    said += [*(f"| {' | '.join(row)} |" for row in cells), ""]
    said += [markdown(occupancy_line(doc.firsts[0][1])), "", *(f"- {markdown(w)}" for w in doc.comparison)]
    return "\n".join(said).rstrip() + "\n"


def to_junit(doc: Document, max_fail: float = MAX_FAIL) -> str:
    """Return a run as JUnit XML: a variant fails when more than this share of its flows did."""
    cases, failures = [], 0
    for variant, o in doc.firsts:
        share = o.failed / (o.opened + o.failed)
        name = f'<testcase classname="fastnat.exhaust" name={attribute(variant)}'
        if share > max_fail:
            failures += 1
            why = f"{share:.3%} of the flows failed, {max_fail:.3%} may"
            cases.append(f"  {name}><failure message={attribute(why)}>{markup(verdict(o))}</failure></testcase>")
        else:
            cases.append(f"  {name}/>")
    errors = 0
    if doc.incomplete:
        # the variants that are there may pass; the run that was asked for did not
        errors = 1
        why = f"<error message={attribute(doc.incomplete)}/>"
        cases.append(f'  <testcase classname="fastnat.exhaust" name="all runs">{why}</testcase>')
    head = f'<testsuite name="fastnat exhaust" tests="{len(cases)}" failures="{failures}" errors="{errors}">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>"]) + "\n"


def to_prometheus(doc: Document) -> str:
    """Return a run as Prometheus text, with node_exporter's names where it has them."""
    metrics: list[tuple[str, str, Callable[[Outcome], float]]] = [
        ("node_nf_conntrack_entries", "gauge", lambda o: o.rows[-1].count),
        ("node_nf_conntrack_entries_limit", "gauge", lambda o: o.max_connections),
        *(
            (f"node_nf_conntrack_stat_{name}", "gauge", lambda o, name=name: o.stats.get(name, 0))
            for name in STATS
        ),
        ("fastnat_flows_failed_total", "counter", lambda o: o.failed),
        ("fastnat_flows_opened_total", "counter", lambda o: o.opened),
        ("fastnat_snat_port_occupancy_ratio", "gauge", lambda o: o.rows[-1].occupancy),
        ("fastnat_port_search_probes_mean", "gauge", lambda o: round(o.probes_mean, 6)),
    ]  # fmt: skip
    lines = []
    for name, kind, value in metrics:
        lines.append(f"# TYPE {name} {kind}")
        lines += [f'{name}{{variant="{label(variant)}"}} {value(o)}' for variant, o in doc.firsts]
    if doc.incomplete:
        lines += ["# TYPE fastnat_run_incomplete gauge", "fastnat_run_incomplete 1"]
    return "\n".join(lines) + "\n"
