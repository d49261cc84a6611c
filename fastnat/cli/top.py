"""fastnat top: the port spaces of a real node, the fullest first."""

from __future__ import annotations

import contextlib
import csv
import sys
from dataclasses import fields
from typing import Any, BinaryIO

import click
from rich.table import Table

from ..addresses import FAMILIES, family_of
from ..conntrack.dump import Dump, read
from ..conntrack.port_spaces import PAIN, PORTS, PortSpace, seconds_left, spaces_of
from ..errors import InputError
from ..exhaustion.plots import draw_ports, open_plot
from ..node import Node
from ..node.timeouts import PREFIX
from ..util.escapes import cell, json_text
from ..util.files import open_file, standard_input
from ..util.output import Outputs
from .terminal import Number, Terminal, say, shown, warn


def open_dump(name: str) -> BinaryIO:
    """Return a file, or standard input for -."""
    return standard_input() if name == "-" else open_file(name)


@click.command()
@click.argument("dump", default="-")
@click.option("--rows", type=click.IntRange(1), default=10, show_default=True)
@click.option("--earlier", metavar="FILE", help="An earlier dump of the same node, for a forecast.")
@click.option("--apart", type=Number(0, min_open=True), default=60.0, show_default=True, help="Seconds.")
@click.option("--node", metavar="NODE", help="Its directory: nf_conntrack_max, and which addresses are its own.")
@click.option("--plot", metavar="PNG", help="The ports of the fullest port space (needs fastnat[report]).")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def top(
    dump: str, rows: int, earlier: str | None, apart: float, node: str | None, plot: str | None, as_csv: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show which SNAT port spaces of DUMP (`conntrack -L` text, - for standard input) are nearest to exhaustion."""
    if dump == earlier == "-":
        raise InputError("--earlier -: DUMP is standard input already; give a file")
    if as_csv and as_json:
        raise InputError("--csv and --json: one form at a time")
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        with contextlib.closing(open_dump(dump)) as file:
            now = read(file, dump)
        before: dict[tuple[str, str, str, int], int] = {}
        if earlier is not None:
            with contextlib.closing(open_dump(earlier)) as file:
                before = {_name(s): s.used for s in spaces_of(read(file, earlier), 1 << 30)}
        loaded = Node.load(node, lenient=True) if node is not None else None
        spaces = spaces_of(now, 1 << 30 if loaded else rows)
        if loaded:
            own = nat_addresses(loaded)
            spaces = [s for s in spaces if in_ranges(s.address, own)][:rows]
        if drawing and spaces:
            draw_ports(spaces[0], drawing)
        elif drawing:
            drawing.discard()
            warn(f"{plot}: not drawn, there is no port space")
    left = [seconds_left(s.used, before.get(_name(s), 0), apart) if earlier is not None else None for s in spaces]
    if as_json:
        listed = [
            {**_fields(s), "free": s.free, "occupancy": s.occupancy, "seconds_left": t}
            for s, t in zip(spaces, left, strict=True)
        ]
        counted = {"connections": now.connections, "without_ports": now.others, "spaces": listed}
        click.echo(json_text(counted, indent=1))
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(("address", "proto", "dst", "dport", "used", "free", "time_wait", "fails", "seconds_left"))
        for s, t in zip(spaces, left, strict=True):
            names = (cell(s.address), cell(s.proto), cell(s.dst))
            writer.writerow((*names, s.dport, s.used, s.free, s.time_wait, f"{s.fails:.6f}", t))
    else:
        show(now, spaces, left)
        if loaded:
            show_table(now, loaded.sysctl(PREFIX + "max", 262_144))
    if now.cut:
        raise InputError(f"{now.cut}; the lines before it are counted above")


def _fields(s: PortSpace) -> dict[str, Any]:
    return {f.name: getattr(s, f.name) for f in fields(s) if f.name != "taken"}


def nat_addresses(node: Node) -> list[tuple[int, int]]:
    """Return the ranges of addresses with which a node translates: its own, and those of its SNAT rules."""
    own = [a for i in node.interfaces.values() for family in FAMILIES.values() for a in i.addresses_of(family)]
    ranges = [(a.local, a.local) for a in own]
    for parsed in map(node.rules_of, FAMILIES.values()):
        for table in parsed.tables.values() if parsed else []:
            targets = (rule.target for chain in table.chains.values() for rule in chain.rules)
            ranges += [(t.min_addr, t.max_addr) for t in targets if t.name in ("SNAT", "NETMAP")]
    return ranges


def in_ranges(address: str, ranges: list[tuple[int, int]]) -> bool:
    """Tell whether an address lies in one of the ranges."""
    number = family_of(address).to_int(address)
    return any(low <= number <= high for low, high in ranges)


def show_table(dump: Dump, limit: int) -> None:
    """Print how full the conntrack table is."""
    share = dump.connections / limit
    what = "the table is full: new connections are dropped, whatever ports are free" if share >= 1 else "room is left"
    if 0.95 <= share < 1:
        what = "nearly full: connections without an answer are dropped early"
    say(f"Table: {dump.connections:,} of nf_conntrack_max {limit:,}, {share:.0%}: {what}.")


def _name(s: PortSpace) -> tuple[str, str, str, int]:
    return s.address, s.proto, s.dst, s.dport


def show(dump: Dump, spaces: list[PortSpace], left: list[float | None]) -> None:
    """Print the table, and in words how near the worst is."""
    console = Terminal()
    if not spaces:
        console.say(f"{dump.connections:,} connections, none of them with ports.")
        return
    names = ("NAT address", "proto", "destination", "used", "free", "TIME_WAIT", "next fails", "most by")
    table = Table(*names, title=f"Port spaces of {dump.connections:,} connections")
    for s in spaces:
        offender = f"{s.sources[0][0]} ({s.sources[0][1] / s.connections:.0%})"
        waiting = f"{s.time_wait / s.connections:.0%}"
        table.add_row(
            shown(s.address), shown(s.proto), shown(f"{s.dst}:{s.dport}"), f"{s.used:,} {s.occupancy:.1%}",
            f"{s.free:,}", waiting, f"{s.fails:.2%}", shown(offender),
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
    console.say(word)
    if t is not None:
        console.say(f"At the pace of the two dumps it reaches {PAIN:.0%} in {t:,.0f} s.")
