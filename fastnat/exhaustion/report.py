"""One run, many reports: the versioned JSON of a run, and text made of it.

Sources: the metric names of node_exporter's conntrack collector; the JUnit XML that CI servers read; the Prometheus
text exposition format 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import InputError
from ..util.escapes import label, markdown, markup, plain
from ..util.files import parse_json, read_text
from ..util.text import shown
from .outcome import PORTS, Outcome, remedy, verdict
from .variants import Compared, ranked, words
from .workload import Workload

FORMAT = 1
LOADS = (60_000, 63_000, 64_000)
STATS = ("found", "invalid", "insert", "insert_failed", "drop", "early_drop", "search_restart")
# a share of failed flows above which JUnit calls a run failed
MAX_FAIL = 0.001
# characters of a variant's name: a text report pads all of them to the longest; the greatest number
MAX_LABEL, MAX_NUMBER = 4096, 1e18
EXPECTED = "what `fastnat exhaust --json` wrote"


def attribute(text: str) -> str:
    """Return text as the quoted value of an XML attribute."""
    return f'"{markup(text)}"'


def document(node: str, profile: str, work: Workload, results: list[Compared]) -> dict[str, Any]:
    """Return a run as the JSON that `fastnat report` reads."""
    baseline = results[0].outcomes[0]
    return {
        "format": FORMAT, "fastnat": __version__, "node": node, "profile": profile, "workload": asdict(work),
        "verdict": verdict(baseline), "remedy": remedy(baseline), "comparison": words(results),
        "runs": [_run(r.variant.label, dict(r.variant.factors), n, o) for r in ranked(results)
                 for n, o in enumerate(r.outcomes)],
    }  # fmt: skip


def _run(label: str, factors: dict[str, str], seed: int, o: Outcome) -> dict[str, Any]:
    derived = {
        "kind": o.kind, "verdict": verdict(o), "peak": o.peak, "steady_occupancy": o.steady_occupancy,
        "steady_fail": o.steady_fail, "probes_mean": o.probes_mean, "probes_p99": o.probes_p99,
        "probes_max": o.probes_max,
    }  # fmt: skip
    return {"variant": label, "factors": factors, "seed": seed, **derived, **asdict(o)}


def load(path: Path) -> dict[str, Any]:
    """Read a run; InputError when it is none, of a newer format, or holds what no run has."""
    doc: Any = parse_json(read_text(path), path, EXPECTED, infinity=True)
    if not isinstance(doc, dict) or not isinstance(doc.get("runs"), list) or not doc["runs"]:
        raise InputError(f"{path}: no run of fastnat; expected {EXPECTED}")
    if doc.get("format") != FORMAT:
        raise InputError(f"{path}: format {shown(doc.get('format'), 60)}; this fastnat reads {FORMAT}")
    try:
        _check(doc, DOCUMENT, "the file")
        _check(doc["workload"], WORKLOAD, "workload")
        for n, r in enumerate(doc["runs"], 1):
            where = f"run {n}"
            _check(r, RUN, where)
            r.setdefault("by_destination", [])
            if len(r["variant"]) > MAX_LABEL:
                raise ValueError(f"{where}: a variant of {len(r['variant']):,} characters; at most {MAX_LABEL:,}")
            if not r["rows"] or r["opened"] + r["failed"] == 0 or r["bound"] == 0 or r["max_connections"] == 0:
                raise ValueError(f"{where}: without rows, flows or ports")
            for row in r["rows"]:
                _check(row, ROW, f"a row of {where}")
            _check_destinations(r, where)
    except ValueError as error:
        raise InputError(f"{path}: {error}: the file is damaged") from None
    return doc


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _mean(value: Any) -> bool:
    # without end for some distributions
    return value == math.inf or _number(value)


def _count(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_text(value: Any) -> bool:
    # a lone surrogate cannot be printed
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_end(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_text(value[0]) and _count(value[1])


def _is_sample(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _number(value[0]) and _list_of(_count)(value[1])


def _is_stats(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


# what the reports read, and how it is told to be that
DOCUMENT = {
    "fastnat": _is_text, "node": _is_text, "profile": _is_text, "verdict": _is_text, "remedy": _is_text,
    "comparison": _list_of(_is_text), "workload": lambda value: isinstance(value, dict),
}  # fmt: skip
WORKLOAD = {
    "rate": _number, "stages": lambda value: isinstance(value, list), "destinations": _list_of(_is_end),
    "proto": _is_text,
}  # fmt: skip
RUN = {
    "variant": _is_text, "verdict": _is_text, "rows": lambda value: isinstance(value, list), "stats": _is_stats,
    "failed": _count, "opened": _count, "first_failure": _maybe(_count), "first_failure_time": _maybe(_number),
    "steady_occupancy": _number, "steady_fail": _number, "probes_mean": _number, "probes_p99": _count, "peak": _count,
    "max_connections": _count, "bound": _count, "expected": _mean,
}  # fmt: skip
ROW = {
    "sent": _count, "count": _count, "occupancy": _number, "fail": _number, "probes_per_conn": _number,
    "time": _number, "probes_p50": _count, "probes_p99": _count,
}  # fmt: skip


def _check(given: Any, shape: Mapping[str, Callable[[Any], bool]], where: str) -> None:
    """Raise ValueError for what is missing or of another kind."""
    if not isinstance(given, dict):
        raise ValueError(f"{where}: {shown(given, 60)} is no object")
    missing = shape.keys() - given.keys()
    if missing:
        raise ValueError(f"{where} without {', '.join(sorted(missing))}")
    for name, fits in shape.items():
        if not fits(given[name]):
            raise ValueError(f"{where}: {name} cannot be {shown(given[name], 60)}")


def _check_destinations(run: dict[str, Any], where: str) -> None:
    samples = run["by_destination"]
    if not _list_of(_is_sample)(samples) or len({len(each) for _, each in samples}) > 1:
        raise ValueError(f"{where}: by_destination cannot be {shown(samples, 60)}")
    if run["first_failure"] and run["first_failure_time"] is None:
        raise ValueError(f"{where}: a first failure without its time")


def first_seeds(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """Return of each variant its first run, in the order of the document."""
    first: dict[str, dict[str, Any]] = {}
    for r in doc["runs"]:
        first.setdefault(r["variant"], r)
    return list(first.values())


def fail_at(run: dict[str, Any], sent: int) -> str:
    """Return the share of failed flows around a load as text, "-" beyond the run."""
    row = next((r for r in run["rows"] if r["sent"] >= sent), None)
    return f"{row['fail']:.1%}" if row else "-"


def loads_of(run: dict[str, Any]) -> tuple[int, ...]:
    """Return three loads that say something about a run: around its port limit if it gets there."""
    if run["rows"][-1]["sent"] >= LOADS[-1] and run["bound"] <= PORTS:
        return LOADS
    last = int(run["rows"][-1]["sent"])
    return tuple(max(last * k // 4 // 1000 * 1000, 1) for k in (2, 3, 4))


def table(doc: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the comparison: one row a variant, first seeds."""
    runs = first_seeds(doc)
    timed = bool(doc["workload"]["rate"] or doc["workload"]["stages"])
    loads = loads_of(runs[0])
    header = ["variant", "first fails"]
    header += ["occupancy", "failing"] if timed else [f"at {n // 1000}k" if n >= 1000 else f"at {n}" for n in loads]
    header += ["failed", "probes", "p99", "table"]
    rows = []
    for r in runs:
        first = f"{r['first_failure']:,}" if r["first_failure"] else "never"
        if timed:
            if r["first_failure"]:
                first += f" ({r['first_failure_time']:.1f} s)"
            shares = [f"{r['steady_occupancy']:.1%}", f"{r['steady_fail']:.2%}"]
        else:
            shares = [fail_at(r, n) for n in loads]
        rest = [f"{r['failed']:,}", f"{r['probes_mean']:.1f}", str(r["probes_p99"]), f"{r['peak']:,}"]
        rows.append([r["variant"], first, *shares, *rest])
    return header, rows


