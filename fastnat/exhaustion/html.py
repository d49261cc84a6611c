"""Pages of runs, plans and sweeps: the question, the answer, the figures, charts, and what the words mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import glossary
from .chart import Axis, Line, figure
from .document import Document
from .outcome import Row
from .page import page, paragraph, section, sentences, table, tiles
from .question import question
from .report import answer, occupancy_line
from .report import table as comparison

AGAINST = Axis("flows opened")
TIME = Axis("time", "time")
LOGARITHMIC = "The scale is logarithmic: each line is ten times the one below it; 0 stands at the foot."


def to_html(doc: Document) -> str:
    """Return a run as a self-contained page."""
    header, rows = comparison(doc)
    texts = (0, header.index("cause"))
    return page(
        "When do the SNAT ports run out?", question(doc.work, doc.node, doc.profile, doc.date), answer(doc),
        [
            tiles(run_figures(doc)),
            section("What changes it", table("The variants", header, rows, texts), sentences(doc.comparison)),
            section("How it comes about", *run_charts(doc), paragraph(occupancy_line(doc.baseline))),
        ],
        glossary.OF_RUN, doc.version,
    )  # fmt: skip


def run_figures(doc: Document) -> list[tuple[str, str]]:
    """Return what matters most of a run's baseline."""
    o = doc.baseline
    flows = o.opened + o.failed
    first = f"flow {o.first_failure:,}" if o.first_failure else "never"
    if o.first_failure and doc.timed:
        first = f"{o.first_failure_time:,.0f} s"
    return [
        (f"{o.failed / flows:.2%}", f"of {flows:,} flows fail"), (first, "first failure"),
        (f"{max(r.occupancy for r in o.rows):.1%}", "of the fullest port space in use, at the most"),
        (f"{o.peak:,}", f"entries at the most, of {o.max_connections:,} in the table"),
    ]  # fmt: skip


def run_charts(doc: Document) -> list[str]:
    """Return the charts of a run; none of failures where there are none."""
    along = TIME if doc.timed else AGAINST

    def lines(of: Callable[[Row], float]) -> list[Line]:
        return [Line(name, [(r.time if doc.timed else r.sent, of(r)) for r in o.rows]) for name, o in doc.firsts]

    fails = ""
    if any(r.fail for _, o in doc.firsts for r in o.rows):
        axis = Axis("share of new flows that fail", "log share")
        fails = figure("New flows that fail", lines(lambda r: r.fail), along, axis, LOGARITHMIC)
    return [
        fails,
        figure(
            "Ports in use", lines(lambda r: r.occupancy), along, Axis("share of the fullest port space", "share")
        ),
        figure("What the port search takes", lines(lambda r: r.probes_per_conn), along, Axis("ports tried for a flow")),
    ]  # fmt: skip


def plan_page(asked: str, said: Sequence[str], figures: Mapping[str, Any], points: Sequence[tuple[float, int]]) -> str:
    """Return a plan as a self-contained page; points: (flows a second, addresses that these need)."""
    chart = figure(
        "Addresses for parts of this load", [Line("addresses needed", [(float(r), n) for r, n in points])],
        Axis("flows a second"), Axis("SNAT addresses", "count"),
    )  # fmt: skip
    plural = "" if figures["addresses"] == 1 else "es"
    tell = [
        (f"{figures['addresses']:,}", f"SNAT address{plural} needed"),
        (f"{figures['fails']:.3%}", "of the flows fail then"),
        (f"{figures['live']:,.0f}", "connections at a time"), (f"{figures['max_connections']:,}", "nf_conntrack_max"),
    ]  # fmt: skip
    header = ("flows a second", "SNAT addresses")
    rows = [[f"{rate:,.6g}", f"{n:,}"] for rate, n in points]
    parts = [tiles(tell), section("How it grows", chart, table("Addresses by rate", header, rows, ()))]
    return page("How many SNAT addresses does this load need?", asked, said, parts, glossary.OF_PLAN)


def rates_page(
    asked: str, said: Sequence[str], figures: Mapping[str, Any], rows: Sequence[Sequence[str]]
) -> str:  # fmt: skip
    """Return the rates of the variants as a self-contained page; figures: of the first one."""
    tell = [
        (f"{figures['rate']:,.0f}", "flows a second are carried"),
        (f"{figures['too_high']:,.0f}", "flows a second were too many"),
        (f"{figures['fails']:.3%}", "of the flows fail at the first rate"),
    ]
    header = ("variant", "rate", "too many", "fails", "cause")
    parts = [tiles(tell), section("What changes it", table("The variants", header, rows, (0, 4)))]
    return page("Which rate of flows is too much?", asked, said, parts, glossary.OF_RATES)


def clouds_page(
    asked: str, said: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[str]], sources: Sequence[str]
) -> str:  # fmt: skip
    """Return the plans of clouds as a self-contained page; sources: what is assumed of each, and where that is said."""
    parts = [
        section("The clouds", table("The clouds", header, rows, (0, 2, 3, 5))),
        section("What is assumed", sentences(sources)),
    ]
    return page("Which cloud's NAT carries this load?", asked, said, parts, glossary.OF_CLOUDS)


def sweep_page(
    asked: str, said: Sequence[str], count: str, header: Sequence[str], rows: Sequence[Sequence[str]],
    firsts: Sequence[Line], fails: Sequence[Line],
) -> str:  # fmt: skip
    """Return a sweep as a self-contained page.

    count: of its rows in words; firsts, fails: over rates, where the sweep varies them.
    """
    charts = []
    rate = Axis("flows a second")
    if any(line.points for line in firsts):
        charts.append(figure("When the first flow fails", firsts, rate, Axis("time to it", "time")))
    if any(share for line in fails for _, share in line.points):
        charts.append(figure("Flows that fail", fails, rate, Axis("share of all flows", "log share"), LOGARITHMIC))
    parts = [
        section("The variants", table("The variants", header, rows, (0, len(header) - 1)), paragraph(count)),
        section("Over the rate", *charts),
    ]
    return page("What changes the failures?", asked, said, parts, glossary.OF_SWEEP)
