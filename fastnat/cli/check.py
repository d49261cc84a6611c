"""fastnat check: parse a node's rules."""

from __future__ import annotations

import click

from ..engine import Engine
from ..node import Node


@click.command()
@click.argument("node")
@click.option("--lenient", is_flag=True, help="List rules that are not supported, and take them as never matching.")
def check(node: str, lenient: bool) -> None:
    """Load the node directory NODE and say what it holds; exit 2 with the reason if it cannot be used."""
    loaded = Node.load(node, lenient)
    for parsed in (loaded.rules, loaded.rules6):
        for warning in parsed.warnings if parsed else []:
            click.echo(warning, err=True)
    engine = Engine(loaded, max_connections=1)
    rules = sum(rule is not None for _, _, rule in engine.ruleset.origin)
    click.echo(
        f"{node}: {len(engine.iface_names) - 1} interfaces, {len(engine.node.routes)} routes, {rules} rules: fine"
    )
    if not engine.ruleset.tracking:
        click.echo("no rule uses connection tracking: nothing is tracked or translated")
