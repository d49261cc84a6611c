"""The frame of a report: one HTML file that needs nothing else; style for screens, telephones, the dark and paper."""

from __future__ import annotations

from collections.abc import Sequence

from .._version import __version__
from ..util.escapes import markup
from .glossary import WORDS, meaning

LIGHT = (
    "--back:#fff;--ink:#1c2330;--soft:#566072;--rule:#dde2ea;--card:#f4f6f9;--lead:#0b57a4;"
    "--c0:#0b57a4;--c1:#c2410c;--c2:#15803d;--c3:#86198f;--c4:#a16207;--c5:#0e7490;--c6:#be123c;--c7:#475569"
)
DARK = (
    "--back:#12161d;--ink:#e6eaf0;--soft:#a3adbd;--rule:#333c4a;--card:#1c222c;--lead:#6cb2ff;"
    "--c0:#6cb2ff;--c1:#fb923c;--c2:#4ade80;--c3:#e879f9;--c4:#facc15;--c5:#22d3ee;--c6:#fb7185;--c7:#cbd5e1"
)
STYLE = f"""
:root{{color-scheme:light dark;{LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}
*{{box-sizing:border-box}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1.5rem 1rem 3rem;
 color:var(--ink);background:var(--back);overflow-wrap:anywhere}}
h1{{font-size:1.7rem;line-height:1.25;margin:0 0 .5rem}}h2{{font-size:1.2rem;margin:2.2rem 0 .5rem}}
p{{margin:.4rem 0}}.question,.note,footer{{color:var(--soft)}}a{{color:var(--lead)}}
.answer{{font-size:1.15rem;border-left:.3rem solid var(--lead);background:var(--card);padding:.6rem 1rem;margin:1rem 0}}
.tiles{{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0;padding:0;list-style:none}}
.tiles li{{flex:1 1 10rem;background:var(--card);border-radius:.4rem;padding:.6rem .9rem;color:var(--soft)}}
.tiles strong{{display:block;font-size:1.35rem;color:var(--ink)}}
.scroll{{overflow-x:auto}}.scroll:focus-visible{{outline:2px solid var(--lead)}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums;overflow-wrap:normal}}
th,td{{padding:.35rem .7rem;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}}
th{{border-bottom-width:2px;font-weight:600}}th[title]{{text-decoration:underline dotted;cursor:help}}
tr>.text{{text-align:left}}
tr>:first-child{{position:sticky;left:0;background:var(--back);max-width:24rem;white-space:normal;overflow-wrap:anywhere;
 min-width:9rem}}
figure{{margin:2rem 0}}figcaption{{font-weight:600;font-size:1.1rem}}
.chart{{position:relative}}.chart svg{{width:100%;height:auto;display:block}}.chart .narrow{{display:none}}
svg text{{font:13px system-ui,sans-serif;fill:var(--soft)}}
.grid{{stroke:var(--rule);fill:none}}.at{{stroke:var(--ink);stroke-width:1}}.line{{fill:none;stroke-linejoin:round}}
.mark{{stroke:var(--back);stroke-width:1}}
{"".join(f".line.c{n}{{stroke:var(--c{n})}}.mark.c{n}{{fill:var(--c{n})}}" for n in range(8))}
.keys{{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:.3rem 0}}
.keys li{{display:flex;align-items:center;gap:.5rem}}.key{{width:36px;height:12px;flex:none}}
.tip{{position:absolute;top:0;pointer-events:none;background:var(--card);border:1px solid var(--rule);
 padding:.3rem .6rem;font-size:.85rem;max-width:60%;white-space:pre-line;border-radius:.3rem}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:0}}dt{{font-weight:600}}dd{{margin:0}}
@media (max-width:640px){{.chart .broad{{display:none}}.chart .narrow{{display:block}}dl{{display:block}}
 dd{{margin:0 0 .6rem}} h1{{font-size:1.35rem}}tr>:first-child{{max-width:9rem}}}}
@media print{{:root{{color-scheme:light;{LIGHT}}}body{{max-width:none;padding:0;font-size:10pt}}.tip{{display:none}}
 .chart .broad{{display:block}}.chart .narrow{{display:none}}.scroll{{overflow:visible}}
 th,td{{white-space:normal;padding:.2rem .35rem;font-size:8.5pt}}th[title]{{text-decoration:none}}
 figure,tr,.answer,.tiles,dd{{break-inside:avoid}}h2,dt,figcaption{{break-after:avoid}}
 .answer,.tiles li{{border:1px solid var(--rule)}}dl{{display:grid}}}}
"""
# shows the values of the points that are nearest to the pointer, beside a line across the chart
SCRIPT = """
for (const figure of document.querySelectorAll('figure[data-values]')) {
  const chart = figure.querySelector('.chart'), tip = figure.querySelector('.tip');
  const names = JSON.parse(figure.dataset.names), values = JSON.parse(figure.dataset.values);
  const show = event => {
    const svg = [...chart.querySelectorAll('svg')].find(s => s.getBoundingClientRect().width);
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const near = [...svg.querySelectorAll('polyline')].map(line => {
      const points = [...line.points];
      return points.reduce((a, p, k) => Math.abs(p.x - x) < Math.abs(points[a].x - x) ? k : a, 0);
    });
    const first = svg.querySelector('polyline').points[near[0]], at = svg.querySelector('.at');
    at.setAttribute('transform', `translate(${first.x},0)`);
    at.setAttribute('visibility', 'visible');
    tip.textContent = [`${figure.dataset.along}: ${values[0][near[0]][0]}`,
      ...near.map((k, n) => `${names[n]}: ${values[n][k][1]}`)].join('\\n');
    tip.hidden = false;
    const left = first.x / svg.viewBox.baseVal.width * box.width, room = box.width - tip.offsetWidth;
    tip.style.left = `${left > box.width / 2 ? Math.max(left - tip.offsetWidth - 10, 0) : Math.min(left + 10, room)}px`;
  };
  chart.addEventListener('pointermove', show);
  chart.addEventListener('pointerdown', show);
  chart.addEventListener('pointerleave', () => {
    tip.hidden = true;
    for (const at of chart.querySelectorAll('.at')) at.setAttribute('visibility', 'hidden');
  });
}
"""


