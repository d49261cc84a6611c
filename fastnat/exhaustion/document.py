"""What a run of the laboratory found, as one type: of a run that has just ended, and of its JSON read back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import InputError
from ..util.files import parse_json, read_text
from ..util.text import shown
from .factors import text_of
from .lifetimes import is_linger
from .outcome import Outcome, Row, remedy, verdict
from .spaces import Space
from .variants import Compared, Variant, remedies, words
from .workload import Workload

FORMAT = 1
# characters of a variant's name: a text report pads all of them to the longest; the greatest number
MAX_LABEL, MAX_NUMBER = 4096, 1e18
EXPECTED = "what `fastnat exhaust --json` wrote"
# figures of an outcome that its rows and counts give, for readers of the JSON
DERIVED = ("kind", "peak", "steady_occupancy", "steady_fail", "probes_mean", "probes_p99", "probes_max")


@dataclass(frozen=True)
class Document:
    """A question and its answer: node (a name), profile, workload, and the results, the baseline first.

    version: of the fastnat that ran it. date: when, in UTC, "" where that is not known. incomplete: a sentence where
    Ctrl-C came, else "". notes: sentences about what was asked, such as a factor that can change nothing. seed: of the
    first run of each variant; the others count on from it.
    """

    node: str
    profile: str
    work: Workload
    results: list[Compared]
    incomplete: str = ""
    version: str = __version__
    notes: tuple[str, ...] = ()
    date: str = ""
    seed: int = 0

    @property
    def baseline(self) -> Outcome:
        """What the first seed gave without changes."""
        return self.results[0].outcomes[0]

    @property
    def timed(self) -> bool:
        """Whether flows came at a rate, not all at once."""
        return bool(self.work.rate or self.work.stages)

    @property
    def firsts(self) -> list[tuple[str, Outcome]]:
        """Of each variant its name and the outcome of its first seed, in the order in which they were asked for."""
        return [(r.variant.label, r.outcomes[0]) for r in self.results]

    @property
    def comparison(self) -> list[str]:
        """A sentence for each variant but the baseline, the best change first; then what helps, and what was idle."""
        return [*words(self.results), *remedies(self.results), *self.notes]

    def to_json(self) -> dict[str, Any]:
        """Return what `load` reads, for json.dumps."""
        made = {
            "format": FORMAT, "fastnat": self.version, "date": self.date, "node": self.node, "profile": self.profile,
            "workload": asdict(self.work), "verdict": verdict(self.baseline), "remedy": remedy(self.baseline),
            "comparison": self.comparison,
            "notes": list(self.notes),
            "runs": [_run(r.variant, n, o) for r in self.results for n, o in enumerate(r.outcomes, self.seed)],
        }  # fmt: skip
        return {**made, "incomplete": self.incomplete} if self.incomplete else made


def _run(variant: Variant, seed: int, o: Outcome) -> dict[str, Any]:
    factors = {name: text_of(value) for name, value in variant.factors}
    derived = {name: getattr(o, name) for name in DERIVED}
    return {"variant": variant.label, "factors": factors, "seed": seed, "verdict": verdict(o), **derived, **asdict(o)}


def load(path: Path) -> Document:
    """Read a document; InputError when the file is none, of a newer format, or holds what no run has."""
    doc: Any = parse_json(read_text(path), path, EXPECTED, infinity=True)
    if not isinstance(doc, dict) or not isinstance(doc.get("runs"), list) or not doc["runs"]:
        raise InputError(f"{path}: no run of fastnat; expected {EXPECTED}")
    if doc.get("format") != FORMAT:
        raise InputError(f"{path}: format {shown(doc.get('format'), 60)}; this fastnat reads {FORMAT}")
    try:
        _check(doc, DOCUMENT, "the file")
        _check(doc["workload"], WORKLOAD, "workload")
        _check({**WORKLOAD_DEFAULTS, **doc["workload"]}, WORKLOAD_LATER, "workload")
        _check({"date": "", **doc}, {"date": _is_text}, "the file")
        results: dict[str, Compared] = {}
        for n, given in enumerate(doc["runs"], 1):
            name, outcome = _loaded(given, f"run {n}")
            results.setdefault(name, Compared(Variant((), name), [])).outcomes.append(outcome)
        incomplete = doc.get("incomplete", "")
        if not _is_text(incomplete):
            raise ValueError(f"incomplete cannot be {shown(incomplete, 60)}")
        seed = doc["runs"][0].get("seed", 0)
        if not isinstance(seed, int) or not 0 <= seed < 1 << 64:
            raise ValueError(f"run 1: seed cannot be {shown(seed, 60)}")
        notes = doc.get("notes", [])
        if not _list_of(_is_text)(notes):
            raise ValueError(f"notes cannot be {shown(notes, 60)}")
    except ValueError as error:
        raise InputError(f"{path}: {error}: the file is damaged") from None
    work = _workload(doc["workload"])
    runs = list(results.values())
    return Document(
        doc["node"],
        doc["profile"],
        work,
        runs,
        incomplete,
        doc["fastnat"],
        tuple(notes),
        doc.get("date", ""),
        seed,
    )


def _loaded(given: Any, where: str) -> tuple[str, Outcome]:
    """Return the variant's name and the outcome of a run in JSON; ValueError says what is wrong with it."""
    _check(given, RUN, where)
    name: str = given["variant"]
    if len(name) > MAX_LABEL:
        raise ValueError(f"{where}: a variant of {len(name):,} characters; at most {MAX_LABEL:,}")
    if not given["rows"] or given["opened"] + given["failed"] == 0 or given["bound"] == 0:
        raise ValueError(f"{where}: without rows, flows or ports")
    if given["max_connections"] == 0:
        raise ValueError(f"{where}: without a table")
    if given["failed"] and (given["first_failure"] is None or given["first_failure_time"] is None):
        raise ValueError(f"{where}: failed flows without the first of them")
    samples = given.get("by_destination", [])
    if not _list_of(_is_sample)(samples) or len({len(each) for _, each in samples}) > 1:
        raise ValueError(f"{where}: by_destination cannot be {shown(samples, 60)}")
    rows = []
    for row in given["rows"]:
        _check(row, ROW, f"a row of {where}")
        rows.append(Row(**{f: row[f] for f in ROW}))
    _check({**LATER_DEFAULTS, **given}, LATER, where)
    members = {f.name: given[f.name] for f in fields(Outcome) if f.name in RUN or (f.name in LATER and f.name in given)}
    if given.get("fullest"):
        members["fullest"] = Space(**{f.name: given["fullest"][f.name] for f in fields(Space)})
    if "ran_out" in given:
        members["ran_out"] = [Space(**{f.name: space[f.name] for f in fields(Space)}) for space in given["ran_out"]]
    return name, Outcome(**{**members, "rows": rows, "by_destination": [(t, each) for t, each in samples]})


