"""fastnat sweep: every combination of a scenario, in parallel."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ..exhaustion import scenario
from ..exhaustion.sweep import jobs_of
from ..exhaustion.sweep import sweep as run


@click.command()
@click.argument("scenario_path", metavar="SCENARIO")
@click.option("--out", default="sweep.csv", show_default=True, metavar="FILE", help="CSV, or Parquet by its ending.")
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes; 0: one for each CPU.")
@click.option("--scheduler", default="", metavar="tcp://HOST:PORT", help="A Dask cluster instead (fastnat[sweep]).")
def sweep(scenario_path: str, out: str, jobs: int, scheduler: str) -> None:
    """Run every combination of [vary] in SCENARIO with each seed; a file that holds some of them is gone on with."""
    asked = scenario.load(Path(scenario_path))
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sweep", total=len(jobs_of(asked)))
        rows = run(asked, Path(out), jobs, scheduler, lambda n: bar.advance(task, n))
    click.echo(f"{out}: {rows} rows, {len(asked.variants)} variants, {asked.seeds} seeds each")
