"""What the rows of a sweep say together: a row for each variant, over its seeds, and lines over the rate."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

from .chart import Line
from .outcome import words_of
from .variants import AS_IT_IS

SUMMARY = ("variant", "seeds", "first fails", "failed", "probes", "cause")
Row = dict[str, str]


def by_variant(rows: list[Row]) -> dict[str, list[Row]]:
    """Return the rows of each variant, as they are in the file."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["variant"] or AS_IT_IS, []).append(row)
    return found


def failed(row: Row) -> float:
    """Return the share of the flows of a run that failed."""
    return int(row["failed"]) / max(int(row["opened"]) + int(row["failed"]), 1)


def summary(rows: list[Row]) -> list[list[str]]:
    """Return a row of SUMMARY for each variant: means over its seeds, the cause of most of them."""
    table = []
    for name, of in sorted(by_variant(rows).items(), key=lambda pair: fmean(map(failed, pair[1]))):
        firsts = [int(r["first_failure"]) for r in of if r["first_failure"]]
        first = f"{fmean(firsts):,.0f}" if firsts else "never"
        cause = Counter(r["kind"] for r in of).most_common(1)[0][0]
        probes = fmean(float(r["probes_mean"]) for r in of)
        table.append([name, str(len(of)), first, f"{fmean(map(failed, of)):.2%}", f"{probes:.1f}", words_of(cause)])
    return table


def best(rows: list[Row]) -> list[str]:
    """Return in sentences which variants fail least and most."""
    table = summary(rows)
    if not table:
        return []
    least, most = table[0], table[-1]
    if least[3] == most[3]:
        return [f"In every variant {least[3]} of the flows fail."]
    return [f"{least[0]}: the fewest failures, {least[3]} of the flows. {most[0]}: the most, {most[3]}."]


def over_rate(rows: list[Row], figure: str) -> list[Line]:
    """Return a line over the rate for each other combination: the mean of first_failure_time [s], or failed as a share.

    No line where the rate is not varied; no point where nothing fails.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        factors = dict(word.split("=", 1) for word in row["variant"].split())
        rate = factors.pop("rate", None)
        value = failed(row) if figure == "failed" else float(row[figure] or "nan")
        if rate is not None:
            label = " ".join(f"{name}={value}" for name, value in factors.items()) or AS_IT_IS
            found.setdefault(label, {}).setdefault(float(rate), []).append(value)
    lines = []
    for label, points in found.items():
        means = [(rate, fmean(values)) for rate, values in sorted(points.items())]
        lines.append(Line(label, [(rate, mean) for rate, mean in means if mean == mean]))
    return lines
