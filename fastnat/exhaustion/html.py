"""A run as one HTML file that needs nothing else: the answer in words, the comparison, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Callable

from ..addresses import end_text
from ..util.escapes import markup
from .document import Document
from .outcome import Outcome, Row
from .report import answer, occupancy_line, table

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8a5a9e", "#b8860b", "#4a4e69", "#008080", "#a0522d")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 300, 56, 40, 12

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:1rem auto;padding:0 1rem;color:#222;background:#fff}
.answer{font-size:1.15rem;border-left:.3rem solid #1b6ca8;padding:.2rem .8rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
svg{width:100%;height:auto;max-width:40rem;display:block}
svg text{font:11px system-ui,sans-serif;fill:#444}
figure{margin:1.5rem 0}figcaption{font-weight:600}
.key{display:inline-block;margin-right:1rem}
"""
# reads the value under the pointer out of the points that each line carries
SCRIPT = """
for (const svg of document.querySelectorAll('svg')) {
  const out = svg.parentNode.querySelector('output');
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    out.textContent = [...svg.querySelectorAll('polyline')].map(line => {
      const points = JSON.parse(line.dataset.points);
      const best = points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
      return line.dataset.name + ': ' + best[1];
    }).join('   ');
  });
}
"""


def to_html(doc: Document) -> str:
    """Return a run as a self-contained page."""
    header, rows = table(doc)
    head = "".join(f"<th>{markup(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{markup(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    along = "time" if doc.timed else "sent"
    unit = "seconds" if doc.timed else "flows opened"
    figures = [
        plot("Share of new flows that fail", unit, doc.firsts, along, lambda r: r.fail, percent=True),
        plot("Occupancy of the fullest port space", unit, doc.firsts, along, lambda r: r.occupancy, percent=True),
        plot("Probes of the port search per flow", unit, doc.firsts, along, lambda r: r.probes_per_conn),
    ]
    said = "".join(f"<li>{markup(w)}</li>" for w in doc.comparison)
    destinations = ", ".join(end_text(*end) for end in doc.work.destinations[:3])
    what = f"{doc.work.proto} to {destinations}; node {doc.node}; {doc.profile}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>SNAT port exhaustion</title><style>{STYLE}</style></head><body>
<h1>SNAT port exhaustion</h1>
<p class="answer">{markup(" ".join(answer(doc)))}</p>
<p>{markup(occupancy_line(doc.firsts[0][1]))}</p>
<ul>{said}</ul>
<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
{"".join(figures)}
<p><small>{markup(what)}; fastnat {markup(doc.version)}</small></p>
<script>{SCRIPT}</script></body></html>
"""


def plot(
    title: str, unit: str, runs: list[tuple[str, Outcome]], along: str, of: Callable[[Row], float],
    percent: bool = False,
) -> str:  # fmt: skip
    """Return a figure with one line a run."""
    furthest = max(max(getattr(r, along) for r in o.rows) for _, o in runs) or 1
    highest = max(max(of(r) for r in o.rows) for _, o in runs) or (0.01 if percent else 1)
    across, up = (WIDTH - LEFT - 8) / furthest, (HEIGHT - BOTTOM - TOP) / highest

    def said(value: float) -> str:
        return f"{value:.1%}" if percent else f"{value:,.4g}"

    lines, keys = [], []
    for (variant, o), colour in zip(runs, COLOURS * (len(runs) // len(COLOURS) + 1), strict=False):
        rows = [(getattr(r, along), of(r)) for r in o.rows]
        points = [(round(LEFT + x * across, 1), round(HEIGHT - BOTTOM - y * up, 1), y) for x, y in rows]
        data = markup("[" + ",".join(f'[{x},"{said(v)}"]' for x, _, v in points) + "]")
        name = markup(variant)
        path = " ".join(f"{x},{y}" for x, y, _ in points)
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" data-name="{name}" data-points="{data}" '
            f'points="{path}"/>'
        )
        keys.append(f'<span class="key"><span style="color:{colour}">&#9632;</span> {name}</span>')
    marks = []
    for part in range(5):
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * part / 4
        x = LEFT + (WIDTH - LEFT - 8) * part / 4
        marks.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y}" y2="{y}" stroke="#e5e5e5"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{said(highest * part / 4)}</text>')
        # the last one would stand out of the picture
        anchor = "middle" if part < 4 else "end"
        said_x = f"{furthest * part / 4:,.0f}"
        marks.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{said_x}</text>')
    marks.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{unit}</text>')
    return (
        f'<figure><figcaption>{markup(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{markup(title)}">{"".join(marks)}{"".join(lines)}</svg>'
        f"<div>{''.join(keys)}</div><output></output></figure>\n"
    )
