"""fastnat top: the port spaces of a real node, the fullest first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

import click

from ..addresses import FAMILIES, end_text, family_of
from ..conntrack.dump import Dump, Name, read
from ..conntrack.port_spaces import MOST_LOOKED_AT, PAIN, PortSpace, each_space, narrowed, seconds_left, spaces_of
from ..errors import InputError
from ..exhaustion.plots import draw_ports, open_plot
from ..exhaustion.source_nat import ANY, PortWindows
from ..node import Node
from ..node.nat_addresses import NatAddresses
from ..node.timeouts import PREFIX
from ..util.escapes import plain
from ..util.files import open_file, standard_input
from ..util.output import Outputs
from ..util.text import number_of
from .forms import Answer, Paper, forms, tell
from .options import profile_option
from .terminal import Count, Seconds, warn, working

HEADER = ("address", "proto", "dst", "dport", "used", "free", "time_wait", "fails", "seconds_left", "zone")
EXAMPLES = (
    ("top dump.txt", "the port spaces of `conntrack -L >dump.txt`, the fullest first"),
    ("top dump.txt --earlier earlier.txt --apart 5m", "when they run out, if they go on growing"),
    ("top - --node node/ -o csv <dump.txt", "of standard input, for a spreadsheet"),
)

# of a port space in JSON, besides what is worked out from them
FIELDS = (
    "address", "proto", "dst", "dport", "zone", "connections", "translated", "used", "time_wait", "fails", "sources",
)  # fmt: skip


def open_dump(name: str) -> BinaryIO:
    """Return a file, or standard input for -."""
    return standard_input() if name == "-" else open_file(name)


@click.command()
@click.argument("dump", default="-")
@click.option("--rows", type=Count(1), default=10, show_default=True, help="Port spaces shown.")
@click.option("--earlier", metavar="FILE", help="An earlier dump of the same node, for a forecast.")
@click.option("--apart", type=Seconds(1e-3, 1e10), help="Time between the two dumps: 60, 5m.")
@click.option("--node", metavar="NODE", help="The node's directory: nf_conntrack_max, and its own addresses.")
@profile_option()
@click.option("--all", "every", is_flag=True, help="Also show addresses to which nothing is translated.")
@click.option("--plot", metavar="PNG", help="The ports of the fullest port space (needs fastnat[report]).")
@forms(flags=["csv", "json"])
def top(
    dump: str, rows: int, earlier: str | None, apart: float | None, node: str | None, profile: str,
    every: bool, plot: str | None, form: str,
) -> None:  # fmt: skip
    """Show which SNAT port spaces of DUMP (`conntrack -L` text, - for standard input) are nearest to exhaustion."""
    if dump == earlier == "-":
        raise InputError("--earlier -: DUMP is standard input already; give a file")
    if (earlier is None) != (apart is None):
        raise InputError("a forecast needs both: --earlier FILE and --apart SECONDS, the time between the dumps")
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        with contextlib.closing(open_dump(dump)) as file, working(f"reading {plain(dump)}"):
            now = read(file, dump)
        before: dict[Name, PortSpace] | None = None
        if earlier is not None:
            with contextlib.closing(open_dump(earlier)) as file, working(f"reading {plain(earlier)}"):
                before = {s.name: s for s in each_space(read(file, earlier), every=True)}
        with working("loading the node"):
            loaded = Node.load(node, lenient=True) if node is not None else None
        if loaded:
            own = NatAddresses(loaded)
            there = each_space(now, every or own.known, profile)
            spaces = fullest((s for s in there if s.address in own), loaded, rows)
        else:
            spaces = spaces_of(now, rows, every, profile)
        if drawing and spaces:
            draw_ports(spaces[0], drawing)
        elif drawing:
            drawing.discard()
            warn(f"{plot}: not drawn, there is no port space")
    growth: list[float | None] = [None] * len(spaces)
    if before is not None and apart is not None:
        growth = [(s.used - used_before(before, s)) / apart for s in spaces]
    left = [None if g is None else seconds_left(s.free, g) for s, g in zip(spaces, growth, strict=True)]

    def document() -> Any:
        listed = [
            {**_fields(s), "ports": s.ports, "free": s.free, "occupancy": s.occupancy, "growth": g, "seconds_left": t}
            for s, g, t in zip(spaces, growth, left, strict=True)
        ]
        told = {"profile": profile, "connections": now.connections, "without_ports": now.others, "spaces": listed}
        return told | ({"nf_conntrack_max": limit_of(loaded)} if loaded else {})

    def table() -> list[list[Any]]:
        return [
            [s.address, s.proto, s.dst, s.dport, s.used, s.free, s.time_wait, float(f"{s.fails:.6f}"), t, s.zone]
            for s, t in zip(spaces, left, strict=True)
        ]

    def write(paper: Paper) -> None:
        show(paper, now, spaces, growth)
        if loaded:
            show_table(paper, now, loaded)

    tell(form, Answer(write, document, HEADER, table))
    if now.cut:
        raise InputError(f"{now.cut}; the lines before it are counted above")


def _fields(s: PortSpace) -> dict[str, Any]:
    return {name: getattr(s, name) for name in FIELDS}


def fullest(spaces: Iterator[PortSpace], node: Node, rows: int) -> list[PortSpace]:
    """Return the port spaces of which the greatest share is in use, of the ports that the rules of a node give."""
    windows = PortWindows(node)
    if not any(windows.of(f, proto) - {ANY} for f in FAMILIES.values() for proto in ("tcp", "udp")):
        return list(islice(spaces, rows))
    found = [narrowed(s, windows_of(windows, s)) for s in islice(spaces, max(rows, MOST_LOOKED_AT))]
    return sorted(found, key=lambda s: -s.occupancy)[:rows]


def windows_of(windows: PortWindows, s: PortSpace) -> set[tuple[int, int]]:
    """Return the ports that rules give the address of a port space."""
    family = family_of(s.address)
    return windows.of(family, s.proto, family.to_int(s.address)) if s.proto in ("tcp", "udp") else set()


def used_before(before: Mapping[Name, PortSpace], s: PortSpace) -> int:
    """Return how many of a port space's ports were in use in the earlier dump."""
    return replace(before[s.name], window=s.window).used if s.name in before else 0


