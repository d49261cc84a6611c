"""Charts as SVG within a page: round ticks, lines that differ in dashes and markers too, values under the pointer.

Each chart is drawn twice, for a wide window and for a telephone; the page's style shows one of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..util.escapes import markup

# user units, which are pixels at the width that a drawing is made for
SIZES = (("broad", 960, 340, 8), ("narrow", 380, 300, 4))
# of a letter of the labels, at the most
LETTER = 9.5
TOP, BOTTOM = 34, 48
# points of a line; lines of a chart; markers on a line
MOST_POINTS, MOST_LINES, MARKERS = 300, 12, 6
COLOURS = 8
DASHES = ("", "9 4", "2 4", "12 4 2 4", "5 3")
# about 0, 0: circle, square, triangle, rhombus
MARKS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-3.5,-3.5h7v7h-7z", "M0,-5L4.5,3.5H-4.5z", "M0,-5L5,0L0,5L-5,0z",
)  # fmt: skip
# the least share that a logarithmic axis goes down to
LEAST_SHARE = 1e-6
TIMES = ((86_400, "days", 3 * 86_400), (3600, "hours", 3 * 3600), (60, "minutes", 300), (1, "seconds", 0))


@dataclass(frozen=True)
class Axis:
    """What an axis shows. kind: "number", "count" (whole), "share", "log share" (0 at its foot), "time" [s]."""

    title: str
    kind: str = "number"


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, 0..1, and its text."""

    at: float
    text: str


def step_of(high: float, parts: int) -> float:
    """Return 1, 2 or 5 times a power of ten, of which `parts` reach at least as far as high."""
    least = high / parts
    power = 10.0 ** math.floor(math.log10(least))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9))


def number(value: float) -> str:
    """Return a number as the label of a tick."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= (10 if unit == "k" else 1) * size:
            return f"{value / size:,.6g}{unit}"
    return f"{value:,.6g}"


def exactly(value: float, kind: str) -> str:
    """Return a value as it is shown under the pointer."""
    if "share" in kind:
        return "0%" if not value else f"{value:.1%}" if value >= 0.01 else f"{100 * value:.2g}%"
    said = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{said} s" if kind == "time" else said


class Scale:
    """An axis from 0 to its end; `up` rounds the end to a whole step."""

    def __init__(self, axis: Axis, values: Sequence[float], parts: int, up: bool) -> None:
        high = max([v for v in values if math.isfinite(v)], default=0.0)
        self.title, self.log = axis.title, axis.kind == "log share"
        if self.log:
            least = min([v for v in values if v >= LEAST_SHARE], default=0.001)
            self.floor = 10.0 ** math.floor(math.log10(least) + 1e-9)
            end = 10.0 ** math.ceil(math.log10(max(high, least)) - 1e-9)
            self.decades = max(round(math.log10(end / self.floor)), 1)
            marks = [self.floor * 10.0**n for n in range(self.decades + 1)]
            self.ticks = [Tick(0.0, "0"), *(Tick(self.at(v), f"{100 * v:.6g}%") for v in marks)]
            return
        unit, name = 1.0, ""
        if axis.kind == "time":
            unit, name = next((size, word) for size, word, least in TIMES if high >= least)
            self.title = f"{axis.title} [{name}]"
        high = high / unit or (0.01 if axis.kind == "share" else 1.0)
        step = step_of(high, parts)
        if axis.kind == "count":
            step = max(step, 1.0)
        self.end = (math.ceil(high / step - 1e-9) * step if up else high) * unit
        count = math.floor(self.end / unit / step + 1e-9)
        say = (lambda v: f"{100 * v:.6g}%") if axis.kind == "share" else number
        self.ticks = [Tick(self.at(n * step * unit), say(n * step)) for n in range(count + 1)]

    def at(self, value: float) -> float:
        """Return where a value stands, 0..1."""
        if not self.log:
            return min(max(value / self.end, 0.0), 1.0)
        if value < self.floor:
            return 0.0
        return min((math.log10(value / self.floor) + 1) / (self.decades + 1), 1.0)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points of a line, at most MOST_POINTS: of each part its lowest and its highest one."""
    if len(points) <= MOST_POINTS:
        return list(points)
    kept: set[int] = {0, len(points) - 1}
    parts = MOST_POINTS // 2 - 1
    for n in range(parts):
        part = range(n * len(points) // parts, (n + 1) * len(points) // parts)
        kept |= {min(part, key=lambda k: points[k][1]), max(part, key=lambda k: points[k][1])}
    return [points[k] for k in sorted(kept)]


def style_of(n: int) -> str:
    """Return how the line with this number is drawn, as attributes; the first one is the widest, below all others."""
    dashes = DASHES[n % len(DASHES)]
    return f'class="line c{n % COLOURS}" stroke-width="{2 if n else 4}"' + (
        f' stroke-dasharray="{dashes}"' if dashes else ""
    )


def marker(n: int, x: float, y: float) -> str:
    """Return a marker of the line with this number."""
    return f'<path class="mark c{n % COLOURS}" d="{MARKS[n % len(MARKS)]}" transform="translate({x:.1f},{y:.1f})"/>'


def figure(title: str, lines: Sequence[Line], x: Axis, y: Axis, note: str = "") -> str:
    """Return a chart with its title and its key; lines beyond MOST_LINES are left out, and that is said."""
    shown = [Line(line.name, thinned(line.points)) for line in lines[:MOST_LINES]]
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 36 12" aria-hidden="true"><path {style_of(n)} d="M0,6H36"/>'
        f"{marker(n, 18, 6)}</svg>{markup(line.name)}</li>"
        for n, line in enumerate(shown)
    )
    left = len(lines) - len(shown)
    said = [note, f"{left:,} more variants are in the table." if left else ""]
    below = " ".join(part for part in said if part)
    foot = f'<p class="note">{markup(below)}</p>' if below else ""
    drawings = "".join(drawing(*size, shown, x, y) for size in SIZES)
    names = markup(json.dumps([line.name for line in shown]))
    values = [[[exactly(a, x.kind), exactly(b, y.kind)] for a, b in line.points] for line in shown]
    return (
        f'<figure data-names="{names}" data-values="{markup(json.dumps(values))}" data-along="{markup(x.title)}">'
        f'<figcaption>{markup(title)}</figcaption><ul class="keys">{keys}</ul>'
        f'<div class="chart" role="img" aria-label="{markup(title)}">{drawings}<div class="tip" hidden></div></div>'
        f"{foot}</figure>\n"
    )