def occupancy_line(run: dict[str, Any]) -> str:
    """Return how full the port spaces and the table got, beside what arithmetic gives."""
    fullest = max(r["occupancy"] for r in run["rows"])
    expected = f" by arithmetic {run['expected'] / run['bound']:.0%};" if run["expected"] else ""
    return (
        f"Occupancy: {fullest:.1%} of {run['bound']:,} ports (64,512 a NAT address and destination) at the most;"
        f"{expected} table {run['peak']:,} of {run['max_connections']:,}; "
        f"early drops {run['stats'].get('early_drop', 0):,}."
    )


def answer(doc: dict[str, Any]) -> list[str]:
    """Return the lines of the answer: that a run is incomplete, what happened, what helps."""
    said = (doc.get("incomplete", ""), doc["verdict"], doc["remedy"])
    return [plain(text) for text in said if text]


def to_text(doc: dict[str, Any]) -> str:
    """Return a run as plain text: the answer, the comparison, the occupancy."""
    header, rows = table(doc)
    rows = [[plain(c) for c in row] for row in rows]
    widths = [max(len(line[k]) for line in [header, *rows]) for k in range(len(header))]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in [header, *rows]
    ]
    said = [*answer(doc), "", *(line.rstrip() for line in lines), "", occupancy_line(doc["runs"][0])]
    return "\n".join([*said, *map(plain, doc["comparison"])]) + "\n"