def limit_of(node: Node) -> int:
    """Return how many entries a node's table may have."""
    return node.sysctl(PREFIX + "max", 262_144)


def show_table(paper: Paper, dump: Dump, node: Node) -> None:
    """Print how full the conntrack table is."""
    limit, said = limit_of(node), node.sysctl(PREFIX + "max", -1) >= 0
    if not limit:
        paper.say(f"Table: {dump.connections:,}; nf_conntrack_max is 0: it has no limit.")
        return
    share = dump.connections / limit
    full = "the table is full: new connections are dropped, or unanswered ones early for them, whatever ports are free"
    what = full if share >= 1 else "room is left"
    if 0.95 <= share < 1:
        what = "nearly full: connections without an answer are dropped early"
    assumed = "" if said else " (assumed: the node's files do not say)"
    paper.say(f"Table: {dump.connections:,} of nf_conntrack_max {limit:,}{assumed}, {share:.0%}: {what}.")


def show(console: Paper, dump: Dump, spaces: list[PortSpace], growth: list[float | None]) -> None:
    """Print the table, and say how near to exhaustion the fullest port space is."""
    ports = dump.connections - dump.others
    if not spaces:
        why = "; none is translated to a NAT address (--all shows every address)" if ports else ""
        console.say(f"{ports:,} connections with ports, {dump.others:,} without{why}.")
        return
    names = ["NAT address", "proto", "destination", "used", "share", "free", "TIME_WAIT", "next fails", "most by"]
    zoned = any(s.zone for s in spaces)
    rows = []
    for s in spaces:
        holder, held = s.sources[0]
        rows.append([
            s.address, s.proto, end_text(s.dst, s.dport), f"{s.used:,}", f"{s.occupancy:.1%}", f"{s.free:,}",
            f"{s.time_wait / s.connections:.0%}", f"{s.fails:.2%}", f"{holder} ({held / s.connections:.0%})",
            *([str(s.zone)] if zoned else []),
        ])  # fmt: skip
    console.say(f"Port spaces of {dump.connections:,} connections")
    console.table([*names, "zone"] if zoned else names, rows, left=3)
    s, g = spaces[0], growth[0]
    where = f"{s.address} towards {s.proto} {end_text(s.dst, s.dport)}" + (f" in zone {s.zone}" if s.zone else "")
    its = number_of(s.ports, "port") + (f" ({s.window[0]}-{s.window[1]})" if s.window != ANY else "")
    if s.fails >= 0.001:
        of = f" by its {its}" if s.window != ANY else ""
        word = f"Ports are running out now: of new connections from {where}{of} {s.fails:.1%} fail."
    elif s.occupancy >= PAIN:
        word = f"At the edge: {where} uses {s.occupancy:.1%} of its {its}; {s.fails:.2%} of new ones fail."
    else:
        word = f"No port space is exhausted; the fullest, {where}, uses {s.occupancy:.1%} of its {its}."
    console.say(word)
    if g is not None:
        console.say(forecast(s, g))


def forecast(s: PortSpace, growth: float) -> str:
    """Return when the ports run out if they keep growing as between the two dumps, and the basis of that."""
    pace = f"{growth:+,.1f}/s".replace(".0/s", "/s")
    if growth <= 0:
        return f"Between the two dumps it grew by {pace}: no forecast."
    if s.free == 0:
        return f"It is full; between the two dumps it grew by {pace}."
    return f"At {pace}, as between the two dumps, it is full in {duration(s.free / growth)}."


def duration(seconds: float) -> str:
    """Return a time in the unit that a person would use."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"
