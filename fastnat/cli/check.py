"""fastnat check: parse a node's rules."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from ..addresses import FAMILIES
from ..engine import Engine
from ..engine.settings import room_of
from ..errors import FastnatError, InputError
from ..node import Node
from ..util.text import number_of
from .forms import Answer, Paper, forms, tell
from .options import order_option, take_order
from .terminal import answer_no, warn, working

EXAMPLES = (
    ("check node/", "whether the rules of a node load, and what is assumed"),
    ("check node/ --lenient -o json", "which rules are not supported, for a program"),
)
NOT_READ = "some of the node's rules are not read"
NOT_LOADED = "nft does not load the node's rules"


@click.command()
@click.argument("node")
@order_option()
@click.option("--lenient", is_flag=True, help="List unsupported rules, and load them as never matching.")
@forms()
def check(node: str, lenient: bool, form: str) -> None:
    """Load the node directory NODE and say what it holds; exit 1 with the reason if it cannot be used."""
    look_at(Path(node))
    try:
        with working("loading the node"):
            loaded = Node.load(node, lenient)
            take_order(loaded)
            # other commands make an engine of this size
            room_of(loaded)
            engine = Engine(loaded, max_connections=1, epoch=0.0)
    except FastnatError as error:
        answer_no()
        warn(f"fastnat: {error}")
        if form not in ("text", "md"):
            tell(form, answer(Checked(node, error=str(error))))
        sys.exit(1)
    warnings = [w for parsed in map(loaded.rules_of, FAMILIES.values()) if parsed for w in parsed.warnings]
    rules = sum(rule is not None for stack in engine.stacks.values() for _, _, rule in stack.ruleset.origin)
    rules += sum(len(chain.rules) for table in loaded.nft.tables.values() for chain in table.chains.values())
    of_programs = dict.fromkeys(w for stack in engine.stacks.values() for w in stack.program.warnings)
    said = [*warnings, *loaded.nft.warnings, *loaded.nft.doubts, *of_programs, *loaded.notes]
    for line in said:
        warn(line)
    missing = any("native nftables" in note for note in loaded.notes)
    fault = NOT_READ if missing else NOT_LOADED if loaded.nft.doubts else ""
    if fault:
        answer_no()
    tracks = any(stack.ruleset.tracking or stack.program.tracking for stack in engine.stacks.values())
    counts = (len(engine.iface_names) - 1, len(loaded.routes) + len(loaded.routes6), rules)
    tell(form, answer(Checked(node, not fault, *counts, tracks, said, fault)))
    if fault:
        sys.exit(1)


@dataclass(frozen=True)
class Checked:
    """What a node directory holds, and whether it can be used; tracks: a rule uses connection tracking."""

    node: str
    fine: bool = False
    interfaces: int = 0
    routes: int = 0
    rules: int = 0
    tracks: bool = False
    warnings: list[str] = field(default_factory=list)
    error: str = ""


def answer(c: Checked) -> Answer:
    """Return what was found in every form."""

    def show(paper: Paper) -> None:
        judged = "fine" if c.fine else f"{c.error}, see above"
        counts = (number_of(c.interfaces, "interface"), number_of(c.routes, "route"), number_of(c.rules, "rule"))
        paper.say(f"{c.node}: {', '.join(counts)}: {judged}")
        if not c.tracks:
            paper.say("no rule uses connection tracking: nothing is tracked or translated")

    row = {**asdict(c), "warnings": len(c.warnings)}
    return Answer(show, lambda: asdict(c), list(row), lambda: [list(row.values())])


def look_at(node: Path) -> None:
    """Raise InputError if there is no node directory, or it cannot be read: then there is nothing to check."""
    needed = "a node directory holds addr.json, route.json and rules.v4"
    try:
        names = [path.name for path in node.iterdir() if path.is_file()]
    except (OSError, ValueError) as error:
        raise InputError(f"{node}: {getattr(error, 'strerror', None) or error}; {needed}") from None
    if "addr.json" not in names:
        raise InputError(f"{node}: no addr.json; {needed}")
    closed = [name for name in names if not os.access(node / name, os.R_OK)]
    if closed:
        raise InputError(f"{node / closed[0]}: Permission denied")
