"""fastnat sweep: every combination of a scenario, in parallel."""

from __future__ import annotations

import csv
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ..exhaustion import scenario
from ..exhaustion.plots import draw_sweep, open_plot
from ..exhaustion.sweep import StoppedSweep, jobs_of, rows_file
from ..exhaustion.sweep import sweep as run
from ..util.output import Outputs
from .terminal import Interrupted, Terminal, ignore_interrupts, say


@click.command()
@click.argument("scenario_path", metavar="SCENARIO")
@click.option("--out", default="sweep.csv", show_default=True, metavar="FILE", help="CSV, or Parquet by its ending.")
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes; 0: one for each CPU.")
@click.option("--scheduler", default="", metavar="tcp://HOST:PORT", help="A Dask cluster instead (fastnat[sweep]).")
@click.option("--plot", metavar="PNG", help="Time to the first failure against the rate (fastnat[report]).")
def sweep(scenario_path: str, out: str, jobs: int, scheduler: str, plot: str | None) -> None:
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
        if drawing:
            with rows_file(Path(out)).open(newline="") as file:
                draw_sweep(list(csv.DictReader(file)), drawing)
    say(f"{out}: {rows} rows, {len(asked.variants)} variants, {asked.seeds} seeds each")