def _workload(given: dict[str, Any]) -> Workload:
    """Return the workload of a document as far as reports tell of it."""
    ends = tuple((str(a), int(p)) for a, p in given["destinations"])
    stages = tuple((float(t), float(a), float(b)) for t, a, b in given["stages"])
    said = {name: given[name] for name in WORKLOAD_LATER if name in given}
    return Workload(ends, given["proto"], rate=float(given["rate"]), stages=stages, **said)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _mean(value: object) -> bool:
    # without end for some distributions
    return value == math.inf or _number(value)


def _count(value: object) -> bool:
    return _number(value) and isinstance(value, int)


def _maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_text(value: object) -> bool:
    # a lone surrogate cannot be printed
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_end(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_text(value[0]) and _count(value[1])


def _is_sample(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and _number(value[0]) and _list_of(_count)(value[1])


def _is_space(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(_is_text(value.get(name)) for name in ("address", "proto", "dst"))
        and all(_count(value.get(name)) for name in ("dport", "zone", "used", "failed"))
    )


def _is_stage(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_number, value))


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_count, value.values()))


# what is read, and how it is told to be that
DOCUMENT = {
    "fastnat": _is_text, "node": _is_text, "profile": _is_text, "workload": lambda value: isinstance(value, dict),
}  # fmt: skip
WORKLOAD = {
    "rate": _number, "stages": _list_of(_is_stage), "destinations": _list_of(_is_end), "proto": _is_text,
}  # fmt: skip
# what the question in words tells beside these
WORKLOAD_LATER = {
    "flows": _count, "clients": _count, "poisson": _is_flag, "replies": _is_flag, "close": _is_text, "iface": _is_text,
    "hold": _maybe(lambda value: _number(value) or _is_text(value)),
    "sport": _maybe(lambda value: _count(value) or _is_text(value)),
}  # fmt: skip
WORKLOAD_DEFAULTS = {f.name: f.default for f in fields(Workload) if f.name in WORKLOAD_LATER}
RUN = {
    "variant": _is_text, "rows": lambda value: isinstance(value, list), "stats": _is_counts, "reasons": _is_counts,
    "failed": _count, "opened": _count, "first_failure": _maybe(_count), "first_failure_time": _maybe(_number),
    "one_in_thousand": _maybe(_count), "translated": _count, "races": _count, "addresses": _count,
    "probes": _list_of(_count), "max_connections": _count, "bound": _count, "expected": _mean,
}  # fmt: skip
# figures that files of before do not have
LATER: dict[str, Callable[[Any], bool]] = {
    "window": lambda value: _count(value) and value > 0, "spaces": _count, "fullest": _maybe(_is_space),
    "ran_out": _list_of(_is_space), "demand": _mean, "untracked": _count, "lingers": is_linger,
}  # fmt: skip
LATER_DEFAULTS: dict[str, Any] = {
    "window": 1, "spaces": 0, "fullest": None, "ran_out": [], "demand": 0, "lingers": "", "untracked": 0,
}  # fmt: skip
ROW = {
    "sent": _count, "count": _count, "occupancy": _number, "fail": _number, "probes_per_conn": _number,
    "ns_per_conn": _number, "time": _number, "probes_p50": _count, "probes_p99": _count,
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
