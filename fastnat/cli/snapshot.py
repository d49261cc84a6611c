"""fastnat snapshot: collect a node directory on a live node."""

from __future__ import annotations

from pathlib import Path

import click

from ..addresses import FAMILIES
from ..node.snapshot import snapshot as take
from .terminal import load_node, say, warn


@click.command()
@click.option("-o", "--output", required=True, metavar="DIR", help="A new directory.")
@click.option("--conntrack", is_flag=True, help="Also the table of connections, for --start-from and top.")
def snapshot(output: str, conntrack: bool) -> None:
    """Write this machine's rules, addresses, routes and NAT sysctls to DIR, with its own tools, reading only."""
    done = take(Path(output), conntrack)
    for name, why in sorted(done.left_out.items()):
        warn(f"without {name}: {why}")
    say(f"{output}: {', '.join(done.written)}")
    node = load_node(output, lenient=True)
    for parsed in map(node.rules_of, FAMILIES.values()):
        for warning in parsed.warnings if parsed else []:
            warn(warning)
    say(f"next: fastnat exhaust {output} --dst IP:PORT")