def to_markdown(doc: dict[str, Any]) -> str:
    """Return a run as Markdown."""
    header, rows = table(doc)
    cells = [header, ["---", *["---:"] * (len(header) - 1)], *([markdown(row[0]), *row[1:]] for row in rows)]
    first, *others = [markdown(line) for line in answer(doc)] or [""]
    said = [f"**{first}**", ""]
    for line in others:
        said += [line, ""]
    said += [*(f"| {' | '.join(row)} |" for row in cells), ""]
    said += [markdown(occupancy_line(doc["runs"][0])), "", *(f"- {markdown(w)}" for w in doc["comparison"])]
    return "\n".join(said).rstrip() + "\n"


def to_junit(doc: dict[str, Any], max_fail: float = MAX_FAIL) -> str:
    """Return a run as JUnit XML: a variant fails when more than this share of its flows did."""
    cases, failures = [], 0
    for r in first_seeds(doc):
        share = r["failed"] / (r["opened"] + r["failed"])
        name = f"<testcase classname=\"fastnat.exhaust\" name={attribute(r['variant'])}"
        if share > max_fail:
            failures += 1
            why = f"{share:.3%} of the flows failed, {max_fail:.3%} may"
            cases.append(f"  {name}><failure message={attribute(why)}>{markup(r['verdict'])}</failure></testcase>")
        else:
            cases.append(f"  {name}/>")
    errors = 0
    if doc.get("incomplete"):
        # the variants that are there may pass; the run that was asked for did not
        errors = 1
        why = f"<error message={attribute(doc['incomplete'])}/>"
        cases.append(f'  <testcase classname="fastnat.exhaust" name="all runs">{why}</testcase>')
    head = f'<testsuite name="fastnat exhaust" tests="{len(cases)}" failures="{failures}" errors="{errors}">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>"]) + "\n"


def to_prometheus(doc: dict[str, Any]) -> str:
    """Return a run as Prometheus text, with node_exporter's names where it has them."""
    runs = first_seeds(doc)
    metrics: list[tuple[str, str, Any]] = [
        ("node_nf_conntrack_entries", "gauge", lambda r: r["rows"][-1]["count"]),
        ("node_nf_conntrack_entries_limit", "gauge", lambda r: r["max_connections"]),
        *(
            (f"node_nf_conntrack_stat_{name}", "gauge", lambda r, name=name: r["stats"].get(name, 0))
            for name in STATS
        ),
        ("fastnat_flows_failed_total", "counter", lambda r: r["failed"]),
        ("fastnat_flows_opened_total", "counter", lambda r: r["opened"]),
        ("fastnat_snat_port_occupancy_ratio", "gauge", lambda r: r["rows"][-1]["occupancy"]),
        ("fastnat_port_search_probes_mean", "gauge", lambda r: round(r["probes_mean"], 6)),
    ]  # fmt: skip
    lines = []
    for name, kind, value in metrics:
        lines.append(f"# TYPE {name} {kind}")
        lines += [f'{name}{{variant="{label(r["variant"])}"}} {value(r)}' for r in runs]
    if doc.get("incomplete"):
        lines += ["# TYPE fastnat_run_incomplete gauge", "fastnat_run_incomplete 1"]
    return "\n".join(lines) + "\n"
