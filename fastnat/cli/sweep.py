"""fastnat sweep: every combination of a scenario, in parallel."""

from __future__ import annotations

import csv
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ..exhaustion import scenario
from ..exhaustion.factors import text_of
from ..exhaustion.html import sweep_page
from ..exhaustion.outcome import listed
from ..exhaustion.plots import draw_sweep, open_plot
from ..exhaustion.question import now, question
from ..exhaustion.summary import SUMMARY, best, over_rate, summary
from ..exhaustion.sweep import StoppedSweep, jobs_of, rows_file
from ..exhaustion.sweep import sweep as run
from ..exhaustion.variants import with_rate_of
from ..util.output import Outputs
from .forms import Answer, Paper, forms, tell
from .options import PACKAGED
from .terminal import Interrupted, Terminal, Whole, ignore_interrupts

EXAMPLES = (
    ("sweep question.toml --out rows.csv", "every combination of [vary], on all cores"),
    ("sweep question.toml --out rows.csv -o html >sweep.html", "goes on where it was; a page of all rows for others"),
    ("sweep question.toml --scheduler tcp://scheduler:8786", "on a Dask cluster"),
)
# variants that are shown to people on a terminal
MOST_SHOWN = 40


@click.command()
@click.argument("scenario_path", metavar="SCENARIO")
@click.option("--out", default="sweep.csv", show_default=True, metavar="FILE", help="CSV, or Parquet by its ending.")
@click.option("--jobs", type=Whole(0), default=0, help="Processes; 0: one for each CPU.")
@click.option("--scheduler", default="", metavar="tcp://HOST:PORT", help="A Dask cluster instead (fastnat[sweep]).")
@click.option("--plot", metavar="PNG", help="Time to the first failure against the rate (fastnat[report]).")
@forms("html")
def sweep(scenario_path: str, out: str, jobs: int, scheduler: str, plot: str | None, form: str) -> None:
    """Run every combination of [vary] in SCENARIO with each seed; continue a file that holds some of them.

    Each row is written as soon as it is known: Ctrl-C loses none.
    """
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        asked = scenario.load(Path(scenario_path))
        cells = len(jobs_of(asked))
        console = Terminal(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("sweep", total=cells)
            try:
                rows = run(asked, Path(out), jobs, scheduler, lambda n: bar.advance(task, n))
            except StoppedSweep as stopped:
                ignore_interrupts()
                there = f"{rows_file(Path(out))} holds {stopped.rows} of {stopped.asked} rows"
                raise Interrupted(f"{there}; the same command continues from it") from None
        # what a pipe has taken is not there to be read
        known = rows_of(Path(out))
        if drawing:
            draw_sweep(in_words(asked), known, drawing)
    said = f"{out}: {rows} rows, {len(asked.variants)} variants, {asked.seeds} seeds each"
    tell(form, answer(asked, said, known))


def rows_of(out: Path) -> list[dict[str, str]]:
    """Return the rows of a sweep's file."""
    path = rows_file(out)
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def in_words(asked: scenario.Scenario) -> str:
    """Return the question of a sweep in words."""
    name = str(asked.node) if asked.node else PACKAGED
    varied: dict[str, dict[str, None]] = {}
    for variant in asked.variants:
        for factor, value in variant.factors:
            varied.setdefault(factor, {})[text_of(value)] = None
    said = "; ".join(f"{factor} {listed(list(values), 8)}" for factor, values in varied.items())
    work = with_rate_of(asked.variants, asked.work)
    return question(work, name, asked.profile, now()) + (f" Varied: {said}." if said else "")


def answer(asked: scenario.Scenario, said: str, rows: list[dict[str, str]]) -> Answer:
    """Return a sweep's rows in every form."""
    header = list(rows[0]) if rows else []
    table = summary(rows)

    def show(paper: Paper) -> None:
        paper.say(said)
        if len(table) > 1 and len(table) <= MOST_SHOWN:
            paper.table(SUMMARY, table)

    def page() -> str:
        firsts, fails = over_rate(rows, "first_failure_time"), over_rate(rows, "failed")
        return sweep_page(in_words(asked), best(rows), said, SUMMARY, table, firsts, fails)

    return Answer(show, lambda: {"rows": rows}, header, lambda: [list(row.values()) for row in rows], {"html": page})
