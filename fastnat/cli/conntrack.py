"""fastnat conntrack: the conntrack table of a node directory, or of a dump, in the forms of conntrack(8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from ..conntrack import Connection, format_line
from ..engine import Engine
from ..node import Node
from .forms import Answer, Paper, forms, tell
from .options import profile_option
from .terminal import Seconds, protocol_of, say, working
from .terminal import start_from as load

HEADER = (
    "proto", "src", "dst", "sport", "dport", "reply_src", "reply_dst", "reply_sport", "reply_dport", "timeout",
    "status", "mark", "zone",
)  # fmt: skip
EXAMPLES = (
    ("conntrack node/ -p udp -o extended", "the connections of UDP, as conntrack -L -o extended"),
    ("conntrack node/ --start-from dump.txt --after 2m --count", "how many of a dump are left after two minutes"),
)


@click.command()
@click.argument("node")
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text instead of the node's conntrack.txt.")
@click.option("-p", "--proto", help="List only this protocol: udp, tcp...")
@click.option("--count", is_flag=True, help="Print only their number (conntrack -C).")
@click.option("--after", type=Seconds(0, 1e9), default=0.0, help="Time that passes before the listing: 30, 5m, 2h.")
@profile_option()
@forms("conntrack", "extended", "proc")
def conntrack(
    node: str, start_from: str | None, proto: str | None, count: bool, after: float, profile: str, form: str
) -> None:
    """List the connections that NODE starts with, as conntrack -L does."""
    with working("loading the node"):
        loaded = Node.load(node, with_conntrack=start_from is None)
        engine = Engine(loaded, profile)
    if start_from is not None:
        load(engine, start_from)
    engine.advance(after)
    number = None if proto is None else protocol_of(proto)

    def wanted() -> Iterator[Connection]:
        # as they are found: a table may be long
        return (c for c in engine.conntrack if number in (None, c.proto))

    if count:
        click.echo(sum(1 for _ in wanted()))
    elif form in ("text", "conntrack", "extended", "proc"):
        for c in wanted():
            say(format_line(c, extended=form == "extended", proc=form == "proc"))
    else:
        tell(form, answer(wanted))


def answer(wanted: Callable[[], Iterable[Connection]]) -> Answer:
    """Return the connections in the forms that are not those of conntrack."""

    def rows() -> Iterator[list[Any]]:
        for d in map(as_dict, wanted()):
            yield [d["proto"], *d["original"].values(), *(d["reply"].values()), *(d[name] for name in HEADER[9:])]

    def show(paper: Paper) -> None:
        paper.table(HEADER, [[str(value) for value in row] for row in rows()], left=0)

    return Answer(show, lambda: map(as_dict, wanted()), HEADER, rows)


def as_dict(c: Connection) -> dict[str, Any]:
    """Return a connection as JSON holds it: addresses as text, timeout in seconds."""
    text = c.family.to_text
    tuples = {
        name: {"src": text(t[0]), "dst": text(t[1]), "sport": t[2], "dport": t[3]}
        for name, t in (("original", c.original), ("reply", c.reply))
    }
    return {"proto": c.proto, **tuples, "timeout": c.timeout, "status": c.status, "mark": c.mark, "zone": c.zone}
