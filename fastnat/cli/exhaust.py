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
from ..engine import Engine
from ..errors import InputError
from ..exhaustion import Outcome, Workload, run, verdict
from ..files import read_text
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
@click.option("--hold", type=click.FloatRange(0), help="Seconds for which a flow is kept, needs --rate.")
@click.option("--profile", default="linux-6.18", show_default=True, metavar="A[,B]", help="linux-6.18, linux-5.4.")
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text of the connections that are there already.")
@click.option("--lenient", is_flag=True, help="Take rules that are not supported as never matching.")
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
    hold: float | None,
    profile: str,
    start_from: str | None,
    lenient: bool,
    seed: int,
    csv_path: str | None,
    json_path: str | None,
    plot: str | None,
) -> None:
    """Open flows through NODE (default: the packaged k8s-worker) until its SNAT ports run out."""
    loaded = Node.load(node, lenient) if node else Node.example()
    if sport != "ephemeral" and (not sport.isdigit() or not 0 < int(sport) < 65536):
        raise InputError(f"--sport {sport!r}: expected a port in 1..65535 or 'ephemeral'")
    work = Workload(
        tuple(destination(d) for d in dst) or (("203.0.113.10", 53),), proto, flows, clients,
        None if sport == "ephemeral" else int(sport), rate, iface, hold=hold,
    )  # fmt: skip
    console = Console()
    profiles = profile.split(",")
    outcomes: dict[str, Outcome] = {}
    stats: dict[str, dict[str, int]] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("opening flows", total=flows * len(profiles))
        for name in profiles:
            engine = Engine(loaded, profile=name, seed=seed)
            if random_fully:
                engine.set_random_fully()
            if start_from:
                engine.conntrack.load(read_text(Path(start_from)), start_from)
            outcomes[name] = run(engine, work, lambda n: bar.advance(task, n))
            stats[name] = engine.stats
    if csv_path:
        write_csv(csv_path, outcomes)
    if json_path:
        runs = {n: {"verdict": verdict(o), **asdict(o), "stats": stats[n]} for n, o in outcomes.items()}
        text = json.dumps(runs if len(runs) > 1 else runs[profiles[0]], indent=1)
        if json_path == "-":
            click.echo(text)
            return
        Path(json_path).write_text(text + "\n")
    if plot:
        draw(outcomes, plot)
    for name, outcome in outcomes.items():
        show(console, outcome, name if len(outcomes) > 1 else "")


def write_csv(path: str, outcomes: dict[str, Outcome]) -> None:
    """Write one row per 1000 flows; several profiles are told apart by a last column."""
    several = len(outcomes) > 1
    with Path(path).open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow((*COLUMNS, "profile") if several else COLUMNS)
        for name, outcome in outcomes.items():
            for r in outcome.rows:
                shares = (f"{r.occupancy:.5f}", f"{r.fail:.5f}", f"{r.probes_per_conn:.2f}", f"{r.ns_per_conn:.1f}")
                writer.writerow((r.sent, r.count, *shares, *([name] if several else [])))


def show(console: Console, outcome: Outcome, profile: str = "") -> None:
    """Print the rows where something happens, and the answer."""
    title = f"SNAT port exhaustion, {profile}" if profile else "SNAT port exhaustion"
    table = Table("flows", "connections", "occupancy", "failed", "probes", title=title)
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


def draw(outcomes: dict[str, Outcome], path: str) -> None:
    """Write the failure curves as PNG; InputError when matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'fastnat[report]'") from None
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_subplot()
    for name, outcome in outcomes.items():
        axes.plot([r.sent for r in outcome.rows], [r.fail for r in outcome.rows], label=name)
    axes.legend()
    axes.set_xlabel("flows opened")
    axes.set_ylabel("share of new flows that fail")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
