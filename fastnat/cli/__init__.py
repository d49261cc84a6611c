"""The command line: one module a command."""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..errors import FastnatError
from .bench import bench
from .check import check
from .conntrack import conntrack
from .exhaust import exhaust
from .plan import plan
from .replay import replay
from .report import report
from .snapshot import snapshot
from .sweep import sweep
from .top import top
from .trace import trace


@click.group()
@click.version_option(__version__, prog_name="fastnat")
def group() -> None:
    """Linux connection tracking and NAT on a virtual clock."""


for command in (exhaust, plan, sweep, report, top, trace, conntrack, snapshot, replay, check, bench):
    group.add_command(command)


def main() -> None:
    """Run the command line; bad input exits with 2 and one message."""
    try:
        group()
    except FastnatError as error:
        click.echo(f"fastnat: {error}", err=True)
        sys.exit(2)
