"""fastnat check: parse a node's rules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..addresses import FAMILIES
from ..engine import Engine
from ..errors import FastnatError, InputError
from ..node import Node
from .terminal import answer_no, say, warn


@click.command()
@click.argument("node")
@click.option("--lenient", is_flag=True, help="List unsupported rules, and load them as never matching.")
def check(node: str, lenient: bool) -> None:
    """Load the node directory NODE and say what it holds; exit 1 with the reason if it cannot be used."""
    look_at(Path(node))
    try:
        loaded = Node.load(node, lenient)
        engine = Engine(loaded, max_connections=1, epoch=0.0)
    except FastnatError as error:
        answer_no()
        warn(f"fastnat: {error}")
        sys.exit(1)
    warnings = [w for parsed in map(loaded.rules_of, FAMILIES.values()) if parsed for w in parsed.warnings]
    for warning in warnings + loaded.nft.warnings:
        warn(warning)
    rules = sum(rule is not None for _, _, rule in engine.stacks[4].ruleset.origin)
    rules += sum(len(chain.rules) for table in loaded.nft.tables.values() for chain in table.chains.values())
    for note in dict.fromkeys(w for stack in engine.stacks.values() for w in stack.program.warnings):
        warn(note)
    for note in loaded.notes:
        warn(note)
    missing = any("native nftables" in note for note in loaded.notes)
    if missing:
        answer_no()
    judged = "some of the node's rules are not read, see above" if missing else "fine"
    say(f"{node}: {len(engine.iface_names) - 1} interfaces, {len(engine.node.routes)} routes, {rules} rules: {judged}")
    if not any(stack.ruleset.tracking or stack.program.tracking for stack in engine.stacks.values()):
        say("no rule uses connection tracking: nothing is tracked or translated")
    if missing:
        sys.exit(1)


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