def drawing(
    name: str, width: int, height: int, parts: int, lines: Sequence[Line], x: Axis, y: Axis
) -> str:  # fmt: skip
    """Return one drawing of a chart."""
    across = Scale(x, [a for line in lines for a, _ in line.points], parts, up=False)
    up = Scale(y, [b for line in lines for _, b in line.points], 5, up=True)
    left = max(len(t.text) for t in up.ticks) * LETTER + 12
    right = max(len(across.ticks[-1].text) * LETTER / 2 + 4, 12)
    wide, high, foot = width - left - right, height - TOP - BOTTOM, height - BOTTOM
    parts_of = []
    for t in up.ticks:
        at = foot - t.at * high
        parts_of.append(f'<path class="grid" d="M{left:.1f},{at:.1f}H{width - right:.1f}"/>')
        parts_of.append(f'<text x="{left - 8:.1f}" y="{at + 4.5:.1f}" text-anchor="end">{t.text}</text>')
    for t in across.ticks:
        at = left + t.at * wide
        parts_of.append(f'<path class="grid" d="M{at:.1f},{foot}v5"/>')
        parts_of.append(f'<text x="{at:.1f}" y="{foot + 19}" text-anchor="middle">{t.text}</text>')
    parts_of.append(f'<text x="4" y="16">{markup(up.title)}</text>')
    middle = left + wide / 2
    parts_of.append(f'<text x="{middle:.1f}" y="{height - 8}" text-anchor="middle">{markup(across.title)}</text>')
    for n, line in enumerate(lines):
        points = [(left + across.at(a) * wide, foot - up.at(b) * high) for a, b in line.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts_of.append(f'<polyline {style_of(n)} points="{path}"/>')
        # not where those of other lines are
        step = max(len(points) // MARKERS, 1)
        parts_of += [marker(n, a, b) for a, b in points[min(n * step // 4, len(points) - 1) :: step]]
    parts_of.append(f'<path class="at" d="M0,{TOP}V{foot}" visibility="hidden"/>')
    return f'<svg class="{name}" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts_of)}</svg>'
