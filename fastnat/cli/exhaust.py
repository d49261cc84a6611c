"""fastnat exhaust: open flows until SNAT ports run out."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..addresses import to_int
from ..engine import PROFILES, Engine
from ..errors import InputError
from ..exhaustion import Outcome, Workload, run, verdict
from ..node import Node

COLUMNS = ("sent", "count", "occupancy", "fail", "probes_per_conn", "ns_per_conn")


def destination(text: str) -> tuple[str, int]:
    """Return IP:PORT as a pair; InputError for anything else."""
    address, colon, port = text.rpartition(":")
    try:
        to_int(address)
        if not colon or not 0 < int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise InputError(f"--dst {text!r}: expected IP:PORT, for example 203.0.113.10:53") from None
    return address, int(port)


@click.command()
@click.argument("node", required=False)
@click.option("--dst", multiple=True, metavar="IP:PORT", help="Destination; repeat for several, taken in turn.")
@click.option("--proto", type=click.Choice(["udp", "tcp"]), default="udp", show_default=True)
@click.option("--flows", type=click.IntRange(1), default=72_000, show_default=True)
@click.option("--clients", type=click.IntRange(0), default=0, help="Client addresses; 0: one for each flow.")
@click.option("--sport", default="40000", show_default=True, help="Source port of every flow, or 'ephemeral'.")
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Flows a second; 0: all at once.")
@click.option("--iface", default="cni0", show_default=True, help="Interface on which the flows enter.")
@click.option("--random-fully", is_flag=True, help="As if every MASQUERADE and SNAT rule had the flag.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="linux-6.18", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--csv", "csv_path", metavar="FILE", help="One row per 1000 flows.")
@click.option("--json", "json_path", metavar="FILE", help="The whole outcome; - for standard output.")
@click.option("--plot", metavar="PNG", help="Failure share against flows (needs fastnat[report]).")
def exhaust(
    node: str | None,
    dst: tuple[str, ...],
    proto: str,
    flows: int,
    clients: int,
    sport: str,
    rate: float,
    iface: str,
    random_fully: bool,
    profile: str,
    seed: int,
    csv_path: str | None,
    json_path: str | None,
    plot: str | None,
) -> None:
    """Open flows through NODE (default: the packaged k8s-worker) until its SNAT ports run out."""
    loaded = Node.load(node) if node else Node.example()
    engine = Engine(loaded, profile=profile, seed=seed)
    if random_fully:
        nat = (engine.ruleset.rules["target"] == 9) | (engine.ruleset.rules["target"] == 11)
        engine.ruleset.targets["flags"][engine.ruleset.rules["target_arg"][nat]] |= 16
    if sport != "ephemeral" and (not sport.isdigit() or not 0 < int(sport) < 65536):
        raise InputError(f"--sport {sport!r}: expected a port in 1..65535 or 'ephemeral'")
    work = Workload(
        tuple(destination(d) for d in dst) or (("203.0.113.10", 53),), proto, flows, clients,
        None if sport == "ephemeral" else int(sport), rate, iface,
    )  # fmt: skip
    console = Console()
    with Progress(console=Console(stderr=True), transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("opening flows", total=flows)
        outcome = run(engine, work, lambda n: bar.advance(task, n))
    if csv_path:
        with Path(csv_path).open("w", newline="") as f:
            writer = csv.writer(f)
            writer.writerow(COLUMNS)
            writer.writerows(
                [
                    r.sent,
                    r.count,
                    f"{r.occupancy:.5f}",
                    f"{r.fail:.5f}",
                    f"{r.probes_per_conn:.2f}",
                    f"{r.ns_per_conn:.1f}",
                ]
                for r in outcome.rows
            )
    if json_path:
        text = json.dumps({"verdict": verdict(outcome), **asdict(outcome), "stats": engine.stats}, indent=1)
        if json_path == "-":
            click.echo(text)
            return
        Path(json_path).write_text(text + "\n")
    if plot:
        draw(outcome, plot)
    show(console, outcome)


def show(console: Console, outcome: Outcome) -> None:
    """Print the rows where something happens, and the answer."""
    table = Table("flows", "connections", "occupancy", "failed", "probes", title="SNAT port exhaustion")
    for column in table.columns:
        column.justify = "right"
    last = len(outcome.rows) - 1
    for i, r in enumerate(outcome.rows):
        if i == last or (i + 1) % 10 == 0 or 0 < r.fail < 1:
            table.add_row(
                f"{r.sent:,}", f"{r.count:,}", f"{r.occupancy:.1%}", f"{r.fail:.1%}", f"{r.probes_per_conn:.1f}"
            )
    console.print(table)
    console.print(verdict(outcome), soft_wrap=True)
    if outcome.one_in_thousand:
        console.print(f"Pain (1 flow in 1000 fails) starts within the first {outcome.one_in_thousand:,} flows.")


def draw(outcome: Outcome, path: str) -> None:
    """Write the failure curve as PNG; InputError when matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'fastnat[report]'") from None
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_subplot()
    axes.plot([r.sent for r in outcome.rows], [r.fail for r in outcome.rows])
    axes.set_xlabel("flows opened")
    axes.set_ylabel("share of new flows that fail")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