def page(
    title: str, question: str, answer: Sequence[str], parts: Sequence[str], words: Sequence[str], version: str = ""
) -> str:
    """Return a page: the question and its answer, then parts that are HTML already, then what the words mean."""
    said = "".join(f"<p>{markup(line)}</p>" for line in answer)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{markup(title)}</title><style>{STYLE}</style></head><body>
<h1>{markup(title)}</h1>
<p class="question">{markup(question)}</p>
<div class="answer">{said}</div>
{"".join(parts)}
<section><h2>What the words mean</h2>
<dl>{"".join(f"<dt>{markup(word)}</dt><dd>{markup(WORDS[word])}</dd>" for word in words)}</dl></section>
<footer><p>fastnat {markup(version or __version__)}: the decisions of the Linux kernel, simulated.</p></footer>
<script>{SCRIPT}</script></body></html>
"""


def section(title: str, *parts: str) -> str:
    """Return parts under a heading, nothing if there are none."""
    inner = "".join(parts)
    return f"<section><h2>{markup(title)}</h2>{inner}</section>\n" if inner else ""


def tiles(figures: Sequence[tuple[str, str]]) -> str:
    """Return the few figures that matter most: pairs of a figure and what it is."""
    return (
        f'<ul class="tiles">{"".join(f"<li><strong>{markup(a)}</strong>{markup(b)}</li>" for a, b in figures)}</ul>\n'
    )


def paragraph(text: str) -> str:
    """Return a sentence that stands alone."""
    return f"<p>{markup(text)}</p>\n"


def sentences(lines: Sequence[str]) -> str:
    """Return sentences as a list, nothing if there are none."""
    return f"<ul>{''.join(f'<li>{markup(line)}</li>' for line in lines)}</ul>\n" if lines else ""


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = (0,)) -> str:
    """Return a table that scrolls within itself where it is too wide; texts: columns that are no numbers."""

    def row(kind: str, cells: Sequence[str]) -> str:
        said = []
        for k, text in enumerate(cells):
            more = ' class="text"' if k in texts else ""
            if kind == "th" and meaning(text):
                more += f' title="{markup(meaning(text))}"'
            said.append(f"<{kind}{more}>{markup(text)}</{kind}>")
        return f"<tr>{''.join(said)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{markup(title)}"><table><thead>{row("th", header)}'
        f"</thead><tbody>{body}</tbody></table></div>\n"
    )
