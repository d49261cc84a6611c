"""fastnat top: the port spaces of a real node, the fullest first."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..occupancy import PAIN, PORTS, Dump, PortSpace, read, seconds_left, spaces_of


def open_dump(name: str) -> BinaryIO:
    """Return a file, or standard input for -."""
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None


@click.command()
@click.argument("dump", default="-")
@click.option("--rows", type=click.IntRange(1), default=10, show_default=True)
@click.option("--earlier", metavar="FILE", help="An earlier dump of the same node, for a forecast.")
@click.option("--apart", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Seconds.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def top(dump: str, rows: int, earlier: str | None, apart: float, as_csv: bool, as_json: bool) -> None:
    """Show which SNAT port spaces of DUMP (`conntrack -L` text, - for standard input) are nearest to exhaustion."""
    with contextlib.closing(open_dump(dump)) as file:
        now = read(file, dump)
    before: dict[tuple[str, str, str, int], int] = {}
    if earlier:
        with contextlib.closing(open_dump(earlier)) as file:
            before = {_name(s): s.used for s in spaces_of(read(file, earlier), 1 << 30)}
    spaces = spaces_of(now, rows)
    left = [seconds_left(s.used, before.get(_name(s), 0), apart) if earlier else None for s in spaces]
    if as_json:
        shown = [
            {**asdict(s), "free": s.free, "occupancy": s.occupancy, "seconds_left": t}
            for s, t in zip(spaces, left, strict=True)
        ]
        click.echo(json.dumps({"connections": now.connections, "without_ports": now.others, "spaces": shown}, indent=1))
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(("address", "proto", "dst", "dport", "used", "free", "time_wait", "fails", "seconds_left"))
        for s, t in zip(spaces, left, strict=True):
            writer.writerow((s.address, s.proto, s.dst, s.dport, s.used, s.free, s.time_wait, f"{s.fails:.6f}", t))
    else:
        show(now, spaces, left)


def _name(s: PortSpace) -> tuple[str, str, str, int]:
    return s.address, s.proto, s.dst, s.dport


def show(dump: Dump, spaces: list[PortSpace], left: list[float | None]) -> None:
    """Print the table, and in words how near the worst is."""
    console = Console()
    if not spaces:
        console.print(f"{dump.connections:,} connections, none of them with ports.")
        return
    names = ("NAT address", "proto", "destination", "used", "free", "TIME_WAIT", "next fails", "most by")
    table = Table(*names, title=f"Port spaces of {dump.connections:,} connections")
    for s in spaces:
        offender = f"{s.sources[0][0]} ({s.sources[0][1] / s.connections:.0%})"
        waiting = f"{s.time_wait / s.connections:.0%}"
        table.add_row(
            s.address, s.proto, f"{s.dst}:{s.dport}", f"{s.used:,} {s.occupancy:.1%}", f"{s.free:,}", waiting,
            f"{s.fails:.2%}", offender,
        )  # fmt: skip
    console.print(table)
    s, t = spaces[0], left[0]
    where = f"{s.address} towards {s.proto} {s.dst}:{s.dport}"
    if s.fails >= 0.001:
        word = f"Ports are running out now: of new connections from {where} {s.fails:.1%} fail."
    elif s.occupancy >= PAIN:
        word = f"At the edge: {where} uses {s.occupancy:.1%} of its {PORTS:,} ports; failures begin here."
    else:
        word = f"No port space is exhausted; the fullest, {where}, uses {s.occupancy:.1%} of its {PORTS:,} ports."
    console.print(word, highlight=False)
    if t is not None:
        console.print(f"At the pace of the two dumps it reaches {PAIN:.0%} in {t:,.0f} s.", highlight=False)
